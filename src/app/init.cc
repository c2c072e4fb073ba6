#include "app/init.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace turnout {
namespace {

constexpr int kMostStarts = 20;  // that end at once, one after the other
constexpr time_t kHeld = 30;     // seconds: an agent that lived so long worked

time_t seconds_now() {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec;
}

volatile pid_t running = 0;

}  // namespace

int run_init(int count, char** arguments) {
    char own[4096];
    const ssize_t size = ::readlink("/proc/self/exe", own, sizeof own - 1);
    return keep_running(std::string(own, size > 0 ? static_cast<std::size_t>(size) : 0), count,
                        arguments);
}

int keep_running(std::string program, int count, char** arguments) {
    std::vector<char*> words = {program.data()};
    words.insert(words.end(), arguments, arguments + count);
    words.push_back(nullptr);

    // The kernel asks nobody's first process: a signal without a handler does not reach it.
    struct sigaction end{};
    end.sa_handler = [](int) { ::_exit(0); };
    ::sigaction(SIGTERM, &end, nullptr);
    ::sigaction(SIGINT, &end, nullptr);
    struct sigaction again{};
    again.sa_handler = [](int) {
        if (running > 0) ::kill(running, SIGKILL);
    };
    ::sigaction(SIGUSR1, &again, nullptr);

    for (int in_vain = 0; in_vain < kMostStarts; ++in_vain) {
        const time_t began = seconds_now();
        const pid_t agent = ::fork();
        if (agent == 0) {
            ::signal(SIGTERM, SIG_DFL);
            ::signal(SIGINT, SIG_DFL);
            ::signal(SIGUSR1, SIG_DFL);
            ::execv(program.c_str(), words.data());
            std::fprintf(stderr, "turnout-agent init: %s: %s\n", program.c_str(),
                         std::strerror(errno));
            ::_exit(127);
        }
        if (agent < 0) {
            std::fprintf(stderr, "turnout-agent init: fork: %s\n", std::strerror(errno));
            return 1;
        }
        running = agent;
        int status = 0;
        for (;;) {
            const pid_t ended = ::waitpid(-1, &status, 0);
            if (ended == agent) {
                running = 0;
                break;
            }
            if (ended < 0 && errno == ECHILD) return 1;
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;  // it was told to leave
        // Its options are wrong, or there is no such program.
        if (WIFEXITED(status) &&
            (WEXITSTATUS(status) == 2 || WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127))
            return WEXITSTATUS(status);
        if (seconds_now() - began >= kHeld) in_vain = -1;
        ::sleep(1);
    }
    return 1;
}

}  // namespace turnout
