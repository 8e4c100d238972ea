/* crowd.h: the memory in which all smtpd processes count together (smtpd/limits.h says what). posternd makes it,
 * hands its descriptor to each of them, and wipes the row of a process that has ended: what was counted for it is
 * forgotten with it. It writes nothing else there, and reads nothing.
 *
 * The size is fixed and sealed: nobody can pull memory away beneath another. */
#ifndef POSTERN_COMMON_CROWD_H
#define POSTERN_COMMON_CROWD_H

#include <stddef.h>
#include <stdint.h>

enum {
    CROWD_ROWS = 64,      /* smtpd processes: the maximum of smtpd-processes */
    CROWD_PLACES = 65536, /* sources that are remembered */
    CROWD_WAYS = 16,      /* places that one source can have */
    CROWD_RATES = 5,
};

/* Written by one process: what it holds now. */
struct crowd_row {
    _Atomic uint32_t state; /* 0 not at work, 1 takes sessions, 2 is full */
    _Atomic uint32_t sessions;
    uint8_t pad[4096 - 8];
    _Atomic uint16_t held[CROWD_PLACES]; /* sessions of each source */
};

/* For each source: when its allowance will be whole again, in monotonic nanoseconds (limits.c). */
struct crowd_place {
    _Atomic int64_t whole_at[CROWD_RATES];
    _Atomic uint32_t known; /* a message was accepted, in seconds; 0 never */
    uint32_t pad;
};

struct crowd {
    struct crowd_row rows[CROWD_ROWS];
    uint64_t seed;            /* of the hash; random, so that nobody can choose places */
    _Atomic uint64_t working; /* rows that were ever used: bits */
    uint8_t pad[4096 - 16];
    _Atomic uint64_t keys[CROWD_PLACES]; /* hash of the source; 0 free */
    _Atomic uint32_t seen[CROWD_PLACES]; /* in seconds */
    struct crowd_place places[CROWD_PLACES];
};

_Static_assert(sizeof(struct crowd_row) % 4096 == 0, "rows are wiped as whole pages");

#endif
