#include "provider/local/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "io/posix/fd.h"
#include "io/posix/files.h"

namespace turnout {
namespace {

constexpr std::string_view kBuilding = "building-";
constexpr std::size_t kDeepest = 200;

using FileId = std::pair<dev_t, ino_t>;
struct Walk {
    std::set<FileId> seen;            // files of several names
    std::map<FileId, nlink_t> names;  // of this folder: how many of a file's names
    std::uint64_t bytes = 0, frees = 0;
};

void walk(int parent, const char* name, Walk& walked, const std::string& skip,
          const std::string& path, std::size_t depth) {
    struct stat st;
    if (depth > kDeepest || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return;
    const std::uint64_t bytes = static_cast<std::uint64_t>(st.st_blocks) * 512;
    if (!S_ISDIR(st.st_mode)) {
        if (st.st_nlink < 2) {
            walked.bytes += bytes;
            walked.frees += bytes;
            return;
        }
        const FileId id{st.st_dev, st.st_ino};
        if (walked.seen.insert(id).second) walked.bytes += bytes;
        if (++walked.names[id] == st.st_nlink) walked.frees += bytes;
        return;
    }
    walked.bytes += bytes;
    walked.frees += bytes;
    if (!skip.empty() && path == skip) return;
    Fd folder(openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat opened;
    if (!folder || fstat(folder.get(), &opened) != 0 || opened.st_dev != st.st_dev)
        return;  // another mount
    DIR* entries = fdopendir(folder.get());
    if (!entries) return;
    const int inside = folder.release();  // closedir closes it
    while (const dirent* entry = readdir(entries)) {
        const std::string_view one = entry->d_name;
        if (one == "." || one == "..") continue;
        walk(inside, entry->d_name, walked, skip,
             skip.empty() ? std::string() : path + "/" + entry->d_name, depth + 1);
    }
    closedir(entries);
}

std::int64_t modified(const std::string& path) {
    struct stat st;
    if (stat(path.c_str(), &st) != 0) return 0;
    return std::int64_t{st.st_mtim.tv_sec} * 1'000'000 + st.st_mtim.tv_nsec / 1000;
}

std::vector<std::string> folders_in(const std::string& path) {
    std::vector<std::string> names;
    if (const auto entries = list_directory(path))
        for (const DirectoryEntry& entry : *entries)
            if (entry.kind == DirectoryEntry::Kind::Directory) names.push_back(entry.name);
    return names;
}

Fd wait_for_lock(const std::string& path) {
    Fd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    while (lock && flock(lock.get(), LOCK_EX) != 0)
        if (errno != EINTR) return Fd();
    return lock;
}

// By anybody, shared or not.
bool locked(const std::string& path) {
    Fd lock(open(path.c_str(), O_RDWR | O_CLOEXEC));
    return lock && flock(lock.get(), LOCK_EX | LOCK_NB) != 0;
}

// "building-PID-…": whether that process may still be at it.
bool builder_lives(const std::string& name) {
    const long pid = std::strtol(name.c_str() + kBuilding.size(), nullptr, 10);
    return pid > 0 && (kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM);
}

std::string label_of(const std::string& environment, const std::string& hash) {
    if (const auto text = read_file(environment + "/.turnout-complete", 1 << 20))
        if (const auto definition = parse_json(*text))
            if (const std::string name = definition->at("name").as_string(); !name.empty())
                return name + " (" + hash.substr(0, 12) + ")";
    return hash.substr(0, 12);
}

// The interpreter of our own that a venv stands on; "" if it is another one.
std::string python_of(const std::string& environment, const std::string& pythons) {
    char target[4096];
    const ssize_t size = readlink((environment + "/bin/python").c_str(), target, sizeof target);
    const std::string_view path(target, size > 0 ? static_cast<std::size_t>(size) : 0);
    if (!path.starts_with(pythons + "/")) return "";
    const std::string_view rest = path.substr(pythons.size() + 1);
    return std::string(rest.substr(0, rest.find('/')));
}

}  // namespace

std::uint64_t space_of(const std::string& path, const std::string& skip) {
    Walk walked;
    walk(AT_FDCWD, path.c_str(), walked, skip, path, 0);
    return walked.bytes;
}

std::vector<std::uint64_t> spaces_of(const std::vector<std::string>& paths) {
    Walk walked;
    std::vector<std::uint64_t> spaces;
    for (const std::string& path : paths) {
        walked.bytes = 0;
        walk(AT_FDCWD, path.c_str(), walked, {}, path, 0);
        spaces.push_back(walked.bytes);
    }
    return spaces;
}

// What the attempts of all nodes use: lines "inputs/HASH", "snapshots/HASH".
std::vector<std::string> LocalCache::uses() const {
    std::vector<std::string> used;
    const auto read_attempts = [&](const std::string& node) {
        for (const std::string& attempt : folders_in(node + "/attempts"))
            if (const auto text = read_file(node + "/attempts/" + attempt + "/uses", 1 << 20))
                for (std::string& line : split(*text, '\n'))
                    if (!line.empty()) used.push_back(std::move(line));
    };
    for (const std::string& node : folders_in(nodes_)) read_attempts(nodes_ + "/" + node);
    std::sort(used.begin(), used.end());
    return used;
}

// An agent that is away has let go of its environments' locks, while its tasks go on.
bool LocalCache::agents_run() const {
    for (const std::string& node : folders_in(nodes_)) {
        const std::string folder = nodes_ + "/" + node;
        if (!folders_in(folder + "/attempts").empty() && !locked(folder + "/agent.lock"))
            return false;
    }
    return true;
}

std::vector<CachedFolder> LocalCache::list(bool sizes) const {
    std::vector<CachedFolder> found;
    const std::vector<std::string> used = uses();
    const bool known = agents_run();
    std::set<std::string> pythons_used;
    for (const auto& [folder, kind] : {std::pair{"inputs", "inputs"},
                                       {"snapshots", "code"},
                                       {"environments", "environments"},
                                       {"pythons", "pythons"}}) {
        const std::string place = cache_ + "/" + folder;
        for (const std::string& name : folders_in(place)) {
            if (name.starts_with(kGoing)) continue;
            CachedFolder one;
            one.kind = kind;
            one.path = place + "/" + name;
            one.label = name.substr(0, 12);
            one.used_micros = modified(one.path);
            if (name.starts_with(kBuilding)) {
                one.kind = "unfinished";
                one.in_use = builder_lives(name);
            } else if (one.kind == "environments") {
                one.label = label_of(one.path, name);
                one.used_micros = std::max(one.used_micros, modified(one.path + ".lock"));
                one.in_use = !known || locked(one.path + ".lock");
                pythons_used.insert(python_of(one.path, cache_ + "/pythons"));
            } else if (one.kind == "pythons") {
                if (name.starts_with('.')) continue;  // uv's own
                one.label = name;
                one.in_use = pythons_used.contains(name);
            } else {
                one.used_micros = std::max(one.used_micros, modified(one.path + ".complete"));
                one.in_use =
                    std::binary_search(used.begin(), used.end(), std::string(folder) + "/" + name);
            }
            found.push_back(std::move(one));
        }
    }
    std::stable_sort(found.begin(), found.end(), [](const CachedFolder& a, const CachedFolder& b) {
        return a.used_micros < b.used_micros;
    });
    if (!sizes) return found;
    Walk walked;
    for (CachedFolder& one : found) {
        walked.names.clear();
        walked.bytes = walked.frees = 0;
        walk(AT_FDCWD, one.path.c_str(), walked, {}, one.path, 0);
        one.bytes = walked.bytes;
        one.frees = walked.frees;
    }
    return found;
}

// Out of its place first, which is one step for everybody else; then at leisure.
Result<bool> LocalCache::remove(const CachedFolder& folder) const {
    const std::size_t slash = folder.path.rfind('/');
    const std::string place = folder.path.substr(0, slash), name = folder.path.substr(slash + 1);
    const std::string going = going_from(folder.path);
    {
        Fd lock;
        if (folder.kind == "environments") {
            if (!agents_run()) return false;
            auto got = lock_file(folder.path + ".lock");
            if (!got) return false;
            lock = std::move(*got);
        } else if (folder.kind == "inputs" || folder.kind == "code") {
            lock = wait_for_lock(place + "/.lock");
            if (!lock) return file_failure("cannot lock", place, errno);
            const std::vector<std::string> used = uses();
            if (std::binary_search(used.begin(), used.end(),
                                   place.substr(place.rfind('/') + 1) + "/" + name))
                return false;
            unlink((folder.path + ".complete").c_str());
        } else if (folder.kind == "unfinished") {
            if (builder_lives(name)) return false;
        } else {  // an interpreter; an environment may have been built on it meanwhile
            for (const std::string& one : folders_in(cache_ + "/environments"))
                if (python_of(cache_ + "/environments/" + one, place) == name) return false;
        }
        if (const Result<void> gone = remove_tree(going); !gone) return Failure(gone.error());
        if (rename(folder.path.c_str(), going.c_str()) != 0) {
            if (errno == ENOENT) return false;
            return file_failure("cannot remove", folder.path, errno);
        }
    }
    if (const Result<void> gone = remove_tree(going); !gone) return Failure(gone.error());
    return true;
}

void LocalCache::finish_removals() const {
    for (const char* part : {"inputs", "snapshots", "environments", "pythons"})
        for (const std::string& name : folders_in(cache_ + "/" + part))
            if (name.starts_with(kGoing)) (void)remove_tree(cache_ + "/" + part + "/" + name);
}

std::vector<CachedFolder> LocalCache::shrink(std::uint64_t limit) const {
    std::vector<CachedFolder> all = list(true), went;
    std::uint64_t bytes = 0;
    for (const CachedFolder& one : all) bytes += one.bytes;
    for (CachedFolder& one : all) {
        if (bytes <= limit) break;
        if (one.in_use) continue;
        const auto removed = remove(one);
        if (!removed || !*removed) continue;
        bytes -= std::min(bytes, one.bytes);
        went.push_back(std::move(one));
    }
    return went;
}

}  // namespace turnout
