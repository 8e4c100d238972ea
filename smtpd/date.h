/* date.h: points in time as people and protocols write them; always UTC, for the cage has no time zone
 * files, and a trace reads better without them. Pure. */
#ifndef POSTERN_SMTPD_DATE_H
#define POSTERN_SMTPD_DATE_H

#include "common/str.h"

void date_rfc5322(struct buf *b, int64_t wall_ms); /* 3.3: "Sun, 22 Nov 2026 00:00:00 +0000" */
void date_rfc3339(struct buf *b, int64_t wall_ms); /* "2026-11-22T00:00:00Z" */
/* RFC 3339 5.6, with any zone; a fraction is read over. False: it is none, or no day of the calendar. */
bool date_parse_rfc3339(struct str s, int64_t *wall_ms);

#endif
