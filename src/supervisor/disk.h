// How much of the disk logs may take.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/statvfs.h>

enum {
    RESERVE = 64 << 20,  // room on the disk that logs leave to others, or an eighth of a small one
    LOOK_AT_DISK = 1 << 20,  // written bytes between two looks at it
};

// Whether logs may take more of the disk. What else is on it must go on: cancels and ends are
// written down, and the server can start.
static inline int has_room(int file, size_t size) {
    static size_t written = LOOK_AT_DISK;
    static int room = 1;
    written += size;
    if (room && written < LOOK_AT_DISK) return 1;
    struct statvfs disk;
    if (fstatvfs(file, &disk) != 0) return 1;
    uint64_t all = (uint64_t)disk.f_blocks * disk.f_frsize,
             left = (uint64_t)disk.f_bavail * disk.f_frsize;
    written = 0;
    room = left >= size + (all / 8 < RESERVE ? all / 8 : RESERVE);
    return room;
}
