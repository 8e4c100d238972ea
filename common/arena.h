/* arena.h: memory that follows the life of the thing it belongs to.
 *
 * A session owns an arena, a transaction owns an arena with a hard limit: everything is given back at once.
 * Good: no leaks, no frees on error paths, a bound on what a stranger can make us hold. Price: nothing can be
 * given back singly, so do not build long-lived growing things in one. */
#ifndef POSTERN_COMMON_ARENA_H
#define POSTERN_COMMON_ARENA_H

#include <stddef.h>

struct arena;

/* limit: the most bytes that may be given out between resets. Never NULL: out of memory for the arena itself ends
 * the program, the supervisor starts it again. */
struct arena *arena_new(size_t limit);
/* Zeroed, aligned for any type; NULL when the limit would be passed (a condition, not a bug: answer 452). */
void *arena_alloc(struct arena *a, size_t n);
char *arena_alloc_bytes(struct arena *a, size_t n); /* as above, unaligned and not zeroed: for text */
void arena_reset(struct arena *a);                  /* forgets everything, keeps the first block */
void arena_free(struct arena *a);                   /* NULL is allowed */
size_t arena_used(const struct arena *a);           /* bytes given out since the last reset */

#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))

/* malloc/realloc that end the program instead of returning NULL, for what is not driven by strangers. */
void *xmalloc(size_t n);  /* zeroed */
void *xrealloc(void *p, size_t n);
void *xgrow(void *p, size_t *cap, size_t need, size_t each); /* doubles *cap until it holds need elements */

#endif
