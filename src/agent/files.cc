#include "agent/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "base/text.h"
#include "io/posix/files.h"

namespace turnout::agent {
namespace {

// Calls `each` for every name in an open folder. False if it could not be read to its end; then
// errno.
bool for_names(int folder, const std::function<void(const char*)>& each) {
    int copy = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    DIR* dir = copy < 0 ? nullptr : fdopendir(copy);
    if (!dir) {
        if (copy >= 0) close(copy);
        return false;
    }
    rewinddir(dir);
    std::vector<std::string> names;
    errno = 0;
    while (dirent* entry = readdir(dir))
        if (std::strcmp(entry->d_name, ".") && std::strcmp(entry->d_name, ".."))
            names.emplace_back(entry->d_name);
    const int error = errno;
    closedir(dir);
    for (const auto& name : names) each(name.c_str());
    errno = error;
    return error == 0;
}

Result<void> copy_bytes(int from, int to, const std::string& path) {
    if (ioctl(to, FICLONE, from) == 0) return {};
    for (;;) {
        ssize_t n = copy_file_range(from, nullptr, to, nullptr, 64 << 20, 0);
        if (n == 0) return {};
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
    }
    for (;;) {
        ssize_t n = sendfile(to, from, nullptr, 16 << 20);
        if (n == 0) return {};
        if (n < 0 && errno != EINTR) return failed("copying", path);
    }
}

Result<void> copy_beneath(int from, int to, const std::string& path, int depth) {
    if (depth > 200) return invalid("folders are nested too deep", path);
    Result<void> result;
    const bool all = for_names(from, [&](const char* name) {
        if (!result) return;
        std::string inner = path + "/" + name;
        struct stat st;
        if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            result = failed("copying", inner);
        } else if (S_ISDIR(st.st_mode)) {
            Fd source(openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
            if (mkdirat(to, name, 0755) != 0 && errno != EEXIST) result = failed("creating", inner);
            Fd target(openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
            if (!source || !target)
                result = failed("copying", inner);
            else
                result = copy_beneath(source.get(), target.get(), inner, depth + 1);
        } else if (S_ISREG(st.st_mode)) {
            Fd source(openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
            Fd target(openat(to, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                             0644 | (st.st_mode & 0111)));
            if (!source || !target)
                result = failed("copying", inner);
            else
                result = copy_bytes(source.get(), target.get(), inner);
        }
    });
    if (result && !all) return failed("copying", path);
    return result;
}

std::string real_path(const std::string& path) {
    char real[PATH_MAX];
    return realpath(path.c_str(), real) ? real : path;
}

void list_beneath(int folder, const std::string& path, const std::string& full,
                  const std::string& inside, std::size_t limit, int depth,
                  std::vector<FileEntry>& out, LeftOut& left_out) {
    if (depth > 200) {
        left_out.more = true;
        return;
    }
    const bool all = for_names(folder, [&](const char* name) {
        struct stat st;
        if (left_out.more && out.size() >= limit) return;
        if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return;  // removed meanwhile
        std::string relative = path.empty() ? name : path + "/" + name;
        std::string whole = full + "/" + name;
        if (S_ISDIR(st.st_mode)) {
            Fd inner(openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
            if (inner)
                list_beneath(inner.get(), relative, whole, inside, limit, depth + 1, out, left_out);
            else if (errno != ENOENT)
                left_out.more = true;
            return;
        }
        if (S_ISLNK(st.st_mode)) {
            char real[PATH_MAX];
            if (!realpath(whole.c_str(), real) ||
                !std::string_view(real).starts_with(inside + "/") || stat(real, &st) != 0 ||
                !S_ISREG(st.st_mode)) {
                left_out.links.push_back(relative);
                return;
            }
        }
        if (!S_ISREG(st.st_mode)) return;
        if (out.size() < limit)
            out.push_back({relative, static_cast<std::uint64_t>(st.st_size),
                           std::int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec,
                           st.st_ino,
                           is_sparse(static_cast<std::uint64_t>(st.st_size),
                                     static_cast<std::uint64_t>(st.st_blocks))});
        else
            left_out.more = true;
    });
    if (!all) left_out.more = true;
}

// A name from outside cannot be made here. Where the name itself is why, nothing else will help.
Failure cannot_make(const std::string& path) {
    const int error = errno;
    const std::string shown = path.size() > 200 ? path.substr(0, 200) + "..." : path;
    if (error == ENAMETOOLONG)
        return invalid("'" + shown + "' is too long a name for a file here", path);
    if (error == ENOTDIR || error == EEXIST || error == EISDIR)
        return invalid("'" + shown + "' is there twice, or as a file and as a folder", path);
    if (error == ELOOP) return invalid("'" + shown + "' is a link", path);
    errno = error;
    return failed("creating", path);
}

// Opens the folder in which the last part of `relative` lies, creating what is missing.
Result<Fd> parent_beneath(int folder, std::string_view relative) {
    Fd at(fcntl(folder, F_DUPFD_CLOEXEC, 0));
    while (at) {
        auto slash = relative.find('/');
        if (slash == std::string_view::npos) return at;
        std::string part(relative.substr(0, slash));
        relative.remove_prefix(slash + 1);
        if (mkdirat(at.get(), part.c_str(), 0755) != 0 && errno != EEXIST) return cannot_make(part);
        Fd next(openat(at.get(), part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!next) return cannot_make(part);
        at = std::move(next);
    }
    return failed("opening", std::string(relative));
}

}  // namespace

Failure failed(std::string_view doing, const std::string& path) {
    int error = errno;
    Code code = error == ENOENT   ? Code::NotFound
                : error == ENOSPC ? Code::ResourceExhausted
                : error == EACCES ? Code::PermissionDenied
                                  : Code::Internal;
    return fail(code, "FileError", std::string(doing) + " '" + path + "': " + std::strerror(error),
                path);
}

Result<void> make_folders(const std::string& path, unsigned mode) {
    for (std::size_t at = 1; at <= path.size(); ++at)
        if (at == path.size() || path[at] == '/')
            if (mkdir(path.substr(0, at).c_str(), mode) != 0 && errno != EEXIST &&
                !exists(path.substr(0, at)))
                return failed("creating", path.substr(0, at));
    return {};
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
    Fd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));  // a pipe in its place is empty
    if (!fd) return failed("reading", path);
    std::string bytes;
    char buffer[16 << 10];
    for (;;) {
        ssize_t n = read(fd.get(), buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return failed("reading", path);
        if (n == 0) return bytes;
        bytes.append(buffer, static_cast<std::size_t>(n));
        if (bytes.size() > limit)
            return fail(Code::ResourceExhausted, "FileTooLarge", "'" + path + "' is too large",
                        path);
    }
}

Result<void> write_file(const std::string& path, std::string_view bytes, unsigned mode) {
    std::string beside = path + ".new";
    Fd fd(open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (!fd) return failed("writing", beside);
    Result<void> written = write_all(fd.get(), bytes, beside);
    if (written && rename(beside.c_str(), path.c_str()) != 0) written = failed("renaming", beside);
    if (!written) unlink(beside.c_str());
    return written;
}

Result<void> write_if_changed(const std::string& path, std::string_view bytes) {
    if (const auto there = read_file(path, bytes.size()); there && *there == bytes) return {};
    return write_file(path, bytes);
}

bool is_sparse(std::uint64_t size, std::uint64_t blocks_of_512) {
    return size >= (std::uint64_t{1} << 30) && blocks_of_512 < size / 512 / 8;
}

std::string boot_id() {
    auto text = read_file("/proc/sys/kernel/random/boot_id", 64);
    return text ? std::string(trim(*text)) : "";
}

bool exists(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0;
}

void remove_tree(const std::string& path) {
    (void)turnout::remove_tree(path);
}

Result<Fd> create_beneath(int folder, std::string_view relative, unsigned mode) {
    auto safe = TURNOUT_TRY(checked_relative_path(relative, "name of a file"));
    Fd parent = TURNOUT_TRY(parent_beneath(folder, safe));
    std::string name = safe.substr(safe.rfind('/') + 1);
    Fd file(openat(parent.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                   mode));
    if (!file) return cannot_make(safe);
    return file;
}

Result<void> remove_beneath(int folder, std::string_view relative) {
    auto safe = TURNOUT_TRY(checked_relative_path(relative, "name of a file"));
    Fd parent = TURNOUT_TRY(parent_beneath(folder, safe));
    if (unlinkat(parent.get(), safe.substr(safe.rfind('/') + 1).c_str(), 0) != 0 && errno != ENOENT)
        return failed("removing", safe);
    return {};
}

Result<void> make_folder_beneath(int folder, std::string_view relative) {
    auto safe = TURNOUT_TRY(checked_relative_path(relative, "name of a folder"));
    Fd parent = TURNOUT_TRY(parent_beneath(folder, safe + "/x"));
    return {};
}

Result<void> copy_tree(const std::string& from, const std::string& to) {
    TURNOUT_TRY(make_folders(to, 0755));
    Fd source(open(from.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!source) return failed("copying", from);
    Fd target(open(to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!target) return failed("copying to", to);
    return copy_beneath(source.get(), target.get(), from, 0);
}

Result<void> copy_file(const std::string& from, const std::string& to) {
    Fd source(open(from.c_str(), O_RDONLY | O_CLOEXEC));
    if (!source) return failed("copying", from);
    struct stat st;
    if (fstat(source.get(), &st) != 0) return failed("copying", from);
    Fd target(
        open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644 | (st.st_mode & 0111)));
    if (!target) return failed("copying to", to);
    return copy_bytes(source.get(), target.get(), from);
}

Result<void> append_bytes(int from, int to, std::uint64_t size, const std::string& path,
                          const std::function<void(std::size_t)>& got) {
    constexpr std::uint64_t kAtOnce = 32 << 20;
    bool in_kernel = true;
    while (size > 0) {
        const auto count = static_cast<std::size_t>(std::min(size, kAtOnce));
        const ssize_t n = in_kernel ? copy_file_range(from, nullptr, to, nullptr, count, 0)
                                    : sendfile(to, from, nullptr, count);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && in_kernel) {
            in_kernel = false;  // not between these file systems
            continue;
        }
        if (n < 0) return failed("copying", path);
        if (n == 0) return internal("'" + path + "' is shorter than it was");
        size -= static_cast<std::uint64_t>(n);
        got(static_cast<std::size_t>(n));
    }
    return {};
}

void make_read_only(const std::string& path) {
    struct stat st;
    if (lstat(path.c_str(), &st) != 0 || S_ISLNK(st.st_mode)) return;
    if (S_ISDIR(st.st_mode)) {
        Fd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (folder)
            for_names(folder.get(), [&](const char* name) { make_read_only(path + "/" + name); });
    }
    chmod(path.c_str(), st.st_mode & 07555);
}

std::vector<FileEntry> list_files(const std::string& folder, const std::string& inside,
                                  std::size_t limit, LeftOut* left_out) {
    std::vector<FileEntry> files;
    LeftOut unasked;
    LeftOut& left = left_out ? *left_out : unasked;
    Fd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd)
        list_beneath(fd.get(), "", folder, real_path(inside), limit, 0, files, left);
    else if (errno != ENOENT)
        left.more = true;
    return files;
}

Result<Fd> open_listed(const std::string& path, const std::string& inside) {
    // Not blocking: it could be a pipe by now, and nobody may ever write into it.
    Fd file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!file) return failed("reading", path);
    struct stat st;
    char real[PATH_MAX];
    const std::string link = "/proc/self/fd/" + std::to_string(file.get());
    const ssize_t length = readlink(link.c_str(), real, sizeof real);
    if (fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode) || length <= 0 ||
        !std::string_view(real, static_cast<std::size_t>(length))
             .starts_with(real_path(inside) + "/"))
        return fail(Code::NotFound, "FileError", "'" + path + "' is not a file of the job any more",
                    path);
    return file;
}

}  // namespace turnout::agent
