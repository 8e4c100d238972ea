#include "deliver-smtp/body.h"

#include <string.h>

enum { BLOCK = 64 };

/* One octet. The state is only the octet before: LF must follow CR, and nothing else may. */
static void in_head(struct client_text *t, char c) {
    if ((unsigned char)c > 0x7f) t->head_eight = true;
    if (c == '\n' && t->blank) t->in_body = true;
    t->blank = c == '\r' && (t->last == '\n' || t->last == '\0');
}

static inline void step(struct client_text *t, char c) {
    bool after_cr = t->last == '\r';
    if ((c == '\n') != after_cr || c == '\0') t->stray = true;
    if ((unsigned char)c > 0x7f) t->eight_bit = true;
    if (!t->in_body) in_head(t, c);
    t->last = c;
}

/* The same for the n octets at p, which follow p[-1], behind the header: without a branch and in blocks of constant
 * size, so that compilers make vector instructions of it. Most of what is sent goes through here. */
static void bulk(struct client_text *t, const unsigned char *p, size_t n) {
    const unsigned char *before = p - 1; /* p[j - 1] with an unsigned j of 0 is not defined */
    unsigned char stray = 0, high = 0;
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        for (size_t j = i; j < i + BLOCK; j++) {
            stray |= (unsigned char)(((p[j] == '\n') ^ (before[j] == '\r')) | (p[j] == 0));
            high |= p[j];
        }
    }
    for (; i < n; i++) {
        stray |= (unsigned char)(((p[i] == '\n') ^ (before[i] == '\r')) | (p[i] == 0));
        high |= p[i];
    }
    t->stray |= stray != 0;
    t->eight_bit |= high > 0x7f;
    if (n) t->last = (char)p[n - 1];
}

void client_text_check(struct client_text *t, struct str run) {
    size_t i = 0;
    while (i < run.n && (i == 0 || !t->in_body)) step(t, run.p[i++]);
    if (i < run.n) bulk(t, (const unsigned char *)run.p + i, run.n - i);
}

bool client_text_ends(struct client_text *t) {
    if (t->last == '\r') t->stray = true;
    return t->last == '\n' || t->last == '\0';
}

/* The length of what can be copied as it is: up to the first dot at the start of a line. */
static size_t until_dot(struct str s, bool starts) {
    size_t at = 0;
    if (starts && s.n && s.p[0] == '.') return 0;
    while (at < s.n) {
        const char *lf = memchr(s.p + at, '\n', s.n - at);
        if (!lf) return s.n;
        at = (size_t)(lf - s.p) + 1;
        if (at < s.n && s.p[at] == '.') return at;
    }
    return s.n;
}

bool client_text_stuff(struct client_text *t, struct str run, struct buf *out) {
    bool starts = t->last == '\n' || t->last == '\0';
    client_text_check(t, run);
    while (run.n) {
        size_t n = until_dot(run, starts);
        buf_add(out, str_sub(run, 0, n));
        run = str_sub(run, n, run.n);
        if (!run.n) break;
        buf_adds(out, ".."); /* RFC 5321 4.5.2 */
        run = str_sub(run, 1, run.n);
        starts = false;
    }
    return !t->stray && !out->failed;
}
