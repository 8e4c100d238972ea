/* addrlist.h: address lists of header fields and of the command line (RFC 5322 3.4, with the obsolete
 * forms of 4.4): comments, folding, quoted strings, groups, routes, empty members. Pure.
 *
 * It finds addresses and writes them plainly (local part, "@", domain, no white space or comments); what
 * is a valid mailbox is decided afterwards by addr_parse alone. Phrases, encoded words among them, are
 * skipped as they are. */
#ifndef POSTERN_COMMON_ADDRLIST_H
#define POSTERN_COMMON_ADDRLIST_H

#include "common/str.h"

enum { ADDRLIST_SPEC_MAX = 1024 }; /* octets of one address; the longest valid one has some 400 */

struct addrlist_item {
    struct str spec; /* local[@domain]; a view that ends with the callback */
    bool has_domain;
    size_t local_end; /* offset in the text behind the local part: where a missing domain belongs */
};

struct addrlist_error {
    const char *why; /* a short sentence */
    size_t at;       /* offset in the text */
};

/* Calls fn for each address in order; fn may stop it by returning false (why is then what fn left in
 * err->why). False: the list is malformed at err->at; the addresses before that were told. */
bool addrlist_parse(struct str text, bool (*fn)(void *ctx, const struct addrlist_item *item), void *ctx,
                    struct addrlist_error *err);

#endif
