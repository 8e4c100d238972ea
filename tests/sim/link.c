/* link.c: processes, how they die and come back, and the channels between them.
 *
 * A channel carries what common/channel.c carries: messages of wire.def in their real encoding, many in a
 * packet, in order. When one side dies, what it had said still arrives, what the other said to it is lost,
 * and then the other is told; as with a socket pair. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

enum { PACKET_FIRST = 512, MESSAGE_MAX = WIRE_PACKET_MAX };

struct packet {
    struct packet *next;
    int64_t at; /* not before */
    bool end;   /* the sender has gone: nothing follows */
    int *fds;   /* one for each message, 0 when none */
    size_t fd_n, fd_cap;
    char *bytes;
    size_t n, cap;
};

struct way {                            /* one direction */
    struct packet *first, *last, *open; /* open: being filled in this event */
    int64_t after;                      /* the arrival of the last */
};

struct link {
    struct link *next, *dirty_next;
    struct world *w;
    unsigned p[2];
    bool alive[2]; /* its process still has this end */
    bool dirty;
    struct way way[2]; /* [i]: towards p[i] */
};

static unsigned side_of(const struct link *l, unsigned number) {
    return l->p[1] == number;
}

const char *process_name(const struct process *p) {
    return p->kind->name;
}

unsigned link_peer(const struct channel *ch, const struct process *p) {
    const struct link *l = (const struct link *)(const void *)ch;
    return l->p[!side_of(l, p->number)];
}

bool link_open(const struct process *from, unsigned to) {
    return from->links[to] != NULL;
}

/* ---- Sending ------------------------------------------------------------------------------------------- */

static struct packet *packet_new(struct world *w) {
    struct packet *k = w->free_packets;
    if (!k) return xmalloc(sizeof *k);
    w->free_packets = k->next;
    *k = (struct packet){.fds = k->fds, .fd_cap = k->fd_cap, .bytes = k->bytes, .cap = k->cap};
    return k;
}

static struct packet *open_packet(struct link *l, struct way *y) {
    if (y->open) return y->open;
    y->open = packet_new(l->w);
    if (!l->dirty) {
        l->dirty = true;
        l->dirty_next = l->w->dirty_links;
        l->w->dirty_links = l;
    }
    return y->open;
}

void link_send(struct process *from, unsigned to, enum wire_type type, const void *m, int fd) {
    struct world *w = from->w;
    struct link *l = from->links[to];
    if (!l || !from->alive) {
        blob_put(w, fd);
        return;
    }
    AS(MEM_WORLD);
    struct packet *k = open_packet(l, &l->way[side_of(l, to)]);
    for (size_t want = PACKET_FIRST;; want *= 2) {
        if (k->cap < k->n + want) {
            k->cap = k->n + want;
            k->bytes = xrealloc(k->bytes, k->cap);
        }
        struct buf b = {.p = k->bytes + k->n, .max = k->cap - k->n};
        if (wire_encode(&b, type, m)) {
            k->n += b.n;
            break;
        }
        if (want > 2 * MESSAGE_MAX) abort();
    }
    k->fds = xgrow(k->fds, &k->fd_cap, k->fd_n + 1, sizeof *k->fds);
    k->fds[k->fd_n++] = fd;
}

static void packet_free(struct world *w, struct packet *k, size_t fds_done) {
    for (size_t i = fds_done; i < k->fd_n; i++) blob_put(w, k->fds[i]);
    k->next = w->free_packets;
    w->free_packets = k;
}

static void packets_free(struct world *w) {
    while (w->free_packets) {
        struct packet *k = w->free_packets;
        w->free_packets = k->next;
        free(k->fds);
        free(k->bytes);
        free(k);
    }
}

/* What a dead program will never read. A lost result means that nobody of ours knows of that delivery. */
static void excuse_result(struct world *w, struct str payload) {
    struct wire_result m;
    uint32_t leaf;
    if (!wire_read_result(payload, &m) || m.kind != STATUS_OK || !oracle_named(w, m.id, m.index, &leaf))
        return;
    oracle_excuse(w, leaf, "the result was lost with dispatch");
}

struct message {
    enum wire_type type;
    struct str payload;
};

static bool next_message(const struct packet *k, size_t *at, struct message *m) {
    if (k->n - *at < WIRE_HEADER) return false;
    const unsigned char *p = (const unsigned char *)k->bytes + *at;
    size_t n = (size_t)p[2] | (size_t)p[3] << 8;
    m->type = (enum wire_type)(p[0] | p[1] << 8);
    m->payload = (struct str){k->bytes + *at + WIRE_HEADER, n};
    *at += WIRE_HEADER + n;
    return true;
}

static void excuse_results(struct world *w, const struct packet *k, size_t at) {
    struct message m;
    while (next_message(k, &at, &m))
        if (m.type == WIRE_result) excuse_result(w, m.payload);
}

static void on_packet(struct world *w, void *ctx, uint64_t side);

static void post(struct link *l, unsigned side, struct packet *k) {
    struct world *w = l->w;
    struct way *y = &l->way[side];
    const struct process *from = &w->p[l->p[!side]];
    int64_t at = (from->busy > w->now ? from->busy : w->now) + between(w, 2 * NS_US, 80 * NS_US);
    if (w->o.faults && once_in(w, 500)) at += between(w, 0, 300 * NS_MS); /* not scheduled for a while */
    if (at < y->after) at = y->after;
    y->after = k->at = at;
    if (!l->alive[side]) excuse_results(w, k, 0); /* nobody is going to read it, however long it takes */
    if (y->last) y->last->next = k;
    else y->first = k;
    y->last = k;
    world_at(w, at, on_packet, l, side);
}

void links_flush(struct world *w) {
    while (w->dirty_links) {
        struct link *l = w->dirty_links;
        w->dirty_links = l->dirty_next;
        l->dirty = false;
        for (unsigned side = 0; side < 2; side++) {
            struct packet *k = l->way[side].open;
            l->way[side].open = NULL;
            if (k) post(l, side, k);
        }
    }
}

size_t links_in_flight(const struct world *w) {
    size_t n = 0;
    for (const struct link *l = w->links; l; l = l->next)
        for (int i = 0; i < 2; i++)
            for (const struct packet *k = l->way[i].first; k; k = k->next) n++;
    return n;
}

/* ---- Arriving ------------------------------------------------------------------------------------------ */

static void lose(struct world *w, struct packet *k, size_t at, size_t fds_done) {
    excuse_results(w, k, at);
    packet_free(w, k, fds_done);
}

static void handle(struct process *p, struct link *l, struct packet *k) {
    struct world *w = p->w;
    struct message m;
    size_t at = 0, fd = 0, done = 0;
    while (p->alive && next_message(k, &at, &m)) {
        done = at;
        if (p->fuse >= 0 && p->fuse-- == 0) {
            process_kill(w, p->number, "between two messages");
            done -= WIRE_HEADER + m.payload.n;
            break;
        }
        w->count.messages++;
        world_mix_bytes(w, m.type, m.payload);
        if (w->o.story) {
            char mem[400];
            struct buf b = BUF(mem);
            wire_print(&b, m.type, m.payload);
            STORY(w, "%s.%u <- %s: %.*s", process_name(p), p->instance,
                  process_name(&w->p[l->p[!side_of(l, p->number)]]), STR_ARGS(str_sub(buf_str(&b), 0, 300)));
        }
        int handle = k->fds[fd++];
        struct channel *ch = p->kind->channel ? p->kind->channel(p, l) : (struct channel *)(void *)l;
        enum wire_verdict v = wire_deliver(m.type, m.payload, handle, p->handlers, p->ctx, ch);
        if (v != WIRE_OK) {
            blob_put(w, handle);
            world_fail(w, "%s does not take %s from %s", process_name(p), wire_table[m.type].name,
                       process_name(&w->p[l->p[!side_of(l, p->number)]]));
        }
    }
    lose(w, k, done, fd);
}

static void unhook(struct process *p, struct link *l, unsigned peer) {
    if (p->links[peer] != l) return;
    p->links[peer] = NULL;
    if (p->kind->peer_gone) p->kind->peer_gone(p, l, peer);
}

static void on_packet(struct world *w, void *ctx, uint64_t side) {
    struct link *l = ctx;
    struct way *y = &l->way[side];
    struct packet *k = y->first;
    struct process *p = &w->p[l->p[side]];
    AS(p->number);
    if (!w->ending && l->alive[side] && p->busy > w->now) {
        world_at(w, p->busy, on_packet, l, side);
        return;
    }
    y->first = k->next;
    if (!y->first) y->last = NULL;
    w->count.packets++;
    if (w->ending || !l->alive[side]) {
        lose(w, k, 0, 0);
        return;
    }
    if (k->end) {
        packet_free(w, k, 0);
        unhook(p, l, l->p[!side]);
    } else {
        handle(p, l, k);
    }
    if (p->alive && p->kind->round) p->kind->round(p);
}

/* ---- Life and death ------------------------------------------------------------------------------------ */

static const struct pair {
    enum role a, b;
} pairs[] = {
#define LINK(x, y, sentence) {ROLE_##x, ROLE_##y},
#include "common/links.def"
#undef LINK
};

static bool linked(const struct process *a, const struct process *b) {
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if ((pairs[i].a == a->kind->role && pairs[i].b == b->kind->role) ||
            (pairs[i].a == b->kind->role && pairs[i].b == a->kind->role))
            return true;
    return false;
}

static void wire(struct world *w, struct process *a, struct process *b) {
    AS(MEM_WORLD);
    struct link *l = xmalloc(sizeof *l);
    l->w = w;
    l->p[0] = a->number;
    l->p[1] = b->number;
    l->alive[0] = l->alive[1] = true;
    l->next = w->links;
    w->links = l;
    a->links[b->number] = b->links[a->number] = l;
    mem_enter(a->number);
    if (a->kind->peer) a->kind->peer(a, l, b->number);
    mem_enter(b->number);
    if (b->kind->peer) b->kind->peer(b, l, a->number);
    if (b->kind->round) b->kind->round(b);
}

void process_start(struct world *w, unsigned number) {
    struct process *p = &w->p[number];
    AS(number);
    if (p->alive) return;
    p->alive = true;
    p->life++;
    p->fuse = -1;
    p->busy = w->now;
    p->handlers = p->kind->handlers;
    p->ctx = p;
    STORY(w, "%s.%u starts, life %u", process_name(p), p->instance, p->life);
    p->kind->start(p);
    for (unsigned i = 0; i < PROGRAMS && p->alive; i++)
        if (i != number && w->p[i].alive && linked(p, &w->p[i])) wire(w, p, &w->p[i]);
    if (p->alive && p->kind->round) p->kind->round(p);
}

static void on_restart(struct world *w, void *ctx, uint64_t life) {
    struct process *p = ctx;
    if (w->ending || p->alive || p->life != life) return;
    for (unsigned i = 0; i < PROGRAMS; i++) { /* who has not yet read that it died would mix up two lives */
        if (!w->p[i].links[p->number]) continue;
        world_at(w, w->now + 5 * NS_MS, on_restart, p, life);
        return;
    }
    process_start(w, p->number);
}

static void links_die(struct process *p) {
    struct world *w = p->w;
    for (struct link *l = w->links; l; l = l->next) {
        if (l->p[0] != p->number && l->p[1] != p->number) continue;
        unsigned side = side_of(l, p->number);
        if (!l->alive[side]) continue;
        l->alive[side] = false;
        for (const struct packet *k = l->way[side].first; k; k = k->next) excuse_results(w, k, 0);
        /* What this event had said so far counts as said: the real channel sends before it sleeps, or not
         * at all. */
        struct packet *said = l->way[!side].open, *unsaid = l->way[side].open;
        l->way[!side].open = l->way[side].open = NULL;
        if (said && once_in(w, 2)) post(l, !side, said);
        else if (said) lose(w, said, 0, 0);
        if (unsaid) lose(w, unsaid, 0, 0);
        if (!l->alive[!side]) continue;
        struct packet *end = packet_new(w);
        end->end = true;
        post(l, !side, end);
    }
    memset(p->links, 0, sizeof p->links);
}

/* Links whose ends are both gone and that carry nothing. */
static void links_sweep(struct world *w) {
    for (struct link **at = &w->links; *at;) {
        struct link *l = *at;
        if (l->alive[0] || l->alive[1] || l->way[0].first || l->way[1].first || l->dirty) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        free(l);
    }
}

void process_kill(struct world *w, unsigned number, const char *why) {
    struct process *p = &w->p[number];
    AS(MEM_WORLD);
    if (!p->alive) return;
    if (!w->ending) {
        STORY(w, "%s.%u dies %s", process_name(p), p->instance, why);
        w->count.kills++;
    }
    p->alive = false;
    links_die(p);
    p->kind->free(p);
    p->state = NULL;
    if (memory.now[number])
        world_fail(w, "%s leaks %llu octets of memory", process_name(p),
                   (unsigned long long)memory.now[number]);
    links_sweep(w);
    if (!w->ending) world_at(w, w->now + between(w, 5 * NS_MS, 800 * NS_MS), on_restart, p, p->life);
}

void links_free(struct world *w) {
    links_sweep(w);
    packets_free(w);
    if (w->links) abort(); /* a link that nobody can ever close */
}
