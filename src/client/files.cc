#include "client/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace turnout::client {

namespace {
Failure system_failure(const std::string& what, const std::string& path) {
    const int error = errno;
    const Code code = error == ENOENT                     ? Code::NotFound
                      : error == EACCES || error == EPERM ? Code::PermissionDenied
                      : error == ENOSPC                   ? Code::ResourceExhausted
                                                          : Code::FailedPrecondition;
    return fail(code, "FileError", what + " '" + path + "': " + std::strerror(error), path);
}
}  // namespace

Result<std::string> read_file(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return system_failure("cannot open", path);
    std::string bytes;
    std::array<char, 65536> buffer;
    while (true) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            auto failure = system_failure("cannot read", path);
            ::close(fd);
            return failure;
        }
        if (got == 0) break;
        bytes.append(buffer.data(), static_cast<std::size_t>(got));
    }
    ::close(fd);
    return bytes;
}

Result<void> make_folders(const std::string& path, unsigned mode) {
    for (std::size_t at = 1; at != std::string::npos;) {
        at = path.find('/', at + 1);
        const std::string part = path.substr(0, at);
        if (::mkdir(part.c_str(), static_cast<mode_t>(mode)) != 0 && errno != EEXIST)
            return system_failure("cannot make the folder", part);
    }
    return {};
}

Result<void> write_file(const std::string& path, std::string_view bytes, unsigned mode) {
    if (const std::string folder = folder_of(path);
        !folder.empty() && folder != "/" && folder != ".")
        if (Result<void> made = make_folders(folder); !made) return made;
    // Not the name with something after it: that may be too long, or somebody's own.
    static std::uint64_t written = 0;
    std::string temporary;
    int fd = -1;
    do {
        temporary = folder_of(path) + "/.turnout-new-" + std::to_string(::getpid()) + "-" +
                    std::to_string(++written);
        fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    static_cast<mode_t>(mode));
    } while (fd < 0 && errno == EEXIST);
    if (fd < 0) return system_failure("cannot create", temporary);
    std::size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t put = ::write(fd, bytes.data() + done, bytes.size() - done);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            auto failure = system_failure("cannot write", temporary);
            ::close(fd);
            ::unlink(temporary.c_str());
            return failure;
        }
        done += static_cast<std::size_t>(put);
    }
    const bool synced = ::fsync(fd) == 0;
    if (::close(fd) != 0 || !synced || ::rename(temporary.c_str(), path.c_str()) != 0) {
        auto failure = system_failure("cannot write", path);
        ::unlink(temporary.c_str());
        return failure;
    }
    return {};
}

namespace {

constexpr std::string_view kStaging = ".turnout-download-";

// A folder of files without folders in it.
void remove_flat(const std::string& path) {
    if (DIR* entries = ::opendir(path.c_str())) {
        while (const dirent* entry = ::readdir(entries))
            if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
                ::unlinkat(::dirfd(entries), entry->d_name, 0);
        ::closedir(entries);
    }
    ::rmdir(path.c_str());
}

// The lock of a staging folder, or -1 if another process has it.
int lock_folder(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    if (fd >= 0) ::close(fd);
    return -1;
}

bool is_first_part(const std::string& name, const std::vector<std::string>& paths) {
    return std::ranges::any_of(paths, [&](const std::string& path) {
        return path == name || path.starts_with(name + "/");
    });
}

}  // namespace

Result<Staging> Staging::make(const std::string& folder, const std::vector<std::string>& taken) {
    TURNOUT_TRY(make_folders(folder));
    if (DIR* entries = ::opendir(folder.c_str())) {
        while (const dirent* entry = ::readdir(entries)) {
            const std::string name = entry->d_name;
            if (!name.starts_with(kStaging) || is_first_part(name, taken)) continue;
            const std::string path = folder + "/" + name;
            if (const int lock = lock_folder(path); lock >= 0) {
                remove_flat(path);
                ::close(lock);
            }
        }
        ::closedir(entries);
    }
    for (int number = 0; number < 1000; ++number) {
        const std::string name =
            std::string(kStaging) + std::to_string(::getpid()) + "-" + std::to_string(number);
        if (is_first_part(name, taken)) continue;
        const std::string path = folder + "/" + name;
        if (::mkdir(path.c_str(), 0700) != 0) {
            if (errno == EEXIST) continue;
            return system_failure("cannot make the folder", path);
        }
        if (const int lock = lock_folder(path); lock >= 0) return Staging(path, lock);
        ::rmdir(path.c_str());
    }
    return fail(Code::FailedPrecondition, "FileError",
                "there is no room for a folder of our own in '" + folder + "'", folder);
}

Staging::Staging(Staging&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

Staging::~Staging() {
    if (lock_ < 0) return;
    remove_flat(path_);
    ::close(lock_);
}

std::string environment_variable(const char* name) {
    const char* value = ::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

std::string home_folder() {
    const std::string home = environment_variable("HOME");
    return home.empty() ? "/" : home;
}

std::string current_folder() {
    std::array<char, 4096> buffer;
    return ::getcwd(buffer.data(), buffer.size()) == nullptr ? std::string("/")
                                                             : std::string(buffer.data());
}

std::string absolute_path(std::string_view path) {
    if (path.starts_with('/')) return std::string(path);
    const std::string here = current_folder();
    while (path.starts_with("./")) path.remove_prefix(2);
    if (path.empty() || path == ".") return here;
    return (here == "/" ? "" : here) + "/" + std::string(path);
}

std::string base_name(std::string_view path) {
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    const std::size_t slash = path.rfind('/');
    return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

std::string folder_of(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) return ".";
    return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

resources::LocalFiles local_files(std::string folder) {
    return {.folder = std::move(folder),
            .kind =
                [](const std::string& path) {
                    struct stat status{};
                    if (::stat(path.c_str(), &status) != 0) return resources::PathKind::Absent;
                    if (S_ISREG(status.st_mode)) return resources::PathKind::File;
                    return S_ISDIR(status.st_mode) ? resources::PathKind::Folder
                                                   : resources::PathKind::Other;
                },
            .read = [](const std::string& path) { return read_file(path); }};
}

}  // namespace turnout::client
