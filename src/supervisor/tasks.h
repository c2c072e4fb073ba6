// The node's tasks: started, read to the end of their output, and over. Everything lives as long as
// the process, but for what is forgotten.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "bytes.h"
#include "mask.h"

enum state { RUNNING, DRAINING, ENDED, WORDS, WAITING };  // WORDS: never started, has only log text
enum { LOST = 1, MEMORY = 2, FENCED = 4, TIMEOUT = 8, TOGETHER = 16, PROCESSES = 32 };

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
    size_t processes;       // as they were seen last
    uint64_t sample_at;     // when its memory is looked at next
    uint64_t grace;         // between TERM and KILL when its time is up
    uint64_t stop_at;       // when its time is up, and then when it is killed (again); 0: never
    struct buffer pending;  // output that did not fit on the disk
    uint64_t pending_since;
    struct mask* mask;  // what its output must not show; NULL: nothing
};

extern struct task* tasks;
extern uint64_t next_serial;
extern uint64_t idle_since;
extern int dev_null;
extern pid_t own_pid;
// How nice we are, and what we start is to be.
extern int own_nice, task_nice;
// No process hangs under us.
extern int childless;

struct task* find(const char* id);
struct task* find_serial(uint64_t serial);
struct task* add_task(char* id, uint64_t serial);
void remove_task(struct task* gone);
int active(const struct task* t);
int active_count(void);

// Starts the leader in its own session, dying with us. Returns 0 or errno.
int spawn(struct task* t, const char* cwd, char** argv, char** env);
// Reads what the pipe holds. Returns 1 if there may be more.
int read_pipe(struct task* t);
// After the leader ended: its tree is killed, the rest of the pipe is read, then it has ended.
// While the disk is full the tree is killed all the same, and the rest waits.
void drain(struct task* t, uint64_t now);
// Takes the children that have ended.
void reap(void);
// It has ended: that is written down and told.
void finish(struct task* t);
