/* address.c: the resolution of addresses. What address.h says, in this order:
 *
 *   1. route table: user@domain, domain; then, for domains that are not ours, .parent ... and *
 *   2. our domains: the local part as it stands, then without its extension: aliases, then accounts; then
 *      postmaster
 *   3. other domains: by MX, or to the address literal
 *
 * A default route (*) and routes of parent domains never take mail of our own domains away. */
#include "lookup/address.h"

#include "common/arena.h"
#include "common/token.h"
#include "lookup/text.h"
#include "lookup/values.h"

#include <stdlib.h>

enum { UID_NOBODY = 65534 };

struct query {
    const struct lookup_rules *rules;
    const struct lookup_tables *tables;
    struct arena *arena;
    const struct addr *rcpt;
    bool check_only; /* lookup_rcpt: what it expands to, or which mailbox, is not asked */
    struct lookup_route *out;
    struct str kind, what; /* of a refusal: what decided, for its token */
};

static const char text_unknown[] = "User unknown";

static void answer(struct query *q, struct status s) {
    *q->out = (struct lookup_route){.how = 'E', .status = s};
}

/* Refuses for a reason of token.c. */
static void refuse(struct query *q, const char *reason, struct status s) {
    q->kind = STR("reason");
    q->what = str_of(reason);
    answer(q, s);
}

static struct status ok_status(void) {
    return status_make(250, "2.1.5", "ok");
}

static struct status damaged(void) {
    return status_make(451, "4.3.5", "a compiled table is damaged; run newaliases and postern routes");
}

static int by_text(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool in_list(const struct str *list, size_t n, struct str s) {
    return n && bsearch(&s, list, n, sizeof s, by_text);
}

/* The next "." and what is after it: from a.b.c first .b.c, then .c. */
static bool parent(struct str *domain) {
    ptrdiff_t dot = domain->n > 1 ? str_chr(str_sub(*domain, 1, domain->n), '.') : -1;
    if (dot < 0) return false;
    *domain = str_sub(*domain, (size_t)dot + 1, domain->n);
    return true;
}

static bool literal_ip(struct str domain, struct ip *ip) {
    if (!domain_is_literal(domain) || domain.n < 2) return false;
    struct str inside = str_sub(domain, 1, domain.n - 1);
    if (str_starts_nocase(inside, STR("IPv6:"))) inside = str_sub(inside, 5, inside.n);
    return ip_parse(inside, ip);
}

/* No domain is the bare postmaster (RFC 5321 4.5.1). A loopback address is always this host: sent on, it
 * could only come back to us. */
bool lookup_is_ours(const struct lookup_rules *r, struct str domain) {
    struct ip ip;
    if (domain.n == 0 || in_list(r->local, r->local_count, domain)) return true;
    return literal_ip(domain, &ip) && ip_is_loopback(&ip);
}

static bool is_relayed(const struct lookup_rules *r, struct str domain) {
    if (in_list(r->relay, r->relay_count, domain)) return true;
    if (domain_is_literal(domain)) return false;
    while (parent(&domain))
        if (in_list(r->relay, r->relay_count, domain)) return true;
    return false;
}

/* ---- Routes ---- */

static enum lookup_found ask_route(struct query *q, struct str key, struct route_value *v, struct status *fail) {
    struct str value;
    enum lookup_found found = q->tables->route(q->tables->ctx, key, &value, fail);
    if (found == LOOKUP_FOUND && !route_value_read(value, v)) {
        *fail = damaged();
        return LOOKUP_FAIL;
    }
    if (found == LOOKUP_FOUND && v->how == 'E' && q->check_only) {
        q->kind = STR("route");
        q->what = str_dup(q->arena, key);
    }
    return found;
}

static enum lookup_found route_below(struct query *q, struct route_value *v, struct status *fail) {
    struct str domain = q->rcpt->domain;
    enum lookup_found found = LOOKUP_NONE;
    while (found == LOOKUP_NONE && !domain_is_literal(domain) && parent(&domain))
        found = ask_route(q, domain, v, fail);
    return found == LOOKUP_NONE ? ask_route(q, STR("*"), v, fail) : found;
}

static enum lookup_found find_route(struct query *q, bool ours, struct route_value *v,
                                    struct status *fail) {
    char mem[TABLE_KEY_MAX + 1];
    struct buf key = BUF(mem);
    if (q->rcpt->domain.n == 0) return LOOKUP_NONE;
    table_lower(&key, q->rcpt->local);
    buf_addc(&key, '@');
    buf_add(&key, q->rcpt->domain);
    enum lookup_found found = key.failed ? LOOKUP_NONE : ask_route(q, buf_str(&key), v, fail);
    if (found == LOOKUP_NONE) found = ask_route(q, q->rcpt->domain, v, fail);
    if (found == LOOKUP_NONE && !ours) found = route_below(q, v, fail);
    return found;
}

/* ---- Mailboxes ---- */

/* The path of a template. False: an answer was given. */
static bool expand_template(struct query *q, struct str template, const struct lookup_user *u,
                            struct buf *out) {
    for (size_t i = 0; i < template.n; i++) {
        char c = template.p[i], next = i + 1 < template.n ? template.p[i + 1] : '\0';
        if (c != '%') {
            buf_addc(out, c);
            continue;
        }
        i++;
        if (next == 'u') buf_add(out, u->name);
        else if (next == 'h' && u->home.n && u->home.p[0] == '/') buf_add(out, u->home);
        else if (next == '%') buf_addc(out, '%');
        else {
            answer(q, status_make(451, "4.3.5",
                                  next == 'h' ? "this account has no home directory for its mailbox"
                                              : "the mailbox setting may hold only %u, %h and %%"));
            return false;
        }
    }
    if (!out->failed) return true;
    answer(q, status_make(451, "4.3.5", "the path of this mailbox is too long"));
    return false;
}

/* mbox files lie beside each other in a directory that a group shares; making one, and its lock, needs the
 * group. */
static void choose_group(struct query *q, struct str mailbox, struct lookup_user *rights) {
    uint32_t gid;
    size_t end = mailbox.n;
    if (!str_starts_nocase(mailbox, STR("mbox:"))) return;
    while (end > 5 && mailbox.p[end - 1] != '/') end--;
    if (end > 5 && q->tables->spool_group(q->tables->ctx, str_sub(mailbox, 5, end), rights->uid, &gid))
        rights->gid = gid;
}

static bool is_system(const struct query *q, const struct lookup_user *u) {
    return u->uid < q->rules->min_uid || u->uid == UID_NOBODY || u->uid == UINT32_MAX;
}

/* Whose rights write the mailboxes of system accounts. */
static bool system_rights(struct query *q, struct lookup_user *rights) {
    struct status fail;
    enum lookup_found found = q->tables->user(q->tables->ctx, q->rules->system_user, rights, &fail);
    if (found == LOOKUP_FAIL) answer(q, fail);
    else if (found == LOOKUP_NONE)
        answer(q, status_make(451, "4.3.5", "the account named by system-mailbox-user does not exist"));
    else if (rights->uid == 0) answer(q, status_make(451, "4.3.5", "system-mailbox-user must not be root"));
    else return true;
    return false;
}

static void to_mailbox(struct query *q, const struct lookup_user *account) {
    char mem[LOOKUP_MAILBOX_MAX];
    struct buf path = BUF(mem);
    struct lookup_user owner = *account, rights = *account;
    bool system = is_system(q, account);
    q->out->how = 'L';
    q->out->status = ok_status();
    if (q->check_only) return;
    /* The views of the first answer die with the second question. */
    owner.name = str_dup(q->arena, account->name);
    owner.home = str_dup(q->arena, account->home);
    if (system && !system_rights(q, &rights)) return;
    if (!expand_template(q, system ? q->rules->system_mailbox : q->rules->mailbox, &owner, &path)) return;
    q->out->mailbox = str_dup(q->arena, buf_str(&path));
    rights.home = system ? str_dup(q->arena, rights.home) : owner.home;
    rights.name = owner.name;
    choose_group(q, q->out->mailbox, &rights);
    q->out->user = rights;
    if (!q->out->mailbox.n || !owner.name.n)
        answer(q, status_make(451, "4.3.0", "out of memory for this question"));
}

/* ---- Aliases ---- */

/* The address of one target. Its own name within an alias is the account of that name (sendmail: a: \a). */
static struct str target_address(struct query *q, const struct alias_target *t, struct str key) {
    char mem[ADDR_LOCAL_MAX + 1];
    struct buf local = BUF(mem);
    struct addr a = {.local = t->text, .domain = q->rules->origin};
    const char *why;
    if (t->kind == ALIAS_ADDRESS && !addr_parse(t->text, 0, q->arena, &a, &why)) return STR_NONE;
    bool self = str_eq_nocase(a.local, key) && lookup_is_ours(q->rules, a.domain);
    if (t->kind == ALIAS_FINAL || self) {
        buf_addc(&local, '\\');
        buf_add(&local, a.local);
        a.local = buf_str(&local);
    }
    if (local.failed || a.local.n > ADDR_LOCAL_MAX) return STR_NONE;
    return addr_text(q->arena, &a);
}

static bool expand_targets(struct query *q, struct str rest, struct str key) {
    struct alias_target t;
    int more;
    q->out->rcpt = arena_alloc(q->arena, LOOKUP_EXPANSION_MAX * sizeof(struct str));
    if (!q->out->rcpt) return false;
    while ((more = alias_value_next(&rest, &t)) > 0) {
        if (q->out->count == LOOKUP_EXPANSION_MAX) return false;
        struct str text = target_address(q, &t, key);
        if (!text.n) return false;
        q->out->rcpt[q->out->count++] = text;
    }
    return more == 0 && q->out->count > 0;
}

static enum lookup_found try_alias(struct query *q, struct str name) {
    char mem[ADDR_LOCAL_MAX];
    struct buf key = BUF(mem);
    struct str value, rest;
    struct status fail;
    table_lower(&key, name);
    if (key.failed) return LOOKUP_NONE;
    enum lookup_found found = q->tables->alias(q->tables->ctx, buf_str(&key), &value, &fail);
    if (found == LOOKUP_FAIL) answer(q, fail);
    if (found != LOOKUP_FOUND) return found;
    q->out->how = 'X';
    q->out->status = ok_status();
    if (!alias_value_open(value, &rest) || (!q->check_only && !expand_targets(q, rest, buf_str(&key))))
        answer(q, damaged());
    return LOOKUP_FOUND;
}

static enum lookup_found try_account(struct query *q, struct str name) {
    char mem[ADDR_LOCAL_MAX];
    struct buf lower = BUF(mem);
    struct lookup_user u;
    struct status fail;
    enum lookup_found found = q->tables->user(q->tables->ctx, name, &u, &fail);
    table_lower(&lower, name);
    if (found == LOOKUP_NONE && !lower.failed)
        found = q->tables->user(q->tables->ctx, buf_str(&lower), &u, &fail);
    if (found == LOOKUP_FAIL) answer(q, fail);
    if (found == LOOKUP_FOUND) to_mailbox(q, &u);
    return found;
}

/* True: an answer was given. */
static bool try_name(struct query *q, struct str name, bool aliases) {
    if (aliases && try_alias(q, name) != LOOKUP_NONE) return true;
    return try_account(q, name) != LOOKUP_NONE;
}

static void resolve_local(struct query *q) {
    struct str name = q->rcpt->local;
    bool final = name.n > 1 && name.p[0] == '\\' && !q->check_only;
    if (final) name = str_sub(name, 1, name.n);
    if (try_name(q, name, !final)) return;
    ptrdiff_t cut = q->rules->delimiter ? str_chr(name, q->rules->delimiter) : -1;
    if (cut > 0 && try_name(q, str_sub(name, 0, (size_t)cut), !final)) return;
    /* RFC 5321 4.5.1: postmaster is always there. */
    if (str_eq_nocase(name, STR("postmaster")))
        to_mailbox(q, &(struct lookup_user){.name = STR("postmaster"), .uid = 0, .gid = 0});
    else refuse(q, "user", status_make(550, "5.1.1", text_unknown));
}

/* ---- The two questions ---- */

static void to_host(struct query *q) {
    struct ip ip;
    q->out->how = domain_is_literal(q->rcpt->domain) ? 'H' : 'M';
    q->out->nexthop = q->rcpt->domain;
    q->out->status = ok_status();
    /* 0.0.0.0 and :: mean this host to connect(2), and nothing to mail. */
    if (q->out->how == 'H' && (!literal_ip(q->rcpt->domain, &ip) || ip_is_unspecified(&ip)))
        refuse(q, "literal", status_make(550, "5.1.2", "this address belongs to no host"));
}

static void follow_route(struct query *q, const struct route_value *v) {
    if (v->how == 'L') {
        resolve_local(q);
        return;
    }
    q->out->how = v->how;
    q->out->port = v->port;
    q->out->nexthop = str_dup(q->arena, v->nexthop);
    q->out->status = ok_status();
    if (v->how == 'E') {
        q->out->status = v->status;
        q->out->status.text = str_dup(q->arena, v->status.text);
    }
}

/* anyone: this client may send to domains that are neither ours nor in relay-domains. */
static void resolve(struct query *q, bool anyone) {
    struct route_value v;
    struct status fail;
    bool ours = lookup_is_ours(q->rules, q->rcpt->domain);
    enum lookup_found found = find_route(q, ours, &v, &fail);
    bool here = ours || (found == LOOKUP_FOUND && v.how == 'L');
    if (found == LOOKUP_FAIL) answer(q, fail);
    else if (!here && !anyone && !is_relayed(q->rules, q->rcpt->domain))
        refuse(q, "relay", status_make(554, "5.7.1", "Relay access denied"));
    else if (found == LOOKUP_FOUND &&
             !(ours && v.how == 'E' && str_eq_nocase(q->rcpt->local, STR("postmaster"))))
        follow_route(q, &v);
    else if (here) resolve_local(q);
    else to_host(q);
}

/* "User unknown [P123456]" */
static struct status with_token(const struct query *q, struct status s) {
    struct buf b = buf_in(q->arena, s.text.n + 32);
    if (s.kind == STATUS_OK || !q->kind.n) return s;
    buf_add(&b, s.text);
    token_add(&b, token_of(q->kind, q->what), 0);
    if (!b.failed) s.text = buf_str(&b);
    return s;
}

struct status lookup_rcpt(const struct lookup_rules *r, const struct lookup_tables *t, struct arena *a,
                          const struct ip *client, bool login, const struct addr *rcpt) {
    struct lookup_route out = {0};
    struct query q = {.rules = r, .tables = t, .arena = a, .rcpt = rcpt, .check_only = true, .out = &out};
    resolve(&q, login || client->family == 0 || networks_have(&r->relay_networks, client));
    return with_token(&q, out.status);
}

void lookup_route(const struct lookup_rules *r, const struct lookup_tables *t, struct arena *a,
                  const struct addr *rcpt, struct lookup_route *out) {
    struct query q = {.rules = r, .tables = t, .arena = a, .rcpt = rcpt, .out = out};
    *out = (struct lookup_route){0};
    resolve(&q, true);
}
