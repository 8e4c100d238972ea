/* limits.h: how much of this server a stranger may have: counted here and nowhere else, by client and by its network,
 * for all smtpd processes together.
 *
 * They count in shared memory of a fixed size (common/crowd.h), because a count in each process would divide every
 * limit by their number, or multiply it; and a process that counts for all would cost each session a round trip, and
 * all sessions when it dies. The memory holds numbers only, no place in it is a pointer or an index: a process that an
 * attacker owns can falsify the counts, which it could ignore anyway, but leads no other one astray.
 *
 * Rates are kept as the time at which the allowance is whole again (GCRA): "100/1m" lets a burst of 100 pass and then
 * one every 0.6 s. One number for each, no windows, nothing to clean up. Memory is bounded: a new source takes the
 * place of the one that was seen longest ago and has no session; if all in reach have sessions, it is not counted.
 *
 * Pure: memory, settings and the time come from outside. */
#ifndef POSTERN_SMTPD_LIMITS_H
#define POSTERN_SMTPD_LIMITS_H

#include "common/config.h"
#include "common/crowd.h"
#include "common/net.h"
#include "common/status.h"

enum limit {
    LIMIT_CONNECTION_RATE,
    LIMIT_MESSAGES,
    LIMIT_RECIPIENTS,
    LIMIT_ERRORS,
    LIMIT_TLS_SESSIONS,
    LIMIT_RATES,
    LIMIT_CONNECTIONS = LIMIT_RATES, /* at a time */
};
_Static_assert((int)LIMIT_RATES == (int)CROWD_RATES, "a place has a number for each");

enum limit_verdict { LIMIT_OK, LIMIT_CLIENT, LIMIT_NETWORK }; /* whose limit was reached */

struct limits {
    struct crowd *shared; /* NULL: nothing is counted */
    unsigned instance;
    struct number_pair connections, prefix;
    struct rates rates[LIMIT_RATES];
};

/* Of one session: 1 + place, 0 not counted (exempt, or no place was free). */
struct source {
    uint32_t client, network;
};

void limits_settings(struct limits *l, const struct config *c);
/* shared: the crowd that was mapped, or NULL. The row of this instance begins anew. */
void limits_attach(struct limits *l, struct crowd *shared, unsigned instance);

/* A client connects. Not LIMIT_OK: *which was reached; it is not counted and must not leave. */
enum limit_verdict limits_enter(struct limits *l, const struct ip *ip, int64_t now_ns, struct source *out,
                                enum limit *which);
/* The same for a user of this host, who may hold so many sessions and has no other limits. */
enum limit_verdict limits_enter_user(struct limits *l, uint32_t uid, uint32_t most, int64_t now_ns, struct source *out);
void limits_leave(struct limits *l, struct source *s);
/* It wants n more of something: counted when both its limit and its network's allow it. */
enum limit_verdict limits_take(struct limits *l, const struct source *s, enum limit what, uint32_t n,
                               int64_t now_ns);
/* May it have one? Counts nothing. For what is counted only after the fact (errors). */
enum limit_verdict limits_look(struct limits *l, const struct source *s, enum limit what, int64_t now_ns);
/* It happened: counted in any case. Says what look would say now. */
enum limit_verdict limits_count(struct limits *l, const struct source *s, enum limit what, int64_t now_ns);

/* Mail was accepted from it: it is known from then on, as long as it is remembered. */
void limits_know(struct limits *l, const struct source *s, int64_t now_ns);
bool limits_known(const struct limits *l, const struct source *s);
uint32_t limits_sessions(const struct limits *l,
                         const struct source *s); /* of its network, in all processes */

/* Says how full this process is. True: it should take newcomers (there is room, or no other process has any). */
bool limits_open(struct limits *l, uint32_t sessions, uint32_t most);

/* The reply: which limit, whose, and the setting that says so. */
struct status limits_status(enum limit what, enum limit_verdict v);
const char *limits_setting(enum limit what);

#endif
