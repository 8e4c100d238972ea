/* test_handin.c: the session with smtpd, played by a script of replies. */
#include "common/arena.h"
#include "submit/handin.h"
#include "submit/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct play {
    struct arena *arena;
    struct handin *h;
    struct handin_rcpt rcpts[3];
    struct handin_mail mail;
    struct source data;
    char said[200000];
    size_t n;
};

static void setup(struct play *p, const char *data) {
    static const char *const names[] = {"a@x", "b@x", "c@x"};
    p->arena = arena_new(1 << 20);
    p->h = malloc(sizeof *p->h);
    handin_init(p->h, p->arena, STR("mx"));
    for (size_t i = 0; i < 3; i++) p->rcpts[i] = (struct handin_rcpt){.text = str_of(names[i])};
    p->data = (struct source){.part = {str_of(data)}};
    p->mail = (struct handin_mail){.sender = STR("s@x"),
                                   .rcpts = p->rcpts,
                                   .rcpt_count = 3,
                                   .read = source_read,
                                   .ctx = &p->data,
                                   .size = 5};
    p->n = 0;
    handin_mail(p->h, &p->mail);
}

static void teardown(struct play *p) {
    free(p->h);
    arena_free(p->arena);
}

/* The server's words, octet by octet; then what the client said since the last time must be `want`. */
static void exchange(struct play *p, const char *server, const char *want) {
    for (; *server; server++) handin_input(p->h, (struct str){server, 1});
    p->n = 0;
    for (;;) {
        handin_pump(p->h);
        struct str out = handin_output(p->h);
        if (!out.n) break;
        size_t some = out.n > 7 ? 7 : out.n; /* short writes */
        memcpy(p->said + p->n, out.p, some);
        p->n += some;
        handin_written(p->h, some);
    }
    p->said[p->n] = '\0';
    assert_string_equal(p->said, want);
}

static const char hello[] = "250-mx\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 8BITMIME\r\n";
static const char envelope[] =
    "MAIL FROM:<s@x> SIZE=5\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\n";

static void all_is_well(void **state) {
    struct play *p = calloc(1, sizeof *p);
    setup(p, ".dot\r\nx\r\n..\r\n");
    p->mail.eight_bit = true;
    exchange(p, "", "");
    exchange(p, "220 mx\r\n", "EHLO mx\r\n");
    exchange(p, hello,
             "MAIL FROM:<s@x> SIZE=5 BODY=8BITMIME\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\n");
    exchange(p, "250 ok\r\n250 ok\r\n550 5.1.1 no such user\r\n", "");
    exchange(p, "250 ok\r\n", "DATA\r\n");
    exchange(p, "354 go\r\n", "..dot\r\nx\r\n...\r\n.\r\n");
    assert_false(handin_done(p->h));
    exchange(p, "250 2.0.0 taken as 1\r\n", "");
    assert_true(handin_done(p->h));
    assert_true(p->rcpts[0].status.kind == STATUS_OK && p->rcpts[2].status.kind == STATUS_OK);
    assert_true(p->rcpts[1].status.kind == STATUS_NEVER && p->rcpts[1].status.detail[2] == 1);
    /* the next mail in the same session */
    source_rewind(&p->data);
    p->mail.eight_bit = false;
    handin_mail(p->h, &p->mail);
    exchange(p, "", envelope);
    teardown(p);
    free(p);
}

static void one_at_a_time(void **state) {
    struct play *p = calloc(1, sizeof *p);
    setup(p, "x");
    exchange(p, "220 mx\r\n", "EHLO mx\r\n");
    exchange(p, "250 mx\r\n", "MAIL FROM:<s@x>\r\n");
    exchange(p, "250 ok\r\n", "RCPT TO:<a@x>\r\n");
    exchange(p, "250 ok\r\n", "RCPT TO:<b@x>\r\n");
    exchange(p, "450 4.2.1 later\r\n", "RCPT TO:<c@x>\r\n");
    exchange(p, "250 ok\r\n", "DATA\r\n");
    exchange(p, "354 go\r\n", "x\r\n.\r\n"); /* the line end that was missing */
    exchange(p, "452 4.3.1 full\r\n", "");
    assert_true(handin_done(p->h) && p->rcpts[0].status.kind == STATUS_LATER &&
                p->rcpts[0].status.code == 452);
    assert_true(p->rcpts[1].status.code == 450);
    teardown(p);
    free(p);
}

static void refusals(void **state) {
    static const struct {
        const char *replies[3], *said[3];
        enum status_kind kind;
        unsigned code;
    } rows[] = {
        {{"550 5.7.1 not you\r\n503 5.5.1 need MAIL\r\n503 5.5.1 x\r\n503 5.5.1 x\r\n", "250 ok\r\n"},
         {"RSET\r\n", ""},
         STATUS_NEVER,
         550},
        {{"250 ok\r\n550 5.1.1 a\r\n550 5.1.1 b\r\n550 5.1.1 c\r\n", "250 ok\r\n"},
         {"RSET\r\n", ""},
         STATUS_NEVER,
         550},
        {{"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n", "451 4.3.0 no\r\n", "250 ok\r\n"},
         {"DATA\r\n", "RSET\r\n", ""},
         STATUS_LATER,
         451},
        {{"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n", "250 what\r\n"},
         {"DATA\r\n", "RSET\r\n"},
         STATUS_LATER,
         451},
        {{"250 ok\r\n421 4.3.2 going down\r\n"}, {""}, STATUS_LATER, 421},
        {{"hello there\r\n"}, {""}, STATUS_LATER, 451},
        {{"999 x\r\n"}, {""}, STATUS_LATER, 451},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play *p = calloc(1, sizeof *p);
        setup(p, "x\r\n");
        exchange(p, "220 mx\r\n", "EHLO mx\r\n");
        exchange(p, hello, envelope);
        for (size_t k = 0; k < 3 && rows[i].replies[k]; k++) exchange(p, rows[i].replies[k], rows[i].said[k]);
        assert_true(p->rcpts[0].decided && p->rcpts[0].status.kind == rows[i].kind);
        assert_int_equal(p->rcpts[0].status.code, rows[i].code);
        teardown(p);
        free(p);
    }
}

static ptrdiff_t torn(void *ctx, char *mem, size_t n) {
    int *calls = ctx;
    if ((*calls)++) return -1;
    memcpy(mem, "half", 4);
    (void)n;
    return 4;
}

/* Data that cannot be read to its end never gets its dot. */
static void torn_data(void **state) {
    struct play *p = calloc(1, sizeof *p);
    int calls = 0;
    setup(p, "");
    p->mail.read = torn;
    p->mail.ctx = &calls;
    exchange(p, "220 mx\r\n", "EHLO mx\r\n");
    exchange(p, hello, envelope);
    exchange(p, "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n", "DATA\r\n");
    exchange(p, "354 go\r\n", "");
    assert_true(handin_done(p->h) && p->h->state == HANDIN_GONE && p->rcpts[0].status.kind == STATUS_LATER);
    handin_quit(p->h);
    exchange(p, "", "");
    teardown(p);
    free(p);
}

/* A reply in the middle of the data, or one that nobody asked for, ends the session. */
static void out_of_step(void **state) {
    struct play *p = calloc(1, sizeof *p);
    setup(p, "x\r\n");
    exchange(p, "220 mx\r\n", "EHLO mx\r\n");
    exchange(p, hello, envelope);
    exchange(p, "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n", "DATA\r\n");
    exchange(p, "354 go\r\n", "x\r\n.\r\n");
    exchange(p, "250 ok\r\n250 once more\r\n", "");
    assert_int_equal(p->h->state, HANDIN_GONE);
    assert_true(p->rcpts[0].status.kind == STATUS_OK); /* its answer came first */
    teardown(p);
    free(p);
}

static void large(void **state) {
    struct play *p = calloc(1, sizeof *p);
    char *data = malloc(60001), *want = malloc(200000);
    size_t n = 0;
    for (size_t i = 0; i < 60000; i += 3) memcpy(data + i, ".\r\n", 3);
    data[60000] = '\0';
    for (size_t i = 0; i < 20000; i++, n += 4) memcpy(want + n, "..\r\n", 4);
    memcpy(want + n, ".\r\n", 4);
    setup(p, data);
    exchange(p, "220 mx\r\n", "EHLO mx\r\n");
    exchange(p, hello, envelope);
    exchange(p, "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n", "DATA\r\n");
    exchange(p, "354 go\r\n", want);
    teardown(p);
    free(data);
    free(want);
    free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_well), cmocka_unit_test(one_at_a_time), cmocka_unit_test(refusals),
        cmocka_unit_test(torn_data),   cmocka_unit_test(out_of_step),   cmocka_unit_test(large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
