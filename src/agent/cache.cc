#include "agent/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>

#include "agent/files.h"
#include "io/posix/files.h"

namespace turnout::agent {
namespace {

// Names the boot in which the folder was written, since after a crash of the machine its bytes may
// be missing.
std::string mark_of(const std::string& folder) {
    return folder + ".complete";
}

Result<Fd> lock_beside(const std::string& folder) {
    const std::string path = folder.substr(0, folder.rfind('/')) + "/.lock";
    Fd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock) return failed("opening", path);
    while (flock(lock.get(), LOCK_EX) != 0)
        if (errno != EINTR) return failed("locking", path);
    return lock;
}

}  // namespace

bool is_cached(const std::string& folder) {
    auto mark = read_file(mark_of(folder), 128);
    return mark && *mark == boot_id() && exists(folder);
}

Result<bool> use_cached(const std::string& folder, const std::string& attempt_folder) {
    const Fd lock = TURNOUT_TRY(lock_beside(folder));
    const std::string uses = attempt_folder + "/uses";
    const std::size_t part = folder.rfind('/', folder.rfind('/') - 1);
    const std::string line = folder.substr(part + 1) + "\n";
    if (const auto known = read_file(uses, 1 << 20);
        !known || known->find(line) == std::string::npos) {
        const Fd file(
            open(uses.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (!file) return failed("opening", uses);
        TURNOUT_TRY(write_all(file.get(), line, uses));
    }
    if (!is_cached(folder)) return false;
    utimensat(AT_FDCWD, mark_of(folder).c_str(), nullptr, 0);  // what was used last goes last
    return true;
}

Result<void> put_in_cache(const std::string& built, const std::string& folder) {
    // A folder without its mark is what a crash left: it is removed. So nobody may see another
    // node's between its rename and its mark.
    const Fd lock = TURNOUT_TRY(lock_beside(folder));
    if (is_cached(folder)) {
        remove_tree(built);
        return {};
    }
    remove_tree(folder);
    if (rename(built.c_str(), folder.c_str()) != 0) return failed("renaming", built);
    return write_file(mark_of(folder), boot_id(), 0644);
}

}  // namespace turnout::agent
