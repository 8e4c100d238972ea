/* test_journey.c: log lines read back. */
#include "tools/journey.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define HEAD "2026-11-21T09:30:00.123456Z mx postern/queue[123]: "

static void lines(void **state) {
    struct log_line l;
    assert_true(log_line_parse(
        STR(HEAD
            "1M80CPS9P00000000001: queued from=a@x rcpts=2 why=\"two words \\x22\" batch=3 commit_us=1500"),
        &l));
    assert_true(l.has_id && l.pid == 123 && str_eq(l.program, STR("queue")) &&
                str_eq(l.event, STR("queued")));
    assert_int_equal(l.us % 1000000, 123456);
    assert_int_equal(l.us / 1000000, 1795253400);
    assert_true(str_eq(log_field(&l, "from"), STR("a@x")));
    assert_true(str_eq(log_field(&l, "why"), STR("two words \\x22")));
    assert_int_equal(log_number(&l, "rcpts"), 2);
    assert_int_equal(log_number(&l, "from"), 0);
    assert_true(log_field(&l, "rom").p == NULL);
    /* The same moment as system loggers write it. */
    static const char *const zones[] = {"10:30:00.123456+01:00", "08:00:00.123456-0130", "09:30:00.123456+0000"};
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++) {
        char line[100];
        snprintf(line, sizeof line, "2026-11-21T%s mx postern/queue[1]: listening", zones[i]);
        assert_true(log_line_parse(str_of(line), &l));
        assert_int_equal(l.us, 1795253400123456);
    }
    assert_true(log_line_parse(STR(HEAD "listening name=127.0.0.1:25"), &l));
    assert_true(!l.has_id && str_eq(l.event, STR("listening")));
    static const char *const others[] = {
        "",
        "x",
        "2026-11-21T09:30:00.123456Z mx postern/queue[123]:",
        "2026-11-21 09:30:00 mx postern/queue[1]: x",
        "2026-11-21T09:30:00.123456+1 mx postern/queue[1]: x",
        "2026-11-21T09:30:00.123456+01:0x mx postern/queue[1]: x",
        "2026-11-21T09:30:00.123456 mx postern/queue[1]: x",
        "2026-11-21T09:30:00.12345xZ mx postern/queue[1]: x",
        "2026-11-21T09:30:00.123456Z mx postern/queue: x",
        "2026-11-21T09:30:00.123456Z mx postern/queue[x]: x",
        "2026-11-21T09:30:00.123456Z mx [1]: ",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (log_line_parse(str_of(others[i]), &l)) fail_msg("%s", others[i]);
}

static void sentences(void **state) {
    static const struct {
        const char *line, *sentence;
        uint64_t took;
    } rows[] = {
        {HEAD "1M80CPS9P00000000001: queued batch=3 commit_us=1500",
         "made it durable, with 3 message(s) in the commit", 1500},
        {HEAD "1M80CPS9P00000000001: sent host=h[1]:25 rcpts=2 ok=1 connect_us=7 transmit_us=3",
         "gave it to h[1]:25, 1 of 2 recipient(s) accepted", 10},
        {HEAD "1M80CPS9P00000000001: stored user=bob mailbox=\"maildir:/a b\"",
         "put it into maildir:/a b of bob", 0},
        {HEAD "1M80CPS9P00000000001: deferred to=a@x", "<a@x> waits - s after attempt -: -", 0},
        {HEAD "1M80CPS9P00000000001: invented a=b c=\"d e\"", "invented a=b c=\"d e\"", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char mem[200];
        struct buf b = BUF(mem);
        struct log_line l;
        uint64_t took;
        assert_true(log_line_parse(str_of(rows[i].line), &l));
        journey_tell(&l, &b, &took);
        assert_string_equal(buf_cstr(&b), rows[i].sentence);
        assert_int_equal(took, rows[i].took);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(sentences)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
