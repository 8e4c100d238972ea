#include "submit/source.h"

#include <string.h>

enum { PARTS = sizeof((struct source *)0)->part / sizeof(struct str) };

uint64_t source_size(const struct source *s) {
    uint64_t n = 0;
    for (size_t i = 0; i < PARTS; i++) n += s->part[i].n;
    return n;
}

void source_rewind(struct source *s) {
    s->at = s->done = 0;
}

ptrdiff_t source_read(void *ctx, char *mem, size_t n) {
    struct source *s = ctx;
    while (s->at < PARTS && s->done == s->part[s->at].n) s->at++, s->done = 0;
    if (s->at == PARTS) return 0;
    struct str next = str_sub(s->part[s->at], s->done, s->done + n);
    memcpy(mem, next.p, next.n);
    s->done += next.n;
    return (ptrdiff_t)next.n;
}
