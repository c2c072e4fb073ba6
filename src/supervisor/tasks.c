#define _GNU_SOURCE
#include "tasks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "connections.h"
#include "journal.h"
#include "launch.h"
#include "limits.h"
#include "log.h"

enum {
    PIPE_SIZE = 64 << 10,          // bytes that are read at once
    DRAIN_KILL_US = 10 * 1000000,  // how long a dead leader's tree is hunted
    DRAIN_PIPE_US = 1000000,       // how long its pipe is read once nobody is left
    FULL_DISK_US = 60 * 1000000,   // how long an ended task's last output waits for disk space
    CHATTY_US = 2000,  // how long a pipe fills before it is read again, of a task that says much in
                       // little pieces
    CHATTY_SIZE = 4 << 10,  // a smaller piece is a little one
    OOM_SCORE = 500,        // of a task, in thousandths of the machine's memory
};
#define OOM_SCORE_TEXT "500"

struct task* tasks;
uint64_t next_serial = 1;
uint64_t idle_since;
int dev_null;
pid_t own_pid;
int childless;
int own_nice, task_nice;

struct task* find(const char* id) {
    for (struct task* t = tasks; t; t = t->next)
        if (!strcmp(t->id, id)) return t;
    return NULL;
}

struct task* find_serial(uint64_t serial) {
    for (struct task* t = tasks; t; t = t->next)
        if (t->serial == serial) return t;
    return NULL;
}

struct task* add_task(char* id, uint64_t serial) {
    struct task* t = must(calloc(1, sizeof *t));
    t->id = id;
    t->serial = serial;
    t->pipe = -1;
    t->first_segment = segment_number;
    t->next = tasks;
    tasks = t;
    return t;
}

void remove_task(struct task* gone) {
    for (struct task** t = &tasks; *t; t = &(*t)->next)
        if (*t == gone) {
            *t = gone->next;
            break;
        }
    free_mask(gone->mask);
    free(gone->pending.data);
    free(gone->id);
    free(gone);
}

int active(const struct task* t) {
    return t->state == RUNNING || t->state == DRAINING;
}

int active_count(void) {
    int count = 0;
    for (struct task* t = tasks; t; t = t->next) count += active(t);
    return count;
}

// ---- output and end ----

// What was read of its output goes to its log; `last`: nothing comes after that. Returns whether
// the log has grown.
static int log_output(struct task* t, const void* bytes, size_t size, int last) {
    if (!t->mask) return size && log_or_keep(t, bytes, size);
    struct buffer told = {0};
    mask_bytes(t->mask, bytes, size, last, &told);
    const int grown = told.size && log_or_keep(t, told.data, told.size);
    free(told.data);
    return grown;
}

void finish(struct task* t) {
    if (t->pipe >= 0) close(t->pipe);
    t->pipe = -1;
    if (log_output(t, NULL, 0, 1)) tell_all_output(t);
    free_mask(t->mask);
    t->mask = NULL;
    if (t->left_out && tell_left_out(t) == 0) tell_all_output(t);
    t->state = ENDED;
    idle_since = now_us();
    journal_end(t);
    tell_all_exit(t);
}

int read_pipe(struct task* t) {
    static unsigned char bytes[PIPE_SIZE];
    if (t->pending.size) {
        if (log_pending(t) != 0) return 1;
        tell_all_output(t);
    }
    if (t->pipe < 0) return 0;
    ssize_t n = read(t->pipe, bytes, sizeof bytes);
    // A line now and then is read at once; one after another would each be a record, an event and a
    // message to the server, so they are let come together.
    uint64_t now = now_us();
    if (n > 0 && n < CHATTY_SIZE && now - t->read_at < 2 * CHATTY_US)
        t->quiet_until = now + CHATTY_US;
    if (n > 0) t->read_at = now;
    if (n == sizeof bytes) fcntl(t->pipe, F_SETPIPE_SZ, 1 << 20);  // it has much to say
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n <= 0) {
        close(t->pipe);
        t->pipe = -1;
        if (log_output(t, NULL, 0, 1)) tell_all_output(t);
        return 0;
    }
    if (log_output(t, bytes, (size_t)n, 0)) tell_all_output(t);
    return 1;
}

void drain(struct task* t, uint64_t now) {
    int waited = t->pending.size != 0;
    if (waited) read_pipe(t);
    while (!t->pending.size && t->pipe >= 0) {
        uint64_t before = t->log_length;
        if (!read_pipe(t) || t->log_length == before) break;
        if (elapsed(now_us(), t->draining_since) > DRAIN_KILL_US) break;
    }
    if (has_strays() && elapsed(now, t->draining_since) < DRAIN_KILL_US &&
        signal_tree(t, SIGKILL)) {
        t->alone_at = 0;
        return;
    }
    if (!t->alone_at) t->alone_at = now;
    if (t->pending.size && elapsed(now, t->pending_since) < FULL_DISK_US) return;
    if (waited && !t->pending.size)
        t->draining_since = t->alone_at = now;  // the time before was the disk's
    if (t->pipe >= 0 && elapsed(now, t->alone_at) < DRAIN_PIPE_US &&
        elapsed(now, t->draining_since) < DRAIN_KILL_US)
        return;
    finish(t);
}

void reap(void) {
    int status;
    struct rusage usage;
    pid_t pid;
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
        uint64_t cpu = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
        struct task* owner = NULL;
        for (struct task* t = tasks; t; t = t->next)
            if (active(t) && t->pid == pid) owner = t;
        if (!owner) {  // an orphan: of the only task there is, else of nobody in particular
            for (struct task* t = tasks; t; t = t->next)
                if (active(t)) owner = active_count() == 1 ? t : owner;
            if (owner) owner->cpu += cpu;
            continue;
        }
        owner->cpu += cpu;
        uint64_t peak = (uint64_t)usage.ru_maxrss * 1024;
        if (peak > owner->peak) owner->peak = peak;
        owner->ended = owner->draining_since = now_us();
        owner->signal = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0;
        owner->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + (int32_t)owner->signal;
        owner->state = DRAINING;
    }
    childless = pid < 0 && errno == ECHILD;
    for (struct task* t = tasks; t; t = t->next)
        if (t->state == DRAINING) drain(t, now_us());
}

// ---- start ----

// When the machine's memory is used up, a task goes before the server, the agents and their
// supervisors, which are much smaller but have been up for longer. Raising needs no rights.
// System calls only: it runs after vfork.
static void be_first_to_go(void) {
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    char text[8] = {0};
    // What its starter made more expendable already stays that way.
    if (read(fd, text, sizeof text - 1) > 0 && atoi(text) < OOM_SCORE &&
        pwrite(fd, OOM_SCORE_TEXT, sizeof OOM_SCORE_TEXT - 1, 0) < 0) {
    }
    close(fd);
}

// The program as execvp would find it, by the PATH that the task gets. NULL and errno if none.
static char* resolve(const char* name, char** env, const char* cwd) {
    char* path = (char*)must(malloc(PATH_MAX));
    if (strchr(name, '/')) {
        int n = name[0] == '/' ? snprintf(path, PATH_MAX, "%s", name)
                               : snprintf(path, PATH_MAX, "%s/%s", cwd, name);
        if (n < PATH_MAX) return path;
        free(path);
        errno = ENAMETOOLONG;
        return NULL;
    }
    const char* list = "/usr/local/bin:/usr/bin:/bin";
    for (char** e = env; *e; ++e)
        if (!strncmp(*e, "PATH=", 5)) list = *e + 5;
    int denied = 0;
    for (const char* at = list;; ++at) {
        const char* end = strchrnul(at, ':');
        int n = end == at ? snprintf(path, PATH_MAX, "%s/%s", cwd, name)
                          : snprintf(path, PATH_MAX, "%.*s/%s", (int)(end - at), at, name);
        struct stat st;
        if (n < PATH_MAX && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            if (access(path, X_OK) == 0) return path;
            denied = 1;
        }
        if (!*end) break;
        at = end;
    }
    free(path);
    errno = denied ? EACCES : ENOENT;
    return NULL;
}
int spawn(struct task* t, const char* cwd, char** argv, char** env) {
    char* program = resolve(argv[0], env, cwd);
    if (!program) return errno;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        int e = errno;
        free(program);
        return e;
    }
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    volatile int error = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        // vfork: memory is shared with us, so only system calls from here.
        sigset_t none;
        sigemptyset(&none);
        setsid();
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != own_pid) _exit(127);  // we died before the line above took hold
        if (dup2(dev_null, 0) < 0 || dup2(fds[1], 1) < 0 || dup2(fds[1], 2) < 0) {
            error = errno;
            _exit(127);
        }
        if (chdir(cwd) != 0) {
            error = ESTALE;  // not ENOENT: a missing folder is the node's failure, a missing
                             // program the user's
            _exit(127);
        }
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (own_nice != task_nice) setpriority(PRIO_PROCESS, 0, task_nice);
        be_first_to_go();
        if (!is_launcher(program, argv)) give_up_mounting();
        execve(program, argv, env);
        error = errno;
        _exit(127);
    }
    if (pid < 0) error = errno;
    close(fds[1]);
    free(program);
    if (error) {
        if (pid > 0) waitpid(pid, NULL, 0);
        close(fds[0]);
        return error;
    }
    t->pid = pid;
    t->pipe = fds[0];
    childless = 0;
    return 0;
}
