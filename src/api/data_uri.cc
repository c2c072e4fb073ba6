#include "api/data_uri.h"

#include "api/history/run_view.h"
#include "blob/blobs.h"
#include "control/jobs.h"
#include "model/pipeline.h"
#include "model/sweep.h"

namespace turnout::api {
namespace {

// "" if no datastore shows that container.
Result<std::string> datastore_of(Services& services, const Workspace& workspace,
                                 const std::string& container) {
    if (container == artifact_container(workspace.id)) return std::string(kArtifactStore);
    if (container == blobstore_container(workspace.id)) return std::string(kBlobStore);
    for (const auto& [name, properties] :
         TURNOUT_TRY(services.assets.list_datastores(workspace.id)))
        if (properties.at("containerName").as_view() == container) return name;
    return std::string();
}

}  // namespace

std::string workspace_uri(const Workspace& workspace) {
    return "azureml://subscriptions/" + workspace.subscription + "/resourcegroups/" +
           workspace.resource_group + "/workspaces/" + workspace.name;
}

std::string long_uri(const Workspace& workspace, std::string_view uri) {
    constexpr std::string_view kScheme = "azureml:/";
    if (!uri.starts_with("azureml://datastores/")) return std::string(uri);
    return workspace_uri(workspace) + std::string(uri.substr(kScheme.size()));
}

std::optional<Giver> giver_of(const JobRecord& job, const std::string& output) {
    if (job.sweep.best >= 0) return Giver{trial_name(job.name, job.sweep.best), output};
    if (const Json* step = giver_of_output(job.plan, output))
        return Giver{child_name(job.name, step->at("step").as_int()),
                     step->at("output").as_string()};
    return std::nullopt;
}

Result<std::optional<OutputUri>> uri_of_output(Services& services, const Workspace& workspace,
                                               std::string_view job_name,
                                               std::string_view output_name) {
    auto job = TURNOUT_TRY(load_job(services.store, workspace.id, job_name));
    std::string name(output_name);
    if (job)
        if (const auto giver = giver_of(*job, name)) {
            job = TURNOUT_TRY(load_job(services.store, workspace.id, giver->job));
            name = giver->output;
        }
    if (!job) return std::optional<OutputUri>();
    const agent_protocol::TaskSpec task = TURNOUT_TRY(read_task(services.store, *job));
    const agent_protocol::BlobFolder* place = nullptr;
    std::string type = "uri_folder";
    for (const auto& output : task.outputs)
        if (output.name == name) {
            place = &output.target;
            type = output.type;
        }
    if (!place && (name == "artifacts" || name == "default")) place = &task.artifacts;
    if (!place) return std::optional<OutputUri>();
    const std::string datastore = TURNOUT_TRY(datastore_of(services, workspace, place->container));
    if (datastore.empty()) return std::optional<OutputUri>();
    OutputUri found{
        workspace_uri(workspace) + "/datastores/" + datastore + "/paths/" + place->prefix,
        std::move(type)};
    if (found.type != "uri_file" && !found.uri.ends_with('/')) found.uri += '/';
    return std::optional(std::move(found));
}

}  // namespace turnout::api
