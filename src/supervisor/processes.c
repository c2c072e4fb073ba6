// Also read as C++, by its test.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "launch.h"

struct process* processes;
size_t process_count;
static size_t process_room;
static struct process* earlier;  // of the scan before
static size_t earlier_count, earlier_room;

static size_t read_file(const char* path, char* into, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    size_t size = 0;
    ssize_t n;
    while (size < room && (n = read(fd, into + size, room - size)) > 0) size += (size_t)n;
    close(fd);
    return size;
}

static int by_pid(const void* a, const void* b) {
    pid_t left = ((const struct process*)a)->pid, right = ((const struct process*)b)->pid;
    return (left > right) - (left < right);
}
static struct process* find_process(struct process* all, size_t count, pid_t pid) {
    struct process wanted = {0};
    wanted.pid = pid;
    return (struct process*)bsearch(&wanted, all, count, sizeof *all, by_pid);
}

static int read_process(pid_t pid, struct process* p) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    size_t size = read_file(path, text, sizeof text - 1);
    text[size] = 0;
    char* after = strrchr(text, ')');
    char status;
    int parent, session;
    long long rss;
    if (!after || sscanf(after + 1,
                         " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                         "%*d %*u %*u %lld",
                         &status, &parent, &session, &rss) != 4)
        return 0;
    if (status == 'Z' || status == 'X') return 0;
    p->parent = parent;
    p->session = session;
    p->rss = (uint64_t)(rss > 0 ? rss : 0) * (uint64_t)sysconf(_SC_PAGESIZE);
    p->launcher = strstr(text, "(" LAUNCHER_NAME ")") != NULL;
    return 1;
}

void scan(void) {
    struct process* all = earlier;
    size_t room = earlier_room;
    earlier = processes, earlier_count = process_count, earlier_room = process_room;
    processes = all, process_count = 0, process_room = room;
    DIR* dir = opendir("/proc");
    if (!dir) return;
    struct dirent* entry;
    int sorted = 1;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
        struct process found = {0};
        found.pid = atoi(entry->d_name);
        found.inode = entry->d_ino;
        const struct process* known = find_process(earlier, earlier_count, found.pid);
        if (known && known->stranger && known->inode == found.inode)
            found = *known;
        else if (!read_process(found.pid, &found))
            continue;
        if (process_count == process_room) {
            process_room = process_room * 2 + 64;
            processes = (struct process*)must(realloc(processes, process_room * sizeof *processes));
        }
        sorted = sorted && (!process_count || processes[process_count - 1].pid < found.pid);
        processes[process_count++] = found;
    }
    closedir(dir);
    if (!sorted) qsort(processes, process_count, sizeof *processes, by_pid);
}

// Whether that folder is the one that we serve.
static int is_own_folder(const char* folder) {
    struct stat theirs, ours;
    return stat(folder, &theirs) == 0 && stat(".", &ours) == 0 && theirs.st_dev == ours.st_dev &&
           theirs.st_ino == ours.st_ino;
}

// The environment that the process was begun with; its size.
static size_t environment_of(pid_t pid, const char** text) {
    static char room[256 << 10];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    size_t size = read_file(path, room, sizeof room - 1);
    room[size] = 0;
    *text = room;
    return size;
}

// Whose "TURNOUT_ATTEMPT=id" the process carries, if its TURNOUT_NODE_FOLDER is ours: the nodes of
// one attempt may be on one machine, and so may two servers that know an attempt of that name. An
// index of `roots`, or NOBODY.
static int marked_as(pid_t pid, const struct root* roots, size_t count) {
    const char *text, *folder = NULL;
    size_t size = environment_of(pid, &text);
    int found = NOBODY;
    for (size_t at = 0; at < size; at += strlen(text + at) + 1) {
        if (!strncmp(text + at, "TURNOUT_NODE_FOLDER=", 20)) folder = text + at + 20;
        if (found != NOBODY || strncmp(text + at, "TURNOUT_ATTEMPT=", 16)) continue;
        for (size_t i = 0; i < count; ++i)
            if (!roots[i].id || !strcmp(text + at + 16, roots[i].id)) found = (int)i;
    }
    return found != NOBODY && folder && is_own_folder(folder) ? found : NOBODY;
}

void find_owners(pid_t self, const struct root* roots, size_t count, int everywhere) {
    for (size_t i = 0; i < process_count; ++i) {
        struct process* p = &processes[i];
        p->owner = p->pid == self || (p->stranger && !everywhere) ? NOBODY : UNDECIDED;
        for (size_t k = 0; k < count && p->owner == UNDECIDED; ++k)
            if (roots[k].pid > 0 && (p->pid == roots[k].pid || p->session == roots[k].pid))
                p->owner = (int)k;
        if (p->owner != UNDECIDED) continue;
        if (p->parent == self && count == 1)
            p->owner = 0;
        else if (p->parent == self || everywhere)
            p->owner = marked_as(p->pid, roots, count);
        if (p->parent != self && p->owner == NOBODY) p->owner = UNDECIDED;
    }
    for (size_t i = 0; i < process_count; ++i) {
        struct process* at = &processes[i];
        int owner = NOBODY;
        char stranger = 0;
        while (at && at->owner == UNDECIDED) {
            at->owner = LOOKING;
            stranger = at->parent == 0;  // the first of all, or of a container
            at = find_process(processes, process_count, at->parent);
        }
        // Who met himself, or a parent that is not there any more, was seen half-way: he is read
        // again.
        if (at && at->owner >= 0)
            owner = at->owner;
        else if (at)
            stranger = at->stranger;
        for (at = &processes[i]; at && at->owner == LOOKING;
             at = find_process(processes, process_count, at->parent)) {
            at->owner = owner;
            at->stranger = stranger;
        }
    }
}

uint64_t proportional_memory(int owner) {
    uint64_t total = 0;
    for (size_t i = 0; i < process_count; ++i) {
        if (processes[i].owner != owner) continue;
        char path[64], text[4096];
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", processes[i].pid);
        size_t size = read_file(path, text, sizeof text - 1);
        text[size] = 0;
        char* pss = strstr(text, "\nPss:");
        unsigned long long kib = 0;
        if (pss && sscanf(pss + 5, "%llu", &kib) == 1)
            total += kib * 1024;
        else
            total += processes[i].rss;
    }
    return total;
}
