#include "api/agent/input_routes.h"

#include <algorithm>

#include "control/jobs.h"

namespace turnout::api {
namespace {

constexpr Span kPatience = 1s;

std::string_view name_of(fetch::FetchState::Kind kind) {
    switch (kind) {
        case fetch::FetchState::Kind::Working: return "working";
        case fetch::FetchState::Kind::Ready: return "ready";
        case fetch::FetchState::Kind::Failed: return "failed";
    }
    return "";
}

// What of its job the run wants, as it was submitted: it names an input, never an address.
Result<agent_protocol::TaskInput> input_of(const Services& services, const Call& call) {
    const Principal& run = call.principal;
    if (run.kind != Principal::Kind::Run || run.job != call.param("job"))
        return fail(Code::PermissionDenied, "AuthorizationFailed",
                    "only the run itself asks for its inputs");
    const auto job = TURNOUT_TRY(read_job(services.store, run.workspace, run.job));
    if (!job) return not_found("job '" + run.job + "' does not exist", "job");
    const auto task = TURNOUT_TRY(read_task(services.store, job->record));
    const auto input =
        std::ranges::find(task.inputs, call.param("input"), &agent_protocol::TaskInput::name);
    if (input == task.inputs.end() || !input->fetch)
        return not_found(
            "job '" + run.job + "' has no input '" + call.param("input") + "' from outside",
            "input");
    return *input;
}

Task<Result<http::Response>> fetch_input(Services& services, fetch::Fetcher& fetcher, Call& call) {
    TURNOUT_CO_TRY(const auto input, input_of(services, call));
    TURNOUT_CO_TRY(auto source, fetch::parse_source(input.uri));
    TURNOUT_CO_TRY(const bool folder, fetch::is_folder(source, input.type));
    std::string asker = call.principal.job + "/" + std::to_string(call.principal.attempt) + "/" +
                        call.param("input");
    const fetch::FetchState state = co_await fetcher.ask(call.principal.workspace, std::move(asker),
                                                         std::move(source), folder, kPatience);
    Json json = Json::object({{"state", name_of(state.kind)}});
    switch (state.kind) {
        case fetch::FetchState::Kind::Working: json.set("text", state.text); break;
        case fetch::FetchState::Kind::Ready:
            json.set("container", state.place.container);
            json.set("prefix", state.place.prefix);
            break;
        case fetch::FetchState::Kind::Failed:
            json.set("code", turnout::name_of(state.error.code));
            json.set("reason", state.error.reason);
            json.set("message", state.error.message);
            break;
    }
    co_return json_response(200, json);
}

}  // namespace

void add_input_routes(Router& router, Services& services, fetch::Fetcher& fetcher) {
    router.add("POST", "/turnout/workspaces/{wsid}/jobs/{job}/inputs/{input}", Access::Run,
               [&services, &fetcher](Call& call) { return fetch_input(services, fetcher, call); });
}

}  // namespace turnout::api
