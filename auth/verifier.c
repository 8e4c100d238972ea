#include "auth/verifier.h"

#include "auth/base64.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SCRAM_TAG "SCRAM-SHA-256$"

/* The setting of a hash that fits nobody; the cost is libcrypt's default for yescrypt. */
static const char dummy_crypt[] = "$y$j9T$postern.dummy.salt..$";

bool octets_equal(const void *a, const void *b, size_t n) {
    return CRYPTO_memcmp(a, b, n) == 0;
}

/* Length of one UTF-8 sequence (RFC 3629 4: shortest form, no surrogates, no octet of C0 or C1 controls);
 * 0: none. */
static size_t sequence(const unsigned char *p, size_t n) {
    size_t len = p[0] < 0x80                   ? 1
                 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                 : (p[0] & 0xf0) == 0xe0       ? 3
                 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                               : 0;
    if (len == 0 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (len == 1) return p[0] >= ' ' && p[0] != 0x7f;
    if (p[0] == 0xc2 && p[1] < 0xa0) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return len;
}

static bool sound(struct str s, size_t max) {
    if (s.n == 0 || s.n > max) return false;
    for (size_t i = 0, len; i < s.n; i += len)
        if ((len = sequence((const unsigned char *)s.p + i, s.n - i)) == 0) return false;
    return true;
}

bool login_is_sound(struct str s) {
    return sound(s, LOGIN_MAX);
}

bool password_is_sound(struct str s) {
    return sound(s, PASSWORD_MAX);
}

/* ---- SCRAM ---- */

void scram_hmac(const uint8_t *key, size_t n, struct str data, uint8_t out[SCRAM_KEY]) {
    unsigned len = SCRAM_KEY;
    if (!HMAC(EVP_sha256(), key, (int)n, (const unsigned char *)data.p, data.n, out, &len))
        abort(); /* no memory */
}

void scram_hash(struct str data, uint8_t out[SCRAM_KEY]) {
    unsigned len = SCRAM_KEY;
    if (!EVP_Digest(data.p, data.n, out, &len, EVP_sha256(), NULL)) abort();
}

bool scram_derive(struct str password, struct str salt, uint32_t iterations, struct scram_verifier *v) {
    uint8_t salted[SCRAM_KEY], client[SCRAM_KEY];
    if (salt.n == 0 || salt.n > SCRAM_SALT_MAX) return false;
    memset(v, 0, sizeof *v);
    v->iterations = iterations;
    v->salt_n = (uint8_t)salt.n;
    memcpy(v->salt, salt.p, salt.n);
    if (!PKCS5_PBKDF2_HMAC(password.p, (int)password.n, v->salt, v->salt_n, (int)iterations, EVP_sha256(),
                           SCRAM_KEY, salted))
        return false;
    scram_hmac(salted, sizeof salted, STR("Client Key"), client);
    scram_hash((struct str){(char *)client, sizeof client}, v->stored);
    scram_hmac(salted, sizeof salted, STR("Server Key"), v->server);
    explicit_bzero(salted, sizeof salted);
    explicit_bzero(client, sizeof client);
    return true;
}

void scram_format(struct buf *b, const struct scram_verifier *v) {
    buf_adds(b, SCRAM_TAG);
    buf_addu(b, v->iterations);
    buf_addc(b, ':');
    base64_encode(b, (struct str){(const char *)v->salt, v->salt_n});
    buf_addc(b, '$');
    base64_encode(b, (struct str){(const char *)v->stored, SCRAM_KEY});
    buf_addc(b, ':');
    base64_encode(b, (struct str){(const char *)v->server, SCRAM_KEY});
}

/* Cuts the octets of a base64 text in front of sep (or the end, for NUL) off *rest. */
static bool cut_octets(struct str *rest, char sep, uint8_t *out, size_t max, size_t *n) {
    ptrdiff_t end = sep ? str_chr(*rest, sep) : (ptrdiff_t)rest->n;
    struct buf b = buf_on((char *)out, max);
    if (end < 0 || !base64_decode(&b, str_sub(*rest, 0, (size_t)end))) return false;
    *n = b.n;
    *rest = str_sub(*rest, (size_t)end + 1, rest->n);
    return true;
}

static bool scram_parse(struct str text, struct scram_verifier *v, const char **why) {
    struct str rest = str_sub(text, sizeof SCRAM_TAG - 1, text.n);
    ptrdiff_t colon = str_chr(rest, ':');
    uint64_t iterations;
    size_t salt = 0, stored = 0, server = 0;
    *why = "is no SCRAM verifier: SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY is expected";
    if (colon < 0 || !str_to_u64(str_sub(rest, 0, (size_t)colon), UINT32_MAX, &iterations)) return false;
    rest = str_sub(rest, (size_t)colon + 1, rest.n);
    if (!cut_octets(&rest, '$', v->salt, sizeof v->salt, &salt) ||
        !cut_octets(&rest, ':', v->stored, SCRAM_KEY, &stored) ||
        !cut_octets(&rest, '\0', v->server, SCRAM_KEY, &server) || salt == 0 || stored != SCRAM_KEY ||
        server != SCRAM_KEY)
        return false;
    *why = "has too few or too many SCRAM iterations: 4096 to 10000000";
    if (iterations < SCRAM_ITERATIONS_MIN || iterations > SCRAM_ITERATIONS_MAX) return false;
    v->salt_n = (uint8_t)salt;
    v->iterations = (uint32_t)iterations;
    return true;
}

/* ---- Both kinds ---- */

static bool crypt_parse(struct str text, struct verifier *v, const char **why) {
    struct buf b = buf_on(v->crypt, sizeof v->crypt - 1);
    buf_add(&b, text);
    *why = "is too long for a hash of crypt(3)";
    if (b.failed) return false;
    v->crypt[b.n] = '\0';
    if (v->crypt[0] == '!' || v->crypt[0] == '*') return true; /* locked, as in shadow(5) */
    int salt = crypt_checksalt(v->crypt);
    *why = "is no hash that crypt(3) of this machine knows; postern passwd makes one";
    return (salt == CRYPT_SALT_OK || salt == CRYPT_SALT_METHOD_LEGACY) && text.n > 12;
}

bool verifier_add(struct verifier *v, struct str text, const char **why) {
    if (str_starts_nocase(text, STR("SCRAM-"))) {
        *why = "is a SCRAM verifier of another kind; only SCRAM-SHA-256 is known";
        if (text.n < sizeof SCRAM_TAG - 1 || memcmp(text.p, SCRAM_TAG, sizeof SCRAM_TAG - 1) != 0)
            return false;
        if (v->has_scram) *why = "is a second SCRAM verifier for this login";
        if (v->has_scram || !scram_parse(text, &v->scram, why)) return false;
        v->has_scram = true;
        return true;
    }
    *why = "is a second hash for this login";
    if (*v->crypt) return false;
    if (crypt_parse(text, v, why)) return true;
    v->crypt[0] = '\0';
    return false;
}

static bool check_crypt(const char *hash, struct str password) {
    char text[PASSWORD_MAX + 1];
    struct crypt_data *d = calloc(1, sizeof *d);
    bool ok = false;
    if (!d || password.n >= sizeof text) {
        free(d);
        return false;
    }
    memcpy(text, password.p, password.n);
    text[password.n] = '\0';
    const char *got = crypt_r(text, hash, d);
    size_t n = strlen(hash);
    if (got && got[0] != '*' && strlen(got) == n) ok = octets_equal(got, hash, n);
    explicit_bzero(text, sizeof text);
    explicit_bzero(d, sizeof *d);
    free(d);
    return ok;
}

static bool check_scram(const struct scram_verifier *v, struct str password) {
    struct scram_verifier got;
    bool ok = scram_derive(password, (struct str){(const char *)v->salt, v->salt_n}, v->iterations, &got) &&
              octets_equal(got.stored, v->stored, SCRAM_KEY);
    explicit_bzero(&got, sizeof got);
    return ok;
}

bool verifier_check(const struct verifier *v, struct str password) {
    if (v->crypt[0] == '!' || v->crypt[0] == '*') {
        check_crypt(dummy_crypt, password); /* that a login is locked is nobody's business */
        return false;
    }
    if (*v->crypt) return check_crypt(v->crypt, password);
    return v->has_scram && check_scram(&v->scram, password);
}

void verifier_dummy(struct verifier *v, const struct verifier *like, struct str secret, struct str login) {
    uint8_t salt[SCRAM_KEY];
    memset(v, 0, sizeof *v);
    v->has_scram = true;
    scram_hmac((const uint8_t *)secret.p, secret.n, login, salt);
    memcpy(v->scram.salt, salt, 16);
    v->scram.salt_n = like && like->has_scram && like->scram.salt_n <= SCRAM_KEY ? like->scram.salt_n : 16;
    memcpy(v->scram.salt, salt, v->scram.salt_n);
    v->scram.iterations = like && like->has_scram ? like->scram.iterations : SCRAM_ITERATIONS;
    if (like && !*like->crypt) return; /* PBKDF2 it is, for all */
    struct buf b = BUF(v->crypt);
    /* The hash of an entry with its end spoiled costs the same, and fits no password. */
    if (like && like->crypt[0] == '$') buf_adds(&b, like->crypt);
    else buf_adds(&b, dummy_crypt);
    size_t n = strlen(buf_cstr(&b));
    if (v->crypt[n - 1] != '$') v->crypt[n - 1] = v->crypt[n - 1] == '.' ? '/' : '.';
}

/* ---- New ones ---- */

bool verifier_make_crypt(struct str password, struct buf *out) {
    char random[24], salt[CRYPT_GENSALT_OUTPUT_SIZE], text[PASSWORD_MAX + 1];
    struct crypt_data *d = calloc(1, sizeof *d);
    bool ok = d && password.n < sizeof text &&
              getrandom(random, sizeof random, 0) == (ssize_t)sizeof random &&
              crypt_gensalt_rn("$y$", 0, random, sizeof random, salt, sizeof salt);
    if (ok) {
        memcpy(text, password.p, password.n);
        text[password.n] = '\0';
        const char *hash = crypt_r(text, salt, d);
        ok = hash && hash[0] == '$';
        if (ok) buf_adds(out, hash);
        explicit_bzero(text, sizeof text);
        explicit_bzero(d, sizeof *d);
    }
    free(d);
    return ok;
}

bool verifier_make_scram(struct str password, uint32_t iterations, struct buf *out) {
    char salt[16];
    struct scram_verifier v;
    if (getrandom(salt, sizeof salt, 0) != (ssize_t)sizeof salt ||
        !scram_derive(password, (struct str){salt, sizeof salt}, iterations, &v))
        return false;
    scram_format(out, &v);
    return true;
}
