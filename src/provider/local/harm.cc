#include "provider/local/harm.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/posix/files.h"
#include "io/posix/processes.h"

namespace turnout {

namespace {

constexpr const char* kBallast = "/drill.ballast";

std::string words_of(int error) {
    return std::strerror(error);
}

// One of the texts, which end with NUL, is the folder, or "NAME=" and the folder or a path in it.
// Somebody who only looks at a file there is not of the node.
bool names(const std::string& texts, const std::string& folder) {
    for (std::size_t at = texts.find(folder); at != std::string::npos;
         at = texts.find(folder, at + 1)) {
        const char before = at == 0 ? '\0' : texts[at - 1];
        const char after = at + folder.size() == texts.size() ? '\0' : texts[at + folder.size()];
        if ((before == '\0' && after == '\0') || (before == '=' && (after == '\0' || after == '/')))
            return true;
    }
    return false;
}

// Agent and supervisor are told their folder, tasks find it in their environment.
std::vector<ProcessId> processes_of(const std::string& folder) {
    std::vector<ProcessId> found;
    const Result<std::vector<DirectoryEntry>> entries = list_directory("/proc");
    if (!entries) return found;
    for (const DirectoryEntry& entry : *entries) {
        if (entry.name.empty() || entry.name[0] < '1' || entry.name[0] > '9') continue;
        const auto pid = static_cast<pid_t>(std::strtol(entry.name.c_str(), nullptr, 10));
        if (pid == getpid()) continue;
        for (const char* const file : {"/cmdline", "/environ"}) {
            const Result<std::string> text = read_file("/proc/" + entry.name + file, 1 << 20);
            if (!text) continue;
            if (!names(*text, folder)) continue;
            if (const auto process = identify(pid)) found.push_back(*process);
            break;
        }
    }
    return found;
}

}  // namespace

Result<int> kill_processes_of(const std::string& folder) {
    int killed = 0;
    for (int round = 0; round < 10; ++round) {
        const std::vector<ProcessId> found = processes_of(folder);
        if (found.empty()) break;
        // First all are stopped: none may see how another ends.
        for (const int signal : {SIGSTOP, SIGKILL})
            for (const ProcessId& process : found)
                if (send_signal(process, signal) && signal == SIGKILL) ++killed;
    }
    if (killed == 0) return not_found("no process of that node was found", folder);
    return killed;
}

Result<std::uint64_t> fill_file_system(const std::string& folder, std::uint64_t reserve,
                                       const std::vector<std::string>& others) {
    struct stat here{}, there{};
    if (stat(folder.c_str(), &here) != 0)
        return fail(Code::Unavailable, "StatFailed", folder + ": " + words_of(errno), folder);
    for (const std::string& other : others)
        if (stat(other.c_str(), &there) == 0 && there.st_dev == here.st_dev)
            return fail(Code::FailedPrecondition, "SharedFileSystem",
                        "the node's folder " + folder + " is on the same file system as " + other +
                            ": whatever else writes there would fail too. Give the data folder a "
                            "file system of its own (`turnout up --data`), then try again",
                        folder);
    struct statvfs space{};
    if (statvfs(folder.c_str(), &space) != 0)
        return fail(Code::Unavailable, "StatFailed", folder + ": " + words_of(errno), folder);
    const std::uint64_t free = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
    if (free <= reserve)
        return fail(Code::FailedPrecondition, "DiskFull",
                    "the file system of " + folder + " is full already", folder);
    const Fd file(
        open((folder + kBallast).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (file.get() < 0)
        return fail(Code::Unavailable, "OpenFailed", folder + kBallast + ": " + words_of(errno),
                    folder);
    // Others may have taken some meanwhile: as much as there is.
    for (std::uint64_t size = free - reserve; size > 0;
         size = size > (1 << 20) ? size - (1 << 20) : 0) {
        const int error = posix_fallocate(file.get(), 0, static_cast<off_t>(size));
        if (error == 0) return size;
        if (error != ENOSPC) {
            free_file_system(folder);
            return fail(Code::Unavailable, "FillFailed", folder + kBallast + ": " + words_of(error),
                        folder);
        }
    }
    free_file_system(folder);
    return fail(Code::FailedPrecondition, "DiskFull",
                "the file system of " + folder + " is full already", folder);
}

void free_file_system(const std::string& folder) {
    unlink((folder + kBallast).c_str());
}

void free_all_file_systems(const std::string& nodes_folder) {
    const Result<std::vector<DirectoryEntry>> nodes = list_directory(nodes_folder);
    if (!nodes) return;
    for (const DirectoryEntry& node : *nodes) free_file_system(nodes_folder + "/" + node.name);
}

}  // namespace turnout
