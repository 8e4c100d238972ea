/* xtext.h: xtext of RFC 3461 4: printable ASCII in which "+", "=", space and all else is written as +XX. */
#ifndef POSTERN_COMMON_XTEXT_H
#define POSTERN_COMMON_XTEXT_H

#include "common/str.h"

/* Appends what the xtext stands for. False: it is none (an octet outside 33..126, "=", a "+" without two
 * upper-case hex digits), or what it stands for holds an octet outside 32..126: whoever decodes puts it into
 * headers and other commands. out may hold a part then. */
bool xtext_decode(struct buf *out, struct str xtext);
void xtext_encode(struct buf *out, struct str plain);

#endif
