// A group is a job whose work is done by other jobs, its children: {children, limits, next()}.
// control/groups.h has what all groups have in common: it makes the children that are to come next,
// counts them, keeps the limits, and cancels all of them with the group. A GroupPlan is what
// differs: a sweep's draws parameters (model/sweep_plan.h); one that runs steps in an order names
// those whose inputs are there; one that looks for the best model looks at what was found so far.
//
// A plan is pure: it is told what became of the children, and asked what comes next. What it has to
// know after a restart is its `progress`, stored in the commit of what it counts.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "model/job.h"

namespace turnout {

struct GroupLimits {
    std::int64_t max_total = 0;       // as many children as there will be; their names are taken
    std::int64_t max_concurrent = 0;  // that live at a time
    std::optional<Span> timeout;
};

// "parent_0": the name of a child, as Azure ML has it of a sweep's trials.
std::string child_name(std::string_view group, std::int64_t index);

// What is stored of a group that its plan is made of.
struct GroupSaid {
    const Json& definition;  // as it was sent
    const Json& plan;        // JobRecord::plan
};

// In the order in which they are put into a command: name and value.
using Parameters = std::vector<std::pair<std::string, std::string>>;

// A child that is to be made. Of a plan that has many alike there is nothing but the index: all
// else is the group's own (its task, its compute), and GroupPlan::parameters.
struct NextChild {
    std::int64_t index = 0;
    // Of a child with a definition of its own. Its task is not known yet: it is asked for when the
    // plan says that this can be (GroupNext::resolve).
    struct Own {
        std::string role;  // what it is to its group: the name of a step
        std::string display_name;
        Json definition;
        Json parameters = Json::object();
        std::string compute;  // "" = the group's
        int priority = 0;
    };
    std::optional<Own> own;
};

struct GroupEnd {
    JobStatus status = JobStatus::Completed;
    agent_protocol::Cause cause = agent_protocol::Cause::None;
    std::string message;  // for people
};

struct GroupNext {
    std::vector<NextChild> make;
    // Children whose task can be known now, by index. May be said again until they have one.
    std::vector<std::int64_t> resolve;
    // Children that are not wanted any more, by index, and why. Said again until they have ended.
    std::vector<std::pair<std::int64_t, std::string>> cancel;
    std::vector<std::string> words;  // for the group's log
    std::optional<GroupEnd> end;     // when no child lives
    bool more = false;               // it is to be asked again in the next turn
};

// How a child ended.
struct ChildEnd {
    std::string_view name;
    std::int64_t index = 0;
    JobStatus status = JobStatus::Completed;
    bool given_up = false;  // by the plan (GroupPlan::observe)
    bool began = false;     // its command ran
    agent_protocol::Cause cause = agent_protocol::Cause::None;
    std::string_view message = {};
    std::function<std::vector<std::string>()> logged = {};  // the metrics that it has logged
};
struct ChildOutcome {
    std::optional<double> score;     // stored with the child's state
    std::vector<std::string> words;  // for the group's log
    std::string warning;             // about the group; "" = none
};

class GroupPlan {
public:
    virtual ~GroupPlan() = default;
    virtual GroupLimits limits() const = 0;

    // ---- what comes next ----
    struct Look {
        bool begun = false;          // a child was made before
        std::int64_t waiting = 0;    // children that wait for a node
        std::int64_t max_nodes = 1;  // of the compute
        std::int64_t jobs_per_node = 1;
    };
    // What it says is done: the children that it names are made.
    virtual GroupNext next(const Look& look) = 0;
    // Why the children that no node has begun with are not wanted any more; "" = they are.
    virtual std::string gives_up_waiting() const { return ""; }
    // Its children have definitions, and tasks, of their own (NextChild::Own).
    virtual bool own_tasks() const { return false; }
    // Of a child that has no definition of its own.
    virtual Parameters parameters(std::int64_t index) const = 0;

    // ---- what happened ----
    // Whether its progress changed by that.
    virtual bool child_began(std::int64_t index) = 0;
    virtual ChildOutcome child_ended(const ChildEnd& end) = 0;
    // Its children are being canceled with it: by somebody, or since it ran out of its time.
    enum class Stop { Canceled, TimedOut };
    virtual void stop(Stop why) = 0;
    virtual bool stopped() const = 0;
    // GroupLimits::timeout has passed; true: it ends what it does in a way of its own, and is not
    // stopped. May be told again after a restart.
    virtual bool time_is_up() { return false; }

    // What that child waits for whose task is not known yet, for people; "" = for what comes
    // before.
    virtual std::string waits_for(std::int64_t /*index*/) const { return ""; }

    // ---- a metric of its children that it looks at while they run ----
    virtual std::string_view metric() const { return {}; }  // "" = none
    // Whether it has to see again after a restart what children logged that have ended.
    virtual bool remembers_ended() const { return false; }
    // The next value; whether the child is given up for it.
    virtual bool observe(std::int64_t /*index*/, double /*value*/) { return false; }
    virtual std::string why_given_up() const { return ""; }
    // That child logs no more.
    virtual void forget(std::int64_t /*index*/) {}

    // ---- what is stored, and told ----
    virtual std::int64_t created() const = 0;  // children made so far: indices 0 … created - 1
    virtual Json progress() const = 0;
    virtual Result<void> recover(const Json& progress) = 0;
    virtual std::string standing() const = 0;  // for people, while it runs
};

}  // namespace turnout
