/* p_dispatch.c: dispatch around the real scheduler. Its host table here is a small memory of which hosts
 * were down. */
#include "dispatch/sched.h"
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

enum { UID_FIRST = 1000 };

struct bounce {
    struct bounce *next;
    struct qid id, about;
};

struct dispatch {
    struct process *p;
    struct sched *sched;
    uint64_t lease;
    uint32_t serial;
    uint32_t timer; /* generation: there is one, and it moves */
    int64_t timer_at;
    struct bounce *bounces;
    bool mute; /* a mutant */
    struct {
        uint32_t caps;
        bool down;
        int64_t retry_at;
    } hosts[HOSTS];
};

static struct dispatch *of(void *ctx) {
    return ((struct process *)ctx)->state;
}

/* ---- Orders -------------------------------------------------------------------------------------------- */

static void op_fetch(void *ctx, struct qid id) {
    TELL((struct process *)ctx, P_QUEUE, fetch, .id = id);
}

static void op_mark(void *ctx, const struct wire_mark *m) {
    struct process *p = ctx;
    uint32_t leaf;
    if (of(ctx)->mute) return;
    if (m->state == 'D' && oracle_named(p->w, m->id, m->index, &leaf)) oracle_stage(p->w, leaf, ST_MARKING);
    link_send(p, P_QUEUE, WIRE_mark, m, -1);
}

static void op_split(void *ctx, const struct wire_split *m) {
    struct process *p = ctx;
    uint32_t leaf;
    if (of(ctx)->mute) return;
    if (leaf_at_address(p->w, m->rcpt, &leaf)) oracle_name(p->w, m->id, m->index, leaf);
    link_send(ctx, P_QUEUE, WIRE_split, m, -1);
}

static void bounce_text(struct buf *b, uint32_t leaf, const struct sched_failed *v, size_t n) {
    buf_addf(b, "X-Leaf: %u\r\nSubject: not delivered\r\n\r\n", leaf);
    for (size_t i = 0; i < n; i++) buf_addf(b, "Failed: %.*s\r\n", STR_ARGS(v[i].rcpt));
}

/* A mutant: it does not wait for mail_done. */
static void on_bounce_early(struct world *w, void *ctx, uint64_t life) {
    struct process *p = ctx;
    struct status ok = status_make(250, "2.0.0", "");
    if (w->ending || !p->alive || p->life != life) return;
    for (struct bounce *b; (b = of(p)->bounces); free(b)) {
        of(p)->bounces = b->next;
        sched_bounce_done(of(p)->sched, b->about, &ok);
    }
    sched_run(of(p)->sched);
}

static bool op_bounce(void *ctx, const struct sched_mail *mail, const struct sched_failed *v, size_t n,
                      struct qid *id) {
    struct process *p = ctx;
    struct dispatch *d = of(p);
    char mem[4096], *bytes;
    struct buf b = BUF(mem);
    uint32_t sub = 0;
    if (!d->lease || !link_open(p, P_QUEUE)) return false;
    if (!sender_sub(mail->sender, &sub))
        world_fail(p->w, "a bounce to %.*s, whom nobody knows", STR_ARGS(mail->sender));
    struct bounce *it = xmalloc(sizeof *it);
    *it = (struct bounce){d->bounces, {d->lease, ++d->serial}, mail->id};
    d->bounces = it;
    *id = it->id;
    bounce_text(&b, oracle_bounce(p->w, sub), v, n);
    int blob = blob_new(p->w, b.n, &bytes);
    memcpy(bytes, mem, b.n);
    TELL(p, P_QUEUE, mail_begin, .id = it->id, .arrival = world_wall(p->w), .sender = STR_NONE,
         .origin = STR("bounce"), .about = mail->id);
    TELL(p, P_QUEUE, mail_rcpt, .id = it->id, .index = 0, .rcpt = mail->sender);
    TELL_FD(p, P_QUEUE, blob, mail_chunk, .id = it->id, .size = (uint32_t)b.n);
    TELL(p, P_QUEUE, mail_end, .id = it->id, .rcpts = 1, .size = b.n, .prefix = STR_NONE);
    if (leaves_out(p->w, SHELL_BOUNCE_EARLY)) world_at(p->w, p->w->now, on_bounce_early, p, p->life);
    return true;
}

static void op_route_query(void *ctx, uint32_t tag, struct str rcpt) {
    TELL((struct process *)ctx, P_LOOKUP, route_query, .tag = tag, .rcpt = rcpt);
}

static void op_host_query(void *ctx, uint32_t tag, struct str domain, bool mx) {
    TELL((struct process *)ctx, P_LOOKUP, host_query, .tag = tag, .domain = domain, .mx = mx);
}

static void send_local(struct process *p, unsigned to, const struct sched_job *j) {
    const struct sched_mail *m = j->mail;
    TELL_FD(p, to, blob_dup(p->w, m->fd), local_job, .job = j->job, .id = m->id, .arrival = m->arrival,
            .sender = m->sender, .size = m->size, .prefix = m->prefix, .user = j->user, .home = j->home,
            .mailbox = j->mailbox, .rcpts = (uint32_t)j->rcpt_count);
}

static void send_remote(struct process *p, unsigned to, const struct sched_job *j) {
    const struct sched_mail *m = j->mail;
    TELL_FD(p, to, blob_dup(p->w, m->fd), job, .job = j->job, .id = m->id, .sender = m->sender,
            .body = m->body, .size = m->size + m->prefix.n, .prefix = m->prefix,
            .destination = j->destination, .hosts = (uint32_t)j->host_count,
            .rcpts = (uint32_t)j->rcpt_count);
    for (size_t i = 0; i < j->host_count; i++) {
        const struct sched_host *h = &j->hosts[i];
        TELL(p, to, job_host, .job = j->job, .name = h->name, .family = h->ip.family,
             .ip = {(const char *)h->ip.b, 4}, .port = h->port, .known = h->caps);
    }
}

static void op_job(void *ctx, const struct sched_job *j) {
    struct process *p = ctx;
    unsigned to = j->local ? P_LOCAL + j->uid - UID_FIRST : P_REMOTE + j->remote;
    if (j->local) send_local(p, to, j);
    else send_remote(p, to, j);
    for (size_t i = 0; i < j->rcpt_count; i++)
        TELL(p, to, job_rcpt, .job = j->job, .index = j->rcpts[i].index, .rcpt = j->rcpts[i].rcpt);
    for (size_t i = 0; leaves_out(p->w, SHELL_MARK_EARLY) && i < j->rcpt_count; i++)
        TELL(p, P_QUEUE, mark, .id = j->mail->id, .index = j->rcpts[i].index, .state = 'D');
}

/* The worker of each user is a process that comes back by itself; it is "started" when it is there. */
static void on_worker_up(struct world *w, void *ctx, uint64_t arg) {
    struct process *p = ctx;
    uint32_t uid = (uint32_t)arg;
    if (w->ending || !p->alive || p->life != (uint32_t)(arg >> 32)) return;
    struct dispatch *d = of(p);
    if (!link_open(p, P_LOCAL + uid - UID_FIRST)) {
        world_at(w, w->now + 20 * NS_MS, on_worker_up, p, arg);
        return;
    }
    sched_clock(d->sched, world_wall(w));
    sched_worker_up(d->sched, uid);
    sched_run(d->sched);
}

static void op_worker_start(void *ctx, uint32_t uid, uint32_t gid) {
    struct process *p = ctx;
    (void)gid;
    if (uid - UID_FIRST >= LOCALS) world_fail(p->w, "a worker is wanted for a user that does not exist");
    else
        world_at(p->w, p->w->now + between(p->w, NS_MS / 10, 5 * NS_MS), on_worker_up, p,
                 (uint64_t)p->life << 32 | uid);
}

static void op_worker_stop(void *ctx, uint32_t uid) {
    (void)ctx, (void)uid;
}

static void op_release(void *ctx, int fd) {
    blob_put(((struct process *)ctx)->w, fd);
}

static void op_facts(void *ctx, const struct ip *ip, uint16_t port, struct sched_facts *out) {
    struct dispatch *d = of(ctx);
    unsigned h = ip->b[3];
    (void)port;
    *out = (struct sched_facts){0};
    if (h >= HOSTS) return;
    *out =
        (struct sched_facts){d->hosts[h].caps, d->hosts[h].down && d->hosts[h].retry_at > world_wall(d->p->w),
                             d->hosts[h].retry_at};
}

static void on_timer(struct world *w, void *ctx, uint64_t arg) {
    struct process *p = ctx;
    if (w->ending || !p->alive || p->life != (uint32_t)(arg >> 32)) return;
    struct dispatch *d = of(p);
    if (d->timer != (uint32_t)arg) return;
    d->timer_at = 0;
    sched_clock(d->sched, world_wall(w));
    sched_run(d->sched);
}

static void op_timer(void *ctx, int64_t at) {
    struct process *p = ctx;
    struct dispatch *d = of(p);
    int64_t in = at - world_wall(p->w);
    if (d->timer_at == at) return;
    d->timer_at = at;
    d->timer++;
    world_at(p->w, p->w->now + (in > 0 ? in : 0) * NS_MS, on_timer, p, (uint64_t)p->life << 32 | d->timer);
}

static void op_event(void *ctx, const struct sched_event *e) {
    struct process *p = ctx;
    static const char *const what[] = {"routed", "delivered", "deferred", "bounced", "expanded", "host down"};
    STORY(p->w, "dispatch: %s %s %.*s (%u %.*s)", qid_format(e->id).c, what[e->what], STR_ARGS(e->to),
          e->status.code, STR_ARGS(e->status.text));
}

static const struct sched_ops ops = {
    .fetch = op_fetch,
    .mark = op_mark,
    .split = op_split,
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

/* ---- Messages ------------------------------------------------------------------------------------------ */

#define ON(name) static void on_##name(void *ctx, struct channel *ch, const struct wire_##name *m, int fd)
#define UNUSED   (void)ch, (void)fd
/* Each first message of a round brings the time along; clock is cheap. */
#define INPUT \
    struct dispatch *d = of(ctx); \
    UNUSED; \
    sched_clock(d->sched, world_wall(d->p->w))

ON(lease) {
    struct dispatch *d = of(ctx);
    UNUSED;
    d->lease = m->lease;
    d->serial = 0;
}

ON(mail_done) {
    INPUT;
    struct status st = STATUS_OF(m);
    for (struct bounce **at = &d->bounces; *at; at = &(*at)->next) {
        struct bounce *b = *at;
        if (!qid_eq(b->id, m->id)) continue;
        *at = b->next;
        sched_bounce_done(d->sched, b->about, &st);
        free(b);
        return;
    }
}

ON(ready) {
    INPUT;
    sched_ready(d->sched, m, fd);
}

ON(marked) {
    INPUT;
    sched_marked(d->sched, m->count);
}

ON(ready_rcpt) {
    INPUT;
    sched_ready_rcpt(d->sched, m);
}

ON(ready_end) {
    INPUT;
    sched_ready_end(d->sched, m->id);
}

ON(waiting) {
    INPUT;
    sched_waiting(d->sched, m);
}

ON(gone) {
    INPUT;
    sched_gone(d->sched, m->id);
}

ON(route_rcpt) {
    INPUT;
    sched_route_rcpt(d->sched, m);
}

ON(route_local) {
    INPUT;
    sched_route_local(d->sched, m);
}

ON(route_answer) {
    INPUT;
    sched_route_answer(d->sched, m);
}

ON(host) {
    INPUT;
    sched_host(d->sched, m);
}

ON(host_answer) {
    INPUT;
    sched_host_answer(d->sched, m);
}

static struct sched_source source_of(unsigned number) {
    if (number >= P_LOCAL) return (struct sched_source){true, UID_FIRST + number - P_LOCAL};
    return (struct sched_source){false, number - P_REMOTE};
}

ON(running) {
    INPUT;
    sched_remote_running(d->sched, link_peer(ch, ctx) - P_REMOTE, m);
}

ON(synced) {
    INPUT;
    (void)m;
    unsigned from = link_peer(ch, ctx);
    if (from < P_LOCAL) sched_remote_synced(d->sched, from - P_REMOTE);
}

ON(result) {
    INPUT;
    uint32_t leaf;
    if (m->kind == STATUS_OK && oracle_named(d->p->w, m->id, m->index, &leaf))
        oracle_stage(d->p->w, leaf, ST_REPORTED);
    sched_result(d->sched, source_of(link_peer(ch, ctx)), m);
}

ON(job_done) {
    INPUT;
    sched_job_done(d->sched, source_of(link_peer(ch, ctx)), m);
}

ON(learned) {
    struct dispatch *d = of(ctx);
    UNUSED;
    unsigned h = m->ip.n == 4 ? (uint8_t)m->ip.p[3] : HOSTS;
    if (h >= HOSTS) return;
    d->hosts[h].down = !m->ok;
    if (m->ok) d->hosts[h].caps = m->caps;
    else d->hosts[h].retry_at = world_wall(d->p->w) + 60000;
}

static const struct wire_handlers handlers = {
    .lease = on_lease,
    .mail_done = on_mail_done,
    .ready = on_ready,
    .marked = on_marked,
    .ready_rcpt = on_ready_rcpt,
    .ready_end = on_ready_end,
    .waiting = on_waiting,
    .gone = on_gone,
    .route_rcpt = on_route_rcpt,
    .route_local = on_route_local,
    .route_answer = on_route_answer,
    .host = on_host,
    .host_answer = on_host_answer,
    .running = on_running,
    .synced = on_synced,
    .result = on_result,
    .job_done = on_job_done,
    .learned = on_learned,
};

/* ---- Life ---------------------------------------------------------------------------------------------- */

static void start(struct process *p) {
    struct dispatch *d = xmalloc(sizeof *d);
    struct sched_config c = {.queue_lifetime = INT64_C(50) * 86400000,
                             .bounce_lifetime = INT64_C(50) * 86400000,
                             .retry_first = 60000,
                             .retry_max = 1800000,
                             .worker_idle = 60000,
                             .concurrency = 20,
                             .rcpts_per_job = 50,
                             .jobs_per_remote = 200,
                             .remote_processes = REMOTES,
                             .worker_max = 10,
                             .in_hand_max = 2000,
                             .smtp_port = 25,
                             .hostname = STR("mx.sim.example")};
    d->p = p;
    p->state = d;
    d->sched = sched_new(&c, &ops, p, world_wall(p->w));
    sched_spawner(d->sched, true);
}

static void bounces_forget(struct dispatch *d) {
    while (d->bounces) {
        struct bounce *b = d->bounces;
        d->bounces = b->next;
        free(b);
    }
}

static void end(struct process *p) {
    struct dispatch *d = of(p);
    sched_free(d->sched);
    bounces_forget(d);
    free(d);
    oracle_lost(p->w, ST_REPORTED, ST_MARKING, "dispatch died");
}

static void presence(struct process *p, unsigned number, bool present) {
    struct dispatch *d = of(p);
    sched_clock(d->sched, world_wall(p->w));
    if (number == P_QUEUE) {
        d->lease = 0;
        bounces_forget(d);
        d->mute = leaves_out(p->w, SHELL_NO_REPLAY);
        sched_queue(d->sched, present);
        d->mute = false;
    } else if (number == P_LOOKUP) {
        sched_lookup(d->sched, present);
        sched_resolve(d->sched, present);
    } else if (number >= P_LOCAL) {
        if (!present) sched_worker_down(d->sched, UID_FIRST + number - P_LOCAL, NULL);
    } else if (!present) {
        sched_remote_gone(d->sched, number - P_REMOTE);
    }
}

static void peer(struct process *p, struct link *l, unsigned number) {
    (void)l;
    presence(p, number, true);
}

static void peer_gone(struct process *p, struct link *l, unsigned number) {
    (void)l;
    presence(p, number, false);
}

static void round_done(struct process *p) {
    struct dispatch *d = of(p);
    sched_clock(d->sched, world_wall(p->w));
    sched_run(d->sched);
}

static uint64_t room(const struct process *p) {
    const struct sched *s = ((const struct dispatch *)p->state)->sched;
    enum { TABLES = 131072, BLOCK = 65536 }; /* the last block of entries is kept */
    return TABLES + BLOCK + sched_known(s) * UINT64_C(512) + sched_in_hand(s) * UINT64_C(4096);
}

const struct program_kind kind_dispatch = {"dispatch", ROLE_dispatch, &handlers,  start, end,
                                           peer,       peer_gone,     round_done, room};

bool dispatch_idle(const struct world *w) {
    const struct process *p = &w->p[P_DISPATCH];
    const struct dispatch *d = p->state;
    return p->alive && !sched_known(d->sched) && !sched_in_hand(d->sched) && !sched_jobs(d->sched);
}
