/* p_remote.c: deliver-smtp around the real client session: what its main.c, job.c and pool.c do, with
 * events. */
#include "deliver-smtp/client.h"
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

enum { HOSTS_A_JOB = 20, IDLE_MS = 5000, CONNECT_MS = 30000, MAILS_A_CONN = 50, REPLY_MS = 60000 };

struct job {
    struct job *next;
    uint32_t number, rcpt_count, host_count, hosts_told;
    struct qid id;
    struct arena *arena;
    struct client_mail mail;
    uint32_t *index, *leaf; /* of each recipient */
    struct str *rcpt;
    unsigned host[HOSTS_A_JOB], at_host;
    int blob;
    bool working, finished, no_idle;
    struct status trouble;
    char trouble_text[200];
};

struct line { /* a connection */
    struct line *next, *prev;
    struct remote *r;
    struct end *e;
    struct client *client; /* NULL while connecting */
    struct job *job;
    unsigned host, mails;
    uint32_t timer;
    uint64_t number;
    bool parked, dead, full;
};

struct remote {
    struct process *p;
    struct job *jobs;
    struct line *lines;
    struct client_config config;
    uint64_t numbers;
    bool work_soon;
};

static struct remote *of(void *ctx) {
    return ((struct process *)ctx)->state;
}

static void pump(struct line *l);
static void on_work(struct world *w, void *ctx, uint64_t life);

/* ---- Jobs ---------------------------------------------------------------------------------------------- */

static void job_free(struct remote *r, struct job *j) {
    struct job **at = &r->jobs;
    while (*at != j) at = &(*at)->next;
    *at = j->next;
    blob_put(r->p->w, j->blob);
    arena_free(j->arena);
    free(j);
}

static void job_report(struct remote *r, struct job *j) {
    struct process *p = r->p;
    for (size_t i = 0; i < j->mail.count; i++) {
        const struct client_rcpt *c = &j->mail.rcpts[i];
        TELL(p, P_DISPATCH, result, .job = j->number, .id = j->id, .index = j->index[i], .host = STR("host"),
             WIRE_STATUS(c->status));
        if (c->status.kind == STATUS_OK) oracle_stage(p->w, j->leaf[i], ST_SENT);
    }
    TELL(p, P_DISPATCH, job_done, .job = j->number);
    job_free(r, j);
}

static void work_soon(struct remote *r) {
    struct world *w = r->p->w;
    if (r->work_soon) return;
    r->work_soon = true;
    world_at(w, w->now, on_work, r->p, r->p->life);
}

static bool settled(const struct job *j) {
    for (size_t i = 0; i < j->mail.count; i++)
        if (!j->mail.rcpts[i].settled) return false;
    return true;
}

static void job_over(struct remote *r, struct job *j) {
    j->finished = true;
    j->working = false;
    work_soon(r);
}

static void job_again(struct remote *r, struct job *j) {
    j->working = false;
    work_soon(r);
}

/* What this host was to the recipients, for the judge. */
static void heard(struct remote *r, struct job *j, bool cut) {
    for (size_t i = 0; i < j->mail.count; i++) {
        const struct client_rcpt *c = &j->mail.rcpts[i];
        oracle_heard(r->p->w, j->leaf[i], c->settled && c->status.kind == STATUS_OK, cut);
    }
}

static void next_host(struct remote *r, struct job *j, const struct status *s) {
    size_t n = s->text.n < sizeof j->trouble_text ? s->text.n : sizeof j->trouble_text;
    j->trouble = *s;
    if (n) memcpy(j->trouble_text, s->text.p, n);
    j->trouble.text = (struct str){j->trouble_text, n};
    j->no_idle = false;
    if (++j->at_host < j->host_count && !(s->kind == STATUS_NEVER && !s->remote)) {
        job_again(r, j);
        return;
    }
    for (size_t i = 0; i < j->mail.count; i++) {
        if (j->mail.rcpts[i].settled) continue;
        j->mail.rcpts[i].settled = true;
        j->mail.rcpts[i].status = j->trouble;
    }
    job_over(r, j);
}

/* ---- Connections --------------------------------------------------------------------------------------- */

struct call { /* an event about a connection that may have gone by then */
    struct process *p;
    uint64_t number;
    uint32_t life, timer;
};

static struct line *called(struct world *w, struct call *k) {
    struct line *l = NULL;
    if (!w->ending && k->p->alive && k->p->life == k->life)
        for (l = of(k->p)->lines; l && l->number != k->number;) l = l->next;
    if (l && l->timer != k->timer) l = NULL;
    free(k);
    return l;
}

static void on_timeout(struct world *w, void *ctx, uint64_t arg);

static void timer(struct line *l, int64_t ms) {
    struct process *p = l->r->p;
    l->timer++;
    if (ms <= 0) return;
    struct call *k = event_ctx(sizeof *k);
    *k = (struct call){p, l->number, p->life, l->timer};
    world_at(p->w, p->w->now + ms * NS_MS, on_timeout, k, 0);
}

static void line_free(struct line *l) {
    if (l->prev) l->prev->next = l->next;
    else l->r->lines = l->next;
    if (l->next) l->next->prev = l->prev;
    client_free(l->client);
    free(l);
}

static void bury(struct line *l) {
    l->dead = true;
    work_soon(l->r);
}

static void learned(struct line *l, const struct client_server *server, const struct status *failure) {
    struct process *p = l->r->p;
    uint8_t ip[4];
    struct status ok = status_make(250, "2.0.0", "");
    host_address(l->host, ip);
    TELL(p, P_DISPATCH, learned, .name = STR("host"), .family = 4, .ip = {(const char *)ip, 4}, .port = 25,
         .ok = server != NULL, .caps = server ? server->caps : 0,
         .size_limit = server ? server->size_limit : 0, WIRE_STATUS(failure ? *failure : ok));
}

static ptrdiff_t op_read(void *ctx, uint64_t at, char *to, size_t n) {
    struct line *l = ctx;
    struct str all = blob_str(l->r->p->w, l->job->blob);
    if (at > all.n) return -1;
    struct str run = str_sub(all, (size_t)at, (size_t)at + n);
    if (run.n) memcpy(to, run.p, run.n);
    return (ptrdiff_t)run.n;
}

static void op_timer(void *ctx, int64_t ms) {
    timer(ctx, ms);
}

static void op_ready(void *ctx, const struct client_server *server) {
    struct line *l = ctx;
    learned(l, server, NULL);
    if (l->job) client_begin(l->client, &l->job->mail);
    else client_quit(l->client);
}

static void op_end(void *ctx, const struct client_end *e) {
    struct line *l = ctx;
    struct job *j = l->job;
    bool cut = end_was_cut(l->e);
    l->job = NULL;
    if (e->untouched && l->mails > 0) {
        heard(l->r, j, cut);
        j->no_idle = true;
        job_again(l->r, j);
        return;
    }
    heard(l->r, j, cut || !e->alive); /* a reply that came too late is a window too */
    l->mails++;
    if (e->outcome == CLIENT_SETTLED) job_over(l->r, j);
    else next_host(l->r, j, &e->status);
    if (!e->alive) return;
    if (l->mails >= MAILS_A_CONN) {
        client_quit(l->client);
        return;
    }
    l->parked = true;
    timer(l, IDLE_MS);
}

static void op_over(void *ctx, const struct status *why) {
    struct line *l = ctx;
    struct job *j = l->job;
    l->job = NULL;
    bury(l);
    if (!j) return;
    learned(l, NULL, why);
    next_host(l->r, j, why);
}

static const struct client_ops ops = {op_read, op_timer, op_ready, op_end, op_over};

static void pump(struct line *l) {
    while (!l->dead && !l->full) {
        struct str s = client_output(l->client);
        if (!s.n) return;
        size_t n = end_write(l->e, s);
        l->full = n < s.n;
        client_sent(l->client, n);
    }
}

static void failed(struct line *l, const char *how) {
    struct status s = status_make(451, "4.4.1", how);
    op_over(l, &s);
}

static void connected(struct end *e) {
    struct line *l = e->ctx;
    if (l->dead) return;
    l->client = client_new(&l->r->config, &ops, l);
}

static void readable(struct end *e) {
    struct line *l = e->ctx;
    if (!l->client || l->dead) return;
    struct str in = end_bytes(e);
    client_input(l->client, in);
    end_take(e, in.n);
    pump(l);
}

static void closed(struct end *e, const char *how) {
    struct line *l = e->ctx;
    if (l->dead) return;
    if (l->parked && !how) { /* the real pool finds out when it reads */
        l->parked = false;
    }
    if (l->client) client_lost(l->client, how ? how : "the server closed the connection");
    else failed(l, "cannot connect: refused");
}

static void writable(struct end *e) {
    struct line *l = e->ctx;
    l->full = false;
    if (l->client && !l->dead) pump(l);
}

static const struct net_user net = {connected, readable, writable, closed};

static void on_timeout(struct world *w, void *ctx, uint64_t arg) {
    struct line *l = called(w, ctx);
    (void)arg;
    if (!l || l->dead) return;
    if (!l->client) {
        failed(l, "cannot connect: timed out");
    } else if (l->parked) {
        l->parked = false;
        client_quit(l->client);
        pump(l);
    } else {
        client_expired(l->client);
    }
}

static struct line *take_idle(struct remote *r, unsigned host) {
    for (struct line *l = r->lines; l; l = l->next) {
        if (!l->parked || l->host != host || l->dead) continue;
        l->parked = false;
        return l;
    }
    return NULL;
}

static void try_host(struct remote *r, struct job *j) {
    unsigned host = j->host[j->at_host];
    struct line *l = j->no_idle ? NULL : take_idle(r, host);
    j->working = true;
    if (l) {
        l->job = j;
        client_begin(l->client, &j->mail);
        pump(l);
        return;
    }
    l = xmalloc(sizeof *l);
    *l = (struct line){.next = r->lines, .r = r, .host = host, .job = j, .number = ++r->numbers};
    if (l->next) l->next->prev = l;
    r->lines = l;
    l->e = net_connect(r->p->w, &net, l, hosts_accept, host);
    timer(l, CONNECT_MS);
}

/* What a round left: connections to bury, jobs to go on with, jobs to report. */
static void on_work(struct world *w, void *ctx, uint64_t life) {
    struct process *p = ctx;
    if (w->ending || !p->alive || p->life != life) return;
    struct remote *r = of(p);
    r->work_soon = false;
    for (struct line *l = r->lines, *next; l; l = next) {
        next = l->next;
        if (!l->dead) continue;
        end_close(l->e);
        line_free(l);
    }
    for (struct job *j = r->jobs, *next; j; j = next) {
        next = j->next;
        bool whole = j->mail.count == j->rcpt_count && j->hosts_told == j->host_count;
        if (j->finished && link_open(p, P_DISPATCH)) job_report(r, j);
        else if (whole && !j->finished && !j->working) try_host(r, j);
    }
}

/* ---- Messages ------------------------------------------------------------------------------------------ */

static struct job *told(struct remote *r, uint32_t number) {
    struct job *j = r->jobs;
    while (j && (j->number != number || j->working || j->finished)) j = j->next;
    return j;
}

static void on_job(void *ctx, struct channel *ch, const struct wire_job *m, int fd) {
    struct remote *r = of(ctx);
    (void)ch;
    struct job *j = xmalloc(sizeof *j);
    j->next = r->jobs;
    r->jobs = j;
    j->arena = arena_new(65536 + m->rcpts * 4096);
    j->blob = fd;
    j->number = m->job;
    j->id = m->id;
    j->rcpt_count = m->rcpts;
    j->host_count = m->hosts < HOSTS_A_JOB ? m->hosts : HOSTS_A_JOB;
    j->index = arena_alloc(j->arena, m->rcpts * sizeof *j->index);
    j->leaf = arena_alloc(j->arena, m->rcpts * sizeof *j->leaf);
    j->rcpt = arena_alloc(j->arena, m->rcpts * sizeof *j->rcpt);
    j->mail = (struct client_mail){.sender = str_dup(j->arena, m->sender),
                                   .eight_bit = m->body & 1,
                                   .utf8 = m->body & 2,
                                   .require_tls = m->body & 4,
                                   .prefix = str_dup(j->arena, m->prefix),
                                   .size = m->size,
                                   .arena = j->arena,
                                   .rcpts = arena_alloc(j->arena, m->rcpts * sizeof(struct client_rcpt))};
    if (m->size != m->prefix.n + blob_str(r->p->w, fd).n)
        world_fail(r->p->w, "a job whose size is not its data's");
    if (!m->hosts || !m->rcpts) world_fail(r->p->w, "a job without hosts or recipients");
}

static void on_job_host(void *ctx, struct channel *ch, const struct wire_job_host *m, int fd) {
    struct job *j = told(of(ctx), m->job);
    (void)ch, (void)fd;
    if (j && j->hosts_told < HOSTS_A_JOB) j->host[j->hosts_told++] = (uint8_t)m->ip.p[3];
}

/* Which leaf the recipient is: by its address, or for a bounce by what stands in the text. */
static uint32_t leaf_for(struct remote *r, struct job *j, struct str rcpt) {
    struct world *w = r->p->w;
    uint32_t leaf = 0;
    if (!leaf_at_address(w, rcpt, &leaf) && !leaf_in_bounce(blob_str(w, j->blob), &leaf))
        world_fail(w, "a job for %.*s, whom nobody knows", STR_ARGS(rcpt));
    return leaf;
}

static void on_job_rcpt(void *ctx, struct channel *ch, const struct wire_job_rcpt *m, int fd) {
    struct remote *r = of(ctx);
    struct job *j = told(r, m->job);
    (void)ch, (void)fd;
    if (!j || j->mail.count == j->rcpt_count) return;
    size_t i = j->mail.count++;
    j->index[i] = m->index;
    j->rcpt[i] = str_dup(j->arena, m->rcpt);
    j->leaf[i] = leaf_for(r, j, m->rcpt);
    j->mail.rcpts[i].address = str_dup(j->arena, m->rcpt);
    oracle_name(r->p->w, j->id, m->index, j->leaf[i]);
    if (j->mail.count == j->rcpt_count && settled(j)) j->finished = true;
    work_soon(r);
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static void start(struct process *p) {
    struct remote *r = xmalloc(sizeof *r);
    r->p = p;
    r->config = (struct client_config){STR("mx.sim.example"), REPLY_MS};
    p->state = r;
}

static void end(struct process *p) {
    struct remote *r = of(p);
    for (struct job *j = r->jobs; j; j = j->next)
        for (size_t i = 0; i < j->mail.count; i++)
            oracle_excuse(p->w, j->leaf[i], "the deliverer died with the job");
    while (r->lines) {
        struct line *l = r->lines;
        end_abandon(l->e);
        line_free(l);
    }
    while (r->jobs) job_free(r, r->jobs);
    free(r);
}

static void forget_partial(struct remote *r) {
    for (struct job *j = r->jobs, *next; j; j = next) {
        next = j->next;
        if (j->mail.count < j->rcpt_count || j->hosts_told < j->host_count) job_free(r, j);
    }
}

static void peer(struct process *p, struct link *l, unsigned number) {
    struct remote *r = of(p);
    (void)l, (void)number;
    forget_partial(r);
    for (struct job *j = leaves_out(p->w, SHELL_NO_RUNNING) ? NULL : r->jobs; j; j = j->next)
        for (size_t i = 0; i < j->mail.count; i++)
            TELL(p, P_DISPATCH, running, .job = j->number, .id = j->id, .index = j->index[i],
                 .rcpt = j->rcpt[i]);
    TELL(p, P_DISPATCH, synced, .unused = 0);
    work_soon(r);
}

static void peer_gone(struct process *p, struct link *l, unsigned number) {
    (void)l;
    (void)number;
    forget_partial(of(p));
}

static const struct wire_handlers handlers = {
    .job = on_job, .job_host = on_job_host, .job_rcpt = on_job_rcpt};

static uint64_t room(const struct process *p) {
    const struct remote *r = p->state;
    uint64_t n = 8192;
    for (const struct job *j = r->jobs; j; j = j->next) n += 4096 + j->rcpt_count * UINT64_C(1024);
    for (const struct line *l = r->lines; l; l = l->next) n += 163840;
    return n;
}

const struct program_kind kind_remote = {.name = "remote",
                                         .role = ROLE_remote,
                                         .handlers = &handlers,
                                         .start = start,
                                         .free = end,
                                         .peer = peer,
                                         .peer_gone = peer_gone,
                                         .room = room};

bool remote_idle(const struct process *p) {
    const struct remote *r = p->state;
    return p->alive && !r->jobs && !r->lines;
}
