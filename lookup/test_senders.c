#include "common/arena.h"
#include "lookup/senders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const char table[] = "# who else\n"
                            "alice: boss@mx.test, sales@other.test\n"
                            "bob@other.test: @third.test\n"
                            "list:\t*\n";

static void allowed(void **state) {
    static const struct {
        const char *login, *sender;
        bool want;
    } rows[] = {
        {"alice", "alice@mx.test", true},
        {"alice", "ALICE@mx.test", true},
        {"alice", "alice+x@mx.test", true},
        {"alice", "alice@second.test", true},
        {"alice", "alice@other.test", false},
        {"alice", "bob@mx.test", false},
        {"alice", "alicex@mx.test", false},
        {"alice", "boss@mx.test", true},
        {"alice", "Sales@other.test", true},
        {"alice", "boss@other.test", false},
        {"alice", "", true},
        {"mallory", "boss@mx.test", false},
        {"bob@other.test", "bob@other.test", true},
        {"bob@other.test", "bob+a@other.test", true},
        {"bob@other.test", "bob@mx.test", false},
        {"bob@other.test", "any@third.test", true},
        {"bob@other.test", "any@sub.third.test", false},
        {"list", "x@anywhere.example", true},
        {"bob", "any@third.test", false},
        {"@mx.test", "alice@mx.test", false},
        {"a b@", "alice@mx.test", false},
    };
    char why[300];
    const char *text;
    struct config *c = config_new();
    struct arena *a = arena_new(65536);
    (void)state;
    assert_true(config_set(c, STR("hostname"), STR("mx.test"), &text) &&
                config_set(c, STR("local-domains"), STR("second.test"), &text));
    struct lookup_rules *r = lookup_rules_new(c, &text);
    struct senders *s = senders_parse(STR(table), "f", why, sizeof why);
    assert_non_null(s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct addr sender;
        assert_true(addr_parse(str_of(rows[i].sender), ADDR_NULL, a, &sender, &text));
        if (sender_allowed(r, s, str_of(rows[i].login), &sender, a) != rows[i].want)
            fail_msg("%s from %s", rows[i].login, rows[i].sender);
    }
    senders_free(s);
    lookup_rules_free(r);
    arena_free(a);
    config_free(c);
}

static void texts(void **state) {
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", NULL},
        {"\n  # x\n", NULL},
        {"a: b@c.test\r\n", NULL},
        {"a\n", "f:1: LOGIN: ADDRESS"},
        {"# c\n: b@c.test\n", "f:2: LOGIN: ADDRESS"},
        {"a:\n", "f:1: no address"},
        {"a: b\n", "f:1: "},
        {"a: @\n", "f:1: "},
        {"a: b@c.test\nb: x@y.test\na: d@e.test\n", "f:3: this login stands"},
    };
    char why[300];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct senders *s = senders_parse(str_of(rows[i].text), "f", why, sizeof why);
        if ((s != NULL) != (rows[i].why == NULL)) fail_msg("row %zu: %s", i, s ? "taken" : why);
        if (!s && !strstr(why, rows[i].why)) fail_msg("row %zu: %s", i, why);
        senders_free(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(allowed), cmocka_unit_test(texts)};
    return cmocka_run_group_tests_name("lookup/senders", tests, NULL, NULL);
}
