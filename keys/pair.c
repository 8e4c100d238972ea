#include "keys/pair.h"

#include "common/arena.h"
#include "keys/content.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

static bool fails(struct buf *why, const char *text) {
    unsigned long error = ERR_peek_last_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;
    buf_adds(why, text);
    if (reason) buf_addf(why, " (OpenSSL: %s)", reason);
    ERR_clear_error();
    return false;
}

/* There is nobody who could type it. */
static int no_password(char *mem, int size, int writing, void *ctx) {
    return 0;
}

static BIO *bio_on(struct str s) {
    return BIO_new_mem_buf(s.n ? s.p : "", (int)s.n);
}

static struct str der_of(X509 *x) {
    unsigned char *mem = NULL;
    int n = i2d_X509(x, &mem);
    if (n <= 0) return STR_NONE;
    char *copy = xmalloc((size_t)n);
    memcpy(copy, mem, (size_t)n);
    OPENSSL_free(mem);
    return (struct str){copy, (size_t)n};
}

size_t pair_certificates(struct str pem, struct str *v, size_t max, struct buf *why) {
    BIO *bio = bio_on(pem);
    size_t n = 0;
    bool ok = bio != NULL;
    X509 *x;
    while (ok && (x = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
        if (n == max) ok = fails(why, "holds too many certificates");
        else v[n++] = der_of(x);
        if (ok && (v[n - 1].n == 0 || v[n - 1].n > PAIR_DER_MAX))
            ok = fails(why, "holds a certificate that is too large");
        X509_free(x);
    }
    BIO_free(bio);
    bool end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (end) ERR_clear_error();
    if (ok && !end) ok = fails(why, "holds a certificate that cannot be read");
    if (ok && n == 0)
        ok = fails(why,
                   "holds no certificate: a PEM file that begins with -----BEGIN CERTIFICATE----- is wanted");
    for (; !ok && n > 0; n--) free((char *)(uintptr_t)v[n - 1].p);
    return n;
}

static EVP_PKEY *read_key(struct str pem, struct buf *why) {
    BIO *bio = bio_on(pem);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
    if (!key)
        fails(why, "holds no private key that can be read: a PEM file without a password is wanted (see: "
                   "openssl pkey -in "
                   "FILE -out NEW)");
    return key;
}

static bool judge_ec(struct pair *p, struct buf *why) {
    char group[64];
    size_t n;
    p->type = SIG_EC;
    if (!EVP_PKEY_get_group_name(p->key, group, sizeof group, &n))
        return fails(why, "holds a key on a curve without a name");
    int bits = EVP_PKEY_get_bits(p->key);
    snprintf(p->what, sizeof p->what, "ECDSA P-%d", bits);
    if (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0) return true;
    return fails(why,
                 "holds a key on another curve than P-256 and P-384, which clients would not understand");
}

static bool judge_rsa(struct pair *p, struct buf *why) {
    int bits = EVP_PKEY_get_bits(p->key);
    p->type = SIG_RSA;
    snprintf(p->what, sizeof p->what, "RSA %d", bits);
    if (bits >= PAIR_RSA_MIN && bits <= PAIR_RSA_MAX) return true;
    buf_addf(why, "holds an RSA key of %d bits: it must have %d to %d", bits, PAIR_RSA_MIN, PAIR_RSA_MAX);
    return false;
}

static bool judge_key(struct pair *p, struct buf *why) {
    if (EVP_PKEY_is_a(p->key, "RSA")) return judge_rsa(p, why);
    if (EVP_PKEY_is_a(p->key, "EC")) return judge_ec(p, why);
    if (EVP_PKEY_is_a(p->key, "ED25519")) {
        p->type = SIG_ED25519;
        snprintf(p->what, sizeof p->what, "Ed25519");
        return true;
    }
    return fails(why, "holds a key of another kind than RSA, ECDSA and Ed25519");
}

static void describe(struct pair *p, X509 *x) {
    struct buf names = buf_on(p->names, sizeof p->names - 1), until = buf_on(p->until, sizeof p->until - 1);
    GENERAL_NAMES *list = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(list, i);
        if (name->type != GEN_DNS) continue;
        struct str text = {(const char *)ASN1_STRING_get0_data(name->d.dNSName),
                           (size_t)ASN1_STRING_length(name->d.dNSName)};
        if (names.n) buf_addc(&names, ' ');
        buf_add(&names, text);
    }
    GENERAL_NAMES_free(list);
    struct tm tm;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm))
        buf_addf(&until, "%04d-%02d-%02d %02d:%02d UTC", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                 tm.tm_hour, tm.tm_min);
    p->expired = X509_cmp_current_time(X509_get0_notAfter(x)) < 0;
    buf_cstr(&names), buf_cstr(&until);
}

/* Two processes, and the same key in another certificate, give it the same name: no list of numbers to agree on. */
static bool name_key(struct pair *p) {
    unsigned char *der = NULL, digest[32];
    int n = i2d_PUBKEY(p->key, &der);
    bool ok = n > 0 && EVP_Digest(der, (size_t)n, digest, NULL, EVP_sha256(), NULL);
    OPENSSL_free(der);
    for (size_t i = 0; ok && i < 8; i++) p->id = p->id << 8 | digest[i];
    return ok;
}

static bool check_pair(struct pair *p, struct buf *why) {
    const unsigned char *der = (const unsigned char *)p->chain[0].p;
    X509 *leaf = d2i_X509(NULL, &der, (long)p->chain[0].n);
    bool ok = leaf && X509_check_private_key(leaf, p->key) == 1;
    if (ok) describe(p, leaf);
    X509_free(leaf);
    if (!ok)
        return fails(why, "does not fit the key: the key is not the one of the first certificate; put the "
                          "pair in place that "
                          "belongs together");
    return name_key(p) || fails(why, "holds a key whose public part cannot be written");
}

struct pair *pair_parse(struct str chain, struct str key, struct buf *why) {
    struct pair *p = xmalloc(sizeof *p);
    ERR_clear_error();
    p->chain_n = pair_certificates(chain, p->chain, PAIR_CHAIN_MAX, why);
    if (p->chain_n) p->key = read_key(key, why);
    if (p->key && judge_key(p, why) && check_pair(p, why)) return p;
    pair_free(p);
    return NULL;
}

void pair_free(struct pair *p) {
    if (!p) return;
    for (size_t i = 0; i < p->chain_n; i++) free((char *)(uintptr_t)p->chain[i].p);
    EVP_PKEY_free(p->key);
    free(p);
}

/* ---- Signing ---- */

static bool set_padding(EVP_PKEY_CTX *ctx, enum sig_padding padding) {
    if (padding == SIG_NONE) return true;
    if (padding == SIG_PKCS1) return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1; /* RFC 8446 4.2.3 */
}

size_t pair_sign(const struct pair *p, uint16_t scheme, struct str content, unsigned char *out, size_t max) {
    const struct sig_scheme *s = sig_scheme_numbered(scheme);
    enum content_kind kind = content_kind(content);
    if (!s || s->type != p->type || kind == CONTENT_OTHER) return 0;
    if (kind == CONTENT_TLS13 && s->padding == SIG_PKCS1) return 0; /* RFC 8446 4.4.3 */
    if (max < (size_t)EVP_PKEY_get_size(p->key)) return 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pkey = NULL;
    size_t n = max;
    bool ok = ctx && EVP_DigestSignInit_ex(ctx, &pkey, s->digest, NULL, NULL, p->key, NULL) == 1 &&
              set_padding(pkey, s->padding) &&
              EVP_DigestSign(ctx, out, &n, (const unsigned char *)content.p, content.n) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok ? n : 0;
}
