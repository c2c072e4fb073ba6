// Where data is, in the long form that Azure gives and clients parse:
// azureml://subscriptions/S/resourcegroups/R/workspaces/W/datastores/D/paths/P.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/api.h"
#include "catalog/catalog.h"
#include "model/job.h"

namespace turnout::api {

// "azureml://subscriptions/…/workspaces/W"
std::string workspace_uri(const Workspace& workspace);

// "azureml://datastores/D/paths/P" with this workspace in it; all else as it is.
std::string long_uri(const Workspace& workspace, std::string_view uri);

// Which child gives the output of a group: a sweep's best one, or a step of a pipeline. nullopt: it
// is the job's own, or nobody gives it yet.
struct Giver {
    std::string job, output;
};
std::optional<Giver> giver_of(const JobRecord& job, const std::string& output);

struct OutputUri {
    std::string uri;  // of a folder with a '/' at its end
    std::string type;
};

// Where a job's named output is; "artifacts" and "default" are what it left in `outputs` and
// `logs`. The outputs of a group are those of its children. nullopt: no such job, or no such
// output.
Result<std::optional<OutputUri>> uri_of_output(Services& services, const Workspace& workspace,
                                               std::string_view job, std::string_view output);

}  // namespace turnout::api
