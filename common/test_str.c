/* test_str.c: strings that carry their length and builders that carry their maximum. */
#include "common/arena.h"
#include "common/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void compares(void **state) {
    assert_true(str_eq(STR("a"), STR("a")));
    assert_false(str_eq(STR("a"), STR("A")));
    assert_true(str_eq(STR_NONE, STR("")));
    assert_true(str_eq_nocase(STR("MaIl-1"), STR("mAiL-1")));
    assert_false(str_eq_nocase(STR("["), STR("{"))); /* 0x20 apart, but no letters */
    assert_false(str_eq_nocase(STR("\xc3"), STR("\xe3")));
    assert_true(str_starts_nocase(STR("MAIL FROM:<>"), STR("mail from:")));
    assert_false(str_starts_nocase(STR("MA"), STR("mail")));
    assert_true(str_ends_nocase(STR("x.EXAMPLE"), STR(".example")));
    assert_false(str_ends_nocase(STR("e"), STR(".example")));
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_cmp(STR("b"), STR("ab")) > 0);
    assert_true(str_cmp(STR_NONE, STR_NONE) == 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0); /* unsigned order */
}

static void cuts(void **state) {
    assert_int_equal(str_chr(STR("abc"), 'c'), 2);
    assert_int_equal(str_chr(STR("abc"), 'x'), -1);
    assert_int_equal(str_chr(STR_NONE, '\0'), -1);
    assert_true(str_eq(str_sub(STR("abcdef"), 2, 4), STR("cd")));
    assert_true(str_eq(str_sub(STR("abc"), 2, 99), STR("c")));
    assert_true(str_eq(str_sub(STR("abc"), 9, 2), STR("")));
    assert_true(str_eq(str_sub(STR_NONE, 1, 2), STR("")));
    assert_true(str_eq(str_trim(STR(" \t a b\r\n")), STR("a b")));
    assert_true(str_eq(str_trim(STR(" \r\n ")), STR("")));
}

static void words(void **state) {
    struct str rest = STR("  one,two ,, three\t"), w;
    assert_true(str_word(&rest, ',', &w) && str_eq(w, STR("one")));
    assert_true(str_word(&rest, ',', &w) && str_eq(w, STR("two")));
    assert_true(str_word(&rest, ',', &w) && str_eq(w, STR("three")));
    assert_false(str_word(&rest, ',', &w));
    assert_int_equal(w.n, 0);
    rest = STR("a,b c");
    assert_true(str_word(&rest, 0, &w) && str_eq(w, STR("a,b")));
}

static void numbers(void **state) {
    static const struct {
        const char *text;
        uint64_t max;
        bool ok;
        uint64_t value;
    } rows[] = {
        {"0", 0, true, 0},
        {"007", 7, true, 7},
        {"8", 7, false, 0},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"99999999999999999999999", UINT64_MAX, false, 0},
        {"4294967296", UINT32_MAX, false, 0},
        {"", 9, false, 0},
        {"+1", 9, false, 0},
        {"-1", 9, false, 0},
        {" 1", 9, false, 0},
        {"1 ", 9, false, 0},
        {"0x1", 9, false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t v = 12345;
        bool ok = str_to_u64(str_of(rows[i].text), rows[i].max, &v);
        if (ok != rows[i].ok) fail_msg("\"%s\"", rows[i].text);
        assert_int_equal(v, ok ? rows[i].value : 12345); /* false leaves it alone */
    }
    uint64_t v = 0;
    assert_true(str_hex_to_u64(STR("fFfFfFfFfFfFfFfF"), &v) && v == UINT64_MAX);
    assert_false(str_hex_to_u64(STR("10000000000000000"), &v));
    assert_false(str_hex_to_u64(STR(""), &v));
    assert_false(str_hex_to_u64(STR("g"), &v));
}

static void prints(void **state) {
    assert_true(str_is_print(STR(" ~")));
    assert_true(str_is_print(STR_NONE));
    assert_false(str_is_print(STR("a\x7f")));
    assert_false(str_is_print(STR("a\n")));
    assert_false(str_is_print(STR("\xc3\xa9")));
    assert_false(str_is_print((struct str){"a\0b", 3}));
}

static void hashes(void **state) {
    assert_true(str_hash(STR("a"), 1) != str_hash(STR("a"), 2));
    assert_true(str_hash(STR("a"), 1) != str_hash(STR("A"), 1));
    assert_true(str_hash_nocase(STR("a.B"), 1) == str_hash_nocase(STR("A.b"), 1));
    assert_true(str_hash_nocase(STR("ab"), 7) == str_hash(STR("ab"), 7));
}

static void copies(void **state) {
    struct arena *a = arena_new(8);
    const char *p = str_cstr(a, (struct str){"a\0b", 3});
    assert_memory_equal(p, "a\0b\0", 4);
    assert_non_null(str_dup(a, STR("xyz")).p); /* 8 of 8 octets */
    assert_null(str_dup(a, STR("")).p);        /* the NUL does not fit */
    arena_free(a);
}

static void builds(void **state) {
    char mem[16];
    struct buf b = BUF(mem);
    buf_adds(&b, "id=");
    buf_addu(&b, 0);
    buf_addc(&b, ',');
    buf_addu(&b, 1234567);
    assert_false(b.failed);
    assert_true(str_eq(buf_str(&b), STR("id=0,1234567")));
    buf_adds(&b, "12345");
    assert_true(b.failed); /* sticky: what fits later is refused too */
    buf_adds(&b, "1");
    assert_string_equal(buf_cstr(&b), "id=0,1234567");

    b = buf_on(mem, 4);
    buf_adds(&b, "abcd");
    assert_false(b.failed);
    assert_string_equal(buf_cstr(&b), "abc"); /* cut for the NUL */

    b = buf_on(mem, 0);
    buf_add(&b, STR_NONE);
    assert_false(b.failed);
    assert_string_equal(buf_cstr(&b), "");
    buf_addf(&b, "%d", 1);
    assert_true(b.failed);
}

static void formats(void **state) {
    char mem[6];
    struct buf b = BUF(mem);
    buf_addf(&b, "%d-%s", 10, "ab");
    assert_true(str_eq(buf_str(&b), STR("10-ab")));
    buf_addf(&b, "%d", 1); /* would fit without the NUL that vsnprintf wants: the slack that str.c tells of */
    assert_true(b.failed);
    assert_int_equal(b.n, 5);
}

static void escapes(void **state) {
    char mem[64];
    struct buf b = BUF(mem);
    buf_add_escaped(&b, (struct str){"a\r\n\0\x7f\xff\"\\z", 9});
    assert_string_equal(buf_cstr(&b), "a\\x0d\\x0a\\x00\\x7f\\xff\\x22\\x5cz");
    b = buf_on(mem, 3);
    buf_add_escaped(&b, STR("\n")); /* never half an escape */
    assert_true(b.failed);
    assert_int_equal(b.n, 0);
}

static void in_arena(void **state) {
    struct arena *a = arena_new(10);
    struct buf b = buf_in(a, 10);
    buf_adds(&b, "0123456789");
    assert_false(b.failed);
    struct buf c = buf_in(a, 1);
    assert_true(c.failed);
    buf_addc(&c, 'x');
    assert_string_equal(buf_cstr(&c), "");
    arena_free(a);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares), cmocka_unit_test(cuts),     cmocka_unit_test(words),
        cmocka_unit_test(numbers),  cmocka_unit_test(prints),   cmocka_unit_test(hashes),
        cmocka_unit_test(copies),   cmocka_unit_test(builds),   cmocka_unit_test(formats),
        cmocka_unit_test(escapes),  cmocka_unit_test(in_arena),
    };
    return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
