/* names.h: from an address to its name in DNS, as a pure machine like answer.h: PTR, then the addresses of
 * the names that it gives. A name counts as confirmed when it has the very address (what `client` may be
 * called in rules); the first that the PTR records give is told too, but only the owner of the address
 * vouches for it. */
#ifndef POSTERN_RESOLVE_NAMES_H
#define POSTERN_RESOLVE_NAMES_H

#include "resolve/answer.h"

enum { NAMES_MAX = 4 }; /* names of one address that are looked at */

struct names;

struct names_ops {
    void (*ask)(void *ctx, unsigned which, struct str name, enum answer_kind kind); /* as in answer.h */
    /* The end. failed: DNS could not say; then the texts are what is known. */
    void (*done)(void *ctx, struct str confirmed, struct str claimed, bool failed);
};

struct names *names_new(const struct names_ops *ops, void *ctx, const struct ip *ip);
void names_begin(struct names *n);
void names_take(struct names *n, unsigned which, const struct answer_reply *r);
void names_free(struct names *n);
/* "7.2.0.192.in-addr.arpa" (RFC 1035 3.5), nibbles below ip6.arpa (RFC 3596 2.5). */
void names_reverse(struct buf *b, const struct ip *ip);

#endif
