#include "common/tally.h"

#include "common/arena.h"

#include <stdlib.h>

/* 8 entries of a set lie together; a new one takes the place of one that has passed, else of the one with the
 * fewest tries: those who fail most are remembered longest. */
enum { SETS = 2048, WAYS = 8 };

struct entry {
    uint64_t key; /* 0: free */
    int64_t until;
    uint32_t count;
};

struct tally {
    uint64_t seed;
    struct entry v[SETS][WAYS];
    struct entry remembered[SETS][WAYS]; /* apart: no flood of tries takes their places */
};

struct tally *tally_new(uint64_t seed) {
    struct tally *l = xmalloc(sizeof *l);
    l->seed = seed;
    return l;
}

void tally_free(struct tally *l) {
    free(l);
}

uint64_t tally_key(const struct tally *l, enum tally_kind kind, const struct ip *ip, struct str login) {
    char mem[16] = {(char)kind};
    size_t n = 1;
    if (kind != TALLY_LOGIN) {
        mem[n++] = (char)ip->family;
        for (size_t i = 0; i < (ip->family == 4 ? 3u : ip->family == 6 ? 8u : 0u); i++)
            mem[n++] = (char)ip->b[i];
    }
    uint64_t key = str_hash((struct str){mem, n}, l->seed);
    if (kind != TALLY_NETWORK) key = str_hash(login, key ^ l->seed);
    return key ? key : 1;
}

static struct entry *find(struct entry set[WAYS], uint64_t key, int64_t now) {
    for (size_t i = 0; i < WAYS; i++)
        if (set[i].key == key && set[i].until > now) return &set[i];
    return NULL;
}

static struct entry *make(struct entry set[WAYS], uint64_t key, int64_t now) {
    struct entry *worst = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].until <= now) {
            worst = &set[i];
            break;
        }
        if (set[i].count < worst->count || (set[i].count == worst->count && set[i].until < worst->until))
            worst = &set[i];
    }
    *worst = (struct entry){.key = key};
    return worst;
}

bool tally_take(struct tally *l, uint64_t key, int64_t now_ms, uint64_t max, int64_t window_ms) {
    struct entry *e = find(l->v[key % SETS], key, now_ms);
    if (!max) return true;
    if (e && e->count >= max) return false;
    if (!e) {
        e = make(l->v[key % SETS], key, now_ms);
        e->until = now_ms + window_ms;
    }
    e->count++;
    return true;
}

void tally_give_back(struct tally *l, uint64_t key, int64_t now_ms) {
    struct entry *e = find(l->v[key % SETS], key, now_ms);
    if (e && e->count) e->count--;
}

void tally_remember(struct tally *l, uint64_t key, int64_t now_ms, int64_t for_ms) {
    struct entry *set = l->remembered[key % SETS], *e = find(set, key, now_ms);
    if (!e) e = make(set, key, now_ms);
    e->until = now_ms + for_ms;
    e->count = 1;
}

bool tally_knows(const struct tally *l, uint64_t key, int64_t now_ms) {
    return find(((struct tally *)(uintptr_t)l)->remembered[key % SETS], key, now_ms) != NULL;
}
