#include "io/posix/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/text.h"

namespace turnout {
namespace {

struct CloseDirectory {
    void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.find_last_of('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

// Deeper folders are first moved up, so that neither descriptors nor the stack run out.
constexpr int deepest = 40;

struct Removal {
    int root;
    unsigned long moved = 0;
};

// The mount in which an open file or folder lies; its device where the kernel does not tell
// (before 5.8).
std::uint64_t mount_of(int fd) {
    struct statx info{};
    if (::statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &info) != 0) return 0;
    if ((info.stx_mask & STATX_MNT_ID) != 0) return info.stx_mnt_id;
    return (std::uint64_t{info.stx_dev_major} << 32) | info.stx_dev_minor;
}

// Opens `name`. What was mounted over it is detached, never looked into: it may be anybody's, and
// what is to be removed is ours alone.
Result<Fd> open_own(int parent, const char* name, int flags, const std::string& path) {
    for (;;) {
        Fd file(::openat(parent, name, flags | O_NOFOLLOW | O_CLOEXEC));
        if (!file) return file_failure("cannot remove", path, errno);
        if (mount_of(file.get()) == mount_of(parent)) return file;
        const std::string itself = "/proc/self/fd/" + std::to_string(file.get());
        if (::umount2(itself.c_str(), MNT_DETACH) != 0)
            return fail(Code::FailedPrecondition, "Mounted",
                        "'" + path +
                            "' is not removed: something is mounted there, and it cannot be "
                            "detached: " +
                            std::strerror(errno),
                        path);
    }
}

// Gives its owner all rights to a folder. Whoever may write here could have put a link to anything
// in its place since it was looked at: that is not followed.
bool make_own(int parent, const char* name) {
    const Fd folder(::openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    return folder && ::chmod(("/proc/self/fd/" + std::to_string(folder.get())).c_str(), 0700) == 0;
}

Result<void> remove_entries(Fd folder, const std::string& path, int depth, Removal& removal);

Result<void> remove_folder(int parent, const char* name, const std::string& path, int depth,
                           Removal& removal) {
    constexpr int flags = O_RDONLY | O_DIRECTORY;
    if (depth > deepest) {
        const std::string elsewhere =
            ".removing-" + std::to_string(::getpid()) + "-" + std::to_string(removal.moved++);
        if (::renameat(parent, name, removal.root, elsewhere.c_str()) == 0) return {};
    }
    Result<Fd> folder = open_own(parent, name, flags, path);
    if (!folder && folder.error().code == Code::PermissionDenied && make_own(parent, name))
        folder = open_own(parent, name, flags, path);
    if (!folder) {
        if (folder.error().code == Code::NotFound) return {};
        return Failure(folder.error());
    }
    Result<void> emptied = remove_entries(std::move(*folder), path, depth, removal);
    if (::unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT && emptied)
        return file_failure("cannot remove", path, errno);
    return emptied;
}

Result<void> remove_entries(Fd folder, const std::string& path, int depth, Removal& removal) {
    const int fd = folder.get();
    Directory directory(::fdopendir(fd));
    if (!directory) return file_failure("cannot remove", path, errno);
    (void)folder.release();
    if (removal.root < 0) removal.root = fd;
    Result<void> first;  // what failed; the rest goes all the same
    const auto note = [&first](Result<void> result) {
        if (first && !result) first = std::move(result);
    };
    bool writable = false;
    for (bool again = true; again;) {
        again = false;
        ::rewinddir(directory.get());
        while (const dirent* entry = ::readdir(directory.get())) {
            const std::string name = entry->d_name;
            if (name == "." || name == "..") continue;
            const std::string whole = path + "/" + name;
            const auto unlink = [&] { return ::unlinkat(fd, name.c_str(), 0) == 0 ? 0 : errno; };
            int error = entry->d_type == DT_DIR ? EISDIR : unlink();
            if (error == EACCES && !writable) {
                writable = ::fchmod(fd, 0700) == 0;
                error = unlink();
            }
            if (error == EBUSY) {  // a file may be mounted over, too
                if (const Result<Fd> own = open_own(fd, name.c_str(), O_PATH, whole); !own)
                    note(Failure(own.error()));
                error = unlink();
            }
            if (error == EISDIR || error == EPERM) {
                if (!writable && ::faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) != 0)
                    writable = ::fchmod(fd, 0700) == 0;
                note(remove_folder(fd, name.c_str(), whole, depth + 1, removal));
                error = 0;
                again |= removal.root == fd && removal.moved > 0;
            }
            if (error != 0 && error != ENOENT) note(file_failure("cannot remove", whole, error));
        }
        if (again) removal.moved = 0;  // what was moved up here is removed in another round
    }
    return first;
}

// The checks of a path from outside; the kernel does the rest.
Result<void> check_beneath(const std::string& path) {
    if (path.empty() || path[0] == '/' || path.find('\0') != std::string::npos)
        return invalid("'" + path.substr(0, 200) + "' is not a relative path");
    for (const std::string& part : split(path, '/'))
        if (part == "..") return invalid("'" + path.substr(0, 200) + "' must not contain '..'");
    return {};
}

Fd openat2_beneath(int root, const std::string& path, int flags, mode_t mode) {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
    if ((flags & O_CREAT) != 0) how.mode = mode & 07777;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    for (int attempt = 0; attempt < 16; ++attempt) {
        const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
        // EAGAIN: something was renamed meanwhile and the kernel could not be sure.
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return Fd(static_cast<int>(fd));
    }
    return Fd();
}

// For kernels without openat2: part by part, following no link.
Fd walk_beneath(int root, const std::string& path, int flags, mode_t mode) {
    Fd folder;
    int at = root;
    const std::vector<std::string> parts = split(path, '/');
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (parts[i].empty() || parts[i] == ".") {
            if (i + 1 < parts.size()) continue;
        }
        const std::string& name = parts[i].empty() ? "." : parts[i];
        if (i + 1 == parts.size())
            return Fd(::openat(at, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, mode));
        Fd next(::openat(at, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!next) return next;
        folder = std::move(next);
        at = folder.get();
    }
    return Fd();
}

DirectoryEntry describe(const char* name, const struct stat& info) {
    DirectoryEntry out;
    out.name = name;
    out.kind = S_ISREG(info.st_mode)   ? DirectoryEntry::Kind::File
               : S_ISDIR(info.st_mode) ? DirectoryEntry::Kind::Directory
               : S_ISLNK(info.st_mode) ? DirectoryEntry::Kind::Link
                                       : DirectoryEntry::Kind::Other;
    out.size =
        out.kind == DirectoryEntry::Kind::File ? static_cast<std::uint64_t>(info.st_size) : 0;
    out.modified_micros = info.st_mtim.tv_sec * 1'000'000LL + info.st_mtim.tv_nsec / 1000;
    out.mode = info.st_mode & 07777;
    return out;
}

}  // namespace

Failure file_failure(std::string_view doing, std::string_view path, int error) {
    Code code = Code::Internal;
    switch (error) {
        case ENOENT:
        case ENOTDIR: code = Code::NotFound; break;
        case EACCES:
        case EPERM:
        case EROFS:
        case EXDEV:
        case ELOOP: code = Code::PermissionDenied; break;
        case ENOSPC:
        case EDQUOT:
        case EMFILE:
        case ENFILE: code = Code::ResourceExhausted; break;
        case EEXIST:
        case ENOTEMPTY: code = Code::Conflict; break;
        case EINVAL:
        case ENAMETOOLONG:
        case EISDIR: code = Code::InvalidArgument; break;
        default: break;
    }
    return fail(code, "FileError",
                std::string(doing) + " '" + std::string(path) + "': " + std::strerror(error),
                std::string(path));
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return file_failure("cannot read", path, errno);
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0) return file_failure("cannot read", path, errno);
    std::string out;
    const auto expected = static_cast<std::size_t>(std::max<off_t>(info.st_size, 0));
    std::size_t have = 0;
    // Files of /proc say 0 bytes, and a file may grow meanwhile: read until the end.
    for (;;) {
        if (have > limit)
            return fail(Code::ResourceExhausted, "FileTooLarge",
                        "'" + path + "' is larger than " + to_size_words(limit), path);
        if (have == out.size())
            out.resize(have == 0 ? std::min(expected + 1, limit + 1)
                                 : have + std::max<std::size_t>(have, 4096));
        if (out.size() == have) out.resize(have + 1);
        const ssize_t got = ::read(fd.get(), out.data() + have, out.size() - have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return file_failure("cannot read", path, errno);
        if (got == 0) break;
        have += static_cast<std::size_t>(got);
    }
    out.resize(have);
    return out;
}

Result<void> write_all(int fd, std::string_view bytes, std::string_view path) {
    while (!bytes.empty()) {
        const ssize_t put = ::write(fd, bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return file_failure("cannot write", path, errno);
        bytes.remove_prefix(static_cast<std::size_t>(put));
    }
    return {};
}

Result<void> sync_directory(const std::string& path) {
    const Fd fd = TURNOUT_TRY(open_directory(path));
    if (::fsync(fd.get()) != 0) return file_failure("cannot sync", path, errno);
    return {};
}

Result<void> write_file_atomically(const std::string& path, std::string_view bytes, mode_t mode) {
    unsigned long long random = 0;
    (void)!::getrandom(&random, sizeof random, 0);
    char suffix[32];
    std::snprintf(suffix, sizeof suffix, ".tmp-%016llx", random);
    const std::string temporary = path + suffix;
    Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return file_failure("cannot write", path, errno);
    Result<void> written = write_all(fd.get(), bytes, path);
    if (written && ::fchmod(fd.get(), mode) != 0)
        written = file_failure("cannot write", path, errno);
    if (written && ::fsync(fd.get()) != 0) written = file_failure("cannot write", path, errno);
    if (written && ::rename(temporary.c_str(), path.c_str()) != 0)
        written = file_failure("cannot write", path, errno);
    if (!written) {
        ::unlink(temporary.c_str());
        return written;
    }
    return sync_directory(parent_of(path));
}

Result<AppendFile> AppendFile::open(const std::string& path, mode_t mode) {
    Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, mode));
    if (!fd) return file_failure("cannot open", path, errno);
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0) return file_failure("cannot open", path, errno);
    return AppendFile(std::move(fd), path, static_cast<std::uint64_t>(info.st_size));
}

Result<void> AppendFile::append(std::string_view bytes) {
    Result<void> written = write_all(fd_.get(), bytes, path_);
    if (!written) {
        (void)!::ftruncate(fd_.get(), static_cast<off_t>(size_));
        return written;
    }
    size_ += bytes.size();
    return {};
}

Result<void> AppendFile::sync() {
    if (::fdatasync(fd_.get()) != 0) return file_failure("cannot sync", path_, errno);
    return {};
}

std::string folder_identity(const std::string& path) {
    struct stat there{};
    if (::stat(path.c_str(), &there) != 0) return {};
    return std::to_string(there.st_dev) + ":" + std::to_string(there.st_ino);
}

Result<void> make_directories(const std::string& path, mode_t mode) {
    if (path.empty()) return invalid("a folder needs a name");
    if (::mkdir(path.c_str(), mode) == 0) return {};
    if (errno == ENOENT && parent_of(path) != path) {
        TURNOUT_TRY(make_directories(parent_of(path), mode));
        if (::mkdir(path.c_str(), mode) == 0) return {};
    }
    const int error = errno;
    struct stat info{};
    if (error == EEXIST && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
    return file_failure("cannot make the folder", path, error);
}

std::string going_from(const std::string& path) {
    std::string going = path;
    return going.insert(path.rfind('/') + 1, kGoing);
}

Result<void> remove_tree(const std::string& path) {
    std::string plain = path;
    while (plain.size() > 1 && plain.ends_with('/')) plain.pop_back();
    const Fd parent(::open(parent_of(plain).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!parent) {
        if (errno == ENOENT) return {};
        return file_failure("cannot remove", path, errno);
    }
    const std::string name = plain.substr(plain.rfind('/') + 1);
    if (::unlinkat(parent.get(), name.c_str(), 0) == 0 || errno == ENOENT) return {};
    if (errno == EBUSY) {
        const Fd own = TURNOUT_TRY(open_own(parent.get(), name.c_str(), O_PATH, path));
        if (::unlinkat(parent.get(), name.c_str(), 0) == 0 || errno == ENOENT) return {};
    }
    if (errno != EISDIR && errno != EPERM) return file_failure("cannot remove", path, errno);
    Removal removal{-1};
    return remove_folder(parent.get(), name.c_str(), path, 0, removal);
}

Result<Fd> open_directory(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return file_failure("cannot open the folder", path, errno);
    return fd;
}

Result<Fd> open_beneath(int root, const std::string& path, int flags, mode_t mode) {
    TURNOUT_TRY(check_beneath(path));
    Fd fd = openat2_beneath(root, path, flags, mode);
    if (!fd && (errno == ENOSYS || errno == E2BIG || errno == EPERM))
        fd = walk_beneath(root, path, flags, mode);
    if (!fd) return file_failure("cannot open", path, errno);
    return fd;
}

Result<void> make_directories_beneath(int root, const std::string& path, mode_t mode) {
    TURNOUT_TRY(check_beneath(path));
    Fd folder;
    int at = root;
    for (const std::string& part : split(path, '/')) {
        if (part.empty() || part == ".") continue;
        if (::mkdirat(at, part.c_str(), mode) != 0 && errno != EEXIST)
            return file_failure("cannot make the folder", path, errno);
        Fd next(::openat(at, part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!next) return file_failure("cannot make the folder", path, errno);
        folder = std::move(next);
        at = folder.get();
    }
    return {};
}

Result<std::vector<DirectoryEntry>> list_directory(const std::string& path) {
    Fd fd = TURNOUT_TRY(open_directory(path));
    const Directory directory(::fdopendir(fd.get()));
    if (!directory) return file_failure("cannot list", path, errno);
    const int at = fd.release();
    std::vector<DirectoryEntry> out;
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(directory.get());
        if (!entry) {
            if (errno != 0) return file_failure("cannot list", path, errno);
            break;
        }
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..") continue;
        struct stat info{};
        if (::fstatat(at, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;  // gone meanwhile
        out.push_back(describe(entry->d_name, info));
    }
    std::sort(out.begin(), out.end(),
              [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
    return out;
}

Result<Fd> lock_file(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return file_failure("cannot lock", path, errno);
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno == EWOULDBLOCK)
            return fail(Code::FailedPrecondition, "Locked",
                        "'" + path + "' is locked by another process", path);
        return file_failure("cannot lock", path, errno);
    }
    return fd;
}

void hold_room(const std::string& path, off_t size) {
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    if (!file) return;
    if (posix_fallocate(file.get(), 0, size) != 0 || ::ftruncate(file.get(), size) != 0)
        ::unlink(path.c_str());
}

Result<std::uint64_t> free_space(const std::string& path) {
    struct statvfs info{};
    if (::statvfs(path.c_str(), &info) != 0) return file_failure("cannot look at", path, errno);
    return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

}  // namespace turnout
