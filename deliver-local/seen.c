#include "deliver-local/seen.h"

#include "common/arena.h"

#include <stdlib.h>

static uint64_t proper(uint64_t hash) {
    return hash ? hash : 1;
}

static void put(struct seen *s, uint64_t hash, uint64_t at) {
    size_t i = hash & (s->cap - 1);
    while (s->v[i].hash) i = (i + 1) & (s->cap - 1);
    s->v[i] = (struct seen_row){hash, at};
}

static void grow(struct seen *s) {
    struct seen old = *s;
    s->cap = old.cap ? 2 * old.cap : 64;
    s->v = xmalloc(s->cap * sizeof *s->v);
    for (size_t i = 0; i < old.cap; i++)
        if (old.v[i].hash) put(s, old.v[i].hash, old.v[i].at);
    free(old.v);
}

void seen_clear(struct seen *s) {
    free(s->v);
    *s = (struct seen){0};
}

void seen_add(struct seen *s, uint64_t hash, uint64_t at) {
    if (2 * (s->n + 1) > s->cap) grow(s);
    put(s, proper(hash), at);
    s->n++;
}

bool seen_find(const struct seen *s, uint64_t hash, size_t *turn, uint64_t *at) {
    hash = proper(hash);
    for (; s->cap && *turn < s->cap; ++*turn) {
        const struct seen_row *row = &s->v[(hash + *turn) & (s->cap - 1)];
        if (!row->hash) return false;
        if (row->hash != hash) continue;
        *at = row->at;
        ++*turn;
        return true;
    }
    return false;
}
