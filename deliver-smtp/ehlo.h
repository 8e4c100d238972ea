/* ehlo.h: what the lines of an EHLO reply offer (RFC 5321 4.1.1.1), as bits of common/smtpcaps.h. */
#ifndef POSTERN_DELIVER_SMTP_EHLO_H
#define POSTERN_DELIVER_SMTP_EHLO_H

#include "common/str.h"

/* One line behind the first, without its code: sets bits in *caps, and *size_limit for SIZE (RFC 1870 4; 0
 * stays for no fixed limit). Unknown words and wrong parameters are left out. */
void client_ehlo_line(struct str line, uint32_t *caps, uint64_t *size_limit);

#endif
