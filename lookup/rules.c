/* rules.c: the settings of postern.conf in the form the engine wants: domains parsed once, sorted, searched.
 * */
#include "lookup/address.h"

#include "common/arena.h"

#include <stdlib.h>

enum { RULES_MEMORY = 64u << 20 };

static int by_text(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Appends the domain in its one form; ".example.org" (relay-domains) keeps its dot. */
static void add_domain(struct lookup_rules *r, struct str *list, size_t *n, struct str text, bool dots,
                       const char **why) {
    struct str domain;
    bool dot = dots && text.n > 1 && text.p[0] == '.';
    if (text.n == 0 || !domain_parse(dot ? str_sub(text, 1, text.n) : text, 0, r->arena, &domain, why))
        return;
    if (dot) {
        char mem[ADDR_DOMAIN_MAX + 1];
        struct buf b = BUF(mem);
        buf_addc(&b, '.');
        buf_add(&b, domain);
        domain = str_dup(r->arena, buf_str(&b));
    }
    if (domain.n) list[(*n)++] = domain;
}

static void add_domains(struct lookup_rules *r, const struct config *c, const char **why) {
    static const char *const always[] = {"localhost", "localhost.localdomain"};
    r->local = arena_alloc(r->arena, (c->local_domains.n + 4) * sizeof(struct str));
    r->relay = arena_alloc(r->arena, (c->relay_domains.n + 1) * sizeof(struct str));
    if (!r->local || !r->relay) {
        *why = "local-domains or relay-domains hold too many names; put them into the route table";
        return;
    }
    add_domain(r, r->local, &r->local_count, str_of(c->hostname), false, why);
    add_domain(r, r->local, &r->local_count, str_of(c->origin), false, why);
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        add_domain(r, r->local, &r->local_count, str_of(always[i]), false, why);
    for (size_t i = 0; i < c->local_domains.n; i++)
        add_domain(r, r->local, &r->local_count, c->local_domains.v[i], false, why);
    for (size_t i = 0; i < c->relay_domains.n; i++)
        add_domain(r, r->relay, &r->relay_count, c->relay_domains.v[i], true, why);
    qsort(r->local, r->local_count, sizeof(struct str), by_text);
    qsort(r->relay, r->relay_count, sizeof(struct str), by_text);
}

struct lookup_rules *lookup_rules_new(const struct config *c, const char **why) {
    struct lookup_rules *r = xmalloc(sizeof *r);
    struct str delimiter = str_of(c->user_extension), origin = str_of(c->origin);
    *why = NULL;
    r->arena = arena_new(RULES_MEMORY);
    add_domains(r, c, why);
    if (origin.n == 0) origin = str_of(c->hostname);
    if (origin.n == 0 || !domain_parse(origin, 0, r->arena, &r->origin, why)) r->origin = STR("localhost");
    r->relay_networks = c->relay_networks;
    r->mailbox = str_dup(r->arena, str_of(c->mailbox));
    r->system_mailbox = str_dup(r->arena, str_of(c->system_mailbox));
    r->system_user = str_dup(r->arena, str_of(c->system_mailbox_user));
    r->delimiter = delimiter.n == 1 ? delimiter.p[0] : '\0'; /* "none" */
    r->min_uid = (uint32_t)c->min_uid;
    return r;
}

void lookup_rules_free(struct lookup_rules *r) {
    if (!r) return;
    arena_free(r->arena);
    free(r);
}
