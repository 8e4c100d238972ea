/* From addresses to names, as tables: what DNS says, and which name comes out. */
#include "common/arena.h"
#include "resolve/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Values: "FAIL", "NX", "NONE", or a list separated by spaces. */
static const struct row {
    const char *ip, *ptr;
    struct {
        const char *name, *values;
    } zone[5];
    const char *want; /* confirmed claimed [failed] */
} rows[] = {
    {"192.0.2.7", "mx.a.test", {{"mx.a.test", "192.0.2.7"}}, "mx.a.test mx.a.test"},
    {"192.0.2.7", "MX.a.test", {{"mx.a.test", "192.0.2.1 192.0.2.7"}}, "mx.a.test mx.a.test"},
    {"192.0.2.7", "mx.a.test", {{"mx.a.test", "192.0.2.8"}}, "- mx.a.test"},
    {"192.0.2.7", "mx.a.test", {{"mx.a.test", "NX"}}, "- mx.a.test"},
    {"192.0.2.7", "mx.a.test", {{"mx.a.test", "FAIL"}}, "- mx.a.test failed"},
    {"192.0.2.7", "NX", {{NULL, NULL}}, "- -"},
    {"192.0.2.7", "NONE", {{NULL, NULL}}, "- -"},
    {"192.0.2.7", "FAIL", {{NULL, NULL}}, "- - failed"},
    {"192.0.2.7",
     "lie.test mx.a.test",
     {{"lie.test", "NX"}, {"mx.a.test", "192.0.2.7"}},
     "mx.a.test lie.test"},
    {"192.0.2.7", "a.test b.test", {{"a.test", "FAIL"}, {"b.test", "192.0.2.7"}}, "b.test a.test"},
    {"192.0.2.7", "a b c d e", {{"e", "192.0.2.7"}}, "- a"}, /* only four are looked at */
    {"192.0.2.7",
     "b\x01"
     "d.test",
     {{NULL, NULL}},
     "- -"},
    {"2001:db8::1f", "six.test", {{"six.test", "2001:db8::1f"}}, "six.test six.test"},
    {"2001:db8::1f", "six.test", {{"six.test", "192.0.2.7"}}, "- six.test"},
};

struct dns {
    const struct row *row;
    struct names *n;
    char got[600];
    bool late; /* answers are kept, and given backwards */
    size_t kept;
    struct {
        unsigned which;
        const char *values;
        enum answer_kind kind;
    } questions[8];
};

static struct str pack(struct arena *a, const char *value, enum answer_kind kind) {
    struct ip ip;
    struct buf b = buf_in(a, 300);
    if (kind != ANSWER_PTR) {
        assert_true(ip_parse(str_of(value), &ip));
        return str_dup(a, (struct str){(const char *)ip.b, ip.family == 6 ? 16 : 4});
    }
    for (const char *dot; *value; value = *dot ? dot + 1 : dot) {
        dot = strchrnul(value, '.');
        buf_addc(&b, (char)(dot - value));
        buf_add(&b, (struct str){value, (size_t)(dot - value)});
    }
    buf_addc(&b, '\0');
    return buf_str(&b);
}

static void reply(struct dns *d, unsigned which, const char *values, enum answer_kind kind) {
    struct arena *a = arena_new(65536);
    struct str data[8], rest = str_of(values), w;
    struct answer_reply r = {.outcome = ANSWER_FOUND, .data = data};
    if (strcmp(values, "FAIL") == 0) r.outcome = ANSWER_FAILED;
    else if (strcmp(values, "NX") == 0) r.outcome = ANSWER_NO_NAME;
    else if (strcmp(values, "NONE") == 0) r.outcome = ANSWER_NO_DATA;
    else
        while (str_word(&rest, 0, &w)) data[r.count++] = pack(a, str_cstr(a, w), kind);
    names_take(d->n, which, &r);
    names_take(d->n, which, &r); /* a second one changes nothing */
    arena_free(a);
}

static void on_ask(void *ctx, unsigned which, struct str name, enum answer_kind kind) {
    struct dns *d = ctx;
    const char *values = kind == ANSWER_PTR ? d->row->ptr : "NX";
    for (size_t i = 0; kind != ANSWER_PTR && i < 5 && d->row->zone[i].name; i++)
        if (str_eq(name, str_of(d->row->zone[i].name))) values = d->row->zone[i].values;
    if (!d->late) {
        reply(d, which, values, kind);
        return;
    }
    d->questions[d->kept].which = which;
    d->questions[d->kept].values = values;
    d->questions[d->kept++].kind = kind;
}

static void on_done(void *ctx, struct str confirmed, struct str claimed, bool failed) {
    struct dns *d = ctx;
    assert_int_equal(d->got[0], 0);
    snprintf(d->got, sizeof d->got, "%.*s %.*s%s", STR_ARGS(confirmed.n ? confirmed : STR("-")),
             STR_ARGS(claimed.n ? claimed : STR("-")), failed ? " failed" : "");
}

static void names_come_out(void **state) {
    static const struct names_ops ops = {on_ask, on_done};
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        struct dns d = {.row = &rows[i / 2], .late = i % 2};
        struct ip ip;
        assert_true(ip_parse(str_of(d.row->ip), &ip));
        d.n = names_new(&ops, &d, &ip);
        names_begin(d.n);
        while (d.kept) {
            d.kept--;
            reply(&d, d.questions[d.kept].which, d.questions[d.kept].values, d.questions[d.kept].kind);
        }
        if (strcmp(d.got, d.row->want) != 0)
            fail_msg("%s -> %s: %s, not %s", d.row->ip, d.row->ptr, d.got, d.row->want);
        names_free(d.n);
    }
}

static void questions_are_right(void **state) {
    static const char *const pairs[][2] =
        {
            {"192.0.2.7", "7.2.0.192.in-addr.arpa"},
            {"2001:db8::567:89ab", "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6."
                                   "arpa"}, /* RFC 3596 2.5, nearly */
        };
    for (size_t i = 0; i < 2; i++) {
        char mem[80];
        struct buf b = BUF(mem);
        struct ip ip;
        assert_true(ip_parse(str_of(pairs[i][0]), &ip));
        names_reverse(&b, &ip);
        assert_string_equal(buf_cstr(&b), pairs[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_come_out),
                                       cmocka_unit_test(questions_are_right)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
