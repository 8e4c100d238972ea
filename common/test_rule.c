/* test_rule.c: the grammar of rules, what errors say, and tokens. */
#include "common/arena.h"
#include "common/rule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static bool add(struct rules *r, struct arena *a, const char *text, char why[400]) {
    struct buf b = buf_on(why, 400);
    bool ok = rules_add(r, str_of(text), a, &b);
    assert_false(b.failed);
    buf_cstr(&b);
    return ok;
}

static void takes_rules(void **state) {
    static const struct {
        const char *text;
        enum rule_stage stage;
        size_t n;
        enum rule_action action;
        unsigned code, subject, detail;
        const char *argument;
    } rows[] = {
        {"connect client=192.0.2.0/24,2001:db8::/32 reject", RULE_CONNECT, 1, RULE_REJECT, 554, 7, 1,
         "Refused by our policy"},
        {"connect name=unknown defer", RULE_CONNECT, 1, RULE_DEFER, 421, 7, 1, "Not now, try again later"},
        {"helo helo=*.example.org accept", RULE_HELO, 1, RULE_ACCEPT, 0, 0, 0, ""},
        {"mail sender=<>,*@b.example client!=10.0.0.0/8 reject 553 5.1.8 \"No such sender\"", RULE_MAIL, 2,
         RULE_REJECT, 553, 1, 8, "No such sender"},
        {"rcpt recipient=old@a.example reject 551 moved away", RULE_RCPT, 1, RULE_REJECT, 551, 7, 1,
         "moved away"},
        {"rcpt tls=off login!=* defer 451 4.7.5 Use TLS", RULE_RCPT, 2, RULE_DEFER, 451, 7, 5, "Use TLS"},
        {"rcpt recipient=sales@a.example redirect \"team x\"@a.example", RULE_RCPT, 1, RULE_REDIRECT, 0, 0, 0,
         "\"team x\"@a.example"},
        {"mail hold", RULE_MAIL, 0, RULE_HOLD, 0, 0, 0, ""},
        {"end size>10M discard", RULE_END, 1, RULE_DISCARD, 0, 0, 0, ""},
        {"end header=List-Id,list-id add X-List: \"yes\"", RULE_END, 1, RULE_ADD, 0, 0, 0, "X-List: \"yes\""},
        {"data service=submission identity=a warn \"looked at\"", RULE_DATA, 2, RULE_WARN, 0, 0, 0,
         "looked at"},
        {"mail service=smtp reject 550 \"123 may begin a text\"", RULE_MAIL, 1, RULE_REJECT, 550, 7, 1,
         "123 may begin a text"},
    };
    struct arena *a = arena_new(1 << 20);
    struct rules r = {0};
    char why[400];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!add(&r, a, rows[i].text, why)) fail_msg("%s: %s", rows[i].text, why);
        const struct rule *k = r.v[i];
        assert_int_equal(k->stage, rows[i].stage);
        assert_int_equal(k->n, rows[i].n);
        assert_int_equal(k->action, rows[i].action);
        assert_int_equal(k->code, rows[i].code);
        assert_int_equal(k->detail[1], rows[i].subject);
        assert_int_equal(k->detail[2], rows[i].detail);
        if (!str_eq(k->argument, str_of(rows[i].argument)))
            fail_msg("%s: \"%.*s\"", rows[i].text, STR_ARGS(k->argument));
    }
    assert_int_equal(r.v[8]->conditions[0].number, 10 << 20);
    assert_int_equal(r.header_count, 1);
    assert_true(r.v[3]->conditions[1].negated && !r.v[3]->conditions[0].negated);
    assert_int_equal(r.v[0]->conditions[0].nets[1].bits, 32);
    assert_true(r.facts & 1u << RULE_NAME);
    assert_false(r.facts & 1u << RULE_REVERSE);
    arena_free(a);
}

static void says_what_is_wrong(void **state) {
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "is empty: write STAGE, conditions, ACTION, as in: rcpt recipient=old@example.org reject"},
        {"rctp reject", "\"rctp\": is no stage; did you mean \"rcpt\"?"},
        {"sometimes reject", "\"sometimes\": is no stage; there are connect helo mail rcpt data end"},
        {"mail", "has no action at its end: accept, reject, defer, hold, discard, redirect, add or warn"},
        {"mail sender=a@b",
         "has no action at its end: accept, reject, defer, hold, discard, redirect, add or warn"},
        {"mail rejct", "\"rejct\": is no action; did you mean \"reject\"?"},
        {"mail sendr=a@b reject", "\"sendr\": is no condition; did you mean \"sender\"?"},
        {"mail =a reject",
         "\"\": is no condition; there are client name reverse service helo tls identity login "
         "sender recipient size header"},
        {"mail sender a@b reject", "\"sender\": needs a value: sender=*@example.org"},
        {"end size reject", "\"size\": needs a value: size>10M"},
        {"end size=1 reject", "\"size=1\": must be size>NUMBER, like size>10M"},
        {"mail sender>a@b reject", "\"sender>a@b\": must have a = there"},
        {"end size>ten reject", "\"ten\": must be a size in octets, or with K, M or G"},
        {"end size>99999999999999999999 reject",
         "\"99999999999999999999\": must be a size in octets, or with K, M or G"},
        {"mail sender=a@b, c@d reject",
         "\"\": a value is missing: no space may stand beside = and the commas"},
        {"mail sender=spam.example reject",
         "\"spam.example\": has no @: write user@example.org, or *@example.org for a whole domain"},
        {"rcpt recipient=<> reject",
         "\"<>\": has no @: write user@example.org, or *@example.org for a whole domain"},
        {"connect client=mx.example.org reject",
         "\"mx.example.org\": not an IPv4 or IPv6 address; for names of hosts there is name="},
        {"mail tls=1.1 reject", "\"1.1\": must be one of: off on 1.2 1.3"},
        {"mail recipient=a@b reject",
         "\"recipient\": is not known yet at mail; put the rule at rcpt data end"},
        {"connect hold", "\"hold\": there is no message yet at connect; put the rule at mail rcpt data end"},
        {"connect reject 550 no", "\"550\": no code can be chosen at connect: leave it out"},
        {"mail reject 450 no", "\"450\": must be from 500 to 599"},
        {"mail defer 421 no", "\"421\": must be from 450 to 459"},
        {"mail reject 550 4.7.1 no", "\"4.7.1\": is no enhanced code of this reply's class, like 5.7.1"},
        {"mail reject 550 5.7.1234 no",
         "\"5.7.1234\": is no enhanced code of this reply's class, like 5.7.1"},
        {"rcpt redirect nobody", "\"nobody\": the address has no domain"},
        {"mail hold \"please\"", "\"\\x22please\\x22\": nothing may follow the action"},
        {"mail add nothing",
         "\"nothing\": must be a header field like X-Checked: yes, printable ASCII of at most 400 "
         "characters"},
        {"end header=a:b hold", "\"a:b\": is no name of a header field, like List-Id"},
        {"mail reject \303\244", "\"\\xc3\\xa4\": must be printable ASCII of at most 200 characters"},
    };
    struct arena *a = arena_new(1 << 20);
    struct rules r = {0};
    char why[400];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (add(&r, a, rows[i].text, why)) fail_msg("taken: %s", rows[i].text);
        if (strcmp(why, rows[i].why) != 0)
            fail_msg("%s\nsaid:     %s\nexpected: %s", rows[i].text, why, rows[i].why);
    }
    assert_int_equal(r.n, 0);
    assert_int_equal(r.header_count, 0);
    arena_free(a);
}

static void has_caps(void **state) {
    struct arena *a = arena_new(4 << 20);
    struct rules r = {0};
    char why[400], text[4096] = "mail sender=a@b";
    for (int i = 0; i < 600; i++) memcpy(text + 15 + 4 * i, ",a@b", 5);
    memcpy(text + 15 + 2400, " reject", 8);
    assert_false(add(&r, a, text, why));
    assert_non_null(strstr(why, "too many values"));
    for (int i = 0; i < RULE_HEADERS_MAX; i++) {
        snprintf(text, sizeof text, "end header=X-%d hold", i);
        assert_true(add(&r, a, text, why));
    }
    assert_false(add(&r, a, "end header=X-One-More hold", why));
    while (r.n < RULES_MAX) assert_true(add(&r, a, "mail hold", why));
    assert_false(add(&r, a, "mail hold", why));
    arena_free(a);
    a = arena_new(200); /* a full arena is told, not crashed on */
    r = (struct rules){0};
    assert_false(add(&r, a, "mail sender=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@b reject", why));
    arena_free(a);
}

static void makes_tokens(void **state) {
    struct arena *a = arena_new(1 << 20);
    struct rules r = {0};
    char why[400], mem[32];
    struct token t;
    unsigned value;
    assert_true(add(&r, a, "mail sender=a@b reject", why));
    assert_true(add(&r, a, "  mail\tsender=a@b   reject ", why));
    assert_true(add(&r, a, "mail sender=a@c reject", why));
    assert_string_equal(r.v[0]->token.c, r.v[1]->token.c); /* it does not depend on the layout */
    assert_string_not_equal(r.v[0]->token.c, r.v[2]->token.c);
    struct buf b = BUF(mem);
    token_add(&b, r.v[0]->token, 12);
    assert_true(token_parse(buf_str(&b), &t, &value));
    assert_string_equal(t.c, r.v[0]->token.c);
    assert_int_equal(value, 12);
    assert_true(token_parse(STR("pOi2345"), &t, &value));
    assert_string_equal(t.c, "P012345");
    assert_int_equal(value, 0);
    static const char *const bad[] = {"",        "P",        "[P12345]", "X123456",
                                      "P12345u", "P123456-", "P123456x", "P123456-1-"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(token_parse(str_of(bad[i]), &t, &value));
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_rules),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(has_caps),
        cmocka_unit_test(makes_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
