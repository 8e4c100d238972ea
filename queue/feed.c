/* feed.c: what dispatch is told, as fast as it takes it, and what it says about it.
 *
 * A fresh message is told at once with the descriptor it came in. When dispatch does not take more, only
 * ids wait here. When dispatch is new, a walk through the spool tells it everything, in slices between
 * other work. */
#include "queue/shell.h"

#include "common/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG_IDS_MAX = 4 * 1024 * 1024, MARKED_MAX = 1000 };

/* ---- Ids that wait, ids that were told ----------------------------------------------------------------- */

static void push(struct id_queue *b, struct qid id) {
    if (b->head > b->n && b->head + b->n == b->cap) { /* else it would be moved again and again */
        memmove(b->v, b->v + b->head, b->n * sizeof *b->v);
        b->head = 0;
    }
    b->v = xgrow(b->v, &b->cap, b->head + b->n + 1, sizeof *b->v);
    b->v[b->head + b->n++] = id;
}

static struct qid pop(struct id_queue *b) {
    struct qid id = b->v[b->head++];
    if (--b->n == 0) b->head = 0;
    return id;
}

static bool set_find(const struct id_set *set, struct qid id, size_t *at) {
    if (!set->cap) return false;
    *at = qid_hash(id) & (set->cap - 1);
    while (!qid_eq(set->v[*at], QID_NONE)) {
        if (qid_eq(set->v[*at], id)) return true;
        *at = (*at + 1) & (set->cap - 1);
    }
    return false;
}

static void set_add(struct id_set *set, struct qid id) {
    size_t at;
    if (2 * (set->n + 1) > set->cap) {
        struct id_set old = *set;
        set->cap = old.cap ? old.cap * 2 : 1024;
        set->v = xmalloc(set->cap * sizeof *set->v);
        for (size_t i = 0; i < old.cap; i++)
            if (!qid_eq(old.v[i], QID_NONE) && !set_find(set, old.v[i], &at)) set->v[at] = old.v[i];
        free(old.v);
    }
    if (set_find(set, id, &at)) return;
    set->v[at] = id;
    set->n++;
}

static void set_clear(struct id_set *set) {
    free(set->v);
    *set = (struct id_set){0};
}

/* ---- Telling ------------------------------------------------------------------------------------------- */

static bool takes_more(struct queue *q) {
    return q->dispatch && !channel_full(q->dispatch->ch);
}

/* The time that mail may wait begins when it may leave (RFC 4865). */
static int64_t life_begins(const struct control *c) {
    return c->after > c->arrival ? c->after : c->arrival;
}

static void tell_ready(struct queue *q, const struct control *c, bool fresh, int fd) {
    struct channel *ch = q->dispatch->ch;
    SEND_FD(ch, fd, ready, .id = c->id, .arrival = life_begins(c), .sender = c->sender, .body = c->body,
            .size = c->size, .rcpts = c->rcpt_count, .prefix = c->prefix, .ret = c->ret, .envid = c->envid,
            .expired = c->expired, .fresh = fresh);
    for (uint32_t i = 0; i < c->rcpt_count; i++) {
        const struct control_rcpt *r = &c->rcpts[i];
        SEND(ch, ready_rcpt, .id = c->id, .index = i, .rcpt = r->rcpt, .orcpt = r->orcpt, .notify = r->notify,
             .parent = r->parent, .attempts = r->attempts, .next = r->next, .state = (uint8_t)r->state);
    }
    SEND(ch, ready_end, .id = c->id);
}

static void tell_waiting(struct queue *q, const struct control *c, int64_t next) {
    SEND(q->dispatch->ch, waiting, .id = c->id, .arrival = life_begins(c), .next = next, .rcpts = c->pending);
}

/* Of a message that was loaded. No descriptor left: dispatch may ask again. So it may when what is known of the message
 * are an earlier dispatch's words that are not durable: should they be lost with us, what this dispatch has made of them
 * would be told to a queue that knows no such recipient. Its own it says again to that queue. */
static void tell_loaded(struct queue *q, const struct control *c, bool fresh) {
    int64_t now = loop_wall_ms(q->me->loop);
    if (!store_on_record(q->store, c->id)) {
        tell_waiting(q, c, now + SYNC_MS);
        return;
    }
    int fd, error = store_open_part(q->store, c->id, 'd', &fd);
    if (error) {
        LOG_TROUBLE("cannot open the data of %s: %s", qid_format(c->id).c, strerror(error));
        tell_waiting(q, c, now + HEAL_MS);
        return;
    }
    store_take(q->store, c, now);
    tell_ready(q, c, fresh, fd);
}

static void tell_id(struct queue *q, struct qid id, bool fresh) {
    struct store_message m;
    int error = store_load(q->store, id, &m);
    if (!error && (m.c.held || ctl_redirecting(q, id))) {
        SEND(q->dispatch->ch, gone, .id = id); /* it hears of it again when it may have it */
    } else if (!error) {
        tell_loaded(q, &m.c, fresh);
    } else if (error == ENOENT) {
        SEND(q->dispatch->ch, gone, .id = id);
    } else if (error == EBADMSG) {
        LOG_TROUBLE("the control file or the data of %s cannot be understood; nothing is delivered of it",
                    qid_format(id).c);
        SEND(q->dispatch->ch, gone, .id = id);
    } else { /* the disk may heal */
        LOG_TROUBLE("cannot read %s: %s", qid_format(id).c, strerror(error));
        SEND(q->dispatch->ch, waiting, .id = id, .next = loop_wall_ms(q->me->loop) + HEAL_MS, .rcpts = 1);
    }
    store_message_done(&m);
}

static void backlog_add(struct queue *q, struct id_queue *b, struct qid id) {
    if (b->n < BACKLOG_IDS_MAX) push(b, id);
    else q->tell_again = true;
}

/* A memory file is memory as long as dispatch works on the message. Of large ones it gets only some hundreds, else
 * whoever sends much to slow hosts would fill the memory of the machine; of the others it gets the data file. */
static bool too_much_memory(const struct queue *q, const struct control *c) {
    enum { SMALL = 16 * 1024, LARGE_MAX = 500 };
    return c->size > SMALL && store_hands(q->store) > LARGE_MAX;
}

void feed_fresh(struct queue *q, const struct control *c, int memfd) {
    if (c->held) {
        store_let_go(q->store, c->id);
        if (memfd >= 0) close(memfd);
        return;
    }
    if (q->dispatch && (q->recovery || q->telling || q->tell_again)) set_add(&q->told, c->id);
    q->unseen += !q->dispatch;
    if (c->after) {
        store_let_go(q->store, c->id);
        if (memfd >= 0) close(memfd);
        if (q->dispatch) tell_waiting(q, c, c->after);
        return;
    }
    if (!takes_more(q)) {
        store_let_go(q->store, c->id);
        if (memfd >= 0) close(memfd);
        if (q->dispatch) backlog_add(q, &q->fresh, c->id);
        return;
    }
    if (memfd >= 0 && too_much_memory(q, c)) {
        close(memfd);
        memfd = -1;
    }
    int error = memfd < 0 ? store_open_part(q->store, c->id, 'd', &memfd) : 0;
    if (!error) {
        tell_ready(q, c, true, memfd);
        return;
    }
    LOG_TROUBLE("cannot open the data of %s: %s", qid_format(c->id).c, strerror(error));
    store_let_go(q->store, c->id);
    tell_waiting(q, c, loop_wall_ms(q->me->loop) + HEAL_MS);
}

/* ---- Walks --------------------------------------------------------------------------------------------- */

static void found(void *ctx, const struct control *c) {
    struct queue *q = ctx;
    size_t at;
    if (!q->dispatch || (q->recovery && !q->recovery_tells)) return;
    /* Dispatch may have had it in hand before we died over a hold: it must not go on with it. */
    if (c->held) SEND(q->dispatch->ch, changed, .id = c->id, .held = 1);
    if (c->held || store_in_hand(q->store, c->id) || set_find(&q->told, c->id, &at)) return;
    /* Of what is due, dispatch fetches the rest in the order of time as it gets room. */
    if (c->next <= loop_wall_ms(q->me->loop) && store_hands(q->store) < HANDS_WALK) tell_loaded(q, c, false);
    else tell_waiting(q, c, c->next);
}

static void recovery_over(struct queue *q) {
    const struct store_counts *n = store_walk_counts(q->recovery);
    LOG(recovered, .messages = n->messages, .incomplete = n->incomplete, .set_aside = n->aside,
        .ms = (uint64_t)(clock_now_ns() - q->recovery_began) / 1000000);
    store_walk_free(q->recovery);
    q->recovery = NULL;
    q->recovered = true;
    if (!q->tell_again) set_clear(&q->told);
    queue_unsynced(q);
}

static void recovery_start(struct queue *q) {
    if (q->recovered || q->recovery || !q->feed.fn) return; /* once, and not before the store is open */
    q->recovery = store_walk_new(q->store, true);
    q->recovery_began = clock_now_ns();
    q->recovery_tells = q->dispatch != NULL;
    feed_more(q);
}

static void patience_over(void *ctx) {
    recovery_start(ctx);
}

void feed_more(struct queue *q) {
    if (q->feed.fn && !q->feed.slot) loop_timer_in(q->me->loop, &q->feed, 0);
}

static bool walk_slice(struct queue *q, struct store_walk *w) {
    int64_t end = clock_now_ns() + SLICE_MS * 1000000LL;
    for (unsigned i = 0; i < SLICE; i++) {
        if (!store_walk_step(w, 1, found, q)) return false;
        if (clock_now_ns() >= end) break;
    }
    return true;
}

/* By turns. */
static void feed_ids(struct queue *q) {
    for (unsigned i = 0; i < SLICE && q->fresh.n + q->fetched.n && takes_more(q); i++) {
        q->fresh_turn = !q->fresh_turn;
        bool fresh = q->fresh.n && (q->fresh_turn || !q->fetched.n);
        tell_id(q, pop(fresh ? &q->fresh : &q->fetched), fresh);
    }
}

/* One slice. True: there is more to do now. */
static bool feed_slice(struct queue *q) {
    feed_ids(q);
    if (q->recovery) {
        if (q->recovery_tells && q->dispatch && !takes_more(q)) return false;
        if (!walk_slice(q, q->recovery)) recovery_over(q);
        return true;
    }
    if (q->tell_again && q->dispatch && !q->telling) {
        q->tell_again = false;
        q->telling = store_walk_new(q->store, false);
    }
    if (q->telling) {
        if (!takes_more(q)) return false;
        if (walk_slice(q, q->telling)) return true;
        store_walk_free(q->telling);
        q->telling = NULL;
        q->unseen = 0;
        set_clear(&q->told);
    }
    return q->fresh.n + q->fetched.n && takes_more(q);
}

static void feed(void *ctx) {
    struct queue *q = ctx;
    if (feed_slice(q)) feed_more(q);
}

void feed_start(struct queue *q) {
    q->feed = (struct timer){.fn = feed, .ctx = q};
    q->patience = (struct timer){.fn = patience_over, .ctx = q};
    if (q->dispatch) recovery_start(q);
    else loop_timer_in(q->me->loop, &q->patience, RECOVER_MS);
}

void feed_dispatch_gone(struct queue *q) {
    q->dispatch = NULL;
    q->marked = 0;
    ctl_dispatch_gone(q);
    q->fresh.head = q->fresh.n = q->fetched.head = q->fetched.n = 0;
    q->tell_again = false;
    q->recovery_tells = false;
    store_walk_free(q->telling);
    q->telling = NULL;
    set_clear(&q->told);
    if (q->store) store_let_go_all(q->store);
}

/* A new dispatch knows nothing. */
void feed_dispatch(struct queue *q, struct peer *p) {
    feed_dispatch_gone(q);
    q->dispatch = p;
    q->tell_again = q->recovery || q->recovered;
    recovery_start(q);
    feed_more(q);
}

/* ---- What dispatch says -------------------------------------------------------------------------------- */

static bool from_dispatch(struct queue *q, struct channel *ch) {
    return q->dispatch && q->dispatch->ch == ch && q->store;
}

void on_fetch(void *ctx, struct channel *ch, const struct wire_fetch *m, int fd) {
    struct queue *q = queue_of(ctx);
    (void)fd;
    /* Its turn comes when the last words of the one before it are heard: then it asks again. */
    if (q->heir && q->heir->ch == ch)
        SEND(ch, waiting, .id = m->id, .next = loop_wall_ms(q->me->loop) + SYNC_MS, .rcpts = 1);
    if (!from_dispatch(q, ch)) return;
    if (takes_more(q)) tell_id(q, m->id, false);
    else backlog_add(q, &q->fetched, m->id);
}

/* Not one by one: it travels with what a commit tells anyway. */
void feed_marked(struct queue *q) {
    if (!q->dispatch || !q->marked || !store_marks_kept(q->store)) return;
    SEND(q->dispatch->ch, marked, .count = q->marked);
    q->marked = 0;
}

static void after(struct queue *q, enum store_outcome outcome, struct qid id, const char *what) {
    if (outcome == STORE_RETIRED || outcome == STORE_RESTS) queue_left(q);
    if (outcome == STORE_REFUSED)
        LOG_TROUBLE("dispatch sent a %s for %s that makes no sense; ignored", what, qid_format(id).c);
    if (++q->marked >= MARKED_MAX) feed_marked(q);
    queue_unsynced(q);
}

void on_mark(void *ctx, struct channel *ch, const struct wire_mark *m, int fd) {
    struct queue *q = queue_of(ctx);
    (void)fd;
    if (!from_dispatch(q, ch)) return;
    struct control_mark mark = {.index = m->index,
                                .state = (char)m->state,
                                .attempts = m->attempts,
                                .next = m->next,
                                .status = STATUS_OF(m)};
    after(q, store_mark(q->store, m->id, &mark), m->id, "mark");
}

void on_split(void *ctx, struct channel *ch, const struct wire_split *m, int fd) {
    struct queue *q = queue_of(ctx);
    (void)fd;
    if (!from_dispatch(q, ch)) return;
    struct control_rcpt r = {.rcpt = m->rcpt, .parent = m->parent, .orcpt = m->orcpt, .notify = m->notify};
    after(q, store_split(q->store, m->id, m->index, &r), m->id, "split");
}
