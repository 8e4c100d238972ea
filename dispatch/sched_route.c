/* sched_route.c: where does this recipient go? Questions to lookup, expansions, and the grouping by
 * destination. */
#include "dispatch/sched_impl.h"

#include <stdlib.h>
#include <string.h>

static uint64_t addr_hash(const struct addr *a) {
    return str_hash(a->local, 1) ^ str_hash(a->domain, 2) * 3;
}

/* --- questions --- */

static uint32_t slot_new(struct sched *s) {
    if (s->route_free_n) return s->route_free[--s->route_free_n];
    size_t cap = s->route_cap;
    s->routes = xgrow(s->routes, &s->route_cap, s->route_used + 1, sizeof *s->routes);
    if (s->route_cap != cap) s->route_free = xrealloc(s->route_free, s->route_cap * sizeof *s->route_free);
    s->routes[s->route_used] = (struct route){0};
    return (uint32_t)s->route_used++;
}

static void slot_free(struct sched *s, struct route *q) {
    uint16_t generation = q->generation;
    q->from->asked--;
    arena_free(q->arena);
    free(q->into);
    *q = (struct route){.generation = (uint16_t)(generation + 1)};
    s->route_free[s->route_free_n++] = (uint32_t)(q - s->routes);
}

static struct route *slot_of(struct sched *s, uint32_t tag) {
    uint32_t i = tag & 0xffff;
    if (i >= s->route_used || !s->routes[i].used || s->routes[i].generation != tag >> 16) return NULL;
    return &s->routes[i];
}

static void ask(struct sched *s, struct route_queue *from, struct message *m, uint32_t rcpt) {
    uint32_t i = slot_new(s);
    struct route *q = &s->routes[i];
    q->used = true;
    q->m = m;
    q->rcpt = rcpt;
    q->from = from;
    from->asked++;
    s->ops->route_query(s->ctx, i | (uint32_t)q->generation << 16, m->r[rcpt].text);
}

void sched_route_want(struct sched *s, struct message *m, uint32_t rcpt) {
    m->r[rcpt].state = RCPT_ROUTING;
    m->routing++;
    struct route_queue *q = &s->want_route[m->fresh];
    if (q->head > 1024 && q->head > q->n / 2) {
        memmove(q->v, q->v + q->head, (q->n - q->head) * sizeof *q->v);
        q->n -= q->head;
        q->head = 0;
    }
    q->v = xgrow(q->v, &q->cap, q->n + 1, sizeof *q->v);
    q->v[q->n++] = (struct route_wait){m->mail.id, rcpt};
}

/* The next of those who wait for lookup; a message with recipients in ROUTING stays in hand. */
static struct message *next_wanted(struct sched *s, struct route_queue *q, uint32_t *rcpt) {
    while (q->head < q->n) {
        struct route_wait w = q->v[q->head++];
        struct entry *e = sched_entry(s, w.id);
        if (q->head == q->n) q->head = q->n = 0;
        *rcpt = w.rcpt;
        if (e && e->m && w.rcpt < e->m->n && e->m->r[w.rcpt].state == RCPT_ROUTING) return e->m;
    }
    return NULL;
}

static void routed(struct sched *s, struct message *m) {
    m->routing--;
    if (m->routing) return;
    sched_submit(s, m);
    sched_settle(s, m);
}

static void run_routes(struct sched *s, struct route_queue *q, size_t most, int64_t *next) {
    struct message *m;
    uint32_t rcpt;
    bool away = s->lookup_gone && s->now - s->lookup_gone >= ABSENT_PATIENCE;
    bool begin = !s->lookup_gone && !sched_recent_many(s);
    while (begin && q->asked < most && (m = next_wanted(s, q, &rcpt))) ask(s, q, m, rcpt);
    while (away && (m = next_wanted(s, q, &rcpt))) {
        sched_soon(s, m, &m->r[rcpt], "the program that knows where addresses go is not at work");
        routed(s, m);
    }
    if (s->lookup_gone && !away && q->n) sched_wake(s, s->lookup_gone + ABSENT_PATIENCE, next);
}

void sched_routes_run(struct sched *s, int64_t *next) {
    run_routes(s, &s->want_route[true], ROUTES_FRESH_MAX, next);
    run_routes(s, &s->want_route[false], ROUTES_OLD_MAX, next);
}

void sched_lookup(struct sched *s, bool present) {
    s->lookup_gone = present ? 0 : s->now;
    if (present) return;
    for (size_t i = 0; i < s->route_used; i++) { /* the answers are lost with it: ask the next one */
        struct route *q = &s->routes[i];
        if (!q->used) continue;
        q->m->routing--;
        sched_route_want(s, q->m, q->rcpt);
        slot_free(s, q);
    }
}

void sched_routes_free(struct sched *s) {
    for (size_t i = 0; i < s->route_used; i++) {
        arena_free(s->routes[i].arena);
        free(s->routes[i].into);
    }
    free(s->routes);
    free(s->route_free);
    for (size_t i = 0; i < 2; i++) free(s->want_route[i].v);
}

/* --- answers --- */

void sched_route_rcpt(struct sched *s, const struct wire_route_rcpt *w) {
    struct route *q = slot_of(s, w->tag);
    if (!q || q->n >= EXPANSION_MAX) return;
    if (!q->arena) q->arena = arena_new(ARENA_MAX);
    struct str to = str_dup(q->arena, w->rcpt);
    if (!to.n) return;
    q->into = xgrow(q->into, &q->cap, q->n + 1, sizeof *q->into);
    q->into[q->n++] = to;
}

static bool same_local(const struct local *a, const struct wire_route_local *b) {
    return str_eq(a->user, b->user) && str_eq(a->home, b->home) && str_eq(a->mailbox, b->mailbox);
}

void sched_route_local(struct sched *s, const struct wire_route_local *w) {
    struct route *q = slot_of(s, w->tag);
    if (!q) return;
    struct message *m = q->m;
    q->uid = w->uid;
    q->gid = w->gid;
    for (size_t i = 0; i < m->n && i < 64; i++) { /* mailboxes are few: share them within the message */
        q->local = m->r[i].local;
        if (q->local && same_local(q->local, w)) return;
    }
    struct local *l = ARENA_NEW(m->arena, struct local);
    if (l)
        *l = (struct local){str_dup(m->arena, w->user), str_dup(m->arena, w->home),
                            str_dup(m->arena, w->mailbox)};
    q->local = l;
}

static void tell_routed(struct sched *s, struct message *m, const struct rcpt *r, struct str route,
                        struct str nexthop) {
    struct sched_event ev = {.what = SCHED_ROUTED, .route = route, .nexthop = nexthop};
    struct status none = status_make(250, "2.0.0", "");
    sched_tell(s, &ev, m, r, &none, STR_NONE);
}

/* Puts the recipient into the slice for d that grows. */
static void join(struct message *m, uint32_t at, struct dest *d) {
    struct slice *sl = d->growing;
    struct rcpt *r = &m->r[at];
    if (!sl || sl->m != m) {
        sl = xmalloc(sizeof *sl);
        sl->m = m;
        sl->d = d;
        if (m->unsent) m->unsent_last->m_next = sl;
        else m->unsent = sl;
        m->unsent_last = sl;
        d->growing = sl;
        d->refs++; /* until it is in the queue */
    }
    r->next_in_slice = 0;
    if (sl->last) m->r[sl->last - 1].next_in_slice = at + 1;
    else sl->first = at + 1;
    sl->last = at + 1;
    sl->n++;
    r->state = RCPT_QUEUED;
    m->queued++;
}

static void to_local(struct sched *s, struct route *q, const struct wire_route_answer *w,
                     const struct status *st) {
    struct rcpt *r = &q->m->r[q->rcpt];
    (void)w, (void)st;
    if (!q->local) {
        sched_soon(s, q->m, r, "lookup named no mailbox");
        return;
    }
    r->local = q->local;
    tell_routed(s, q->m, r, STR("local"), r->local->user);
    join(q->m, q->rcpt, sched_dest(s, KIND_LOCAL, STR_NONE, 0, q->uid, q->gid));
}

static void to_host(struct sched *s, struct route *q, const struct wire_route_answer *w,
                    const struct status *st) {
    struct rcpt *r = &q->m->r[q->rcpt];
    uint16_t port = w->port ? w->port : s->c.smtp_port;
    (void)st;
    if (!w->nexthop.n) {
        sched_soon(s, q->m, r, "lookup named no next hop");
        return;
    }
    r->local = NULL; /* the route may be another than last time */
    tell_routed(s, q->m, r, w->how == 'M' ? STR("mx") : STR("host"), w->nexthop);
    join(q->m, q->rcpt, sched_dest(s, (char)w->how, w->nexthop, port, 0, 0));
}

static void to_nowhere(struct sched *s, struct route *q, const struct wire_route_answer *w,
                       const struct status *st) {
    struct rcpt *r = &q->m->r[q->rcpt];
    struct sched_event ev = {.what = SCHED_DELIVERED, .a = q->m->taken - q->m->mail.arrival};
    struct status gone = status_make(250, "2.0.0", "discarded, as the route table says");
    (void)w, (void)st;
    tell_routed(s, q->m, r, STR("discard"), STR_NONE);
    sched_done(s, q->m, r, 'D', &gone);
    sched_tell(s, &ev, q->m, r, &gone, STR_NONE);
}

static void to_error(struct sched *s, struct route *q, const struct wire_route_answer *w,
                     const struct status *st) {
    struct rcpt *r = &q->m->r[q->rcpt];
    (void)w;
    if (st->kind == STATUS_NEVER) sched_fail(s, q->m, r, st, STR_NONE);
    else sched_defer(s, q->m, r, st, STR_NONE, true, 0);
}

/* --- expansions --- */

struct seen { /* positions + 1 of the recipients that a message has, by address */
    uint32_t *v;
    size_t mask;
};

/* 0 when it is new, else the position + 1 of the one that has this address. */
static uint32_t seen_add(struct seen *seen, const struct message *m, const struct addr *a, uint64_t hash,
                         uint32_t at) {
    size_t i = (size_t)(hash ^ hash >> 32) & seen->mask;
    for (; seen->v[i]; i = (i + 1) & seen->mask) {
        const struct rcpt *r = &m->r[seen->v[i] - 1];
        if (r->hash == hash && addr_same(&r->addr, a)) return seen->v[i];
    }
    seen->v[i] = at + 1;
    return 0;
}

static struct seen seen_all(struct message *m, size_t more) {
    size_t size = 64;
    while (size < 2 * (m->n + more)) size *= 2;
    struct seen seen = {xmalloc(size * sizeof *seen.v), size - 1};
    for (uint32_t i = 0; i < m->n; i++) {
        m->r[i].hash = addr_hash(&m->r[i].addr);
        if (!m->r[i].bad) seen_add(&seen, m, &m->r[i].addr, m->r[i].hash, i);
    }
    return seen;
}

struct expansion {
    struct sched *s;
    struct message *m;
    uint32_t parent; /* position */
    struct seen seen;
    uint32_t made;
    bool looped, bad;
    bool several; /* addresses that it stands for */
};

static bool is_ancestor(const struct message *m, uint32_t at, uint32_t of) {
    for (unsigned i = 0; i <= DEPTH_MAX && of; i++, of = m->r[of - 1].parent_at)
        if (of == at) return true;
    return false;
}

/* RFC 3461 5.2.7.3: of an address that stands for several, the sender hears that it was expanded; the copies
 * then tell him only of trouble. */
static uint8_t without_success(uint8_t notify) {
    if (!(notify & NOTIFY_SUCCESS)) return notify;
    uint8_t rest = notify & (uint8_t)~NOTIFY_SUCCESS;
    return rest ? rest : NOTIFY_NEVER;
}

static void add_child(struct expansion *x, struct str text) {
    struct message *m = x->m;
    struct addr a;
    const char *why;
    uint32_t at = (uint32_t)m->n;
    if (m->n >= RCPTS_MAX || m->next_index == UINT32_MAX ||
        !addr_parse(text, ADDR_POSTMASTER | ADDR_UTF8, m->arena, &a, &why)) {
        x->bad = true;
        return;
    }
    uint64_t hash = addr_hash(&a);
    uint32_t same = seen_add(&x->seen, m, &a, hash, at);
    x->looped |= same && is_ancestor(m, same, x->parent + 1);
    if (same) return; /* it has its copy already; this also ends loops */
    m->r = xgrow(m->r, &m->cap, m->n + 1, sizeof *m->r);
    const struct rcpt *p = &m->r[x->parent];
    m->r[at] = (struct rcpt){.addr = a,
                             .text = str_dup(m->arena, text),
                             .orcpt = p->orcpt,
                             .index = m->next_index++,
                             .parent = p->index,
                             .parent_at = x->parent + 1,
                             .notify = x->several ? without_success(p->notify) : p->notify,
                             .depth = (uint8_t)(p->depth + 1),
                             .hash = hash};
    m->n++;
    x->made++;
    sched_split(x->s, &(struct wire_split){.id = m->mail.id,
                                           .parent = p->index,
                                           .index = m->r[at].index,
                                           .rcpt = m->r[at].text,
                                           .orcpt = m->r[at].orcpt,
                                           .notify = m->r[at].notify});
    sched_route_want(x->s, m, at);
}

/* The parent has done its work when its children are on record. When there is none, its mail must not
 * vanish. */
static void expanded(struct sched *s, const struct expansion *x, size_t n) {
    static const struct status split = {STATUS_OK, 250, {2, 0, 0}, false, {"expanded", 8}};
    struct status loop = status_make(550, "5.4.6", "the alias leads back to itself");
    struct status empty = status_make(451, "4.3.5", "the alias leads to no address that can be used");
    struct rcpt *r = &x->m->r[x->parent];
    struct sched_event ev = {.what = SCHED_EXPANDED, .into = x->made};
    if (!x->made && x->looped) {
        sched_fail(s, x->m, r, &loop, STR_NONE);
    } else if (!x->made && (x->bad || !n)) {
        sched_defer(s, x->m, r, &empty, STR_NONE, true, 0);
    } else {
        sched_done(s, x->m, r, 'S', &split);
        sched_tell(s, &ev, x->m, r, &split, STR_NONE);
        if (x->several) sched_served(s, x->m, r, SCHED_WAS_EXPANDED, &split, STR_NONE);
    }
}

static void to_others(struct sched *s, struct route *q, const struct wire_route_answer *w,
                      const struct status *st) {
    struct message *m = q->m;
    struct status deep = status_make(550, "5.4.6", "aliases of aliases too deep: a loop in the alias table");
    (void)w, (void)st;
    if (m->r[q->rcpt].depth >= DEPTH_MAX) {
        sched_fail(s, m, &m->r[q->rcpt], &deep, STR_NONE);
        return;
    }
    struct expansion x = {.s = s, .m = m, .parent = q->rcpt, .several = q->n > 1, .seen = seen_all(m, q->n)};
    for (size_t i = 0; i < q->n; i++) add_child(&x, q->into[i]);
    free(x.seen.v);
    expanded(s, &x, q->n);
}

static const struct way {
    char how;
    void (*go)(struct sched *s, struct route *q, const struct wire_route_answer *w, const struct status *st);
} ways[] = {{'L', to_local}, {'X', to_others},  {'M', to_host},
            {'H', to_host},  {'D', to_nowhere}, {'E', to_error}};

void sched_route_answer(struct sched *s, const struct wire_route_answer *w) {
    struct route *q = slot_of(s, w->tag);
    struct status st = STATUS_OF(w);
    if (!q) return;
    struct message *m = q->m;
    const struct way *way = NULL;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (ways[i].how == (char)w->how) way = &ways[i];
    if (message_over(m)) m->r[q->rcpt].state = RCPT_DONE;
    else if (way) way->go(s, q, w, &st);
    else sched_soon(s, m, &m->r[q->rcpt], "lookup gave an answer that is not known here");
    slot_free(s, q);
    routed(s, m);
}

/* --- off to the destinations --- */

static void park_slice(struct sched *s, struct slice *sl) {
    for (uint32_t at = sl->first; at; at = sl->m->r[at - 1].next_in_slice) {
        sched_park(s, sl->m, &sl->m->r[at - 1], sl->d);
        sl->m->queued--;
    }
    free(sl);
}

void sched_submit(struct sched *s, struct message *m) {
    while (m->unsent) {
        struct slice *sl = m->unsent;
        struct dest *d = sl->d;
        m->unsent = sl->m_next;
        if (d->growing == sl) d->growing = NULL;
        d->refs--;
        if (m->force && d->kind != KIND_LOCAL)
            d->down_until = d->down_until > s->now ? s->now : d->down_until;
        if (sched_dest_takes(d, m)) sched_enqueue(s, d, sl);
        else park_slice(s, sl);
        sched_dest_update(s, d);
    }
    sched_unclaim(s, m);
}
