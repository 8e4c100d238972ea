#include "submit/rcptlist.h"

#include "common/addr.h"
#include "common/arena.h"
#include "common/addrlist.h"

#include <stdlib.h>

void rcptlist_init(struct rcptlist *l, struct arena *a, struct str origin) {
    *l = (struct rcptlist){.arena = a, .origin = origin};
}

void rcptlist_free(struct rcptlist *l) {
    free(l->v);
    free(l->hash);
    l->v = NULL;
    l->hash = NULL;
    l->n = l->v_cap = l->hash_cap = 0;
}

struct str address_complete(struct str spec, struct str origin, unsigned flags, struct arena *a,
                            const char **why) {
    struct addr addr;
    if (!addr_parse(spec, flags | ADDR_NO_DOMAIN, a, &addr, why)) return STR_NONE;
    if (!addr.domain.n && !addr_is_null(&addr)) addr.domain = origin;
    struct str out = addr_text(a, &addr);
    if (!out.p) *why = "too many addresses";
    return out;
}

static bool has(const struct rcptlist *l, struct str s, uint64_t hash) {
    for (size_t i = 0; i < l->n; i++)
        if (l->hash[i] == hash && str_eq(l->v[i], s)) return true;
    return false;
}

struct adding {
    struct rcptlist *list;
    const char *why;
    struct str spec; /* the one that is wrong */
    char mem[100];
};

static bool add_one(void *ctx, const struct addrlist_item *item) {
    struct adding *add = ctx;
    struct rcptlist *l = add->list;
    struct str text = address_complete(item->spec, l->origin, 0, l->arena, &add->why);
    if (!text.n && !add->why) add->why = "empty address";
    if (!text.n || l->n == RCPTLIST_MAX) {
        if (text.n) add->why = "too many recipients";
        struct buf b = BUF(add->mem);
        buf_add_escaped(&b, str_sub(item->spec, 0, 80));
        add->spec = buf_str(&b);
        return false;
    }
    uint64_t hash = str_hash(text, 0);
    if (has(l, text, hash)) return true;
    l->v = xgrow(l->v, &l->v_cap, l->n + 1, sizeof *l->v);
    l->hash = xgrow(l->hash, &l->hash_cap, l->n + 1, sizeof *l->hash);
    l->v[l->n] = text;
    l->hash[l->n++] = hash;
    return true;
}

bool rcptlist_add(struct rcptlist *l, struct str text) {
    struct adding add = {.list = l};
    struct addrlist_error err = {0};
    if (addrlist_parse(text, add_one, &add, &err)) return true;
    struct buf b = BUF(l->why);
    if (add.why) {
        buf_add(&b, add.spec);
        buf_adds(&b, ": ");
        buf_adds(&b, add.why);
    } else {
        struct str near = str_sub(text, err.at > 60 ? err.at - 60 : 0, err.at);
        buf_adds(&b, err.why);
        buf_adds(&b, " in \"");
        buf_add_escaped(&b, str_trim(near));
        buf_adds(&b, "\"");
    }
    buf_cstr(&b);
    return false;
}
