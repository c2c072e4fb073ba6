// The turn machine. An input changes what is in memory and puts down in the turn that is being
// gathered which rows changed, which effects follow and who waits for it. The turn becomes one
// batch, and what follows leaves when that is durable:
//
//   gather ──► commit ──durable──► release
//                │ refused: the store had no room; the same turn is written again a little later
//                │ failed:  nobody knows; all who wait are refused and what is true is read anew
//
// While one turn is on its way to the disk the next inputs gather, and go together. That is the
// group commit, and it makes a failed commit simple: nothing that was built on it is under way.
//
// Which rows there are, and what else follows from an input, is the Machine's to know.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "control/control.h"
#include "store/store.h"

namespace turnout::control {

// What is gathered for one commit: each owner puts down what of its own changed, and writes the
// rows of it when the turn is committed.
struct Turn {
    // jobs
    std::set<std::string> states;                              // keys that changed
    std::map<std::string, std::string> definitions;            // key -> row in Table::Job
    std::map<std::string, std::string> new_jobs;               // key -> row in Table::JobLive
    std::map<std::string, std::set<std::string>> erased_jobs;  // -> their keys among JobCreated
    std::vector<Write> together;                               // of the new jobs
    // bases
    std::map<std::string, std::string> bases;  // key -> new row in Table::TaskBase
    std::set<std::string> erased_bases;        // their keys
    // the others
    std::set<std::string> computes;   // keys that changed
    std::set<NodeId> nodes;           // that changed
    std::set<std::string> services;   // keys that changed
    std::set<std::string> totals;     // keys that changed
    std::set<std::string> quotas;     // keys of their rows that changed
    std::vector<std::string> events;  // by row: JSON objects with commas between
    std::uint64_t event_row = 0;      // the last of their rows; 0 = there are none
    bool counters = false;
    // what follows
    std::vector<std::function<void()>> after;         // effects and replies, in order
    std::vector<std::function<void(Error)>> refused;  // if the commit fails

    bool changed() const {
        return !states.empty() || !definitions.empty() || !computes.empty() || !nodes.empty() ||
               !services.empty() || !quotas.empty() || !erased_jobs.empty() ||
               !erased_bases.empty() || counters || !events.empty();
    }
};

class Turns {
public:
    // Whose turns they are.
    class Machine {
    public:
        virtual ~Machine() = default;
        // What follows from all inputs that came since the last commit began: once for each.
        virtual void complete_turn() = 0;
        virtual bool completion_wanted() const = 0;  // an input came that something may follow from
        virtual void write_rows(Turn& turn, Batch& batch) = 0;
        virtual void turn_is_durable(const Turn& turn) = 0;   // before anything of it leaves
        virtual void turn_is_released(const Turn& turn) = 0;  // and after
        // Forgets all and reads it from the store.
        virtual Result<void> recover() = 0;
    };

    // All of them outlive it.
    Turns(const Clock& clock, Store& store, Effects& effects, const Control::Settings& settings,
          Machine& machine);

    Turn gathering;

    // ---- for the owners, while an input is taken ----
    template <class T>
    void reply(Control::Reply<T> to, Result<T> with) {
        gathering.refused.push_back([to](Error why) { to(Failure(std::move(why))); });
        gathering.after.push_back([to = std::move(to), with = std::move(with)] { to(with); });
    }
    // Leaves when all that was put down before is durable.
    void effect(std::function<void()> what) { gathering.after.push_back(std::move(what)); }
    // The turns that the store does not have yet: the one that is gathered, and the one that is on
    // its way or null.
    std::array<const Turn*, 2> open() const { return {&gathering, in_flight_.get()}; }
    void a_node_reported() { ++reports_; }

    // At the end of every input.
    void end() { commit_gathered(); }

    // ---- failure ----
    // After a failed commit nothing is planned for a while, nor written that no client waits for,
    // so that a full disk does not cost a processor: each try ends in reading the whole state anew.
    bool resting() const { return rest_until_ != Span{}; }
    bool has_failed() const { return failed_commits_ > 0; }  // the last commit, or recovery
    void hold_back();                                        // after one that failed
    // Recovery failed: everything is refused with it, and nothing is known.
    std::optional<Error> broken;

    // ---- time ----
    // False while nothing can be done: what is broken could not be mended.
    bool tick();
    // When it wants a tick. `completion_at`: when the machine wants complete_turn to be called.
    std::optional<Span> next_tick(std::optional<Span> completion_at) const;

private:
    Span commit_from() const;
    void commit_gathered();
    void write_down(std::shared_ptr<Turn> turn);
    void write_again();
    void committed(std::shared_ptr<Turn> turn, Result<std::uint64_t> result);
    void release(std::vector<std::function<void()>> leaving);

    const Clock& clock_;
    Store& store_;
    Effects& effects_;
    const Control::Settings& settings_;
    Machine& machine_;

    std::shared_ptr<Turn> in_flight_;  // null while nothing is being committed
    // The batch of the one that is in flight, for which the store had no room.
    struct NoRoom {
        Batch batch;
        CommitDone done;
        Span again_at{};
    };
    std::optional<NoRoom> no_room_;
    int refusals_ = 0;                // of that turn so far
    Span commit_not_before_{};        // unless a client waits: reports of nodes share a commit
    std::size_t clients_before_ = 0;  // that waited for the last commit which had any
    Span company_until_{};            // so long the next one waits for as many
    int reports_ = 0;                 // of nodes since the last commit began
    Span rest_until_{};               // 0 = no such wait
    int failed_commits_ = 0;          // since the last good one
    std::deque<std::function<void()>> outgoing_;  // effects and replies whose turn is durable
    bool releasing_ = false;
    std::shared_ptr<int> alive_ =
        std::make_shared<int>(0);  // shared with callbacks that may outlive us
};

}  // namespace turnout::control
