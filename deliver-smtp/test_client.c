/* Stories of one connection: what the server says, what the client must say, what comes of it. Each is played
 * with the octets of both sides cut up in several ways, which must make no difference. */
#include "common/arena.h"
#include "common/smtpcaps.h"
#include "deliver-smtp/body.h"
#include "deliver-smtp/client.h"
#include "deliver-smtp/ehlo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define EOF_HERE    "<eof>"  /* the server closes */
#define TIME_PASSES "<time>" /* nothing comes until the time asked for has passed */
#define EHLO_ALL \
    "250-mx.test hello\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
#define HELLO      "220 mx.test ESMTP\r\n", EHLO_ALL
#define HELLO_BARE "220 mx.test\r\n", "250 mx.test\r\n"
#define E          "EHLO me.test\r\n"
#define TEXT       "Subject: x\r\n\r\n.dot\r\nlast\r\n" /* 26 octets */
#define STUFFED    "Subject: x\r\n\r\n..dot\r\nlast\r\n.\r\n"
#define FLIGHT1    "MAIL FROM:<s@a.test> SIZE=26\r\nRCPT TO:<r0@b.test>\r\nDATA\r\n"
#define FLIGHT2    "MAIL FROM:<s@a.test> SIZE=26\r\nRCPT TO:<r0@b.test>\r\nRCPT TO:<r1@b.test>\r\nDATA\r\n"

struct story {
    const char *name;
    size_t rcpts, mails;
    const char *text;       /* NULL: TEXT */
    const char *server[16]; /* each is said when the client has nothing more to say */
    const char *client;     /* all that the client says; NULL: not compared */
    const char *outcome;
};

static const struct story stories[] = {
    {"one flight, dots doubled",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n", "250 2.0.0 taken\r\n", "221 bye\r\n"},
     E FLIGHT1 STUFFED "QUIT\r\n",
     "ready|0:250 2.0.0 taken|settled alive|over"},
    {"reports are the next host's",
     2,
     1,
     NULL,
     {"220 mx\r\n", "250-mx\r\n250-DSN\r\n250 PIPELINING\r\n", "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n",
      "250 2.0.0 taken\r\n", "221 bye\r\n"},
     E "MAIL FROM:<s@a.test> RET=HDRS ENVID=a+2Bb+20c\r\n"
       "RCPT TO:<r0@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+3Dy+20@o.test\r\nRCPT "
       "TO:<r1@b.test>\r\nDATA\r\n" STUFFED "QUIT\r\n",
     "ready|0:250 2.0.0 taken|1:250 2.0.0 taken|settled alive|over"},
    {"REQUIRETLS, and no TLS (RFC 8689 4.2.1)",
     1,
     1,
     "Subject: secret\r\n\r\nx\r\n",
     {HELLO, "221 bye\r\n"},
     E "QUIT\r\n",
     "ready|0:550 5.7.10 the sender asks for TLS on the whole way (REQUIRETLS), which this host does not use towards "
     "others|settled alive|over"},
    {"a header beyond ASCII, declared, and a host that takes it",
     1,
     1,
     "Subject: \xc3\xa9\r\n\r\nx\r\n",
     {"220 mx\r\n", "250-mx\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n",
      "250 ok\r\n250 ok\r\n354 go\r\n", "250 2.0.0 taken\r\n", "221 bye\r\n"},
     E "MAIL FROM:<s@a.test> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<r0@b.test>\r\nDATA\r\n"
       "Subject: \xc3\xa9\r\n\r\nx\r\n.\r\nQUIT\r\n",
     "ready|0:250 2.0.0 taken|settled alive|over"},
    {"the same to a host without it",
     1,
     1,
     "Subject: \xc3\xa9\r\n\r\nx\r\n",
     {"220 mx\r\n", "250-mx\r\n250 8BITMIME\r\n", "221 bye\r\n"},
     E "QUIT\r\n",
     "ready|0:553 5.6.9 the receiving host does not take internationalized mail (SMTPUTF8)|settled "
     "alive|over"},
    {"8-bit only in the body needs no SMTPUTF8",
     1,
     1,
     "Subject: e\r\n\r\n\xc3\xa9\r\n",
     {"220 mx\r\n", "250-mx\r\n250 8BITMIME\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n",
      "250 2.0.0 taken\r\n", "221 bye\r\n"},
     NULL,
     "ready|0:250 2.0.0 taken|settled alive|over"},
    {"without PIPELINING one by one",
     2,
     1,
     NULL,
     {HELLO_BARE, "250 ok\r\n", "250 ok\r\n", "251 ok\r\n", "354 go\r\n", "250 taken\r\n", "221 bye\r\n"},
     E "MAIL FROM:<s@a.test>\r\nRCPT TO:<r0@b.test>\r\nRCPT TO:<r1@b.test>\r\nDATA\r\n" STUFFED "QUIT\r\n",
     "ready|0:250 2.0.0 taken|1:250 2.0.0 taken|settled alive|over"},
    {"EHLO refused: HELO",
     1,
     1,
     NULL,
     {"220 old\r\n", "500 what\r\n", "250 old.test\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n",
      "250 ok\r\n", "221 bye\r\n"},
     E "HELO me.test\r\nMAIL FROM:<s@a.test>\r\nRCPT TO:<r0@b.test>\r\nDATA\r\n" STUFFED "QUIT\r\n",
     "ready|0:250 2.0.0 ok|settled alive|over"},
    {"two messages",
     1,
     2,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n", "250 one\r\n", "250 ok\r\n250 ok\r\n354 go\r\n", "250 two\r\n",
      "221 bye\r\n"},
     E FLIGHT1 STUFFED FLIGHT1 STUFFED "QUIT\r\n",
     "ready|0:250 2.0.0 one|settled alive|0:250 2.0.0 two|settled alive|over"},
    {"one of two refused",
     2,
     1,
     NULL,
     {HELLO, "250 ok\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n250 ok\r\n354 go\r\n", "250 2.6.0 taken\r\n",
      "221 bye\r\n"},
     E FLIGHT2 STUFFED "QUIT\r\n",
     "ready|0:550 5.1.1 no such user|1:250 2.6.0 taken|settled alive|over"},
    {"all refused, DATA too",
     2,
     2,
     NULL,
     {HELLO, "250 ok\r\n550 5.1.1 no\r\n452 4.5.3 many\r\n554 5.5.1 nobody\r\n",
      "250 reset\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "250 ok\r\n", "221 bye\r\n"},
     E FLIGHT2 "RSET\r\n" FLIGHT2 STUFFED "QUIT\r\n",
     "ready|0:550 5.1.1 no|1:452 4.5.3 many|settled alive|0:250 2.0.0 ok|1:250 2.0.0 ok|settled alive|over"},
    {"all refused, but 354: a lone dot (RFC 2920 3.1)",
     1,
     2,
     NULL,
     {HELLO, "250 ok\r\n550 5.1.1 no\r\n354 go\r\n", "554 5.5.1 nobody\r\n", "250 ok\r\n250 ok\r\n354 go\r\n",
      "250 ok\r\n", "221 bye\r\n"},
     E FLIGHT1 ".\r\n" FLIGHT1 STUFFED "QUIT\r\n",
     "ready|0:550 5.1.1 no|settled alive|0:250 2.0.0 ok|settled alive|over"},
    {"all refused without PIPELINING: no DATA",
     1,
     2,
     NULL,
     {HELLO_BARE, "250 ok\r\n", "550 no\r\n", "250 reset\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n",
      "250 ok\r\n", "221 \r\n"},
     E "MAIL FROM:<s@a.test>\r\nRCPT TO:<r0@b.test>\r\nRSET\r\nMAIL FROM:<s@a.test>\r\nRCPT "
       "TO:<r0@b.test>\r\nDATA\r\n" STUFFED "QUIT\r\n",
     "ready|0:550 5.0.0 no|settled alive|0:250 2.0.0 ok|settled alive|over"},
    {"MAIL refused for good",
     2,
     1,
     NULL,
     {HELLO, "550 5.7.1 no\r\n503 x\r\n503 x\r\n503 x\r\n", "221 bye\r\n"},
     E FLIGHT2 "QUIT\r\n",
     "ready|0:550 5.7.1 no|1:550 5.7.1 no|settled alive|over"},
    {"MAIL refused for now: another host may take it",
     1,
     1,
     NULL,
     {HELLO, "451 4.7.1 later\r\n503 x\r\n503 x\r\n", "221 bye\r\n"},
     E FLIGHT1 "QUIT\r\n",
     "ready|0:-|elsewhere 451 4.7.1 later alive|over"},
    {"MAIL refused, RCPT taken, 354 all the same",
     1,
     1,
     NULL,
     {HELLO, "550 no\r\n250 ok\r\n354 go\r\n", "250 ok\r\n", "221 bye\r\n"},
     E FLIGHT1 ".\r\nQUIT\r\n",
     "ready|0:550 5.0.0 no|settled alive|over"},
    {"DATA refused",
     2,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n550 5.1.1 no\r\n451 4.3.0 disk\r\n", "221 bye\r\n"},
     E FLIGHT2 "QUIT\r\n",
     "ready|0:451 4.3.0 disk|1:550 5.1.1 no|settled alive|over"},
    {"DATA answered with 250",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n250 ok\r\n", "221 bye\r\n"},
     E FLIGHT1 "QUIT\r\n",
     "ready|0:451 4.5.0 the receiving host answered DATA with a code that it may not|settled alive|over"},
    {"552 to RCPT means later (RFC 5321 4.5.3.1.10)",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n552 5.5.3 too many\r\n554 no\r\n", "221 bye\r\n"},
     E FLIGHT1 "QUIT\r\n",
     "ready|0:552 4.5.3 too many|settled alive|over"},
    {"the dot refused",
     2,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "554 5.6.0 spam\r\n", "221 bye\r\n"},
     E FLIGHT2 STUFFED "QUIT\r\n",
     "ready|0:554 5.6.0 spam|1:554 5.6.0 spam|settled alive|over"},
    {"421 to the dot",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n", "421 4.3.2 bye\r\n"},
     E FLIGHT1 STUFFED,
     "ready|0:421 4.3.2 bye|settled dead|over"},
    {"421 to RCPT",
     2,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n421 4.3.2 bye\r\n"},
     E FLIGHT2,
     "ready|0:-|1:-|elsewhere 421 4.3.2 bye dead|over"},
    {"421 instead of a greeting", 1, 1, NULL, {"421 4.3.2 busy\r\n"}, "", "over 421 4.3.2 busy"},
    {"554 instead of a greeting",
     1,
     1,
     NULL,
     {"554-5.7.1 no\r\n554 5.7.1 mail\r\n"},
     "",
     "over 554 4.7.1 no mail"},
    {"521: takes no mail (RFC 7504)", 1, 1, NULL, {"521 5.3.2 never\r\n"}, "", "over 521 5.3.2 never"},
    {"EHLO and HELO refused",
     1,
     1,
     NULL,
     {"220 x\r\n", "502 no\r\n", "554 5.7.1 no\r\n"},
     E "HELO me.test\r\n",
     "over 554 5.7.1 no"},
    {"it is us",
     1,
     1,
     NULL,
     {"220 x\r\n", "250 ME.test hello\r\n"},
     E,
     "over 554 5.4.6 mail for this destination comes back to this host"},
    {"closed before the greeting",
     1,
     1,
     NULL,
     {EOF_HERE},
     "",
     "over 451 4.4.2 closed while waiting for the greeting"},
    {"closed before the first reply",
     1,
     1,
     NULL,
     {HELLO, EOF_HERE},
     E FLIGHT1,
     "ready|0:-|elsewhere 451 4.4.2 closed while waiting for the replies to MAIL, RCPT and DATA dead "
     "untouched|over"},
    {"closed in the middle of a reply",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n25", EOF_HERE},
     E FLIGHT1,
     "ready|0:-|elsewhere 451 4.4.2 closed while waiting for the replies to MAIL, RCPT and DATA dead|over"},
    {"closed after the dot: nobody knows",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n", EOF_HERE},
     E FLIGHT1 STUFFED,
     "ready|0:451 4.4.2 closed while waiting for the reply to the final dot|settled dead|over"},
    {"closed after the lone dot",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n550 no\r\n354 go\r\n", EOF_HERE},
     E FLIGHT1 ".\r\n",
     "ready|0:550 5.0.0 no|settled dead|over"},
    {"no reply in time",
     1,
     1,
     NULL,
     {HELLO, TIME_PASSES},
     E FLIGHT1,
     "ready|0:-|elsewhere 451 4.4.2 timed out while waiting for the replies to MAIL, RCPT and DATA dead "
     "untouched|over"},
    {"too large for SIZE",
     1,
     1,
     "long",
     {HELLO, "221 bye\r\n"},
     E "QUIT\r\n",
     "ready|0:552 5.3.4 the message is larger than the receiving host takes|settled alive|over"},
    {"8-bit text, 8BITMIME",
     1,
     1,
     "caf\xe9\r\n",
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n", "250 ok\r\n", "221 bye\r\n"},
     E "MAIL FROM:<s@a.test> SIZE=6 BODY=8BITMIME\r\nRCPT TO:<r0@b.test>\r\nDATA\r\ncaf\xe9\r\n.\r\nQUIT\r\n",
     "ready|0:250 2.0.0 ok|settled alive|over"},
    {"8-bit text, no 8BITMIME",
     1,
     1,
     "caf\xe9\r\n",
     {HELLO_BARE, "221 bye\r\n"},
     E "QUIT\r\n",
     "ready|0:554 5.6.3 the message has 8-bit text, which the receiving host does not take|settled "
     "alive|over"},
    {"an empty message",
     1,
     1,
     "",
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n", "250 ok\r\n", "221 bye\r\n"},
     E "MAIL FROM:<s@a.test> SIZE=0\r\nRCPT TO:<r0@b.test>\r\nDATA\r\n.\r\nQUIT\r\n",
     "ready|0:250 2.0.0 ok|settled alive|over"},
    {"a last line without its end",
     1,
     1,
     "x",
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n", "250 ok\r\n", "221 bye\r\n"},
     E "MAIL FROM:<s@a.test> SIZE=1\r\nRCPT TO:<r0@b.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
     "ready|0:250 2.0.0 ok|settled alive|over"},
    {"smuggled end of data",
     1,
     1,
     "a\r\n.\nMAIL FROM:<x@y>\r\n",
     {HELLO, "221 bye\r\n"},
     E "QUIT\r\n",
     "ready|0:554 5.6.0 the message holds a bare CR, a bare LF or a NUL and is not sent|settled alive|over"},
    {"another smuggled end of data",
     1,
     1,
     "a\r\n.\rMAIL FROM:<x@y>\r\n",
     {HELLO, "221 bye\r\n"},
     E "QUIT\r\n",
     "ready|0:554 5.6.0 the message holds a bare CR, a bare LF or a NUL and is not sent|settled alive|over"},
    {"bare LF in replies is taken",
     1,
     1,
     NULL,
     {"220 x\n", EHLO_ALL, "250 ok\n250 ok\n354 go\n", "250 ok\n", "221 \n"},
     E FLIGHT1 STUFFED "QUIT\r\n",
     "ready|0:250 2.0.0 ok|settled alive|over"},
    {"control octets in replies are not kept",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n550 5.1.1 a\x1b[2Jb\tc\r\n554 x\r\n", "221 \r\n"},
     E FLIGHT1 "QUIT\r\n",
     "ready|0:550 5.1.1 a?[2Jb c|settled alive|over"},
    {"garbage",
     1,
     1,
     NULL,
     {"HTTP/1.1 400 Bad Request\r\n"},
     "",
     "over 451 4.5.0 the server sent a line without a reply code while waiting for the greeting"},
    {"a code that is none",
     1,
     1,
     NULL,
     {"2200 x\r\n"},
     "",
     "over 451 4.5.0 the server sent a line without a reply code while waiting for the greeting"},
    {"codes that differ",
     1,
     1,
     NULL,
     {"220-x\r\n554 y\r\n"},
     "",
     "over 451 4.5.0 the server sent a reply of lines with different codes while waiting for the greeting"},
};

/* Replies that come before they are due: how the octets are cut matters here by nature, so each is played
 * once. */
static const struct story early[] = {
    {"the reply to EHLO before EHLO",
     1,
     1,
     NULL,
     {"220 x\r\n" EHLO_ALL},
     NULL,
     "over 451 4.5.0 the server spoke unasked while waiting for the reply to EHLO"},
    {"one reply too many after EHLO",
     1,
     1,
     NULL,
     {"220 x\r\n", EHLO_ALL "250 ok\r\n"},
     NULL,
     "ready|0:-|elsewhere 451 4.5.0 the server spoke unasked while waiting for the replies to MAIL, RCPT and "
     "DATA dead untouched|over"},
    {"the reply to the dot before the data",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"},
     NULL,
     "ready|0:-|elsewhere 451 4.5.0 the server spoke unasked while sending the message dead|over"},
    {"half of the reply to the dot before the data",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n250 ta", "ken\r\n"},
     NULL,
     "ready|0:451 4.5.0 the server spoke unasked while waiting for the reply to the final dot|settled "
     "dead|over"},
    {"the reply to the next MAIL with that to the dot",
     1,
     2,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n", "250 taken\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n"},
     NULL,
     "ready|0:250 2.0.0 taken|settled alive|0:-|elsewhere 451 4.5.0 the server spoke unasked while waiting "
     "for the replies to "
     "MAIL, RCPT and DATA dead untouched|over"},
    {"refused in the middle of the data",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n552 5.3.4 too large\r\n"},
     NULL,
     "ready|0:552 5.3.4 too large|settled dead|over"},
    {"421 in the middle of the data",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n421 4.3.2 bye\r\n"},
     NULL,
     "ready|0:-|elsewhere 421 4.3.2 bye dead|over"},
    {"unasked while idle",
     1,
     1,
     NULL,
     {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n", "250 taken\r\n421 idle\r\n"},
     NULL,
     "ready|0:250 2.0.0 taken|settled alive|over 451 4.5.0 the server spoke unasked while waiting for the "
     "reply to QUIT"},
};

struct play {
    const struct story *story;
    struct str text;
    struct client *client;
    struct client_mail mail;
    struct client_rcpt rcpts[2];
    struct arena *arena;
    size_t mails;
    struct buf said, outcome;
    char said_mem[8192], outcome_mem[2048];
    bool timer, over;
};

static ptrdiff_t on_read(void *ctx, uint64_t at, char *to, size_t n) {
    struct play *p = ctx;
    if (at > p->text.n) return -1;
    if (n > p->text.n - at) n = p->text.n - (size_t)at;
    if (n) memcpy(to, p->text.p + at, n);
    return (ptrdiff_t)n;
}

static void on_timer(void *ctx, int64_t ms) {
    ((struct play *)ctx)->timer = ms > 0;
}

static void begin(struct play *p) {
    if (p->mails == p->story->mails) {
        client_quit(p->client);
        return;
    }
    p->mails++;
    arena_reset(p->arena);
    memset(p->rcpts, 0, sizeof p->rcpts);
    p->rcpts[0].address = STR("r0@b.test");
    p->rcpts[1].address = STR("r1@b.test");
    /* Said only to servers with DSN. */
    p->rcpts[0].notify = 6;
    p->rcpts[0].orcpt = STR("rfc822;x=y @o.test");
    p->mail = (struct client_mail){.sender = STR("s@a.test"),
                                   .utf8 = str_starts_nocase(p->text, STR("Subject: \xc3")),
                                   .require_tls = str_starts_nocase(p->text, STR("Subject: secret")),
                                   .ret = 2,
                                   .envid = STR("a+b c"),
                                   .size = p->text.n,
                                   .rcpts = p->rcpts,
                                   .count = p->story->rcpts,
                                   .arena = p->arena};
    client_begin(p->client, &p->mail);
}

static void on_ready(void *ctx, const struct client_server *server) {
    struct play *p = ctx;
    buf_adds(&p->outcome, "ready");
    begin(p);
}

static void on_end(void *ctx, const struct client_end *e) {
    struct play *p = ctx;
    for (size_t i = 0; i < p->mail.count; i++) {
        buf_addf(&p->outcome, "|%zu:", i);
        if (p->rcpts[i].settled) status_format(&p->outcome, &p->rcpts[i].status);
        else buf_addc(&p->outcome, '-');
    }
    buf_adds(&p->outcome, e->outcome == CLIENT_SETTLED ? "|settled" : "|elsewhere ");
    if (e->outcome == CLIENT_ELSEWHERE) status_format(&p->outcome, &e->status);
    buf_adds(&p->outcome, e->alive ? " alive" : e->untouched ? " dead untouched" : " dead");
    if (e->alive) begin(p);
}

static void on_over(void *ctx, const struct status *why) {
    struct play *p = ctx;
    assert_false(p->over);
    p->over = true;
    buf_adds(&p->outcome, p->outcome.n ? "|over" : "over");
    /* after an end it repeats that end's status */
    if (why && (!p->mails || strstr(buf_cstr(&p->outcome), "alive|over"))) {
        buf_addc(&p->outcome, ' ');
        status_format(&p->outcome, why);
    }
}

static const struct client_ops ops = {on_read, on_timer, on_ready, on_end, on_over};

/* The client speaks until it has nothing to say, at most step octets at once. */
static void listen_to(struct play *p, size_t step) {
    for (;;) {
        struct str s = client_output(p->client);
        if (!s.n) return;
        size_t n = s.n < step ? s.n : step;
        buf_add(&p->said, str_sub(s, 0, n));
        client_sent(p->client, n);
    }
}

static void say(struct play *p, const char *words, size_t step) {
    struct str s = str_of(words);
    if (str_eq(s, STR(EOF_HERE))) {
        client_lost(p->client, "closed");
    } else if (str_eq(s, STR(TIME_PASSES))) {
        assert_true(p->timer);
        client_expired(p->client);
    } else {
        for (size_t at = 0; at < s.n; at += step) {
            client_input(p->client, str_sub(s, at, at + step));
            if (step < s.n) listen_to(p, SIZE_MAX); /* while the rest of the reply is on its way */
        }
    }
}

static void check(const struct story *s, size_t server_step, size_t client_step) {
    static const struct client_config config = {{"me.test", 7}, 300000};
    char long_text[1200];
    struct play p = {.story = s, .arena = arena_new(65536)};
    memset(long_text, 'x', sizeof long_text);
    p.said = BUF(p.said_mem);
    p.outcome = BUF(p.outcome_mem);
    p.text = s->text ? str_of(s->text) : STR(TEXT);
    if (str_eq(p.text, STR("long"))) p.text = (struct str){long_text, sizeof long_text};
    p.client = client_new(&config, &ops, &p);
    for (size_t i = 0; i < 16 && s->server[i] && !p.over; i++) {
        listen_to(&p, client_step);
        say(&p, s->server[i], server_step);
    }
    listen_to(&p, client_step);
    if (strcmp(buf_cstr(&p.outcome), s->outcome))
        fail_msg("%s (cut %zu, %zu):\n got  %s\n want %s", s->name, server_step, client_step, p.outcome.p,
                 s->outcome);
    if (s->client && strcmp(buf_cstr(&p.said), s->client))
        fail_msg("%s (cut %zu, %zu): said\n%s", s->name, server_step, client_step, p.said.p);
    client_free(p.client);
    arena_free(p.arena);
}

static void test_stories(void **state) {
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) {
        check(&stories[i], SIZE_MAX / 2, SIZE_MAX);
        for (size_t cut = 1; cut < 9; cut++) check(&stories[i], cut, cut % 3 ? SIZE_MAX : cut);
        check(&stories[i], SIZE_MAX / 2, 1);
    }
}

static void test_early(void **state) {
    for (size_t i = 0; i < sizeof early / sizeof early[0]; i++) check(&early[i], SIZE_MAX / 2, SIZE_MAX);
}

/* A server that never comes to an end: what is kept stays small, and it is cut off. */
static void endless(const char *unit, size_t most, const char *why) {
    static const struct client_config config = {{"me.test", 7}, 300000};
    static const struct story none = {.name = "endless"};
    struct play p = {.story = &none, .arena = arena_new(65536)};
    size_t given = 0;
    p.outcome = BUF(p.outcome_mem);
    p.client = client_new(&config, &ops, &p);
    while (!p.over && given < 10 * most) {
        client_input(p.client, str_of(unit));
        given += strlen(unit);
    }
    assert_true(p.over);
    assert_true(given <= most);
    assert_non_null(strstr(buf_cstr(&p.outcome), why));
    client_free(p.client);
    arena_free(p.arena);
}

static void test_endless(void **state) {
    endless("220-", 70000, "does not end");
    endless("220-more\r\n", 1100, "too many lines");
    endless("x", 70000, "does not end");
    endless("\r\n", 10, "without a reply code");
}

/* A chatty 250 is still a 250: to take it for a failure would send the message twice. */
static void test_long_line(void **state) {
    static char line[5000] = "250 2.0.0 ";
    struct story s = {"long line", 1,   1, NULL, {HELLO, "250 ok\r\n250 ok\r\n354 go\r\n", line, "221 \r\n"},
                      NULL,        NULL};
    char want[1200];
    memset(line + 10, 'a', 4000);
    memcpy(line + 4010, "\r\n", 3);
    int n = snprintf(want, sizeof want, "ready|0:250 2.0.0 %.994s|settled alive|over", line + 10);
    assert_true(n > 0);
    s.outcome = want;
    check(&s, SIZE_MAX / 2, SIZE_MAX);
    check(&s, 7, SIZE_MAX);
}

static void test_ehlo(void **state) {
    static const struct {
        const char *line;
        uint32_t caps;
        uint64_t size;
    } rows[] = {
        {"PIPELINING", CAP_PIPELINING, 0},
        {"pipelining", CAP_PIPELINING, 0},
        {"SIZE 1000", CAP_SIZE, 1000},
        {"SIZE", CAP_SIZE, 0},
        {"SIZE 99999999999999999999999", CAP_SIZE, 0},
        {"SIZE -1", CAP_SIZE, 0},
        {"8BITMIME", CAP_8BITMIME, 0},
        {"8BITMIMEX", 0, 0},
        {"STARTTLS", CAP_STARTTLS, 0},
        {"LIMITS RCPTMAX=20", CAP_LIMITS, 0},
        {"", 0, 0},
        {"  ", 0, 0},
        {"AUTH PLAIN", 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t caps = 0;
        uint64_t size = 0;
        client_ehlo_line(str_of(rows[i].line), &caps, &size);
        assert_int_equal(caps, rows[i].caps);
        assert_int_equal(size, rows[i].size);
    }
}

/* However a message is cut into runs, the same octets leave, and the same is found wrong with it. */
static void test_body(void **state) {
    static const struct {
        struct str in;
        const char *out; /* NULL: not to be sent */
    } rows[] = {
        {{"", 0}, ""},
        {{".", 1}, ".."},
        {{".\r\n", 3}, "..\r\n"},
        {{"..\r\n.\r\n", 7}, "...\r\n..\r\n"},
        {{"a.b\r\n.c\r\n", 9}, "a.b\r\n..c\r\n"},
        {{"\r\n.\r\n", 5}, "\r\n..\r\n"},
        {{"a\n", 2}, NULL},
        {{"a\rb", 3}, NULL},
        {{"\r\r\n", 3}, NULL},
        {{"\n", 1}, NULL},
        {{"a\0b", 3}, NULL},
        {{"a\r", 2}, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t cut = 1; cut < 4; cut++) {
            char mem[64];
            struct buf b = BUF(mem);
            struct client_text t = {0};
            for (size_t at = 0; at < rows[i].in.n; at += cut)
                client_text_stuff(&t, str_sub(rows[i].in, at, at + cut), &b);
            client_text_ends(&t);
            assert_int_equal(t.stray, rows[i].out == NULL);
            if (rows[i].out) assert_string_equal(buf_cstr(&b), rows[i].out);
        }
    }
}

/* The slow and plain meaning of body.h. */
static struct client_text plainly(struct str in) {
    struct client_text t = {.last = '\0'};
    for (size_t i = 0; i < in.n; i++) client_text_check(&t, str_sub(in, i, i + 1));
    return t;
}

/* Blocks see what single octets see: a wrong octet at each place of a long text, in runs of every kind of length. */
static void test_blocks(void **state) {
    static const char bad[] = {'\n', '\r', '\0', (char)0xe4, 'x', '.'};
    char text[400];
    for (size_t at = 0; at < sizeof text - 1; at++) {
        for (size_t k = 0; k < sizeof bad; k++) {
            memset(text, 'a', sizeof text);
            memcpy(text, "S: x\r\n\r\n", 8);
            for (size_t i = 40; i + 1 < sizeof text; i += 39) memcpy(text + i, "\r\n", 2);
            text[at] = bad[k];
            struct client_text want = plainly((struct str){text, sizeof text});
            for (size_t cut = 63; cut <= sizeof text; cut += cut == 65 ? 335 : 1) {
                char mem[2 * sizeof text];
                struct buf b = BUF(mem);
                struct client_text t = {0};
                for (size_t i = 0; i < sizeof text; i += cut)
                    client_text_stuff(&t, str_sub((struct str){text, sizeof text}, i, i + cut), &b);
                assert_int_equal(t.stray, want.stray);
                assert_int_equal(t.eight_bit, want.eight_bit);
                assert_int_equal(t.head_eight, want.head_eight);
                bool dot = bad[k] == '.' && (at == 0 || text[at - 1] == '\n');
                assert_int_equal(b.n, sizeof text + dot);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories), cmocka_unit_test(test_early),     cmocka_unit_test(test_endless),
        cmocka_unit_test(test_ehlo),    cmocka_unit_test(test_long_line), cmocka_unit_test(test_body),
        cmocka_unit_test(test_blocks),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
