/* base64.h: base64 as SASL wants it (RFC 4648 4, RFC 5802 5): strict both ways, and base64url for tokens. */
#ifndef POSTERN_AUTH_BASE64_H
#define POSTERN_AUTH_BASE64_H

#include "common/str.h"

void base64_encode(struct buf *out, struct str octets);
/* False: a character that is none of base64, missing or surplus padding, bits that mean nothing, or out is
 * too small. out may hold a part then. */
bool base64_decode(struct buf *out, struct str text);
bool base64url_decode(struct buf *out, struct str text); /* without padding (RFC 7515 2) */

#endif
