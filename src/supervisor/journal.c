#define _GNU_SOURCE
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JOURNAL_SIZE = 4 << 20 };  // then it is rewritten without what is forgotten

static const char JOURNAL_HEAD[16] = "TURNOUT-EXITS 1\n";

int journal_due;
int journal_lost;
static int journal = -1;
static struct buffer journal_out;  // records that are not in the file yet
static off_t journal_size;

// ---- ids of tasks that were forgotten: they stay refused ----

enum { FORGOTTEN = 4096 };  // the last ones

static uint64_t forgotten[FORGOTTEN];
static unsigned forgotten_count;
static uint16_t forgotten_marks[1 << 16];  // how many of them have these low bits

int was_forgotten(const char* id) {
    uint64_t h = hash_of(id);
    if (!forgotten_marks[h & 0xffff]) return 0;
    unsigned count = forgotten_count < FORGOTTEN ? forgotten_count : FORGOTTEN;
    for (unsigned i = 0; i < count; ++i)
        if (forgotten[i] == h) return 1;
    return 0;
}

static void remember_forgotten(uint64_t hash) {
    uint64_t* place = &forgotten[forgotten_count % FORGOTTEN];
    if (forgotten_count++ >= FORGOTTEN) --forgotten_marks[*place & 0xffff];
    *place = hash;
    ++forgotten_marks[hash & 0xffff];
}

// ---- records ----

void put_exit(struct buffer* b, const struct task* t) {
    put32(b, (uint32_t)t->exit_code);
    put32(b, t->signal);
    put8(b, t->flags);
    put64(b, t->started);
    put64(b, t->ended);
    put64(b, t->peak);
    put64(b, t->cpu);
    put64(b, t->log_length);
}

static void put_start(struct buffer* out, const struct task* t, char kind) {
    struct buffer b = {0};
    put8(&b, (uint8_t)kind);
    put64(&b, t->serial);
    put64(&b, t->started);
    put_text(&b, t->id, strlen(t->id));
    put_record(out, &b);
    free(b.data);
}

static void put_end(struct buffer* out, const struct task* t) {
    struct buffer b = {0};
    put8(&b, 'X');
    put64(&b, t->serial);
    put_exit(&b, t);
    put_record(out, &b);
    free(b.data);
}

static void put_forget(struct buffer* out, uint64_t serial, uint64_t hash) {
    struct buffer b = {0};
    put8(&b, 'F');
    put64(&b, serial);
    put64(&b, hash);
    put_record(out, &b);
    free(b.data);
}

int journal_flush(void) {
    if (!journal_out.size) return 0;
    if (write_all(journal, journal_out.data, journal_out.size) != 0) {
        // A torn record would hide everything behind it.
        if (ftruncate(journal, journal_size) != 0) die("exits.journal");
        return -1;
    }
    journal_size += (off_t)journal_out.size;
    journal_out.size = 0;
    journal_due = 0;
    return 0;
}

int journal_start(const struct task* t) {
    size_t before = journal_out.size;
    put_start(&journal_out, t, 'S');
    if (journal_flush() == 0) return 0;
    journal_out.size = before;
    return -1;
}

void journal_words(const struct task* t) {
    put_start(&journal_out, t, 'A');
    journal_due = 1;
}
void journal_end(const struct task* t) {
    put_end(&journal_out, t);
    journal_due = 1;
}
void journal_forget(const struct task* t) {
    put_forget(&journal_out, t->serial, hash_of(t->id));
    remember_forgotten(hash_of(t->id));
}
int journal_is_long(void) {
    return journal_size > JOURNAL_SIZE;
}
int journal_waits(void) {
    return journal_out.size != 0;
}

// ---- the file ----

void rewrite_journal(void) {
    int fd = open("exits.new", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    struct buffer all = {0};
    put(&all, JOURNAL_HEAD, 16);
    unsigned count = forgotten_count < FORGOTTEN ? forgotten_count : FORGOTTEN;
    // Each with the last serial that was given: none is ever given twice.
    for (unsigned i = 0; i < count; ++i)
        put_forget(&all, next_serial - 1, forgotten[(forgotten_count - count + i) % FORGOTTEN]);
    for (struct task* t = tasks; t; t = t->next) {
        put_start(&all, t, t->state == WORDS ? 'A' : 'S');
        if (t->state == ENDED) put_end(&all, t);
    }
    if (write_all(fd, all.data, all.size) == 0 && rename("exits.new", "exits.journal") == 0) {
        close(journal);
        journal = fd;
        journal_size = (off_t)all.size;
        journal_out.size = 0;  // it is all in there
        journal_due = 0;
    } else {
        close(fd);
        unlink("exits.new");
    }
    free(all.data);
}

void read_journal(int served_before) {
    journal = open("exits.journal", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) die("exits.journal");
    struct stat st;
    if (fstat(journal, &st) != 0) die("exits.journal");
    if (st.st_size < 16) {
        journal_lost |= served_before;
        if (ftruncate(journal, 0) != 0 || write_all(journal, JOURNAL_HEAD, 16) != 0)
            die("exits.journal");
        journal_size = 16;
        return;
    }
    unsigned char* all = must(malloc((size_t)st.st_size));
    ssize_t size = pread(journal, all, (size_t)st.st_size, 0);
    if (size < 16 || memcmp(all, JOURNAL_HEAD, 16) != 0) {
        errno = EPROTO;
        if (size >= 16 && !memcmp(all, JOURNAL_HEAD, 14))
            die("exits.journal is of another version");
        free(all);
        close(journal);
        if (rename("exits.journal", "exits.broken") != 0) die("exits.journal");
        return read_journal(1);
    }
    size_t at = 16;
    while (at + 8 <= (size_t)size) {
        uint32_t length, crc;
        memcpy(&length, all + at, 4);
        memcpy(&crc, all + at + 4, 4);
        if (length > MAX_FRAME || at + 8 + length > (size_t)size ||
            crc32_of(all + at + 8, length) != crc)
            break;
        struct reader r = {all + at + 8, all + at + 8 + length, 0};
        uint8_t kind = get8(&r);
        uint64_t serial = get64(&r);
        if (serial >= next_serial) next_serial = serial + 1;
        if (kind == 'S' || kind == 'A') {
            uint64_t started = get64(&r);
            char* id = get_text(&r);
            struct task* t = r.bad ? NULL : find(id);
            if (r.bad) {
                free(id);
            } else if (t) {  // words were said before; or it is repeated
                free(id);
                t->started = started;
                if (kind == 'S' && t->state == WORDS) t->state = RUNNING;
            } else {
                t = add_task(id, serial);
                t->started = started;
                t->state = kind == 'A' ? WORDS : RUNNING;
                t->first_segment = UINT32_MAX;  // found again by reading the segments
            }
        } else if (kind == 'X') {
            struct task* t = find_serial(serial);
            if (t) {
                t->state = ENDED;
                t->exit_code = (int32_t)get32(&r);
                t->signal = get32(&r);
                t->flags = get8(&r);
                t->started = get64(&r);
                t->ended = get64(&r);
                t->peak = get64(&r);
                t->cpu = get64(&r);
                t->log_length = get64(&r);
            }
        } else if (kind == 'F') {
            struct task* t = find_serial(serial);
            if (t) remove_task(t);
            remember_forgotten(get64(&r));
        }
        at += 8 + length;
    }
    free(all);
    journal_lost |= at < (size_t)size;
    if (at < (size_t)size && ftruncate(journal, (off_t)at) != 0) die("exits.journal");
    journal_size = (off_t)at;
}
