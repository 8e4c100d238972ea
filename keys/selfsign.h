/* selfsign.h: a certificate that a host gives itself, so that STARTTLS always works. */
#ifndef POSTERN_KEYS_SELFSIGN_H
#define POSTERN_KEYS_SELFSIGN_H

#include "common/str.h"

#include <stdint.h>

/* Key and certificate for name as one PEM text, into out. old: such a text from before, or empty: its key is kept when
 * it can be read, since somebody may have pinned it (RFC 6698). now: seconds since 1970. False: OpenSSL failed. */
bool selfsign(struct str name, struct str old, int64_t now, struct buf *out);
/* Is the text good for this name, and for the next month? */
bool selfsign_good(struct str name, struct str pem, int64_t now);

#endif
