/* listing.h: the queue as people and programs read it: the shape of Postfix's mailq, and JSON, an array
 * with one object a line. */
#ifndef POSTERN_TOOLS_LISTING_H
#define POSTERN_TOOLS_LISTING_H

#include "common/config.h"
#include "common/qid.h"
#include "common/status.h"
#include "common/wire.h"

enum listing { LISTING_MAILQ, LISTING_JSON, LISTING_FULL /* every recipient, all that is known */ };

/* Asks queue (op 'l', or a dry run) and prints to standard output. Gives an exit status of sysexits.h; errors are on
 * standard error, after program and a colon. */
int listing_print(const char *program, const struct config *c, const struct wire_ctl_queue *request, enum listing form);
/* Asks queue to do something; *count is how many messages it was done to. doing: its name, for progress; or NULL. */
int listing_order(const char *program, const struct config *c, const struct wire_ctl_queue *request, const char *doing,
                  uint32_t *count);
/* Counts what is queued by domain and by reason, and prints it. */
int listing_summary(const char *program, const struct config *c, const struct wire_ctl_queue *request, bool json);
/* The exit status for a status of ctl_done that is not OK, after printing it. */
int listing_failed(const char *program, const struct status *s);

#endif
