#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtpd/header.h"
#include "smtpd/line.h"

#include <stdio.h>
#include <string.h>

/* What came of an input, as text: lines as [line], LONG, STRAY. */
static void read_commands(struct str in, size_t piece, char *out, size_t max) {
    struct line_reader r = {0};
    char held[4096];
    size_t n = 0;
    struct buf b = buf_on(out, max);
    for (size_t at = 0; at < in.n; at += piece) {
        struct str bytes = str_sub(in, at, at + piece);
        memcpy(held + n, bytes.p, bytes.n);
        struct str left = {held, n + bytes.n}, line;
        enum line_what what;
        while ((what = line_command(&r, &left, &line)) != LINE_MORE) {
            if (what == LINE_READY) buf_addf(&b, "[%.*s]", STR_ARGS(line));
            else buf_adds(&b, what == LINE_LONG ? "LONG" : "STRAY");
        }
        assert_true(left.n < LINE_COMMAND_MAX);
        memmove(held, left.p, left.n);
        n = left.n;
    }
    assert_false(b.failed);
    buf_cstr(&b);
}

static void commands(void **state) {
    static const struct {
        struct str in;
        const char *want;
    } rows[] = {
        {STR("NOOP\r\n"), "[NOOP]"},
        {STR("A\r\nB\r\nC"), "[A][B]"},
        {STR("\r\n"), "[]"},
        {STR("A\nB\r\nC\r\n"), "STRAY[C]"},
        {STR("A\rB\r\nC\r\n"), "STRAY[C]"},
        {STR("A\r\r\nC\r\n"), "STRAY[C]"},
        {STR("A\0B\r\nC\r\n"), "STRAY[C]"},
        {STR("\n\r\nC\r\n"), "STRAY[C]"},
        {STR("A\n"), ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t piece = 1; piece <= rows[i].in.n; piece++) {
            char got[256];
            read_commands(rows[i].in, piece, got, sizeof got);
            assert_string_equal(got, rows[i].want);
        }
}

/* A line of n octets with its CR LF, then NOOP. */
static void long_lines(void **state) {
    static const size_t lengths[] = {LINE_COMMAND_MAX - 1, LINE_COMMAND_MAX, LINE_COMMAND_MAX + 1, 1999,
                                     2000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (size_t piece = 1; piece < 2010; piece += piece < 4 ? 1 : 97) {
            char in[2100], got[2100];
            memset(in, 'x', lengths[i]);
            memcpy(in + lengths[i] - 2, "\r\nNOOP\r\n", 8);
            read_commands((struct str){in, lengths[i] + 6}, piece, got, sizeof got);
            if (lengths[i] > LINE_COMMAND_MAX) assert_string_equal(got, "LONG[NOOP]");
            else assert_int_equal(strlen(got), lengths[i] - 2 + 2 + 6);
        }
}

static void add_run(void *ctx, struct str run) {
    buf_add(ctx, run);
}

static const struct {
    struct str in;
    const char *content; /* NULL: refused because of a stray octet */
    const char *behind;  /* what is left for commands; NULL: the end has not come */
} data_rows[] = {
    {STR(".\r\n"), "", ""},
    {STR("a\r\n.\r\nQUIT\r\n"), "a\r\n", "QUIT\r\n"},
    {STR("..\r\n.\r\n"), ".\r\n", ""},
    {STR("..a\r\n...\r\n.b\r\n.\r\n"), ".a\r\n..\r\nb\r\n", ""},
    {STR("a.\r\n.\r\n"), "a.\r\n", ""},
    {STR("\r\n\r\n.\r\n"), "\r\n\r\n", ""},
    {STR("a\r\n"), "a\r\n", NULL},
    {STR("a\r\n."), "a\r\n", NULL},
    {STR("a\r\n.\r"), "a\r\n", NULL},
    /* The forms of smuggling: none of them is an end, each of them refuses the message. */
    {STR("a\n.\nb\r\n.\r\n"), NULL, ""},
    {STR("a\n.\r\nb\r\n.\r\n"), NULL, ""},
    {STR("a\r\n.\nb\r\n.\r\n"), NULL, ""},
    {STR("a\r.\rb\r\n.\r\n"), NULL, ""},
    {STR("a\r.\r\nb\r\n.\r\n"), NULL, ""},
    {STR("a\r\n.\rb\r\n.\r\n"), NULL, ""},
    {STR("a\r\n.\r\rb\r\n.\r\n"), NULL, ""},
    {STR("a\r\n.\r\r\nb\r\n.\r\n"), NULL, ""},
    {STR("a\r\r\n.\r\nb"), NULL, "b"},
    {STR("a\n\r.\n\rb\r\n.\r\n"), NULL, ""},
    {STR("a\r\n\0.\r\nb\r\n.\r\n"), NULL, ""},
    {STR("a\r\n.\0\r\nb\r\n.\r\n"), NULL, ""},
    {STR("a\0b\r\n.\r\n"), NULL, ""},
    {STR("a\r\n\n.\r\nb\r\n.\r\n"), NULL, ""},
    {STR("\n.\r\nb\r\n.\r\n"), NULL, ""},
    {STR(".\n.\r\nb\r\n.\r\n"), NULL, ""},
};

static void data_whole(size_t row, size_t piece) {
    struct line_data d = {0};
    char mem[256];
    struct buf got = BUF(mem);
    struct str in = data_rows[row].in;
    size_t at = 0;
    while (at < in.n && d.place != LINE_AT_END) {
        struct str bytes = str_sub(in, at, at + piece);
        size_t used = line_data(&d, bytes, add_run, &got);
        assert_true(used == bytes.n || d.place == LINE_AT_END);
        at += used;
    }
    assert_int_equal(d.place == LINE_AT_END, data_rows[row].behind != NULL);
    if (data_rows[row].behind) assert_true(str_eq(str_sub(in, at, in.n), str_of(data_rows[row].behind)));
    assert_int_equal(d.stray, data_rows[row].content == NULL);
    if (data_rows[row].content) assert_string_equal(buf_cstr(&got), data_rows[row].content);
}

static void data(void **state) {
    for (size_t row = 0; row < sizeof data_rows / sizeof data_rows[0]; row++)
        for (size_t piece = 1; piece <= data_rows[row].in.n; piece++) data_whole(row, piece);
}

static void note(void *ctx, struct str value) {
    buf_addf(ctx, "<%.*s>", STR_ARGS(value));
}

static void headers(void **state) {
    static const struct {
        struct str in;
        uint32_t received;
        bool date, message_id, from, headless;
        const char *delivered;
    } rows[] = {
        {STR("Received: a\r\nreceived: b\r\n\tReceived: c\r\nRECEIVED : d\r\n\r\nReceived: e\r\n"), 3, 0, 0,
         0, 0, ""},
        {STR("Date: x\r\nMessage-Id: y\r\nFrom: z\r\n\r\n"), 0, 1, 1, 1, 0, ""},
        {STR("Delivered-To: a@b.c \r\nX-Delivered-To: d\r\nDelivered-to:e@f\r\n\r\nDelivered-To: g\r\n"), 0,
         0, 0, 0, 0, "<a@b.c><e@f>"},
        {STR("Hello world\r\nDate: x\r\n"), 0, 0, 0, 0, 1, ""},
        {STR(" folded\r\nDate: x\r\n"), 0, 0, 0, 0, 1, ""},
        {STR("\r\nDate: x\r\n"), 0, 0, 0, 0, 0, ""},
        {STR(""), 0, 0, 0, 0, 0, ""},
        {STR("From a@b Mon\r\nDate: x\r\n"), 0, 1, 0, 0, 0, ""},
        {STR("A: b\r\nno colon\r\nDate: x\r\n"), 0, 0, 0, 0, 0, ""},
        {STR("Datelongerthananynamethatwelookfor: x\r\nDatex: y\r\nDat: z\r\n: q\r\nDate: v\r\n"), 0, 0, 0, 0,
         0, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t piece = 1; piece <= rows[i].in.n + 1; piece++) {
            char mem[128];
            struct buf b = BUF(mem);
            struct header_scan h = {.delivered_to = note, .ctx = &b};
            for (size_t at = 0; at < rows[i].in.n; at += piece)
                header_take(&h, str_sub(rows[i].in, at, at + piece));
            assert_int_equal(h.received, rows[i].received);
            assert_int_equal(h.date, rows[i].date);
            assert_int_equal(h.message_id, rows[i].message_id);
            assert_int_equal(h.from, rows[i].from);
            assert_int_equal(h.headless, rows[i].headless);
            assert_string_equal(buf_cstr(&b), rows[i].delivered);
        }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(data),
        cmocka_unit_test(headers),
    };
    return cmocka_run_group_tests_name("line", tests, NULL, NULL);
}
