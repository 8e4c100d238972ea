/* Fuzz twin of the requests that smtpd sends: whatever is asked, only the content of a TLS server is signed. */
#include "keys/pair.h"

#include "keys/content.h"
#include "keys/selfsign.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct pair *some_pair(void) {
    static struct pair *p;
    char mem[8192], why_mem[300];
    struct buf pem = buf_on(mem, sizeof mem), why = BUF(why_mem);
    if (!p && selfsign(STR("mx.test"), STR_NONE, 1795305600, &pem))
        p = pair_parse(buf_str(&pem), buf_str(&pem), &why);
    if (!p) abort();
    return p;
}

/* Written once more, from the other end: what must be true of anything that was signed. */
static bool is_handshake(struct str s) {
    static const char word[] = "TLS 1.3, server CertificateVerify";
    if (s.n > 64 + sizeof word && memcmp(s.p + 64, word, sizeof word) == 0)
        return s.n == 64 + 34 + 32 || s.n == 64 + 34 + 48;
    return (s.n == 68 + 32 || s.n == 68 + 65 || s.n == 68 + 97) && s.p[64] == 3 && s.p[65] == 0 &&
           (unsigned char)s.p[67] == s.n - 68;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    unsigned char out[1024];
    if (n < 2) return 0;
    struct str content = {(const char *)data + 2, n - 2};
    size_t k = pair_sign(some_pair(), (uint16_t)(data[0] << 8 | data[1]), content, out, sizeof out);
    if (k > sizeof out) abort();
    if (k && (content_kind(content) == CONTENT_OTHER || !is_handshake(content))) abort();
    return 0;
}
