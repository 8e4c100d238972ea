#include "auth/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct buf *out, struct str octets) {
    for (size_t i = 0; i < octets.n; i += 3) {
        uint32_t v = 0;
        size_t k = octets.n - i < 3 ? octets.n - i : 3;
        for (size_t j = 0; j < 3; j++) v = v << 8 | (j < k ? (unsigned char)octets.p[i + j] : 0u);
        for (size_t j = 0; j < 4; j++) buf_addc(out, j <= k ? digits[v >> (18 - 6 * j) & 63] : '=');
    }
}

/* Without a table, so that no cache line tells which octets a password has. -1: no digit. */
static int value(unsigned char c, char c62, char c63) {
    int upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z', number = c >= '0' && c <= '9';
    int plus = c == (unsigned char)c62, slash = c == (unsigned char)c63;
    int v = upper * (c - 'A') + lower * (c - 'a' + 26) + number * (c - '0' + 52) + plus * 62 + slash * 63;
    return upper | lower | number | plus | slash ? v : -1;
}

/* The digits alone; bits that are left over must be zero, so each text stands for other octets. */
static bool decode(struct buf *out, struct str text, char c62, char c63) {
    uint32_t v = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < text.n; i++) {
        int d = value((unsigned char)text.p[i], c62, c63);
        if (d < 0) return false;
        v = (v << 6 | (uint32_t)d) & 0xffff;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        buf_addc(out, (char)(v >> bits & 0xff));
    }
    return bits < 6 && (v & ((1u << bits) - 1)) == 0 && !out->failed;
}

bool base64_decode(struct buf *out, struct str text) {
    if (text.n % 4) return false;
    size_t pad = 0;
    while (pad < 2 && text.n > pad && text.p[text.n - 1 - pad] == '=') pad++;
    return decode(out, str_sub(text, 0, text.n - pad), '+', '/');
}

bool base64url_decode(struct buf *out, struct str text) {
    return text.n % 4 != 1 && decode(out, text, '-', '_');
}
