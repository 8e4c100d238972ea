#include "smtpd/line.h"

#include <string.h>

/* Where the end of the line begins, and how long it is: 2 for CR LF, 1 for the LF of an old machine. */
static const char *find_end(const struct line_reader *r, struct str s, size_t *size) {
    *size = 2;
    if (!r->mended) return s.n < 2 ? NULL : memmem(s.p, s.n, "\r\n", 2);
    ptrdiff_t lf = str_chr(s, '\n');
    if (lf < 0) return NULL;
    *size = lf > 0 && s.p[lf - 1] == '\r' ? 2 : 1;
    return s.p + lf + 1 - *size;
}

static bool has_stray(struct str s) {
    return str_chr(s, '\r') >= 0 || str_chr(s, '\n') >= 0 || str_chr(s, '\0') >= 0;
}

/* In a line that is too long: drop octets until its end, which may be cut in the middle. */
static enum line_what skip(struct line_reader *r, struct str *in) {
    size_t used, size;
    if (in->n == 0) return LINE_MORE;
    if (r->cr && in->p[0] == '\n') {
        used = 1;
        r->lf = false;
    } else {
        const char *end = find_end(r, *in, &size);
        if (!end) {
            r->cr = in->p[in->n - 1] == '\r';
            *in = str_sub(*in, in->n, in->n);
            return LINE_MORE;
        }
        used = (size_t)(end - in->p) + size;
        r->lf = size == 1;
    }
    *in = str_sub(*in, used, in->n);
    r->skipping = r->cr = false;
    return LINE_LONG;
}

enum line_what line_command(struct line_reader *r, struct str *in, struct str *line) {
    size_t max = r->max ? r->max : LINE_COMMAND_MAX;
    size_t size;
    if (r->skipping) return skip(r, in);
    const char *end = find_end(r, *in, &size);
    if (!end) {
        if (in->n < max) return LINE_MORE;
        r->skipping = true;
        return skip(r, in);
    }
    size_t n = (size_t)(end - in->p);
    *line = str_sub(*in, 0, n);
    *in = str_sub(*in, n + size, in->n);
    r->lf = size == 1;
    if (n + size > max) return LINE_LONG;
    return has_stray(*line) ? LINE_STRAY : LINE_READY;
}

bool line_peek(const struct line_reader *r, struct str in, struct str *line) {
    struct line_reader copy = *r;
    return !r->skipping && line_command(&copy, &in, line) == LINE_READY;
}

/* Inside a line: goes to the next CR, noting what must not be between. */
static size_t to_cr(struct line_data *d, struct str in, size_t i) {
    const char *cr = memchr(in.p + i, '\r', in.n - i);
    size_t end = cr ? (size_t)(cr - in.p) : in.n;
    struct str between = str_sub(in, i, end);
    if (str_chr(between, '\n') >= 0 || str_chr(between, '\0') >= 0) d->stray = true;
    return end;
}

struct runs {
    struct str in;
    size_t from; /* content from here on was not handed on */
    void (*sink)(void *ctx, struct str run);
    void *ctx;
};

static void hand_on(struct runs *r, size_t to, size_t next) {
    if (to > r->from) r->sink(r->ctx, str_sub(r->in, r->from, to));
    r->from = next;
}

/* The octet after a CR within a line. */
static size_t after_cr(struct line_data *d, struct runs *r, size_t i) {
    if (r->in.p[i] != '\n') {
        d->stray = true;
        d->held_cr = false;
        d->place = LINE_INSIDE;
        return i;
    }
    if (d->held_cr) {
        r->sink(r->ctx, STR("\r\n"));
        d->held_cr = false;
        r->from = i + 1;
    }
    d->place = LINE_AT_START;
    return i + 1;
}

static size_t step(struct line_data *d, struct runs *r, size_t i) {
    char c = r->in.p[i];
    switch (d->place) {
    case LINE_AT_START:
        if (c != '.') {
            d->place = LINE_INSIDE;
            return i;
        }
        d->place = LINE_AT_DOT;
        hand_on(r, i, i + 1);
        return i + 1;
    case LINE_AT_DOT:
        /* A dot with something behind it was stuffed: it is gone already. */
        d->place = c == '\r' ? LINE_AT_DOT_CR : LINE_INSIDE;
        r->from = c == '\r' ? i + 1 : i;
        return r->from;
    case LINE_AT_DOT_CR:
        r->from = c == '\n' ? i + 1 : i;
        d->place = c == '\n' ? LINE_AT_END : LINE_INSIDE;
        if (c != '\n') d->stray = true;
        return r->from;
    case LINE_INSIDE:
        i = to_cr(d, r->in, i);
        if (i == r->in.n) return i;
        d->place = LINE_AT_CR;
        return i + 1;
    case LINE_AT_CR:
        return after_cr(d, r, i);
    case LINE_AT_END:
        break;
    }
    return i;
}

size_t line_data(struct line_data *d, struct str in, void (*sink)(void *ctx, struct str run), void *ctx) {
    struct runs r = {in, 0, sink, ctx};
    size_t i = 0;
    while (i < in.n && d->place != LINE_AT_END) i = step(d, &r, i);
    if (d->place == LINE_AT_CR && i > 0 && !d->held_cr) {
        hand_on(&r, i - 1, i);
        d->held_cr = true;
    } else if (d->place == LINE_AT_START || d->place == LINE_INSIDE) {
        hand_on(&r, i, i);
    }
    return i;
}

void line_chunk(struct line_data *d, struct str in) {
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if ((c == '\n') != (d->last == '\r') || c == '\0') d->stray = true;
        d->last = c;
    }
}

bool line_chunks_end(struct line_data *d) {
    if (d->last == '\r') d->stray = true;
    return d->last == '\n' || d->last == '\0';
}
