#include "app/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/init.h"
#include "app/log_file.h"
#include "io/posix/files.h"

namespace turnout {
namespace {

constexpr int kFailed = 125;             // as `env` and `timeout` have it: not the program's own
constexpr const char* kHost = "/.host";  // the machine's root, until all is in its place
constexpr std::string_view kSystem[] = {"usr", "bin", "sbin", "etc", "opt", "nix", "sys"};
// And those of NVIDIA.
constexpr std::string_view kDevices[] = {"null", "zero", "full",       "random", "urandom",
                                         "tty",  "kfd",  "infiniband", "dri"};

int failed_at(const std::string& what) {
    std::fprintf(stderr, "turnout-agent namespaces: %s: %s\n", what.c_str(), std::strerror(errno));
    return kFailed;
}

struct Wanted {
    std::string log, root;
    std::vector<std::string> hide, read, write;
    int program = 0;  // where it is among the arguments
};

// Nothing: an option is unknown or lacks its value, or there is no program.
bool read_options(int count, char** arguments, Wanted& wanted) {
    for (int i = 0; i + 1 < count; i += 2) {
        const std::string_view name = arguments[i];
        if (name == "--") {
            wanted.program = i + 1;
            return !wanted.root.empty();
        }
        if (name == "--log")
            wanted.log = arguments[i + 1];
        else if (name == "--root")
            wanted.root = arguments[i + 1];
        else if (name == "--hide")
            wanted.hide.emplace_back(arguments[i + 1]);
        else if (name == "--read")
            wanted.read.emplace_back(arguments[i + 1]);
        else if (name == "--write")
            wanted.write.emplace_back(arguments[i + 1]);
        else
            return false;
    }
    return false;
}

bool write_text(const char* path, const std::string& text) {
    const int file = ::open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return false;
    const bool written =
        ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(file);
    return written;
}

// The same numbers as outside, those of nobody else.
bool keep_own_numbers(uid_t user, gid_t group) {
    const auto to_itself = [](unsigned number) {
        return std::to_string(number) + " " + std::to_string(number) + " 1\n";
    };
    return write_text("/proc/self/setgroups", "deny") &&
           write_text("/proc/self/uid_map", to_itself(user)) &&
           write_text("/proc/self/gid_map", to_itself(group));
}

bool is_folder(const std::string& path) {
    struct stat st{};
    return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

bool make_folders(const std::string& path) {
    for (std::size_t at = 1; at <= path.size(); ++at)
        if ((at == path.size() || path[at] == '/') &&
            ::mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST &&
            !(errno == EROFS && is_folder(path.substr(0, at))))
            return false;
    return true;
}

bool close_to_writing(const std::string& path) {
    mount_attr closed{};
    closed.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
    return ::mount_setattr(AT_FDCWD, path.c_str(), AT_RECURSIVE, &closed, sizeof closed) == 0;
}

// What is at that place of the machine, in whose path there is no link, is there from now on.
bool show(const std::string& path, const std::string& as = "") {
    const std::string from = kHost + path, &to = as.empty() ? path : as;
    if (is_folder(from)) {
        if (!make_folders(to)) return false;
    } else {
        if (!make_folders(to.substr(0, to.rfind('/')))) return false;
        const int file =
            ::open(to.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
        if (file < 0 && errno != EROFS) return false;
        if (file >= 0) ::close(file);
    }
    return ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
}

// Who asks for it by a path with links in it finds it, too.
void link_to(const std::string& path, const std::string& real) {
    struct stat st{};
    if (path == real || ::stat(path.c_str(), &st) == 0) return;
    if (make_folders(path.substr(0, path.rfind('/')))) (void)!::symlink(real.c_str(), path.c_str());
}

bool mount_empty(const std::string& path, const char* options) {
    return make_folders(path) &&
           ::mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
}

bool is_in(const std::vector<std::string>& folders, const std::string& path) {
    for (const std::string& folder : folders)
        if (path == folder || path.starts_with(folder + "/")) return true;
    return false;
}

struct Shown {
    std::string real, path;
    bool changes = false;
};

std::string real_path(const std::string& path) {
    char real[PATH_MAX];
    return ::realpath(path.c_str(), real) ? real : "";
}

struct Machine {
    std::vector<Shown> shown;
    std::vector<std::pair<std::string, std::string>> links;  // target, path
    std::vector<std::string> hidden, devices;
};

// Of what is in that folder (with its '/') those, and what begins so.
std::vector<std::string> those_in(const std::string& folder,
                                  std::span<const std::string_view> names, std::string_view begin) {
    std::vector<std::string> found;
    if (const auto entries = list_directory(folder))
        for (const DirectoryEntry& entry : *entries)
            if (entry.name.starts_with(begin) || std::ranges::count(names, entry.name) > 0)
                found.push_back(folder + entry.name);
    return found;
}

// What stands on it, looked up before the root is another one.
int look_up(const Wanted& wanted, Machine& machine) {
    const std::vector<std::string> system = those_in("/", kSystem, "lib");
    if (system.empty()) return failed_at("/");
    for (const std::string& path : system) {
        char target[PATH_MAX];
        const ssize_t size = ::readlink(path.c_str(), target, sizeof target - 1);
        if (size > 0)
            machine.links.emplace_back(std::string(target, static_cast<std::size_t>(size)), path);
        else
            machine.shown.push_back({path, path});
    }
    machine.devices = those_in("/dev/", kDevices, "nvidia");
    if (machine.devices.empty()) return failed_at("/dev");
    for (const std::string& path : wanted.hide) {
        machine.hidden.push_back(real_path(path));
        if (machine.hidden.back().empty()) return failed_at(path);
    }
    // Where names are resolved by a service of the machine, its file is elsewhere.
    const std::string names = real_path("/etc/resolv.conf");
    if (names.starts_with("/run/")) {
        const std::string folder = names.substr(0, names.rfind('/'));
        if (folder != "/run") machine.shown.push_back({folder, folder});
    }
    for (const bool changes : {false, true})
        for (const std::string& path : changes ? wanted.write : wanted.read) {
            const std::string real = real_path(path);
            if (real.empty() && changes) return failed_at(path);
            // There is nothing to show, so nothing is; nor what leads into a hidden folder.
            if (real.empty())
                failed_at(path);
            else if (is_in(machine.hidden, real) && !is_in(wanted.hide, path))
                std::fprintf(stderr, "turnout-agent namespaces: %s: leads to what is hidden\n",
                             path.c_str());
            else
                machine.shown.push_back({real, path, changes});
        }
    return 0;
}

bool arrange_devices(const Machine& machine) {
    if (!mount_empty("/dev", "size=1m,mode=0755")) return false;
    for (const std::string& path : machine.devices)
        if (!show(path)) return false;
    for (const auto& [target, path] : {std::pair("/proc/self/fd", "/dev/fd"),
                                       {"/proc/self/fd/0", "/dev/stdin"},
                                       {"/proc/self/fd/1", "/dev/stdout"},
                                       {"/proc/self/fd/2", "/dev/stderr"},
                                       {"pts/ptmx", "/dev/ptmx"}})
        if (::symlink(target, path) != 0) return false;
    return mount_empty("/dev/shm", "mode=1777") && make_folders("/dev/pts") &&
           ::mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                   "newinstance,ptmxmode=0666,mode=0620") == 0;
}

int arrange(const Wanted& wanted, const std::string& here) {
    Machine machine;
    if (const int failed = look_up(wanted, machine)) return failed;
    const std::string root = real_path(wanted.root);
    if (root.empty()) return failed_at(wanted.root);
    // A new one each time: in an old one a task could have led any name anywhere.
    std::string own_tmp = here + "/.tmp-XXXXXX";
    if (!::mkdtemp(own_tmp.data())) return failed_at(own_tmp);
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", root.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=4m,mode=0755") != 0 ||
        ::mkdir((root + kHost).c_str(), 0700) != 0 || ::chdir(root.c_str()) != 0 ||
        ::syscall(SYS_pivot_root, ".", (root + kHost).c_str()) != 0 || ::chdir("/") != 0)
        return failed_at("a root of its own");
    for (const auto& [target, path] : machine.links)
        if (::symlink(target.c_str(), path.c_str()) != 0) return failed_at(path);
    for (const char* path : {"/tmp", "/var/tmp"})
        if (!show(own_tmp, path)) return failed_at(path);
    if (!arrange_devices(machine)) return failed_at("/dev");
    if (!make_folders("/proc") ||
        ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
        return failed_at("/proc (is a part of the machine's covered?)");
    for (const char* path : {"/home", "/root", "/run", "/var"})
        if (!make_folders(path)) return failed_at(path);
    const auto place = [&](bool changes, bool in_hidden) {
        for (const Shown& one : machine.shown) {
            if (one.changes != changes || is_in(machine.hidden, one.real) != in_hidden) continue;
            if (!show(one.real) || (!changes && !close_to_writing(one.real)))
                return failed_at(one.path);
            link_to(one.path, one.real);
        }
        return 0;
    };
    if (const int failed = place(false, false)) return failed;
    // Over what a folder above them shows; their parts that are wanted come back.
    for (const std::string& path : machine.hidden) {
        const bool file = !is_folder(kHost + path);
        struct stat st{};
        if (file && ::stat(path.c_str(), &st) != 0) continue;
        if (file ? ::mount("/dev/null", path.c_str(), nullptr, MS_BIND, nullptr) != 0
                 : !mount_empty(path, "size=1m,mode=0755"))
            return failed_at(path);
    }
    if (const int failed = place(false, true)) return failed;
    for (const bool in_hidden : {false, true})
        if (const int failed = place(true, in_hidden)) return failed;
    // No further namespaces: in one of one's own one has every right, and with that what faults of
    // the kernel are reached by.
    if (!write_text("/proc/sys/user/max_user_namespaces", "0")) return failed_at("its limits");
    if (::umount2(kHost, MNT_DETACH) != 0 || ::rmdir(kHost) != 0) return failed_at(kHost);
    mount_attr closed{};
    closed.attr_set = MOUNT_ATTR_RDONLY;
    machine.hidden.emplace_back("/");
    machine.hidden.emplace_back("/dev");
    for (const std::string& path : machine.hidden)
        if (is_folder(path) &&
            ::mount_setattr(AT_FDCWD, path.c_str(), 0, &closed, sizeof closed) != 0)
            return failed_at(path);
    return ::chdir(here.c_str()) == 0 ? 0 : failed_at(here);
}

// What no training needs, and what faults of the kernel were reached by: not there.
constexpr unsigned kRefused[] = {
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_open_by_handle_at,
    SYS_fanotify_init,
    SYS_pidfd_getfd,
    SYS_setns,
    SYS_swapon,
    SYS_swapoff,
    SYS_reboot,
    SYS_acct,
    SYS_quotactl,
    SYS_settimeofday,
    SYS_clock_settime,
};

bool refuse_calls() {
#if defined(__x86_64__)
    constexpr unsigned kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
    constexpr unsigned kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "what its system calls are called"
#endif
    const auto statement = [](unsigned code, std::size_t value) {
        return sock_filter{static_cast<std::uint16_t>(code), 0, 0,
                           static_cast<std::uint32_t>(value)};
    };
    const auto unless = [](unsigned code, unsigned value, std::uint8_t skip) {
        return sock_filter{static_cast<std::uint16_t>(code), 0, skip, value};
    };
    const unsigned load = BPF_LD | BPF_W | BPF_ABS, equal = BPF_JMP | BPF_JEQ | BPF_K,
                   give = BPF_RET | BPF_K;
    std::vector<sock_filter> rules = {
        statement(load, offsetof(seccomp_data, arch)),
        // Another processor's calls have other numbers: 32-bit programs are not for here.
        {static_cast<std::uint16_t>(equal), 1, 0, kArchitecture},
        statement(give, SECCOMP_RET_KILL_PROCESS),
        statement(load, offsetof(seccomp_data, nr)),
#if defined(__x86_64__)
        // x32 has numbers of its own, too.
        {static_cast<std::uint16_t>(BPF_JMP | BPF_JGE | BPF_K), 0, 1, 0x40000000},
        statement(give, SECCOMP_RET_ERRNO | ENOSYS),
#endif
    };
    for (const unsigned number : kRefused) {
        rules.push_back(unless(equal, number, 1));
        rules.push_back(statement(give, SECCOMP_RET_ERRNO | EPERM));
    }
    rules.push_back(statement(give, SECCOMP_RET_ALLOW));
    sock_fprog program{static_cast<unsigned short>(rules.size()), rules.data()};
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

// Sockets that have no file, and signals, of processes outside: from Linux 6.12 on the kernel keeps
// one from them (landlock(7); our headers are older). An older one does not.
void keep_from_sockets_without_file() {
    constexpr int kCreate = 444,
                  kRestrict = 446;  // landlock_create_ruleset, landlock_restrict_self
    constexpr std::uint64_t kAbstractSocket = 1, kSignal = 2;
    constexpr long kKnowsScopes = 6;
    if (::syscall(kCreate, nullptr, 0, 1) < kKnowsScopes) return;
    const struct {
        std::uint64_t files, network, scoped;
    } rules = {0, 0, kAbstractSocket | kSignal};
    const long rules_file = ::syscall(kCreate, &rules, sizeof rules, 0);
    if (rules_file < 0) return;
    (void)::syscall(kRestrict, rules_file, 0);
    ::close(static_cast<int>(rules_file));
}

bool give_up_rights() {
    for (int one = 0; one <= 63; ++one)
        if (::prctl(PR_CAPBSET_DROP, one, 0, 0, 0) != 0 && errno != EINVAL) return false;
    // As linux/capability.h has them: version 3, of no process but this, two sets of nothing.
    struct {
        std::uint32_t version;
        int pid;
    } header = {0x20080522, 0};
    std::uint32_t none[6] = {};
    return ::syscall(SYS_capset, &header, none) == 0 &&
           ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           (keep_from_sockets_without_file(), refuse_calls());
}

int be_inside(const Wanted& wanted, int count, char** arguments, int told, uid_t user,
              gid_t group) {
    // Who kills the outer one kills all of it; if that is gone already, nobody tells.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    char byte = 0;
    if (::read(told, &byte, 1) != 1) return kFailed;
    pollfd outer{told, POLLIN, 0};
    if (::poll(&outer, 1, 0) != 0) return kFailed;
    char here[PATH_MAX];
    if (!::getcwd(here, sizeof here)) return failed_at("the current folder");
    if (!keep_own_numbers(user, group)) return failed_at("a user namespace");
    if (const int failed = arrange(wanted, here)) return failed;
    ::umask(077);
    if (!give_up_rights()) return failed_at("cannot give up its rights");
    return keep_running(arguments[wanted.program], count - wanted.program - 1,
                        arguments + wanted.program + 1);
}

volatile pid_t inner = 0;

}  // namespace

int run_in_namespaces(int count, char** arguments) {
    Wanted wanted;
    if (!read_options(count, arguments, wanted)) {
        std::fputs(
            "usage: turnout-agent namespaces --log FILE --root DIR [--hide DIR]… [--read PATH]… "
            "[--write PATH]… -- PROGRAM ARGUMENT…\n",
            stderr);
        return kFailed;
    }
    if (!wanted.log.empty() && !print_to(wanted.log.c_str()))
        return failed_at("cannot use the log");
    const uid_t user = ::geteuid();
    const gid_t group = ::getegid();
    if (user == 0) {
        std::fputs("turnout-agent namespaces: not for root, who would be root there, too\n",
                   stderr);
        return kFailed;
    }
    struct sigaction pass_on{};
    pass_on.sa_handler = [](int) {
        if (inner > 0) ::kill(inner, SIGUSR1);
    };
    ::sigaction(SIGUSR1, &pass_on, nullptr);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return failed_at("pipe");
    // As fork, in namespaces of its own: only the first process there can be the parent of all.
    const long pid =
        ::syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | SIGCHLD,
                  nullptr, nullptr, nullptr, nullptr);
    if (pid < 0) return failed_at("this machine gives no namespaces to a user that is not root");
    if (pid == 0) {
        ::close(ends[1]);
        ::_exit(be_inside(wanted, count, arguments, ends[0], user, group));
    }
    inner = static_cast<pid_t>(pid);
    ::close(ends[0]);
    if (::write(ends[1], "", 1) != 1) return failed_at("pipe");  // its end stays open as we do
    for (int status = 0;;) {
        const pid_t ended = ::waitpid(inner, &status, 0);
        if (ended == inner) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (ended < 0 && errno != EINTR) return kFailed;
    }
}

}  // namespace turnout
