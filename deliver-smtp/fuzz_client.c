/* fuzz_client.c: the fuzz twin of client.c. The input is what a server says, cut up as its octets say: an
 * octet above 0xf0 ends a run (and lets the client speak), 0xff closes the connection, 0xfe lets time pass.
 * Whatever comes, every recipient must end settled or be free for another host, what the client says must be
 * whole lines, and the message must not be there before 354. */
#include "common/arena.h"
#include "deliver-smtp/client.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAILS = 3, RCPTS = 3 };
static const char text[] = "X: y\r\n\r\n.body\r\n";

struct play {
    struct client *client;
    struct client_mail mail;
    struct client_rcpt rcpts[RCPTS];
    struct arena *arena;
    size_t mails;
    bool busy, over;
    char last;
};

static void check(bool truth) {
    if (!truth) abort();
}

static ptrdiff_t on_read(void *ctx, uint64_t at, char *to, size_t n) {
    struct play *p = ctx;
    check(p->busy && at <= sizeof text - 1);
    if (n > sizeof text - 1 - at) n = sizeof text - 1 - (size_t)at;
    memcpy(to, text + at, n);
    return (ptrdiff_t)n;
}

static void on_timer(void *ctx, int64_t ms) {
    check(ms >= 0);
}

static void begin(struct play *p) {
    check(!p->busy && !p->over);
    if (p->mails++ == MAILS) {
        client_quit(p->client);
        return;
    }
    arena_reset(p->arena);
    memset(p->rcpts, 0, sizeof p->rcpts);
    for (size_t i = 0; i < RCPTS; i++) p->rcpts[i].address = STR("r@b.test");
    p->mail =
        (struct client_mail){.size = sizeof text - 1, .rcpts = p->rcpts, .count = RCPTS, .arena = p->arena};
    p->busy = true;
    client_begin(p->client, &p->mail);
}

static void on_ready(void *ctx, const struct client_server *server) {
    check(server->greeting.n <= 200);
    begin(ctx);
}

static void on_end(void *ctx, const struct client_end *e) {
    struct play *p = ctx;
    bool all = true;
    check(p->busy);
    p->busy = false;
    for (size_t i = 0; i < RCPTS; i++) {
        all &= p->rcpts[i].settled;
        check(!p->rcpts[i].settled || str_is_print(p->rcpts[i].status.text));
    }
    check(all == (e->outcome == CLIENT_SETTLED));
    if (e->alive) begin(p);
}

static void on_over(void *ctx, const struct status *why) {
    struct play *p = ctx;
    check(!p->over && !p->busy);
    p->over = true;
}

static void listen_to(struct play *p, size_t step) {
    for (;;) {
        struct str s = client_output(p->client);
        if (!s.n) return;
        if (s.n > step) s.n = step;
        for (size_t i = 0; i < s.n; p->last = s.p[i++]) check((s.p[i] == '\n') == (p->last == '\r'));
        client_sent(p->client, s.n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct client_config config = {{"me.test", 7}, 300000};
    static const struct client_ops ops = {on_read, on_timer, on_ready, on_end, on_over};
    struct play p = {.arena = arena_new(1 << 16)};
    p.client = client_new(&config, &ops, &p);
    for (size_t at = 0, end; at < size && !p.over; at = end + 1) {
        for (end = at; end < size && data[end] <= 0xf0; end++) {
        }
        client_input(p.client, (struct str){(const char *)data + at, end - at});
        if (!p.over) listen_to(&p, end < size ? 1u + (data[end] & 7) * 40u : SIZE_MAX);
        if (end < size && data[end] == 0xff) client_lost(p.client, "closed");
        if (end < size && data[end] == 0xfe) client_expired(p.client);
    }
    client_lost(p.client, "closed");
    check(p.over && !p.busy);
    client_free(p.client);
    arena_free(p.arena);
    return 0;
}
