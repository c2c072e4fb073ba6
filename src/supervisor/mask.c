// Where values overlap, all that they cover is one "***"; of two that end where the next begins
// each is one. Every value is compared at every place that begins as it does: there are a few, and
// only tasks with secrets pay for it.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mask.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PATTERNS = 4096 };

struct pattern {
    unsigned char* bytes;
    size_t size;
};

struct mask {
    struct pattern* patterns;
    size_t count;
    unsigned char begins[256];  // some pattern begins with that byte
    size_t covered;             // bytes of `held`, from its beginning, that are within a value
    struct buffer held;         // of the stream, not told yet
};

static void add_pattern(struct mask* m, const void* bytes, size_t size) {
    if (size < SHORTEST_MASKED || m->count == MAX_PATTERNS) return;
    for (size_t i = 0; i < m->count; ++i)
        if (m->patterns[i].size == size && !memcmp(m->patterns[i].bytes, bytes, size)) return;
    unsigned char* copy = (unsigned char*)must(malloc(size));
    memcpy(copy, bytes, size);
    m->patterns = (struct pattern*)must(realloc(m->patterns, (m->count + 1) * sizeof *m->patterns));
    m->patterns[m->count].bytes = copy;
    m->patterns[m->count++].size = size;
    m->begins[copy[0]] = 1;
}

static int is_blank(unsigned char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void add_trimmed(struct mask* m, const unsigned char* bytes, size_t size) {
    while (size && is_blank(bytes[0])) ++bytes, --size;
    while (size && is_blank(bytes[size - 1])) --size;
    add_pattern(m, bytes, size);
}

// Whole groups of three bytes; with `all` what is left over too.
static void add_base64(struct mask* m, const unsigned char* bytes, size_t size, int all,
                       const char* last_two) {
    char digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    digits[62] = last_two[0];
    digits[63] = last_two[1];
    unsigned char* text = (unsigned char*)must(malloc(size / 3 * 4 + 4));
    size_t length = 0, at = 0;
    for (; at + 3 <= size; at += 3) {
        const unsigned v = (unsigned)bytes[at] << 16 | (unsigned)bytes[at + 1] << 8 | bytes[at + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            text[length++] = (unsigned char)digits[v >> shift & 63];
    }
    if (all && at < size) {
        const unsigned v =
            (unsigned)bytes[at] << 16 | (at + 1 < size ? (unsigned)bytes[at + 1] << 8 : 0);
        text[length++] = (unsigned char)digits[v >> 18 & 63];
        text[length++] = (unsigned char)digits[v >> 12 & 63];
        if (at + 1 < size) text[length++] = (unsigned char)digits[v >> 6 & 63];
    }
    add_pattern(m, text, length);
    explicit_bzero(text, length);
    free(text);
}

static void add_percent_encoded(struct mask* m, const unsigned char* bytes, size_t size,
                                const char* hex, const char* kept) {
    unsigned char* text = (unsigned char*)must(malloc(size * 3 + 1));
    size_t length = 0;
    for (size_t i = 0; i < size; ++i) {
        const unsigned char c = bytes[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr(kept, c))) {
            text[length++] = c;
        } else {
            text[length++] = '%';
            text[length++] = (unsigned char)hex[c >> 4];
            text[length++] = (unsigned char)hex[c & 15];
        }
    }
    add_pattern(m, text, length);
    explicit_bzero(text, length);
    free(text);
}

static void add_value(struct mask* m, const unsigned char* bytes, size_t size) {
    if (size < SHORTEST_MASKED) return;
    add_pattern(m, bytes, size);
    add_trimmed(m, bytes, size);
    for (size_t from = 0, at = 0; at <= size; ++at)  // what is said line by line
        if (at == size || bytes[at] == '\n') {
            add_trimmed(m, bytes + from, at - from);
            from = at + 1;
        }
    // In a longer text, encoded, a value stands in one of three ways.
    for (int url = 0; url < 2; ++url) {
        const char* last_two = url ? "-_" : "+/";
        add_base64(m, bytes, size, 1, last_two);
        for (size_t skip = 0; skip < 3; ++skip)
            add_base64(m, bytes + skip, size - skip, 0, last_two);
    }
    for (int path = 0; path < 2; ++path) {  // as a part of a query, and as a path
        const char* kept = path ? "-._~/" : "-._~";
        add_percent_encoded(m, bytes, size, "0123456789ABCDEF", kept);
        add_percent_encoded(m, bytes, size, "0123456789abcdef", kept);
    }
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

struct mask* mask_of(const char* words) {
    struct mask* m = (struct mask*)must(calloc(1, sizeof *m));
    for (const char* at = words; *at;) {
        const size_t length = strcspn(at, ",");
        unsigned char* value = (unsigned char*)must(malloc(length / 2 + 1));
        size_t size = 0;
        int good = length % 2 == 0;
        for (size_t i = 0; good && i < length; i += 2) {
            const int high = digit_of(at[i]), low = digit_of(at[i + 1]);
            good = high >= 0 && low >= 0;
            if (good) value[size++] = (unsigned char)(high << 4 | low);
        }
        if (good) add_value(m, value, size);
        explicit_bzero(value, size);
        free(value);
        at += length;
        if (*at) ++at;
    }
    if (m->count) return m;
    free_mask(m);
    return NULL;
}

void free_mask(struct mask* m) {
    if (!m) return;
    for (size_t i = 0; i < m->count; ++i) {
        explicit_bzero(m->patterns[i].bytes, m->patterns[i].size);
        free(m->patterns[i].bytes);
    }
    free(m->patterns);
    free(m->held.data);
    free(m);
}

void mask_bytes(struct mask* m, const void* bytes, size_t size, int last, struct buffer* out) {
    put(&m->held, bytes, size);
    if (!m->held.size) return;
    const unsigned char* const data = (const unsigned char*)m->held.data;
    const size_t end = m->held.size;
    size_t at = 0, told = 0;  // what is between them is told as it is
    for (; at < end; ++at) {
        size_t longest = 0;
        int open = 0;
        if (m->begins[data[at]])
            for (size_t i = 0; i < m->count; ++i) {
                const struct pattern* p = &m->patterns[i];
                const size_t here = p->size < end - at ? p->size : end - at;
                if (memcmp(p->bytes, data + at, here) != 0) continue;
                if (here < p->size)
                    open = 1;
                else if (p->size > longest)
                    longest = p->size;
            }
        if (open && !last) break;  // perhaps a longer one
        if (longest > m->covered) {
            if (!m->covered) {
                put(out, data + told, at - told);
                put(out, "***", 3);
            }
            m->covered = longest;
        }
        if (m->covered) {
            --m->covered;
            told = at + 1;
        }
    }
    if (at > told) put(out, data + told, at - told);
    memmove(m->held.data, data + at, end - at);
    m->held.size = end - at;
}
