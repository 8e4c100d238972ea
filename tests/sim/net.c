/* net.c: the simulated network: streams cut into segments that take their time, connections refused and
 * broken. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

enum { SEGMENT_MAX = 1460 * 8 };

struct segment {
    struct segment *next;
    bool fin, rst;
    size_t n;
    char bytes[];
};

struct conn {
    struct conn *next_free, *next, *prev;
    struct world *w;
    uint32_t gen;
    bool cut;                           /* the world broke it */
    bool live;                          /* not in the list of free ones */
    struct end e[2];                    /* 0: who connected */
    struct segment *first[2], *last[2]; /* on their way to e[i] */
    bool lost[2];                       /* what is sent to e[i] from now on does not arrive */
    int64_t after[2];
    int64_t delay;
    bool (*accept)(struct world *w, struct end *e, uint64_t arg);
    uint64_t arg;
};

static unsigned side_of(const struct end *e) {
    return e == &e->c->e[1];
}

struct world *end_world(const struct end *e) {
    return e->c->w;
}

bool end_was_cut(const struct end *e) {
    return e->c->cut;
}

struct str end_bytes(const struct end *e) {
    return (struct str){e->in + e->at, e->n - e->at};
}

bool end_is_alone(const struct end *e) {
    return !e->c->e[!side_of(e)].open;
}

void end_take(struct end *e, size_t n) {
    e->at += n;
    if (e->at == e->n) e->at = e->n = 0;
}

static struct conn *conn_new(struct world *w) {
    struct conn *c = w->free_conns;
    if (c) w->free_conns = c->next_free;
    else c = xmalloc(sizeof *c);
    uint32_t gen = c->gen + 1;
    *c = (struct conn){
        .w = w, .gen = gen, .live = true, .next = w->conns, .delay = between(w, 50 * NS_US, 20 * NS_MS)};
    if (c->next) c->next->prev = c;
    w->conns = c;
    c->e[0].c = c->e[1].c = c;
    c->e[1].owner = MEM_WORLD;
    w->live_conns++;
    w->count.connections++;
    return c;
}

static void segments_free(struct conn *c, unsigned side) {
    while (c->first[side]) {
        struct segment *s = c->first[side];
        c->first[side] = s->next;
        free(s);
    }
    c->last[side] = NULL;
}

/* Both ends are closed and nothing is on its way. Events that name it find another generation. */
static void sweep(struct conn *c) {
    struct world *w = c->w;
    if (!c->live || c->e[0].open || c->e[1].open || c->accept) return;
    c->live = false;
    for (unsigned i = 0; i < 2; i++) {
        segments_free(c, i);
        free(c->e[i].in);
        c->e[i].in = NULL;
    }
    if (c->prev) c->prev->next = c->next;
    else w->conns = c->next;
    if (c->next) c->next->prev = c->prev;
    c->gen++;
    c->next_free = w->free_conns;
    w->free_conns = c;
    w->live_conns--;
}

static uint64_t tag(const struct conn *c, unsigned side) {
    return (uint64_t)c->gen << 1 | side;
}

static struct end *tagged(struct conn *c, uint64_t arg) {
    return c->gen == (uint32_t)(arg >> 1) ? &c->e[arg & 1] : NULL;
}

static void tell_closed(struct end *e, const char *how) {
    if (!e->open || e->told) return;
    e->told = true;
    AS(e->owner);
    e->user->closed(e, how);
}

static void on_segment(struct world *w, void *ctx, uint64_t arg) {
    struct conn *c = ctx;
    struct end *e = tagged(c, arg);
    AS(MEM_WORLD);
    if (w->ending || !e) return;
    unsigned side = arg & 1;
    struct segment *s = c->first[side];
    if (!s) return; /* a reset has swept it away */
    c->first[side] = s->next;
    if (!s->next) c->last[side] = NULL;
    w->count.segments++;
    if (e->open && !e->told && !s->fin && !s->rst) {
        world_mix_bytes(w, s->n, (struct str){s->bytes, s->n});
        if (e->n + s->n > e->cap) e->in = xgrow(e->in, &e->cap, e->n + s->n, 1);
        memcpy(e->in + e->n, s->bytes, s->n);
        e->n += s->n;
        mem_enter(e->owner);
        e->user->readable(e);
        mem_enter(MEM_WORLD);
    } else if (e->open && s->rst) {
        tell_closed(e, "connection reset");
    } else if (e->open && s->fin) {
        tell_closed(e, NULL);
    }
    free(s);
    sweep(c);
}

static void post(struct conn *c, unsigned side, struct segment *s) {
    struct world *w = c->w;
    if (c->lost[side]) { /* something before it was: a stream has no holes */
        free(s);
        return;
    }
    int64_t at = w->now + c->delay + between(w, 0, c->delay / 4);
    if (w->o.faults && !w->calm && once_in(w, 300)) at += between(w, 0, 3 * NS_S); /* lost and sent again */
    if (at < c->after[side]) at = c->after[side];
    c->after[side] = at;
    if (c->last[side]) c->last[side]->next = s;
    else c->first[side] = s;
    c->last[side] = s;
    world_at(w, at, on_segment, c, tag(c, side));
}

void end_send(struct end *e, struct str bytes) {
    struct conn *c = e->c;
    unsigned to = !side_of(e);
    AS(MEM_WORLD);
    if (!e->open || !c->e[to].open) return; /* into the void, as the kernel would take it */
    while (bytes.n) {
        size_t n = bytes.n < SEGMENT_MAX ? bytes.n : SEGMENT_MAX;
        if (n > 1 && once_in(c->w, 8)) n = 1 + chance(c->w, (uint32_t)n - 1);
        struct segment *s = malloc(sizeof *s + n);
        if (!s) abort();
        *s = (struct segment){.n = n};
        memcpy(s->bytes, bytes.p, n);
        post(c, to, s);
        bytes = str_sub(bytes, n, bytes.n);
    }
}

static void on_writable(struct world *w, void *ctx, uint64_t arg) {
    struct end *e = tagged(ctx, arg);
    AS(e ? e->owner : MEM_WORLD);
    if (!w->ending && e && e->open && !e->told) e->user->writable(e);
}

size_t end_write(struct end *e, struct str bytes) {
    struct world *w = e->c->w;
    size_t n = bytes.n;
    if (n > 1 && w->o.faults && once_in(w, 20)) n = chance(w, (uint32_t)n);
    end_send(e, str_sub(bytes, 0, n));
    if (n < bytes.n)
        world_at(w, w->now + between(w, 0, 20 * NS_MS), on_writable, e->c, tag(e->c, side_of(e)));
    return n;
}

static void say_end(struct end *e, bool reset) {
    struct conn *c = e->c;
    AS(MEM_WORLD);
    struct segment *s = xmalloc(sizeof *s);
    s->fin = !reset;
    s->rst = reset;
    post(c, !side_of(e), s);
}

static void close_end(struct end *e, bool reset) {
    struct conn *c = e->c;
    if (!e->open) return;
    e->open = false;
    if (c->e[!side_of(e)].open) say_end(e, reset);
    segments_free(c, side_of(e));
    sweep(c);
}

void end_close(struct end *e) {
    close_end(e, false);
}

void end_abandon(struct end *e) {
    e->c->cut = true;
    close_end(e, e->n > e->at || once_in(e->c->w, 2));
}

static void on_poke(struct world *w, void *ctx, uint64_t arg) {
    struct end *e = tagged(ctx, arg);
    AS(e ? e->owner : MEM_WORLD);
    if (!w->ending && e && e->open && e->n > e->at) e->user->readable(e);
}

void end_poke(struct end *e) {
    if (e->n > e->at) world_at(e->c->w, e->c->w->now, on_poke, e->c, tag(e->c, side_of(e)));
}

/* ---- Connecting ---------------------------------------------------------------------------------------- */

static void on_answer(struct world *w, void *ctx, uint64_t arg) {
    struct end *e = tagged(ctx, arg);
    if (w->ending || !e || !e->open) return;
    AS(e->owner);
    if (((struct conn *)ctx)->e[1].open || ((struct conn *)ctx)->e[1].user) e->user->connected(e);
    else tell_closed(e, "refused");
}

static void on_syn(struct world *w, void *ctx, uint64_t arg) {
    struct conn *c = ctx;
    struct end *b = tagged(c, arg);
    AS(MEM_WORLD);
    if (w->ending || !b) return;
    bool (*accept)(struct world *, struct end *, uint64_t) = c->accept;
    c->accept = NULL;
    if (c->e[0].open) {
        /* The answer is posted first, so that it comes before what the other side says. */
        int64_t at = w->now + c->delay;
        c->after[0] = at;
        world_at(w, at, on_answer, c, tag(c, 0));
        b->open = true;
        if (!accept(w, b, c->arg)) {
            b->open = false;
            b->user = NULL;
            w->count.refusals++;
        }
    }
    sweep(c);
}

struct end *net_connect(struct world *w, const struct net_user *user, void *ctx,
                        bool (*accept)(struct world *w, struct end *e, uint64_t arg), uint64_t arg) {
    unsigned owner = mem_owner();
    AS(MEM_WORLD);
    struct conn *c = conn_new(w);
    c->e[0].owner = owner;
    c->e[0].open = true;
    c->e[0].user = user;
    c->e[0].ctx = ctx;
    c->accept = accept;
    c->arg = arg;
    /* Into a hole: no answer ever comes, or hours later. */
    int64_t hole = w->o.faults && !w->calm && once_in(w, 300) ? between(w, 0, 4000 * NS_S) : 0;
    w->count.holes += hole > 0;
    world_at(w, w->now + c->delay + hole, on_syn, c, tag(c, 1));
    return &c->e[0];
}

/* ---- Trouble ------------------------------------------------------------------------------------------- */

static void on_broken(struct world *w, void *ctx, uint64_t arg) {
    struct end *e = tagged(ctx, arg);
    if (w->ending || !e || !e->open) return;
    segments_free(e->c, (unsigned)(arg & 1));
    tell_closed(e, "connection reset");
}

void net_reset_some(struct world *w) {
    if (!w->live_conns) return;
    struct conn *c = w->conns;
    for (uint32_t skip = chance(w, w->live_conns < 40 ? (uint32_t)w->live_conns : 40); skip && c->next;
         skip--)
        c = c->next;
    c->cut = true;
    w->count.resets++;
    STORY(w, "a connection is reset");
    for (unsigned i = 0; i < 2; i++) { /* what was on its way is lost, or some of it still arrives */
        if (once_in(w, 2)) {
            segments_free(c, i);
            c->lost[i] = c->e[i].open;
        }
        if (c->e[i].open) world_at(w, w->now + between(w, 0, 50 * NS_MS), on_broken, c, tag(c, i));
    }
}

void net_free(struct world *w) {
    while (w->conns) {
        w->conns->e[0].open = w->conns->e[1].open = false;
        w->conns->accept = NULL;
        sweep(w->conns);
    }
    while (w->free_conns) {
        struct conn *c = w->free_conns;
        w->free_conns = c->next_free;
        free(c);
    }
}
