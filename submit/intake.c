#include "submit/intake.h"

#include "common/arena.h"

#include <stdlib.h>
#include <string.h>

void text_add(struct text *t, struct str s) {
    if (t->failed || s.n > t->max - t->n) {
        t->failed = true;
        return;
    }
    if (s.n == 0) return;
    if (t->n + s.n > t->cap) t->p = xgrow(t->p, &t->cap, t->n + s.n, 1);
    memcpy(t->p + t->n, s.p, s.n);
    t->n += s.n;
}

void text_free(struct text *t) {
    free(t->p);
    *t = (struct text){.max = t->max};
}

struct str text_str(const struct text *t) {
    return (struct str){t->p, t->n};
}

void intake_init(struct intake *in, bool dots, size_t max) {
    *in = (struct intake){.text = {.max = max}, .dots = dots, .in_header = true, .true_start = true};
}

void intake_free(struct intake *in) {
    text_free(&in->text);
}

static bool lone_dot(const struct intake *in) {
    return in->dots && in->true_start && in->text.n - in->line == 1 && in->text.p[in->line] == '.';
}

static void end_line(struct intake *in, bool by_lf) {
    if (by_lf && lone_dot(in)) {
        in->text.n = in->line;
        in->ended = true;
        return;
    }
    if (in->text.n == in->line) in->in_header = false;
    text_add(&in->text, STR("\r\n"));
    in->line = in->text.n;
    in->true_start = by_lf;
}

/* CRs that no LF followed. */
static void settle_crs(struct intake *in) {
    for (; in->crs > 0; in->crs--) {
        if (in->in_header) text_add(&in->text, STR(" "));
        else end_line(in, false);
    }
}

static void take_octet(struct intake *in, char c) {
    if (c == '\r') {
        in->crs++;
    } else if (c == '\n') {
        in->crs = 0;
        end_line(in, true);
    } else if (c != '\0') {
        settle_crs(in);
        text_add(&in->text, (struct str){&c, 1});
    }
}

static bool is_plain(char c) {
    return c != '\r' && c != '\n' && c != '\0';
}

void intake_add(struct intake *in, struct str bytes) {
    size_t at = 0;
    while (at < bytes.n && !in->ended && !in->text.failed) {
        size_t run = at;
        while (run < bytes.n && is_plain(bytes.p[run])) run++;
        if (run > at) {
            settle_crs(in);
            text_add(&in->text, str_sub(bytes, at, run));
            at = run;
        } else {
            take_octet(in, bytes.p[at++]);
        }
    }
}

void intake_end(struct intake *in) {
    if (in->ended || in->text.failed) return;
    bool open_line = in->text.n > in->line || in->crs > 0;
    in->crs = 0;
    if (open_line) end_line(in, true);
    in->ended = true;
}
