// Schedules of a server: their documents, and whoever looks at the clock for them. What a firing is
// and when there is one is said in model/schedule.h; here it is carried out, one schedule at a
// time: who changes one, deletes it or runs its job has its turn.
//
// A firing submits a job as the schedule's owner, whose rights are looked at then. What the job
// cannot be submitted for is kept in the schedule's history, in words, and not tried again; what
// may go a moment later (a busy store, a server that drains) is tried again until it does.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/api.h"
#include "base/json.h"
#include "base/result.h"
#include "base/task.h"
#include "io/loop.h"
#include "model/schedule.h"
#include "model/timetable.h"
#include "model/workspace.h"
#include "store/turns.h"

namespace turnout::api {

inline constexpr const char* kScheduleDocuments = "schedules";  // their kind in the catalog

// One, as it is kept: what was said of it, and its state.
struct Schedule {
    std::string name;
    Json properties;  // as in ARM's document, with what the server decided; without its state
    Trigger trigger;
    MissedRuns missed = MissedRuns::Once;
    ScheduleState state;
    Instant created{}, modified{};
    Authorship made;
};

class Schedules {
public:
    // All outlive it.
    Schedules(Services& services, TimeZones zones);
    ~Schedules();
    Schedules(const Schedules&) = delete;
    Schedules& operator=(const Schedules&) = delete;

    // Reads them all and begins to look at the clock. Once, when jobs can be submitted.
    Result<void> begin();

    Result<std::optional<Schedule>> find(const std::string& wsid, const std::string& name) const;
    Result<std::vector<Schedule>> list(const std::string& wsid) const;

    // Makes or changes it, as the call says; true = new. Errors name a place below "properties".
    Task<Result<bool>> put(Call& call, const Workspace& workspace, std::string name,
                           Json properties);
    // FailedPrecondition while it is enabled, as in Azure. NotFound.
    Task<Result<void>> remove(const Workspace& workspace, std::string name);
    // Submits its job now, whatever its trigger says; the job's name, which follows from `when`.
    Task<Result<std::string>> trigger(Call& call, const Workspace& workspace, std::string name,
                                      Instant when);

    // When it fires next; nothing if it is disabled or has ended. Errors: its zone's rules are
    // gone.
    Result<std::optional<Instant>> next(const Schedule& schedule) const;
    Result<Timetable> timetable_of(const Schedule& schedule) const;

private:
    using Key = std::pair<std::string, std::string>;  // workspace, name
    struct Watched {
        std::optional<Instant> next;  // when there is something to do
        bool busy = false;
    };

    Task<Result<Schedule>> save(std::string wsid, Schedule schedule, Author by);
    Task<Result<Json>> definition_of(Call& call, const Workspace& workspace, const Json& action,
                                     const Schedule* before);
    Result<void> check_job(Call& call, const Workspace& workspace, const std::string& name,
                           const Json& definition);
    // How submitting its job went; an error: it may go later.
    Task<Result<Firing>> fire(const std::string& wsid, const Schedule& schedule, Instant due,
                              std::string by);
    Task<Result<void>> run_due(Key key);
    void watch(const Key& key, std::optional<Instant> next);
    void look();
    void look_later();

    Services& services_;
    TimeZones zones_;
    Turns turns_;
    std::map<Key, Watched> watched_;
    Loop::TimerId timer_ = 0;
};

// What a schedule's job is to be at that time: its own name and the time in the values that ask for
// them. Pure.
Json definition_at(const Schedule& schedule, const std::string& job, Instant due);

// {W}/schedules[/{name}[/trigger]]
void add_schedule_routes(Router& router, Services& services, Schedules& schedules);

}  // namespace turnout::api
