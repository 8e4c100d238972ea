#include "auth/dovecot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct heard {
    char mem[2000];
    struct buf b;
};

static void on_event(void *ctx, enum dovecot_event what, uint32_t id, struct str text, struct str why) {
    static const char *const words[] = {"ready", "challenge", "good", "bad", "later"};
    struct heard *h = ctx;
    buf_addf(&h->b, "%s %u [%.*s] [%.*s];", words[what], id, STR_ARGS(text), STR_ARGS(why));
}

/* Tells it all, whole and octet by octet: the same must be heard. */
static bool hear(struct heard *h, struct str text, const char **why) {
    static struct heard again;
    struct dovecot d;
    const char *other;
    h->b = BUF(h->mem);
    again.b = BUF(again.mem);
    dovecot_init(&d, &(struct dovecot_ops){h, on_event});
    bool ok = dovecot_input(&d, text, why);
    dovecot_free(&d);
    dovecot_init(&d, &(struct dovecot_ops){&again, on_event});
    bool same = true;
    for (size_t i = 0; i < text.n && same; i++) same = dovecot_input(&d, str_sub(text, i, i + 1), &other);
    dovecot_free(&d);
    assert_int_equal(same, ok);
    assert_string_equal(buf_cstr(&h->b), buf_cstr(&again.b));
    return ok;
}

#define HELLO \
    "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nMECH\tSCRAM-SHA-256\tmutual-" \
    "auth\nSPID\t7\nCUID\t1\nCOOKIE\taa\nDONE\n"
#define READY "ready 0 [PLAIN LOGIN SCRAM-SHA-256] [];"

static void said(void **state) {
    static const struct {
        const char *text, *heard;
        bool good;
    } rows[] = {
        {HELLO, READY, true},
        {"VERSION\t1\t9\nMECH\tGSSAPI\nMECH\tANONYMOUS\nMECH\tEXTERNAL\nMECH\tSCRAM-SHA-1-"
         "PLUS\nMECH\tlower\nMECH\t\nMECH\nDONE\n",
         "ready 0 [] [];", true},
        {"VERSION\t2\t0\n", "", false},
        {"VERSION\n", "", false},
        {"DONE\n", "", false},
        {HELLO "FAIL\t3\tuser=bob\treason=no way\n", READY "bad 3 [bob] [no way];", true},
        {HELLO "FAIL\t3\tuser=bob\ttemp\n", READY "later 3 [bob] [];", true},
        {HELLO "FAIL\t3\n", READY "bad 3 [] [];", true},
        {HELLO "CONT\t3\tYWJj\n", READY "challenge 3 [YWJj] [];", true},
        {HELLO "CONT\t3\t\nCONT\t4\n", READY "challenge 3 [] [];challenge 4 [] [];", true},
        {HELLO "CONT\t3\tnot*base64\n", READY, false},
        {HELLO "OK\t3\tuser=bob\tproxy\n", READY "good 3 [bob] [];", true},
        {HELLO "OK\t3\n", READY "later 3 [] [Dovecot does not say which login it is];", true},
        {HELLO "OK\t3\tuser=\n", READY "later 3 [] [Dovecot does not say which login it is];", true},
        {HELLO "OK\t3\tuser=a\x01\n", READY "later 3 [] [Dovecot does not say which login it is];", true},
        {HELLO "OK\tx\tuser=bob\n", READY, false},
        {HELLO "OK\t99999999999\tuser=bob\n", READY, false},
        {HELLO "FUTURE\tword\n\n", READY, true},
    };
    static struct heard h;
    const char *why = "";
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool ok = hear(&h, str_of(rows[i].text), &why);
        if (ok != rows[i].good || strcmp(buf_cstr(&h.b), rows[i].heard) != 0)
            fail_msg("row %zu: %s (%s)", i, h.mem, why);
    }
    static char large[DOVECOT_LINE_MAX + 2];
    memset(large, 'x', sizeof large);
    assert_false(hear(&h, (struct str){large, sizeof large}, &why));
}

static void asked(void **state) {
    char mem[600];
    struct buf b = BUF(mem);
    struct ip ip = {4, {192, 0, 2, 1}};
    (void)state;
    assert_true(dovecot_auth(&b, 5, STR("PLAIN"), true, &ip, true, STR("AHgAeQ==")));
    assert_string_equal(buf_cstr(&b),
                        "AUTH\t5\tPLAIN\tservice=smtp\tsecured\trip=192.0.2.1\tresp=AHgAeQ==\n");
    b = BUF(mem);
    assert_true(dovecot_auth(&b, 6, STR("LOGIN"), false, &(struct ip){0}, false, STR_NONE));
    assert_string_equal(buf_cstr(&b), "AUTH\t6\tLOGIN\tservice=smtp\n");
    b = BUF(mem);
    assert_true(dovecot_cont(&b, 6, STR("eA==")));
    dovecot_cancel(&b, 6);
    assert_string_equal(buf_cstr(&b), "CONT\t6\teA==\nCANCEL\t6\n");
    /* Nothing that a client sends becomes a field or a line of its own. */
    assert_false(dovecot_auth(&b, 5, STR("PLAIN"), true, &ip, true, STR("eA==\tuser=root")));
    assert_false(dovecot_auth(&b, 5, STR("PLA\tIN"), true, &ip, false, STR_NONE));
    assert_false(dovecot_cont(&b, 5, STR("x\nAUTH")));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(said), cmocka_unit_test(asked)};
    return cmocka_run_group_tests_name("auth/dovecot", tests, NULL, NULL);
}
