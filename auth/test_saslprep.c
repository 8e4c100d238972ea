#include "auth/saslprep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void texts(void **state) {
    static const struct {
        const char *in, *want; /* NULL: refused */
    } rows[] = {
        /* RFC 4013 3 */
        {"I\xc2\xadX", "IX"},
        {"user", "user"},
        {"USER", "USER"},
        {"\xc2\xaa", "a"},
        {"\xe2\x85\xa8", "IX"},
        {"\x07", NULL},
        {"\xd8\xa7\x31", NULL},
        /* the same letter, typed on two machines */
        {"\xc3\xa4", "\xc3\xa4"},
        {"a\xcc\x88", "\xc3\xa4"},
        {"a\xc2\xa0z", "a z"},
        {"a\xe3\x80\x80z", "a z"},
        {"\xef\xbc\xa1", "A"},
        {"", ""},
        {" a ", " a "},
        {"\xd8\xa7\x31\xd8\xa8", "\xd8\xa7\x31\xd8\xa8"},
        {"a\xd8\xa7", NULL},
        {"a\x7f", NULL},
        {"a\nb", NULL},
        {"\xee\x80\x80", NULL},
        {"\xef\xbf\xbd", NULL},
        {"\xe2\x80\xae"
         "a",
         NULL},
        {"\xf3\xa0\x80\x81", NULL},
        {"\xef\xb7\x90", NULL},
        {"\xc3", NULL},
        {"\xed\xa0\x80", NULL},
        {"\xc0\x80", NULL},
        {"a\xff", NULL},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char mem[64], again_mem[64];
        struct buf b = BUF(mem), again = BUF(again_mem);
        bool ok = saslprep(&b, str_of(rows[i].in));
        if (ok != (rows[i].want != NULL)) fail_msg("row %zu: %s", i, ok ? "taken" : "refused");
        if (!ok) continue;
        if (!str_eq(buf_str(&b), str_of(rows[i].want))) fail_msg("row %zu: %s", i, buf_cstr(&b));
        assert_true(saslprep(&again, buf_str(&b)) &&
                    str_eq(buf_str(&again), buf_str(&b))); /* what is prepared stays */
    }
}

static void lengths(void **state) {
    static char in[6000], out[6000];
    struct buf b = buf_on(out, 10);
    (void)state;
    assert_false(saslprep(&b, STR("elevenchars")));
    for (size_t i = 0; i + 3 <= sizeof in; i += 3)
        memcpy(in + i, "\xef\xb7\xba", 3); /* one that becomes 18 */
    for (size_t n = 3; n < sizeof in; n += 300) {
        b = BUF(out);
        saslprep(&b, (struct str){in, n});
        assert_true(b.n <= sizeof out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts), cmocka_unit_test(lengths)};
    return cmocka_run_group_tests_name("auth/saslprep", tests, NULL, NULL);
}
