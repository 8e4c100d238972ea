#include "keys/content.h"

#include <string.h>

enum { SPACES = 64, RANDOMS = 64, NAMED_CURVE = 3 };

/* RFC 8446 4.4.3: 64 spaces, a word for who signs, a zero octet, the hash of the handshake (SHA-256 or SHA-384). */
static bool is_tls13(struct str s) {
    static const char word[] = "TLS 1.3, server CertificateVerify"; /* with its NUL */
    if (s.n != SPACES + sizeof word + 32 && s.n != SPACES + sizeof word + 48) return false;
    for (size_t i = 0; i < SPACES; i++)
        if (s.p[i] != ' ') return false;
    return memcmp(s.p + SPACES, word, sizeof word) == 0;
}

/* RFC 8422 5.4: both randoms, then the named group and a point of just its size. */
static bool is_tls12(struct str s) {
    static const struct {
        unsigned group, size;
        bool uncompressed;
    } groups[] = {{29, 32, false}, {23, 65, true}, {24, 97, true}}; /* X25519, P-256, P-384 */
    const unsigned char *p = (const unsigned char *)s.p + RANDOMS;
    if (s.n < RANDOMS + 4 || p[0] != NAMED_CURVE) return false;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        if (groups[i].group != (unsigned)(p[1] << 8 | p[2])) continue;
        return p[3] == groups[i].size && s.n == RANDOMS + 4 + groups[i].size &&
               (!groups[i].uncompressed || p[4] == 4);
    }
    return false;
}

enum content_kind content_kind(struct str content) {
    if (is_tls13(content)) return CONTENT_TLS13;
    return is_tls12(content) ? CONTENT_TLS12 : CONTENT_OTHER;
}
