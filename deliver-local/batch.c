#include "deliver-local/batch.h"

#include "common/arena.h"

#include <stdlib.h>
#include <string.h>

enum { MEMORY_MAX = BATCH_MAX * 1024 + BATCH_RCPTS_MAX * 8 };

struct batch {
    const struct batch_ops *ops;
    void *ctx;
    struct arena *arena; /* texts and numbers of those that wait */
    struct batch_job *v;
    size_t n, cap, rcpts;
    int64_t first, last; /* when the first that waits came; when the last sync was over, or -1 */
};

struct batch *batch_new(const struct batch_ops *ops, void *ctx) {
    struct batch *b = xmalloc(sizeof *b);
    b->ops = ops;
    b->ctx = ctx;
    b->last = -1;
    b->arena = arena_new(MEMORY_MAX);
    return b;
}

void batch_free(struct batch *b) {
    if (!b) return;
    arena_free(b->arena);
    free(b->v);
    free(b);
}

size_t batch_waiting(const struct batch *b) {
    return b->n;
}

static bool is_full(const struct batch *b) {
    return b->n == BATCH_MAX || b->rcpts >= BATCH_RCPTS_MAX;
}

/* Copies what the job points to. False: no memory for it. */
static bool keep(struct batch *b, const struct batch_job *j) {
    size_t size = j->n * sizeof *j->index;
    uint32_t *index = arena_alloc(b->arena, size);
    struct str text = str_dup(b->arena, j->status.text);
    if (!index || (!text.p && j->status.text.n)) return false;
    b->v = xgrow(b->v, &b->cap, b->n + 1, sizeof *b->v);
    struct batch_job *to = &b->v[b->n];
    *to = *j;
    if (size) memcpy(index, j->index, size);
    to->index = index;
    to->status.text = text;
    return true;
}

/* What was stored before this is on the disk, or is to be delivered again: all of it gets the same answer. */
static struct status sync_all(struct batch *b, int64_t now_ms) {
    struct status st = b->ops->sync(b->ctx);
    for (size_t i = 0; i < b->n; i++) {
        if (st.kind != STATUS_OK) b->v[i].status = st;
        b->ops->report(b->ctx, &b->v[i]);
    }
    b->n = b->rcpts = 0;
    b->last = now_ms;
    arena_reset(b->arena);
    return st;
}

void batch_add(struct batch *b, const struct batch_job *j, int64_t now_ms) {
    if (j->status.kind != STATUS_OK) {
        b->ops->report(b->ctx, j);
        return;
    }
    if (!keep(
            b,
            j)) { /* more recipients than all our memory: it was stored before this sync, which serves it too */
        struct batch_job alone = *j;
        struct status st = sync_all(b, now_ms);
        if (st.kind != STATUS_OK) alone.status = st;
        b->ops->report(b->ctx, &alone);
        return;
    }
    if (b->n++ == 0) b->first = now_ms;
    b->rcpts += j->n;
    if (is_full(b)) sync_all(b, now_ms);
}

int64_t batch_due(const struct batch *b, int64_t now_ms) {
    if (!b->n) return -1;
    bool quiet = b->last < 0 || b->first < b->last || b->first - b->last >= BATCH_QUIET_MS;
    return quiet ? now_ms : (b->first / BATCH_WAIT_MS + 1) * BATCH_WAIT_MS;
}

void batch_run(struct batch *b, int64_t now_ms) {
    if (b->n && batch_due(b, now_ms) <= now_ms) sync_all(b, now_ms);
}

void batch_flush(struct batch *b, int64_t now_ms) {
    if (b->n) sync_all(b, now_ms);
}
