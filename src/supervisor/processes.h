// The machine's processes, as /proc tells of them: who hangs under whom, which carry a task's
// marker, and how much memory those use that are marked as members of it. And the program of a new
// one.
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "bytes.h"
#include "launch.h"

struct process {
    pid_t pid, parent, session;
    uint64_t rss;
    char member, stray;
    char launcher;  // of several processes: it ends by itself when they have ended
};
static struct process* processes;
static size_t process_count, process_room;

static inline size_t read_file(const char* path, char* into, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    size_t size = 0;
    ssize_t n;
    while (size < room && (n = read(fd, into + size, room - size)) > 0) size += (size_t)n;
    close(fd);
    return size;
}

static inline void scan(void) {
    process_count = 0;
    DIR* dir = opendir("/proc");
    if (!dir) return;
    struct dirent* entry;
    long page = sysconf(_SC_PAGESIZE);
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
        char path[300], text[1024];
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        size_t size = read_file(path, text, sizeof text - 1);
        text[size] = 0;
        char* after = strrchr(text, ')');
        char status;
        int parent, session;
        long long rss;
        if (!after || sscanf(after + 1,
                             " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                             "%*d %*d %*u %*u %lld",
                             &status, &parent, &session, &rss) != 4)
            continue;
        if (status == 'Z' || status == 'X') continue;
        if (process_count == process_room) {
            process_room = process_room * 2 + 64;
            processes = (struct process*)must(realloc(processes, process_room * sizeof *processes));
        }
        struct process found = {atoi(entry->d_name),
                                parent,
                                session,
                                (uint64_t)(rss > 0 ? rss : 0) * (uint64_t)page,
                                0,
                                0,
                                0};
        found.launcher = strstr(text, "(" LAUNCHER_NAME ")") != NULL;
        processes[process_count++] = found;
    }
    closedir(dir);
}

// Whether that folder is the one that we serve.
static inline int is_own_folder(const char* folder) {
    struct stat theirs, ours;
    return stat(folder, &theirs) == 0 && stat(".", &ours) == 0 && theirs.st_dev == ours.st_dev &&
           theirs.st_ino == ours.st_ino;
}

// Whether /proc/PID/environ has exactly "TURNOUT_ATTEMPT=id", and TURNOUT_NODE_FOLDER is ours: the
// nodes of one attempt may be on one machine, and so may two servers that know an attempt of that
// name.
static inline int has_marker(pid_t pid, const char* id) {
    static char text[256 << 10];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    size_t size = read_file(path, text, sizeof text - 1);
    text[size] = 0;
    int found = 0;
    const char* folder = NULL;
    for (size_t at = 0; at < size; at += strlen(text + at) + 1) {
        found =
            found || (!strncmp(text + at, "TURNOUT_ATTEMPT=", 16) && !strcmp(text + at + 16, id));
        if (!strncmp(text + at, "TURNOUT_NODE_FOLDER=", 20)) folder = text + at + 20;
    }
    return found && folder && is_own_folder(folder);
}

static inline uint64_t proportional_memory(void) {
    uint64_t total = 0;
    for (size_t i = 0; i < process_count; ++i) {
        if (!processes[i].member) continue;
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

// The program as execvp would find it, by the PATH that the task gets. NULL and errno if none.
static inline char* resolve(const char* name, char** env, const char* cwd) {
    char* path = (char*)must(malloc(PATH_MAX));
    if (strchr(name, '/')) {
        int n = name[0] == '/' ? snprintf(path, PATH_MAX, "%s", name)
                               : snprintf(path, PATH_MAX, "%s/%s", cwd, name);
        if (n < PATH_MAX) return path;
        free(path);
        errno = ENAMETOOLONG;
        return NULL;
    }
    const char* list = "/usr/local/bin:/usr/bin:/bin";
    for (char** e = env; *e; ++e)
        if (!strncmp(*e, "PATH=", 5)) list = *e + 5;
    int denied = 0;
    for (const char* at = list;; ++at) {
        const char* end = strchrnul(at, ':');
        int n = end == at ? snprintf(path, PATH_MAX, "%s/%s", cwd, name)
                          : snprintf(path, PATH_MAX, "%.*s/%s", (int)(end - at), at, name);
        struct stat st;
        if (n < PATH_MAX && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            if (access(path, X_OK) == 0) return path;
            denied = 1;
        }
        if (!*end) break;
        at = end;
    }
    free(path);
    errno = denied ? EACCES : ENOENT;
    return NULL;
}
