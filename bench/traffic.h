/* traffic.h: what the load generator and the sink share: time, a growing output buffer, an epoll watch. Measuring tools:
 * they end the process on an error of their own, and are never installed. */
#ifndef POSTERN_BENCH_TRAFFIC_H
#define POSTERN_BENCH_TRAFFIC_H

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

static inline int64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

struct out {
    char *p;
    size_t n, at, cap;
};

static inline void out_add(struct out *o, const char *s, size_t n) {
    if (o->at == o->n) o->at = o->n = 0;
    if (o->n + n > o->cap) {
        o->cap = (o->n + n) * 2 + 512;
        o->p = realloc(o->p, o->cap);
        if (!o->p) err(EX_OSERR, "realloc");
    }
    memcpy(o->p + o->n, s, n);
    o->n += n;
}

static inline void out_str(struct out *o, const char *s) {
    out_add(o, s, strlen(s));
}

static inline void watch(int ep, int fd, unsigned *had, unsigned want, void *ctx) {
    struct epoll_event ev = {.events = want, .data.ptr = ctx};
    if (*had == want) return;
    if (epoll_ctl(ep, *had ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev)) err(EX_OSERR, "epoll_ctl");
    *had = want;
}

/* The number that an option was given: all of it, and within bounds; else the process ends and says which option it was. */
static inline double option_number(int option, const char *text, double least, double most, bool whole) {
    char *end = NULL;
    errno = 0;
    double v = whole ? (double)strtol(text, &end, 10) : strtod(text, &end);
    if (end == text || *end)
        errx(EX_USAGE, "-%c \"%s\": is not a%s number", option, text, whole ? " whole" : "");
    if (errno || !(v >= least && v <= most))
        errx(EX_USAGE, "-%c \"%s\": is out of range, from %.0f to %.0f", option, text, least, most);
    return v;
}

static inline FILE *option_file(int option, const char *name) {
    FILE *f = fopen(name, "w");
    if (!f) err(EX_CANTCREAT, "-%c %s", option, name);
    return f;
}

#endif
