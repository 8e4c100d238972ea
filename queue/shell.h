/* shell.h: what the parts of the program queue share (main.c receive.c feed.c ctl.c). */
#ifndef POSTERN_QUEUE_SHELL_H
#define POSTERN_QUEUE_SHELL_H

#include "common/program.h"
#include "queue/pace.h"
#include "queue/store.h"

enum {
    CHUNK_MAX = 1024 * 1024, /* of data in one mail_chunk */
    SYNC_MS = 900,           /* marks are durable within a second */
    HEAL_MS = 5000,
    REST_MS = 5000,     /* what stays in the journal longer is written as its pair, */
    REST_FILES = 1000,  /* so many at a time, */
    REST_SLICE_MS = 50, /* with so long for others between */
    JOURNAL_SEGMENTS = 16,
    JOURNAL_SEGMENT = 4 * 1024 * 1024,
    JOURNAL_LARGE = 256 * 1024, /* of data; larger ones lie in their file from then on */
    JOURNAL_CHANGES = 1024,     /* marks and ends of messages that lie in files, in one sync */
    RECOVER_MS = 1000,          /* how long recovery waits for dispatch */
    SLICE = 64,                 /* files looked at in one round of the loop, at most, */
    SLICE_MS = 4,               /* and for about so long: fresh mail waits meanwhile */
    HANDS_WALK = 2000,  /* messages in hand above which old ones are only announced to dispatch, not given */
    UNSYNCED_MAX = 512, /* control files open for marks above which they are synced now */
    LISTERS_MAX = 16,   /* tools that may list at a time */
};

struct lister;
struct etrn;
struct redirect;

/* The other end of a channel. */
struct peer {
    struct peer *next;
    struct channel *ch;
    uint64_t lease; /* 0: not given yet */
    struct lister *lister;
    unsigned cats; /* of a tool: messages whose files it was given */
};

/* What we keep of a message that is coming in; the rest is the store's. */
struct intake {
    struct peer *peer;
    int memfd; /* its only chunk so far, or -1 */
    unsigned chunks;
};

struct id_queue {
    struct qid *v;
    size_t head, n, cap;
};

struct id_set {
    struct qid *v; /* QID_NONE: free */
    size_t n, cap;
};

struct queue {
    struct self *me;
    struct disk *disk;
    struct store *store;
    int root_fd;
    struct peer *peers;
    unsigned listers;
    struct etrn *etrn;
    uint32_t marked; /* what dispatch said and has no word from us that it is recorded */
    struct redirect *redirects;
    struct peer *dispatch; /* NULL while it is away */
    struct peer *heir;     /* a new dispatch, while the last words of the old one are heard */
    struct deferred commit, push;
    int64_t commit_began; /* ns */
    struct timer sync, rest, heal, feed, patience, turn, company;
    struct pace pace;
    bool rest_long;              /* this round of rest has had more than one slice */
    size_t unseen;               /* messages that came while no dispatch was there */
    struct store_walk *recovery; /* at start, once */
    int64_t recovery_began;
    bool recovered;
    struct store_walk *telling; /* everything, to a dispatch that came after recovery began */
    bool tell_again;            /* when recovery is over */
    bool recovery_tells;
    struct id_queue fresh, fetched; /* to be told as soon as dispatch takes more: just accepted, asked for */
    bool fresh_turn;
    struct id_set told; /* fresh messages told while a walk is under way: it must not tell them twice */
};

static inline struct queue *queue_of(void *ctx) {
    struct self *me = ctx;
    return me->state;
}

/* main.c */
struct peer *peer_of(struct queue *q, struct channel *ch);
void queue_commit(struct queue *q);   /* now, and everything */
void queue_ended(struct queue *q);    /* a draft has ended: the commit will come */
void queue_left(struct queue *q);     /* a message was delivered or rests */
void queue_unsynced(struct queue *q); /* after anything that may have to be durable soon */
int64_t clock_now_ns(void);

/* receive.c: messages from smtpd, and bounces from dispatch */
void receive_answer(void *ctx, void *owner, const struct control *c, const struct status *s, unsigned batch);
void receive_peer_gone(struct queue *q, struct peer *p);
void on_mail_begin(void *ctx, struct channel *ch, const struct wire_mail_begin *m, int fd);
void on_mail_rcpt(void *ctx, struct channel *ch, const struct wire_mail_rcpt *m, int fd);
void on_mail_chunk(void *ctx, struct channel *ch, const struct wire_mail_chunk *m, int fd);
void on_mail_end(void *ctx, struct channel *ch, const struct wire_mail_end *m, int fd);
void on_mail_abort(void *ctx, struct channel *ch, const struct wire_mail_abort *m, int fd);

/* etrn.c: hosts that ask for their mail */
void on_etrn(void *ctx, struct channel *ch, const struct wire_etrn *m, int fd);

/* feed.c: what dispatch is told, and what it says */
void feed_start(struct queue *q); /* the store is open */
void feed_dispatch(struct queue *q, struct peer *p);
void feed_dispatch_gone(struct queue *q);
void feed_fresh(struct queue *q, const struct control *c, int memfd); /* takes memfd, or -1 */
void feed_marked(
    struct queue *q);            /* after a commit, or when much was said: tells dispatch what is recorded */
void feed_more(struct queue *q); /* there may be more to tell now */
void on_fetch(void *ctx, struct channel *ch, const struct wire_fetch *m, int fd);
void on_mark(void *ctx, struct channel *ch, const struct wire_mark *m, int fd);
void on_split(void *ctx, struct channel *ch, const struct wire_split *m, int fd);

/* ctl.c: people at the control socket */
void ctl_accept(struct queue *q, int listener);
void ctl_gone(struct queue *q, struct peer *p);
void ctl_drained(struct queue *q, struct peer *p);
bool ctl_redirecting(const struct queue *q, struct qid id); /* dispatch must not have it now */
void ctl_dispatch_gone(struct queue *q);
void on_put_down(void *ctx, struct channel *ch, const struct wire_put_down *m, int fd);
void on_ctl_queue(void *ctx, struct channel *ch, const struct wire_ctl_queue *m, int fd);
void on_ctl_redirect(void *ctx, struct channel *ch, const struct wire_ctl_redirect *m, int fd);
void on_ctl_cat(void *ctx, struct channel *ch, const struct wire_ctl_cat *m, int fd);

#endif
