/* status.h: the outcome of something done with mail, one value from the place where it arose to the bounce.
 * A reply code (RFC 5321 4.2), an enhanced code (RFC 3463), a text, and where it came from. */
#ifndef POSTERN_COMMON_STATUS_H
#define POSTERN_COMMON_STATUS_H

#include "common/str.h"

enum status_kind { STATUS_OK, STATUS_LATER, STATUS_NEVER };

struct status {
    enum status_kind kind;
    uint16_t code;              /* 250, 451, 550 ... */
    uint16_t detail[3];         /* X.Y.Z of RFC 3463; detail[0] agrees with kind: 2, 4 or 5 */
    bool remote;                /* the text is what another host said, not our own */
    struct str text;            /* one line, printable (escape it before it enters here); a view: know its owner */
};

/* A status of our own making; text must outlive it (a literal, mostly). detail is "5.1.1". The kind follows from
 * the first digit of detail: 2 ok, 4 later, 5 never. */
struct status status_make(uint16_t code, const char *detail, const char *text);
/* Reads the reply of another host: code, optional enhanced code at the start of text. A code outside 200..599, or
 * an enhanced class that contradicts it, falls back to X.0.0 of the code's class. 3xx counts as a protocol error
 * (LATER 4.5.0). */
struct status status_from_reply(unsigned code, struct str text);
/* "550 5.1.1 text" appended to b. */
void status_format(struct buf *b, const struct status *s);

#endif
