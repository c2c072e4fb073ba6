#include "agent/folders.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/files.h"

namespace turnout::agent {
namespace {

constexpr std::size_t kSpare = 80;
constexpr std::string_view kAside = ".aside-";
// The kernel's times of files go forward in steps of at most 10 ms: a change within the step in
// which a folder was looked at leaves its time as it was.
constexpr std::int64_t kTimeStep = 20'000'000;

// The attempt's folder first. Its own change time is moved by a rename, so there it is the time of
// its content that counts; nobody but the agent writes there.
constexpr std::array kParts = {".", "work", "work/outputs", "work/logs", "tmp"};
constexpr std::array<mode_t, 5> kModes = {0755, 0755, 0755, 0755, 0700};
constexpr std::array<int, 5> kInside = {2, 2, 0, 0, 0};  // entries when nothing was added

std::int64_t nanoseconds(const timespec& time) {
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

bool as_made(int folder) {
    for (std::size_t i = 0; i < kParts.size(); ++i) {
        Fd part(openat(folder, kParts[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        struct stat st;
        if (!part || fstat(part.get(), &st) != 0) return false;
        // Our umask may have taken something from the others, and no more than that.
        if ((st.st_mode & 0700) != 0700 || (st.st_mode & 07777 & ~kModes[i]) != 0) return false;
        DIR* entries = fdopendir(part.get());
        if (!entries) return false;
        (void)part.release();
        int inside = 0;
        while (const dirent* entry = readdir(entries))
            inside += std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0;
        closedir(entries);
        if (inside != kInside[i]) return false;
    }
    return true;
}

}  // namespace

std::optional<AttemptFolder::Looks> AttemptFolder::look() const {
    Looks looks;
    for (std::size_t i = 0; i < kParts.size(); ++i) {
        struct stat st;
        if (fstatat(folder_.get(), kParts[i], &st, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
        looks[i] = {st.st_ino, nanoseconds(i == 0 ? st.st_mtim : st.st_ctim)};
    }
    return looks;
}

bool AttemptFolder::untouched() const {
    return made_ && look() == made_;
}

Result<AttemptFolder> Folders::make(const std::string& name) {
    AttemptFolder folder;
    std::string path = root_ + "/" + name;
    while (!spare_.empty()) {
        folder = std::move(spare_.back());
        spare_.pop_back();
        // A folder of an earlier life is not replaced, since it is not empty.
        if (rename(folder.path_.c_str(), path.c_str()) == 0) {
            folder.path_ = std::move(path);
            return folder;
        }
        remove_tree(folder.path_);
    }
    if (mkdir(path.c_str(), kModes[0]) != 0) {
        if (errno == EEXIST)
            return fail(Code::Conflict, "FolderExists", "'" + path + "' exists already", path);
        if (errno != ENOENT) return failed("creating", path);
        TURNOUT_TRY(make_folders(root_));
        if (mkdir(path.c_str(), kModes[0]) != 0) return failed("creating", path);
    }
    folder.folder_ = Fd(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!folder.folder_) return failed("opening", path);
    for (std::size_t i = 1; i < kParts.size(); ++i)
        if (mkdirat(folder.folder_.get(), kParts[i], kModes[i]) != 0)
            return failed("creating", path + "/" + kParts[i]);
    folder.path_ = std::move(path);
    folder.made_.reset();
    return folder;
}

bool Folders::keep(AttemptFolder folder, bool untouched) {
    if (spare_.size() >= kSpare) return false;
    if (!untouched) {
        if (!as_made(folder.folder_.get())) return false;
        folder.made_ = folder.look();
        if (!folder.made_) return false;
        // It is looked at more thoroughly the next time, too, if its last change is too recent.
        timespec now{};
        clock_gettime(CLOCK_REALTIME, &now);
        for (const auto& look : *folder.made_)
            if (nanoseconds(now) - look.changed_ns < kTimeStep) folder.made_.reset();
    }
    spare_.push_back(std::move(folder));
    return true;
}

std::vector<std::string> Folders::put_aside_others(const std::vector<std::string>& names) const {
    std::vector<std::string> found, paths;
    DIR* entries = opendir(root_.c_str());
    if (!entries) return paths;
    while (const dirent* entry = readdir(entries)) {
        const std::string name = entry->d_name;
        if (name == "." || name == ".." ||
            std::find(names.begin(), names.end(), name) != names.end())
            continue;
        found.push_back(name);
    }
    closedir(entries);
    for (const std::string& name : found) {
        std::string path = root_ + "/" + name;
        if (!name.starts_with(kAside)) {  // the names of attempts do not begin with a dot
            std::string aside = root_ + "/" + std::string(kAside) + std::to_string(getpid()) + "-" +
                                std::to_string(paths.size());
            if (rename(path.c_str(), aside.c_str()) == 0) path = std::move(aside);
        }
        paths.push_back(std::move(path));
    }
    return paths;
}

}  // namespace turnout::agent
