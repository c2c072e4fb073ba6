#include "app/backup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

#include "app/instance.h"
#include "app/version.h"
#include "base/hash.h"
#include "base/text.h"
#include "base/time.h"
#include "io/posix/asio_loop.h"
#include "io/posix/files.h"
#include "io/posix/sockets.h"
#include "store/sqlite/intact.h"

namespace turnout {
namespace {

constexpr std::string_view kManifest = "backup.json";
constexpr std::string_view kDatabase = "turnout.db";
constexpr std::size_t kPiece = 1 << 20;
constexpr std::size_t kSaidEvery = 100;  // contents

bool exists(const std::string& path) {
    return ::access(path.c_str(), F_OK) == 0;
}

// Of the data folder's own small files: what a server makes anew is not worth keeping, and what it
// says about a process must not be believed elsewhere.
bool is_kept(const std::string& name) {
    constexpr std::array made_anew = {"server.json",   "client.json", "server.log",
                                      "ca-bundle.pem", "ballast",     "room"};
    return !name.starts_with(kDatabase) && name != kManifest && !name.ends_with(".lock") &&
           std::ranges::find(made_anew, name) == made_anew.end();
}

std::string content_path(const std::string& root, const std::string& sha256) {
    return root + "/blobs/" + sha256.substr(0, 2) + "/" + sha256;
}

Failure content_damaged(const std::string& path, const std::string& why) {
    return fail(Code::FailedPrecondition, "ContentDamaged", "the content '" + path + "' " + why,
                path);
}

// Reads a file and gives its hash; writes what it reads to `target` unless that is -1.
Result<std::string> hash_file(const std::string& path, int target, std::uint64_t& size) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file) return file_failure("cannot read", path, errno);
    Sha256 hash;
    std::string piece(kPiece, '\0');
    for (size = 0;;) {
        const ssize_t got = ::read(file.get(), piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return file_failure("cannot read", path, errno);
        if (got == 0) return to_hex(hash.finish());
        const std::string_view bytes(piece.data(), static_cast<std::size_t>(got));
        hash.update(bytes);
        size += bytes.size();
        if (target >= 0) TURNOUT_TRY(write_all(target, bytes, path));
    }
}

// The copy has its name only when it is whole.
Result<std::string> copy_file(const std::string& from, const std::string& to, std::uint64_t& size) {
    const std::string unfinished = to + ".unfinished";
    std::string hash;
    {
        const Fd target(::open(unfinished.c_str(),
                               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!target) return file_failure("cannot write", unfinished, errno);
        hash = TURNOUT_TRY(hash_file(from, target.get(), size));
        if (::fdatasync(target.get()) != 0) return file_failure("cannot write", unfinished, errno);
    }
    if (::rename(unfinished.c_str(), to.c_str()) != 0)
        return file_failure("cannot write", to, errno);
    return hash;
}

// Hashes of the content that the database refers to and does not hold itself.
Result<std::vector<std::string>> large_contents(const std::string& database) {
    using namespace sqlite;
    const Database db = TURNOUT_TRY(open_database(database, "", SQLITE_OPEN_READWRITE));
    Statement query = TURNOUT_TRY(prepare(
        db.get(),
        "SELECT DISTINCT substr(key, 3, 64) AS hash FROM blob_use WHERE key >= 'r/' AND key "
        "< 'r0' AND NOT EXISTS (SELECT 1 FROM blob_data WHERE key = substr(blob_use.key, 3, "
        "64)) ORDER BY hash"));
    std::vector<std::string> found;
    int status = SQLITE_ROW;
    while ((status = sqlite3_step(query.get())) == SQLITE_ROW)
        found.emplace_back(column(query.get(), 0));
    if (status != SQLITE_DONE)
        return failure_of(db.get(), status, "reading the database's references");
    return found;
}

Result<Json> manifest_of(const std::string& folder) {
    const std::string path = folder + "/" + std::string(kManifest);
    if (!exists(path))
        return fail(
            Code::NotFound, "NotABackup",
            "'" + folder + "' holds no finished backup: it has no " + std::string(kManifest),
            folder);
    Json manifest = TURNOUT_TRY(read_document(path));
    if (manifest.at("format").as_int() != 1)
        return fail(Code::FailedPrecondition, "NotABackup",
                    "the backup in '" + folder + "' was made by a newer turnout", folder);
    return manifest;
}

std::string counted(std::size_t done, std::size_t of, std::uint64_t bytes) {
    return "content " + std::to_string(done) + " of " + std::to_string(of) + ", " +
           std::to_string(bytes >> 20) + " MiB";
}

Result<void> copy_small_files(const std::string& from, const std::string& to) {
    for (const DirectoryEntry& entry : TURNOUT_TRY(list_directory(from))) {
        if (entry.kind != DirectoryEntry::Kind::File || !is_kept(entry.name)) continue;
        const std::string bytes = TURNOUT_TRY(read_file(from + "/" + entry.name));
        TURNOUT_TRY(write_file_atomically(to + "/" + entry.name, bytes, 0600));
    }
    return {};
}

// The ports that the server had, which its clients know, are kept only where they are free now:
// a folder that is restored beside its original has a server of its own.
Result<void> forget_taken_ports(const std::string& data) {
    const std::string path = Instance{data}.ports();
    for (const auto& [name, address] : TURNOUT_TRY(read_document(path)).members())
        if (!http::listen_tcp(address.as_string())) ::unlink(path.c_str());
    return {};
}

}  // namespace

Result<BackupReport> back_up(const std::string& data, const std::string& folder,
                             const Saying& say) {
    const std::string source = data + "/" + std::string(kDatabase);
    if (!exists(source))
        return fail(Code::NotFound, "NoDatabase", "there is no server's database in '" + data + "'",
                    data);
    const bool fresh = !exists(folder) || TURNOUT_TRY(list_directory(folder)).empty();
    if (!fresh && !exists(folder + "/" + std::string(kManifest)) &&
        !exists(folder + "/backup.unfinished"))
        return fail(Code::FailedPrecondition, "NotABackup",
                    "'" + folder +
                        "' has something else in it: give an empty folder, or one with an "
                        "earlier backup of this server",
                    folder);
    if (exists(folder + "/keys.json") && exists(data + "/keys.json") &&
        TURNOUT_TRY(read_file(folder + "/keys.json")) !=
            TURNOUT_TRY(read_file(data + "/keys.json")))
        return fail(Code::FailedPrecondition, "OtherServer",
                    "'" + folder + "' holds a backup of another server", folder);
    TURNOUT_TRY(make_directories(folder, 0700));
    if (::chmod(folder.c_str(), 0700) != 0) return file_failure("cannot close", folder, errno);
    TURNOUT_TRY(write_file_atomically(folder + "/backup.unfinished", "", 0600));

    say("copying the database");
    const std::string next = folder + "/turnout.db.next";
    ::unlink(next.c_str());
    TURNOUT_TRY(copy_database(source, next));
    if (::chmod(next.c_str(), 0600) != 0) return file_failure("cannot close", next, errno);
    say("checking the copy of the database");
    TURNOUT_TRY(verify_database(next));
    BackupReport report;
    const std::string database_hash = TURNOUT_TRY(hash_file(next, -1, report.bytes));

    const std::vector<std::string> contents = TURNOUT_TRY(large_contents(next));
    for (std::size_t i = 0; i < contents.size(); ++i) {
        const std::string from = content_path(data, contents[i]);
        const std::string to = content_path(folder, contents[i]);
        struct stat there{}, here{};
        if (::stat(from.c_str(), &here) != 0)
            return fail(Code::Unavailable, "ContentMissing",
                        "the content '" + from +
                            "' is missing: if something was deleted meanwhile (prune, or on a "
                            "nearly full disk), make the backup again; else the store is damaged",
                        from);
        std::uint64_t size = static_cast<std::uint64_t>(here.st_size);
        if (::stat(to.c_str(), &there) != 0 || there.st_size != here.st_size) {
            TURNOUT_TRY(make_directories(to.substr(0, to.rfind('/')), 0700));
            if (TURNOUT_TRY(copy_file(from, to, size)) != contents[i]) {
                ::unlink(to.c_str());
                return content_damaged(from, "is not what its hash says");
            }
            ++report.copied_contents;
            report.copied_bytes += size;
        }
        ++report.contents;
        report.bytes += size;
        if ((i + 1) % kSaidEvery == 0 || i + 1 == contents.size())
            say(counted(i + 1, contents.size(), report.bytes));
    }
    TURNOUT_TRY(copy_small_files(data, folder));

    // The manifest names the database by its hash: whatever moment it is interrupted at, what is
    // there is the old backup or the new one, or is refused.
    if (::rename(next.c_str(), (folder + "/" + std::string(kDatabase)).c_str()) != 0)
        return file_failure("cannot write", folder, errno);
    Json manifest = Json::object();
    manifest.set("format", 1);
    manifest.set("made", to_iso8601(PosixClock().now()));
    manifest.set("version", version());
    manifest.set("data_folder", data);
    manifest.set("database_sha256", database_hash);
    manifest.set("contents", static_cast<std::int64_t>(report.contents));
    manifest.set("bytes", static_cast<std::int64_t>(report.bytes));
    TURNOUT_TRY(write_document(folder + "/" + std::string(kManifest), manifest, 0600));
    ::unlink((folder + "/backup.unfinished").c_str());
    TURNOUT_TRY(sync_directory(folder));

    // Content that only an earlier backup referred to.
    if (!exists(folder + "/blobs")) return report;
    for (const DirectoryEntry& inner : TURNOUT_TRY(list_directory(folder + "/blobs"))) {
        if (inner.kind != DirectoryEntry::Kind::Directory) continue;
        const std::string path = folder + "/blobs/" + inner.name;
        for (const DirectoryEntry& file : TURNOUT_TRY(list_directory(path)))
            if (!std::ranges::binary_search(contents, file.name))
                ::unlink((path + "/" + file.name).c_str());
    }
    return report;
}

Result<BackupReport> restore(const std::string& folder, const std::string& data, bool checked_only,
                             const Saying& say) {
    const Json manifest = TURNOUT_TRY(manifest_of(folder));
    if (!checked_only && exists(data) && !TURNOUT_TRY(list_directory(data)).empty())
        return fail(Code::Conflict, "DataFolder",
                    "'" + data +
                        "' is not empty: give an empty folder with --data, or move that one "
                        "away first",
                    data);
    const std::string database = folder + "/" + std::string(kDatabase);
    say("checking the database");
    BackupReport report;
    if (TURNOUT_TRY(hash_file(database, -1, report.bytes)) !=
        manifest.at("database_sha256").as_string())
        return content_damaged(
            database,
            "is not the one that the backup was finished with: it was interrupted, "
            "or damaged since; make it anew");
    TURNOUT_TRY(verify_database(database));
    const std::vector<std::string> contents = TURNOUT_TRY(large_contents(database));
    if (!checked_only) {
        TURNOUT_TRY(make_directories(data, 0700));
        TURNOUT_TRY(copy_small_files(folder, data));
        TURNOUT_TRY(forget_taken_ports(data));
    }
    for (std::size_t i = 0; i < contents.size(); ++i) {
        const std::string from = content_path(folder, contents[i]);
        const std::string to = content_path(data, contents[i]);
        if (!exists(from)) return content_damaged(from, "is missing from the backup");
        std::uint64_t size = 0;
        std::string hash;
        if (checked_only) {
            hash = TURNOUT_TRY(hash_file(from, -1, size));
        } else {
            TURNOUT_TRY(make_directories(to.substr(0, to.rfind('/')), 0700));
            hash = TURNOUT_TRY(copy_file(from, to, size));
        }
        if (hash != contents[i])
            return content_damaged(from, "is not what its hash says: the backup is damaged");
        ++report.contents;
        report.bytes += size;
        if ((i + 1) % kSaidEvery == 0 || i + 1 == contents.size())
            say(counted(i + 1, contents.size(), report.bytes));
    }
    if (checked_only) return report;
    // Last: a folder without its database is no server's.
    std::uint64_t size = 0;
    TURNOUT_TRY(copy_file(database, data + "/" + std::string(kDatabase), size));
    TURNOUT_TRY(sync_directory(data));
    report.copied_contents = report.contents;
    report.copied_bytes = report.bytes;
    return report;
}

}  // namespace turnout
