// `turnout-supervisor launch …`: what a task runs as when there is something to do around its
// command: limits of processors and of shared memory, or several processes (the ranks of a
// distributed job), each with variables and a log of its own.
//
//   launch|launch-up-to LOG-LIMIT END-FILE CPUS PROCESSORS SHM-BYTES ENVIRONMENT LAYER READ-ONLY N
//   N x (RANK LOG COUNT COUNT x NAME=VALUE)  ARGV…
//
// CPUS 0 and SHM-BYTES 0 are no limit; PROCESSORS "4,5,0" says which come first, "-" nothing. LOG
// "-" is our own output. One process without a log file takes our place. Else we wait for all of
// them: when one fails, the others get TERM and, ten seconds later, KILL; we end with the code of
// the one that failed first, and END-FILE says "RANK CODE SIGNAL". What the processes print comes
// to us through pipes, so that nobody but us holds a log open: a program that truncates its stdout
// cannot harm it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "disk.h"
#include "launch.h"
#include "mask.h"

enum {
    GRACE_MS = 10000,
    DRAIN_MS = 10000,
    MAX_PROCESSES = 1024,
    LOG_LIMIT =
        256 << 20,  // bytes of a log that the server does not have yet: what it has is given back
    FULL_DISK_TRIES = 300,  // a minute: so long output waits for room on the disk
};

struct process {
    const char* rank;
    const char* log;
    char** variables;
    int count;
    pid_t pid;  // 0 when it has ended
    pid_t group;
    int pipe;  // -1 when there is none (any more)
    int file;
    long long left_out;  // bytes since the last that was kept
    struct mask* mask;   // what its log must not show; NULL: nothing
};

static long long log_limit = LOG_LIMIT;

#define LAYER_PATH "TURNOUT_LAYER_PATH"

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void write_text(const char* path, const char* text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return;
    if (write(fd, text, strlen(text)) < 0) perror(path);
    close(fd);
}

// So many of the processors that we may use, in the order of the list.
static void limit_processors(int count, const char* list) {
    cpu_set_t allowed, wanted;
    if (count <= 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0 ||
        CPU_COUNT(&allowed) <= count)
        return;
    CPU_ZERO(&wanted);
    for (char* end; CPU_COUNT(&wanted) < count; list = *end == ',' ? end + 1 : end) {
        long one = strtol(list, &end, 10);
        if (end == list) break;
        if (one >= 0 && one < CPU_SETSIZE && CPU_ISSET((size_t)one, &allowed))
            CPU_SET((size_t)one, &wanted);
    }
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&wanted) < count; ++i)
        if (CPU_ISSET(i, &allowed)) CPU_SET(i, &wanted);
    if (sched_setaffinity(0, sizeof wanted, &wanted) != 0)
        dprintf(2, "turnout: the job may use all processors: %s\n", strerror(errno));
}

// Mounts of our own from here on. Once.
static int own_mounts(void) {
    static int done = -1;
    if (done >= 0) return done;
    unsigned user = getuid(), group = getgid();
    char text[128];
    int fine = unshare(CLONE_NEWNS) == 0;
    if (!fine && unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
        write_text("/proc/self/setgroups", "deny");
        snprintf(text, sizeof text, "%u %u 1\n", user, user);
        write_text("/proc/self/uid_map", text);
        snprintf(text, sizeof text, "%u %u 1\n", group, group);
        write_text("/proc/self/gid_map", text);
        fine = 1;
    }
    return done = fine && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

// A /dev/shm of our own with that size. Where the machine does not allow it, its own is used.
static void limit_shared_memory(long long bytes) {
    if (bytes <= 0) return;
    char text[128];
    snprintf(text, sizeof text, "size=%lld,mode=1777", bytes);
    if (own_mounts() && mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, text) == 0)
        return;
    dprintf(2,
            "turnout: shm_size is not set, since this node does not allow it (%s): /dev/shm is the "
            "machine's\n",
            strerror(errno));
}

// What the task changes in `folder` goes to `layer` and is seen by it alone. Where that is not
// possible its programs are found along LAYER_PATH, which leads through a venv of its own, and the
// folder is closed to writing if it can be.
static void protect(const char* folder, const char* layer) {
    if (!strcmp(folder, "-")) return;
    char upper[4096], work[4096], options[3 * 4096];
    snprintf(upper, sizeof upper, "%s/upper", layer);
    snprintf(work, sizeof work, "%s/work", layer);
    const int mounts = own_mounts();
    int overlay = 0;
    if (mounts && (mkdir(layer, 0755) == 0 || errno == EEXIST) &&
        (mkdir(upper, 0755) == 0 || errno == EEXIST) && (mkdir(work, 0755) == 0 || errno == EEXIST))
        // Volatile: nobody reads it after the task, so it need not reach the disk when the task
        // ends, which takes milliseconds. Kernels before 5.10 do not know the word.
        for (int i = 0; i < 2 && !overlay; ++i) {
            snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s%s", folder, upper,
                     work, i == 0 ? ",volatile" : "");
            overlay = mount("overlay", folder, "overlay", 0, options) == 0;
        }
    const char* path = getenv(LAYER_PATH);
    if (!overlay) {
        if (path) setenv("PATH", path, 1);
        unsetenv("VIRTUAL_ENV");
        if (mounts && mount(folder, folder, NULL, MS_BIND, NULL) == 0)
            mount(NULL, folder, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
    }
    unsetenv(LAYER_PATH);
}

// What the task has to read and not to change, as root can everywhere else. `folder` "-" is none.
static int close_to_writing(const char* folder) {
    if (!strcmp(folder, "-")) return 1;
    return own_mounts() && mount(folder, folder, NULL, MS_BIND | MS_REC, NULL) == 0 &&
           mount(NULL, folder, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0;
}

// `turnout-supervisor can-close FOLDER`: whether that works on this node.
int can_close(int argc, char** argv) {
    return argc == 3 && close_to_writing(argv[2]) ? 0 : 1;
}

static void become(struct process* p, char** command) {
    for (int i = 0; i < p->count; ++i) putenv(p->variables[i]);
    give_up_mounting();
    execvp(command[0], command);
    dprintf(2, "cannot run '%s': %s\n", command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

static int begin(struct process* p, char** command, const sigset_t* before) {
    int ends[2] = {-1, -1};
    p->pipe = p->file = -1;
    if (strcmp(p->log, "-") != 0) {
        p->file = open(p->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (p->file < 0 || pipe2(ends, O_CLOEXEC) != 0) return -1;
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        p->pipe = ends[0];
        // What the server has is given back by holes; where there are none a log only grows.
        if (fallocate(p->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) != 0 &&
            errno == EOPNOTSUPP)
            log_limit = LLONG_MAX;
    }
    pid_t self = getpid();
    p->pid = fork();
    if (p->pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != self) _exit(127);
        if (ends[1] >= 0 && (dup2(ends[1], 1) < 0 || dup2(ends[1], 2) < 0)) _exit(127);
        sigprocmask(SIG_SETMASK, before, NULL);
        become(p, command);
    }
    if (ends[1] >= 0) close(ends[1]);
    if (p->pid < 0) return -1;
    setpgid(p->pid, p->pid);
    p->group = p->pid;
    return 0;
}

// A full disk lets it wait, as the supervisor does; not for ever, since the others wait too.
static void write_log(struct process* p, const char* bytes, size_t size) {
    for (int tries = 0; size;) {
        errno = ENOSPC;
        ssize_t written = has_room(p->file, size) ? write(p->file, bytes, size) : -1;
        if (written > 0) {
            bytes += written;
            size -= (size_t)written;
        } else if (written == 0 || errno != EINTR) {
            struct timespec pause = {0, 200000000};
            nanosleep(&pause, NULL);
            if (++tries >= FULL_DISK_TRIES) break;
        }
    }
    p->left_out += (long long)size;
}

static void tell_left_out(struct process* p) {
    char text[160];
    int size = snprintf(text, sizeof text,
                        "\nturnout: %lld bytes of the log are left out here: the server had not "
                        "taken what came before\n",
                        p->left_out);
    p->left_out = 0;
    write_log(p, text, (size_t)size);
}

// What is too far ahead of the server is counted instead. Room is made at half of the limit.
static void log_or_count(struct process* p, const char* bytes, size_t size) {
    struct stat there;
    long long held = fstat(p->file, &there) == 0 ? (long long)there.st_blocks * 512 : 0;
    if (held + (long long)size > log_limit ||
        (p->left_out && (held > log_limit / 2 || !has_room(p->file, size)))) {
        p->left_out += (long long)size;
        return;
    }
    if (p->left_out) tell_left_out(p);
    write_log(p, bytes, size);
}

// What it has printed, as far as it may be told; `last`: nothing comes after it.
static void log_output(struct process* p, const char* bytes, size_t size, int last) {
    if (!p->mask) {
        if (size) log_or_count(p, bytes, size);
        return;
    }
    struct buffer told = {0};
    mask_bytes(p->mask, bytes, size, last, &told);
    if (told.size) log_or_count(p, (const char*)told.data, told.size);
    free(told.data);
}

// What it has printed goes to its log.
static void take(struct process* p) {
    char bytes[64 << 10];
    for (;;) {
        ssize_t n = read(p->pipe, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            log_output(p, NULL, 0, 1);
            if (p->left_out && has_room(p->file, 160)) tell_left_out(p);
            close(p->pipe);
            p->pipe = -1;
            return;
        }
        log_output(p, bytes, (size_t)n, 0);
        if (n < (ssize_t)sizeof bytes) return;
    }
}

static void signal_all(struct process* all, int n, int number) {
    for (int i = 0; i < n; ++i)
        if (all[i].pid > 0) kill(-all[i].group, number);
}

int launch(int argc, char** argv) {
    static struct process all[MAX_PROCESSES];
    if (!strcmp(argv[1], "launch-up-to")) log_limit = atoll(argv[2]), ++argv, --argc;
    int at = 2;
    if (argc < 11) return 2;
    const char* end_file = argv[at++];
    int cpus = atoi(argv[at++]);
    const char* processors = argv[at++];
    long long shm = atoll(argv[at++]);
    const char *environment = argv[at++], *layer = argv[at++], *read_only = argv[at++];
    int n = atoi(argv[at++]);
    if (n < 1 || n > MAX_PROCESSES) return 2;
    for (int i = 0; i < n; ++i) {
        if (at + 3 >= argc) return 2;
        all[i].rank = argv[at++];
        all[i].log = argv[at++];
        all[i].count = atoi(argv[at++]);
        all[i].variables = argv + at;
        if (all[i].count < 0 || all[i].count >= argc - at) return 2;
        at += all[i].count;
    }
    if (at >= argc) return 2;
    char** command = argv + at;
    limit_processors(cpus, processors);
    limit_shared_memory(shm);
    protect(environment, layer);
    if (!close_to_writing(read_only)) {
        // The agent has looked whether this works: what others read is not given away.
        dprintf(2, "turnout: the job's inputs cannot be closed to writing: %s\n", strerror(errno));
        return 125;
    }
    // Its processes have the values under the names that the job gave them.
    const char* masks = getenv(MASKS_VARIABLE);
    if (masks)
        for (int i = 0; i < n; ++i)
            if (strcmp(all[i].log, "-") != 0) all[i].mask = mask_of(masks);
    unsetenv(MASKS_VARIABLE);
    if (n == 1 && !strcmp(all[0].log, "-")) become(&all[0], command);

    sigset_t mine, before;
    sigemptyset(&mine);
    sigaddset(&mine, SIGCHLD);
    // The whole tree gets what a cancel sends: we only have to stay until the others have ended.
    sigaddset(&mine, SIGTERM);
    sigaddset(&mine, SIGINT);
    sigprocmask(SIG_BLOCK, &mine, &before);
    int signals = signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) return 125;
    prctl(PR_SET_NAME, LAUNCHER_NAME);

    int left = 0, code = 0, told = 0, stopping = 0;
    long long kill_at = 0, drained_at = 0;
    for (int i = 0; i < n; ++i) all[i].pipe = all[i].file = -1;
    for (int i = 0; i < n && !code; ++i) {
        if (begin(&all[i], command, &before) != 0) {
            dprintf(2, "turnout: process %s cannot be started: %s\n", all[i].rank, strerror(errno));
            all[i].pid = 0;
            code = 125;
            signal_all(all, n, SIGTERM);
            kill_at = now_ms() + GRACE_MS;
            break;
        }
        ++left;
    }
    for (;;) {
        struct pollfd wait[MAX_PROCESSES + 1];
        struct process* of[MAX_PROCESSES + 1];
        int waits = 0, open_pipes = 0;
        wait[waits++] = (struct pollfd){.fd = signals, .events = POLLIN};
        for (int i = 0; i < n; ++i)
            if (all[i].pipe >= 0) {
                of[waits] = &all[i];
                wait[waits++] = (struct pollfd){.fd = all[i].pipe, .events = POLLIN};
                ++open_pipes;
            }
        if (!left && !open_pipes) break;
        long long limit = left ? kill_at : drained_at, patience = limit ? limit - now_ms() : -1;
        if (limit && patience < 0) patience = 0;
        if (poll(wait, (nfds_t)waits, (int)patience) < 0 && errno != EINTR) return 125;
        struct signalfd_siginfo info;
        while (read(signals, &info, sizeof info) == sizeof info)
            if (info.ssi_signo != SIGCHLD) stopping = 1;
        for (int i = 1; i < waits; ++i)
            if (wait[i].revents) take(of[i]);
        int status;
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
            for (int i = 0; i < n; ++i) {
                if (all[i].pid != pid) continue;
                all[i].pid = 0;
                --left;
                int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
                int ended = signal_number ? 128 + signal_number : WEXITSTATUS(status);
                if (ended && !told) {
                    char text[128];
                    snprintf(text, sizeof text, "%s %d %d\n", all[i].rank, ended, signal_number);
                    write_text(end_file, text);
                    told = 1;
                    if (!code) code = ended;
                    if (stopping)
                        continue;  // they have been told, and how long they have is not ours to say
                    signal_all(all, n, SIGTERM);
                    kill_at = now_ms() + GRACE_MS;
                }
            }
        if (left && kill_at && now_ms() >= kill_at) {
            signal_all(all, n, SIGKILL);
            kill_at = now_ms() + GRACE_MS;
        }
        if (!left && !drained_at) {
            // What they left behind would hold the pipes; it ends with the job anyway.
            for (int i = 0; i < n; ++i)
                if (all[i].group > 0) kill(-all[i].group, SIGKILL);
            drained_at = now_ms() + DRAIN_MS;
        }
        if (!left && now_ms() >= drained_at) break;
    }
    for (int i = 0; i < n; ++i)
        if (all[i].pipe >= 0) log_output(&all[i], NULL, 0, 1);
    return code;
}
