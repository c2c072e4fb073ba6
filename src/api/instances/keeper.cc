#include "api/instances/keeper.h"

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "api/arm/personal.h"
#include "api/gateway/gateway.h"
#include "api/instances/front.h"
#include "control/control.h"
#include "store/store.h"

namespace turnout::api {

namespace {

constexpr Span kFirst = 20s, kEvery = 60s;

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

// A job beside the notebook server, running or waiting.
bool has_jobs(const Services& services, const Compute& compute) {
    return arm::state_of_personal(services, compute) == "JobRunning";
}

Task<Result<std::optional<Instant>>> ask_activity(Services& services, const Compute& compute) {
    const auto ready = ready_replica(services, compute);
    if (!ready) co_return fail(Code::Unavailable, "NotReady", "it is not ready");
    http::Headers headers;
    headers.set("Authorization",
                "token " + service_key(services.authority, ready->at.attempt).reveal());
    // What the server asks is no activity.
    constexpr const char* quietly = "?no_track_activity=1";
    TURNOUT_CO_TRY(
        const Json kernels,
        co_await services.gateway->get(ready->at, ready->path + "api/kernels" + quietly, headers));
    TURNOUT_CO_TRY(const Json terminals,
                   co_await services.gateway->get(
                       ready->at, ready->path + "api/terminals" + quietly, headers));
    co_return last_activity(kernels, terminals, services.clock.now());
}

// When the instance with that key was last seen with a job.
using Busy = std::map<std::string, Instant>;

Task<Result<void>> look_at(Services& services, Compute compute, std::shared_ptr<Busy> busy) {
    const PersonalInstance& instance = *compute.personal;
    const std::string key = compute.workspace + "/" + compute.name;
    if (has_jobs(services, compute)) {
        (*busy)[key] = services.clock.now();
        co_return Result<void>();
    }
    TURNOUT_CO_TRY(const std::optional<Instant> active, co_await ask_activity(services, compute));
    Instant since = std::max(active.value_or(instance.last.at), instance.last.at);
    if (const auto worked = busy->find(key); worked != busy->end())
        since = std::max(since, worked->second);
    if (services.clock.now() - since < instance.idle_before_shutdown) co_return Result<void>();
    const auto change = [&](const std::optional<Compute>& now) -> Result<Compute> {
        if (!now || !now->personal || *now->personal != instance || has_jobs(services, *now))
            return not_found("it is not idle any more", "compute");
        return arm::with_power(services, *now, "stop", "IdleShutdown");
    };
    TURNOUT_CO_TRY_VOID(co_await arm::asked<Put>([&](auto reply) {
        services.control.change_compute(compute.workspace, compute.name, change, std::move(reply));
    }));
    Compute stopped = compute;
    busy->erase(key);
    const auto row = services.store.get(Table::Compute, key);
    if (row && *row)
        if (const auto document = parse_json((*row)->value))
            if (auto now = compute_from_json(*document)) stopped = std::move(*now);
    arm::look_at_personal(services, stopped);
    co_return Result<void>();
}

Task<void> keep(Services& services, std::shared_ptr<Busy> busy) {
    std::vector<Compute> idle;
    (void)each_row(services.store, Table::Compute, with_prefix(""),
                   [&](const Record& record) -> Result<void> {
                       const Json document = TURNOUT_TRY(parse_json(record.value));
                       Compute compute = TURNOUT_TRY(compute_from_json(document));
                       if (compute.personal && compute.personal->on && !compute.deleting &&
                           compute.personal->idle_before_shutdown != Span{})
                           idle.push_back(std::move(compute));
                       return {};
                   });
    // One that cannot be asked is not known to be idle.
    for (Compute& compute : idle) (void)co_await look_at(services, std::move(compute), busy);
    services.loop.after(kEvery, [&services, busy] { start(keep(services, busy), [] {}); });
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
    services.loop.after(kFirst,
                        [&services] { start(keep(services, std::make_shared<Busy>()), [] {}); });
}

}  // namespace turnout::api
