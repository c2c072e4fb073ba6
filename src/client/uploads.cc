// What goes to the server: files, in one stream each, and their fingerprints, which are found while
// they are on their way.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/text.h"
#include "client/api.h"
#include "client/files.h"
#include "client/hashes.h"
#include "io/posix/fd.h"

namespace turnout::client {
namespace {

constexpr std::size_t kBlock = 4 << 20;
constexpr std::size_t kPiece = 256 << 10;
constexpr std::uint64_t kLarge =
    32 << 20;  // from here on nobody waits for a hash before anything is sent
constexpr int kTries = 4;

Result<std::string> read_part(int fd, std::uint64_t offset, std::size_t length,
                              const std::string& path) {
    std::string bytes(length, '\0');
    std::size_t done = 0;
    while (done < length) {
        const ssize_t got =
            ::pread(fd, bytes.data() + done, length - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return fail(
                Code::Conflict, "FileChanged",
                "'" + path +
                    "' became shorter while it was uploaded: try again when nothing writes it",
                path);
        done += static_cast<std::size_t>(got);
    }
    return bytes;
}

// A file as the body of a request. The loop of a command has nothing else to do while it is read.
class FileStream final : public http::BodyReader {
public:
    FileStream(Fd file, std::uint64_t size, std::string path,
               std::function<void(std::int64_t)> sent, const bool* stop)
        : file_(std::move(file)),
          size_(size),
          path_(std::move(path)),
          sent_(std::move(sent)),
          stop_(stop) {}
    Task<Result<std::string>> read() override {
        if (stop_ && *stop_) co_return fail(Code::Canceled, "Stopped", "it is there already");
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, size_ - at_));
        if (count == 0) co_return std::string();
        auto bytes = read_part(file_.get(), at_, count, path_);
        if (bytes) {
            at_ += count;
            sent_(static_cast<std::int64_t>(count));
        }
        co_return bytes;
    }

private:
    Fd file_;
    std::uint64_t size_, at_ = 0;
    std::string path_;
    std::function<void(std::int64_t)> sent_;
    const bool* stop_;
};

bool worth_a_try(const Error& error) {
    return error.code == Code::Unavailable || error.code == Code::Ambiguous;
}

}  // namespace

Task<Result<void>> Api::put_file(BlobPlace place, std::string blob, SnapshotFile file,
                                 std::function<void(std::int64_t)> sent, const bool* stop,
                                 std::string* etag) {
    http::Headers said;
    if (stop && *stop) co_return fail(Code::Canceled, "Stopped", "it is there already");
    Fd open(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!open)
        co_return fail(Code::FailedPrecondition, "FileError",
                       "cannot open '" + file.path + "': " + std::strerror(errno), file.path);
    const std::string url = place.at(blob);
    using Named = std::vector<std::pair<std::string, std::string>>;
    Named headers;
    headers.emplace_back("x-ms-blob-type", "BlockBlob");
    if (file.size <= kBlock) {
        TURNOUT_CO_TRY(std::string bytes,
                       read_part(open.get(), 0, static_cast<std::size_t>(file.size), file.path));
        TURNOUT_CO_TRY_VOID(co_await blob_call("PUT", url, std::move(bytes), std::move(headers),
                                               place.bearer, &said));
        *etag = said.get("ETag");
        sent(static_cast<std::int64_t>(file.size));
        co_return {};
    }
    // In one stream the server keeps it as one file, which nodes of its machine take as it is.
    // Where the connection does not hold that long it goes in blocks, each of which may be tried
    // again.
    Fd again(::fcntl(open.get(), F_DUPFD_CLOEXEC, 0));
    auto counted = std::make_shared<std::int64_t>(0);  // shared with the stream
    std::function<void(std::int64_t)> count = [counted, sent](std::int64_t bytes) {
        *counted += bytes;
        sent(bytes);
    };
    std::unique_ptr<http::BodyReader> stream = std::make_unique<FileStream>(
        std::move(again), file.size, file.path, std::move(count), stop);
    auto streamed = co_await stream_call(url, std::move(stream), file.size, std::move(headers),
                                         place.bearer, &said);
    if (streamed) *etag = said.get("ETag");
    if (streamed || !worth_a_try(streamed.error())) co_return streamed;
    sent(-*counted);
    const std::string separator = place.query.empty() ? "?" : "&";
    std::string list = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>";
    std::uint64_t number = 0;
    for (std::uint64_t at = 0; at < file.size; at += kBlock, ++number) {
        if (stop && *stop) co_return fail(Code::Canceled, "Stopped", "it is there already");
        const std::size_t length =
            static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, file.size - at));
        TURNOUT_CO_TRY(std::string bytes, read_part(open.get(), at, length, file.path));
        std::string digits = std::to_string(number);
        const std::string id =
            to_base64(std::string(10 - std::min<std::size_t>(10, digits.size()), '0') + digits);
        list += "<Latest>" + id + "</Latest>";
        const std::string to = url + separator + "comp=block&blockid=" + percent_encode(id);
        for (int tries = 1;; ++tries) {
            auto put = co_await blob_call("PUT", to, bytes, Named(), place.bearer, nullptr);
            if (put) break;
            if (!worth_a_try(put.error()) || tries == kTries) co_return Failure(put.error());
            co_await loop_.sleep(tries * 1s);
        }
        sent(static_cast<std::int64_t>(length));
    }
    list += "</BlockList>";
    TURNOUT_CO_TRY_VOID(co_await blob_call("PUT", url + separator + "comp=blocklist",
                                           std::move(list), Named(), place.bearer, &said));
    *etag = said.get("ETag");
    co_return {};
}

Result<void> Api::upload(const BlobPlace& place, const std::string& prefix,
                         const std::vector<SnapshotFile>& files, const Progress& progress,
                         const bool* stop, std::vector<std::string>* etags) {
    std::vector<std::string> own;
    if (!etags) etags = &own;
    etags->assign(files.size(), "");
    std::uint64_t total = 0, done = 0;
    for (const SnapshotFile& file : files) total += file.size;
    const auto sent = [&](std::int64_t more) {
        done += static_cast<std::uint64_t>(more);
        if (progress) progress(done, total);
    };
    if (progress) progress(0, total);
    return in_parallel(files.size(), [&](std::size_t i) {
        return put_file(place, prefix + files[i].relative, files[i], sent, stop, &(*etags)[i]);
    });
}

Result<std::string> Api::upload_code(const std::string& folder, const Progress& progress,
                                     bool& uploaded) {
    uploaded = false;
    const Snapshot snapshot = TURNOUT_TRY(take_snapshot(folder));
    const std::string hash = TURNOUT_TRY(content_hash(snapshot));
    const std::string name = random_.uuid();
    const std::string code = in_workspace("/codes/" + name + "/versions");
    const Json found = TURNOUT_TRY(get(code + "?hash=" + hash + "&hashVersion=202208"));
    if (!found.at("value").items().empty()) {
        const std::string id = found.at("value").items()[0].at("id").as_string();
        if (!id.empty()) return id;
    }
    uploaded = true;
    const Json pending =
        TURNOUT_TRY(post(code + "/1/startPendingUpload",
                         Json::object({{"pendingUploadType", "TemporaryBlobReference"}})));
    const Json& reference = pending.at("blobReferenceForConsumption");
    const std::string sas = reference.at("credential").at("sasUri").as_string();
    const std::size_t mark = sas.find('?');
    if (mark == std::string::npos) return internal("the server gave no place to upload to");
    const BlobPlace place{.url = sas.substr(0, mark), .query = sas.substr(mark + 1), .bearer = {}};
    if (Result<void> sent = upload(place, snapshot.name + "/", snapshot.files, progress); !sent)
        return Failure(sent.error());
    const Json body = Json::object(
        {{"properties",
          Json::object({{"codeUri", reference.at("blobUri").as_string() + "/" + snapshot.name},
                        {"isAnonymous", true},
                        {"properties",
                         Json::object({{"hash_sha256", hash}, {"hash_version", "202208"}})}})}});
    const Json made = TURNOUT_TRY(put(code + "/1", body));
    return made.at("id").as_string();
}

// Whether all files of a snapshot are there: the first by path says so.
Result<bool> Api::is_complete(const std::string& marker, const BlobPlace& place) {
    http::Headers headers;
    const auto head =
        TURNOUT_TRY(loop_.run(blob_call("HEAD", marker, "", {}, place.bearer, &headers)));
    return head.first == 200 && headers.get("x-ms-meta-upload_status") == "completed";
}

Result<Api::Placed> Api::place_data(const std::string& path, const Progress& progress,
                                    bool& uploaded) {
    const Snapshot snapshot = TURNOUT_TRY(take_snapshot(path));
    const BlobPlace place = TURNOUT_TRY(datastore("workspaceblobstore"));
    const bool folder = !snapshot.single_file;
    const auto prefix_of = [&](const std::string& hash) {
        return "LocalUpload/" + hash + "/" + (folder ? snapshot.name + "/" : "");
    };
    const auto placed_at = [&](const std::string& hash) {
        return Placed{
            .place = place, .blob = "LocalUpload/" + hash + "/" + snapshot.name, .folder = folder};
    };
    const SnapshotFile* first = &snapshot.files[0];
    for (const SnapshotFile& file : snapshot.files)
        if (file.path < first->path) first = &file;
    const auto marker_of = [&](const std::string& hash) {
        return place.at(prefix_of(hash) + first->relative);
    };
    const auto mark = [&](const std::string& hash) -> Result<Placed> {
        const std::string separator = place.query.empty() ? "?" : "&";
        TURNOUT_TRY(loop_.run(blob_call("PUT", marker_of(hash) + separator + "comp=metadata", "",
                                        {{"x-ms-meta-upload_status", "completed"},
                                         {"x-ms-meta-name", random_.uuid()},
                                         {"x-ms-meta-version", "1"}},
                                        place.bearer, nullptr)));
        return placed_at(hash);
    };

    const Stamp stamp = TURNOUT_TRY(stamp_of(snapshot, clock_.now()));
    // Somebody may have written to a file between its hash and its way.
    const auto unchanged = [&]() -> Result<void> {
        const Snapshot now = TURNOUT_TRY(take_snapshot(path));
        if (stamp == TURNOUT_TRY(stamp_of(now, clock_.now()))) return {};
        return fail(Code::Conflict, "FileChanged",
                    "'" + path + "' changes while it is uploaded: try again when nothing writes it",
                    path);
    };
    std::optional<std::string> known;
    if (snapshot.bytes < kLarge)
        known = TURNOUT_TRY(object_hash(path));
    else
        known = remembered_hash(stamp.text);
    if (known) {
        uploaded = !TURNOUT_TRY(is_complete(marker_of(*known), place));
        if (!uploaded) return placed_at(*known);
        std::vector<std::string> etags;
        Result<void> sent =
            upload(place, prefix_of(*known), snapshot.files, progress, nullptr, &etags);
        if (sent) sent = unchanged();
        if (sent) return mark(*known);
        // It is not what the name says. What somebody else wrote there meanwhile stays.
        (void)in_parallel(snapshot.files.size(), [&](std::size_t i) -> Task<Result<void>> {
            if (etags[i].empty()) co_return Result<void>();
            co_return co_await remove_blob(place, prefix_of(*known) + snapshot.files[i].relative,
                                           etags[i]);
        });
        return Failure(sent.error());
    }

    // The hash is found while the files are on their way, to a name that is theirs until then.
    struct Search {
        Result<std::string> hash;
        bool over = false, there = false;
    };
    const auto search = std::make_shared<Search>();  // shared with the pool's thread
    const auto look = [this, search, place, &marker_of]() -> Task<void> {
        if (search->hash) {
            http::Headers headers;
            std::string marker = marker_of(*search->hash);
            const auto head =
                co_await blob_call("HEAD", std::move(marker), "", {}, place.bearer, &headers);
            search->there =
                head && head->first == 200 && headers.get("x-ms-meta-upload_status") == "completed";
        }
        search->over = true;
    };
    loop_.blocking([search, path] { search->hash = object_hash(path); },
                   [&] { start(look(), [] {}); });
    const std::string way = "LocalUpload/uploading-" + random_.uuid() + "/";
    const Result<void> sent = upload(place, way, snapshot.files, progress, &search->there);
    loop_.run_until([&] { return search->over; });
    const auto clear = [&] {
        return in_parallel(snapshot.files.size(), [&](std::size_t i) {
            return remove_blob(place, way + snapshot.files[i].relative);
        });
    };
    uploaded = !search->there;
    if (!search->hash || (!sent && !search->there)) {
        (void)clear();
        return search->hash ? Failure(sent.error()) : Failure(search->hash.error());
    }
    const std::string& hash = *search->hash;
    if (const Result<void> same = unchanged(); !same) {
        (void)clear();
        return Failure(same.error());
    }
    if (stamp.settled) remember_hash(stamp.text, hash);
    if (!search->there)
        TURNOUT_TRY(in_parallel(snapshot.files.size(), [&](std::size_t i) {
            return copy_blob(place, way + snapshot.files[i].relative,
                             prefix_of(hash) + snapshot.files[i].relative);
        }));
    TURNOUT_TRY(clear());
    if (search->there) return placed_at(hash);
    return mark(hash);
}

Task<Result<void>> Api::copy_blob(BlobPlace place, std::string from, std::string to) {
    std::vector<std::pair<std::string, std::string>> headers;
    headers.emplace_back("x-ms-copy-source", place.at(from));
    std::string url = place.at(to);
    TURNOUT_CO_TRY_VOID(
        co_await blob_call("PUT", std::move(url), "", std::move(headers), place.bearer, nullptr));
    co_return {};
}

// Absent is fine.
Task<Result<void>> Api::remove_blob(BlobPlace place, std::string blob, std::string etag) {
    std::string url = place.at(blob);
    std::vector<std::pair<std::string, std::string>> headers;
    if (!etag.empty()) headers.emplace_back("If-Match", std::move(etag));
    const auto removed =
        co_await blob_call("DELETE", std::move(url), "", std::move(headers), place.bearer, nullptr);
    if (!removed && removed.error().code != Code::NotFound &&
        removed.error().code != Code::FailedPrecondition)
        co_return Failure(removed.error());
    co_return {};
}

Result<std::string> Api::upload_data(const std::string& path, const Progress& progress,
                                     bool& uploaded) {
    const Placed placed = TURNOUT_TRY(place_data(path, progress, uploaded));
    return "azureml://datastores/workspaceblobstore/paths/" + placed.blob +
           (placed.folder ? "/" : "");
}

Result<std::string> Api::upload_context(const std::string& path, const Progress& progress,
                                        bool& uploaded) {
    const Placed placed = TURNOUT_TRY(place_data(path, progress, uploaded));
    return placed.place.url + "/" + placed.blob + "/";
}

}  // namespace turnout::client
