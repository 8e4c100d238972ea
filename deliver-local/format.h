/* format.h: the octets of a message as they stand in a mailbox. Pure: the data comes from a callback, goes to
 * another.
 *
 *   mbox     From sender date LF, header, blank line, body, blank line; lines that begin with "From " or
 *            ">From " get a ">" more (mboxrd: what was added can be taken away again). RFC 4155 for the From_
 *            line: UTC.
 *   Maildir  the same without From_ line, quoting and last blank line
 *
 * Both: Return-Path (RFC 5321 4.4), Delivered-To for each recipient, the header fields that Postern adds, the
 * data; lines end in LF, a bare CR stays what it is. */
#ifndef POSTERN_DELIVER_LOCAL_FORMAT_H
#define POSTERN_DELIVER_LOCAL_FORMAT_H

#include "common/addr.h"

struct format_message {
    int64_t arrival; /* milliseconds since 1970 */
    struct addr sender;
    const struct addr *rcpt;
    size_t rcpts;
    struct str prefix; /* CRLF lines */
};

struct format {
    bool mbox;
    bool (*put)(void *ctx, const char *p, size_t n); /* false: stop, format_ gives false from then on */
    void *ctx;
    bool failed;
    /* where in a line */
    bool cr;          /* a CR was held back: is a LF next */
    bool at_start;    /* only '>' so far, or nothing */
    size_t quotes;    /* how many '>' */
    unsigned matched; /* of "From " */
    char out[65536];
    size_t n;
};

void format_start(struct format *f, bool mbox, bool (*put)(void *ctx, const char *p, size_t n), void *ctx);
void format_head(struct format *f, const struct format_message *m);
/* A run of the prefix or data as it travels: CRLF lines. */
void format_data(struct format *f, struct str data);
bool format_end(struct format *f); /* false when put has failed */

#endif
