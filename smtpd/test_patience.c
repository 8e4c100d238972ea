/* test_patience.c: how long and how much a session bears: limits, rests, early talkers, every way to be slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtpd/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EHLO    "EHLO client.test\r\n"
#define FROM    "MAIL FROM:<a@client.test>\r\n"
#define TO      "RCPT TO:<b@mx.test>\r\n"
#define UNKNOWN "500 5.5.1 Command not known; HELP lists those that are\r\n"
#define LIMIT   "450 4.7.1 Too many (limit-test)\r\n"

static const int64_t SEC = 1000000000;

static void begin(struct world *w) {
    world_begin(w, "mx.test");
    world_feed(w, STR(EHLO));
    w->out_n = 0;
}

static void hears(struct world *w, const char *say, const char *want) {
    w->out_n = 0;
    world_feed(w, str_of(say));
    struct str said = world_said(w);
    if (!str_eq(said, str_of(want)))
        fail_msg("said \"%s\"\nheard \"%.*s\"\nwant \"%s\"", say, STR_ARGS(said), want);
}

static void uses(void **state) {
    static struct world w;
    (void)state;
    begin(&w);
    w.refused[SESSION_USE_MESSAGE] = true;
    hears(&w, FROM, LIMIT);
    w.refused[SESSION_USE_MESSAGE] = false;
    w.refused[SESSION_USE_MEMORY] = true;
    hears(&w, FROM, LIMIT);
    w.refused[SESSION_USE_MEMORY] = false;
    hears(&w, FROM, "250 2.1.0 Sender ok\r\n");
    assert_int_equal(w.used[SESSION_USE_MESSAGE], 2); /* not of the one without memory */
    /* Refused in its turn: behind those that are still being asked. */
    session_input(w.session, w.now, STR(TO));
    w.refused[SESSION_USE_RECIPIENT] = true;
    hears(&w, "RCPT TO:<c@mx.test>\r\n", "250 2.1.5 Recipient ok\r\n" LIMIT);
    assert_int_equal(w.used[SESSION_USE_RECIPIENT], 2);
    w.refused[SESSION_USE_RECIPIENT] = false;
    hears(&w, "DATA\r\nx\r\n.\r\n",
          "354 End the message with a line that is one dot\r\n250 2.0.0 Accepted as "
          "00000000000010000001\r\n");
    assert_int_equal(w.rcpts, 1);
    w.host.tls = w.refused[SESSION_USE_TLS] = true;
    hears(&w, "STARTTLS\r\n", LIMIT);
    w.refused[SESSION_USE_ERROR] = true;
    hears(&w, "X\r\n" FROM, UNKNOWN LIMIT);
    assert_true(w.closed);
    world_end(&w);
}

static void rests(void **state) {
    static struct world w;
    (void)state;
    begin(&w);
    w.host.error_rest_ms = 2000;
    hears(&w, "X\r\nX\r\nX\r\nX\r\n", UNKNOWN UNKNOWN UNKNOWN UNKNOWN);
    assert_true(session_wants(w.session));
    hears(&w, "X\r\nNOOP\r\nQUIT\r\n", UNKNOWN);
    assert_false(session_wants(w.session));
    assert_int_equal(w.deadline, w.now.mono_ns + 2 * SEC);
    w.now.mono_ns = w.deadline;
    w.out_n = 0;
    session_expire(w.session, w.now);
    assert_true(str_eq(world_said(&w), STR("250 2.0.0 Ok\r\n221 2.0.0 Goodbye\r\n")));
    world_end(&w);

    begin(&w); /* a client that may do all that */
    session_free(w.session);
    struct session_client client = {.ip = {4, {192, 0, 2, 7}}, .trusted = true};
    world_begin_as(&w, "mx.test", &client);
    w.host.error_rest_ms = 2000;
    hears(&w, "X\r\nX\r\nX\r\nX\r\nX\r\nNOOP\r\n",
          UNKNOWN UNKNOWN UNKNOWN UNKNOWN UNKNOWN "250 2.0.0 Ok\r\n");
    world_end(&w);

    begin(&w); /* a client that goes away meanwhile, and a program that stops */
    w.host.error_rest_ms = 2000;
    hears(&w, "X\r\nX\r\nX\r\nX\r\nX\r\n", UNKNOWN UNKNOWN UNKNOWN UNKNOWN UNKNOWN);
    session_stop(w.session, w.now);
    assert_true(w.closed);
    world_end(&w);
}

#define EARLY "554 5.5.1 You sent on where a reply must be awaited (early-commands)\r\n"

static void early(void **state) {
    static const struct {
        const char *say;
        uint32_t early;
    } rows[] = {
        {EHLO, 0},
        {EHLO "NOOP\r\n", 1},
        {"HELO x\r\nNOOP\r\n", 1},
        {EHLO EHLO "NOOP\r\n", 1}, /* told once */
        {"NOOP\r\nNOOP\r\n", 1},   /* before EHLO nobody has been told of PIPELINING */
    };
    static struct world w;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        world_begin(&w, "mx.test");
        w.host.early = SESSION_EARLY_LOG;
        world_feed(&w, str_of(rows[i].say));
        assert_int_equal(w.early, rows[i].early);
        assert_false(w.closed);
        world_end(&w);
        world_begin(&w, "mx.test");
        w.host.early = SESSION_EARLY_REFUSE;
        world_feed(&w, str_of(rows[i].say));
        assert_int_equal(w.closed, rows[i].early);
        world_end(&w);
    }
    begin(&w);
    w.host.early = SESSION_EARLY_REFUSE;
    hears(&w, "RSET\r\nNOOP\r\n", "250 2.0.0 Forgotten\r\n250 2.0.0 Ok\r\n");
    hears(&w, FROM TO "DATA\r\n",
          "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n354 End the message with a line that is one "
          "dot\r\n");
    hears(&w, "x\r\n.\r\nRSET\r\n", "250 2.0.0 Accepted as 00000000000010000001\r\n250 2.0.0 Forgotten\r\n");
    hears(&w, FROM TO "DATA\r\nx\r\n.\r\n", "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n" EARLY);
    assert_true(w.closed);
    world_end(&w);
    static const char *const last[] = {"NOOP", "VRFY x", "EXPN x", "ETRN x.test", "AUTH PLAIN"};
    for (size_t i = 0; i < sizeof last / sizeof last[0]; i++) {
        char text[60];
        begin(&w);
        w.host.early = SESSION_EARLY_REFUSE;
        snprintf(text, sizeof text, "RSET\r\n%s\r\nRSET\r\n", last[i]);
        hears(&w, text, "250 2.0.0 Forgotten\r\n" EARLY);
        world_end(&w);
    }
}

static void turned_away(void **state) {
    static struct world w;
    struct status st = status_make(421, "4.7.0", "Too many (limit-test)");
    (void)state;
    begin(&w);
    session_free(w.session);
    w.session = session_new(&w.host, &w, &w.client);
    w.out_n = 0;
    session_turn_away(w.session, w.now, &st, "limit-test");
    assert_true(str_eq(world_said(&w), STR("421 4.7.0 Too many (limit-test)\r\n")));
    assert_true(w.closed && w.rejects == 1);
    world_end(&w);
}

static void displaced(void **state) {
    static struct world w;
    (void)state;
    begin(&w);
    world_feed(&w, STR(FROM TO "DATA\r\nhalf"));
    assert_true(session_displace(w.session, w.now));
    assert_true(w.closed && w.aborted == 1);
    world_end(&w);
    begin(&w); /* not while its message is being made durable */
    world_feed(&w, STR(FROM TO "DATA\r\n"));
    session_input(w.session, w.now, STR("x\r\n.\r\n"));
    assert_false(session_displace(w.session, w.now));
    assert_false(w.closed);
    while (world_answer(&w)) {
    }
    assert_int_equal(w.received, 1);
    world_end(&w);
}

/* An octet every minute, at each place of a session: in the end it is over, and not much later than the settings say. */
static void slow(void **state) {
    static const struct {
        const char *before, *drip, *why;
        int64_t most; /* minutes */
    } rows[] = {
        {"", "NOOP", "command timeout", 5},
        {FROM, "RCPT TO:<", "command timeout", 5},
        {FROM TO "DATA\r\n", "x", "data too slow", 6},
        {FROM TO "DATA\r\n", "x\r\n", "data too slow", 6},
        {FROM TO "BDAT 1000000\r\n", "x", "data too slow", 6},
        {FROM TO "BDAT 1\r\nx", "BDAT 1\r\nx", "data too slow", 6},
        {"BDAT 1000000\r\n", "x", "command timeout", 5}, /* a chunk that is thrown away */
    };
    static struct world w;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(&w);
        w.host.data_rate = 100;
        world_feed(&w, str_of(rows[i].before));
        int64_t began = w.now.mono_ns;
        size_t n = strlen(rows[i].drip);
        for (size_t at = 0; !w.closed && at < 100; at++) {
            int64_t next = w.now.mono_ns + 60 * SEC;
            if (w.deadline <= next) {
                w.now.mono_ns = w.deadline;
                session_expire(w.session, w.now);
                break;
            }
            w.now.mono_ns = next;
            world_feed(&w, (struct str){rows[i].drip + at % n, 1});
        }
        if (!w.closed) fail_msg("row %zu goes on", i);
        assert_string_equal(w.why, rows[i].why);
        assert_true(w.now.mono_ns - began <= rows[i].most * 60 * SEC);
        world_end(&w);
    }
}

/* A client that never reads its replies is not fed any more, and then cut. */
static void never_reads(void **state) {
    static struct world w;
    (void)state;
    begin(&w);
    w.send_fails = 1;
    session_input(w.session, w.now, STR("HELP\r\nNOOP\r\n"));
    assert_false(session_wants(w.session));
    w.now.mono_ns = w.deadline;
    session_expire(w.session, w.now);
    assert_true(w.closed);
    assert_string_equal(w.why, "command timeout");
    world_end(&w);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(uses),        cmocka_unit_test(rests),     cmocka_unit_test(early),
        cmocka_unit_test(turned_away), cmocka_unit_test(displaced), cmocka_unit_test(slow),
        cmocka_unit_test(never_reads),
    };
    return cmocka_run_group_tests_name("patience", tests, NULL, NULL);
}
