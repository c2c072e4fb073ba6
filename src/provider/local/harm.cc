#include "provider/local/harm.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <ranges>
#include <set>

#include "base/text.h"
#include "io/posix/files.h"
#include "io/posix/processes.h"

namespace turnout {

namespace {

constexpr const char* kBallast = "/drill.ballast";

std::string words_of(int error) {
    return std::strerror(error);
}

bool is_supervisor(pid_t pid) {
    return program_of(pid).starts_with("turnout-supervisor");
}

// Whether its environment says that it is part of an attempt on the node of that folder, or helps
// its agent.
bool is_marked(pid_t pid, const std::string& folder) {
    const Result<std::string> text =
        read_file("/proc/" + std::to_string(pid) + "/environ", 1 << 20);
    if (!text) return false;
    bool node = false, part = false;
    const std::string own = "TURNOUT_NODE_FOLDER=" + folder;
    for (const std::string& variable : split(*text, '\0')) {
        node = node || variable == own;
        part = part || variable.starts_with("TURNOUT_ATTEMPT=") ||
               variable.starts_with("TURNOUT_HELPER=");
    }
    return node && part;
}

// The node's agent and its supervisor, and all that hangs under them. And what a task left behind
// when those died before. Nobody else, whatever file of the node he looks at: an editor has the
// folder among its arguments, and a shell in its environment. What is in namespaces of its own
// hangs under who started it, and its word for where it is is not taken: there it may call any
// place so.
std::vector<ProcessId> processes_of(const std::string& folder, std::optional<uid_t> user) {
    std::vector<ProcessSeen> all = list_processes();
    if (user)
        std::erase_if(all, [&](const ProcessSeen& one) { return user_of(one.id.pid) != user; });
    std::map<pid_t, pid_t> parents;
    for (const ProcessSeen& one : all) parents[one.id.pid] = one.parent;
    std::set<pid_t> roots, others;
    for (const ProcessSeen& one : all)
        if ((program_of(one.id.pid) == "turnout-agent" || is_supervisor(one.id.pid)) &&
            is_of_our_namespace(one.id.pid))
            (works_in(one.id.pid, folder) ? roots : others).insert(one.id.pid);
    const auto belongs = [&](pid_t pid) {
        bool left_behind = user || (is_of_our_namespace(pid) && is_marked(pid, folder));
        for (pid_t at = pid; at > 1 && parents.contains(at); at = parents[at]) {
            if (roots.contains(at)) return true;
            if (user && others.contains(at)) return false;
            // The node of another folder, which once had this path.
            if (!user && left_behind && is_supervisor(at) && !is_marked(at, folder))
                left_behind = false;
        }
        return left_behind;
    };
    std::vector<ProcessId> found;
    for (const ProcessSeen& one : all)
        if (one.id.pid > 1 && one.id.pid != getpid() && belongs(one.id.pid))
            found.push_back(one.id);
    return found;
}

}  // namespace

std::vector<std::string> folders_with_processes(const std::string& nodes_folder,
                                                const std::function<bool(pid_t)>& may_tell) {
    const std::string own = "TURNOUT_NODE_FOLDER=" + nodes_folder + "/";
    std::set<std::string> found;
    const auto take = [&](std::string_view path) {
        const std::string_view name = path.substr(0, path.find_first_of("/ "));
        if (!name.empty()) found.emplace(name);
    };
    for (const ProcessSeen& one : list_processes()) {
        if (may_tell && !may_tell(one.id.pid)) continue;
        const std::string proc = "/proc/" + std::to_string(one.id.pid);
        if (program_of(one.id.pid) == "turnout-agent" || is_supervisor(one.id.pid)) {
            char path[4096];
            const ssize_t size = readlink((proc + "/cwd").c_str(), path, sizeof path);
            const std::string_view works_in(path, size > 0 ? static_cast<std::size_t>(size) : 0);
            if (works_in.starts_with(nodes_folder + "/"))
                take(works_in.substr(nodes_folder.size() + 1));
        }
        const Result<std::string> text = read_file(proc + "/environ", 1 << 20);
        if (!text || text->find(own) == std::string::npos) continue;
        std::string_view folder;
        bool attempt = false;
        for (const std::string_view variable :
             std::views::split(std::string_view(*text), '\0') |
                 std::views::transform(
                     [](auto part) { return std::string_view(part.begin(), part.end()); })) {
            if (variable.starts_with(own)) folder = variable.substr(own.size());
            attempt = attempt || variable.starts_with("TURNOUT_ATTEMPT=");
        }
        if (attempt) take(folder);
    }
    return {found.begin(), found.end()};
}

Result<int> kill_processes_of(const std::string& folder, std::optional<uid_t> user) {
    int killed = 0;
    for (int round = 0; round < 10; ++round) {
        const std::vector<ProcessId> found = processes_of(folder, user);
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
    // Its own file, wherever a task may have led that name.
    unlink((folder + kBallast).c_str());
    const Fd file(open((folder + kBallast).c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
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
