/* sched.c: the frame of the scheduler: birth, clock, presence of the other programs, one round of work, and
 * the small structures that the other files share. */
#include "dispatch/sched_impl.h"

#include <stdlib.h>
#include <string.h>

void sched_link_init(struct link *head) {
    head->next = head->prev = head;
}

bool sched_link_empty(const struct link *head) {
    return head->next == head;
}

void sched_link_remove(struct link *l) {
    if (!l->next) return;
    l->prev->next = l->next;
    l->next->prev = l->prev;
    l->next = l->prev = NULL;
}

void sched_link_append(struct link *head, struct link *l) {
    sched_link_remove(l);
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

/* --- the heap of waiting messages, by next --- */

static void place(struct sched *s, size_t i, struct entry *e) {
    s->heap[i] = e;
    e->slot = (uint32_t)i + 1;
}

static void sift_up(struct sched *s, size_t i, struct entry *e) {
    for (; i > 0 && s->heap[(i - 1) / 2]->next > e->next; i = (i - 1) / 2) place(s, i, s->heap[(i - 1) / 2]);
    place(s, i, e);
}

static void sift_down(struct sched *s, size_t i, struct entry *e) {
    for (size_t c = 2 * i + 1; c < s->heap_n; i = c, c = 2 * i + 1) {
        if (c + 1 < s->heap_n && s->heap[c + 1]->next < s->heap[c]->next) c++;
        if (s->heap[c]->next >= e->next) break;
        place(s, i, s->heap[c]);
    }
    place(s, i, e);
}

void sched_heap_remove(struct sched *s, struct entry *e) {
    if (!e->slot) return;
    size_t i = e->slot - 1;
    e->slot = 0;
    struct entry *last = s->heap[--s->heap_n];
    if (last == e) return;
    if (i > 0 && s->heap[(i - 1) / 2]->next > last->next) sift_up(s, i, last);
    else sift_down(s, i, last);
}

void sched_heap_set(struct sched *s, struct entry *e, int64_t next) {
    sched_heap_remove(s, e);
    e->next = next;
    e->state = ENTRY_WAITING;
    s->heap = xgrow(s->heap, &s->heap_cap, s->heap_n + 1, sizeof *s->heap);
    sift_up(s, s->heap_n++, e);
}

void sched_fifo_push(struct fifo *f, struct qid id) {
    if (f->head > 64 && f->head > f->n / 2) { /* the front half is used up */
        memmove(f->v, f->v + f->head, (f->n - f->head) * sizeof *f->v);
        f->n -= f->head;
        f->head = 0;
    }
    f->v = xgrow(f->v, &f->cap, f->n + 1, sizeof *f->v);
    f->v[f->n++] = id;
}

bool sched_fifo_pop(struct fifo *f, struct qid *id) {
    enum { FIFO_KEPT = 1024 };
    if (f->head == f->n) return false;
    *id = f->v[f->head++];
    if (f->head < f->n) return true;
    f->head = f->n = 0;
    if (f->cap > FIFO_KEPT) { /* thousands were parked once */
        free(f->v);
        f->v = NULL;
        f->cap = 0;
    }
    return true;
}

/* --- times --- */

/* 0 .. span, always the same for the same salt: a message keeps its place in the crowd. */
int64_t sched_jitter(int64_t span, uint64_t salt) {
    salt *= 0x9e3779b97f4a7c15ULL;
    return span > 0 ? (int64_t)((salt >> 32) % (uint64_t)(span + 1)) : 0;
}

/* After the attempts-th attempt: retry-first, doubled each time up to retry-max, and up to an eighth more. For a mailbox it
 * begins with seconds: what is wrong there is often over soon (a home that is being moved, a lock, a disk that was full), and
 * no other host is bothered by the question. */
int64_t sched_backoff(const struct sched *s, bool local, unsigned attempts, uint64_t salt) {
    int64_t d = local && s->c.retry_first > SOON ? SOON : s->c.retry_first;
    for (unsigned i = 1; i < attempts && d < s->c.retry_max; i++) d *= 2;
    if (d > s->c.retry_max) d = s->c.retry_max;
    return d + sched_jitter(d / 8, salt + attempts);
}

int64_t sched_expires(const struct sched *s, int64_t arrival, bool null_sender) {
    return arrival + (null_sender ? s->c.bounce_lifetime : s->c.queue_lifetime);
}

void sched_wake(struct sched *s, int64_t at, int64_t *next) {
    (void)s;
    if (at < *next) *next = at;
}

struct status sched_keep_status(const struct status *st, char *text, size_t size) {
    struct status kept = *st;
    size_t n = st->text.n < size ? st->text.n : size;
    if (n && text != st->text.p) memmove(text, st->text.p, n);
    kept.text = (struct str){text, n};
    return kept;
}

/* --- birth, settings, end --- */

void sched_configure(struct sched *s, const struct sched_config *c) {
    struct sched_own *own = c->own_count ? xmalloc(c->own_count * sizeof *own) : NULL;
    if (own) memcpy(own, c->own, c->own_count * sizeof *own);
    free(s->own);
    s->own = own;
    s->c = *c;
    s->c.own = own;
    size_t n = c->hostname.n < sizeof s->hostname ? c->hostname.n : sizeof s->hostname;
    if (n) memmove(s->hostname, c->hostname.p, n);
    s->c.hostname = (struct str){s->hostname, n};
}

struct sched *sched_new(const struct sched_config *c, const struct sched_ops *ops, void *ctx, int64_t now) {
    struct sched *s = xmalloc(sizeof *s);
    s->ops = ops;
    s->ctx = ctx;
    s->now = s->started = now;
    s->lookup_gone = s->resolve_gone = s->spawner_gone = s->remote_gone = now;
    s->next_job =
        (uint32_t)now | 1; /* unlike the numbers of an earlier life, that deliverers may still report */
    struct link *heads[] = {&s->blocks,       &s->ring,  &s->local_ring, &s->want_hosts, &s->want_worker,
                            &s->idle_workers, &s->drain, &s->idle_dests, &s->bounces};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) sched_link_init(heads[i]);
    sched_configure(s, c);
    return s;
}

static void free_entries(struct sched *s) {
    struct table_node *n = table_walk(&s->entries, NULL);
    while (n) {
        struct table_node *ahead = table_walk(&s->entries, n);
        struct entry *e = (struct entry *)n;
        if (e->m) sched_message_free(s, e->m);
        sched_entry_release(s, e);
        n = ahead;
    }
    table_free(&s->entries);
    while (!sched_link_empty(&s->blocks)) {
        struct entry_block *b = SCHED_OF(struct entry_block, link, s->blocks.next);
        sched_link_remove(&b->link);
        free(b);
    }
}

void sched_free(struct sched *s) {
    if (!s) return;
    s->freeing = true;
    sched_jobs_free(s);
    sched_routes_free(s);
    free_entries(s);
    sched_dests_free(s);
    sched_recent_free(s);
    free(s->heap);
    free(s->backlog.v);
    free(s->own);
    free(s->hosts);
    free(s->remotes);
    free(s);
}

/* Somebody has set the clock: what is measured from a moment shortly ago keeps its age. (So it does after
 * seconds without any event, when it does not matter.) */
void sched_clock(struct sched *s, int64_t now) {
    int64_t by = now - s->now;
    if (by < 0 || by > JUMP) s->started += by;
    s->now = now;
}

void sched_stop(struct sched *s) {
    s->stopping = true;
}

size_t sched_known(const struct sched *s) {
    return s->entries.n;
}
size_t sched_in_hand(const struct sched *s) {
    return s->in_hand;
}
size_t sched_jobs(const struct sched *s) {
    return s->jobs.n;
}
size_t sched_entry_size(void) {
    return sizeof(struct entry);
}

/* --- one round --- */

/* Each destination starts one job in its turn. sched_job_start always takes something off the queue of its
 * destination, which leaves the ring when it has nothing to start: so this ends. */
static void start_jobs(struct sched *s) {
    if (!sched_may_start(s) || sched_recent_many(s)) return;
    while (!sched_link_empty(&s->local_ring)) {
        struct dest *d = SCHED_OF(struct dest, ring, s->local_ring.next);
        sched_link_append(&s->local_ring, &d->ring);
        sched_job_start(s, d);
    }
    while (!sched_link_empty(&s->ring) && sched_remote_room(s)) {
        struct dest *d = SCHED_OF(struct dest, ring, s->ring.next);
        sched_link_append(&s->ring, &d->ring);
        sched_job_start(s, d);
    }
}

void sched_run(struct sched *s) {
    int64_t next = s->now + 60 * SCHED_SECOND;
    sched_foreign_expire(s);
    sched_fetch_more(s, &next);
    sched_routes_run(s, &next);
    sched_dests_run(s, &next);
    start_jobs(s);
    sched_bounces_run(s, &next);
    sched_fetch_more(s, &next); /* what was settled made room */
    if (!sched_may_start(s) && !s->stopping && !s->c.paused)
        sched_wake(s, s->started + START_PATIENCE, &next);
    s->ops->timer(s->ctx, next > s->now ? next : s->now + 1);
}
