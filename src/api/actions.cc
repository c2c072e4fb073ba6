#include "api/actions.h"

#include <unordered_map>

#include "access/access.h"
#include "access/actions.h"
#include "api/api.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "catalog/default_workspace.h"
#include "store/store.h"

namespace turnout::api {
namespace {

using namespace access::action;

struct Row {
    std::string_view method, pattern;  // see `short_of`
    Where where;
    std::string_view action;
};

constexpr Row kRows[] = {
    // ---- who nobody is asked
    {"GET", "/", Where::Open, ""},
    {"GET", "/studio", Where::Open, ""},
    {"GET", "/studio/static/{path...}", Where::Open, ""},
    {"GET", "/studio/{page...}", Where::Open, ""},
    {"GET", "/mlflow/v1.0{W}", Where::Open, ""},
    {"GET", "/health", Where::Open, ""},
    {"GET", "/metadata/endpoints", Where::Open, ""},
    {"GET", "/msi/token", Where::Open, ""},
    {"POST", "/msi/token", Where::Open, ""},
    {"GET", "/adfs/.well-known/openid-configuration", Where::Open, ""},
    {"POST", "/adfs/oauth2/v2.0/token", Where::Open, ""},
    {"POST", "/adfs/oauth2/token", Where::Open, ""},
    {"GET", "/registrymanagement/v1.0/registries/{registry}/discovery", Where::Open, ""},
    {"GET", "/discovery/workspaces/{name}", Where::Open, ""},
    {"GET", "/login", Where::Open, ""},
    {"GET", "/login/once", Where::Open, ""},
    {"POST", "/login/once", Where::Open, ""},
    {"GET", "/login/oidc", Where::Open, ""},
    {"GET", "/oidc/callback", Where::Open, ""},
    {"GET", "/turnout/login", Where::Open, ""},
    {"POST", "/turnout/login/device", Where::Open, ""},
    {"POST", "/turnout/login/device/poll", Where::Open, ""},
    // ---- nodes
    {"GET", "/agent/v1/authority", Where::Node, ""},
    {"GET", "/agent/v1/tls", Where::Node, ""},
    {"GET", "/agent/v1/link", Where::Node, ""},
    // ---- people
    {"GET", "/turnout/me", Where::Own, ""},
    {"GET", "/turnout/tokens", Where::Own, ""},
    {"POST", "/turnout/tokens", Where::Own, ""},
    {"POST", "/turnout/tokens/{id}/rotate", Where::Own, ""},
    {"DELETE", "/turnout/tokens/{id}", Where::Own, ""},
    {"POST", "/logout", Where::Own, ""},
    {"POST", "/turnout/login-links", Where::Own, ""},
    {"GET", "/turnout/sessions", Where::Own, ""},
    {"DELETE", "/turnout/sessions/{id}", Where::Own, ""},
    {"POST", "/turnout/oidc/check", Where::Server, kReadServer},
    {"GET", "/turnout/users", Where::Server, kReadUsers},
    {"PUT", "/turnout/users/{name}/subject", Where::Server, kWriteAssignments},
    {"POST", "/turnout/users", Where::Server, kWriteUsers},
    {"GET", "/turnout/users/{name}", Where::Server, kReadUsers},
    {"PATCH", "/turnout/users/{name}", Where::Server, kWriteUsers},
    {"GET", "/turnout/roles", Where::Own, ""},
    {"PUT", "/turnout/roles/{name}", Where::Server, kWriteRoles},
    {"DELETE", "/turnout/roles/{name}", Where::Server, kDeleteRoles},
    {"GET", "/turnout/assignments", Where::Own, ""},
    {"POST", "/turnout/assignments", Where::Handler, kWriteAssignments},
    {"DELETE", "/turnout/assignments/{id}", Where::Handler, kDeleteAssignments},
    {"GET", "/turnout/quotas", Where::Own, ""},
    {"PUT", "/turnout/quotas", Where::Server, kWriteQuotas},
    {"DELETE", "/turnout/quotas", Where::Server, kWriteQuotas},
    {"GET", "/turnout/audit", Where::Server, kReadAudit},
    {"GET", "/turnout/audit/check", Where::Server, kReadAudit},
    // ---- the server
    {"POST", "/turnout/drain", Where::Server, kWriteServer},
    {"POST", "/turnout/resume", Where::Server, kWriteServer},
    {"POST", "/turnout/shutdown", Where::Server, kWriteServer},
    {"GET", "/turnout/slots", Where::Server, kReadPools},
    {"PUT", "/turnout/slots", Where::Server, kWritePools},
    {"GET", "/turnout/pools", Where::Server, kReadPools},
    {"GET", "/turnout/pools/{name}", Where::Server, kReadPools},
    {"GET", "/turnout/pools/{name}/drills", Where::Server, kReadPools},
    {"POST", "/turnout/pools/check", Where::Server, kReadPools},
    {"POST", "/turnout/pools/reload", Where::Server, kWritePools},
    {"PUT", "/turnout/pools/{name}", Where::Server, kDescribePools},
    {"DELETE", "/turnout/pools/{name}", Where::Server, kDescribePools},
    {"GET", "/turnout/capabilities", Where::Own, ""},
    {"GET", "/turnout/space", Where::Server, kReadServer},
    {"POST", "/turnout/prune", Where::Server, kPrune},
    // ---- workspaces
    {"GET", "/turnout/workspace", Where::Somewhere, kReadWorkspace},
    {"GET", "/turnout/removals/{wsid}", Where::Server, kReadServer},
    {"GET", "/subscriptions", Where::Somewhere, kReadWorkspace},
    {"GET", "/subscriptions/{sub}", Where::Somewhere, kReadWorkspace},
    {"GET", "/subscriptions/{sub}/resourceGroups", Where::Somewhere, kReadWorkspace},
    {"GET", "{G}", Where::Somewhere, kReadWorkspace},
    {"GET", "/subscriptions/{sub}/providers/Microsoft.MachineLearningServices/workspaces",
     Where::Somewhere, kReadWorkspace},
    {"GET", "{G}/providers/Microsoft.MachineLearningServices/workspaces", Where::Somewhere,
     kReadWorkspace},
    {"GET", "{W}", Where::Workspace, kReadWorkspace},
    {"PUT", "{W}", Where::Workspace, kWriteWorkspace},
    {"PATCH", "{W}", Where::Workspace, kWriteWorkspace},
    {"DELETE", "{W}", Where::Workspace, kDeleteWorkspace},
    {"POST", "{W}/listKeys", Where::Workspace, kListWorkspaceKeys},
    {"GET", "{W}/connections", Where::Workspace, kReadConnections},
    {"GET", "{W}/operations/{kind}/{name}", Where::Workspace, kReadWorkspace},
    {"GET", "{W}/operationResults/{kind}/{name}", Where::Workspace, kReadWorkspace},
    // The parts of a workspace that Azure has apart, and its template: of all workspaces.
    {"GET", "{G}/providers/Microsoft.Insights/components/{part}", Where::Server, kReadWorkspace},
    {"DELETE", "{G}/providers/Microsoft.Insights/components/{part}", Where::Server,
     kDeleteWorkspace},
    {"GET", "{G}/providers/Microsoft.Storage/storageAccounts/{part}", Where::Server,
     kReadWorkspace},
    {"DELETE", "{G}/providers/Microsoft.Storage/storageAccounts/{part}", Where::Server,
     kDeleteWorkspace},
    {"GET", "{G}/providers/Microsoft.KeyVault/vaults/{part}", Where::Server, kReadWorkspace},
    {"DELETE", "{G}/providers/Microsoft.KeyVault/vaults/{part}", Where::Server, kDeleteWorkspace},
    {"PUT", "{G}/providers/Microsoft.Resources/deployments/{deployment}", Where::Server,
     kWriteWorkspace},
    {"GET", "{G}/providers/Microsoft.Resources/deployments/{deployment}", Where::Server,
     kReadWorkspace},
    {"GET", "{G}/deployments/{deployment}/operations", Where::Server, kReadWorkspace},
    // ---- datastores and what is in them
    {"GET", "{W}/datastores", Where::Workspace, kReadDatastores},
    {"GET", "{W}/datastores/{name}", Where::Workspace, kReadDatastores},
    {"PUT", "{W}/datastores/{name}", Where::Workspace, kWriteDatastores},
    {"DELETE", "{W}/datastores/{name}", Where::Workspace, kDeleteDatastores},
    {"POST", "{W}/datastores/{name}/listSecrets", Where::Workspace, kListDatastoreSecrets},
    {"GET", "/datastore/v1.0{W}/datastores/{name}", Where::Workspace, kReadDatastores},
    {"POST", "/data/v1.0{W}/dataversion/batchGetResolvedUris", Where::Workspace, kReadData},
    {"GET", "/data/v1.0{W}/dataversion/{name}/versions/{version}", Where::Workspace, kReadData},
    {"GET", "/blob/{container}", Where::Workspace, kReadBlobs},
    {"PUT", "/blob/{container}", Where::Workspace, kWriteBlobs},
    {"GET", "/blob/{container}/{name...}", Where::Workspace, kReadBlobs},
    {"HEAD", "/blob/{container}/{name...}", Where::Workspace, kReadBlobs},
    {"PUT", "/blob/{container}/{name...}", Where::Workspace, kWriteBlobs},
    {"DELETE", "/blob/{container}/{name...}", Where::Workspace, kDeleteBlobs},
    {"GET", "/turnout/blobs/{container}/tar", Where::Workspace, kReadBlobs},
    {"GET", "/turnout/blobs/{container}/pieces", Where::Workspace, kReadBlobs},
    // ---- secrets
    {"GET", "{W}/secrets", Where::Workspace, kReadSecrets},
    {"GET", "{W}/secrets/{name}", Where::Workspace, kReadSecrets},
    {"PUT", "{W}/secrets/{name}", Where::Workspace, kWriteSecrets},
    {"DELETE", "{W}/secrets/{name}", Where::Workspace, kDeleteSecrets},
    {"POST", "/turnout/secrets/rotateKey", Where::Server, kWriteServer},
    // ---- online endpoints; who scores is asked by the route (api/inference/front.cc)
    {"POST", "/inference/{sub}/{rg}/{ws}/{endpoint}/score", Where::Open, ""},
    {"GET", "/inference/{sub}/{rg}/{ws}/{endpoint}/score", Where::Open, ""},
    {"GET", "/inference/{sub}/{rg}/{ws}/{endpoint}/swagger.json", Where::Open, ""},
    {"GET", "{W}/onlineEndpoints", Where::Workspace, kReadEndpoints},
    {"GET", "{W}/onlineEndpoints/{name}", Where::Workspace, kReadEndpoints},
    {"PUT", "{W}/onlineEndpoints/{name}", Where::Workspace, kWriteEndpoints},
    {"PATCH", "{W}/onlineEndpoints/{name}", Where::Workspace, kWriteEndpoints},
    {"DELETE", "{W}/onlineEndpoints/{name}", Where::Workspace, kDeleteEndpoints},
    {"POST", "{W}/onlineEndpoints/{name}/listKeys", Where::Workspace, kListEndpointKeys},
    {"POST", "{W}/onlineEndpoints/{name}/regenerateKeys", Where::Workspace,
     kRegenerateEndpointKeys},
    {"POST", "{W}/onlineEndpoints/{name}/token", Where::Workspace, kEndpointToken},
    {"GET", "{W}/onlineEndpoints/{endpoint}/deployments", Where::Workspace, kReadDeployments},
    {"GET", "{W}/onlineEndpoints/{endpoint}/deployments/{name}", Where::Workspace,
     kReadDeployments},
    {"PUT", "{W}/onlineEndpoints/{endpoint}/deployments/{name}", Where::Workspace,
     kWriteDeployments},
    {"PATCH", "{W}/onlineEndpoints/{endpoint}/deployments/{name}", Where::Workspace,
     kWriteDeployments},
    {"DELETE", "{W}/onlineEndpoints/{endpoint}/deployments/{name}", Where::Workspace,
     kDeleteDeployments},
    {"POST", "{W}/onlineEndpoints/{endpoint}/deployments/{name}/getLogs", Where::Workspace,
     kDeploymentLogs},
    // ---- computes
    {"GET", "{W}/computes", Where::Workspace, kReadComputes},
    {"GET", "{W}/computes/{name}", Where::Compute, kReadComputes},
    {"PUT", "{W}/computes/{name}", Where::Compute, kWriteComputes},
    {"PATCH", "{W}/computes/{name}", Where::Compute, kWriteComputes},
    {"DELETE", "{W}/computes/{name}", Where::Compute, kDeleteComputes},
    {"POST", "{W}/computes/{name}/listNodes", Where::Compute, kReadComputes},
    {"POST", "{W}/computes/{name}/listKeys", Where::Compute, kListComputeKeys},
    {"POST", "{W}/computes/{name}/start", Where::Compute, kWriteComputes},
    {"POST", "{W}/computes/{name}/stop", Where::Compute, kWriteComputes},
    {"POST", "{W}/computes/{name}/restart", Where::Compute, kWriteComputes},
    {"GET", "{W}/computes/{name}/ledger", Where::Compute, kReadComputes},
    {"GET",
     "/subscriptions/{sub}/providers/Microsoft.MachineLearningServices/locations/{location}/"
     "vmSizes",
     Where::Somewhere, kReadComputes},
    {"GET",
     "/subscriptions/{sub}/providers/Microsoft.MachineLearningServices/locations/{location}/usages",
     Where::Somewhere, kReadComputes},
    // ---- jobs
    {"GET", "{W}/jobs", Where::Workspace, kReadJobs},
    {"GET", "{W}/jobRows", Where::Workspace, kReadJobs},
    {"GET", "{W}/jobCounts", Where::Workspace, kReadJobs},
    {"GET", "{W}/jobs/{name}", Where::Workspace, kReadJobs},
    {"PUT", "{W}/jobs/{name}", Where::Workspace, kWriteJobs},
    {"PATCH", "{W}/jobs/{name}", Where::Workspace, kWriteJobs},
    {"DELETE", "{W}/jobs/{name}", Where::Workspace, kDeleteJobs},
    {"POST", "{W}/jobs/{name}/cancel", Where::Workspace, kCancelJobs},
    {"POST", "{W}/jobs/{name}/drill", Where::Workspace, kDrillJobs},
    {"GET", "{W}/jobs/{name}/explain", Where::Workspace, kReadJobs},
    {"GET", "{W}/jobs/{name}/reuse", Where::Workspace, kReadJobs},
    {"GET", "{W}/jobs/{name}/ledger", Where::Workspace, kReadJobs},
    {"GET", "{W}/experiments/{name}/ledger", Where::Workspace, kReadJobs},
    {"GET", "{W}/events", Where::Workspace, kReadEvents},
    {"POST", "/turnout/workspaces/{wsid}/jobs/{job}/inputs/{input}", Where::Workspace, kReadJobs},
    {"GET", "/logs/{wsid}/{job}/{path...}", Where::Workspace, kReadJobs},
    {"GET", "/studio/jobs/{wsid}/{job}", Where::Workspace, kReadJobs},
    {"GET", "/studio/jobs/{wsid}/{job}/plain", Where::Workspace, kReadJobs},
    {"GET", "/studio/jobs/{wsid}/{job}/data", Where::Workspace, kReadJobs},
    {"GET", "/studio/jobs/{wsid}/{job}/document", Where::Workspace, kReadJobs},
    {"GET", "/studio/jobs/{wsid}/{job}/lines", Where::Workspace, kReadJobs},
    {"GET", "/studio/jobs/{wsid}/{job}/search", Where::Workspace, kReadJobs},
    {"GET", "/studio/jobs/{wsid}/{job}/series", Where::Workspace, kReadJobs},
    {"GET", "/studio/jobs/{wsid}/{job}/log", Where::Workspace, kReadJobs},
    {"GET", "/studio/jobs/{wsid}/{job}/artifact/{path...}", Where::Workspace, kReadJobs},
    {"GET", "/studio/jobs/{wsid}/{job}/output/{name}/{path...}", Where::Workspace, kReadJobs},
    // ---- schedules
    {"GET", "{W}/schedules", Where::Workspace, kReadSchedules},
    {"GET", "{W}/schedules/{name}", Where::Workspace, kReadSchedules},
    {"PUT", "{W}/schedules/{name}", Where::Workspace, kWriteSchedules},
    {"DELETE", "{W}/schedules/{name}", Where::Workspace, kDeleteSchedules},
    {"POST", "{W}/schedules/{name}/trigger", Where::Workspace, kWriteSchedules},
    // ---- batch endpoints
    {"GET", "{W}/batchEndpoints", Where::Workspace, kReadBatch},
    {"GET", "{W}/batchEndpoints/{name}", Where::Workspace, kReadBatch},
    {"PUT", "{W}/batchEndpoints/{name}", Where::Workspace, kWriteBatch},
    {"PATCH", "{W}/batchEndpoints/{name}", Where::Workspace, kWriteBatch},
    {"DELETE", "{W}/batchEndpoints/{name}", Where::Workspace, kDeleteBatch},
    {"GET", "{W}/batchEndpoints/{endpoint}/deployments", Where::Workspace, kReadBatchDeployments},
    {"GET", "{W}/batchEndpoints/{endpoint}/deployments/{name}", Where::Workspace,
     kReadBatchDeployments},
    {"PUT", "{W}/batchEndpoints/{endpoint}/deployments/{name}", Where::Workspace,
     kWriteBatchDeployments},
    {"PATCH", "{W}/batchEndpoints/{endpoint}/deployments/{name}", Where::Workspace,
     kWriteBatchDeployments},
    {"DELETE", "{W}/batchEndpoints/{endpoint}/deployments/{name}", Where::Workspace,
     kDeleteBatchDeployments},
    {"POST", "{W}/batchEndpoints/{endpoint}/jobs", Where::Workspace, kInvokeBatch},
    {"GET", "{W}/batchEndpoints/{endpoint}/jobs", Where::Workspace, kReadBatchJobs},
    {"GET", "{W}/batchEndpoints/{endpoint}/deployments/{name}/jobs", Where::Workspace,
     kReadBatchJobs},
    {"GET", "/mferp/managementfrontend{W}/batchEndpoints/{endpoint}/jobs", Where::Workspace,
     kReadBatchJobs},
    {"GET", "/mferp/managementfrontend{W}/batchEndpoints/{endpoint}/deployments/{name}/jobs",
     Where::Workspace, kReadBatchJobs},
    // ---- curated environments
    {"GET", "/mferp/managementfrontend{R}/environments", Where::Own, ""},
    {"GET", "/mferp/managementfrontend{R}/environments/{name}", Where::Own, ""},
    {"GET", "/mferp/managementfrontend{R}/environments/{name}/versions", Where::Own, ""},
    {"GET", "/mferp/managementfrontend{R}/environments/{name}/versions/{version}", Where::Own, ""},
    {"POST", "{W}/codes/{name}/versions/{version}/startPendingUpload", Where::Workspace,
     kWriteCodes},
};

struct Kind {
    std::string_view name, read, write, erase;
};
constexpr Kind kKinds[] = {
    {"environments", kReadEnvironments, kWriteEnvironments, kDeleteEnvironments},
    {"data", kReadData, kWriteData, kDeleteData},
    {"models", kReadModels, kWriteModels, kDeleteModels},
    {"components", kReadComponents, kWriteComponents, kDeleteComponents},
    {"codes", kReadCodes, kWriteCodes, kDeleteCodes},
};

// ---- run history: below /runs/{id} and /experiments/{exp}/runs/{id}
constexpr Row kRunRows[] = {
    {"GET", "", Where::Workspace, kReadRuns},
    {"PATCH", "", Where::Workspace, kWriteRuns},
    {"GET", "/details", Where::Workspace, kReadRuns},
    {"GET", "/children", Where::Workspace, kReadRuns},
    {"GET", "/metrics", Where::Workspace, kReadRuns},
    {"GET", "/serviceinstances/{node}", Where::Workspace, kReadRuns},
    {"GET", "/artifacts", Where::Workspace, kReadRuns},
    {"GET", "/artifacts/contentinfo", Where::Workspace, kReadRuns},
    {"POST", "/artifacts/batch/metadata", Where::Workspace, kWriteRuns},
};

// ---- MLflow: below /api/2.0/mlflow/
constexpr Row kMlflowRows[] = {
    {"POST", "experiments/create", Where::Workspace, kWriteExperiments},
    {"GET", "experiments/get", Where::Workspace, kReadExperiments},
    {"GET", "experiments/get-by-name", Where::Workspace, kReadExperiments},
    {"GET", "experiments/list", Where::Workspace, kReadExperiments},
    {"POST", "experiments/search", Where::Workspace, kReadExperiments},
    {"POST", "experiments/update", Where::Workspace, kWriteExperiments},
    {"POST", "experiments/set-experiment-tag", Where::Workspace, kWriteExperiments},
    {"POST", "experiments/delete", Where::Workspace, kDeleteExperiments},
    {"POST", "experiments/restore", Where::Workspace, kDeleteExperiments},
    {"POST", "runs/create", Where::Workspace, kWriteRuns},
    {"GET", "runs/get", Where::Workspace, kReadRuns},
    {"POST", "runs/search", Where::Workspace, kReadRuns},
    {"POST", "runs/update", Where::Workspace, kWriteRuns},
    {"POST", "runs/delete", Where::Workspace, kDeleteRuns},
    {"POST", "runs/restore", Where::Workspace, kDeleteRuns},
    {"POST", "runs/log-metric", Where::Workspace, kWriteRuns},
    {"POST", "runs/log-parameter", Where::Workspace, kWriteRuns},
    {"POST", "runs/log-batch", Where::Workspace, kWriteRuns},
    {"POST", "runs/set-tag", Where::Workspace, kWriteRuns},
    {"POST", "runs/delete-tag", Where::Workspace, kWriteRuns},
    {"POST", "runs/log-inputs", Where::Workspace, kWriteRuns},
    {"POST", "runs/log-model", Where::Workspace, kWriteRuns},
    {"POST", "runs/outputs", Where::Workspace, kWriteRuns},
    {"GET", "metrics/get-history", Where::Workspace, kReadRuns},
    {"GET", "artifacts/list", Where::Workspace, kReadRuns},
    {"POST", "logged-models", Where::Workspace, kWriteRuns},
    {"POST", "logged-models/search", Where::Workspace, kReadRuns},
    {"GET", "logged-models/{model_id}", Where::Workspace, kReadRuns},
    {"PATCH", "logged-models/{model_id}", Where::Workspace, kWriteRuns},
    {"DELETE", "logged-models/{model_id}", Where::Workspace, kDeleteRuns},
    {"PATCH", "logged-models/{model_id}/tags", Where::Workspace, kWriteRuns},
    {"DELETE", "logged-models/{model_id}/tags/{key}", Where::Workspace, kWriteRuns},
    {"POST", "logged-models/{model_id}/params", Where::Workspace, kWriteRuns},
    {"GET", "logged-models/{model_id}/artifacts/directories", Where::Workspace, kReadRuns},
    {"GET", "registered-models/get", Where::Workspace, kReadModels},
    {"POST", "registered-models/rename", Where::Workspace, kWriteModels},
    {"GET", "registered-models/search", Where::Workspace, kReadModels},
    {"GET", "registered-models/get-latest-versions", Where::Workspace, kReadModels},
    {"POST", "registered-models/get-latest-versions", Where::Workspace, kReadModels},
    {"GET", "registered-models/alias", Where::Workspace, kReadModels},
    {"POST", "registered-models/create", Where::Workspace, kWriteModels},
    {"PATCH", "registered-models/update", Where::Workspace, kWriteModels},
    {"DELETE", "registered-models/delete", Where::Workspace, kDeleteModels},
    {"POST", "registered-models/set-tag", Where::Workspace, kWriteModels},
    {"DELETE", "registered-models/delete-tag", Where::Workspace, kWriteModels},
    {"POST", "registered-models/alias", Where::Workspace, kWriteModels},
    {"DELETE", "registered-models/alias", Where::Workspace, kWriteModels},
    {"GET", "model-versions/get", Where::Workspace, kReadModels},
    {"GET", "model-versions/search", Where::Workspace, kReadModels},
    {"GET", "model-versions/get-download-uri", Where::Workspace, kReadModels},
    {"POST", "model-versions/create", Where::Workspace, kWriteModels},
    {"PATCH", "model-versions/update", Where::Workspace, kWriteModels},
    {"DELETE", "model-versions/delete", Where::Workspace, kDeleteModels},
    {"POST", "model-versions/set-tag", Where::Workspace, kWriteModels},
    {"DELETE", "model-versions/delete-tag", Where::Workspace, kWriteModels},
    {"POST", "model-versions/transition-stage", Where::Workspace, kWriteModels},
};

std::string replaced(std::string text, std::string_view what, std::string_view with) {
    if (const std::size_t at = text.find(what); at != std::string::npos)
        text.replace(at, what.size(), with);
    return text;
}

// What stands for one and the same written once: {W} a workspace, {G} a resource group, {R} a
// registry; MLflow's three places, the two of blobs.
std::string short_of(std::string_view pattern) {
    std::string text = replaced(std::string(pattern), kWorkspacePattern, "{W}");
    text = replaced(std::move(text),
                    "/subscriptions/{sub}/resourceGroups/{rg}/providers/"
                    "Microsoft.MachineLearningServices/registries/{registry}",
                    "{R}");
    text = replaced(std::move(text), "/subscriptions/{sub}/resourceGroups/{rg}", "{G}");
    for (const std::string_view place : {"/mlflow/v1.0{W}/api/", "/mlflow/v2.0{W}/api/"})
        if (text.starts_with(place)) text.replace(0, place.size(), "/api/");
    return replaced(std::move(text), "/store.blob.store.turnout/", "/blob/");
}

std::string key_of(std::string_view method, std::string_view pattern) {
    return std::string(method) + " " + std::string(pattern);
}

std::string_view run_in(std::string_view pattern) {
    if (pattern.find("/jobs/{name}") != std::string_view::npos) return "name";
    if (pattern.find("/jobs/{job}/inputs/") != std::string_view::npos) return "job";
    // What is registered may be among the artifacts of any run: looked at by its place.
    if (pattern.find("/runs/{id}") != std::string_view::npos &&
        pattern.find("/artifacts") == std::string_view::npos)
        return "id";
    return "";
}

std::unordered_map<std::string, Need> build() {
    std::unordered_map<std::string, Need> table;
    const auto add = [&](const Row& row, std::string_view before = "") {
        const std::string pattern = std::string(before) + std::string(row.pattern);
        const bool is_new =
            table.emplace(key_of(row.method, pattern), Need{row.where, row.action, run_in(pattern)})
                .second;
        TURNOUT_CHECK(is_new, "two rows for a route");
    };
    for (const Row& row : kRows) add(row);
    for (const Kind& kind : kKinds) {
        const std::string container = "{W}/" + std::string(kind.name);
        add({"GET", "", Where::Workspace, kind.read}, container);
        for (const std::string_view part : {"/{name}", "/{name}/versions/{version}"}) {
            add({"GET", part, Where::Workspace, kind.read}, container);
            add({"PUT", part, Where::Workspace, kind.write}, container);
            add({"PATCH", part, Where::Workspace, kind.write}, container);
            add({"DELETE", part, Where::Workspace, kind.erase}, container);
        }
        add({"GET", "/{name}/versions", Where::Workspace, kind.read}, container);
    }
    for (const std::string_view run : {"/runs/{id}", "/experiments/{exp}/runs/{id}"})
        for (const Row& row : kRunRows) add(row, "/history/v1.0{W}" + std::string(run));
    add({"POST", "/history/v1.0{W}/rundata", Where::Workspace, kReadRuns});
    for (const Row& row : kMlflowRows) add(row, "/api/2.0/mlflow/");
    add({"GET", "/api/2.0/mlflow-artifacts/artifacts", Where::Workspace, kReadRuns});
    add({"GET", "/api/2.0/mlflow-artifacts/artifacts/{path...}", Where::Workspace, kReadRuns});
    add({"PUT", "/api/2.0/mlflow-artifacts/artifacts/{path...}", Where::Workspace, kWriteRuns});
    for (const std::string_view method : {"GET", "POST", "PUT", "PATCH", "DELETE"})
        for (const std::string_view path :
             {"/api/2.0/mlflow/{rest...}", "/api/3.0/mlflow/{rest...}"})
            add({method, path, Where::Workspace, kReadRuns});  // what is not served here
    return table;
}

// The id of the workspace that is meant; "" if there is none.
Result<std::string> workspace_meant(Services& services, const Call& call) {
    if (const std::string& wsid = call.param("wsid"); !wsid.empty()) return wsid;
    if (const std::string& container = call.param("container"); !container.empty())
        return std::string(workspace_of_container(container));
    if (!call.param("ws").empty()) {
        const auto found = TURNOUT_TRY(
            services.assets.find_workspace(call.param("sub"), call.param("rg"), call.param("ws")));
        return found ? found->id : std::string();
    }
    const auto meant = TURNOUT_TRY(default_workspace(services.assets));
    return meant ? meant->id : std::string();
}

// Azure's words, by which its clients and people know what is missing.
Failure denied(const Services& services, const Call& call, std::string_view action,
               const std::string& scope) {
    std::string why;
    const access::Limits limits = limits_of(call.principal);
    if (limits.read_only && !access::reads(action))
        why = " (the token that was used only reads)";
    else if (!limits.none())
        why = " (the token that was used is for one workspace only)";
    return fail(Code::PermissionDenied, "AuthorizationFailed",
                "The client '" + call.principal.name + "' with object id '" +
                    services.authority.object_id(call.principal) +
                    "' does not have authorization to perform action '" + std::string(action) +
                    "' over scope '" + scope +
                    "' or the scope is invalid. If access was recently granted, please refresh "
                    "your credentials." +
                    why,
                "");
}

std::string path_of(const Services& services, const access::Scope& scope) {
    if (scope.workspace.empty()) return "/";
    std::string path = "/workspaces/" + scope.workspace;
    if (const auto all = services.assets.list_workspaces("", ""))
        for (const Workspace& workspace : *all)
            if (workspace.id == scope.workspace) path = workspace_path(workspace);
    return scope.compute.empty() ? path : path + "/computes/" + scope.compute;
}

}  // namespace

std::optional<Need> need_of(std::string_view method, std::string_view pattern) {
    static const std::unordered_map<std::string, Need> table = build();
    const auto found = table.find(key_of(method, short_of(pattern)));
    if (found == table.end()) return std::nullopt;
    return found->second;
}

access::Limits limits_of(const Principal& principal) {
    return {principal.workspace, principal.read_only};
}

Result<void> permit(const Services& services, const Call& call, std::string_view action,
                    const std::string& wsid, const std::string& compute) {
    const access::Scope scope{wsid, compute};
    if (services.authority.may(call.principal, action, scope)) return {};
    return denied(services, call, action, path_of(services, scope));
}

bool may(const Services& services, const Call& call, std::string_view action,
         const std::string& wsid) {
    return call.principal.kind != Principal::Kind::User ||
           services.authority.may(call.principal, action, {wsid, ""});
}

// As on Azure, whose an instance is turns it on and off without being one who changes computes.
static bool turns_own_instance(const Services& services, const Call& call, const Route& route,
                               const std::string& wsid) {
    const bool turns = route.pattern.ends_with("/computes/{name}/start") ||
                       route.pattern.ends_with("/computes/{name}/stop") ||
                       route.pattern.ends_with("/computes/{name}/restart");
    if (!turns || call.principal.read_only) return false;
    const auto row = services.store.get(Table::Compute, wsid + "/" + call.param("name"));
    if (!row || !*row) return false;
    const auto json = parse_json((*row)->value);
    if (!json) return false;
    const auto compute = compute_from_json(*json);
    return compute && compute->personal && compute->personal->user == call.principal.name &&
           services.authority.may(call.principal, kReadComputes, {wsid, call.param("name")});
}

Result<void> permit(Services& services, const Call& call, const Route& route) {
    // A route that is in no row is for those who may everything.
    const Need need = route.need.value_or(Need{Where::Server, "Turnout/unlisted/action"});
    const access::Limits limits = limits_of(call.principal);
    // Who may it everywhere may it here: most requests need no look for the workspace.
    if (!need.action.empty() && services.authority.may(call.principal, need.action, {})) return {};
    switch (need.where) {
        case Where::Open:
        case Where::Node:
        case Where::Handler: return {};
        case Where::Own:
            if (limits.none() || route.method == "GET") return {};
            return denied(services, call, kWriteTokens, "/");
        case Where::Somewhere:
            if (services.authority.may_somewhere(call.principal, need.action)) return {};
            return denied(services, call, need.action, call.request.path);
        case Where::Server: return permit(services, call, need.action, "");
        case Where::Workspace:
            return permit(services, call, need.action,
                          TURNOUT_TRY(workspace_meant(services, call)));
        case Where::Compute: {
            const std::string wsid = TURNOUT_TRY(workspace_meant(services, call));
            if (turns_own_instance(services, call, route, wsid)) return {};
            return permit(services, call, need.action, wsid, call.param("name"));
        }
    }
    return {};
}

}  // namespace turnout::api
