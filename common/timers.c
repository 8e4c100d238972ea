#include "common/timers.h"

#include "common/arena.h"
#include "common/warm.h"

#include <stdlib.h>

static void place(struct timers *ts, size_t i, struct timer *t) {
    ts->v[i] = t;
    t->slot = i + 1;
}

static void sift_up(struct timers *ts, size_t i, struct timer *t) {
    while (i > 0 && ts->v[(i - 1) / 2]->at > t->at) {
        place(ts, i, ts->v[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(ts, i, t);
}

static void sift_down(struct timers *ts, size_t i, struct timer *t) {
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= ts->n) break;
        if (c + 1 < ts->n && ts->v[c + 1]->at < ts->v[c]->at) c++;
        if (ts->v[c]->at >= t->at) break;
        place(ts, i, ts->v[c]);
        i = c;
    }
    place(ts, i, t);
}

WARM void timers_set(struct timers *ts, struct timer *t, int64_t at) {
    timers_cancel(ts, t);
    t->at = at;
    ts->v = xgrow(ts->v, &ts->cap, ts->n + 1, sizeof *ts->v);
    sift_up(ts, ts->n++, t);
}

WARM void timers_cancel(struct timers *ts, struct timer *t) {
    if (!t->slot) return;
    size_t i = t->slot - 1;
    t->slot = 0;
    struct timer *last = ts->v[--ts->n];
    if (last == t) return;
    if (i > 0 && ts->v[(i - 1) / 2]->at > last->at) sift_up(ts, i, last);
    else sift_down(ts, i, last);
}

WARM bool timers_next(const struct timers *ts, int64_t *at) {
    if (ts->n == 0) return false;
    *at = ts->v[0]->at;
    return true;
}

WARM void timers_run(struct timers *ts, int64_t now) {
    /* As many as are set now: one that a callback sets for the past waits, so this ends. */
    for (size_t budget = ts->n; budget > 0 && ts->n > 0 && ts->v[0]->at <= now; budget--) {
        struct timer *t = ts->v[0];
        timers_cancel(ts, t);
        t->fn(t->ctx);
    }
}

void timers_free(struct timers *ts) {
    free(ts->v);
    *ts = (struct timers){0};
}
