// A loop for tests: posted work runs when the test says so, on the test's thread. Timers never run
// by themselves; blocking work runs on the spot and its `done` is posted.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "io/loop.h"

namespace turnout {

class TestLoop : public Loop {
public:
    void post(std::function<void()> work) override {
        std::lock_guard lock(mutex_);
        posted_.push_back(std::move(work));
        wake_.notify_one();
    }
    TimerId after(Span delay, std::function<void()> work) override {
        timers_.emplace(++last_timer_, std::pair(delay, std::move(work)));
        return last_timer_;
    }
    void cancel(TimerId timer) override { timers_.erase(timer); }
    void blocking(std::function<void()> work, std::function<void()> done) override {
        work();
        post(std::move(done));
    }

    // Runs posted work, waiting for more from other threads, until `over()`.
    void run_until(const std::function<bool()>& over) {
        while (!over()) run_one(true);
    }
    // Runs what is posted, and what that posts.
    void drain() {
        while (run_one(false)) {
        }
    }
    // Fires every timer that is set now.
    void fire_timers() {
        auto timers = std::exchange(timers_, {});
        for (auto& [id, timer] : timers) timer.second();
    }

    // Runs the task to its end.
    template <class T>
    T wait(Task<T> task) {
        std::optional<T> value;
        start(std::move(task), [&value](T result) { value.emplace(std::move(result)); });
        run_until([&value] { return value.has_value(); });
        return std::move(*value);
    }

private:
    bool run_one(bool block) {
        std::function<void()> work;
        {
            std::unique_lock lock(mutex_);
            if (block) wake_.wait(lock, [this] { return !posted_.empty(); });
            if (posted_.empty()) return false;
            work = std::move(posted_.front());
            posted_.pop_front();
        }
        work();
        return true;
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> posted_;
    std::map<TimerId, std::pair<Span, std::function<void()>>> timers_;
    TimerId last_timer_ = 0;
};

}  // namespace turnout
