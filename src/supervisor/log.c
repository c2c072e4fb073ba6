#define _GNU_SOURCE
#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "disk.h"

enum { SEGMENT_SIZE = 16 << 20 };

#define LOG_MAGIC 0x474f4c54u /* "TLOG" */

uint32_t segment_number;
uint64_t log_limit = LOG_LIMIT;
static int segment = -1;
static uint32_t lowest_segment;
static off_t segment_size;

static void segment_name(char* name, uint32_t number) {
    sprintf(name, "log-%08u.segment", number);
}

static int open_segment(uint32_t number) {
    char name[64];
    segment_name(name, number);
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    if (segment >= 0) close(segment);
    segment = fd;
    segment_number = number;
    segment_size = 0;
    return 0;
}

void remove_segments(void) {
    uint32_t keep = segment_number;
    for (struct task* t = tasks; t; t = t->next)
        if (t->first_segment < keep) keep = t->first_segment;
    if (keep <= lowest_segment) return;
    lowest_segment = keep;
    DIR* dir = opendir(".");
    if (!dir) return;
    struct dirent* entry;
    uint32_t number;
    while ((entry = readdir(dir)))
        if (sscanf(entry->d_name, "log-%8u.segment", &number) == 1 && number < keep)
            unlink(entry->d_name);
    closedir(dir);
}

void remove_forgotten_log(void) {
    if (segment_size > SEGMENT_SIZE / 16 && !tasks) open_segment(segment_number + 1);
    remove_segments();
}

void read_segments(void) {
    uint32_t last = 0;
    DIR* dir = opendir(".");
    if (!dir) die("node folder");
    struct dirent* entry;
    uint32_t number;
    while ((entry = readdir(dir))) {
        if (sscanf(entry->d_name, "log-%8u.segment", &number) != 1) continue;
        if (number > last) last = number;
        int fd = open(entry->d_name, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        struct stat st;
        off_t at = 0;
        unsigned char head[32];
        if (fstat(fd, &st) != 0) st.st_size = 0;
        while (pread(fd, head, 32, at) == 32) {
            struct reader r = {head, head + 32, 0};
            uint32_t magic = get32(&r), length = get32(&r);
            uint64_t serial = get64(&r), offset = get64(&r);
            if (magic != LOG_MAGIC || get32(&r) != crc32_of(head, 24)) break;
            if (at + 32 + (off_t)length > st.st_size) break;
            struct task* t = find_serial(serial);
            if (serial >= next_serial)
                next_serial = serial + 1;  // the machine may have lost its record
            if (t) {
                if (offset + length > t->log_length) t->log_length = offset + length;
                if (number < t->first_segment) {
                    t->first_segment = number;
                    t->first_position = (uint64_t)at;
                }
            }
            at += 32 + (off_t)length;
        }
        close(fd);
    }
    closedir(dir);
    if (open_segment(last + 1) != 0) die("log segment");
    for (struct task* t = tasks; t; t = t->next)
        if (t->first_segment > segment_number) t->first_segment = segment_number;
    remove_segments();
}

static int write_log(struct task* t, const void* bytes, size_t size) {
    if (!size) return 0;
    if (!has_room(segment, size)) return -1;
    if (segment_size >= SEGMENT_SIZE) {
        if (open_segment(segment_number + 1) != 0) return -1;
        remove_segments();
    }
    struct buffer head = {0};
    put32(&head, LOG_MAGIC);
    put32(&head, (uint32_t)size);
    put64(&head, t->serial);
    put64(&head, t->log_length);
    put32(&head, crc32_of(head.data, 24));
    put32(&head, 0);
    struct iovec parts[2] = {{head.data, 32}, {(void*)bytes, size}};
    ssize_t n;
    do n = writev(segment, parts, 2);
    while (n < 0 && errno == EINTR);
    free(head.data);
    if (n != (ssize_t)(32 + size)) {
        if (n > 0 && ftruncate(segment, segment_size) != 0) open_segment(segment_number + 1);
        return -1;
    }
    if (!t->log_length) {
        t->first_segment = segment_number;
        t->first_position = (uint64_t)segment_size;
    }
    segment_size += n;
    t->log_length += size;
    return 0;
}

int tell_left_out(struct task* t) {
    if (!t->left_out) return 0;
    char text[160];
    int size = snprintf(text, sizeof text,
                        "\nturnout: %llu bytes of the log are left out here: the server had not "
                        "taken what came before\n",
                        (unsigned long long)t->left_out);
    if (write_log(t, text, (size_t)size) != 0) return -1;
    t->left_out = 0;
    return 0;
}

int log_or_keep(struct task* t, const void* bytes, size_t size) {
    if (t->left_out || (t->log_length - t->delivered) + t->pending.size + size > log_limit) {
        if (t->log_length - t->delivered > log_limit / 2 || t->pending.size ||
            tell_left_out(t) != 0) {
            t->left_out += size;
            return 0;
        }
    }
    if (!t->pending.size && write_log(t, bytes, size) == 0) return 1;
    if (!t->pending.size) t->pending_since = now_us();
    put(&t->pending, bytes, size);
    return 0;
}

int log_pending(struct task* t) {
    if (write_log(t, t->pending.data, t->pending.size) != 0) return -1;
    t->pending.size = 0;
    return 0;
}
