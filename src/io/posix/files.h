// Files and folders: the system calls, as values. Everything here blocks; errors name the path and
// what the system said. Descriptors are close-on-exec.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/posix/fd.h"

namespace turnout {

// NotFound, PermissionDenied, ResourceExhausted (disk full, quota), Conflict (exists) or Internal,
// by errno; reason "FileError". `doing` is for instance "cannot read".
Failure file_failure(std::string_view doing, std::string_view path, int error);

// ResourceExhausted if it is larger than `limit`.
Result<std::string> read_file(const std::string& path, std::size_t limit = 256 << 20);
// Readers see the old content or the new, also after a power cut.
Result<void> write_file_atomically(const std::string& path, std::string_view bytes,
                                   mode_t mode = 0644);
Result<void> write_all(int fd, std::string_view bytes, std::string_view path);
Result<void> sync_directory(const std::string& path);

// A file that only grows.
class AppendFile {
public:
    static Result<AppendFile> open(const std::string& path, mode_t mode = 0644);
    // Written when it returns, durable after sync(). A short write is undone.
    Result<void> append(std::string_view bytes);
    Result<void> sync();  // fdatasync
    std::uint64_t size() const { return size_; }
    int fd() const { return fd_.get(); }

private:
    AppendFile(Fd fd, std::string path, std::uint64_t size)
        : fd_(std::move(fd)), path_(std::move(path)), size_(size) {}
    Fd fd_;
    std::string path_;
    std::uint64_t size_ = 0;
};

// With parents; `mode` holds for those that are made. Fine if it is there.
Result<void> make_directories(const std::string& path, mode_t mode = 0755);
// Which folder that is: another text for its copy, the same after it was moved within its file
// system.
// "" if it is not there.
std::string folder_identity(const std::string& path);
// A file or a folder with all in it, never through a symbolic link and never into another mount:
// what is mounted beneath it is detached, else it stays (reason "Mounted"). Fine if it is not
// there. What cannot be removed does not keep the rest; the error is the first one.
Result<void> remove_tree(const std::string& path);
// Where a folder of a cache lies from the moment that it is out of its place, which is one step for
// everybody else, until it is removed: beside that place, by a name that begins so.
inline constexpr std::string_view kGoing = ".going-";
std::string going_from(const std::string& path);

Result<Fd> open_directory(const std::string& path);
// Opens `path`, relative and without "..", under an open folder, and never anything outside of it,
// whatever symbolic links say (links that stay inside work where the kernel has openat2).
Result<Fd> open_beneath(int root, const std::string& path, int flags, mode_t mode = 0644);
// The folders of `path` under an open folder; symbolic links in the way are refused.
Result<void> make_directories_beneath(int root, const std::string& path, mode_t mode = 0755);

struct DirectoryEntry {
    std::string name;
    enum class Kind { File, Directory, Link, Other } kind = Kind::Other;
    std::uint64_t size = 0;  // of a file
    std::int64_t modified_micros = 0;
    mode_t mode = 0;
};
Result<std::vector<DirectoryEntry>> list_directory(const std::string& path);  // sorted by name

// Held until the descriptor is closed, by one process at a time; FailedPrecondition, reason
// "Locked", if another has it. The file is made if it is not there.
Result<Fd> lock_file(const std::string& path);

// Makes the file one of `size` bytes that the disk really has, for whoever removes it, or makes it
// smaller, on a full disk. Removed where the disk has no such room.
void hold_room(const std::string& path, off_t size);

Result<std::uint64_t> free_space(const std::string& path);  // bytes, for this user

}  // namespace turnout
