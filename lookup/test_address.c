/* test_address.c: who may send where, and where it goes, from tables in memory. */
#include "common/arena.h"
#include "lookup/address.h"
#include "lookup/aliases.h"
#include "lookup/passwd.h"
#include "lookup/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char passwd_text[] = "root:x:0:0:root:/root:/bin/bash\n"
                                  "daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n"
                                  "mail:x:8:8:mail:/var/mail:/usr/sbin/nologin\n"
                                  "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
                                  "alice:x:1000:1000:Alice:/home/alice:/bin/sh\n"
                                  "bob:x:1001:1001::/home/bob:/bin/sh\n"
                                  "alice:x:1999:1999:the second:/home/other:/bin/sh\n"
                                  "Carol:x:1002:1002::/home/carol:/bin/sh\n"
                                  "with+plus:x:1003:1003::/home/plus:/bin/sh\n"
                                  "homeless:x:1004:1004:::/bin/sh\n"
                                  "..:x:1005:1005::/home/dots:/bin/sh\n"
                                  "a/b:x:1006:1006::/home/slash:/bin/sh\n"
                                  "short:x:1007\n"
                                  "uid:x:-1:1::/:/bin/sh\n"
                                  "+nis:x:1008:1008::/home/nis:/bin/sh\n"
                                  "last:x:1009:1009::/home/last:/bin/sh";
static const char alias_text[] = "postmaster: root\n"
                                 "root: alice, ops@elsewhere.example\n"
                                 "bob: \\bob, alice\n"
                                 "alias+x: alice\n"
                                 "selfish: selfish, alice\n"
                                 "carol: carol@here.example, bob\n"
                                 "gone: \\nosuch\n";
static const char route_text[] = "routed.example smtp:[192.0.2.25]:2525\n"
                                 ".routed.example smtp:mx.routed.example\n"
                                 "special@here.example smtp:[192.0.2.26]\n"
                                 "moved@here.example error:5.1.6 moved away\n"
                                 "hosted.example local\n"
                                 "void.example discard\n"
                                 "closed.here.example error:5.7.1 closed\n"
                                 ".here.example smtp:[192.0.2.27]\n";

struct world {
    struct passwd_table *passwd;
    struct lookup_rules *rules;
    struct config *config;
    struct arena *arena, *store;
    size_t n;
    struct {
        char table;
        struct str key, value;
    } rows[64];
    char filling;
    bool default_route, aliases_fail;
    struct lookup_tables tables;
};

static bool keep(void *ctx, unsigned line, struct str key, struct str value, struct table_error *err) {
    struct world *w = ctx;
    (void)line, (void)err;
    w->rows[w->n].table = w->filling;
    w->rows[w->n].key = str_dup(w->store, key);
    w->rows[w->n++].value = str_dup(w->store, value);
    return true;
}

static enum lookup_found find(struct world *w, char table, struct str key, struct str *value) {
    for (size_t i = 0; i < w->n; i++)
        if (w->rows[i].table == table && str_eq(w->rows[i].key, key)) {
            *value = w->rows[i].value;
            return LOOKUP_FOUND;
        }
    return LOOKUP_NONE;
}

static enum lookup_found find_alias(void *ctx, struct str key, struct str *value, struct status *fail) {
    struct world *w = ctx;
    *fail = status_make(451, "4.3.5", "never compiled");
    return w->aliases_fail ? LOOKUP_FAIL : find(w, 'a', key, value);
}

static enum lookup_found find_route(void *ctx, struct str key, struct str *value, struct status *fail) {
    struct world *w = ctx;
    (void)fail;
    if (str_eq(key, STR("*")) && !w->default_route) return LOOKUP_NONE;
    return find(w, 'r', key, value);
}

static enum lookup_found find_user(void *ctx, struct str name, struct lookup_user *out, struct status *fail) {
    struct world *w = ctx;
    (void)fail;
    return passwd_by_name(w->passwd, name, out) ? LOOKUP_FOUND : LOOKUP_NONE;
}

static bool spool_group(void *ctx, struct str directory, uint32_t uid, uint32_t *gid) {
    (void)ctx, (void)uid;
    *gid = 8;
    return str_eq(directory, STR("/var/mail/"));
}

static void set(struct world *w, const char *name, const char *value) {
    const char *why;
    if (!config_set(w->config, str_of(name), str_of(value), &why)) fail_msg("%s: %s", name, why);
}

static void renew_rules(struct world *w) {
    const char *why;
    lookup_rules_free(w->rules);
    w->rules = lookup_rules_new(w->config, &why);
    assert_null(why);
}

static int build(void **state) {
    struct world *w = xmalloc(sizeof *w);
    struct table_error err;
    struct table_sink sink = {w, keep};
    w->store = arena_new(1 << 20);
    w->arena = arena_new(1 << 20);
    w->passwd = passwd_parse(STR(passwd_text));
    w->filling = 'a';
    if (!aliases_parse(STR(alias_text), &sink, &err)) return -1;
    w->filling = 'r';
    if (!routes_parse(STR(route_text), &sink, &err) ||
        !routes_parse(STR("* smtp:[192.0.2.99]\n"), &sink, &err))
        return -1;
    w->tables = (struct lookup_tables){w, find_alias, find_route, find_user, spool_group};
    w->config = config_new();
    set(w, "hostname", "mx.here.example");
    set(w, "origin", "here.example");
    set(w, "local-domains", "Also.Example [192.0.2.200]");
    set(w, "relay-domains", "backup.example");
    set(w, "relay-networks", "127.0.0.0/8 ::1 10.1.0.0/16");
    renew_rules(w);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    struct world *w = *state;
    lookup_rules_free(w->rules);
    config_free(w->config);
    passwd_free(w->passwd);
    arena_free(w->arena);
    arena_free(w->store);
    free(w);
    return 0;
}

static struct ip ip_of(const char *text) {
    struct ip ip = {0};
    if (*text) assert_true(ip_parse(str_of(text), &ip));
    return ip;
}

static struct status ask(struct world *w, const char *client, const char *rcpt) {
    struct ip ip = ip_of(client);
    struct addr a;
    const char *why;
    arena_reset(w->arena);
    if (!addr_parse(str_of(rcpt), ADDR_POSTMASTER, w->arena, &a, &why)) fail_msg("%s: %s", rcpt, why);
    return lookup_rcpt(w->rules, &w->tables, w->arena, &ip, false, &a);
}

static void answers_rcpt(void **state) {
    static const struct {
        const char *client, *rcpt;
        unsigned code;
    } rows[] = {
        /* ours */
        {"198.51.100.1", "alice@here.example", 250},
        {"198.51.100.1", "ALICE@HERE.Example", 250},
        {"198.51.100.1", "alice@mx.here.example", 250},
        {"198.51.100.1", "alice@also.example", 250},
        {"198.51.100.1", "alice@localhost", 250},
        {"198.51.100.1", "alice@[127.0.0.1]", 250},
        {"198.51.100.1", "alice@[IPv6:::1]", 250},
        {"198.51.100.1", "alice@[192.0.2.200]", 250},
        {"198.51.100.1", "nosuch@[192.0.2.200]", 550},
        {"198.51.100.1", "alice+list@here.example", 250},
        {"198.51.100.1", "with+plus@here.example", 250},
        {"198.51.100.1", "alias+x@here.example", 250},
        {"198.51.100.1", "alias+y@here.example", 550},
        {"198.51.100.1", "alias@here.example", 550},
        {"198.51.100.1", "Carol@here.example", 250},
        {"198.51.100.1", "CAROL@here.example", 250},
        {"198.51.100.1", "nosuch@here.example", 550},
        {"127.0.0.1", "nosuch@here.example", 550},
        {"", "nosuch@here.example", 550},
        {"198.51.100.1", "+x@here.example", 550},
        {"198.51.100.1", "root@here.example", 250},
        {"198.51.100.1", "daemon@here.example", 250},
        {"198.51.100.1", "\"..\"@here.example", 550},
        {"198.51.100.1", "\"a/b\"@here.example", 550},
        {"198.51.100.1", "uid@here.example", 550},
        {"198.51.100.1", "\"\\\\bob\"@here.example", 550}, /* the mark of an expansion, from outside */
        {"198.51.100.1", "postmaster", 250},
        {"198.51.100.1", "PostMaster", 250},
        {"198.51.100.1", "Postmaster@also.example", 250},
        {"198.51.100.1", "postmaster@[127.0.0.1]", 250},
        {"198.51.100.1", "special@here.example", 250},
        {"198.51.100.1", "moved@here.example", 550},
        {"198.51.100.1", "alice@hosted.example", 250},
        {"198.51.100.1", "nosuch@hosted.example", 550},
        /* relay */
        {"198.51.100.1", "x@backup.example", 250},
        {"198.51.100.1", "x@sub.backup.example", 554},
        {"198.51.100.1", "x@elsewhere.example", 554},
        {"198.51.100.1", "x@routed.example", 554},
        {"198.51.100.1", "x@sub.routed.example", 554},
        {"198.51.100.1", "x@void.example", 554},
        {"198.51.100.1", "x@closed.here.example", 554},
        {"198.51.100.1", "x@[192.0.2.1]", 554},
        {"198.51.100.1", "postmaster@elsewhere.example", 554},
        {"2001:db8::1", "x@elsewhere.example", 554},
        {"10.1.2.3", "x@elsewhere.example", 250},
        {"10.2.2.3", "x@elsewhere.example", 554},
        {"127.0.0.1", "x@elsewhere.example", 250},
        {"::1", "x@elsewhere.example", 250},
        {"", "x@elsewhere.example", 250},
        {"", "x@routed.example", 250},
        {"", "x@void.example", 250},
        {"", "x@closed.here.example", 554},
        {"", "x@[0.0.0.0]", 550},
        {"", "x@[IPv6:::]", 550},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct status s = ask(*state, rows[i].client, rows[i].rcpt);
        if (s.code != rows[i].code)
            fail_msg("%s from \"%s\": %u %.*s", rows[i].rcpt, rows[i].client, s.code, STR_ARGS(s.text));
    }
}

static void wildcard_relay_domains(void **state) {
    struct world *w = *state;
    const char *why = NULL;
    /* Set directly: the checker of postern.conf would not let ".." pass. */
    struct str all[] = {STR(".wild.example"), STR("wild.example"), STR("..")};
    struct words saved = w->config->relay_domains;
    w->config->relay_domains = (struct words){3, all};
    lookup_rules_free(w->rules);
    w->rules = lookup_rules_new(w->config, &why);
    assert_non_null(why); /* ".." is left out, and told */
    assert_int_equal(ask(w, "198.51.100.1", "x@wild.example").code, 250);
    assert_int_equal(ask(w, "198.51.100.1", "x@a.b.wild.example").code, 250);
    assert_int_equal(ask(w, "198.51.100.1", "x@notwild.example").code, 554);
    assert_int_equal(ask(w, "198.51.100.1", "x@example").code, 554);
    w->config->relay_domains = saved;
    renew_rules(w);
}

/* 61 ways that mail has been talked through a relay, from a stranger: as the argument of RCPT. None may be
 * accepted; what is no path at all is refused by smtpd with 501. */
static const char *const relay_forms[] = {
    "<victim@target.example>",
    "<victim@TARGET.EXAMPLE>",
    "<victim%target.example@here.example>",
    "<victim%target.example@mx.here.example>",
    "<victim%target.example@localhost>",
    "<victim%target.example@[127.0.0.1]>",
    "<victim%target.example@[IPv6:::1]>",
    "<victim%target.example>",
    "<victim%target.example@>",
    "<victim%target.example%here.example>",
    "<victim%target.example%here.example@here.example>",
    "<victim%target.example@also.example>",
    "<\"victim%target.example\"@here.example>",
    "<\"victim@target.example\"@here.example>",
    "<\"victim@target.example\"@mx.here.example>",
    "<\"victim@target.example\"@localhost>",
    "<\"victim@target.example\"@[127.0.0.1]>",
    "<\"victim@target.example\">",
    "<\"victim@target.example\"@>",
    "<\"victim\"@target.example>",
    "<\"victim@target.example\"%here.example>",
    "<\"victim%target.example\">",
    "<victim\\@target.example@here.example>",
    "<victim\\@target.example>",
    "<victim@target.example@here.example>",
    "<victim@target.example@mx.here.example>",
    "<victim@target.example@localhost>",
    "<victim@target.example@[127.0.0.1]>",
    "<victim@target.example@>",
    "<@here.example:victim@target.example>",
    "<@mx.here.example:victim@target.example>",
    "<@localhost:victim@target.example>",
    "<@[127.0.0.1]:victim@target.example>",
    "<@here.example,@mx.here.example:victim@target.example>",
    "<@here.example:victim%target.example@here.example>",
    "<@target.example:victim@here.example>",
    "<@here.example:\"victim@target.example\"@here.example>",
    "<@here.example:@target.example:victim@here.example>",
    "<@here.example:victim>",
    "<target.example!victim@here.example>",
    "<target.example!victim>",
    "<target.example!victim@localhost>",
    "<target.example!victim@[127.0.0.1]>",
    "<here.example!target.example!victim>",
    "<here.example!target.example!victim@here.example>",
    "<here.example!victim@target.example>",
    "<here.example!victim%target.example>",
    "<\"target.example!victim\"@here.example>",
    "<target.example!victim%here.example@here.example>",
    "<victim@target.example.>",
    "<victim@[192.0.2.77]>",
    "<victim@[IPv6:2001:db8::77]>",
    "<victim@[::ffff:192.0.2.77]>",
    "<victim%[192.0.2.77]@here.example>",
    "<victim@here.example@target.example>",
    "<victim@here.example.target.example>",
    "<victim@target.example(@here.example)>",
    "<victim@target.example @here.example>",
    "<victim@target.example,alice@here.example>",
    "<victim@target.example\t@here.example>",
    "victim@target.example",
};

static void refuses_relay_forms(void **state) {
    struct world *w = *state;
    struct ip stranger = ip_of("198.51.100.1");
    assert_int_equal(sizeof relay_forms / sizeof *relay_forms, 61);
    for (int with_default = 0; with_default < 2; with_default++) {
        w->default_route = with_default;
        for (size_t i = 0; i < 61; i++) {
            struct addr a;
            struct str rest;
            const char *why;
            arena_reset(w->arena);
            if (addr_parse_path(str_of(relay_forms[i]), ADDR_POSTMASTER, w->arena, &a, &rest, &why) &&
                !rest.n) {
                struct status s = lookup_rcpt(w->rules, &w->tables, w->arena, &stranger, false, &a);
                if (s.kind != STATUS_NEVER) fail_msg("%s: %u", relay_forms[i], s.code);
            }
        }
    }
    w->default_route = false;
}

/* "L alice 1000 1000 /home/alice mbox:/var/mail/alice", "X a b", "M host:port", "E 550 5.1.1 text" */
static void print_route(struct buf *b, const struct lookup_route *r) {
    buf_addc(b, r->how);
    if (r->how == 'L')
        buf_addf(b, " %.*s %u %u %.*s %.*s", STR_ARGS(r->user.name), r->user.uid, r->user.gid,
                 STR_ARGS(r->user.home), STR_ARGS(r->mailbox));
    for (size_t i = 0; r->how == 'X' && i < r->count; i++) buf_addf(b, " %.*s", STR_ARGS(r->rcpt[i]));
    if (r->nexthop.n) buf_addf(b, " %.*s:%u", STR_ARGS(r->nexthop), r->port);
    if (r->how == 'E') {
        buf_addc(b, ' ');
        status_format(b, &r->status);
    }
}

static void route(struct world *w, const char *rcpt, const char *want) {
    char mem[1000];
    struct buf b = BUF(mem);
    struct lookup_route r;
    struct addr a;
    const char *why;
    arena_reset(w->arena);
    if (!addr_parse(str_of(rcpt), ADDR_POSTMASTER, w->arena, &a, &why)) fail_msg("%s: %s", rcpt, why);
    lookup_route(w->rules, &w->tables, w->arena, &a, &r);
    print_route(&b, &r);
    if (strcmp(buf_cstr(&b), want) != 0) fail_msg("%s: %s\nwanted: %s", rcpt, buf_cstr(&b), want);
}

static void finds_routes(void **state) {
    static const struct {
        const char *rcpt, *want;
    } rows[] = {
        {"alice@here.example", "L alice 1000 8 /home/alice mbox:/var/mail/alice"},
        {"ALICE+x@localhost", "L alice 1000 8 /home/alice mbox:/var/mail/alice"},
        {"last@here.example", "L last 1009 8 /home/last mbox:/var/mail/last"},
        {"homeless@here.example", "L homeless 1004 8  mbox:/var/mail/homeless"},
        {"daemon@here.example", "L daemon 8 8 /var/mail mbox:/var/mail/daemon"},
        {"nobody@here.example", "L nobody 8 8 /var/mail mbox:/var/mail/nobody"},
        {"\"\\\\root\"@here.example", "L root 8 8 /var/mail mbox:/var/mail/root"},
        {"\"\\\\postmaster\"@here.example", "L postmaster 8 8 /var/mail mbox:/var/mail/postmaster"},
        {"postmaster", "X root@here.example"},
        {"Postmaster@also.example", "X root@here.example"},
        {"root@here.example", "X alice@here.example ops@elsewhere.example"},
        {"bob@here.example", "X \"\\\\bob\"@here.example alice@here.example"},
        {"bob+x@here.example", "X \"\\\\bob\"@here.example alice@here.example"},
        {"\"\\\\bob\"@here.example", "L bob 1001 8 /home/bob mbox:/var/mail/bob"},
        {"selfish@here.example", "X \"\\\\selfish\"@here.example alice@here.example"},
        {"\"\\\\selfish\"@here.example", "E 550 5.1.1 User unknown"},
        {"carol@here.example", "X \"\\\\carol\"@here.example bob@here.example"},
        {"\"\\\\Carol\"@here.example", "L Carol 1002 8 /home/carol mbox:/var/mail/Carol"},
        {"gone@here.example", "X \"\\\\nosuch\"@here.example"},
        {"nosuch@here.example", "E 550 5.1.1 User unknown"},
        {"alice@hosted.example", "L alice 1000 8 /home/alice mbox:/var/mail/alice"},
        {"x@elsewhere.example", "M elsewhere.example:0"},
        {"x%y@elsewhere.example", "M elsewhere.example:0"},
        {"x@[192.0.2.1]", "H [192.0.2.1]:0"},
        {"x@routed.example", "H [192.0.2.25]:2525"},
        {"x@a.routed.example", "M mx.routed.example:0"},
        {"x@a.b.routed.example", "M mx.routed.example:0"},
        {"special@here.example", "H [192.0.2.26]:0"},
        {"Special@here.example", "H [192.0.2.26]:0"},
        {"moved@here.example", "E 550 5.1.6 moved away"},
        {"x@void.example", "D"},
        {"x@closed.here.example", "E 554 5.7.1 closed"},
        {"x@other.here.example", "H [192.0.2.27]:0"},
        {"alice@mx.here.example",
         "L alice 1000 8 /home/alice mbox:/var/mail/alice"}, /* ours, though .here.example */
        {"x@[0.0.0.0]", "E 550 5.1.2 this address belongs to no host"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) route(*state, rows[i].rcpt, rows[i].want);
}

static void a_default_route_takes_the_rest(void **state) {
    struct world *w = *state;
    w->default_route = true;
    route(w, "x@elsewhere.example", "H [192.0.2.99]:0");
    route(w, "x@[192.0.2.1]", "H [192.0.2.99]:0");
    route(w, "alice@here.example", "L alice 1000 8 /home/alice mbox:/var/mail/alice");
    route(w, "nosuch@also.example", "E 550 5.1.1 User unknown");
    route(w, "postmaster", "X root@here.example");
    w->default_route = false;
}

static void expands_templates(void **state) {
    struct world *w = *state;
    static const struct {
        const char *mailbox, *rcpt, *want;
    } rows[] = {
        {"maildir:%h/Maildir", "alice@here.example",
         "L alice 1000 1000 /home/alice maildir:/home/alice/Maildir"},
        {"maildir:/srv/%u/100%%", "alice@here.example",
         "L alice 1000 1000 /home/alice maildir:/srv/alice/100%"},
        {"maildir:%h/Maildir", "homeless@here.example",
         "E 451 4.3.5 this account has no home directory for its mailbox"},
        {"mbox:/srv/mail/%u", "alice@here.example", "L alice 1000 1000 /home/alice mbox:/srv/mail/alice"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        set(w, "mailbox", rows[i].mailbox);
        renew_rules(w);
        route(w, rows[i].rcpt, rows[i].want);
    }
    set(w, "mailbox", "mbox:/var/mail/%u");
    set(w, "system-mailbox-user", "nosuch");
    renew_rules(w);
    route(w, "daemon@here.example", "E 451 4.3.5 the account named by system-mailbox-user does not exist");
    set(w, "system-mailbox-user", "root");
    renew_rules(w);
    route(w, "daemon@here.example", "E 451 4.3.5 system-mailbox-user must not be root");
    set(w, "system-mailbox-user", "mail");
    set(w, "recipient-delimiter", "none");
    renew_rules(w);
    route(w, "alice+x@here.example", "E 550 5.1.1 User unknown");
    set(w, "recipient-delimiter", "+");
    renew_rules(w);
}

static void tables_that_cannot_answer_defer(void **state) {
    struct world *w = *state;
    w->aliases_fail = true;
    assert_int_equal(ask(w, "198.51.100.1", "alice@here.example").code, 451);
    assert_int_equal(ask(w, "198.51.100.1", "nosuch@here.example").code, 451);
    assert_int_equal(ask(w, "198.51.100.1", "x@elsewhere.example").code, 554);
    route(w, "alice@here.example", "E 451 4.3.5 never compiled");
    w->aliases_fail = false;
}

static void reads_accounts(void **state) {
    struct world *w = *state;
    struct lookup_user u;
    assert_int_equal(passwd_count(w->passwd), 11);
    assert_true(passwd_by_name(w->passwd, STR("alice"), &u));
    assert_int_equal(u.uid, 1000);
    assert_true(passwd_by_uid(w->passwd, 1999, &u));
    assert_true(str_eq(u.name, STR("alice")));
    assert_false(passwd_by_uid(w->passwd, 1005, &u));
    assert_false(passwd_by_name(w->passwd, STR("zoe"), &u));
    assert_false(passwd_by_name(w->passwd, STR(""), &u));
    struct passwd_table *none = passwd_parse(STR_NONE);
    assert_false(passwd_by_name(none, STR("alice"), &u));
    assert_false(passwd_by_uid(none, 0, &u));
    passwd_free(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_rcpt),
        cmocka_unit_test(wildcard_relay_domains),
        cmocka_unit_test(refuses_relay_forms),
        cmocka_unit_test(finds_routes),
        cmocka_unit_test(a_default_route_takes_the_rest),
        cmocka_unit_test(expands_templates),
        cmocka_unit_test(tables_that_cannot_answer_defer),
        cmocka_unit_test(reads_accounts),
    };
    return cmocka_run_group_tests(tests, build, tear_down);
}
