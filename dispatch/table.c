#include "dispatch/table.h"

#include "common/arena.h"

#include <stdlib.h>

enum { TABLE_FIRST = 64 };

static struct table_node **bucket(const struct table *t, uint64_t hash) {
    return &t->v[hash & (t->cap - 1)];
}

static void grow(struct table *t) {
    struct table old = *t;
    t->cap = old.cap ? old.cap * 2 : TABLE_FIRST;
    t->v = xmalloc(t->cap * sizeof *t->v);
    for (size_t i = 0; i < old.cap; i++) {
        for (struct table_node *n = old.v[i], *next; n; n = next) {
            next = n->next;
            n->next = *bucket(t, n->hash);
            *bucket(t, n->hash) = n;
        }
    }
    free(old.v);
}

void table_add(struct table *t, struct table_node *node, uint64_t hash) {
    if (t->n >= t->cap) grow(t);
    node->hash = hash;
    node->next = *bucket(t, hash);
    *bucket(t, hash) = node;
    t->n++;
}

void table_remove(struct table *t, struct table_node *node) {
    struct table_node **at = bucket(t, node->hash);
    while (*at && *at != node) at = &(*at)->next;
    if (!*at) return;
    *at = node->next;
    t->n--;
}

struct table_node *table_next(const struct table_node *node) {
    struct table_node *n = node->next;
    while (n && n->hash != node->hash) n = n->next;
    return n;
}

struct table_node *table_first(const struct table *t, uint64_t hash) {
    if (!t->cap) return NULL;
    struct table_node *n = *bucket(t, hash);
    while (n && n->hash != hash) n = n->next;
    return n;
}

struct table_node *table_walk(const struct table *t, const struct table_node *after) {
    if (after && after->next) return after->next;
    size_t i = after ? (after->hash & (t->cap - 1)) + 1 : 0;
    for (; i < t->cap; i++)
        if (t->v[i]) return t->v[i];
    return NULL;
}

void table_free(struct table *t) {
    free(t->v);
    *t = (struct table){0};
}
