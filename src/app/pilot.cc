#include "app/pilot.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "io/posix/files.h"
#include "provider/local/harm.h"

namespace turnout {
namespace {

constexpr char kPilotUsage[] =
    "usage: turnout-agent pilot --node WORKSPACE/COMPUTE/NODE --folder DIR --cache DIR\n"
    "                           [--uv PATH] [--python PATH]\n"
    "The agent of a node in a batch job. In DIR are `node.token` and `variables`, NAME=VALUE with "
    "a "
    "NUL\n"
    "behind each; when that is gone, all that is the node's is ended.\n";

constexpr int kMostBegun = 20;       // agents that end at once, one after the other
constexpr time_t kAgentWorked = 30;  // seconds
constexpr timespec kLookForFolder = {2, 0};

time_t seconds_since_boot() {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec;
}

// Whether the server still wants it. Other files may be made again by what runs there.
bool is_wanted(const std::string& folder) {
    struct stat st{};
    // A file system that does not answer for a while has not lost it.
    return ::stat((folder + "/variables").c_str(), &st) == 0 ||
           (errno != ENOENT && errno != ENOTDIR);
}

void end_everything(const std::string& folder) {
    for (int i = 0; i < 100 && kill_processes_of(folder); ++i) {
        const timespec pause = {0, 20'000'000};
        ::nanosleep(&pause, nullptr);
    }
}

// What a batch job's own surroundings may lack.
void complete_surroundings() {
    const passwd* const own = ::getpwuid(::geteuid());
    const auto set = [](const char* name, const char* value) {
        if (value != nullptr) ::setenv(name, value, 0);
    };
    set("HOME", own ? own->pw_dir : "/");
    set("USER", own ? own->pw_name : nullptr);
    set("LOGNAME", own ? own->pw_name : nullptr);
    set("PATH", "/usr/local/bin:/usr/bin:/bin");
}

}  // namespace

int run_pilot(int count, char** arguments) {
    std::map<std::string, std::string, std::less<>> options;
    for (int i = 0; i < count; ++i) {
        const std::string_view name = arguments[i];
        if (name == "--help") return std::fputs(kPilotUsage, stdout), 0;
        bool known = false;
        for (const char* one : {"--node", "--folder", "--cache", "--uv", "--python"})
            known = known || name == one;
        if (!known || i + 1 == count) return std::fputs(kPilotUsage, stderr), 2;
        options[std::string(name)] = arguments[++i];
    }
    const std::string folder = options["--folder"];
    if (options["--node"].empty() || !folder.starts_with('/') || options["--cache"].empty())
        return std::fputs(kPilotUsage, stderr), 2;

    // Signals are waited for; what they would do here comes from there.
    sigset_t waited;
    sigemptyset(&waited);
    for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&waited, signal);
    ::sigprocmask(SIG_BLOCK, &waited, nullptr);
    // What its agent's own children leave behind comes back here.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);

    const Result<std::string> variables = read_file(folder + "/variables", 1 << 20);
    if (!variables) {
        std::fprintf(stderr, "turnout-agent pilot: %s\n", variables.error().message.c_str());
        return 1;
    }
    complete_surroundings();
    for (const std::string& one : split(*variables, '\0'))
        if (const std::size_t at = one.find('='); at != std::string::npos && at > 0)
            ::setenv(one.substr(0, at).c_str(), one.substr(at + 1).c_str(), 1);

    // Nodes of one machine share their cache, and it may not be that of another machine.
    char host[256] = {};
    (void)::gethostname(host, sizeof host - 1);
    char own[4096];
    const ssize_t size = ::readlink("/proc/self/exe", own, sizeof own - 1);
    const std::string program(own, size > 0 ? static_cast<std::size_t>(size) : 0);
    std::vector<std::string> words = {program,
                                      "--server",
                                      "unix:" + folder + "/server.sock",
                                      "--node",
                                      options["--node"],
                                      "--folder",
                                      folder,
                                      "--cache",
                                      options["--cache"] + "/" + host,
                                      "--token-file",
                                      folder + "/node.token"};
    // What a batch job has of its machine: jobs are to keep to it.
    words.insert(words.end(), {"--also",
                               "CUDA_VISIBLE_DEVICES,ROCR_VISIBLE_DEVICES,GPU_DEVICE_ORDINAL,"
                               "SLURM_JOB_ID,SLURM_JOB_PARTITION,SLURMD_NODENAME"});
    for (const char* more : {"--uv", "--python"})
        if (!options[more].empty()) words.insert(words.end(), {more, options[more]});
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);

    for (int in_vain = 0; in_vain < kMostBegun; ++in_vain) {
        const time_t began = seconds_since_boot();
        const pid_t agent = ::fork();
        if (agent == 0) {
            ::sigprocmask(SIG_UNBLOCK, &waited, nullptr);
            ::execv(program.c_str(), pointers.data());
            std::fprintf(stderr, "turnout-agent pilot: %s: %s\n", program.c_str(),
                         std::strerror(errno));
            ::_exit(127);
        }
        if (agent < 0) {
            std::fprintf(stderr, "turnout-agent pilot: fork: %s\n", std::strerror(errno));
            return 1;
        }
        int status = 0;
        for (bool runs = true; runs;) {
            const int signal = ::sigtimedwait(&waited, nullptr, &kLookForFolder);
            if (signal == SIGTERM || signal == SIGINT || signal == SIGHUP || !is_wanted(folder)) {
                end_everything(folder);
                ::kill(agent, SIGKILL);
                end_everything(folder);
                return 0;
            }
            int of_one = 0;
            for (pid_t ended; (ended = ::waitpid(-1, &of_one, WNOHANG)) > 0;)
                if (ended == agent) {
                    runs = false;
                    status = of_one;
                }
        }
        const bool left = WIFEXITED(status) && WEXITSTATUS(status) == 0;  // it was told to leave
        const bool wrong = WIFEXITED(status) && WEXITSTATUS(status) == 2;
        if (left || wrong) {
            end_everything(folder);
            return left ? 0 : 2;
        }
        if (seconds_since_boot() - began >= kAgentWorked) in_vain = -1;
        ::sleep(1);
    }
    end_everything(folder);
    return 1;
}

}  // namespace turnout
