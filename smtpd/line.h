/* line.h: THE one line reader of smtpd. Whatever a client sends is cut into lines here, and nowhere else.
 *
 * Exactly CR LF ends a line (RFC 5321 2.3.8), exactly CR LF "." CR LF ends the data (4.1.1.4). A CR or LF
 * alone, and NUL, never end anything: a line or a message that holds one is refused as a whole, so that no
 * two programs can disagree about where it ended (SMTP smuggling, CVE-2023-51764 and its family). The
 * outcome does not depend on how the network cut the bytes. Pure: no memory, no time. */
#ifndef POSTERN_SMTPD_LINE_H
#define POSTERN_SMTPD_LINE_H

#include "common/str.h"

enum {
    /* 4.5.3.1.4: 512 octets with CR LF. To MAIL add SIZE 26 (RFC 1870), BODY 17 (6152), SMTPUTF8 10 (6531), RET and
     * ENVID 116 (3461), AUTH 500 (4954), HOLDUNTIL 34 (4865), REQUIRETLS 11 (8689); to RCPT less, NOTIFY and ORCPT 530. */
    LINE_COMMAND_MAX = 512 + 26 + 17 + 10 + 116 + 500 + 34 + 11,
    LINE_AUTH_MAX = 12288, /* RFC 4954 4: an AUTH command, and the responses in its exchange */
};

enum line_what {
    LINE_MORE,  /* no whole line yet: keep what is left in *in, and come again with more behind it */
    LINE_READY, /* *line is a line without its CR LF */
    LINE_LONG,  /* a line beyond LINE_COMMAND_MAX has ended; its octets are gone */
    LINE_STRAY, /* a line with a bare CR, a bare LF or a NUL has ended */
};

struct line_reader {
    bool mended;   /* of an old machine (mend.h): LF alone ends a line too */
    bool lf;       /* and the last line ended so */
    bool skipping; /* within a line that is too long */
    bool cr;       /* and its last octet so far was CR */
    size_t max;    /* LINE_COMMAND_MAX when 0 */
};

/* Cuts the next command line off *in. Never keeps more than its maximum of octets waiting. */
enum line_what line_command(struct line_reader *r, struct str *in, struct str *line);
/* Looks without taking: is the next thing in `in` a whole, clean line? A reader that skips says no. */
bool line_peek(const struct line_reader *r, struct str in, struct str *line);

enum line_place { LINE_AT_START, LINE_INSIDE, LINE_AT_CR, LINE_AT_DOT, LINE_AT_DOT_CR, LINE_AT_END };

struct line_data {
    enum line_place place;
    bool held_cr; /* the CR that was the last octet has not been handed on */
    char last;    /* of chunks: the octet before */
    bool stray;   /* a bare CR, a bare LF or a NUL was seen: what was handed on must be refused */
};

/* Takes data off `in` until its end mark or the end of `in`; returns how many octets that were. Hands the
 * content on in runs, without the dots that were stuffed (4.5.2). d->place is LINE_AT_END after the end
 * mark, of which nothing is handed on; what follows it in `in` is commands again. Start with a zeroed
 * line_data. */
size_t line_data(struct line_data *d, struct str in, void (*sink)(void *ctx, struct str run), void *ctx);
/* Looks at the octets of a chunk (RFC 3030), which has neither stuffed dots nor an end mark: only stray is
 * set. line_chunks_end: they are all; true when they end in CR LF, or there are none. */
void line_chunk(struct line_data *d, struct str in);
bool line_chunks_end(struct line_data *d);

#endif
