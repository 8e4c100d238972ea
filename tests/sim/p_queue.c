/* p_queue.c: the program queue around the real store: what queue/main.c, receive.c and feed.c do, with
 * events. */
#include "queue/disk_fake.h"
#include "queue/store.h"
#include "tests/sim/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SYNC_MS = 900, HEAL_MS = 5000, REST_MS = 5000, SLICE = 64, UNSYNCED_MAX = 512 };

struct id_set {
    struct qid *v; /* QID_NONE: free */
    size_t n, cap;
};

struct intake {
    unsigned peer;
    int blob; /* its only chunk, or -1 */
    unsigned chunks;
};

struct queue {
    struct process *p;
    struct store *store;
    struct disk *disk;
    uint64_t lease[PROGRAMS];
    bool opened, recovered, tell_again, commit_soon, sync_soon, heal_soon, feed_soon, rest_soon, end_soon;
    bool recovery_tells;
    uint32_t marked; /* as in queue/feed.c */
    struct store_walk *recovery, *telling;
    struct id_set told;
};

static struct queue *of(void *ctx) {
    return ((struct process *)ctx)->state;
}

static bool set_find(const struct id_set *set, struct qid id, size_t *at) {
    if (!set->cap) return false;
    *at = qid_hash(id) & (set->cap - 1);
    for (; !qid_eq(set->v[*at], QID_NONE); *at = (*at + 1) & (set->cap - 1))
        if (qid_eq(set->v[*at], id)) return true;
    return false;
}

static void set_add(struct id_set *set, struct qid id) {
    size_t at;
    if (2 * (set->n + 1) > set->cap) {
        struct id_set old = *set;
        set->cap = old.cap ? old.cap * 2 : 256;
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

/* ---- Events of its own: dropped when it has died meanwhile --------------------------------------------- */

static void soon(struct queue *q, bool *flag, int64_t ms, event_fn *fn) {
    struct world *w = q->p->w;
    if (*flag) return;
    *flag = true;
    world_at(w, w->now + ms * NS_MS, fn, q->p, q->p->life);
}

static struct queue *awake(struct world *w, struct process *p, uint64_t life, event_fn *fn) {
    if (w->ending || !p->alive || p->life != life) return NULL;
    if (p->busy <= w->now) return of(p);
    world_at(w, p->busy, fn, p, life);
    return NULL;
}

static void on_commit(struct world *w, void *ctx, uint64_t life);
static void on_sync(struct world *w, void *ctx, uint64_t life);
static void on_heal(struct world *w, void *ctx, uint64_t life);
static void on_feed(struct world *w, void *ctx, uint64_t life);
static void on_rest(struct world *w, void *ctx, uint64_t life);

static void tell_marked(struct queue *q) {
    if (!q->marked || (!leaves_out(q->p->w, SHELL_ACK_EARLY) && !store_marks_kept(q->store))) return;
    TELL(q->p, P_DISPATCH, marked, .count = q->marked);
    q->marked = 0;
}

static void unsynced(struct queue *q) {
    size_t n = store_unsynced(q->store);
    if (store_stopped(q->store)) soon(q, &q->heal_soon, HEAL_MS, on_heal);
    else if (n >= UNSYNCED_MAX) soon(q, &q->commit_soon, 0, on_commit);
    else if (n || q->marked) soon(q, &q->sync_soon, SYNC_MS, on_sync);
    if (store_wants_rest(q->store)) soon(q, &q->rest_soon, REST_MS, on_rest);
    /* What an earlier life has left in the page cache is synced at the end of the recovery. */
    if (!n && q->recovered) oracle_durable(q->p->w);
}

/* ---- Telling dispatch ---------------------------------------------------------------------------------- */

static void tell_ready(struct queue *q, const struct control *c, int blob) {
    struct process *p = q->p;
    TELL_FD(p, P_DISPATCH, blob, ready, .id = c->id, .arrival = c->arrival, .sender = c->sender,
            .body = c->body, .size = c->size, .rcpts = c->rcpt_count, .prefix = c->prefix, .ret = c->ret,
            .envid = c->envid);
    for (uint32_t i = 0; i < c->rcpt_count; i++) {
        const struct control_rcpt *r = &c->rcpts[i];
        TELL(p, P_DISPATCH, ready_rcpt, .id = c->id, .index = i, .rcpt = r->rcpt, .orcpt = r->orcpt,
             .notify = r->notify, .parent = r->parent, .attempts = r->attempts, .next = r->next,
             .state = (uint8_t)r->state);
    }
    TELL(p, P_DISPATCH, ready_end, .id = c->id);
}

/* The data file as a blob: what a descriptor of it would show. */
static int read_data(struct queue *q, const struct control *c, int *blob) {
    struct world *w = q->p->w;
    struct disk *d = q->disk;
    char *bytes;
    size_t got = 0;
    int file, error = store_open_part(q->store, c->id, 'd', &file);
    if (error) return error;
    *blob = blob_new(w, c->size, &bytes);
    error = d->ops->read(d, file, bytes, c->size, 0, &got);
    d->ops->close(d, file);
    if (!error && got == c->size) return 0;
    blob_put(w, *blob);
    return error ? error : EIO;
}

static void tell_waiting(struct queue *q, struct qid id, int64_t arrival, int64_t next, uint32_t rcpts) {
    TELL(q->p, P_DISPATCH, waiting, .id = id, .arrival = arrival, .next = next, .rcpts = rcpts);
}

static void tell_loaded(struct queue *q, const struct control *c) {
    int64_t now = world_wall(q->p->w);
    int blob;
    if (read_data(q, c, &blob) != 0) {
        tell_waiting(q, c->id, c->arrival, now + HEAL_MS, c->pending);
        return;
    }
    store_take(q->store, c, now);
    tell_ready(q, c, blob);
}

static void tell_id(struct queue *q, struct qid id) {
    struct store_message m;
    int error = store_load(q->store, id, &m);
    if (!error) tell_loaded(q, &m.c);
    else if (error == ENOENT || error == EBADMSG) TELL(q->p, P_DISPATCH, gone, .id = id);
    else tell_waiting(q, id, 0, world_wall(q->p->w) + HEAL_MS, 1);
    store_message_done(&m);
}

static void tell_fresh(struct queue *q, const struct control *c, int blob) {
    struct world *w = q->p->w;
    if (!link_open(q->p, P_DISPATCH)) {
        store_let_go(q->store, c->id);
        blob_put(w, blob);
        return;
    }
    if (q->recovery || q->telling || q->tell_again) set_add(&q->told, c->id);
    if (blob < 0 && read_data(q, c, &blob) != 0) {
        store_let_go(q->store, c->id);
        tell_waiting(q, c->id, c->arrival, world_wall(w) + HEAL_MS, c->pending);
        return;
    }
    tell_ready(q, c, blob);
}

static void found(void *ctx, const struct control *c) {
    struct queue *q = ctx;
    size_t at;
    if (!link_open(q->p, P_DISPATCH) || (q->recovery && !q->recovery_tells)) return;
    if (store_in_hand(q->store, c->id) || set_find(&q->told, c->id, &at)) return;
    if (c->next > world_wall(q->p->w)) tell_waiting(q, c->id, c->arrival, c->next, c->pending);
    else tell_loaded(q, c);
}

static void recovery_over(struct queue *q) {
    const struct store_counts *n = store_walk_counts(q->recovery);
    STORY(q->p->w, "queue has recovered: %llu messages, %llu incomplete, %llu aside, %llu orphans",
          (unsigned long long)n->messages, (unsigned long long)n->incomplete, (unsigned long long)n->aside,
          (unsigned long long)n->orphans);
    store_walk_free(q->recovery);
    q->recovery = NULL;
    q->recovered = true;
    if (!q->tell_again) set_clear(&q->told);
    unsynced(q);
}

static bool feed_slice(struct queue *q) {
    if (q->recovery) {
        if (!store_walk_step(q->recovery, SLICE, found, q)) recovery_over(q);
        return true;
    }
    if (q->tell_again && link_open(q->p, P_DISPATCH) && !q->telling) {
        q->tell_again = false;
        q->telling = store_walk_new(q->store, false);
    }
    if (!q->telling) return false;
    if (store_walk_step(q->telling, SLICE, found, q)) return true;
    store_walk_free(q->telling);
    q->telling = NULL;
    set_clear(&q->told);
    return false;
}

static void push(struct queue *q) {
    if (leaves_out(q->p->w, SHELL_NO_PUSH)) oracle_written(q->p->w);
    else if (store_push(q->store) && !faults_disk_dead(q->p->w)) oracle_written(q->p->w);
}

/* ---- After each use of the store ----------------------------------------------------------------------- */

/* The disk stopped in the middle: the program, or the whole machine, ends there. */
static bool struck(struct queue *q) {
    struct world *w = q->p->w;
    if (!faults_disk_dead(w)) return false;
    faults_disk_struck(w);
    return true;
}

static void on_commit(struct world *w, void *ctx, uint64_t life) {
    struct queue *q = awake(w, ctx, life, on_commit);
    if (!q) return;
    bool all = store_unsynced(q->store) >= UNSYNCED_MAX;
    q->commit_soon = false;
    /* A sync may take long, and queue may be killed before it has read what dispatch has said meanwhile. */
    int64_t most = w->o.faults && once_in(w, 100) ? once_in(w, 4) ? 20 * NS_S : 2 * NS_S : 8 * NS_MS;
    q->p->busy = w->now + between(w, 100 * NS_US, most);
    if (all || store_ended(q->store)) store_commit(q->store, all);
    if (struck(q)) return;
    push(q);
    tell_marked(q);
    unsynced(q);
}

static void on_sync(struct world *w, void *ctx, uint64_t life) {
    struct queue *q = awake(w, ctx, life, on_sync);
    if (!q) return;
    q->sync_soon = false;
    q->p->busy = w->now + between(w, 100 * NS_US, 8 * NS_MS);
    store_commit(q->store, true);
    if (struck(q)) return;
    push(q);
    tell_marked(q);
    unsynced(q);
}

static void on_rest(struct world *w, void *ctx, uint64_t life) {
    struct queue *q = awake(w, ctx, life, on_rest);
    if (!q) return;
    q->rest_soon = false;
    q->p->busy = w->now + between(w, 100 * NS_US, 8 * NS_MS);
    store_rest(q->store, 1 + (unsigned)between(q->p->w, 0, 50));
    if (!struck(q)) unsynced(q);
}

static void give_lease(struct queue *q, unsigned peer) {
    uint64_t lease;
    if (!q->opened || q->lease[peer] || !link_open(q->p, peer)) return;
    if (peer >= P_QUEUE && peer != P_DISPATCH) return;
    if (store_lease(q->store, world_wall(q->p->w), &lease) != 0) {
        soon(q, &q->heal_soon, HEAL_MS, on_heal);
        return;
    }
    q->lease[peer] = lease;
    TELL(q->p, peer, lease, .lease = lease);
}

/* The journal cannot be read now: the next life may. */
static void on_end(struct world *w, void *ctx, uint64_t life) {
    if (awake(w, ctx, life, on_end)) process_kill(w, P_QUEUE, "because it cannot open the spool");
}

static void try_open(struct queue *q) {
    if (store_open(q->store) != 0) {
        if (!store_begun(q->store)) soon(q, &q->end_soon, 1, on_end);
        else soon(q, &q->heal_soon, HEAL_MS, on_heal);
        return;
    }
    q->opened = true;
    q->recovery = store_walk_new(q->store, true);
    store_check(q->store);
    for (unsigned i = 0; i < PROGRAMS; i++) give_lease(q, i);
    soon(q, &q->feed_soon, 1, on_feed);
}

static void on_heal(struct world *w, void *ctx, uint64_t life) {
    struct queue *q = awake(w, ctx, life, on_heal);
    if (!q) return;
    q->heal_soon = false;
    if (!q->opened) {
        try_open(q);
    } else {
        store_heal(q->store);
        for (unsigned i = 0; i < PROGRAMS; i++) give_lease(q, i);
    }
    if (struck(q)) return;
    push(q);
    tell_marked(q);
    unsynced(q);
}

static void on_feed(struct world *w, void *ctx, uint64_t life) {
    struct queue *q = awake(w, ctx, life, on_feed);
    if (!q) return;
    q->feed_soon = false;
    bool more = feed_slice(q);
    push(q);
    if (struck(q)) return;
    if (more) soon(q, &q->feed_soon, 0, on_feed);
    unsynced(q);
}

/* ---- What the store tells ------------------------------------------------------------------------------ */

static void on_answer(void *ctx, void *owner, const struct control *c, const struct status *s,
                      unsigned batch) {
    struct queue *q = ctx;
    struct intake *in = owner;
    (void)batch;
    if (faults_disk_dead(q->p->w)) { /* it is dead and does not know it yet */
        blob_put(q->p->w, in->blob);
        free(in);
        return;
    }
    TELL(q->p, in->peer, mail_done, .id = c->id, WIRE_STATUS(*s));
    if (s->kind == STATUS_OK) tell_fresh(q, c, in->blob);
    else blob_put(q->p->w, in->blob);
    free(in);
}

static void on_retired(void *ctx, struct qid id, int64_t arrival) {
    struct queue *q = ctx;
    (void)arrival;
    STORY(q->p->w, "queue: %s retired", qid_format(id).c);
}

static void on_aside(void *ctx, struct str file, struct str why) {
    struct queue *q = ctx;
    STORY(q->p->w, "queue: %.*s set aside: %.*s", STR_ARGS(file), STR_ARGS(why));
}

static void on_intake(void *ctx, bool open, struct str why) {
    struct queue *q = ctx;
    if (!open) oracle_sync_failed(q->p->w);
    STORY(q->p->w, "queue: intake %s: %.*s", open ? "goes on" : "stops", STR_ARGS(why));
}

static void on_trouble(void *ctx, struct str text) {
    struct queue *q = ctx;
    STORY(q->p->w, "queue: %.*s", STR_ARGS(text));
}

/* ---- Messages ------------------------------------------------------------------------------------------ */

static struct intake *intake_of(struct queue *q, unsigned peer, struct qid id) {
    struct intake *in = store_owner(q->store, id);
    return in && in->peer == peer ? in : NULL;
}

static void on_mail_begin(void *ctx, struct channel *ch, const struct wire_mail_begin *m, int fd) {
    struct queue *q = of(ctx);
    unsigned peer = link_peer(ch, ctx);
    (void)fd;
    if (!q->lease[peer] || m->id.lease != q->lease[peer] || store_owner(q->store, m->id)) {
        world_fail(q->p->w, "a queue id that is not its channel's was used: %s", qid_format(m->id).c);
        return;
    }
    struct intake *in = xmalloc(sizeof *in);
    *in = (struct intake){.peer = peer, .blob = -1};
    store_begin(q->store,
                &(struct control){.id = m->id,
                                  .about = m->about,
                                  .arrival = m->arrival,
                                  .body = m->body,
                                  .sender = m->sender,
                                  .ret = m->ret,
                                  .envid = m->envid,
                                  .origin = m->origin},
                in);
}

static void on_mail_rcpt(void *ctx, struct channel *ch, const struct wire_mail_rcpt *m, int fd) {
    struct queue *q = of(ctx);
    (void)fd;
    if (!intake_of(q, link_peer(ch, ctx), m->id)) return;
    store_rcpt(q->store, m->id, m->index,
               &(struct control_rcpt){.rcpt = m->rcpt, .orcpt = m->orcpt, .notify = m->notify});
}

static void on_mail_chunk(void *ctx, struct channel *ch, const struct wire_mail_chunk *m, int fd) {
    struct queue *q = of(ctx);
    struct world *w = q->p->w;
    struct intake *in = intake_of(q, link_peer(ch, ctx), m->id);
    if (!in) {
        blob_put(w, fd);
        return;
    }
    int keep = blob_dup(w, fd); /* store_data may end in on_answer, which lets go of it */
    blob_put(w, in->blob);
    in->blob = in->chunks ? -1 : fd;
    if (in->chunks) blob_put(w, fd);
    in->chunks++;
    store_data(q->store, m->id, blob_str(w, keep));
    blob_put(w, keep);
}

static void on_mail_end(void *ctx, struct channel *ch, const struct wire_mail_end *m, int fd) {
    struct queue *q = of(ctx);
    (void)fd;
    if (!intake_of(q, link_peer(ch, ctx), m->id)) return;
    store_end(q->store, m->id, m->rcpts, m->size, m->prefix);
    if (store_ended(q->store)) soon(q, &q->commit_soon, 0, on_commit);
}

static void on_mail_abort(void *ctx, struct channel *ch, const struct wire_mail_abort *m, int fd) {
    struct queue *q = of(ctx);
    (void)fd;
    struct intake *in = intake_of(q, link_peer(ch, ctx), m->id);
    if (!in) return;
    store_abort(q->store, m->id);
    blob_put(q->p->w, in->blob);
    free(in);
}

static void on_fetch(void *ctx, struct channel *ch, const struct wire_fetch *m, int fd) {
    (void)ch, (void)fd;
    tell_id(of(ctx), m->id);
}

static void on_mark(void *ctx, struct channel *ch, const struct wire_mark *m, int fd) {
    struct queue *q = of(ctx);
    uint32_t leaf;
    (void)ch, (void)fd;
    struct control_mark mark = {.index = m->index,
                                .state = (char)m->state,
                                .attempts = m->attempts,
                                .next = m->next,
                                .status = STATUS_OF(m)};
    /* REFUSED: the split that made this recipient was lost with a queue and a dispatch; it will be made again. */
    enum store_outcome outcome = store_mark(q->store, m->id, &mark);
    q->marked++;
    if (outcome == STORE_REFUSED)
        STORY(q->p->w, "queue: mark %c of %s/%u makes no sense", m->state, qid_format(m->id).c, m->index);
    if (outcome == STORE_REFUSED) return;
    if (!store_begun(q->store) || faults_disk_dead(q->p->w) || m->state == 'L') return;
    if (!oracle_named(q->p->w, m->id, m->index, &leaf)) return;
    /* Without a journal it was written at once; with one at the end of the round. */
    leaf_of(q->p->w, leaf)->teller = q->p->w->p[P_DISPATCH].life;
    oracle_stage(q->p->w, leaf, q->p->w->o.journal ? ST_TAKEN : ST_MARKED);
}

static void on_split(void *ctx, struct channel *ch, const struct wire_split *m, int fd) {
    struct queue *q = of(ctx);
    (void)ch, (void)fd;
    struct control_rcpt r = {.rcpt = m->rcpt, .parent = m->parent, .orcpt = m->orcpt, .notify = m->notify};
    /* A repetition after a restart of queue is OK. */
    if (store_split(q->store, m->id, m->index, &r) == STORE_REFUSED)
        STORY(q->p->w, "queue: split %s/%u makes no sense", qid_format(m->id).c, m->index);
    q->marked++;
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

/* Small, so that segments are used again all the time; the size by the seed. */
static struct journal_config journal_of(const struct world *w) {
    uint64_t h = mix(w->o.seed + 99);
    uint32_t size = UINT32_C(16384) << h % 3;
    return (struct journal_config){.segments = 3 + (unsigned)(h >> 8) % 4,
                                   .segment_size = size,
                                   .large = size / 4,
                                   .skip = faults_skip(w)};
}

static void start(struct process *p) {
    struct queue *q = xmalloc(sizeof *q);
    struct store_config config = {.free_space = 1 << 20,
                                  .message_size = 4 << 20,
                                  .recipients = 1000,
                                  .skip = p->w->o.mutant ? p->w->o.mutant->store_skip : 0};
    if (p->w->o.journal) config.journal = journal_of(p->w);
    struct store_user user = {q, on_answer, on_retired, on_aside, on_intake, on_trouble};
    q->p = p;
    p->state = q;
    q->disk = disk_of_programs(p->w);
    q->store = store_new(q->disk, &config, &user);
    try_open(q);
}

static bool all_of_them(void *ctx, void *owner) {
    (void)ctx, (void)owner;
    return true;
}

static bool of_peer(void *ctx, void *owner) {
    return ((struct intake *)owner)->peer == *(unsigned *)ctx;
}

struct peer_ctx {
    unsigned peer;
    struct world *w;
};

static void forget(void *ctx, void *owner) {
    struct peer_ctx *c = ctx;
    struct intake *in = owner;
    blob_put(c->w, in->blob);
    free(in);
}

static void end(struct process *p) {
    struct queue *q = of(p);
    struct world *w = p->w;
    struct peer_ctx c = {0, w};
    bool stopped = store_stopped(q->store);
    /* The memory of the dead: freed without its doing anything any more. */
    faults_disk_stop(w);
    store_abort_all(q->store, all_of_them, forget, &c);
    store_walk_free(q->recovery);
    store_walk_free(q->telling);
    set_clear(&q->told);
    store_free(q->store);
    free(q->disk);
    faults_disk_resume(w);
    free(q);
    oracle_queue_crashed(w);
    oracle_unwritten(w, stopped);
}

static void peer(struct process *p, struct link *l, unsigned number) {
    struct queue *q = of(p);
    (void)l;
    q->lease[number] = 0;
    give_lease(q, number);
    if (number != P_DISPATCH) return;
    if (q->recovery && !q->recovery_tells && store_walk_counts(q->recovery)->messages == 0)
        q->recovery_tells = true;
    else q->tell_again = !leaves_out(p->w, SHELL_NO_TELLING);
    if (q->opened) soon(q, &q->feed_soon, 0, on_feed);
}

static void peer_gone(struct process *p, unsigned number) {
    struct queue *q = of(p);
    struct peer_ctx c = {number, p->w};
    q->lease[number] = 0;
    store_abort_all(q->store, of_peer, forget, &c);
    if (number != P_DISPATCH) return;
    q->marked = 0;
    q->tell_again = q->recovery_tells = false;
    store_walk_free(q->telling);
    q->telling = NULL;
    set_clear(&q->told);
    store_let_go_all(q->store);
}

static void round_done(struct process *p) {
    struct queue *q = of(p);
    if (leaves_out(p->w, SHELL_LEAK)) (void)!xmalloc(32);
    if (leaves_out(p->w, SHELL_ACK_EARLY)) tell_marked(q);
    push(q);
    if (!struck(q)) unsynced(q);
}

static const struct wire_handlers handlers = {
    .mail_begin = on_mail_begin,
    .mail_rcpt = on_mail_rcpt,
    .mail_chunk = on_mail_chunk,
    .mail_end = on_mail_end,
    .mail_abort = on_mail_abort,
    .fetch = on_fetch,
    .mark = on_mark,
    .split = on_split,
};

static uint64_t room(const struct process *p) {
    const struct queue *q = p->state;
    uint64_t journal = p->w->o.journal ? 6 * 65536 * UINT64_C(2) : 0;
    uint64_t held = store_drafts(q->store) * UINT64_C(8192) + store_hands(q->store) * UINT64_C(512) +
                    store_unsynced(q->store) * UINT64_C(1024);
    return 65536 + journal + held + q->told.cap * sizeof *q->told.v;
}

const struct program_kind kind_queue = {"queue", ROLE_queue, &handlers,  start, end,
                                        peer,    peer_gone,  round_done, room};

const char *queue_busy(const struct world *w) {
    const struct process *p = &w->p[P_QUEUE];
    const struct queue *q = p->state;
    if (!p->alive || !q->opened || !q->recovered) return "queue has not recovered";
    if (q->telling || q->tell_again) return "queue tells dispatch what it has";
    if (store_stopped(q->store)) return "the store takes no mail";
    if (store_drafts(q->store)) return "the store has drafts";
    if (store_hands(q->store)) return "the store has mail in dispatch's hands";
    return store_unsynced(q->store) ? "the store has marks that are not durable" : NULL;
}

/* The spool holds nothing any more but the lease, and what was set aside. */
void queue_check_empty(struct world *w) {
    struct disk *d = (struct disk *)(void *)w->disk;
    size_t files = 0;
    for (int i = 0; i < DISK_FOLDERS; i++) files += disk_fake_files(d, i);
    if (files) {
        char name[DISK_NAME_MAX + 1] = "";
        struct disk_list *list;
        for (int i = 0; i < DISK_FOLDERS && !name[0]; i++) {
            if (d->ops->list(d, i, &list) != 0) break;
            d->ops->list_next(d, list, name);
            d->ops->list_close(d, list);
        }
        world_fail(w, "%zu files are left in the spool, one is %s", files, name);
    }
    if (disk_fake_open_files(d) > (w->o.journal ? 1 : 0))
        world_fail(w, "%d files are left open", disk_fake_open_files(d));
}
