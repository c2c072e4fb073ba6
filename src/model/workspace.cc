#include "model/workspace.h"

namespace turnout {

std::string workspace_path(const Workspace& workspace) {
    std::string path = "/subscriptions/";
    path += workspace.subscription;
    path += "/resourceGroups/";
    path += workspace.resource_group;
    path += "/providers/Microsoft.MachineLearningServices/workspaces/";
    path += workspace.name;
    return path;
}

}  // namespace turnout
