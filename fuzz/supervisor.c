// What an agent, or whoever has the socket, may send to a supervisor: any frames, in any order. The
// supervisor's own files, but for the calls that would start or end a process.
//
// The first byte of the input chooses: the rest is a stream of frames; or a start is made of it,
// with texts that are empty, of one byte, or as long as there is, and must be read as it was
// written; or it is the text of what a log must not show.
#define _GNU_SOURCE
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

static pid_t no_process(void) {
    return -1;
}
static int no_signal(pid_t pid, int number) {
    (void)pid, (void)number;
    return 0;
}
#define vfork no_process
#define kill no_signal
#define main supervisor_main
#include "supervisor/connections.c"
#include "supervisor/journal.c"
#include "supervisor/limits.c"
#include "supervisor/log.c"
#include "supervisor/mask.c"
#include "supervisor/processes.c"
#include "supervisor/requests.c"
#include "supervisor/supervisor.c"
#include "supervisor/tasks.c"
#undef main
int launch(int argc, char** argv) {
    (void)argc, (void)argv;
    return 0;
}
int can_close(int argc, char** argv) {
    return launch(argc, argv);
}

static void expect(int holds, const char* what) {
    if (holds) return;
    dprintf(2, "the supervisor's decoder: %s\n", what);
    abort();
}

static char folder[] = "/tmp/turnout-fuzz-XXXXXX";
static void clean_up(void) {
    unlink("exits.journal");
    unlink("log-00000001.segment");
    unlink("log-00000002.segment");
    rmdir(folder);
}

static void begin(void) {
    static int begun;
    if (begun++) return;
    atexit(clean_up);
    if (!mkdtemp(folder) || chdir(folder) != 0) die(folder);
    for (int i = 0; i < MAX_CONNECTIONS; ++i) connections[i].fd = -1;
    own_pid = getpid();
    dev_null = open("/dev/null", O_RDWR | O_CLOEXEC);
    childless = 1;
}

// Everything is as it was in the beginning; no file of an earlier input is left.
static void reset(void) {
    while (tasks) remove_task(tasks);
    while (waiting) {
        struct start* s = waiting;
        waiting = s->next;
        free_start(s);
    }
    for (int i = 0; i < MAX_CONNECTIONS; ++i)
        if (connections[i].fd >= 0) drop(&connections[i]);
    if (journal >= 0) close(journal);
    journal_out.size = 0;
    unlink("exits.journal");
    lowest_segment = 0;
    if (open_segment(1) != 0 || ftruncate(segment, 0) != 0) die("segment");
    read_journal(0);
    slots = 0;
    fence = 0;
    quitting = 0;
}

// A number of texts, each as long as the next byte of the input says.
struct source {
    const unsigned char *at, *end;
};
static const char* next_text(struct source* from, size_t* size) {
    static char text[MAX_FRAME];
    unsigned kind = from->at < from->end ? *from->at++ : 0;
    *size = kind < 64 ? 0 : kind < 128 ? 1 : kind < 250 ? kind : (size_t)(kind - 249) << 17;
    memset(text, 'a' + (int)(kind % 26), *size);
    return text;
}

static void round_trip(struct source from) {
    struct buffer b = {0};
    size_t size;
    struct buffer texts = {0};  // as they must come out again: NUL-terminated
    const char* text = next_text(&from, &size);
    put_text(&b, text, size);
    put(&texts, text, size), put8(&texts, 0);
    int id_fits = size > 0 && size <= MAX_ID;
    text = next_text(&from, &size);
    put_text(&b, text, size);
    put(&texts, text, size), put8(&texts, 0);
    put64(&b, 7);
    put_text(&b, "", 0);
    uint32_t counts[2];
    for (int list = 0; list < 2; ++list) {
        counts[list] = from.at < from.end ? *from.at++ % 8 : 0;
        put32(&b, counts[list]);
        for (uint32_t i = 0; i < counts[list]; ++i) {
            text = next_text(&from, &size);
            put_text(&b, text, size);
            put(&texts, text, size), put8(&texts, 0);
        }
    }
    put64(&b, 8);
    put64(&b, 9);
    text = next_text(&from, &size);
    if (size > 0) put_text(&b, text, size);  // it may be left out
    put(&texts, text, size), put8(&texts, 0);
    struct reader r = {b.data, b.data + b.size, 0};
    struct start* s = read_start(&r);
    expect(!s == !(id_fits && counts[0] > 0),
           "a start is taken if it has an id and a word, and only then");
    if (s) {
        const char* expected = (const char*)texts.data;
        char* firsts[2] = {s->id, s->cwd};
        for (int i = 0; i < 2; ++i, expected += strlen(expected) + 1)
            expect(!strcmp(expected, firsts[i]), "id and folder");
        char** lists[2] = {s->argv, s->env};
        for (int list = 0; list < 2; ++list) {
            uint32_t i = 0;
            for (; lists[list][i]; ++i, expected += strlen(expected) + 1)
                expect(!strcmp(expected, lists[list][i]), "a word of a list");
            expect(i == counts[list], "the number of words");
        }
        expect(s->limit == 7 && s->time_limit == 8 && s->grace == 9, "the numbers");
        expect(!strcmp(expected, s->masks), "the masks");
        free_mask(mask_of(s->masks));
        free_start(s);
    }
    free(b.data);
    free(texts.data);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 1) return 0;
    begin();
    reset();
    if (data[0] & 128) {  // any text of masks, and any output
        char* words = (char*)must(calloc(size, 1));
        memcpy(words, data + 1, size - 1);
        struct mask* m = mask_of(words);
        struct buffer told = {0};
        if (m) {
            mask_bytes(m, data, size, 0, &told);
            mask_bytes(m, data, size, 1, &told);
        }
        free_mask(m);
        free(told.data);
        free(words);
        return 0;
    }
    if (data[0] & 1) {
        round_trip((struct source){data + 1, data + size});
        return 0;
    }
    connections[0].fd = dup(dev_null);
    struct buffer copy = {0};  // of its own, so that a read beyond its end is seen
    for (size_t at = 1; size - at >= 4 && connections[0].fd >= 0;) {
        uint32_t length;
        memcpy(&length, data + at, 4);
        if (length < 1 || length > size - at - 4) break;
        copy.size = 0;
        free(copy.data);
        copy.data = must(malloc(length));
        memcpy(copy.data, data + at + 4, length);
        request(&connections[0], copy.data, length);
        at += 4 + length;
    }
    free(copy.data);
    flush_all(1);
    // What it wrote down it must be able to read.
    while (tasks) remove_task(tasks);
    close(journal);
    read_journal(0);
    return 0;
}
