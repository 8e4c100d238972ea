/* commit.c: many messages made durable together, and what happens when that fails. */
#include "queue/inside.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Writing control files ----------------------------------------------------------------------------- */

static int write_head(struct store *s, struct draft *d) {
    size_t max = control_head_bound(&d->c);
    char few[4096], *mem = max <= sizeof few ? few : xmalloc(max);
    struct buf b = buf_on(mem, max);
    bool fits = control_put_head(&b, &d->c, &d->c.chain);
    assert(fits); /* intake.c has checked every length */
    int error = part_create(s, d, 'c', &d->control);
    d->control_made = !error;
    if (!error) error = DISK(s, write, d->control, b.p, b.n, 0);
    d->c.end = b.n;
    if (mem != few) free(mem);
    return error;
}

static void fail_one(struct store *s, struct draft *d, int error) {
    struct status status = status_of_errno(error);
    struct control c = {.id = d->c.id};
    void *owner = d->owner;
    draft_discard(s, d);
    s->user.answer(s->user.ctx, owner, &c, &status, 0);
}

uint64_t syncs_failed(const struct store *s) {
    return s->syncs_failed + journal_syncs_failed(s->journal);
}

/* A sync that failed while the data came, or waited, may have taken them with it: the kernel drops what it could not
 * write, and the next sync says nothing of it. */
static bool doubtful(const struct store *s, const struct draft *d) {
    return d->syncs_failed != syncs_failed(s) && !(s->config.skip & STORE_SKIP_DOUBT);
}

static void write_heads(struct store *s) {
    for (struct draft *d = s->batch, *next; d; d = next) {
        next = d->batch_next;
        if (doubtful(s, d)) {
            fail_one(s, d, EIO);
            continue;
        }
        int error = write_head(s, d);
        if (!error) continue;
        fail_one(s, d, error);
        if (error != EMFILE && error != ENFILE && error != EEXIST)
            intake_stop(s, error, "writing a control file");
    }
}

/* ---- Syncing ------------------------------------------------------------------------------------------- */

/* What one commit syncs one by one; more than that is cheaper with one sync_all. */
struct plan {
    size_t syncs;
    bool dirs[DISK_DIRS];
    bool everything;
};

static void plan_dir(struct plan *p, int dir) {
    p->syncs += !p->dirs[dir];
    p->dirs[dir] = true;
}

static struct plan plan_for(const struct store *s, bool all) {
    struct plan p = {.everything = all && s->sync_everything};
    for (const struct draft *d = s->batch; d; d = d->batch_next) {
        p.syncs += 2;
        plan_dir(&p, folder_of(d->c.id));
    }
    if (all) {
        for (const struct entry *e = s->dirty; e; e = e->dirty_next) p.syncs += !e->suspect;
        for (int i = 0; i < DISK_DIRS; i++)
            if (s->dir_dirty[i]) plan_dir(&p, i);
    }
    p.everything |= p.syncs > (s->disk->batches ? 0 : SYNC_EACH_MAX);
    return p;
}

static int sync_each(struct store *s, const struct plan *p, bool all) {
    int error = 0;
    for (struct draft *d = s->batch; d && !error; d = d->batch_next) {
        error = DISK(s, sync, d->data);
        if (!error) error = DISK(s, sync, d->control);
    }
    for (struct entry *e = s->dirty; all && e && !error; e = e->dirty_next)
        if (!e->suspect) error = DISK(s, sync, e->file);
    for (int i = 0; i < DISK_DIRS && !error; i++)
        if (p->dirs[i]) error = DISK(s, sync_dir, i);
    return error;
}

/* With a journal: what is too large for it lies in files. */
static int sync_everything(struct store *s) {
    int error = 0;
    for (struct draft *d = s->disk->batches ? s->batch : NULL; d && !error; d = d->batch_next) {
        error = DISK(s, sync, d->data);
        if (!error) error = DISK(s, sync, d->control);
    }
    return error ? error : s->disk->ops->sync_all(s->disk);
}

/* ---- What a sync changes ------------------------------------------------------------------------------- */

static void clean_marks(struct store *s) {
    for (struct entry *e = s->dirty, *next; e; e = next) {
        next = e->dirty_next;
        if (!e->suspect && !e->retire) entry_clean(s, e);
    }
}

static void clean_dirs(struct store *s, const struct plan *p) {
    for (int i = 0; i < DISK_DIRS; i++) {
        if (!s->dir_dirty[i] || (!p->everything && !p->dirs[i])) continue;
        s->dir_dirty[i] = false;
        s->dirs_dirty--;
    }
}

/* Retirements that are durable now: their data may go (S6). This unlink need not be durable itself. */
static void empty_limbo(struct store *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->limbo.n; i++) {
        struct qid id = s->limbo.v[i];
        if (s->dir_dirty[folder_of(id)]) {
            s->limbo.v[kept++] = id;
            continue;
        }
        int error = DISK(s, unlink, folder_of(id), part_name(id, 'd').c);
        if (error && error != ENOENT)
            told_trouble(s, "cannot remove data of", str_of(qid_format(id).c), error);
    }
    s->limbo.n = kept;
}

static void distrust_marks(struct store *s) {
    if (s->config.skip & STORE_SKIP_DISTRUST) return;
    for (struct entry *e = s->dirty; e; e = e->dirty_next) {
        if (e->file >= 0) DISK(s, close, e->file);
        e->file = -1;
        e->suspect = s->marks_doubt = true;
    }
}

static void commit_failed(struct store *s, int error, bool marks_too) {
    /* The journal itself keeps what it could not sync, and writes it again elsewhere. */
    if (marks_too && !s->disk->batches) distrust_marks(s);
    s->syncs_failed++;
    while (s->batch) fail_one(s, s->batch, error);
    intake_stop(s, error, "syncing the spool");
}

static void settle(struct store *s, struct draft *d, unsigned batch) {
    static const struct status ok = {
        .kind = STATUS_OK, .code = 250, .detail = {2, 0, 0}, .text = {"Queued", 6}};
    struct entry *e = d->entry;
    struct control *c = &d->c;
    c->pending = c->rcpt_count;
    bool room = entry_states(e, c->rcpt_count);
    assert(room); /* the reader's limit is far above config.recipients */
    memset(e->states, 'N', c->rcpt_count);
    e->rcpts = e->pending = e->working = c->rcpt_count;
    e->arrival = c->arrival;
    e->synced = c->end;
    e->chain = c->chain;
    e->draft = NULL;
    d->entry = NULL; /* it lives its own life now, which may end in the answer */
    entry_place(s, e, PLACE_HAND);
    draft_answer(s, d, &ok, batch);
    draft_free(s, d);
}

static void commit_done(struct store *s, const struct plan *p, bool all) {
    struct draft *done = s->batch;
    unsigned batch = s->batch_n;
    if (all || p->everything) {
        clean_marks(s);
        s->sync_everything &= !p->everything;
    }
    clean_dirs(s, p);
    empty_limbo(s);
    /* From here on these drafts are no part of a batch; an answer may begin, end or abort others. */
    s->batch = NULL;
    s->batch_tail = &s->batch;
    s->batch_n = 0;
    for (struct draft *next; done; done = next) {
        next = done->batch_next;
        done->ended = false;
        settle(s, done, batch);
    }
}

static void commit(struct store *s, bool all) {
    if (!s->begun) return;
    write_heads(s);
    if (all) marks_rewrite(s);
    if (all) repeated_forget(s);
    struct plan p = plan_for(s, all);
    if (!p.syncs && !p.everything) {
        if (all) commit_done(s, &p, all);
        return;
    }
    int error = p.everything ? sync_everything(s) : sync_each(s, &p, all);
    if (error) commit_failed(s, error, all || p.everything);
    else commit_done(s, &p, all);
    store_check(s);
}

/* Marks only: the drafts wait as if they had not ended. */
static struct draft *put_by(struct store *s) {
    struct draft *waiting = s->batch;
    s->batch = NULL;
    s->batch_tail = &s->batch;
    s->batch_n = 0;
    return waiting;
}

static void put_back(struct store *s, struct draft *waiting) {
    for (struct draft *next; waiting; waiting = next) {
        next = waiting->batch_next;
        draft_joins(s, waiting);
    }
}

void store_commit_some(struct store *s, unsigned what) {
    struct draft *waiting = what & COMMIT_DRAFTS ? NULL : put_by(s);
    commit(s, what & COMMIT_MARKS);
    put_back(s, waiting);
}

/* ---- Stopping and healing ------------------------------------------------------------------------------ */

static bool roomy(const struct store *s, int *error) {
    struct disk_space space;
    *error = s->disk->ops->space(s->disk, &space);
    if (*error) return false;
    if (space.bytes >= s->config.free_space && space.inodes >= INODES_MIN) return true;
    *error = ENOSPC;
    return false;
}

bool store_stuck(const struct store *s) {
    int error;
    return s->stopped && s->disk == s->journal && journal_stuck(s->journal) && roomy(s, &error);
}

void store_check(struct store *s) {
    int error;
    if (!s->stopped && !roomy(s, &error)) intake_stop(s, error, "free space of the spool");
}

static int probe(struct store *s) {
    static const char name[] = "probe", text[] = "Postern tries whether this disk can be written.\n";
    int file, error = DISK(s, unlink, DISK_ROOT, name);
    if (error && error != ENOENT) return error;
    error = DISK(s, open, DISK_ROOT, name, DISK_CREATE, &file);
    if (error) return error;
    error = DISK(s, write, file, text, sizeof text - 1, 0);
    if (!error) error = DISK(s, sync, file);
    DISK(s, close, file);
    if (!error) error = DISK(s, sync_dir, DISK_ROOT);
    int gone = DISK(s, unlink, DISK_ROOT, name);
    if (!error && s->disk->batches) error = s->disk->ops->sync_all(s->disk); /* into a fresh segment */
    return error ? error : gone;
}

void store_heal(struct store *s) {
    int error;
    if (!s->stopped || !s->begun || !roomy(s, &error) || probe(s) != 0 || !trash_empty(s)) return;
    store_commit(s, true); /* marks first: what is on record counts more than what is new */
    for (const struct entry *e = s->dirty; e; e = e->dirty_next)
        if (e->suspect || e->retire) return;
    s->stopped = false;
    s->user.intake(s->user.ctx, true, STR("a probe was written and synced"));
}
