#include "app/space.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"

extern char** environ;

namespace turnout {
namespace {

constexpr Span kBetweenLooks = std::chrono::minutes(5);  // at a cache that has a limit

std::uint64_t file_space(const std::string& path) {
    struct stat st{};
    return ::stat(path.c_str(), &st) == 0 ? static_cast<std::uint64_t>(st.st_blocks) * 512 : 0;
}

KeptThing to_thing(CachedFolder folder) {
    KeptThing thing;
    thing.kind = std::move(folder.kind);
    thing.name = folder.path.substr(folder.path.rfind('/') + 1);
    thing.label = std::move(folder.label);
    thing.bytes = folder.bytes;
    thing.frees = folder.frees;
    thing.used = {folder.used_micros};
    thing.in_use = folder.in_use;
    return thing;
}

// The longest unused first.
std::vector<CachedFolder> all_cached(const LocalCache& cache, const std::vector<NodeUser>& users) {
    std::vector<CachedFolder> all = cache.list(true);
    for (CachedFolder& one : caches_of(users)) all.push_back(std::move(one));
    std::ranges::stable_sort(all, {}, &CachedFolder::used_micros);
    return all;
}

Result<bool> remove_cached(const LocalCache& cache, const std::vector<NodeUser>& users,
                           const CachedFolder& folder) {
    for (const NodeUser& user : users)
        if (user.cache() == folder.path) return clear_cache(user);
    return cache.remove(folder);
}

MachineSpace look_at(const Instance& instance, const LocalCache& cache,
                     const std::vector<NodeUser>& users, const std::string& packages) {
    MachineSpace space;
    for (CachedFolder& folder : all_cached(cache, users))
        space.cache.push_back(to_thing(std::move(folder)));
    space.running = space_of(instance.nodes());
    for (const NodeUser& user : users) space.running += space_of(user.nodes());
    const std::string name = instance.database().substr(instance.folder.size() + 1);
    if (const auto entries = list_directory(instance.folder))
        for (const DirectoryEntry& entry : *entries) {
            const std::uint64_t bytes = file_space(instance.folder + "/" + entry.name);
            if (entry.name == name || entry.name == name + "-wal" || entry.name == name + "-shm")
                space.database += bytes;
            else if (entry.name.find("ballast") != std::string::npos)
                space.reserve += bytes;
            else if (entry.kind == DirectoryEntry::Kind::File && entry.name.starts_with(name))
                space.database_copies += bytes;
        }
    if (!packages.empty()) {
        // What environments have in common with it counts for them.
        space.packages_folder = packages;
        space.packages = spaces_of({instance.cache(), packages}).back();
    }
    struct statvfs disk{};
    if (::statvfs(instance.folder.c_str(), &disk) == 0) {
        space.disk = std::uint64_t{disk.f_blocks} * disk.f_frsize;
        space.disk_free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
    }
    return space;
}

}  // namespace

void ServerSpace::measure(Reply<MachineSpace> reply) {
    apart(
        loop_, [this, users = users_()] { return look_at(instance_, cache_, users, packages_); },
        std::move(reply));
}

void ServerSpace::evict(Eviction what, Reply<std::vector<KeptThing>> reply) {
    apart(
        loop_,
        [this, what = std::move(what), users = users_()]() -> Result<std::vector<KeptThing>> {
            std::vector<CachedFolder> folders = all_cached(cache_, users);
            std::erase_if(folders, [&](const CachedFolder& folder) {
                return std::find(what.kinds.begin(), what.kinds.end(), folder.kind) ==
                       what.kinds.end();
            });
            std::vector<KeptThing> went;
            std::uint64_t left = 0;
            for (const CachedFolder& folder : folders) left += folder.bytes;
            for (CachedFolder& folder : folders) {
                if (folder.in_use ||
                    (folder.used_micros > what.before.micros && left <= what.down_to))
                    continue;
                if (!what.dry_run && !TURNOUT_TRY(remove_cached(cache_, users, folder))) continue;
                left -= std::min(left, folder.bytes);
                went.push_back(to_thing(std::move(folder)));
            }
            return went;
        },
        std::move(reply));
}

void ServerSpace::read_retention(Reply<RetentionFile> reply) {
    apart(
        loop_,
        [this]() -> Result<RetentionFile> {
            RetentionFile file;
            file.path = instance_.folder + "/retention.yaml";
            struct statvfs disk{};
            if (::statvfs(instance_.folder.c_str(), &disk) == 0)
                file.disk = std::uint64_t{disk.f_blocks} * disk.f_frsize;
            if (::access(file.path.c_str(), F_OK) == 0)
                file.text = TURNOUT_TRY(read_file(file.path));
            return file;
        },
        std::move(reply));
}

void ServerSpace::keep_below(std::uint64_t limit) {
    loop_.blocking(
        [this, limit] {
            cache_.finish_removals();
            if (limit == 0) return;
            for (const CachedFolder& folder : cache_.shrink(limit))
                std::fprintf(stderr, "the cache is kept below %s: removed %s %s\n",
                             to_size_words(limit).c_str(), folder.kind.c_str(),
                             folder.label.c_str());
        },
        [this, limit] {
            if (limit > 0) loop_.after(kBetweenLooks, [this, limit] { keep_below(limit); });
        });
}

std::string packages_folder() {
    std::string own, cache, home;
    for (char** item = environ; *item; ++item) {
        const std::string_view text = *item;
        if (text.starts_with("UV_CACHE_DIR=")) own = text.substr(13);
        if (text.starts_with("XDG_CACHE_HOME=")) cache = text.substr(15);
        if (text.starts_with("HOME=")) home = text.substr(5);
    }
    if (own.empty()) own = !cache.empty() ? cache + "/uv" : home.empty() ? "" : home + "/.cache/uv";
    return !own.empty() && ::access(own.c_str(), R_OK | X_OK) == 0 ? own : "";
}

}  // namespace turnout
