#define _GNU_SOURCE
#include "requests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal.h"
#include "limits.h"
#include "log.h"

enum {
    PROTOCOL = 2,
    MAX_ID = 1024,
    FRAME_SIZE = 8 << 10,  // of a usual start: its memory is used again
};

// A start that waits for its turn. Only in memory: if we die, it was never started.
struct start {
    struct start* next;
    unsigned char* frame;  // what the pointers below point into
    size_t frame_size;
    char *id, *cwd;
    uint64_t limit, time_limit, grace;
    const char* preamble;
    uint32_t preamble_size;
    char **argv, **env;
    const char* masks;
};

int quitting;
static struct start* waiting;
static uint32_t slots;  // so many tasks at a time; 0: no limit

// ---- starts ----

static char** get_list_here(struct reader* r) {
    uint32_t count = get32(r);
    if (count > MAX_FRAME / 4) r->bad = 1;
    if (r->bad) count = 0;
    char** list = must(calloc((size_t)count + 1, sizeof *list));
    for (uint32_t i = 0; i < count; ++i) list[i] = get_text_here(r);
    return list;
}

static unsigned char* spare_frames[16];
static unsigned spare_count;

static unsigned char* take_frame(size_t size) {
    if (size > FRAME_SIZE) return must(malloc(size));
    return spare_count ? spare_frames[--spare_count] : must(malloc(FRAME_SIZE));
}

static void free_start(struct start* s) {
    free(s->argv);
    free(s->env);
    if (s->frame_size <= FRAME_SIZE && spare_count < sizeof spare_frames / sizeof *spare_frames)
        spare_frames[spare_count++] = s->frame;
    else
        free(s->frame);
    free(s);
}

static struct start** find_waiting(const char* id) {
    struct start** s = &waiting;
    while (*s && strcmp((*s)->id, id)) s = &(*s)->next;
    return s;
}

static void drop_start(struct start** place) {
    struct start* s = *place;
    *place = s->next;
    tell_start(NULL, s->id, DROPPED, 0, 0);
    free_start(s);
}

static void start_now(struct start* s) {
    // Intent before action: after a crash here the id counts as started.
    struct task* t = add_task(must(strdup(s->id)), next_serial++);
    t->state = RUNNING;
    t->started = now_us();  // not after the spawn: it may be over by then
    t->limit = s->limit;
    int error = journal_start(t) == 0 ? spawn(t, s->cwd, s->argv, s->env) : ENOSPC;
    if (error) {
        // It never ran; the id stays refused, as every id that was asked for once.
        journal_forget(t);
        journal_due = 1;
        remove_task(t);
        tell_start(NULL, s->id, FAILED, error, 0);
        return;
    }
    t->sample_at = t->started + 200000;
    t->grace = s->grace;
    if (s->time_limit) t->stop_at = t->started + s->time_limit;
    t->mask = mask_of(s->masks);
    log_or_keep(t, s->preamble, s->preamble_size);
    tell_start(NULL, s->id, STARTED, 0, t->started);
    if (t->log_length) tell_all_output(t);
}

void start_waiting(void) {
    while (waiting && !quitting && !is_fenced() && (!slots || (uint32_t)active_count() < slots)) {
        struct start* s = waiting;
        waiting = s->next;
        start_now(s);
        free_start(s);
    }
}

void drop_waiting(void) {
    while (waiting) drop_start(&waiting);
}

int waiting_count(void) {
    int count = 0;
    for (const struct start* s = waiting; s && count < 3; s = s->next) ++count;
    return count;
}

// The start that a frame asks for; NULL if the frame does not hold together.
static struct start* read_start(const struct reader* payload) {
    size_t size = (size_t)(payload->end - payload->at);
    struct start* s = must(calloc(1, sizeof *s));
    s->frame_size = size + 1;
    s->frame = take_frame(s->frame_size);
    memcpy(s->frame, payload->at, size);
    struct reader r = {s->frame, s->frame + size, 0};
    s->id = get_text_here(&r);
    s->cwd = get_text_here(&r);
    s->limit = get64(&r);
    s->preamble = get_bytes(&r, &s->preamble_size);
    s->argv = get_list_here(&r);
    s->env = get_list_here(&r);
    if (r.at < r.end) {
        s->time_limit = get64(&r);
        s->grace = get64(&r);
    }
    s->masks = r.at < r.end ? get_text_here(&r) : "";
    if (!r.bad && s->argv[0] && *s->id && strlen(s->id) <= MAX_ID) return s;
    free_start(s);
    return NULL;
}

// ---- requests ----

static void on_start(struct connection* c, const struct reader* payload) {
    struct start* s = read_start(payload);
    if (!s) {
        // Whoever asked is told, if it can be said of what.
        struct reader r = *payload;
        char* id = get_text(&r);
        if (!r.bad && *id && strlen(id) <= MAX_ID) tell_start(c, id, FAILED, EINVAL, 0);
        free(id);
        return;
    }
    struct task* t = find(s->id);
    struct start** place = find_waiting(s->id);
    if (t || was_forgotten(s->id))
        tell_start(c, s->id, KNOWN, 0, t ? t->started : 0);
    else if (!*place) {
        *place = s;
        return start_waiting();
    }
    free_start(s);
}

static void on_list(struct connection* c) {
    // An earlier agent's: what it asked for and we have not read yet must not happen behind the new
    // one's back.
    for (int i = 0; i < MAX_CONNECTIONS; ++i)
        if (connections[i].fd >= 0 && connections[i].listed && &connections[i] != c)
            drop(&connections[i]);
    c->listed = 1;
    struct buffer b = {0};
    for (struct task* t = tasks; t; t = t->next) {
        b.size = 0;
        put_text(&b, t->id, strlen(t->id));
        put64(&b, t->serial);
        put8(&b, (uint8_t)t->state);
        put64(&b, t->started);
        put64(&b, t->log_length);
        put32(&b, t->first_segment);
        put64(&b, t->first_position);
        queue(c, 't', &b);
        if (t->state == ENDED) tell_exit(c, t);
    }
    for (struct start* s = waiting; s; s = s->next) {
        b.size = 0;
        put_text(&b, s->id, strlen(s->id));
        put64(&b, 0);
        put8(&b, WAITING);
        put64(&b, 0);
        put64(&b, 0);
        put32(&b, segment_number);
        put64(&b, 0);
        queue(c, 't', &b);
    }
    b.size = 0;
    queue(c, 'l', &b);
    free(b.data);
}

static void on_append(struct reader* r) {
    char* id = get_text(r);
    uint8_t only_if_empty = get8(r);
    uint32_t size;
    const char* bytes = get_bytes(r, &size);
    if (!r->bad && *id && strlen(id) <= MAX_ID) {
        struct task* t = find(id);
        if (!t) {
            t = add_task(must(strdup(id)), next_serial++);
            t->state = WORDS;
            journal_words(t);
        }
        if (!only_if_empty || !(t->log_length || t->pending.size)) log_or_keep(t, bytes, size);
        tell_all_output(t);
    }
    free(id);
}

static void on_forget(struct reader* r) {
    char* id = get_text(r);
    struct task* t = r->bad ? NULL : find(id);
    if (t && !active(t)) {
        journal_forget(t);
        remove_task(t);
        remove_forgotten_log();
    }
    free(id);
}

void request(struct connection* c, const unsigned char* bytes, size_t size) {
    struct reader r = {bytes, bytes + size, 0};
    struct buffer b = {0};
    char* id;
    struct task* t;
    switch (get8(&r)) {
        case 'H':
            put32(&b, PROTOCOL);
            put32(&b, (uint32_t)getpid());
            queue(c, 'h', &b);
            break;
        case 'S': on_start(c, &r); break;
        case 'N':
            slots = get32(&r);
            start_waiting();
            break;
        case 'L': on_list(c); break;
        case 'A': on_append(&r); break;
        case 'F': on_forget(&r); break;
        case 'K': {
            id = get_text(&r);
            uint32_t number = get32(&r);
            t = r.bad ? NULL : find(id);
            if (!r.bad && *find_waiting(id))
                drop_start(find_waiting(id));
            else if (t && active(t) && number > 0 && number < 65)
                signal_tree(t, (int)number);
            free(id);
            break;
        }
        case 'T': {
            id = get_text(&r);
            uint32_t keep = get32(&r);
            t = r.bad ? NULL : find(id);
            if (t && r.at < r.end) {
                uint64_t delivered = get64(&r);
                if (!r.bad && delivered > t->delivered && delivered <= t->log_length)
                    t->delivered = delivered;
            }
            if (t && keep > t->first_segment && keep <= segment_number) {
                t->first_segment = keep;
                t->first_position = 0;
                remove_segments();
            }
            free(id);
            break;
        }
        case 'D':
            set_fence(get64(&r));
            start_waiting();
            break;
        case 'Q': quitting = 1; break;
        default: drop(c); break;
    }
    free(b.data);
}
