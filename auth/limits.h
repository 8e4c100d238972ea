/* limits.h: how often somebody may fail. Pure; one table of fixed size, whatever strangers do.
 *
 * A try is taken before its password is checked and given back when it was right, so a thousand tries at once do
 * not slip in before the first has failed. Kinds do not mix: a network (/24, /64), a login, and a login together
 * with a network from which it has succeeded: such a one is not locked out by strangers who guess. */
#ifndef POSTERN_AUTH_LIMITS_H
#define POSTERN_AUTH_LIMITS_H

#include "common/net.h"

enum limit_kind { LIMIT_NETWORK = 1, LIMIT_LOGIN, LIMIT_KNOWN };

struct limits;

struct limits *limits_new(uint64_t seed); /* random: a stranger must not choose which entries meet */
void limits_free(struct limits *l);

/* The key of a network, of a login, of both. */
uint64_t limits_key(const struct limits *l, enum limit_kind kind, const struct ip *ip, struct str login);
/* Counts one try; false when max were counted already within the window (nothing is counted then). max 0: any. */
bool limits_take(struct limits *l, uint64_t key, int64_t now_ms, uint64_t max, int64_t window_ms);
void limits_give_back(struct limits *l, uint64_t key, int64_t now_ms);
/* Remembers the key until then; limits_knows asks. */
void limits_remember(struct limits *l, uint64_t key, int64_t now_ms, int64_t for_ms);
bool limits_knows(const struct limits *l, uint64_t key, int64_t now_ms);

#endif
