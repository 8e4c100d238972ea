#include "submit/handin.h"

#include "common/arena.h"

#include <string.h>

enum { COMMAND_MAX = 1200 /* RCPT with an address of 400 octets, NOTIFY, ORCPT */ };

void handin_init(struct handin *h, struct arena *a, struct str helo) {
    memset(h, 0, sizeof *h);
    h->arena = a;
    h->helo = helo;
}

static size_t room(const struct handin *h) {
    return sizeof h->out - h->out_n;
}

static void put(struct handin *h, struct str s) {
    memcpy(h->out + h->out_n, s.p, s.n);
    h->out_n += s.n;
}

/* A command line; the caller has seen that there is room for COMMAND_MAX octets. */
static void command(struct handin *h, struct buf *b) {
    if (h->trace) h->trace(h->trace_ctx, 'C', buf_str(b));
    buf_adds(b, "\r\n");
    put(h, buf_str(b));
}

static void say(struct handin *h, const char *text) {
    char mem[COMMAND_MAX];
    struct buf b = BUF(mem);
    buf_adds(&b, text);
    command(h, &b);
}

static struct status kept(struct handin *h, struct status s) {
    s.text = str_dup(h->arena, s.text);
    return s;
}

static void decide(struct handin_rcpt *r, struct status s) {
    r->decided = true;
    r->status = s;
}

static void decide_rest(struct handin *h, struct status s) {
    if (!h->mail) return;
    for (size_t i = 0; i < h->mail->rcpt_count; i++)
        if (!h->mail->rcpts[i].decided) decide(&h->mail->rcpts[i], s);
}

static void gone(struct handin *h, struct status s) {
    if (h->state == HANDIN_GONE) return;
    h->trouble = s;
    if (s.kind == STATUS_OK) h->trouble.kind = STATUS_LATER;
    decide_rest(h, h->trouble);
    h->state = HANDIN_GONE;
}

void handin_lost(struct handin *h, const char *why) {
    gone(h, status_make(451, "4.4.2", why));
}

void handin_quit(struct handin *h) {
    if (h->state != HANDIN_IDLE || room(h) < COMMAND_MAX) return;
    say(h, "QUIT");
    h->state = HANDIN_GONE;
}

bool handin_done(const struct handin *h) {
    return h->state == HANDIN_GONE || (h->state == HANDIN_IDLE && !h->mail);
}

void handin_mail(struct handin *h, struct handin_mail *m) {
    for (size_t i = 0; i < m->rcpt_count; i++) m->rcpts[i].decided = false;
    h->mail = m;
    h->sent = h->answered = 0;
    h->mail_ok = false;
    if (h->state == HANDIN_GONE) decide_rest(h, h->trouble);
}

/* --- output --- */

static void put_mail(struct handin *h) {
    char mem[COMMAND_MAX];
    struct buf b = BUF(mem);
    const struct handin_mail *m = h->mail;
    buf_adds(&b, "MAIL FROM:<");
    buf_add(&b, m->sender);
    buf_addc(&b, '>');
    if (h->size) buf_adds(&b, " SIZE="), buf_addu(&b, m->size);       /* RFC 1870 6 */
    if (h->eight_bit && m->eight_bit) buf_adds(&b, " BODY=8BITMIME"); /* RFC 6152 2 */
    if (h->dsn && m->ret.n) buf_adds(&b, " RET="), buf_add(&b, m->ret);
    if (h->dsn && m->envid.n) { /* xtext, RFC 3461 4 */
        buf_adds(&b, " ENVID=");
        for (size_t i = 0; i < m->envid.n; i++) {
            char c = m->envid.p[i];
            if (c <= ' ' || c > '~' || c == '+' || c == '=')
                buf_addf(&b, "+%02X", (unsigned)(unsigned char)c);
            else buf_addc(&b, c);
        }
    }
    command(h, &b);
}

static void put_rcpt(struct handin *h, const struct handin_rcpt *r) {
    char mem[COMMAND_MAX];
    struct buf b = BUF(mem);
    buf_adds(&b, "RCPT TO:<");
    buf_add(&b, r->text);
    buf_addc(&b, '>');
    if (h->dsn && h->mail->notify.n) buf_adds(&b, " NOTIFY="), buf_add(&b, h->mail->notify);
    command(h, &b);
}

static void put_envelope(struct handin *h) {
    size_t commands = h->mail->rcpt_count + 1;
    while (h->sent < commands && room(h) >= COMMAND_MAX && (h->pipelining || h->sent == h->answered)) {
        if (h->sent == 0) put_mail(h);
        else put_rcpt(h, &h->mail->rcpts[h->sent - 1]);
        h->sent++;
    }
}

/* RFC 5321 4.5.2: a dot that begins a line is doubled. */
static void put_stuffed(struct handin *h, struct str s) {
    while (s.n) {
        if (h->line_start && s.p[0] == '.') put(h, STR("."));
        ptrdiff_t lf = str_chr(s, '\n');
        size_t n = lf < 0 ? s.n : (size_t)lf + 1;
        put(h, str_sub(s, 0, n));
        h->line_start = lf >= 0;
        s = str_sub(s, n, s.n);
    }
}

static void put_body(struct handin *h) {
    char mem[HANDIN_OUT / 4]; /* doubled at the worst, and there must be room for the end */
    while (h->state == HANDIN_BODY && room(h) >= 2 * sizeof mem + 8) {
        ptrdiff_t n = h->mail->read(h->mail->ctx, mem, sizeof mem);
        if (n > 0) {
            put_stuffed(h, (struct str){mem, (size_t)n});
        } else if (n == 0) {
            put(h, h->line_start ? STR(".\r\n") : STR("\r\n.\r\n"));
            if (h->trace) h->trace(h->trace_ctx, 'C', STR("."));
            h->state = HANDIN_FINAL;
        } else { /* without the dot it is no message: the other side forgets it when the stream closes */
            h->out_from = h->out_n = 0;
            gone(h, status_make(451, "4.3.0", "the message could not be read to its end"));
        }
    }
}

void handin_pump(struct handin *h) {
    if (h->state == HANDIN_IDLE && h->mail) h->state = HANDIN_ENVELOPE;
    if (h->state == HANDIN_ENVELOPE) put_envelope(h);
    if (h->state == HANDIN_BODY) put_body(h);
}

struct str handin_output(const struct handin *h) {
    return (struct str){h->out + h->out_from, h->out_n - h->out_from};
}

void handin_written(struct handin *h, size_t n) {
    h->out_from += n;
    if (h->out_from == h->out_n) h->out_from = h->out_n = 0;
}

/* --- input --- */

/* The transaction is over; what was accepted at RCPT and has no answer of its own gets this one. */
static void finish(struct handin *h, struct status s, bool reset) {
    decide_rest(h, s);
    h->mail = NULL;
    h->state = HANDIN_IDLE;
    if (!reset || room(h) < COMMAND_MAX) return;
    say(h, "RSET");
    h->state = HANDIN_RESET;
}

static void on_greeting(struct handin *h, struct status s) {
    char mem[COMMAND_MAX];
    struct buf b = BUF(mem);
    if (s.kind != STATUS_OK) {
        gone(h, s);
        return;
    }
    buf_adds(&b, "EHLO ");
    buf_add(&b, h->helo.n ? h->helo : STR("localhost"));
    command(h, &b);
    h->state = HANDIN_EHLO;
}

static void on_ehlo(struct handin *h, struct status s) {
    if (s.kind == STATUS_OK) h->state = HANDIN_IDLE;
    else gone(h, s);
}

static void envelope_answered(struct handin *h) {
    bool any = false;
    for (size_t i = 0; i < h->mail->rcpt_count; i++) any |= !h->mail->rcpts[i].decided;
    if (!h->mail_ok || !any || h->mail->verify) {
        finish(h, status_make(250, "2.1.5", "accepted"), true);
        return;
    }
    say(h, "DATA");
    h->state = HANDIN_DATA;
}

static void on_envelope(struct handin *h, struct status s) {
    size_t i = h->answered++;
    if (i == 0) {
        h->mail_ok = s.kind == STATUS_OK;
        if (!h->mail_ok) decide_rest(h, kept(h, s));
    } else if (s.kind != STATUS_OK && h->mail_ok) {
        decide(&h->mail->rcpts[i - 1], kept(h, s));
    }
    /* A refused MAIL makes all RCPT that are on their way fail; without pipelining they need not be sent. */
    if (h->answered == h->sent && (!h->mail_ok || h->sent == h->mail->rcpt_count + 1)) envelope_answered(h);
}

static void on_data(struct handin *h, struct status s) {
    if (s.code == 354) {
        h->line_start = true;
        h->state = HANDIN_BODY;
    } else {
        if (s.kind == STATUS_OK) s = status_make(451, "4.5.0", "the server answered DATA with a wrong reply");
        finish(h, kept(h, s), true);
    }
}

/* An answer before the end of the data: nothing after it can be trusted to be in step. */
static void on_body(struct handin *h, struct status s) {
    gone(h, kept(h, s));
}

static void on_final(struct handin *h, struct status s) {
    finish(h, kept(h, s), false);
}

static void on_reset(struct handin *h, struct status s) {
    (void)s;
    h->state = HANDIN_IDLE;
}

static void on_unasked(struct handin *h, struct status s) {
    gone(h, kept(h, s));
}

static void (*const on_reply[])(struct handin *, struct status) = {
    [HANDIN_GREETING] = on_greeting, [HANDIN_EHLO] = on_ehlo,   [HANDIN_IDLE] = on_unasked,
    [HANDIN_ENVELOPE] = on_envelope, [HANDIN_DATA] = on_data,   [HANDIN_BODY] = on_body,
    [HANDIN_FINAL] = on_final,       [HANDIN_RESET] = on_reset, [HANDIN_GONE] = on_unasked,
};

static void learn(struct handin *h, struct str word) {
    struct str rest = word, name;
    if (!str_word(&rest, '\0', &name)) return;
    if (str_eq_nocase(name, STR("PIPELINING"))) h->pipelining = true;
    if (str_eq_nocase(name, STR("8BITMIME"))) h->eight_bit = true;
    if (str_eq_nocase(name, STR("SIZE"))) h->size = true;
    if (str_eq_nocase(name, STR("DSN"))) h->dsn = true;
}

static void reply_line(struct handin *h, struct str line) {
    uint64_t code;
    if (h->trace) h->trace(h->trace_ctx, 'S', line);
    if (!str_to_u64(str_sub(line, 0, 3), 599, &code) || code < 200 ||
        (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')) {
        handin_lost(h, "the server did not answer in SMTP");
        return;
    }
    struct str text = str_sub(line, 4, line.n);
    if (h->state == HANDIN_EHLO && code == 250) learn(h, text);
    if (line.n > 3 && line.p[3] == '-') return; /* RFC 5321 4.2.1: the last line speaks */
    struct status s = status_from_reply((unsigned)code, text);
    if (code == 421) gone(h, kept(h, s)); /* 3.8: it is closing */
    else on_reply[h->state](h, s);
}

void handin_input(struct handin *h, struct str bytes) {
    for (size_t i = 0; i < bytes.n && h->state != HANDIN_GONE; i++) {
        char c = bytes.p[i];
        if (c == '\n') {
            struct str line = str_trim((struct str){h->line, h->line_n});
            h->line_n = 0;
            reply_line(h, line);
        } else if (h->line_n < sizeof h->line) {
            h->line[h->line_n++] = c;
        }
    }
    handin_pump(h);
}
