/* spool.h: the spool of a queue that does not run, checked and repaired by the tool itself. */
#ifndef POSTERN_TOOLS_SPOOL_H
#define POSTERN_TOOLS_SPOOL_H

#include "common/config.h"
#include "queue/finding.h"

struct spool_check {
    const struct config *config;
    bool repair;
    void *ctx;
    /* file is below the spool directory. repaired: it is in order now. */
    void (*found)(void *ctx, enum finding what, struct str file, struct str why, bool repaired);
    void (*progress)(void *ctx, uint64_t looked);
    uint64_t messages; /* found in order */
    char why[512];     /* after an error: one line */
};

/* 0, or an exit status of sysexits.h: it could not be done, c->why says why. As root it becomes queue's user, for
 * good, before it reads a file. */
int spool_check(struct spool_check *c);

#endif
