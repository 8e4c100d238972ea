#include "deliver-local/format.h"

#include <string.h>
#include <time.h>

static const char from_[] = "From ";
enum { FROM_LENGTH = sizeof from_ - 1 };

static void flush(struct format *f) {
    if (f->n && !f->failed && !f->put(f->ctx, f->out, f->n)) f->failed = true;
    f->n = 0;
}

static void emit(struct format *f, const char *p, size_t n) {
    while (n) {
        size_t room = sizeof f->out - f->n, take = n < room ? n : room;
        memcpy(f->out + f->n, p, take);
        f->n += take;
        p += take;
        n -= take;
        if (f->n == sizeof f->out) flush(f);
    }
}

static void emit_char(struct format *f, char c) {
    emit(f, &c, 1);
}

/* What was held back at the start of a line, when it turned out to be, or not to be, a From_ line. */
static void release(struct format *f, bool quote) {
    if (quote) emit_char(f, '>');
    for (; f->quotes; f->quotes--) emit_char(f, '>');
    emit(f, from_, f->matched);
    f->matched = 0;
    f->at_start = false;
}

static void new_line(struct format *f) {
    if (f->at_start) release(f, false);
    emit_char(f, '\n');
    f->at_start = f->mbox;
}

/* One octet at the start of a line. */
static void match(struct format *f, char c) {
    if (c == '>' && f->matched == 0) {
        f->quotes++;
        return;
    }
    if (c == from_[f->matched]) {
        if (++f->matched == FROM_LENGTH) release(f, true);
        return;
    }
    release(f, false);
    emit_char(f, c);
}

/* How many octets of s can go out as they are: up to the next CR or LF. */
static size_t plain_run(struct str s) {
    const char *lf = memchr(s.p, '\n', s.n);
    size_t n = lf ? (size_t)(lf - s.p) : s.n;
    const char *cr = memchr(s.p, '\r', n);
    return cr ? (size_t)(cr - s.p) : n;
}

void format_data(struct format *f, struct str data) {
    for (size_t i = 0; i < data.n && !f->failed;) {
        char c = data.p[i];
        if (c == '\n') {
            f->cr = false;
            new_line(f);
            i++;
            continue;
        }
        if (f->cr) {
            if (f->at_start) release(f, false);
            emit_char(f, '\r');
            f->cr = false;
        }
        if (c == '\r') {
            f->cr = true;
            i++;
        } else if (f->at_start) {
            match(f, c);
            i++;
        } else {
            size_t n = plain_run(str_sub(data, i, data.n));
            emit(f, data.p + i, n);
            i += n;
        }
    }
}

void format_start(struct format *f, bool mbox, bool (*put)(void *ctx, const char *p, size_t n), void *ctx) {
    f->mbox = mbox;
    f->put = put;
    f->ctx = ctx;
    f->failed = f->cr = false;
    f->at_start = mbox;
    f->quotes = f->n = 0;
    f->matched = 0;
}

static void put_address(struct format *f, const struct addr *a) {
    char mem[ADDR_TEXT_MAX + 1];
    struct buf b = BUF(mem);
    addr_format(&b, a);
    emit(f, b.p, b.n);
}

/* The asctime of RFC 4155, in UTC: "Sun Nov 22 00:21:07 2026". */
static void put_date(struct format *f, int64_t ms) {
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char mem[64];
    struct buf b = BUF(mem);
    struct tm tm;
    time_t t = (time_t)(ms / 1000);
    if (!gmtime_r(&t, &tm)) gmtime_r(&(time_t){0}, &tm);
    buf_addf(&b, "%.3s %.3s %2d %02d:%02d:%02d %d", days + 3 * tm.tm_wday, months + 3 * tm.tm_mon, tm.tm_mday,
             tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_year + 1900);
    emit(f, b.p, b.n);
}

static void put_from_line(struct format *f, const struct format_message *m) {
    emit(f, from_, FROM_LENGTH);
    if (addr_is_null(&m->sender)) emit(f, "MAILER-DAEMON", 13);
    else put_address(f, &m->sender);
    emit_char(f, ' ');
    put_date(f, m->arrival);
    emit_char(f, '\n');
}

/* lookup marks an address that shall not be looked up in the aliases again with a backslash; that is not for
 * people. */
static struct addr unmarked(struct addr a) {
    if (a.local.n > 1 && a.local.p[0] == '\\') a.local = str_sub(a.local, 1, a.local.n);
    return a;
}

void format_head(struct format *f, const struct format_message *m) {
    static const char path[] = "Return-Path: <", to[] = "Delivered-To: ";
    if (f->mbox) put_from_line(f, m);
    emit(f, path, sizeof path - 1);
    put_address(f, &m->sender);
    emit(f, ">\n", 2);
    for (size_t i = 0; i < m->rcpts; i++) {
        struct addr a = unmarked(m->rcpt[i]);
        emit(f, to, sizeof to - 1);
        put_address(f, &a);
        emit_char(f, '\n');
    }
    format_data(f, m->prefix);
}

bool format_end(struct format *f) {
    if (f->cr) {
        if (f->at_start) release(f, false);
        emit_char(f, '\r');
        f->cr = false;
    }
    bool blank = f->at_start && !f->quotes && !f->matched;
    if (f->at_start) release(f, false);
    if (f->mbox && !blank) emit_char(f, '\n');
    if (f->mbox) emit_char(f, '\n');
    flush(f);
    return !f->failed;
}
