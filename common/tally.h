/* tally.h: how often somebody has done something lately. Pure; one table of fixed size, whatever strangers
 * do.
 *
 * Of failed logins a try is taken before its password is checked and given back when it was right, so a
 * thousand tries at once do not slip in before the first has failed. Kinds do not mix: a network (/24,
 * /64), a login, and a login together with a network. */
#ifndef POSTERN_COMMON_TALLY_H
#define POSTERN_COMMON_TALLY_H

#include "common/net.h"

enum tally_kind { TALLY_NETWORK = 1, TALLY_LOGIN, TALLY_KNOWN };

struct tally;

struct tally *tally_new(uint64_t seed); /* random: a stranger must not choose which entries meet */
void tally_free(struct tally *l);

/* The key of a network, of a login, of both. */
uint64_t tally_key(const struct tally *l, enum tally_kind kind, const struct ip *ip, struct str login);
/* Counts one try; false when max were counted already within the window (nothing is counted then). max 0:
 * any. */
bool tally_take(struct tally *l, uint64_t key, int64_t now_ms, uint64_t max, int64_t window_ms);
void tally_give_back(struct tally *l, uint64_t key, int64_t now_ms);
/* Remembers the key until then; tally_knows asks. */
void tally_remember(struct tally *l, uint64_t key, int64_t now_ms, int64_t for_ms);
bool tally_knows(const struct tally *l, uint64_t key, int64_t now_ms);

#endif
