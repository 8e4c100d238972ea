/* pool.h: password checks in threads. A hash is made to be slow: half a dozen checks at once must not keep
 * the program from answering, and should use all the processors. Only the check runs there, on copies; all
 * else in the one thread of the loop. */
#ifndef POSTERN_AUTH_POOL_H
#define POSTERN_AUTH_POOL_H

#include "auth/verifier.h"
#include "common/loop.h"

enum { POOL_THREADS_MAX = 4, POOL_WAITING_MAX = 512 };

struct pool;

/* In the cage: the threads inherit it. They start with the first check: where nobody logs in they would cost 0.3 MiB.
 * done is called from the loop. NULL: no descriptor is left. */
struct pool *pool_new(struct loop *l, void (*done)(void *ctx, uint32_t id, bool good), void *ctx);
/* False: too many wait already, or the kernel refuses threads. Copies v and password; its copies are wiped after the check. */
bool pool_check(struct pool *p, uint32_t id, const struct verifier *v, struct str password);

#endif
