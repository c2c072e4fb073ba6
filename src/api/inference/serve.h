// The program that a replica of a deployment runs: it lays the model out as Azure ML does and
// begins the server that answers requests.
#pragma once

#include <string>
#include <string_view>

namespace turnout::api {

// Python, for `python -c`. Its words: port, scoring script ("" = an MLflow model without one), path
// of the model ("" = none), and the model's name, version and file name.
std::string_view serve_program();

// The variable that carries it to the command.
inline constexpr std::string_view kServeVariable = "AZUREML_SERVE_PROGRAM";

// What the environment of a scoring script has to have, unless it says so itself.
inline constexpr std::string_view kInferenceServer = "azureml-inference-server-http";

}  // namespace turnout::api
