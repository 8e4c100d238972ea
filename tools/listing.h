/* listing.h: the queue as people and programs read it: the shape of Postfix's mailq, and JSON, an array
 * with one object a line. */
#ifndef POSTERN_TOOLS_LISTING_H
#define POSTERN_TOOLS_LISTING_H

#include "common/config.h"
#include "common/qid.h"
#include "common/status.h"

enum listing { LISTING_MAILQ, LISTING_JSON, LISTING_FULL /* every recipient, all that is known */ };

/* Asks queue and prints to standard output; QID_NONE lists all messages. Gives an exit status of
 * sysexits.h; errors are on standard error, after program and a colon. */
int listing_print(const char *program, const struct config *c, struct qid id, enum listing form);
/* Asks queue to try all mail, or one message, now. */
int listing_flush(const char *program, const struct config *c, struct qid id);
/* The exit status for a status of ctl_done that is not OK, after printing it. */
int listing_failed(const char *program, const struct status *s);

#endif
