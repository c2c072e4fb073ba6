// Virtual time: one queue of events, ordered by time and then by the dice. Everything that happens
// in a simulated world is an event of this queue, so one seed is one history.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/time.h"
#include "io/loop.h"

namespace turnout::simulation {

// xoshiro256++, seeded by splitmix64.
class Dice : public Random {
public:
    explicit Dice(std::uint64_t seed) {
        for (std::uint64_t& word : state_) {
            seed += 0x9e3779b97f4a7c15u;
            std::uint64_t mixed = seed;
            mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
            mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
            word = mixed ^ (mixed >> 31);
        }
    }
    std::uint64_t next() override {
        const auto rotate = [](std::uint64_t x, int by) { return (x << by) | (x >> (64 - by)); };
        const std::uint64_t result = rotate(state_[0] + state_[3], 23) + state_[0];
        const std::uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = rotate(state_[3], 45);
        return result;
    }
    std::string bytes(std::size_t count) override {
        std::string out;
        while (out.size() < count) out += static_cast<char>(next() >> 56);
        return out;
    }
    double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
    bool chance(double probability) { return unit() < probability; }
    std::int64_t between(std::int64_t low, std::int64_t high) {  // both included
        return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
    }
    Span span(Span low, Span high) { return Span(between(low.count(), high.count())); }
    // Small ones are as likely as large ones: 1 ms to 10 ms as often as 1 s to 10 s.
    Span pause(Span low, Span high) {
        const double a = std::log(static_cast<double>(std::max<std::int64_t>(1, low.count())));
        const double b = std::log(static_cast<double>(std::max<std::int64_t>(1, high.count())));
        return Span(static_cast<std::int64_t>(std::exp(a + (b - a) * unit())));
    }

private:
    std::uint64_t state_[4];
};

// Whoever owns one lives; events that hold it weakly do not happen after its death.
using Life = std::shared_ptr<char>;
using Lives = std::vector<std::weak_ptr<char>>;
inline Life born() {
    return std::make_shared<char>('\0');
}

class Timeline {
public:
    explicit Timeline(Dice& dice) : dice_(dice) {}

    Span now() const { return now_; }
    void at(Span when, std::function<void()> what, Lives lives = {}) {
        queue_.push(Event{std::max(when, now_), dice_.next(), ++sequence_, std::move(lives),
                          std::move(what)});
    }
    void in(Span delay, std::function<void()> what, Lives lives = {}) {
        at(now_ + delay, std::move(what), std::move(lives));
    }

    // The next event; false when there is none.
    bool step() {
        while (!queue_.empty()) {
            Event event = std::move(const_cast<Event&>(queue_.top()));
            queue_.pop();
            if (std::any_of(event.lives.begin(), event.lives.end(),
                            [](const auto& life) { return life.expired(); }))
                continue;
            now_ = event.time;
            ++steps_;
            event.what();
            return true;
        }
        return false;
    }
    std::uint64_t steps() const { return steps_; }
    // Ends every waiting event without doing it.
    void clear() { queue_ = {}; }

private:
    struct Event {
        Span time;
        std::uint64_t tie;
        std::uint64_t sequence;
        Lives lives;
        std::function<void()> what;
        bool operator<(const Event& other) const {  // the queue's top is its greatest
            return std::tie(time, tie, sequence) > std::tie(other.time, other.tie, other.sequence);
        }
    };
    Dice& dice_;
    Span now_{};
    std::uint64_t sequence_ = 0;
    std::uint64_t steps_ = 0;
    std::priority_queue<Event> queue_;
};

// The clocks of one machine: they drift, the wall clock jumps, and a reboot begins anew.
class MachineClock : public Clock {
public:
    MachineClock(const Timeline& timeline, int drift_ppm)
        : timeline_(timeline), drift_ppm_(drift_ppm) {}
    Instant now() const override {
        return {1'700'000'000'000'000 + timeline_.now().count() + wall_offset.count()};
    }
    Span since_boot() const override {
        const std::int64_t passed = (timeline_.now() - booted_).count();
        return 1s + Span(passed + passed / 1'000'000 * drift_ppm_ +
                         passed % 1'000'000 * drift_ppm_ / 1'000'000);
    }
    void reboot(int drift_ppm) {
        booted_ = timeline_.now();
        drift_ppm_ = drift_ppm;
    }
    // How long until this clock shows that time.
    Span until(Span boot_time) const {
        const std::int64_t left = (boot_time - since_boot()).count();
        if (left <= 0) return Span{};
        return Span(left - left / 1'000'000 * drift_ppm_ +
                    std::abs(drift_ppm_) * (left / 1'000'000) / 50 + 2);
    }
    Span wall_offset{};

private:
    const Timeline& timeline_;
    Span booted_{};
    int drift_ppm_;
};

// The loop of one process: ends with its life.
class ProcessLoop : public Loop {
public:
    ProcessLoop(Timeline& timeline, const MachineClock& clock, std::weak_ptr<char> life)
        : timeline_(timeline), clock_(clock), life_(std::move(life)) {}
    void post(std::function<void()> work) override {  // first in, first out
        posted_.push_back(std::move(work));
        timeline_.in(Span{},
                     [this] {
                         const auto first = std::move(posted_.front());
                         posted_.pop_front();
                         first();
                     },
                     {life_});
    }
    TimerId after(Span delay, std::function<void()> work) override {
        const TimerId id = ++last_;
        timers_[id] = std::move(work);
        timeline_.in(clock_.until(clock_.since_boot() + delay),
                     [this, id] {
                         const auto found = timers_.find(id);
                         if (found == timers_.end()) return;
                         const auto due = std::move(found->second);
                         timers_.erase(found);
                         due();
                     },
                     {life_});
        return id;
    }
    void cancel(TimerId timer) override { timers_.erase(timer); }
    void blocking(std::function<void()> work, std::function<void()> done) override {
        post([work = std::move(work), done = std::move(done)] {
            work();
            done();
        });
    }

private:
    Timeline& timeline_;
    const MachineClock& clock_;
    std::weak_ptr<char> life_;
    TimerId last_ = 0;
    std::deque<std::function<void()>> posted_;
    std::map<TimerId, std::function<void()>> timers_;
};

}  // namespace turnout::simulation
