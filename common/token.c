#include "common/token.h"

#include <string.h>

const struct token_reason token_reasons[] = {
    {"relay",
     "The recipient is not here, its domain is none of relay-domains, and the client is neither in "
     "relay-networks nor logged in.",
     {"local-domains", "relay-domains", "relay-networks"}},
    {"user",
     "The domain is ours, but no alias and no account has this name. Look into the alias file and passwd(5).",
     {"local-domains", "alias-file", "passwd-file", "recipient-delimiter"}},
    {"sender",
     "The sender is neither the login's own address nor one that sender-file lists for the login.",
     {"local-domains", "sender-file", "recipient-delimiter"}},
    {"literal", "The address is an address literal that no host has.", {NULL}},
};
const size_t token_reason_count = sizeof token_reasons / sizeof token_reasons[0];

/* Crockford's base 32: no letter that looks like a digit. */
static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

struct token token_of(struct str kind, struct str what) {
    struct token t = {"P"};
    uint64_t h = str_hash(what, str_hash(kind, 0));
    for (int i = 1; i < TOKEN_LEN; i++, h >>= 5) t.c[i] = digits[h & 31];
    return t;
}

static char fold(char c) {
    char l = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    return l == 'o' ? '0' : l == 'i' || l == 'l' ? '1' : l;
}

bool token_parse(struct str s, struct token *out, unsigned *value) {
    uint64_t v = 0;
    s = str_trim(s);
    if (s.n && s.p[0] == '[') s = str_sub(s, 1, s.n);
    if (s.n && s.p[s.n - 1] == ']') s.n--;
    if (s.n < TOKEN_LEN || fold(s.p[0]) != 'p') return false;
    *out = (struct token){"P"};
    for (int i = 1; i < TOKEN_LEN; i++) {
        out->c[i] = fold(s.p[i]);
        if (!memchr(digits, out->c[i], sizeof digits - 1)) return false;
    }
    s = str_sub(s, TOKEN_LEN, s.n);
    if (s.n && (s.p[0] != '-' || !str_to_u64(str_sub(s, 1, s.n), 100000, &v))) return false;
    *value = (unsigned)v;
    return true;
}

void token_add(struct buf *b, struct token t, unsigned value) {
    buf_adds(b, " [");
    buf_adds(b, t.c);
    if (value) {
        buf_addc(b, '-');
        buf_addu(b, value);
    }
    buf_addc(b, ']');
}
