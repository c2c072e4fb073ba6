#define _GNU_SOURCE
#include "limits.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "journal.h"
#include "processes.h"

enum {
    LAUNCHER_US = 1000000,  // how long the launcher of killed processes has for what they said last
    PROCESS_LIMIT = 4096,
    GROWS_US = 50000,             // a tree that grows is looked at this often
    KILL_AGAIN_US = 5 * 1000000,  // what lives behind the fence, or beyond its time and grace, is
                                  // killed this often
};

size_t process_limit = PROCESS_LIMIT;

static uint64_t fence;     // 0: none
static uint64_t fence_at;  // when what lives beyond it is killed next
static int children_file = -1;

// ---- trees of processes ----

// The tasks that have processes, by the numbers that those have in `owner`.
static struct root* roots;
static struct task** root_tasks;
static size_t root_count, root_room;

// One look at the machine's processes, for all tasks.
static void find_processes(int everywhere) {
    root_count = 0;
    for (struct task* t = tasks; t; t = t->next) {
        if (!active(t)) continue;
        if (root_count == root_room) {
            root_room = root_room * 2 + 16;
            roots = must(realloc(roots, root_room * sizeof *roots));
            root_tasks = must(realloc(root_tasks, root_room * sizeof *root_tasks));
        }
        root_tasks[root_count] = t;
        roots[root_count++] = (struct root){t->pid, t->id, 0, 0};
    }
    scan();
    find_owners(getpid(), roots, root_count, everywhere);
}

int signal_tree(struct task* t, int number) {
    if (number == SIGKILL && !t->killed_at) t->killed_at = now_us();
    // What its processes said last is still with their launcher: it is killed only if it does not
    // end by itself.
    int spare = number == SIGKILL && elapsed(now_us(), t->killed_at) < LAUNCHER_US;
    // A tree that forks while it is killed needs more than one look, and more the larger it is: of
    // each what was forked during the look is left.
    int count = 0;
    for (int round = 0; round < (number == SIGKILL ? count > 64 ? 40 : 4 : 1); ++round) {
        find_processes(0);
        count = 0;
        for (size_t i = 0; i < process_count; ++i) {
            const struct process* p = &processes[i];
            if (p->owner < 0 || root_tasks[p->owner] != t) continue;
            ++count;
            if (!(spare && p->launcher && p->pid == t->pid)) kill(p->pid, number);
        }
        if (!count) break;
    }
    return count;
}

static int is_leader(pid_t pid) {
    for (struct task* t = tasks; t; t = t->next)
        if (t->state == RUNNING && t->pid == pid) return 1;
    return 0;
}

void watch_children(void) {
    char children[64];
    snprintf(children, sizeof children, "/proc/self/task/%d/children", getpid());
    children_file = open(children, O_RDONLY | O_CLOEXEC);
    childless = 1;
}

int has_strays(void) {
    static char text[64 << 10];
    if (childless) return 0;
    if (children_file < 0) return 1;  // this kernel does not say: look thoroughly
    ssize_t size = pread(children_file, text, sizeof text - 1, 0);
    if (size < 0) return 1;
    text[size] = 0;
    for (char *at = text, *end; *at; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at) break;
        if (!is_leader((pid_t)pid)) return 1;
    }
    return 0;
}

// ---- memory, processes and time ----

// It is to end, and what it still holds will be free: not counted.
static int counts(const struct root* r) {
    const struct task* t = root_tasks[r - roots];
    return t->state == RUNNING && t->limit && !t->killed_at;
}

static void end_beyond(struct task* t, uint8_t flags) {
    t->flags |= flags;
    t->killed_at = now_us();
}

// Each task has the limit of its node, and all of them together have it once: when they are beyond
// it, the one that has most ends. So a task that stays within its share is never ended for
// another's sake. Tasks that are over sooner are not looked at: their peak is told by the kernel
// when they end.
void sample(uint64_t now) {
    find_processes(0);
    uint64_t limit = 0, sum = 0;
    for (size_t i = 0; i < process_count; ++i)
        if (processes[i].owner >= 0)
            roots[processes[i].owner].memory += processes[i].rss, ++roots[processes[i].owner].count;
    for (struct root* r = roots; r < roots + root_count; ++r)
        if (counts(r))
            sum += r->memory,
                limit = limit < root_tasks[r - roots]->limit ? root_tasks[r - roots]->limit : limit;
    // Pages that processes share count once, but that is dear to ask: only near the limit.
    int near = sum > limit;
    for (struct root* r = roots; r < roots + root_count; ++r) {
        struct task* t = root_tasks[r - roots];
        if (counts(r) && near) r->memory = proportional_memory((int)(r - roots));
        if (t->state == RUNNING && r->memory > t->peak) t->peak = r->memory;
        int grows = r->count > process_limit / 8 && r->count > t->processes;
        t->processes = r->count;
        t->sample_at = now + (grows ? GROWS_US : limit ? 500000 : 2000000);
        if (t->state == RUNNING && !t->killed_at && r->count > process_limit)
            end_beyond(t, PROCESSES);
        if (counts(r) && r->memory > t->limit) end_beyond(t, MEMORY);
    }
    for (struct root* most = roots; most;) {
        most = NULL;
        sum = 0;
        for (struct root* r = roots; r < roots + root_count; ++r) {
            if (!counts(r)) continue;
            sum += r->memory;
            if (!most || r->memory > most->memory) most = r;
        }
        if (sum <= limit) break;
        end_beyond(root_tasks[most - roots], MEMORY | TOGETHER);
    }
    for (struct task* t = tasks; t; t = t->next)
        if (t->state == RUNNING && t->flags & (MEMORY | PROCESSES)) signal_tree(t, SIGKILL);
}

void keep_time(struct task* t, uint64_t now) {
    if (t->state != RUNNING || !t->stop_at || now < t->stop_at) return;
    int met = t->flags & TIMEOUT;
    t->flags |= TIMEOUT;
    signal_tree(t, met ? SIGKILL : SIGTERM);
    t->stop_at = now + (met ? KILL_AGAIN_US : t->grace);
}

// ---- contact with the server ----

void set_fence(uint64_t at) {
    fence = fence_at = at;
}

int is_fenced(void) {
    return fence && now_us() >= fence;
}

uint64_t next_fence(void) {
    return fence ? fence_at : UINT64_MAX;
}

void keep_fence(uint64_t now) {
    for (struct task* t = tasks; t; t = t->next)
        if (t->state == RUNNING) {
            t->flags |= FENCED;
            signal_tree(t, SIGKILL);
        }
    fence_at = now + KILL_AGAIN_US;
}

// ---- in the beginning and at the end ----

void kill_leftovers(void) {
    uint64_t begin = now_us();
    // Two looks that find nothing: a process has no environment to be known by in the moment of its
    // exec.
    int clean = 0;
    while (clean < 2 && now_us() - begin < 10 * 1000000) {
        int left = 0, any = journal_lost;
        for (struct task* t = tasks; t; t = t->next) {
            any |= t->state == RUNNING;
            t->pid = 0;
        }
        if (!any) break;
        const struct root any_attempt = {0};
        if (journal_lost)
            scan(), find_owners(getpid(), &any_attempt, 1, 1);
        else
            find_processes(1);
        for (size_t i = 0; i < process_count; ++i)
            if (processes[i].owner >= 0) left |= kill(processes[i].pid, SIGKILL) == 0;
        clean = left ? 0 : clean + 1;
        if (clean < 2) {
            struct timespec pause = {0, 5000000};
            nanosleep(&pause, NULL);
        }
    }
    for (struct task* t = tasks; t; t = t->next) {
        if (t->state != RUNNING) continue;
        t->state = ENDED;
        t->flags = LOST;
        t->exit_code = -1;
        t->ended = now_us();
        journal_end(t);
    }
    if (journal_flush() != 0) die("exits.journal");
}

void kill_everything(void) {
    for (int round = 0; round < 200; ++round) {
        int left = 0;
        for (struct task* t = tasks; t; t = t->next)
            if (active(t)) left |= signal_tree(t, SIGKILL) > 0;
        reap();
        if (!left && !has_strays()) break;
        struct timespec pause = {0, 5000000};
        nanosleep(&pause, NULL);
    }
}
