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
int can_close(int argc, char** argv);

// Whether that is a launcher, of this build or another: it mounts, and gives that up itself.
static inline int is_launcher(const char* program, char** argv) {
    const char* name = strrchr(program, '/');
    return name && !strncmp(name + 1, "turnout-supervisor", 18) && argv[0] && argv[1] &&
           !strcmp(argv[1], "launch");
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
