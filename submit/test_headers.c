/* test_headers.c: address lists, the header scan, and the intake of lines, as tables. */
#include "common/arena.h"
#include "common/addrlist.h"
#include "submit/header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* --- address lists: what each says, joined by "|"; "!" and the offset where it is malformed --- */

static bool join(void *ctx, const struct addrlist_item *item) {
    struct buf *b = ctx;
    if (b->n) buf_addc(b, '|');
    buf_add(b, item->spec);
    return true;
}

static void lists(void **state) {
    static const struct {
        const char *text, *addresses; /* addresses NULL: malformed */
    } rows[] = {
        {"a@x", "a@x"},
        {"a", "a"},
        {"a@x,b@y", "a@x|b@y"},
        {" a@x , b@y ", "a@x|b@y"},
        {"", ""},
        {",, ,", ""},
        {"A Name <a@x>", "a@x"},
        {"\"Last, First\" <a@x>, b", "a@x|b"},
        {"\"a \\\" , b\" <c@x>", "c@x"},
        {"J. R. Tolkien <t@x>", "t@x"}, /* obs-phrase: dots */
        {"a@x (comment, with comma)", "a@x"},
        {"(c) a (c) @ (c) x (c (nested \\) ) ) ", "a@x"},
        {"a.b@x.y.z", "a.b@x.y.z"},
        {"a . b @ x . y", "a.b@x.y"}, /* obs-local-part, obs-domain */
        {"\"a b\"@x", "\"a b\"@x"},
        {"\"a@b\"@x", "\"a@b\"@x"},
        {"\"a\r\n b\"@x", "\"a b\"@x"}, /* folded: the line end is no part of it */
        {"a@[192.0.2.1]", "a@[192.0.2.1]"},
        {"a@[IPv6:::1], b", "a@[IPv6:::1]|b"},
        {"<a@x>", "a@x"},
        {"<@r1,@r2:a@x>", "a@x"}, /* obs-route */
        {"Group: a@x, B <b@y>;", "a@x|b@y"},
        {"Undisclosed recipients:;", ""},
        {"g: a; , h: b;, c", "a|b|c"},
        {"undisclosed-recipients: ;\r\n", ""},
        {"=?utf-8?q?Caf=C3=A9=2C?= <a@x>", "a@x"}, /* encoded words stay as they are */
        {"caf\xc3\xa9 <a@x>", "a@x"},
        {"a@x,\r\n\tb@y\r\n", "a@x|b@y"},
        {"root (Cron Daemon)", "root"},
        {"a b <c@x", NULL},
        {"a b", NULL}, /* two words are no address */
        {"a@", NULL},
        {"@x", NULL},
        {"a@x b@y", NULL}, /* no comma */
        {"a@@x", NULL},
        {"a@x.", NULL},
        {"a..b@x", NULL},
        {"<>", NULL},
        {"<a@x> junk", NULL},
        {"(unclosed a@x", NULL},
        {"\"unclosed <a@x>", NULL},
        {"a@[192.0.2.1", NULL},
        {"g: a", NULL},
        {"g: h: a;;", NULL},
        {"a;", NULL},
        {"a)", NULL},
        {"a\\b", NULL},
        {">", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char mem[4096];
        struct buf b = BUF(mem);
        struct addrlist_error err = {0};
        bool ok = addrlist_parse(str_of(rows[i].text), join, &b, &err);
        if (ok != (rows[i].addresses != NULL)) fail_msg("%s: %s", rows[i].text, ok ? "taken" : err.why);
        if (ok) assert_string_equal(buf_cstr(&b), rows[i].addresses);
        else assert_non_null(err.why);
    }
}

static void deep_comments(void **state) {
    size_t n = 1000000;
    char *text = malloc(n);
    struct addrlist_error err = {0};
    char mem[16];
    struct buf b = BUF(mem);
    memset(text, '(', n);
    assert_false(addrlist_parse((struct str){text, n}, join, &b, &err)); /* and no stack is used up */
    free(text);
}

static void too_long(void **state) {
    char text[ADDRLIST_SPEC_MAX + 10], mem[16];
    struct addrlist_error err = {0};
    struct buf b = BUF(mem);
    memset(text, 'a', sizeof text);
    assert_false(addrlist_parse((struct str){text, sizeof text}, join, &b, &err));
    assert_string_equal(err.why, "an address is too long");
}

/* --- recipients: valid, complete, once --- */

static void recipients(void **state) {
    struct arena *a = arena_new(1 << 20);
    struct rcptlist l;
    rcptlist_init(&l, a, STR("origin.test"));
    assert_true(rcptlist_add(&l, STR("bob, Bob <bob@Origin.Test>, \"odd one\", x@Y.z")));
    assert_int_equal(l.n, 3);
    assert_true(str_eq(l.v[0], STR("bob@origin.test")));
    assert_true(str_eq(l.v[1], STR("\"odd one\"@origin.test")));
    assert_true(str_eq(l.v[2], STR("x@y.z")));
    assert_false(rcptlist_add(&l, STR("ok@x, a@-bad-")));
    assert_non_null(strstr(l.why, "a@-bad-"));
    assert_int_equal(l.n, 4);
    assert_false(rcptlist_add(&l, STR("x\x01y@z")));
    assert_non_null(strstr(l.why, "\\x01")); /* a terminal sees no control */
    rcptlist_free(&l);
    arena_free(a);
}

/* --- the header: message in; recipients of -t, header out, body out --- */

static const struct {
    const char *name, *message, *rcpts, *head, *body; /* rcpts NULL: refused */
} headers[] = {
    {"plain", "To: a\r\nFrom: b@x\r\n\r\nbody\r\n", "a@o", "To: a@o\r\nFrom: b@x\r\n\r\n", "body\r\n"},
    {"all three, Bcc gone", "To: a@x\r\nCc: b@x\r\nBcc: c@x\r\nFrom: f@x\r\n\r\n", "a@x b@x c@x",
     "To: a@x\r\nCc: b@x\r\nFrom: f@x\r\n\r\n", ""},
    {"bCC folded", "From: f@x\r\nbCc: c@x,\r\n\td@x\r\n e@x\r\nTo: a@x\r\n\r\n", NULL, "", ""},
    {"bCC folded in order", "From: f@x\r\nbCc: c@x,\r\n\td@x,\r\n e@x\r\nTo: a@x\r\n\r\n", "c@x d@x e@x a@x",
     "From: f@x\r\nTo: a@x\r\n\r\n", ""},
    {"Bcc with space before the colon", "From: f@x\r\nBCC : c@x\r\n\r\nx\r\n", "c@x", "From: f@x\r\n\r\n",
     "x\r\n"},
    {"empty Bcc", "From: f@x\r\nTo: a@x\r\nBcc:\r\n\r\n", "a@x", "From: f@x\r\nTo: a@x\r\n\r\n", ""},
    {"From added", "To: a@x\r\n\r\nx\r\n", "a@x", "To: a@x\r\nFrom: me@o\r\n\r\n", "x\r\n"},
    {"no header", "hello\r\nworld\r\n", "", "From: me@o\r\n\r\n", "hello\r\nworld\r\n"},
    {"nothing", "", "", "From: me@o\r\n\r\n", ""},
    {"only an empty line", "\r\nTo: a@x\r\n", "", "From: me@o\r\n\r\n", "To: a@x\r\n"},
    {"a text line ends the header", "From: f@x\r\nTo: a@x\r\nhello there\r\nBcc: no@x\r\n", "a@x",
     "From: f@x\r\nTo: a@x\r\n\r\n", "hello there\r\nBcc: no@x\r\n"},
    {"mailbox line", "From alice Mon Jan  1\r\nFrom: f@x\r\nTo: a@x\r\n\r\n", "a@x",
     "From: f@x\r\nTo: a@x\r\n\r\n", ""},
    {"quoted mailbox line", ">From alice Mon Jan  1\r\nFrom: f@x\r\nTo: a@x\r\n\r\n", "a@x",
     "From: f@x\r\nTo: a@x\r\n\r\n", ""},
    {"space before the colon", "From : f@x\r\nTo: a@x\r\n\r\n", "a@x", "From : f@x\r\nTo: a@x\r\n\r\n", ""},
    {"Resent wins", "Resent-From: r@x\r\nResent-To: n@x\r\nFrom: f@x\r\nTo: old@x\r\n\r\n", "n@x",
     "Resent-From: r@x\r\nResent-To: n@x\r\nFrom: f@x\r\nTo: old@x\r\n\r\n", ""},
    {"the latest block of Resent",
     "Resent-From: r2\r\nResent-To: n2@x\r\nResent-Bcc: h@x\r\nResent-From: r1@x\r\nResent-To: n1@x\r\nFrom: "
     "f@x\r\nTo: old@x\r\n\r\n",
     "n2@x h@x",
     "Resent-From: r2@o\r\nResent-To: n2@x\r\nResent-From: r1@x\r\nResent-To: n1@x\r\nFrom: f@x\r\nTo: "
     "old@x\r\n\r\n",
     ""},
    {"Resent below", "Resent-Date: d\r\nFrom: f@x\r\nTo: old@x\r\nResent-To: n@x\r\n\r\n", "n@x",
     "Resent-Date: d\r\nFrom: f@x\r\nTo: old@x\r\nResent-To: n@x\r\n\r\n", ""},
    {"Resent without recipients", "Resent-Date: d\r\nFrom: f@x\r\nTo: a@x\r\n\r\n", "a@x",
     "Resent-Date: d\r\nFrom: f@x\r\nTo: a@x\r\n\r\n", ""},
    {"origin added in place",
     "From: root (Cron Daemon)\r\nTo: Bob <bob>, \"c c\" , d@y\r\nReply-To: g: e, f;\r\nSubject: a "
     "<b>\r\n\r\n",
     "bob@o \"c c\"@o d@y",
     "From: root@o (Cron Daemon)\r\nTo: Bob <bob@o>, \"c c\"@o , d@y\r\nReply-To: g: e@o, f@o;\r\nSubject: a "
     "<b>\r\n\r\n",
     ""},
    {"malformed From is left", "From: a b c\r\nTo: a@x\r\n\r\n", "a@x", "From: a b c\r\nTo: a@x\r\n\r\n", ""},
    {"malformed To is refused", "From: f@x\r\nTo: a b c\r\n\r\n", NULL, "", ""},
    {"Return-Path and Content-Length go",
     "Return-Path: <x>\r\nContent-Length: 5\r\nFrom: f@x\r\nTo: a@x\r\n\r\n", "a@x",
     "From: f@x\r\nTo: a@x\r\n\r\n", ""},
    {"8 bit in a comment", "From: f@x\r\nTo: \xe9t\xe9 <a@x>\r\n\r\n", "a@x",
     "From: f@x\r\nTo: \xe9t\xe9 <a@x>\r\n\r\n", ""},
    {"group of nobody", "From: f@x\r\nTo: undisclosed-recipients:;\r\nBcc: a@x\r\n\r\n", "a@x",
     "From: f@x\r\nTo: undisclosed-recipients:;\r\n\r\n", ""},
};

static void header(void **state) {
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        struct arena *a = arena_new(1 << 20);
        struct rcptlist l;
        struct text head = {.max = 100000};
        struct str body = STR_NONE;
        char mem[1000];
        struct buf b = BUF(mem);
        rcptlist_init(&l, a, STR("o"));
        struct header_edit e = {STR("o"), STR("me@o"), &l};
        bool ok = header_edit(str_of(headers[i].message), &e, &head, &body);
        if (ok != (headers[i].rcpts != NULL)) fail_msg("%s: %s", headers[i].name, l.why);
        for (size_t k = 0; ok && k < l.n; k++) {
            if (k) buf_addc(&b, ' ');
            buf_add(&b, l.v[k]);
        }
        if (ok) {
            text_add(&head, (struct str){"\0", 1});
            if (strcmp(buf_cstr(&b), headers[i].rcpts) != 0)
                fail_msg("%s: recipients %s", headers[i].name, mem);
            if (strcmp(head.p, headers[i].head) != 0) fail_msg("%s: header\n%s", headers[i].name, head.p);
            if (!str_eq(body, str_of(headers[i].body)))
                fail_msg("%s: body %.*s", headers[i].name, STR_ARGS(body));
        }
        text_free(&head);
        rcptlist_free(&l);
        arena_free(a);
    }
}

static void mailboxes(void **state) {
    static const struct {
        const char *name, *out;
    } rows[] = {
        {"", "a@x"},
        {"Alice Test", "Alice Test <a@x>"},
        {"Alice (x)", "\"Alice (x)\" <a@x>"},
        {"A. \"B\" \\", "\"A. \\\"B\\\" \\\\\" <a@x>"},
        {"Jos\xc3\xa9", "=?UTF-8?Q?=4A=6F=73=C3=A9?= <a@x>"},
        {"x\r\nBcc: y@z", "=?UTF-8?Q?=78=0D=0A=42=63=63=3A=20=79=40=7A?= <a@x>"}, /* no line of its own */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char mem[1000];
        struct buf b = BUF(mem);
        header_mailbox(&b, str_of(rows[i].name), STR("a@x"));
        assert_string_equal(buf_cstr(&b), rows[i].out);
    }
}

/* --- the lines --- */

static const struct {
    const char *in;
    size_t n; /* 0: strlen */
    bool dots;
    const char *out;
} lines[] = {
    {"a\nb\n", 0, true, "a\r\nb\r\n"},
    {"a\r\nb\r\n", 0, true, "a\r\nb\r\n"},
    {"a\r\nb\nc", 0, true, "a\r\nb\r\nc\r\n"},
    {"a\r\r\n\nb\n", 0, true, "a\r\n\r\nb\r\n"},
    {"H: a\rb\n\nx\ry\r", 0, true, "H: a b\r\n\r\nx\r\ny\r\n"},
    {"a\0b\n\0\n", 6, true, "ab\r\n\r\n"},
    {"a\n.\nb\n", 0, true, "a\r\n"},
    {"a\r\n.\r\nb\r\n", 0, true, "a\r\n"},
    {"a\n.\nb\n", 0, false, "a\r\n.\r\nb\r\n"},
    {"a\n.", 0, true, "a\r\n"},
    {"a\n..\n.b\n", 0, true, "a\r\n..\r\n.b\r\n"},
    {"\nx\r.\r\ny", 0, true, "\r\nx\r\n.\r\ny\r\n"}, /* after a bare CR it is no line of its own */
    {".\n", 0, true, ""},
    {"", 0, true, ""},
    {"\n", 0, true, "\r\n"},
    {"\r", 0, true, "\r\n"},
};

static void intake(void **state) {
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        size_t n = lines[i].n ? lines[i].n : strlen(lines[i].in);
        for (size_t piece = 1; piece <= n + 1; piece++) { /* however it arrives */
            struct intake in;
            intake_init(&in, lines[i].dots, 1000);
            for (size_t at = 0; at < n; at += piece)
                intake_add(&in, str_sub((struct str){lines[i].in, n}, at, at + piece));
            intake_end(&in);
            if (!str_eq(text_str(&in.text), str_of(lines[i].out)))
                fail_msg("row %zu in pieces of %zu: %.*s", i, piece, STR_ARGS(text_str(&in.text)));
            intake_free(&in);
        }
    }
}

static void intake_limit(void **state) {
    struct intake in;
    intake_init(&in, true, 10);
    intake_add(&in, STR("0123456789"));
    assert_false(in.text.failed);
    intake_end(&in);
    assert_true(in.text.failed);
    intake_free(&in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),      cmocka_unit_test(deep_comments), cmocka_unit_test(too_long),
        cmocka_unit_test(recipients), cmocka_unit_test(header),        cmocka_unit_test(mailboxes),
        cmocka_unit_test(intake),     cmocka_unit_test(intake_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
