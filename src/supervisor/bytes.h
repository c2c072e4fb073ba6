// Bytes in and out of frames and records: a buffer that grows, a reader that remembers when it ran
// past the end, the checksums of the journal, and the clock that both use.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct buffer {
    unsigned char* data;
    size_t size, room;
};

static inline void die(const char* what) {
    dprintf(2, "turnout-supervisor: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static inline void* must(void* memory) {
    if (!memory) die("out of memory");
    return memory;
}

static inline void put(struct buffer* b, const void* bytes, size_t size) {
    if (!size) return;  // then there need be no bytes
    if (b->size + size > b->room) {
        b->room = (b->size + size) * 2 + 256;
        b->data = (unsigned char*)must(realloc(b->data, b->room));
    }
    memcpy(b->data + b->size, bytes, size);
    b->size += size;
}
static inline void put8(struct buffer* b, uint8_t v) {
    put(b, &v, 1);
}
static inline void put32(struct buffer* b, uint32_t v) {
    put(b, &v, 4);
}
static inline void put64(struct buffer* b, uint64_t v) {
    put(b, &v, 8);
}
static inline void put_text(struct buffer* b, const void* bytes, size_t size) {
    put32(b, (uint32_t)size);
    put(b, bytes, size);
}

struct reader {
    const unsigned char *at, *end;
    int bad;
};
static inline const unsigned char* get(struct reader* r, size_t size) {
    static const unsigned char zeros[8] = {0};
    if (r->bad || (size_t)(r->end - r->at) < size) {
        r->bad = 1;
        return zeros;
    }
    r->at += size;
    return r->at - size;
}
static inline uint8_t get8(struct reader* r) {
    return *get(r, 1);
}
static inline uint32_t get32(struct reader* r) {
    uint32_t v;
    memcpy(&v, get(r, 4), 4);
    return v;
}
static inline uint64_t get64(struct reader* r) {
    uint64_t v;
    memcpy(&v, get(r, 8), 8);
    return v;
}
static inline const char* get_bytes(struct reader* r, uint32_t* size) {
    *size = get32(r);
    if (r->bad || (size_t)(r->end - r->at) < *size) {
        r->bad = 1;
        *size = 0;
        return "";
    }
    r->at += *size;
    return (const char*)r->at - *size;
}
// A C string where the bytes are: it moves over its length to make room for the NUL. NUL inside is
// refused.
static inline char* get_text_here(struct reader* r) {
    uint32_t size;
    char* bytes = (char*)get_bytes(r, &size);
    if (r->bad || memchr(bytes, 0, size)) {
        r->bad = 1;
        return (char*)"";
    }
    char* text = bytes - 1;
    memmove(text, bytes, size);
    text[size] = 0;
    return text;
}
// A C string of its own; NUL inside is refused.
static inline char* get_text(struct reader* r) {
    uint32_t size;
    const char* bytes = get_bytes(r, &size);
    if (memchr(bytes, 0, size)) r->bad = 1;
    char* text = (char*)must(malloc((size_t)size + 1));
    memcpy(text, bytes, size);
    text[size] = 0;
    return text;
}

static inline uint32_t crc32_of(const void* bytes, size_t size) {
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; ++i) {
            uint32_t c = i;
            for (int k = 0; k < 8; ++k) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
            table[i] = c;
        }
    uint32_t crc = ~0u;
    const unsigned char* p = (const unsigned char*)bytes;
    while (size--) crc = table[(crc ^ *p++) & 255] ^ (crc >> 8);
    return ~crc;
}

static inline uint64_t hash_of(const char* text) {
    uint64_t h = 14695981039346656037ull;
    while (*text) h = (h ^ (unsigned char)*text++) * 1099511628211ull;
    return h;
}

static inline uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

// Unlike a plain difference: 0 when `since` was taken later than `now`.
static inline uint64_t elapsed(uint64_t now, uint64_t since) {
    return now > since ? now - since : 0;
}

// The milliseconds to wait for that time, at most `longest`.
static inline int64_t wait_until(uint64_t time, uint64_t now, int64_t longest) {
    if (time <= now) return 0;
    uint64_t wait = (time - now) / 1000 + 1;
    return wait < (uint64_t)longest ? (int64_t)wait : longest;
}

// Its length and its checksum go before it.
static inline void put_record(struct buffer* out, const struct buffer* payload) {
    put32(out, (uint32_t)payload->size);
    put32(out, crc32_of(payload->data, payload->size));
    put(out, payload->data, payload->size);
}

static inline int write_all(int fd, const void* bytes, size_t size) {
    const char* at = (const char*)bytes;
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}
