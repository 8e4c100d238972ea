#include "auth/saslprep.h"

#include <stdlib.h>
#include <string.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

enum { PREPARED_MAX = 2048 };

static const uint8_t *octets(struct str s) {
    return (const uint8_t *)s.p;
}

/* The next character; false at the end or where the text is no UTF-8. */
static bool next(struct str *rest, ucs4_t *c) {
    int n = rest->n ? u8_mbtoucr(c, octets(*rest), rest->n) : 0;
    if (n <= 0) return false;
    *rest = str_sub(*rest, (size_t)n, rest->n);
    return true;
}

/* RFC 3454 B.1: commonly mapped to nothing. */
static bool vanishes(ucs4_t c) {
    return c == 0x00ad || c == 0x034f || c == 0x1806 || (c >= 0x180b && c <= 0x180d) ||
           (c >= 0x200b && c <= 0x200d) || c == 0x2060 || (c >= 0xfe00 && c <= 0xfe0f) || c == 0xfeff;
}

static bool is_space(ucs4_t c) {
    return uc_is_general_category(c, UC_SPACE_SEPARATOR); /* C.1.1, C.1.2 */
}

/* RFC 4013 2.3: C.1.2 and C.2.1 to C.9 of RFC 3454; by category where the tables are whole categories. */
static bool prohibited(ucs4_t c) {
    static const struct {
        ucs4_t from, to;
    } ranges[] = {{0x0340, 0x0341},   {0x06dd, 0x06dd},  {0x070f, 0x070f}, {0x180e, 0x180e},
                  {0x200e, 0x200f},   {0x2028, 0x202e},  {0x2061, 0x2063}, {0x206a, 0x206f},
                  {0x2ff0, 0x2ffb},   {0xfdd0, 0xfdef},  {0xfff9, 0xfffd}, {0x1d173, 0x1d17a},
                  {0xe0001, 0xe0001}, {0xe0020, 0xe007f}};
    if (c == ' ') return false;
    if (is_space(c) || (c & 0xfffe) == 0xfffe) return true;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i].from && c <= ranges[i].to) return true;
    return uc_is_general_category(c, UC_CONTROL) || uc_is_general_category(c, UC_SURROGATE) ||
           uc_is_general_category(c, UC_PRIVATE_USE);
}

static bool map(struct buf *out, struct str in) {
    ucs4_t c;
    struct str from = in;
    while (next(&in, &c)) {
        if (is_space(c)) buf_addc(out, ' ');
        else if (!vanishes(c)) buf_add(out, str_sub(from, 0, from.n - in.n));
        from = in;
    }
    return in.n == 0 && !out->failed;
}

/* RFC 3454 6: text that runs from right to left does so as a whole. */
static bool one_direction(struct str s) {
    bool right = false, left = false, first = true, first_right = false, last_right = false;
    ucs4_t c;
    while (next(&s, &c)) {
        int dir = uc_bidi_category(c);
        last_right = dir == UC_BIDI_R || dir == UC_BIDI_AL;
        right = right || last_right;
        left = left || dir == UC_BIDI_L;
        if (first) first_right = last_right;
        first = false;
    }
    return !right || (!left && first_right && last_right);
}

static bool allowed(struct str s) {
    struct str rest = s;
    ucs4_t c;
    while (next(&rest, &c))
        if (prohibited(c)) return false;
    return rest.n == 0 && one_direction(s);
}

static bool prepare(struct buf *out, struct str in) {
    char mapped_mem[PREPARED_MAX];
    uint8_t normal_mem[PREPARED_MAX];
    struct buf mapped = BUF(mapped_mem);
    size_t n = sizeof normal_mem;
    if (in.n > PREPARED_MAX || !map(&mapped, in)) return false;
    uint8_t *normal = u8_normalize(UNINORM_NFKC, octets(buf_str(&mapped)), mapped.n, normal_mem, &n);
    bool ok = normal && n <= sizeof normal_mem && allowed((struct str){(char *)normal, n});
    if (ok) buf_add(out, (struct str){(char *)normal, n});
    if (normal && normal != normal_mem) {
        explicit_bzero(normal, n);
        free(normal);
    }
    explicit_bzero(mapped_mem, sizeof mapped_mem);
    explicit_bzero(normal_mem, sizeof normal_mem);
    return ok && !out->failed;
}

bool saslprep(struct buf *out, struct str in) {
    if (!str_is_print(in)) return prepare(out, in);
    buf_add(out, in);
    return !out->failed;
}
