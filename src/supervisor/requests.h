// What an agent asks for, and the starts that wait for their turn.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "connections.h"

extern int quitting;

// One frame, without its length.
void request(struct connection* c, const unsigned char* bytes, size_t size);
// Begins those whose turn it is.
void start_waiting(void);
void drop_waiting(void);
// How many wait: 0, 1, 2, or 3 for more.
int waiting_count(void);
