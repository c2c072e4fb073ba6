// What a task prints must not show the secrets that it was given: each of their values, and each
// form in which programs write them, is put as "***".
#pragma once

#include <stddef.h>

#include "bytes.h"

// Shorter values are not hidden: they would be found everywhere.
enum { SHORTEST_MASKED = 8 };

#define MASKS_VARIABLE "TURNOUT_MASKS"  // for the launcher; its processes do not get it

// Of one stream. Nothing of it outlives the process.
struct mask;

// `words`: the values in hex, with a ',' between two. NULL if there is nothing to hide; a word that
// is no hex, and what is shorter than SHORTEST_MASKED, is left out.
struct mask* mask_of(const char* words);
void free_mask(struct mask* m);

// Adds to `out` what may be told of the stream so far; `last`: nothing comes after these bytes. The
// beginning of a value at the end is held back until it is known whether it is one: what is told is
// the same however the stream was cut.
void mask_bytes(struct mask* m, const void* bytes, size_t size, int last, struct buffer* out);
