/* timers.h: a heap of deadlines. Pure: the caller says what time it is, so the simulator can. Times are nanoseconds
 * of a monotonic clock. A struct timer lies inside the thing it belongs to; cancel it before that thing goes. */
#ifndef POSTERN_COMMON_TIMERS_H
#define POSTERN_COMMON_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
    int64_t at;
    void (*fn)(void *ctx);
    void *ctx;
    size_t slot; /* 1 + place in the heap; 0 when not set */
};

struct timers {
    struct timer **v;
    size_t n, cap;
};

/* Sets or moves: t->fn and t->ctx must be filled in. O(log n). */
void timers_set(struct timers *ts, struct timer *t, int64_t at);
void timers_cancel(struct timers *ts, struct timer *t); /* harmless when not set */
bool timers_next(const struct timers *ts, int64_t *at); /* the earliest deadline; false when none */
/* Runs what is due at now, earliest first; a timer that sets itself again for <= now runs in the next call. */
void timers_run(struct timers *ts, int64_t now);
void timers_free(struct timers *ts);

#endif
