/* Sessions of those who submit mail, as stories: logging in, senders, fix-ups. Each is told whole, and in
 * pieces of every size with a slow network; what the client hears and what is kept must not differ by one
 * byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtpd/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HI   "220 mx.test ESMTP Postern\r\n"
#define EHLO "EHLO a.test\r\n"
#define EHLO_TOP \
    "250-mx.test\r\n250-PIPELINING\r\n250-SIZE " \
    "100000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n"
#define EHLO_END    "250-LIMITS RCPTMAX=100\r\n250-ENHANCEDSTATUSCODES\r\n250 HELP\r\n"
#define EHLO_R      EHLO_TOP "250-AUTH SCRAM-SHA-256 PLAIN\r\n" EHLO_END
#define LOGIN       "AUTH PLAIN good\r\n"
#define LOGIN_R     "235 2.7.0 Authentication successful\r\n"
#define BAD_R       "535 5.7.8 Authentication credentials invalid\r\n"
#define GO          "334 Z28gb24=\r\n"
#define FIRST       "530 5.7.0 Log in first: AUTH\r\n"
#define FROM        "MAIL FROM:<s@a.test>\r\n"
#define FROM_R      "250 2.1.0 Sender ok\r\n"
#define TO          "RCPT TO:<r@mx.test>\r\n"
#define TO_R        "250 2.1.5 Recipient ok\r\n"
#define DATA_R      "354 End the message with a line that is one dot\r\n"
#define OK1         "250 2.0.0 Accepted as 00000000000010000001\r\n"
#define USE         "501 5.5.4 Use AUTH mechanism [initial-response]\r\n"
#define NOT_OFFERED "504 5.5.4 This mechanism is not offered\r\n"
#define CANCELLED   "501 5.0.0 Cancelled\r\n"
#define IN          EHLO LOGIN
#define IN_R        EHLO_R LOGIN_R
#define SEND(text)  IN FROM TO "DATA\r\n" text ".\r\n"
#define SEND_R      IN_R FROM_R TO_R DATA_R OK1

struct story {
    const char *in, *want; /* after the greeting */
    const char *data;      /* what is kept, or NULL */
};

static const struct story stories[] = {
    {IN FROM TO, IN_R FROM_R TO_R, NULL},
    {EHLO FROM LOGIN "EHLO a.test\r\n" LOGIN,
     EHLO_R FIRST LOGIN_R EHLO_TOP EHLO_END "503 5.5.1 You are logged in already\r\n", NULL},
    {"AUTH PLAIN good\r\nHELO a.test\r\nAUTH PLAIN good\r\n",
     "503 5.5.1 Say EHLO or HELO first\r\n250 mx.test\r\n503 5.5.1 Say EHLO first\r\n", NULL},
    {EHLO "AUTH PLAIN\r\nmore\r\ngood\r\n" FROM, EHLO_R GO GO LOGIN_R FROM_R, NULL},
    {EHLO "AUTH PLAIN =\r\nAUTH plain bad\r\nAUTH PLAIN good\r\n", EHLO_R BAD_R BAD_R LOGIN_R, NULL},
    {EHLO "AUTH PLAIN a\r\nAUTH PLAIN b\r\nAUTH PLAIN c\r\nNOOP\r\n",
     EHLO_R BAD_R BAD_R BAD_R "421 4.7.0 mx.test Too many failed logins\r\n", NULL},
    {EHLO "AUTH PLAIN end\r\nNOOP\r\n", EHLO_R "421 4.7.0 mx.test Too many failures\r\n", NULL},
    {EHLO "AUTH\r\nAUTH PLAIN a b\r\nAUTH AAAAAAAAAAAAAAAAAAAAA\r\nAUTH CRAM-MD5\r\nAUTH EXTERNAL =\r\nAUTH "
          "SCRAM-SHA-256-PLUS\r\n",
     EHLO_R USE USE USE NOT_OFFERED NOT_OFFERED NOT_OFFERED, NULL},
    {EHLO "AUTH PLAIN\r\n*\r\nNOOP\r\nAUTH PLAIN\r\n* \r\nNOOP\r\n",
     EHLO_R GO CANCELLED "250 2.0.0 Ok\r\n" GO BAD_R "250 2.0.0 Ok\r\n", NULL},
    {EHLO "AUTH PLAIN\r\nx\ny\r\nAUTH PLAIN\r\nQUIT\r\n",
     EHLO_R GO "501 5.5.2 Bare CR, bare LF or NUL in a response\r\n" GO BAD_R, NULL},
    {EHLO LOGIN FROM "AUTH PLAIN good\r\n",
     IN_R FROM_R "503 5.5.1 A message has been begun already; RSET forgets it\r\n", NULL},
    {IN "MAIL FROM:<mallory@a.test>\r\nRCPT TO:<r@mx.test>\r\n" FROM TO,
     IN_R "553 5.7.1 Not yours\r\n503 5.5.1 MAIL comes first\r\n" FROM_R TO_R, NULL},
    {IN "MAIL FROM:<s@a.test> AUTH=<>\r\nRSET\r\nMAIL FROM:<s@a.test> AUTH=a+2Bb@c.test\r\nRSET\r\nMAIL "
        "FROM:<s@a.test> AUTH=a+0D+0Ab@c.test\r\nMAIL FROM:<s@a.test> AUTH=\r\n",
     IN_R FROM_R "250 2.0.0 Forgotten\r\n" FROM_R
                 "250 2.0.0 Forgotten\r\n501 5.5.4 AUTH is <> or an address in xtext\r\n501 5.5.4 AUTH is <> "
                 "or an address in xtext\r\n",
     NULL},
    /* Fix-ups */
    {SEND("Subject: x\r\n\r\nbody\r\n"), SEND_R, "Subject: x\r\n\r\nbody\r\n"},
    {SEND("Bcc: a@b.test\r\nSubject: x\r\n\r\nBcc: y\r\n"), SEND_R, "Subject: x\r\n\r\nBcc: y\r\n"},
    {SEND("Subject: x\r\nBCC:\r\n a@b.test,\r\n\tc@d.test\r\nTo: y@z.test\r\n\r\n"), SEND_R,
     "Subject: x\r\nTo: y@z.test\r\n\r\n"},
    {SEND("bcc : a\r\nResent-Bcc: b\r\nX-Bcc: c\r\nBccx: d\r\n\r\n"), SEND_R, "X-Bcc: c\r\nBccx: d\r\n\r\n"},
    {SEND("Subject: x\r\nBcc: last\r\n"), SEND_R, "Subject: x\r\n"},
    {SEND("From: alice\r\n\r\n"), SEND_R, "From: alice@mx.test\r\n\r\n"},
    {SEND("From: Alice <alice>\r\n\r\n"), SEND_R, "From: Alice <alice@mx.test>\r\n\r\n"},
    {SEND("From: \"x@y\" <a>, b (c),\r\n d@e.test\r\nSubject: s\r\n"), SEND_R,
     "From: \"x@y\" <a@mx.test>, b@mx.test (c),\r\n d@e.test\r\nSubject: s\r\n"},
    {SEND("From: a@b.test\r\n\r\n"), SEND_R, "From: a@b.test\r\n\r\n"},
    {SEND("FROM : a\r\n\r\n"), SEND_R, "FROM : a@mx.test\r\n\r\n"},
    {SEND("From: (\r\n\r\n"), SEND_R, "From: (\r\n\r\n"},
    {SEND("From a@b Sat Nov 21\r\nBcc: x\r\nFrom: a\r\n\r\n"), SEND_R,
     "From a@b Sat Nov 21\r\nFrom: a@mx.test\r\n\r\n"},
    {SEND("no header\r\nBcc: x\r\n"), SEND_R, "no header\r\nBcc: x\r\n"},
    {SEND(" Bcc: x\r\n"), SEND_R, " Bcc: x\r\n"},
    {SEND("\r\nBcc: x\r\n"), SEND_R, "\r\nBcc: x\r\n"},
    {SEND("Subject: x\r\nno field\r\nBcc: x\r\n"), SEND_R, "Subject: x\r\nno field\r\nBcc: x\r\n"},
    {SEND("Bcc"
          "\r\n"),
     SEND_R, "Bcc\r\n"},
    {SEND(""), SEND_R, ""},
    {IN FROM TO "BDAT 6\r\nBcc: aBDAT 18 LAST\r\n,b\r\nFrom: a\r\n\r\nx\r\n",
     IN_R FROM_R TO_R "250 2.0.0 Chunk taken\r\n" OK1, "From: a@mx.test\r\n\r\nx\r\n"},
};

static void begin(struct world *w) {
    static struct network near;
    const char *why;
    struct session_client client = {.ip = {4, {192, 0, 2, 7}}, .service = SERVICE_SUBMISSION};
    network_parse(STR("192.0.2.0/24"), &near, &why);
    world_begin_as(w, "mx.test", &client);
    w->host.cleartext = (struct networks){1, &near};
}

static void told(const struct story *s, size_t piece, bool slow) {
    static struct world w;
    struct str in = str_of(s->in);
    begin(&w);
    for (size_t at = 0; at < in.n && !session_over(w.session); at += piece) {
        if (slow) w.send_fails = 1;
        world_feed(&w, str_sub(in, at, at + piece));
    }
    w.out[w.out_n] = '\0';
    if (s->want && strcmp(w.out + sizeof HI - 1, s->want) != 0)
        fail_msg("%s\nsaid: %s\nwant: %s", s->in, w.out, s->want);
    assert_int_equal(w.committed, s->data != NULL);
    if (s->data && !str_eq((struct str){w.data, w.data_n}, str_of(s->data)))
        fail_msg("%s\nkept: %.*s\nwant: %s", s->in, (int)w.data_n, w.data, s->data);
    session_lost(w.session, w.now, "gone");
    assert_true(!w.mail_open && !w.auth_open);
    world_end(&w);
}

static void stories_told(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) told(&stories[i], 100000, false);
}

static void stories_in_pieces(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++)
        for (size_t piece = 1; piece < 40; piece++) told(&stories[i], piece, piece & 1);
}

/* RFC 4954 4: lines of AUTH may have 12288 octets, in their exchange only. */
static void long_lines(void **state) {
    static struct world w;
    static char text[14000];
    (void)state;
    for (size_t n = 12200; n < 12400; n += 7) {
        begin(&w);
        world_feed(&w, STR(EHLO));
        size_t from = w.out_n;
        snprintf(text, sizeof text, "AUTH PLAIN %0*d\r\nNOOP\r\n", (int)(n - 13), 0);
        for (size_t at = 0, all = strlen(text); at < all; at += 1000)
            world_feed(&w, str_sub(str_of(text), at, at + 1000));
        w.out[w.out_n] = '\0';
        assert_string_equal(w.out + from, n <= 12288 ? BAD_R "250 2.0.0 Ok\r\n"
                                                     : "500 5.5.2 Line too long\r\n250 2.0.0 Ok\r\n");
        from = w.out_n;
        snprintf(text, sizeof text, "AUTH PLAIN\r\n%0*d\r\nNOOP\r\n", (int)(n - 2), 0);
        world_feed(&w, str_of(text));
        w.out[w.out_n] = '\0';
        assert_string_equal(w.out + from, n <= 12288 ? GO BAD_R "250 2.0.0 Ok\r\n"
                                                     : GO "500 5.5.6 Line too long\r\n250 2.0.0 Ok\r\n");
        world_end(&w);
    }
}

/* Without TLS, elsewhere than near; and on port 25. */
static void not_there(void **state) {
    static struct world w;
    struct session_client client = {.ip = {4, {192, 0, 2, 7}}, .service = SERVICE_SUBMISSION};
    (void)state;
    world_begin_as(&w, "mx.test", &client);
    world_feed(&w, STR(EHLO LOGIN FROM));
    w.out[w.out_n] = '\0';
    assert_string_equal(
        w.out, HI EHLO_TOP EHLO_END
        "538 5.7.11 Encryption is needed first: STARTTLS\r\n530 5.7.0 Say STARTTLS first, then AUTH\r\n");
    world_end(&w);
    world_begin(&w, "mx.test");
    world_feed(&w, STR(EHLO LOGIN));
    w.out[w.out_n] = '\0';
    assert_string_equal(w.out, HI EHLO_TOP EHLO_END "502 5.5.1 AUTH is for the submission ports\r\n");
    world_end(&w);
    begin(&w);
    w.host.mechs = STR_NONE; /* auth is not there */
    world_feed(&w, STR(EHLO LOGIN));
    w.out[w.out_n] = '\0';
    assert_string_equal(w.out, HI EHLO_TOP EHLO_END "454 4.7.0 Temporary authentication failure\r\n");
    world_end(&w);
}

/* The client leaves, or we do, while auth thinks. */
static void gone(void **state) {
    static struct world w;
    (void)state;
    for (int how = 0; how < 3; how++) {
        begin(&w);
        session_input(w.session, w.now, STR(EHLO "AUTH PLAIN good\r\n"));
        assert_true(w.auth_asked && !session_wants(w.session));
        if (how == 0) session_lost(w.session, w.now, "gone");
        if (how == 1) session_stop(w.session, w.now);
        if (how == 2) session_expire(w.session, w.now);
        if (how != 1) assert_true(w.closed && !w.auth_open);
        else assert_true(!w.closed && world_answer(&w) && w.closed);
        world_end(&w);
    }
}

static void received(void **state) {
    static struct world w;
    (void)state;
    begin(&w);
    world_feed(&w, STR(SEND("Subject: x\r\n\r\n")));
    w.prefix[w.prefix_n] = '\0';
    assert_non_null(strstr(w.prefix, "from a.test ([192.0.2.7])"));
    assert_non_null(strstr(w.prefix, "with ESMTPA\r\n"));
    assert_non_null(strstr(w.prefix, "\r\nDate: "));
    assert_non_null(strstr(w.prefix, "\r\nMessage-ID: <"));
    assert_string_equal(w.origin, "client [192.0.2.7] helo a.test login alice");
    world_end(&w);
    begin(&w);
    w.host.hide_client = true;
    world_feed(&w, STR(SEND("Date: x\r\nMessage-ID: y\r\n\r\n")));
    w.prefix[w.prefix_n] = '\0';
    assert_null(strstr(w.prefix, "192.0.2.7"));
    assert_null(strstr(w.prefix, "a.test"));
    assert_null(strstr(w.prefix, "Date: "));
    world_end(&w);
}

/* They must not use up the memory that the message needs. */
static void many_from(void **state) {
    static struct world w;
    begin(&w);
    w.host.size_limit = 1000000;
    w.host.rcpt_limit = 5;
    world_feed(&w, STR(EHLO LOGIN "MAIL FROM:<s@a.test>\r\nRCPT TO:<r@mx.test>\r\nDATA\r\n"));
    for (int i = 0; i < 10000; i++) world_feed(&w, STR("From: someone.with.a.long.name@a-long-domain.test\r\n"));
    world_feed(&w, STR("\r\n.\r\n"));
    assert_int_equal(w.committed, 1);
    world_end(&w);
}

static void from_checked(void **state) {
    static struct world w;
    static const struct {
        const char *in;
        bool good;
    } rows[] = {
        {SEND("From: s@a.test\r\n\r\n"), true},
        {SEND("From: S <s@A.test>\r\n\r\n"), true},
        {SEND("From: x@a.test\r\n\r\n"), false},
        {SEND("From: s@a.test, x@a.test\r\n\r\n"), false},
        {SEND("From: s@a.test\r\nFrom: x@a.test\r\n\r\n"), false},
        {SEND("From:\r\n\r\n"), false},
        {SEND("Subject: x\r\n\r\n"), false},
        {SEND("From: s\r\n\r\n"), false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(&w);
        w.host.check_from = true;
        world_feed(&w, str_of(rows[i].in));
        if ((w.committed == 1) != rows[i].good) fail_msg("row %zu", i);
        world_end(&w);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories_told), cmocka_unit_test(stories_in_pieces),
        cmocka_unit_test(long_lines),   cmocka_unit_test(not_there),
        cmocka_unit_test(gone),         cmocka_unit_test(received),
        cmocka_unit_test(from_checked), cmocka_unit_test(many_from),
    };
    return cmocka_run_group_tests_name("submission", tests, NULL, NULL);
}
