#include "submit/header.h"

#include "common/addr.h"
#include "common/addrlist.h"

enum {
    DROP = 1,     /* leave it out of the message */
    RCPT = 2,     /* -t takes recipients from it */
    RESENT = 4,   /* a field of RFC 5322 3.6.6 */
    COMPLETE = 8, /* an address list: names in it get the origin */
    AUTHOR = 16,
    BLOCK = 32, /* begins another block of resent fields when it comes twice */
};

static const struct row {
    const char *name;
    unsigned does;
} rows[] = {
    {"From", AUTHOR | COMPLETE},
    {"Sender", COMPLETE},
    {"Reply-To", COMPLETE},
    {"To", RCPT | COMPLETE},
    {"Cc", RCPT | COMPLETE},
    {"Bcc", RCPT | DROP},
    {"Apparently-To", RCPT | COMPLETE},
    {"Resent-From", RESENT | BLOCK | COMPLETE},
    {"Resent-Sender", RESENT | COMPLETE},
    {"Resent-Date", RESENT | BLOCK},
    {"Resent-Message-ID", RESENT},
    {"Resent-Reply-To", RESENT | COMPLETE},
    {"Resent-To", RESENT | RCPT | COMPLETE},
    {"Resent-Cc", RESENT | RCPT | COMPLETE},
    {"Resent-Bcc", RESENT | RCPT | DROP},
    {"Return-Path", DROP},
    {"Content-Length", DROP},
};

static unsigned row_of(struct str name) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_eq_nocase(name, str_of(rows[i].name))) return (unsigned)i;
    return sizeof rows / sizeof *rows;
}

static unsigned does(struct str name) {
    unsigned row = row_of(name);
    return row < sizeof rows / sizeof *rows ? rows[row].does : 0;
}

static bool is_wsp(char c) {
    return c == ' ' || c == '\t';
}

/* Length of the first line with its end. */
static size_t line_length(struct str s) {
    ptrdiff_t lf = str_chr(s, '\n');
    return lf < 0 ? s.n : (size_t)lf + 1;
}

/* RFC 5322 2.2, and white space before the colon as 4.5 has it. Gives the length up to the colon, or 0. */
static size_t name_length(struct str s, struct str *name) {
    size_t at = 0;
    while (at < s.n && s.p[at] > ' ' && s.p[at] < 0x7f && s.p[at] != ':') at++;
    *name = str_sub(s, 0, at);
    if (at == 0) return 0;
    while (at < s.n && is_wsp(s.p[at])) at++;
    return at < s.n && s.p[at] == ':' ? at : 0;
}

bool header_next(struct str *rest, struct header_field *f) {
    size_t colon = name_length(*rest, &f->name);
    if (!colon) return false;
    size_t n = line_length(*rest);
    while (n < rest->n && is_wsp(rest->p[n])) n += line_length(str_sub(*rest, n, rest->n));
    f->value = str_sub(*rest, colon + 1, n);
    f->whole = str_sub(*rest, 0, n);
    *rest = str_sub(*rest, n, rest->n);
    return true;
}

/* The line of a mailbox file, which some programs pass on, is no part of the message; "From : a@x" is a
 * field. */
static struct str without_from_line(struct str message) {
    struct str line =
                   str_sub(message, 0, 1).n && message.p[0] == '>' ? str_sub(message, 1, message.n) : message,
               name;
    if (!str_eq(str_sub(line, 0, 5), STR("From ")) || name_length(line, &name)) return message;
    return str_sub(message, line_length(message), message.n);
}

/* Adds the recipients of the fields that have all the bits and none of the others. */
static bool take_fields(struct str text, unsigned bits, unsigned none, struct rcptlist *l) {
    struct header_field f;
    while (header_next(&text, &f)) {
        unsigned d = does(f.name);
        if ((d & bits) == bits && !(d & none) && !rcptlist_add(l, f.value)) return false;
    }
    return true;
}

/* The topmost block of Resent- fields, which is the latest (3.6.6): it ends with the first other field,
 * or where its author or date comes again. False: there is none. */
static bool resent_block(struct str text, struct str *block) {
    struct header_field f;
    unsigned seen[sizeof rows / sizeof *rows + 1] = {0};
    bool inside = false;
    size_t n = 0;
    while (header_next(&text, &f)) {
        unsigned row = row_of(f.name), d = does(f.name);
        bool again = (d & BLOCK) && seen[row]++;
        if (inside && (!(d & RESENT) || again)) break;
        if (!(d & RESENT)) continue;
        if (!inside) block->p = f.whole.p;
        inside = true;
        n += f.whole.n;
    }
    block->n = n;
    return inside;
}

/* -t: when the message is sent again, to whom it is sent again; else To, Cc, Bcc. */
static bool take_recipients(struct str text, struct rcptlist *l) {
    struct str block;
    if (!resent_block(text, &block)) return take_fields(text, RCPT, RESENT, l);
    size_t before = l->n;
    if (!take_fields(block, RCPT | RESENT, 0, l)) return false;
    if (l->n > before) return true;
    if (!take_fields(text, RCPT | RESENT, 0, l)) return false; /* written in another order */
    return l->n > before || take_fields(text, RCPT, RESENT, l);
}

struct completing {
    struct text *head;
    struct str value, origin;
    size_t done; /* octets of value that are written */
};

static bool complete_one(void *ctx, const struct addrlist_item *item) {
    struct completing *c = ctx;
    if (item->has_domain) return true;
    text_add(c->head, str_sub(c->value, c->done, item->local_end));
    text_add(c->head, STR("@"));
    text_add(c->head, c->origin);
    c->done = item->local_end;
    return true;
}

static void add_completed(struct text *head, const struct header_field *f, struct str origin) {
    struct completing c = {head, f->value, origin, 0};
    struct addrlist_error err;
    size_t start = head->n;
    text_add(head, str_sub(f->whole, 0, f->whole.n - f->value.n));
    if (addrlist_parse(f->value, complete_one, &c, &err)) {
        text_add(head, str_sub(f->value, c.done, f->value.n));
    } else { /* not ours to judge: as it is */
        head->n = start;
        text_add(head, f->whole);
    }
}

bool header_edit(struct str message, const struct header_edit *e, struct text *head, struct str *body) {
    struct header_field f;
    bool author = false;
    struct str rest = without_from_line(message), start = rest;
    if (e->rcpts && !take_recipients(start, e->rcpts)) return false;
    while (header_next(&rest, &f)) {
        unsigned d = does(f.name);
        author |= (d & AUTHOR) != 0;
        if (d & DROP) continue;
        if (d & COMPLETE) add_completed(head, &f, e->origin);
        else text_add(head, f.whole);
    }
    if (!author) {
        text_add(head, STR("From: "));
        text_add(head, e->from);
        text_add(head, STR("\r\n"));
    }
    text_add(head, STR("\r\n"));
    *body = str_eq(str_sub(rest, 0, 2), STR("\r\n")) ? str_sub(rest, 2, rest.n) : rest;
    return true;
}

/* RFC 2047 4.2, 5: one encoded word for at most 15 octets, cut between characters (45 + 12 is below 75). */
static void add_encoded(struct buf *b, struct str s) {
    size_t at = 0;
    while (at < s.n) {
        size_t end = at + 15 < s.n ? at + 15 : s.n;
        while (end < s.n && end > at + 8 && ((unsigned char)s.p[end] & 0xc0) == 0x80) end--;
        buf_adds(b, at ? " =?UTF-8?Q?" : "=?UTF-8?Q?");
        for (; at < end; at++) buf_addf(b, "=%02X", (unsigned)(unsigned char)s.p[at]);
        buf_adds(b, "?=");
    }
}

static bool is_plain_phrase(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool atom = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ' ' ||
                    str_chr(STR("!#$%&'*+-/?^_`{|}~"), c) >= 0; /* no "=": it could look encoded */
        if (!atom) return false;
    }
    return true;
}

void header_mailbox(struct buf *b, struct str name, struct str address) {
    name = str_trim(str_sub(name, 0, 200));
    if (!name.n) {
        buf_add(b, address);
        return;
    }
    if (is_plain_phrase(name)) {
        buf_add(b, name);
    } else if (str_is_print(name)) {
        buf_addc(b, '"');
        for (size_t i = 0; i < name.n; i++) {
            if (name.p[i] == '"' || name.p[i] == '\\') buf_addc(b, '\\');
            buf_addc(b, name.p[i]);
        }
        buf_addc(b, '"');
    } else {
        add_encoded(b, name);
    }
    buf_adds(b, " <");
    buf_add(b, address);
    buf_addc(b, '>');
}
