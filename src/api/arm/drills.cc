// Harm on purpose, to a running job of one's own: POST …/jobs/{name}/drill. Not part of Azure's
// API. Body: {"kind": "preempt" | "kill-node" | "partition" | "fill-disk", "seconds": N}. It
// answers when the harm is done; what comes of it is seen in the job and in the events.
#include "control/drills.h"
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
    if (kind != "preempt" && kind != "kill-node" && kind != "partition" && kind != "fill-disk")
        co_return invalid("kind is '" + kind.substr(0, 40) +
                              "': expected preempt, kill-node, partition or fill-disk",
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
    if (job.type == JobType::Sweep)
        co_return fail(Code::FailedPrecondition, "JobIsASweep",
                       "job '" + name +
                           "' is a sweep and on no node itself: a drill needs one of its trials "
                           "that is Running",
                       "job");
    if (!job.placed())  // it ended just now, and will be tried again
        co_return fail(Code::FailedPrecondition, "JobNotOnNode",
                       "job '" + name + "' is on no node just now", "job");
    const JobAttempt& attempt = *job.current();
    const NodeId node = workspace.id + "/" + job.compute + "/" + attempt.nodes.front();
    Json answer = Json::object({{"kind", kind},
                                {"job", name},
                                {"node", attempt.nodes.front()},
                                {"attempt", attempt.number}});
    if (kind == "preempt") {
        const auto ask = [&](auto reply) {
            services.control.preempt_job(workspace.id, name, std::move(reply));
        };
        TURNOUT_CO_TRY_VOID(co_await asked<void>(ask));
        co_return json_response(200, answer);
    }
    if (services.drills == nullptr)
        co_return fail(
            Code::FailedPrecondition, "DrillNotSupported",
            "the nodes of this server are not its own to harm: only 'preempt' works here", "kind");
    Drills& drills = *services.drills;
    services.control.drilled(workspace.id, name,
                             kind + " on " + attempt.nodes.front() +
                                 (kind == "kill-node" ? "" : " for " + to_words(how_long)));
    if (kind == "kill-node") {
        const auto ask = [&](auto reply) { drills.kill_node(node, std::move(reply)); };
        TURNOUT_CO_TRY(const int killed, co_await asked<int>(ask));
        answer.set("processes", killed);
    } else if (kind == "partition") {
        drills.cut_link(node, how_long);
        answer.set("seconds", seconds);
    } else {
        const auto ask = [&](auto reply) { drills.fill_disk(node, how_long, std::move(reply)); };
        TURNOUT_CO_TRY(const std::uint64_t bytes, co_await asked<std::uint64_t>(ask));
        answer.set("seconds", seconds);
        answer.set("bytes", bytes);
    }
    co_return json_response(200, answer);
}

}  // namespace

void add_drill_routes(Router& router, Services& services) {
    row(router, services, "POST", in_workspace("/jobs/{name}/drill"), Access::User, drill);
}

}  // namespace turnout::api::arm
