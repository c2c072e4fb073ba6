// One per node, tiny, static, single-threaded. It starts the node's tasks, owns their output and
// their exit status, and outlives agent and server. Formats and protocol: README.md beside this
// file. It stands alone: only the C library.
//
//   turnout-supervisor FOLDER [LOG-LIMIT]      serves FOLDER/supervisor.sock; returns 0 once it
//   listens
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "disk.h"
#include "forgotten.h"
#include "launch.h"
#include "processes.h"

enum {
    PROTOCOL = 1,
    MAX_CONNECTIONS = 8,
    MAX_FRAME = 4 << 20,
    MAX_ID = 1024,
    READ_SIZE = 64 << 10,
    SEGMENT_SIZE = 16 << 20,
    JOURNAL_SIZE = 4 << 20,        // then it is rewritten without what is forgotten
    OUT_SOFT = 256 << 10,          // beyond it "output grew" is only remembered, not queued
    OUT_HARD = 16 << 20,           // beyond it the connection is closed: it lists again
    DRAIN_KILL_US = 10 * 1000000,  // how long a dead leader's tree is hunted
    DRAIN_PIPE_US = 1000000,       // how long its pipe is read once nobody is left
    LAUNCHER_US = 1000000,  // how long the launcher of killed processes has for what they said last
    FULL_DISK_US = 60 * 1000000,  // how long an ended task's last output waits for disk space
    FRAME_SIZE = 8 << 10,         // of a usual start: its memory is used again
    KILL_AGAIN_US =
        5 *
        1000000,  // what lives behind the fence, or beyond its time and grace, is killed this often
    CHATTY_US = 2000,  // how long a pipe fills before it is read again, of a task that says much in
                       // little pieces
    CHATTY_SIZE = 4 << 10,  // a smaller piece is a little one
    LOG_LIMIT =
        256 << 20,   // bytes of a task's log that the server does not have yet; more are left out
    NEWS_US = 4000,  // how long news waits while the agent has starts in stock here
    IDLE_US = 600 * 1000000,  // without tasks and agent it ends by itself
};

#define LOG_MAGIC 0x474f4c54u /* "TLOG" */
static const char JOURNAL_HEAD[16] = "TURNOUT-EXITS 1\n";

// ---- state: one process, one node; everything lives as long as the process ----

enum state { RUNNING, DRAINING, ENDED, WORDS, WAITING };  // WORDS: never started, has only log text
enum { LOST = 1, MEMORY = 2, FENCED = 4, TIMEOUT = 8 };
enum { STARTED, KNOWN, FAILED, DROPPED };  // what became of a start

struct task {
    struct task* next;
    char* id;
    uint64_t serial;
    enum state state;
    pid_t pid;
    int pipe;  // -1 once it is closed
    uint64_t started, ended, draining_since, alone_at;
    uint64_t read_at;      // when its pipe was read last
    uint64_t quiet_until;  // it is read again then
    uint64_t killed_at;    // when its tree was told to end at once
    uint64_t log_length;
    uint64_t delivered;       // so much of it is known to be at the server
    uint64_t left_out;        // bytes since the last that was kept
    uint32_t first_segment;   // of its log
    uint64_t first_position;  // in that segment
    int32_t exit_code;
    uint32_t signal;
    uint8_t flags;
    uint64_t peak, cpu, limit;
    uint64_t sample_at;     // when its memory is looked at next
    uint64_t grace;         // between TERM and KILL when its time is up
    uint64_t stop_at;       // when its time is up, and then when it is killed (again); 0: never
    struct buffer pending;  // output that did not fit on the disk
    uint64_t pending_since;
};

struct connection {
    int fd;
    int listed;  // gets events
    int dirty;   // "output grew" was left out
    struct buffer in, out;
    size_t sent;
};

// A start that waits for its turn. Only in memory: if we die, it was never started.
struct start {
    struct start* next;
    unsigned char* frame;  // what the pointers below point into
    size_t frame_size;
    char *id, *cwd;
    uint64_t limit, time_limit, grace;
    const char* preamble;
    uint32_t preamble_size;
    char **argv, **env;
};

static struct task* tasks;
static struct start* waiting;
static uint64_t news_since;  // there is something for the agent since then; 0 = nothing
static uint32_t slots;       // so many tasks at a time; 0: no limit
static struct connection connections[MAX_CONNECTIONS];
static uint64_t next_serial = 1;
static int journal = -1, segment = -1;
static struct buffer journal_out;  // records that are not in the file yet
static int journal_due;            // some of them must be there before anything is told
static uint32_t segment_number, lowest_segment;
static off_t journal_size, segment_size;
static uint64_t fence;     // 0: none. From then on nothing runs or is begun, until it is set anew
static uint64_t fence_at;  // when what lives beyond it is killed next
static int quitting;
static uint64_t log_limit = LOG_LIMIT;
static uint64_t idle_since;
static int dev_null, children_file = -1;
static pid_t own_pid;
static int childless;  // no process hangs under us

static struct task* find(const char* id) {
    for (struct task* t = tasks; t; t = t->next)
        if (!strcmp(t->id, id)) return t;
    return NULL;
}
static struct task* find_serial(uint64_t serial) {
    for (struct task* t = tasks; t; t = t->next)
        if (t->serial == serial) return t;
    return NULL;
}
static struct task* add_task(char* id, uint64_t serial) {
    struct task* t = must(calloc(1, sizeof *t));
    t->id = id;
    t->serial = serial;
    t->pipe = -1;
    t->first_segment = segment_number;
    t->next = tasks;
    tasks = t;
    return t;
}
static void remove_task(struct task* gone) {
    for (struct task** t = &tasks; *t; t = &(*t)->next)
        if (*t == gone) {
            *t = gone->next;
            break;
        }
    free(gone->pending.data);
    free(gone->id);
    free(gone);
}
static int active(const struct task* t) {
    return t->state == RUNNING || t->state == DRAINING;
}

// ---- journal ----

static void put_exit(struct buffer* b, const struct task* t) {
    put32(b, (uint32_t)t->exit_code);
    put32(b, t->signal);
    put8(b, t->flags);
    put64(b, t->started);
    put64(b, t->ended);
    put64(b, t->peak);
    put64(b, t->cpu);
    put64(b, t->log_length);
}

static void put_record(struct buffer* out, const struct buffer* payload) {
    put32(out, (uint32_t)payload->size);
    put32(out, crc32_of(payload->data, payload->size));
    put(out, payload->data, payload->size);
}
// Records go to the file together: before a task is started, and before anybody is told of them.
static int journal_flush(void) {
    if (!journal_out.size) return 0;
    if (write_all(journal, journal_out.data, journal_out.size) != 0) {
        // A torn record would hide everything behind it.
        if (ftruncate(journal, journal_size) != 0) die("exits.journal");
        return -1;
    }
    journal_size += (off_t)journal_out.size;
    journal_out.size = 0;
    journal_due = 0;
    return 0;
}

static void put_start(struct buffer* out, const struct task* t, char kind) {
    struct buffer b = {0};
    put8(&b, (uint8_t)kind);
    put64(&b, t->serial);
    put64(&b, t->started);
    put_text(&b, t->id, strlen(t->id));
    put_record(out, &b);
    free(b.data);
}
static void put_end(struct buffer* out, const struct task* t) {
    struct buffer b = {0};
    put8(&b, 'X');
    put64(&b, t->serial);
    put_exit(&b, t);
    put_record(out, &b);
    free(b.data);
}
static void put_forget(struct buffer* out, uint64_t serial, uint64_t hash) {
    struct buffer b = {0};
    put8(&b, 'F');
    put64(&b, serial);
    put64(&b, hash);
    put_record(out, &b);
    free(b.data);
}
// In the file when this returns 0; else it was never said.
static int journal_start(const struct task* t) {
    size_t before = journal_out.size;
    put_start(&journal_out, t, 'S');
    if (journal_flush() == 0) return 0;
    journal_out.size = before;
    return -1;
}
// Without what is forgotten, by rename: a crash leaves the old one or the new one.
static void rewrite_journal(void) {
    int fd = open("exits.new", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    struct buffer all = {0};
    put(&all, JOURNAL_HEAD, 16);
    unsigned count = forgotten_count < FORGOTTEN ? forgotten_count : FORGOTTEN;
    // Each with the last serial that was given: none is ever given twice.
    for (unsigned i = 0; i < count; ++i)
        put_forget(&all, next_serial - 1, forgotten[(forgotten_count - count + i) % FORGOTTEN]);
    for (struct task* t = tasks; t; t = t->next) {
        put_start(&all, t, t->state == WORDS ? 'A' : 'S');
        if (t->state == ENDED) put_end(&all, t);
    }
    if (write_all(fd, all.data, all.size) == 0 && rename("exits.new", "exits.journal") == 0) {
        close(journal);
        journal = fd;
        journal_size = (off_t)all.size;
        journal_out.size = 0;  // it is all in there
        journal_due = 0;
    } else {
        close(fd);
    }
    free(all.data);
}

static void read_journal(void) {
    journal = open("exits.journal", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) die("exits.journal");
    struct stat st;
    if (fstat(journal, &st) != 0) die("exits.journal");
    if (st.st_size < 16) {
        if (ftruncate(journal, 0) != 0 || write_all(journal, JOURNAL_HEAD, 16) != 0)
            die("exits.journal");
        journal_size = 16;
        return;
    }
    unsigned char* all = must(malloc((size_t)st.st_size));
    ssize_t size = pread(journal, all, (size_t)st.st_size, 0);
    if (size < 16 || memcmp(all, JOURNAL_HEAD, 16) != 0) {
        errno = EPROTO;
        die("exits.journal is of another version");
    }
    size_t at = 16;
    while (at + 8 <= (size_t)size) {
        uint32_t length, crc;
        memcpy(&length, all + at, 4);
        memcpy(&crc, all + at + 4, 4);
        if (length > MAX_FRAME || at + 8 + length > (size_t)size ||
            crc32_of(all + at + 8, length) != crc)
            break;
        struct reader r = {all + at + 8, all + at + 8 + length, 0};
        uint8_t kind = get8(&r);
        uint64_t serial = get64(&r);
        if (serial >= next_serial) next_serial = serial + 1;
        if (kind == 'S' || kind == 'A') {
            uint64_t started = get64(&r);
            char* id = get_text(&r);
            struct task* t = r.bad ? NULL : find(id);
            if (r.bad) {
                free(id);
            } else if (t) {  // words were said before; or it is repeated
                free(id);
                t->started = started;
                if (kind == 'S' && t->state == WORDS) t->state = RUNNING;
            } else {
                t = add_task(id, serial);
                t->started = started;
                t->state = kind == 'A' ? WORDS : RUNNING;
                t->first_segment = UINT32_MAX;  // found again by reading the segments
            }
        } else if (kind == 'X') {
            struct task* t = find_serial(serial);
            if (t) {
                t->state = ENDED;
                t->exit_code = (int32_t)get32(&r);
                t->signal = get32(&r);
                t->flags = get8(&r);
                t->started = get64(&r);
                t->ended = get64(&r);
                t->peak = get64(&r);
                t->cpu = get64(&r);
                t->log_length = get64(&r);
            }
        } else if (kind == 'F') {
            struct task* t = find_serial(serial);
            if (t) remove_task(t);
            remember_forgotten(get64(&r));
        }
        at += 8 + length;
    }
    free(all);
    if (at < (size_t)size && ftruncate(journal, (off_t)at) != 0) die("exits.journal");
    journal_size = (off_t)at;
}

// ---- log segments ----

static void segment_name(char* name, uint32_t number) {
    sprintf(name, "log-%08u.segment", number);
}

static int open_segment(uint32_t number) {
    char name[64];
    segment_name(name, number);
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    if (segment >= 0) close(segment);
    segment = fd;
    segment_number = number;
    segment_size = 0;
    return 0;
}

// Segments that no remembered task needs.
static void remove_segments(void) {
    uint32_t keep = segment_number;
    for (struct task* t = tasks; t; t = t->next)
        if (t->first_segment < keep) keep = t->first_segment;
    if (keep <= lowest_segment) return;
    lowest_segment = keep;
    DIR* dir = opendir(".");
    if (!dir) return;
    struct dirent* entry;
    uint32_t number;
    while ((entry = readdir(dir)))
        if (sscanf(entry->d_name, "log-%8u.segment", &number) == 1 && number < keep)
            unlink(entry->d_name);
    closedir(dir);
}

// Finds again how long each task's log is, and which segments it needs. A torn tail ends a segment.
static void read_segments(void) {
    uint32_t last = 0;
    DIR* dir = opendir(".");
    if (!dir) die("node folder");
    struct dirent* entry;
    uint32_t number;
    while ((entry = readdir(dir))) {
        if (sscanf(entry->d_name, "log-%8u.segment", &number) != 1) continue;
        if (number > last) last = number;
        int fd = open(entry->d_name, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        struct stat st;
        off_t at = 0;
        unsigned char head[32];
        if (fstat(fd, &st) != 0) st.st_size = 0;
        while (pread(fd, head, 32, at) == 32) {
            struct reader r = {head, head + 32, 0};
            uint32_t magic = get32(&r), length = get32(&r);
            uint64_t serial = get64(&r), offset = get64(&r);
            if (magic != LOG_MAGIC || get32(&r) != crc32_of(head, 24)) break;
            if (at + 32 + (off_t)length > st.st_size) break;
            struct task* t = find_serial(serial);
            if (serial >= next_serial)
                next_serial = serial + 1;  // the machine may have lost its record
            if (t) {
                if (offset + length > t->log_length) t->log_length = offset + length;
                if (number < t->first_segment) {
                    t->first_segment = number;
                    t->first_position = (uint64_t)at;
                }
            }
            at += 32 + (off_t)length;
        }
        close(fd);
    }
    closedir(dir);
    if (open_segment(last + 1) != 0) die("log segment");
    for (struct task* t = tasks; t; t = t->next)
        if (t->first_segment > segment_number) t->first_segment = segment_number;
    remove_segments();
}

static int write_log(struct task* t, const void* bytes, size_t size) {
    if (!size) return 0;
    if (!has_room(segment, size)) return -1;
    if (segment_size >= SEGMENT_SIZE) {
        if (open_segment(segment_number + 1) != 0) return -1;
        remove_segments();
    }
    struct buffer head = {0};
    put32(&head, LOG_MAGIC);
    put32(&head, (uint32_t)size);
    put64(&head, t->serial);
    put64(&head, t->log_length);
    put32(&head, crc32_of(head.data, 24));
    put32(&head, 0);
    struct iovec parts[2] = {{head.data, 32}, {(void*)bytes, size}};
    ssize_t n;
    do n = writev(segment, parts, 2);
    while (n < 0 && errno == EINTR);
    free(head.data);
    if (n != (ssize_t)(32 + size)) {
        if (n > 0 && ftruncate(segment, segment_size) != 0) open_segment(segment_number + 1);
        return -1;
    }
    if (!t->log_length) {
        t->first_segment = segment_number;
        t->first_position = (uint64_t)segment_size;
    }
    segment_size += n;
    t->log_length += size;
    return 0;
}

// ---- connections ----

static void drop(struct connection* c) {
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    memset(c, 0, sizeof *c);
    c->fd = -1;
    idle_since = now_us();
}

static void flush(struct connection* c) {
    while (c->fd >= 0 && c->sent < c->out.size) {
        ssize_t n =
            send(c->fd, c->out.data + c->sent, c->out.size - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) return drop(c);
        c->sent += (size_t)n;
    }
    c->out.size = c->sent = 0;
}

static void queue(struct connection* c, char type, const struct buffer* payload) {
    if (c->fd < 0) return;
    if (c->out.size - c->sent > OUT_HARD) return drop(c);
    put32(&c->out, (uint32_t)payload->size + 1);
    put8(&c->out, (uint8_t)type);
    put(&c->out, payload->data, payload->size);
    if (!news_since) news_since = now_us();
}

static void tell_output(struct connection* c, const struct task* t) {
    if (c->fd < 0 || !c->listed) return;
    if (c->out.size - c->sent > OUT_SOFT) {
        c->dirty = 1;
        return;
    }
    struct buffer b = {0};
    put_text(&b, t->id, strlen(t->id));
    put64(&b, t->serial);
    put64(&b, t->log_length);
    put32(&b, t->first_segment);
    put64(&b, t->first_position);
    queue(c, 'o', &b);
    free(b.data);
}
static void tell_all_output(const struct task* t) {
    for (int i = 0; i < MAX_CONNECTIONS; ++i) tell_output(&connections[i], t);
}
static void tell_exit(struct connection* c, const struct task* t) {
    struct buffer b = {0};
    put_text(&b, t->id, strlen(t->id));
    put_exit(&b, t);
    queue(c, 'x', &b);
    free(b.data);
}

// Unlike a plain difference: 0 when `since` was taken later than `now`.
static uint64_t elapsed(uint64_t now, uint64_t since) {
    return now > since ? now - since : 0;
}

// While enough starts wait here for their turn, news may wait too: the agent hears of several
// commands at once, and has not to be woken for each. Returns the microseconds that are left of
// that wait.
static uint64_t news_wait(uint64_t now) {
    if (quitting || !news_since || !waiting || !waiting->next || !waiting->next->next) return 0;
    uint64_t passed = elapsed(now, news_since);
    return passed < NEWS_US ? NEWS_US - passed : 0;
}

// All that was queued, in one go; nothing leaves before the journal has it. What was forgotten may
// wait for a quiet moment or for the next record: at worst it is forgotten once more.
static void flush_all(int quiet) {
    if ((journal_due || quiet) && journal_flush() != 0) return;
    if (news_wait(now_us())) return;
    news_since = 0;
    for (int i = 0; i < MAX_CONNECTIONS; ++i) {
        struct connection* c = &connections[i];
        flush(c);
        if (c->fd < 0 || !c->dirty || c->out.size) continue;
        c->dirty = 0;
        for (struct task* t = tasks; t; t = t->next) tell_output(c, t);
        flush(c);
    }
}

// ---- processes ----

static int is_leader(pid_t pid) {
    for (struct task* t = tasks; t; t = t->next)
        if (t->state == RUNNING && t->pid == pid) return 1;
    return 0;
}
static int active_count(void) {
    int count = 0;
    for (struct task* t = tasks; t; t = t->next) count += active(t);
    return count;
}

// Marks the task's processes in `processes`: its session, its descendants, and what was handed to
// us when a parent died and carries its marker; with `everywhere`, whatever on this machine does.
// What a task starts stays beneath us, whatever dies, so only an earlier supervisor's are sought
// there: the environment of a busy process can take long to read. Returns how many.
static int find_members(const struct task* t, int everywhere) {
    pid_t self = getpid();
    int only = active_count() <= 1;
    for (size_t i = 0; i < process_count; ++i) {
        struct process* p = &processes[i];
        p->member = p->pid != self && t->pid > 0 && (p->pid == t->pid || p->session == t->pid);
        p->stray = p->parent == self && !is_leader(p->pid);
        if (!p->member && p->pid != self && (p->stray || everywhere))
            p->member = (p->stray && only) || has_marker(p->pid, t->id);
    }
    int changed = 1, count = 0;
    while (changed) {
        changed = 0;
        for (size_t i = 0; i < process_count; ++i) {
            if (processes[i].member || processes[i].pid == self || processes[i].parent == self)
                continue;
            for (size_t k = 0; k < process_count; ++k)
                if (processes[k].member && processes[k].pid == processes[i].parent) {
                    processes[i].member = 1;
                    changed = 1;
                    break;
                }
        }
    }
    for (size_t i = 0; i < process_count; ++i) count += processes[i].member;
    return count;
}

// Returns how many processes it found.
static int signal_tree(struct task* t, int number) {
    if (number == SIGKILL && !t->killed_at) t->killed_at = now_us();
    // What its processes said last is still with their launcher: it is killed only if it does not
    // end by itself.
    int spare = number == SIGKILL && elapsed(now_us(), t->killed_at) < LAUNCHER_US;
    // A tree that forks while it is killed needs more than one look.
    int count = 0;
    for (int round = 0; round < (number == SIGKILL ? 4 : 1); ++round) {
        scan();
        count = find_members(t, 0);
        if (!count) break;
        for (size_t i = 0; i < process_count; ++i) {
            const struct process* p = &processes[i];
            if (p->member && !(spare && p->launcher && p->pid == t->pid)) kill(p->pid, number);
        }
    }
    return count;
}

// Whether any process besides running leaders hangs under us. Cheap: one file at most.
static int has_strays(void) {
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

// Tasks that are over sooner are not looked at: their peak is told by the kernel when they end.
static void sample(uint64_t now) {
    int limited = 0, scanned = 0;
    for (struct task* t = tasks; t; t = t->next) limited |= t->state == RUNNING && t->limit;
    for (struct task* t = tasks; t; t = t->next) {
        if (t->state != RUNNING || t->sample_at > now) continue;
        if (!scanned++) scan();
        find_members(t, 0);
        uint64_t sum = 0;
        for (size_t i = 0; i < process_count; ++i)
            if (processes[i].member) sum += processes[i].rss;
        // Pages that processes share count once, but that is dear to ask: only near the limit.
        if (t->limit && sum > t->limit) sum = proportional_memory();
        if (sum > t->peak) t->peak = sum;
        if (t->limit && sum > t->limit) {
            t->flags |= MEMORY;
            signal_tree(t, SIGKILL);
            scanned = 0;
        }
        t->sample_at = now + (limited ? 500000 : 2000000);
    }
}

// TERM when its time is up, KILL after the grace, with or without an agent.
static void keep_time(struct task* t, uint64_t now) {
    if (t->state != RUNNING || !t->stop_at || now < t->stop_at) return;
    int met = t->flags & TIMEOUT;
    t->flags |= TIMEOUT;
    signal_tree(t, met ? SIGKILL : SIGTERM);
    t->stop_at = now + (met ? KILL_AGAIN_US : t->grace);
}

// Says in the log what is missing there.
static int tell_left_out(struct task* t) {
    if (!t->left_out) return 0;
    char text[160];
    int size = snprintf(text, sizeof text,
                        "\nturnout: %llu bytes of the log are left out here: the server had not "
                        "taken what came before\n",
                        (unsigned long long)t->left_out);
    if (write_log(t, text, (size_t)size) != 0) return -1;
    t->left_out = 0;
    return 0;
}

static void finish(struct task* t) {
    if (t->pipe >= 0) close(t->pipe);
    t->pipe = -1;
    if (t->left_out && tell_left_out(t) == 0) tell_all_output(t);
    t->state = ENDED;
    idle_since = now_us();
    put_end(&journal_out, t);
    journal_due = 1;
    for (int i = 0; i < MAX_CONNECTIONS; ++i)
        if (connections[i].fd >= 0 && connections[i].listed) tell_exit(&connections[i], t);
}

// Puts the bytes into its log. What is too far ahead of the server is counted instead. Where there
// is no room they wait here: the pipe fills, and the task waits too. Nothing is lost. Returns
// whether its log has grown.
static int log_or_keep(struct task* t, const void* bytes, size_t size) {
    if (t->left_out || (t->log_length - t->delivered) + t->pending.size + size > log_limit) {
        if (t->log_length - t->delivered > log_limit / 2 || t->pending.size ||
            tell_left_out(t) != 0) {
            t->left_out += size;
            return 0;
        }
    }
    if (!t->pending.size && write_log(t, bytes, size) == 0) return 1;
    if (!t->pending.size) t->pending_since = now_us();
    put(&t->pending, bytes, size);
    return 0;
}

// Reads what the pipe holds. Returns 1 if there may be more.
static int read_pipe(struct task* t) {
    static unsigned char bytes[READ_SIZE];
    if (t->pending.size) {
        if (write_log(t, t->pending.data, t->pending.size) != 0) return 1;
        t->pending.size = 0;
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
        return 0;
    }
    if (log_or_keep(t, bytes, (size_t)n)) tell_all_output(t);
    return 1;
}

// After the leader ended: its tree is killed, the rest of the pipe is read, then it has ended.
// While the disk is full the tree is killed all the same, and the rest waits.
static void drain(struct task* t, uint64_t now) {
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

static void reap(void) {
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

// Starts the leader in its own session, dying with us. Returns 0 or errno.
static int spawn(struct task* t, const char* cwd, char** argv, char** env) {
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
        if (!is_this_program(program))
            give_up_mounting();  // a launcher mounts, and gives it up then
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

// ---- requests ----

static char** get_list_here(struct reader* r) {
    uint32_t count = get32(r);
    if (count > MAX_FRAME / 4) r->bad = 1;
    if (r->bad) count = 0;
    char** list = must(calloc((size_t)count + 1, sizeof *list));
    for (uint32_t i = 0; i < count; ++i) list[i] = get_text_here(r);
    return list;
}

static unsigned char* spare_frames[16];
static unsigned spare_count;

static unsigned char* take_frame(size_t size) {
    if (size > FRAME_SIZE) return must(malloc(size));
    return spare_count ? spare_frames[--spare_count] : must(malloc(FRAME_SIZE));
}

static void free_start(struct start* s) {
    free(s->argv);
    free(s->env);
    if (s->frame_size <= FRAME_SIZE && spare_count < sizeof spare_frames / sizeof *spare_frames)
        spare_frames[spare_count++] = s->frame;
    else
        free(s->frame);
    free(s);
}

static struct start** find_waiting(const char* id) {
    struct start** s = &waiting;
    while (*s && strcmp((*s)->id, id)) s = &(*s)->next;
    return s;
}

// To every connection that gets events, and to `asker` if that is one which does not.
static void tell_start(const struct connection* asker, const char* id, uint8_t result, int error,
                       uint64_t started) {
    struct buffer b = {0};
    put_text(&b, id, strlen(id));
    put8(&b, result);
    put32(&b, (uint32_t)error);
    put64(&b, started);
    for (int i = 0; i < MAX_CONNECTIONS; ++i)
        if (connections[i].fd >= 0 && (connections[i].listed || &connections[i] == asker))
            queue(&connections[i], 's', &b);
    free(b.data);
}

static void drop_start(struct start** place) {
    struct start* s = *place;
    *place = s->next;
    tell_start(NULL, s->id, DROPPED, 0, 0);
    free_start(s);
}

static void start_now(struct start* s) {
    // Intent before action: after a crash here the id counts as started.
    struct task* t = add_task(must(strdup(s->id)), next_serial++);
    t->state = RUNNING;
    t->started = now_us();  // not after the spawn: it may be over by then
    t->limit = s->limit;
    int error = journal_start(t) == 0 ? spawn(t, s->cwd, s->argv, s->env) : ENOSPC;
    if (error) {
        // It never ran; the id stays refused, as every id that was asked for once.
        put_forget(&journal_out, t->serial, hash_of(s->id));
        journal_due = 1;
        remember_forgotten(hash_of(s->id));
        remove_task(t);
        tell_start(NULL, s->id, FAILED, error, 0);
        return;
    }
    t->sample_at = t->started + 200000;
    t->grace = s->grace;
    if (s->time_limit) t->stop_at = t->started + s->time_limit;
    log_or_keep(t, s->preamble, s->preamble_size);
    tell_start(NULL, s->id, STARTED, 0, t->started);
    if (t->log_length) tell_all_output(t);
}

static int is_fenced(void) {
    return fence && now_us() >= fence;
}

static void start_waiting(void) {
    while (waiting && !quitting && !is_fenced() && (!slots || (uint32_t)active_count() < slots)) {
        struct start* s = waiting;
        waiting = s->next;
        start_now(s);
        free_start(s);
    }
}

// The start that a frame asks for; NULL if the frame does not hold together.
static struct start* read_start(const struct reader* payload) {
    size_t size = (size_t)(payload->end - payload->at);
    struct start* s = must(calloc(1, sizeof *s));
    s->frame_size = size + 1;
    s->frame = take_frame(s->frame_size);
    memcpy(s->frame, payload->at, size);
    struct reader r = {s->frame, s->frame + size, 0};
    s->id = get_text_here(&r);
    s->cwd = get_text_here(&r);
    s->limit = get64(&r);
    s->preamble = get_bytes(&r, &s->preamble_size);
    s->argv = get_list_here(&r);
    s->env = get_list_here(&r);
    if (r.at < r.end) {
        s->time_limit = get64(&r);
        s->grace = get64(&r);
    }
    if (!r.bad && s->argv[0] && *s->id && strlen(s->id) <= MAX_ID) return s;
    free_start(s);
    return NULL;
}

static void on_start(struct connection* c, const struct reader* payload) {
    struct start* s = read_start(payload);
    if (!s) {
        // Whoever asked is told, if it can be said of what.
        struct reader r = *payload;
        char* id = get_text(&r);
        if (!r.bad && *id && strlen(id) <= MAX_ID) tell_start(c, id, FAILED, EINVAL, 0);
        free(id);
        return;
    }
    struct task* t = find(s->id);
    struct start** place = find_waiting(s->id);
    if (t || was_forgotten(s->id))
        tell_start(c, s->id, KNOWN, 0, t ? t->started : 0);
    else if (!*place) {
        *place = s;
        return start_waiting();
    }
    free_start(s);
}

static void on_list(struct connection* c) {
    // An earlier agent's: what it asked for and we have not read yet must not happen behind the new
    // one's back.
    for (int i = 0; i < MAX_CONNECTIONS; ++i)
        if (connections[i].fd >= 0 && connections[i].listed && &connections[i] != c)
            drop(&connections[i]);
    c->listed = 1;
    struct buffer b = {0};
    for (struct task* t = tasks; t; t = t->next) {
        b.size = 0;
        put_text(&b, t->id, strlen(t->id));
        put64(&b, t->serial);
        put8(&b, (uint8_t)t->state);
        put64(&b, t->started);
        put64(&b, t->log_length);
        put32(&b, t->first_segment);
        put64(&b, t->first_position);
        queue(c, 't', &b);
        if (t->state == ENDED) tell_exit(c, t);
    }
    for (struct start* s = waiting; s; s = s->next) {
        b.size = 0;
        put_text(&b, s->id, strlen(s->id));
        put64(&b, 0);
        put8(&b, WAITING);
        put64(&b, 0);
        put64(&b, 0);
        put32(&b, segment_number);
        put64(&b, 0);
        queue(c, 't', &b);
    }
    b.size = 0;
    queue(c, 'l', &b);
    free(b.data);
}

static void on_append(struct reader* r) {
    char* id = get_text(r);
    uint8_t only_if_empty = get8(r);
    uint32_t size;
    const char* bytes = get_bytes(r, &size);
    if (!r->bad && *id && strlen(id) <= MAX_ID) {
        struct task* t = find(id);
        if (!t) {
            t = add_task(must(strdup(id)), next_serial++);
            t->state = WORDS;
            put_start(&journal_out, t, 'A');
            journal_due = 1;
        }
        if (!only_if_empty || !(t->log_length || t->pending.size)) log_or_keep(t, bytes, size);
        tell_all_output(t);
    }
    free(id);
}

static void on_forget(struct reader* r) {
    char* id = get_text(r);
    struct task* t = r->bad ? NULL : find(id);
    if (t && !active(t)) {
        put_forget(&journal_out, t->serial, hash_of(id));
        remember_forgotten(hash_of(id));
        remove_task(t);
        if (segment_size > SEGMENT_SIZE / 16 && !tasks) open_segment(segment_number + 1);
        remove_segments();
    }
    free(id);
}

static void request(struct connection* c, const unsigned char* bytes, size_t size) {
    struct reader r = {bytes, bytes + size, 0};
    struct buffer b = {0};
    char* id;
    struct task* t;
    switch (get8(&r)) {
        case 'H':
            put32(&b, PROTOCOL);
            put32(&b, (uint32_t)getpid());
            queue(c, 'h', &b);
            break;
        case 'S': on_start(c, &r); break;
        case 'N':
            slots = get32(&r);
            start_waiting();
            break;
        case 'L': on_list(c); break;
        case 'A': on_append(&r); break;
        case 'F': on_forget(&r); break;
        case 'K': {
            id = get_text(&r);
            uint32_t number = get32(&r);
            t = r.bad ? NULL : find(id);
            if (!r.bad && *find_waiting(id))
                drop_start(find_waiting(id));
            else if (t && active(t) && number > 0 && number < 65)
                signal_tree(t, (int)number);
            free(id);
            break;
        }
        case 'T': {
            id = get_text(&r);
            uint32_t keep = get32(&r);
            t = r.bad ? NULL : find(id);
            if (t && r.at < r.end) {
                uint64_t delivered = get64(&r);
                if (!r.bad && delivered > t->delivered && delivered <= t->log_length)
                    t->delivered = delivered;
            }
            if (t && keep > t->first_segment && keep <= segment_number) {
                t->first_segment = keep;
                t->first_position = 0;
                remove_segments();
            }
            free(id);
            break;
        }
        case 'D':
            fence = fence_at = get64(&r);
            start_waiting();
            break;
        case 'Q': quitting = 1; break;
        default: drop(c); break;
    }
    free(b.data);
}

static void receive(struct connection* c) {
    static unsigned char bytes[READ_SIZE];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return drop(c);
    put(&c->in, bytes, (size_t)n);
    size_t at = 0;
    while (c->fd >= 0 && c->in.size - at >= 4) {
        uint32_t length;
        memcpy(&length, c->in.data + at, 4);
        if (length < 1 || length > MAX_FRAME) return drop(c);
        if (c->in.size - at - 4 < length) break;
        request(c, c->in.data + at + 4, length);
        at += 4 + length;
    }
    if (c->fd < 0) return;
    memmove(c->in.data, c->in.data + at, c->in.size - at);
    c->in.size -= at;
}

static void accept_one(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == getuid())
        for (int i = 0; i < MAX_CONNECTIONS; ++i)
            if (connections[i].fd < 0) {
                connections[i].fd = fd;
                return;
            }
    close(fd);
}

// ---- life ----

// What an earlier supervisor left running. Its leaders died with it; the rest carries the marker.
static void kill_leftovers(void) {
    uint64_t begin = now_us();
    // Two looks that find nothing: a process has no environment to be known by in the moment of its
    // exec.
    int clean = 0;
    while (clean < 2 && now_us() - begin < 10 * 1000000) {
        int left = 0;
        int scanned = 0;
        for (struct task* t = tasks; t; t = t->next) {
            if (t->state != RUNNING) continue;
            t->pid = 0;
            if (!scanned++) scan();
            if (!find_members(t, 1)) continue;
            for (size_t i = 0; i < process_count; ++i)
                if (processes[i].member) kill(processes[i].pid, SIGKILL);
            left = 1;
        }
        if (scanned == 0) break;
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
        put_end(&journal_out, t);
    }
    if (journal_flush() != 0) die("exits.journal");
}

static void kill_everything(void) {
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

// The milliseconds to wait for that time, at most `longest`.
static int64_t wait_until(uint64_t time, uint64_t now, int64_t longest) {
    if (time <= now) return 0;
    uint64_t wait = (time - now) / 1000 + 1;
    return wait < (uint64_t)longest ? (int64_t)wait : longest;
}

int main(int argc, char** argv) {
    if (argc > 2 && !strcmp(argv[1], "launch")) return launch(argc, argv);
    if (argc != 2 && argc != 3) {
        dprintf(2, "usage: turnout-supervisor FOLDER [LOG-LIMIT]\n");
        return 2;
    }
    if (argc == 3) log_limit = strtoull(argv[2], NULL, 10);
    umask(077);
    // What our starter ignores, its tasks must not: `yes | head` ends by SIGPIPE.
    for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
    if (chdir(argv[1]) != 0) die(argv[1]);
    int lock = open("supervisor.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0) die("supervisor.lock");
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) return 3;  // one serves this folder already

    for (int i = 0; i < MAX_CONNECTIONS; ++i) connections[i].fd = -1;
    read_journal();
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
    char children[64];
    snprintf(children, sizeof children, "/proc/self/task/%d/children", getpid());
    children_file = open(children, O_RDONLY | O_CLOEXEC);
    childless = 1;

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
        int running = 0, draining = 0, stalled = journal_out.size != 0;
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
        if (fence && (running || waiting)) wait = wait_until(fence_at, now, wait);
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
        if (fence && (running || waiting) && now >= fence_at) {
            for (struct task* t = tasks; t; t = t->next)
                if (t->state == RUNNING) {
                    t->flags |= FENCED;
                    signal_tree(t, SIGKILL);
                }
            while (waiting) drop_start(&waiting);
            fence_at = now + KILL_AGAIN_US;
        }
        if (running && now >= next_sample) sample(now);
        if (now >= next_stop)
            for (struct task* t = tasks; t; t = t->next) keep_time(t, now);
        flush_all(ready <= 0);
        if (journal_size > JOURNAL_SIZE) rewrite_journal();
        int connected = 0;
        for (int i = 0; i < MAX_CONNECTIONS; ++i) connected |= connections[i].fd >= 0;
        if (!running && !draining && !connected && elapsed(now, idle_since) > IDLE_US) quitting = 1;
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
