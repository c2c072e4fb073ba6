// One per node, tiny, static, single-threaded. It starts the node's tasks, owns their output and
// their exit status, and outlives agent and server. Formats and protocol: README.md beside this
// file. It stands alone: only the C library.
//
//   turnout-supervisor FOLDER [LOG-LIMIT [PROCESS-LIMIT]]   serves FOLDER/supervisor.sock; returns
//   0 once it listens
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "connections.h"
#include "journal.h"
#include "launch.h"
#include "limits.h"
#include "log.h"
#include "requests.h"
#include "tasks.h"

enum {
    IDLE_US = 600 * 1000000,  // without tasks and agent it ends by itself
    BEFORE_TASKS = 10         // how much less nice it is than its tasks
};

int main(int argc, char** argv) {
    if (argc > 2 && (!strcmp(argv[1], "launch") || !strcmp(argv[1], "launch-up-to")))
        return launch(argc, argv);
    if (argc > 2 && !strcmp(argv[1], "can-close")) return can_close(argc, argv);
    if (argc < 2 || argc > 4) {
        dprintf(2, "usage: turnout-supervisor FOLDER [LOG-LIMIT [PROCESS-LIMIT]]\n");
        return 2;
    }
    if (argc > 2) log_limit = strtoull(argv[2], NULL, 10);
    if (argc > 3) process_limit = strtoull(argv[3], NULL, 10);
    umask(077);
    // What our starter ignores, its tasks must not: `yes | head` ends by SIGPIPE.
    for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
    if (chdir(argv[1]) != 0) die(argv[1]);
    int served_before = access("supervisor.lock", F_OK) == 0;
    int lock = open("supervisor.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0) die("supervisor.lock");
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) return 3;  // one serves this folder already

    for (int i = 0; i < MAX_CONNECTIONS; ++i) connections[i].fd = -1;
    read_journal(served_before);
    read_segments();
    kill_leftovers();
    rewrite_journal();

    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "supervisor.sock"};
    unlink(address.sun_path);
    if (listener < 0 || bind(listener, (struct sockaddr*)&address, sizeof address) != 0 ||
        listen(listener, 8) != 0)
        die("supervisor.sock");

    // Whoever started us learns from our exit that the socket is there; the child is the
    // supervisor.
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child > 0) _exit(0);
    setsid();
    own_pid = getpid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_NAME, "turnout-supervi");
    umask(022);  // of the tasks; what is ours was and is created with its own mode
    dev_null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (dev_null >= 0 && dev_null < 3) dev_null = fcntl(dev_null, F_DUPFD_CLOEXEC, 3);
    if (dev_null < 0) die("/dev/null");
    for (int fd = 0; fd < 3; ++fd) dup2(dev_null, fd);
    watch_children();
    // Among thousands of processes that a task forked it still gets its turn, where that is
    // allowed.
    task_nice = own_nice = getpriority(PRIO_PROCESS, 0);
    if (setpriority(PRIO_PROCESS, 0, task_nice - BEFORE_TASKS) == 0)
        own_nice = getpriority(PRIO_PROCESS, 0);

    sigset_t watched;
    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    sigaddset(&watched, SIGTERM);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGHUP);
    sigaddset(&watched, SIGPIPE);
    sigaddset(&watched, SIGXFSZ);  // a limit for the size of files is a full disk to us
    sigprocmask(SIG_SETMASK, &watched, NULL);
    int signals = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) die("signalfd");

    idle_since = now_us();
    static struct pollfd* fds;
    static struct task** polled;
    size_t room = 0;
    while (!quitting) {
        size_t count = 0;
        for (struct task* t = tasks; t; t = t->next) count += t->pipe >= 0;
        if (count + 2 + MAX_CONNECTIONS > room) {
            room = (count + 2 + MAX_CONNECTIONS) * 2;
            fds = must(realloc(fds, room * sizeof *fds));
            polled = must(realloc(polled, room * sizeof *polled));
        }
        uint64_t held = news_wait(now_us());
        size_t n = 0;
        fds[n++] = (struct pollfd){signals, POLLIN, 0};
        fds[n++] = (struct pollfd){listener, POLLIN, 0};
        for (int i = 0; i < MAX_CONNECTIONS; ++i) {
            struct connection* c = &connections[i];
            fds[n++] = (struct pollfd){
                c->fd, (short)(POLLIN | (!held && c->sent < c->out.size ? POLLOUT : 0)), 0};
        }
        int running = 0, draining = 0, stalled = journal_waits();
        uint64_t next_sample = UINT64_MAX, next_stop = UINT64_MAX, next_read = UINT64_MAX,
                 begun = now_us();
        size_t first_pipe = n;
        for (struct task* t = tasks; t; t = t->next) {
            running |= t->state == RUNNING;
            if (t->state == RUNNING && t->sample_at < next_sample) next_sample = t->sample_at;
            if (t->state == RUNNING && t->stop_at && t->stop_at < next_stop) next_stop = t->stop_at;
            draining |= t->state == DRAINING;
            stalled |= t->pending.size != 0;
            if (t->pipe >= 0 && !t->pending.size && t->quiet_until > begun) {
                if (t->quiet_until < next_read) next_read = t->quiet_until;
            } else if (t->pipe >= 0 && !t->pending.size) {
                polled[n] = t;
                fds[n++] = (struct pollfd){t->pipe, POLLIN, 0};
            }
        }
        uint64_t now = now_us();
        int64_t wait = 60 * 1000;
        if (running)
            wait = wait_until(next_sample < next_stop ? next_sample : next_stop, now, wait);
        if (running || waiting_count()) wait = wait_until(next_fence(), now, wait);
        if (next_read != UINT64_MAX) wait = wait_until(next_read, now, wait);
        if (stalled && wait > 200) wait = 200;
        if (draining && wait > 5) wait = 5;
        if (held && wait > (int64_t)held / 1000 + 1) wait = (int64_t)held / 1000 + 1;
        int ready = poll(fds, n, (int)wait);
        if (ready < 0 && errno != EINTR) die("poll");
        now = now_us();

        // Output first: what a task wrote before it ended is in the log before its end.
        for (size_t i = first_pipe; i < n; ++i)
            if (fds[i].revents) read_pipe(polled[i]);
        if (fds[0].revents) {
            struct signalfd_siginfo infos[8];
            ssize_t size;
            do {
                size = read(signals, infos, sizeof infos);
                for (size_t i = 0; size > 0 && i < (size_t)size / sizeof infos[0]; ++i)
                    if (infos[i].ssi_signo == SIGTERM || infos[i].ssi_signo == SIGINT) quitting = 1;
            } while (size == sizeof infos);
            reap();
        }
        for (struct task* t = tasks; t; t = t->next) {
            if (t->state == DRAINING)
                drain(t, now);
            else if (t->pending.size)
                read_pipe(t);
        }
        start_waiting();
        if (fds[1].revents) accept_one(listener);
        for (int i = 0; i < MAX_CONNECTIONS; ++i) {
            struct connection* c = &connections[i];
            if (c->fd < 0 || c->fd != fds[2 + i].fd) continue;
            if (fds[2 + i].revents & (POLLIN | POLLHUP | POLLERR)) receive(c);
        }
        if ((running || waiting_count()) && now >= next_fence()) {
            keep_fence(now);
            drop_waiting();
        }
        if (running && now >= next_sample) sample(now);
        if (now >= next_stop)
            for (struct task* t = tasks; t; t = t->next) keep_time(t, now);
        flush_all(ready <= 0);
        if (journal_is_long()) rewrite_journal();
        int connected = 0;
        for (int i = 0; i < MAX_CONNECTIONS; ++i) connected |= connections[i].fd >= 0;
        // How a task ended is nowhere else as long as the disk is full.
        if (!running && !draining && !connected && !journal_waits() &&
            elapsed(now, idle_since) > IDLE_US)
            quitting = 1;
    }
    // What is killed now did not end by its own doing.
    for (struct task* t = tasks; t; t = t->next)
        if (t->state == RUNNING) t->flags |= LOST;
    kill_everything();
    for (struct task* t = tasks; t; t = t->next)
        if (active(t)) {
            t->flags |= LOST;
            if (!t->ended) t->ended = now_us(), t->exit_code = -1;
            finish(t);
        }
    struct buffer none = {0};
    for (int i = 0; i < MAX_CONNECTIONS; ++i) queue(&connections[i], 'q', &none);
    flush_all(1);
    unlink("supervisor.sock");
    return 0;
}
