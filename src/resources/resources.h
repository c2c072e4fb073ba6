// The resources of the public API, each described once (see describe.h).
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "resources/describe.h"

namespace turnout::resources {

const Description& command_job();
const Description& sweep_job();
const Description& sweep_trial();  // a part of it
const Description& pipeline_job();
const Description& automl_job();
const Description& aml_compute();
const Description& virtual_machine();
const Description& kubernetes_compute();
const Description& compute_instance();
const Description& environment();
const Description& data_asset();
const Description& model_asset();
const Description& command_component();
const Description& blob_datastore();
const Description& schedule();
const Description& workspace();
const Description& online_endpoint();
const Description& online_deployment();
const Description& batch_endpoint();
const Description& batch_deployment();  // of a model
const Description& pipeline_batch_deployment();
std::vector<const Description*> all_descriptions();

// The description for a document of that kind ("job", "compute" …), chosen by its `type` and
// `$schema`. Types that Azure ML has and that do not run here yet are refused by name.
Result<const Description*> description_for(std::string_view kind, const YamlDocument& document);
// For showing what a server sent, by its REST type; the generic one of the kind if none fits.
const Description& description_of_rest(std::string_view kind, const Json& rest);

// The `componentSpec` that a client sent, by the same description: InvalidArgument with its place.
// What the description does not know is left to the client that sent it.
Result<void> check_component_spec(const Json& component);

// "azureml:name:3", "azureml:name@latest", "name:3" split up; ARM ids and URIs are not names.
struct AssetName {
    std::string name;
    std::string version;  // one of these two
    std::string label;
};
// InvalidArgument if it is neither. A bare name (no version, no label) is refused unless allowed.
Result<AssetName> parse_asset_name(std::string_view text, bool bare_allowed = false);
bool is_arm_id(std::string_view text);       // "/subscriptions/…", "azureml:/subscriptions/…"
bool is_remote_path(std::string_view text);  // "azureml://…", "https://…", "wasbs://…": a URI

}  // namespace turnout::resources
