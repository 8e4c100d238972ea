/* job.h: a job of dispatch: put together from its messages, checked, worked on, reported.
 *
 * All that a job holds lies in its arena, with a hard limit. What dispatch sends is parsed again here
 * (addresses, sizes, the descriptor): a line for another host is made of parsed values only. */
#ifndef POSTERN_DELIVER_SMTP_JOB_H
#define POSTERN_DELIVER_SMTP_JOB_H

#include "common/channel.h"
#include "common/net.h"
#include "deliver-smtp/client.h"

#include <sys/queue.h>

enum {
    JOB_HOSTS_MAX = 100,
    JOB_RCPTS_MAX = 1000,
    JOB_CACHE_MAX = 65536, /* messages up to this size are read once, and their descriptor is given back */
};

struct job_target {
    struct str name; /* as DNS gave it, or empty */
    struct ip ip;
    uint16_t port;
};

/* What is known of a recipient beside client_rcpt. */
struct job_rcpt {
    uint32_t index;     /* dispatch's */
    struct str told;    /* the address as dispatch wrote it */
    struct str said_by; /* name[address]:port, or empty */
};

struct job {
    TAILQ_ENTRY(job) all;  /* main.c: those in hand, complete or not */
    TAILQ_ENTRY(job) link; /* pool.c: those that wait for something */
    struct arena *arena;
    uint32_t number;
    struct qid id;
    struct str destination;
    struct client_mail mail; /* rcpts and count grow while it is put together */
    struct job_rcpt *rcpts;
    struct job_target *hosts;
    size_t host_count, hosts_told, rcpt_count;
    int fd; /* -1 when the data is in cache */
    char *cache;
    uint64_t data_size;
    const char *bad; /* why nothing can be sent, or NULL */
    bool refused;    /* it was told against the rules: each recipient is answered as it comes */
    size_t answered; /* of a refused one */

    size_t at_host;        /* the one being tried */
    bool no_idle;          /* an old connection to it was dead: make a new one */
    bool working;          /* complete, and given to the pool */
    bool finished;         /* all recipients settled; waits for a channel to dispatch */
    struct status trouble; /* with hosts so far; text in the arena */
    struct str trouble_host;
    int64_t host_began, mail_began; /* ns of the loop's clock */
    uint32_t connect_us, transmit_us;
    bool reused;
};

TAILQ_HEAD(jobs, job);

/* From the three messages. job_new takes the descriptor. refused, or false: the message is against the rules
 * (too many, too large, not in order), and the job must be refused. */
struct job *job_new(const struct wire_job *m, int fd);
bool job_add_host(struct job *j, const struct wire_job_host *m);
bool job_add_rcpt(struct job *j, const struct wire_job_rcpt *m);
bool job_complete(const struct job *j);
/* Tells dispatch that the recipients of a refused job that were told so far, or this one more, come later; after the
 * last that it is done: true, and it may go. Without an answer dispatch would wait for ever. */
bool job_refuse(struct job *j, struct channel *ch, const struct wire_job_rcpt *more);
/* After completion: reads or checks the data; settles what cannot be sent. */
void job_prepare(struct job *j);
bool job_settled(const struct job *j);
/* Settles all that is not settled. text must live as long as the job. */
void job_settle(struct job *j, struct status s, struct str said_by);
/* Remembers what a host that could not take it said, for the case that no other does. */
void job_trouble(struct job *j, const struct status *s, struct str host);
ptrdiff_t job_read(struct job *j, uint64_t at, char *to, size_t n); /* as client_ops.read */
void job_running(const struct job *j, struct channel *ch); /* tells a new dispatch that it is under way */
void job_report(const struct job *j, struct channel *ch);  /* all results, and job_done */
void job_free(struct job *j);

#endif
