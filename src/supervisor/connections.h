// Connections of agents: frames in and out (protocol: README.md).
#pragma once

#include <stdint.h>

#include "bytes.h"
#include "tasks.h"

enum {
    MAX_CONNECTIONS = 8,
    STARTED = 0,
    KNOWN = 1,
    FAILED = 2,
    DROPPED = 3,  // what became of a start
};

struct connection {
    int fd;      // -1: there is none
    int listed;  // gets events
    int dirty;   // "output grew" was left out
    struct buffer in, out;
    size_t sent;
};
extern struct connection connections[MAX_CONNECTIONS];

void accept_one(int listener);
// Reads what has come, and does what it asks for.
void receive(struct connection* c);
void drop(struct connection* c);
// It leaves with the next flush_all.
void queue(struct connection* c, char type, const struct buffer* payload);
// All that was queued, in one go; nothing leaves before the journal has it. What was forgotten may
// wait for a quiet moment or for the next record: at worst it is forgotten once more.
void flush_all(int quiet);
// While enough starts wait here for their turn, news may wait too: the agent hears of several
// commands at once, and has not to be woken for each. Returns the microseconds that are left of
// that wait.
uint64_t news_wait(uint64_t now);

// To all that get events.
void tell_all_output(const struct task* t);
void tell_all_exit(const struct task* t);
void tell_exit(struct connection* c, const struct task* t);
// Also to `asker` if that is one which gets none.
void tell_start(const struct connection* asker, const char* id, uint8_t result, int error,
                uint64_t started);
