/* sched.h: the scheduler: what goes where and when. A pure engine: no system call, no global, no clock.
 *
 * It takes the messages of queue, lookup, resolve and the deliverers as wire.def declares them, the presence
 * and absence of those programs, and the time; it gives orders through struct sched_ops. Orders must not
 * call back into the scheduler. After any number of inputs call sched_run, once: it starts what can be
 * started and asks for a timer.
 *
 * The life of a message here:
 *
 *     waiting --due--> fetched --ready--> in hand --(route, hosts, job, result of each recipient)--> settled
 *        ^   \--too much in hand or for one destination--> parked --room--> fetched                    |
 *        +----------------------- some recipients wait for another attempt ----------------------------+
 *
 * Only a message in hand has its envelope and its descriptor here; any other costs about 120 octets (struct
 * entry and its share of the hash and the heap). Recipients in hand are grouped by destination: (M or H,
 * next hop, port), or the UID of a local mailbox. Fresh mail (just accepted, never tried) has a queue of its own
 * in each destination, before that of old mail; of four jobs one is for old mail nevertheless, and of the room for
 * messages in hand a fourth. Within each queue first come, first served. Lookup is asked for fresh mail first, too.
 * What is parked comes back as old. Destinations take turns; each has a window of simultaneous
 * jobs that grows by one with a success and is halved by a failure to connect. A destination without a
 * living host is left alone until its own retry time; then one message tries, and the others follow it or
 * wait on.
 *
 * No operation on a fresh message grows with the number of waiting ones, but for the heap's logarithm. */
#ifndef POSTERN_DISPATCH_SCHED_H
#define POSTERN_DISPATCH_SCHED_H

#include "common/net.h"
#include "common/status.h"
#include "common/wire.h"

struct sched;

struct sched_own {
    struct ip ip; /* an address and port on which this very suite receives: mail sent there is a loop */
    uint16_t port;
};

struct sched_config {
    int64_t queue_lifetime, bounce_lifetime, retry_first, retry_max, worker_idle; /* milliseconds */
    unsigned concurrency; /* most simultaneous jobs for one destination */
    unsigned rcpts_per_job;
    unsigned jobs_per_remote;    /* most jobs in one deliver-smtp process */
    unsigned remote_processes;   /* how many should report before jobs start after our own start */
    unsigned worker_max;         /* most local workers at a time */
    unsigned in_hand_max;        /* most messages with envelope and descriptor */
    uint16_t smtp_port;          /* of exchangers found by MX */
    bool paused;                 /* take mail and keep it, start nothing */
    bool allow_loopback;         /* exchangers may have loopback addresses */
    struct str hostname;         /* copied */
    const struct sched_own *own; /* copied */
    size_t own_count;
};

/* A message in hand. Views are valid while the order runs. */
struct sched_mail {
    struct qid id;
    int64_t arrival;
    struct str sender, prefix, envid;
    uint8_t body, ret; /* bits, as in wire.def */
    uint64_t size;
    int fd; /* the shell's handle of the data; it stays the scheduler's until release */
};

struct sched_host {
    struct str name;
    struct ip ip;
    uint16_t port, preference;
    uint32_t caps; /* what the host table remembers of its EHLO */
};

struct sched_job_rcpt {
    uint32_t index;
    struct str rcpt, orcpt;
    uint8_t notify;
};

struct sched_job {
    uint32_t job;
    const struct sched_mail *mail;
    const struct sched_job_rcpt *rcpts;
    size_t rcpt_count;
    /* to another host: */
    unsigned remote; /* which deliver-smtp */
    struct str destination;
    const struct sched_host *hosts;
    size_t host_count;
    /* or to a mailbox, by the worker of this UID: */
    bool local;
    uint32_t uid;
    struct str user, home, mailbox;
};

/* What a report says of a recipient (RFC 3464 2.3.3). */
enum sched_action { SCHED_HAS_FAILED, SCHED_WAS_DELIVERED, SCHED_WAS_RELAYED, SCHED_WAS_EXPANDED };
/* wire.def's notify (RFC 3461 4.1) */
enum sched_notify { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };

struct sched_failed {
    uint32_t index;
    struct str rcpt, orcpt, host;
    struct status status;
    enum sched_action action;
};

/* Who reports: the deliver-smtp of this instance, or the worker of this UID. It may only speak of its own
 * jobs. */
struct sched_source {
    bool local;
    uint32_t id;
};

/* What the host table knows of one address of one host. */
struct sched_facts {
    uint32_t caps;
    bool down; /* it failed last time, and retry_at has not come */
    int64_t retry_at;
};

enum sched_what {
    SCHED_ROUTED,
    SCHED_DELIVERED,
    SCHED_DEFERRED,
    SCHED_BOUNCED,
    SCHED_REPORTED, /* of a success that was asked for; .action says which */
    SCHED_EXPANDED,
    SCHED_HOST_DOWN
};

/* For the log; the fields that an event of events.def has. */
struct sched_event {
    enum sched_what what;
    struct qid id, bounce;
    struct str to, relay, route, nexthop;
    struct status status;
    int64_t delay, a, b, c, d; /* ms: in all, before dispatch had it, in dispatch, connecting, transmitting */
    uint32_t attempts, into;
    enum sched_action action;
    int64_t next_ms; /* from now */
};

struct sched_ops {
    /* to queue */
    void (*fetch)(void *ctx, struct qid id);
    void (*mark)(void *ctx, const struct wire_mark *m);
    void (*split)(void *ctx, const struct wire_split *m);
    /* Makes the report and gives it to queue; all of v have the same action. The answer comes with
     * sched_bounce_done (about = mail->id). False: it cannot be made now; asked again later. *bounce is its
     * id, for the log. */
    bool (*bounce)(void *ctx, const struct sched_mail *mail, const struct sched_failed *v, size_t n,
                   struct qid *bounce);
    void (*put_down)(void *ctx, struct qid id); /* may be NULL */
    /* to lookup, resolve */
    void (*route_query)(void *ctx, uint32_t tag, struct str rcpt);
    void (*host_query)(void *ctx, uint32_t tag, struct str domain, bool mx);
    /* to the deliverers */
    void (*job)(void *ctx, const struct sched_job *j);
    void (*worker_start)(void *ctx, uint32_t uid, uint32_t gid); /* answered by sched_worker_up or _down */
    void (*worker_stop)(void *ctx, uint32_t uid);                /* nobody needs it now; not answered */
    /* to the shell itself */
    void (*release)(void *ctx, int fd);
    void (*facts)(void *ctx, const struct ip *ip, uint16_t port, struct sched_facts *out);
    void (*timer)(void *ctx,
                  int64_t at); /* call sched_clock and sched_run at this time (ms); one timer, moved */
    void (*event)(void *ctx, const struct sched_event *e);
};

struct sched *sched_new(const struct sched_config *c, const struct sched_ops *ops, void *ctx, int64_t now);
void sched_free(struct sched *s); /* releases the descriptors */
void sched_configure(struct sched *s, const struct sched_config *c);
void sched_clock(struct sched *s,
                 int64_t now); /* ms since 1970; before the inputs of a round. It may jump. */
void sched_run(struct sched *s);

/* Presence. Programs count as absent at first. What waits for an absent one is deferred after a few seconds,
 * without counting as an attempt. */
void sched_queue(struct sched *s, bool present); /* lost: what is in hand goes on, the rest is told again */
void sched_lookup(struct sched *s, bool present);
void sched_resolve(struct sched *s, bool present);
void sched_spawner(struct sched *s, bool present);

/* From queue. The descriptor is taken over (ops->release gives it back). */
void sched_ready(struct sched *s, const struct wire_ready *m, int fd);
void sched_ready_rcpt(struct sched *s, const struct wire_ready_rcpt *m);
void sched_ready_end(struct sched *s, struct qid id);
void sched_waiting(struct sched *s, const struct wire_waiting *m);
void sched_gone(struct sched *s, struct qid id);
void sched_due_now(struct sched *s, struct qid id);
void sched_marked(struct sched *s, uint32_t count); /* the next that many marks and splits are on record */
/* Its record was changed. held: let it go, put_down is the answer; else take it up anew. */
void sched_changed(struct sched *s, struct qid id, bool held);
void sched_bounce_done(struct sched *s, struct qid about, const struct status *st);

/* From lookup and resolve. Unknown tags are ignored. */
void sched_route_rcpt(struct sched *s, const struct wire_route_rcpt *m);
void sched_route_local(struct sched *s, const struct wire_route_local *m);
void sched_route_answer(struct sched *s, const struct wire_route_answer *m);
/* Ways may be others than before: what waits for a destination, queued, parked or because it is down, asks anew. */
void sched_reroute(struct sched *s);
void sched_host(struct sched *s, const struct wire_host *m);
void sched_host_answer(struct sched *s, const struct wire_host_answer *m);

/* From the deliverers. A deliver-smtp is named by its instance; a worker by its UID. */
void sched_remote_running(struct sched *s, unsigned remote, const struct wire_running *m);
void sched_remote_synced(struct sched *s, unsigned remote);
void sched_remote_gone(struct sched *s, unsigned remote);
void sched_worker_up(struct sched *s, uint32_t uid);
/* The worker of uid has ended, or could not be started (st says why; NULL when it just ended). */
void sched_worker_down(struct sched *s, uint32_t uid, const struct status *st);
void sched_result(struct sched *s, struct sched_source from, const struct wire_result *m);
void sched_job_done(struct sched *s, struct sched_source from, const struct wire_job_done *m);
/* A worker cannot do it in its cage, another can: of users who share a UID each has a home of his own. */
void sched_job_back(struct sched *s, struct sched_source from, uint32_t job);

/* For tests, the simulator, and whoever stops in order. */
size_t sched_known(const struct sched *s);   /* messages known at all */
size_t sched_in_hand(const struct sched *s); /* of them, with envelope and descriptor */
size_t sched_jobs(const struct sched *s);    /* jobs under way */
void sched_stop(struct sched *s);            /* start no job from now on */
size_t sched_entry_size(void);               /* octets of a waiting message, without hash and heap */

#endif
