// A workspace: what all else belongs to, and the names by which clients find it.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/time.h"
#include "model/author.h"

namespace turnout {

struct Workspace {
    std::string id;    // "wsid": 12 hex digits, in every key and container name
    std::string guid;  // the workspaceId that clients see
    std::string subscription, resource_group, name;
    std::string location, friendly_name, description;
    Json tags = Json::object();
    Instant created{};
    Instant modified{};  // zero: never since
    Authorship made;
};

// "/subscriptions/…/workspaces/ws", in the spelling under which it was created.
std::string workspace_path(const Workspace& workspace);

// Its datastores that are always there.
inline constexpr std::string_view kBlobStore = "workspaceblobstore";
inline constexpr std::string_view kArtifactStore = "workspaceartifactstore";

}  // namespace turnout
