#include "client/snapshot.h"

#include <dirent.h>
#include <fcntl.h>
#include <langinfo.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wctype.h>

#include <locale.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/hash.h"
#include "base/text.h"
#include "client/files.h"

namespace turnout::client {

namespace {

constexpr std::string_view kHashSeed = "Initialize for october 2021 AML CLI version";
constexpr std::size_t kMaxDepth = 200;

Failure refusal(const std::string& path, const std::string& why) {
    return fail(Code::InvalidArgument, "InvalidSnapshot", "'" + path + "' " + why, path);
}
Failure system_refusal(const std::string& path, const std::string& what) {
    return fail(Code::FailedPrecondition, "FileError",
                "cannot " + what + " '" + path + "': " + std::strerror(errno), path);
}

// Lower case as Python's str.lower() gives it, near enough to sort by.
class Lower {
public:
    Lower() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {}
    ~Lower() {
        if (locale_ != nullptr) ::freelocale(locale_);
    }
    Lower(const Lower&) = delete;
    Lower& operator=(const Lower&) = delete;

    std::string operator()(std::string_view text) const {
        const bool ascii =
            std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
        if (ascii || locale_ == nullptr) return to_lower(text);
        std::string out;
        for (std::size_t i = 0; i < text.size();) {
            const std::size_t length = std::max<std::size_t>(1, utf8_sequence(text, i));
            const auto byte = [&](std::size_t k) {
                return static_cast<unsigned char>(text[i + k]);
            };
            wint_t c = byte(0);
            if (length == 2) c = static_cast<wint_t>((byte(0) & 0x1Fu) << 6 | (byte(1) & 0x3Fu));
            if (length == 3)
                c = static_cast<wint_t>((byte(0) & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 |
                                        (byte(2) & 0x3Fu));
            if (length == 4)
                c = static_cast<wint_t>((byte(0) & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12 |
                                        (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu));
            append(out, ::towlower_l(c, locale_));
            i += length;
        }
        return out;
    }

private:
    static void append(std::string& out, wint_t c) {
        const auto put = [&](wint_t bits) { out += static_cast<char>(bits); };
        if (c < 0x80) return put(c);
        if (c < 0x800) return put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
        if (c < 0x10000)
            return put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
        put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)),
            put(0x80 | (c & 0x3F));
    }
    ::locale_t locale_;
};

struct Entry {
    std::string name;
    unsigned char type = DT_UNKNOWN;
};

// In the order of the file system, as the SDK visits them: it decides between names that differ
// only in case.
Result<std::vector<Entry>> list_folder(const std::string& path) {
    std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
    if (!folder) return system_refusal(path, "list the folder");
    std::vector<Entry> entries;
    while (true) {
        errno = 0;
        const dirent* entry = ::readdir(folder.get());
        if (entry == nullptr) {
            if (errno != 0) return system_refusal(path, "list the folder");
            return entries;
        }
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..") continue;
        if (!is_utf8(name))
            return refusal(path + "/" + std::string(name),
                           "has a name that is not UTF-8: rename it");
        entries.push_back({std::string(name), entry->d_type});
    }
}

Result<std::string> real_path(const std::string& path) {
    std::unique_ptr<char, void (*)(void*)> resolved(::realpath(path.c_str(), nullptr), std::free);
    if (!resolved) return system_refusal(path, "resolve");
    return std::string(resolved.get());
}

bool is_beneath(std::string_view path, std::string_view root) {
    return root == "/" ||
           (path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/'));
}

// The target of a link, if it may be followed.
Result<std::string> follow(const std::string& link, const std::string& root) {
    std::unique_ptr<char, void (*)(void*)> resolved(::realpath(link.c_str(), nullptr), std::free);
    if (!resolved) {
        if (errno == ELOOP)
            return refusal(link,
                           "is a link that leads to itself: remove it or name it in .amlignore");
        return refusal(link,
                       "is a link that points to nothing: remove it or name it in .amlignore");
    }
    std::string target = resolved.get();
    if (!is_beneath(target, root))
        return refusal(link, "is a link out of the folder, to '" + target +
                                 "': copy what it points to, or name the link in .amlignore");
    return target;
}

Result<IgnoreRules> rules_of(const std::string& root) {
    for (const char* name : {".amlignore", ".gitignore"}) {
        const std::string path = root + "/" + name;
        if (::access(path.c_str(), F_OK) != 0) continue;
        const std::string text = TURNOUT_TRY(read_file(path));
        return IgnoreRules::parse(text, path);
    }
    return IgnoreRules();
}

class Walk {
public:
    Walk(std::string root, const IgnoreRules& rules, Snapshot& out)
        : root_(std::move(root)), rules_(rules), out_(out) {}

    // `folder` is where to look (resolved), `inside` its path for the ignore rules, `shown` its
    // name in the snapshot; both "" or ending with '/'.
    Result<void> visit(const std::string& folder, const std::string& inside,
                       const std::string& shown, std::size_t depth) {
        if (depth > kMaxDepth)
            return refusal(
                folder, "is nested too deeply: " + std::to_string(kMaxDepth) + " levels at most");
        std::vector<Entry> entries = TURNOUT_TRY(list_folder(folder));
        struct Sub {
            std::string folder, inside, shown;
        };
        std::vector<Sub> subs;
        for (Entry& entry : entries) {
            const std::string path = folder + "/" + entry.name;
            const std::string ignore_name = inside + entry.name;
            struct stat status{};
            if (entry.type == DT_UNKNOWN) {
                if (::lstat(path.c_str(), &status) != 0) return system_refusal(path, "look at");
                entry.type = S_ISDIR(status.st_mode)   ? DT_DIR
                             : S_ISLNK(status.st_mode) ? DT_LNK
                             : S_ISREG(status.st_mode) ? DT_REG
                                                       : DT_SOCK;
            }
            if (entry.type == DT_DIR) {
                if (!rules_.excludes_all_beneath(ignore_name))
                    subs.push_back({path, ignore_name + "/", shown + entry.name + "/"});
                continue;
            }
            // A link's own name decides, so that a bad link can be named in the ignore file.
            if (rules_.excludes(ignore_name)) continue;
            std::string target = path;
            if (entry.type == DT_LNK) target = TURNOUT_TRY(follow(path, root_));
            if (::stat(target.c_str(), &status) != 0) return system_refusal(path, "look at");
            if (S_ISDIR(status.st_mode)) {
                if (is_beneath(folder, target))
                    return refusal(
                        path,
                        "is a link to a folder around it: remove it or name it in .amlignore");
                std::string beneath = target == root_ ? "" : target.substr(root_.size() + 1) + "/";
                subs.push_back({target, beneath, shown + entry.name + "/"});
                continue;
            }
            if (!S_ISREG(status.st_mode))
                return refusal(
                    path, "is neither a file nor a folder: remove it or name it in .amlignore");
            out_.files.push_back(
                {target, shown + entry.name, static_cast<std::uint64_t>(status.st_size)});
            out_.bytes += static_cast<std::uint64_t>(status.st_size);
        }
        for (const Sub& sub : subs)
            if (Result<void> visited = visit(sub.folder, sub.inside, sub.shown, depth + 1);
                !visited)
                return visited;
        return {};
    }

private:
    std::string root_;
    const IgnoreRules& rules_;
    Snapshot& out_;
};

// Adds a file's bytes; the count of them.
Result<std::uint64_t> hash_file(Sha256& hash, const std::string& path, std::string& buffer) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return system_refusal(path, "open");
    std::uint64_t total = 0;
    while (true) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            auto failure = system_refusal(path, "read");
            ::close(fd);
            return failure;
        }
        if (got == 0) break;
        hash.update(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
        total += static_cast<std::uint64_t>(got);
        if (static_cast<std::size_t>(got) < buffer.size() && got < 4096) {
            // Most files are small: the end is known from their size, without another read.
            struct stat status{};
            if (::fstat(fd, &status) == 0 && static_cast<std::uint64_t>(status.st_size) == total)
                break;
        }
    }
    ::close(fd);
    return total;
}

}  // namespace

Result<Snapshot> take_snapshot(const std::string& path) {
    Snapshot snapshot;
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return system_refusal(path, "find");
    snapshot.root = TURNOUT_TRY(real_path(path));
    snapshot.name = base_name(snapshot.root);
    if (S_ISREG(status.st_mode)) {
        snapshot.single_file = true;
        snapshot.name = base_name(path);
        snapshot.bytes = static_cast<std::uint64_t>(status.st_size);
        snapshot.files.push_back({snapshot.root, snapshot.name, snapshot.bytes});
        return snapshot;
    }
    if (!S_ISDIR(status.st_mode)) return refusal(path, "is neither a file nor a folder");
    const IgnoreRules rules = TURNOUT_TRY(rules_of(snapshot.root));
    Walk walk(snapshot.root, rules, snapshot);
    if (Result<void> walked = walk.visit(snapshot.root, "", "", 0); !walked)
        return Failure(walked.error());
    if (snapshot.files.empty())
        return refusal(path, "has no files to upload (after its ignore file)");
    return snapshot;
}

Result<std::string> content_hash(const Snapshot& snapshot) {
    const Lower lower;
    std::vector<std::pair<std::string, const SnapshotFile*>> order;
    order.reserve(snapshot.files.size());
    for (const SnapshotFile& file : snapshot.files) order.emplace_back(lower(file.relative), &file);
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    Sha256 hash;
    hash.update(std::to_string(order.size()));
    for (const auto& [key, file] : order)
        hash.update("#" + file->relative + "#" + std::to_string(file->size));
    std::string buffer(1 << 18, '\0');
    for (const auto& [key, file] : order) {
        const std::uint64_t size = TURNOUT_TRY(hash_file(hash, file->path, buffer));
        if (size != file->size)
            return fail(
                Code::Conflict, "FileChanged",
                "'" + file->path + "' changes while it is read: try again when nothing writes it",
                file->path);
    }
    return to_hex(hash.finish());
}

namespace {

Result<void> hash_folder(Sha256& hash, const std::string& folder, const std::string& root,
                         const std::string& inside, const IgnoreRules& rules, const Lower& lower,
                         std::string& buffer, std::size_t depth) {
    if (depth > kMaxDepth) return refusal(folder, "is nested too deeply");
    std::vector<Entry> entries = TURNOUT_TRY(list_folder(folder));
    std::vector<std::pair<std::string, const Entry*>> order;
    for (const Entry& entry : entries) order.emplace_back(lower(entry.name), &entry);
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [key, entry] : order) {
        const std::string name = inside + entry->name;
        if (rules.excludes(name)) continue;
        hash.update(entry->name);
        std::string path = folder + "/" + entry->name;
        std::string beneath = name + "/";
        struct stat status{};
        if (::lstat(path.c_str(), &status) != 0) return system_refusal(path, "look at");
        if (S_ISLNK(status.st_mode)) {
            const std::string link = path;
            path = TURNOUT_TRY(follow(path, root));
            if (is_beneath(folder, path))
                return refusal(
                    link, "is a link to a folder around it: remove it or name it in .amlignore");
            beneath = path == root ? "" : path.substr(root.size() + 1) + "/";
            if (::stat(path.c_str(), &status) != 0) return system_refusal(path, "look at");
        }
        if (S_ISREG(status.st_mode)) {
            if (Result<std::uint64_t> size = hash_file(hash, path, buffer); !size)
                return Failure(size.error());
        } else if (S_ISDIR(status.st_mode)) {
            if (Result<void> done =
                    hash_folder(hash, path, root, beneath, rules, lower, buffer, depth + 1);
                !done)
                return done;
        }
    }
    return {};
}

}  // namespace

Result<std::string> object_hash(const std::string& path) {
    const std::string root = TURNOUT_TRY(real_path(path));
    struct stat status{};
    if (::stat(root.c_str(), &status) != 0) return system_refusal(path, "find");
    Sha256 hash;
    hash.update(kHashSeed);
    std::string buffer(1 << 18, '\0');
    if (!S_ISDIR(status.st_mode)) {
        if (Result<std::uint64_t> size = hash_file(hash, root, buffer); !size)
            return Failure(size.error());
        return to_hex(hash.finish());
    }
    const IgnoreRules rules = TURNOUT_TRY(rules_of(root));
    const Lower lower;
    if (Result<void> done = hash_folder(hash, root, root, "", rules, lower, buffer, 0); !done)
        return Failure(done.error());
    return to_hex(hash.finish());
}

}  // namespace turnout::client
