/* loop.h: the event loop of every program: epoll, timers, signals, and work to do before it sleeps.
 *
 * One thread. A callback may close any watch, also its own; it is freed when the round is over. With a fake clock
 * (tests), time stands still until loop_advance. */
#ifndef POSTERN_COMMON_LOOP_H
#define POSTERN_COMMON_LOOP_H

#include "common/timers.h"

#include <sys/epoll.h>

struct loop;
struct watch;

/* Something to be done once before the loop sleeps again; lies inside the thing it belongs to. */
struct deferred {
    void (*fn)(void *ctx);
    void *ctx;
    struct deferred *next;
    bool queued;
};

struct loop *loop_new(void);      /* ends the program when the kernel gives no epoll descriptor */
struct loop *loop_new_fake(void); /* with a clock that only loop_advance moves */
void loop_free(struct loop *l);

/* Calls fn with the EPOLL* bits that are ready. events 0 watches nothing (errors and hang-ups still come).
 * NULL: the kernel refused (errno). The descriptor stays the caller's. */
struct watch *loop_watch(struct loop *l, int fd, uint32_t events, void (*fn)(void *ctx, uint32_t ready), void *ctx);
void watch_set(struct watch *w, uint32_t events);
void watch_close(struct watch *w); /* does not close the descriptor; do that after */

void loop_timer(struct loop *l, struct timer *t, int64_t at_ns);      /* at a time of loop_now's clock */
void loop_timer_in(struct loop *l, struct timer *t, int64_t delay_ms);/* after a delay */
void loop_timer_cancel(struct loop *l, struct timer *t);
void loop_defer(struct loop *l, struct deferred *d);                  /* once, however often it is asked */
/* Blocks the signal and calls fn for it from the loop. */
void loop_signal(struct loop *l, int signo, void (*fn)(void *ctx, int signo), void *ctx);

int64_t loop_now(const struct loop *l);     /* monotonic, ns, as of this round */
int64_t loop_wall_ms(const struct loop *l); /* milliseconds since 1970, as of this round */
void loop_advance(struct loop *l, int64_t ns); /* fake clock only */

void loop_run(struct loop *l);                     /* until loop_stop */
bool loop_once(struct loop *l, int timeout_ms);    /* one round; -1 waits as long as needed. False after loop_stop */
void loop_stop(struct loop *l);

#endif
