#include "app/as_user.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "app/log_file.h"

extern "C" {
extern char** environ;
}

namespace turnout {
namespace {

constexpr int kFailed = 125;  // as `env` and `timeout` have it: not the program's own

int failed_at(const char* what) {
    std::fprintf(stderr, "turnout-agent as-user: %s: %s\n", what, std::strerror(errno));
    return kFailed;
}

// All or nothing: what could not be given up ends it.
bool become(uid_t uid) {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(uid, uid, uid) != 0 ||
        ::setresuid(uid, uid, uid) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return false;
    uid_t real = 0, effective = 0, saved = 0;
    errno = EPERM;
    return ::getresuid(&real, &effective, &saved) == 0 && real == uid && effective == uid &&
           saved == uid && ::setuid(0) != 0 && ::getgroups(0, nullptr) == 0;
}

}  // namespace

int run_as_user(int count, char** arguments) {
    uid_t uid = 0;
    const std::string_view number = count > 0 ? arguments[0] : "";
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), uid);
    const bool ends = count == 2 && std::string_view(arguments[1]) == "end-all";
    if (error != std::errc() || end != number.data() + number.size() || uid == 0 ||
        (count < 3 && !ends)) {
        std::fputs("usage: turnout-agent as-user UID LOG PROGRAM ARGUMENT…\n", stderr);
        return kFailed;
    }
    if (!become(uid)) return failed_at("cannot become that user");
    if (ends) {
        // The kernel goes through them all under one lock: what forks meanwhile is reached too.
        return ::kill(-1, SIGKILL) == 0 || errno == ESRCH ? 0 : failed_at("kill");
    }
    ::umask(077);
    if (arguments[1][0] != '\0') {
        // As that user: the folder is its own.
        if (!print_to(arguments[1])) return failed_at("cannot use the log");
    }
    ::execve(arguments[2], arguments + 2, environ);
    return failed_at(arguments[2]);
}

}  // namespace turnout
