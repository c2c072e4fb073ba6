#define _GNU_SOURCE
#include "connections.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "journal.h"
#include "requests.h"

enum {
    READ_SIZE = 64 << 10,
    OUT_SOFT = 256 << 10,  // beyond it "output grew" is only remembered, not queued
    OUT_HARD = 16 << 20,   // beyond it the connection is closed: it lists again
    NEWS_US = 4000,        // how long news waits while the agent has starts in stock here
};

struct connection connections[MAX_CONNECTIONS];
static uint64_t news_since;  // there is something for the agent since then; 0 = nothing

void drop(struct connection* c) {
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    memset(c, 0, sizeof *c);
    c->fd = -1;
    idle_since = now_us();
}

static void flush(struct connection* c) {
    while (c->fd >= 0 && c->sent < c->out.size) {
        ssize_t n =
            send(c->fd, c->out.data + c->sent, c->out.size - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) return drop(c);
        c->sent += (size_t)n;
    }
    c->out.size = c->sent = 0;
}

void queue(struct connection* c, char type, const struct buffer* payload) {
    if (c->fd < 0) return;
    if (c->out.size - c->sent > OUT_HARD) return drop(c);
    put32(&c->out, (uint32_t)payload->size + 1);
    put8(&c->out, (uint8_t)type);
    put(&c->out, payload->data, payload->size);
    if (!news_since) news_since = now_us();
}

static void tell_output(struct connection* c, const struct task* t) {
    if (c->fd < 0 || !c->listed) return;
    if (c->out.size - c->sent > OUT_SOFT) {
        c->dirty = 1;
        return;
    }
    struct buffer b = {0};
    put_text(&b, t->id, strlen(t->id));
    put64(&b, t->serial);
    put64(&b, t->log_length);
    put32(&b, t->first_segment);
    put64(&b, t->first_position);
    queue(c, 'o', &b);
    free(b.data);
}

void tell_all_output(const struct task* t) {
    for (int i = 0; i < MAX_CONNECTIONS; ++i) tell_output(&connections[i], t);
}

void tell_exit(struct connection* c, const struct task* t) {
    struct buffer b = {0};
    put_text(&b, t->id, strlen(t->id));
    put_exit(&b, t);
    queue(c, 'x', &b);
    free(b.data);
}

void tell_all_exit(const struct task* t) {
    for (int i = 0; i < MAX_CONNECTIONS; ++i)
        if (connections[i].fd >= 0 && connections[i].listed) tell_exit(&connections[i], t);
}

void tell_start(const struct connection* asker, const char* id, uint8_t result, int error,
                uint64_t started) {
    struct buffer b = {0};
    put_text(&b, id, strlen(id));
    put8(&b, result);
    put32(&b, (uint32_t)error);
    put64(&b, started);
    for (int i = 0; i < MAX_CONNECTIONS; ++i)
        if (connections[i].fd >= 0 && (connections[i].listed || &connections[i] == asker))
            queue(&connections[i], 's', &b);
    free(b.data);
}

uint64_t news_wait(uint64_t now) {
    if (quitting || !news_since || waiting_count() < 3) return 0;
    uint64_t passed = elapsed(now, news_since);
    return passed < NEWS_US ? NEWS_US - passed : 0;
}

void flush_all(int quiet) {
    if ((journal_due || quiet) && journal_flush() != 0) return;
    if (news_wait(now_us())) return;
    news_since = 0;
    for (int i = 0; i < MAX_CONNECTIONS; ++i) {
        struct connection* c = &connections[i];
        flush(c);
        if (c->fd < 0 || !c->dirty || c->out.size) continue;
        c->dirty = 0;
        for (struct task* t = tasks; t; t = t->next) tell_output(c, t);
        flush(c);
    }
}

void receive(struct connection* c) {
    static unsigned char bytes[READ_SIZE];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return drop(c);
    put(&c->in, bytes, (size_t)n);
    size_t at = 0;
    while (c->fd >= 0 && c->in.size - at >= 4) {
        uint32_t length;
        memcpy(&length, c->in.data + at, 4);
        if (length < 1 || length > MAX_FRAME) return drop(c);
        if (c->in.size - at - 4 < length) break;
        request(c, c->in.data + at + 4, length);
        at += 4 + length;
    }
    if (c->fd < 0) return;
    memmove(c->in.data, c->in.data + at, c->in.size - at);
    c->in.size -= at;
}

void accept_one(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == getuid())
        for (int i = 0; i < MAX_CONNECTIONS; ++i)
            if (connections[i].fd < 0) {
                connections[i].fd = fd;
                return;
            }
    close(fd);
}
