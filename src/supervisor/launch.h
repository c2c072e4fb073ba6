// `turnout-supervisor launch …`, see launch.c.
#pragma once

#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// What a launcher of several processes is called in /proc.
#define LAUNCHER_NAME "turnout-launch"

int launch(int argc, char** argv);

// Whether `program` is the executable that runs here. System calls only.
static inline int is_this_program(const char* program) {
    static char own[4096];
    if (!own[0] && readlink("/proc/self/exe", own, sizeof own - 1) < 0) return 0;
    return !strcmp(program, own);
}

// From its next exec on this process, root or not, cannot mount: what a task mounts over its folder
// would be taken for its own. System calls only: it runs after vfork, too.
static inline void give_up_mounting(void) {
    // As linux/capability.h has them, which musl does not bring.
    enum { SYS_ADMIN = 21, VERSION_3 = 0x20080522 };
    struct {
        uint32_t version;
        int pid;
    } header = {VERSION_3, 0};
    struct {
        uint32_t effective, permitted, inheritable;
    } sets[2];
    prctl(PR_CAPBSET_DROP, SYS_ADMIN, 0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, SYS_ADMIN, 0, 0);
    if (syscall(SYS_capget, &header, sets) != 0) return;
    sets[0].inheritable &= ~(1u << SYS_ADMIN);
    syscall(SYS_capset, &header, sets);
}
