// A loop without threads under virtual time, for tests of what runs on it.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/stop.h"
#include "io/loop.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

namespace turnout {

class ManualLoop : public Loop, public Clock {
public:
    Instant now() const override { return {1'700'000'000'000'000 + (time_ + set_by_).count()}; }
    Span since_boot() const override { return time_; }

    void post(std::function<void()> work) override { posted_.push_back(std::move(work)); }
    TimerId after(Span delay, std::function<void()> work) override {
        const TimerId id = ++last_;
        timers_[{time_ + delay, id}] = std::move(work);
        return id;
    }
    void cancel(TimerId timer) override {
        std::erase_if(timers_, [timer](const auto& entry) { return entry.first.second == timer; });
    }
    void blocking(std::function<void()> work, std::function<void()> done) override {
        post([work = std::move(work), done = std::move(done)] {
            work();
            done();
        });
    }

    // Runs what is posted until nothing is.
    void settle() {
        while (step()) {
        }
    }
    // Runs the next of what is posted.
    bool step() {
        if (posted_.empty()) return false;
        auto work = std::move(posted_.front());
        posted_.pop_front();
        work();
        return true;
    }
    // Somebody sets the wall clock: that far from where it would be.
    void set_wall_clock(Span by) { set_by_ = by; }
    // Lets time pass, with the timers that are due.
    void pass(Span span) {
        const Span end = time_ + span;
        settle();
        while (!timers_.empty() && timers_.begin()->first.first <= end) {
            time_ = std::max(time_, timers_.begin()->first.first);
            auto work = std::move(timers_.begin()->second);
            timers_.erase(timers_.begin());
            work();
            settle();
        }
        time_ = end;
    }
    std::size_t timers() const { return timers_.size(); }

private:
    Span time_{};
    Span set_by_{};
    TimerId last_ = 0;
    std::deque<std::function<void()>> posted_;
    std::map<std::pair<Span, TimerId>, std::function<void()>> timers_;
};

class CountingRandom : public Random {
public:
    std::uint64_t next() override {
        return state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    }
    std::string bytes(std::size_t count) override {
        std::string out;
        while (out.size() < count) out += static_cast<char>(next() >> 56);
        return out;
    }

private:
    std::uint64_t state_ = 1;
};

// A client that leaves when the test says so.
class TestStop : public Stop {
public:
    bool stopped() override { return stopped_; }
    void on_stop(std::function<void()> call) override { call_ = std::move(call); }
    void stop() {
        stopped_ = true;
        if (call_) std::exchange(call_, {})();
    }
    bool watched() const { return static_cast<bool>(call_); }

private:
    bool stopped_ = false;
    std::function<void()> call_;
};

// Calls something that a crash will leave waiting for ever; the leak checker takes no offence.
template <class Call>
auto abandoned(Call call) {
#ifdef __SANITIZE_ADDRESS__
    __lsan::ScopedDisabler meant_to_leak;
#endif
    return call();
}

// Starts a task; the value is there once it ended.
template <class T>
struct Outcome {
    std::shared_ptr<std::optional<T>> value = std::make_shared<std::optional<T>>();
    bool done() const { return value->has_value(); }
    T& operator*() const { return **value; }
    T* operator->() const { return &**value; }
};
template <class T>
Outcome<T> begin(Task<T> task) {
    Outcome<T> outcome;
    start(std::move(task),
          [value = outcome.value](T result) { value->emplace(std::move(result)); });
    return outcome;
}

}  // namespace turnout
