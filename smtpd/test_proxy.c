#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtpd/proxy.h"

#include <stdio.h>
#include <string.h>

#define SIG    "\r\n\r\n\0\r\nQUIT\n"
#define A4     "\300\0\2\1\300\0\2\31\234\100\0\31"
#define A6     "\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\31\234\100\0\31"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\377\377\300\0\2\1\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\31\234\100\0\31"

/* What a header comes to, cut into pieces: "192.0.2.1:40000", "none", "bad", "more"; and the octets behind it. */
static void read_header(struct str in, size_t piece, char *out, size_t max) {
    struct proxy p = {0};
    struct buf b = buf_on(out, max);
    enum proxy_what what = PROXY_MORE;
    size_t used = 0, at = 0;
    while (what == PROXY_MORE && at < in.n) {
        struct str bytes = str_sub(in, at, at + piece);
        what = proxy_take(&p, bytes, &used);
        assert_true(used <= bytes.n && (used == bytes.n || what != PROXY_MORE));
        at += used;
    }
    if (what == PROXY_BAD) buf_adds(&b, "bad");
    else if (what == PROXY_MORE) buf_adds(&b, "more");
    else if (!p.source.family) buf_adds(&b, "none");
    else hostport_format(&b, &p.source, p.port);
    if (what == PROXY_DONE) buf_addf(&b, "+%zu", in.n - at);
    buf_cstr(&b);
}

static void headers(void **state) {
    static const struct {
        struct str in;
        const char *want;
    } rows[] = {
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 40000 25\r\n"), "192.0.2.1:40000+0"},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 40000 25\r\nEHLO x\r\n"), "192.0.2.1:40000+8"},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 0 65535\r\n"), "192.0.2.1:0+0"},
        {STR("PROXY TCP6 2001:db8::1 2001:db8::25 40000 25\r\n"), "[2001:db8::1]:40000+0"},
        {STR("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::25 40000 25\r\n"), "192.0.2.1:40000+0"},
        {STR("PROXY UNKNOWN\r\n"), "none+0"},
        {STR("PROXY UNKNOWN ffff:f...f:ffff ffff 65535 65535\r\nx"), "none+1"},
        {STR("PROXY UNKNOWN a\nb\r\n"), "bad"},
        {STR("PROXY UNKNOWNS\r\n"), "bad"},
        {STR("PROXY\r\n"), "bad"},
        {STR("PROXY \r\n"), "bad"},
        {STR("PROXX "), "bad"},
        {STR("proxy TCP4 192.0.2.1 192.0.2.25 40000 25\r\n"), "bad"},
        {STR("EHLO client.test\r\n"), "bad"},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 40000 25\n"), "bad"},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 40000 25\rx"), "bad"},
        {STR("PROXY TCP4  192.0.2.1 192.0.2.25 40000 25\r\n"), "bad"},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 40000 25 \r\n"), "bad"},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 40000\r\n"), "bad"},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 040 25\r\n"), "bad"},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 65536 25\r\n"), "bad"},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 -1 25\r\n"), "bad"},
        {STR("PROXY TCP4 192.0.2.256 192.0.2.25 1 25\r\n"), "bad"},
        {STR("PROXY TCP4 0.0.0.0 192.0.2.25 1 25\r\n"), "bad"},
        {STR("PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n"), "bad"},
        {STR("PROXY TCP6 192.0.2.1 192.0.2.25 1 25\r\n"), "bad"},
        {STR("PROXY TCP5 192.0.2.1 192.0.2.25 1 25\r\n"), "bad"},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.25 40000 25"), "more"},
        {STR(SIG "\x21\x11\0\x0c" A4), "192.0.2.1:40000+0"},
        {STR(SIG "\x21\x11\0\x0c" A4 "EHLO"), "192.0.2.1:40000+4"},
        {STR(SIG "\x21\x11\0\x0c" A4 "\r\n"), "192.0.2.1:40000+2"},
        {STR(SIG "\x21\x21\0\x24" A6), "[2001:db8::1]:40000+0"},
        {STR(SIG "\x21\x21\0\x24" MAPPED), "192.0.2.1:40000+0"},
        {STR(SIG "\x20\x00\0\x00"), "none+0"},
        {STR(SIG "\x20\x11\0\x0c" A4 "x"), "none+1"},
        {STR(SIG "\x20\xff\0\x02zzx"), "none+1"}, /* LOCAL: the rest means nothing */
        {STR(SIG "\x21\x00\0\x00"), "none+0"},
        {STR(SIG "\x21\x00\0\x03zzzx"), "none+1"},
        {STR(SIG "\x21\x11\0\x12" A4 "\4\0\3abc"), "192.0.2.1:40000+0"},
        {STR(SIG "\x21\x11\0\x12" A4 "\4\0\0\2\0\0X"), "192.0.2.1:40000+1"},
        {STR(SIG "\x21\x11\0\x12" A4 "\4\0\4abc"), "bad"}, /* a value beyond the header */
        {STR(SIG "\x21\x11\0\x0e" A4 "\4\0"), "bad"},      /* half a TLV */
        {STR(SIG "\x21\x11\0\x0b" A4), "bad"},             /* addresses beyond the header */
        {STR(SIG "\x11\x11\0\x0c" A4), "bad"},             /* version 1 in binary */
        {STR(SIG "\x31\x11\0\x0c" A4), "bad"},
        {STR(SIG "\x22\x11\0\x0c" A4), "bad"},                              /* no such command */
        {STR(SIG "\x21\x12\0\x0c" A4), "bad"},                              /* datagrams */
        {STR(SIG "\x21\x41\0\x0c" A4), "bad"},                              /* no such family */
        {STR(SIG "\x21\x11\0\x0c\0\0\0\0\300\0\2\31\234\100\0\31"), "bad"}, /* from 0.0.0.0 */
        {STR("\r\n\r\n\0\r\nQUIX\n"), "bad"},
        {STR("\r\n\r\n"), "more"},
        {STR(SIG), "more"},
        {STR(SIG "\x21\x11\0\x0c\300\0"), "more"},
        {STR(""), "more"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t piece = 1; piece <= 80; piece += piece < 20 ? 1 : 20) {
            char got[100];
            read_header(rows[i].in, piece, got, sizeof got);
            if (strcmp(got, rows[i].want) != 0)
                fail_msg("row %zu in pieces of %zu: got %s, want %s", i, piece, got, rows[i].want);
        }
    }
}

/* 107 octets are the most a line may have; a version 2 header may have 65,551, and is skipped whole. */
static void lengths(void **state) {
    static char mem[70000];
    char got[100];
    (void)state;
    for (size_t n = 100; n < 115; n++) {
        struct buf b = BUF(mem);
        buf_adds(&b, "PROXY UNKNOWN ");
        while (b.n < n - 2) buf_addc(&b, 'x');
        buf_adds(&b, "\r\n");
        read_header(buf_str(&b), 7, got, sizeof got);
        assert_string_equal(got, n <= PROXY_V1_MAX ? "none+0" : "bad");
    }
    struct buf b = BUF(mem);
    buf_add(&b, STR(SIG "\x21\x11\xff\xff" A4 "\x04\xff\xf0"));
    while (b.n < 16 + 65535) buf_addc(&b, '\r');
    buf_adds(&b, "NOOP");
    read_header(buf_str(&b), 1000, got, sizeof got);
    assert_string_equal(got, "192.0.2.1:40000+4");
    b = BUF(mem);
    buf_add(&b, STR(SIG "\x21\x31\0\xd8"));
    while (b.n < 16 + 216) buf_addc(&b, '/');
    read_header(buf_str(&b), 50, got, sizeof got);
    assert_string_equal(got, "none+0");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(headers), cmocka_unit_test(lengths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
