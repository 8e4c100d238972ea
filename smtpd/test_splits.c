/* test_splits.c: however the network cuts a session into segments, the client hears the same octets, and the same
 * messages are accepted (RFC 2920, and DATA and BDAT beside it). Sessions are made at random, by seed, from whole
 * commands, half ones, data, chunks and noise; each is told whole, octet by octet, and in random pieces, with answers
 * from inside in other orders and with a client that reads slowly.
 *
 * SPLITS_SEEDS=1-100000 smtpd/test_splits runs more of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtpd/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SESSION_MAX = 20000, LINES_MAX = 60 };

static uint64_t state_of_chance;

static uint32_t chance(uint32_t n) {
    state_of_chance = state_of_chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state_of_chance >> 33) % n;
}

static const struct str words[] = {
    STR("EHLO client.test\r\n"),
    STR("HELO client.test\r\n"),
    STR("MAIL FROM:<a@client.test>\r\n"),
    STR("MAIL FROM:<a@client.test> SIZE=100 BODY=8BITMIME\r\n"),
    STR("MAIL FROM:<>\r\n"),
    STR("RCPT TO:<b@mx.test>\r\n"),
    STR("RCPT TO:<c@mx.test> NOTIFY=NEVER\r\n"),
    STR("RCPT TO:<no@mx.test>\r\n"),
    STR("RCPT TO:<later@mx.test>\r\n"),
    STR("RCPT TO:<x@elsewhere.test>\r\n"),
    STR("RCPT TO:<Postmaster>\r\n"),
    STR("DATA\r\n"),
    STR("RSET\r\n"),
    STR("NOOP\r\n"),
    STR("NOOP x y z\r\n"),
    STR("VRFY b\r\n"),
    STR("HELP\r\n"),
    STR("EXPN list\r\n"),
    STR("WHAT\r\n"),
    STR("\r\n"),
    STR("MAIL FROM:<a b>\r\n"),
    STR("BDAT 5\r\n12345"),
    STR("BDAT 4\r\na\r\n."),
    STR("BDAT 0\r\n"),
    STR("BDAT 0 LAST\r\n"),
    STR("BDAT 7 LAST\r\nx\r\ny\r\nz"),
    STR("BDAT 24 LAST\r\nMAIL FROM:<evil@x.test>\r"),
    STR("Subject: x\r\n\r\nbody\r\n"),
    STR(".\r\n"),
    STR("..\r\n"),
    STR(".x\r\n"),
    STR("\n.\n"),
    STR("\r.\r"),
    STR("\r\n.\n"),
    STR("\n.\r\n"),
    STR("\0"),
    STR("\r"),
    STR("\n"),
    STR("\r\r\n"),
    STR("x\xff\r\n"),
    STR("Received: by x; now\r\n"),
    STR("Delivered-To: b@mx.test\r\n"),
    STR("NOOP\rNOOP\r\n"),
    STR("NOOP\nNOOP\r\n"),
};

/* More often than not what a client would say next, so that sessions get somewhere. */
static void one_turn(struct buf *b) {
    if (chance(3)) {
        buf_add(b, words[chance(sizeof words / sizeof words[0])]);
        return;
    }
    if (chance(2)) buf_adds(b, "EHLO client.test\r\n");
    buf_adds(b, "MAIL FROM:<a@client.test>\r\n");
    for (uint32_t n = chance(4) + 1; n; n--) buf_add(b, words[5 + chance(5)]);
    if (chance(2)) {
        buf_adds(b, "DATA\r\nSubject: x\r\n\r\n");
        for (uint32_t n = chance(4); n; n--) buf_add(b, words[27 + chance(13)]);
        buf_adds(b, "\r\n.\r\n");
    } else {
        buf_adds(b, "BDAT 8\r\nS: x\r\n\r\nBDAT 4 LAST\r\nabcd");
    }
}

static void make_session(struct buf *b) {
    if (chance(8)) buf_adds(b, "EHLO client.test\r\n");
    for (uint32_t n = chance(LINES_MAX); n; n--) {
        one_turn(b);
        if (!chance(40))
            for (uint32_t k = chance(2500); k; k--) buf_addc(b, chance(90) ? 'y' : '\r');
    }
    if (chance(2)) buf_adds(b, "QUIT\r\n");
}

/* Of the data of all messages that were accepted. */
static uint64_t told_data;

static void on_commit(const struct world *w) {
    told_data = str_hash((struct str){w->data, w->data_n}, told_data);
}

static uint64_t tell(struct world *w, struct str in, uint32_t longest, bool disturb, bool mended) {
    struct session_client client = {.ip = {4, {192, 0, 2, 7}}, .mended = mended};
    world_begin_as(w, "mx.test", &client);
    w->host.rcpt_limit = 5;
    w->host.hop_limit = 2;
    w->host.size_limit = 3000;
    w->on_commit = on_commit;
    told_data = 1;
    for (size_t at = 0; at < in.n && !session_over(w->session);) {
        size_t n = longest > 1 ? 1 + chance(longest) : 1;
        if (disturb) {
            w->answer_backwards = chance(2);
            w->send_fails = chance(2);
        }
        world_feed(w, str_sub(in, at, at + n));
        at += n;
    }
    return told_data;
}

static void same(const struct world *a, const struct world *b, bool same_data, uint64_t seed,
                 const char *how) {
    if (str_eq(world_said(a), world_said(b)) && a->received == b->received && a->rejects == b->rejects &&
        a->not_received == b->not_received && a->closed == b->closed && same_data)
        return;
    struct str x = world_said(a), y = world_said(b);
    size_t at = 0;
    while (at < x.n && at < y.n && x.p[at] == y.p[at]) at++;
    size_t from = at < 200 ? 0 : at - 200;
    fail_msg(
        "SPLITS_SEEDS=%llu-%llu: %s, octet %zu of the replies; accepted %u and %u, refused %u and %u\nwhole: "
        "\"%.*s\"\ncut: \"%.*s\"",
        (unsigned long long)seed, (unsigned long long)seed, how, at, a->received, b->received, a->rejects,
        b->rejects, STR_ARGS(str_sub(x, from, at + 100)), STR_ARGS(str_sub(y, from, at + 100)));
}

static uint64_t accepted, refused;

static void one_seed(uint64_t seed) {
    static struct world whole, cut;
    static char mem[SESSION_MAX];
    struct buf b = BUF(mem);
    state_of_chance = seed * 0x9e3779b97f4a7c15u + 1;
    make_session(&b);
    struct str in = buf_str(&b);
    for (int mended = 0; mended < 2; mended++) {
        uint64_t data =
            tell(&whole, in, UINT32_MAX, false, mended); /* the first piece is nearly always all */
        for (int i = 0; i < 4; i++) {
            static const uint32_t longest[] = {1, 5, 100, 2000};
            bool same_data = tell(&cut, in, longest[i], i & 1, mended) == data;
            same(&whole, &cut, same_data, seed, i == 0 ? "octet by octet" : "in pieces");
            world_end(&cut);
        }
        accepted += whole.received;
        refused += whole.rejects + whole.not_received;
        world_end(&whole);
    }
}

static void splits(void **state) {
    unsigned long long from = 1, to = 400;
    const char *seeds = getenv("SPLITS_SEEDS");
    (void)state;
    if (seeds && sscanf(seeds, "%llu-%llu", &from, &to) != 2) fail_msg("SPLITS_SEEDS is FROM-TO");
    for (unsigned long long seed = from; seed <= to; seed++) one_seed(seed);
    print_message("%llu messages accepted, %llu refusals\n", (unsigned long long)accepted,
                  (unsigned long long)refused);
    assert_true(accepted > 0 && refused > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(splits)};
    return cmocka_run_group_tests_name("splits", tests, NULL, NULL);
}
