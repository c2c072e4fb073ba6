// Harm on purpose, to a running job of one's own: POST …/jobs/{name}/drill. Not part of Azure's
// API. Body: {"kind": "preempt" | "partition" | what the provider of its node offers, "seconds":
// N}. It answers when the harm is done; what comes of it is seen in the job and in the events.
#include "model/drills.h"

#include <algorithm>

#include "api/arm/resource.h"
#include "control/jobs.h"

namespace turnout::api::arm {
namespace {

constexpr std::int64_t kLongest = 3600;  // seconds
constexpr std::int64_t kUsual = 20;

Answer drill(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = call.param("name");
    const std::string kind = body.at("kind").as_string();
    if (kind.empty())
        co_return invalid("kind: expected the name of a drill, such as preempt or partition",
                          "kind");
    const Json& wanted = body.at("seconds");
    if (!wanted.is_null() &&
        (!wanted.is_int() || wanted.as_int() < 1 || wanted.as_int() > kLongest))
        co_return invalid("seconds is " + wanted.dump().substr(0, 40) +
                              ": expected a whole number from 1 to " + std::to_string(kLongest),
                          "seconds");
    const std::int64_t seconds = wanted.as_int(kUsual);
    const Span how_long = std::chrono::seconds(seconds);
    TURNOUT_CO_TRY(const auto stored, read_job(services.store, workspace.id, name));
    if (!stored) co_return not_found("job '" + name + "' does not exist", "job");
    const JobRecord& job = stored->record;
    if (job.status != JobStatus::Running)
        co_return fail(Code::FailedPrecondition, "JobNotRunning",
                       "job '" + name + "' is " + std::string(name_of(job.status)) +
                           ": a drill needs one that is Running",
                       "job");
    if (const JobKind& of = kind_of(job.type); of.group)
        co_return fail(Code::FailedPrecondition, "JobIsA" + std::string(of.name),
                       "job '" + name + "' is a " + std::string(of.noun) +
                           " and on no node itself: a drill needs one of its " +
                           std::string(of.child) + "s that is Running",
                       "job");
    if (!job.placed())  // it ended just now, and will be tried again
        co_return fail(Code::FailedPrecondition, "JobNotOnNode",
                       "job '" + name + "' is on no node just now", "job");
    const JobAttempt& attempt = *job.current();
    if (!std::holds_alternative<OnNodes>(attempt.placement))
        co_return fail(Code::FailedPrecondition, "JobNotOnNode",
                       "job '" + name + "' is with " + words_of(attempt.placement) +
                           ": a drill harms nodes, and it is on none",
                       "job");
    const NodeId node = workspace.id + "/" + job.compute + "/" + attempt.nodes().front();
    Json answer = Json::object({{"kind", kind},
                                {"job", name},
                                {"node", attempt.nodes().front()},
                                {"attempt", attempt.number}});
    if (kind == "preempt") {
        const auto ask = [&](auto reply) {
            services.control.preempt_job(workspace.id, name, std::move(reply), call.principal.name);
        };
        TURNOUT_CO_TRY_VOID(co_await asked<void>(ask));
        co_return json_response(200, answer);
    }
    // What the server itself does, then what the provider of that node offers.
    std::vector<DrillKind> offered = server_drills();
    std::string provider;
    for (const Node& one : services.control.nodes_of(workspace.id, job.compute))
        if (one.id() == node) provider = one.provider;
    Drills* const drills =
        provider.empty() || !services.drills ? nullptr : services.drills(provider);
    if (drills != nullptr)
        for (DrillKind& one : drills->kinds()) offered.push_back(std::move(one));
    const auto found = std::ranges::find(offered, kind, &DrillKind::name);
    if (found == offered.end()) co_return Failure(not_offered(kind, offered));
    services.control.drilled(workspace.id, name,
                             kind + " on " + attempt.nodes().front() +
                                 (found->lasts() ? " for " + to_words(how_long) : ""),
                             call.principal.name);
    if (found->lasts()) answer.set("seconds", seconds);
    if (kind == "partition") {
        if (services.cut_link) services.cut_link(node, how_long);
        co_return json_response(200, answer);
    }
    const auto ask = [&](auto reply) { drills->begin(node, kind, how_long, std::move(reply)); };
    TURNOUT_CO_TRY(const Json done, co_await asked<Json>(ask));
    for (const auto& [what, count] : done.members()) answer.set(what, count);
    co_return json_response(200, answer);
}

}  // namespace
}  // namespace turnout::api::arm

namespace turnout::api {

std::vector<DrillKind> server_drills() {
    return {{DrillKind::Leaves::Gone, "preempt",
             "takes the node away from the job, as a dedicated cluster would"},
            {DrillKind::Leaves::Silent, "partition",
             "cuts the link between the server and the node, and heals it"}};
}
}  // namespace turnout::api

namespace turnout::api::arm {

void add_drill_routes(Router& router, Services& services) {
    row(router, services, "POST", in_workspace("/jobs/{name}/drill"), Access::User, drill);
}

}  // namespace turnout::api::arm
