#include "blob/blobs.h"

#include <algorithm>
#include <set>
#include <unordered_set>
#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "blob/content.h"
#include "blob/md5_reader.h"
#include "blob/record.h"

namespace turnout {
namespace {

using namespace blob;

constexpr int kMaxTries = 100;  // of a write that others keep overtaking
constexpr std::size_t kMaxBlocks = 50'000;
constexpr std::size_t kMaxBlockId = 64;
// Of what a block list names a second time: the work of reading a list is that of uploading it.
constexpr std::uint64_t kMaxRepeated = std::uint64_t(256) << 20;
constexpr std::size_t kMaxMetadata = 8 << 10;
constexpr std::size_t kRemovedAtOnce = 256;
constexpr std::string_view kSealed = R"({"sealed":true})";  // value of a container's own row

Failure no_such_blob(std::string_view container, std::string_view name) {
    return fail(Code::NotFound, "BlobNotFound",
                "blob '" + std::string(name) + "' does not exist in container '" +
                    std::string(container) + "'",
                std::string(name));
}

Result<void> check_name(std::string_view container, std::string_view name) {
    TURNOUT_TRY(check_container(container));
    TURNOUT_TRY(checked_relative_path(name, "blob name"));
    return {};
}

Result<void> check_metadata(const std::vector<std::pair<std::string, std::string>>& metadata) {
    std::size_t size = 0;
    for (const auto& [name, value] : metadata) {
        size += name.size() + value.size();
        if (name.empty() || name.front() == '-' || (name.front() >= '0' && name.front() <= '9') ||
            !std::ranges::all_of(name, [](char c) {
                return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
            }))
            return fail(
                Code::InvalidArgument, "InvalidMetadata",
                "metadata names consist of letters, digits, '_' and '-', and begin with a letter",
                "metadata");
        if (!is_utf8(value))
            return fail(Code::InvalidArgument, "InvalidMetadata", "metadata values are UTF-8",
                        "metadata");
    }
    if (size > kMaxMetadata)
        return fail(Code::InvalidArgument, "MetadataTooLarge", "metadata is at most 8 KiB",
                    "metadata");
    return {};
}

// Bytes of a virtual blob, as long as it was when it was looked at.
class VirtualReader final : public http::BodyReader {
public:
    VirtualReader(VirtualBlobs& source, BlobInfo blob, std::uint64_t offset, std::uint64_t length)
        : source_(source), blob_(std::move(blob)), offset_(offset), left_(length) {}
    Task<Result<std::string>> read() override {
        if (left_ == 0) co_return std::string();
        auto bytes = source_.read(blob_.container, blob_.name, offset_,
                                  std::min<std::uint64_t>(left_, kPiece));
        if (!bytes) co_return Failure(std::move(bytes).error());
        if (bytes->empty())
            co_return fail(Code::Unavailable, "BlobChanged",
                           "blob '" + blob_.name + "' became shorter while it was read");
        if (bytes->size() > left_) bytes->resize(left_);
        offset_ += bytes->size();
        left_ -= bytes->size();
        co_return std::move(*bytes);
    }

private:
    VirtualBlobs& source_;
    const BlobInfo blob_;
    std::uint64_t offset_, left_;
};

class StoredBlobs final : public Blobs {
public:
    StoredBlobs(Store& store, const Clock& clock, Random& random, Loop& loop, std::string folder,
                std::function<bool()> low)
        : store_(store),
          clock_(clock),
          random_(random),
          contents_(store, loop, std::move(folder), std::move(low)) {}

    Result<void> open() { return contents_.open(); }

    void set_virtual(VirtualBlobs* source) override { virtual_ = source; }

    Task<Result<BlobInfo>> put(BlobPut what, http::BodyReader& body) override {
        // Refused before the body is read, if it can be; decided again when it is there.
        TURNOUT_CO_TRY_VOID(check_put(what));
        Md5Reader checked(body, what.content_md5);
        TURNOUT_CO_TRY(Received content, co_await contents_.receive(checked));
        co_return co_await commit_put(std::move(what), std::move(content));
    }

    Task<Result<BlobInfo>> put_bytes(BlobPut what, std::string bytes) override {
        BytesReader body(std::move(bytes));
        auto stored = co_await put(std::move(what), body);
        co_return std::move(stored);
    }

    Task<Result<BlobInfo>> put_file(BlobPut what, std::string path) override {
        TURNOUT_CO_TRY_VOID(check_put(what));
        TURNOUT_CO_TRY(Received content, co_await contents_.receive_file(std::move(path)));
        co_return co_await commit_put(std::move(what), std::move(content));
    }

    Task<Result<void>> put_block(std::string container, std::string name, std::string block_id,
                                 http::BodyReader& body) override {
        TURNOUT_CO_TRY_VOID(check_writable(container, name));
        if (block_id.empty() || block_id.size() > kMaxBlockId)
            co_return fail(Code::InvalidArgument, "InvalidBlockId", "a block id has 1 to 64 bytes",
                           "blockid");
        TURNOUT_CO_TRY(const Received content, co_await contents_.receive(body));
        const std::string key = block_key(container, name, block_id);
        for (int tries = 0; tries < kMaxTries; ++tries) {
            TURNOUT_CO_TRY(const std::optional<Record> old, store_.get(Table::BlobBlock, key));
            const Instant now = clock_.now();
            Batch batch;
            TURNOUT_CO_TRY_VOID(contents_.refer(batch, content, key));
            if (old) {
                TURNOUT_CO_TRY(const BlockRow before, block_from(*old));
                if (before.part != content.part) contents_.release(batch, before.part, key, now);
            }
            batch.put(Table::BlobBlock, key, to_text(BlockRow{content.part, now}),
                      old ? old->revision : kAbsent);
            auto committed = co_await store_.commit(std::move(batch));
            if (committed) co_return {};
            if (committed.error().code != Code::Conflict)
                co_return Failure(std::move(committed).error());
        }
        co_return overtaken(name);
    }

    Task<Result<BlobInfo>> put_block_list(BlobPut what,
                                          std::vector<std::string> block_ids) override {
        TURNOUT_CO_TRY_VOID(check_put(what));
        if (block_ids.size() > kMaxBlocks)
            co_return fail(Code::InvalidArgument, "BlockListTooLong",
                           "a blob has at most 50,000 blocks", "blocklist");
        std::vector<Part> parts;
        std::vector<Received> pinned;
        std::uint64_t size = 0, again = 0;
        std::unordered_set<std::string_view> named;
        for (const std::string& id : block_ids) {
            TURNOUT_CO_TRY(const std::optional<Record> record,
                           store_.get(Table::BlobBlock, block_key(what.container, what.name, id)));
            if (!record)
                co_return fail(
                    Code::InvalidArgument, "InvalidBlockList",
                    "block '" + to_base64(id) + "' of blob '" + what.name + "' was not uploaded",
                    "blocklist");
            TURNOUT_CO_TRY(const BlockRow block, block_from(*record));
            if (block.part.size == 0) continue;
            size += block.part.size;
            if (!named.insert(id).second) again += block.part.size;
            if (again > kMaxRepeated)
                co_return fail(
                    Code::InvalidArgument, "InvalidBlockList",
                    "the block list of blob '" + what.name +
                        "' names blocks more than once, for more than " +
                        std::to_string(kMaxRepeated >> 20) +
                        " MiB that were not uploaded: upload them as blocks of their own",
                    "blocklist");
            pinned.push_back(contents_.of_part(block.part));
            parts.push_back(block.part);
        }
        if (size <= kSmall) {  // no reason to keep it in pieces
            auto bytes = contents_.read_now(parts);
            if (!bytes) co_return Failure(std::move(bytes).error());
            Received content = contents_.of_bytes(std::move(*bytes));
            auto stored = co_await commit_put(std::move(what), std::move(content), true);
            co_return std::move(stored);
        }
        BlobRow row;
        row.info.sha256 = Contents::identity(parts);
        row.info.size = size;
        row.parts = std::move(parts);
        co_return co_await commit_row(std::move(what), std::move(row), std::move(pinned), true);
    }

    Task<Result<BlobInfo>> copy(BlobPut what, std::string source) override {
        TURNOUT_CO_TRY_VOID(check_put(what));
        TURNOUT_CO_TRY(const std::optional<Record> record,
                       store_.get(Table::Blob, blob_key(what.container, source)));
        if (!record) co_return no_such_blob(what.container, source);
        TURNOUT_CO_TRY(BlobRow from, row_from(*record));
        BlobRow row;
        row.info.sha256 = from.info.sha256;
        row.info.size = from.info.size;
        std::vector<Received> contents;
        for (const Part& part : from.parts) contents.push_back(contents_.of_part(part));
        row.parts = std::move(from.parts);
        if (what.content_type.empty()) what.content_type = from.info.content_type;
        if (what.metadata.empty()) what.metadata = from.info.metadata;
        co_return co_await commit_row(std::move(what), std::move(row), std::move(contents), false);
    }

    Task<Result<BlobInfo>> set_metadata(std::string container, std::string name,
                                        std::vector<std::pair<std::string, std::string>> metadata,
                                        std::optional<std::string> only_if_etag) override {
        TURNOUT_CO_TRY_VOID(check_writable(container, name));
        TURNOUT_CO_TRY_VOID(check_metadata(metadata));
        const std::string key = blob_key(container, name);
        for (int tries = 0; tries < kMaxTries; ++tries) {
            TURNOUT_CO_TRY(const std::optional<Record> record, store_.get(Table::Blob, key));
            if (!record) co_return no_such_blob(container, name);
            TURNOUT_CO_TRY(BlobRow row, row_from(*record));
            if (only_if_etag && row.info.etag != *only_if_etag) co_return condition_not_met(name);
            row.info.metadata = metadata;
            row.info.etag = new_etag();
            row.info.modified = clock_.now();
            Batch batch;
            batch.put(Table::Blob, key, to_text(row), record->revision);
            auto committed = co_await store_.commit(std::move(batch));
            if (committed) co_return std::move(row.info);
            if (committed.error().code != Code::Conflict)
                co_return Failure(std::move(committed).error());
        }
        co_return overtaken(name);
    }

    Task<Result<void>> remove(std::string container, std::string name,
                              std::optional<std::string> only_if_etag) override {
        TURNOUT_CO_TRY_VOID(check_writable(container, name));
        const std::string key = blob_key(container, name);
        for (int tries = 0; tries < kMaxTries; ++tries) {
            TURNOUT_CO_TRY(const std::optional<Record> record, store_.get(Table::Blob, key));
            if (!record) co_return no_such_blob(container, name);
            TURNOUT_CO_TRY(const BlobRow row, row_from(*record));
            if (only_if_etag && row.info.etag != *only_if_etag) co_return condition_not_met(name);
            TURNOUT_CO_TRY(const bool sealed, is_sealed(container));
            if (sealed) co_return immutable(container, name);
            Batch batch;
            batch.erase(Table::Blob, key, record->revision);
            for (const Part& part : row.parts) contents_.release(batch, part, key, clock_.now());
            auto committed = co_await store_.commit(std::move(batch));
            if (committed) {
                // Whoever deletes because the disk is full needs the space now.
                if (contents_.low_on_space()) {
                    TURNOUT_CO_TRY_VOID(co_await contents_.collect_now(row.parts));
                }
                co_return {};
            }
            if (committed.error().code != Code::Conflict)
                co_return Failure(std::move(committed).error());
        }
        co_return overtaken(name);
    }

    Result<std::optional<BlobInfo>> head(std::string_view container,
                                         std::string_view name) override {
        if (!check_name(container, name)) return std::nullopt;
        if (virtual_) {
            auto found = TURNOUT_TRY(virtual_->head(container, name));
            if (found) return found;
        }
        const auto record = TURNOUT_TRY(store_.get(Table::Blob, blob_key(container, name)));
        if (!record) return std::nullopt;
        return TURNOUT_TRY(row_from(*record)).info;
    }

    Result<std::unique_ptr<http::BodyReader>> read(const BlobInfo& blob, std::uint64_t offset,
                                                   std::optional<std::uint64_t> length) override {
        const std::uint64_t from = std::min(offset, blob.size);
        const std::uint64_t count = std::min(length.value_or(blob.size), blob.size - from);
        if (blob.sha256.empty()) {
            if (!virtual_) return no_such_blob(blob.container, blob.name);
            return std::make_unique<VirtualReader>(*virtual_, blob, from, count);
        }
        const auto record =
            TURNOUT_TRY(store_.get(Table::Blob, blob_key(blob.container, blob.name)));
        if (!record) return no_such_blob(blob.container, blob.name);
        BlobRow row = TURNOUT_TRY(row_from(*record));
        if (row.info.sha256 != blob.sha256)
            return fail(
                Code::Conflict, "BlobChanged",
                "blob '" + blob.name + "' was overwritten meanwhile; read its properties again",
                blob.name);
        return contents_.read(std::move(row.parts), from, count);
    }

    Result<std::vector<Piece>> pieces(const BlobInfo& blob) override {
        const auto record =
            TURNOUT_TRY(store_.get(Table::Blob, blob_key(blob.container, blob.name)));
        if (!record || blob.sha256.empty()) return no_such_blob(blob.container, blob.name);
        std::vector<Piece> pieces;
        for (const Part& part : TURNOUT_TRY(row_from(*record)).parts) {
            Piece piece{part.size, "", ""};
            if (part.small())
                piece.bytes = TURNOUT_TRY(contents_.small_bytes(part));
            else
                piece.file = contents_.file_of(part.sha256);
            pieces.push_back(std::move(piece));
        }
        return pieces;
    }

    Result<std::string> read_all(std::string_view container, std::string_view name,
                                 std::size_t limit) override {
        TURNOUT_TRY(check_name(container, name));
        const auto found = TURNOUT_TRY(head(container, name));
        if (!found) return no_such_blob(container, name);
        if (found->size > limit)
            return fail(Code::ResourceExhausted, "BlobTooLarge",
                        "blob '" + std::string(name) + "' has " +
                            with_commas(static_cast<std::int64_t>(found->size)) +
                            " bytes, more than the " +
                            with_commas(static_cast<std::int64_t>(limit)) + " that are read here",
                        std::string(name));
        if (found->sha256.empty()) {
            std::string bytes;
            while (bytes.size() < found->size) {
                const std::string piece = TURNOUT_TRY(
                    virtual_->read(container, name, bytes.size(), found->size - bytes.size()));
                if (piece.empty()) break;
                bytes += piece;
            }
            return bytes;
        }
        const auto record = TURNOUT_TRY(store_.get(Table::Blob, blob_key(container, name)));
        if (!record) return no_such_blob(container, name);
        return contents_.read_now(TURNOUT_TRY(row_from(*record)).parts);
    }

    Result<BlobList> list(std::string_view container, std::string_view prefix,
                          std::string_view delimiter, std::string_view marker,
                          std::size_t limit) override {
        TURNOUT_TRY(check_container(container));
        std::vector<BlobInfo> made;
        if (virtual_) made = TURNOUT_TRY(virtual_->list(container, prefix));
        std::ranges::sort(made, {}, &BlobInfo::name);

        // Two ordered streams, stored and virtual, merged from `from` on. A folder is skipped by
        // asking for what comes behind it.
        BlobList result;
        std::string from = std::max(std::string(prefix), std::string(marker));
        const std::string end = with_prefix(prefix).to;
        std::vector<Record> page;
        std::size_t at = 0;
        bool more = true;
        while (true) {
            if (at == page.size() && more) {
                Range range{.from = blob_key(container, from),
                            .to = end.empty() ? with_prefix(blob_key(container, "")).to
                                              : blob_key(container, end)};
                range.limit = std::min<std::size_t>(limit + 1, delimiter.empty() ? 1000 : 100);
                page = TURNOUT_TRY(store_.scan(Table::Blob, range));
                more = page.size() == range.limit;
                at = 0;
                // The container's own row has an empty name.
                if (!page.empty() && page[0].key.size() == container.size() + 1) ++at;
                if (at == page.size() && more) {
                    from = page.back().key.substr(container.size() + 1) + '\0';
                    continue;
                }
            }
            const bool stored_left = at < page.size();
            const auto next_made = std::ranges::lower_bound(made, from, {}, &BlobInfo::name);
            if (!stored_left && next_made == made.end()) return result;
            const std::string_view stored_name =
                stored_left ? std::string_view(page[at].key).substr(container.size() + 1)
                            : std::string_view();
            const bool take_made =
                next_made != made.end() && (!stored_left || next_made->name <= stored_name);
            const std::string name = take_made ? next_made->name : std::string(stored_name);
            if (result.blobs.size() + result.prefixes.size() == limit) {
                result.next_marker = name;
                return result;
            }
            const std::size_t cut =
                delimiter.empty() ? std::string::npos : name.find(delimiter, prefix.size());
            if (cut != std::string::npos) {
                result.prefixes.push_back(name.substr(0, cut + delimiter.size()));
                from = with_prefix(result.prefixes.back()).to;
                if (from.empty()) return result;
            } else {
                if (take_made)
                    result.blobs.push_back(*next_made);
                else
                    result.blobs.push_back(TURNOUT_TRY(row_from(page[at])).info);
                from = name + '\0';
            }
            while (at < page.size() &&
                   std::string_view(page[at].key).substr(container.size() + 1) < from)
                ++at;
        }
    }

    Task<Result<bool>> create_container(std::string container) override {
        TURNOUT_CO_TRY_VOID(check_container(container));
        Range range = with_prefix(blob_key(container, ""), 1);
        TURNOUT_CO_TRY(const std::vector<Record> found, store_.scan(Table::Blob, range));
        if (!found.empty()) co_return false;
        Batch batch;
        batch.put(Table::Blob, blob_key(container, ""), "{}", kAbsent);
        auto committed = co_await store_.commit(std::move(batch));
        if (committed) co_return true;
        if (committed.error().code == Code::Conflict) co_return false;
        co_return Failure(std::move(committed).error());
    }

    Result<StoredPage> every(std::string_view after, std::size_t limit) override {
        Range range;
        if (!after.empty()) range.from = std::string(after) + '\0';
        range.limit = limit;
        StoredPage page;
        const auto rows = TURNOUT_TRY(store_.scan(Table::Blob, range));
        for (const Record& record : rows) {
            if (record.key.ends_with('/')) continue;  // a container's own row
            BlobRow row = TURNOUT_TRY(row_from(record));
            Stored& stored = page.blobs.emplace_back();
            stored.info = std::move(row.info);
            for (Part& part : row.parts)
                stored.contents.emplace_back(std::move(part.sha256), part.size);
        }
        if (rows.size() == limit) page.next = rows.back().key;
        return page;
    }

    Result<std::size_t> references(std::string_view sha256, std::size_t limit) override {
        return contents_.references(sha256, limit);
    }

    Task<Result<Removed>> remove_all(std::string container, std::string prefix,
                                     std::function<bool(const BlobInfo&)> keep) override {
        TURNOUT_CO_TRY_VOID(check_container(container));
        Removed removed;
        Range range = with_prefix(blob_key(container, prefix), kRemovedAtOnce);
        int overtakings = 0;
        while (true) {
            TURNOUT_CO_TRY(const std::vector<Record> rows, store_.scan(Table::Blob, range));
            if (rows.empty()) break;
            Batch batch;
            Removed now;
            for (const Record& record : rows) {
                if (record.key.ends_with('/')) {  // the container's own, which seals it
                    if (!keep) batch.erase(Table::Blob, record.key, record.revision);
                    continue;
                }
                TURNOUT_CO_TRY(const BlobRow row, row_from(record));
                if (keep && keep(row.info)) continue;
                batch.erase(Table::Blob, record.key, record.revision);
                for (const Part& part : row.parts)
                    contents_.release(batch, part, record.key, clock_.now());
                ++now.blobs;
                now.bytes += row.info.size;
            }
            auto committed = co_await store_.commit(std::move(batch));
            if (!committed && committed.error().code == Code::Conflict) {
                // Somebody writes there: what is there is looked at again.
                if (++overtakings == kMaxTries) co_return Failure(std::move(committed).error());
                continue;
            }
            if (!committed) co_return Failure(std::move(committed).error());
            removed.blobs += now.blobs;
            removed.bytes += now.bytes;
            range.from = rows.back().key + '\0';
        }
        if (!keep) {
            TURNOUT_CO_TRY_VOID(co_await forget_uploads(blob_key(container, prefix)));
        }
        co_return removed;
    }

    Write seal(std::string_view container) override {
        sealing_.insert(std::string(container));
        return {Table::Blob, blob_key(container, ""), std::string(kSealed), std::nullopt};
    }
    void seal_settled(std::string_view container) override {
        const auto found = sealing_.find(std::string(container));
        if (found != sealing_.end()) sealing_.erase(found);
    }

    bool low_on_space() const override { return contents_.low_on_space(); }

    Task<Result<Collected>> collect(Instant now, Span hold) override {
        Collected collected;
        TURNOUT_CO_TRY_VOID(co_await forget_blocks(now - kBlockLife, collected));
        if (contents_.low_on_space()) hold = Span{};
        TURNOUT_CO_TRY(const Contents::Collected contents, co_await contents_.collect(now, hold));
        collected.contents = contents.contents;
        collected.bytes = contents.bytes;
        co_return collected;
    }

private:
    // No two awaits between this and the commit that rests on it: commits keep their order.
    Result<bool> is_sealed(const std::string& container) {
        if (container.starts_with("azureml-")) return false;  // of datastores
        if (sealing_.contains(container)) return true;
        const auto row = TURNOUT_TRY(store_.get(Table::Blob, blob_key(container, "")));
        return row && row->value == kSealed;
    }
    static Failure immutable(const std::string& container, const std::string& name) {
        return fail(Code::FailedPrecondition, "BlobImmutableDueToPolicy",
                    "blob '" + name + "' in '" + container +
                        "' stays as it is: the code there is registered. Register what you have as "
                        "another version",
                    name);
    }

    Task<Result<void>> forget_uploads(std::string prefix) {
        const Range range = with_prefix(prefix, kRemovedAtOnce);
        while (true) {
            TURNOUT_CO_TRY(const std::vector<Record> blocks, store_.scan(Table::BlobBlock, range));
            if (blocks.empty()) co_return {};
            Batch batch;
            for (const Record& record : blocks) {
                TURNOUT_CO_TRY(const BlockRow block, block_from(record));
                batch.erase(Table::BlobBlock, record.key, record.revision);
                contents_.release(batch, block.part, record.key, clock_.now());
            }
            // One that was sent again meanwhile is looked at again.
            auto committed = co_await store_.commit(std::move(batch));
            if (!committed && committed.error().code != Code::Conflict)
                co_return Failure(std::move(committed).error());
        }
    }

    Result<void> check_writable(std::string_view container, std::string_view name) {
        TURNOUT_TRY(check_name(container, name));
        if (virtual_ && TURNOUT_TRY(virtual_->head(container, name)))
            return fail(Code::PermissionDenied, "BlobIsReadOnly",
                        "blob '" + std::string(name) +
                            "' is a log that the server keeps; it cannot be written or deleted",
                        std::string(name));
        return {};
    }

    Result<void> check_put(const BlobPut& what) {
        TURNOUT_TRY(check_writable(what.container, what.name));
        TURNOUT_TRY(check_metadata(what.metadata));
        if (!what.only_if_absent && !what.only_if_etag) return {};
        const auto record =
            TURNOUT_TRY(store_.get(Table::Blob, blob_key(what.container, what.name)));
        return check_conditions(
            what, record ? std::optional(TURNOUT_TRY(row_from(*record))) : std::nullopt);
    }

    static Result<void> check_conditions(const BlobPut& what, const std::optional<BlobRow>& old) {
        if (what.only_if_absent && old)
            return fail(Code::Conflict, "BlobAlreadyExists",
                        "blob '" + what.name + "' already exists", what.name);
        if (what.only_if_etag && (!old || old->info.etag != *what.only_if_etag))
            return condition_not_met(what.name);
        return {};
    }

    static Failure condition_not_met(const std::string& name) {
        return fail(Code::Conflict, "ConditionNotMet",
                    "blob '" + name + "' is not the one that If-Match names; read it again", name);
    }

    Task<Result<BlobInfo>> commit_put(BlobPut what, Received content, bool blocks = false) {
        BlobRow row;
        row.info.sha256 = content.part.sha256;
        row.info.size = content.part.size;
        row.parts.push_back(content.part);
        std::vector<Received> contents;
        contents.push_back(std::move(content));
        auto stored =
            co_await commit_row(std::move(what), std::move(row), std::move(contents), blocks);
        co_return std::move(stored);
    }

    // Points the name at that content, and lets go of what it pointed at before. `blocks`: the
    // uncommitted ones of that name are over.
    Task<Result<BlobInfo>> commit_row(BlobPut what, BlobRow row, std::vector<Received> contents,
                                      bool blocks) {
        const std::string key = blob_key(what.container, what.name);
        row.info.container = what.container;
        row.info.name = what.name;
        row.info.content_type =
            what.content_type.empty() ? "application/octet-stream" : what.content_type;
        row.info.metadata = what.metadata;
        row.info.owner = what.owner;
        for (int tries = 0; tries < kMaxTries; ++tries) {
            TURNOUT_CO_TRY(const std::optional<Record> record, store_.get(Table::Blob, key));
            std::optional<BlobRow> old;
            if (record) {
                auto parsed = row_from(*record);
                if (!parsed) co_return Failure(std::move(parsed).error());
                old = std::move(*parsed);
            }
            TURNOUT_CO_TRY_VOID(check_conditions(what, old));
            TURNOUT_CO_TRY(const bool sealed, is_sealed(what.container));
            if (sealed) {  // a client that repeats its upload is not refused
                if (!old || old->info.sha256 != row.info.sha256)
                    co_return immutable(what.container, what.name);
                co_return std::move(old->info);
            }
            row.info.modified = clock_.now();
            row.info.created = old ? old->info.created : row.info.modified;
            row.info.etag = new_etag();
            Batch batch;
            batch.put(Table::Blob, key, to_text(row), record ? record->revision : kAbsent);
            std::set<std::string> referred;
            for (const Received& content : contents) {
                if (!referred.insert(content.part.sha256).second) continue;
                TURNOUT_CO_TRY_VOID(contents_.refer(batch, content, key));
            }
            if (old)
                for (const Part& part : old->parts)
                    if (!referred.contains(part.sha256))
                        contents_.release(batch, part, key, row.info.modified);
            if (blocks) {
                TURNOUT_CO_TRY_VOID(
                    drop_blocks(batch, what.container, what.name, row.info.modified));
            }
            auto committed = co_await store_.commit(std::move(batch));
            if (committed) co_return std::move(row.info);
            if (committed.error().code != Code::Conflict)
                co_return Failure(std::move(committed).error());
        }
        co_return overtaken(what.name);
    }

    Result<void> drop_blocks(Batch& batch, const std::string& container, const std::string& name,
                             Instant now) {
        Range range = with_prefix(blocks_of(container, name));
        range.limit = 2 * kMaxBlocks;
        const std::vector<Record> blocks = TURNOUT_TRY(store_.scan(Table::BlobBlock, range));
        for (const Record& block : blocks) {
            batch.erase(Table::BlobBlock, block.key, block.revision);
            contents_.release(batch, TURNOUT_TRY(block_from(block)).part, block.key, now);
        }
        return {};
    }

    Task<Result<void>> forget_blocks(Instant before, Collected& collected) {
        Range range{.limit = 256};
        while (true) {
            TURNOUT_CO_TRY(const std::vector<Record> blocks, store_.scan(Table::BlobBlock, range));
            if (blocks.empty()) co_return {};
            for (const Record& record : blocks) {
                TURNOUT_CO_TRY(const BlockRow block, block_from(record));
                if (block.put > before) continue;
                Batch batch;
                batch.erase(Table::BlobBlock, record.key, record.revision);
                contents_.release(batch, block.part, record.key, clock_.now());
                auto committed = co_await store_.commit(std::move(batch));
                if (committed) ++collected.blocks;
                if (!committed && committed.error().code != Code::Conflict)
                    co_return Failure(std::move(committed).error());
            }
            range.from = blocks.back().key + '\0';
        }
    }

    std::string new_etag() { return "0x" + hex16(random_.next()); }

    static Failure overtaken(const std::string& name) {
        return fail(Code::Unavailable, "ServerBusy",
                    "blob '" + name + "' is being written by too many at once; try again", name);
    }

    Store& store_;
    const Clock& clock_;
    Random& random_;
    Contents contents_;
    VirtualBlobs* virtual_ = nullptr;
    std::multiset<std::string> sealing_;  // whose seals are on their way to the disk
};

}  // namespace

Result<std::unique_ptr<Blobs>> open_blobs(Store& store, const Clock& clock, Random& random,
                                          Loop& loop, std::string folder,
                                          std::function<bool()> low) {
    auto blobs = std::make_unique<StoredBlobs>(store, clock, random, loop, std::move(folder),
                                               std::move(low));
    TURNOUT_TRY(blobs->open());
    return blobs;
}

Result<void> check_container(std::string_view container) {
    const auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    };
    if (container.size() < 3 || container.size() > 63 || !std::ranges::all_of(container, fits) ||
        container.front() == '-' || container.back() == '-')
        return fail(Code::InvalidArgument, "InvalidResourceName",
                    "a container's name has 3 to 63 lower-case letters, digits and inner '-'",
                    "container");
    return {};
}

std::string blobstore_container(std::string_view wsid) {
    return "azureml-blobstore-" + std::string(wsid);
}
std::string artifact_container(std::string_view wsid) {
    return "azureml-" + std::string(wsid);
}
std::string code_container(std::string_view wsid, std::string_view guid) {
    return std::string(wsid) + "-" + std::string(guid);
}

std::string fetched_container(std::string_view wsid) {
    return std::string(wsid) + "-fetched";
}

std::string workspace_of_container(std::string_view container) {
    constexpr std::string_view blobstore = "azureml-blobstore-";
    constexpr std::string_view artifacts = "azureml-";
    if (container.starts_with(blobstore)) return std::string(container.substr(blobstore.size()));
    if (container.starts_with(artifacts)) return std::string(container.substr(artifacts.size()));
    // A workspace's id has no '-'.
    const std::size_t dash = container.find('-');
    return dash == std::string_view::npos ? std::string() : std::string(container.substr(0, dash));
}

}  // namespace turnout
