// Ids of tasks that were forgotten: they stay refused.
#pragma once

#include <stdint.h>

#include "bytes.h"

enum { FORGOTTEN = 4096 };  // the last ones

static uint64_t forgotten[FORGOTTEN];
static unsigned forgotten_count;
static uint16_t forgotten_marks[1 << 16];  // how many of them have these low bits

static inline int was_forgotten(const char* id) {
    uint64_t h = hash_of(id);
    if (!forgotten_marks[h & 0xffff]) return 0;
    unsigned count = forgotten_count < FORGOTTEN ? forgotten_count : FORGOTTEN;
    for (unsigned i = 0; i < count; ++i)
        if (forgotten[i] == h) return 1;
    return 0;
}

static inline void remember_forgotten(uint64_t hash) {
    uint64_t* place = &forgotten[forgotten_count % FORGOTTEN];
    if (forgotten_count++ >= FORGOTTEN) --forgotten_marks[*place & 0xffff];
    *place = hash;
    ++forgotten_marks[hash & 0xffff];
}
