#include "auth/base64.h"
#include "auth/table.h"
#include "auth/verifier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* "pencil": RFC 7677 3 */
#define PENCIL \
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:" \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static void base64_texts(void **state) {
    static const struct {
        const char *octets, *text;
    } rows[] = {{"", ""},
                {"f", "Zg=="},
                {"fo", "Zm8="},
                {"foo", "Zm9v"},
                {"foob", "Zm9vYg=="},
                {"fooba", "Zm9vYmE="},
                {"foobar", "Zm9vYmFy"},
                {"\xff\xfe\xfd", "//79"}};
    static const char *const wrong[] = {"Z",     "Zg",       "Zg=",  "Zg===", "Zh==",
                                        "Zm9=",  "Z===",     "====", "Zm9v=", "Zm 9",
                                        "Zm9\n", "Zg==Zg==", "Zm9_", "*",     "Zm9v\x80"};
    char mem[32];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = BUF(mem);
        base64_encode(&b, str_of(rows[i].octets));
        assert_string_equal(buf_cstr(&b), rows[i].text);
        b = BUF(mem);
        assert_true(base64_decode(&b, str_of(rows[i].text)));
        assert_string_equal(buf_cstr(&b), rows[i].octets);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct buf b = BUF(mem);
        if (base64_decode(&b, str_of(wrong[i]))) fail_msg("%s was taken", wrong[i]);
    }
    struct buf small = buf_on(mem, 2);
    assert_false(base64_decode(&small, STR("Zm9v")));
    struct buf url = BUF(mem);
    assert_true(base64url_decode(&url, STR("__79")) && url.n == 3);
    assert_false(base64url_decode(&url, STR("//79")));
}

static void texts(void **state) {
    static const char *const good[] = {"alice", "a b", "\xc3\xa4", "\xf0\x9f\x98\x80", "x@y"};
    static const char *const bad[] = {"",         "a\x01",        "a\x7f",    "\xc3",
                                      "\xc0\x80", "\xed\xa0\x80", "\xc2\x85", "\xf5\x80\x80\x80",
                                      "\xff",     "a\n"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) assert_true(login_is_sound(str_of(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (password_is_sound(str_of(bad[i]))) fail_msg("row %zu was taken", i);
    char mem[600];
    memset(mem, 'a', sizeof mem);
    assert_true(login_is_sound((struct str){mem, LOGIN_MAX}) &&
                password_is_sound((struct str){mem, PASSWORD_MAX}));
    assert_false(login_is_sound((struct str){mem, LOGIN_MAX + 1}) ||
                 password_is_sound((struct str){mem, PASSWORD_MAX + 1}));
}

static void make(struct verifier *v, const char *a, const char *b) {
    const char *why = "";
    memset(v, 0, sizeof *v);
    if (!verifier_add(v, str_of(a), &why) || (b && !verifier_add(v, str_of(b), &why)))
        fail_msg("%s %s", a, why);
}

static void checks(void **state) {
    struct verifier v;
    char mem[CRYPT_MAX], scram[400];
    struct buf hash = BUF(mem), made = BUF(scram);
    (void)state;
    make(&v, PENCIL, NULL);
    assert_true(verifier_check(&v, STR("pencil")));
    assert_false(verifier_check(&v, STR("Pencil")));
    assert_true(verifier_make_crypt(STR("s\xc3\xa4sam"), &hash));
    assert_memory_equal(mem, "$y$", 3);
    make(&v, buf_cstr(&hash), PENCIL);
    assert_true(verifier_check(&v, STR("s\xc3\xa4sam")));
    assert_false(verifier_check(&v, STR("pencil"))); /* the hash goes first */
    assert_true(verifier_make_scram(STR("s\xc3\xa4sam"), SCRAM_ITERATIONS_MIN, &made));
    make(&v, buf_cstr(&made), NULL);
    assert_true(verifier_check(&v, STR("s\xc3\xa4sam")));
    make(&v, "!$y$j9T$x$y", PENCIL); /* locked: by no way */
    assert_false(verifier_check(&v, STR("pencil")));
    memset(&v, 0, sizeof v);
    assert_false(verifier_check(&v, STR("")) || verifier_check(&v, STR("pencil")));
}

static void dummies(void **state) {
    struct verifier like, a, b, c;
    (void)state;
    make(&like, PENCIL, NULL);
    verifier_dummy(&a, &like, STR("secret"), STR("nobody"));
    verifier_dummy(&b, &like, STR("secret"), STR("nobody"));
    verifier_dummy(&c, &like, STR("secret"), STR("somebody"));
    assert_true(a.has_scram && a.scram.iterations == 4096 && a.scram.salt_n == 16);
    assert_memory_equal(a.scram.salt, b.scram.salt, 16); /* asked again, the same salt */
    assert_memory_not_equal(a.scram.salt, c.scram.salt, 16);
    assert_false(verifier_check(&a, STR("pencil")));
    verifier_dummy(&a, NULL, STR("secret"), STR("nobody"));
    assert_memory_equal(a.crypt, "$y$j9T$", 7);
    assert_false(verifier_check(&a, STR("warm")));
    char mem[CRYPT_MAX];
    struct buf hash = BUF(mem);
    verifier_make_crypt(STR("right"), &hash);
    make(&like, buf_cstr(&hash), NULL);
    verifier_dummy(&a, &like, STR("secret"), STR("nobody"));
    assert_false(verifier_check(&a, STR("right"))); /* of the same work, and never right */
    assert_true(strlen(a.crypt) == strlen(like.crypt));
}

static void wrong_verifiers(void **state) {
    static const char *const rows[] = {
        "",
        "x",
        "plain",
        "{SHA}xxx",
        "$9$abc$def",
        "$y$",
        "SCRAM-SHA-1$4096:c2FsdA==$AAAA:AAAA",
        "SCRAM-SHA-256$1:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$4096",
        "SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA",
        "SCRAM-SHA-256$4096:$$:",
        "SCRAM-SHA-256$99999999:c2FsdA==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct verifier v = {0};
        const char *why = NULL;
        if (verifier_add(&v, str_of(rows[i]), &why)) fail_msg("%s was taken", rows[i]);
        assert_non_null(why);
        assert_false(verifier_check(&v, STR("pencil")));
    }
}

static void tables(void **state) {
    static const struct {
        const char *text;
        size_t n;
        const char *why; /* a part of it */
    } rows[] = {
        {"", 0, NULL},
        {"# nobody yet\n\n   \n", 0, NULL},
        {"alice:" PENCIL "\nbob:!\n", 2, NULL},
        {"alice@example.org:\t" PENCIL "  ", 1, NULL},
        {"j\xc3\xbcrgen:" PENCIL "\n", 1, NULL},
        {"alice\n", 0, "f:1: this line has no colon"},
        {"ok:!\nalice:\n", 0, "f:2: this line has no verifier"},
        {":" PENCIL "\n", 0, "f:1: this line has no login"},
        {"a b:" PENCIL "\n", 0, "f:1: this line has no login"},
        {"a:" PENCIL " " PENCIL "\n", 0, "second SCRAM"},
        {"a:! !\n", 0, "second hash"},
        {"a:secret\n", 0, "no hash that crypt(3)"},
        {"a:!\nb:!\na:!\n", 0, "f:3: this line names a login that stands further up"},
        {"a:!\r\n", 1, NULL},
    };
    char why[400];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct table *t = table_parse(str_of(rows[i].text), "f", why, sizeof why);
        if ((t != NULL) != (rows[i].why == NULL)) fail_msg("row %zu: %s", i, t ? "taken" : why);
        if (t) assert_int_equal(table_count(t), rows[i].n);
        else if (!strstr(why, rows[i].why)) fail_msg("row %zu: %s", i, why);
        table_free(t);
    }
}

static void finding(void **state) {
    char why[400];
    struct verifier v;
    struct table *t = table_parse(STR("carol:" PENCIL "\nalice:" PENCIL "\nbob:!\n"), "f", why, sizeof why);
    (void)state;
    assert_non_null(t);
    assert_true(str_eq(table_at(t, 0)->login, STR("alice")) && table_at(t, 3) == NULL);
    assert_true(table_find(t, STR("s"), STR("alice"), &v) && verifier_check(&v, STR("pencil")));
    assert_true(table_find(t, STR("s"), STR("bob"), &v));
    assert_false(verifier_check(&v, STR("!")));
    assert_false(table_find(t, STR("s"), STR("Alice"), &v)); /* octet for octet */
    assert_false(verifier_check(&v, STR("pencil")));
    assert_false(table_find(NULL, STR("s"), STR("alice"), &v));
    table_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(base64_texts),    cmocka_unit_test(texts),
                                       cmocka_unit_test(checks),          cmocka_unit_test(dummies),
                                       cmocka_unit_test(wrong_verifiers), cmocka_unit_test(tables),
                                       cmocka_unit_test(finding)};
    return cmocka_run_group_tests_name("auth/verifier", tests, NULL, NULL);
}
