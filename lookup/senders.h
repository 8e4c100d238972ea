/* senders.h: which addresses a login may send from (RFC 6409 6.1). Pure: no file is read.
 *
 *     # comment
 *     login: address ... @domain ... *
 *
 * One line for each login; addresses between white space or commas; @domain is every address of that
 * domain, * every address. What a login owns without a line: its own name at each of our domains, with any
 * extension; and itself, when it is an address. */
#ifndef POSTERN_LOOKUP_SENDERS_H
#define POSTERN_LOOKUP_SENDERS_H

#include "lookup/address.h"

struct senders;

enum { SENDERS_LINE_MAX = 65536 };

/* Copies the text. NULL: why says FILE:LINE: and what is wrong. */
struct senders *senders_parse(struct str text, const char *file, char *why, size_t why_size);
void senders_free(struct senders *s); /* NULL is allowed */
/* s may be NULL: an empty table. The null sender is everybody's: reports of mail programs have it (RFC
 * 8098). */
bool sender_allowed(const struct lookup_rules *r, const struct senders *s, struct str login,
                    const struct addr *sender, struct arena *a);

#endif
