/* world.c: time, chance, events, blobs, the story. */
#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { FNV_PRIME_LOW = 0x1b3 };
#define EPOCH_MS INT64_C(1800000000000) /* the wall clock begins in January 2027 */

/* ---- Chance: xoshiro256** (Blackman, Vigna), seeded by splitmix64 -------------------------------------- */

uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t rotl(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

static uint64_t next64(struct world *w) {
    uint64_t *s = w->rng, r = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return r;
}

uint32_t chance(struct world *w, uint32_t n) {
    return n ? (uint32_t)((next64(w) >> 32) * n >> 32) : 0;
}

bool once_in(struct world *w, uint32_t n) {
    return n && chance(w, n) == 0;
}

int64_t between(struct world *w, int64_t lo, int64_t hi) {
    return hi <= lo ? lo : lo + (int64_t)(next64(w) % (uint64_t)(hi - lo + 1));
}

/* ---- Events: a binary heap by (time, number) ----------------------------------------------------------- */

static bool before(const struct event *a, const struct event *b) {
    return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

void *event_ctx(size_t n) {
    AS(MEM_WORLD);
    return xmalloc(n);
}

void world_at(struct world *w, int64_t at, event_fn *fn, void *ctx, uint64_t arg) {
    struct event e = {at < w->now ? w->now : at, w->seq++, fn, ctx, arg, mem_owner()};
    AS(MEM_WORLD);
    w->heap = xgrow(w->heap, &w->heap_cap, w->heap_n + 1, sizeof *w->heap);
    size_t i = w->heap_n++;
    for (; i > 0 && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static bool pop(struct world *w, struct event *out) {
    if (!w->heap_n) return false;
    *out = w->heap[0];
    struct event e = w->heap[--w->heap_n];
    size_t i = 0;
    for (size_t c = 1; c < w->heap_n; i = c, c = 2 * i + 1) {
        if (c + 1 < w->heap_n && before(&w->heap[c + 1], &w->heap[c])) c++;
        if (!before(&w->heap[c], &e)) break;
        w->heap[i] = w->heap[c];
    }
    if (w->heap_n) w->heap[i] = e;
    return true;
}

void world_mix(struct world *w, uint64_t a, uint64_t b) {
    w->hash = (w->hash ^ mix(a ^ rotl(b, 32))) * (UINT64_C(0x10000000000) + FNV_PRIME_LOW);
}

void world_mix_bytes(struct world *w, uint64_t a, struct str bytes) {
    uint64_t h = a, word;
    for (size_t i = 0; i < bytes.n; i += sizeof word) {
        word = 0;
        memcpy(&word, bytes.p + i, bytes.n - i < sizeof word ? bytes.n - i : sizeof word);
        h = rotl((h ^ word) * UINT64_C(0x9e3779b97f4a7c15), 29);
    }
    world_mix(w, h, bytes.n);
}

bool world_step(struct world *w) {
    struct event e;
    if (!pop(w, &e)) return false;
    w->now = e.at;
    w->count.events++;
    world_mix(w, (uint64_t)e.at, e.seq);
    mem_enter(e.owner);
    e.fn(w, e.ctx, e.arg);
    mem_enter(MEM_WORLD);
    links_flush(w);
    return true;
}

int64_t world_wall(const struct world *w) {
    return EPOCH_MS + w->now / NS_MS + w->wall_offset;
}

/* ---- Words --------------------------------------------------------------------------------------------- */

void world_tell(struct world *w, const char *fmt, ...) {
    va_list ap;
    printf("# %12.6f ", (double)w->now / 1e9);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

void world_fail(struct world *w, const char *fmt, ...) {
    va_list ap;
    if (w->failed || w->ending) return;
    w->failed = true;
    va_start(ap, fmt);
    vsnprintf(w->why, sizeof w->why, fmt, ap);
    va_end(ap);
    STORY(w, "VIOLATION: %s", w->why);
}

/* ---- Blobs --------------------------------------------------------------------------------------------- */

int blob_new(struct world *w, size_t n, char **bytes) {
    AS(MEM_WORLD);
    int h;
    if (w->free_blob_n) {
        h = w->free_blobs[--w->free_blob_n];
    } else {
        if (!w->blob_n) w->blob_n = 1; /* no handle 0 */
        w->blobs = xgrow(w->blobs, &w->blob_cap, w->blob_n + 1, sizeof *w->blobs);
        h = (int)w->blob_n++;
    }
    struct blob *b = malloc(sizeof *b + n);
    if (!b) abort();
    b->refs = 1;
    b->n = n;
    w->blobs[h] = b;
    w->blobs_live++;
    *bytes = b->bytes;
    return h;
}

void blob_add(struct world *w, int handle, struct str more) {
    AS(MEM_WORLD);
    struct blob *b = realloc(w->blobs[handle], sizeof *b + w->blobs[handle]->n + more.n);
    if (!b || b->refs != 1) abort();
    if (more.n) memcpy(b->bytes + b->n, more.p, more.n);
    b->n += more.n;
    w->blobs[handle] = b;
}

int blob_dup(struct world *w, int handle) {
    if (handle < 1) return handle;
    w->blobs[handle]->refs++;
    return handle;
}

void blob_put(struct world *w, int handle) {
    AS(MEM_WORLD);
    if (handle < 1 || --w->blobs[handle]->refs) return;
    free(w->blobs[handle]);
    w->blobs[handle] = NULL;
    w->blobs_live--;
    w->free_blobs = xgrow(w->free_blobs, &w->free_blob_cap, w->free_blob_n + 1, sizeof *w->free_blobs);
    w->free_blobs[w->free_blob_n++] = handle;
}

struct str blob_str(const struct world *w, int handle) {
    if (handle < 1) return STR_NONE;
    return (struct str){w->blobs[handle]->bytes, w->blobs[handle]->n};
}

/* ---- Birth and end ------------------------------------------------------------------------------------- */

static struct world *the_world;

struct world *shell_world(void) {
    return the_world;
}

struct world *world_new(const struct options *o) {
    struct world *w = the_world = xmalloc(sizeof *w);
    uint64_t x = o->seed;
    w->o = *o;
    w->profile = profile_of(o->seed);
    w->journal = o->journal;
    STORY(w, "profile of this seed: %s", w->profile->name);
    for (int i = 0; i < 4; i++) w->rng[i] = x = mix(x + (uint64_t)i);
    w->hash = UINT64_C(0xcbf29ce484222325);
    return w;
}

static void blobs_free(struct world *w) {
    for (size_t i = 1; i < w->blob_n; i++) free(w->blobs[i]);
    free(w->blobs);
    free(w->free_blobs);
}

void world_free(struct world *w) {
    struct event e;
    w->ending = true;
    for (unsigned i = 0; i < PROGRAMS; i++)
        if (w->p[i].alive) process_kill(w, i, "the end");
    links_flush(w);
    while (pop(w, &e)) e.fn(w, e.ctx, e.arg);
    links_free(w);
    hosts_free(w);
    clients_free(w);
    net_free(w);
    faults_free(w);
    oracle_free(w);
    mailboxes_free(w);
    blobs_free(w);
    free(w->heap);
    free(w->scratch);
    free(w);
}
