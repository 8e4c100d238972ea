/* Sessions as stories: what the client says, what it must hear. Each story is also told in pieces of every
 * size, with answers from inside in other orders and with a slow network: what the client hears must not
 * differ by one byte. */
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
#define EHLO_R \
    "250-mx.test\r\n250-PIPELINING\r\n250-SIZE " \
    "100000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n250-LIMITS " \
    "RCPTMAX=100\r\n250-ENHANCEDSTATUSCODES\r\n250 " \
    "HELP\r\n"
#define FROM       "MAIL FROM:<s@a.test>\r\n"
#define FROM_R     "250 2.1.0 Sender ok\r\n"
#define TO         "RCPT TO:<r@mx.test>\r\n"
#define TO_R       "250 2.1.5 Recipient ok\r\n"
#define DATA_R     "354 End the message with a line that is one dot\r\n"
#define BYE        "221 2.0.0 Goodbye\r\n"
#define OK1        "250 2.0.0 Accepted as 00000000000010000001\r\n"
#define OK2        "250 2.0.0 Accepted as 00000000000010000002\r\n"
#define STRAY_R    "500 5.5.2 Bare CR, bare LF or NUL in a command\r\n"
#define STRAY_DATA "554 5.6.0 Bare CR, bare LF or NUL in the message\r\n"
#define BEGUN      "503 5.5.1 A message has been begun already; RSET forgets it\r\n"
#define CHUNK_R    "250 2.0.0 Chunk taken\r\n"
#define NO_UTF8    "553 5.6.7 Non-ASCII address without SMTPUTF8\r\n"
#define BAD_UTF8   "octets that are not UTF-8 text (RFC 3629)\r\n"
#define NO(text)   "501 5.5.4 " text "\r\n"
#define ORCPT_R    "ORCPT is type;xtext of at most 500 characters"
#define ENVID_R    "ENVID is xtext of at most 100 characters"
#define UNKNOWN    "500 5.5.1 Command not known; HELP lists those that are\r\n"

struct story {
    const char *name;
    struct str in;
    const char *want; /* after the greeting */
    const char *data; /* of the last message, or NULL when none may be accepted */
    uint32_t messages;
};

static const struct story stories[] = {
    {"one message", STR(EHLO FROM TO "DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n"),
     EHLO_R FROM_R TO_R DATA_R OK1 BYE, "Subject: x\r\n\r\n.dot\r\n", 1},
    {"two messages, HELO",
     STR("helo a.test\r\n" FROM TO "data\r\nx\r\n.\r\n" FROM TO "DATA\r\ny\r\n.\r\nquit\r\n"),
     "250 mx.test\r\n" FROM_R TO_R DATA_R OK1 FROM_R TO_R DATA_R OK2 BYE, "y\r\n", 2},
    {"null reverse-path, postmaster, empty message",
     STR(EHLO "MAIL FROM:<>\r\nRCPT TO:<PostMaster>\r\nDATA\r\n.\r\n"), EHLO_R FROM_R TO_R DATA_R OK1, "", 1},
    {"parameters",
     STR(EHLO "MAIL FROM:<s@a.test> SIZE=100000 BODY=8BITMIME\r\nRSET\r\n"
              "MAIL FROM:<s@a.test> size=100001\r\nMAIL FROM:<s@a.test> SIZE=99999999999999999999\r\n"
              "MAIL FROM:<s@a.test> SIZE=x\r\nMAIL FROM:<s@a.test> SIZE=\r\nMAIL FROM:<s@a.test> SIZE=-1\r\n"
              "MAIL FROM:<s@a.test> BODY=BINARYMIME\r\nMAIL FROM:<s@a.test> FOO=BAR\r\n"
              "MAIL FROM:<s@a.test> SIZE=1 SIZE=2\r\nMAIL FROM:<s@a.test>SIZE=1\r\n"
              "MAIL FROM:<s@a.test> body=7bit\r\nRCPT TO:<r@mx.test> FOO=NEVER\r\n"),
     EHLO_R FROM_R "250 2.0.0 Forgotten\r\n552 5.3.4 Message too large for this server (message-size-limit)\r\n"
                   "552 5.3.4 Message too large for this server (message-size-limit)\r\n501 5.5.4 SIZE needs a number\r\n501 "
                   "5.5.4 SIZE needs a number\r\n"
                   "501 5.5.4 SIZE needs a number\r\n501 5.5.4 BODY is 7BIT or 8BITMIME\r\n555 5.5.4 "
                   "Parameter not known\r\n"
                   "501 5.5.4 Parameter given twice\r\n501 5.1.7 after \">\" only a space and parameters may "
                   "follow (RFC 5321 4.1.2)\r\n" FROM_R "555 5.5.4 Parameter not known\r\n",
     NULL, 0},
    {"chunks",
     STR(EHLO FROM TO "BDAT 5\r\n.\r\n.xBDAT 4\r\n\r\n.\rNOOP\r\nbdat 1\r\n\nBDAT 0 LAST\r\n" FROM TO
                      "BDAT 3 last\r\nabcQUIT\r\n"),
     EHLO_R FROM_R TO_R CHUNK_R CHUNK_R "250 2.0.0 Ok\r\n" CHUNK_R OK1 FROM_R TO_R OK2 BYE, "abc\r\n", 2},
    {"refused chunks are never commands",
     STR("BDAT 6\r\nQUIT\r\n" EHLO "BDAT 6\r\nQUIT\r\n" FROM "BDAT 6\r\nQUIT\r\n" FROM
         "RCPT TO:<no@mx.test>\r\n"
         "BDAT 6 LAST\r\nQUIT\r\nBDAT 0\r\n" FROM TO "BDAT 8\r\na\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n" FROM TO
         "BDAT 2\r\nx\r" TO "DATA\r\n" FROM "BDAT 0 LAST\r\n"),
     "503 5.5.1 Say EHLO or HELO first\r\n" EHLO_R "503 5.5.1 MAIL comes first\r\n" FROM_R
     "503 5.5.1 RCPT comes first\r\n" FROM_R "550 5.1.1 No such user here\r\n554 5.5.1 No recipient was "
     "accepted\r\n503 5.5.1 MAIL comes first\r\n" FROM_R TO_R
     "554 5.6.0 Bare CR, bare LF or NUL in the message\r\n503 5.5.1 MAIL comes first\r\n" FROM_R TO_R CHUNK_R
         BEGUN BEGUN BEGUN "554 5.6.0 Bare CR, bare LF or NUL in the message\r\n",
     NULL, 0},
    {"a chunk of no known size", STR(EHLO FROM TO "BDAT x\r\nQUIT\r\n" FROM),
     EHLO_R FROM_R TO_R "421 4.7.0 mx.test BDAT needs a size; what follows cannot be told from commands\r\n",
     NULL, 0},
    {"a chunk that was begun and forgotten", STR(EHLO FROM TO "BDAT 3\r\na\r\nRSET\r\nBDAT 3 LAST\r\na\r\n"),
     EHLO_R FROM_R TO_R CHUNK_R "250 2.0.0 Forgotten\r\n503 5.5.1 MAIL comes first\r\n", NULL, 0},
    {"addresses beyond ASCII",
     STR(EHLO
         "MAIL FROM:<\xc3\xa9@a.test>\r\nMAIL FROM:<\xc3\xa9@a.test> SMTPUTF8=1\r\nMAIL "
         "FROM:<\xc3\xa9@a.test> SMTPUTF8=\r\n"
         "MAIL FROM:<\xc3@a.test> SMTPUTF8\r\nMAIL FROM:<s@a.test>\r\nRCPT TO:<\xc3\xa9@mx.test>\r\nRSET\r\n"
         "MAIL FROM:<\xc3\xa9@a.test> BODY=8BITMIME smtputf8\r\nRCPT TO:<\xc0\xaf@mx.test>\r\n"
         "RCPT TO:<\xc3\xa9@mx.test>\r\nDATA\r\nx\r\n.\r\nEHLO \xc3\xa9.test\r\n"),
     EHLO_R NO_UTF8 NO("SMTPUTF8 has no value")
         NO("SMTPUTF8 has no value") "501 5.1.7 " BAD_UTF8 FROM_R NO_UTF8 "250 2.0.0 Forgotten\r\n" FROM_R
                                     "501 5.1.3 " BAD_UTF8 TO_R DATA_R OK1
                                     "501 5.5.4 Your name is needed: a domain or [address]\r\n",
     "x\r\n", 1},
    {"reports",
     STR(EHLO
         "MAIL FROM:<s@a.test> RET=FULL ENVID=a+2Bb\r\nRCPT TO:<r@mx.test> NOTIFY=NEVER "
         "ORCPT=rfc822;x+3D@a.test\r\n"
         "RCPT TO:<r2@mx.test> notify=success,DELAY,failure\r\nRCPT TO:<r3@mx.test> NOTIFY=NEVER,SUCCESS\r\n"
         "RCPT TO:<r3@mx.test> NOTIFY=\r\nRCPT TO:<r3@mx.test> NOTIFY=DELAY,DELAY\r\n"
         "RCPT TO:<r3@mx.test> ORCPT=x\r\nRCPT TO:<r3@mx.test> ORCPT=rfc822;a+0D+0Ab\r\n"
         "RCPT TO:<r3@mx.test> ORCPT=;a\r\nRCPT TO:<r3@mx.test> ORCPT=rfc822;\r\n"
         "RCPT TO:<r3@mx.test> NOTIFY=DELAY NOTIFY=DELAY\r\nRSET\r\nMAIL FROM:<s@a.test> RET=HALF\r\n"
         "MAIL FROM:<s@a.test> ENVID=a+4\r\nMAIL FROM:<s@a.test> ENVID=a+0A\r\nMAIL FROM:<s@a.test> "
         "ENVID=\r\n"),
     EHLO_R FROM_R TO_R TO_R NO("NOTIFY=NEVER stands alone")
         NO("NOTIFY is NEVER or some of SUCCESS,FAILURE,DELAY") NO("NOTIFY names a word twice") NO(ORCPT_R)
             NO(ORCPT_R) NO(ORCPT_R) NO(ORCPT_R) NO("Parameter given twice") "250 2.0.0 Forgotten\r\n" NO(
                 "RET is FULL or HDRS") NO(ENVID_R) NO(ENVID_R) NO(ENVID_R),
     NULL, 0},
    {"recipients in order",
     STR(EHLO FROM "RCPT TO:<no1@mx.test>\r\n" TO "RCPT TO:<later@mx.test>\r\nRCPT TO:<x@elsewhere.test>\r\n"
                   "RCPT TO:<mad@mx.test>\r\nRCPT TO:<@relay.test,@b.test:ok@mx.test>\r\nRCPT "
                   "<x@y.test>\r\nDATA\r\nx\r\n.\r\n"),
     EHLO_R FROM_R "550 5.1.1 No such user here\r\n" TO_R
                   "450 4.2.1 Mailbox busy\r\n554 5.7.1 Relaying denied\r\n"
                   "451 4.3.0 Confused for a moment, try again later\r\n" TO_R
                   "501 5.5.4 Use RCPT TO:<address>\r\n" DATA_R OK1,
     "x\r\n", 1},
    {"a recipient twice",
     STR(EHLO FROM TO TO "RCPT TO:<\"r\"@MX.test>\r\nRCPT TO:<R@mx.test>\r\nDATA\r\nx\r\n.\r\n"),
     EHLO_R FROM_R TO_R TO_R TO_R TO_R DATA_R OK1, "x\r\n", 1},
    {"order",
     STR("MAIL FROM:<s@a.test>\r\n" TO "DATA\r\nRSET\r\nNOOP x\r\n" EHLO TO "DATA\r\n" FROM FROM "DATA\r\n"
         "RCPT TO:<no@mx.test>\r\nDATA\r\n" TO "HELO b.test\r\nDATA\r\nRSET x\r\nDATA x\r\nQUIT x\r\n"),
     "503 5.5.1 Say EHLO or HELO first\r\n503 5.5.1 Say EHLO or HELO first\r\n503 5.5.1 Say EHLO or HELO "
     "first\r\n"
     "250 2.0.0 Forgotten\r\n250 2.0.0 Ok\r\n" EHLO_R
     "503 5.5.1 MAIL comes first\r\n503 5.5.1 MAIL comes first\r\n" FROM_R
     "503 5.5.1 A message has been begun already; RSET forgets it\r\n503 5.5.1 RCPT comes first\r\n"
     "550 5.1.1 No such user here\r\n554 5.5.1 No recipient was accepted\r\n" TO_R "250 mx.test\r\n"
     "503 5.5.1 MAIL comes first\r\n501 5.5.4 RSET has no argument\r\n503 5.5.1 MAIL comes first\r\n"
     "501 5.5.4 QUIT has no argument\r\n",
     NULL, 0},
    {"names",
     STR("EHLO\r\nHELO \r\nEHLO a b\r\nEHLO <x>\r\nEHLO a_b.test\r\nEHLO [192.0.2.1]\r\nEHLO \xff\r\n"),
     "501 5.5.4 Your name is needed: a domain or [address]\r\n501 5.5.4 Your name is needed: a domain or "
     "[address]\r\n"
     "501 5.5.4 Your name is needed: a domain or [address]\r\n501 5.5.4 Your name is needed: a domain or "
     "[address]\r\n" EHLO_R EHLO_R "501 5.5.4 Your name is needed: a domain or [address]\r\n",
     NULL, 0},
    {"others", STR("VRFY r@mx.test\r\nVRFY\r\nEXPN x\r\nFOO \x1b[31m\r\n\r\nNOOP  \r\n NOOP\r\nNOOP\tx\r\n"),
     "252 2.5.0 Not told; send mail and see\r\n501 5.5.4 VRFY needs an address\r\n502 5.5.1 EXPN is not "
     "offered\r\n" UNKNOWN
     "500 5.5.2 A command was expected\r\n250 2.0.0 Ok\r\n500 5.5.2 A command was expected\r\n" UNKNOWN,
     NULL, 0},
    {"stray octets in commands", STR("NOOP\nNOOP\r\nNO\0OP\r\nNOOP\r\r\nEHLO a\rb\r\nNOOP\r\n"),
     STRAY_R STRAY_R STRAY_R STRAY_R "250 2.0.0 Ok\r\n", NULL, 0},
    {"HTTP", STR("POST / HTTP/1.1\r\nHost: mx.test\r\n\r\n" EHLO FROM TO),
     "421 4.7.0 mx.test This is SMTP, not HTTP\r\n", NULL, 0},
    {"nothing after QUIT", STR(EHLO "QUIT\r\n" FROM TO), EHLO_R BYE, NULL, 0},
    {"data cut off", STR(EHLO FROM TO "DATA\r\nabc\r\n"), EHLO_R FROM_R TO_R DATA_R, NULL, 0},
/* Smuggling: the inner commands are part of the data, whatever surrounds the dot, and the message is
 * refused. */
#define SMUGGLE(name, end) \
    { \
        "smuggle " name, \
            STR(EHLO FROM TO "DATA\r\na" end "MAIL FROM:<evil@a.test>\r\n" TO \
                             "DATA\r\nevil\r\n.\r\nNOOP\r\n"), \
            EHLO_R FROM_R TO_R DATA_R STRAY_DATA "250 2.0.0 Ok\r\n", NULL, 0 \
    }
    SMUGGLE("lf dot lf", "\n.\n"),
    SMUGGLE("lf dot crlf", "\n.\r\n"),
    SMUGGLE("crlf dot lf", "\r\n.\n"),
    SMUGGLE("cr dot cr", "\r.\r"),
    SMUGGLE("cr dot crlf", "\r.\r\n"),
    SMUGGLE("crlf dot cr", "\r\n.\r"),
    SMUGGLE("crlf dot cr crlf", "\r\n.\r\r\n"),
    SMUGGLE("lf cr dot", "\n\r.\n\r"),
    SMUGGLE("crlf nul dot", "\r\n\0.\r\n"),
    SMUGGLE("crlf dot nul", "\r\n.\0\r\n"),
    SMUGGLE("lf lf dot", "\n\n.\r\n"),
    {"a CR before a real end", STR(EHLO FROM TO "DATA\r\na\r\r\n.\r\nNOOP\r\n"),
     EHLO_R FROM_R TO_R DATA_R STRAY_DATA "250 2.0.0 Ok\r\n", NULL, 0},
    {"loop by Delivered-To", STR(EHLO FROM TO "DATA\r\nDelivered-To: r@MX.test\r\n\r\n.\r\n"),
     EHLO_R FROM_R TO_R DATA_R "554 5.4.6 Delivered to this recipient before: a mail loop\r\n", NULL, 0},
    {"Delivered-To of another", STR(EHLO FROM TO "DATA\r\nDelivered-To: q@mx.test\r\n\r\n.\r\n"),
     EHLO_R FROM_R TO_R DATA_R OK1, "Delivered-To: q@mx.test\r\n\r\n", 1},
};
enum { STORIES = sizeof stories / sizeof stories[0] };

enum { SLOW = 1, BACKWARDS = 2 };

static void tell(struct world *w, const struct story *t, size_t piece, unsigned how) {
    world_begin(w, "mx.test");
    w->answer_backwards = how & BACKWARDS;
    for (size_t at = 0; at < t->in.n && !session_over(w->session); at += piece) {
        if (how & SLOW) w->send_fails = 1;
        world_feed(w, str_sub(t->in, at, at + piece));
    }
}

static void check(const struct story *t, size_t piece, unsigned how) {
    static struct world w;
    char want[8192];
    tell(&w, t, piece, how);
    snprintf(want, sizeof want, HI "%s", t->want);
    if (!str_eq(world_said(&w), str_of(want)))
        print_error("%s, pieces of %zu, how %u:\n%.*s\n-- instead of\n%s", t->name, piece, how,
                    STR_ARGS(world_said(&w)), want);
    assert_true(str_eq(world_said(&w), str_of(want)));
    struct str bare = world_without_code(world_said(&w), STR("mx.test"), true);
    if (bare.n) fail_msg("%s: no enhanced code (RFC 2034): %.*s", t->name, STR_ARGS(bare));
    assert_int_equal(w.received, t->messages);
    assert_int_equal(w.committed, t->messages);
    if (t->data) assert_true(str_eq((struct str){w.data, w.data_n}, str_of(t->data)));
    session_lost(w.session, w.now, "gone");
    assert_false(w.mail_open); /* what was not complete was aborted */
    world_end(&w);
}

static void stories_told(void **state) {
    for (size_t i = 0; i < STORIES; i++) check(&stories[i], stories[i].in.n, 0);
}

static void stories_in_pieces(void **state) {
    for (size_t i = 0; i < STORIES; i++)
        for (unsigned how = 0; how < 4; how++)
            for (size_t piece = 1; piece <= stories[i].in.n; piece += piece < 40 ? 1 : 7)
                check(&stories[i], piece, how);
}

static void say(struct world *w, const char *text) {
    world_feed(w, str_of(text));
}

static void heard(struct world *w, const char *want) {
    if (!str_eq(world_said(w), str_of(want)))
        print_error("heard:\n%.*s\nwant:\n%s", STR_ARGS(world_said(w)), want);
    assert_true(str_eq(world_said(w), str_of(want)));
    w->out_n = 0;
}

static void received_field(void **state) {
    static struct world w;
    world_begin(&w, "mx.test");
    say(&w, EHLO FROM TO "DATA\r\nx: y\r\n.\r\n");
    w.prefix[w.prefix_n] = '\0';
    assert_string_equal(
        w.prefix, "Received: from a.test ([192.0.2.7])\r\n\tby mx.test (Postern) with ESMTP\r\n"
                  "\tid 00000000000010000001\r\n\tfor <r@mx.test>;\r\n\tSun, 22 Nov 2026 00:00:00 +0000\r\n");
    assert_string_equal(w.origin, "client [192.0.2.7] helo a.test");
    say(&w, "HELO a.test\r\n" FROM TO "RCPT TO:<q@mx.test>\r\nDATA\r\nno header\r\n.\r\n");
    w.prefix[w.prefix_n] = '\0';
    assert_string_equal(w.prefix,
                        "Received: from a.test ([192.0.2.7])\r\n\tby mx.test (Postern) with SMTP\r\n"
                        "\tid 00000000000010000002;\r\n\tSun, 22 Nov 2026 00:00:00 +0000\r\n\r\n");
    assert_int_equal(w.rcpts, 2);
    world_end(&w);
}

static const struct session_tls some_tls = {.on = true,
                                            .version = STR("TLSv1.3"),
                                            .cipher = STR("TLS_AES_128_GCM_SHA256"),
                                            .bits = 128,
                                            .name = STR("mx.test"),
                                            .client = STR("peer.test")};

static void starts_tls(void **state) {
    static struct world w;
    world_begin(&w, "mx.test");
    w.host.tls = true;
    say(&w, "STARTTLS\r\n"); /* without EHLO: gsasl */
    heard(&w, "220 mx.test ESMTP Postern\r\n220 2.0.0 Ready to start TLS\r\n");
    assert_int_equal(w.tls_starts, 1);
    world_end(&w);
    world_begin(&w, "mx.test");
    w.host.tls = true;
    say(&w, EHLO "STARTTLS now\r\n");
    assert_non_null(memmem(w.out, w.out_n, "250-STARTTLS\r\n", 14));
    assert_int_equal(w.tls_starts, 0);
    w.out_n = 0;
    say(&w, "MAIL FROM:<a@b.test>\r\nSTARTTLS\r\nRSET\r\nSTARTTLS\r\n");
    heard(&w, "250 2.1.0 Sender ok\r\n503 5.5.1 A message has been begun already; RSET forgets it\r\n"
              "250 2.0.0 Forgotten\r\n220 2.0.0 Ready to start TLS\r\n");
    assert_int_equal(w.tls_starts, 1);
    assert_false(session_wants(w.session));
    w.out_n = 0;
    session_tls_done(w.session, w.now, &some_tls);
    assert_true(session_wants(w.session));
    heard(&w, "");
    /* RFC 3207 4.2: the client must say who it is again, and nothing of before holds. */
    say(&w, "MAIL FROM:<a@b.test>\r\nEHLO a.test\r\n");
    assert_non_null(memmem(w.out, w.out_n, "503 5.5.1 Say EHLO or HELO first", 32));
    assert_null(memmem(w.out, w.out_n, "STARTTLS", 8));
    say(&w, "STARTTLS\r\n" FROM TO "DATA\r\nx: y\r\n.\r\n");
    assert_non_null(memmem(w.out, w.out_n, "503 5.5.1 TLS is not to be had here", 35));
    w.prefix[w.prefix_n] = '\0';
    assert_string_equal(w.prefix,
                        "Received: from a.test ([192.0.2.7])\r\n\tby mx.test (Postern) with ESMTPS\r\n"
                        "\t(TLSv1.3, 128 bits, client peer.test)\r\n\tid 00000000000010000001\r\n"
                        "\tfor <r@mx.test>\r\n\ttls TLS_AES_128_GCM_SHA256;\r\n"
                        "\tSun, 22 Nov 2026 00:00:00 +0000\r\n");
    world_end(&w);
}

/* What comes behind STARTTLS in the clear is never a command, in whatever pieces it comes. */
static void nothing_behind_starttls(void **state) {
    static const char *const pieces[][2] = {{EHLO "STARTTLS\r\nRSET\r\n", ""},
                                            {EHLO "STARTTLS\r\n", "RSET\r\n"},
                                            {EHLO "STARTTLS\r\nRS", "ET\r\n"}};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        static struct world w;
        world_begin(&w, "mx.test");
        w.host.tls = true;
        say(&w, pieces[i][0]);
        w.out_n = 0;
        if (!w.closed) session_input(w.session, w.now, str_of(pieces[i][1]));
        assert_true(w.closed || w.tls_starts == 1);
        if (!w.closed) session_tls_done(w.session, w.now, &some_tls);
        heard(&w, "");
        world_end(&w);
    }
    static struct world w;
    world_begin(&w, "mx.test");
    say(&w, EHLO);
    assert_null(memmem(w.out, w.out_n, "STARTTLS", 8));
    w.out_n = 0;
    say(&w, "STARTTLS\r\n");
    heard(&w, "454 4.7.0 TLS is not to be had now, try again later\r\n");
    world_end(&w);
}

static void local_user(void **state) {
    static struct world w;
    struct session_client client = {.service = SERVICE_LOCAL, .local = true, .uid = 1000};
    world_begin_as(&w, "mx.test", &client);
    say(&w, EHLO FROM TO "DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n");
    w.prefix[w.prefix_n] = '\0';
    assert_string_equal(
        w.prefix, "Received: by mx.test (Postern, from userid 1000) with local\r\n"
                  "\tid 00000000000010000001\r\n\tfor <r@mx.test>;\r\n\tSun, 22 Nov 2026 00:00:00 +0000\r\n"
                  "Date: Sun, 22 Nov 2026 00:00:00 +0000\r\nMessage-ID: <00000000000010000001@mx.test>\r\n");
    assert_string_equal(w.origin, "local user 1000");
    say(&w, FROM TO "DATA\r\nDate: x\r\nMessage-ID: y\r\n\r\n.\r\n");
    assert_null(memmem(w.prefix, w.prefix_n, "Date", 4));
    world_end(&w);
}

#define LHLO_R  EHLO_R
#define NOT_NOW "451 4.3.0 No mail can be taken now, try again later\r\n"
#define DROPPED "500 5.5.1 This is LMTP, not SMTP: say LHLO\r\n"

static void lmtp(void **state) {
    static const struct story told[] = {
        {"a reply for each that was accepted, twice for one given twice",
         STR("LHLO a.test\r\n" FROM TO "RCPT TO:<no@mx.test>\r\nRCPT TO:<r2@mx.test>\r\n" TO
             "DATA\r\nx\r\n.\r\nQUIT\r\n"),
         LHLO_R FROM_R TO_R "550 5.1.1 No such user here\r\n" TO_R TO_R DATA_R OK1 OK1 OK1 BYE, "x\r\n", 1},
        {"after BDAT LAST too, but not after a chunk before it",
         STR("LHLO a.test\r\n" FROM TO "RCPT TO:<r2@mx.test>\r\nBDAT 3\r\nx\r\nBDAT 0 LAST\r\n" FROM TO
             "RCPT TO:<r2@mx.test>\r\nBDAT 2\r\na\nBDAT 0 LAST\r\n"),
         LHLO_R FROM_R TO_R TO_R CHUNK_R OK1 OK1 FROM_R TO_R TO_R STRAY_DATA "503 5.5.1 MAIL comes first\r\n",
         "a\n", 1},
        {"refused at the end: for each",
         STR("LHLO a.test\r\n" FROM TO "RCPT TO:<r2@mx.test>\r\nDATA\r\n\n\r\n.\r\n"),
         LHLO_R FROM_R TO_R TO_R DATA_R STRAY_DATA STRAY_DATA, NULL, 0},
        {"nobody accepted: 503 (RFC 2033 4.2)",
         STR("LHLO a.test\r\n" FROM "RCPT TO:<no@mx.test>\r\nDATA\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"),
         LHLO_R FROM_R
         "550 5.1.1 No such user here\r\n503 5.5.1 RCPT comes first\r\n503 5.5.1 RCPT comes first\r\n"
         "250 2.0.0 Ok\r\n",
         NULL, 0},
        {"another language", STR("EHLO a.test\r\nHELO a.test\r\n" FROM),
         DROPPED DROPPED "503 5.5.1 Say LHLO first\r\n", NULL, 0},
    };
    static struct world w;
    struct session_client client = {.service = SERVICE_LMTP, .local = true, .uid = 1000};
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        for (size_t piece = 1; piece < 60; piece += 29) {
            world_begin_as(&w, "mx.test", &client);
            assert_true(str_eq(world_said(&w), STR("220 mx.test LMTP Postern\r\n")));
            w.out_n = 0;
            for (size_t at = 0; at < told[i].in.n; at += piece)
                world_feed(&w, str_sub(told[i].in, at, at + piece));
            if (!str_eq(world_said(&w), str_of(told[i].want)))
                fail_msg("%s:\n%.*s\nwanted:\n%s", told[i].name, STR_ARGS(world_said(&w)), told[i].want);
            assert_int_equal(w.committed, told[i].messages);
            world_end(&w);
        }
    }
    world_begin_as(&w, "mx.test", &client); /* the last chunk is refused: for each too */
    say(&w, "LHLO a.test\r\n" FROM TO TO);
    w.out_n = 0;
    w.no_queue = true;
    say(&w, "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    heard(&w, NOT_NOW NOT_NOW "250 2.0.0 Ok\r\n");
    say(&w, FROM TO TO);
    w.out_n = 0;
    say(&w, "BDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\n");
    heard(&w, NOT_NOW "503 5.5.1 MAIL comes first\r\n");
    w.no_queue = false;
    world_end(&w);
    world_begin_as(&w, "mx.test", &client);
    say(&w, "LHLO a.test\r\n" FROM TO "DATA\r\nSubject: x\r\n\r\n.\r\n");
    w.prefix[w.prefix_n] = '\0';
    assert_string_equal(
        w.prefix, "Received: from a.test (userid 1000)\r\n\tby mx.test (Postern) with LMTP\r\n"
                  "\tid 00000000000010000001\r\n\tfor <r@mx.test>;\r\n\tSun, 22 Nov 2026 00:00:00 +0000\r\n");
    world_end(&w);
    world_begin(&w, "mx.test");
    say(&w, "LHLO a.test\r\n");
    assert_non_null(strstr(w.out, "500 5.5.1 This is SMTP, not LMTP: say EHLO\r\n"));
    world_end(&w);
}

/* RFC 8689: offered and taken under TLS only; the header field is heard where the envelope says nothing. */
static void require_tls(void **state) {
    static const struct {
        bool tls;
        const char *param, *fields;
        int body; /* -1: refused */
    } rows[] = {
        {false, " REQUIRETLS", "", -1},
        {true, " REQUIRETLS", "", 4},
        {true, " requiretls BODY=8BITMIME", "TLS-Required: no\r\n", 5},
        {true, " REQUIRETLS=1", "", -1},
        {false, "", "TLS-Required: No\r\n", 8},
        {true, "", "X: y\r\ntls-required:\tNO \r\n", 8},
        {true, "", "TLS-Required: Yes\r\n", 0},
        {true, "", "\r\nTLS-Required: No\r\n", 0},
    };
    static struct world w;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[300];
        world_begin(&w, "mx.test");
        if (rows[i].tls)
            session_tls_done(w.session, w.now,
                             &(struct session_tls){.version = STR("TLSv1.3"), .cipher = STR("x")});
        w.out_n = 0;
        say(&w, EHLO);
        w.out[w.out_n] = '\0';
        assert_int_equal(strstr(w.out, "250-REQUIRETLS\r\n") != NULL, rows[i].tls);
        snprintf(text, sizeof text, "MAIL FROM:<s@a.test>%s\r\n" TO "DATA\r\n%s\r\nx\r\n.\r\n", rows[i].param,
                 rows[i].fields);
        say(&w, text);
        assert_int_equal(w.committed, rows[i].body >= 0);
        if (rows[i].body >= 0) assert_int_equal(w.body, rows[i].body);
        world_end(&w);
    }
}

/* RFC 4865: only on the submission ports, within bounds, one of the two. The clock says
 * 2026-11-22T00:00:00Z. */
static void future_release(void **state) {
    static const struct {
        enum session_service service;
        const char *params, *reply;
        int64_t after; /* seconds from now; 0: none */
    } rows[] = {
        {SERVICE_SUBMISSION, " HOLDFOR=3600", FROM_R, 3600},
        {SERVICE_SUBMISSION, " HOLDFOR=86400", FROM_R, 86400},
        {SERVICE_SUBMISSION, " HOLDFOR=86401", NO("That is longer than mail may be held here (future-release)"), 0},
        {SERVICE_SUBMISSION, " HOLDFOR=1234567890", NO("HOLDFOR needs a number of seconds"), 0},
        {SERVICE_SUBMISSION, " HOLDFOR=-1", NO("HOLDFOR needs a number of seconds"), 0},
        {SERVICE_SUBMISSION, " HOLDFOR=0", NO("HOLDFOR needs a number of seconds"), 0},
        {SERVICE_SUBMISSION, " HOLDFOR=", NO("HOLDFOR needs a number of seconds"), 0},
        {SERVICE_SUBMISSION, " HOLDUNTIL=2026-11-22T01:00:00Z", FROM_R, 3600},
        {SERVICE_SUBMISSION, " holduntil=2026-11-22t03:00:00.25+02:00", FROM_R, 3600},
        {SERVICE_SUBMISSION, " HOLDUNTIL=2026-11-21T22:30:00-02:30", FROM_R, 3600},
        {SERVICE_SUBMISSION, " HOLDUNTIL=2027-11-22T01:00:00Z",
         NO("That is longer than mail may be held here (future-release)"), 0},
        {SERVICE_SUBMISSION, " HOLDUNTIL=2026-02-30T01:00:00Z",
         NO("HOLDUNTIL needs a time like 2026-12-24T18:00:00Z"), 0},
        {SERVICE_SUBMISSION, " HOLDUNTIL=2026-11-22T01:00:00+00\x1a" "00",
         NO("HOLDUNTIL needs a time like 2026-12-24T18:00:00Z"), 0},
        {SERVICE_SUBMISSION, " HOLDUNTIL=2026-11-22", NO("HOLDUNTIL needs a time like 2026-12-24T18:00:00Z"),
         0},
        {SERVICE_SUBMISSION, " HOLDFOR=1 HOLDUNTIL=2026-11-22T01:00:00Z",
         NO("HOLDFOR and HOLDUNTIL exclude each other"), 0},
        {SERVICE_SMTP, " HOLDFOR=1", "555 5.5.4 Parameter not known\r\n", 0},
        {SERVICE_LMTP, " HOLDUNTIL=2026-11-22T01:00:00Z", "555 5.5.4 Parameter not known\r\n", 0},
    };
    static struct network near = {.ip = {4, {192, 0, 2}}, .bits = 24};
    static struct world w;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[300];
        struct session_client client = {.ip = {4, {192, 0, 2, 7}}, .service = rows[i].service};
        bool lmtp = rows[i].service == SERVICE_LMTP;
        world_begin_as(&w, "mx.test", &client);
        w.host.release_ms = 86400000;
        w.host.mechs = STR("PLAIN");
        w.host.cleartext = (struct networks){1, &near};
        say(&w, lmtp ? "LHLO a.test\r\n" : EHLO);
        w.out[w.out_n] = '\0';
        assert_int_equal(strstr(w.out, "250-FUTURERELEASE 86400 2026-11-23T00:00:00Z\r\n") != NULL,
                         rows[i].service == SERVICE_SUBMISSION);
        if (rows[i].service == SERVICE_SUBMISSION) say(&w, "AUTH PLAIN good\r\n");
        w.out_n = 0;
        snprintf(text, sizeof text, "MAIL FROM:<s@a.test>%s\r\n", rows[i].params);
        say(&w, text);
        heard(&w, rows[i].reply);
        if (rows[i].after) {
            say(&w, TO "DATA\r\nx\r\n.\r\n");
            assert_int_equal(w.after_ms, w.now.wall_ms + rows[i].after * 1000);
        }
        world_end(&w);
    }
}

static void error_limit(void **state) {
    static struct world w;
    world_begin(&w, "mx.test");
    w.host.error_limit = 3;
    say(&w, EHLO "X\r\nRCPT TO:<a@b>\r\n");
    assert_false(w.closed);
    w.out_n = 0;
    say(&w, "Y\r\nNOOP\r\n");
    heard(&w, UNKNOWN "421 4.7.0 mx.test Too many errors (error-limit)\r\n");
    assert_true(w.closed);
    world_end(&w);
}

static void recipient_limit(void **state) {
    static struct world w;
    world_begin(&w, "mx.test");
    say(&w, EHLO FROM);
    for (int i = 0; i < 100; i++) {
        char rcpt[40];
        snprintf(rcpt, sizeof rcpt, "RCPT TO:<r%d@mx.test>\r\n", i);
        say(&w, rcpt);
        say(&w, rcpt); /* twice is one */
    }
    w.out_n = 0;
    for (int i = 0; i < 30; i++) say(&w, TO); /* 4xx never ends the session (RFC 5321 4.5.3.1.10) */
    assert_false(w.closed);
    assert_int_equal(w.out_n,
                     30 * strlen("452 4.5.3 Too many recipients; send them the message separately (recipient-limit)\r\n"));
    say(&w, "DATA\r\n.\r\n");
    assert_int_equal(w.rcpts, 100);
    world_end(&w);
}

/* A group of recipients is asked at once, answered in order, and the limit counts what is accepted. */
static void asks_ahead(void **state) {
    static struct world w;
    world_begin(&w, "mx.test");
    session_input(w.session, w.now, STR(EHLO FROM TO "RCPT TO:<no@mx.test>\r\n" TO "DATA\r\nx\r\n.\r\n"));
    assert_int_equal(w.ask_n, 3);
    assert_false(session_wants(w.session));
    w.answer_backwards = true;
    w.out_n = 0;
    while (world_answer(&w)) {
    }
    heard(&w, TO_R "550 5.1.1 No such user here\r\n" TO_R DATA_R OK1);
    world_end(&w);
}

static void size_limit(void **state) {
    static struct world w;
    char line[1002];
    world_begin(&w, "mx.test");
    memset(line, 'x', sizeof line);
    memcpy(line + 998, "\r\n", 3);
    say(&w, EHLO FROM TO "DATA\r\n");
    for (int i = 0; i < 100; i++) say(&w, line);
    w.out_n = 0;
    say(&w, ".\r\n");
    heard(&w, OK1);
    say(&w, FROM TO "DATA\r\n");
    for (int i = 0; i < 100; i++) say(&w, line);
    say(&w, "x\r\n");
    assert_int_equal(w.aborted, 1); /* at once, not only at the end */
    say(&w, "NOOP\r\n");            /* still data */
    w.out_n = 0;
    say(&w, ".\r\nNOOP\r\n");
    heard(&w, "552 5.3.4 Message too large for this server (message-size-limit)\r\n250 2.0.0 Ok\r\n");
    assert_int_equal(w.not_received, 1);
    world_end(&w);
}

static void hop_limit(void **state) {
    static struct world w;
    world_begin(&w, "mx.test");
    for (int hops = 50; hops <= 51; hops++) {
        say(&w, EHLO FROM TO "DATA\r\n");
        for (int i = 0; i < hops; i++) say(&w, "Received: by x; y\r\n");
        w.out_n = 0;
        say(&w, "\r\n.\r\n");
        heard(&w, hops == 50 ? OK1 : "554 5.4.6 Too many Received fields: a mail loop (hop-limit)\r\n");
    }
    world_end(&w);
}

/* A header full of Delivered-To costs neither time nor the memory that the message needs. */
static void many_delivered_to(void **state) {
    static struct world w;
    world_begin(&w, "mx.test");
    w.host.size_limit = 1000000;
    w.host.rcpt_limit = 5;
    say(&w, EHLO FROM TO "DATA\r\n");
    for (int i = 0; i < 10000; i++) say(&w, "Delivered-To: someone.with.a.long.name@a-long-domain.test\r\n");
    w.out_n = 0;
    say(&w, "\r\n.\r\n");
    heard(&w, OK1);
    world_end(&w);
}

static void long_line(void **state) {
    static struct world w;
    char line[5000];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    world_begin(&w, "mx.test");
    w.out_n = 0;
    say(&w, line);
    say(&w, line);
    heard(&w, "");
    say(&w, "\r\nNOOP\r\n");
    heard(&w, "500 5.5.2 Line too long\r\n250 2.0.0 Ok\r\n");
    world_end(&w);
}

#define UNREADABLE "421 4.7.0 mx.test BDAT needs a size; what follows cannot be told from commands\r\n"

/* Octets of a chunk may follow a BDAT however it is spelled: when its size cannot be read, nothing is read any more. */
static void chunk_unreadable_line(void **state) {
    static char overlong[64 + 5000] = "BDAT 6 LAST ";
    memset(overlong + 12, 'x', 5000);
    memcpy(overlong + 5012, "\r\n", 3);
    const struct str lines[] = {str_of(overlong),      STR("BDAT 6\0\r\n"),  STR("BDAT\t6\r\n"),
                                STR(" BDAT 6\r\n"),    STR("\0\tbdat 6\r\n"), STR("bdat 6\rx\r\n"),
                                STR("BDAT 6\n LAST\r\n"), STR("BDAT6\r\n"),       STR("BDAT\r\n")};
    static struct world w;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        for (size_t piece = 1; piece < 6000; piece = piece * 7 + 3) {
            world_begin(&w, "mx.test");
            say(&w, EHLO FROM TO);
            w.out_n = 0;
            for (size_t at = 0; at < lines[i].n; at += piece) world_feed(&w, str_sub(lines[i], at, at + piece));
            say(&w, "RSET\r\n" FROM);
            heard(&w, UNREADABLE);
            assert_true(w.closed);
            world_end(&w);
        }
    }
    memcpy(overlong, "POST /aaaaaa", 12); /* as long as who forges a request wants it */
    static const char *const requests[] = {overlong, "GET\t/ HTTP/1.1\r\n", " put / HTTP/1.1\r\n", "GET\r\n",
                                           "PROPFIND / HTTP/1.1\r\n", "M-SEARCH * http/1.0\r\n"};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        world_begin(&w, "mx.test");
        w.out_n = 0;
        say(&w, requests[i]);
        say(&w, EHLO FROM);
        heard(&w, "421 4.7.0 mx.test This is SMTP, not HTTP\r\n");
        assert_true(w.closed);
        world_end(&w);
    }
    world_begin(&w, "mx.test");
    w.out_n = 0;
    say(&w, "GETTING x\r\nHEADER\r\n");
    heard(&w, UNKNOWN UNKNOWN);
    world_end(&w);
    world_begin(&w, "mx.test"); /* a line of white space is none, whatever comes behind it */
    say(&w, EHLO FROM TO);
    w.out_n = 0;
    say(&w, " \r\nBDAT 3 LAST\r\nx\r\n");
    heard(&w, "500 5.5.2 A command was expected\r\n" OK1);
    world_end(&w);
}

/* The same recipient over and over, at its longest: up to twice the limit, then 452, and the data is taken. */
static void recipient_memory(void **state) {
    static struct world w;
    char line[600] = "RCPT TO:<r@mx.test> ORCPT=rfc822;";
    size_t at = strlen(line), taken = 0, refused = 0;
    memset(line + at, 'a', 490);
    memcpy(line + at + 490, "\r\n", 3);
    world_begin(&w, "mx.test");
    say(&w, EHLO FROM);
    for (int i = 0; i < 500; i++) {
        w.out_n = 0;
        say(&w, line);
        bool yes = str_eq(world_said(&w), STR(TO_R));
        if (!yes) heard(&w, "452 4.5.3 Too many recipients; send them the message separately (recipient-limit)\r\n");
        assert_true(!yes || !refused);
        *(yes ? &taken : &refused) += 1;
    }
    assert_int_equal(taken, 200);
    w.out_n = 0;
    say(&w, "DATA\r\nx\r\n.\r\n");
    heard(&w, DATA_R OK1);
    world_end(&w);
}

/* RFC 6533 3: in the address of type utf-8, octets above 0x7e as they are; it is kept in ASCII. */
static void unitext(void **state) {
    static const struct {
        const char *params, *orcpt, *kept; /* NULL: refused */
    } rows[] = {
        {" SMTPUTF8", "utf-8;j\xc3\xb6rg@\xe4\xbe\x8b.test", "utf-8;j\\x{F6}rg@\\x{4F8B}.test"},
        {" SMTPUTF8", "UTF-8;\xf0\x9f\x90\xb4@a.test", "UTF-8;\\x{1F434}@a.test"},
        {" SMTPUTF8", "utf-8;j\\x{F6}rg@a.test", "utf-8;j\\x{F6}rg@a.test"},
        {"", "utf-8;j\\x{F6}rg@a.test", "utf-8;j\\x{F6}rg@a.test"},
        {"", "utf-8;j\xc3\xb6rg@a.test", NULL},
        {" SMTPUTF8", "rfc822;j\xc3\xb6rg@a.test", NULL},
        {" SMTPUTF8", "utf-8;j\xc3@a.test", NULL},
        {" SMTPUTF8", "utf-8;j\xc3", NULL},
        {" SMTPUTF8", "utf-8;\xc0\xaf@a.test", NULL},
        {" SMTPUTF8", "utf-8;\xed\xa0\x80@a.test", NULL},
        {" SMTPUTF8", "utf-8;\xf4\x90\x80\x80@a.test", NULL},
        {" SMTPUTF8", "utf-8;\xc2\x85@a.test", NULL},
        {" SMTPUTF8", "utf-8;\xff@a.test", NULL},
        {" SMTPUTF8", "utf-8;a\x7f@a.test", NULL},
    };
    static struct world w;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[300];
        world_begin(&w, "mx.test");
        say(&w, EHLO);
        w.out_n = 0;
        snprintf(text, sizeof text, "MAIL FROM:<s@a.test>%s\r\nRCPT TO:<r@mx.test> ORCPT=%s\r\n", rows[i].params,
                 rows[i].orcpt);
        say(&w, text);
        heard(&w, rows[i].kept ? FROM_R TO_R : FROM_R NO(ORCPT_R));
        say(&w, TO "DATA\r\n.\r\n");
        assert_string_equal(w.first_orcpt, rows[i].kept ? rows[i].kept : "");
        world_end(&w);
    }
}

/* Trouble inside is told as 4xx, and never costs the session. */
static void trouble_inside(void **state) {
    static struct world w;
    world_begin(&w, "mx.test");
    say(&w, EHLO FROM);
    w.out_n = 0;
    w.no_lookup = true;
    say(&w, TO);
    heard(&w, "451 4.3.0 Recipient cannot be checked now, try again later\r\n");
    w.no_lookup = false;
    w.no_queue = true;
    say(&w, TO "DATA\r\n");
    heard(&w, TO_R "451 4.3.0 No mail can be taken now, try again later\r\n");
    w.no_queue = false;
    say(&w, "DATA\r\nx\r\n");
    w.no_queue = true;
    say(&w, ".\r\n");
    heard(&w, DATA_R "451 4.3.0 The message cannot be kept now, try again later\r\n");
    w.no_queue = false;
    w.fate = status_make(452, "4.3.1", "Spool \r\nfull");
    say(&w, FROM TO "DATA\r\nx\r\n.\r\n");
    heard(&w, FROM_R TO_R DATA_R "452 4.3.1 Spool ??full\r\n");
    /* queue gives up while the data still comes */
    say(&w, FROM TO "DATA\r\nx\r\n");
    w.fate = status_make(451, "4.3.2", "Queue stops");
    session_committed(w.session, w.now, &w.fate);
    assert_false(w.mail_open);
    say(&w, "y\r\n.\r\nQUIT\r\n");
    heard(&w, FROM_R TO_R DATA_R "451 4.3.2 Queue stops\r\n" BYE);
    assert_int_equal(w.received, 0);
    world_end(&w);
}

static void gone(void **state) {
    static const char *const until[] = {
        "", EHLO, EHLO FROM, EHLO FROM TO, EHLO FROM TO "DATA\r\n", EHLO FROM TO "DATA\r\nx\r\n."};
    static struct world w;
    for (size_t i = 0; i < sizeof until / sizeof until[0]; i++) {
        world_begin(&w, "mx.test");
        say(&w, until[i]);
        session_lost(w.session, w.now, "gone");
        assert_true(w.closed);
        assert_false(w.mail_open);
        assert_int_equal(w.committed, 0);
        world_end(&w);
    }
    /* After the dot it is accepted all the same, and logged; only nobody hears it. */
    world_begin(&w, "mx.test");
    say(&w, EHLO FROM TO);
    session_input(w.session, w.now, STR("DATA\r\nx\r\n.\r\n"));
    assert_true(w.committing);
    w.out_n = 0;
    session_lost(w.session, w.now, "gone");
    assert_false(w.closed);
    world_answer(&w);
    assert_true(w.closed);
    assert_int_equal(w.received, 1);
    assert_int_equal(w.out_n, 0);
    world_end(&w);
}

static void timeouts(void **state) {
    static struct world w;
    world_begin(&w, "mx.test");
    assert_int_equal(w.deadline, w.now.mono_ns + 300 * 1000000000LL);
    int64_t first = w.deadline;
    w.now.mono_ns += 1000;
    say(&w, "NOO"); /* half a command earns no more time */
    assert_int_equal(w.deadline, first);
    say(&w, "P\r\n");
    assert_int_equal(w.deadline, first + 1000);
    w.out_n = 0;
    session_expire(w.session, w.now);
    heard(&w, "421 4.4.2 mx.test Nothing heard for too long (command-timeout)\r\n");
    world_end(&w);

    world_begin(&w, "mx.test");
    say(&w, EHLO FROM TO "DATA\r\nx");
    w.now.mono_ns += 5;
    say(&w, "y");
    assert_int_equal(w.deadline, w.now.mono_ns + 300 * 1000000000LL);
    w.out_n = 0;
    session_expire(w.session, w.now);
    heard(&w, "421 4.4.2 mx.test No data for too long (data-timeout)\r\n");
    assert_false(w.mail_open);
    world_end(&w);
}

/* A client that drips: each octet is in time, the message never would be. */
static void too_slow(void **state) {
    (void)state;
    static struct world w;
    world_begin(&w, "mx.test");
    w.host.data_rate = 10;
    say(&w, EHLO FROM TO "DATA\r\n");
    int64_t began = w.now.mono_ns, grace = w.host.data_ms * 1000000;
    for (int i = 0; i < 20; i++) { /* 15 s and 10 octets each: less than 10 a second */
        w.now.mono_ns += 15000000000;
        say(&w, "12345678\r\n");
    }
    assert_true(w.deadline > w.now.mono_ns);
    assert_int_equal(w.deadline, began + grace + 20 * 1000000000LL);
    w.now.mono_ns = w.deadline;
    session_expire(w.session, w.now);
    assert_true(w.closed);
    assert_string_equal(w.why, "data too slow");
    assert_int_equal(w.aborted, 1);
    world_end(&w);
    /* Fast enough: only silence counts. */
    world_begin(&w, "mx.test");
    w.host.data_rate = 10;
    say(&w, EHLO FROM TO "DATA\r\n");
    for (int i = 0; i < 500; i++) {
        w.now.mono_ns += 1000000000;
        say(&w, "1234567890\r\n");
    }
    assert_false(w.closed);
    assert_int_equal(w.deadline, w.now.mono_ns + grace);
    world_end(&w);
}

static void stops(void **state) {
    static struct world w;
    world_begin(&w, "mx.test");
    say(&w, EHLO FROM);
    w.out_n = 0;
    session_stop(w.session, w.now);
    heard(&w, "421 4.3.2 mx.test Going down, try again\r\n");
    world_end(&w);

    world_begin(&w, "mx.test"); /* a message under way is finished first */
    say(&w, EHLO FROM TO "DATA\r\nx\r\n");
    w.out_n = 0;
    session_stop(w.session, w.now);
    heard(&w, "");
    say(&w, ".\r\n" FROM);
    heard(&w, OK1 "421 4.3.2 mx.test Going down, try again\r\n");
    assert_int_equal(w.received, 1);
    world_end(&w);
}

/* Whatever is asked, no line of a reply is longer than 512 octets, and none has an octet that was not
 * chosen by us. */
static void replies_are_short(void **state) {
    static struct world w;
    char host[256];
    memset(host, 'h', 255);
    host[255] = '\0';
    world_begin(&w, host);
    char text[900];
    memset(text, 't', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    w.fate = status_make(550, "5.7.1", text);
    say(&w, "HELP\r\n" EHLO FROM TO "DATA\r\nx\r\n.\r\nGET /\r\n");
    assert_int_equal(w.closed, true);
    struct str said = world_said(&w);
    while (said.n) {
        ptrdiff_t end = str_chr(said, '\n');
        assert_true(end > 4 && end < 512 && said.p[end - 1] == '\r');
        assert_true(str_is_print(str_sub(said, 0, (size_t)end - 1)));
        said = str_sub(said, (size_t)end + 1, said.n);
    }
    world_end(&w);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories_told),
        cmocka_unit_test(stories_in_pieces),
        cmocka_unit_test(received_field),
        cmocka_unit_test(local_user),
        cmocka_unit_test(lmtp),
        cmocka_unit_test(require_tls),
        cmocka_unit_test(future_release),
        cmocka_unit_test(error_limit),
        cmocka_unit_test(recipient_limit),
        cmocka_unit_test(asks_ahead),
        cmocka_unit_test(size_limit),
        cmocka_unit_test(hop_limit),
        cmocka_unit_test(many_delivered_to),
        cmocka_unit_test(long_line),
        cmocka_unit_test(chunk_unreadable_line),
        cmocka_unit_test(recipient_memory),
        cmocka_unit_test(unitext),
        cmocka_unit_test(trouble_inside),
        cmocka_unit_test(gone),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(too_slow),
        cmocka_unit_test(stops),
        cmocka_unit_test(replies_are_short),
        cmocka_unit_test(starts_tls),
        cmocka_unit_test(nothing_behind_starttls),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
