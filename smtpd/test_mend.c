/* test_mend.c: what becomes of the lines of old machines, and that no second message hides in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtpd/mend.h"
#include "smtpd/testing.h"

#include <string.h>

static void mended(bool stuff, struct str in, size_t piece, struct buf *out) {
    struct mender m = {.stuff = stuff};
    for (size_t at = 0; at < in.n; at += piece) {
        struct str bytes = str_sub(in, at, at + piece);
        while (bytes.n) {
            size_t used = mend(&m, bytes, out);
            assert_true(used > 0 && used <= bytes.n);
            bytes = str_sub(bytes, used, bytes.n);
        }
    }
    mend_end(&m, out);
    assert_false(out->failed);
}

static void lines(void **state) {
    static const struct {
        struct str in;
        const char *plain, *stuffed; /* NULL: the same */
    } rows[] = {
        {STR("a\r\nb\r\n"), "a\r\nb\r\n", NULL},
        {STR("a\nb\n\n"), "a\r\nb\r\n\r\n", NULL},
        {STR("a\rb\r\n"), "a b\r\n", NULL},
        {STR("a\r\r\nb\0c\n"), "a \r\nb c\r\n", NULL},
        {STR("end\r"), "end ", NULL},
        {STR("a\r\n.\r\n"), "a\r\n.\r\n", NULL},
        {STR("a\r\n.\n"), "a\r\n.\r\n", "a\r\n..\r\n"},
        {STR("a\n.\r\n"), "a\r\n.\r\n", "a\r\n..\r\n"},
        {STR("a\n.\n"), "a\r\n.\r\n", "a\r\n..\r\n"},
        {STR("a\n.b\n"), "a\r\n.b\r\n", "a\r\n..b\r\n"},
        {STR("a\n\r.\r\n"), "a\r\n .\r\n", NULL},
        {STR("a\r\n.\r.\r\n"), "a\r\n. .\r\n", NULL},
        {STR("\n.\r\n"), "\r\n.\r\n", "\r\n..\r\n"},
        {STR(".\n"), ".\r\n", "..\r\n"},
        {STR(".\r\n"), ".\r\n", NULL},
        {STR(".\r\r\n"), ". \r\n", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t piece = 1; piece < 12; piece++)
            for (int stuff = 0; stuff < 2; stuff++) {
                char mem[100];
                struct buf b = BUF(mem);
                const char *want = stuff && rows[i].stuffed ? rows[i].stuffed : rows[i].plain;
                mended(stuff, rows[i].in, piece, &b);
                if (!str_eq(buf_str(&b), str_of(want)))
                    fail_msg("row %zu, stuff %d, pieces of %zu", i, stuff, piece);
            }
}

/* Whole sessions: what an old machine says, how many messages that is, and the data of the last. */
static void sessions(void **state) {
    static const struct {
        struct str say;
        uint32_t messages;
        struct str data;
    } rows[] = {
        {STR("EHLO a\nMAIL FROM:<a@b>\nRCPT TO:<b@mx.test>\nDATA\nx\n.\nQUIT\n"), 1, STR("x\r\n")},
        {STR("EHLO a\nMAIL FROM:<a@b>\nRCPT TO:<b@mx.test>\nDATA\n..x\n.\nQUIT\n"), 1, STR(".x\r\n")},
        {STR("EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nx\ny\n.\nMAIL FROM:<evil@b>\nRCPT "
             "TO:<b@mx.test>\nDATA\nz\n.\n\r\n.\r\nQUIT\r\n"),
         1, STR("x\r\ny\r\n.\r\nMAIL FROM:<evil@b>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nz\r\n.\r\n\r\n")},
        {STR("EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nx\r\n.\nMAIL "
             "FROM:<evil@b>\r\n.\r\nQUIT\r\n"),
         1, STR("x\r\n.\r\nMAIL FROM:<evil@b>\r\n")},
        {STR("EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nx\n.\r\ny\r\n.\r\nQUIT\r\n"), 1,
         STR("x\r\n.\r\ny\r\n")},
        {STR("EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nx\ry\0z\r\n.\r\nQUIT\r\n"), 1,
         STR("x y z\r\n")},
        {STR("EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@mx.test>\r\nBDAT 4\r\na\nb\rBDAT 3 "
             "LAST\r\n\nc\rQUIT\r\n"),
         1, STR("a\r\nb\r\nc \r\n")},
        {STR("EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@mx.test>\r\nBDAT 5 LAST\r\n\n.\nx\nQUIT\r\n"), 1,
         STR("\r\n.\r\nx\r\n")},
        {STR("EHLO a\r\nMAIL FROM:<a@b\0c>\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b\r@mx.test>\nQUIT\n"), 0, STR("")},
    };
    static struct world w;
    struct session_client client = {.ip = {4, {192, 0, 2, 7}}, .mended = true};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t piece = 1; piece < 40; piece += 1 + piece / 8) {
            world_begin_as(&w, "mx.test", &client);
            for (size_t at = 0; at < rows[i].say.n && !session_over(w.session); at += piece)
                world_feed(&w, str_sub(rows[i].say, at, at + piece));
            if (!w.closed || strcmp(w.why, "quit") != 0) fail_msg("row %zu: not over", i);
            if (w.received != rows[i].messages) fail_msg("row %zu: %u messages", i, w.received);
            struct str data = {w.data, w.received ? w.data_n : 0};
            if (!str_eq(data, rows[i].data))
                fail_msg("row %zu in pieces of %zu: data is \"%.*s\"", i, piece, STR_ARGS(data));
            world_end(&w);
        }
}

/* Whoever is not listed is refused as ever. */
static void others(void **state) {
    static struct world w;
    (void)state;
    world_begin(&w, "mx.test");
    w.out_n = 0;
    world_feed(&w, STR("EHLO a\nNOOP\r\n"));
    assert_true(str_eq(world_said(&w), STR("500 5.5.2 Bare CR, bare LF or NUL in a command\r\n")));
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(sessions),
                                       cmocka_unit_test(others)};
    return cmocka_run_group_tests_name("mend", tests, NULL, NULL);
}
