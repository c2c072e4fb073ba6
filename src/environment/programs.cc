#include "environment/programs.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/text.h"
#include "io/posix/files.h"

namespace turnout::environment {

namespace {
constexpr std::size_t kTailLines = 30;
constexpr std::size_t kMaxLine = 64 << 10;  // the rest of it is only in the log
constexpr int kRestReads = 32;              // what a pipe holds, and a little more
constexpr int kMillisToDie = 5000;
}  // namespace

std::string read_text(const std::string& path) {
    auto text = read_file(path);
    return text ? std::move(*text) : "";
}

std::string variable(const Settings& settings, std::string_view name) {
    for (const auto& item : settings.environment)
        if (item.size() > name.size() && item.starts_with(name) && item[name.size()] == '=')
            return item.substr(name.size() + 1);
    return "";
}

bool executable(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && access(path.c_str(), X_OK) == 0;
}

std::string find_program(const std::string& name, const Settings& settings) {
    if (name.find('/') != std::string::npos) return executable(name) ? name : "";
    std::string path = variable(settings, "PATH");
    for (const auto& folder : split(path.empty() ? "/usr/local/bin:/usr/bin:/bin" : path, ':'))
        if (std::string candidate = folder + "/" + name; !folder.empty() && executable(candidate))
            return candidate;
    return "";
}

Result<Ran> run(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
                const std::function<void(std::string_view)>& log, const std::atomic<bool>& cancel) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return internal(std::string("pipe: ") + std::strerror(errno));
    Fd from(fds[0]);
    std::vector<char*> args, vars;
    for (const auto& item : argv) args.push_back(const_cast<char*>(item.c_str()));
    for (const auto& item : environment) vars.push_back(const_cast<char*>(item.c_str()));
    args.push_back(nullptr);
    vars.push_back(nullptr);
    pid_t self = getpid();
    pid_t pid;
    {
        Fd to(fds[1]);
        pid = fork();
        if (pid == 0) {
            sigset_t none;
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, nullptr);
            setpgid(0, 0);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != self) _exit(127);
            int null = open("/dev/null", O_RDONLY);
            if (null < 0 || dup2(null, 0) < 0 || dup2(fds[1], 1) < 0 || dup2(fds[1], 2) < 0)
                _exit(127);
            execve(args[0], args.data(), vars.data());
            _exit(127);
        }
    }
    if (pid < 0) return internal(std::string("fork: ") + std::strerror(errno));
    setpgid(pid, pid);
    Ran ran;
    std::string line;
    int status = 0, killed_for = 0, rest = 0;
    bool ended = false, open = true;
    // Its end counts, not that of its output, which a process that it leaves behind may hold. One
    // that even SIGKILL does not end (it waits for a driver, say) is left to itself.
    while (!ended || open) {
        pollfd ready{from.get(), POLLIN, 0};
        const int pause = ended ? 0 : open ? 100 : 5;
        const int n = poll(&ready, open ? 1 : 0, pause);
        if (cancel && !ran.canceled) {
            ran.canceled = true;
            kill(-pid, SIGKILL);
        }
        if (n > 0 && rest < kRestReads) {
            rest += ended;
            char bytes[8192];
            const ssize_t size = read(from.get(), bytes, sizeof bytes);
            if (size < 0 && errno == EINTR) continue;
            if (size <= 0) open = false;
            std::string_view part(bytes, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
            if (!part.empty()) log(part);
            for (char c : part) {
                if (c != '\n') {
                    if (line.size() < kMaxLine) line += c;
                    continue;
                }
                if (!trim(line).empty()) ran.tail.push_back(line);
                line.clear();
                if (ran.tail.size() > kTailLines) ran.tail.pop_front();
            }
        } else if (ended) {
            break;  // what is there was read
        }
        if (!ended && waitpid(pid, &status, WNOHANG) == pid) ended = true;
        if (!ended && ran.canceled && (killed_for += pause) > kMillisToDie) {
            ran.status = 128 + SIGKILL;
            return ran;
        }
    }
    if (!trim(line).empty()) ran.tail.push_back(line);
    ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return ran;
}

void start_detached(const std::vector<std::string>& argv,
                    const std::vector<std::string>& environment) {
    std::vector<char*> args, vars;
    for (const auto& item : argv) args.push_back(const_cast<char*>(item.c_str()));
    for (const auto& item : environment) vars.push_back(const_cast<char*>(item.c_str()));
    args.push_back(nullptr);
    vars.push_back(nullptr);
    const pid_t between = fork();
    if (between == 0) {
        // Its parent ends at once, so that it is nobody's zombie.
        if (fork() != 0) _exit(0);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, nullptr);
        setsid();
        const int null = open("/dev/null", O_RDWR);
        if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0) _exit(127);
        execve(args[0], args.data(), vars.data());
        _exit(127);
    }
    int status = 0;
    while (between > 0 && waitpid(between, &status, 0) < 0 && errno == EINTR) {
    }
}

std::string joined(const std::deque<std::string>& lines) {
    std::string text;
    for (const auto& line : lines)
        if (!line.starts_with("Using Python ")) text += (text.empty() ? "" : "\n") + line;
    return text;
}

std::string pip_setting(const Settings& settings, std::string_view name) {
    std::string variable_name = "PIP_";
    for (char c : name)
        variable_name +=
            c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    if (auto value = variable(settings, variable_name); !value.empty()) return value;
    std::string home = variable(settings, "HOME"), found;
    for (const std::string& path :
         {std::string("/etc/pip.conf"), home + "/.pip/pip.conf", home + "/.config/pip/pip.conf",
          variable(settings, "PIP_CONFIG_FILE")}) {
        std::ifstream file(path);
        std::string section;
        for (std::string line; std::getline(file, line);) {
            std::string_view text = trim(line);
            if (text.starts_with('[')) section = std::string(text);
            auto equals = text.find('=');
            if (equals == std::string_view::npos ||
                (section != "[global]" && section != "[install]"))
                continue;
            if (trim(text.substr(0, equals)) == name)
                found = std::string(trim(text.substr(equals + 1)));
        }
    }
    return found;
}

}  // namespace turnout::environment
