#include "access/actions.h"
#include "api/mlflow/wire.h"
#include "base/text.h"

namespace turnout::api::mlflow {
namespace {

// For the audit.
std::string about_of(const Json& body) {
    const std::string name = body.at("name").as_string();
    return "experiment " + (name.empty() ? body.at("experiment_id").as_string() : name);
}

Result<void> check_experiment_tag(const std::string& key, const std::string& value) {
    if (key.empty() || count_characters(key) > 250)
        return invalid("the name of an experiment's tag has 1 to 250 characters", "key");
    if (count_characters(value) > 20'000)
        return invalid("the value of an experiment's tag has at most 20,000 characters", "value");
    return {};
}

bool made_by(const Experiment& experiment, const Principal& run) {
    return experiment.tags.at(kCreatorTag).as_view() == run.job;
}

}  // namespace

Result<void> leave_own(Services& services, const Call& call, const Workspace& workspace,
                       std::vector<Experiment>& experiments) {
    if (TURNOUT_TRY(may_all(services, call, access::action::kReadExperiments))) return {};
    const auto own = TURNOUT_TRY(services.tracking.find_run(workspace.id, call.principal.job));
    std::erase_if(experiments, [&](const Experiment& one) {
        return !made_by(one, call.principal) && !(own && own->experiment_id == one.id);
    });
    return {};
}

namespace {

Answer create_experiment(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    call.about = about_of(body);
    TURNOUT_CO_TRY(const auto pairs, parse_pairs(body.at("tags"), "tags"));
    Json tags = Json::object();
    for (const auto& [key, value] : pairs) {
        TURNOUT_CO_TRY_VOID(check_experiment_tag(key, value));
        tags.set(key, value);
    }
    if (call.principal.kind == Principal::Kind::Run) tags.set(kCreatorTag, call.principal.job);
    TURNOUT_CO_TRY(const Experiment made,
                   co_await services.tracking.create_experiment(
                       workspace.id, body.at("name").as_string(), std::move(tags)));
    co_return json_response(200, Json::object({{"experiment_id", made.id}}));
}

Answer get_experiment(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY(const Experiment found,
                   co_await experiment_of_id(services, workspace.id,
                                             std::string(call.query_value("experiment_id"))));
    co_return json_response(200, Json::object({{"experiment", experiment_document(found)}}));
}

Answer get_by_name(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    const std::string name(call.query_value("experiment_name"));
    if (name.empty())
        co_return invalid("missing value for required parameter 'experiment_name'",
                          "experiment_name");
    if (name == "Default") {
        TURNOUT_CO_TRY(const Experiment made,
                       co_await experiment_of_id(services, workspace.id, "0"));
        co_return json_response(200, Json::object({{"experiment", experiment_document(made)}}));
    }
    TURNOUT_CO_TRY(const auto found, services.tracking.experiment_by_name(workspace.id, name));
    if (!found) co_return not_found("experiment '" + name + "' does not exist", name);
    co_return json_response(200, Json::object({{"experiment", experiment_document(*found)}}));
}

Answer list_experiments(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY(auto experiments, services.tracking.list_experiments(workspace.id));
    TURNOUT_CO_TRY_VOID(leave_own(services, call, workspace, experiments));
    Json documents = Json::array();
    for (const Experiment& experiment : experiments)
        documents.push(experiment_document(experiment));
    co_return json_response(200, Json::object({{"experiments", std::move(documents)}}));
}

Answer update_experiment(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    call.about = about_of(body);
    TURNOUT_CO_TRY(const bool all, may_all(services, call, access::action::kWriteExperiments));
    if (!all) co_return beyond_reach(call.principal);  // others run in it, too
    TURNOUT_CO_TRY(
        const Experiment found,
        co_await experiment_of_id(services, workspace.id, body.at("experiment_id").as_string()));
    TURNOUT_CO_TRY_VOID(co_await services.tracking.update_experiment(
        workspace.id, found.id, body.at("new_name").as_string(), Json::object()));
    co_return json_response(200, Json::object());
}

Answer set_experiment_tag(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    call.about = about_of(body);
    const std::string key = body.at("key").as_string();
    const std::string value = body.at("value").as_string();
    TURNOUT_CO_TRY_VOID(check_experiment_tag(key, value));
    TURNOUT_CO_TRY(
        const Experiment found,
        co_await experiment_of_id(services, workspace.id, body.at("experiment_id").as_string()));
    // Others run in it, too.
    TURNOUT_CO_TRY(const bool all, may_all(services, call, access::action::kWriteExperiments));
    if (!all && (key == kCreatorTag || !made_by(found, call.principal)))
        co_return beyond_reach(call.principal);
    Json tags = Json::object();
    tags.set(key, value);
    TURNOUT_CO_TRY_VOID(co_await services.tracking.update_experiment(
        workspace.id, found.id, std::nullopt, std::move(tags)));
    co_return json_response(200, Json::object());
}

Answer refuse_delete(Services&, Call&) {
    co_return not_implemented(
        "experiments cannot be deleted or restored here: archive their jobs, or delete their runs");
}

}  // namespace

void add_experiment_rows(Router& router, Services& services) {
    add_mlflow_row(router, services, "POST", "/api/2.0/mlflow/experiments/create",
                   create_experiment);
    add_mlflow_row(router, services, "GET", "/api/2.0/mlflow/experiments/get", get_experiment);
    add_mlflow_row(router, services, "GET", "/api/2.0/mlflow/experiments/get-by-name", get_by_name);
    add_mlflow_row(router, services, "GET", "/api/2.0/mlflow/experiments/list", list_experiments);
    add_mlflow_row(router, services, "POST", "/api/2.0/mlflow/experiments/update",
                   update_experiment);
    add_mlflow_row(router, services, "POST", "/api/2.0/mlflow/experiments/set-experiment-tag",
                   set_experiment_tag);
    add_mlflow_row(router, services, "POST", "/api/2.0/mlflow/experiments/delete", refuse_delete);
    add_mlflow_row(router, services, "POST", "/api/2.0/mlflow/experiments/restore", refuse_delete);
}

}  // namespace turnout::api::mlflow
