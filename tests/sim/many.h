/* many.h: many runs, on all processors. */
#ifndef POSTERN_TESTS_SIM_MANY_H
#define POSTERN_TESTS_SIM_MANY_H

#include "tests/sim/world.h"

struct work {
    struct options o;
    uint64_t from, to;                      /* seeds, both included */
    unsigned seconds;                       /* begin no run after these; 0: no limit */
    uint64_t enough_steps, enough_messages; /* nor when there were as many, accepted ones; 0: no limit */
    unsigned jobs;                          /* processes; 0: as many as there are processors */
    const struct profile *profile;          /* only seeds that have it; NULL: all */
    bool both;                              /* each seed in both modes */
    bool go_on;                             /* do not stop at the first that fails */
    bool quiet;                             /* do not tell of failures */
    bool progress;                          /* a line every ten seconds */
};

struct sum {
    uint64_t runs, failed, hash;
    uint64_t worst; /* the first seed of those that failed */
    int64_t simulated;
    struct counters count;
    struct share {
        uint64_t runs, steps, accepted;
    } mode[2]; /* without and with a journal */
    uint64_t peak[MEM_OWNERS];
    double seconds;
};

struct sum many(const struct work *work);
void print_sum(const struct sum *s);
void print_counts(const struct counters *c, int64_t simulated, uint64_t hash);
/* The command that repeats it. */
void print_again(const struct options *o);

#endif
