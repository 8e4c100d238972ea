/* test_limits.c: the counts of strangers: two processes on one memory, time as we like it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/arena.h"
#include "smtpd/limits.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const int64_t T0 = 1000000000000, MS = 1000000, SEC = 1000000000;

static struct crowd *memory;
static struct limits a, b;

static void fresh(uint64_t client, uint64_t network, struct rates rate) {
    free(memory);
    memory = xmalloc(sizeof *memory);
    memory->seed = 42;
    a = b = (struct limits){.connections = {client, network}, .prefix = {24, 64}};
    for (int i = 0; i < LIMIT_RATES; i++) a.rates[i] = b.rates[i] = rate;
    limits_attach(&a, memory, 0);
    limits_attach(&b, memory, 1);
}

static const struct rates no_rates;

static struct ip address(const char *text) {
    struct ip ip;
    assert_true(ip_parse(str_of(text), &ip));
    return ip;
}

static enum limit_verdict enter(struct limits *l, const char *who, int64_t at, struct source *s) {
    struct ip ip = address(who);
    enum limit which;
    return limits_enter(l, &ip, at, s, &which);
}

/* Two processes count the same client, and its network. */
static void connections(void **state) {
    struct source s[8], none;
    (void)state;
    fresh(2, 3, no_rates);
    assert_int_equal(enter(&a, "192.0.2.1", T0, &s[0]), LIMIT_OK);
    assert_int_equal(enter(&b, "192.0.2.1", T0, &s[1]), LIMIT_OK);
    assert_int_equal(enter(&a, "192.0.2.1", T0, &none), LIMIT_CLIENT);
    assert_int_equal(none.client + none.network, 0);
    assert_int_equal(limits_sessions(&a, &s[0]), 2);
    assert_int_equal(enter(&a, "192.0.2.2", T0, &s[2]), LIMIT_OK);
    assert_int_equal(enter(&b, "192.0.2.3", T0, &none), LIMIT_NETWORK);
    assert_int_equal(enter(&b, "192.0.3.3", T0, &s[3]), LIMIT_OK); /* another /24 */
    limits_leave(&b, &s[1]);
    limits_leave(&b, &s[1]); /* harmless */
    assert_int_equal(enter(&a, "192.0.2.1", T0, &s[1]), LIMIT_OK);
    /* Process 0 dies: posternd wipes its row, and what it held is forgotten. */
    memset(&memory->rows[0], 0, sizeof memory->rows[0]);
    assert_int_equal(limits_sessions(&b, &s[0]), 0);
    limits_attach(&a, memory, 0);
    assert_int_equal(enter(&b, "192.0.2.1", T0, &s[4]), LIMIT_OK);
}

static void networks(void **state) {
    struct source s;
    (void)state;
    fresh(0, 2, no_rates);
    assert_int_equal(enter(&a, "2001:db8::1", T0, &s), LIMIT_OK);
    assert_int_equal(enter(&a, "2001:db8::ffff:1", T0, &s), LIMIT_OK);
    assert_int_equal(enter(&a, "2001:db8::2", T0, &s), LIMIT_NETWORK);
    assert_int_equal(enter(&a, "2001:db8:0:1::2", T0, &s), LIMIT_OK);
    a.prefix.network = 48;
    assert_int_equal(enter(&a, "2001:db8:7:1::2", T0, &s), LIMIT_OK);
    assert_int_equal(enter(&a, "2001:db8:7:2::2", T0, &s), LIMIT_OK);
    assert_int_equal(enter(&a, "2001:db8:7:3::2", T0, &s), LIMIT_NETWORK);
    struct ip none = {0};
    enum limit which;
    assert_int_equal(limits_enter(&a, &none, T0, &s, &which), LIMIT_OK);
    assert_int_equal(s.network, 0);
    a.shared = NULL; /* without memory nothing is counted, and nobody is refused */
    for (int i = 0; i < 5; i++) assert_int_equal(enter(&a, "2001:db8:7:3::2", T0, &s), LIMIT_OK);
    assert_int_equal(limits_take(&a, &s, LIMIT_MESSAGES, 1, T0), LIMIT_OK);
    limits_leave(&a, &s);
}

/* 10/10s: ten at once, then one a second. */
static void rates(void **state) {
    struct source s, t;
    (void)state;
    fresh(0, 0, (struct rates){{10, 10000}, {15, 10000}});
    assert_int_equal(enter(&a, "192.0.2.1", T0, &s), LIMIT_OK);
    assert_int_equal(enter(&b, "192.0.2.9", T0, &t), LIMIT_OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(limits_take(&a, &s, LIMIT_MESSAGES, 1, T0 + i * MS), LIMIT_OK);
    assert_int_equal(limits_take(&a, &s, LIMIT_MESSAGES, 1, T0 + 20 * MS), LIMIT_CLIENT);
    assert_int_equal(limits_take(&a, &s, LIMIT_RECIPIENTS, 10, T0 + 20 * MS), LIMIT_OK); /* counted apart */
    assert_int_equal(limits_take(&a, &s, LIMIT_RECIPIENTS, 1, T0 + 20 * MS), LIMIT_CLIENT);
    assert_int_equal(limits_take(&b, &t, LIMIT_MESSAGES, 5, T0 + 20 * MS), LIMIT_OK);
    assert_int_equal(limits_take(&b, &t, LIMIT_MESSAGES, 1, T0 + 20 * MS), LIMIT_NETWORK);
    assert_int_equal(limits_take(&a, &s, LIMIT_MESSAGES, 1, T0 + 1100 * MS), LIMIT_OK);
    assert_int_equal(limits_take(&a, &s, LIMIT_MESSAGES, 1, T0 + 1200 * MS), LIMIT_CLIENT);
    assert_int_equal(limits_take(&a, &s, LIMIT_MESSAGES, 10, T0 + 30 * SEC), LIMIT_OK);
    /* More than the whole allowance is never allowed, and costs nothing. */
    assert_int_equal(limits_take(&a, &s, LIMIT_MESSAGES, 11, T0 + 60 * SEC), LIMIT_CLIENT);
    assert_int_equal(limits_take(&a, &s, LIMIT_MESSAGES, 10, T0 + 60 * SEC), LIMIT_OK);
}

static void connection_rate(void **state) {
    struct source s;
    (void)state;
    fresh(0, 0, (struct rates){{3, 60000}, {5, 60000}});
    for (int i = 0; i < 3; i++) {
        assert_int_equal(enter(&a, "192.0.2.1", T0, &s), LIMIT_OK);
        limits_leave(&a, &s);
    }
    assert_int_equal(enter(&b, "192.0.2.1", T0, &s), LIMIT_CLIENT);
    assert_int_equal(enter(&b, "192.0.2.2", T0, &s), LIMIT_OK);
    assert_int_equal(enter(&b, "192.0.2.3", T0, &s), LIMIT_OK);
    assert_int_equal(enter(&b, "192.0.2.4", T0, &s), LIMIT_NETWORK);
    assert_int_equal(enter(&b, "192.0.2.1", T0 + 61 * SEC, &s), LIMIT_OK);
}

/* Failures are counted after the fact, and shut out only for the time of the setting, whatever stands in memory. */
static void failures(void **state) {
    struct source s;
    (void)state;
    fresh(0, 0, (struct rates){{3, 60000}, {0, 0}});
    assert_int_equal(enter(&a, "192.0.2.1", T0, &s), LIMIT_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(limits_count(&a, &s, LIMIT_ERRORS, T0), LIMIT_OK);
    assert_int_equal(limits_count(&a, &s, LIMIT_ERRORS, T0), LIMIT_CLIENT);
    for (int i = 0; i < 100; i++) limits_count(&a, &s, LIMIT_ERRORS, T0);
    assert_int_equal(limits_look(&a, &s, LIMIT_ERRORS, T0 + 19 * SEC), LIMIT_CLIENT);
    assert_int_equal(limits_look(&a, &s, LIMIT_ERRORS, T0 + 41 * SEC), LIMIT_OK);
    atomic_store(&memory->places[s.client - 1].whole_at[LIMIT_ERRORS], INT64_MAX);
    assert_int_equal(limits_look(&a, &s, LIMIT_ERRORS, T0), LIMIT_CLIENT);
    assert_int_equal(limits_count(&a, &s, LIMIT_ERRORS, T0), LIMIT_CLIENT);
    assert_int_equal(limits_look(&a, &s, LIMIT_ERRORS, T0 + 61 * SEC), LIMIT_OK);
}

static void users(void **state) {
    struct source s[4];
    (void)state;
    fresh(1, 1, (struct rates){{1, 60000}, {1, 60000}});
    assert_int_equal(limits_enter_user(&a, 1000, 3, T0, &s[0]), LIMIT_OK);
    assert_int_equal(limits_enter_user(&b, 1000, 3, T0, &s[1]), LIMIT_OK);
    assert_int_equal(limits_enter_user(&a, 1000, 3, T0, &s[2]), LIMIT_OK);
    assert_int_equal(limits_enter_user(&a, 1000, 3, T0, &s[3]), LIMIT_CLIENT);
    assert_int_equal(limits_enter_user(&a, 1001, 3, T0, &s[3]), LIMIT_OK);
    limits_leave(&b, &s[1]);
    assert_int_equal(limits_enter_user(&b, 1000, 3, T0, &s[1]), LIMIT_OK);
}

static void known(void **state) {
    struct source s, t;
    (void)state;
    fresh(0, 0, no_rates);
    enter(&a, "192.0.2.1", T0, &s);
    enter(&b, "192.0.2.1", T0, &t);
    assert_false(limits_known(&b, &t));
    limits_know(&a, &s, T0);
    assert_true(limits_known(&b, &t));
}

/* A million clients pass: memory stays, and whoever has a session keeps his place. */
static void many(void **state) {
    struct source kept, s;
    (void)state;
    fresh(0, 0, (struct rates){{2, 86400000}, {0, 0}});
    enter(&a, "198.51.100.1", T0, &kept);
    limits_take(&a, &kept, LIMIT_MESSAGES, 2, T0);
    uint32_t lost = 0;
    for (uint32_t i = 0; i < 1000000; i++) {
        struct ip ip = {4, {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
        enum limit which;
        assert_int_equal(limits_enter(&a, &ip, T0 + i * MS, &s, &which), LIMIT_OK);
        lost += !s.client;
        limits_leave(&a, &s);
    }
    assert_int_equal(lost, 0);
    assert_int_equal(enter(&b, "198.51.100.1", T0 + 2000 * SEC, &s), LIMIT_OK);
    assert_int_equal(s.client, kept.client);
    assert_int_equal(limits_take(&b, &s, LIMIT_MESSAGES, 1, T0 + 2000 * SEC), LIMIT_CLIENT);
}

/* 40,000 sessions at a time of as many clients: nearly all of them are counted, and none is refused for that. */
static void crowd(void **state) {
    uint32_t lost = 0;
    (void)state;
    fresh(1, 0, no_rates);
    for (uint32_t i = 0; i < 40000; i++) {
        struct ip ip = {4, {10, 1, (uint8_t)(i >> 8), (uint8_t)i}};
        struct source s;
        enum limit which;
        assert_int_equal(limits_enter(i & 1 ? &a : &b, &ip, T0, &s, &which), LIMIT_OK);
        lost += !s.client;
    }
    assert_true(lost < 2000);
}

static void ears(void **state) {
    (void)state;
    fresh(0, 0, no_rates);
    assert_true(limits_open(&a, 9, 10));
    assert_true(limits_open(&a, 10, 10)); /* b does not listen yet */
    assert_true(limits_open(&b, 0, 10));
    assert_false(limits_open(&a, 10, 10)); /* b has room */
    assert_true(limits_open(&b, 10, 10));  /* nobody has: the last one goes on, and makes room */
    assert_true(limits_open(&a, 10, 10));
    assert_true(limits_open(&b, 9, 10));
    assert_false(limits_open(&a, 10, 10));
    memset(&memory->rows[1], 0, sizeof memory->rows[1]); /* b dies */
    assert_true(limits_open(&a, 10, 10));
}

static void texts(void **state) {
    (void)state;
    for (int i = 0; i <= LIMIT_CONNECTIONS; i++)
        for (int v = LIMIT_CLIENT; v <= LIMIT_NETWORK; v++) {
            struct status st = limits_status((enum limit)i, (enum limit_verdict)v);
            assert_int_equal(st.code / 100, 4);
            assert_int_equal(st.detail[0], 4);
            char mem[100];
            struct buf b2 = BUF(mem);
            buf_addf(&b2, "(%s)", limits_setting((enum limit)i));
            assert_true(str_ends_nocase(st.text, buf_str(&b2)));
        }
    struct config *c = config_new();
    limits_settings(&a, c);
    assert_int_equal(a.connections.client, 50);
    assert_int_equal(a.rates[LIMIT_ERRORS].client.n, 200);
    assert_int_equal(a.rates[LIMIT_ERRORS].client.ms, 600000);
    config_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections), cmocka_unit_test(networks),
        cmocka_unit_test(rates),       cmocka_unit_test(connection_rate),
        cmocka_unit_test(failures),    cmocka_unit_test(users),
        cmocka_unit_test(known),       cmocka_unit_test(many),
        cmocka_unit_test(crowd),       cmocka_unit_test(ears),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
