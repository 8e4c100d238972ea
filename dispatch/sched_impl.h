/* sched_impl.h: what the files of the scheduler share. Nobody else includes it. */
#ifndef POSTERN_DISPATCH_SCHED_IMPL_H
#define POSTERN_DISPATCH_SCHED_IMPL_H

#include "common/addr.h"
#include "common/arena.h"
#include "dispatch/sched.h"
#include "dispatch/table.h"

enum {
    SCHED_SECOND = 1000,
    ABSENT_PATIENCE =
        5 * SCHED_SECOND,     /* how long work waits for a program that is away before it is deferred */
    SOON = 10 * SCHED_SECOND, /* until the next try of what an absent program or a dead worker delayed */
    PARKED =
        60 * SCHED_SECOND, /* what waits for its turn is looked at again, if that was forgotten with us */
    START_PATIENCE = 2 * SCHED_SECOND,  /* how long all deliver-smtp may take to report what they still run */
    DUE_SLACK = SCHED_SECOND / 2,       /* recipients due this soon are taken along */
    DUE_GRAIN = SCHED_SECOND / 4,       /* and what waits is looked at no more often */
    BOUNCE_PATIENCE = 2 * SCHED_SECOND, /* others of the message may fail too: one report for all */
    BOUNCE_AGAIN = 30 * SCHED_SECOND,   /* queue refused the report */
    BOUNCE_RCPTS = 1000,                /* recipients in one report */
    JUMP = 8 * SCHED_SECOND,            /* the clock does not go on by more in one step: somebody set it */
    AGAIN = 5 * SCHED_SECOND, /* queue did not know yet what we had told it: it is asked once more */
    RECENT_HIGH = 100000,     /* marks that queue has not recorded: nothing new is begun */
    RECENT_MAX = 1000000,
    ROUTES_FRESH_MAX = 1800, /* unanswered route queries of fresh mail, */
    ROUTES_OLD_MAX = 200,    /* and of old: what is fresh waits for no more than these */
    HOST_QUERIES_MAX = 500,
    FETCHES_MAX = 200, /* unanswered fetches */
    HOSTS_MAX = 40,    /* addresses of one destination that we keep; RFC 5321 5.1 wants some limit */
    HOSTS_TTL_MAX = 300,
    HOSTS_TTL_MIN = 5, /* seconds */
    UNMARKED_MAX = 2000,
    ROOM_FIRST = 200, /* slices in hand for one destination: above, park; below half of it, fetch again. */
    ROOM_MAX = 2000,  /* It grows with each success: what a silent host keeps waiting takes no memory */
    OLD_SHARE = 4,    /* of so many starts and places one is for old mail, however much fresh mail there is */
    DEST_IDLE_MAX = 10000, /* destinations remembered without work */
    WINDOW_FIRST = 5,
    WINDOW_LOCAL = 500, /* a worker reports many jobs after one sync: more than it has in one batch */
    DEATHS_MAX = 6,     /* after so many the wait for the next try, doubled each time, grows no more */
    DEPTH_MAX = 20,     /* aliases of aliases */
    EXPANSION_MAX = 50000,
    RCPTS_MAX = 100000,
    FOREIGN_MAX = 100000,
    ARENA_MAX = 256 * 1024 * 1024,
};

struct link { /* of a circular doubly-linked list; NULL next: in none */
    struct link *next, *prev;
};

struct fifo { /* queue ids of parked messages */
    struct qid *v;
    size_t head, n, cap;
};

enum entry_state { ENTRY_WAITING, ENTRY_PARKED, ENTRY_FETCHED, ENTRY_HAND };

struct entry { /* any message that is known */
    struct table_node node;
    struct qid id;
    int64_t arrival, next;
    struct dest *dest;     /* all its recipients wait for this destination; else NULL */
    struct message *m;     /* in hand */
    uint32_t slot;         /* place in the heap + 1 */
    uint16_t at;           /* place in its block */
    uint8_t state, deaths; /* of deliverers over it */
    bool force;            /* an administrator wants it tried now */
    bool null_sender;
    bool unmarked; /* parked without telling queue, which thinks that it is in hand */
    bool recalled; /* fetched because dest has room; counted there */
    bool turn;     /* it was, and queue could not tell it so that something could be begun */
};

/* Entries live long, and what comes and goes beside them does not: in blocks of their own they leave no holes in the heap
 * that cannot be given back. */
enum { BLOCK_ENTRIES = 800 };

struct entry_block {
    struct link link; /* among those with room */
    struct entry *free;
    unsigned used;
    struct entry v[BLOCK_ENTRIES];
};

enum rcpt_state {
    RCPT_NEW,
    RCPT_ROUTING,
    RCPT_QUEUED,
    RCPT_RUNNING,
    RCPT_FOREIGN, /* of an earlier life of ours, still under way */
    RCPT_LATER,
    RCPT_FAILED,
    RCPT_REPORTING,
    RCPT_DONE
};

struct local { /* a mailbox; in the message's arena */
    struct str user, home, mailbox;
};

struct rcpt {
    struct addr addr;
    struct str text, orcpt;
    uint32_t index, parent, attempts;
    uint32_t next_in_slice, parent_at; /* positions + 1; 0: the last, not known here */
    uint8_t state, notify, depth;
    uint8_t ended;  /* the final mark that queue was told, or told us, or 0 */
    uint8_t action; /* FAILED, REPORTING: what is to be told (enum sched_action) */
    uint64_t hash;
    int64_t next;
    bool parked, bad;  /* waits for room, not for time; cannot be parsed */
    struct dest *dest; /* when LATER because of it; counted in its refs */
    const struct local *local;
    struct status status; /* when FAILED; texts in the message's arena */
    struct str host;
};

/* The recipients of one message for one destination. */
struct slice {
    struct slice *next;   /* in a queue of the destination */
    struct slice *m_next; /* of the message, before all its recipients are routed */
    struct message *m;
    struct dest *d;
    uint32_t first, last, n; /* positions + 1 */
};

struct slices { /* first in, first out */
    struct slice *head, *tail;
    size_t n;
};

struct message {
    struct entry *e;
    struct sched_mail mail;
    struct arena *arena;
    struct rcpt *r;
    size_t n, cap;
    uint32_t next_index;
    unsigned routing, queued, running, failed, slices; /* recipients in these states; slices in queues */
    bool complete, gone, force, reporting;
    bool fresh;    /* queue has just accepted it, and it was not tried */
    bool moved;    /* a deliverer of an earlier life knows one of its recipients by another number */
    bool expired;  /* to be returned to its sender now */
    bool put_down; /* its record was changed: nothing new is begun */
    bool take_up;  /* put_down: and then it is fetched again */
    bool turn;     /* it has waited for its turn, not for a time */
    bool again;    /* queue told a recipient that had ended: its record lags behind, ask once more */
    int64_t taken, bounce_at, bounce_not_before;
    struct slice *unsent, *unsent_last;
    struct dest *claim; /* recalled for it, and counted there until it is in its queue */
    struct qid bounce;
    struct link bounces;
};

enum { KIND_MX = 'M', KIND_HOST = 'H', KIND_LOCAL = 'L' };
/* LEAVING: it has given back a job, gets no more, and is stopped when it has answered the rest. */
enum worker_state { WORKER_NONE, WORKER_ASKED, WORKER_UP, WORKER_LEAVING };
enum hosts_state { HOSTS_UNKNOWN, HOSTS_ASKED, HOSTS_KNOWN };

struct dest {
    struct table_node node;
    char kind;
    uint16_t port;
    uint32_t uid, gid;
    char *name;
    size_t name_n;
    struct slices fresh, old; /* two queues: sched_dest.c says whose turn it is, */
    struct slices back; /* after those that a worker gave back: the next one begins with the first of them */
    unsigned fresh_in_a_row; /* started while old mail waited */
    struct slice *growing;   /* of a message whose recipients are being routed */
    unsigned running, window;
    size_t refs;      /* entries and recipients that wait for it */
    size_t room;      /* slices that may be in hand for it */
    size_t recalled;  /* messages on their way back to us because it has room */
    struct link ring; /* among those that can start a job */
    struct link wait; /* among those that want hosts or a worker, or are to be drained, or idle workers */
    struct link *waiting_in;
    struct link idle; /* without any work: may be forgotten */
    struct fifo parked;
    /* health */
    unsigned failures; /* times in a row that it was found down */
    unsigned misses;   /* failures to connect since the last success */
    bool proven;       /* it took mail since it was last down */
    bool served;       /* its worker has answered a job */
    int64_t down_until;
    struct status down_status;
    char down_text[256];
    /* hosts */
    uint8_t hosts_state, worker;
    uint32_t tag;
    int64_t hosts_until, idle_since;
    struct sched_host *hosts;
    size_t host_count, host_cap;
    struct arena *hosts_arena;
    struct status hosts_status;
    char hosts_text[256];
    struct sched_host *coming; /* while an answer arrives */
    size_t coming_count, coming_cap;
    struct arena *coming_arena;
};

static inline size_t dest_queued(const struct dest *d) {
    return d->fresh.n + d->old.n + d->back.n;
}

/* Nothing more is to be begun for it. */
static inline bool message_over(const struct message *m) {
    return m->gone || m->put_down;
}

struct route { /* an unanswered query; tag = place + generation * 65536 */
    struct message *m;
    uint32_t rcpt; /* position */
    uint16_t generation;
    bool used;
    struct route_queue *from; /* and counted there */
    struct arena *arena;
    struct str *into;
    size_t n, cap;
    const struct local *local;
    uint32_t uid, gid;
};

struct route_queue { /* recipients that wait until lookup can be asked, in order */
    struct route_wait {
        struct qid id;
        uint32_t rcpt;
    } * v;
    size_t head, n, cap;
    size_t asked; /* unanswered */
};

struct host_query {
    struct dest *d;
    uint16_t generation;
};

struct outcome {
    uint32_t rcpt; /* position */
    bool have, reports;
    struct status status;
    struct str host;
};

struct job {
    struct table_node node;
    uint32_t no;
    struct sched_source to;
    struct message *m;
    struct dest *d;
    struct arena *arena;
    struct outcome *v;
    size_t n;
    int64_t started;
};

/* A recipient that a deliverer still works on from an earlier life of ours. Its index counts on that
 * deliverer's channel only: a split that was never recorded may have left it to another address. So what is
 * compared with queue's word is the address. */
struct foreign {
    struct table_node node;    /* by id and index */
    struct table_node by_rcpt; /* by id and address */
    struct qid id;
    uint32_t index, job, remote;
    bool have, reports; /* the result has come, before queue told us the message */
    struct status status;
    char *text, *host;
    int64_t kept_until; /* and longer while the message is known */
    struct str rcpt;
    char mem[]; /* what rcpt points to */
};

struct recent { /* a mark or split that queue has not acknowledged */
    struct table_node node;
    struct recent *next;
    struct qid id;
    uint32_t index;
    bool is_split;
    union {
        struct wire_mark mark;
        struct wire_split split;
    };
    char text[]; /* what the views above point to */
};

struct remote {
    bool synced;
    unsigned jobs;
};

struct sched {
    struct sched_config c;
    char hostname[256];
    struct sched_own *own;
    const struct sched_ops *ops;
    void *ctx;
    int64_t now, started;
    bool queue, stopping, freeing;
    int64_t lookup_gone, resolve_gone, spawner_gone, remote_gone; /* since when; 0: present */

    struct table entries, dests, jobs, foreign, foreign_rcpts, recents;
    struct link blocks; /* of entries, with room */
    struct entry **heap;
    size_t heap_n, heap_cap;
    struct fifo backlog;
    size_t in_hand, fetching, unmarked;

    struct route *routes;
    size_t route_used, route_cap;
    uint32_t *route_free;
    size_t route_free_n;
    struct route_queue want_route[2]; /* of old mail, of fresh mail */

    struct host_query *hosts;
    size_t host_used, host_cap;

    struct link ring, local_ring; /* destinations that can start a job */
    struct link want_hosts, want_worker, idle_workers, drain, idle_dests;
    size_t workers, idle_dest_n;
    struct link bounces; /* messages with failed recipients */

    struct remote *remotes;
    size_t remote_cap, remotes_synced;
    uint32_t next_job;
    struct recent *recent_head, *recent_tail;
    size_t recent_dropped; /* of those said on this channel */
};

/* sched.c: lists, heap, fifo, numbers */
void sched_link_init(struct link *head);
bool sched_link_empty(const struct link *head);
void sched_link_append(struct link *head, struct link *l); /* moves it when it is in a list */
void sched_link_remove(struct link *l);
#define SCHED_OF(type, member, l) ((type *)(void *)((char *)(l)-offsetof(type, member)))
void sched_heap_set(struct sched *s, struct entry *e, int64_t next);
void sched_heap_remove(struct sched *s, struct entry *e);
void sched_fifo_push(struct fifo *f, struct qid id);
bool sched_fifo_pop(struct fifo *f, struct qid *id);
int64_t sched_backoff(const struct sched *s, bool local, unsigned attempts, uint64_t salt);
int64_t sched_jitter(int64_t span, uint64_t salt);
int64_t sched_expires(const struct sched *s, int64_t arrival, bool null_sender);
struct status sched_keep_status(const struct status *st, char *text, size_t size);
void sched_wake(struct sched *s, int64_t at, int64_t *next);

void sched_entry_release(struct sched *s, struct entry *e); /* its memory only */

/* sched_msg.c */
struct entry *sched_entry(struct sched *s, struct qid id);
struct rcpt *sched_rcpt(const struct message *m, uint32_t index); /* NULL: it has none of this number */
void sched_hurry(struct sched *s, struct qid id); /* if it is not in hand, queue shall tell it now */
void sched_settle(struct sched *s,
                  struct message *m); /* after any change of its recipients; m may be gone then */
void sched_done(struct sched *s, struct message *m, struct rcpt *r, uint8_t state, const struct status *st);
/* Waits for another attempt, or fails when its time is over. counted: an attempt was made. not_before:
 * earliest. */
void sched_defer(struct sched *s, struct message *m, struct rcpt *r, const struct status *st, struct str host,
                 bool counted, int64_t not_before);
void sched_fail(struct sched *s, struct message *m, struct rcpt *r, const struct status *st, struct str host);
/* It is served, and marked so: whether somebody wants to hear of it (RFC 3461 4.1). reports: the next host
 * will tell. */
void sched_served(struct sched *s, struct message *m, struct rcpt *r, enum sched_action action,
                  const struct status *st, struct str host);
void sched_soon(struct sched *s, struct message *m, struct rcpt *r, const char *why);
void sched_fetch_more(struct sched *s, int64_t *next);
void sched_bounces_run(struct sched *s, int64_t *next);
void sched_release_parked(struct sched *s, struct dest *d);
void sched_park(struct sched *s, struct message *m, struct rcpt *r, struct dest *d); /* until d has room */
void sched_message_free(struct sched *s, struct message *m);
void sched_unclaim(struct sched *s, struct message *m);
void sched_tell(struct sched *s, struct sched_event *ev, struct message *m, const struct rcpt *r,
                const struct status *st, struct str host);

void sched_route_entry(struct sched *s,
                       struct entry *e); /* if it waits for a destination: for none, and now */

/* sched_mark.c */
void sched_mark(struct sched *s, const struct wire_mark *m);
void sched_split(struct sched *s, const struct wire_split *m);
bool sched_recent(struct sched *s, struct qid id,
                  uint32_t index); /* a final mark of it may not be on record */
bool sched_recent_split(struct sched *s, struct qid id, uint32_t index); /* it was told to queue */
bool sched_recent_many(const struct sched *s);                           /* queue lags far behind */
void sched_recent_replay(struct sched *s);
void sched_recent_free(struct sched *s);

/* sched_route.c */
void sched_route_want(struct sched *s, struct message *m, uint32_t rcpt);
void sched_routes_run(struct sched *s, int64_t *next);
void sched_routes_free(struct sched *s);
/* All its recipients have a destination: let it go. */
void sched_submit(struct sched *s, struct message *m);

/* sched_dest.c */
struct dest *sched_dest_find(struct sched *s, char kind, struct str name, uint16_t port,
                             uint32_t uid); /* or NULL */
struct dest *sched_dest(struct sched *s, char kind, struct str name, uint16_t port, uint32_t uid,
                        uint32_t gid);
void sched_enqueue(struct sched *s, struct dest *d, struct slice *sl);
void sched_enqueue_back(struct dest *d, struct slice *sl);
void sched_dest_update(struct sched *s, struct dest *d); /* after any change: its place in the lists */
void sched_dest_down(struct sched *s, struct dest *d, const struct status *st, struct str host);
void sched_dest_grow(struct dest *d); /* it answers: more may be in hand for it */
void sched_dest_ok(struct sched *s, struct dest *d);
void sched_dest_miss(struct sched *s, struct dest *d, const struct status *st, struct str host);
bool sched_dest_is_down(const struct sched *s, const struct dest *d);
bool sched_dest_probing(const struct sched *s, const struct dest *d);
void sched_worker_stop(struct sched *s, struct dest *d);
void sched_dests_run(struct sched *s, int64_t *next);
void sched_dests_free(struct sched *s);
struct slices *sched_turn(struct dest *d); /* the queue of the next slice; empty when all are */
struct slice *sched_pop(struct slices *q);
bool sched_dest_takes(const struct dest *d, const struct message *m); /* a slice of it, into its queue */
bool sched_dest_recalls(const struct sched *s, const struct dest *d); /* it wants old mail from queue */
void sched_dest_started(struct dest *d, bool fresh);

void sched_drain_soon(struct sched *s, struct dest *d, const char *why); /* its queue, without counting */

/* sched_host.c */
void sched_hosts_run(struct sched *s, int64_t *next);
bool sched_hosts_fresh(const struct sched *s, const struct dest *d);
void sched_hosts_free(struct dest *d);

/* sched_job.c */
void sched_job_start(struct sched *s, struct dest *d);
bool sched_remote_room(const struct sched *s);
bool sched_may_start(const struct sched *s);
bool sched_is_foreign(struct sched *s, struct message *m,
                      const struct rcpt *r); /* a deliverer still works on it */
void sched_foreign_ask(
    struct sched *s); /* a new queue: it shall tell the messages of which results have come */
void sched_foreign_apply(struct sched *s, struct message *m); /* results that came before the message did */
void sched_jobs_free(struct sched *s);
bool sched_remotes_away(const struct sched *s);
void sched_foreign_expire(struct sched *s);

#endif
