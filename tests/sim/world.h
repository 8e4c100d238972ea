/* world.h: the simulated machine: clock, events, chance, network, links between programs, disk, and the
 * judge.
 *
 * One struct world is one run. Everything that happens in it is an event at a simulated time; the order of
 * events and every choice follow from the seed, so a run can be repeated exactly. The programs (p_*.c) are
 * shells around the four real engines: what the mains of smtpd, queue, dispatch and deliver-smtp do with
 * sockets and epoll, these do with events. The hosts (host_*.c) are the rest of the Internet. */
#ifndef POSTERN_TESTS_SIM_WORLD_H
#define POSTERN_TESTS_SIM_WORLD_H

#include "common/arena.h"
#include "common/qid.h"
#include "common/wire.h"

#include <stdio.h>

#define NS_US INT64_C(1000)
#define NS_MS INT64_C(1000000)
#define NS_S  INT64_C(1000000000)

enum {
    SMTPDS = 2, /* processes of each kind */
    REMOTES = 2,
    LOCALS = 2,   /* users with a mailbox here, and a worker each */
    CLIENTS = 24, /* sessions that bring mail at the same time */
    HOSTS = 12,   /* other mail hosts */
    DOMAINS = 16,
    LEAVES_MAX = 12, /* recipients of one message, aliases expanded */
};

enum {
    P_SMTPD,
    P_QUEUE = P_SMTPD + SMTPDS,
    P_DISPATCH,
    P_LOOKUP,
    P_REMOTE,
    P_LOCAL = P_REMOTE + REMOTES,
    PROGRAMS = P_LOCAL + LOCALS
};

struct world;
struct deferred;
struct oracle;
struct sim_disk;

/* ---- Memory: each allocation counts for the program that runs ------------------------------------------ */

enum { MEM_WORLD = PROGRAMS, MEM_OWNERS };

struct memory {
    uint64_t now[MEM_OWNERS], peak[MEM_OWNERS];
};
extern struct memory memory; /* of this process, which runs one world at a time */

unsigned mem_enter(unsigned who);
void mem_leave(const unsigned *was);
unsigned mem_owner(void);
/* Until the end of the block. */
#define AS(who) unsigned mem_was_ __attribute__((cleanup(mem_leave), unused)) = mem_enter(who)

/* ---- Events -------------------------------------------------------------------------------------------- */

/* When w->ending, an event is only to free what it carries. */
typedef void event_fn(struct world *w, void *ctx, uint64_t arg);

struct event {
    int64_t at;
    uint64_t seq;
    event_fn *fn;
    void *ctx;
    uint64_t arg;
    unsigned owner;
};

/* What the programs around the engines leave out, or do too early. */
enum shell_skip {
    SHELL_250_EARLY = 1,
    SHELL_MARK_EARLY = 2,
    SHELL_BOUNCE_EARLY = 4,
    SHELL_NO_REPLAY = 8,
    SHELL_ACK_EARLY = 16,
    SHELL_NO_RUNNING = 32,
    SHELL_NO_PUSH = 64,
    SHELL_NO_TELLING = 128,
    SHELL_LEAK = 256,
};
enum mailbox_mutant {
    MAILBOX_NO_SYNC = 1,
    MAILBOX_REPORTS_EARLY = 2,
    MAILBOX_BELIEVES = 4,
    MAILBOX_RISKS = 8
};

/* What goes wrong (faults.c). */
enum fault {
    FAULT_POWER,
    FAULT_POWER_IN_WORK, /* in the middle of what queue does on the disk */
    FAULT_QUEUE_IN_WORK,
    FAULT_DISK,
    FAULT_CLOCK,
    FAULT_RESET,
    FAULT_KILL_MORE,
    FAULT_KILL,
    FAULT_STALL,
    FAULTS
};

/* A leaning of a world, so that what is rare by chance comes up often in some. */
struct profile {
    const char *name;
    int64_t pause;          /* between two faults, at most */
    uint8_t weight[FAULTS]; /* how often each */
    unsigned trouble;       /* which of the disk's; 0: any */
    unsigned clients;       /* so few, and each takes its time; 0: CLIENTS in a hurry */
    unsigned large;         /* one in so many messages is; 0: 200 */
    unsigned behind;        /* behind-limit; 0: as the seed says */
    unsigned at_sync;       /* one in so many ends of the disk comes at a sync */
    bool local;             /* most mail is for mailboxes here, and these are full now and then */
    bool no_battery;        /* after a power cut the clock begins where it has begun */
    unsigned switches;      /* one in so many lives of queue has the other spool-mode; 0: none */
    unsigned haste;    /* one in so many lives of queue ends in its first operations on the disk; 0: none */
    unsigned segments; /* of the journal; 0: as the seed says */
    uint32_t segment_size;
};
const struct profile *profile_of(uint64_t seed);
const struct profile *profile_named(const char *name);

/* Something is left out (mutants.c). */
struct mutant {
    const char *name, *what;
    bool direct, journal;  /* the modes in which it matters */
    bool rare;             /* takes long to meet: not for each build */
    const char *profile;   /* in which it is met soonest; NULL: in any */
    unsigned ignore;       /* syncs: enum disk_fake_kind */
    unsigned journal_skip; /* enum journal_skip */
    unsigned store_skip;   /* enum store_skip */
    unsigned shell;        /* enum shell_skip */
    unsigned mailbox;      /* enum mailbox_mutant */
};
extern const struct mutant mutants[]; /* the last has no name */
const struct mutant *mutant_find(struct str name);

struct options {
    uint64_t seed;
    uint32_t messages;
    uint64_t steps;  /* events at which a run counts as hung */
    unsigned faults; /* 0: none; 1: as the seed says */
    bool story;
    const struct mutant *mutant; /* NULL: none */
    bool journal;                /* the spool has one; else the direct mode */
};

bool leaves_out(const struct world *w, enum shell_skip what);

struct counters {
    uint64_t events, packets, messages, segments, connections;
    uint64_t accepted, refused, doubtful, served, bounced, windows, again;
    uint64_t kills, cuts, resets, refusals, holes, disk_errors, jumps;
};

struct outcome {
    bool failed;
    char why[512];
    uint64_t hash;
    struct counters count;
    uint64_t peak[MEM_OWNERS]; /* octets of memory */
    int64_t simulated;         /* ns */
};
struct outcome run(const struct options *o);

/* ---- Programs ------------------------------------------------------------------------------------------ */

struct program_kind;
struct link;

struct process {
    struct world *w;
    const struct program_kind *kind;
    unsigned number; /* P_* */
    unsigned instance;
    bool alive;
    uint32_t life; /* counts starts */
    int64_t fuse;  /* messages it handles until it dies; negative: it is safe */
    int64_t busy;  /* it does nothing before this time */
    void *state;
    const struct wire_handlers *handlers; /* those of the kind, with the process; a real shell has its own */
    void *ctx;
    struct deferred *deferred;
    uint32_t full; /* bits of peers that take no more now */
    struct link *links[PROGRAMS];
};

struct program_kind {
    const char *name;
    enum role role;
    const struct wire_handlers
        *handlers; /* ctx is the struct process, ch a struct link; NULL: start sets them */
    void (*start)(struct process *p);
    void (*free)(struct process *p); /* its memory goes; nothing is sent */
    void (*peer)(struct process *p, struct link *l, unsigned peer);
    void (*peer_gone)(struct process *p, struct link *l, unsigned peer);
    void (*round)(struct process *p);          /* after each packet */
    uint64_t (*room)(const struct process *p); /* octets of memory that what it has in hand justifies */
    /* Of a real shell, when not every channel of its is a link: how it knows the one of a message that has come, and
     * what becomes of one that it sends (fd is taken over). NULL: the link. */
    struct channel *(*channel)(struct process *p, struct link *l);
    void (*send)(struct process *p, struct channel *ch, enum wire_type type, const void *m, int fd);
};

extern const struct program_kind kind_smtpd, kind_queue, kind_dispatch, kind_lookup, kind_remote, kind_local;

struct world {
    struct options o;
    const struct profile *profile;
    uint64_t rng[4];
    int64_t now;         /* monotonic, ns */
    int64_t wall_offset; /* of the wall clock, ms; clock jumps move it */
    struct event *heap;
    size_t heap_n, heap_cap;
    uint64_t seq;
    uint64_t hash; /* of all that happened */
    bool ending, calm, failed;
    char why[512]; /* the first invariant that did not hold */
    struct counters count;
    struct process p[PROGRAMS];
    struct link *links, *dirty_links;
    struct packet *free_packets;
    struct conn *conns, *free_conns;
    size_t live_conns;
    struct blob **blobs;
    size_t blob_n, blob_cap, blobs_live;
    int *free_blobs;
    size_t free_blob_n, free_blob_cap;
    struct sim_disk *disk; /* a struct disk of disk_fake.h */
    bool disk_ends;        /* it is to stop in the middle of what queue does */
    bool journal;          /* the spool has one now */
    bool reads_fail;
    uint64_t syncs_failed; /* of files, ever: each may have taken what was written before it */
    bool disk_ends_all;    /* then the power fails; else only the queue is killed */
    bool cutting;          /* in the middle of a power cut */
    bool dark;             /* the power has failed, and queue has not started since */
    struct oracle *oracle;
    struct mailboxes *mailboxes;
    struct hosts *hosts;
    struct clients *clients;
    char *scratch;
    size_t scratch_cap;
};

struct world *world_new(const struct options *o);
struct world *shell_world(void); /* the one that runs in this process */
void world_free(struct world *w);
void *event_ctx(size_t n); /* for an event that may outlive its program: the world's */
void world_at(struct world *w, int64_t at, event_fn *fn, void *ctx, uint64_t arg);
bool world_step(struct world *w);             /* false: nothing more happens */
int64_t world_wall(const struct world *w);    /* ms since 1970 */
uint32_t chance(struct world *w, uint32_t n); /* 0 .. n-1 */
bool once_in(struct world *w, uint32_t n);    /* true once in n; never when n is 0 */
int64_t between(struct world *w, int64_t lo, int64_t hi);
uint64_t mix(uint64_t x); /* a good hash of a number */
void world_mix(struct world *w, uint64_t a, uint64_t b);
void world_mix_bytes(struct world *w, uint64_t a, struct str bytes);
/* An invariant does not hold: the run ends. */
void world_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void world_tell(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define STORY(w, ...) \
    do { \
        if ((w)->o.story) world_tell(w, __VA_ARGS__); \
    } while (0)

/* ---- Blobs: what memfds are to the real programs. Handles are small ints, never 0. --------------------- */

struct blob {
    unsigned refs;
    size_t n;
    char bytes[];
};
int blob_new(struct world *w, size_t n, char **bytes);
void blob_add(struct world *w, int handle, struct str more); /* while nobody else has it */
int blob_dup(struct world *w, int handle);
void blob_put(struct world *w, int handle); /* harmless below 1 */
struct str blob_str(const struct world *w, int handle);

/* ---- Processes and links ------------------------------------------------------------------------------- */

void process_start(struct world *w, unsigned number);
/* kill -9: what it has written and said stays, all else is gone. It comes back by itself. */
void process_kill(struct world *w, unsigned number, const char *why);
const char *process_name(const struct process *p);
/* Power fails: all programs die, and the disk keeps what was synced and some of the rest. */
void power_cut(struct world *w);

struct link; /* one channel between two living processes */
void link_send(struct process *from, unsigned to, enum wire_type type, const void *m, int fd);
bool link_open(const struct process *from, unsigned to);
size_t links_in_flight(const struct world *w);
#define TELL(p, to, name, ...) link_send((p), (to), WIRE_##name, &(struct wire_##name){__VA_ARGS__}, -1)
#define TELL_FD(p, to, fd, name, ...) \
    link_send((p), (to), WIRE_##name, &(struct wire_##name){__VA_ARGS__}, (fd))
unsigned link_peer(const struct channel *ch, const struct process *p); /* in a handler */
void links_flush(struct world *w);
void links_free(struct world *w); /* when no event is left */

/* ---- Network ------------------------------------------------------------------------------------------- */

struct end;
struct net_user {
    void (*connected)(struct end *e); /* of the side that connects */
    /* bytes have come: take some, with end_take. Called again when more came, or after end_poke. */
    void (*readable)(struct end *e);
    void (*writable)(struct end *e);                /* after end_write took less than all */
    void (*closed)(struct end *e, const char *how); /* the other side has ended or the connection is broken */
};

struct end {
    struct conn *c;
    void *ctx;
    const struct net_user *user;
    char *in; /* what has arrived */
    size_t n, at, cap;
    bool open;      /* somebody owns it */
    bool told;      /* that the other side has ended */
    unsigned owner; /* whose memory its callbacks use */
};

/* A connection attempt; NULL user side B when refused. accept is asked at the other side when the SYN
 * arrives; it fills in ctx and user and gives true, or false to refuse. */
struct end *net_connect(struct world *w, const struct net_user *user, void *ctx,
                        bool (*accept)(struct world *w, struct end *e, uint64_t arg), uint64_t arg);
void end_send(struct end *e, struct str bytes);
size_t end_write(struct end *e, struct str bytes); /* how much was taken: perhaps not all (writable) */
struct str end_bytes(const struct end *e);
void end_take(struct end *e, size_t n);
void end_poke(struct end *e);           /* look again soon whether it is readable */
void end_close(struct end *e);          /* in order; what was sent still arrives */
void end_abandon(struct end *e);        /* its process has died */
bool end_was_cut(const struct end *e);  /* the world broke it */
bool end_is_alone(const struct end *e); /* the other side has gone, though this one may not know yet */
struct world *end_world(const struct end *e);
void net_reset_some(struct world *w); /* breaks one connection, if there is any */
void net_free(struct world *w);

/* ---- Messages and the judge ---------------------------------------------------------------------------- */

/* A submission is one attempt of a client to hand over one message. Its recipients are leaves: addresses
 * that some host shall get it for; an alias among the recipients stands for several leaves. A bounce is a
 * leaf too. */
enum sub_state { SUB_OPEN, SUB_DOT /* the dot was sent, no answer yet */, SUB_ACKED, SUB_REFUSED, SUB_DOUBT };
enum stage {
    ST_NONE,
    ST_SERVED,
    ST_HEARD,
    ST_SENT,
    ST_REPORTED,
    ST_MARKING,
    ST_TAKEN, /* in queue's memory only: the journal has not been pushed since */
    ST_MARKED,
    ST_DURABLE
};

struct leaf {
    uint32_t sub;
    uint32_t next, prev; /* open ones: served, but the mark is not durable; index + 1 */
    uint8_t stage, served, bounced;
    bool open, excuse, never; /* never: a host said 5xx */
    bool old, shaken;         /* marked in an earlier life of queue; and a sync has failed since */
    bool is_bounce;
    uint32_t teller; /* the life of dispatch that told the mark */
};

struct sub {
    uint32_t leaf, leaves;
    uint32_t
        number; /* of the message; a client that tries again makes a new submission of the same message */
    uint32_t crash_epoch; /* crashes of the queue when the dot was sent */
    uint8_t state;
    uint8_t rcpts;
    bool denied;           /* queue itself said no, and */
    bool stored;           /* queue itself said yes */
    uint64_t cuts;         /* the power had failed so often by then */
    uint64_t syncs_failed; /* so many syncs had, when its client began */
    uint16_t accepted;     /* bits of the recipients that got 250 at RCPT */
};

uint32_t oracle_sub(struct world *w, uint32_t number);
struct sub *sub_of(struct world *w, uint32_t sub);
struct leaf *leaf_of(struct world *w, uint32_t leaf);
uint32_t oracle_bounce(struct world *w, uint32_t sub); /* a leaf for a bounce */
/* Which leaf a bounce is: its text says so in a line "X-Leaf: NUMBER". */
bool leaf_in_bounce(struct str text, uint32_t *leaf);
/* The addresses of a submission. */
struct rcpt_plan {
    uint32_t first, count; /* its leaves, relative to the submission's */
    bool alias;
};
struct rcpt_plan sub_rcpt(const struct sub *s, uint32_t sub, uint32_t rcpt);
void address_of_rcpt(struct world *w, struct buf *b, uint32_t sub, uint32_t rcpt);
void address_of_leaf(struct world *w, struct buf *b, uint32_t sub, uint32_t leaf); /* leaf relative */
bool leaf_at_address(struct world *w, struct str address, uint32_t *leaf);         /* absolute */
bool sender_sub(struct str address, uint32_t *sub);
/* The exact text of a submission, in memory of the world that the next call reuses. */
struct str sub_text(struct world *w, uint32_t sub);
/* Whether data that arrived somewhere are that text behind a prefix. */
bool text_is_of(struct world *w, struct str data, uint32_t sub);

void oracle_answer(struct world *w, uint32_t sub, enum sub_state state);
/* What queue has said of a message; its id is nobody else's for ever. */
void oracle_committed(struct world *w, struct qid id, uint32_t sub, bool ok);
/* Queue dies before it could remove what it had refused. */
void oracle_stays(struct world *w, struct qid id);
/* alone: the deliverer had gone already when its dot arrived, so it can not hear of this delivery. */
void oracle_served(struct world *w, uint32_t leaf, struct str data, bool alone);
/* It is in a mailbox here, where readers see it; seen: as before, written once more. Never a second copy. */
void oracle_mailed(struct world *w, uint32_t leaf, struct str data, bool seen);
void oracle_taken_back(struct world *w, uint32_t leaf); /* a power cut took it from there */
void oracle_never(struct world *w, uint32_t leaf);
/* A deliverer is through with a recipient. ok: it believes that it was served; cut: its connection was
 * broken. */
void oracle_heard(struct world *w, uint32_t leaf, bool ok, bool cut);
void oracle_stage(struct world *w, uint32_t leaf, enum stage stage);
void oracle_name(struct world *w, struct qid id, uint32_t index,
                 uint32_t leaf); /* what the programs call it */
bool oracle_named(struct world *w, struct qid id, uint32_t index, uint32_t *leaf);
void oracle_durable(struct world *w); /* all marks so far are */
void oracle_lost(struct world *w, enum stage from, enum stage to,
                 const char *why); /* these may be served again */
void oracle_excuse(struct world *w, uint32_t leaf, const char *why);
void oracle_queue_crashed(struct world *w);
/* What was taken is written now: it outlives queue. */
void oracle_written(struct world *w);
/* Queue dies with marks that it had not written and so not acknowledged (trouble: not even those that it
 * seems to have): dispatch still knows them, if it is still the one that told them. */
void oracle_unwritten(struct world *w, bool trouble);
void oracle_sync_failed(struct world *w); /* marks that only the page cache had may be gone */
void oracle_verdict(struct world *w);
void oracle_new(struct world *w);
void oracle_free(struct world *w);

/* ---- The hosts ----------------------------------------------------------------------------------------- */

void hosts_new(struct world *w);
void hosts_free(struct world *w);
void hosts_mx(struct world *w, struct str domain, unsigned v[3], unsigned *n);
void host_address(unsigned host, uint8_t ip[4]);
bool hosts_accept(struct world *w, struct end *e, uint64_t host); /* for net_connect */
size_t hosts_sessions(const struct world *w);

void clients_new(struct world *w);
void clients_free(struct world *w);
bool clients_done(const struct world *w);

struct disk *disk_of_programs(struct world *w);                       /* on w->disk; the caller frees it */
bool smtpd_accept(struct world *w, struct end *e, uint64_t instance); /* for net_connect */

/* ---- Faults, and the end ------------------------------------------------------------------------------- */

void faults_begin(struct world *w);
void faults_queue_starts(struct world *w);
void faults_free(struct world *w);
bool faults_on(const struct world *w);
unsigned faults_skip(const struct world *w); /* what the mutant's journal leaves out */
/* The disk is to stop in the middle of what the store does. */
bool faults_disk_dead(const struct world *w);
void faults_disk_struck(struct world *w);      /* it did: the queue dies now, or the whole machine */
void faults_disk_stop(struct world *w);        /* nothing that a dead program still does reaches it */
void faults_disk_resume(struct world *w);      /* its files are closed, the next life may use it */
const char *queue_busy(const struct world *w); /* NULL: it has nothing */
bool dispatch_idle(const struct world *w);
bool remote_idle(const struct process *p);
void local_born(struct process *p); /* a worker anew: whatever it was for before */
bool local_idle(const struct process *p);
void mailboxes_new(struct world *w);
void mailboxes_free(struct world *w);
void mailboxes_cut(struct world *w); /* the power fails */
/* In every third world the domains with the lowest numbers are ours: user 0 and so on. (And in some by profile.) */
bool local_user(const struct world *w, struct str domain, unsigned *user);
unsigned programs(const struct world *w); /* how many there are: workers only where there are mailboxes */
void queue_check_empty(struct world *w);

#endif
