/* addr.h: mail addresses, parsed once at the border into types that cannot be wrong.
 *
 * RFC 5321 4.1.2 (Mailbox, Path), 4.1.3 (address literals), 4.5.3.1 (lengths). Only the parsers here make these
 * types. The local part is kept as its octets without quoting, so "quoted"@x and quoted@x are the same mailbox
 * (4.1.2), its case is kept (2.4); the domain is in lower case. Octets above 0x7e are refused unless utf8 is asked
 * for (RFC 6531), controls always. */
#ifndef POSTERN_COMMON_ADDR_H
#define POSTERN_COMMON_ADDR_H

#include "common/str.h"

struct arena;

enum {
    ADDR_LOCAL_MAX = 64,   /* 4.5.3.1.1 */
    ADDR_DOMAIN_MAX = 255, /* 4.5.3.1.2 */
    ADDR_TEXT_MAX = 2 * ADDR_LOCAL_MAX + 2 + 1 + ADDR_DOMAIN_MAX, /* the longest that addr_format writes */
};

struct addr {
    struct str local;  /* unquoted octets; empty in the null address and in ""@domain */
    struct str domain; /* lower case; when literal "[192.0.2.1]" or "[IPv6:2001:db8::1]" as ip_format writes it;
                          empty for the null address and the bare "postmaster" (RFC 5321 4.5.1) */
};

enum addr_flags {
    ADDR_NULL = 1,       /* "<>" is allowed (reverse-path); in addr_parse the empty text as well */
    ADDR_POSTMASTER = 2, /* "postmaster" without a domain is allowed, case-insensitive (forward-path) */
    ADDR_UTF8 = 4,       /* valid UTF-8 is allowed in the local part and the domain */
    ADDR_NO_DOMAIN = 8,  /* any local part without a domain is allowed (command lines, alias files) */
    ADDR_UNDERSCORE = 16, /* "_" is allowed in the domain: DNS names that are no host names, sloppy EHLO arguments */
};

/* The *why of a parser when the arena was full: answer 452, not 501. Compare the pointer. */
extern const char addr_no_memory[];

/* A Mailbox: local-part "@" domain. The limit of 64 octets counts the local part without its quoting. True and *out
 * (text in the arena), or false and *why, a short sentence in English that names what is wrong. */
bool addr_parse(struct str text, unsigned flags, struct arena *a, struct addr *out, const char **why);
/* A Path of MAIL or RCPT: "<" [source route ":"] Mailbox ">"; the route is checked and dropped (RFC 5321 C, F.2). No
 * space is skipped in front of "<".
 * *rest is what follows the ">" (the parameters, with their leading space). */
bool addr_parse_path(struct str text, unsigned flags, struct arena *a, struct addr *out, struct str *rest,
                     const char **why);
/* A Domain or address-literal alone (EHLO argument, configuration). Lower-cased into the arena. */
bool domain_parse(struct str text, unsigned flags, struct arena *a, struct str *out, const char **why);

bool addr_is_null(const struct addr *a);                        /* the null reverse-path */
bool addr_same(const struct addr *a, const struct addr *b);     /* same octets in local part, same domain */
void addr_format(struct buf *b, const struct addr *a);          /* local[@domain], quoted where it must be; "" for null */
struct str addr_text(struct arena *ar, const struct addr *a);   /* the same in the arena */
bool domain_is_literal(struct str domain);                      /* starts with '[' */

#endif
