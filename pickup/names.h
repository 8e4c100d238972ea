/* names.h: what the name of a file in the drop directory says. Pure.
 *
 *   t-RANDOM                being written by sendmail(1); a day later it is rubbish
 *   m-RANDOM                a complete mail
 *   w-TIME-ATTEMPTS-RANDOM  a mail that waits: not before TIME (seconds since 1970, hexadecimal). pickup
 * alone gives
 *                           such names, but whoever owns the file could too: all he can do is to delay
 * his own mail
 *   bad-RANDOM              set aside: not understood, never deleted
 *
 * RANDOM is 24 hexadecimal digits. All else is not ours and is left alone. */
#ifndef POSTERN_PICKUP_NAMES_H
#define POSTERN_PICKUP_NAMES_H

#include "common/str.h"

enum name_kind { NAME_OTHER, NAME_PARTIAL, NAME_MAIL, NAME_WAITING };

struct drop_name {
    enum name_kind kind;
    int64_t due; /* seconds since 1970; 0 at once */
    unsigned attempts;
    struct str random; /* a view into the name */
};

struct drop_name name_parse(struct str name);
/* After a failed attempt: the delay until the next in seconds, and the name that says so. */
int64_t name_delay(unsigned attempts);
void name_waiting(struct buf *b, const struct drop_name *n, int64_t now);
void name_bad(struct buf *b, const struct drop_name *n);

#endif
