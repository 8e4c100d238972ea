/* counters.h: what a program has done so far, in a page that it shares with whoever wants to look.
 *
 * posternd makes one file for each process (run-directory/counters/PROGRAM.INSTANCE, readable by all) and hands it down;
 * the program maps it before it enters its cage, and counts with plain stores. Numbers only grow, also over the
 * program's restarts, until posternd itself starts anew. A reader maps the file read-only (postern counters). They are a
 * program's own word about itself: one that an attacker owns can write there what it likes, so nothing is decided by
 * them. Each event of events.def is counted by its LOG. */
#ifndef POSTERN_COMMON_COUNTERS_H
#define POSTERN_COMMON_COUNTERS_H

#include "common/role.h"

#include <stdbool.h>
#include <stdint.h>

enum event_number {
#define EVENT(name, ...) EVENT_##name,
#include "common/events.def"
#undef EVENT
    EVENT_COUNT
};

/* The messages of wire.def to and from one other role. A packet is one system call. */
struct counters_hop {
    uint64_t packets_in, messages_in, packets_out, messages_out;
};

struct counters {
    uint64_t layout;  /* counters_layout() of who made it; a reader of another version must not read on */
    uint64_t wakeups; /* rounds of the event loop */
    uint64_t cpu_us;  /* of this process and its ended children, all its lives; taken a few times a second */
    struct counters_hop hops[ROLE_COUNT];
    uint64_t events[EVENT_COUNT];
};

enum { COUNTERS_SIZE = 4096 };
_Static_assert(sizeof(struct counters) <= COUNTERS_SIZE, "one page");

/* Never NULL: memory of this process until counters_map. */
extern struct counters *counters;

/* Counts in this file from now on; takes the descriptor. False: it goes on in its own memory. */
bool counters_map(int fd);
void counters_leave(void); /* in a forked child: counts for itself alone */
/* Before the loop sleeps: now and then takes the CPU time. now_ns as loop_now. */
void counters_round(int64_t now_ns);
uint64_t counters_layout(void);
extern const char *const event_names[EVENT_COUNT];

#endif
