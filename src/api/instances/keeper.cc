#include "api/instances/keeper.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "api/arm/personal.h"
#include "api/gateway/gateway.h"
#include "api/instances/front.h"
#include "control/control.h"
#include "store/store.h"

namespace turnout::api {

namespace {

constexpr Span kFirst = 5s, kEvery = 20s;

struct Ready {
    ReplicaAddress at;
    std::string path;
};

std::optional<Ready> ready_replica(const Services& services, const Compute& compute) {
    const auto view =
        services.control.service(compute.workspace, service_of_instance(compute.name));
    if (!view) return std::nullopt;
    for (const auto& one : view->replicas)
        if (one.replica.is == Replica::Is::Ready)
            return Ready{{compute.workspace + "/" + compute.name + "/" + one.node,
                          {compute.workspace, one.job, one.attempt}},
                         path_of_instance(compute.workspace, compute.name)};
    return std::nullopt;
}

// Beside the notebook server, running or waiting.
bool has_jobs(const Services& services, const Compute& compute) {
    return services.control.jobs_of(compute.workspace, compute.name) > 0;
}

Task<Result<std::optional<Instant>>> ask_activity(Services& services, const Compute& compute) {
    const auto ready = ready_replica(services, compute);
    if (!ready) co_return fail(Code::Unavailable, "NotReady", "it is not ready");
    http::Headers headers;
    headers.set("Authorization",
                "token " + service_key(services.authority, ready->at.attempt).reveal());
    // What the server asks is no activity.
    constexpr const char* quietly = "?no_track_activity=1";
    TURNOUT_CO_TRY(const Json kernels,
                   co_await services.gateway->get(services.clock, ready->at,
                                                  ready->path + "api/kernels" + quietly, headers));
    TURNOUT_CO_TRY(const Json terminals, co_await services.gateway->get(
                                             services.clock, ready->at,
                                             ready->path + "api/terminals" + quietly, headers));
    co_return last_activity(kernels, terminals, services.clock.now());
}

// What is not stored.
struct Kept {
    Instant began;  // what happened before nobody knows
    // When the instance with that key was last seen with a job.
    std::map<std::string, Instant> busy;
    std::set<std::string> asked;  // just now
};

// Turns it on or off if it is still as it was looked at, and sees to what follows.
Task<Result<void>> turn(Services& services, Compute compute, std::string_view verb,
                        std::string_view trigger, Instant fired) {
    const PersonalInstance before = *compute.personal;
    const auto change = [&](const std::optional<Compute>& now) -> Result<Compute> {
        if (!now || !now->personal || *now->personal != before)
            return not_found("it is another one by now", "compute");
        Compute changed = *now;
        // What cannot be done now is left, as any time that has passed.
        if (auto turned = arm::with_power(services, *now, verb, trigger))
            changed = std::move(*turned);
        changed.personal->fired = fired;
        compute = changed;
        return changed;
    };
    TURNOUT_CO_TRY_VOID(co_await arm::asked<Put>([&](auto reply) {
        services.control.change_compute(compute.workspace, compute.name, change, std::move(reply));
    }));
    arm::look_at_personal(services, compute);
    co_return Result<void>();
}

Task<Result<void>> look_whether_idle(Services& services, Compute compute,
                                     std::shared_ptr<Kept> kept) {
    const PersonalInstance instance = *compute.personal;
    const std::string key = compute.workspace + "/" + compute.name;
    if (has_jobs(services, compute)) {
        kept->busy[key] = services.clock.now();
        co_return Result<void>();
    }
    TURNOUT_CO_TRY(const std::optional<Instant> active, co_await ask_activity(services, compute));
    Instant since = std::max({active.value_or(instance.last.at), instance.last.at, kept->began});
    if (const auto worked = kept->busy.find(key); worked != kept->busy.end())
        since = std::max(since, worked->second);
    const bool idle = services.clock.now() - since >= instance.idle_before_shutdown;
    if (!idle || has_jobs(services, compute)) co_return Result<void>();
    kept->busy.erase(key);
    co_return co_await turn(services, std::move(compute), "stop", "IdleShutdown", instance.fired);
}

// What its schedules say is due: the last one that was, since each of them sets it one way or the
// other. Returns when the next one is.
Task<std::optional<Instant>> follow_schedules(Services& services, Compute compute) {
    const Instant now = services.clock.now();
    std::optional<Instant> next;
    std::optional<Instant> due;
    bool start = false;
    for (const arm::StartStop& one : arm::start_stops_of(services, compute)) {
        if (const auto last = one.when.last(compute.personal->fired, now);
            last && (!due || *last >= *due)) {
            due = last;
            start = one.start;
        }
        if (const auto coming = one.when.next(now); coming && (!next || *coming < *next))
            next = coming;
    }
    if (due)
        (void)co_await turn(services, std::move(compute), start ? "start" : "stop", "Schedule",
                            *due);
    co_return next;
}

// It became ready after it was given up.
Task<Result<void>> come_back(Services& services, Compute compute) {
    const Control::ComputeChange change =
        [&](const std::optional<Compute>& now) -> Result<Compute> {
        if (!now || !now->personal || *now->personal != *compute.personal)
            return not_found("it is another one by now", "compute");
        Compute changed = *now;
        changed.personal->last.status = PersonalInstance::Operation::Status::Succeeded;
        changed.personal->last.why.clear();
        changed.personal->made = true;
        return changed;
    };
    TURNOUT_CO_TRY_VOID(co_await arm::asked<Put>([&](auto reply) {
        services.control.change_compute(compute.workspace, compute.name, change, std::move(reply));
    }));
    co_return Result<void>();
}

Task<void> keep(Services& services, std::shared_ptr<Kept> kept) {
    std::vector<Compute> all;
    (void)each_row(services.store, Table::Compute, with_prefix(""),
                   [&](const Record& record) -> Result<void> {
                       const Json document = TURNOUT_TRY(parse_json(record.value));
                       Compute compute = TURNOUT_TRY(compute_from_json(document));
                       if (compute.personal && !compute.deleting) all.push_back(std::move(compute));
                       return {};
                   });
    Span pause = kEvery;
    std::optional<Instant> first;
    for (const Compute& compute : all) {
        if (compute.personal->on &&
            compute.personal->last.status == PersonalInstance::Operation::Status::Failed &&
            arm::is_ready(arm::state_of_personal(services, compute)))
            (void)co_await come_back(services, compute);
        const auto next = co_await follow_schedules(services, compute);
        if (next && (!first || *next < *first)) first = next;
    }
    // Each by itself: a program that takes its time keeps nobody else waiting. One that cannot be
    // asked is not known to be idle.
    for (const Compute& compute : all) {
        if (!compute.personal->on || compute.personal->idle_before_shutdown == Span{}) continue;
        const std::string key = compute.workspace + "/" + compute.name;
        if (kept->asked.insert(key).second)
            start(look_whether_idle(services, compute, kept),
                  [kept, key](const Result<void>&) { kept->asked.erase(key); });
    }
    if (first) pause = std::min(pause, std::max(Span(1ms), *first - services.clock.now()));
    services.loop.after(pause, [&services, kept] { start(keep(services, kept), [] {}); });
}

}  // namespace

std::optional<Instant> last_activity(const Json& kernels, const Json& terminals, Instant now) {
    std::optional<Instant> last;
    for (const Json* list : {&kernels, &terminals})
        for (const Json& one : list->items()) {
            std::optional<Instant> at;
            if (auto told = parse_iso8601(one.at("last_activity").as_view())) at = *told;
            if (one.at("execution_state").as_view() == "busy") at = now;
            if (at && (!last || *at > *last)) last = *at;
        }
    return last;
}

void keep_instances(Services& services) {
    const auto kept = std::make_shared<Kept>();
    kept->began = services.clock.now();
    services.loop.after(kFirst, [&services, kept] { start(keep(services, kept), [] {}); });
}

}  // namespace turnout::api
