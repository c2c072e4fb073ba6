// The two-way functions for what YAML and REST shape differently.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "resources/describe.h"

namespace turnout::resources {

// ---- parts of a command job ----
Special code_shape();
Special environment_shape();  // "azureml:name:version", a registry id, "file:env.yml" or an inline
                              // definition
Special compute_shape();
Special inputs_shape();
Special outputs_shape();
// `name` and `version` of an output: the asset that it becomes.
void check_registration(Reading& reading, const std::string& pointer, const Json& output);
void set_registration(const YamlDocument& document, const std::string& pointer, const Json& output,
                      Json& rest);
Special services_shape();
Special priority_shape();
Special docker_args_shape();
void check_distribution(Reading& reading, const std::string& pointer, const Json& value);
void check_command_job(Reading& reading, const std::string& pointer, const Json& value);
void finish_command_job(const Json& value, Json& rest);
// What jobs have in common (resources.cc).
std::vector<Field> with_what_is_shown(std::vector<Field> fields);
const Description& job_identity();
const Description& queue_settings();

// ---- parts of a sweep job (sweep_shapes.cc) ----
Special trial_shape();  // the command that is tried, with keys of its own
Special search_space_shape();
Special sampling_shape();
void check_early_termination(Reading& reading, const std::string& pointer, const Json& value);
void check_sweep_limits(Reading& reading, const std::string& pointer, const Json& value);
void check_sweep_job(Reading& reading, const std::string& pointer, const Json& value);

// ---- parts of a pipeline (pipeline_shapes.cc) ----
Special steps_shape();
Special default_compute_shape();   // of the pipeline
Special settings_compute_shape();  // the same, in its `settings`
void check_pipeline_job(Reading& reading, const std::string& pointer, const Json& value);

// ---- parts of a component (component_shapes.cc) ----
Special component_inputs_shape();
Special component_outputs_shape();
Special component_code_shape();
Special component_environment_shape();
Special component_includes_shape();
Special component_resources_shape();
Special component_distribution_shape();
void check_component(Reading& reading, const std::string& pointer, const Json& value);
void finish_component(const Json& value, Json& rest);

// ---- parts of a deployment (endpoints.cc) ----
Special deployed_model_shape();     // "properties.model": a reference, a path or a definition
const Description& scoring_code();  // `code_configuration`

// ---- what they share (names.cc) ----
// The segment after "/{kind}/" in an ARM id, "" if there is none.
std::string segment_after(std::string_view id, std::string_view kind);
// Without "azureml:" before it; a URI stays as it is.
std::string_view without_prefix(std::string_view text);
// `what`: "the name of a compute", where the key does not say it.
void check_text(Reading& reading, const std::string& pointer, const TextRule& rule,
                std::string_view text, std::string_view what = "");
// One field of a nested mapping, checked as a choice.
void check_choice(Reading& reading, const std::string& pointer, const std::vector<Choice>& choices);
// A reference to an asset: reported if it cannot be one, recorded otherwise.
void check_reference(Reading& reading, const std::string& pointer, const std::string& kind,
                     const std::string& text);
// A data or model path: a URI, a registered asset, or something local to upload.
void check_path(Reading& reading, const std::string& pointer, const Json& value,
                const std::string& kind, LocalPath::Role role, bool folder, bool file);
// Keys of a nested mapping that are none of `known`.
void check_keys(Reading& reading, const std::string& pointer, const Json& value,
                const std::vector<std::string>& known, std::string_view what);
// Every "${{group.name}}" of a command names something in that group; the command is at `pointer`.
void check_references(Reading& reading, const std::string& pointer, const std::string& command,
                      const std::vector<std::pair<std::string, const Json*>>& groups);

// ---- assets ----
Special asset_name_shape();  // REST has it in the id only
Special asset_version_shape();
Special resource_id_shape(bool with_prefix);  // "id", for some kinds with "azureml:" before it
Special resource_group_shape();
Special creation_context_shape();
Special conda_file_shape();
Special build_shape();
// A local path that is uploaded, or a URI. `rest` is where it goes.
Special data_path_shape();
Special model_path_shape();

// ---- computes and datastores ----
Special compute_identity_shape();
Special ssh_settings_shape();
Special ssh_access_shape();
Special credentials_shape();
Special machine_password_shape();  // below ssh_settings, as the next one
Special machine_key_shape();
Special idle_minutes_shape();
Special start_stop_shape();
Special instance_ssh_access_shape();

// "azureml:name:version" of an ARM id of that kind; the text itself if it is no such id.
std::string short_name_of(std::string_view arm_id, std::string_view kind);
// The ARM id, inside this workspace, of an asset that is named by "azureml:name:version" or
// "name:version"; ids, URIs and labels stay as they are.
std::string arm_id_of(const Scope& scope, std::string_view kind, std::string_view text);

}  // namespace turnout::resources
