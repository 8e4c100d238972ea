#include "common/loop.h"

#include "common/counters.h"
#include "common/arena.h"
#include "common/warm.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

struct watch {
    struct loop *loop;
    int fd;
    uint32_t events;
    void (*fn)(void *ctx, uint32_t ready);
    void *ctx;
    bool closed;
    struct watch *next_dead;
};

struct signal_row {
    int signo;
    void (*fn)(void *ctx, int signo);
    void *ctx;
};

struct loop {
    int epoll;
    bool fake, stopped;
    int64_t now, wall_ms;
    struct timers timers;
    struct deferred *deferred, **deferred_tail;
    struct watch *dead; /* closed in this round, freed when it is over */
    int signal_fd;
    sigset_t signals;
    struct watch *signal_watch;
    struct signal_row rows[8];
    size_t row_count;
};

static int64_t clock_ns(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void read_clock(struct loop *l) {
    if (l->fake) return;
    l->now = clock_ns(CLOCK_MONOTONIC);
    l->wall_ms = clock_ns(CLOCK_REALTIME) / 1000000;
}

static struct loop *make(bool fake) {
    struct loop *l = xmalloc(sizeof *l);
    l->fake = fake;
    l->signal_fd = -1;
    l->deferred_tail = &l->deferred;
    sigemptyset(&l->signals);
    l->wall_ms = 1700000000000;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0) {
        perror("postern: epoll_create1");
        _exit(71);
    }
    read_clock(l);
    return l;
}

struct loop *loop_new(void) {
    return make(false);
}

struct loop *loop_new_fake(void) {
    return make(true);
}

static void bury(struct loop *l) {
    while (l->dead) {
        struct watch *w = l->dead;
        l->dead = w->next_dead;
        free(w);
    }
}

void loop_free(struct loop *l) {
    if (!l) return;
    if (l->signal_watch) watch_close(l->signal_watch);
    bury(l);
    if (l->signal_fd >= 0) close(l->signal_fd);
    close(l->epoll);
    timers_free(&l->timers);
    free(l);
}

struct watch *loop_watch(struct loop *l, int fd, uint32_t events, void (*fn)(void *ctx, uint32_t ready),
                         void *ctx) {
    struct watch *w = xmalloc(sizeof *w);
    *w = (struct watch){.loop = l, .fd = fd, .events = events, .fn = fn, .ctx = ctx};
    struct epoll_event e = {.events = events, .data.ptr = w};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
        int saved = errno;
        free(w);
        errno = saved;
        return NULL;
    }
    return w;
}

void watch_set(struct watch *w, uint32_t events) {
    if (w->closed || w->events == events) return;
    struct epoll_event e = {.events = events, .data.ptr = w};
    w->events = events;
    epoll_ctl(w->loop->epoll, EPOLL_CTL_MOD, w->fd, &e);
}

void watch_close(struct watch *w) {
    if (w->closed) return;
    w->closed = true;
    epoll_ctl(w->loop->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    w->next_dead = w->loop->dead;
    w->loop->dead = w;
}

void loop_timer(struct loop *l, struct timer *t, int64_t at_ns) {
    timers_set(&l->timers, t, at_ns);
}

WARM void loop_timer_in(struct loop *l, struct timer *t, int64_t delay_ms) {
    timers_set(&l->timers, t, l->now + delay_ms * 1000000);
}

void loop_timer_cancel(struct loop *l, struct timer *t) {
    timers_cancel(&l->timers, t);
}

void loop_defer(struct loop *l, struct deferred *d) {
    if (d->queued) return;
    d->queued = true;
    d->next = NULL;
    *l->deferred_tail = d;
    l->deferred_tail = &d->next;
}

static WARM void run_deferred(struct loop *l) {
    while (l->deferred) {
        struct deferred *d = l->deferred;
        l->deferred = d->next;
        if (!l->deferred) l->deferred_tail = &l->deferred;
        d->queued = false;
        d->fn(d->ctx);
    }
}

static void on_signal(void *ctx, uint32_t ready) {
    struct loop *l = ctx;
    struct signalfd_siginfo info;
    (void)ready;
    while (read(l->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        for (size_t i = 0; i < l->row_count; i++)
            if (l->rows[i].signo == (int)info.ssi_signo) l->rows[i].fn(l->rows[i].ctx, l->rows[i].signo);
}

void loop_signal(struct loop *l, int signo, void (*fn)(void *ctx, int signo), void *ctx) {
    assert(l->row_count < sizeof l->rows / sizeof l->rows[0]);
    l->rows[l->row_count++] = (struct signal_row){signo, fn, ctx};
    sigaddset(&l->signals, signo);
    sigprocmask(SIG_BLOCK, &l->signals, NULL);
    int fd = signalfd(l->signal_fd, &l->signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        perror("postern: signalfd");
        _exit(71);
    }
    l->signal_fd = fd;
    if (!l->signal_watch) l->signal_watch = loop_watch(l, fd, EPOLLIN, on_signal, l);
}

int64_t loop_now(const struct loop *l) {
    return l->now;
}

int64_t loop_wall_ms(const struct loop *l) {
    return l->wall_ms;
}

void loop_advance(struct loop *l, int64_t ns) {
    assert(l->fake);
    l->now += ns;
    l->wall_ms += ns / 1000000;
    timers_run(&l->timers, l->now);
    run_deferred(l);
}

static WARM int sleep_ms(const struct loop *l, int timeout_ms) {
    int64_t at;
    if (l->fake || !timers_next(&l->timers, &at)) return timeout_ms;
    int64_t ms = (at - l->now + 999999) / 1000000;
    if (ms < 0) ms = 0;
    if (timeout_ms >= 0 && ms > timeout_ms) return timeout_ms;
    return ms > 3600000 ? 3600000 : (int)ms;
}

WARM bool loop_once(struct loop *l, int timeout_ms) {
    struct epoll_event events[128];
    run_deferred(l);
    if (l->stopped) return false;
    if (!l->fake) counters_round(l->now);
    int n = epoll_wait(l->epoll, events, 128, sleep_ms(l, timeout_ms));
    assert(n >= 0 || errno == EINTR);
    counters->wakeups++;
    read_clock(l);
    for (int i = 0; i < n; i++) {
        struct watch *w = events[i].data.ptr;
        if (!w->closed) w->fn(w->ctx, events[i].events);
    }
    timers_run(&l->timers, l->now);
    run_deferred(l);
    bury(l);
    return !l->stopped;
}

void loop_run(struct loop *l) {
    while (loop_once(l, -1)) {
    }
}

void loop_stop(struct loop *l) {
    l->stopped = true;
}
