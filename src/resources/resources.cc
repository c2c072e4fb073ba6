#include "resources/resources.h"

#include <algorithm>

#include "base/text.h"
#include "resources/fields.h"
#include "resources/shapes.h"

namespace turnout::resources {

// What is shown of a job besides Azure ML's keys; a definition that was shown may be created again.
std::vector<Field> with_what_is_shown(std::vector<Field> fields) {
    for (const auto& [key, help] : {std::pair{"created", "When it was submitted."},
                                    {"waiting_for", "Why it has no node yet."},
                                    {"place_in_queue", "Its place there."},
                                    {"expected_start", "When it is expected to start."},
                                    {"preemptions", "How often it had to give way."},
                                    {"cause", "Why it ended other than well."},
                                    {"reason", "The same in words; why it was canceled."},
                                    {"error", "The same as Azure ML tells it."}})
        fields.push_back(shown(key, "", help));
    return fields;
}

namespace {

// ---- parts of a command job ----

const Description& job_resources() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "resources",
        .help = "",
        .fields = {
            between(1,
                    field("instance_count", "instanceCount", Kind::Whole,
                          "Nodes that the job runs on at a time; 1 if absent."),
                    kMostNodes),
            text("instance_type", "instanceType",
                 "VM size; on a cluster it must be the size of its nodes."),
            field("locations", "locations", Kind::TextList,
                  "Regions: kept and shown, without effect."),
            ruled(kMemorySize,
                  text("shm_size", "shmSize",
                       "Size of /dev/shm for the command, such as `2g`; the machine's own if "
                       "absent, or if the node does not allow it (the log says so).")),
            field("max_instance_count", "maxInstanceCount", Kind::Whole,
                  "Most nodes of an elastic job: kept and shown, without effect."),
            special("docker_args", docker_args_shape(),
                    "Extra arguments of `docker run`: kept and shown, without effect."),
            field("properties", "properties", Kind::AnyMap,
                  "Free-form settings. With `compute: containerinstance` its "
                  "`container_instance` says region, cpu_cores (1) and memory_gb (4).")}};
    return description;
}

const Description& job_limits() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "limits",
        .help = "",
        .fields = {between(1, field("timeout", "timeout", Kind::Seconds,
                                    "Longest run time; then the job is stopped."))},
        .constants = {{"jobLimitsType", "Command"}}};
    return description;
}

const Description& distribution() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "distribution",
        .help = "",
        .fields = {choice("type", "distributionType",
                          {{"pytorch", "PyTorch"},
                           {"mpi", "Mpi"},
                           {"tensorflow", "TensorFlow"},
                           {"ray", "Ray",
                            "ray does not run: nothing here starts a Ray cluster; start Ray in the "
                            "command, with pytorch or mpi for the variables of the nodes"}},
                          "Which variables the processes get to find each other.", Need::Required),
                   between(1,
                           field("process_count_per_instance", "processCountPerInstance",
                                 Kind::Whole, "Processes on each node; 1 if absent."),
                           kMostProcesses),
                   between(1, field("worker_count", "workerCount", Kind::Whole,
                                    "TensorFlow workers; the number of nodes if absent.")),
                   between(0, field("parameter_server_count", "parameterServerCount", Kind::Whole,
                                    "TensorFlow parameter servers; 0 if absent. The job is over "
                                    "when they have ended, too."))},
        .check = check_distribution};
    return description;
}

const Description& sweep_limits() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "limits",
        .help = "",
        .fields = {field("max_total_trials", "maxTotalTrials", Kind::Whole,
                         "Most trials; the whole grid, or 1000, if absent."),
                   field("max_concurrent_trials", "maxConcurrentTrials", Kind::Whole,
                         "Most trials at one time; as many as there are if absent."),
                   between(
                       1, field("timeout", "timeout", Kind::Seconds,
                                "Longest time of the sweep; then it is canceled with its trials.")),
                   between(1, field("trial_timeout", "trialTimeout", Kind::Seconds,
                                    "Longest run time of one trial; then the trial is stopped."))},
        .constants = {{"jobLimitsType", "Sweep"}},
        .check = check_sweep_limits};
    return description;
}

const Description& objective() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "objective",
        .help = "",
        .fields = {
            choice("goal", "goal", {{"maximize", "maximize"}, {"minimize", "minimize"}},
                   "what is best", Need::Required),
            text("primary_metric", "primaryMetric",
                 "the metric that the trials log, as mlflow.log_metric names it", Need::Required)}};
    return description;
}

const Description& early_termination() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "early_termination",
        .help = "",
        .fields = {choice("type", "policyType",
                          {{"bandit", "Bandit"},
                           {"median_stopping", "MedianStopping"},
                           {"truncation_selection", "TruncationSelection"}},
                          "the policy", Need::Required),
                   between(
                       0, field("evaluation_interval", "evaluationInterval", Kind::Whole,
                                "How many values of the metric between evaluations; 1 if absent.")),
                   between(0, field("delay_evaluation", "delayEvaluation", Kind::Whole,
                                    "How many values to wait before the first one.")),
                   field("slack_factor", "slackFactor", Kind::Number,
                         "Bandit: allowed distance from the best trial, as a ratio."),
                   field("slack_amount", "slackAmount", Kind::Number,
                         "Bandit: allowed distance from the best trial."),
                   between(
                       1,
                       field("truncation_percentage", "truncationPercentage", Kind::Whole,
                             "Truncation selection: how many of the trials are stopped, 1 to 99."),
                       99)},
        .check = check_early_termination};
    return description;
}

}  // namespace

const Description& job_identity() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "identity",
        .help = "",
        .fields = {choice("type", "identityType",
                          {{"user_identity", "UserIdentity"},
                           {"aml_token", "AMLToken"},
                           {"managed", "Managed"},
                           {"managed_identity", "Managed"}},
                          "Whose rights the job has. user_identity: also those of who submits it, "
                          "in its workspace; else it reads what it names and what is "
                          "registered, and registers assets.",
                          Need::Required),
                   text("client_id", "clientId", "Managed identity."),
                   text("object_id", "objectId", "Managed identity."),
                   text("msi_resource_id", "resourceId", "Managed identity.")}};
    return description;
}

const Description& queue_settings() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "queue_settings",
        .help = "",
        .fields = {
            choice("job_tier", "jobTier",
                   {{"spot", "Spot"},
                    {"basic", "Basic"},
                    {"standard", "Standard"},
                    {"premium", "Premium"},
                    {"null", "Null"}},
                   "Kept and shown."),
            special("priority", priority_shape(),
                    "Which of the jobs that wait for a compute begin first; `medium` if absent.")}};
    return description;
}

namespace {

const Description& route() {
    static const Description description = {
        .kind = "environment",
        .type = "",
        .title = "a route",
        .help = "",
        .fields = {field("port", "port", Kind::Whole, "Port."), text("path", "path", "Path.")}};
    return description;
}

const Description& inference_config() {
    static const Description description = {
        .kind = "environment",
        .type = "",
        .title = "inference_config",
        .help = "",
        .fields = {object("liveness_route", "livenessRoute", route(), "Is it alive?"),
                   object("readiness_route", "readinessRoute", route(), "Is it ready?"),
                   object("scoring_route", "scoringRoute", route(), "Where it answers.")}};
    return description;
}

void check_environment(Reading& reading, const std::string& pointer, const Json& value) {
    for (const char* key : {"channels", "dependencies"})
        if (value.has(key))
            reading.refuse(pointer_to(pointer, key),
                           "belongs into a conda file: give that file under 'conda_file'");
    if (!value.at("image").is_null() && !value.at("build").is_null())
        reading.refuse(pointer_to(pointer, "build"), "expected either image or build, found both");
    if (value.at("image").is_null() && value.at("build").is_null() &&
        value.at("conda_file").is_null())
        reading.refuse(pointer, "expected one of image, build, conda_file");
}

void finish_datastore(const Json&, Json& rest) {
    Json& properties = rest["properties"];
    if (!properties.has("credentials"))
        properties.set("credentials", Json::object({{"credentialsType", "None"}}));
    if (!properties.has("endpoint")) properties.set("endpoint", "core.windows.net");
    if (!properties.has("protocol")) properties.set("protocol", "https");
}

void finish_data(const Json&, Json& rest) {
    if (at_path(rest, "properties.dataType").is_null())
        set_path(rest, "properties.dataType", "uri_folder");
}

void finish_model(const Json&, Json& rest) {
    if (at_path(rest, "properties.modelType").is_null())
        set_path(rest, "properties.modelType", "custom_model");
}

void check_upload_target(Reading& reading, const std::string& pointer, const Json& value) {
    const std::string store = value.at("datastore").as_string();
    if (!store.empty() && store != "workspaceblobstore" && store != "azureml:workspaceblobstore")
        reading.refuse(pointer_to(pointer, "datastore"),
                       "uploads go to workspaceblobstore: remove the key, found '" + store + "'");
}

// ---- keys that every versioned document has ----

Field asset_name(const std::string& of) {
    return special("name", asset_name_shape(), "the " + of + "'s name", Need::Required, "--name");
}
Field asset_version() {
    return special("version", asset_version_shape(), "Version; the next free one if absent.",
                   Need::Optional, "--version");
}
Field asset_description(std::string flag = "--description") {
    return text("description", "properties.description", "Text for people.", Need::Optional,
                std::move(flag));
}
Field asset_tags() {
    return field("tags", "properties.tags", Kind::TextMap, "Tags.");
}
Field asset_properties() {
    return field("properties", "properties.properties", Kind::TextMap, "Properties.");
}
Field no_expiry() {
    return refused("auto_delete_setting", "Expiry.",
                   "assets do not expire by themselves here: remove the key");
}
Field upload_store(const std::string& what) {
    return text("datastore", "", "Where a " + what + " is uploaded: workspaceblobstore.");
}
std::vector<Field> with_what_assets_show(std::vector<Field> fields) {
    fields.push_back(
        shown("latest_version", "properties.latestVersion", "Newest version.", Kind::Text));
    fields.push_back(special("creation_context", creation_context_shape(), "Who made it, when.",
                             Need::ReadOnly));
    fields.push_back(special("id", resource_id_shape(true), "Resource id.", Need::ReadOnly));
    fields.push_back(
        special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly));
    return fields;
}

}  // namespace

const Description& command_job() {
    static const Description description = {
        .kind = "job",
        .type = "command",
        .schema = "commandJob",
        .title = "a command job",
        .help =
            "`turnout job create -f job.yml`: one command, run on a node of a compute, or on "
            "several at a time. For many of them with different "
            "parameters see a sweep job; of steps that follow each other a pipeline; to look for "
            "a model an AutoML job; other job types (spark …) are refused by name.",
        .fields = with_what_is_shown(
            {ruled(kName, text("name", "name", "Unique name; made up if absent.", Need::Optional,
                               "--name")),
             text("display_name", "properties.displayName", "Name for people."),
             choice("type", "properties.jobType", {{"command", "Command"}, {"spark", "Spark"}},
                    "`command`, also when absent."),
             shown("status", "properties.status",
                   "Where the job is: Queued, Preparing, Running, Completed …", Kind::Text),
             text("experiment_name", "properties.experimentName",
                  "Experiment; the folder's name if absent."),
             text("description", "properties.description", "Text for people."),
             text("command", "properties.command",
                  "the command line, with ${{inputs.x}} and ${{outputs.y}}", Need::Required),
             special("code", code_shape(),
                     "Folder that becomes the working directory, or the one file in it."),
             special("environment", environment_shape(),
                     "what the command runs in, such as azureml:NAME@latest", Need::Required),
             field("environment_variables", "properties.environmentVariables", Kind::TextMap,
                   "Environment variables of the command."),
             special("inputs", inputs_shape(), "Values and data."),
             special("outputs", outputs_shape(), "Named outputs."),
             special("compute", compute_shape(), "Where it runs; `serverless` if absent."),
             object("resources", "properties.resources", job_resources(), "What it asks for."),
             object("limits", "properties.limits", job_limits(), "Limits."),
             object("distribution", "properties.distribution", distribution(),
                    "Distributed training: the command is started once per process."),
             object("identity", "properties.identity", job_identity(), "Identity."),
             object("queue_settings", "properties.queueSettings", queue_settings(),
                    "Its place in the queue."),
             special("services", services_shape(),
                     "Interactive services are accepted and have no effect yet; links to the job's "
                     "page when shown."),
             field("tags", "properties.tags", Kind::TextMap, "Tags."),
             field("properties", "properties.properties", Kind::TextMap,
                   "Properties; they are only ever added to."),
             refused("parent_job_name", "Parent.",
                     "a job has no parent but the pipeline that makes it"),
             shown("parameters", "properties.parameters", "Parameters."),
             special("creation_context", creation_context_shape(), "Who made it, when.",
                     Need::ReadOnly),
             special("id", resource_id_shape(true), "Resource id.", Need::ReadOnly),
             shown("log_files", "properties.logFiles", "Log files."),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)}),
        .constants = {{"properties.jobType", "Command"}},
        .check = check_command_job,
        .finish_rest = finish_command_job};
    return description;
}

const Description& sweep_trial() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "a trial",
        .help = "",
        .fields = {
            text("command", "properties.command",
                 "the command line, with ${{search_space.x}}, ${{inputs.x}} and ${{outputs.y}}",
                 Need::Required),
            special("code", code_shape(),
                    "Folder that becomes the working directory, or the one file in it."),
            special("environment", environment_shape(),
                    "what the command runs in, such as azureml:NAME@latest", Need::Required),
            field("environment_variables", "properties.environmentVariables", Kind::TextMap,
                  "Environment variables of the command."),
            object("resources", "properties.resources", job_resources(),
                   "What each trial asks for."),
            object("distribution", "properties.distribution", distribution(),
                   "Distributed training: each trial's command is started once per process.")}};
    return description;
}

const Description& sweep_job() {
    static const Description description = {
        .kind = "job",
        .type = "sweep",
        .schema = "sweepJob",
        .title = "a sweep job",
        .help =
            "`turnout job create -f sweep.yml`: one command tried with many parameters; each trial "
            "is a job of its own, "
            "named after the sweep: NAME_0, NAME_1 …",
        .fields = with_what_is_shown(
            {ruled(kName, text("name", "name", "Unique name; made up if absent.", Need::Optional,
                               "--name")),
             text("display_name", "properties.displayName", "Name for people."),
             choice("type", "properties.jobType", {{"sweep", "Sweep"}}, "`sweep`", Need::Required),
             shown("status", "properties.status", "Where the sweep is: Running, Completed …",
                   Kind::Text),
             text("experiment_name", "properties.experimentName",
                  "Experiment; the folder's name if absent."),
             text("description", "properties.description", "Text for people."),
             documented(
                 special("trial", trial_shape(), "the command that is tried", Need::Required),
                 sweep_trial()),
             special("search_space", search_space_shape(),
                     "the parameters, each with its expression", Need::Required),
             special("sampling_algorithm", sampling_shape(),
                     "How parameters are chosen; `random` if absent. Of a space of choices alone "
                     "each combination is drawn once."),
             needed(
                 object("objective", "properties.objective", objective(), "which trial is best")),
             object("early_termination", "properties.earlyTermination", early_termination(),
                    "When a trial is stopped because others do better."),
             object("limits", "properties.limits", sweep_limits(), "How many trials, how long."),
             special("inputs", inputs_shape(), "Values and data, for all trials."),
             special("outputs", outputs_shape(), "Named outputs, of each trial."),
             special("compute", compute_shape(), "Where the trials run; `serverless` if absent."),
             object("resources", "properties.resources", job_resources(),
                    "What each trial asks for."),
             object("identity", "properties.identity", job_identity(), "Identity."),
             object("queue_settings", "properties.queueSettings", queue_settings(),
                    "Serverless queue."),
             special("services", services_shape(), "Links to the job's page when shown."),
             field("tags", "properties.tags", Kind::TextMap, "Tags."),
             field("properties", "properties.properties", Kind::TextMap,
                   "Properties; they are only ever added to. `best_child_run_id` and `score` when "
                   "shown."),
             special("creation_context", creation_context_shape(), "Who made it, when.",
                     Need::ReadOnly),
             special("id", resource_id_shape(true), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)}),
        .constants = {{"properties.jobType", "Sweep"}},
        .check = check_sweep_job};
    return description;
}

namespace {

const Description& pipeline_settings() {
    static const Description description = {
        .kind = "job",
        .type = "",
        .title = "settings",
        .help = "",
        .fields = {
            special("default_compute", settings_compute_shape(),
                    "Where steps run that say no compute; `serverless` if absent."),
            text("default_datastore", "default_datastore",
                 "Where outputs go that say no path; `workspaceblobstore` if absent."),
            field("continue_on_step_failure", "continue_on_step_failure", Kind::Flag,
                  "Whether steps that do not need a failed one go on; false if absent."),
            field("force_rerun", "force_rerun", Kind::Flag,
                  "Whether every step is run, though an earlier one has given the same; false if "
                  "absent."),
            refused("on_init", "A step before all others.",
                    "a step before all others does not work yet: give it an output that the first "
                    "ones take"),
            refused("on_finalize", "A step after all others.",
                    "a step after all others does not work yet: give it the last outputs as "
                    "inputs")}};
    return description;
}

}  // namespace

const Description& pipeline_job() {
    static const Description description = {
        .kind = "job",
        .type = "pipeline",
        .schema = "pipelineJob",
        .title = "a pipeline job",
        .help =
            "`turnout job create -f pipeline.yml`: steps that take each other's outputs; each "
            "is a job of its own, named after the pipeline: NAME_0, NAME_1 …",
        .fields = with_what_is_shown(
            {ruled(kName, text("name", "name", "Unique name; made up if absent.", Need::Optional,
                               "--name")),
             text("display_name", "properties.displayName", "Name for people."),
             choice("type", "properties.jobType", {{"pipeline", "Pipeline"}}, "`pipeline`",
                    Need::Required),
             shown("status", "properties.status", "Where the pipeline is: Running, Completed …",
                   Kind::Text),
             text("experiment_name", "properties.experimentName",
                  "Experiment; the folder's name if absent."),
             text("description", "properties.description", "Text for people."),
             special("jobs", steps_shape(), "its steps, by their names", Need::Required),
             special("inputs", inputs_shape(),
                     "Values and data that steps take as ${{parent.inputs.x}}."),
             special("outputs", outputs_shape(),
                     "What steps give the pipeline as ${{parent.outputs.y}}."),
             special("compute", default_compute_shape(),
                     "Where steps run that say no compute; `serverless` if absent."),
             object("settings", "properties.settings", pipeline_settings(),
                    "What holds for all steps."),
             special("services", services_shape(), "Links to the job's page when shown."),
             field("tags", "properties.tags", Kind::TextMap, "Tags."),
             field("properties", "properties.properties", Kind::TextMap,
                   "Properties; they are only ever added to."),
             special("creation_context", creation_context_shape(), "Who made it, when.",
                     Need::ReadOnly),
             special("id", resource_id_shape(true), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)}),
        .constants = {{"properties.jobType", "Pipeline"}},
        .check = check_pipeline_job};
    return description;
}

const Description& environment() {
    static const Description description = {
        .kind = "environment",
        .type = "",
        .schema = "environment",
        .title = "an environment",
        .help =
            "`turnout environment create -f env.yml`; the same keys, without a name, can stand in "
            "a job.",
        .fields = with_what_assets_show(
            {asset_name("environment"), asset_version(),
             text("image", "properties.image",
                  "Container image. What it means here is the pool's setting.", Need::Optional,
                  "--image"),
             special("conda_file", conda_file_shape(), "Conda environment.", Need::Optional,
                     "--conda-file"),
             special("build", build_shape(), "Docker build context."),
             object("inference_config", "properties.inferenceConfig", inference_config(),
                    "Routes of a server image."),
             choice("os_type", "properties.osType",
                    {{"linux", "Linux"}, {"windows", "Windows", "nodes run Linux: expected linux"}},
                    "`linux`."),
             asset_description(), asset_tags(), asset_properties(), upload_store("build context"),
             no_expiry()}),
        .check = [](Reading& reading, const std::string& pointer, const Json& value) {
            check_environment(reading, pointer, value);
            check_upload_target(reading, pointer, value);
        }};
    return description;
}

const Description& data_asset() {
    static const Description description = {
        .kind = "data",
        .type = "",
        .schema = "data",
        .title = "a data asset",
        .help = "`turnout data create -f data.yml`.",
        .fields = with_what_assets_show(
            {asset_name("data asset"), asset_version(),
             choice(
                 "type", "properties.dataType",
                 {{"uri_file", "uri_file"}, {"uri_folder", "uri_folder"}, {"mltable", "mltable"}},
                 "`uri_folder` if absent.", Need::Optional, "--type"),
             special("path", data_path_shape(), "a local path, which is uploaded, or a URI",
                     Need::Required, "--path"),
             asset_description(), asset_tags(), asset_properties(), upload_store("local path"),
             no_expiry()}),
        .check = check_upload_target,
        .finish_rest = finish_data};
    return description;
}

const Description& model_asset() {
    static const Description description = {
        .kind = "model",
        .type = "",
        .schema = "model",
        .title = "a model",
        .help = "`turnout model create -f model.yml`.",
        .fields = with_what_assets_show(
            {asset_name("model"), asset_version(),
             choice("type", "properties.modelType",
                    {{"custom_model", "custom_model"},
                     {"mlflow_model", "mlflow_model"},
                     {"triton_model", "triton_model"}},
                    "`custom_model` if absent.", Need::Optional, "--type"),
             special("path", model_path_shape(), "a local path, which is uploaded, or a URI",
                     Need::Required, "--path"),
             asset_description(), text("stage", "properties.stage", "Stage."),
             field("flavors", "properties.flavors", Kind::AnyMap, "MLflow flavors."), asset_tags(),
             asset_properties(), upload_store("local path"), no_expiry(),
             shown("job_name", "properties.jobName", "Job that made it.", Kind::Text)}),
        .check = check_upload_target,
        .finish_rest = finish_model};
    return description;
}

const Description& command_component() {
    static const Description description = {
        .kind = "component",
        .type = "command",
        .schema = "commandComponent",
        .title = "a component (command)",
        .help =
            "`turnout component create -f component.yml`: one step of a pipeline, with typed "
            "inputs and outputs. Other types (pipeline, parallel …) are refused by name.",
        .fields = with_what_assets_show(
            {asset_name("component"), asset_version(),
             text("$schema", "properties.componentSpec.$schema", "The schema it was written by."),
             text("display_name", "properties.componentSpec.display_name", "Name for people."),
             choice("type", "properties.componentSpec.type", {{"command", "command"}},
                    "`command`, also when absent."),
             asset_description(""), asset_tags(),
             field("is_deterministic", "properties.componentSpec.is_deterministic", Kind::Flag,
                   "Whether the same inputs give the same outputs, so that they may be used again; "
                   "true if absent."),
             text("command", "properties.componentSpec.command",
                  "the command line, with ${{inputs.x}} and ${{outputs.y}}", Need::Required),
             special("code", component_code_shape(),
                     "Folder that becomes the working directory, or the one file in it."),
             special("environment", component_environment_shape(),
                     "what the command runs in, such as azureml:NAME@latest", Need::Required),
             field("environment_variables", "properties.componentSpec.environment_variables",
                   Kind::TextMap, "Environment variables of the command."),
             special("inputs", component_inputs_shape(), "What it takes."),
             special("outputs", component_outputs_shape(), "What it gives."),
             special("resources", component_resources_shape(), "What it asks for."),
             special("distribution", component_distribution_shape(), "Distributed training."),
             asset_properties(),
             special("additional_includes", component_includes_shape(), "Files beside the code.")}),
        .constants = {{"properties.componentSpec.type", "command"}},
        .check = check_component,
        .finish_rest = finish_component};
    return description;
}

const Description& blob_datastore() {
    static const Description description = {
        .kind = "datastore",
        .type = "azure_blob",
        .schema = "azureBlob",
        .title = "a datastore (azure_blob)",
        .help =
            "`turnout datastore create -f store.yml`: a blob container. Other types are refused by "
            "name.",
        .fields =
            {ruled(kDatastoreName,
                   text("name", "name", "the datastore's name", Need::Required, "--name")),
             choice("type", "properties.datastoreType", {{"azure_blob", "AzureBlob"}},
                    "`azure_blob`", Need::Required),
             text("account_name", "properties.accountName", "the storage account's name",
                  Need::Required),
             text("container_name", "properties.containerName", "the container's name",
                  Need::Required),
             text("endpoint", "properties.endpoint",
                  "Suffix of the account's address; core.windows.net if absent."),
             choice("protocol", "properties.protocol",
                    {{"https", "https"}, {"wasbs", "wasbs"}, {"http", "http"}, {"wasb", "wasb"}},
                    "`https` if absent."),
             special("credentials", credentials_shape(), "Key or SAS token; never shown again."),
             text("description", "properties.description", "Text for people."),
             field("tags", "properties.tags", Kind::TextMap, "Tags."),
             shown("is_default", "properties.isDefault", "Whether uploads go there.", Kind::Flag),
             special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)},
        .constants = {{"properties.datastoreType", "AzureBlob"}},
        .finish_rest = finish_datastore};
    return description;
}

const Description& workspace() {
    const auto own = [](std::string key, std::string help) {
        return refused(std::move(key), std::move(help),
                       "the server keeps everything in its own data folder: remove the key");
    };
    static const Description description = {
        .kind = "workspace",
        .type = "",
        .schema = "workspace",
        .title = "a workspace",
        .help = "`turnout workspace create -f workspace.yml`.",
        .fields = {
            ruled(kWorkspaceName,
                  text("name", "name", "the workspace's name", Need::Required, "--name")),
            text("location", "location", "Region.", Need::Optional, "--location"),
            text("display_name", "properties.friendlyName", "Name for people.", Need::Optional,
                 "--display-name"),
            text("description", "properties.description", "Text for people.", Need::Optional,
                 "--description"),
            field("tags", "tags", Kind::TextMap, "Tags."),
            field("hbi_workspace", "properties.hbiWorkspace", Kind::Flag, "Kept and shown."),
            choice("public_network_access", "properties.publicNetworkAccess",
                   {{"enabled", "Enabled"}, {"disabled", "Disabled"}}, "Kept and shown."),
            text("resource_group", "", "Resource group; use -g."),
            own("storage_account", "Storage account."),
            own("container_registry", "Container registry."),
            own("key_vault", "Key vault."),
            own("application_insights", "Application Insights."),
            refused("customer_managed_key", "Encryption key.",
                    "encryption keys of Azure are not used here: remove the key"),
            refused("managed_network", "Network.",
                    "managed networks belong to Azure: remove the key"),
            refused("network_acls", "Network.", "network rules belong to Azure: remove the key"),
            refused("identity", "Identity.",
                    "a workspace has no Azure identity here: remove the key"),
            refused("primary_user_assigned_identity", "Identity.",
                    "a workspace has no Azure identity here: remove the key"),
            refused("workspace_hub", "Hub.", "hubs do not exist here: remove the key"),
            refused("serverless_compute", "Serverless network.",
                    "managed networks belong to Azure: remove the key"),
            text("image_build_compute", "properties.imageBuildCompute", "Kept and shown."),
            text("system_datastores_auth_mode", "properties.systemDatastoresAuthMode",
                 "Kept and shown."),
            field("enable_data_isolation", "properties.enableDataIsolation", Kind::Flag,
                  "Kept and shown."),
            field("allow_roleassignment_on_rg", "properties.allowRoleAssignmentOnRG", Kind::Flag,
                  "Kept and shown."),
            field("provision_network_now", "", Kind::Flag, "Without effect."),
            shown("discovery_url", "properties.discoveryUrl", "Discovery.", Kind::Text),
            shown("mlflow_tracking_uri", "properties.mlFlowTrackingUri", "MLflow.", Kind::Text),
            shown("provisioning_state", "properties.provisioningState", "Provisioning state.",
                  Kind::Text),
            special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly),
            special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)}};
    return description;
}

}  // namespace turnout::resources
