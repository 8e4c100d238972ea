#include "resolve/answer.h"

#include "common/addr.h"
#include "common/arena.h"

#include <stdlib.h>
#include <string.h>

enum { Q_MX = 0, Q_FIRST = 1 }; /* questions: 0 MX, then two for each exchanger: 1 + 2i A, 2 + 2i AAAA */

struct exchanger {
    uint16_t preference;
    uint64_t lot; /* among equals (RFC 5321 5.1: MUST randomize) */
    char name[ANSWER_NAME + 1];
    size_t n;
    struct family {
        bool open, failed, no_name, secure;
        size_t count;
        struct ip ip[ANSWER_EACH];
    } v4, v6;
};

struct answer {
    const struct answer_ops *ops;
    void *ctx;
    char domain[ANSWER_NAME + 2];
    size_t n;
    bool mx, mx_open, mx_secure, implicit, over;
    uint64_t seed;
    const char *asked;
    const char *why; /* of the last failure */
    char failed_name[ANSWER_NAME + 1];
    uint32_t ttl;
    size_t count, open;
    struct exchanger hosts[ANSWER_HOSTS];
};

static uint64_t next_random(uint64_t *seed) { /* splitmix64: order among equals, not secrecy */
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct answer *answer_new(const struct answer_ops *ops, void *ctx, struct str domain, bool mx, uint64_t seed,
                          const char *asked) {
    struct answer *a = xmalloc(sizeof *a);
    a->ops = ops;
    a->ctx = ctx;
    a->mx = mx;
    a->seed = seed;
    a->asked = asked;
    a->ttl = UINT32_MAX;
    a->n = domain.n < sizeof a->domain ? domain.n : 0; /* too long is no domain: empty */
    if (a->n) memcpy(a->domain, domain.p, a->n);
    return a;
}

void answer_free(struct answer *a) {
    free(a);
}

static struct str domain_of(const struct answer *a) {
    return (struct str){a->domain, a->n};
}

/* ---- names ---- */

static bool is_name_octet(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool answer_name(struct str wire, char text[ANSWER_NAME + 1], size_t *n) {
    size_t at = 0, out = 0;
    if (wire.n > ANSWER_NAME) return false; /* RFC 1035 2.3.4 */
    while (at < wire.n && wire.p[at] != 0) {
        size_t len = (unsigned char)wire.p[at++];
        if (len > 63 || len > wire.n - at || out + len + 1 > ANSWER_NAME) return false;
        if (out) text[out++] = '.';
        for (size_t end = at + len; at < end; at++, out++) {
            char c = wire.p[at];
            text[out] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
            if (!is_name_octet(text[out])) return false;
        }
    }
    text[out] = '\0';
    *n = out;
    return at + 1 == wire.n; /* the root label, and nothing behind it */
}

/* ---- the end ---- */

static void finish(struct answer *a, struct status s) {
    a->over = true;
    a->ops->done(a->ctx, s.kind == STATUS_LATER || a->ttl == UINT32_MAX ? 0 : a->ttl, &s);
}

static void finish_text(struct answer *a, uint16_t code, const char *detail, const char *text) {
    char mem[ANSWER_NAME + 160];
    struct buf b = BUF(mem);
    struct status s = status_make(code, detail, "");
    buf_addf(&b, "%.*s %s", STR_ARGS(domain_of(a)), text);
    s.text = buf_str(&b);
    finish(a, s);
}

/* Names the name, what was wrong and who was asked: the three things a postmaster needs. */
static void finish_failed(struct answer *a) {
    char mem[2 * ANSWER_NAME + 200];
    struct buf b = BUF(mem);
    struct status s = status_make(451, "4.4.3", "");
    buf_addf(&b, "DNS lookup of %s failed: %s (asked %s)", a->failed_name, a->why ? a->why : "no answer",
             a->asked);
    s.text = buf_str(&b);
    finish(a, s);
}

static int by_preference(const void *x, const void *y) {
    const struct exchanger *a = x, *b = y;
    if (a->preference != b->preference) return a->preference < b->preference ? -1 : 1;
    return a->lot < b->lot ? -1 : a->lot > b->lot;
}

static void shuffle(struct ip *v, size_t n, uint64_t *seed) {
    for (size_t i = n; i > 1; i--) {
        size_t k = next_random(seed) % i;
        struct ip t = v[i - 1];
        v[i - 1] = v[k];
        v[k] = t;
    }
}

static void tell(struct answer *a, const struct exchanger *x, const struct family *f, size_t i) {
    struct answer_host h = {.preference = x->preference,
                            .name = {x->name, x->n},
                            .ip = f->ip[i],
                            .secure = f->secure && (a->implicit || a->mx_secure)};
    a->ops->host(a->ctx, &h);
}

/* IPv6 and IPv4 take turns, IPv6 first: when one of the two does not work from here, the second try does. */
static size_t tell_exchanger(struct answer *a, struct exchanger *x, size_t room) {
    size_t told = 0;
    shuffle(x->v6.ip, x->v6.count, &a->seed);
    shuffle(x->v4.ip, x->v4.count, &a->seed);
    for (size_t i = 0; i < x->v6.count || i < x->v4.count; i++) {
        if (i < x->v6.count && told < room && told < ANSWER_EACH) tell(a, x, &x->v6, i), told++;
        if (i < x->v4.count && told < room && told < ANSWER_EACH) tell(a, x, &x->v4, i), told++;
    }
    return told;
}

static void finish_without_address(struct answer *a) {
    bool failed = false, no_name = true;
    for (size_t i = 0; i < a->count; i++) {
        const struct exchanger *x = &a->hosts[i];
        failed |= x->v4.failed || x->v6.failed;
        no_name &= x->v4.no_name || x->v6.no_name;
    }
    if (failed) finish_failed(a);
    else if (!a->implicit)
        finish_text(a, 550, "5.4.4", "has mail exchangers, but none of them has an address");
    else if (no_name) finish_text(a, 550, "5.1.2", "does not exist");
    else finish_text(a, 550, "5.4.4", "has neither a mail exchanger nor an address");
}

static void build(struct answer *a) {
    size_t told = 0;
    qsort(a->hosts, a->count, sizeof a->hosts[0], by_preference);
    for (size_t i = 0; i < a->count && told < ANSWER_HOSTS; i++)
        told += tell_exchanger(a, &a->hosts[i], ANSWER_HOSTS - told);
    if (told) finish(a, status_make(250, "2.0.0", ""));
    else finish_without_address(a);
}

/* ---- questions and replies ---- */

/* All questions are counted before the first is asked: a reply may come from inside ask. */
static void ask_addresses(struct answer *a) {
    size_t n = a->count;
    a->open = 2 * n;
    for (size_t i = 0; i < n; i++) a->hosts[i].v4.open = a->hosts[i].v6.open = true;
    for (size_t i = 0; i < n; i++) {
        struct str name = {a->hosts[i].name, a->hosts[i].n};
        a->ops->ask(a->ctx, (unsigned)(Q_FIRST + 2 * i), name, ANSWER_A);
        a->ops->ask(a->ctx, (unsigned)(Q_FIRST + 2 * i + 1), name, ANSWER_AAAA);
    }
}

static void ask_domain_itself(struct answer *a) {
    struct exchanger *x = &a->hosts[0];
    a->implicit = true;
    a->count = 1;
    x->n = a->n;
    memcpy(x->name, a->domain, a->n);
    ask_addresses(a);
}

static void finish_literal(struct answer *a) {
    struct answer_host h = {.name = domain_of(a)};
    struct str inside = str_sub(domain_of(a), 1, a->n - 1);
    if (str_starts_nocase(inside, STR("IPv6:"))) inside = str_sub(inside, 5, inside.n);
    if (a->domain[a->n - 1] != ']' || !ip_parse(inside, &h.ip)) {
        finish_text(a, 550, "5.1.2", "is not an address literal");
        return;
    }
    a->ops->host(a->ctx, &h);
    finish(a, status_make(250, "2.0.0", ""));
}

void answer_begin(struct answer *a) {
    if (a->n == 0 || a->n > ANSWER_NAME) finish_text(a, 550, "5.1.2", "is not a domain");
    else if (domain_is_literal(domain_of(a))) finish_literal(a);
    else if (!a->mx) ask_domain_itself(a);
    else {
        a->mx_open = true;
        a->ops->ask(a->ctx, Q_MX, domain_of(a), ANSWER_MX);
    }
}

static void note_failure(struct answer *a, struct str name, const char *why) {
    a->why = why;
    memcpy(a->failed_name, name.p, name.n);
    a->failed_name[name.n] = '\0';
}

static void note_ttl(struct answer *a, const struct answer_reply *r) {
    if (r->outcome != ANSWER_FAILED && r->ttl < a->ttl) a->ttl = r->ttl;
}

/* Keeps the best ANSWER_HOSTS of the records. False: none of them names a host. */
static bool take_exchangers(struct answer *a, const struct answer_reply *r, bool *null_mx) {
    struct exchanger all[ANSWER_RECORDS];
    size_t n = 0;
    *null_mx = false;
    for (size_t i = 0; i < r->count && n < ANSWER_RECORDS; i++) {
        struct exchanger *x = &all[n];
        if (r->data[i].n < 3) continue;
        memset(x, 0, sizeof *x);
        const unsigned char *p = (const unsigned char *)r->data[i].p;
        x->preference = (uint16_t)(p[0] << 8 | p[1]);
        x->lot = next_random(&a->seed);
        if (!answer_name(str_sub(r->data[i], 2, r->data[i].n), x->name, &x->n)) continue;
        if (x->n == 0) *null_mx = true; /* "." beside others is against RFC 7505 3: the others count */
        else n++;
    }
    qsort(all, n, sizeof all[0], by_preference);
    a->count = n < ANSWER_HOSTS ? n : ANSWER_HOSTS;
    memcpy(a->hosts, all, a->count * sizeof all[0]);
    return n > 0;
}

static void take_mx(struct answer *a, const struct answer_reply *r) {
    bool null_mx;
    a->mx_open = false;
    a->mx_secure = r->secure;
    switch (r->outcome) {
    case ANSWER_NO_NAME:
        finish_text(a, 550, "5.1.2", "does not exist");
        return;
    case ANSWER_FAILED:
        note_failure(a, domain_of(a), r->why);
        finish_failed(a);
        return;
    case ANSWER_NO_DATA:
        ask_domain_itself(a);
        return;
    case ANSWER_FOUND:
        break;
    }
    if (take_exchangers(a, r, &null_mx)) ask_addresses(a);
    else if (null_mx) finish_text(a, 556, "5.1.10", "accepts no mail (null MX)");
    else finish_text(a, 550, "5.4.4", "has mail exchangers, but none with a host name that can be used");
}

static bool usable(const struct ip *ip) {
    bool multicast = ip->family == 4 ? ip->b[0] >= 224 : ip->b[0] == 0xff;
    return !multicast && !ip_is_unspecified(ip);
}

static void take_addresses(struct family *f, const struct answer_reply *r, uint8_t family) {
    size_t want = family == 6 ? 16 : 4;
    for (size_t i = 0; i < r->count && i < ANSWER_RECORDS && f->count < ANSWER_EACH; i++) {
        struct ip ip = {.family = family};
        if (r->data[i].n != want) continue;
        memcpy(ip.b, r->data[i].p, want);
        if (usable(&ip)) f->ip[f->count++] = ip;
    }
}

void answer_take(struct answer *a, unsigned which, const struct answer_reply *r) {
    if (a->over) return;
    note_ttl(a, r);
    if (which == Q_MX) {
        if (a->mx_open) take_mx(a, r);
        return;
    }
    size_t i = (which - Q_FIRST) / 2;
    if (i >= a->count) return;
    bool six = (which - Q_FIRST) % 2;
    struct exchanger *x = &a->hosts[i];
    struct family *f = six ? &x->v6 : &x->v4;
    if (!f->open) return;
    f->open = false;
    f->failed = r->outcome == ANSWER_FAILED;
    f->no_name = r->outcome == ANSWER_NO_NAME;
    f->secure = r->secure;
    if (f->failed) note_failure(a, (struct str){x->name, x->n}, r->why);
    if (r->outcome == ANSWER_FOUND) take_addresses(f, r, six ? 6 : 4);
    if (--a->open == 0) build(a);
}
