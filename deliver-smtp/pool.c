#include "deliver-smtp/pool.h"

#include "common/arena.h"
#include "common/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 20000, /* below RLIMIT_NOFILE of the role; jobs beyond wait */
    BUCKETS = 1024,
    LABEL_MAX = 320,
    READ_MAX = 16384,
    WRITE_ROUND = 1 << 20, /* octets for one connection in one round of the loop; then the others */
};

struct conn {
    LIST_ENTRY(conn) idle; /* in its bucket while parked */
    struct pool *pool;
    int fd;
    struct watch *watch;
    struct client *client; /* NULL while connecting */
    struct timer timer;
    struct deferred reap;
    struct job_target target;      /* name lies in mem */
    struct str destination, label; /* likewise */
    struct job *job;               /* being sent, or waiting for the connection to be ready */
    unsigned mails;
    uint32_t rtt_us;
    bool parked, dead;
    char mem[];
};

LIST_HEAD(bucket, conn);

struct pool {
    struct loop *loop;
    const struct config *config;
    struct pool_user user;
    struct client_config client;
    size_t count; /* of connections */
    struct bucket idle[BUCKETS];
    struct jobs waiting; /* for a connection to become free, or for the next turn of the loop */
    struct jobs settled; /* to be handed back at the end of the round */
    struct deferred work;
    bool stopping;
};

static void on_work(void *ctx);
static void pump(struct conn *c);

void pool_configure(struct pool *p, const struct config *config) {
    p->config = config;
    p->client = (struct client_config){str_of(config->hostname), (int64_t)config->reply_timeout};
}

struct pool *pool_new(struct loop *l, const struct config *config, const struct pool_user *user) {
    struct pool *p = xmalloc(sizeof *p);
    p->loop = l;
    p->user = *user;
    p->work = (struct deferred){.fn = on_work, .ctx = p};
    TAILQ_INIT(&p->waiting);
    TAILQ_INIT(&p->settled);
    pool_configure(p, config);
    return p;
}

static uint32_t us_since(const struct pool *p, int64_t then) {
    int64_t us = (loop_now(p->loop) - then) / 1000;
    return us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

/* ---- jobs ---- */

static void job_over(struct pool *p, struct job *j) {
    j->finished = true;
    TAILQ_INSERT_TAIL(&p->settled, j, link);
    loop_defer(p->loop, &p->work);
}

static void job_again(struct pool *p, struct job *j) {
    TAILQ_INSERT_TAIL(&p->waiting, j, link);
    loop_defer(p->loop, &p->work);
}

/* This host is of no use to the job: the next one (RFC 5321 5.1). */
static void next_host(struct pool *p, struct job *j, const struct status *s, struct str label) {
    job_trouble(j, s, label);
    j->at_host++;
    j->no_idle = false;
    /* That we found ourselves is our own verdict, and final: hosts behind would send it back here as well. */
    bool final = s->kind == STATUS_NEVER && !s->remote;
    if (final || j->at_host == j->host_count) {
        job_settle(j, j->trouble, j->trouble_host);
        job_over(p, j);
    } else {
        job_again(p, j);
    }
}

/* ---- connections kept for later ---- */

static struct bucket *bucket_of(struct pool *p, const struct job_target *t, struct str destination) {
    uint64_t h = str_hash(destination, t->port);
    h = str_hash((struct str){(const char *)t->ip.b, sizeof t->ip.b}, h);
    return &p->idle[h % BUCKETS];
}

static struct conn *take_idle(struct pool *p, const struct job *j) {
    const struct job_target *t = &j->hosts[j->at_host];
    struct conn *c;
    LIST_FOREACH(c, bucket_of(p, t, j->destination), idle) {
        if (c->target.port != t->port || !ip_eq(&c->target.ip, &t->ip) ||
            !str_eq(c->destination, j->destination))
            continue;
        LIST_REMOVE(c, idle);
        c->parked = false;
        return c;
    }
    return NULL;
}

static void quit(struct conn *c) {
    client_quit(c->client);
    pump(c);
}

static void park(struct conn *c) {
    struct pool *p = c->pool;
    if (p->stopping || !p->config->connection_idle || c->mails >= p->config->messages_per_connection) {
        client_quit(c->client);
        return;
    }
    c->parked = true;
    LIST_INSERT_HEAD(bucket_of(p, &c->target, c->destination), c, idle);
    loop_timer_in(p->loop, &c->timer, (int64_t)p->config->connection_idle);
}

/* ---- what the session says ---- */

static void reap(void *ctx) {
    struct conn *c = ctx;
    struct pool *p = c->pool;
    loop_timer_cancel(p->loop, &c->timer);
    if (c->watch) watch_close(c->watch);
    if (c->fd >= 0) close(c->fd);
    client_free(c->client);
    free(c);
    p->count--;
    if (!TAILQ_EMPTY(&p->waiting)) loop_defer(p->loop, &p->work);
}

static void bury(struct conn *c) {
    if (c->dead) return;
    c->dead = true;
    if (c->parked) LIST_REMOVE(c, idle);
    c->parked = false;
    loop_defer(c->pool->loop, &c->reap);
}

static ptrdiff_t on_read(void *ctx, uint64_t at, char *to, size_t n) {
    struct conn *c = ctx;
    return c->job ? job_read(c->job, at, to, n) : -1;
}

static void on_timer(void *ctx, int64_t ms) {
    struct conn *c = ctx;
    if (ms > 0) loop_timer_in(c->pool->loop, &c->timer, ms);
    else loop_timer_cancel(c->pool->loop, &c->timer);
}

static void begin_mail(struct conn *c) {
    c->job->mail_began = loop_now(c->pool->loop);
    c->job->reused = c->mails > 0;
    if (!c->job->reused) c->job->connect_us += us_since(c->pool, c->job->host_began);
    client_begin(c->client, &c->job->mail);
}

static void on_ready(void *ctx, const struct client_server *server) {
    struct conn *c = ctx;
    c->pool->user.learned(c->pool->user.ctx, &c->target, server, c->rtt_us, NULL);
    begin_mail(c);
}

/* Who said it, beside each recipient that this transaction settled; counts those that were served. */
static size_t sign(struct conn *c, struct job *j) {
    size_t ok = 0;
    struct str label = STR_NONE;
    for (size_t i = 0; i < j->mail.count; i++) {
        const struct client_rcpt *r = &j->mail.rcpts[i];
        if (!r->settled || j->rcpts[i].said_by.n) continue;
        if (!label.n) label = str_dup(j->arena, c->label);
        j->rcpts[i].said_by = label;
        ok += r->status.kind == STATUS_OK;
    }
    return ok;
}

static void on_end(void *ctx, const struct client_end *e) {
    struct conn *c = ctx;
    struct pool *p = c->pool;
    struct job *j = c->job;
    c->job = NULL;
    if (e->untouched && c->mails > 0) {
        /* The server had closed it before it heard of this mail: that is no fault of the host. */
        j->no_idle = true;
        job_again(p, j);
        return;
    }
    uint32_t us = us_since(p, j->mail_began);
    size_t ok = sign(c, j);
    j->transmit_us += us;
    c->mails++;
    LOG(sent, .id = j->id, .host = c->label, .rcpts = j->mail.count, .ok = ok, .reused = j->reused,
        .connect_us = j->reused ? 0 : j->connect_us, .transmit_us = us);
    if (e->outcome == CLIENT_SETTLED) job_over(p, j);
    else next_host(p, j, &e->status, c->label);
    if (e->alive) park(c);
}

static void on_over(void *ctx, const struct status *why) {
    struct conn *c = ctx;
    struct job *j = c->job;
    c->job = NULL;
    bury(c);
    if (!j) return;
    c->pool->user.learned(c->pool->user.ctx, &c->target, NULL, c->rtt_us, why);
    j->connect_us += us_since(c->pool, j->host_began);
    next_host(c->pool, j, why, c->label);
}

static const struct client_ops session_ops = {on_read, on_timer, on_ready, on_end, on_over};

/* ---- the socket ---- */

static void lost(struct conn *c, int error) {
    char text[160];
    struct buf b = BUF(text);
    if (error) buf_addf(&b, "connection lost (%s)", strerror(error));
    else buf_adds(&b, "the server closed the connection");
    client_lost(c->client, buf_cstr(&b));
}

/* Sends what there is. A whole small message, its header fields in front and the dot leave in one write. */
static void pump(struct conn *c) {
    size_t round = 0;
    uint32_t want = EPOLLIN;
    while (!c->dead) {
        struct str s = client_output(c->client);
        if (!s.n) break;
        if (round > WRITE_ROUND) {
            want |= EPOLLOUT;
            break;
        }
        ssize_t n = send(c->fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            want |= EPOLLOUT;
            break;
        }
        if (n < 0) {
            lost(c, errno);
            break;
        }
        round += (size_t)n;
        client_sent(c->client, (size_t)n);
    }
    if (!c->dead) watch_set(c->watch, want);
}

/* A server that writes each reply of a group by itself, with Nagle's algorithm on, sends the second when we
 * have acknowledged the first; and we would delay that by 40 ms, since we have nothing to say until all have
 * come. */
static void hurry(struct conn *c) {
    int one = 1;
    if (client_halfway(c->client)) setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
}

static void receive(struct conn *c) {
    static char octets[READ_MAX];
    for (int round = 0; round < 8 && !c->dead; round++) {
        ssize_t n = recv(c->fd, octets, sizeof octets, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            lost(c, n < 0 ? errno : 0);
            return;
        }
        client_input(c->client, (struct str){octets, (size_t)n});
        if ((size_t)n < sizeof octets) {
            hurry(c);
            return;
        }
    }
}

static void connect_failed(struct conn *c, int error) {
    char text[LABEL_MAX + 100];
    struct buf b = BUF(text);
    buf_addf(&b, "cannot connect to %.*s: %s", STR_ARGS(c->label),
             error == ETIMEDOUT ? "timed out" : strerror(error));
    struct status s = status_make(451, "4.4.1", "");
    s.text = buf_str(&b);
    on_over(c, &s);
}

static void connected(struct conn *c) {
    int error = 0;
    socklen_t n = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0) error = errno;
    if (error) {
        connect_failed(c, error);
        return;
    }
    c->rtt_us = us_since(c->pool, c->job->host_began);
    c->client = client_new(&c->pool->client, &session_ops, c);
    watch_set(c->watch, EPOLLIN);
}

static void on_socket(void *ctx, uint32_t ready) {
    struct conn *c = ctx;
    if (c->dead) return;
    if (!c->client) {
        connected(c);
        return;
    }
    if (ready & (EPOLLIN | EPOLLERR | EPOLLHUP)) receive(c);
    if (!c->dead) pump(c);
}

static void on_expiry(void *ctx) {
    struct conn *c = ctx;
    if (c->dead) return;
    if (!c->client) {
        connect_failed(c, ETIMEDOUT);
    } else if (c->parked) {
        LIST_REMOVE(c, idle);
        c->parked = false;
        quit(c);
    } else {
        client_expired(c->client);
    }
}

static struct conn *conn_new(struct pool *p, const struct job *j) {
    const struct job_target *t = &j->hosts[j->at_host];
    char address[80];
    struct buf ip = BUF(address);
    ip_format(&ip, &t->ip);
    size_t room = t->name.n + j->destination.n + LABEL_MAX;
    struct conn *c = xmalloc(sizeof *c + room);
    struct buf b = buf_on(c->mem, room);
    buf_add(&b, t->name);
    buf_add(&b, j->destination);
    buf_addf(&b, "%.*s[%.*s]:%u", STR_ARGS(str_sub(t->name, 0, 255)), STR_ARGS(buf_str(&ip)), t->port);
    struct str all = buf_str(&b);
    c->pool = p;
    c->fd = -1;
    c->target = *t;
    c->target.name = str_sub(all, 0, t->name.n);
    c->destination = str_sub(all, t->name.n, t->name.n + j->destination.n);
    c->label = str_sub(all, t->name.n + j->destination.n, all.n);
    c->timer = (struct timer){.fn = on_expiry, .ctx = c};
    c->reap = (struct deferred){.fn = reap, .ctx = c};
    p->count++;
    return c;
}

/* Gives 0 or errno. */
static int open_socket(struct conn *c) {
    struct sockaddr_storage sa;
    int one = 1;
    socklen_t n = ip_to_sockaddr(&c->target.ip, c->target.port, &sa);
    c->fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return errno;
    /* Each write is a whole flight already: waiting to fill a segment would only cost a round trip. */
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&sa, n) != 0 && errno != EINPROGRESS) return errno;
    c->watch = loop_watch(c->pool->loop, c->fd, EPOLLOUT, on_socket, c);
    return c->watch ? 0 : errno;
}

static void try_host(struct pool *p, struct job *j) {
    struct conn *c = j->no_idle ? NULL : take_idle(p, j);
    j->host_began = loop_now(p->loop);
    if (c) {
        c->job = j;
        begin_mail(c);
        pump(c);
        return;
    }
    c = conn_new(p, j);
    c->job = j;
    loop_timer_in(p->loop, &c->timer, (int64_t)p->config->connect_timeout);
    int error = open_socket(c);
    if (error) connect_failed(c, error);
}

/* ---- the work of a round ---- */

/* Some of its recipients may be served already, so it must be told even though no host is tried any more. */
static void give_back(struct pool *p, struct job *j) {
    job_settle(j, status_make(451, "4.3.2", "delivery was stopped before this recipient's turn"), STR_NONE);
    job_over(p, j);
}

static void on_work(void *ctx) {
    struct pool *p = ctx;
    struct job *j;
    while ((p->stopping || p->count < CONNECTIONS_MAX) && (j = TAILQ_FIRST(&p->waiting))) {
        TAILQ_REMOVE(&p->waiting, j, link);
        if (p->stopping) give_back(p, j);
        else try_host(p, j);
    }
    while ((j = TAILQ_FIRST(&p->settled))) {
        TAILQ_REMOVE(&p->settled, j, link);
        p->user.finished(p->user.ctx, j);
    }
}

void pool_start(struct pool *p, struct job *j) {
    j->working = true;
    if (job_settled(j)) job_over(p, j);
    else job_again(p, j);
}

void pool_stop(struct pool *p) {
    p->stopping = true;
    loop_defer(p->loop, &p->work);
    for (size_t i = 0; i < BUCKETS; i++) {
        struct conn *c;
        while ((c = LIST_FIRST(&p->idle[i]))) {
            LIST_REMOVE(c, idle);
            c->parked = false;
            quit(c);
        }
    }
}
