/* test_xtext.c: what is xtext, what it stands for, and that it comes back. */
#include "common/xtext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const struct row {
    struct str xtext;
    const char *plain; /* NULL: refused */
} rows[] = {
    {STR(""), ""},         {STR("abc"), "abc"},   {STR("a+2Bb+3Dc+20d"), "a+b=c d"},
    {STR("+41"), "A"},     {STR("a+"), NULL},     {STR("a+4"), NULL},
    {STR("+4g"), NULL},    {STR("+2b"), NULL},    {STR("a=b"), NULL},
    {STR("a b"), NULL},    {STR("a\x7f"), NULL},  {STR("\xc3\xa9"), NULL},
    {STR("+00"), NULL},    {STR("+0D+0A"), NULL}, {STR("+7F"), NULL},
    {STR("+C3+A9"), NULL},
};

static void table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char mem[64];
        struct buf b = BUF(mem);
        bool ok = xtext_decode(&b, rows[i].xtext);
        assert_int_equal(ok, rows[i].plain != NULL);
        if (ok) assert_string_equal(buf_cstr(&b), rows[i].plain);
    }
}

static void too_long(void **state) {
    char mem[4];
    struct buf b = BUF(mem);
    (void)state;
    assert_false(xtext_decode(&b, STR("12345")));
}

static void comes_back(void **state) {
    char plain[95], mem[400], back[96];
    (void)state;
    for (int i = 0; i < 95; i++) plain[i] = (char)(32 + i);
    struct buf b = BUF(mem), c = BUF(back);
    xtext_encode(&b, (struct str){plain, sizeof plain});
    assert_true(xtext_decode(&c, buf_str(&b)));
    assert_true(str_eq(buf_str(&c), (struct str){plain, sizeof plain}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(too_long),
        cmocka_unit_test(comes_back),
    };
    return cmocka_run_group_tests_name("xtext", tests, NULL, NULL);
}
