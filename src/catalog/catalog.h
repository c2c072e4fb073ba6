// The catalog: one owner of what has no life of its own. A workspace is what all else belongs to;
// the rest are documents of some kind (resources/documents.h), with versions or without, and are
// kept, changed, archived and counted alike whatever their kind is. Rows are written by nobody
// else. Runs on the loop's thread; reads see what is committed.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/task.h"
#include "catalog/asset.h"
#include "io/loop.h"
#include "model/workspace.h"
#include "store/store.h"
#include "store/turns.h"

namespace turnout {

class Catalog {
public:
    Catalog(Store& store, const Clock& clock, Random& random);

    // ---- workspaces (workspaces.cc). Names match without regard to case. ----
    Result<std::optional<Workspace>> find_workspace(std::string_view sub, std::string_view rg,
                                                    std::string_view name);
    Result<std::optional<Workspace>> workspace_by_id(std::string_view wsid);
    Result<std::vector<Workspace>> list_workspaces(std::string_view sub,
                                                   std::string_view rg);  // "" = any
    // With workspaceblobstore (default) and workspaceartifactstore in it, by `made.created`.
    Task<Result<Workspace>> create_workspace(Workspace wanted);  // Conflict if it exists
    // Its friendly name, description, tags and who changed it, from what they are in that turn.
    using WorkspaceChange = std::function<void(Workspace& now)>;
    Task<Result<Workspace>> update_workspace(std::string sub, std::string rg, std::string name,
                                             WorkspaceChange change);
    // Its row alone, from which on its name is free, with `together` in the same commit.
    Task<Result<void>> delete_workspace(Workspace workspace, std::vector<Write> together);

    // ---- documents without versions (singles.cc): their properties, with "created", "modified"
    // and who it was (model/author.h) ----
    Result<std::optional<Json>> find_single(std::string_view wsid, std::string_view kind,
                                            std::string_view name);
    Result<std::vector<std::pair<std::string, Json>>> list_singles(std::string_view wsid,
                                                                   std::string_view kind);
    Task<Result<bool>> put_single(std::string wsid, AssetKind kind, std::string name,
                                  Json properties, Author by = kNobodyKnown);  // true = new
    // FailedPrecondition of one that stays: the default one, or a part of the workspace. NotFound.
    Task<Result<void>> delete_single(std::string wsid, AssetKind kind, std::string name);

    Result<std::optional<Json>> find_datastore(std::string_view wsid, std::string_view name) {
        return find_single(wsid, "datastores", name);
    }
    Result<std::vector<std::pair<std::string, Json>>> list_datastores(std::string_view wsid) {
        return list_singles(wsid, "datastores");
    }

    // ---- documents with versions (versions.cc) ----
    Result<std::optional<AssetContainer>> find_container(std::string_view wsid,
                                                         std::string_view kind,
                                                         std::string_view name);
    Result<std::vector<AssetContainer>> list_containers(std::string_view wsid,
                                                        std::string_view kind);
    // Changes an asset and its versions in their turn, in one commit: whatever was read before says
    // nothing of what is there now. What it refuses is not written. Conflict "ResourceExists" if a
    // version would be another one than it was. `by`: whose doing it is.
    using AssetChange = std::function<Result<void>(Asset& now)>;
    Task<Result<void>> change(std::string wsid, AssetKind kind, std::string name,
                              AssetChange change, Author by = kNobodyKnown);
    // True = new. What only MLflow's doors write of one (kMlflowMembers) stays.
    // By `made.modified`.
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
    // update, of which what only MLflow's doors write (kMlflowMembers) stays. `together`: rows of
    // others that are committed with a new one.
    Task<Result<bool>> put_version(std::string wsid, AssetKind kind, AssetVersion version,
                                   std::vector<Write> together = {});
    // A merge patch (RFC 7396) of what may change of a version, or of the asset itself if that is
    // "", made to what they are in that turn. NotFound; InvalidArgument if it names anything else.
    Task<Result<void>> update(std::string wsid, AssetKind kind, std::string name,
                              std::string version, Json changes, Author by = kNobodyKnown);
    // The rows alone: what it points at stays. The last version takes the asset with it. NotFound.
    Task<Result<void>> delete_version(std::string wsid, AssetKind kind, std::string name,
                                      std::string version);
    // With all versions; how many there were. NotFound.
    Task<Result<std::size_t>> delete_container(std::string wsid, AssetKind kind, std::string name);
    Result<std::optional<AssetVersion>> code_by_hash(std::string_view wsid,
                                                     std::string_view sha256);

    // Grows with every change of a document: what was made of them holds as long as it stays.
    std::uint64_t changes() const { return changes_; }

private:
    Result<std::optional<Workspace>> read_workspace(const std::string& key);

    Store& store_;
    const Clock& clock_;
    Random& random_;
    Turns turns_;
    std::uint64_t changes_ = 1;
    // Workspaces as they are committed, by key: every request names one. Nobody else writes that
    // table.
    std::unordered_map<std::string, Workspace> workspaces_;
};

}  // namespace turnout
