/* body.h: the text of a message on its way to the wire: checked, dot-stuffed, ended by the dot (RFC
 * 5321 4.5.2). */
#ifndef POSTERN_DELIVER_SMTP_BODY_H
#define POSTERN_DELIVER_SMTP_BODY_H

#include "common/str.h"

/* What a run of octets showed so far; zero at the start of a message. */
struct client_text {
    char last;      /* the octet before, for CR LF */
    bool eight_bit; /* an octet above 0x7f */
    bool head_eight;     /* and one in the header */
    bool in_body, blank; /* behind the empty line; at the CR of what may be it */
    bool stray;     /* a NUL, a CR without LF, an LF without CR: not to be sent */
};

void client_text_check(struct client_text *t, struct str run);
bool client_text_ends(
    struct client_text *t); /* at the end: sees a last CR; true when it ended in CRLF, or is empty */

/* Copies run to the end of out, doubling each dot at the start of a line; out must have room for twice as
 * much. t has seen what was before. Gives false when the run holds a stray octet: then what was appended must
 * not be sent. */
bool client_text_stuff(struct client_text *t, struct str run, struct buf *out);

#endif
