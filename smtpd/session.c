#include "smtpd/session.h"

#include "common/arena.h"
#include "smtpd/state.h"

#include <stdlib.h>
#include <string.h>

enum {
    ANSWER_MS =
        600000,     /* how long lookup or queue may take: no longer than clients wait (RFC 5321 4.5.3.2.6) */
    ASK_AHEAD = 64, /* recipients of one session in question at a time */
};

#define COMMAND(word, fn, states, help) {STR(word), fn, states, help},
const struct session_verb session_verbs[] = {
#include "smtpd/commands.def"
};
#undef COMMAND
const size_t session_verb_count = sizeof session_verbs / sizeof session_verbs[0];

struct session *session_new(struct session_host *host, void *ctx, const struct session_client *client) {
    struct session *s = xmalloc(sizeof *s);
    s->host = host;
    s->ctx = ctx;
    s->client = s->real = *client;
    s->reader.mended = client->mended;
    s->state = AT_START;
    return s;
}

static void drop_transaction(struct session *s) {
    if (!s->tx) return;
    struct arena *a = s->tx->arena;
    s->tx = NULL;
    arena_free(a);
}

void session_free(struct session *s) {
    if (!s) return;
    drop_transaction(s);
    free((char *)(uintptr_t)s->helo.p);
    free((char *)(uintptr_t)s->login.p);
    free(s->tls_mem);
    free(s->told);
    free(s->forwarded);
    free(s->held);
    free(s);
}

struct transaction *transaction_new(uint32_t rcpt_limit) {
    enum { OTHERS = 131072, RCPT_LONGEST = 4096 };
    /* Enough for as many recipients as may be tried, each at its longest: only what is used is there. */
    struct arena *a = arena_new(OTHERS + (size_t)rcpt_limit * 2 * RCPT_LONGEST);
    struct transaction *tx = ARENA_NEW(a, struct transaction);
    if (!tx) {
        arena_free(a);
        return NULL;
    }
    tx->arena = a;
    tx->last = &tx->mail.rcpts;
    tx->waiting_last = &tx->waiting;
    return tx;
}

void session_forget(struct session *s) {
    if (s->tx && s->tx->data && !s->tx->data->failed && !s->committing) s->host->ops->abort(s->ctx);
    drop_transaction(s);
    s->forwarded_n = 0;
    if (s->state != AT_START && s->state != AT_REFUSED) s->state = AT_READY;
}

static void drop_held(struct session *s) {
    if (s->held && s->client.service == SERVICE_SUBMISSION)
        explicit_bzero(s->held, s->held_n); /* a password, maybe */
    free(s->held);
    s->held = NULL;
    s->held_n = 0;
}

void session_close(struct session *s, const char *why) {
    if (s->over) return;
    session_flush(s);
    session_forget(s);
    drop_held(s);
    if (s->auth != AUTH_NONE) s->host->ops->auth_drop(s->ctx);
    s->auth = AUTH_NONE;
    s->asking_sender = false;
    s->over = true;
    s->host->ops->close(s->ctx, why);
}

/* RFC 3848, RFC 6531 4.3: what was used, then S under TLS, then A for a login. */
struct str session_protocol(const struct session *s) {
    static const char *const names[3][4] = {{"ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"},
                                            {"LMTP", "LMTPS", "LMTPA", "LMTPSA"},
                                            {"UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"}};
    if (s->client.service == SERVICE_LOCAL) return STR("local");
    if (s->told && s->told->state[PEER_PROTO] == PEER_GIVEN &&
        str_eq_nocase(s->told->text[PEER_PROTO], STR("SMTP")))
        return STR("SMTP");
    bool utf8 = s->tx && (s->tx->mail.body & SESSION_SMTPUTF8), lmtp = s->client.service == SERVICE_LMTP;
    if (!s->esmtp) return STR("SMTP");
    return str_of(names[utf8 ? 2 : lmtp ? 1 : 0][(s->tls.on ? 1 : 0) + (s->login.n ? 2 : 0)]);
}

/* RFC 3207 4: once; a local client's bytes pass nobody. */
bool session_offers_tls(const struct session *s) {
    return s->host->tls && !s->tls.on && !s->client.local;
}

/* RFC 2920 3.1. TURN is not here, and what follows QUIT is not read. */
static bool ends_group(const struct session_verb *v, struct str arg) {
    static session_command *const last[] = {cmd_ehlo, cmd_helo, cmd_data, cmd_vrfy,
                                            cmd_expn, cmd_noop, cmd_etrn};
    for (size_t i = 0; i < sizeof last / sizeof last[0]; i++)
        if (v->fn == last[i]) return true;
    return v->fn == cmd_auth && str_chr(arg, ' ') < 0; /* a challenge comes (RFC 4954 4) */
}

/* The reply to these must be awaited before anything else is sent; and the reply to every command, by who was never
 * told of PIPELINING. What such a client sends is right all the same, so by default it is only noted. True: it was
 * ended. */
static bool too_early(struct session *s, const struct session_verb *v, struct str arg) {
    if (!s->behind || s->told_early || s->host->early == SESSION_EARLY_IGNORE || s->client.local)
        return false;
    if (s->esmtp && !ends_group(v, arg)) return false;
    s->told_early = true;
    if (s->host->early == SESSION_EARLY_REFUSE) {
        session_wrong(s, "order", 554, "5.5.1", "You sent on where a reply must be awaited (early-commands)");
        session_close(s, "did not wait for a reply");
        return true;
    }
    struct session_event e = {.kind = SESSION_EARLY, .stage = v->word, .helo = s->helo};
    s->host->ops->event(s->ctx, &e);
    return false;
}

static void run_verb(struct session *s, const struct session_verb *v, struct str arg) {
    if (too_early(s, v, arg)) return;
    if (v->states & s->state) v->fn(s, arg);
    else if (s->state == AT_REFUSED)
        session_wrong(s, "order", 503, "5.5.1", "No mail is taken from you; say QUIT"); /* 3.1 */
    else if (s->state == AT_START)
        session_wrong(s, "order", 503, "5.5.1",
                      s->client.service == SERVICE_LMTP ? "Say LHLO first" : "Say EHLO or HELO first");
    else if (s->state == AT_READY) session_wrong(s, "order", 503, "5.5.1", "MAIL comes first");
    else session_wrong(s, "order", 503, "5.5.1", "A message has been begun already; RSET forgets it");
}

static bool is_alpha(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Octets of a chunk, or the body of a forged HTTP request, stand behind lines that begin so: when such a line cannot be
 * taken as the command that it is (too long, a NUL, a tab), its command ends the session all the same. NULL: another
 * line. */
static session_command *grave_line(struct str in) {
    size_t at = 0;
    while (at < in.n && at < 64 && (in.p[at] == ' ' || in.p[at] == '\t' || !in.p[at])) at++;
    in = str_sub(in, at, in.n);
    for (size_t i = 0; i < session_verb_count; i++) {
        const struct session_verb *v = &session_verbs[i];
        if ((v->fn != cmd_bdat && v->fn != cmd_http) || !str_starts_nocase(in, v->word)) continue;
        if (v->fn == cmd_bdat || in.n == v->word.n || !is_alpha(in.p[v->word.n])) return v->fn;
    }
    return NULL;
}

static void unknown_command(struct session *s, struct str line) {
    bool http = str_ends_nocase(line, STR(" HTTP/1.1")) || str_ends_nocase(line, STR(" HTTP/1.0"));
    if (s->grave) s->grave(s, STR_NONE);
    else if (http) cmd_http(s, STR_NONE);
    else if (!str_trim(line).n || line.p[0] == ' ')
        session_wrong(s, "command", 500, "5.5.2", "A command was expected");
    else session_wrong(s, "command", 500, "5.5.1", "Command not known; HELP lists those that are");
}

/* RFC 5321 2.4, 4.1.1: verb, space, arguments; white space at the end is ignored. */
static void command(struct session *s, struct str line) {
    ptrdiff_t space = str_chr(line, ' ');
    struct str word = space < 0 ? line : str_sub(line, 0, (size_t)space);
    struct str arg = space < 0 ? STR_NONE : str_trim(str_sub(line, (size_t)space, line.n));
    word = str_trim(word);
    for (size_t i = 0; i < session_verb_count; i++) {
        if (!str_eq_nocase(word, session_verbs[i].word)) continue;
        run_verb(s, &session_verbs[i], arg);
        return;
    }
    unknown_command(s, line);
}

/* What is to be read next may be a line of AUTH, which is longer than others. */
static bool long_line(const struct session *s, struct str in) {
    if (s->client.service != SERVICE_SUBMISSION) return false;
    return s->auth == AUTH_RESPONSE || (!s->login.n && str_starts_nocase(in, STR("AUTH ")));
}

static bool take_command(struct session *s, struct str *in) {
    struct str line = STR_NONE;
    s->reader.max = long_line(s, *in) ? LINE_AUTH_MAX : LINE_COMMAND_MAX;
    if (!s->reader.skipping) s->grave = grave_line(*in);
    enum line_what what = line_command(&s->reader, in, &line);
    if (what == LINE_MORE) return false;
    s->commands++;
    s->moved = true;
    s->behind = in->n;
    if (s->auth == AUTH_RESPONSE) auth_response(s, what, line);
    else if (what == LINE_READY) command(s, line);
    else if (s->grave) s->grave(s, STR_NONE);
    else if (what == LINE_LONG) session_wrong(s, "line", 500, "5.5.2", "Line too long");
    else session_wrong(s, "line", 500, "5.5.2", "Bare CR, bare LF or NUL in a command");
    return true;
}

/* While answers about recipients are due, only more recipients are taken: their replies can wait in line.
 * Everything else stays where it is, so the outcome does not depend on how fast the answers come. */
static bool may_ask_ahead(const struct session *s, struct str in) {
    struct str line;
    const struct transaction *tx = s->tx;
    return tx->waiting_n < ASK_AHEAD && !rcpt_full(s, tx->waiting_n) && line_peek(&s->reader, in, &line) &&
           str_starts_nocase(line, STR("RCPT "));
}

static bool may_take(const struct session *s, struct str in) {
    if (!s->greeted || s->over || s->lost || s->committing || s->congested || s->securing || in.n == 0)
        return false;
    if (s->auth == AUTH_ASKED || s->asking_sender || s->rest_until) return false;
    return !s->tx || !s->tx->waiting || may_ask_ahead(s, in);
}

static bool idle(const struct session *s) {
    return !s->committing && s->auth != AUTH_ASKED && !s->asking_sender &&
           !(s->tx && (s->tx->waiting || s->tx->data));
}

static void process(struct session *s, struct str *in) {
    while (may_take(s, *in)) {
        if (s->stopping && idle(s) && !s->tx && !s->chunking) break;
        if (s->chunking) chunk_take(s, in);
        else if (s->tx && s->tx->data && !s->tx->data->chunked) data_take(s, in);
        else if (!take_command(s, in)) break;
    }
    if (s->stopping && idle(s) && !s->tx && !s->over && !s->chunking)
        session_end(s, "4.3.2", "Going down, try again", "stopped");
}

static void keep(struct session *s, struct str rest) {
    if (s->over || rest.n == 0) {
        drop_held(s);
        return;
    }
    char *mem = xmalloc(rest.n);
    size_t n = rest.n;
    memcpy(mem, rest.p, n);
    drop_held(s);
    s->held = mem;
    s->held_n = n;
}

/* Octets that drip in keep data_ms from passing, but not for ever: the data as a whole must come with some
 * speed. */
static int64_t too_slow_at(const struct session *s) {
    enum { SECONDS_MAX = 1000000000 };
    uint64_t rate = s->client.local ? 0 : s->host->data_rate;
    if (!rate || !s->tx || !s->tx->data) return INT64_MAX;
    uint64_t seconds = s->tx->mail.size / rate;
    if (seconds > SECONDS_MAX) seconds = SECONDS_MAX;
    return s->tx->data->began_ns + s->host->data_ms * 1000000 + (int64_t)seconds * 1000000000;
}

static int64_t deadline_after(const struct session *s) {
    int64_t ms = s->host->command_ms;
    if (!idle(s)) ms = s->tx && s->tx->data && !s->committing ? s->host->data_ms : ANSWER_MS;
    int64_t at = s->now.mono_ns + ms * 1000000;
    return !s->committing && too_slow_at(s) < at ? too_slow_at(s) : at;
}

/* Ends every call from outside: what was said goes out in one piece, and the clock is set. */
static void finish(struct session *s) {
    session_flush(s);
    if (s->over || (!s->moved && !s->rest_until)) return;
    s->moved = false;
    s->host->ops->deadline(s->ctx, s->rest_until ? s->rest_until : deadline_after(s));
}

static void go_on(struct session *s) {
    struct str in = {s->held, s->held_n};
    process(s, &in);
    if (in.n != s->held_n) keep(s, in);
    finish(s);
}

bool session_become(struct session *s, struct session_client client, struct status *st) {
    client.trusted = s->client.trusted;
    bool same = client.ip.family == s->client.ip.family &&
                memcmp(client.ip.b, s->client.ip.b, sizeof client.ip.b) == 0;
    s->client = client;
    return same || !s->host->ops->identify || s->host->ops->identify(s->ctx, &s->client, st);
}

/* RFC 3207 4.2: nothing that was heard in the clear may be believed. */
static void forget_all(struct session *s) {
    session_forget(s);
    drop_held(s);
    free((char *)(uintptr_t)s->helo.p);
    s->helo = STR_NONE;
    s->esmtp = false;
    free((char *)(uintptr_t)s->login.p);
    s->login = STR_NONE;
    struct status st;
    free(s->told);
    s->told = NULL;
    (void)session_become(s, s->real, &st); /* it was let in when it came */
    s->state = AT_START;
    s->reader = (struct line_reader){.mended = s->client.mended};
}

void session_tls_done(struct session *s, struct session_now now, const struct session_tls *tls) {
    struct str *texts[4];
    size_t total = tls->version.n + tls->cipher.n + tls->name.n + tls->client.n;
    s->now = now;
    if (s->over || s->lost) return;
    s->tls = *tls;
    s->tls.on = s->moved = true;
    s->securing = false;
    texts[0] = &s->tls.version, texts[1] = &s->tls.cipher, texts[2] = &s->tls.name, texts[3] = &s->tls.client;
    free(s->tls_mem);
    s->tls_mem = xmalloc(total + 1);
    struct buf b = buf_on(s->tls_mem, total + 1);
    for (size_t i = 0; i < 4; i++) {
        struct str text = *texts[i];
        *texts[i] = (struct str){b.p + b.n, text.n};
        buf_add(&b, text);
    }
    forget_all(s);
    if (s->greeted) go_on(s); /* for the deadline, and for a stop that came meanwhile */
}

void session_names(struct session *s, struct str name, struct str reverse, bool failed) {
    s->real.name = name;
    s->real.reverse = reverse;
    s->real.names_failed = failed;
    s->client = s->real;
}

static void say_greeting(struct session *s) {
    char mem[300];
    struct buf b = BUF(mem);
    buf_add(&b, s->host->hostname);
    buf_adds(&b, s->client.service == SERVICE_LMTP ? " LMTP Postern" : " ESMTP Postern");
    session_plain(s, 220, false, buf_str(&b));
}

/* RFC 5321 3.1: 554 instead of 220; then the client says QUIT. */
static void greet(struct session *s) {
    struct status st;
    if (session_policy(s, RULE_CONNECT, NULL, &st)) {
        say_greeting(s);
    } else if (st.kind == STATUS_LATER) {
        session_tell(s, "connect", &st, STR_NONE);
        session_end_text(s, &st, "deferred by a rule");
    } else {
        s->state = AT_REFUSED;
        session_plain(s, 554, false, st.text); /* a greeting has no enhanced code (RFC 2034 4) */
        session_tell(s, "connect", &st, STR_NONE);
    }
}

void session_begin_anew(struct session *s) {
    session_forget(s);
    s->state = AT_START;
    s->esmtp = false;
    free((char *)(uintptr_t)s->helo.p);
    s->helo = STR_NONE;
    greet(s);
}

void session_greet(struct session *s, struct session_now now) {
    s->now = now;
    s->greeted = s->moved = true;
    greet(s);
    finish(s);
}

void session_turn_away(struct session *s, struct session_now now, const struct status *st, const char *why) {
    s->now = now;
    if (s->over || s->greeted) return;
    s->greeted = true;
    session_refuse(s, "connect", st, STR_NONE);
    session_close(s, why);
}

bool session_displace(struct session *s, struct session_now now) {
    s->now = now;
    if (s->over || s->committing) return false;
    session_end(
        s, "4.3.2",
        "All places are taken, and you did nothing for the longest time; try again (sessions-per-process)",
        "displaced");
    return true;
}

void session_input(struct session *s, struct session_now now, struct str bytes) {
    s->now = now;
    if (s->over || s->lost) return;
    if (s->held_n == 0) {
        process(s, &bytes);
        keep(s, bytes);
        finish(s);
        return;
    }
    s->held = xrealloc(s->held, s->held_n + bytes.n);
    if (bytes.n) memcpy(s->held + s->held_n, bytes.p, bytes.n);
    s->held_n += bytes.n;
    go_on(s);
}

static struct waiting *find_waiting(struct session *s, uint32_t slot) {
    if (!s->tx) return NULL;
    for (struct waiting *w = s->tx->waiting; w; w = w->next)
        if (w->slot == slot && !w->answered) return w;
    return NULL;
}

/* An answer keeps its text until its turn comes. Nonsense from lookup is our own trouble, not the
 * client's. */
static struct status copy_status(struct arena *a, const struct status *st) {
    struct status c = *st;
    unsigned cls = st->kind == STATUS_OK ? 2 : st->kind == STATUS_LATER ? 4 : 5;
    if (st->code / 100 != cls || st->detail[0] != cls)
        return status_make(451, "4.3.0", "Confused for a moment, try again later");
    c.text = str_dup(a, str_sub(st->text, 0, 512));
    return c;
}

static void sender_answer(struct session *s, const struct status *st) {
    struct status copy = copy_status(s->tx->arena, st);
    s->asking_sender = false;
    s->moved = true;
    mail_settle(s, &copy);
    if (!s->over) go_on(s);
}

void session_challenge(struct session *s, struct session_now now, struct str base64) {
    s->now = now;
    if (s->over || s->auth != AUTH_ASKED) return;
    s->moved = true;
    auth_challenged(s, base64);
    go_on(s);
}

void session_authenticated(struct session *s, struct session_now now, const struct status *st,
                           struct str login) {
    s->now = now;
    /* While the client is to speak it has no reply to come: it hears of the end behind its line (auth_response), which
     * would be taken for a command otherwise. */
    if (s->over || s->auth != AUTH_ASKED) return;
    s->moved = true;
    auth_ended(s, st, login);
    if (!s->over) go_on(s);
}

void session_answer(struct session *s, struct session_now now, uint32_t slot, const struct status *st) {
    struct waiting *w = find_waiting(s, slot);
    s->now = now;
    if (!s->over && slot == SESSION_SLOT_SENDER && s->asking_sender) sender_answer(s, st);
    if (s->over || !w) return;
    w->answered = true;
    w->st = copy_status(s->tx->arena, st);
    rcpt_settle(s);
    if (s->over) return;
    if (!s->tx->waiting) s->moved = true;
    go_on(s);
}

void session_committed(struct session *s, struct session_now now, const struct status *st) {
    s->now = now;
    if (s->over || !s->tx || !s->tx->data) return;
    struct status copy = copy_status(s->tx->arena, st);
    if (!s->committing) {
        /* A message that has not ended cannot be durable. */
        if (copy.kind == STATUS_OK)
            copy = status_make(451, "4.3.0", "Confused for a moment, try again later");
        data_fail(s, &copy);
        return;
    }
    data_done(s, &copy);
    if (s->lost && !s->over) session_close(s, "client lost");
    if (s->over) return;
    s->moved = true;
    go_on(s);
}

void session_resume(struct session *s, struct session_now now) {
    s->now = now;
    if (s->over || !s->congested) return;
    s->congested = false;
    go_on(s);
}

void session_expire(struct session *s, struct session_now now) {
    s->now = now;
    if (s->over) return;
    if (s->rest_until) {
        s->rest_until = 0;
        s->moved = true;
        go_on(s);
    } else if (s->lost) session_close(s, "client lost");
    else if (idle(s))
        session_end(s, "4.4.2", "Nothing heard for too long (command-timeout)", "command timeout");
    else if (!s->committing && s->now.mono_ns >= too_slow_at(s))
        session_end(s, "4.4.2", "Data comes too slowly (data-rate)", "data too slow");
    else if (s->tx && s->tx->data && !s->committing)
        session_end(s, "4.4.2", "No data for too long (data-timeout)", "data timeout");
    else session_end(s, "4.3.0", "Too busy, try again later", "no answer from inside");
}

void session_lost(struct session *s, struct session_now now, const char *why) {
    s->now = now;
    if (s->over) return;
    s->lost = true;
    if (!s->committing) session_close(s, why);
}

void session_stop(struct session *s, struct session_now now) {
    s->now = now;
    if (s->over) return;
    s->stopping = true;
    /* A message whose data is under way may still be finished; a mere envelope is cheap to repeat. */
    if (s->tx && !s->tx->data && !s->asking_sender) session_forget(s);
    go_on(s);
}

bool session_wants(const struct session *s) {
    return s->greeted && !s->over && !s->lost && !s->committing && !s->congested && !s->securing &&
           s->auth != AUTH_ASKED && !s->asking_sender && !s->rest_until && !(s->tx && s->tx->waiting);
}

bool session_in_data(const struct session *s) {
    return !s->over && !s->committing && s->tx && s->tx->data;
}

bool session_over(const struct session *s) {
    return s->over;
}

size_t session_memory(const struct session *s) {
    size_t n = sizeof *s + s->held_n + s->helo.n;
    return n + (s->tx ? arena_used(s->tx->arena) : 0);
}

struct session_counts session_counts(const struct session *s) {
    return (struct session_counts){s->messages, s->commands};
}

struct str session_login(const struct session *s) {
    return s->login;
}

const struct session_tls *session_tls(const struct session *s) {
    return &s->tls;
}

const struct session_client *session_client_of(const struct session *s) {
    return &s->client;
}

struct str session_helo(const struct session *s) {
    return s->helo;
}
