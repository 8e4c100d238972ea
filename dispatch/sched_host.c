/* sched_host.c: the hosts of a destination: asked of resolve, or written as an address literal; which of
 * them count.
 *
 * RFC 5321 5.1: exchangers in order of preference; when we are one of them, only better ones are tried, and
 * when none is left, the mail would come back to us for ever: it fails. */
#include "dispatch/sched_impl.h"

#include <stdlib.h>
#include <string.h>

void sched_hosts_free(struct dest *d) {
    arena_free(d->hosts_arena);
    arena_free(d->coming_arena);
    free(d->hosts);
    free(d->coming);
}

bool sched_hosts_fresh(const struct sched *s, const struct dest *d) {
    return d->hosts_state == HOSTS_KNOWN && s->now < d->hosts_until &&
           d->hosts_until <= s->now + (int64_t)HOSTS_TTL_MAX * SCHED_SECOND;
}

/* By address and port, or by name when we listen on that port at all (behind a translator our addresses
 * differ). */
static bool is_ours(const struct sched *s, const struct dest *d, const struct sched_host *h) {
    bool name = d->kind == KIND_MX && str_eq_nocase(h->name, s->c.hostname);
    for (size_t i = 0; i < s->c.own_count; i++)
        if (s->c.own[i].port == h->port && (name || ip_eq(&s->c.own[i].ip, &h->ip))) return true;
    return false;
}

static bool usable(const struct sched *s, const struct dest *d, const struct sched_host *h) {
    if (d->kind != KIND_MX || s->c.allow_loopback) return true;
    return !ip_is_loopback(&h->ip) && !ip_is_unspecified(&h->ip);
}

/* Drops ourselves and what is not better, then what must not be reached. Says what to do when nothing is
 * left. */
static struct status choose(const struct sched *s, struct dest *d) {
    unsigned ours = 65536;
    size_t n = 0;
    bool loop = false, any = d->coming_count > 0;
    for (size_t i = 0; i < d->coming_count; i++)
        if (is_ours(s, d, &d->coming[i]) && d->coming[i].preference < ours) ours = d->coming[i].preference;
    for (size_t i = 0; i < d->coming_count; i++) {
        bool worse = d->coming[i].preference >= ours;
        loop |= worse;
        if (!worse && usable(s, d, &d->coming[i])) d->coming[n++] = d->coming[i];
    }
    d->coming_count = n;
    if (n) return status_make(250, "2.0.0", "");
    if (loop)
        return status_make(
            550, "5.4.6",
            "mail for this domain would come back to this host: we are its best mail exchanger, "
            "but it is not one of our local domains");
    if (any)
        return status_make(550, "5.4.4", "the mail exchangers of this domain have loopback addresses only");
    return status_make(451, "4.4.3", "no address was found for the mail exchangers of this domain");
}

/* After a restart nothing is known here, but the host table may know that all of them are dead: then be
 * careful. */
static void be_careful(struct sched *s, struct dest *d) {
    struct sched_facts f;
    for (size_t i = 0; i < d->host_count; i++) {
        f = (struct sched_facts){0};
        s->ops->facts(s->ctx, &d->hosts[i].ip, d->hosts[i].port, &f);
        if (!f.down) return;
    }
    if (!d->proven && !d->failures && d->host_count) d->failures = 1;
}

static void known(struct sched *s, struct dest *d, const struct status *st, uint32_t ttl) {
    if (ttl > HOSTS_TTL_MAX) ttl = HOSTS_TTL_MAX;
    if (ttl < HOSTS_TTL_MIN || st->kind != STATUS_OK) ttl = HOSTS_TTL_MIN;
    arena_free(d->hosts_arena);
    free(d->hosts);
    d->hosts = d->coming;
    d->host_count = d->coming_count;
    d->host_cap = d->coming_cap;
    d->hosts_arena = d->coming_arena;
    d->coming = NULL;
    d->coming_arena = NULL;
    d->coming_count = d->coming_cap = 0;
    d->hosts_state = HOSTS_KNOWN;
    d->hosts_until = s->now + (int64_t)ttl * SCHED_SECOND;
    d->hosts_status = sched_keep_status(st, d->hosts_text, sizeof d->hosts_text);
    if (st->kind == STATUS_OK) be_careful(s, d);
    sched_dest_update(s, d);
}

/* Stable, by preference: among equals the order of resolve, which shuffles (RFC 5321 5.1). */
static void add_host(struct dest *d, const struct sched_host *h) {
    if (d->coming_count >= HOSTS_MAX) return;
    if (!d->coming_arena) d->coming_arena = arena_new(ARENA_MAX);
    d->coming = xgrow(d->coming, &d->coming_cap, d->coming_count + 1, sizeof *d->coming);
    size_t i = d->coming_count++;
    for (; i > 0 && d->coming[i - 1].preference > h->preference; i--) d->coming[i] = d->coming[i - 1];
    d->coming[i] = *h;
    d->coming[i].name = str_dup(d->coming_arena, h->name);
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 4.1.3) or a bare address: nothing to ask. */
static bool literal(struct sched *s, struct dest *d) {
    struct str name = {d->name, d->name_n};
    struct sched_host h = {.name = name, .port = d->port};
    if (name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']') name = str_sub(name, 1, name.n - 1);
    if (str_starts_nocase(name, STR("IPv6:"))) name = str_sub(name, 5, name.n);
    if (!ip_parse(name, &h.ip)) {
        if (d->name[0] != '[') return false;
        struct status bad = status_make(550, "5.1.2", "this kind of address literal is not known here");
        known(s, d, &bad, HOSTS_TTL_MAX);
        return true;
    }
    add_host(d, &h);
    struct status st = choose(s, d);
    known(s, d, &st, HOSTS_TTL_MAX);
    return true;
}

/* --- resolve --- */

static size_t outstanding(const struct sched *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->host_used; i++) n += s->hosts[i].d != NULL;
    return n;
}

static void ask(struct sched *s, struct dest *d) {
    size_t i = 0;
    while (i < s->host_used && s->hosts[i].d) i++;
    if (i == s->host_used) {
        s->hosts = xgrow(s->hosts, &s->host_cap, s->host_used + 1, sizeof *s->hosts);
        s->hosts[s->host_used++] = (struct host_query){0};
    }
    s->hosts[i].d = d;
    d->coming_count = 0;
    d->hosts_state = HOSTS_ASKED;
    s->ops->host_query(s->ctx, (uint32_t)i | (uint32_t)s->hosts[i].generation << 16,
                       (struct str){d->name, d->name_n}, d->kind == KIND_MX);
    sched_dest_update(s, d);
}

void sched_hosts_run(struct sched *s, int64_t *next) {
    size_t n = outstanding(s);
    for (struct link *l; (l = s->want_hosts.next) != &s->want_hosts;) {
        struct dest *d = SCHED_OF(struct dest, wait, l);
        if (literal(s, d)) continue;
        if (s->resolve_gone && s->now - s->resolve_gone >= ABSENT_PATIENCE) {
            sched_drain_soon(s, d, "the program that asks the DNS is not at work");
            continue;
        }
        if (s->resolve_gone) sched_wake(s, s->resolve_gone + ABSENT_PATIENCE, next);
        if (s->resolve_gone || n >= HOST_QUERIES_MAX) return;
        ask(s, d);
        n++;
    }
}

static struct dest *asked(struct sched *s, uint32_t tag) {
    uint32_t i = tag & 0xffff;
    return i < s->host_used && s->hosts[i].generation == tag >> 16 ? s->hosts[i].d : NULL;
}

static void answered(struct sched *s, uint32_t i) {
    s->hosts[i].d = NULL;
    s->hosts[i].generation++;
}

void sched_host(struct sched *s, const struct wire_host *w) {
    struct dest *d = asked(s, w->tag);
    struct sched_host h = {.name = w->name, .port = 0, .preference = w->preference};
    if (!d || (w->family != 4 && w->family != 6) || w->ip.n != (w->family == 4 ? 4u : 16u)) return;
    h.port = d->port;
    h.ip.family = w->family;
    memcpy(h.ip.b, w->ip.p, w->ip.n);
    add_host(d, &h);
}

void sched_host_answer(struct sched *s, const struct wire_host_answer *w) {
    struct dest *d = asked(s, w->tag);
    struct status st = STATUS_OF(w);
    if (!d) return;
    answered(s, w->tag & 0xffff);
    if (st.kind == STATUS_OK) st = choose(s, d);
    known(s, d, &st, w->ttl);
}

void sched_resolve(struct sched *s, bool present) {
    s->resolve_gone = present ? 0 : s->now;
    for (uint32_t i = 0; i < s->host_used && !present; i++) {
        struct dest *d = s->hosts[i].d;
        if (!d) continue;
        answered(s, i);
        d->hosts_state = HOSTS_UNKNOWN;
        sched_dest_update(s, d);
    }
}
