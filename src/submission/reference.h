// The many ways in which a client says which data, asset or job output it means.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/workspace.h"
#include "protocol/agent_protocol.h"

namespace turnout::submission {

struct Reference {
    enum class Form {
        Path,  // azureml://datastores/D/paths/P, also with subscription, group and workspace before
        Asset,      // azureml:N:V, azureml:N@latest, the ARM id of a version
        Registry,   // azureml://registries/R/KIND/N/versions/V or /labels/latest
        JobOutput,  // azureml://jobs/J/outputs/O[/paths/P], runs:/J/P
        Url,        // http:, https:, and other schemes of the outside
        Local,      // a path or file: URL on the client's machine
    } form = Form::Local;
    std::string datastore;
    std::string path;  // of Path and JobOutput: "" = all of it, never with a '/' at an end
    std::string kind;  // of Asset and Registry: "data", "models", "environments"; "" if not said
    std::string name;
    std::string version;  // "latest" for that label
    std::string registry;
    std::string job;
    std::string output;
    std::string text;  // as it came
};

// InvalidArgument says what is wrong with it; another workspace than `here` is refused, as far as
// its members are known (not empty).
Result<Reference> parse_reference(std::string_view text, const Workspace& here);

// The path that a Local one names, and what to say where it is not reached.
std::string_view local_path(const Reference& reference);
Error not_reached(const Reference& reference);

// The last name of an ARM id "/subscriptions/…/workspaces/W/{type}/N", of "azureml:N" or of "N"
// itself; InvalidArgument if it is an id of something else or of another workspace.
Result<std::string> resource_name(std::string_view id, std::string_view type,
                                  const Workspace& here);

// Container and prefix that a URL of this server's blob service names, whatever its host;
// nullopt if it is not one.
std::optional<agent_protocol::BlobFolder> blob_of_url(std::string_view url);

}  // namespace turnout::submission
