// From a batch deployment and what an invocation asks of it to the definition of the pipeline job
// that scores: of a model one step "batchscoring" of type parallel, whose output "score" has
// predictions.csv; of a pipeline component the component. Pure.
#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"

namespace turnout::submission {

// What is deployed, as its row keeps it.
struct BatchDeploymentSaid {
    std::string endpoint, name;
    Json properties;           // of the REST document
    std::string model_type;    // "mlflow_model" …; "" = no model
    std::string model_folder;  // its own file's or folder's name
    Json outputs;              // of a pipeline component: as it declares them
};

// `request`: "properties" of what was posted. InvalidArgument names the member that is wrong; what
// the job itself refuses, it refuses later.
Result<Json> batch_job(const BatchDeploymentSaid& deployment, const Json& request);

// What of a deployment does not work here, by its place.
Result<void> check_batch_deployment(const Json& properties);

// Of a pipeline component: the id of what is deployed; "" of a model.
std::string component_deployed(const Json& properties);
// Of a model: its id; "" if there is none.
std::string model_deployed(const Json& properties);

}  // namespace turnout::submission
