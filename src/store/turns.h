// Who reads a row, changes what it read and writes it back takes that row's turn before: the next
// one reads what this one wrote. For the coroutines of the one process that writes the table, on
// the loop's thread.
//
//     Turns::Turn turn(turns_, key);
//     co_await turn;        // in the order of arrival; over when `turn` goes out of scope
#pragma once

#include <coroutine>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

namespace turnout {

class Turns {
    struct Waiter {
        std::coroutine_handle<> handle;
        bool has_turn = false;
    };
    struct Queue {
        std::deque<Waiter*> waiters;  // the first one has the turn
        bool going_on = false;
    };
    using Queues = std::unordered_map<std::string, Queue>;

    // In a loop, not one inside the other: thousands may find at once that there is nothing to do.
    static void go_on(Queues& queues, const std::string& key) {
        const auto found = queues.find(key);
        Queue& queue = found->second;  // stays where it is as long as it is in the map
        if (queue.going_on) return;
        queue.going_on = true;
        while (!queue.waiters.empty() && !queue.waiters.front()->has_turn) {
            Waiter& next = *queue.waiters.front();
            next.has_turn = true;
            if (next.handle) std::exchange(next.handle, {}).resume();
        }
        queue.going_on = false;
        if (queue.waiters.empty()) queues.erase(key);
    }

public:
    class Turn {
    public:
        Turn(Turns& turns, std::string key) : queues_(turns.queues_), key_(std::move(key)) {
            (*queues_)[key_].waiters.push_back(&self_);
            go_on(*queues_, key_);
        }
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        ~Turn() {
            std::erase((*queues_)[key_].waiters, &self_);
            go_on(*queues_, key_);
        }

        bool await_ready() const noexcept { return self_.has_turn; }
        void await_suspend(std::coroutine_handle<> caller) noexcept { self_.handle = caller; }
        void await_resume() const noexcept {}

    private:
        std::shared_ptr<Queues> queues_;  // shared: coroutines that wait may outlive the owner
        std::string key_;
        Waiter self_;
    };

private:
    std::shared_ptr<Queues> queues_ = std::make_shared<Queues>();
};

}  // namespace turnout
