// exits.journal: which tasks were started, how they ended, and which were forgotten. What is told
// to anybody is in it before.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tasks.h"

enum { MAX_FRAME = 4 << 20 };  // no record, and no frame of a connection, is larger

// Some of the records must be in the file before anything is told.
extern int journal_due;
// An earlier one told of tasks that we do not know of.
extern int journal_lost;

// `served_before`: an earlier supervisor had this folder.
void read_journal(int served_before);
// Without what is forgotten, by rename: a crash leaves the old one or the new one.
void rewrite_journal(void);
// It has grown long: it is to be rewritten.
int journal_is_long(void);
// Records that are not in the file yet.
int journal_waits(void);
// Records go to the file together: before a task is started, and before anybody is told of them. 0,
// or -1: none of them is there.
int journal_flush(void);

// In the file when this returns 0; else it was never said.
int journal_start(const struct task* t);
// In the file with the next flush:
void journal_words(const struct task* t);  // that are all there is of it
void journal_end(const struct task* t);
void journal_forget(const struct task* t);  // its id stays refused

int was_forgotten(const char* id);
// As it is in records and frames.
void put_exit(struct buffer* b, const struct task* t);
