#include "deliver-smtp/body.h"

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

void client_text_check(struct client_text *t, struct str run) {
    for (size_t i = 0; i < run.n; i++) step(t, run.p[i]);
}

bool client_text_ends(struct client_text *t) {
    if (t->last == '\r') t->stray = true;
    return t->last == '\n' || t->last == '\0';
}

bool client_text_stuff(struct client_text *t, struct str run, struct buf *out) {
    bool starts = t->last == '\n' || t->last == '\0';
    client_text_check(t, run);
    while (run.n) {
        if (starts && run.p[0] == '.') buf_addc(out, '.');
        ptrdiff_t lf = str_chr(run, '\n');
        size_t n = lf < 0 ? run.n : (size_t)lf + 1;
        buf_add(out, str_sub(run, 0, n));
        run = str_sub(run, n, run.n);
        starts = true;
    }
    return !t->stray && !out->failed;
}
