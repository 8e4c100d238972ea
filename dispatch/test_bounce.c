/* test_bounce.c: failure reports: what people read, what programs read, and what strangers' texts cannot do
 * to it. */
#include "dispatch/bounce.h"

#include "common/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char text[200000];
static bool eight;

static struct status said(uint16_t code, const char *detail, const char *what) {
    struct status st = status_make(code, detail, what);
    st.remote = true;
    return st;
}

static struct bounce base(const struct sched_failed *f, size_t n) {
    return (struct bounce){.hostname = STR("mx.here.test"),
                           .id = {2, 20},
                           .about = {1, 10},
                           .now = 1700000000000,
                           .arrival = 1699999990000,
                           .sender = STR("alice@here.test"),
                           .prefix = STR("Received: by mx.here.test\r\n"),
                           .header = STR("From: alice@here.test\r\nSubject: hello\r\n"),
                           .failed = f,
                           .count = n};
}

static const char *build(const struct bounce *b) {
    struct buf out = buf_on(text, bounce_room(b) < sizeof text ? bounce_room(b) : sizeof text);
    assert_true(bounce_build(&out, b, &eight));
    return buf_cstr(&out);
}

#define HAS(s, what) \
    do { \
        if (!strstr((s), (what))) { \
            fail_msg("not found: %s\nin:\n%s", (what), (s)); \
        } \
    } while (0)

static void one_recipient(void **state) {
    (void)state;
    struct sched_failed f = {0,
                             STR("bob@far.test"),
                             STR_NONE,
                             STR("mx.far.test[192.0.2.1]:25"),
                             said(550, "5.1.1", "No such user here"),
                             SCHED_HAS_FAILED};
    struct bounce b = base(&f, 1);
    const char *s = build(&b);
    static const char *const lines[] = {
        "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n",
        "From: Mail Delivery System <MAILER-DAEMON@mx.here.test>\r\n",
        "To: <alice@here.test>\r\n",
        "Subject: Undelivered mail returned to sender\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"",
        "<bob@far.test>\r\n    mx.far.test[192.0.2.1]:25\r\n    said: 550 5.1.1 No such user here\r\n",
        "    There is no such mailbox.",
        "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.here.test\r\n",
        "Arrival-Date: Tue, 14 Nov 2023 22:13:10 +0000\r\n",
        "\r\n\r\nFinal-Recipient: rfc822; bob@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: "
        "dns; mx.far.test\r\n",
        "dns; mx.far.test\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user here\r\n",
        "Content-Type: text/rfc822-headers\r\n\r\nReceived: by mx.here.test\r\nFrom: "
        "alice@here.test\r\nSubject: hello\r\n\r\n--",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) HAS(s, lines[i]);
    assert_false(eight);
    assert_true(str_ends_nocase(str_of(s), STR("--\r\n")));
}

static void several(void **state) {
    (void)state;
    struct sched_failed f[] = {
        {0, STR("bob@far.test"), STR("rfc822;robert@here.test"), STR("mx.far.test[192.0.2.1]:25"),
         said(552, "5.2.2", "full"), SCHED_HAS_FAILED},
        {3, STR("carol@gone.test"), STR_NONE, STR_NONE, status_make(550, "5.4.7", "not delivered in time"),
         SCHED_HAS_FAILED},
    };
    struct bounce b = base(f, 2);
    b.cut = true;
    const char *s = build(&b);
    HAS(s, "Original-Recipient: rfc822;robert@here.test\r\nFinal-Recipient: rfc822; bob@far.test\r\n");
    HAS(s, "Final-Recipient: rfc822; carol@gone.test\r\nAction: failed\r\nStatus: 5.4.7\r\nDiagnostic-Code: "
           "x-postern; 550 5.4.7 not");
    HAS(s, "this system: 550 5.4.7 not delivered in time\r\n");
    HAS(s, "The mailbox is full.");
    HAS(s, "It was tried until the time");
    HAS(s, "X-Postern-Note: the rest of the header was left out\r\n");
}

/* No line that anybody can cause is longer than 998, ends in less than CRLF, or begins a header or a part. */
static void hostile(void **state) {
    (void)state;
    char big[1001];
    memset(big, 'x', sizeof big);
    big[1000] = '\0';
    char words[1001];
    for (size_t i = 0; i < 1000; i++) words[i] = i % 7 ? 'w' : ' ';
    words[1000] = '\0';
    struct sched_failed f[] = {
        {0, STR("a@b.test"), STR_NONE, STR("h[192.0.2.1]:25"),
         said(550, "5.0.0", "x\r\nBcc: victim@v.test\r\n\r\n--boundary"), SCHED_HAS_FAILED},
        {1, STR("a\nb@b.test"), STR("rfc822;x\r\ny"), STR("evil\r\nhost[1]:25"), said(550, "5.0.0", big),
         SCHED_HAS_FAILED},
        {2, STR("c@b.test"), STR_NONE, STR_NONE, said(550, "5.0.0", words), SCHED_HAS_FAILED},
    };
    struct bounce b = base(f, 3);
    const char *s = build(&b);
    assert_null(strstr(s, "\r\nBcc:"));
    assert_null(strstr(s, "\r\n--boundary"));
    size_t length = 0;
    for (const char *p = s; *p; p++) {
        if (*p == '\n') {
            assert_true(p > s && p[-1] == '\r');
            assert_true(length <= 999);
            length = 0;
        } else {
            assert_true(*p != '\r' || p[1] == '\n');
            length++;
        }
    }
}

/* RFC 3461: what was asked for at MAIL and RCPT stands in the report. */
static void as_asked(void **state) {
    (void)state;
    struct sched_failed f = {0,
                             STR("bob@far.test"),
                             STR("rfc822;b@x.test"),
                             STR_NONE,
                             status_make(250, "2.0.0", "delivered"),
                             SCHED_WAS_DELIVERED};
    struct bounce b = base(&f, 1);
    b.envid = STR("id 7");
    const char *s = build(&b);
    HAS(s, "Subject: Mail was delivered\r\n");
    HAS(s, "\r\n\r\nOriginal-Envelope-Id: id 7\r\nReporting-MTA:");
    HAS(s, "Original-Recipient: rfc822;b@x.test\r\nFinal-Recipient: rfc822; bob@far.test\r\nAction: "
           "delivered\r\nStatus: 2.0.0\r\n");
    HAS(s, "Content-Type: text/rfc822-headers\r\n");
    f.action = SCHED_WAS_RELAYED;
    HAS(build(&b), "Action: relayed\r\n");
    f.action = SCHED_WAS_EXPANDED;
    HAS(build(&b), "Action: expanded\r\n");
    f.action = SCHED_HAS_FAILED;
    b.full = true;
    b.header = STR("Subject: hello\r\n\r\nall of it\r\n");
    HAS(build(&b), "Content-Type: message/rfc822\r\n\r\nReceived: by mx.here.test\r\nSubject: "
                   "hello\r\n\r\nall of it\r\n");
    b.utf8 = true;
    f.rcpt = STR("b\xc3\xa9@far.test");
    s = build(&b);
    HAS(s, "Content-Type: message/global-delivery-status\r\n");
    HAS(s, "Final-Recipient: utf-8; b\xc3\xa9@far.test\r\n");
    assert_true(eight);
}

static void boundary_is_new(void **state) {
    (void)state;
    struct sched_failed f = {0,        STR("a@b.test"),          STR_NONE,
                             STR_NONE, said(550, "5.0.0", "no"), SCHED_HAS_FAILED};
    struct bounce b = base(&f, 1);
    char boundary[100], header[300];
    const char *s = build(&b), *at = strstr(s, "boundary=\"") + 10;
    snprintf(boundary, sizeof boundary, "%.*s", (int)(strchr(at, '"') - at), at);
    assert_true(strlen(boundary) <= 70);
    snprintf(header, sizeof header, "X: --%s\r\n", boundary);
    b.header = str_of(header);
    s = build(&b);
    at = strstr(s, "boundary=\"") + 10;
    assert_int_not_equal(strncmp(at, boundary, strlen(boundary)), 0);
}

static void eight_bit(void **state) {
    (void)state;
    struct sched_failed f = {0,        STR("a@b.test"),          STR_NONE,
                             STR_NONE, said(550, "5.0.0", "no"), SCHED_HAS_FAILED};
    struct bounce b = base(&f, 1);
    b.header = STR("Subject: gr\xc3\xbc\xc3\x9f\r\n");
    HAS(build(&b), "text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nReceived: by "
                   "mx.here.test\r\nSubject: gr");
    assert_true(eight);
}

static void does_not_fit(void **state) {
    (void)state;
    struct sched_failed f = {0,        STR("a@b.test"),          STR_NONE,
                             STR_NONE, said(550, "5.0.0", "no"), SCHED_HAS_FAILED};
    struct bounce b = base(&f, 1);
    struct buf out = buf_on(text, 500);
    assert_false(bounce_build(&out, &b, &eight));
}

static void header_lengths(void **state) {
    (void)state;
    static const struct {
        const char *data;
        size_t n;
        bool cut;
    } rows[] = {
        {"", 0, true},          {"A: b\r\n\r\nbody", 6, false},
        {"\r\nbody", 0, false}, {"A: b\r\nC: d", 6, true},
        {"A: b\r\n", 6, true},  {"A: b\r\n\r\n", 6, false},
        {"no end", 0, true},    {"A: b\r\n\r", 6, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool cut;
        assert_int_equal(bounce_header_length(str_of(rows[i].data), &cut), rows[i].n);
        assert_int_equal(cut, rows[i].cut);
    }
}

static void dates(void **state) {
    (void)state;
    static const struct {
        int64_t s;
        const char *text;
    } rows[] = {
        {0, "Thu, 1 Jan 1970 00:00:00 +0000"},           {951782399, "Mon, 28 Feb 2000 23:59:59 +0000"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 +0000"},  {951868800, "Wed, 1 Mar 2000 00:00:00 +0000"},
        {1798761599, "Thu, 31 Dec 2026 23:59:59 +0000"}, {4107542400, "Mon, 1 Mar 2100 00:00:00 +0000"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = BUF(text);
        bounce_date(&b, rows[i].s * 1000);
        assert_string_equal(buf_cstr(&b), rows[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_recipient),   cmocka_unit_test(several),        cmocka_unit_test(hostile),
        cmocka_unit_test(boundary_is_new), cmocka_unit_test(eight_bit),      cmocka_unit_test(does_not_fit),
        cmocka_unit_test(as_asked),        cmocka_unit_test(header_lengths), cmocka_unit_test(dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
