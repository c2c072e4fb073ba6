// The two-way functions for what YAML and REST shape differently.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spec/describe.h"

namespace turnout::spec {

// ---- parts of a command job ----
Special code_shape();
Special environment_shape();  // "azureml:name:version", a registry id, "file:env.yml" or an inline
                              // definition
Special compute_shape();
Special inputs_shape();
Special outputs_shape();
Special services_shape();
Special priority_shape();
Special docker_args_shape();
void check_job_name(Reading& reading, const std::string& pointer, const Json& value);
void check_job_resources(Reading& reading, const std::string& pointer, const Json& value);
void check_distribution(Reading& reading, const std::string& pointer, const Json& value);
void check_command_job(Reading& reading, const std::string& pointer, const Json& value);
void finish_command_job(const Json& value, Json& rest);

// ---- parts of a sweep job (sweep_shapes.cc) ----
Special trial_shape();  // the command that is tried, with keys of its own
Special search_space_shape();
Special sampling_shape();
void check_early_termination(Reading& reading, const std::string& pointer, const Json& value);
void check_sweep_limits(Reading& reading, const std::string& pointer, const Json& value);
void check_sweep_job(Reading& reading, const std::string& pointer, const Json& value);

// ---- what they share ----
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

// "azureml:name:version" of an ARM id of that kind; the text itself if it is no such id.
std::string short_name_of(std::string_view arm_id, std::string_view kind);
// The ARM id, inside this workspace, of an asset that is named by "azureml:name:version" or
// "name:version"; ids, URIs and labels stay as they are.
std::string arm_id_of(const Scope& scope, std::string_view kind, std::string_view text);

}  // namespace turnout::spec
