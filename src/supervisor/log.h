// What tasks print, in segments that they share (format: README.md).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tasks.h"

extern uint32_t segment_number;  // of the one that is written
extern uint64_t log_limit;       // see LOG_LIMIT

enum {
    LOG_LIMIT = 256 << 20,  // bytes of a task's log that the server does not have yet; more are
                            // left out
};

// Finds again how long each task's log is, and which segments it needs. A torn tail ends a segment.
void read_segments(void);
// Segments that no remembered task needs go.
void remove_segments(void);
// The same once a task was forgotten.
void remove_forgotten_log(void);

// Puts the bytes into its log. What is too far ahead of the server is counted instead. Where there
// is no room they wait here: the pipe fills, and the task waits too. Nothing is lost. Returns
// whether its log has grown.
int log_or_keep(struct task* t, const void* bytes, size_t size);
// What waits is written; 0 if nothing waits any more.
int log_pending(struct task* t);
// Says in the log what is missing there. 0, or -1 for want of room.
int tell_left_out(struct task* t);
