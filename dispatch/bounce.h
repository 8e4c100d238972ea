/* bounce.h: the message that tells a sender what could not be delivered, or what was, if he asked (RFC 3461;
 * RFC 3464 in a multipart/report of
 * RFC 6522).
 *
 * Pure: it is given the time, the failures and the header of the original, and gives the text. */
#ifndef POSTERN_DISPATCH_BOUNCE_H
#define POSTERN_DISPATCH_BOUNCE_H

#include "common/qid.h"
#include "dispatch/sched.h"

enum {
    BOUNCE_HEADER_MAX = 65536,     /* as much of the original's header is sent back */
    BOUNCE_FULL_MAX = 1024 * 1024, /* with RET=FULL messages up to this size come back whole */
};

struct bounce {
    struct str hostname;
    struct qid id; /* of the report itself */
    struct qid about;
    int64_t now, arrival;      /* ms since 1970 */
    struct str sender;         /* of the original: who gets this */
    struct str prefix, header; /* of the original: what Postern added, and its own; CRLF lines */
    struct str envid;          /* of MAIL, without xtext; or empty */
    bool cut;                  /* the header was longer */
    bool full;                 /* header is the whole message */
    bool require_tls;          /* it came with REQUIRETLS: so does this (RFC 8689 5) */
    bool utf8;                 /* it came with SMTPUTF8: so does this (RFC 6533) */
    const struct sched_failed *failed; /* at least one; all with the same action */
    size_t count;
};

/* Octets of data that are the header: up to the empty line, without it; whole lines only. *cut: the end of
 * the header is not in data. */
size_t bounce_header_length(struct str data, bool *cut);
size_t bounce_room(const struct bounce *b); /* octets that the text takes at most */
/* The text, CRLF lines. *eight: it has octets above 127. False when it does not fit. */
bool bounce_build(struct buf *out, const struct bounce *b, bool *eight);
void bounce_date(struct buf *out, int64_t ms); /* RFC 5322 3.3, in UTC */

#endif
