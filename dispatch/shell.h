/* shell.h: what the parts of the program dispatch share: main.c (its life, and what others tell it), orders.c (what the
 * scheduler wants done), report.c (failure reports), events.c (the log). */
#ifndef POSTERN_DISPATCH_SHELL_H
#define POSTERN_DISPATCH_SHELL_H

#include "common/program.h"
#include "dispatch/hostdb.h"
#include "dispatch/sched.h"

#include <sys/types.h>

enum {
    REMOTES_MAX = 64,
    OWN_MAX = 256,
};

struct worker {
    struct worker *next;
    struct channel *ch;
    uint32_t uid, tag;
    bool up;
};

struct reported { /* a failure report that queue has not answered yet */
    struct qid id, about;
};

struct shell {
    struct self *me;
    struct sched *sched;
    struct hosttable *table;
    struct hostdb *db;
    struct channel *queue, *lookup, *resolve, *spawner, *remotes[REMOTES_MAX];
    struct worker *workers;
    uint32_t next_tag;
    uint64_t lease;
    uint32_t serial;
    struct reported *reported;
    size_t reported_n, reported_cap;
    struct lost {
        struct sched_source to;
        uint32_t job;
    } * lost; /* jobs that could not be sent */
    size_t lost_n, lost_cap;
    struct ip interfaces[OWN_MAX];
    size_t interface_n;
    struct sched_own own[OWN_MAX];
    struct timer wake, flush;
    struct deferred round;
    struct watch *control;
    int control_fd;
    dev_t state_dev;
    ino_t state_ino;
};

static inline struct shell *shell_of(struct self *me) {
    return me->state;
}

/* The orders of the scheduler, whose ctx is the struct shell. */
extern const struct sched_ops dispatch_orders;

struct worker *worker_of(struct shell *sh, uint32_t uid);
struct worker *worker_at(struct shell *sh, const struct channel *ch);
void worker_free(struct shell *sh, struct worker *w);
void worker_stop(struct shell *sh, uint32_t uid);

/* Writes a report of v (n failures of one kind) to the sender of mail, and hands it to queue; *id is its id. False: queue
 * is away, or it could not be written. queue's answer is mail_done. */
bool report_send(struct shell *sh, const struct sched_mail *mail, const struct sched_failed *v, size_t n,
                 struct qid *id);
/* The log line of an event. */
void event_log(const struct sched_event *e);

#endif
