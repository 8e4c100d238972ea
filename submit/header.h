/* header.h: what sendmail(1) reads from the header of a message and what it changes in it. Pure.
 *
 * Read: the recipients (-t), and whether somebody is named as the author. Changed: Bcc and Resent-Bcc go,
 * in any case and folding (RFC 5322 3.6.3); Return-Path and Content-Length go (they are written at
 * delivery); From is added when it is missing; addresses without a domain get the origin (RFC 6409 6.2).
 * Everything else stays as it is. */
#ifndef POSTERN_SUBMIT_HEADER_H
#define POSTERN_SUBMIT_HEADER_H

#include "submit/intake.h"
#include "submit/rcptlist.h"

struct header_field {
    struct str name;  /* as written, without the colon */
    struct str value; /* behind the colon, with folding and the last CRLF */
    struct str whole; /* name to CRLF */
};

/* Cuts the next field off *rest, CRLF text. False where the header ends (an empty line, a line that is no
 * field, the end of the text): *rest is then the rest. */
bool header_next(struct str *rest, struct header_field *f);

struct header_edit {
    struct str origin;
    struct str from;        /* value of a From field to add, "Name <a@b>" */
    struct rcptlist *rcpts; /* where the recipients of the header go; NULL without -t */
};

/* message: CRLF lines. Appends the new header with its empty line to *head; *body is the rest of the
 * message, a view. False: a recipient field is malformed, e->rcpts->why says how. */
bool header_edit(struct str message, const struct header_edit *e, struct text *head, struct str *body);

/* "Name <address>" with the name quoted or encoded as it must be (RFC 5322 3.2.5, RFC 2047 5), or the
 * address alone when the name is empty. */
void header_mailbox(struct buf *b, struct str name, struct str address);

#endif
