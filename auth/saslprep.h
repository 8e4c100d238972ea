/* saslprep.h: logins and passwords in the one form in which they are compared (RFC 4013, on RFC 3454):
 * what looks the same and was typed on different machines is the same. Pure. */
#ifndef POSTERN_AUTH_SASLPREP_H
#define POSTERN_AUTH_SASLPREP_H

#include "common/str.h"

/* Appends the prepared form. False: no UTF-8, an octet or character that is prohibited, mixed directions,
 * or too long for out or 2048 octets; out may hold a part then. Printable ASCII is its own form. */
bool saslprep(struct buf *out, struct str in);

#endif
