/* seen.h: what a mailbox holds already, as a table of hashes. Pure.
 *
 * A message that is not fresh may have been delivered before. To look for each through a whole mailbox would
 * make a backlog quadratic; so the mailbox is read once, and read again only when somebody has changed it.
 * A hash that is found proves nothing: who asks looks at the mailbox itself then. */
#ifndef POSTERN_DELIVER_LOCAL_SEEN_H
#define POSTERN_DELIVER_LOCAL_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seen {
    struct seen_row {
        uint64_t hash; /* never 0: that is a free row */
        uint64_t at;
    } * v;
    size_t n, cap;
};

void seen_clear(struct seen *s);
void seen_add(struct seen *s, uint64_t hash, uint64_t at);
/* The next place of this hash after *turn (0 before the first). */
bool seen_find(const struct seen *s, uint64_t hash, size_t *turn, uint64_t *at);

#endif
