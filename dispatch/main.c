/* dispatch: what goes where and when; the host capability table.
 *
 * SECURITY. dispatch sees envelopes, and holds the data of messages in progress by descriptor; of the data
 * it reads the header only, of messages that come back to their sender, and parses nothing in it but line
 * ends. It speaks with programs of the suite alone, over channels, and with postern(8) at its control
 * socket, where the kernel says who asks. Its root is the state directory, in which it keeps hosts.db; it
 * has no network, no spool, no mailbox. An attacker who owns it can delay, drop and misroute mail, read what
 * is being delivered, and ask for workers of local users to write into their mailboxes; it cannot read the
 * queue, and cannot talk to the world.
 *
 * This file is the shell: channels, descriptors, timers, the log. What to do is decided in sched*.c. */
#include "build-config.h"

#include "common/arena.h"
#include "common/program.h"
#include "dispatch/bounce.h"
#include "dispatch/hostdb.h"
#include "dispatch/sched.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    REMOTES_MAX = 64,
    JOBS_PER_REMOTE = 500,
    WORKERS_MAX = 100,
    IN_HAND_MAX = 20000, /* descriptors: RLIMIT_NOFILE of roles.def, twice over for jobs */
    IN_HAND_MIN = 20,
    OTHER_FILES = 300, /* workers, tools, what one packet brings, our own */
    OWN_MAX = 256,
    CHUNK_MAX = 1024 * 1024,
    FLUSH_AFTER_MS = 3000, /* the host table is written that long after the first change */
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

static struct shell *shell_of(struct self *me) {
    return me->state;
}

/* What every handler begins with: the scheduler knows the time, and will run once when all inputs were
 * taken. */
static struct sched *sched_of(void *ctx) {
    struct shell *sh = shell_of(ctx);
    sched_clock(sh->sched, loop_wall_ms(sh->me->loop));
    loop_defer(sh->me->loop, &sh->round);
    return sh->sched;
}

/* --- orders of the scheduler: queue --- */

static void op_fetch(void *ctx, struct qid id) {
    struct shell *sh = ctx;
    if (sh->queue) SEND(sh->queue, fetch, .id = id);
}

static void op_mark(void *ctx, const struct wire_mark *m) {
    struct shell *sh = ctx;
    if (sh->queue) channel_send_mark(sh->queue, m, -1);
}

static void op_split(void *ctx, const struct wire_split *m) {
    struct shell *sh = ctx;
    if (sh->queue) channel_send_split(sh->queue, m, -1);
}

static void op_put_down(void *ctx, struct qid id) {
    struct shell *sh = ctx;
    if (sh->queue) SEND(sh->queue, put_down, .id = id);
}

/* The header of the message, read into mem: never more than BOUNCE_HEADER_MAX. */
static struct str read_header(int fd, char *mem, bool *cut) {
    size_t n = 0;
    ssize_t k;
    *cut = true;
    while (n < BOUNCE_HEADER_MAX) {
        k = pread(fd, mem + n, BOUNCE_HEADER_MAX - n, (off_t)n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break;
        n += (size_t)k;
        size_t length = bounce_header_length((struct str){mem, n}, cut);
        if (!*cut) return (struct str){mem, length};
    }
    bool whole = n < BOUNCE_HEADER_MAX; /* no empty line at all: a message that is only a header */
    size_t length = bounce_header_length((struct str){mem, n}, cut);
    *cut = !whole;
    return (struct str){mem, length};
}

/* RET=FULL (RFC 3461 4.3): all of it, when it is of a size that one report can carry. */
static bool read_full(const struct sched_mail *mail, char *mem, struct str *out) {
    if (mail->size > BOUNCE_FULL_MAX) return false;
    size_t n = 0;
    while (n < mail->size) {
        ssize_t k = pread(mail->fd, mem + n, mail->size - n, (off_t)n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        n += (size_t)k;
    }
    *out = (struct str){mem, n};
    return true;
}

static int sealed_memfd(struct str s) {
    int fd = memfd_create("report", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    while (fd >= 0 && s.n) {
        ssize_t k = write(fd, s.p, s.n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) {
            close(fd);
            return -1;
        }
        s = str_sub(s, (size_t)k, s.n);
    }
    if (fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool send_chunks(struct shell *sh, struct qid id, struct str text) {
    while (text.n) {
        struct str part = str_sub(text, 0, CHUNK_MAX);
        int fd = sealed_memfd(part);
        if (fd < 0) return false;
        SEND_FD(sh->queue, fd, mail_chunk, .id = id, .size = (uint32_t)part.n);
        text = str_sub(text, part.n, text.n);
    }
    return true;
}

static bool send_report(struct shell *sh, const struct bounce *b, struct str text, bool eight) {
    char mem[1024];
    struct buf trace = BUF(mem);
    buf_addf(&trace, "Received: by %.*s (Postern) with dispatch\r\n\tid %s; ", STR_ARGS(b->hostname),
             qid_format(b->id).c);
    bounce_date(&trace, b->now);
    buf_adds(&trace, "\r\n");
    if (trace.failed) trace.n = 0;
    SEND(sh->queue, mail_begin, .id = b->id, .arrival = b->now, .sender = STR_NONE,
         .body = (uint8_t)(eight | (b->utf8 ? 2 : 0) | (b->require_tls ? 4 : 0)), .origin = STR("failure report"), .about = b->about);
    SEND(sh->queue, mail_rcpt, .id = b->id, .index = 0, .rcpt = b->sender);
    if (!send_chunks(sh, b->id, text)) {
        SEND(sh->queue, mail_abort, .id = b->id);
        return false;
    }
    SEND(sh->queue, mail_end, .id = b->id, .rcpts = 1, .size = text.n, .prefix = buf_str(&trace));
    sh->reported = xgrow(sh->reported, &sh->reported_cap, sh->reported_n + 1, sizeof *sh->reported);
    sh->reported[sh->reported_n++] = (struct reported){b->id, b->about};
    return true;
}

static bool op_bounce(void *ctx, const struct sched_mail *mail, const struct sched_failed *v, size_t n,
                      struct qid *id) {
    struct shell *sh = ctx;
    bool eight, ok = false;
    if (!sh->queue || !sh->lease || sh->serial == UINT32_MAX) return false;
    /* RFC 8689 5: what must only travel under TLS is not sent back whole, and its report asks for the same. */
    bool require_tls = mail->body & 4;
    bool full = mail->ret == 1 && !require_tls && v[0].action == SCHED_HAS_FAILED;
    char *header = xmalloc(full ? BOUNCE_FULL_MAX : BOUNCE_HEADER_MAX);
    struct bounce b = {.hostname = str_of(sh->me->config->hostname),
                       .id = {sh->lease, ++sh->serial},
                       .about = mail->id,
                       .now = loop_wall_ms(sh->me->loop),
                       .arrival = mail->arrival,
                       .sender = mail->sender,
                       .prefix = mail->prefix,
                       .envid = mail->envid,
                       .utf8 = mail->body & 2,
                       .require_tls = require_tls,
                       .failed = v,
                       .count = n};
    b.full = full && read_full(mail, header, &b.header);
    if (!b.full) b.header = read_header(mail->fd, header, &b.cut);
    size_t room = bounce_room(&b);
    char *text = xmalloc(room);
    struct buf out = buf_on(text, room);
    if (bounce_build(&out, &b, &eight)) ok = send_report(sh, &b, buf_str(&out), eight);
    else LOG_TROUBLE("a failure report did not fit into %zu octets", room);
    *id = b.id;
    free(text);
    free(header);
    return ok;
}

/* --- orders: lookup, resolve, deliverers --- */

static void op_route_query(void *ctx, uint32_t tag, struct str rcpt) {
    struct shell *sh = ctx;
    if (sh->lookup) SEND(sh->lookup, route_query, .tag = tag, .rcpt = str_sub(rcpt, 0, 400));
}

static void op_host_query(void *ctx, uint32_t tag, struct str domain, bool mx) {
    struct shell *sh = ctx;
    if (sh->resolve) SEND(sh->resolve, host_query, .tag = tag, .domain = str_sub(domain, 0, 260), .mx = mx);
}

static struct worker *worker_of(struct shell *sh, uint32_t uid) {
    for (struct worker *w = sh->workers; w; w = w->next)
        if (w->uid == uid) return w;
    return NULL;
}

static struct worker *worker_at(struct shell *sh, const struct channel *ch) {
    for (struct worker *w = sh->workers; w; w = w->next)
        if (w->ch == ch) return w;
    return NULL;
}

static void worker_free(struct shell *sh, struct worker *w) {
    struct worker **at = &sh->workers;
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    free(w);
}

static void send_remote(struct channel *ch, const struct sched_job *j, int fd) {
    const struct sched_mail *m = j->mail;
    SEND_FD(ch, fd, job, .job = j->job, .id = m->id, .sender = m->sender, .body = m->body,
            .size = m->size + m->prefix.n, .prefix = m->prefix, .destination = j->destination,
            .hosts = (uint32_t)j->host_count, .rcpts = (uint32_t)j->rcpt_count, .ret = m->ret,
            .envid = m->envid);
    for (size_t i = 0; i < j->host_count; i++) {
        const struct sched_host *h = &j->hosts[i];
        SEND(ch, job_host, .job = j->job, .name = str_sub(h->name, 0, 260), .family = h->ip.family,
             .ip = {(const char *)h->ip.b, h->ip.family == 4 ? 4 : 16}, .port = h->port, .known = h->caps);
    }
}

static void send_local(struct channel *ch, const struct sched_job *j, int fd) {
    const struct sched_mail *m = j->mail;
    SEND_FD(ch, fd, local_job, .job = j->job, .id = m->id, .arrival = m->arrival, .sender = m->sender,
            .size = m->size, .prefix = m->prefix, .user = j->user, .home = j->home, .mailbox = j->mailbox,
            .rcpts = (uint32_t)j->rcpt_count);
}

static void op_job(void *ctx, const struct sched_job *j) {
    struct shell *sh = ctx;
    struct worker *w = j->local ? worker_of(sh, j->uid) : NULL;
    struct channel *ch = j->local ? (w ? w->ch : NULL) : sh->remotes[j->remote];
    int fd = ch ? fcntl(j->mail->fd, F_DUPFD_CLOEXEC, 10) : -1;
    if (fd < 0) { /* told in the next round: orders do not call back */
        sh->lost = xgrow(sh->lost, &sh->lost_cap, sh->lost_n + 1, sizeof *sh->lost);
        sh->lost[sh->lost_n++] = (struct lost){{j->local, j->local ? j->uid : j->remote}, j->job};
        loop_defer(sh->me->loop, &sh->round);
        return;
    }
    if (j->local) send_local(ch, j, fd);
    else send_remote(ch, j, fd);
    for (size_t i = 0; i < j->rcpt_count; i++)
        SEND(ch, job_rcpt, .job = j->job, .index = j->rcpts[i].index, .rcpt = j->rcpts[i].rcpt,
             .orcpt = j->rcpts[i].orcpt, .notify = j->rcpts[i].notify);
}

static void op_worker_start(void *ctx, uint32_t uid, uint32_t gid) {
    struct shell *sh = ctx;
    int pair[2];
    if (worker_of(sh, uid)) return;
    struct worker *w = xmalloc(sizeof *w);
    w->uid = uid;
    w->tag = ++sh->next_tag;
    w->next = sh->workers;
    sh->workers = w;
    if (sh->spawner && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0) {
        w->ch = program_channel(sh->me, pair[0], ROLE_local);
        SEND_FD(sh->spawner, pair[1], spawn, .tag = w->tag, .uid = uid, .gid = gid);
        return;
    }
    loop_defer(sh->me->loop, &sh->round); /* a worker without a channel: reported there as failed */
}

static void op_worker_stop(void *ctx, uint32_t uid) {
    struct shell *sh = ctx;
    struct worker *w = worker_of(sh, uid);
    if (!w) return;
    if (w->ch) channel_close(w->ch);
    worker_free(sh, w);
}

/* --- orders: the shell's own --- */

static void op_release(void *ctx, int fd) {
    (void)ctx;
    if (fd >= 0) close(fd);
}

static void op_facts(void *ctx, const struct ip *ip, uint16_t port, struct sched_facts *out) {
    struct shell *sh = ctx;
    struct hosttable_facts f = hosttable_facts(sh->table, ip, port, loop_wall_ms(sh->me->loop));
    *out = (struct sched_facts){.caps = f.caps, .down = f.down, .retry_at = f.retry_at};
}

static void op_timer(void *ctx, int64_t at) {
    struct shell *sh = ctx;
    int64_t delay = at - loop_wall_ms(sh->me->loop);
    loop_timer_in(sh->me->loop, &sh->wake, delay > 0 ? delay : 1);
}

struct event_text { /* texts that the log line of an event needs */
    char dsn[24], delays[100], status[1100];
};

static struct str dsn_of(const struct sched_event *e, struct event_text *t) {
    struct buf b = BUF(t->dsn);
    buf_addf(&b, "%u.%u.%u", e->status.detail[0], e->status.detail[1], e->status.detail[2]);
    return buf_str(&b);
}

static struct str status_of(const struct sched_event *e, struct event_text *t) {
    struct buf b = BUF(t->status);
    status_format(&b, &e->status);
    return buf_str(&b);
}

static uint64_t not_negative(int64_t v) {
    return v > 0 ? (uint64_t)v : 0;
}

static void log_routed(const struct sched_event *e, struct event_text *t) {
    (void)t;
    LOG(routed, .id = e->id, .to = e->to, .route = e->route, .nexthop = e->nexthop);
}

static void log_delivered(const struct sched_event *e, struct event_text *t) {
    struct buf delays = BUF(t->delays);
    buf_addf(&delays, "%llu/%llu/%llu/%llu", (unsigned long long)not_negative(e->a),
             (unsigned long long)not_negative(e->b), (unsigned long long)not_negative(e->c),
             (unsigned long long)not_negative(e->d));
    LOG(delivered, .id = e->id, .to = e->to, .relay = e->relay, .delay = not_negative(e->delay),
        .delays = buf_str(&delays), .dsn = dsn_of(e, t), .status = status_of(e, t));
}

static void log_deferred(const struct sched_event *e, struct event_text *t) {
    LOG(deferred, .id = e->id, .to = e->to, .relay = e->relay, .delay = not_negative(e->delay),
        .attempts = e->attempts, .next_s = not_negative(e->next_ms) / 1000, .dsn = dsn_of(e, t),
        .status = status_of(e, t));
}

static void log_reported(const struct sched_event *e, struct event_text *t) {
    static const char *const words[] = {"failed", "delivered", "relayed", "expanded"};
    struct qid_text id = qid_format(e->bounce);
    (void)t;
    LOG(reported, .id = e->id, .to = e->to, .action = str_of(words[e->action]), .bounce = str_of(id.c));
}

static void log_bounced(const struct sched_event *e, struct event_text *t) {
    bool none = qid_eq(e->bounce, QID_NONE);
    struct qid_text id = qid_format(e->bounce);
    LOG(bounced, .id = e->id, .to = e->to, .relay = e->relay, .delay = not_negative(e->delay),
        .dsn = dsn_of(e, t), .status = status_of(e, t), .bounce = none ? STR_NONE : str_of(id.c));
}

static void log_expanded(const struct sched_event *e, struct event_text *t) {
    (void)t;
    LOG(expanded, .id = e->id, .to = e->to, .into = e->into);
}

static void log_host_down(const struct sched_event *e, struct event_text *t) {
    LOG(host_down, .host = e->to, .again_s = not_negative(e->next_ms) / 1000, .status = status_of(e, t));
}

static void op_event(void *ctx, const struct sched_event *e) {
    static void (*const writers[])(const struct sched_event *, struct event_text *) = {
        [SCHED_ROUTED] = log_routed,       [SCHED_DELIVERED] = log_delivered, [SCHED_DEFERRED] = log_deferred,
        [SCHED_BOUNCED] = log_bounced,     [SCHED_REPORTED] = log_reported,   [SCHED_EXPANDED] = log_expanded,
        [SCHED_HOST_DOWN] = log_host_down,
    };
    struct event_text t;
    (void)ctx;
    writers[e->what](e, &t);
}

static const struct sched_ops ops = {
    .fetch = op_fetch,
    .mark = op_mark,
    .split = op_split,
    .put_down = op_put_down,
    .bounce = op_bounce,
    .route_query = op_route_query,
    .host_query = op_host_query,
    .job = op_job,
    .worker_start = op_worker_start,
    .worker_stop = op_worker_stop,
    .release = op_release,
    .facts = op_facts,
    .timer = op_timer,
    .event = op_event,
};

/* --- a round --- */

static void workers_failed(struct shell *sh) {
    struct status st = status_make(451, "4.3.0", "no channel for a local worker could be made");
    for (struct worker *w = sh->workers, *next; w; w = next) {
        next = w->next;
        if (w->ch) continue;
        uint32_t uid = w->uid;
        worker_free(sh, w);
        sched_worker_down(sh->sched, uid, &st);
    }
}

static void finish(struct shell *sh) {
    hostdb_flush(sh->db, loop_wall_ms(sh->me->loop));
    if (sh->queue) channel_drain(sh->queue);
    program_end(sh->me);
}

static void on_round(void *ctx) {
    struct shell *sh = ctx;
    size_t lost = sh->lost_n;
    sched_clock(sh->sched, loop_wall_ms(sh->me->loop));
    for (size_t i = 0; i < lost; i++)
        sched_job_done(sh->sched, sh->lost[i].to, &(struct wire_job_done){.job = sh->lost[i].job});
    sh->lost_n = 0;
    workers_failed(sh);
    sched_run(sh->sched);
    if (hosttable_dirty(sh->table) && !sh->flush.slot)
        loop_timer_in(sh->me->loop, &sh->flush, FLUSH_AFTER_MS);
    if (sh->me->stopping && sched_jobs(sh->sched) == 0) finish(sh);
}

static void on_wake(void *ctx) {
    struct shell *sh = ctx;
    loop_defer(sh->me->loop, &sh->round);
}

static void on_flush(void *ctx) {
    struct shell *sh = ctx;
    hostdb_flush(sh->db, loop_wall_ms(sh->me->loop));
}

/* --- messages from queue --- */

static void on_lease(void *ctx, struct channel *ch, const struct wire_lease *m, int fd) {
    struct shell *sh = shell_of(ctx);
    (void)fd;
    if (ch != sh->queue) return;
    sh->lease = m->lease;
    sh->serial = 0;
    sched_of(ctx);
}

static void on_ready(void *ctx, struct channel *ch, const struct wire_ready *m, int fd) {
    (void)ch;
    sched_ready(sched_of(ctx), m, fd);
}

static void on_marked(void *ctx, struct channel *ch, const struct wire_marked *m, int fd) {
    struct shell *sh = shell_of(ctx);
    (void)fd;
    if (ch == sh->queue) sched_marked(sched_of(ctx), m->count);
}

static void on_ready_rcpt(void *ctx, struct channel *ch, const struct wire_ready_rcpt *m, int fd) {
    (void)ch, (void)fd;
    sched_ready_rcpt(sched_of(ctx), m);
}

static void on_ready_end(void *ctx, struct channel *ch, const struct wire_ready_end *m, int fd) {
    (void)ch, (void)fd;
    sched_ready_end(sched_of(ctx), m->id);
}

static void on_waiting(void *ctx, struct channel *ch, const struct wire_waiting *m, int fd) {
    (void)ch, (void)fd;
    sched_waiting(sched_of(ctx), m);
}

static void on_gone(void *ctx, struct channel *ch, const struct wire_gone *m, int fd) {
    (void)ch, (void)fd;
    sched_gone(sched_of(ctx), m->id);
}

static void on_due_now(void *ctx, struct channel *ch, const struct wire_due_now *m, int fd) {
    (void)ch, (void)fd;
    sched_due_now(sched_of(ctx), m->id);
}

static void on_changed(void *ctx, struct channel *ch, const struct wire_changed *m, int fd) {
    (void)ch, (void)fd;
    sched_changed(sched_of(ctx), m->id, m->held == 1);
}

static void on_mail_done(void *ctx, struct channel *ch, const struct wire_mail_done *m, int fd) {
    struct shell *sh = shell_of(ctx);
    struct status st = STATUS_OF(m);
    (void)ch, (void)fd;
    for (size_t i = 0; i < sh->reported_n; i++) {
        if (!qid_eq(sh->reported[i].id, m->id)) continue;
        struct qid about = sh->reported[i].about;
        sh->reported[i] = sh->reported[--sh->reported_n];
        if (st.kind != STATUS_OK) LOG_TROUBLE("queue did not take a failure report: %.*s", STR_ARGS(st.text));
        sched_bounce_done(sched_of(ctx), about, &st);
        return;
    }
}

/* --- from lookup and resolve --- */

static void on_route_rcpt(void *ctx, struct channel *ch, const struct wire_route_rcpt *m, int fd) {
    (void)ch, (void)fd;
    sched_route_rcpt(sched_of(ctx), m);
}

static void on_route_local(void *ctx, struct channel *ch, const struct wire_route_local *m, int fd) {
    (void)ch, (void)fd;
    sched_route_local(sched_of(ctx), m);
}

static void on_route_answer(void *ctx, struct channel *ch, const struct wire_route_answer *m, int fd) {
    (void)ch, (void)fd;
    sched_route_answer(sched_of(ctx), m);
}

static void on_host(void *ctx, struct channel *ch, const struct wire_host *m, int fd) {
    (void)ch, (void)fd;
    sched_host(sched_of(ctx), m);
}

static void on_host_answer(void *ctx, struct channel *ch, const struct wire_host_answer *m, int fd) {
    (void)ch, (void)fd;
    sched_host_answer(sched_of(ctx), m);
}

/* --- from the deliverers --- */

/* False: it is none of those that may speak of jobs (the spawner itself). */
static bool source_of(struct shell *sh, const struct channel *ch, struct sched_source *from) {
    struct worker *w = worker_at(sh, ch);
    if (w) *from = (struct sched_source){true, w->uid};
    else *from = (struct sched_source){false, channel_instance(ch)};
    return w || channel_peer(ch) == ROLE_remote;
}

/* "name[192.0.2.1]:25", as deliver-smtp names a host; the name may be an address literal itself. */
static void count_delivery(struct shell *sh, struct str host) {
    struct ip ip;
    uint64_t port;
    size_t open = host.n, end;
    while (open > 0 && host.p[open - 1] != '[') open--;
    for (end = open; end < host.n && host.p[end] != ']';) end++;
    if (!open || end + 2 > host.n || host.p[end + 1] != ':') return;
    if (!ip_parse(str_sub(host, open, end), &ip) || !str_to_u64(str_sub(host, end + 2, host.n), 65535, &port))
        return;
    hosttable_delivered(sh->table, &ip, (uint16_t)port, loop_wall_ms(sh->me->loop));
}

static void on_result(void *ctx, struct channel *ch, const struct wire_result *m, int fd) {
    struct shell *sh = shell_of(ctx);
    struct sched_source from;
    (void)fd;
    if (!source_of(sh, ch, &from)) return;
    sched_result(sched_of(ctx), from, m);
    if (!from.local && m->kind == STATUS_OK) count_delivery(sh, m->host);
}

static void on_job_done(void *ctx, struct channel *ch, const struct wire_job_done *m, int fd) {
    struct sched_source from;
    (void)fd;
    if (source_of(shell_of(ctx), ch, &from)) sched_job_done(sched_of(ctx), from, m);
}

static void on_learned(void *ctx, struct channel *ch, const struct wire_learned *m, int fd) {
    struct shell *sh = shell_of(ctx);
    struct hosttable_news n = {.name = m->name,
                               .port = m->port,
                               .ok = m->ok,
                               .caps = m->caps,
                               .size_limit = m->size_limit,
                               .rtt_us = m->rtt_us,
                               .greeting = m->greeting,
                               .status = STATUS_OF(m)};
    (void)ch, (void)fd;
    if ((m->family != 4 && m->family != 6) || m->ip.n != (m->family == 4 ? 4u : 16u)) return;
    n.ip.family = m->family;
    memcpy(n.ip.b, m->ip.p, m->ip.n);
    hosttable_learn(sh->table, &n, loop_wall_ms(sh->me->loop), (int64_t)sh->me->config->retry_first,
                    (int64_t)sh->me->config->retry_max);
    sched_of(ctx);
}

static void on_running(void *ctx, struct channel *ch, const struct wire_running *m, int fd) {
    (void)fd;
    if (channel_peer(ch) == ROLE_remote) sched_remote_running(sched_of(ctx), channel_instance(ch), m);
}

static void on_synced(void *ctx, struct channel *ch, const struct wire_synced *m, int fd) {
    struct shell *sh = shell_of(ctx);
    unsigned i = channel_instance(ch);
    (void)m, (void)fd;
    if (channel_peer(ch) != ROLE_remote || i >= REMOTES_MAX) return;
    if (sh->remotes[i] && sh->remotes[i] != ch) sched_remote_gone(sched_of(ctx), i);
    sh->remotes[i] = ch;
    sched_remote_synced(sched_of(ctx), i);
}

static void on_spawned(void *ctx, struct channel *ch, const struct wire_spawned *m, int fd) {
    struct shell *sh = shell_of(ctx);
    char mem[120];
    struct buf why = BUF(mem);
    (void)fd;
    if (ch != sh->spawner) return;
    struct worker *w = sh->workers;
    while (w && w->tag != m->tag) w = w->next;
    if (!w || w->up) return;
    uint32_t uid = w->uid;
    if (m->ok) {
        w->up = true;
        sched_worker_up(sched_of(ctx), uid);
        return;
    }
    buf_addf(&why, "no delivery with the rights of UID %u: %s", uid,
             strerrordesc_np((int)m->error) ? strerrordesc_np((int)m->error) : "refused");
    struct status st = status_make(451, "4.3.0", buf_cstr(&why));
    op_worker_stop(sh, uid);
    sched_worker_down(sched_of(ctx), uid, &st);
}

/* --- control socket --- */

static void give_host(void *ctx, struct str name, struct str facts) {
    struct channel *ch = ctx;
    SEND(ch, ctl_host, .name = name, .facts = facts);
}

static void on_ctl_hosts(void *ctx, struct channel *ch, const struct wire_ctl_hosts *m, int fd) {
    struct shell *sh = shell_of(ctx);
    struct status st = status_make(250, "2.0.0", "");
    size_t n = 0;
    (void)fd;
    /* Whom this host sends mail to is nobody's business but the administrator's. */
    if (program_admin(sh->me, ch))
        n = hosttable_each(sh->table, m->name, loop_wall_ms(sh->me->loop), give_host, ch);
    else st = status_make(550, "5.7.1", "only the administrator may list the host table");
    SEND(ch, ctl_done, .count = (uint32_t)n, WIRE_STATUS(st));
}

/* lookup answers this before any later question. */
static void on_ctl_tables(void *ctx, struct channel *ch, const struct wire_ctl_tables *m, int fd) {
    struct shell *sh = shell_of(ctx);
    struct status st = status_make(250, "2.0.0", "");
    (void)m, (void)fd;
    if (!program_admin(sh->me, ch)) st = status_make(550, "5.7.1", "only the administrator may say so");
    else if (sh->lookup) SEND(sh->lookup, tables_look, .now = 1);
    SEND(ch, ctl_done, .count = 0, WIRE_STATUS(st));
}

static void on_routes_changed(void *ctx, struct channel *ch, const struct wire_routes_changed *m, int fd) {
    (void)ch, (void)m, (void)fd;
    sched_reroute(sched_of(ctx));
}

static void on_accept(void *ctx, uint32_t ready) {
    struct shell *sh = ctx;
    bool more;
    (void)ready;
    program_tool(sh->me, sh->control_fd, &more);
}

static void on_listener(struct self *me, int fd, enum listener_kind kind, struct str name) {
    struct shell *sh = shell_of(me);
    (void)name;
    if (kind != LISTEN_CONTROL || sh->control) {
        close(fd);
        return;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    sh->control_fd = fd;
    sh->control = loop_watch(me->loop, fd, EPOLLIN, on_accept, sh);
}

static const struct wire_handlers handlers = {
    .lease = on_lease,
    .ready = on_ready,
    .marked = on_marked,
    .ready_rcpt = on_ready_rcpt,
    .ready_end = on_ready_end,
    .waiting = on_waiting,
    .gone = on_gone,
    .due_now = on_due_now,
    .changed = on_changed,
    .mail_done = on_mail_done,
    .route_rcpt = on_route_rcpt,
    .route_local = on_route_local,
    .route_answer = on_route_answer,
    .host = on_host,
    .host_answer = on_host_answer,
    .result = on_result,
    .job_done = on_job_done,
    .learned = on_learned,
    .running = on_running,
    .synced = on_synced,
    .spawned = on_spawned,
    .ctl_hosts = on_ctl_hosts,
    .ctl_tables = on_ctl_tables,
    .routes_changed = on_routes_changed,
};

/* --- peers come and go --- */

static struct channel **place_of(struct shell *sh, enum role role) {
    if (role == ROLE_queue) return &sh->queue;
    if (role == ROLE_lookup) return &sh->lookup;
    if (role == ROLE_resolve) return &sh->resolve;
    return role == ROLE_local ? &sh->spawner : NULL;
}

static void tell_presence(struct shell *sh, enum role role, bool present) {
    struct sched *s = sched_of(sh->me);
    if (role == ROLE_queue) sched_queue(s, present);
    if (role == ROLE_lookup) sched_lookup(s, present);
    if (role == ROLE_resolve) sched_resolve(s, present);
    if (role == ROLE_local) sched_spawner(s, present);
}

static void on_peer(struct self *me, struct channel *ch) {
    struct shell *sh = shell_of(me);
    struct channel **place = place_of(sh, channel_peer(ch));
    if (!place) return; /* deliver-smtp: when it is synced */
    if (*place) {       /* dead, and half a message from it must not be ended by its successor */
        tell_presence(sh, channel_peer(ch), false);
        channel_close(*place);
    }
    *place = ch;
    if (channel_peer(ch) == ROLE_queue) sh->lease = 0, sh->reported_n = 0;
    tell_presence(sh, channel_peer(ch), true);
}

static void worker_gone(struct shell *sh, struct worker *w) {
    struct status st = status_make(451, "4.3.0", "the local worker ended before it began");
    uint32_t uid = w->uid;
    bool up = w->up;
    worker_free(sh, w);
    sched_worker_down(sched_of(sh->me), uid, up ? NULL : &st);
}

static void on_peer_gone(struct self *me, struct channel *ch) {
    struct shell *sh = shell_of(me);
    enum role role = channel_peer(ch);
    struct channel **place = place_of(sh, role);
    struct worker *w = role == ROLE_local ? worker_at(sh, ch) : NULL;
    if (w) {
        worker_gone(sh, w);
        return;
    }
    if (place && *place == ch) {
        *place = NULL;
        tell_presence(sh, role, false);
    }
    for (unsigned i = 0; i < REMOTES_MAX && role == ROLE_remote; i++) {
        if (sh->remotes[i] != ch) continue;
        sh->remotes[i] = NULL;
        sched_remote_gone(sched_of(me), i);
    }
}

/* --- beginning and end --- */

static void add_own(struct shell *sh, size_t *n, const struct ip *ip, uint16_t port) {
    if (*n < OWN_MAX) sh->own[(*n)++] = (struct sched_own){*ip, port};
}

/* The addresses on which smtpd receives; "any" stands for those of the interfaces when we started. */
static size_t find_own(struct shell *sh, const struct config *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->listen.n; i++) {
        const struct endpoint *e = &c->listen.v[i];
        add_own(sh, &n, &e->ip, e->port);
        for (size_t k = 0; k < sh->interface_n && ip_is_unspecified(&e->ip); k++)
            add_own(sh, &n, &sh->interfaces[k], e->port);
    }
    return n;
}

/* Where a machine gives few descriptors we take less in hand: a packet that cannot be received whole looks like
 * the work of an intruder. deliver-smtp stands under the same limit, with a socket for each job. */
static size_t few(size_t most) {
    size_t files = program_files(), n = files > OTHER_FILES ? (files - OTHER_FILES) / 3 : 0;
    return n < IN_HAND_MIN ? IN_HAND_MIN : n < most ? n : most;
}

static struct sched_config sched_settings(struct shell *sh) {
    const struct config *c = sh->me->config;
    return (struct sched_config){
        .queue_lifetime = (int64_t)c->queue_lifetime,
        .bounce_lifetime = (int64_t)c->bounce_lifetime,
        .retry_first = (int64_t)c->retry_first,
        .retry_max = (int64_t)c->retry_max,
        .worker_idle = (int64_t)c->worker_idle,
        .concurrency = (unsigned)c->destination_concurrency,
        .rcpts_per_job = (unsigned)c->recipients_per_delivery,
        .jobs_per_remote = (unsigned)few(JOBS_PER_REMOTE),
        .remote_processes = (unsigned)c->remote_processes,
        .worker_max = WORKERS_MAX,
        .in_hand_max = few(IN_HAND_MAX),
        .smtp_port = (uint16_t)c->smtp_port,
        .paused = !c->deliveries,
        .allow_loopback = c->allow_loopback,
        .hostname = str_of(c->hostname),
        .own = sh->own,
        .own_count = find_own(sh, c),
    };
}

static void note(bool trouble, const char *text) {
    if (trouble) LOG_TROUBLE("%s", text);
    else LOG_NOTE("%s", text);
}

/* Outside the cage: which addresses the interfaces have (netlink), and which directory will be the root. */
static bool prepare(struct self *me) {
    struct shell *sh = xmalloc(sizeof *sh);
    struct ifaddrs *list, *i;
    struct stat st;
    sh->me = me;
    me->state = sh;
    if (getifaddrs(&list) == 0) {
        for (i = list; i && sh->interface_n < OWN_MAX; i = i->ifa_next) {
            struct sockaddr_storage sa = {0};
            uint16_t port;
            if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
                continue;
            memcpy(&sa, i->ifa_addr,
                   i->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                     : sizeof(struct sockaddr_in6));
            sh->interface_n += ip_from_sockaddr(&sa, &sh->interfaces[sh->interface_n], &port);
        }
        freeifaddrs(list);
    }
    if (stat(me->config->state_directory, &st) != 0) {
        LOG_TROUBLE("state-directory %s: %s", me->config->state_directory, strerror(errno));
        return false;
    }
    sh->state_dev = st.st_dev;
    sh->state_ino = st.st_ino;
    return true;
}

/* In the cage the state directory is the root; without root's rights it keeps its name. */
static void begin(struct self *me) {
    struct shell *sh = shell_of(me);
    struct stat st;
    bool chrooted = stat("/", &st) == 0 && st.st_dev == sh->state_dev && st.st_ino == sh->state_ino;
    int64_t now = loop_wall_ms(me->loop);
    sh->table = hosttable_new();
    sh->db = hostdb_open(chrooted ? "" : me->config->state_directory, sh->table, now, note);
    struct sched_config c = sched_settings(sh);
    sh->sched = sched_new(&c, &ops, sh, now);
    sh->round = (struct deferred){.fn = on_round, .ctx = sh};
    sh->wake = (struct timer){.fn = on_wake, .ctx = sh};
    sh->flush = (struct timer){.fn = on_flush, .ctx = sh};
    loop_defer(me->loop, &sh->round);
}

static void reconfigured(struct self *me, const struct config *old) {
    struct shell *sh = shell_of(me);
    (void)old;
    if (!sh->sched) return;
    struct sched_config c = sched_settings(sh);
    sched_configure(sh->sched, &c);
    sched_of(me);
}

static void stop(struct self *me) {
    struct shell *sh = shell_of(me);
    hostdb_flush(sh->db, loop_wall_ms(me->loop));
    sched_stop(sh->sched);
    sched_of(me);
}

static const struct program dispatch = {
    .role = ROLE_dispatch,
    .purpose = "Decides what goes where and when, and remembers what other hosts can take.",
    .handlers = &handlers,
    .prepare = prepare,
    .begin = begin,
    .peer = on_peer,
    .peer_gone = on_peer_gone,
    .listener = on_listener,
    .reconfigured = reconfigured,
    .stop = stop,
};

int main(int argc, char **argv) {
    return program_main(&dispatch, argc, argv);
}
