// The machine's processes, as /proc tells of them: who hangs under whom, which are a task's, and
// how much memory those use.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// A task, as far as its processes are concerned.
struct root {
    pid_t pid;  // its leader, whose session is named after it; 0: it has none any more
    const char* id;
    uint64_t memory;
    size_t count;
};

enum { NOBODY = -1, UNDECIDED = -2, LOOKING = -3 };

struct process {
    pid_t pid, parent, session;
    uint64_t rss, inode;
    int owner;      // the index of its root, or NOBODY
    char stranger;  // it does not hang under us, and so never will
    char launcher;  // of several processes: it ends by itself when they have ended
};
// As the last scan saw them, ascending by pid.
extern struct process* processes;
extern size_t process_count;

// Looks at every process. Of a machine's thousands nearly all are strangers, and what hangs under
// nobody of ours is never handed to us: those that were seen before are not read again. The number
// of its folder in /proc tells whether it is the same process.
void scan(void);
// Says of every process that was seen whose it is: by its session, by whom it hangs under, and what
// was handed to us (`self`) when a parent died by its marker; with `everywhere` all on this machine
// by theirs. What a task starts stays beneath us, whatever dies, so only an earlier supervisor's
// are sought there: the environment of a busy process can take long to read. Each is looked at once
// or twice, however deep the tree.
void find_owners(pid_t self, const struct root* roots, size_t count, int everywhere);
// Of the processes of one root; pages that several share count once. Slow.
uint64_t proportional_memory(int owner);
