/* test_routes.c: the language of route tables, and what mistakes say. */
#include "lookup/routes.h"
#include "lookup/testing.h"
#include "lookup/values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static bool print_entry(void *ctx, unsigned line, struct str key, struct str value, struct table_error *err) {
    struct buf *b = ctx;
    struct route_value v;
    (void)line, (void)err;
    assert_true(route_value_read(value, &v));
    buf_add(b, key);
    buf_addf(b, "=%c", v.how);
    if (v.nexthop.n) buf_addf(b, ":%.*s", STR_ARGS(v.nexthop));
    if (v.port) buf_addf(b, ":%u", v.port);
    if (v.how == 'E') {
        buf_addc(b, ':');
        status_format(b, &v.status);
    }
    buf_addc(b, ';');
    return true;
}

static void reads_the_language(void **state) {
    static const struct good_text rows[] = {
        {"# nothing\n\n", ""},
        {"Example.ORG smtp:MX.example.org\n", "example.org=M:mx.example.org;"},
        {"example.org\tsmtp:mx.example.org:2525 # there\n", "example.org=M:mx.example.org:2525;"},
        {".example.org smtp:[mx.example.org]:26", ".example.org=H:mx.example.org:26;"},
        {"example.org smtp:[192.0.2.1]\n", "example.org=H:[192.0.2.1];"},
        {"example.org smtp:[::1]:2525\n", "example.org=H:[IPv6:::1]:2525;"},
        {"example.org smtp:[IPv6:2001:db8::1]\n", "example.org=H:[IPv6:2001:db8::1];"},
        {"* smtp:relay.example.net\n", "*=M:relay.example.net;"},
        {"User@Example.org local\n", "user@example.org=L;"},
        {"\"a b\"@example.org discard\n", "a b@example.org=D;"},
        {"example.org LOCAL # here\n", "example.org=L;"},
        {"x@example.org error:5.1.6 moved to # y\n", "x@example.org=E:550 5.1.6 moved to # y;"},
        {"x@example.org error:5.7.1 no\n", "x@example.org=E:554 5.7.1 no;"},
        {"x@example.org error:4.2.1 later\n", "x@example.org=E:450 4.2.1 later;"},
        {"x@example.org error: gone away\n", "x@example.org=E:550 5.1.1 gone away;"},
        {"x@example.org error:550 gone\n", "x@example.org=E:550 5.1.1 550 gone;"},
        {"[192.0.2.9] smtp:[192.0.2.1]\n", "[192.0.2.9]=H:[192.0.2.1];"},
    };
    (void)state;
    texts_are_read(routes_parse, print_entry, rows, sizeof rows / sizeof *rows);
}

static void names_mistakes(void **state) {
    static const struct bad_text rows[] = {
        {"example.org\n", 1, "example.org", "no route"},
        {"\n\nexample.org uucp:x\n", 3, "uucp:x", "a route is"},
        {"example.org localhost\n", 1, "localhost", "a route is"},
        {"example.org local x\n", 1, "x", "nothing may follow"},
        {"exa_mple..org local\n", 1, "exa_mple..org", "pattern"},
        {"*.example.org local\n", 1, "*.example.org", "pattern"},
        {".[192.0.2.1] local\n", 1, ".[192.0.2.1]", "no subdomains"},
        {"a@ local\n", 1, "a@", "domain"},
        {"example.org smtp:\n", 1, "", "wants a domain"},
        {"example.org smtp:mx:0\n", 1, "0", "port"},
        {"example.org smtp:mx:65536\n", 1, "65536", "port"},
        {"example.org smtp:mx:25x\n", 1, "25x", "port"},
        {"example.org smtp:[mx\n", 1, "[mx", "not closed"},
        {"example.org smtp:[mx]x\n", 1, "[mx]x", "after the bracket"},
        {"example.org smtp:[mx]x:25\n", 1, "[mx]x:25", "after the bracket"},
        {"example.org smtp:[]\n", 1, "", "brackets"},
        {"example.org error:\n", 1, "error:", "say what"},
        {"example.org error:5.1.1\n", 1, "error:", "say what"},
        {"example.org error:2.1.1 fine\n", 1, "2.1.1", "begins with 4"},
        {"example.org error:\x01\n", 1, "\\x01", "printable"},
    };
    (void)state;
    texts_are_refused(routes_parse, print_entry, rows, sizeof rows / sizeof *rows);
}

static void refuses_damaged_values(void **state) {
    char mem[200];
    struct buf b = BUF(mem);
    struct route_value v = {.how = 'M', .port = 25, .nexthop = STR("mx.example.org")}, got;
    route_value_write(&b, &v);
    assert_true(route_value_read(buf_str(&b), &got));
    for (size_t cut = 0; cut < b.n; cut++) assert_false(route_value_read(str_sub(buf_str(&b), 0, cut), &got));
    buf_addc(&b, 'x');
    assert_false(route_value_read(buf_str(&b), &got));
    b.n--;
    mem[2] = 'X';
    assert_false(route_value_read(buf_str(&b), &got));
    mem[2] = 'E'; /* an error whose code is none */
    assert_false(route_value_read(buf_str(&b), &got));
    mem[2] = 'M', mem[1] = 9;
    assert_false(route_value_read(buf_str(&b), &got));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_language),
        cmocka_unit_test(names_mistakes),
        cmocka_unit_test(refuses_damaged_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
