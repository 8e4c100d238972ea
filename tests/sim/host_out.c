/* host_out.c: the other mail hosts. Each speaks through the very server session that Postern has, with a
 * temper of its own: it refuses, says 4xx and 5xx, is slow, closes in the middle, or takes the mail and
 * forgets to say so. */
#include "smtpd/session.h"
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

struct visit { /* one session at one host */
    struct visit *next, *prev;
    struct world *w;
    unsigned host;
    uint64_t number;
    struct end *e;
    struct session *session;
    struct session_mail *mail;
    char *data;
    size_t n, cap;
    unsigned pending; /* events that name it */
    bool bye;         /* it greets with a refusal, and hangs up */
    bool cut;         /* to be broken when the session has returned */
};

struct hosts {
    struct session_host shared[HOSTS];
    char out[8192];
    struct visit *visits;
    uint64_t numbers;
    size_t count;
    int64_t down_until[HOSTS];
    uint32_t temper[HOSTS]; /* one in so many commands goes wrong while faults are on; 0 never */
};

void host_address(unsigned host, uint8_t ip[4]) {
    ip[0] = 198;
    ip[1] = 51;
    ip[2] = 100;
    ip[3] = (uint8_t)host;
}

void hosts_mx(struct world *w, struct str domain, unsigned v[3], unsigned *n) {
    uint64_t h = mix(str_hash(domain, 5));
    (void)w;
    *n = 1 + (unsigned)(h % 3);
    for (unsigned i = 0; i < *n; i++) v[i] = (unsigned)((h >> 8) + i * 5) % HOSTS;
}

/* ---- Verdicts ------------------------------------------------------------------------------------------ */

/* Of each leaf for ever: 0 good, 1 refused at RCPT, 2 refused after DATA. */
static unsigned nature(struct world *w, uint32_t leaf) {
    uint64_t h = mix(w->o.seed ^ mix(leaf + 77));
    if (leaf_of(w, leaf)->is_bounce) return 0;
    return h % 25 == 0 ? 1 : h % 60 == 1 ? 2 : 0;
}

static bool moody(struct visit *v, unsigned factor) {
    return faults_on(v->w) && v->w->hosts->temper[v->host] &&
           once_in(v->w, v->w->hosts->temper[v->host] * factor);
}

static void settle(struct visit *v);

struct later { /* an answer on its way */
    struct visit *v;
    uint32_t slot;
    struct status st;
    bool commit;
};

static struct session_now now(const struct world *w) {
    return (struct session_now){w->now, world_wall(w)};
}

static void on_later(struct world *w, void *ctx, uint64_t arg) {
    struct later *l = ctx;
    struct visit *v = l->v;
    (void)arg;
    if (!w->ending) {
        v->pending--;
        if (v->session && l->commit) session_committed(v->session, now(w), &l->st);
        else if (v->session) session_answer(v->session, now(w), l->slot, &l->st);
        settle(v);
    }
    free(l);
}

static void later(struct visit *v, struct later what, int64_t in) {
    struct later *l = xmalloc(sizeof *l);
    *l = what;
    v->pending++;
    world_at(v->w, v->w->now + in, on_later, l, 0);
}

static bool op_ask(void *ctx, uint32_t slot, const struct session_mail *m, const struct session_rcpt *r) {
    struct visit *v = ctx;
    struct str rcpt = r->text;
    struct world *w = v->w;
    uint32_t leaf, sub;
    struct status st = status_make(250, "2.1.5", "Fine");
    (void)m;
    bool known = leaf_at_address(w, rcpt, &leaf);
    if (!known && !sender_sub(rcpt, &sub)) {
        world_fail(w, "mail for %.*s, whom nobody knows", STR_ARGS(rcpt));
        return false;
    }
    if (moody(v, 2)) {
        st = status_make(450, "4.2.0", "Greylisted");
    } else if (known && nature(w, leaf) == 1) {
        st = status_make(550, "5.1.1", "Nobody of that name");
        oracle_never(w, leaf);
    }
    later(v, (struct later){v, slot, st, false},
          moody(v, 20) ? 100 * NS_S : between(w, 10 * NS_US, 2 * NS_MS));
    return true;
}

static bool op_send(void *ctx, struct str bytes) {
    struct visit *v = ctx;
    if (v->e) end_send(v->e, bytes);
    return true;
}

static void op_deadline(void *ctx, int64_t at) {
    (void)ctx, (void)at; /* our clients end what they began */
}

static bool op_begin(void *ctx, struct session_mail *m) {
    struct visit *v = ctx;
    v->mail = m;
    v->n = 0;
    m->id = (struct qid){1, 1};
    return true;
}

static bool op_write(void *ctx, struct str bytes) {
    struct visit *v = ctx;
    if (v->n + bytes.n > v->cap) v->data = xgrow(v->data, &v->cap, v->n + bytes.n, 1);
    memcpy(v->data + v->n, bytes.p, bytes.n);
    v->n += bytes.n;
    return true;
}

static void each_leaf(struct visit *v, const struct session_mail *m,
                      void (*fn)(struct visit *v, uint32_t leaf)) {
    uint32_t leaf;
    for (const struct session_rcpt *r = m->rcpts; r; r = r->next) {
        if (leaf_at_address(v->w, r->text, &leaf) || leaf_in_bounce((struct str){v->data, v->n}, &leaf))
            fn(v, leaf);
        else world_fail(v->w, "mail for %.*s that is no bounce", STR_ARGS(r->text));
    }
}

static void serve(struct visit *v, uint32_t leaf) {
    oracle_served(v->w, leaf, (struct str){v->data, v->n}, !v->e || end_is_alone(v->e));
}

static void refuse(struct visit *v, uint32_t leaf) {
    oracle_never(v->w, leaf);
}

static bool has_bad(struct visit *v, const struct session_mail *m) {
    uint32_t leaf;
    for (const struct session_rcpt *r = m->rcpts; r; r = r->next)
        if (leaf_at_address(v->w, r->text, &leaf) && nature(v->w, leaf) == 2) return true;
    return false;
}

static bool op_commit(void *ctx, const struct session_mail *m) {
    struct visit *v = ctx;
    struct world *w = v->w;
    struct status st = status_make(250, "2.0.0", "Taken");
    int64_t in = moody(v, 10) ? 200 * NS_S : between(w, 50 * NS_US, 5 * NS_MS);
    if (moody(v, 4)) {
        st = status_make(451, "4.3.0", "Not now");
    } else if (has_bad(v, m)) {
        st = status_make(554, "5.7.1", "We do not like it");
        each_leaf(v, m, refuse);
    } else {
        each_leaf(v, m, serve);
        v->cut = moody(v, 8); /* the window of RFC 1047 */
    }
    later(v, (struct later){v, 0, st, true}, in);
    return true;
}

static void op_abort(void *ctx) {
    (void)ctx;
}

static void op_event(void *ctx, const struct session_event *e) {
    struct visit *v = ctx;
    STORY(v->w, "host %u: %.*s", v->host, STR_ARGS(e->reply));
}

static void op_close(void *ctx, const char *why) {
    (void)ctx, (void)why;
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

/* ---- Visits -------------------------------------------------------------------------------------------- */

static void settle(struct visit *v) {
    struct hosts *h = v->w->hosts;
    if (v->cut && v->e) {
        end_abandon(v->e);
        v->e = NULL;
    }
    if (v->bye && v->e) {
        end_close(v->e);
        v->e = NULL;
    }
    if (v->session && (session_over(v->session) || !v->e)) {
        if (v->e) end_close(v->e);
        v->e = NULL;
        session_free(v->session);
        v->session = NULL;
    }
    if (v->session && session_wants(v->session)) end_poke(v->e);
    if (v->session || v->pending) return;
    if (v->prev) v->prev->next = v->next;
    else h->visits = v->next;
    if (v->next) v->next->prev = v->prev;
    h->count--;
    free(v->data);
    free(v);
}

static void readable(struct end *e) {
    struct visit *v = e->ctx;
    if (moody(v, 30)) v->cut = true;
    if (!v->cut && v->session && session_wants(v->session)) {
        struct str in = end_bytes(e);
        session_input(v->session, now(v->w), in);
        end_take(e, in.n);
    }
    if (v->cut || (v->session && session_over(v->session))) settle(v);
}

static void closed(struct end *e, const char *how) {
    struct visit *v = e->ctx;
    end_close(e);
    v->e = NULL;
    if (v->session) session_lost(v->session, now(v->w), how ? how : "closed");
    settle(v);
}

static const struct net_user net = {NULL, readable, NULL, closed};

bool hosts_accept(struct world *w, struct end *e, uint64_t host) {
    struct hosts *h = w->hosts;
    if (host >= HOSTS) {
        world_fail(w, "a connection to host %llu, which nobody named", (unsigned long long)host);
        return false;
    }
    if (faults_on(w) && h->temper[host] && once_in(w, h->temper[host] * 20))
        h->down_until[host] = w->now + between(w, 0, 600 * NS_S);
    if (faults_on(w) && h->down_until[host] > w->now) return false;
    struct visit *v = xmalloc(sizeof *v);
    *v = (struct visit){.next = h->visits, .w = w, .host = (unsigned)host, .number = ++h->numbers, .e = e};
    if (v->next) v->next->prev = v;
    h->visits = v;
    h->count++;
    e->user = &net;
    e->ctx = v;
    if (moody(v, 40)) { /* RFC 5321 3.1: it may greet with 554, and (3.8) with 421 */
        end_send(e, once_in(w, 2) ? STR("421 4.3.2 Too busy\r\n") : STR("554 5.3.2 No mail today\r\n"));
        v->bye = true;
        later(v, (struct later){.v = v}, NS_MS);
        return true;
    }
    struct session_client who = {.ip = {.family = 4, .b = {192, 0, 2, 25}}};
    v->session = session_new(&h->shared[host], v, &who);
    session_greet(v->session, now(w));
    return true;
}

size_t hosts_sessions(const struct world *w) {
    return w->hosts->count;
}

void hosts_new(struct world *w) {
    static const char *const names[HOSTS] = {"h0.example", "h1.example", "h2.example",  "h3.example",
                                             "h4.example", "h5.example", "h6.example",  "h7.example",
                                             "h8.example", "h9.example", "h10.example", "h11.example"};
    struct hosts *h = xmalloc(sizeof *h);
    w->hosts = h;
    for (unsigned i = 0; i < HOSTS; i++) {
        h->shared[i] = (struct session_host){.ops = &ops,
                                             .hostname = str_of(names[i]),
                                             .size_limit = 8 << 20,
                                             .rcpt_limit = 100,
                                             .error_limit = 1000,
                                             .hop_limit = 30,
                                             .command_ms = 300000,
                                             .data_ms = 300000};
        h->shared[i].out = buf_on(h->out, sizeof h->out);
        h->temper[i] = once_in(w, 3) ? 0 : 5 + chance(w, 60);
    }
}

void hosts_free(struct world *w) {
    struct hosts *h = w->hosts;
    if (!h) return;
    while (h->visits) {
        struct visit *v = h->visits;
        h->visits = v->next;
        session_free(v->session);
        free(v->data);
        free(v);
    }
    free(h);
}
