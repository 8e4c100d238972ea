#include "smtpd/state.h"

enum {
    REPLY_LINE_MAX = 512, /* with CR LF, RFC 5321 4.5.3.1.5 */
    ERRORS_FREE = 4,      /* after these each further one is followed by a rest */
};

void session_flush(struct session *s) {
    struct buf *out = &s->host->out;
    if (out->n == 0) return;
    if (!s->lost && !s->host->ops->send(s->ctx, buf_str(out))) s->congested = true;
    out->n = 0;
}

/* Texts come from other programs too: what is not printable becomes "?". */
static void add_printable(struct buf *b, struct str text, size_t room) {
    for (size_t i = 0; i < text.n && i < room; i++) {
        char c = text.p[i];
        buf_addc(b, c >= ' ' && c <= '~' ? c : '?');
    }
}

static void line(struct session *s, unsigned code, bool more, struct str detail, struct str text) {
    struct buf *out = &s->host->out;
    if (out->max - out->n < REPLY_LINE_MAX) session_flush(s);
    size_t start = out->n;
    buf_addu(out, code);
    buf_addc(out, more ? '-' : ' ');
    buf_add(out, detail);
    if (detail.n) buf_addc(out, ' ');
    add_printable(out, text, REPLY_LINE_MAX - 2 - (out->n - start));
    buf_adds(out, "\r\n");
}

void session_plain(struct session *s, unsigned code, bool more, struct str text) {
    line(s, code, more, STR_NONE, text);
}

void session_line(struct session *s, unsigned code, bool more, const char *detail, struct str text) {
    line(s, code, more, str_of(detail), text);
}

void session_reply(struct session *s, const struct status *st) {
    char mem[24];
    struct buf detail = BUF(mem);
    buf_addf(&detail, "%u.%u.%u", st->detail[0] % 10u, st->detail[1] % 1000u, st->detail[2] % 1000u);
    line(s, st->code, false, buf_str(&detail), st->text);
}

void session_say(struct session *s, unsigned code, const char *detail, const char *text) {
    line(s, code, false, str_of(detail), str_of(text));
}

void session_end_text(struct session *s, const struct status *st, const char *why) {
    char mem[REPLY_LINE_MAX];
    struct buf b = BUF(mem);
    buf_add(&b, s->host->hostname); /* 4.2: 421 <domain> ... */
    buf_addc(&b, ' ');
    buf_add(&b, st->text);
    struct status whole = *st;
    whole.text = buf_str(&b);
    session_reply(s, &whole);
    session_close(s, why);
}

void session_end(struct session *s, const char *detail, const char *text, const char *why) {
    struct status st = status_make(421, detail, text);
    session_end_text(s, &st, why);
}

void session_tell(struct session *s, const char *stage, const struct status *st, struct str to) {
    char mem[REPLY_LINE_MAX];
    struct buf reply = BUF(mem);
    status_format(&reply, st);
    struct session_event e = {.kind = SESSION_REJECT,
                              .stage = str_of(stage),
                              .to = to,
                              .helo = s->helo,
                              .reply = buf_str(&reply),
                              .protocol = session_protocol(s)};
    if (s->tx) e.from = s->tx->mail.sender_text;
    s->host->ops->event(s->ctx, &e);
}

void session_refuse(struct session *s, const char *stage, const struct status *st, struct str to) {
    session_reply(s, st);
    session_tell(s, stage, st, to);
    /* 4xx is our own trouble or a limit (452): the client does right to go on. */
    if (st->code >= 500) session_error(s);
}

bool session_allows(struct session *s, enum session_use use, struct status *st) {
    return !s->host->ops->allow || s->host->ops->allow(s->ctx, use, st);
}

void session_error(struct session *s) {
    struct status st;
    if (s->over) return;
    bool allowed = session_allows(s, SESSION_USE_ERROR, &st);
    if (++s->errors >= s->host->error_limit) {
        session_end(s, "4.7.0", "Too many errors (error-limit)", "too many errors");
    } else if (!allowed) {
        session_tell(s, "errors", &st, STR_NONE);
        session_reply(s, &st);
        session_close(s, "too many errors of this client");
    } else if (s->errors > ERRORS_FREE && s->host->error_rest_ms && !s->client.trusted) {
        s->rest_until = s->now.mono_ns + s->host->error_rest_ms * 1000000;
    }
}

void session_wrong(struct session *s, const char *stage, unsigned code, const char *detail,
                   const char *text) {
    struct status st = status_make((uint16_t)code, detail, text);
    session_refuse(s, stage, &st, STR_NONE);
}
