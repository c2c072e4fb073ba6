// The attempts that a node knows, and what follows from all of them together: how many run, which
// is started next, which has to be looked at, and when. Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "agent/node/attempt.h"

namespace turnout::agent {

// Changes an attempt's stage and its `careful` only here, so that the counts are right.
class Attempts {
public:
    auto begin() const { return by_id_.begin(); }
    auto end() const { return by_id_.end(); }
    auto begin() { return by_id_.begin(); }
    auto end() { return by_id_.end(); }
    bool empty() const { return by_id_.empty(); }
    bool contains(const AttemptId& id) const { return by_id_.contains(id); }
    // nullptr if there is none.
    const Attempt* peek(const AttemptId& id) const;
    // The same, and it is touched: for whoever changes it.
    Attempt* find(const AttemptId& id);
    // As they came.
    std::vector<Attempt*> in_order();

    // Gets its number in the order.
    Attempt& add(const AttemptId& id, Attempt attempt);
    void erase(const AttemptId& id);
    void move_to(Attempt& attempt, Stage stage);

    // Touched ones are looked at in the next pump.
    void touch(Attempt& attempt) {
        if (!std::exchange(attempt.touched, true)) touched_.push_back(&attempt);
    }
    void touch_all();  // something changed that concerns all of them
    // `look(attempt)` at each touched one, and at those that are touched meanwhile; it may erase.
    template <class Look>
    void for_each_touched(Look&& look) {
        for (std::size_t i = 0; i < touched_.size(); ++i)
            if (touched_[i]) look(*touched_[i]);
    }
    // Those that are still there; none is touched any more.
    std::vector<Attempt*> take_touched();

    int with_process() const { return with_process_; }  // that are asked to start, or run
    int live() const { return live_; }                  // that have not ended
    int unfinished() const { return unfinished_; }      // that lost contact would end
    // The oldest of those that are prepared; nullptr if none is.
    Attempt* next_ready() { return ready_.empty() ? nullptr : ready_.begin()->second; }

    // Its start, or that of one beside it, took the supervisor with it: until it has begun.
    void be_careful(Attempt& attempt) {
        if (!std::exchange(attempt.careful, true)) ++careful_;
    }
    int careful() const { return careful_; }

    // When it has to be looked at again; nullopt: not because time passes.
    void set_timer(Attempt& attempt, std::optional<Span> at);
    std::optional<Span> next_timer() const;
    void touch_due(Span now);

private:
    void count(Attempt& attempt, int by);
    void not_careful(Attempt& attempt) {
        if (std::exchange(attempt.careful, false)) --careful_;
    }

    std::map<AttemptId, Attempt> by_id_;
    std::map<std::uint64_t, Attempt*> ready_;                    // by order
    std::map<std::pair<Span, std::uint64_t>, Attempt*> timers_;  // by time and order
    std::vector<Attempt*> touched_;                              // nullptr: erased meanwhile
    std::uint64_t next_order_ = 0;
    int with_process_ = 0;
    int live_ = 0;
    int unfinished_ = 0;
    int careful_ = 0;
};

// Attempts that are over and were forgotten, the last ones of them: none begins again.
class Tombstones {
public:
    void add(const AttemptId& id);
    bool contains(const AttemptId& id) const { return known_.contains(id); }
    const std::deque<AttemptId>& in_order() const { return order_; }

private:
    std::deque<AttemptId> order_;
    std::set<AttemptId> known_;
};

}  // namespace turnout::agent
