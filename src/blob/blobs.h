// Blobs: what the datastores, snapshots and artifacts of a workspace are made of. Content is kept
// once per hash (the server hashes it itself): small content in the store (BlobData), large content
// in files of the data folder, fsynced before the commit that names them. A name points at a hash.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "io/http.h"
#include "io/loop.h"
#include "store/store.h"

namespace turnout {

struct BlobInfo {
    std::string container;
    std::string name;
    std::uint64_t size = 0;
    std::string
        sha256;  // hex, of its content; of one in blocks: of their hashes. "" for a virtual blob
    std::string etag;  // without quotes
    std::string content_type;
    std::vector<std::pair<std::string, std::string>> metadata;  // names in lower case
    std::string owner;  // the user for whom it was written last; "" = not known
    Instant created{};
    Instant modified{};
};

struct BlobPut {
    std::string container;
    std::string name;
    std::string content_type = "application/octet-stream";
    std::vector<std::pair<std::string, std::string>> metadata;
    std::string owner = {};       // the user for whom it is
    std::string content_md5;      // base64, checked if given
    bool only_if_absent = false;  // If-None-Match: *  -> Conflict "BlobAlreadyExists"
    std::optional<std::string> only_if_etag;
};

struct BlobList {
    std::vector<BlobInfo> blobs;
    std::vector<std::string> prefixes;  // with a delimiter: "folders", ending with it
    std::string next_marker;            // "" = the end
};

// Blobs whose content is made of something else while it grows (a job's log). Read-only through
// this service. `size` is their length now; the etag is that length.
class VirtualBlobs {
public:
    virtual ~VirtualBlobs() = default;
    // Virtual blobs of the container whose names begin with prefix.
    virtual Result<std::vector<BlobInfo>> list(std::string_view container,
                                               std::string_view prefix) = 0;
    virtual Result<std::optional<BlobInfo>> head(std::string_view container,
                                                 std::string_view name) = 0;
    // Bytes [offset, offset+length) clipped to the size.
    virtual Result<std::string> read(std::string_view container, std::string_view name,
                                     std::uint64_t offset, std::uint64_t length) = 0;
};

// Names of containers: 3 to 63 of [a-z0-9-]. Names of blobs: see checked_relative_path.
class Blobs {
public:
    virtual ~Blobs() = default;
    // The virtual ones, asked first. Set once, by app/.
    virtual void set_virtual(VirtualBlobs* source) = 0;

    virtual Task<Result<BlobInfo>> put(BlobPut what, http::BodyReader& body) = 0;
    virtual Task<Result<BlobInfo>> put_bytes(BlobPut what, std::string bytes) = 0;
    // A file on the disk of the blobs becomes its content: it is hashed and moved, not copied.
    virtual Task<Result<BlobInfo>> put_file(BlobPut what, std::string path) = 0;
    virtual Task<Result<void>> put_block(std::string container, std::string name,
                                         std::string block_id, http::BodyReader& body) = 0;
    // Refused where the list names far more than was uploaded. Nothing is read for it.
    virtual Task<Result<BlobInfo>> put_block_list(BlobPut what,
                                                  std::vector<std::string> block_ids) = 0;
    // The content of `source`, a blob of the same container, gets this name too; nothing is read.
    virtual Task<Result<BlobInfo>> copy(BlobPut what, std::string source) = 0;
    // With an ETag only if it is still that one, here and below: else Conflict "ConditionNotMet".
    virtual Task<Result<BlobInfo>> set_metadata(
        std::string container, std::string name,
        std::vector<std::pair<std::string, std::string>> metadata,
        std::optional<std::string> only_if_etag = {}) = 0;
    virtual Task<Result<void>> remove(std::string container, std::string name,
                                      std::optional<std::string> only_if_etag = {}) = 0;

    virtual Result<std::optional<BlobInfo>> head(std::string_view container,
                                                 std::string_view name) = 0;
    // The range clipped to the size; nullopt length = to the end. NotFound if there is no such
    // blob.
    virtual Result<std::unique_ptr<http::BodyReader>> read(const BlobInfo& blob,
                                                           std::uint64_t offset,
                                                           std::optional<std::uint64_t> length) = 0;
    // Where that is on this machine's disk: for whoever may read these files. Small pieces come
    // along.
    struct Piece {
        std::uint64_t size = 0;
        std::string file;  // "" = here:
        std::string bytes;
    };
    virtual Result<std::vector<Piece>> pieces(const BlobInfo& blob) = 0;
    virtual Result<std::string> read_all(std::string_view container, std::string_view name,
                                         std::size_t limit) = 0;
    // Up to `limit` blobs and prefixes together, in order of name, from `marker` on.
    virtual Result<BlobList> list(std::string_view container, std::string_view prefix,
                                  std::string_view delimiter, std::string_view marker,
                                  std::size_t limit) = 0;

    // Containers come into being with their first blob; this says so beforehand. True = new.
    virtual Task<Result<bool>> create_container(std::string container) = 0;

    // ---- what takes space, and how it goes ----
    struct Stored {
        BlobInfo info;
        std::vector<std::pair<std::string, std::uint64_t>> contents;  // hash and size of each part
    };
    struct StoredPage {
        std::vector<Stored> blobs;
        std::string next;  // where to go on; "" = the end
    };
    // Every blob of every container, by container and name. `after`: "" or the `next` before.
    virtual Result<StoredPage> every(std::string_view after, std::size_t limit) = 0;
    // How many names and uploads refer to that content; counted up to `limit`.
    virtual Result<std::size_t> references(std::string_view sha256, std::size_t limit) = 0;
    struct Removed {
        std::size_t blobs = 0;
        std::uint64_t bytes = 0;
    };
    // Deletes the names that begin with `prefix`, but for those that `keep` says yes to; without
    // `keep` also what was uploaded for such names and not committed, and of "" the container too.
    virtual Task<Result<Removed>> remove_all(std::string container, std::string prefix,
                                             std::function<bool(const BlobInfo&)> keep = {}) = 0;

    // From now on what that container has stays as it is: other content, and deletion but by
    // remove_all, are refused ("BlobImmutableDueToPolicy"), the same content again is not. The row
    // that says so for good is to be committed with what makes it so; then, or if that failed,
    // `seal_settled` is called.
    virtual Write seal(std::string_view container) = 0;
    virtual void seal_settled(std::string_view container) = 0;

    // Whether its disk is nearly full: then what nothing refers to is not held.
    virtual bool low_on_space() const = 0;

    // Deletes content that nothing has referred to for `hold`, and blocks that were never committed
    // for kBlockLife. To be called now and then; a second call during the first goes on after it.
    static constexpr Span kHold = 24h;
    static constexpr Span kBlockLife = 7 * 24h;
    struct Collected {
        std::size_t contents = 0;
        std::uint64_t bytes = 0;
        std::size_t blocks = 0;
    };
    virtual Task<Result<Collected>> collect(Instant now, Span hold = kHold) = 0;
};

// `folder` holds the large ones; created if absent. `low`: whether its disk is nearly full, if the
// file system is not to be asked.
Result<std::unique_ptr<Blobs>> open_blobs(Store& store, const Clock& clock, Random& random,
                                          Loop& loop, std::string folder,
                                          std::function<bool()> low = {});

// Containers of a workspace, by its id.
// 3 to 63 of [a-z0-9-], no "-" at either end.
Result<void> check_container(std::string_view container);
std::string blobstore_container(
    std::string_view wsid);  // workspaceblobstore: "azureml-blobstore-{wsid}"
std::string artifact_container(std::string_view wsid);  // workspaceartifactstore: "azureml-{wsid}"
std::string code_container(std::string_view wsid,
                           std::string_view guid);  // "{wsid}-{guid}", one per code upload
std::string fetched_container(
    std::string_view wsid);  // what was fetched from outside: "{wsid}-fetched"
// The workspace a container belongs to: how a bearer's reach is checked.
std::string workspace_of_container(std::string_view container);

// ---- shared access signatures (blob/sas.cc). Azure's query shape, our own canonical string. ----
struct SasGrant {
    std::string container;
    std::string prefix;       // blob names must be it or lie beneath it; "" = the whole container
    std::string permissions;  // of "rwlcd"
    Instant expires{};
    // Who it was made for, and the action that they may do as long as it holds; "" of links of
    // builds that did not say so.
    std::string holder = {};
    std::string action = {};
};
// "sv=2026-…&sr=c&sp=rl&se=…&si=…&skoid=…&scid=…&sig=…"
std::string sign_sas(std::string_view key, const SasGrant& grant);
// Verified against the query of a request: PermissionDenied with the reason (expired, wrong
// signature). The caller checks container, name and permission against the grant.
Result<SasGrant> verify_sas(std::string_view key,
                            const std::vector<std::pair<std::string, std::string>>& query,
                            Instant now);
bool allows(const SasGrant& grant, std::string_view container, std::string_view name,
            char permission);

}  // namespace turnout
