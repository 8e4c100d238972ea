/* Rules of policy, as stories: some rules, what a client says, what it hears, and what became of the mail.
 * "{2}" in what it hears is the token of the second rule, "{2-3}" that of its third value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/arena.h"
#include "common/rule.h"
#include "smtpd/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HI          "220 mx.test ESMTP Postern\r\n"
#define HELO        "HELO a.test\r\n"
#define HELO_R      "250 mx.test\r\n"
#define FROM        "MAIL FROM:<s@a.test>\r\n"
#define FROM_R      "250 2.1.0 Sender ok\r\n"
#define TO          "RCPT TO:<r@mx.test>\r\n"
#define TRAP_R      "250 2.1.5 ok\r\n" /* as lookup says it */
#define TO_R        "250 2.1.5 Recipient ok\r\n"
#define DATA        "DATA\r\nSubject: x\r\nList-Id: y\r\n\r\nhello\r\n.\r\n"
#define DATA_R      "354 End the message with a line that is one dot\r\n"
#define OK          "250 2.0.0 Accepted as 00000000000010000001\r\n"
#define ALL         HELO FROM TO DATA
#define ALL_R       HI HELO_R FROM_R TO_R DATA_R OK
#define NO(code, n) code " Refused by our policy {" n "}\r\n"

static struct session_client strange, known, local;

struct story {
    const char *rules;
    const struct session_client *client;
    const char *in, *want;
    uint32_t committed, discarded, policies;
    bool hold;
    const char *redirect, *rcpt, *prefix; /* prefix: its end */
};

static const struct story stories[] = {
    {"", &strange, ALL, ALL_R, .committed = 1},
    /* connect */
    {"connect client=198.51.100.0/24,192.0.2.0/24 reject\n", &strange,
     "EHLO a\r\nNOOP\r\nBDAT 6\r\nQUIT\r\nQUIT\r\n",
     "554 Refused by our policy {1-2}\r\n503 5.5.1 No mail is taken from you; say QUIT\r\n"
     "503 5.5.1 No mail is taken from you; say QUIT\r\n503 5.5.1 No mail is taken from you; say QUIT\r\n"
     "221 2.0.0 Goodbye\r\n",
     .committed = 0},
    {"connect client=192.0.2.0/24 defer come back\n", &strange, "EHLO a\r\n",
     "421 4.7.1 mx.test come back {1}\r\n", .committed = 0},
    {"connect client=192.0.2.0/24 accept\nconnect reject\n", &strange, ALL, ALL_R, .committed = 1},
    {"connect client!=192.0.2.0/24 reject\n", &strange, ALL, ALL_R, .committed = 1},
    {"connect client!=192.0.2.0/24 reject\n", &known, "NOOP\r\n",
     "554 Refused by our policy {1}\r\n503 5.5.1 No mail is taken from you; say QUIT\r\n", .committed = 0},
    {"connect name=unknown reverse=*.dyn.test reject\n", &strange, "", "554 Refused by our policy {1}\r\n",
     .committed = 0},
    {"connect name=*.good.test accept\nconnect reject\n", &known, ALL, ALL_R, .committed = 1},
    {"connect service=submission reject\nconnect service=smtp warn seen\n", &strange, ALL, ALL_R,
     .committed = 1, .policies = 1},
    /* helo: refused, and may say another name */
    {"helo helo=a.test,*.a.test reject\n", &strange,
     HELO "HELO x.a.test\r\nMAIL FROM:<>\r\nHELO b\r\nMAIL FROM:<>\r\n",
     HI NO("550 5.7.1", "1-1") NO("550 5.7.1", "1-2") "503 5.5.1 Say EHLO or HELO first\r\n" HELO_R FROM_R,
     .committed = 0},
    /* mail */
    {"mail sender=*@A.test reject 553 5.1.8 go away\n", &strange, HELO FROM TO "MAIL FROM:<>\r\n",
     HI HELO_R "553 5.1.8 go away {1}\r\n503 5.5.1 MAIL comes first\r\n" FROM_R, .committed = 0},
    {"mail sender=<> defer\n", &strange, HELO FROM "RSET\r\nMAIL FROM:<>\r\n",
     HI HELO_R FROM_R "250 2.0.0 Forgotten\r\n450 4.7.1 Not now, try again later {1}\r\n", .committed = 0},
    {"mail tls=off reject Use TLS\n", &strange, HELO FROM, HI HELO_R "550 5.7.1 Use TLS {1}\r\n",
     .committed = 0},
    {"mail login!=* reject Log in\n", &strange, HELO FROM, HI HELO_R "550 5.7.1 Log in {1}\r\n",
     .committed = 0},
    {"mail tls=on,1.3 reject\nmail login=* reject\nmail identity=* reject\n", &strange, ALL, ALL_R,
     .committed = 1},
    /* rcpt */
    {"rcpt recipient=old@mx.test reject 551 5.1.6 moved\nrcpt recipient=r?@mx.test defer\n", &strange,
     HELO FROM "RCPT TO:<old@mx.test>\r\n" TO "RCPT TO:<r2@mx.test>\r\n" DATA,
     HI HELO_R FROM_R "551 5.1.6 moved {1}\r\n" TO_R "450 4.7.1 Not now, try again later {2}\r\n" DATA_R OK,
     .committed = 1},
    {"rcpt recipient=postmaster,postmaster@* accept\nrcpt reject\n", &strange,
     HELO FROM "RCPT TO:<PostMaster>\r\nRCPT TO:<postmaster@mx.test>\r\n" TO,
     HI HELO_R FROM_R TO_R TO_R NO("550 5.7.1", "2"), .committed = 0},
    /* accept opens no relay */
    {"rcpt accept\n", &strange, HELO FROM "RCPT TO:<x@elsewhere.test>\r\n",
     HI HELO_R FROM_R "554 5.7.1 Relaying denied\r\n", .committed = 0},
    /* a recipient is replaced, whatever the old one was; ORCPT remembers it */
    {"rcpt recipient=nobody@mx.test redirect team@mx.test\n", &strange,
     HELO FROM "RCPT TO:<nobody@mx.test>\r\n" DATA, ALL_R, .committed = 1, .policies = 1, .redirect = "",
     .rcpt = "team@mx.test"},
    /* discard of one, and of all */
    {"rcpt recipient=trap@* discard\n", &strange, HELO FROM "RCPT TO:<trap@mx.test>\r\n" TO DATA,
     HI HELO_R FROM_R TRAP_R TO_R DATA_R OK, .committed = 1, .policies = 1, .redirect = "",
     .rcpt = "r@mx.test"},
    {"rcpt recipient=trap@* discard\n", &strange, HELO FROM "RCPT TO:<trap@mx.test>\r\n" DATA,
     HI HELO_R FROM_R TRAP_R DATA_R OK, .discarded = 1, .policies = 1},
    {"mail sender=*@a.test discard\n", &strange, ALL, ALL_R, .discarded = 1, .policies = 1},
    {"data recipient=r@* discard\n", &strange, ALL, ALL_R, .discarded = 1, .policies = 1},
    {"end header=list-id discard\n", &strange, ALL, ALL_R, .discarded = 1, .policies = 1},
    /* data: by BDAT too, whose octets are never commands */
    {"data recipient=x@*,r@* reject\n", &strange, HELO FROM TO DATA,
     HI HELO_R FROM_R TO_R NO("550 5.7.1",
                              "1-2") "500 5.5.1 Command not known; HELP lists those that are\r\n"
                                     "500 5.5.1 Command not known; HELP lists those that are\r\n500 5.5.2 A "
                                     "command was expected\r\n"
                                     "500 5.5.1 Command not known; HELP lists those that are\r\n500 5.5.1 "
                                     "Command not known; HELP lists those that are\r\n",
     .committed = 0},
    {"data reject\n", &strange, HELO FROM TO "BDAT 6\r\nQUIT\r\nNOOP\r\n",
     HI HELO_R FROM_R TO_R NO("550 5.7.1", "1") "250 2.0.0 Ok\r\n", .committed = 0},
    /* end */
    {"end size>10 reject 552 5.3.4 Too large\n", &strange, ALL,
     HI HELO_R FROM_R TO_R DATA_R "552 5.3.4 Too large {1}\r\n", .committed = 0},
    {"end size>1K reject\n", &strange, ALL, ALL_R, .committed = 1},
    {"end header=X-Other,List-Id,Subject reject\n", &strange, ALL,
     HI HELO_R FROM_R TO_R DATA_R NO("550 5.7.1", "1-2"), .committed = 0},
    {"end header!=Subject reject\nend header!=From defer 451 No From\n", &strange, ALL,
     HI HELO_R FROM_R TO_R DATA_R "451 4.7.1 No From {2}\r\n", .committed = 0},
    /* hold, redirect, add: the first decides, warn and add go on */
    {"mail add X-A: 1\nrcpt add X-B: 2\nend add X-C: 3\nend warn so\nend hold\nend reject\n", &strange, ALL,
     ALL_R, .committed = 1, .policies = 5, .hold = true, .redirect = "", .rcpt = "r@mx.test",
     .prefix = "X-A: 1\r\nX-B: 2\r\nX-C: 3\r\n"},
    {"mail sender=*@a.test redirect look@mx.test\n", &strange, ALL, ALL_R, .committed = 1, .policies = 1,
     .redirect = "look@mx.test"},
    {"end size>1 redirect look@mx.test\n", &strange, ALL, ALL_R, .committed = 1, .policies = 1,
     .redirect = "look@mx.test"},
    /* local users are meant only by their name */
    {"mail reject\nrcpt client!=10.0.0.0/8 reject\n", &local, ALL, ALL_R, .committed = 1},
    {"mail service=local reject\n", &local, HELO FROM, HI HELO_R NO("550 5.7.1", "1"), .committed = 0},
    {"mail service!=smtp reject\n", &local, ALL, ALL_R, .committed = 1},
};

/* "{2-3}" becomes the token; without arena: the test is over soon. */
static const char *with_tokens(const char *want, const struct rules *r, char *out, size_t max) {
    struct buf b = buf_on(out, max);
    for (; *want; want++) {
        char *end;
        if (*want != '{') {
            buf_addc(&b, *want);
            continue;
        }
        unsigned long n = strtoul(want + 1, &end, 10);
        b.n--; /* token_add brings its space */
        token_add(&b, r->v[n - 1]->token, *end == '-' ? (unsigned)strtoul(end + 1, &end, 10) : 0);
        want = end;
    }
    return buf_cstr(&b);
}

static void load(struct rules *r, struct arena *a, const char *text) {
    struct str all = str_of(text);
    while (all.n) {
        char mem[400];
        struct buf why = BUF(mem);
        struct str line = str_sub(all, 0, (size_t)str_chr(all, '\n'));
        if (!rules_add(r, line, a, &why)) fail_msg("%.*s: %s", STR_ARGS(line), buf_cstr(&why));
        all = str_sub(all, line.n + 1, all.n);
    }
}

static void tell(struct world *w, const struct story *t, const struct rules *r, size_t piece) {
    struct str in = str_of(t->in);
    world_open(w, "mx.test", t->client, r);
    for (size_t at = 0; at < in.n; at += piece) world_feed(w, str_sub(in, at, at + piece));
}

static void check(const struct world *w, const struct story *t, const struct rules *r) {
    char mem[2000];
    struct str said = world_said(w);
    const char *want = with_tokens(t->want, r, mem, sizeof mem);
    if (!str_eq(said, str_of(want)))
        fail_msg("rules:\n%ssaid:\n%.*swanted:\n%s", t->rules, STR_ARGS(said), want);
    struct str bare = world_without_code(said, STR("mx.test"), true);
    if (bare.n) fail_msg("no enhanced code (RFC 2034): %.*s", STR_ARGS(bare));
    if (w->committed != t->committed || w->discarded != t->discarded || w->policies != t->policies ||
        w->hold != t->hold)
        fail_msg("rules:\n%s%u committed, %u discarded, %u policies, hold %d", t->rules, w->committed,
                 w->discarded, w->policies, w->hold);
    if (t->redirect) assert_string_equal(w->redirect, t->redirect);
    if (t->rcpt) assert_string_equal(w->first_rcpt, t->rcpt);
    if (t->prefix) assert_true(str_ends_nocase((struct str){w->prefix, w->prefix_n}, str_of(t->prefix)));
}

static void stories_told(void **state) {
    static struct world w;
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) {
        struct arena *a = arena_new(1 << 20);
        struct rules r = {0};
        load(&r, a, stories[i].rules);
        for (size_t piece = 1; piece < 40; piece += 19) {
            tell(&w, &stories[i], &r, piece);
            check(&w, &stories[i], &r);
            world_end(&w);
        }
        arena_free(a);
    }
}

static void remembers_the_original(void **state) {
    static struct world w;
    struct arena *a = arena_new(1 << 20);
    struct rules r = {0};
    load(&r, a, "rcpt recipient=old@mx.test redirect new@mx.test\n");
    world_open(&w, "mx.test", &strange, &r);
    world_feed(&w, STR("EHLO a\r\n" FROM "RCPT TO:<old@mx.test>\r\n" DATA));
    assert_string_equal(w.first_orcpt, "rfc822;old@mx.test");
    world_feed(&w, STR(FROM "RCPT TO:<old@mx.test> ORCPT=rfc822;older@mx.test\r\n" DATA));
    assert_string_equal(w.first_orcpt, "rfc822;older@mx.test");
    world_end(&w);
    arena_free(a);
}

/* A reload replaces the rules while a message comes: what was decided stays, the end is judged by the new. */
static void rules_change_midway(void **state) {
    static struct world w;
    struct arena *a = arena_new(1 << 20), *b = arena_new(1 << 20);
    struct rules old = {0}, fresh = {0};
    load(&old, a, "mail add X-Old: 1\nmail sender=* hold\nend header=Subject reject\n");
    load(&fresh, b, "end header=X-Nobody-Looked-For reject\nend header=Subject add X-New: 1\n");
    world_open(&w, "mx.test", &strange, &old);
    world_feed(&w, STR(HELO FROM TO "DATA\r\n"));
    w.host.rules = &fresh;
    arena_free(a);
    world_feed(&w, STR("Subject: x\r\nX-Nobody-Looked-For: y\r\n\r\n.\r\n"));
    assert_int_equal(w.committed, 1);
    assert_true(w.hold);
    w.prefix[w.prefix_n] = '\0';
    assert_non_null(strstr(w.prefix, "X-Old: 1\r\nX-New: 1\r\n"));
    world_end(&w);
    arena_free(b);
}

int main(void) {
    strange = (struct session_client){.ip = {4, {192, 0, 2, 7}}, .reverse = STR("c7.dyn.test")};
    known = (struct session_client){
        .ip = {4, {198, 51, 100, 1}}, .name = STR("mx.good.test"), .reverse = STR("mx.good.test")};
    local = (struct session_client){.service = SERVICE_LOCAL, .local = true, .uid = 1000};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories_told),
        cmocka_unit_test(remembers_the_original),
        cmocka_unit_test(rules_change_midway),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
