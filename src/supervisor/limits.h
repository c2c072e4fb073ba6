// The limits that tasks have, of memory, time and contact with the server, and the trees of
// processes on which they are put.
#pragma once

#include <stdint.h>

#include "tasks.h"

// To each process of the task. Returns how many it found.
int signal_tree(struct task* t, int number);
// Whether any process besides running leaders hangs under us. Cheap: one file at most.
int has_strays(void);
void watch_children(void);  // once, in the process whose children they will be

// So many processes a task may have, which no work needs: one that forks without end is ended
// before the machine has no more.
extern size_t process_limit;

// Looks at the memory of all tasks, and at how many processes they have.
void sample(uint64_t now);
// TERM when its time is up, KILL after the grace, with or without an agent.
void keep_time(struct task* t, uint64_t now);

// From then on nothing runs or is begun, until it is set anew.
void set_fence(uint64_t at);
int is_fenced(void);
// When the next look at it is due; UINT64_MAX: there is none.
uint64_t next_fence(void);
// What lives beyond it is killed, again and again.
void keep_fence(uint64_t now);

// What an earlier supervisor left running. Its leaders died with it; the rest carries the marker.
void kill_leftovers(void);
void kill_everything(void);
