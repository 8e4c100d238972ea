#include "common/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <string.h>

enum { BLOCK_FIRST = 1024, BLOCK_MAX = 65536 };

struct block {
    struct block *next;
    size_t size, used;
    alignas(max_align_t) char mem[];
};

struct arena {
    struct block *head;  /* newest, the one that gives */
    struct block *first; /* oldest, kept over resets */
    size_t limit, given;
};

static struct block *block_new(size_t size) {
    struct block *b = malloc(sizeof *b + size);
    if (!b) return NULL;
    b->next = NULL;
    b->size = size;
    b->used = 0;
    return b;
}

struct arena *arena_new(size_t limit) {
    struct arena *a = xmalloc(sizeof *a);
    a->limit = limit;
    return a;
}

static char *take(struct arena *a, size_t n, size_t align) {
    if (n > a->limit - a->given) return NULL;
    struct block *b = a->head;
    size_t at = b ? (b->used + align - 1) & ~(align - 1) : 0;
    if (!b || at > b->size || n > b->size - at) {
        size_t size = b ? b->size * 2 : BLOCK_FIRST;
        if (size > BLOCK_MAX) size = BLOCK_MAX;
        if (size < n) size = n;
        struct block *fresh = block_new(size);
        if (!fresh) return NULL;
        fresh->next = b;
        a->head = fresh;
        if (!a->first) a->first = fresh;
        b = fresh;
        at = 0;
    }
    b->used = at + n;
    a->given += n;
    return b->mem + at;
}

void *arena_alloc(struct arena *a, size_t n) {
    char *p = take(a, n, alignof(max_align_t));
    if (p) memset(p, 0, n);
    return p;
}

char *arena_alloc_bytes(struct arena *a, size_t n) {
    return take(a, n ? n : 1, 1);
}

void arena_reset(struct arena *a) {
    while (a->head && a->head != a->first) {
        struct block *next = a->head->next;
        free(a->head);
        a->head = next;
    }
    /* A first block that one big request made huge is not worth keeping. */
    if (a->first && a->first->size > BLOCK_MAX) {
        free(a->first);
        a->first = a->head = NULL;
    }
    if (a->first) a->first->used = 0;
    a->given = 0;
}

void arena_free(struct arena *a) {
    if (!a) return;
    for (struct block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

size_t arena_used(const struct arena *a) {
    return a->given;
}

static void out_of_memory(size_t n) {
    fprintf(stderr, "postern: out of memory (%zu bytes wanted)\n", n);
    _exit(71); /* EX_OSERR: the supervisor starts us again */
}

void *xmalloc(size_t n) {
    void *p = calloc(1, n ? n : 1);
    if (!p) out_of_memory(n);
    return p;
}

void *xrealloc(void *p, size_t n) {
    void *q = realloc(p, n ? n : 1);
    if (!q) out_of_memory(n);
    return q;
}

void *xgrow(void *p, size_t *cap, size_t need, size_t each) {
    if (need <= *cap) return p;
    size_t c = *cap ? *cap : 8;
    while (c < need) {
        if (c > SIZE_MAX / 2) out_of_memory(c);
        c *= 2;
    }
    if (each && c > SIZE_MAX / each) out_of_memory(c);
    *cap = c;
    return xrealloc(p, c * each);
}
