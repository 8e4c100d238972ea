/* The fuzz twin of line.c and mend.c: commands, data, chunks, and lines of old machines, whole and cut anywhere. */
#include "smtpd/line.h"
#include "smtpd/mend.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond) ((cond) ? (void)0 : abort())
enum { IN_MAX = 6000 };

/* ---- Commands: what came of them, as text ---- */

static void commands(struct str in, size_t piece, bool mended, struct buf *out) {
    static char held[IN_MAX];
    struct line_reader r = {.mended = mended};
    size_t n = 0;
    for (size_t at = 0; at < in.n; at += piece) {
        struct str bytes = str_sub(in, at, at + piece), line;
        memcpy(held + n, bytes.p, bytes.n);
        struct str left = {held, n + bytes.n};
        enum line_what what;
        while ((what = line_command(&r, &left, &line)) != LINE_MORE) {
            buf_addc(out, (char)('0' + what));
            buf_addc(out, (char)('0' + r.lf));
            if (what != LINE_READY) continue;
            CHECK(line.n < LINE_COMMAND_MAX && str_chr(line, '\r') < 0 && str_chr(line, '\n') < 0);
            CHECK(str_chr(line, '\0') < 0);
            buf_add(out, line);
        }
        CHECK(left.n < LINE_COMMAND_MAX);
        memmove(held, left.p, left.n);
        n = left.n;
    }
}

/* ---- Data ---- */

struct content {
    struct buf *out;
};

static void sink(void *ctx, struct str run) {
    struct content *c = ctx;
    CHECK(run.n > 0);
    buf_add(c->out, run);
}

static void data_lines(struct str in, size_t piece, struct line_data *d, struct buf *out, size_t *used) {
    struct content c = {out};
    *used = 0;
    while (*used < in.n && d->place != LINE_AT_END)
        *used += line_data(d, str_sub(in, *used, *used + piece), sink, &c);
}

static void chunk_lines(struct str in, size_t piece, struct line_data *d) {
    for (size_t at = 0; at < in.n; at += piece) line_chunk(d, str_sub(in, at, at + piece));
}

/* An independent reader of the whole: where the data ends, and whether something in it is stray. */
static size_t true_end(struct str in, bool *stray) {
    *stray = false;
    bool start = true;
    for (size_t i = 0; i < in.n; i++) {
        if (start && in.n - i >= 3 && memcmp(in.p + i, ".\r\n", 3) == 0) return i + 3;
        bool crlf = in.p[i] == '\r' && i + 1 < in.n && in.p[i + 1] == '\n';
        start = crlf;
        if (crlf) i++;
        else if (in.p[i] == '\n' || in.p[i] == '\0' || (in.p[i] == '\r' && i + 1 < in.n)) *stray = true;
    }
    return 0;
}

/* ---- Old machines ---- */

static void mended_lines(struct str in, size_t piece, bool stuff, struct buf *out) {
    struct mender m = {.stuff = stuff};
    for (size_t at = 0; at < in.n; at += piece) {
        struct str bytes = str_sub(in, at, at + piece);
        while (bytes.n) {
            size_t used = mend(&m, bytes, out), before = out->n;
            CHECK(used > 0 && used <= bytes.n && before <= out->max);
            bytes = str_sub(bytes, used, bytes.n);
        }
    }
    mend_end(&m, out);
    for (size_t i = 0; i < out->n; i++) {
        char c = out->p[i];
        CHECK(c != '\0' && (c != '\n' || (i > 0 && out->p[i - 1] == '\r')));
        CHECK(c != '\r' || (i + 1 < out->n && out->p[i + 1] == '\n'));
    }
}

static char mem[4][IN_MAX * MEND_GROWTH + 16];

static void check_commands(struct str in, size_t piece) {
    for (int mended = 0; mended < 2; mended++) {
        struct buf a = BUF(mem[0]), b = BUF(mem[1]);
        commands(in, in.n, mended, &a);
        commands(in, piece, mended, &b);
        CHECK(!a.failed && str_eq(buf_str(&a), buf_str(&b)));
    }
}

static void check_data(struct str in, size_t piece) {
    struct buf a = BUF(mem[0]), b = BUF(mem[1]);
    struct line_data whole = {0}, cut = {0};
    size_t used, used_cut;
    bool stray;
    data_lines(in, in.n, &whole, &a, &used);
    data_lines(in, piece, &cut, &b, &used_cut);
    CHECK(used == used_cut && whole.stray == cut.stray && whole.place == cut.place);
    size_t end = true_end(in, &stray);
    CHECK((whole.place == LINE_AT_END) == (end > 0));
    if (end) CHECK(used == end && whole.stray == stray);
    if (end && !stray) CHECK(str_eq(buf_str(&a), buf_str(&b)));
}

static void check_chunks(struct str in, size_t piece) {
    struct line_data whole = {0}, cut = {0};
    chunk_lines(in, in.n, &whole);
    chunk_lines(in, piece, &cut);
    CHECK(line_chunks_end(&whole) == line_chunks_end(&cut) && whole.stray == cut.stray);
}

/* Without CR LF "." CR LF there is no end, whatever stands there. */
static void check_mend(struct str in, size_t piece) {
    for (int stuff = 0; stuff < 2; stuff++) {
        struct buf a = BUF(mem[0]), b = BUF(mem[1]), c = BUF(mem[2]);
        struct line_data d = {0};
        size_t used;
        bool stray;
        mended_lines(in, in.n, stuff, &a);
        mended_lines(in, piece, stuff, &b);
        CHECK(!a.failed && str_eq(buf_str(&a), buf_str(&b)));
        if (!stuff) continue;
        data_lines(buf_str(&a), a.n ? a.n : 1, &d, &c, &used);
        CHECK(!d.stray && (d.place == LINE_AT_END) == (true_end(in, &stray) > 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > IN_MAX) return 0;
    size_t piece = 1 + data[0] % 50;
    struct str in = {(const char *)data + 1, size - 1};
    check_commands(in, piece);
    check_data(in, piece);
    check_chunks(in, piece);
    check_mend(in, piece);
    return 0;
}
