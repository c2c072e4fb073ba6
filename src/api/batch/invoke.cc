// What a batch endpoint is there for: it begins a job, and says which it has begun.
//
//   POST {W}/batchEndpoints/{endpoint}/jobs        the scoring URI; header azureml-model-deployment
//   GET  {api}/mferp/managementfrontend{W}/batchEndpoints/{endpoint}[/deployments/{name}]/jobs
#include "access/actions.h"
#include "api/actions.h"
#include "api/arm/job_submission.h"
#include "api/batch/batch.h"
#include "api/upkeep/removal.h"
#include "base/hash.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "control/jobs.h"

namespace turnout::api::batch {
namespace {

constexpr std::size_t kMaxInvocation = 1 << 20;
constexpr std::size_t kMostLooked = 20'000;  // jobs for one page

Json scoring_job_body(const Workspace& workspace, const JobRecord& job) {
    Json properties = Json::object({{"status", name_of(job.status)},
                                    {"displayName", job.meta.display_name},
                                    {"experimentName", job.meta.experiment},
                                    {"deployment", job.meta.properties.at(kDeploymentOf)},
                                    {"creationTime", to_iso8601(job.created)}});
    return arm::envelope(workspace_path(workspace) + "/jobs/" + job.name, job.name,
                         "workspaces/jobs", std::move(properties));
}

submission::BatchDeploymentSaid said_by(const Deployment& deployment) {
    const Json& model = deployment.row.at("model");
    return {deployment.endpoint,
            deployment.name,
            deployment.row.at("properties"),
            model.at("type").as_string(),
            model.at("folder").as_string(),
            deployment.row.at("model").at("outputs")};
}

// As Azure's clients do it before they send a pipeline: they read no step whose component is in it.
Task<Result<void>> register_components(Services& services, Call& call, Workspace workspace,
                                       Json& definition) {
    Json* const steps = definition.find("jobs");
    if (!steps) co_return Result<void>();
    for (auto& [name, step] : steps->members()) {
        if (!step.at("component").is_object()) continue;
        AssetVersion component;
        component.name = "azureml_anonymous";
        Json spec = step.at("component");
        component.version = to_hex(sha256(spec.dump())).substr(0, 32);
        spec.set("name", component.name);
        spec.set("version", component.version);
        component.properties =
            Json::object({{"componentSpec", std::move(spec)}, {"isAnonymous", true}});
        TURNOUT_CO_TRY(const auto before,
                       services.assets.find_version(workspace.id, "components", component.name,
                                                    component.version));
        if (!before) {
            TURNOUT_CO_TRY(const Author by, author_of(services, call));
            component.made = {by, by};
            component.created = services.clock.now();
            TURNOUT_CO_TRY(
                [[maybe_unused]] const bool is_new,
                co_await services.assets.put_version(workspace.id, "components", component));
        }
        step.erase("component");
        step.set("componentId", workspace_path(workspace) + "/components/" + component.name +
                                    "/versions/" + component.version);
    }
    co_return Result<void>();
}

Answer invoke(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxInvocation));
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(const Endpoint endpoint,
                   find_endpoint(services, workspace, call.param("endpoint")));
    std::string name(call.request.headers.get("azureml-model-deployment"));
    if (name.empty())
        name = endpoint.row.at("properties").at("defaults").at("deploymentName").as_string();
    if (name.empty())
        co_return fail(Code::FailedPrecondition, "NoDefaultDeployment",
                       "batch endpoint '" + endpoint.name +
                           "' has no default deployment: set defaults.deployment_name, or name "
                           "one in the header azureml-model-deployment",
                       "azureml-model-deployment");
    TURNOUT_CO_TRY(const Deployment deployment,
                   find_deployment(services, workspace, endpoint.name, name));
    const Json& request = body.at("properties");
    if (!request.is_null() && !request.is_object())
        co_return invalid("properties: expected an object, found " + request.dump().substr(0, 80),
                          "properties");
    TURNOUT_CO_TRY(Json definition, submission::batch_job(said_by(deployment), request));
    TURNOUT_CO_TRY_VOID(co_await register_components(services, call, workspace, definition));
    std::string job = request.at("name").as_string();
    if (job.empty()) job = "batchjob-" + to_hex(services.random.bytes(8));
    TURNOUT_CO_TRY_VOID(check_asset_name(job, "job"));
    TURNOUT_CO_TRY_VOID(co_await upkeep::check_name_is_free(services, workspace.id, job));
    TURNOUT_CO_TRY(const auto known, read_job(services.store, workspace.id, job));
    if (known)
        co_return fail(Code::Conflict, "ResourceExists",
                       "job '" + job + "' exists: choose another name", "name");
    const Json more = Json::object(
        {{std::string(kEndpointOf), endpoint.name}, {std::string(kDeploymentOf), deployment.name}});
    TURNOUT_CO_TRY(const arm::SubmittedJob made,
                   co_await arm::submit_job(services, call, workspace, job, definition, more));
    co_return json_response(201, scoring_job_body(workspace, made.job));
}

// Newest first. The token of a page is the key of its last job.
Answer list_scoring_jobs(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(const Endpoint endpoint,
                   find_endpoint(services, workspace, call.param("endpoint")));
    const std::string deployment = call.param("name");
    if (!deployment.empty() && deployment != "None") {  // as the SDK says that it names none
        TURNOUT_CO_TRY_VOID(find_deployment(services, workspace, endpoint.name, deployment));
    }
    const std::string prefix = workspace.id + "/";
    // Cheap: jobs of others need not be parsed.
    const std::string mark = Json(std::string(kEndpointOf)).dump();
    Range range = with_prefix(prefix, arm::kPageSize);
    if (const std::string_view token = call.query_value("$skip"); !token.empty())
        range.from = prefix + std::string(token) + '\0';
    Json found = Json::array();
    std::string last;
    std::size_t looked = 0;
    bool more = false;
    Turn turn(services, call);
    while (!more) {
        TURNOUT_CO_TRY(const auto keys, services.store.scan(Table::JobCreated, range));
        for (const Record& created : keys) {
            last = created.key.substr(prefix.size());
            const std::string name = last.substr(last.rfind('/') + 1);
            TURNOUT_CO_TRY(const auto row, services.store.get(Table::Job, prefix + name));
            ++looked;
            if (row && row->value.find(mark) != std::string::npos) {
                TURNOUT_CO_TRY(const StoredJob job, join_job(services.store, *row));
                const Json& properties = job.record.meta.properties;
                if (properties.at(kEndpointOf).as_view() == endpoint.name &&
                    (deployment.empty() || deployment == "None" ||
                     properties.at(kDeploymentOf).as_view() == deployment))
                    found.push(scoring_job_body(workspace, job.record));
            }
            if (found.items().size() >= arm::kPageSize || looked >= kMostLooked) {
                more = true;
                break;
            }
            if (turn.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn.pass());
            }
        }
        if (keys.size() < range.limit && !more) break;
        range.from = prefix + last + '\0';
    }
    Json body = Json::object({{"value", std::move(found)}});
    if (more) body.set("nextLink", arm::next_link(call, last));
    co_return json_response(200, body);
}

}  // namespace

void add_job_rows(Router& router, Services& services) {
    const std::string at = "/batchEndpoints/{endpoint}";
    const std::string other = at + "/deployments/{name}/jobs";
    arm::row(router, services, "POST", arm::in_workspace(at + "/jobs"), Access::Behalf, invoke);
    for (const std::string& before : {std::string(), std::string("/mferp/managementfrontend")})
        for (const std::string& path : {at + "/jobs", other})
            arm::row(router, services, "GET", before + arm::in_workspace(path), Access::Behalf,
                     list_scoring_jobs);
}

}  // namespace turnout::api::batch
