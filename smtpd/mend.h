/* mend.h: the lines of old machines, for networks that normalise-networks lists. What comes out has CR LF as the end of
 * each line, and neither a lone CR or LF nor NUL: LF becomes CR LF, the others become a space.
 *
 * Nobody smuggles here either. A client that said DATA with CR LF ends its message with CR LF "." CR LF and with nothing
 * else: a dot that stands between lone LFs is stuffed, so that it becomes content. Only a client that said DATA with LF
 * alone, and so never had a CR to lose, ends its message with LF "." LF. Pure; any cut gives the same. */
#ifndef POSTERN_SMTPD_MEND_H
#define POSTERN_SMTPD_MEND_H

#include "common/str.h"

enum { MEND_GROWTH = 3 /* octets for one, at most */ };

struct mender {
    bool stuff;    /* dots beside a lone LF are content */
    bool cr;       /* the last octet was CR, and has not come out */
    bool within;   /* something of this line has come */
    bool after_lf; /* this line began behind a lone LF */
    bool only_dot; /* it is "." so far */
};

/* Takes octets off `in` up to and with the next LF; out must have room for MEND_GROWTH times in.n, and 1. Returns how
 * many were taken. */
size_t mend(struct mender *m, struct str in, struct buf *out);
void mend_end(struct mender *m, struct buf *out); /* no more comes */

#endif
