/* rcptlist.h: the recipients of a message that is being submitted: valid addresses with a domain, each
 * once. */
#ifndef POSTERN_SUBMIT_RCPTLIST_H
#define POSTERN_SUBMIT_RCPTLIST_H

#include "common/str.h"

struct arena;

enum { RCPTLIST_MAX = 50000 }; /* the highest recipient-limit that postern.conf takes */

struct rcptlist {
    struct arena *arena; /* owns the texts */
    struct str origin;   /* domain for names without one */
    struct str *v;       /* as addr_format writes them; on the heap */
    uint64_t *hash;
    size_t n, v_cap, hash_cap;
    char why[400]; /* of the last failure: the address and what is wrong with it */
};

void rcptlist_init(struct rcptlist *l, struct arena *a, struct str origin);
void rcptlist_free(struct rcptlist *l);
/* Adds all addresses of an address list (header field, command line word). False: why says what is wrong; the
 * addresses before that are in the list. */
bool rcptlist_add(struct rcptlist *l, struct str text);
/* One address "local[@domain]" with the origin put behind a name without a domain; STR_NONE and *why when
 * it is not valid. flags: of addr_parse, besides ADDR_NO_DOMAIN. */
struct str address_complete(struct str spec, struct str origin, unsigned flags, struct arena *a,
                            const char **why);

#endif
