/* test_addr.c: what is an address, what is none, and that printing and parsing are each other's inverse. */
#include "common/addr.h"
#include "common/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define TEN      "abcdefghij"
#define SIXTY    TEN TEN TEN TEN TEN TEN
#define LABEL63  SIXTY "klm"
#define ALL      (ADDR_NULL | ADDR_POSTMASTER | ADDR_UTF8 | ADDR_NO_DOMAIN | ADDR_UNDERSCORE)

struct row {
    struct str in;
    unsigned flags;
    const char *local, *domain, *text; /* text NULL: as in; local NULL: refused */
};

#define OK(in, local, domain) \
    { STR(in), 0, local, domain, NULL }
#define AS(in, local, domain, text) \
    { STR(in), 0, local, domain, text }
#define NO(in) \
    { STR(in), 0, NULL, NULL, NULL }
#define OK_IF(flags, in, local, domain) \
    { STR(in), flags, local, domain, NULL }
#define AS_IF(flags, in, local, domain, text) \
    { STR(in), flags, local, domain, text }
#define NO_IF(flags, in) \
    { STR(in), flags, NULL, NULL, NULL }

static const struct row mailboxes[] = {
    /* Dot-string */
    OK("a@b", "a", "b"),
    OK("joe.q.public@example.com", "joe.q.public", "example.com"),
    AS("Joe@EXAMPLE.Com", "Joe", "example.com", "Joe@example.com"),
    OK("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x"),
    OK("user+ext@localhost", "user+ext", "localhost"),
    OK("-@x", "-", "x"), /* a hazard for command lines, not for the grammar */
    NO(""),
    NO("@"),
    NO("@x"),
    NO("a"),
    NO("a@"),
    NO(".a@x"),
    NO("a.@x"),
    NO("a..b@x"),
    NO("a b@x"),
    NO(" a@x"),
    NO("a@x "),
    NO("a@b@c"),
    NO("a(c)@x"),
    NO("a<b>@x"),
    NO("a,b@x"),
    NO("a:b@x"),
    NO("a;b@x"),
    NO("a[b@x"),
    NO("a\\@b@x"),
    NO("<a@x>"),
    /* Quoted-string: the quotes are no part of the name */
    AS("\"joe\"@x", "joe", "x", "joe@x"),
    AS("\"j\\o\\e\"@x", "joe", "x", "joe@x"),
    OK("\"a b\"@x", "a b", "x"),
    OK("\"\"@x", "", "x"),
    OK("\".\"@x", ".", "x"),
    OK("\"a..b\"@x", "a..b", "x"),
    OK("\"a.\"@x", "a.", "x"),
    OK("\"a@b\"@x", "a@b", "x"),
    OK("\"\\\\\\\"\"@x", "\\\"", "x"),
    OK("\"a> SIZE=1\"@x", "a> SIZE=1", "x"),
    NO("\"a@x"),
    NO("\"a\\\"@x"),
    NO("\"a\\"),
    NO("\""),
    NO("\"a\"b@x"),
    NO("\"a\".b@x"),
    NO("a.\"b\"@x"),
    NO("\"\"\"@x"),
    /* Controls, everywhere and always */
    NO("a\0@x"),
    NO("a@x\0"),
    NO("a@x\0.y"),
    NO("\"a\0\"@x"),
    NO("\"a\\\0\"@x"),
    NO("\"a\t\"@x"),
    NO("\"a\r\n.\r\n\"@x"),
    NO("\"a\\\r\"@x"),
    NO("a\x7f@x"),
    NO("\"\x7f\"@x"),
    NO("a@x\r\nRCPT TO:<b@x>"),
    NO("a@x\n"),
    NO_IF(ALL, "\"\x1b[2J\"@x"),
    /* Octets above 0x7e */
    NO("\xc3\xa9@x"),
    NO("\"\xff\"@x"),
    NO("a@\xc3\xa9"),
    OK_IF(ADDR_UTF8,
          "\xc3\xa9@b\xc3\xbc"
          "cher.example",
          "\xc3\xa9",
          "b\xc3\xbc"
          "cher.example"),
    OK_IF(ADDR_UTF8, "\"\xf0\x9f\x93\xac \"@x", "\xf0\x9f\x93\xac ", "x"),
    NO_IF(ADDR_UTF8, "\xff@x"),
    NO_IF(ADDR_UTF8, "\xc3@x"),
    NO_IF(ADDR_UTF8, "a@x\xc3"),
    NO_IF(ADDR_UTF8, "\xc0\xaf@x"), /* overlong "/" */
    NO_IF(ADDR_UTF8, "\xe0\x80\xaf@x"),
    NO_IF(ADDR_UTF8, "\xed\xa0\x80@x"),     /* surrogate */
    NO_IF(ADDR_UTF8, "\xf4\x90\x80\x80@x"), /* beyond U+10FFFF */
    NO_IF(ADDR_UTF8, "\xc2\x85@x"),         /* NEL, a control */
    NO_IF(ADDR_UTF8, "\"\\\xc3\xa9\"@x"),   /* quoted-pairSMTP is ASCII */
    /* Lengths, RFC 5321 4.5.3.1 and RFC 1035 2.3.4 */
    OK(SIXTY "abcd@x", SIXTY "abcd", "x"),
    NO(SIXTY "abcde@x"),
    AS("\"" SIXTY "\\a\\b\\c\\d\"@x", SIXTY "abcd", "x", SIXTY "abcd@x"),
    NO("\"" SIXTY "abcde\"@x"),
    OK("a@" LABEL63 ".x", "a", LABEL63 ".x"),
    NO("a@" LABEL63 "n.x"),
    OK("a@" LABEL63 "." LABEL63 "." LABEL63 "." LABEL63, "a", LABEL63 "." LABEL63 "." LABEL63 "." LABEL63),
    NO("a@" LABEL63 "." LABEL63 "." LABEL63 "." SIXTY ".abc"),
    /* Domain */
    OK("a@1.2.3.4", "a", "1.2.3.4"), /* the grammar allows it; DNS will not know it */
    OK("a@3com.example", "a", "3com.example"),
    OK("a@x--y.xn--p1ai", "a", "x--y.xn--p1ai"),
    NO("a@-x"),
    NO("a@x-"),
    NO("a@x-.y"),
    NO("a@.x"),
    NO("a@x."),
    NO("a@x..y"),
    NO("a@x_y"),
    NO("a@x y"),
    NO("a@x,y"),
    NO("a@x>y"),
    NO("a@\"x\""),
    NO("a@x%y"),
    OK_IF(ADDR_UNDERSCORE, "a@_dmarc.x", "a", "_dmarc.x"),
    /* Literals, RFC 5321 4.1.3 */
    OK("a@[192.0.2.1]", "a", "[192.0.2.1]"),
    AS("a@[ipv6:2001:DB8:0::1]", "a", "[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"),
    AS("a@[IPv6:::ffff:192.0.2.1]", "a", "[192.0.2.1]", "a@[192.0.2.1]"),
    OK("a@[IPv6:::]", "a", "[IPv6:::]"),
    NO("a@[]"),
    NO("a@["),
    NO("a@[192.0.2.1"),
    NO("a@192.0.2.1]"),
    NO("a@[192.0.2]"),
    NO("a@[192.0.2.256]"),
    NO("a@[ 192.0.2.1]"),
    NO("a@[192.0.2.1].x"),
    NO("a@[192.0.2.1]x"),
    NO("a@x.[192.0.2.1]"),
    NO("a@[2001:db8::1]"),
    NO("a@[IPv6:192.0.2.1]"),
    NO("a@[IPv6:]"),
    NO("a@[IPv6:1::2::3]"),
    NO("a@[IPv6:fe80::1%eth0]"),
    NO("a@[IPv6: ::1]"),
    NO("a@[x400:abc]"),
    NO("a@[example.com]"),
    /* Without a domain */
    NO("postmaster"),
    OK_IF(ADDR_POSTMASTER, "PostMaster", "PostMaster", ""),
    NO_IF(ADDR_POSTMASTER, "webmaster"),
    NO_IF(ADDR_POSTMASTER, "postmaster@"),
    OK_IF(ADDR_NO_DOMAIN, "root", "root", ""),
    OK_IF(ADDR_NO_DOMAIN, "\"a b\"", "a b", ""),
    NO_IF(ADDR_NO_DOMAIN, "\"\""),
    NO_IF(ADDR_NO_DOMAIN, "root@"),
    NO_IF(ADDR_NO_DOMAIN, ""),
    OK_IF(ADDR_NULL, "", "", ""),
    AS_IF(ADDR_NULL, "<>", "", "", ""),
    NO("<>"),
    NO_IF(ADDR_NULL, "<>x"),
};

static void check(const struct row *r, bool ok, const struct addr *got, const char *why, struct arena *a) {
    if (ok != (r->local != NULL)) fail_msg("<%.*s>: %s", STR_ARGS(r->in), ok ? "accepted" : why);
    if (!ok) {
        assert_true(why && *why);
        return;
    }
    if (!str_eq(got->local, str_of(r->local)) || !str_eq(got->domain, str_of(r->domain)))
        fail_msg("<%.*s>: got %.*s at %.*s", STR_ARGS(r->in), STR_ARGS(got->local), STR_ARGS(got->domain));
    struct str text = addr_text(a, got), want = r->text ? str_of(r->text) : r->in;
    if (!str_eq(text, want)) fail_msg("<%.*s> is written %.*s", STR_ARGS(r->in), STR_ARGS(text));
    struct addr again;
    assert_true(addr_parse(text, ALL, a, &again, &why));
    assert_true(addr_same(got, &again));
}

static void parses(void **state) {
    struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < COUNT(mailboxes); i++) {
        const struct row *r = &mailboxes[i];
        struct addr got = {0};
        const char *why = NULL;
        bool ok = addr_parse(r->in, r->flags, a, &got, &why);
        check(r, ok, &got, why, a);
        if (!ok) assert_null(got.local.p); /* a failure leaves *out alone */
    }
    arena_free(a);
}

/* Every mailbox between angle brackets gives the same verdict as a path, with the same rest behind it. */
static void parses_as_path(void **state) {
    struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < COUNT(mailboxes); i++) {
        const struct row *r = &mailboxes[i];
        char mem[1024];
        struct buf b = BUF(mem);
        struct addr got;
        struct str rest;
        const char *why = NULL;
        if (r->in.n >= 2 && r->in.p[0] == '<' && r->in.p[1] == '>') continue;
        buf_addc(&b, '<');
        buf_add(&b, r->in);
        buf_adds(&b, "> SIZE=1");
        /* "<a@x>y>" reads as a path with rubbish behind it: refused as well. */
        bool ok = addr_parse_path(buf_str(&b), r->flags, a, &got, &rest, &why);
        check(r, ok, &got, why, a);
        if (ok) assert_true(str_eq(rest, STR(" SIZE=1")));
    }
    arena_free(a);
}

static void paths(void **state) {
    static const struct {
        const char *in;
        unsigned flags;
        const char *text, *rest; /* text NULL: refused */
    } rows[] = {
        {"<a@x>", 0, "a@x", ""},
        {"<a@x> BODY=8BITMIME", 0, "a@x", " BODY=8BITMIME"},
        {"<>", ADDR_NULL, "", ""},
        {"<> SIZE=1", ADDR_NULL, "", " SIZE=1"},
        {"<>", ADDR_POSTMASTER, NULL, NULL},
        {"<>>", ADDR_NULL, NULL, NULL},
        {"< >", ADDR_NULL, NULL, NULL},
        {"<@x>", ADDR_NULL, NULL, NULL},
        {"<@x:>", ADDR_NULL, NULL, NULL},
        {"<Postmaster>", ADDR_POSTMASTER, "Postmaster", ""},
        {"<postmaster>", 0, NULL, NULL},
        {"<@relay.example:a@x>", 0, "a@x", ""},
        {"<@r1,@r2.example,@r3:\"b c\"@x>", 0, "\"b c\"@x", ""},
        {"<@r1,@r2,a@x>", 0, NULL, NULL},
        {"<@r1,r2:a@x>", 0, NULL, NULL},
        {"<@r1, @r2:a@x>", 0, NULL, NULL},
        {"<@r1,:a@x>", 0, NULL, NULL},
        {"<@:a@x>", 0, NULL, NULL},
        {"<@r1:@r2:a@x>", 0, NULL, NULL},
        {"<@r-:a@x>", 0, NULL, NULL},
        {"<@[192.0.2.1]:a@x>", 0, NULL, NULL},
        {"a@x", 0, NULL, NULL},
        {"<a@x", 0, NULL, NULL},
        {"a@x>", 0, NULL, NULL},
        {"", 0, NULL, NULL},
        {"<", ADDR_NULL, NULL, NULL},
        {" <a@x>", 0, NULL, NULL},
        {"<a@x>SIZE=1", 0, NULL, NULL},
        {"<a@x>\tSIZE=1", 0, NULL, NULL},
        {"<a@x>\r", 0, NULL, NULL},
        {"<a@x> ", 0, "a@x", " "},
        {"<< a@x>", 0, NULL, NULL},
        {"<a@x>>", 0, NULL, NULL},
        {"<a@x><b@y>", 0, NULL, NULL},
        {"Joe <a@x>", 0, NULL, NULL},
        {"<a b@x>", 0, NULL, NULL},
        {"<a@x >", 0, NULL, NULL},
        {"<\"a>b\"@x> X=Y", 0, "\"a>b\"@x", " X=Y"},
        {"<\"a@x> X=\"@y>", 0, "\"a@x> X=\"@y", ""},
        {"<\"a\\\">\"@x>", 0, "\"a\\\">\"@x", ""},
    };
    struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct addr got;
        struct str rest;
        const char *why = NULL;
        bool ok = addr_parse_path(str_of(rows[i].in), rows[i].flags, a, &got, &rest, &why);
        if (ok != (rows[i].text != NULL)) fail_msg("%s: %s", rows[i].in, ok ? "accepted" : why);
        if (ok) {
            assert_string_equal(addr_text(a, &got).p, rows[i].text);
            assert_string_equal(str_cstr(a, rest), rows[i].rest);
            assert_int_equal(addr_is_null(&got), rows[i].text[0] == '\0');
        } else {
            assert_true(why && *why);
        }
    }
    arena_free(a);
}

static void domains(void **state) {
    static const struct {
        const char *in;
        unsigned flags;
        const char *want; /* NULL: refused */
    } rows[] = {
        {"Mail.EXAMPLE.com", 0, "mail.example.com"},
        {"[192.0.2.1]", 0, "[192.0.2.1]"},
        {"[ipv6:::1]", 0, "[IPv6:::1]"},
        {"my_pc", ADDR_UNDERSCORE, "my_pc"},
        {"my_pc", 0, NULL},
        {"", 0, NULL},
        {".", 0, NULL},
        {"example.com.", 0, NULL},
        {"a b", 0, NULL},
        {"a\r", 0, NULL},
        {"a@b", 0, NULL},
        {"[192.0.2.1]]", 0, NULL},
    };
    struct arena *a = arena_new(1 << 16);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct str got;
        const char *why = NULL;
        bool ok = domain_parse(str_of(rows[i].in), rows[i].flags, a, &got, &why);
        if (ok != (rows[i].want != NULL)) fail_msg("%s: %s", rows[i].in, ok ? "accepted" : why);
        if (!ok) {
            assert_true(why && *why);
            continue;
        }
        assert_string_equal(got.p, rows[i].want);
        assert_int_equal(domain_is_literal(got), rows[i].in[0] == '[');
    }
    arena_free(a);
}

/* What an administrator reads: the reason names the rule that was broken. */
static void reasons(void **state) {
    static const struct {
        const char *in, *part;
    } rows[] = {
        {"a", "no domain"},
        {"@x", "local part is missing"},
        {"a@", "domain is missing"},
        {"a..b@x", "empty atom"},
        {"a\n@x", "control"},
        {"\xe9@x", "6531"},
        {"a@x-", "hyphen"},
        {"a@[1.2.3]", "4.1.3"},
        {SIXTY SIXTY "@x", "64 octets"},
        {"a@" LABEL63 "n", "63 octets"},
        {"\"a", "closing quote"},
        {"a@x.", "label"},
    };
    struct arena *a = arena_new(1 << 16);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct addr got;
        const char *why = NULL;
        assert_false(addr_parse(str_of(rows[i].in), 0, a, &got, &why));
        if (!strstr(why, rows[i].part)) fail_msg("%s: %s", rows[i].in, why);
    }
    arena_free(a);
}

static void full_arena(void **state) {
    struct arena *a = arena_new(3);
    struct addr got;
    struct str d;
    const char *why = NULL;
    assert_false(addr_parse(STR("abc@xyz"), 0, a, &got, &why));
    assert_ptr_equal(why, addr_no_memory);
    assert_false(domain_parse(STR("xyz"), 0, a, &d, &why));
    assert_ptr_equal(why, addr_no_memory);
    arena_free(a);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),  cmocka_unit_test(parses_as_path), cmocka_unit_test(paths),
        cmocka_unit_test(domains), cmocka_unit_test(reasons),        cmocka_unit_test(full_arena),
    };
    return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
