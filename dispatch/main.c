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
 * This file is the shell: what the others tell, channels, timers. What to do is decided in sched*.c. */
#include "build-config.h"

#include "common/arena.h"
#include "dispatch/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    JOBS_PER_REMOTE = 500,
    WORKERS_MAX = 100,
    IN_HAND_MAX = 20000, /* descriptors: RLIMIT_NOFILE of roles.def, twice over for jobs */
    IN_HAND_MIN = 20,
    OTHER_FILES = 300,     /* workers, tools, what one packet brings, our own */
    FLUSH_AFTER_MS = 3000, /* the host table is written that long after the first change */
};

/* What every handler begins with: the scheduler knows the time, and will run once when all inputs were
 * taken. */
static struct sched *sched_of(void *ctx) {
    struct shell *sh = shell_of(ctx);
    sched_clock(sh->sched, loop_wall_ms(sh->me->loop));
    loop_defer(sh->me->loop, &sh->round);
    return sh->sched;
}

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

static void on_job_back(void *ctx, struct channel *ch, const struct wire_job_back *m, int fd) {
    struct sched_source from;
    (void)fd;
    if (source_of(shell_of(ctx), ch, &from)) sched_job_back(sched_of(ctx), from, m->job);
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
    worker_stop(sh, uid);
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
    .job_back = on_job_back,
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
    sh->sched = sched_new(&c, &dispatch_orders, sh, now);
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
