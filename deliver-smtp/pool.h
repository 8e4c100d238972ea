/* pool.h: the connections to other hosts, each with its client session: made, used, kept for a while, closed.
 */
#ifndef POSTERN_DELIVER_SMTP_POOL_H
#define POSTERN_DELIVER_SMTP_POOL_H

#include "common/config.h"
#include "deliver-smtp/job.h"

struct pool;

struct pool_user {
    void *ctx;
    void (*finished)(void *ctx, struct job *j); /* every recipient is settled; the job is yours again */
    void (*learned)(void *ctx, const struct job_target *t, const struct client_server *server,
                    uint32_t rtt_us, const struct status *failure); /* server or failure is NULL */
};

struct pool *pool_new(struct loop *l, const struct config *config, const struct pool_user *user);
void pool_configure(struct pool *p, const struct config *config); /* before the old one is freed */
/* Works on a prepared job until finished is called, never from inside pool_start. */
void pool_start(struct pool *p, struct job *j);
/* No new connection for jobs that wait for one; idle ones say QUIT. */
void pool_stop(struct pool *p);

#endif
