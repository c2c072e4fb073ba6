// Files of the node: small blocking calls of the agent's runtime, as values.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/posix/fd.h"

namespace turnout::agent {

Result<void> make_folders(const std::string& path, unsigned mode = 0700);  // like mkdir -p
Result<std::string> read_file(const std::string& path, std::size_t limit = 64 << 20);
// All or nothing: written beside it, then renamed.
Result<void> write_file(const std::string& path, std::string_view bytes, unsigned mode = 0600);
// The same, but needs no room where the file says that already.
Result<void> write_if_changed(const std::string& path, std::string_view bytes);
std::string boot_id();                 // names this life of the machine
bool exists(const std::string& path);  // follows links
// The whole tree, read-only folders too. Never follows a link. Absent is fine.
void remove_tree(const std::string& path);

// Creates `relative` beneath the open folder for writing, with the folders it needs. No part of
// the way may be a link, so nothing outside the folder is ever touched, whatever the name says.
Result<Fd> create_beneath(int folder, std::string_view relative, unsigned mode);
// Removes the file or link of that name, in the same way; absent is fine.
Result<void> remove_beneath(int folder, std::string_view relative);
Result<void> make_folder_beneath(int folder, std::string_view relative);

// A writable copy: shares blocks where the file system can (reflink), never hard links. Files keep
// their executable bit; what is neither file nor folder is left out.
Result<void> copy_tree(const std::string& from, const std::string& to);
Result<void> copy_file(const std::string& from, const std::string& to);
// So many bytes from where one file is to where the other is: shares blocks where the file system
// can.
Result<void> append_bytes(int from, int to, std::uint64_t size, const std::string& path,
                          const std::function<void(std::size_t)>& got);
// Takes the write permission away from everybody (tasks get data that others use too).
void make_read_only(const std::string& path);

struct FileEntry {
    std::string path;  // relative, '/' between parts
    std::uint64_t size = 0;
    std::int64_t modified_ns = 0;
    std::uint64_t inode = 0;
    bool sparse = false;  // large, and most of it was never written
};
bool is_sparse(std::uint64_t size, std::uint64_t blocks_of_512);
// What list_files does not tell of.
struct LeftOut {
    std::vector<std::string> links;  // that do not count
    bool more = false;  // there were more than the limit, or some could not be looked at
};
// Regular files beneath `folder`, at most `limit`; none if there is no such folder. A link counts
// if what it leads to is a regular file beneath `inside`; folders are not followed by links.
std::vector<FileEntry> list_files(const std::string& folder, const std::string& inside,
                                  std::size_t limit, LeftOut* left_out = nullptr);
// Opens what list_files found, for reading. What has become something else since then, or leads out
// of `inside` now, is not found: a task may change its folder at any moment.
Result<Fd> open_listed(const std::string& path, const std::string& inside);

Failure failed(std::string_view doing, const std::string& path);  // from errno

}  // namespace turnout::agent
