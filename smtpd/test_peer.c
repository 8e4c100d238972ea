/* XCLIENT and XFORWARD: the attributes as a table, sessions as stories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/rule.h"
#include "common/arena.h"
#include "smtpd/peer.h"
#include "smtpd/testing.h"

#include <string.h>

static void attributes(void **state) {
    static const struct {
        const char *arg;
        bool xclient;
        const char
            *want; /* of the attributes in their order: value, "-" unavailable, "?" temporarily; or why */
    } rows[] = {
        {"NAME=spike.porcupine.org ADDR=168.100.189.2", true, "spike.porcupine.org 168.100.189.2"},
        {"addr=IPV6:2001:db8::7 port=25", true, "IPV6:2001:db8::7 25"},
        {"NAME=[UNAVAILABLE] REVERSE_NAME=[tempunavail] ADDR=192.0.2.1", true, "- ? 192.0.2.1"},
        {"PROTO=ESMTP HELO=a+2Db LOGIN=al+2Bice DESTADDR=192.0.2.9 DESTPORT=25", true,
         "ESMTP a-b al+ice 192.0.2.9 25"},
        {"NAME=a SOURCE=REMOTE IDENT=ABC123", false, "a ABC123 REMOTE"},
        {"HELO=[192.0.2.1]", false, "[192.0.2.1]"},
        {"", true, "Attributes are needed"},
        {"NAME", true, "Attributes are NAME=value"},
        {"FOO=1", true, "Attribute not known"},
        {"SOURCE=LOCAL", true, "Attribute not known"},
        {"LOGIN=x", false, "Attribute not known"},
        {"NAME=a NAME=b", true, "Attribute given twice"},
        {"ADDR=300.1.1.1", true, "ADDR is no IP address"},
        {"ADDR=", true, "ADDR is no IP address"},
        {"PORT=65536", true, "PORT is no port"},
        {"PROTO=LMTP", true, "PROTO is SMTP or ESMTP"},
        {"HELO=a+20b", true, "HELO is no name of a host"},
        {"HELO=a+0D+0AX", true, "HELO is no name of a host"},
        {"NAME=a+2", true, "NAME is no host name"},
        {"NAME=a;b", true, "NAME is no host name"},
        {"LOGIN=a+20b", true, "LOGIN is no login"},
        {"SOURCE=x", false, "SOURCE is LOCAL or REMOTE"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char mem[400];
        struct buf b = BUF(mem);
        struct peer p;
        const char *why;
        if (!peer_parse(str_of(rows[i].arg), rows[i].xclient, &p, &why)) buf_adds(&b, why);
        else
            for (int k = 0; k < PEER_ATTRIBUTES; k++) {
                if (p.state[k] == PEER_NOT_GIVEN) continue;
                if (b.n) buf_addc(&b, ' ');
                if (p.state[k] == PEER_GIVEN) buf_add(&b, p.text[k]);
                else buf_addc(&b, p.state[k] == PEER_UNAVAILABLE ? '-' : '?');
            }
        if (strcmp(buf_cstr(&b), rows[i].want) != 0)
            fail_msg("%s: %s, not %s", rows[i].arg, buf_cstr(&b), rows[i].want);
    }
}

#define HI     "220 mx.test ESMTP Postern\r\n"
#define EHLO_A "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 100000\r\n"
#define FROM   "MAIL FROM:<s@a.test>\r\n"
#define REST   "RCPT TO:<r@mx.test>\r\nDATA\r\nx\r\n.\r\n"
#define REST_R \
    "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n354 End the message with a line that is one " \
    "dot\r\n250 2.0.0 " \
    "Accepted as 00000000000010000001\r\n"
#define HELO_R "250 mx.test\r\n"

static struct network proxies[] = {{{4, {192, 0, 2, 0}}, 24}};
static const struct networks listed = {1, proxies};

static void tell(struct world *w, const struct rules *rules, bool may, const char *in) {
    static const struct session_client client = {.ip = {4, {192, 0, 2, 7}}};
    struct str text = str_of(in);
    world_open(w, "mx.test", &client, rules);
    if (may) w->host.xclient = w->host.xforward = &listed;
    for (size_t i = 0; i < text.n; i += 7) world_feed(w, str_sub(text, i, i + 7));
}

static void heard(struct world *w, const char *want) {
    struct str said = world_said(w);
    if (!str_eq(said, str_of(want))) fail_msg("said:\n%.*swanted:\n%s", STR_ARGS(said), want);
}

static bool offers(struct world *w, const char *what) {
    return memmem(w->out, w->out_n, what, strlen(what)) != NULL;
}

static void only_for_the_listed(void **state) {
    static struct world w;
    tell(&w, NULL, false, "EHLO a\r\nXCLIENT ADDR=198.51.100.1\r\nXFORWARD ADDR=198.51.100.1\r\n");
    assert_false(offers(&w, "XCLIENT") || offers(&w, "XFORWARD"));
    assert_true(
        offers(&w, "550 5.7.1 You are not listed for this\r\n550 5.7.1 You are not listed for this\r\n"));
    world_end(&w);
    tell(&w, NULL, true, "EHLO a\r\n");
    assert_true(offers(&w, "250-XCLIENT NAME REVERSE_NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n"));
    assert_true(offers(&w, "250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n"));
    world_end(&w);
}

static void begins_anew(void **state) {
    static struct world w;
    tell(&w, NULL, true,
         "HELO proxy\r\n" FROM
         "XCLIENT ADDR=198.51.100.1\r\nRSET\r\nXCLIENT ADDR=198.51.100.1 NAME=c.test\r\n" FROM
         "HELO c.test\r\nXCLIENT HELO=said.test\r\nHELO proxy\r\n" FROM REST);
    heard(&w, HI HELO_R
          "250 2.1.0 Sender ok\r\n503 5.5.1 A message has been begun already; RSET forgets it\r\n"
          "250 2.0.0 Forgotten\r\n" HI "503 5.5.1 Say EHLO or HELO first\r\n" HELO_R HI HELO_R REST_R);
    w.prefix[w.prefix_n] = '\0';
    assert_non_null(strstr(w.prefix, "Received: from said.test (c.test [198.51.100.1])\r\n"));
    assert_string_equal(w.origin, "client [198.51.100.1] helo said.test");
    world_end(&w);
}

static void rules_see_the_client(void **state) {
    static struct world w;
    struct arena *a = arena_new(1 << 20);
    struct rules r = {0};
    char mem[400];
    struct buf why = BUF(mem);
    assert_true(rules_add(&r, STR("connect client=198.51.100.0/24 reject"), a, &why));
    assert_true(rules_add(&r, STR("connect name=unknown client=203.0.113.0/24 reject"), a, &why));
    assert_true(rules_add(&r, STR("mail login=bob reject"), a, &why));
    tell(&w, &r, true,
         "XCLIENT ADDR=198.51.100.1\r\nHELO a\r\nXCLIENT ADDR=203.0.113.1\r\n"
         "XCLIENT ADDR=203.0.113.1 NAME=[UNAVAILABLE]\r\n"
         "XCLIENT ADDR=203.0.113.1 NAME=[TEMPUNAVAIL] LOGIN=bob\r\nHELO a\r\n" FROM
         "XCLIENT LOGIN=[UNAVAILABLE]\r\nHELO a\r\n" FROM);
    char want[800];
    struct buf b = BUF(want);
    buf_adds(&b, HI "554 Refused by our policy");
    token_add(&b, r.v[0]->token, 0);
    buf_adds(&b, "\r\n503 5.5.1 No mail is taken from you; say QUIT\r\n" HI "554 Refused by our policy");
    token_add(&b, r.v[1]->token, 0);
    buf_adds(&b, "\r\n" HI HELO_R "550 5.7.1 Refused by our policy");
    token_add(&b, r.v[2]->token, 0);
    buf_adds(&b, "\r\n" HI HELO_R "250 2.1.0 Sender ok\r\n");
    heard(&w, buf_cstr(&b));
    world_end(&w);
    arena_free(a);
}

static void no_login_for_the_next(void **state) {
    static struct world w;
    struct arena *a = arena_new(1 << 20);
    struct rules r = {0};
    char mem[400];
    struct buf why = BUF(mem);
    assert_true(rules_add(&r, STR("mail login=bob reject"), a, &why));
    tell(&w, &r, true,
         "XCLIENT ADDR=203.0.113.1 LOGIN=bob\r\nHELO a\r\nXCLIENT ADDR=203.0.113.2\r\nHELO a\r\n" FROM);
    heard(&w, HI HI HELO_R HI HELO_R "250 2.1.0 Sender ok\r\n");
    world_end(&w);
    arena_free(a);
}

static void xforward_is_for_the_log(void **state) {
    static struct world w;
    tell(&w, NULL, true,
         "HELO proxy\r\nXFORWARD NAME=c.test ADDR=198.51.100.1\r\nXFORWARD HELO=said\r\n" FROM
         "XFORWARD IDENT=a\r\n" REST);
    heard(&w, HI HELO_R
          "250 2.0.0 Noted\r\n250 2.0.0 Noted\r\n250 2.1.0 Sender ok\r\n"
          "503 5.5.1 A message has been begun already; RSET forgets it\r\n250 2.1.5 Recipient ok\r\n"
          "354 End the message with a line that is one dot\r\n250 2.0.0 Accepted as "
          "00000000000010000001\r\n");
    assert_string_equal(w.origin,
                        "client [192.0.2.7] helo proxy for name=c.test addr=198.51.100.1 helo=said");
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes),
        cmocka_unit_test(only_for_the_listed),
        cmocka_unit_test(begins_anew),
        cmocka_unit_test(rules_see_the_client),
        cmocka_unit_test(no_login_for_the_next),
        cmocka_unit_test(xforward_is_for_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
