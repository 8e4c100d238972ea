/* p_smtpd.c: smtpd around the real server session: what smtpd's conn.c, ask.c and mail.c do, with events. */
#include "smtpd/session.h"
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 16384, SESSIONS = 64, COMMAND_READ = 8192 };

struct mail {
    struct mail *next;
    struct client *c;
    struct qid id;
    const struct session_mail *envelope;
    bool told;
    char *data; /* not handed on yet */
    size_t n, cap;
};

struct client {
    struct client *next, *prev;
    struct smtpd *s;
    struct end *e;           /* NULL: gone */
    struct session *session; /* NULL: over */
    struct mail *mail;
    uint64_t number;
    int64_t deadline;
    uint32_t asked; /* questions not answered: their answers name this client */
    bool deadline_set, closing, congested;
};

struct ask {
    struct client *c;
    uint32_t slot, tag;
    struct ask *next;
};

struct smtpd {
    struct process *p;
    struct session_host host;
    char out[8192];
    struct client *clients;
    struct mail *mails;
    struct ask *asks;
    uint64_t lease, numbers;
    uint32_t serial, tags;
    unsigned count;
};

static struct smtpd *of(struct process *p) {
    return p->state;
}

static struct session_now now(const struct world *w) {
    return (struct session_now){w->now, world_wall(w)};
}

static void settle(struct client *c);
static void call(struct client *c, int64_t at, event_fn *fn);

/* ---- Messages to queue --------------------------------------------------------------------------------- */

static bool reachable(const struct smtpd *s, const struct mail *m) {
    return link_open(s->p, P_QUEUE) && s->lease == m->id.lease;
}

static void tell_envelope(struct smtpd *s, struct mail *m) {
    const struct session_mail *e = m->envelope;
    uint32_t index = 0;
    if (m->told) return;
    m->told = true;
    TELL(s->p, P_QUEUE, mail_begin, .id = m->id, .arrival = e->arrival_ms, .sender = e->sender_text,
         .body = e->body, .origin = e->origin, .about = QID_NONE, .ret = e->ret, .envid = e->envid);
    for (const struct session_rcpt *r = e->rcpts; r; r = r->next)
        TELL(s->p, P_QUEUE, mail_rcpt, .id = m->id, .index = index++, .rcpt = r->text, .orcpt = r->orcpt,
             .notify = r->notify);
}

static void hand_on(struct smtpd *s, struct mail *m) {
    char *bytes;
    if (!m->n) return;
    tell_envelope(s, m);
    int blob = blob_new(s->p->w, m->n, &bytes);
    memcpy(bytes, m->data, m->n);
    TELL_FD(s->p, P_QUEUE, blob, mail_chunk, .id = m->id, .size = (uint32_t)m->n);
    m->n = 0;
}

static void mail_drop(struct client *c) {
    struct mail *m = c->mail;
    if (!m) return;
    struct mail **at = &c->s->mails;
    while (*at != m) at = &(*at)->next;
    *at = m->next;
    c->mail = NULL;
    free(m->data);
    free(m);
}

static bool op_begin(void *ctx, struct session_mail *envelope) {
    struct client *c = ctx;
    struct smtpd *s = c->s;
    if (!link_open(s->p, P_QUEUE) || !s->lease) return false;
    struct mail *m = xmalloc(sizeof *m);
    *m = (struct mail){.next = s->mails, .c = c, .envelope = envelope, .id = {s->lease, ++s->serial}};
    envelope->id = m->id;
    s->mails = c->mail = m;
    return true;
}

static bool op_write(void *ctx, struct str bytes) {
    struct client *c = ctx;
    struct mail *m = c->mail;
    if (!m || !reachable(c->s, m)) return false;
    if (m->n + bytes.n > CHUNK) hand_on(c->s, m);
    if (m->n + bytes.n > m->cap) m->data = xgrow(m->data, &m->cap, m->n + bytes.n, 1);
    memcpy(m->data + m->n, bytes.p, bytes.n);
    m->n += bytes.n;
    return true;
}

static void on_early(struct world *w, void *ctx, uint64_t arg);

static bool op_commit(void *ctx, const struct session_mail *e) {
    struct client *c = ctx;
    struct mail *m = c->mail;
    if (!m || !reachable(c->s, m)) return false;
    hand_on(c->s, m);
    tell_envelope(c->s, m);
    TELL(c->s->p, P_QUEUE, mail_end, .id = m->id, .rcpts = e->rcpt_count, .size = e->size,
         .prefix = e->prefix);
    if (leaves_out(c->s->p->w, SHELL_250_EARLY)) call(c, c->s->p->w->now, on_early);
    return true;
}

static void op_abort(void *ctx) {
    struct client *c = ctx;
    struct mail *m = c->mail;
    if (m && m->told && reachable(c->s, m)) TELL(c->s->p, P_QUEUE, mail_abort, .id = m->id);
    mail_drop(c);
}

static void fate(struct mail *m, const struct status *st) {
    struct client *c = m->c;
    struct world *w = c->s->p->w;
    mail_drop(c);
    if (c->session) session_committed(c->session, now(w), st);
    settle(c);
}

/* ---- The session's other wishes ------------------------------------------------------------------------ */

static void on_resume(struct world *w, void *ctx, uint64_t arg);

struct call { /* an event about a client that may have gone by then */
    struct process *p;
    uint64_t number;
    uint32_t life;
};

static struct client *called(struct world *w, struct call *k) {
    struct client *c = NULL;
    if (!w->ending && k->p->alive && k->p->life == k->life)
        for (c = of(k->p)->clients; c && c->number != k->number;) c = c->next;
    free(k);
    return c;
}

static void call(struct client *c, int64_t at, event_fn *fn) {
    struct call *k = event_ctx(sizeof *k);
    *k = (struct call){c->s->p, c->number, c->s->p->life};
    world_at(c->s->p->w, at, fn, k, 0);
}

/* A mutant: it does not wait for mail_done. */
static void on_early(struct world *w, void *ctx, uint64_t arg) {
    struct client *c = called(w, ctx);
    struct status ok = status_make(250, "2.0.0", "Accepted");
    (void)arg;
    if (c && c->mail) fate(c->mail, &ok);
}

static bool op_send(void *ctx, struct str bytes) {
    struct client *c = ctx;
    struct world *w = c->s->p->w;
    if (!c->e) return true;
    end_send(c->e, bytes);
    if (!once_in(w, 200)) return !c->congested;
    if (!c->congested)
        call(c, w->now + between(w, NS_MS, 100 * NS_MS), on_resume); /* the socket is full for a while */
    c->congested = true;
    return false;
}

static void on_resume(struct world *w, void *ctx, uint64_t arg) {
    struct client *c = called(w, ctx);
    (void)arg;
    if (!c) return;
    c->congested = false;
    if (c->session) session_resume(c->session, now(w));
    settle(c);
}

static void on_deadline(struct world *w, void *ctx, uint64_t arg) {
    struct client *c = called(w, ctx);
    (void)arg;
    if (!c || !c->session) return;
    c->deadline_set = false;
    if (w->now < c->deadline) {
        c->deadline_set = true;
        call(c, c->deadline, on_deadline);
        return;
    }
    session_expire(c->session, now(w));
    settle(c);
}

static void op_deadline(void *ctx, int64_t at) {
    struct client *c = ctx;
    c->deadline = at;
    if (c->deadline_set) return; /* it finds out when it fires; deadlines only move ahead, mostly */
    c->deadline_set = true;
    call(c, at, on_deadline);
}

static bool op_ask(void *ctx, uint32_t slot, const struct session_mail *m, const struct session_rcpt *rcpt) {
    struct client *c = ctx;
    struct smtpd *s = c->s;
    uint8_t ip[4] = {192, 0, 2, 1};
    if (!link_open(s->p, P_LOOKUP)) return false;
    struct ask *a = xmalloc(sizeof *a);
    *a = (struct ask){c, slot, ++s->tags, s->asks};
    s->asks = a;
    c->asked++;
    TELL(s->p, P_LOOKUP, rcpt_query, .tag = a->tag, .family = 4, .ip = {(const char *)ip, 4},
         .sender = m->sender_text, .rcpt = rcpt->text);
    return true;
}

static void op_event(void *ctx, const struct session_event *e) {
    struct client *c = ctx;
    STORY(c->s->p->w, "smtpd: %s: %.*s", e->kind == SESSION_RECEIVED ? "received" : "not received",
          STR_ARGS(e->reply));
}

static void op_close(void *ctx, const char *why) {
    struct client *c = ctx;
    (void)why;
    c->closing = true;
}

static const struct session_ops ops = {.send = op_send,
                                       .deadline = op_deadline,
                                       .ask = op_ask,
                                       .begin = op_begin,
                                       .write = op_write,
                                       .commit = op_commit,
                                       .abort = op_abort,
                                       .event = op_event,
                                       .close = op_close};

/* ---- Clients ------------------------------------------------------------------------------------------- */

static void client_free(struct client *c) {
    if (c->prev) c->prev->next = c->next;
    else c->s->clients = c->next;
    if (c->next) c->next->prev = c->prev;
    c->s->count--;
    free(c);
}

static void settle(struct client *c) {
    if (c->session && session_over(c->session)) {
        session_free(c->session);
        c->session = NULL;
        mail_drop(c);
    }
    if (!c->session && c->e) {
        end_close(c->e);
        c->e = NULL;
    }
    if (!c->session && !c->e && !c->asked) client_free(c);
    else if (c->e && session_wants(c->session)) end_poke(c->e);
}

static void readable(struct end *e) {
    struct client *c = e->ctx;
    struct world *w = end_world(e);
    while (c->e && c->session && session_wants(c->session)) {
        struct str in = end_bytes(e);
        if (!in.n) break;
        size_t n = session_in_data(c->session) || in.n < COMMAND_READ ? in.n : COMMAND_READ;
        session_input(c->session, now(w), str_sub(in, 0, n));
        end_take(e, n);
    }
    if (c->session && !session_over(c->session)) return;
    settle(c);
}

static void closed(struct end *e, const char *how) {
    struct client *c = e->ctx;
    struct world *w = end_world(e);
    end_close(e);
    c->e = NULL;
    if (c->session) session_lost(c->session, now(w), how ? how : "client closed");
    settle(c);
}

static const struct net_user net = {NULL, readable, NULL, closed};

bool smtpd_accept(struct world *w, struct end *e, uint64_t instance) {
    struct process *p = &w->p[P_SMTPD + instance];
    struct smtpd *s = p->state;
    if (!p->alive || s->count >= SESSIONS) return false;
    AS(p->number);
    e->owner = p->number;
    struct client *c = xmalloc(sizeof *c);
    *c = (struct client){.next = s->clients, .s = s, .e = e, .number = ++s->numbers};
    if (c->next) c->next->prev = c;
    s->clients = c;
    s->count++;
    e->user = &net;
    e->ctx = c;
    struct session_client who = {.ip = {.family = 4, .b = {192, 0, 2, 1}}};
    c->session = session_new(&s->host, c, &who);
    session_greet(c->session, now(w));
    return true;
}

/* ---- Messages ------------------------------------------------------------------------------------------ */

static void on_lease(void *ctx, struct channel *ch, const struct wire_lease *m, int fd) {
    struct smtpd *s = of(ctx);
    (void)ch, (void)fd;
    s->lease = m->lease;
    s->serial = 0;
}

static void on_mail_done(void *ctx, struct channel *ch, const struct wire_mail_done *m, int fd) {
    struct smtpd *s = of(ctx);
    struct status st = STATUS_OF(m);
    struct mail *it = s->mails;
    (void)ch, (void)fd;
    uint32_t sub;
    while (it && !qid_eq(it->id, m->id)) it = it->next;
    if (!it) return;
    if (sender_sub(it->envelope->sender_text, &sub))
        oracle_committed(s->p->w, m->id, sub, st.kind == STATUS_OK);
    fate(it, &st);
}

static void answered(struct smtpd *s, struct ask **at, const struct status *st) {
    struct ask a = **at;
    free(*at);
    *at = a.next;
    a.c->asked--;
    if (a.c->session) session_answer(a.c->session, now(s->p->w), a.slot, st);
    settle(a.c);
}

static void on_rcpt_answer(void *ctx, struct channel *ch, const struct wire_rcpt_answer *m, int fd) {
    struct smtpd *s = of(ctx);
    struct status st = STATUS_OF(m);
    struct ask **at = &s->asks;
    (void)ch, (void)fd;
    while (*at && (*at)->tag != m->tag) at = &(*at)->next;
    if (*at) answered(s, at, &st);
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static void start(struct process *p) {
    struct smtpd *s = xmalloc(sizeof *s);
    s->p = p;
    p->state = s;
    s->host = (struct session_host){.ops = &ops,
                                    .hostname = STR("mx.sim.example"),
                                    .size_limit = 4 << 20,
                                    .rcpt_limit = 100,
                                    .error_limit = 20,
                                    .hop_limit = 30,
                                    .command_ms = 60000,
                                    .data_ms = 60000};
    s->host.out = buf_on(s->out, sizeof s->out);
}

static void end(struct process *p) {
    struct smtpd *s = of(p);
    while (s->asks) {
        struct ask *a = s->asks;
        s->asks = a->next;
        free(a);
    }
    while (s->clients) {
        struct client *c = s->clients;
        if (c->e) end_abandon(c->e);
        session_free(c->session);
        mail_drop(c);
        client_free(c);
    }
    free(s);
}

static void queue_gone(struct smtpd *s) {
    struct status st = status_make(451, "4.3.0", "The message cannot be kept now, try again later");
    s->lease = 0;
    while (s->mails) fate(s->mails, &st);
}

static void lookup_gone(struct smtpd *s) {
    struct status st = status_make(451, "4.3.0", "Cannot look up addresses now, try again later");
    while (s->asks) answered(s, &s->asks, &st);
}

static void peer_gone(struct process *p, struct link *l, unsigned number) {
    (void)l;
    if (number == P_QUEUE) queue_gone(of(p));
    if (number == P_LOOKUP) lookup_gone(of(p));
}

static const struct wire_handlers handlers = {
    .lease = on_lease,
    .mail_done = on_mail_done,
    .rcpt_answer = on_rcpt_answer,
};

static uint64_t room(const struct process *p) {
    return 16384 + ((const struct smtpd *)p->state)->count * UINT64_C(49152);
}

const struct program_kind kind_smtpd = {.name = "smtpd",
                                        .role = ROLE_smtpd,
                                        .handlers = &handlers,
                                        .start = start,
                                        .free = end,
                                        .peer_gone = peer_gone,
                                        .room = room};
