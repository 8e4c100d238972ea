/* table.h: a chained hash whose nodes lie inside the things they find, as their first member. Grows by
 * doubling. */
#ifndef POSTERN_DISPATCH_TABLE_H
#define POSTERN_DISPATCH_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

struct table {
    struct table_node **v;
    size_t n, cap; /* cap is 0 or a power of two */
};

void table_add(struct table *t, struct table_node *node, uint64_t hash);
void table_remove(struct table *t, struct table_node *node); /* it must be in the table */
/* Candidates for a hash, one after the other; the caller compares the key. NULL at the end. */
struct table_node *table_first(const struct table *t, uint64_t hash);
struct table_node *table_next(const struct table_node *node);
/* All nodes: start with NULL; the one just given may be removed before the next call only if it was fetched
 * ahead. */
struct table_node *table_walk(const struct table *t, const struct table_node *after);
void table_free(struct table *t); /* not the nodes */

#endif
