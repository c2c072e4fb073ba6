#include "io/posix/processes.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "base/text.h"
#include "io/posix/files.h"

namespace turnout {
namespace {

struct Stat {
    char state = '?';
    pid_t parent = 0;
    std::uint64_t start_ticks = 0;
};

// "pid (name with anything in it) S ppid ..."
std::optional<Stat> read_stat(pid_t pid) {
    const Result<std::string> text = read_file("/proc/" + std::to_string(pid) + "/stat", 1 << 16);
    if (!text) return std::nullopt;
    const std::size_t name_end = text->rfind(')');
    if (name_end == std::string::npos || name_end + 2 >= text->size()) return std::nullopt;
    const std::vector<std::string> fields =
        split(std::string_view(*text).substr(name_end + 2), ' ');
    if (fields.size() < 20 || fields[0].empty()) return std::nullopt;
    Stat out;
    out.state = fields[0][0];
    (void)std::from_chars(fields[1].data(), fields[1].data() + fields[1].size(), out.parent);
    const std::string& ticks = fields[19];
    const auto [end, error] =
        std::from_chars(ticks.data(), ticks.data() + ticks.size(), out.start_ticks);
    if (error != std::errc()) return std::nullopt;
    return out;
}

bool is_dead(const Stat& stat) {
    return stat.state == 'Z' || stat.state == 'X' || stat.state == 'x';
}

// Where a link of /proc leads; what stands behind it once the file was removed is cut off.
std::string target_of(const std::string& link, bool& removed) {
    char path[PATH_MAX];
    const ssize_t size = ::readlink(link.c_str(), path, sizeof path);
    std::string target(path, size > 0 ? static_cast<std::size_t>(size) : 0);
    constexpr std::string_view kRemoved = " (deleted)";
    removed = target.ends_with(kRemoved);
    if (removed) target.resize(target.size() - kRemoved.size());
    return target;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
    out.push_back(nullptr);
    return out;
}

class FileActions {
public:
    FileActions() { ::posix_spawn_file_actions_init(&actions_); }
    ~FileActions() { ::posix_spawn_file_actions_destroy(&actions_); }
    FileActions(const FileActions&) = delete;
    FileActions& operator=(const FileActions&) = delete;
    posix_spawn_file_actions_t* get() { return &actions_; }

private:
    posix_spawn_file_actions_t actions_;
};

class Attributes {
public:
    Attributes() { ::posix_spawnattr_init(&attributes_); }
    ~Attributes() { ::posix_spawnattr_destroy(&attributes_); }
    Attributes(const Attributes&) = delete;
    Attributes& operator=(const Attributes&) = delete;
    posix_spawnattr_t* get() { return &attributes_; }

private:
    posix_spawnattr_t attributes_;
};

}  // namespace

Result<ProcessId> spawn(const SpawnRequest& request) {
    if (!request.directory.empty()) TURNOUT_TRY(open_directory(request.directory));  // names it

    FileActions actions;
    const auto open_at = [&](int fd, const std::string& path, int flags) {
        ::posix_spawn_file_actions_addopen(actions.get(), fd,
                                           path.empty() ? "/dev/null" : path.c_str(),
                                           path.empty() ? O_RDWR : flags, 0600);
    };
    // Ours are first moved out of the way of the numbers that they get in the child.
    std::vector<Fd> moved;
    int highest = 2;
    for (const auto& [target, source] : request.descriptors) {
        highest = std::max(highest, target);
        moved.emplace_back(::fcntl(source, F_DUPFD_CLOEXEC, 512));
        if (!moved.back())
            return fail(
                Code::Internal, "SpawnFailed",
                "cannot pass descriptor " + std::to_string(source) + ": " + std::strerror(errno));
    }
    open_at(0, request.input, O_RDONLY);
    open_at(1, request.output, O_WRONLY | O_CREAT | O_APPEND);
    if (request.error == request.output)
        ::posix_spawn_file_actions_adddup2(actions.get(), 1, 2);
    else
        open_at(2, request.error, O_WRONLY | O_CREAT | O_APPEND);
    for (std::size_t i = 0; i < moved.size(); ++i)
        ::posix_spawn_file_actions_adddup2(actions.get(), moved[i].get(),
                                           request.descriptors[i].first);
    // Between the lowest and the highest number there may be gaps; those are ours, close-on-exec.
    ::posix_spawn_file_actions_addclosefrom_np(actions.get(), highest + 1);
    if (!request.directory.empty())
        ::posix_spawn_file_actions_addchdir_np(actions.get(), request.directory.c_str());

    Attributes attributes;
    short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    if (request.own_session) flags |= POSIX_SPAWN_SETSID;
    ::posix_spawnattr_setflags(attributes.get(), flags);
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    ::posix_spawnattr_setsigdefault(attributes.get(), &all);
    ::posix_spawnattr_setsigmask(attributes.get(), &none);

    std::vector<std::string> arguments = request.arguments;
    if (arguments.empty()) arguments.push_back(request.program);
    pid_t pid = 0;
    const int error =
        ::posix_spawn(&pid, request.program.c_str(), actions.get(), attributes.get(),
                      pointers(arguments).data(), pointers(request.environment).data());
    if (error != 0) {
        const Code code = error == ENOENT || error == EACCES || error == ENOEXEC || error == ENOTDIR
                              ? Code::FailedPrecondition
                          : error == EAGAIN || error == ENOMEM ? Code::ResourceExhausted
                                                               : Code::Internal;
        return fail(code, "SpawnFailed",
                    "cannot start '" + request.program + "': " + std::strerror(error),
                    request.program);
    }
    // Its entry in /proc stays at least until we reap it.
    const std::optional<Stat> stat = read_stat(pid);
    return ProcessId{pid, stat ? stat->start_ticks : 0};
}

std::optional<ProcessId> identify(pid_t pid) {
    const std::optional<Stat> stat = read_stat(pid);
    if (!stat || is_dead(*stat)) return std::nullopt;
    return ProcessId{pid, stat->start_ticks};
}

std::vector<ProcessSeen> list_processes() {
    std::vector<ProcessSeen> all;
    const Result<std::vector<DirectoryEntry>> entries = list_directory("/proc");
    if (!entries) return all;
    for (const DirectoryEntry& entry : *entries) {
        pid_t pid = 0;
        const auto [end, error] =
            std::from_chars(entry.name.data(), entry.name.data() + entry.name.size(), pid);
        if (error != std::errc() || end != entry.name.data() + entry.name.size()) continue;
        if (const std::optional<Stat> stat = read_stat(pid); stat && !is_dead(*stat))
            all.push_back({{pid, stat->start_ticks}, stat->parent});
    }
    return all;
}

std::optional<uid_t> user_of(pid_t pid) {
    // Not the owner of its folder in /proc: that is root's for one that may not be traced.
    const Result<std::string> text =
        read_file("/proc/" + std::to_string(pid) + "/status", 64 << 10);
    const std::size_t at = text ? text->find("\nUid:\t") : std::string::npos;
    if (at == std::string::npos) return std::nullopt;
    uid_t uid = 0;
    const char* const begin = text->c_str() + at + 6;
    if (std::from_chars(begin, text->c_str() + text->size(), uid).ec != std::errc())
        return std::nullopt;
    return uid;
}

bool is_of_our_namespace(pid_t pid) {
    struct stat ours{}, its{};
    const std::string path = "/proc/" + std::to_string(pid) + "/ns/pid";
    return ::stat("/proc/self/ns/pid", &ours) == 0 && ::stat(path.c_str(), &its) == 0 &&
           ours.st_ino == its.st_ino && ours.st_dev == its.st_dev;
}

std::string program_of(pid_t pid) {
    bool removed = false;
    const std::string path = target_of("/proc/" + std::to_string(pid) + "/exe", removed);
    return path.substr(path.rfind('/') + 1);
}

bool works_in(pid_t pid, const std::string& folder) {
    const std::string link = "/proc/" + std::to_string(pid) + "/cwd";
    bool removed = false;
    const std::string works = target_of(link, removed);
    if (works.empty()) return false;
    if (!removed) {
        const std::string identity = folder_identity(link);
        return !identity.empty() && identity == folder_identity(folder);
    }
    // The folder is gone, so what leads to it tells its real path.
    const std::size_t slash = folder.find_last_not_of('/') == std::string::npos
                                  ? std::string::npos
                                  : folder.rfind('/', folder.find_last_not_of('/'));
    char real[PATH_MAX];
    if (slash != std::string::npos && slash > 0 &&
        ::realpath(folder.substr(0, slash).c_str(), real) && works == real + folder.substr(slash))
        return true;
    return works == folder;
}

bool is_alive(const ProcessId& process) {
    if (process.pid <= 0) return false;
    const std::optional<ProcessId> there = identify(process.pid);
    return there && there->start_ticks == process.start_ticks;
}

Result<void> send_signal(const ProcessId& process, int signal) {
    const auto gone = [&] {
        return fail(Code::NotFound, "ProcessEnded",
                    "process " + std::to_string(process.pid) + " has ended");
    };
    if (process.pid <= 0) return gone();
    // The descriptor holds on to the process, so it is the one whose start time is compared next.
    const Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
    if (!is_alive(process)) return gone();
    const long sent = fd ? ::syscall(SYS_pidfd_send_signal, fd.get(), signal, nullptr, 0)
                         : ::kill(process.pid, signal);
    if (sent == 0) return {};
    if (errno == ESRCH) return gone();
    return fail(
        errno == EPERM ? Code::PermissionDenied : Code::Internal, "SignalFailed",
        "cannot signal process " + std::to_string(process.pid) + ": " + std::strerror(errno));
}

Result<void> send_signal_to_group(pid_t leader, int signal) {
    TURNOUT_CHECK(leader > 1, "a process group of its own");
    if (::kill(-leader, signal) == 0) return {};
    if (errno == ESRCH)
        return fail(Code::NotFound, "ProcessEnded",
                    "process group " + std::to_string(leader) + " has ended");
    return fail(
        errno == EPERM ? Code::PermissionDenied : Code::Internal, "SignalFailed",
        "cannot signal process group " + std::to_string(leader) + ": " + std::strerror(errno));
}

std::optional<ProcessExit> reap(pid_t pid) {
    int status = 0;
    pid_t ended = 0;
    do {
        ended = ::waitpid(pid, &status, WNOHANG);
    } while (ended < 0 && errno == EINTR);
    if (ended <= 0) return std::nullopt;
    ProcessExit out;
    out.pid = ended;
    if (WIFSIGNALED(status)) {
        out.signal = WTERMSIG(status);
        out.code = 128 + out.signal;
    } else {
        out.code = WEXITSTATUS(status);
    }
    return out;
}

std::string boot_id() {
    const Result<std::string> text = read_file("/proc/sys/kernel/random/boot_id", 256);
    return text ? std::string(trim(*text)) : std::string();
}

}  // namespace turnout
