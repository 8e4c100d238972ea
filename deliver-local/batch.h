/* batch.h: which messages are in a mailbox and not yet on the disk, and when to sync. A pure engine.
 *
 *   a job                        what dispatch has heard         what a power cut leaves
 *   being stored                 nothing                         nothing, or the message (found again by its name)
 *   stored (a reader sees it)    nothing: queue keeps it         the same
 *   synced                       ok for each recipient           the message (commit point)
 *   the sync failed              later for each recipient        the same as stored; it is written anew, not believed
 *
 * A job that could not be stored is reported at once. The others wait for a sync that serves all of them: at
 * once when there was none for BATCH_QUIET_MS (a message that comes alone waits for nobody), else at the next
 * full BATCH_WAIT_MS of the clock, so that the workers of many users ask their file system at the same moment
 * and share its commits; or when BATCH_MAX wait. A worker vouches for the mail of its own user only: to
 * believe one user's process about another's mail would give it what its cage denies. */
#ifndef POSTERN_DELIVER_LOCAL_BATCH_H
#define POSTERN_DELIVER_LOCAL_BATCH_H

#include "common/qid.h"
#include "common/status.h"

enum { BATCH_WAIT_MS = 500, BATCH_QUIET_MS = 2000, BATCH_MAX = 200, BATCH_RCPTS_MAX = 5000 };

struct batch_job {
    uint32_t job;
    struct qid id;
    const uint32_t *index; /* of its recipients */
    uint32_t n, took_us;
    struct status status;
};

struct batch_ops {
    struct status (*sync)(void *ctx); /* everything stored so far; ok, or what to tell of all of it */
    void (*report)(void *ctx, const struct batch_job *j);
};

struct batch;

struct batch *batch_new(const struct batch_ops *ops, void *ctx);
void batch_free(struct batch *b);
void batch_add(struct batch *b, const struct batch_job *j, int64_t now_ms); /* copied */
/* When to call batch_run: ms of the same clock; -1 when nothing waits. */
int64_t batch_due(const struct batch *b, int64_t now_ms);
void batch_run(struct batch *b, int64_t now_ms);   /* syncs and reports when it is time; else nothing */
void batch_flush(struct batch *b, int64_t now_ms); /* now, whatever the time */
size_t batch_waiting(const struct batch *b);

#endif
