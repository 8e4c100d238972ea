#include "common/xtext.h"

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; /* hexchar has no small letters */
}

bool xtext_decode(struct buf *out, struct str xtext) {
    for (size_t i = 0; i < xtext.n; i++) {
        int c = xtext.p[i];
        if (c < 33 || c > 126 || c == '=') return false;
        if (c == '+') {
            if (xtext.n - i < 3 || digit(xtext.p[i + 1]) < 0 || digit(xtext.p[i + 2]) < 0) return false;
            c = digit(xtext.p[i + 1]) * 16 + digit(xtext.p[i + 2]);
            i += 2;
        }
        if (c < 32 || c > 126) return false;
        buf_addc(out, (char)c);
    }
    return !out->failed;
}

void xtext_encode(struct buf *out, struct str plain) {
    for (size_t i = 0; i < plain.n; i++) {
        char c = plain.p[i];
        if (c <= ' ' || c > '~' || c == '+' || c == '=') buf_addf(out, "+%02X", (unsigned)(unsigned char)c);
        else buf_addc(out, c);
    }
}
