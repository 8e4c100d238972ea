/* sched_dest.c: destinations: their queues, windows, health, and the lists in which they wait. */
#include "dispatch/sched_impl.h"

#include <stdlib.h>
#include <string.h>

enum { MISSES_MAX = 4 }; /* failures to connect in a row that make a host dead which took mail before */

static uint64_t dest_hash(char kind, struct str name, uint16_t port, uint32_t uid) {
    return str_hash_nocase(name, (uint64_t)(unsigned char)kind << 48 | (uint64_t)port << 32 | uid);
}

static void list_idle(struct sched *s, struct dest *d, bool idle) {
    if (idle == (d->idle.next != NULL)) return;
    if (idle) sched_link_append(&s->idle_dests, &d->idle);
    else sched_link_remove(&d->idle);
    s->idle_dest_n += idle ? 1 : (size_t)-1;
}

struct dest *sched_dest_find(struct sched *s, char kind, struct str name, uint16_t port, uint32_t uid) {
    for (struct table_node *n = table_first(&s->dests, dest_hash(kind, name, port, uid)); n;
         n = table_next(n)) {
        struct dest *d = (struct dest *)n;
        if (d->kind == kind && d->port == port && d->uid == uid &&
            str_eq_nocase((struct str){d->name, d->name_n}, name))
            return d;
    }
    return NULL;
}

struct dest *sched_dest(struct sched *s, char kind, struct str name, uint16_t port, uint32_t uid,
                        uint32_t gid) {
    struct dest *d = sched_dest_find(s, kind, name, port, uid);
    if (d) {
        d->gid = gid;
        list_idle(s, d, false);
        return d;
    }
    d = xmalloc(sizeof *d);
    d->kind = kind;
    d->port = port;
    d->uid = uid;
    d->gid = gid;
    d->name = xmalloc(name.n + 1);
    d->name_n = name.n;
    if (name.n) memcpy(d->name, name.p, name.n);
    d->room = ROOM_FIRST;
    d->window = WINDOW_FIRST < s->c.concurrency ? WINDOW_FIRST : s->c.concurrency;
    table_add(&s->dests, &d->node, dest_hash(kind, name, port, uid));
    return d;
}

static void dest_free(struct sched *s, struct dest *d) {
    list_idle(s, d, false);
    sched_link_remove(&d->ring);
    sched_link_remove(&d->wait);
    table_remove(&s->dests, &d->node);
    for (struct slice *sl; (sl = sched_pop(sched_turn(d)));) free(sl);
    sched_hosts_free(d);
    free(d->parked.v);
    free(d->name);
    free(d);
}

void sched_dests_free(struct sched *s) {
    struct table_node *n;
    while ((n = table_walk(&s->dests, NULL))) dest_free(s, (struct dest *)n);
    table_free(&s->dests);
}

static void put(struct slices *q, struct slice *sl) {
    sl->next = NULL;
    if (q->tail) q->tail->next = sl;
    else q->head = sl;
    q->tail = sl;
    q->n++;
    sl->m->slices++;
}

void sched_enqueue(struct sched *s, struct dest *d, struct slice *sl) {
    (void)s;
    put(sl->m->fresh ? &d->fresh : &d->old, sl);
}

void sched_enqueue_back(struct dest *d, struct slice *sl) {
    put(&d->back, sl);
}

struct slice *sched_pop(struct slices *q) {
    struct slice *sl = q->head;
    if (!sl) return NULL;
    q->head = sl->next;
    if (!q->head) q->tail = NULL;
    q->n--;
    return sl;
}

/* --- fresh mail and old --- */

/* What was given back comes first, in its order: so the next worker is one for the home that has waited longest, and each
 * home has its turn, however much comes for another. */
struct slices *sched_turn(struct dest *d) {
    if (d->back.n) return &d->back;
    if (!d->fresh.n) return &d->old;
    if (!d->old.n) return &d->fresh;
    return d->fresh_in_a_row < OLD_SHARE - 1 ? &d->fresh : &d->old;
}

void sched_dest_started(struct dest *d, bool fresh) {
    d->fresh_in_a_row = fresh && d->old.n ? d->fresh_in_a_row + 1 : 0;
}

/* Old mail can fill the room, and does at a start: fresh mail has places beside it. */
bool sched_dest_takes(const struct dest *d, const struct message *m) {
    return m->force || (m->fresh ? d->fresh.n < d->room - d->room / OLD_SHARE : d->old.n < d->room);
}

/* Half of the room, and a share of it when fresh mail comes without end; one message when it may be down. */
bool sched_dest_recalls(const struct sched *s, const struct dest *d) {
    size_t old = d->old.n + d->recalled;
    if (sched_dest_probing(s, d)) return !(d->recalled + dest_queued(d) + d->running);
    return old + d->fresh.n < d->room / 2 || old < d->room / OLD_SHARE;
}

/* --- health --- */

/* A retry time beyond any back-off is one of a clock that was set back since. */
bool sched_dest_is_down(const struct sched *s, const struct dest *d) {
    return d->down_until > s->now && d->down_until <= s->now + 2 * s->c.retry_max;
}

bool sched_dest_probing(const struct sched *s, const struct dest *d) {
    return d->failures && !sched_dest_is_down(s, d);
}

static unsigned window(const struct sched *s, const struct dest *d) {
    if (d->kind == KIND_LOCAL) return WINDOW_LOCAL;
    if (sched_dest_probing(s, d)) return 1;
    return d->window < s->c.concurrency ? d->window : s->c.concurrency;
}

void sched_dest_down(struct sched *s, struct dest *d, const struct status *st, struct str host) {
    d->failures++;
    d->room = ROOM_FIRST;
    d->misses = 0;
    d->proven = false;
    d->down_until = s->now + sched_backoff(s, d->kind == KIND_LOCAL, d->failures, d->node.hash);
    d->down_status = sched_keep_status(st, d->down_text, sizeof d->down_text);
    struct sched_event ev = {.what = SCHED_HOST_DOWN,
                             .to = {d->name, d->name_n},
                             .relay = host,
                             .status = *st,
                             .next_ms = d->down_until - s->now};
    if (d->kind != KIND_LOCAL) s->ops->event(s->ctx, &ev);
    sched_dest_update(s, d);
}

void sched_dest_grow(struct dest *d) {
    if (d->room < ROOM_MAX) d->room++;
}

void sched_dest_ok(struct sched *s, struct dest *d) {
    d->failures = d->misses = 0;
    d->proven = true;
    d->down_until = 0;
    if (d->window < s->c.concurrency) d->window++;
    sched_dest_grow(d);
    sched_dest_update(s, d);
}

void sched_dest_miss(struct sched *s, struct dest *d, const struct status *st, struct str host) {
    d->window = d->window > 1 ? d->window / 2 : 1;
    if (d->room > ROOM_FIRST) d->room -= (d->room - ROOM_FIRST) / 2;
    d->misses++;
    if (sched_dest_is_down(s, d)) return; /* its other jobs learn the same a little later */
    if (!d->proven || d->misses >= MISSES_MAX) sched_dest_down(s, d, st, host);
}

/* --- the lists --- */

static struct link *waits_in(struct sched *s, struct dest *d) {
    bool local = d->kind == KIND_LOCAL;
    if (local && !dest_queued(d) && !d->running && d->worker == WORKER_UP) return &s->idle_workers;
    if (!dest_queued(d)) return NULL;
    if (sched_dest_is_down(s, d)) return &s->drain;
    if (local) return d->worker == WORKER_NONE ? &s->want_worker : NULL;
    if (d->hosts_state == HOSTS_ASKED) return NULL;
    if (!sched_hosts_fresh(s, d)) return &s->want_hosts;
    return d->hosts_status.kind != STATUS_OK ? &s->drain : NULL;
}

static bool can_start(const struct sched *s, const struct dest *d) {
    if (!dest_queued(d) || d->running >= window(s, d) || sched_dest_is_down(s, d)) return false;
    if (d->kind == KIND_LOCAL) return d->worker == WORKER_UP;
    return d->hosts_state == HOSTS_KNOWN && d->hosts_status.kind == STATUS_OK && sched_hosts_fresh(s, d);
}

void sched_dest_update(struct sched *s, struct dest *d) {
    if (s->freeing) return;
    if (d->parked.head < d->parked.n) sched_release_parked(s, d);
    struct link *list = waits_in(s, d);
    if (!list) sched_link_remove(&d->wait);
    else if (!d->wait.next || d->waiting_in != list) sched_link_append(list, &d->wait);
    d->waiting_in = list;
    if (list == &s->idle_workers) d->idle_since = s->now;
    if (!can_start(s, d)) sched_link_remove(&d->ring);
    else if (!d->ring.next) sched_link_append(d->kind == KIND_LOCAL ? &s->local_ring : &s->ring, &d->ring);
    list_idle(s, d,
              !dest_queued(d) && !d->running && !d->refs && !d->recalled && d->worker == WORKER_NONE &&
                  d->hosts_state != HOSTS_ASKED);
}

/* Takes every recipient out of the queues of d and gives it to fn. */
static void drain(struct sched *s, struct dest *d,
                  void (*fn)(struct sched *, struct dest *, struct message *, struct rcpt *, void *),
                  void *arg) {
    for (struct slice *sl; (sl = sched_pop(sched_turn(d)));) {
        struct message *m = sl->m;
        for (uint32_t at = sl->first, after; at; at = after) {
            struct rcpt *r = &m->r[at - 1];
            after = r->next_in_slice;
            m->queued--;
            if (message_over(m)) r->state = RCPT_DONE;
            else fn(s, d, m, r, arg);
        }
        free(sl);
        m->slices--;
        sched_settle(s, m);
    }
    sched_dest_update(s, d);
}

static void drain_soon(struct sched *s, struct dest *d, struct message *m, struct rcpt *r, void *why) {
    (void)d;
    sched_soon(s, m, r, why);
}

void sched_drain_soon(struct sched *s, struct dest *d, const char *why) {
    drain(s, d, drain_soon, (void *)(uintptr_t)why);
}

static void wait_for_dest(struct sched *s, struct dest *d, struct message *m, struct rcpt *r, void *arg) {
    (void)arg;
    int64_t at = d->down_until + sched_jitter(s->c.retry_first / 8, qid_hash(m->mail.id));
    sched_defer(s, m, r, &d->down_status, (struct str){d->name, d->name_n}, false, at);
    if (r->state != RCPT_LATER) return;
    r->dest = d;
    d->refs++;
}

static void no_hosts(struct sched *s, struct dest *d, struct message *m, struct rcpt *r, void *arg) {
    (void)arg;
    if (d->hosts_status.kind == STATUS_NEVER) sched_fail(s, m, r, &d->hosts_status, STR_NONE);
    else sched_defer(s, m, r, &d->hosts_status, STR_NONE, true, 0);
}

static void route_again(struct sched *s, struct dest *d, struct message *m, struct rcpt *r, void *arg) {
    (void)d, (void)arg;
    sched_route_want(s, m, (uint32_t)(r - m->r));
}

/* What is running goes on. What waits for a time of its own (its host said "later") asks when that has come. */
void sched_reroute(struct sched *s) {
    for (struct table_node *n = table_walk(&s->dests, NULL); n; n = table_walk(&s->dests, n))
        drain(s, (struct dest *)n, route_again, NULL);
    for (struct table_node *n = table_walk(&s->entries, NULL); n; n = table_walk(&s->entries, n))
        sched_route_entry(s, (struct entry *)n);
}

/* --- workers --- */

void sched_worker_stop(struct sched *s, struct dest *d) {
    d->worker = WORKER_NONE;
    s->workers--;
    s->ops->worker_stop(s->ctx, d->uid);
    sched_dest_update(s, d);
}

static void start_workers(struct sched *s, int64_t *next) {
    bool away = s->spawner_gone && s->now - s->spawner_gone >= ABSENT_PATIENCE;
    for (struct link *l; (l = s->want_worker.next) != &s->want_worker;) {
        struct dest *d = SCHED_OF(struct dest, wait, l);
        if (away) {
            sched_drain_soon(s, d, "the program that delivers to mailboxes is not at work");
            continue;
        }
        if (s->spawner_gone) {
            sched_wake(s, s->spawner_gone + ABSENT_PATIENCE, next);
            return;
        }
        /* The worker that was idle for longest makes room. */
        if (s->workers >= s->c.worker_max && !sched_link_empty(&s->idle_workers))
            sched_worker_stop(s, SCHED_OF(struct dest, wait, s->idle_workers.next));
        if (s->workers >= s->c.worker_max) return;
        s->workers++;
        d->worker = WORKER_ASKED;
        s->ops->worker_start(s->ctx, d->uid, d->gid);
        sched_dest_update(s, d);
    }
}

static void stop_idle_workers(struct sched *s, int64_t *next) {
    for (struct link *l; (l = s->idle_workers.next) != &s->idle_workers;) {
        struct dest *d = SCHED_OF(struct dest, wait, l);
        int64_t end = d->idle_since + s->c.worker_idle;
        if (s->now < end && d->idle_since <= s->now) {
            sched_wake(s, end, next);
            return;
        }
        sched_worker_stop(s, d);
    }
}

void sched_spawner(struct sched *s, bool present) {
    s->spawner_gone = present ? 0 : s->now;
}

/* --- a round --- */

static void run_drain(struct sched *s) {
    for (struct link *l; (l = s->drain.next) != &s->drain;) {
        struct dest *d = SCHED_OF(struct dest, wait, l);
        if (sched_dest_is_down(s, d)) drain(s, d, wait_for_dest, NULL);
        else if (d->hosts_state == HOSTS_KNOWN && d->hosts_status.kind != STATUS_OK)
            drain(s, d, no_hosts, NULL);
        else sched_dest_update(s, d);
    }
}

static void run_remotes_away(struct sched *s, int64_t *next) {
    if (!s->remote_gone || sched_link_empty(&s->ring)) return;
    if (!sched_remotes_away(s)) {
        sched_wake(s, s->remote_gone + ABSENT_PATIENCE, next);
        return;
    }
    for (struct link *l; (l = s->ring.next) != &s->ring;)
        sched_drain_soon(s, SCHED_OF(struct dest, ring, l),
                         "the program that speaks with other hosts is not at work");
}

void sched_dests_run(struct sched *s, int64_t *next) {
    sched_hosts_run(s, next);
    run_drain(s);
    start_workers(s, next);
    stop_idle_workers(s, next);
    run_remotes_away(s, next);
    while (s->idle_dest_n > DEST_IDLE_MAX) dest_free(s, SCHED_OF(struct dest, idle, s->idle_dests.next));
}
