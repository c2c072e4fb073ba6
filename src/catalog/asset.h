// An asset and its versions: rows of the catalog, and how they are changed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "model/author.h"
#include "store/store.h"

namespace turnout {

// "environments" "data" "models" "components" "codes" "datastores": as in the path. One that no row
// tells of is kept like all others.
using AssetKind = std::string;

struct AssetContainer {
    std::string name;
    std::string latest_version;  // of the newest by creation; "" if none
    std::string next_version;    // "1" for a new one
    bool archived = false;
    Json properties = Json::object();  // description, tags, properties as the client sent them
    Instant created{};
    Instant modified{};  // zero: never since
    Authorship made;
};

struct AssetVersion {
    std::string name;
    std::string version;
    Json properties = Json::object();  // as the client sent it
    bool archived = false;
    Instant created{};
    Instant modified{};  // zero: never since
    Authorship made;
    std::uint64_t revision = 0;
    std::string content;  // of a code: the hash of what is there, sealed when it was registered; ""
                          // = not known
};

// Members that only MLflow's doors write begin so, among an asset's properties and in a version's
// own "properties". A client that sends the whole back, as it knows it, does not mean them.
inline constexpr std::string_view kMlflowMembers = "mlflow";
// Of a container: alias → version.
inline constexpr std::string_view kAliases = "mlflowAliases";

// An asset with its versions, as they are in the turn of the one who changes them
// (Catalog::change). What differs when that one is done is written, as that one's.
class Asset {
public:
    std::optional<AssetContainer> container;  // nothing: there is no such asset

    // A new asset, without versions. Nothing happens if it is there.
    void make();
    // That version; nullptr if there is none. Like all that is pointed at here, it stays where it
    // is until the turn is over.
    Result<AssetVersion*> find(const std::string& version);
    Result<std::vector<AssetVersion*>> versions();  // newest first
    // A new version, made now, which is the latest from then on; the first one makes the asset.
    // Conflict "ResourceExists" if it is there.
    Result<void> add(AssetVersion version);
    // With the aliases of it. The last version takes the asset with it.
    Result<void> erase(const std::string& version);

    std::vector<Write> together;  // rows of others that are committed with it

private:
    friend class Catalog;
    struct Row {
        std::optional<Record> record;         // nothing: it is new
        std::optional<AssetVersion> version;  // nothing: it was not there, or goes
    };
    Asset(Store& store, Instant now, std::string wsid, AssetKind kind, std::string name, Author by);
    std::string key() const { return wsid_ + "/" + kind_ + "/" + name_; }
    Result<void> read();
    Result<Row*> row(const std::string& version);
    Result<void> remember_hash(Batch& batch, const AssetVersion& version);
    Result<void> forget_hash(Batch& batch, const AssetVersion& version);
    Result<Batch> changes();

    Store& store_;
    Instant now_;
    std::string wsid_;
    AssetKind kind_;
    std::string name_;
    Author by_;
    std::optional<Record> record_;     // of the container
    std::map<std::string, Row> rows_;  // that were looked at
};

// Those that stand for that version.
void erase_aliases(AssetContainer& container, std::string_view version);

// Names of assets and their versions. `what` is for the message: "environment", "data version".
Result<void> check_asset_name(std::string_view name, std::string_view what);

}  // namespace turnout
