/* queue: the only owner of the spool.
 *
 * Takes messages from smtpd (and bounces from dispatch), makes them durable many at a time, and only then
 * says so; hands them to dispatch, and records what dispatch says about each recipient. The spool itself
 * is store.c, whose head comment is the state table.
 *
 * May touch: the spool directory, which is its root. No network, no other file, no exec. Safe because: it
 * parses no mail; every message of its peers has exact fields and is checked against what that peer may
 * speak about (a queue id belongs to the channel whose lease it carries; a mark only comes from dispatch
 * and only for what was committed); data come as sealed memory files, whose seals and size are checked
 * before a byte is read. An owner of this program has all queued mail, and nothing else. */
#include "queue/shell.h"

#include "common/arena.h"
#include "common/tidy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

int64_t clock_now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- What the store tells ------------------------------------------------------------------------------ */

static void on_retired(void *ctx, struct qid id, int64_t arrival) {
    struct queue *q = ctx;
    int64_t age = loop_wall_ms(q->me->loop) - arrival;
    LOG(retired, .id = id, .age_ms = age > 0 ? (uint64_t)age : 0);
}

static void on_aside(void *ctx, struct str file, struct str why) {
    (void)ctx;
    LOG(set_aside, .file = file, .why = why);
}

static void on_intake(void *ctx, bool open, struct str why) {
    struct queue *q = ctx;
    if (open) {
        LOG(intake_resumed, .why = why);
        return;
    }
    LOG(intake_stopped, .why = why);
    loop_timer_in(q->me->loop, &q->heal, HEAL_MS);
}

static void on_trouble(void *ctx, struct str text) {
    (void)ctx;
    LOG(trouble, .text = text);
}

/* ---- Commits ------------------------------------------------------------------------------------------- */

/* Accepted messages that delivery has not got to. What dispatch has in hand counts half: those may be many for one slow
 * host, which is no reason to slow down. */
static size_t behind(const struct queue *q) {
    return q->fresh.n + q->fetched.n + q->unseen + store_hands(q->store) / 2;
}

static int64_t now_ms(void) {
    return clock_now_ns() / 1000000;
}

static void commit(struct queue *q, unsigned what) {
    unsigned drafts = what & COMMIT_DRAFTS ? store_ended(q->store) : 0;
    q->commit_began = clock_now_ns();
    store_commit_some(q->store, what);
    if (drafts) loop_timer_cancel(q->me->loop, &q->company);
    if (drafts) pace_took(&q->pace, now_ms(), drafts, behind(q));
    feed_marked(q);
    queue_unsynced(q);
}

static void timer_once(struct queue *q, struct timer *t, int64_t delay_ms) {
    if (!t->slot) loop_timer_in(q->me->loop, t, delay_ms);
}

/* Deferred: all that has come in this round goes into the same commit; a lone message is not delayed. */
void queue_ended(struct queue *q) {
    unsigned ended = store_ended(q->store);
    if (!ended) return;
    int64_t now = now_ms(), wait = pace_wait(&q->pace, now, behind(q));
    if (wait) timer_once(q, &q->turn, wait);
    else if (pace_company(&q->pace, now, ended)) timer_once(q, &q->company, COMPANY_MS);
    else loop_defer(q->me->loop, &q->commit);
}

static void on_company(void *ctx) {
    struct queue *q = ctx;
    loop_defer(q->me->loop, &q->commit);
}

void queue_left(struct queue *q) {
    pace_left(&q->pace, now_ms());
}

static void on_turn(void *ctx) {
    queue_ended(ctx);
}

static unsigned drafts_too(const struct queue *q) {
    return store_ended(q->store) && !pace_wait(&q->pace, now_ms(), behind(q)) ? COMMIT_DRAFTS : 0;
}

static void on_commit(void *ctx) {
    struct queue *q = ctx;
    unsigned what = drafts_too(q);
    if (store_unsynced(q->store) >= UNSYNCED_MAX) what |= COMMIT_MARKS;
    if (what) commit(q, what);
    if (!(what & COMMIT_DRAFTS)) queue_ended(q); /* their turn has not come, or not any more */
}

static void on_sync(void *ctx) {
    commit(ctx, COMMIT_MARKS | drafts_too(ctx));
}

void queue_commit(struct queue *q) {
    commit(q, COMMIT_ALL);
}

static void on_rest(void *ctx) {
    struct queue *q = ctx;
    bool more = store_rest(q->store, REST_FILES);
    if (more) loop_timer_in(q->me->loop, &q->rest, REST_SLICE_MS);
    else if (q->rest_long) tidy_heap(); /* what thousands of messages held: at once, not in some seconds */
    q->rest_long = more;
    queue_unsynced(q);
}

/* At the end of a round: what dispatch said in it outlives this program. */
static void on_push(void *ctx) {
    struct queue *q = ctx;
    store_push(q->store);
}

void queue_unsynced(struct queue *q) {
    size_t n = store_unsynced(q->store);
    if (n) loop_defer(q->me->loop, &q->push);
    if (store_wants_rest(q->store) && !q->rest.slot) loop_timer_in(q->me->loop, &q->rest, REST_MS);
    if (store_failing(q->store)) return; /* healing syncs; trying every second would not */
    if (n >= UNSYNCED_MAX && !store_stopped(q->store)) loop_defer(q->me->loop, &q->commit);
    else if ((n || q->marked) && !q->sync.slot) loop_timer_in(q->me->loop, &q->sync, SYNC_MS);
}

/* ---- Opening the spool --------------------------------------------------------------------------------- */

static void give_lease(struct queue *q, struct peer *p) {
    uint64_t lease;
    if (p->lease || channel_peer(p->ch) == ROLE_tool) return;
    int error = store_lease(q->store, loop_wall_ms(q->me->loop), &lease);
    if (error) {
        LOG_TROUBLE("cannot reserve queue ids in the spool: %s; trying again", strerror(error));
        loop_timer_in(q->me->loop, &q->heal, HEAL_MS);
        return;
    }
    p->lease = lease;
    SEND(p->ch, lease, .lease = lease);
}

static void give_leases(struct queue *q) {
    for (struct peer *p = q->peers; p; p = p->next) give_lease(q, p);
}

static uint64_t secret(void) {
    uint64_t random = 0;
    while (getrandom(&random, sizeof random, 0) < 0 && errno == EINTR) {
    }
    return random;
}

/* When nothing is to be delivered, delivery cannot be behind. */
static size_t pace_limit(const struct config *c) {
    return c->deliveries ? c->behind_limit : SIZE_MAX;
}

static struct journal_config journal_setting(const struct config *c) {
    if (str_eq(str_of(c->spool_mode), STR("direct"))) return (struct journal_config){0};
    return (struct journal_config){.segments = JOURNAL_SEGMENTS,
                                   .segment_size = JOURNAL_SEGMENT,
                                   .large = JOURNAL_LARGE,
                                   .changes = JOURNAL_CHANGES,
                                   .secret = secret()};
}

/* Where the machine gives few descriptors fewer messages can come in at a time. */
static struct store_config settings(const struct queue *q) {
    enum { OTHER_FILES = 200, DRAFTS_MIN = 16 };
    const struct config *c = q->me->config;
    unsigned files = program_files(), drafts = files > OTHER_FILES ? (files - OTHER_FILES) / 4 : 0;
    return (struct store_config){.free_space = c->free_space,
                                 .message_size = c->message_size_limit + CHUNK_MAX,
                                 .recipients = c->recipient_limit,
                                 .drafts = drafts < DRAFTS_MIN ? DRAFTS_MIN : drafts,
                                 .journal = journal_setting(c)};
}

static bool open_store(struct queue *q) {
    struct store_config config = settings(q);
    struct store_user user = {.ctx = q,
                              .answer = receive_answer,
                              .retired = on_retired,
                              .aside = on_aside,
                              .intake = on_intake,
                              .trouble = on_trouble};
    if (!q->store) q->store = store_new(q->disk, &config, &user);
    q->pace.limit = pace_limit(q->me->config);
    int error = store_open(q->store);
    if (!error) return true;
    LOG_TROUBLE("cannot open the spool: %s; trying again", strerror(error));
    if (!store_begun(q->store)) {
        program_end(q->me); /* marks that come now would be lost: dispatch keeps them for the next queue */
        return false;
    }
    loop_timer_in(q->me->loop, &q->heal, HEAL_MS);
    return false;
}

static void opened(struct queue *q) {
    store_check(q->store);
    give_leases(q);
    feed_start(q);
    /* A mark may have met the trouble that kept the spool from being opened: intake is stopped then. */
    if (store_stopped(q->store)) loop_timer_in(q->me->loop, &q->heal, HEAL_MS);
}

static void on_heal(void *ctx) {
    struct queue *q = ctx;
    if (!q->recovered && !q->recovery && !q->feed.fn) {
        if (open_store(q)) opened(q);
        return;
    }
    store_heal(q->store);
    if (store_stuck(q->store)) {
        LOG_TROUBLE("the journal has no segment for what came back from the full disk; starting again, now "
                    "that there is room");
        program_end(q->me);
        return;
    }
    feed_marked(q);
    give_leases(q);
    queue_unsynced(q);
    if (store_stopped(q->store)) loop_timer_in(q->me->loop, &q->heal, HEAL_MS);
}

/* ---- Peers --------------------------------------------------------------------------------------------- */

struct peer *peer_of(struct queue *q, struct channel *ch) {
    for (struct peer *p = q->peers; p; p = p->next)
        if (p->ch == ch) return p;
    return NULL;
}

static void on_peer(struct self *me, struct channel *ch) {
    struct queue *q = queue_of(me);
    struct peer *p = xmalloc(sizeof *p);
    *p = (struct peer){.next = q->peers, .ch = ch};
    q->peers = p;
    give_lease(q, p);
    if (channel_peer(ch) != ROLE_dispatch) return;
    /* posternd starts another when the one before is dead, but its last words may still lie in the channel: they are
     * heard first, or what they marked would be told, and served, again. */
    if (q->dispatch) q->heir = p;
    else feed_dispatch(q, p);
}

static void on_peer_gone(struct self *me, struct channel *ch) {
    struct queue *q = queue_of(me);
    struct peer **at = &q->peers, *p;
    while (*at && (*at)->ch != ch) at = &(*at)->next;
    if (!(p = *at)) return;
    *at = p->next;
    receive_peer_gone(q, p);
    ctl_gone(q, p);
    if (q->heir == p) q->heir = NULL;
    if (q->dispatch == p) {
        feed_dispatch_gone(q);
        if (q->heir) feed_dispatch(q, q->heir);
        q->heir = NULL;
    }
    queue_unsynced(q);
    free(p);
}

static void on_drained(struct self *me, struct channel *ch) {
    struct queue *q = queue_of(me);
    struct peer *p = peer_of(q, ch);
    if (!p) return;
    if (p == q->dispatch) feed_more(q);
    ctl_drained(q, p);
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static struct queue the_queue = {.root_fd = -1}; /* one program, one spool */

struct control_listener {
    struct queue *q;
    int fd;
};

static void on_control(void *ctx, uint32_t ready) {
    struct control_listener *l = ctx;
    if (ready & EPOLLIN) ctl_accept(l->q, l->fd);
}

static void on_listener(struct self *me, int fd, enum listener_kind kind, struct str name) {
    if (kind != LISTEN_CONTROL) {
        close(fd);
        return;
    }
    struct control_listener *l = xmalloc(sizeof *l); /* for the life of the program */
    *l = (struct control_listener){.q = queue_of(me), .fd = fd};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        !loop_watch(me->loop, fd, EPOLLIN, on_control, l))
        LOG_TROUBLE("cannot listen on %.*s: %s", STR_ARGS(name), strerror(errno));
}

/* The directory is opened before the cage: afterwards its path may mean something else (chroot). */
static bool prepare(struct self *me) {
    struct queue *q = &the_queue;
    q->me = me;
    me->state = q;
    q->root_fd = open(me->config->spool_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (q->root_fd < 0)
        LOG_TROUBLE("cannot open the spool directory %s: %s", me->config->spool_directory, strerror(errno));
    return q->root_fd >= 0;
}

static void begin(struct self *me) {
    struct queue *q = queue_of(me);
    const char *where;
    char mem[8];
    int error;
    q->commit = (struct deferred){.fn = on_commit, .ctx = q};
    q->push = (struct deferred){.fn = on_push, .ctx = q};
    q->rest = (struct timer){.fn = on_rest, .ctx = q};
    q->company = (struct timer){.fn = on_company, .ctx = q};
    q->turn = (struct timer){.fn = on_turn, .ctx = q};
    q->sync = (struct timer){.fn = on_sync, .ctx = q};
    q->heal = (struct timer){.fn = on_heal, .ctx = q};
    q->disk = disk_posix_new(q->root_fd, &error, &where, mem);
    if (!q->disk) {
        LOG_TROUBLE("cannot use the directory %s in the spool: %s", where, strerror(error));
        program_end(me);
        return;
    }
    if (open_store(q)) opened(q);
}

static void reconfigured(struct self *me, const struct config *old) {
    struct store_config config = settings(queue_of(me));
    (void)old;
    store_configure(queue_of(me)->store, &config);
    queue_of(me)->pace.limit = pace_limit(me->config);
}

/* What has not been committed was not promised; marks are made durable. */
static void stop(struct self *me) {
    struct queue *q = queue_of(me);
    if (q->store) store_commit(q->store, true);
    program_end(me);
}

static const struct wire_handlers handlers = {
    .mail_begin = on_mail_begin,
    .mail_rcpt = on_mail_rcpt,
    .mail_chunk = on_mail_chunk,
    .mail_end = on_mail_end,
    .etrn = on_etrn,
    .mail_abort = on_mail_abort,
    .fetch = on_fetch,
    .mark = on_mark,
    .split = on_split,
    .put_down = on_put_down,
    .ctl_queue = on_ctl_queue,
    .ctl_redirect = on_ctl_redirect,
    .ctl_cat = on_ctl_cat,
};

static const struct program program = {
    .role = ROLE_queue,
    .purpose =
        "The only owner of the spool: makes messages durable, hands them to dispatch, records results.",
    .handlers = &handlers,
    .prepare = prepare,
    .begin = begin,
    .peer = on_peer,
    .peer_gone = on_peer_gone,
    .drained = on_drained,
    .listener = on_listener,
    .reconfigured = reconfigured,
    .stop = stop,
};

int main(int argc, char **argv) {
    return program_main(&program, argc, argv);
}
