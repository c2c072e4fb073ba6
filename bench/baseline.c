// What this machine can do at best, for the benchmark table.
//
//     baseline spawn N            microseconds from posix_spawn of `echo` to its first byte, N
//     times baseline fdatasync N FILE   microseconds of an append of 4 KiB and its fdatasync, N
//     times baseline loop N K ARGV...   commands per second: N times ARGV by posix_spawn, K at a
//     time baseline once N ARGV...     microseconds from posix_spawn of ARGV to its exit, N times
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char** environ;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1e6 + at.tv_nsec / 1e3;
}

static int spawn_once(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return 1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    char* arguments[] = {"echo", "hello", NULL};
    double begin = now();
    pid_t child;
    if (posix_spawn(&child, "/bin/echo", &actions, NULL, arguments, environ) != 0) return 1;
    close(ends[1]);
    char buffer[16];
    if (read(ends[0], buffer, sizeof buffer) <= 0) return 1;
    printf("%.1f\n", now() - begin);
    close(ends[0]);
    waitpid(child, NULL, 0);
    posix_spawn_file_actions_destroy(&actions);
    return 0;
}

static int sync_once(int fd, const char* block) {
    double begin = now();
    if (write(fd, block, 4096) != 4096 || fdatasync(fd) != 0) return 1;
    printf("%.1f\n", now() - begin);
    return 0;
}

static int exit_once(char** arguments) {
    int status;
    pid_t child;
    double begin = now();
    if (posix_spawnp(&child, arguments[0], NULL, NULL, arguments, environ) != 0) return 1;
    if (waitpid(child, &status, 0) < 0 || status != 0) return 1;
    printf("%.1f\n", now() - begin);
    return 0;
}

// Nothing but processes: no pipe, no log, no record of the exit.
static int loop(int total, int in_flight, char** arguments) {
    int started = 0, ended = 0, status;
    double begin = now();
    while (ended < total) {
        while (started < total && started - ended < in_flight) {
            pid_t child;
            if (posix_spawnp(&child, arguments[0], NULL, NULL, arguments, environ) != 0) return 1;
            ++started;
        }
        if (waitpid(-1, &status, 0) < 0 || status != 0) return 1;
        ++ended;
    }
    printf("%.2f\n", total / ((now() - begin) / 1e6));
    return 0;
}

int main(int count, char** arguments) {
    int rounds = count > 2 ? atoi(arguments[2]) : 0;
    if (count == 3 && strcmp(arguments[1], "spawn") == 0) {
        for (int i = 0; i < rounds; ++i)
            if (spawn_once() != 0) return 1;
        return 0;
    }
    if (count == 4 && strcmp(arguments[1], "fdatasync") == 0) {
        int fd = open(arguments[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        char block[4096];
        memset(block, 'x', sizeof block);
        if (fd < 0) return 1;
        for (int i = 0; i < rounds; ++i)
            if (sync_once(fd, block) != 0) return 1;
        return 0;
    }
    if (count > 4 && strcmp(arguments[1], "loop") == 0)
        return loop(rounds, atoi(arguments[3]), arguments + 4);
    if (count > 3 && strcmp(arguments[1], "once") == 0) {
        for (int i = 0; i < rounds; ++i)
            if (exit_once(arguments + 3) != 0) return 1;
        return 0;
    }
    fprintf(stderr,
            "usage: baseline spawn N | fdatasync N FILE | loop N K ARGV... | once N ARGV...\n");
    return 2;
}
