/* mem.c: whose memory it is. The linker sends every allocation of the engines here (--wrap, local.mk); each
 * counts for the program that is running in the simulated world, or for the world itself. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

enum { MARK = 0x53494d21 };

struct head {
    uint64_t n;
    uint32_t owner, mark;
};

struct memory memory;
static unsigned owner = MEM_WORLD;

void *__real_malloc(size_t n);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

unsigned mem_enter(unsigned who) {
    unsigned was = owner;
    owner = who;
    return was;
}

void mem_leave(const unsigned *was) {
    owner = *was;
}

unsigned mem_owner(void) {
    return owner;
}

static void count(const struct head *h) {
    uint64_t *now = &memory.now[h->owner], *peak = &memory.peak[h->owner];
    *now += h->n;
    if (*now > *peak) *peak = *now;
}

static struct head *head_of(void *p) {
    struct head *h = (struct head *)p - 1;
    if (h->mark != MARK) abort(); /* none of ours */
    return h;
}

static void *given(struct head *h, size_t n, uint32_t who) {
    if (!h) return NULL;
    *h = (struct head){n, who, MARK};
    count(h);
    return h + 1;
}

void *__wrap_malloc(size_t n) {
    return n > SIZE_MAX / 2 ? NULL : given(__real_malloc(sizeof(struct head) + n), n, owner);
}

void *__wrap_calloc(size_t n, size_t each) {
    if (each && n > SIZE_MAX / 2 / each) return NULL;
    void *p = __wrap_malloc(n * each);
    if (p) memset(p, 0, n * each);
    return p;
}

void *__wrap_realloc(void *p, size_t n) {
    if (!p) return __wrap_malloc(n);
    struct head *h = head_of(p), was = *h;
    if (n > SIZE_MAX / 2) return NULL;
    h = __real_realloc(h, sizeof *h + n);
    if (!h) return NULL;
    memory.now[was.owner] -= was.n;
    return given(h, n, was.owner);
}

void __wrap_free(void *p) {
    if (!p) return;
    struct head *h = head_of(p);
    memory.now[h->owner] -= h->n;
    h->mark = 0;
    __real_free(h);
}
