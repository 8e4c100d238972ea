/* Tests of select.c: patterns, and which messages a selection means. */
#include "queue/select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void patterns(void **state) {
    static const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {
        {"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"?", "", false}, {"?", "x", true},
        {"a*c", "abbbc", true}, {"a*c", "abbb", false}, {"A?C", "abc", true}, {"*@Example.ORG", "joe@example.org", true},
        {"*@example.org", "joe@example.org.evil", false}, {"*.org", "x.org.org", true}, {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "aXcYb", false}, {"**", "", true}, {"***a", "bba", true}, {"*a", "bab", false}, {"ab", "abc", false},
        {"abc", "ab", false}, {"?*?", "a", false}, {"?*?", "ab", true}, {"[a]", "a", false}, {"\\*", "\\x", true},
        {"*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (pattern_match(str_of(rows[i].pattern), str_of(rows[i].text)) != rows[i].matches)
            fail_msg("\"%s\" on \"%s\"", rows[i].pattern, rows[i].text);
}

enum { NOW = 1000000 };
static struct control_rcpt rcpts[] = {
    {.rcpt = {"joe@one.test", 12}, .state = 'D', .status = {.code = 250, .text = {"fine", 4}}},
    {.rcpt = {"Ann@Two.test", 12}, .state = 'L',
     .status = {STATUS_LATER, 451, {4, 7, 1}, true, {"greylisted, please wait", 23}}},
    {.rcpt = {"new@three.test", 14}, .state = 'N'},
};

static void selections(void **state) {
    struct control c = {.arrival = NOW - 5000, .size = 700, .sender = {"boss@corp.test", 14}, .rcpt_count = 3, .rcpts = rcpts};
    static const struct {
        struct selection sel;
        bool matches;
    } rows[] = {
        {{.older = 0}, true},
        {{.sender = {"*@corp.test", 11}}, true}, {{.sender = {"<>", 2}}, false}, {{.sender = {"x*", 2}}, false},
        {{.rcpt = {"ann@*", 5}}, true}, {{.rcpt = {"joe@*", 5}}, false}, /* joe has it already */
        {{.domain = {"two.test", 8}}, true}, {{.domain = {"one.test", 8}}, false}, {{.domain = {"*.test", 6}}, true},
        {{.reason = {"greylist", 8}}, true}, {{.reason = {"451*WAIT", 8}}, true}, {{.reason = {"fine", 4}}, false},
        {{.domain = {"three.test", 10}, .reason = {"greylist", 8}}, false}, /* not of the same recipient */
        {{.domain = {"two.test", 8}, .reason = {"greylist", 8}}, true},
        {{.older = 4000}, true}, {{.older = 5000}, false}, {{.newer = 5000}, false}, {{.newer = 6000}, true},
        {{.larger = 699}, true}, {{.larger = 700}, false}, {{.smaller = 701}, true}, {{.smaller = 700}, false},
        {{.state = 'd'}, true}, {{.state = 'f'}, false}, {{.state = 'h'}, false},
        {{.state = 'd', .sender = {"nobody*", 7}}, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (select_matches(&rows[i].sel, &c, NOW) != rows[i].matches) fail_msg("row %zu", i);
    c.held = true;
    assert_int_equal(select_state(&c), 'h');
    c.held = false;
    c.sender = STR_NONE;
    assert_true(select_matches(&(struct selection){.sender = STR("<>")}, &c, NOW));
    assert_false(select_matches(&(struct selection){.sender = STR("*")}, &c, NOW));
    c.rcpts = &rcpts[2];
    c.rcpt_count = 1;
    assert_int_equal(select_state(&c), 'f');
}

static void rules(void **state) {
    struct control c = {.sender = {"spam@bulk.test", 14}, .rcpt_count = 3, .rcpts = rcpts};
    struct str by_sender = STR("*@bulk.test"), by_rcpt = STR("NEW@*"), none = STR("*@other.test");
    (void)state;
    assert_true(select_rule(&by_sender, 1, &c));
    assert_true(select_rule(&by_rcpt, 1, &c));
    assert_false(select_rule(&none, 1, &c));
    assert_false(select_rule(NULL, 0, &c));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(patterns), cmocka_unit_test(selections), cmocka_unit_test(rules)};
    return cmocka_run_group_tests_name("select", tests, NULL, NULL);
}
