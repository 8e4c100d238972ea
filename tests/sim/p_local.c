/* p_local.c: the workers of deliver-local around their real engine (batch.c), and the Maildirs of their users,
 * which outlive them.
 *
 * One process is the worker of one user; the spawner between is left out. A Maildir here is what a disk and its
 * cache make of one: a file that was stored is seen by readers and lost at a power cut, whole or only its data,
 * until a sync has succeeded; a sync that fails makes the kernel forget what it could not write, and the next one
 * says nothing of it. Only what is written anew is spoken of again. */
#include "deliver-local/batch.h"
#include "tests/sim/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RCPTS_MAX = 50, JOB_MAX = 65536 };

/* ---- The Maildirs -------------------------------------------------------------------------------------- */

enum file_state {
    FILE_NONE,
    FILE_CACHED,    /* readers see it */
    FILE_FORGOTTEN, /* readers see it, and a sync says yes, but the disk does not have it */
    FILE_EMPTY,     /* a name without its data */
    FILE_DURABLE
};

struct file { /* of one message in the Maildir of one user */
    uint8_t state, user;
    uint16_t leaves; /* bits: for which of its recipients */
    uint32_t sub;
};

struct mailboxes {
    struct file *v;
    size_t n, cap;
};

static struct file *file_of(struct world *w, uint32_t sub, unsigned user) {
    struct mailboxes *m = w->mailboxes;
    size_t at = (size_t)sub * LOCALS + user;
    AS(MEM_WORLD);
    if (at >= m->n) {
        size_t old = m->n;
        m->v = xgrow(m->v, &m->cap, at + 1, sizeof *m->v);
        m->n = at + 1;
        memset(m->v + old, 0, (m->n - old) * sizeof *m->v);
    }
    return &m->v[at];
}

void mailboxes_new(struct world *w) {
    w->mailboxes = xmalloc(sizeof *w->mailboxes);
}

void mailboxes_free(struct world *w) {
    if (w->mailboxes) free(w->mailboxes->v);
    free(w->mailboxes);
}

static void take_back(struct world *w, struct file *f) {
    for (uint32_t i = 0; i < 16; i++)
        if (f->leaves & 1u << i) oracle_taken_back(w, sub_of(w, f->sub)->leaf + i);
    f->leaves = 0;
}

void mailboxes_cut(struct world *w) {
    struct mailboxes *m = w->mailboxes;
    for (size_t i = 0; i < m->n; i++) {
        struct file *f = &m->v[i];
        bool cached = f->state == FILE_CACHED || f->state == FILE_FORGOTTEN;
        if (!cached) continue;
        uint32_t luck = chance(w, f->state == FILE_FORGOTTEN ? 2 : 3);
        f->state = luck == 0 ? FILE_NONE : luck == 1 ? FILE_EMPTY : FILE_DURABLE;
        if (f->state != FILE_DURABLE) take_back(w, f);
    }
}

static unsigned mutant(const struct world *w) {
    return w->o.mutant ? w->o.mutant->mailbox : 0;
}

/* The name follows from the message: what is there already is written anew in its place, whoever of its
 * recipients it was for. The new file is durable before it takes the place of the old one: only whether the name is
 * there after a power cut is as sure as it was. */
static void store_file(struct world *w, unsigned user, uint32_t leaf, struct str data) {
    uint32_t sub = leaf_of(w, leaf)->sub;
    struct file *f = file_of(w, sub, user);
    uint16_t bit = (uint16_t)(1u << (leaf - sub_of(w, sub)->leaf));
    if (f->state != FILE_NONE && mutant(w) & MAILBOX_BELIEVES) return;
    bool seen = f->state != FILE_NONE && f->leaves & bit;
    bool stays = f->state == FILE_DURABLE && !(mutant(w) & MAILBOX_RISKS);
    *f = (struct file){stays ? FILE_DURABLE : FILE_CACHED, (uint8_t)user, f->leaves | bit, sub};
    oracle_mailed(w, leaf, data, seen);
}

static bool sync_files(struct world *w, unsigned user) {
    struct mailboxes *m = w->mailboxes;
    bool fails = faults_on(w) && once_in(w, 25);
    if (fails) w->count.disk_errors++;
    if (mutant(w) & MAILBOX_NO_SYNC) return true;
    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].user == user && m->v[i].state == FILE_CACHED)
            m->v[i].state = fails ? FILE_FORGOTTEN : FILE_DURABLE;
    return !fails;
}

/* ---- The worker ---------------------------------------------------------------------------------------- */

struct worker {
    struct process *p;
    struct batch *batch;
    struct arena *arena; /* of the job in hand */
    bool busy;
    int blob;
    uint32_t job, expected, n;
    struct qid id;
    uint32_t index[RCPTS_MAX];
    uint32_t timer;
    int home; /* the only one that it can enter; -1: none yet */
    bool told, leaving;
};

static struct worker *of(void *ctx) {
    return ((struct process *)ctx)->state;
}

static int64_t now_ms(const struct worker *l) {
    return l->p->w->now / NS_MS;
}

static struct status op_sync(void *ctx) {
    struct worker *l = ctx;
    if (sync_files(l->p->w, l->p->instance)) return status_make(250, "2.0.0", "synced");
    STORY(l->p->w, "%s.%u: a sync has failed", process_name(l->p), l->p->instance);
    return status_make(451, "4.3.0", "the mailbox cannot be synced");
}

static void op_report(void *ctx, const struct batch_job *j) {
    struct worker *l = ctx;
    l->told = true;
    for (uint32_t i = 0; i < j->n; i++)
        TELL(l->p, P_DISPATCH, result, .job = j->job, .id = j->id, .index = j->index[i], .host = STR_NONE,
             WIRE_STATUS(j->status));
    TELL(l->p, P_DISPATCH, job_done, .job = j->job);
}

static const struct batch_ops ops = {op_sync, op_report};

static void job_over(struct worker *l) {
    blob_put(l->p->w, l->blob);
    l->blob = 0;
    l->busy = false;
}

/* Two homes share each UID: the message says which it is for. */
static bool at_home(struct worker *l) {
    int home = l->p->w->profile->local ? (int)(l->id.serial % 2) : 0;
    if (l->home < 0) l->home = home;
    return l->home == home;
}

static void give_back(struct worker *l) {
    if (!l->told) batch_flush(l->batch, now_ms(l));
    TELL(l->p, P_DISPATCH, job_back, .job = l->job);
    l->leaving = true;
    job_over(l);
}

static void deliver(struct worker *l) {
    struct world *w = l->p->w;
    if (!at_home(l)) {
        give_back(l);
        return;
    }
    struct status st = status_make(250, "2.0.0", "delivered");
    if (faults_on(w) && once_in(w, w->profile->local ? 6 : 40))
        st = status_make(452, "4.2.2", "the mailbox is full");
    struct str data = blob_str(w, l->blob);
    for (uint32_t i = 0; i < l->n && st.kind == STATUS_OK; i++) {
        uint32_t leaf;
        if (oracle_named(w, l->id, l->index[i], &leaf)) store_file(w, l->p->instance, leaf, data);
    }
    struct batch_job j = {.job = l->job, .id = l->id, .index = l->index, .n = l->n, .status = st};
    job_over(l);
    if (st.kind == STATUS_OK && mutant(w) & MAILBOX_REPORTS_EARLY) op_report(l, &j);
    else batch_add(l->batch, &j, now_ms(l));
}

static void on_local_job(void *ctx, struct channel *ch, const struct wire_local_job *m, int fd) {
    struct worker *l = of(ctx);
    (void)ch;
    if (l->busy) world_fail(l->p->w, "a job within a job");
    if (m->size != blob_str(l->p->w, fd).n) world_fail(l->p->w, "a local job whose size is not its data's");
    l->busy = true;
    l->blob = fd;
    l->job = m->job;
    l->id = m->id;
    l->expected = m->rcpts;
    l->n = 0;
}

static void on_job_rcpt(void *ctx, struct channel *ch, const struct wire_job_rcpt *m, int fd) {
    struct worker *l = of(ctx);
    struct world *w = l->p->w;
    uint32_t leaf;
    (void)ch, (void)fd;
    if (!l->busy || m->job != l->job || l->n == RCPTS_MAX) return;
    if (!leaf_at_address(w, m->rcpt, &leaf)) {
        world_fail(w, "a local job for %.*s, whom nobody knows", STR_ARGS(m->rcpt));
        return;
    }
    oracle_name(w, l->id, m->index, leaf);
    l->index[l->n++] = m->index;
    if (l->n == l->expected) deliver(l);
}

static void on_due(struct world *w, void *ctx, uint64_t arg) {
    struct process *p = ctx;
    if (w->ending || !p->alive || p->life != (uint32_t)(arg >> 32)) return;
    struct worker *l = of(p);
    if (l->timer != (uint32_t)arg) return;
    batch_run(l->batch, now_ms(l));
}

static void round_done(struct process *p) {
    struct worker *l = of(p);
    if (l->leaving) batch_flush(l->batch, now_ms(l));
    batch_run(l->batch, now_ms(l));
    int64_t due = batch_due(l->batch, now_ms(l));
    if (due < 0) return;
    l->timer++;
    world_at(p->w, due * NS_MS, on_due, p, (uint64_t)p->life << 32 | l->timer);
}

static void start(struct process *p) {
    struct worker *l = xmalloc(sizeof *l);
    l->p = p;
    l->home = -1;
    l->batch = batch_new(&ops, l);
    l->arena = arena_new(JOB_MAX);
    p->state = l;
}

static void end(struct process *p) {
    struct worker *l = of(p);
    if (l->busy) job_over(l);
    batch_free(l->batch);
    arena_free(l->arena);
    free(l);
}

static void peer(struct process *p, struct link *l, unsigned number) {
    (void)l, (void)number;
    TELL(p, P_DISPATCH, synced, .unused = 0);
}

/* The real one syncs what it has, and ends. */
static void peer_gone(struct process *p, struct link *link, unsigned number) {
    (void)link;
    struct worker *l = of(p);
    (void)number;
    if (l->busy) job_over(l);
    batch_flush(l->batch, now_ms(l));
}

static uint64_t room(const struct process *p) {
    (void)p;
    return UINT64_C(600) * 1024;
}

static const struct wire_handlers handlers = {.local_job = on_local_job, .job_rcpt = on_job_rcpt};

const struct program_kind kind_local = {.name = "worker",
                                        .role = ROLE_local,
                                        .handlers = &handlers,
                                        .start = start,
                                        .free = end,
                                        .peer = peer,
                                        .peer_gone = peer_gone,
                                        .round = round_done,
                                        .room = room};

void local_born(struct process *p) {
    struct worker *l = p->state;
    if (!p->alive) return;
    l->home = -1;
    l->told = l->leaving = false;
}

bool local_idle(const struct process *p) {
    const struct worker *l = p->state;
    return p->alive && !l->busy && !batch_waiting(l->batch);
}
