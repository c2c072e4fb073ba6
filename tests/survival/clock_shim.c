/* Preloaded into the server: its wall clock is the machine's plus what the file named by
   TURNOUT_TEST_CLOCK says (microseconds, an int64). So the clock is set for one process alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t offset(void) {
    static const volatile int64_t* shared;
    if (!shared) {
        const char* path = getenv("TURNOUT_TEST_CLOCK");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void* at = fd >= 0 ? mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
        if (fd >= 0) close(fd);
        if (at == MAP_FAILED) return 0;
        shared = at;
    }
    return *shared;
}

int clock_gettime(clockid_t id, struct timespec* at) {
    static int (*real)(clockid_t, struct timespec*);
    if (!real) real = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t micros = (int64_t)at->tv_sec * 1000000 + at->tv_nsec / 1000 + offset();
        at->tv_sec = micros / 1000000;
        at->tv_nsec = micros % 1000000 * 1000;
    }
    return result;
}

int gettimeofday(struct timeval* restrict at, void* restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t* at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
