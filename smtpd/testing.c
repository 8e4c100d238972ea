#include "smtpd/testing.h"

#include "common/arena.h"

#include <assert.h>
#include <string.h>

static bool op_send(void *ctx, struct str bytes) {
    struct world *w = ctx;
    assert(w->out_n + bytes.n <= WORLD_OUT);
    memcpy(w->out + w->out_n, bytes.p, bytes.n);
    w->out_n += bytes.n;
    if (!w->send_fails) return true;
    w->send_fails--;
    w->full = true;
    return false;
}

static void op_deadline(void *ctx, int64_t at_ns) {
    struct world *w = ctx;
    w->deadline = at_ns;
}

/* The town: who begins with "no" is unknown, with "later" is later, elsewhere.test is not relayed to. */
static struct status verdict(struct str rcpt) {
    if (str_starts_nocase(rcpt, STR("no"))) return status_make(550, "5.1.1", "No such user here");
    if (str_starts_nocase(rcpt, STR("later"))) return status_make(450, "4.2.1", "Mailbox busy");
    if (str_ends_nocase(rcpt, STR("@elsewhere.test"))) return status_make(554, "5.7.1", "Relaying denied");
    if (str_starts_nocase(rcpt, STR("mad"))) return status_make(250, "5.9.9", "Contradiction");
    return status_make(250, "2.1.5", "Recipient ok");
}

static bool op_ask(void *ctx, uint32_t slot, const struct session_mail *m, const struct session_rcpt *rcpt) {
    struct world *w = ctx;
    (void)m;
    if (w->no_lookup) return false;
    assert(w->ask_n < WORLD_ASKS);
    w->asks[w->ask_n].slot = slot;
    w->asks[w->ask_n++].st = verdict(rcpt->text);
    w->asked++;
    return true;
}

static bool op_begin(void *ctx, struct session_mail *m) {
    struct world *w = ctx;
    assert(!w->mail_open);
    if (w->no_queue) return false;
    m->id = (struct qid){1, ++w->begun};
    w->mail_open = true;
    w->data_n = 0;
    return true;
}

static bool op_write(void *ctx, struct str bytes) {
    struct world *w = ctx;
    assert(w->mail_open && bytes.n);
    if (w->data_n + bytes.n > WORLD_OUT) return false;
    memcpy(w->data + w->data_n, bytes.p, bytes.n);
    w->data_n += bytes.n;
    return true;
}

static void keep(char out[static 400], struct str text) {
    struct buf b = buf_on(out, 400);
    buf_add(&b, text);
    buf_cstr(&b);
}

static bool op_commit(void *ctx, const struct session_mail *m) {
    struct world *w = ctx;
    assert(w->mail_open && m->size == w->data_n && m->rcpt_count > 0);
    if (w->no_queue) return false;
    w->prefix_n = m->prefix.n;
    assert(m->prefix.n <= sizeof w->prefix && m->origin.n < sizeof w->origin);
    memcpy(w->prefix, m->prefix.p, m->prefix.n);
    memcpy(w->origin, m->origin.p, m->origin.n);
    w->origin[m->origin.n] = '\0';
    w->hold = m->hold;
    w->body = m->body;
    w->after_ms = m->after_ms;
    keep(w->redirect, m->redirect);
    keep(w->first_rcpt, m->rcpts->text);
    keep(w->first_orcpt, m->rcpts->orcpt);
    w->rcpts = 0;
    for (const struct session_rcpt *r = m->rcpts; r; r = r->next) w->rcpts++;
    assert(w->rcpts == m->rcpt_count);
    w->committing = true;
    w->committed++;
    if (w->on_commit) w->on_commit(w);
    return true;
}

static void op_abort(void *ctx) {
    struct world *w = ctx;
    assert(w->mail_open && !w->committing);
    w->mail_open = false;
    w->aborted++;
}

static void op_event(void *ctx, const struct session_event *e) {
    struct world *w = ctx;
    w->rejects += e->kind == SESSION_REJECT;
    w->received += e->kind == SESSION_RECEIVED;
    w->not_received += e->kind == SESSION_NOT_RECEIVED;
    w->early += e->kind == SESSION_EARLY;
    w->policies += e->kind == SESSION_POLICY;
    w->discarded += e->kind == SESSION_DISCARDED;
    if (e->kind != SESSION_POLICY) return;
    struct buf b = BUF(w->last_action);
    buf_add(&b, e->action);
    buf_cstr(&b);
}

static void op_close(void *ctx, const char *why) {
    struct world *w = ctx;
    assert(!w->closed);
    w->closed = true;
    w->why = why;
}

static bool op_auth_more(void *ctx, struct str response) {
    struct world *w = ctx;
    struct buf b = BUF(w->auth_text);
    assert(!w->auth_asked);
    buf_add(&b, str_sub(response, 0, sizeof w->auth_text - 1));
    buf_cstr(&b);
    w->auth_asked = w->auth_open = true;
    return true;
}

static bool op_auth(void *ctx, const struct session_auth *a) {
    return op_auth_more(ctx, a->given ? a->response : STR("more"));
}

static void op_auth_drop(void *ctx) {
    struct world *w = ctx;
    assert(w->auth_open);
    w->auth_open = w->auth_asked = false;
}

static bool op_ask_sender(void *ctx, const struct session_mail *m) {
    struct world *w = ctx;
    w->sender_asked = true;
    w->sender_bad = str_starts_nocase(m->sender_text, STR("mallory"));
    return true;
}

/* What was said decides: "more" gets a challenge, "good" comes in as alice, "end" hears 421, all else 535. */
static void answer_auth(struct world *w) {
    struct str said = str_of(w->auth_text);
    struct status st = status_make(535, "5.7.8", "Authentication credentials invalid");
    w->auth_asked = false;
    if (str_eq(said, STR("more"))) {
        session_challenge(w->session, w->now, STR("Z28gb24="));
        return;
    }
    w->auth_open = false;
    if (str_eq(said, STR("good"))) st = status_make(235, "2.7.0", "Authentication successful");
    if (str_eq(said, STR("end"))) st = status_make(421, "4.7.0", "Too many failures");
    session_authenticated(w->session, w->now, &st, STR("alice"));
}

static void answer_sender(struct world *w) {
    struct status st =
        w->sender_bad ? status_make(553, "5.7.1", "Not yours") : status_make(250, "2.1.0", "Sender ok");
    w->sender_asked = false;
    session_answer(w->session, w->now, SESSION_SLOT_SENDER, &st);
}

static void op_start_tls(void *ctx) {
    struct world *w = ctx;
    w->tls_starts++;
}

static bool op_allow(void *ctx, enum session_use use, struct status *st) {
    struct world *w = ctx;
    w->used[use]++;
    if (!w->refused[use]) return true;
    *st = status_make(450, "4.7.1", "Too many (limit-test)");
    return false;
}

static const struct session_ops ops = {.send = op_send,
                                       .deadline = op_deadline,
                                       .ask = op_ask,
                                       .begin = op_begin,
                                       .write = op_write,
                                       .commit = op_commit,
                                       .abort = op_abort,
                                       .event = op_event,
                                       .close = op_close,
                                       .auth = op_auth,
                                       .auth_more = op_auth_more,
                                       .auth_drop = op_auth_drop,
                                       .ask_sender = op_ask_sender,
                                       .start_tls = op_start_tls,
                                       .allow = op_allow};

void world_open(struct world *w, const char *hostname, const struct session_client *client,
                const struct rules *rules) {
    char *out = w->out ? w->out : xmalloc(WORLD_OUT), *data = w->data ? w->data : xmalloc(WORLD_OUT);
    *w = (struct world){
        .fate = status_make(250, "2.0.0", "Durable"), .client = *client, .out = out, .data = data};
    w->host = (struct session_host){.ops = &ops,
                                    .hostname = str_of(hostname),
                                    .rules = rules,
                                    .mechs = STR("SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN EXTERNAL"),
                                    .origin = STR("mx.test"),
                                    .size_limit = 100000,
                                    .rcpt_limit = 100,
                                    .error_limit = 20,
                                    .hop_limit = 50,
                                    .command_ms = 300000,
                                    .data_ms = 300000,
                                    .out = BUF(w->host_out)};
    w->now = (struct session_now){1000000000, 1795305600000}; /* Sun, 22 Nov 2026 00:00:00 UTC */
    w->session = session_new(&w->host, w, client);
    session_greet(w->session, w->now);
}

void world_begin_as(struct world *w, const char *hostname, const struct session_client *client) {
    world_open(w, hostname, client, NULL);
}

void world_begin(struct world *w, const char *hostname) {
    struct session_client client = {.ip = {4, {192, 0, 2, 7}}};
    world_begin_as(w, hostname, &client);
}

void world_end(struct world *w) {
    session_free(w->session);
}

bool world_answer(struct world *w) {
    if (session_over(w->session)) return false;
    if (w->tls_answers && w->tls_ends < w->tls_starts) {
        static const struct session_tls tls = {
            .on = true, .version = STR("TLSv1.3"), .cipher = STR("X"), .bits = 128};
        w->tls_ends++;
        session_tls_done(w->session, w->now, &tls);
        return true;
    }
    if (w->full) {
        w->full = false;
        session_resume(w->session, w->now);
        return true;
    }
    if (w->committing) {
        w->committing = w->mail_open = false;
        session_committed(w->session, w->now, &w->fate);
        return true;
    }
    if (w->auth_asked || w->sender_asked) {
        if (w->auth_asked) answer_auth(w);
        else answer_sender(w);
        return true;
    }
    if (w->ask_n == 0) return false;
    size_t i = w->answer_backwards ? w->ask_n - 1 : 0;
    uint32_t slot = w->asks[i].slot;
    struct status st = w->asks[i].st;
    memmove(&w->asks[i], &w->asks[i + 1], (w->ask_n - i - 1) * sizeof w->asks[0]);
    w->ask_n--;
    session_answer(w->session, w->now, slot, &st);
    return true;
}

void world_feed(struct world *w, struct str bytes) {
    while (!session_wants(w->session) && world_answer(w)) {
    }
    if (session_wants(w->session)) session_input(w->session, w->now, bytes);
    while (world_answer(w)) {
    }
}

struct str world_said(const struct world *w) {
    return (struct str){w->out, w->out_n};
}

static bool has_code(struct str line) {
    size_t dots = 0, i = 4;
    if (line.n < 9 || line.p[4] != line.p[0]) return false;
    for (; i < line.n && line.p[i] != ' '; i++) {
        if (line.p[i] == '.') dots++;
        else if (line.p[i] < '0' || line.p[i] > '9') return false;
    }
    return dots == 2 && line.p[i - 1] != '.' && i < line.n;
}

static bool needs_none(struct str line, struct str hostname) {
    struct str text = str_sub(line, 4, line.n);
    if (line.p[0] == '3' || str_starts_nocase(line, STR("220 ")) || str_starts_nocase(line, STR("250-"))) return true;
    return str_starts_nocase(line, STR("250 ")) && (str_eq(text, STR("HELP")) || str_eq(text, hostname));
}

struct str world_without_code(struct str said, struct str hostname, bool first) {
    while (said.n) {
        ptrdiff_t end = str_chr(said, '\r');
        struct str line = str_sub(said, 0, end < 0 ? said.n : (size_t)end);
        if (line.n < 4 || (!first && !needs_none(line, hostname) && !has_code(line))) return line;
        first = false;
        said = str_sub(said, line.n + 2, said.n);
    }
    return STR_NONE;
}
