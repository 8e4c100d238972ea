#include "resolve/names.h"

#include "common/arena.h"

#include <stdlib.h>
#include <string.h>

struct name {
    char text[ANSWER_NAME + 1];
    size_t n;
    bool open, has_it, failed;
};

struct names {
    const struct names_ops *ops;
    void *ctx;
    struct ip ip;
    bool pointing, over;
    size_t count, open;
    struct name v[NAMES_MAX];
};

struct names *names_new(const struct names_ops *ops, void *ctx, const struct ip *ip) {
    struct names *n = xmalloc(sizeof *n);
    n->ops = ops;
    n->ctx = ctx;
    n->ip = *ip;
    return n;
}

void names_free(struct names *n) {
    free(n);
}

void names_reverse(struct buf *b, const struct ip *ip) {
    static const char hex[] = "0123456789abcdef";
    for (int i = ip->family == 6 ? 15 : 3; i >= 0; i--) {
        if (ip->family != 6) {
            buf_addu(b, ip->b[i]);
            buf_addc(b, '.');
            continue;
        }
        char nibbles[4] = {hex[ip->b[i] & 15], '.', hex[ip->b[i] >> 4], '.'};
        buf_add(b, (struct str){nibbles, 4});
    }
    buf_adds(b, ip->family == 6 ? "ip6.arpa" : "in-addr.arpa");
}

static void finish(struct names *n, bool failed) {
    struct str confirmed = STR_NONE;
    n->over = true;
    for (size_t i = 0; i < n->count && !confirmed.n; i++)
        if (n->v[i].has_it) confirmed = (struct str){n->v[i].text, n->v[i].n};
    for (size_t i = 0; i < n->count && !confirmed.n; i++) failed |= n->v[i].failed;
    n->ops->done(n->ctx, confirmed, n->count ? (struct str){n->v[0].text, n->v[0].n} : STR_NONE,
                 failed && !confirmed.n);
}

void names_begin(struct names *n) {
    char mem[80];
    struct buf b = BUF(mem);
    if (n->ip.family != 4 && n->ip.family != 6) {
        finish(n, false);
        return;
    }
    names_reverse(&b, &n->ip);
    n->pointing = true;
    n->ops->ask(n->ctx, 0, buf_str(&b), ANSWER_PTR);
}

static void take_pointers(struct names *n, const struct answer_reply *r) {
    n->pointing = false;
    for (size_t i = 0; i < r->count && r->outcome == ANSWER_FOUND && n->count < NAMES_MAX; i++) {
        struct name *x = &n->v[n->count];
        if (answer_name(r->data[i], x->text, &x->n) && x->n) n->count++;
    }
    if (!n->count) {
        finish(n, r->outcome == ANSWER_FAILED);
        return;
    }
    n->open = n->count; /* before the first is asked: a reply may come from inside */
    for (size_t i = 0; i < n->count; i++) n->v[i].open = true;
    for (size_t i = 0; i < n->count; i++)
        n->ops->ask(n->ctx, (unsigned)i + 1, (struct str){n->v[i].text, n->v[i].n},
                    n->ip.family == 6 ? ANSWER_AAAA : ANSWER_A);
}

void names_take(struct names *n, unsigned which, const struct answer_reply *r) {
    size_t octets = n->ip.family == 6 ? 16 : 4;
    if (n->over) return;
    if (which == 0) {
        if (n->pointing) take_pointers(n, r);
        return;
    }
    if (which > n->count || !n->v[which - 1].open) return;
    struct name *x = &n->v[which - 1];
    x->open = false;
    x->failed = r->outcome == ANSWER_FAILED;
    for (size_t i = 0; i < r->count && r->outcome == ANSWER_FOUND; i++)
        x->has_it |= r->data[i].n == octets && memcmp(r->data[i].p, n->ip.b, octets) == 0;
    if (--n->open == 0) finish(n, false);
}
