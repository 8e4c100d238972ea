#include "deliver-smtp/client.h"

#include "common/arena.h"
#include "common/smtpcaps.h"
#include "common/xtext.h"
#include "deliver-smtp/body.h"
#include "deliver-smtp/ehlo.h"
#include "deliver-smtp/reply.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    OUT_MAX = 131072, /* octets that wait for the shell: a flight of commands, or a run of the message */
    RUN_MAX = 32768, /* of the message, read at once; stuffing may double it */
    ORCPT_MAX = 500,
    ENVID_MAX = 100,
    COMMAND_MAX = 600 + 3 * ORCPT_MAX, /* "RCPT TO:<" + ADDR_TEXT_MAX + ">" CRLF, parameters as xtext */
    NAME_KEPT = 128,
    GREETING_KEPT = 200,
    QUIT_MS = 2000, /* its answer is of no use to anybody; RFC 5321 4.1.1.10 wants us to wait all the same */
};

enum state {
    S_GREETING,
    S_EHLO,
    S_HELO,
    S_IDLE,
    S_COMMANDS, /* [RSET] MAIL RCPT... DATA, in one flight or one by one */
    S_DATA,     /* 354 has come: sending the message */
    S_DOT,      /* all of it was given out: waiting for the reply that counts */
    S_LONE_DOT, /* 354 without a recipient: an empty message to nobody (RFC 2920 3.1) */
    S_QUIT,
    S_OVER,
};

struct client {
    const struct client_config *config;
    const struct client_ops *ops;
    void *ctx;
    enum state state;
    struct client_server server;
    char name[NAME_KEPT], greeting[GREETING_KEPT];
    struct client_reply reply;
    char *out;
    size_t out_n, out_at, out_cap;
    bool need_rset;
    bool early; /* the reply being read began before it was due */

    /* The transaction. Commands are numbered: RSET when needed, MAIL, each RCPT, DATA. */
    struct client_mail *mail;
    size_t rset, next_rcpt, issued, sent, answered;
    size_t pending_rcpt; /* index of the recipient whose reply comes next */
    size_t accepted;
    bool wrapped_up; /* nothing more is to be asked in this transaction: only replies are awaited */
    bool mail_taken, mail_failed, eight_bit, utf8;
    struct status mail_status; /* 4xx to MAIL; text in the mail's arena */
    uint64_t at;               /* octets of prefix and data given out */
    struct client_text text;
};

static void reply_greeting(struct client *c);
static void reply_ehlo(struct client *c);
static void reply_helo(struct client *c);
static void reply_command(struct client *c);
static void reply_dot(struct client *c);
static void reply_lone_dot(struct client *c);
static void reply_quit(struct client *c);
static void fill_commands(struct client *c);
static void fill_data(struct client *c);

/* One row for each state. fifths: how long to wait there, in fifths of reply-timeout, which is the 5 minutes
 * of RFC 5321 4.5.3.2.1 to .3; 4.5.3.2.5 gives a block of data 3 minutes, 4.5.3.2.6 the final dot 10. */
static const struct stage {
    const char *doing;
    unsigned fifths;
    void (*reply)(struct client *c);
    void (*fill)(struct client *c);
} stages[] = {
    [S_GREETING] = {"waiting for the greeting", 5, reply_greeting, NULL},
    [S_EHLO] = {"waiting for the reply to EHLO", 5, reply_ehlo, NULL},
    [S_HELO] = {"waiting for the reply to HELO", 5, reply_helo, NULL},
    [S_IDLE] = {"waiting for the next message", 0, NULL, NULL},
    [S_COMMANDS] = {"waiting for the replies to MAIL, RCPT and DATA", 5, reply_command, fill_commands},
    [S_DATA] = {"sending the message", 3, NULL, fill_data},
    [S_DOT] = {"waiting for the reply to the final dot", 10, reply_dot, NULL},
    [S_LONE_DOT] = {"waiting for the reply to a lone dot", 2, reply_lone_dot, NULL},
    [S_QUIT] = {"waiting for the reply to QUIT", 0, reply_quit, NULL},
    [S_OVER] = {"over", 0, NULL, NULL},
};

/* ---- small things ---- */

static void arm(struct client *c) {
    int64_t ms = c->config->reply_timeout_ms / 5 * stages[c->state].fifths;
    if (c->state == S_QUIT)
        ms = QUIT_MS < c->config->reply_timeout_ms ? QUIT_MS : c->config->reply_timeout_ms;
    c->ops->timer(c->ctx, ms);
}

static void enter(struct client *c, enum state s) {
    c->state = s;
    arm(c);
}

static bool out_empty(const struct client *c) {
    return c->out_at == c->out_n;
}

/* Room for n octets more; what has left makes place first. */
static struct buf out_room(struct client *c, size_t n) {
    if (out_empty(c)) c->out_at = c->out_n = 0;
    if (c->out_n + n > c->out_cap) c->out = xgrow(c->out, &c->out_cap, c->out_n + n, 1);
    return (struct buf){.p = c->out + c->out_n, .max = c->out_cap - c->out_n};
}

static void out_add(struct client *c, const struct buf *b) {
    assert(!b->failed);
    c->out_n += b->n;
}

static void say(struct client *c, const char *verb, struct str argument) {
    struct buf b = out_room(c, COMMAND_MAX);
    buf_adds(&b, verb);
    buf_add(&b, argument);
    buf_adds(&b, "\r\n");
    out_add(c, &b);
}

static struct str keep(char *mem, size_t max, struct str s) {
    size_t n = s.n < max ? s.n : max;
    for (size_t i = 0; i < n; i++) mem[i] = s.p[i] >= ' ' && s.p[i] <= '~' ? s.p[i] : '?';
    return (struct str){mem, n};
}

static bool in_transaction(const struct client *c) {
    return c->state == S_COMMANDS || c->state == S_DATA || c->state == S_DOT || c->state == S_LONE_DOT;
}

struct client *client_new(const struct client_config *config, const struct client_ops *ops, void *ctx) {
    struct client *c = xmalloc(sizeof *c);
    c->config = config;
    c->ops = ops;
    c->ctx = ctx;
    enter(c, S_GREETING);
    return c;
}

void client_free(struct client *c) {
    if (!c) return;
    free(c->out);
    free(c);
}

const struct client_server *client_server(const struct client *c) {
    return &c->server;
}

/* ---- ends ---- */

static void over(struct client *c, const struct status *why) {
    if (c->state == S_OVER) return;
    enter(c, S_OVER);
    c->ops->over(c->ctx, why);
}

static void settle(struct client *c, struct client_rcpt *r, struct status s) {
    r->settled = true;
    r->reports = c->server.caps & CAP_DSN;
    r->status = s;
    r->status.text = str_dup(c->mail->arena, s.text);
}

/* For all that are not settled, or only for those that the server accepted. */
static void settle_rest(struct client *c, struct status s, bool accepted_only) {
    struct str text = STR_NONE;
    for (size_t i = 0; i < c->mail->count; i++) {
        struct client_rcpt *r = &c->mail->rcpts[i];
        if (r->settled || (accepted_only && !r->accepted)) continue;
        if (!text.n) text = s.text = str_dup(c->mail->arena, s.text); /* one copy for all of them */
        r->settled = true;
        r->reports = c->server.caps & CAP_DSN;
        r->status = s;
    }
}

static bool all_settled(const struct client *c) {
    for (size_t i = 0; i < c->mail->count; i++)
        if (!c->mail->rcpts[i].settled) return false;
    return true;
}

static void end(struct client *c, struct status s, bool alive) {
    struct client_end e = {.outcome = all_settled(c) ? CLIENT_SETTLED : CLIENT_ELSEWHERE,
                           .status = s,
                           .alive = alive,
                           .untouched = !alive && c->answered == 0};
    c->mail = NULL;
    enter(c, alive ? S_IDLE : S_OVER);
    c->ops->end(c->ctx, &e);
    if (!alive) c->ops->over(c->ctx, &s);
}

/* The dot and all before it have left: only then can the server have taken the message, and then nobody but
 * the server knows whether it did. */
static bool committed(const struct client *c) {
    return c->state == S_DOT && out_empty(c);
}

/* The connection is of no further use. */
static void fail(struct client *c, struct status s) {
    if (!in_transaction(c)) {
        over(c, &s);
        return;
    }
    /* RFC 5321 4.2.5, RFC 1047: a lost reply to the dot must be taken for "not delivered"; twice beats never.
     * Not at another host in the same job, though: the scheduler waits first. */
    if (committed(c)) settle_rest(c, s, false);
    end(c, s, false);
}

static void fail_text(struct client *c, const char *detail, const char *what) {
    char mem[300];
    struct buf b = BUF(mem);
    buf_addf(&b, "%s while %s", what, stages[c->state].doing);
    struct status s = status_make(451, detail, "");
    s.text = buf_str(&b);
    fail(c, s);
}

void client_lost(struct client *c, const char *how) {
    if (c->state == S_OVER) return;
    if (c->state == S_QUIT) over(c, NULL);
    else fail_text(c, "4.4.2", how);
}

void client_expired(struct client *c) {
    client_lost(c, "timed out");
}

void client_quit(struct client *c) {
    assert(c->state == S_IDLE);
    say(c, "QUIT", STR_NONE);
    enter(c, S_QUIT);
}

/* ---- before the first transaction ---- */

static void hello(struct client *c, enum state s, const char *verb) {
    say(c, verb, c->config->hostname);
    enter(c, s);
}

static void reply_greeting(struct client *c) {
    struct status s = client_reply_status(&c->reply);
    c->server.greeting = keep(c->greeting, sizeof c->greeting, (struct str){c->reply.text, c->reply.text_n});
    if (s.kind == STATUS_OK) {
        hello(c, S_EHLO, "EHLO ");
        return;
    }
    /* 554 here is mostly an opinion about our address, today (RFC 5321 3.1): other hosts first, later again,
     * as the peers do. 521 is for good: this host takes no mail at all (RFC 7504 3). */
    if (s.kind == STATUS_NEVER && s.code != 521) {
        s.kind = STATUS_LATER;
        s.detail[0] = 4;
    }
    over(c, &s);
}

static void hello_done(struct client *c) {
    struct str first = (struct str){c->reply.text, c->reply.text_n}, name;
    str_word(&first, '\0', &name);
    c->server.name = keep(c->name, sizeof c->name, name);
    /* It says that it is us: mail would go round for ever (RFC 5321 6.3). The greeting is free text and
     * proves nothing. "localhost" is nobody's name. */
    if (str_eq_nocase(name, c->config->hostname) && !str_eq_nocase(name, STR("localhost"))) {
        struct status s = status_make(554, "5.4.6", "mail for this destination comes back to this host");
        over(c, &s);
        return;
    }
    enter(c, S_IDLE);
    c->ops->ready(c->ctx, &c->server);
}

static void reply_ehlo(struct client *c) {
    struct status s = client_reply_status(&c->reply);
    if (s.kind == STATUS_OK) {
        c->server.caps |= CAP_EHLO;
        hello_done(c);
    } else if (s.kind == STATUS_NEVER) {
        c->server.caps = 0;
        hello(c, S_HELO, "HELO "); /* RFC 5321 3.2 */
    } else {
        over(c, &s);
    }
}

static void reply_helo(struct client *c) {
    struct status s = client_reply_status(&c->reply);
    if (s.kind == STATUS_OK) hello_done(c);
    else over(c, &s);
}

static void reply_quit(struct client *c) {
    over(c, NULL);
}

/* ---- a transaction: what is said ---- */

static bool pipelining(const struct client *c) {
    return c->server.caps & CAP_PIPELINING;
}

static ptrdiff_t read_run(struct client *c, char *to, size_t max) {
    const struct client_mail *m = c->mail;
    uint64_t left = m->size - c->at;
    size_t n = left < max ? (size_t)left : max;
    if (c->at < m->prefix.n) {
        struct str run = str_sub(m->prefix, (size_t)c->at, (size_t)c->at + n);
        memcpy(to, run.p, run.n);
        n = run.n;
    } else if (n) {
        ptrdiff_t k = c->ops->read(c->ctx, c->at - m->prefix.n, to, n);
        if (k <= 0 || (size_t)k > n) return -1;
        n = (size_t)k;
    }
    c->at += n;
    return (ptrdiff_t)n;
}

/* Looks at the whole message before a word is said: what may not be sent is refused before a server hears of
 * it. */
static bool scan(struct client *c, struct client_text *t) {
    char run[RUN_MAX];
    ptrdiff_t n;
    c->at = 0;
    while ((n = read_run(c, run, sizeof run)) > 0 && !t->stray)
        client_text_check(t, (struct str){run, (size_t)n});
    c->at = 0;
    client_text_ends(t);
    return n >= 0;
}

static const char no_utf8[] = "the receiving host does not take internationalized mail (SMTPUTF8)";

static bool beyond_ascii(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 0x7f) return true;
    return false;
}

/* Recipients whose address cannot be said to this server. */
static void refuse_beyond_ascii(struct client *c) {
    if (c->server.caps & CAP_SMTPUTF8) return;
    for (size_t i = 0; i < c->mail->count; i++) {
        struct client_rcpt *r = &c->mail->rcpts[i];
        if (!r->settled && beyond_ascii(r->address)) settle(c, r, status_make(553, "5.6.7", no_utf8));
    }
}

/* What speaks against sending this message to this server at all; kind OK: nothing. */
static struct status objection(struct client *c) {
    struct client_text t = {0};
    const struct client_server *s = &c->server;
    if (c->mail->size < c->mail->prefix.n || !scan(c, &t))
        return status_make(451, "4.3.0", "the message cannot be read from the spool");
    if (t.stray)
        return status_make(554, "5.6.0", "the message holds a bare CR, a bare LF or a NUL and is not sent");
    /* RFC 8689 4.2.1: only over TLS with a verified host, and this client has no TLS at all. A report is not held back
     * for it (section 5). */
    if (c->mail->require_tls && c->mail->sender.n)
        return status_make(550, "5.7.10",
                           "the sender asks for TLS on the whole way (REQUIRETLS), which this host does not use towards "
                           "others");
    if (s->size_limit && c->mail->size > s->size_limit) /* RFC 1870 6.2 */
        return status_make(552, "5.3.4", "the message is larger than the receiving host takes");
    c->eight_bit = t.eight_bit;
    /* RFC 6152 3: must not be sent as it is, and is not converted here. */
    if (t.eight_bit && !(s->caps & CAP_8BITMIME))
        return status_make(554, "5.6.3",
                           "the message has 8-bit text, which the receiving host does not take");
    /* RFC 6531 3.2: what was declared so goes to hosts that know it, or nowhere. Without such text the
     * declaration means nothing. A header nobody declared is passed on as it came. */
    bool beyond = beyond_ascii(c->mail->sender), head = c->mail->utf8 && t.head_eight;
    c->utf8 = beyond || head;
    if (s->caps & CAP_SMTPUTF8) {
        for (size_t i = 0; i < c->mail->count; i++) c->utf8 |= beyond_ascii(c->mail->rcpts[i].address);
    } else if (c->utf8) {
        return status_make(553, beyond ? "5.6.7" : "5.6.9", no_utf8);
    }
    return status_make(250, "2.0.0", "");
}

void client_begin(struct client *c, struct client_mail *m) {
    assert(c->state == S_IDLE && m->count > 0);
    c->mail = m;
    c->rset = c->need_rset;
    c->next_rcpt = c->pending_rcpt = c->issued = c->sent = c->answered = c->accepted = 0;
    c->wrapped_up = c->mail_taken = c->mail_failed = c->eight_bit = false;
    c->text = (struct client_text){0};
    for (size_t i = 0; i < m->count; i++) m->rcpts[i].accepted = false;
    refuse_beyond_ascii(c);
    struct status s = all_settled(c) ? status_make(553, "5.6.7", no_utf8) : objection(c);
    if (s.kind == STATUS_OK) {
        enter(c, S_COMMANDS);
        return;
    }
    settle_rest(c, s, false);
    end(c, s, true);
}

/* RFC 3461 4.3, 4.4 */
static void say_return(struct buf *b, const struct client_mail *m) {
    static const char *const words[] = {"", " RET=FULL", " RET=HDRS"};
    if (m->ret < 3) buf_adds(b, words[m->ret]);
    if (!m->envid.n || m->envid.n > ENVID_MAX) return;
    buf_adds(b, " ENVID=");
    xtext_encode(b, m->envid);
}

/* RFC 3461 4.1, 4.2 */
static void say_notify(struct buf *b, const struct client_rcpt *r) {
    static const char *const words[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    const char *between = " NOTIFY=";
    for (unsigned i = 0; i < 4; i++) {
        if (!(r->notify & 1u << i)) continue;
        buf_adds(b, between);
        buf_adds(b, words[i]);
        between = ",";
    }
    ptrdiff_t semi = str_chr(r->orcpt, ';');
    if (semi < 0 || r->orcpt.n > ORCPT_MAX) return;
    buf_adds(b, " ORCPT=");
    buf_add(b, str_sub(r->orcpt, 0, (size_t)semi + 1));
    xtext_encode(b, str_sub(r->orcpt, (size_t)semi + 1, r->orcpt.n));
}

static void say_mail(struct client *c) {
    struct buf b = out_room(c, COMMAND_MAX);
    buf_adds(&b, "MAIL FROM:<");
    buf_add(&b, c->mail->sender);
    buf_addc(&b, '>');
    if (c->server.caps & CAP_SIZE) { /* RFC 1870 5 */
        buf_adds(&b, " SIZE=");
        buf_addu(&b, c->mail->size);
    }
    if ((c->eight_bit || c->mail->eight_bit) && (c->server.caps & CAP_8BITMIME))
        buf_adds(&b, " BODY=8BITMIME");
    if (c->utf8) buf_adds(&b, " SMTPUTF8"); /* RFC 6531 3.4 */
    if (c->server.caps & CAP_DSN) say_return(&b, c->mail);
    buf_adds(&b, "\r\n");
    out_add(c, &b);
}

static void say_rcpt(struct client *c, const struct client_rcpt *r) {
    struct buf b = out_room(c, COMMAND_MAX);
    buf_adds(&b, "RCPT TO:<");
    buf_add(&b, r->address);
    buf_addc(&b, '>');
    if (c->server.caps & CAP_DSN) say_notify(&b, r);
    buf_adds(&b, "\r\n");
    out_add(c, &b);
}

static size_t skip_settled(const struct client *c, size_t i) {
    while (i < c->mail->count && c->mail->rcpts[i].settled) i++;
    return i;
}

/* The next command of the transaction; false when there is none to say now. */
static bool say_next(struct client *c) {
    if (c->wrapped_up) return false;
    if (c->issued < c->rset) {
        say(c, "RSET", STR_NONE);
    } else if (c->issued == c->rset) {
        say_mail(c);
    } else if ((c->next_rcpt = skip_settled(c, c->next_rcpt)) < c->mail->count) {
        say_rcpt(c, &c->mail->rcpts[c->next_rcpt++]);
    } else {
        say(c, "DATA", STR_NONE);
        c->wrapped_up = true;
    }
    c->issued++;
    return true;
}

/* RFC 2920 3.1: DATA may end a group of commands; without PIPELINING each waits for the reply to the one
 * before. */
static void fill_commands(struct client *c) {
    while (c->out_n + COMMAND_MAX <= OUT_MAX && (pipelining(c) || c->issued == c->answered))
        if (!say_next(c)) break;
}

static void finish_data(struct client *c) {
    struct buf b = out_room(c, 5);
    if (!client_text_ends(&c->text)) buf_adds(&b, "\r\n");
    buf_adds(&b, ".\r\n");
    out_add(c, &b);
    enter(c, S_DOT);
}

static void fill_data(struct client *c) {
    char run[RUN_MAX];
    while (c->out_n + 2 * RUN_MAX <= OUT_MAX) {
        ptrdiff_t n = read_run(c, run, sizeof run);
        if (n == 0) {
            finish_data(c);
            return;
        }
        struct buf b = out_room(c, n > 0 ? 2 * (size_t)n : 0);
        if (n < 0 || !client_text_stuff(&c->text, (struct str){run, (size_t)n}, &b)) {
            /* It was readable and clean a moment ago. Without the dot the server must forget it. */
            c->out_n = c->out_at = 0;
            struct status s = status_make(451, "4.3.0", "the message cannot be read from the spool any more");
            settle_rest(c, s, false);
            end(c, s, false);
            return;
        }
        out_add(c, &b);
    }
}

struct str client_output(struct client *c) {
    if (out_empty(c)) {
        c->out_at = c->out_n = 0;
        if (stages[c->state].fill) stages[c->state].fill(c);
    }
    return (struct str){c->out ? c->out + c->out_at : NULL, c->out_n - c->out_at};
}

void client_sent(struct client *c, size_t n) {
    assert(n <= c->out_n - c->out_at);
    if (c->state == S_COMMANDS)
        for (size_t i = 0; i < n; i++) c->sent += c->out[c->out_at + i] == '\n';
    c->out_at += n;
    if (n && in_transaction(c)) arm(c);
}

/* ---- a transaction: what is answered ---- */

static bool wants_to_leave(struct status s) {
    return s.code == 421; /* RFC 5321 3.8: may come as the reply to anything */
}

static void finish_commands(struct client *c) {
    c->need_rset = c->mail_taken;
    end(c, c->mail_failed ? c->mail_status : status_make(250, "2.0.0", ""), true);
}

static void answered_mail(struct client *c, struct status s) {
    c->mail_taken = s.kind == STATUS_OK;
    if (c->mail_taken) return;
    c->mail_failed = true;
    c->mail_status = s;
    c->mail_status.text = str_dup(c->mail->arena, s.text);
    if (s.kind == STATUS_NEVER) settle_rest(c, s, false);
    if (!pipelining(c)) c->wrapped_up = true;
}

static void answered_rcpt(struct client *c, struct status s) {
    size_t i = c->pending_rcpt;
    while (i < c->mail->count && (c->mail->rcpts[i].settled || c->mail->rcpts[i].accepted)) i++;
    assert(i < c->mail->count); /* as many replies count as commands were said */
    struct client_rcpt *r = &c->mail->rcpts[i];
    c->pending_rcpt = i + 1;
    if (s.kind == STATUS_OK) {
        r->accepted = true;
        c->accepted++;
        return;
    }
    if (s.code ==
        552) { /* RFC 5321 4.5.3.1.10: "too many recipients" of old servers; these wait for another round */
        s.kind = STATUS_LATER;
        s.detail[0] = 4;
    }
    settle(c, r, s);
}

static void answered_data(struct client *c, struct status s) {
    if (s.code == 354) {
        if (c->accepted) {
            enter(c, S_DATA);
            return;
        }
        say(c, ".", STR_NONE);
        enter(c, S_LONE_DOT);
        return;
    }
    if (s.kind == STATUS_OK)
        s = status_make(451, "4.5.0", "the receiving host answered DATA with a code that it may not");
    settle_rest(c, s, true);
    finish_commands(c);
}

/* Without PIPELINING: MAIL was refused, or no recipient is left, and so DATA is not said. */
static bool nothing_left(struct client *c) {
    if (c->wrapped_up) return c->answered == c->issued;
    if (pipelining(c)) return false;
    bool last = c->issued > c->rset && skip_settled(c, c->next_rcpt) == c->mail->count;
    return last && c->accepted == 0 && c->answered == c->issued;
}

static void reply_command(struct client *c) {
    struct status s = client_reply_status(&c->reply);
    size_t which = c->answered++;
    bool is_data = c->wrapped_up && which + 1 == c->issued;
    if (wants_to_leave(s)) {
        if (which == 0) c->answered = 0; /* it wanted to leave before it heard of this mail */
        fail(c, s);
        return;
    }
    if (which < c->rset) {
        if (s.kind != STATUS_OK) fail_text(c, "4.5.0", "RSET was refused");
        return;
    }
    if (which == c->rset) {
        answered_mail(c, s);
    } else if (is_data) {
        answered_data(c, s);
        return;
    } else if (!c->mail_failed) {
        answered_rcpt(c, s);
    }
    if (nothing_left(c)) finish_commands(c);
    else arm(c);
}

static void reply_dot(struct client *c) {
    struct status s = client_reply_status(&c->reply);
    if (s.code / 100 == 3)
        s = status_make(451, "4.5.0", "the receiving host answered the data with a code that it may not");
    settle_rest(c, s, true);
    c->need_rset = false;
    end(c, s, !wants_to_leave(s));
}

static void reply_lone_dot(struct client *c) {
    struct status s = client_reply_status(&c->reply);
    c->need_rset = false;
    end(c, c->mail_failed ? c->mail_status : s, !wants_to_leave(s));
}

/* ---- what the server sends ---- */

/* Is a reply due? Only to what has left completely: nothing that was said in advance may count as an answer.
 */
static bool reply_due(const struct client *c) {
    switch (c->state) {
    case S_GREETING:
        return true;
    case S_COMMANDS:
        return c->answered < c->sent;
    case S_IDLE:
    case S_DATA:
    case S_OVER:
        return false;
    default:
        return out_empty(c);
    }
}

/* RFC 5321 3.8 lets a server say 421 at any time; some refuse a message in the middle of its data. Everything
 * else that comes unasked is a server that cannot be trusted to know what it answers. */
static void unasked(struct client *c) {
    struct status s = client_reply_status(&c->reply);
    if (c->state == S_QUIT || s.code < 400) {
        fail_text(c, "4.5.0", "the server spoke unasked");
        return;
    }
    if ((c->state == S_DATA || c->state == S_DOT) && s.kind == STATUS_NEVER) settle_rest(c, s, true);
    fail(c, s);
}

bool client_halfway(const struct client *c) {
    return c->state == S_COMMANDS && c->answered && c->answered < c->sent;
}

static void take_line(struct client *c, struct str line, bool last) {
    if (c->early) {
        unasked(c);
        return;
    }
    if (c->state == S_EHLO && c->reply.lines > 1)
        client_ehlo_line(line, &c->server.caps, &c->server.size_limit);
    if (last) stages[c->state].reply(c);
}

static void not_smtp(struct client *c, const char *why) {
    char mem[120];
    struct buf b = BUF(mem);
    buf_addf(&b, "the server sent %s", why);
    fail_text(c, "4.5.0", buf_cstr(&b));
}

void client_input(struct client *c, struct str octets) {
    while (octets.n && c->state != S_OVER) {
        struct str line = STR_NONE;
        const char *why;
        if (client_reply_begins(&c->reply)) c->early = !reply_due(c);
        if (c->state == S_IDLE) {
            fail_text(c, "4.5.0", "the server spoke unasked");
            return;
        }
        enum client_reply_verdict v = client_reply_feed(&c->reply, &octets, &line, &why);
        if (v == REPLY_BAD) not_smtp(c, why);
        else if (v != REPLY_NEED) take_line(c, line, v == REPLY_DONE);
    }
}
