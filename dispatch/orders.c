/* orders.c: what the scheduler wants done: messages to the other programs, descriptors, the timer. */
#include "build-config.h"

#include "common/arena.h"
#include "dispatch/shell.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- queue --- */

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

static bool op_bounce(void *ctx, const struct sched_mail *mail, const struct sched_failed *v, size_t n,
                      struct qid *id) {
    return report_send(ctx, mail, v, n, id);
}

/* --- lookup, resolve, deliverers --- */

static void op_route_query(void *ctx, uint32_t tag, struct str rcpt) {
    struct shell *sh = ctx;
    if (sh->lookup) SEND(sh->lookup, route_query, .tag = tag, .rcpt = str_sub(rcpt, 0, 400));
}

static void op_host_query(void *ctx, uint32_t tag, struct str domain, bool mx) {
    struct shell *sh = ctx;
    if (sh->resolve) SEND(sh->resolve, host_query, .tag = tag, .domain = str_sub(domain, 0, 260), .mx = mx);
}

struct worker *worker_of(struct shell *sh, uint32_t uid) {
    for (struct worker *w = sh->workers; w; w = w->next)
        if (w->uid == uid) return w;
    return NULL;
}

struct worker *worker_at(struct shell *sh, const struct channel *ch) {
    for (struct worker *w = sh->workers; w; w = w->next)
        if (w->ch == ch) return w;
    return NULL;
}

void worker_free(struct shell *sh, struct worker *w) {
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

void worker_stop(struct shell *sh, uint32_t uid) {
    struct worker *w = worker_of(sh, uid);
    if (!w) return;
    if (w->ch) channel_close(w->ch);
    worker_free(sh, w);
}

static void op_worker_stop(void *ctx, uint32_t uid) {
    worker_stop(ctx, uid);
}

/* --- the shell's own --- */

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

static void op_event(void *ctx, const struct sched_event *e) {
    (void)ctx;
    event_log(e);
}

const struct sched_ops dispatch_orders = {
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
