// Workspaces, datastores and versioned assets: documents with rules, no life of their own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/task.h"
#include "base/time.h"
#include "io/loop.h"
#include "store/store.h"

namespace turnout {

struct Workspace {
    std::string id;    // "wsid": 12 hex digits, in every key and container name
    std::string guid;  // the workspaceId that clients see
    std::string subscription, resource_group, name;
    std::string location, friendly_name, description;
    Json tags = Json::object();
    Instant created{};
};

// "environments" "data" "models" "components" "codes": as in the path.
using AssetKind = std::string;

struct AssetContainer {
    std::string name;
    std::string latest_version;  // of the newest by creation; "" if none
    std::string next_version;    // "1" for a new one
    bool archived = false;
    Json properties = Json::object();  // description, tags, properties as the client sent them
    Instant created{};
};

struct AssetVersion {
    std::string name;
    std::string version;
    Json properties = Json::object();  // as the client sent it
    bool archived = false;
    Instant created{};
    std::uint64_t revision = 0;
};

class Assets {
public:
    Assets(Store& store, const Clock& clock, Random& random);

    // ---- workspaces. Names match without regard to case. ----
    Result<std::optional<Workspace>> find_workspace(std::string_view sub, std::string_view rg,
                                                    std::string_view name);
    Result<std::optional<Workspace>> workspace_by_id(std::string_view wsid);
    Result<std::vector<Workspace>> list_workspaces(std::string_view sub,
                                                   std::string_view rg);  // "" = any
    // With workspaceblobstore (default) and workspaceartifactstore in it.
    Task<Result<Workspace>> create_workspace(Workspace wanted);  // Conflict if it exists
    Task<Result<Workspace>> update_workspace(Workspace changed);

    // ---- datastores: the "properties" document ----
    Result<std::optional<Json>> find_datastore(std::string_view wsid, std::string_view name);
    Result<std::vector<std::pair<std::string, Json>>> list_datastores(std::string_view wsid);
    Task<Result<bool>> put_datastore(std::string wsid, std::string name,
                                     Json properties);  // true = new
    Task<Result<void>> delete_datastore(std::string wsid, std::string name);

    // ---- versioned assets ----
    Result<std::optional<AssetContainer>> find_container(std::string_view wsid,
                                                         std::string_view kind,
                                                         std::string_view name);
    Result<std::vector<AssetContainer>> list_containers(std::string_view wsid,
                                                        std::string_view kind);
    Task<Result<bool>> put_container(std::string wsid, AssetKind kind, AssetContainer container);
    Result<std::optional<AssetVersion>> find_version(std::string_view wsid, std::string_view kind,
                                                     std::string_view name,
                                                     std::string_view version);
    // "latest" or a version.
    Result<std::optional<AssetVersion>> resolve(std::string_view wsid, std::string_view kind,
                                                std::string_view name,
                                                std::string_view version_or_label);
    Result<std::vector<AssetVersion>> list_versions(std::string_view wsid, std::string_view kind,
                                                    std::string_view name);  // newest first
    // True = new. What identifies the asset never changes: another definition under an existing
    // version is Conflict "ResourceExists"; the same one, or only tags, description, archived:
    // update.
    Task<Result<bool>> put_version(std::string wsid, AssetKind kind, AssetVersion version);
    Result<std::optional<AssetVersion>> code_by_hash(std::string_view wsid,
                                                     std::string_view sha256);

private:
    Result<std::optional<Workspace>> read_workspace(const std::string& key);

    Store& store_;
    const Clock& clock_;
    Random& random_;
    // Workspaces as they are committed, by key: every request names one. Nobody else writes that
    // table, and workspaces are never deleted.
    std::unordered_map<std::string, Workspace> workspaces_;
};

inline constexpr std::string_view kBlobStore = "workspaceblobstore";
inline constexpr std::string_view kArtifactStore = "workspaceartifactstore";

// Names of assets and their versions: 1 to 255 of letters, digits, '.', '_' and '-', the first a
// letter, digit or '_'. `what` is for the message: "environment", "data version".
Result<void> check_asset_name(std::string_view name, std::string_view what);

}  // namespace turnout
