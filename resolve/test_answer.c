/* From records to hosts, as tables: what DNS says on the left, whom to try on the right. */
#include "common/arena.h"
#include "resolve/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A record set in the words of the tables: "FAIL", "NONE", "NX", or values separated by spaces; "10/mx" for
 * MX. */
struct zone_row {
    const char *name;
    enum answer_kind kind;
    const char *values;
};

struct row {
    const char *domain;
    bool mx;
    struct zone_row zone[12];
    const char *want; /* hosts as "preference name address", then the status */
};

static const struct row rows[] = {
    {"a.test",
     true,
     {{"a.test", ANSWER_MX, "20/two 10/one"}, {"one", ANSWER_A, "192.0.2.1"}, {"two", ANSWER_A, "192.0.2.2"}},
     "10 one 192.0.2.1|20 two 192.0.2.2|250 2.0.0 "},
    {"a.test",
     true,
     {{"a.test", ANSWER_MX, "10/one"}, {"one", ANSWER_A, "192.0.2.1"}, {"one", ANSWER_AAAA, "2001:db8::1"}},
     "10 one 2001:db8::1|10 one 192.0.2.1|250 2.0.0 "},
    {"a.test", true, {{"a.test", ANSWER_A, "192.0.2.1"}}, "0 a.test 192.0.2.1|250 2.0.0 "},
    {"a.test",
     false,
     {{"a.test", ANSWER_MX, "10/one"}, {"a.test", ANSWER_AAAA, "2001:db8::1"}},
     "0 a.test 2001:db8::1|250 2.0.0 "},
    {"a.test", true, {{"a.test", ANSWER_MX, "0/."}}, "556 5.1.10 a.test accepts no mail (null MX)"},
    {"a.test",
     true,
     {{"a.test", ANSWER_MX, "0/. 5/one"}, {"one", ANSWER_A, "192.0.2.1"}},
     "5 one 192.0.2.1|250 2.0.0 "},
    {"a.test", true, {{"a.test", ANSWER_MX, "NX"}}, "550 5.1.2 a.test does not exist"},
    {"a.test",
     false,
     {{"a.test", ANSWER_A, "NX"}, {"a.test", ANSWER_AAAA, "NX"}},
     "550 5.1.2 a.test does not exist"},
    {"a.test",
     true,
     {{"a.test", ANSWER_MX, "NONE"}},
     "550 5.4.4 a.test has neither a mail exchanger nor an address"},
    {"a.test",
     true,
     {{"a.test", ANSWER_MX, "FAIL"}},
     "451 4.4.3 DNS lookup of a.test failed: SERVFAIL (asked the tests)"},
    {"a.test",
     true,
     {{"a.test", ANSWER_MX, "10/one"}, {"one", ANSWER_A, "NX"}},
     "550 5.4.4 a.test has mail exchangers, but none of them has an address"},
    {"a.test",
     true,
     {{"a.test", ANSWER_MX, "10/one"}, {"one", ANSWER_A, "FAIL"}},
     "451 4.4.3 DNS lookup of one failed: SERVFAIL (asked the tests)"},
    {"a.test",
     true,
     {{"a.test", ANSWER_MX, "10/one 20/two"}, {"one", ANSWER_A, "FAIL"}, {"two", ANSWER_A, "192.0.2.2"}},
     "20 two 192.0.2.2|250 2.0.0 "},
    {"a.test",
     true,
     {{"a.test", ANSWER_MX, "10/one"}, {"one", ANSWER_A, "FAIL"}, {"one", ANSWER_AAAA, "2001:db8::1"}},
     "10 one 2001:db8::1|250 2.0.0 "},
    {"a.test",
     true,
     {{"a.test", ANSWER_A, "0.0.0.0 224.0.0.1 255.255.255.255"}, {"a.test", ANSWER_AAAA, ":: ff02::1"}},
     "550 5.4.4 a.test has neither a mail exchanger nor an address"},
    {"a.test",
     true,
     {{"a.test", ANSWER_MX, "10/bad!name"}},
     "550 5.4.4 a.test has mail exchangers, but none with a host name that can be used"},
    {"[192.0.2.7]", true, {{0}}, "0 [192.0.2.7] 192.0.2.7|250 2.0.0 "},
    {"[IPv6:2001:db8::7]", true, {{0}}, "0 [IPv6:2001:db8::7] 2001:db8::7|250 2.0.0 "},
    {"[192.0.2]", true, {{0}}, "550 5.1.2 [192.0.2] is not an address literal"},
    {"[", true, {{0}}, "550 5.1.2 [ is not an address literal"},
    {"", true, {{0}}, "550 5.1.2  is not a domain"},
};

struct play {
    const struct row *row;
    struct answer *answer;
    struct buf out;
    char mem[4096];
    size_t asked;
    unsigned which[64];
    enum answer_kind kind[64];
    char name[64][ANSWER_NAME + 1];
    bool over;
    uint32_t ttl;
    size_t hosts;
};

static void on_ask(void *ctx, unsigned which, struct str name, enum answer_kind kind) {
    struct play *p = ctx;
    assert_true(p->asked < 64);
    p->which[p->asked] = which;
    p->kind[p->asked] = kind;
    memcpy(p->name[p->asked], name.p, name.n);
    p->name[p->asked++][name.n] = '\0';
}

static void on_host(void *ctx, const struct answer_host *h) {
    struct play *p = ctx;
    p->hosts++;
    buf_addu(&p->out, h->preference);
    buf_addc(&p->out, ' ');
    buf_add(&p->out, h->name);
    buf_addc(&p->out, ' ');
    ip_format(&p->out, &h->ip);
    buf_addc(&p->out, '|');
}

static void on_done(void *ctx, uint32_t ttl, const struct status *s) {
    struct play *p = ctx;
    assert_false(p->over);
    p->over = true;
    p->ttl = ttl;
    status_format(&p->out, s);
}

static const struct answer_ops ops = {on_ask, on_host, on_done};

/* One value to the form that DNS gives it. */
static struct str rdata(char *mem, size_t max, enum answer_kind kind, struct str word) {
    struct buf b = buf_on(mem, max);
    struct ip ip;
    if (kind == ANSWER_MX) {
        uint64_t pref = 0;
        ptrdiff_t slash = str_chr(word, '/');
        assert_true(str_to_u64(str_sub(word, 0, (size_t)slash), 65535, &pref));
        buf_addc(&b, (char)(pref >> 8));
        buf_addc(&b, (char)pref);
        struct str rest = str_sub(word, (size_t)slash + 1, word.n), label;
        while (str_word(&rest, '.', &label)) {
            buf_addc(&b, (char)label.n);
            buf_add(&b, label);
        }
        buf_addc(&b, 0);
    } else {
        assert_true(ip_parse(word, &ip));
        buf_add(&b, (struct str){(const char *)ip.b, kind == ANSWER_A ? 4 : 16});
    }
    return buf_str(&b);
}

static void reply(struct play *p, size_t i) {
    struct str data[8];
    char mem[8][64];
    struct answer_reply r = {.outcome = ANSWER_NO_DATA, .ttl = 60 + (uint32_t)i, .data = data};
    for (const struct zone_row *z = p->row->zone; z < p->row->zone + 12 && z->name; z++) {
        struct str values = str_of(z->values), word;
        if (strcmp(z->name, p->name[i]) || z->kind != p->kind[i]) continue;
        if (str_eq(values, STR("NX"))) r.outcome = ANSWER_NO_NAME;
        else if (str_eq(values, STR("FAIL"))) r.outcome = ANSWER_FAILED, r.why = "SERVFAIL";
        else if (!str_eq(values, STR("NONE")))
            for (r.outcome = ANSWER_FOUND; str_word(&values, '\0', &word); r.count++)
                data[r.count] = rdata(mem[r.count], sizeof mem[0], z->kind, word);
    }
    answer_take(p->answer, p->which[i], &r);
}

static void play(struct play *p, const struct row *row, uint64_t seed, bool backwards) {
    *p = (struct play){.row = row};
    p->out = BUF(p->mem);
    p->answer = answer_new(&ops, p, str_of(row->domain), row->mx, seed, "the tests");
    answer_begin(p->answer);
    for (size_t from = 0, to; from < p->asked; from = to) {
        to = p->asked;
        for (size_t i = from; i < to; i++) reply(p, backwards ? to - 1 - (i - from) : i);
    }
    assert_true(p->over);
    answer_free(p->answer);
}

static void test_rows(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int turn = 0; turn < 2; turn++) {
            struct play p;
            play(&p, &rows[i], i + 1, turn);
            if (strcmp(buf_cstr(&p.out), rows[i].want))
                fail_msg("row %zu:\n got  %s\n want %s", i, p.out.p, rows[i].want);
        }
    }
}

static void test_ttl(void **state) {
    struct play p;
    play(&p, &rows[0], 1, false);
    assert_int_equal(p.ttl, 60); /* the lowest of 60, 61 ... */
    play(&p, &rows[9], 1, false);
    assert_int_equal(p.ttl, 0); /* a failure is not remembered */
}

/* RFC 5321 5.1: equal preferences MUST be randomized. */
static void test_equals(void **state) {
    static const struct row row = {"a.test",
                                   true,
                                   {{"a.test", ANSWER_MX, "10/one 10/two 10/three"},
                                    {"one", ANSWER_A, "192.0.2.1"},
                                    {"two", ANSWER_A, "192.0.2.2"},
                                    {"three", ANSWER_A, "192.0.2.3"}},
                                   NULL};
    size_t first[4] = {0};
    for (uint64_t seed = 0; seed < 600; seed++) {
        struct play p;
        play(&p, &row, seed * 7919, false);
        assert_int_equal(p.hosts, 3);
        first[p.mem[strcspn(p.mem, "|") - 1] - '0']++;
    }
    for (size_t i = 1; i < 4; i++) assert_true(first[i] > 120 && first[i] < 280);
}

/* However much DNS says, what comes out is bounded, and the best preferences are in it. */
static void test_many(void **state) {
    static const struct row row = {"a.test", true, {{0}}, NULL};
    static char mem[300][32];
    struct str data[300], addresses[300];
    struct play p = {.row = &row};
    struct answer_reply mx = {.outcome = ANSWER_FOUND, .ttl = 5, .count = 90, .data = data};
    struct answer_reply a = {.outcome = ANSWER_FOUND, .ttl = 5, .count = 300, .data = addresses};
    for (size_t i = 0; i < 90; i++) {
        char word[32];
        snprintf(word, sizeof word, "%zu/h%zu", 90 - i, 90 - i);
        data[i] = rdata(mem[i], sizeof mem[i], ANSWER_MX, str_of(word));
    }
    for (size_t i = 0; i < 300; i++) addresses[i] = (struct str){"\xc0\x00\x02\x01", 4};
    p.out = BUF(p.mem);
    p.answer = answer_new(&ops, &p, STR("a.test"), true, 1, "the tests");
    answer_begin(p.answer);
    answer_take(p.answer, 0, &mx);
    assert_int_equal(p.asked, 1 + 2 * ANSWER_HOSTS);
    for (size_t i = 1; i < p.asked; i++) answer_take(p.answer, p.which[i], &a);
    answer_take(p.answer, 0, &mx); /* again, unasked */
    answer_take(p.answer, 1000, &a);
    assert_true(p.over);
    assert_int_equal(p.hosts, ANSWER_HOSTS);
    assert_memory_equal(p.mem, "1 h1 192.0.2.1|", 15);
    answer_free(p.answer);
}

static void test_names(void **state) {
    static const struct {
        struct str wire;
        const char *text; /* NULL: refused */
    } names[] = {
        {{"\0", 1}, ""},         {{"\2mX\4Test\0", 9}, "mx.test"}, {{"\3a_b\0", 5}, "a_b"}, {{"", 0}, NULL},
        {{"\2mx", 3}, NULL},     /* no root */
        {{"\5mx\0", 4}, NULL},   /* a label longer than the rest */
        {{"\2mx\0x", 5}, NULL},  /* something behind the root */
        {{"\xc0\x0c", 2}, NULL}, /* a pointer */
        {{"\3a.b\0", 5}, NULL},  /* a dot in a label */
        {{"\3a\nb\0", 5}, NULL},
    };
    char text[ANSWER_NAME + 1];
    size_t n;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(answer_name(names[i].wire, text, &n), names[i].text != NULL);
        if (names[i].text) assert_string_equal(text, names[i].text);
    }
    char longest[300] = {0};
    for (size_t i = 0; i < 4; i++) {
        longest[64 * i] = 63;
        memset(longest + 64 * i + 1, 'a', 63);
    }
    assert_true(answer_name((struct str){longest, 3 * 64 + 1}, text, &n) ==
                false); /* next label is not the root */
    longest[3 * 64] = 0;
    assert_true(answer_name((struct str){longest, 3 * 64 + 1}, text, &n));
    assert_int_equal(n, 3 * 64 - 1);
    longest[3 * 64] = 63;
    assert_false(answer_name((struct str){longest, 4 * 64 + 1}, text, &n)); /* 255 octets are the most */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows), cmocka_unit_test(test_ttl),   cmocka_unit_test(test_equals),
        cmocka_unit_test(test_many), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("answer", tests, NULL, NULL);
}
