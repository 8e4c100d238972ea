#include "keys/selfsign.h"

#include "keys/pair.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

enum { DAY = 86400, VALID_DAYS = 3650, RENEW_DAYS = 30, CN_MAX = 64 };

static BIO *bio_on(struct str s) {
    return BIO_new_mem_buf(s.n ? s.p : "", (int)s.n);
}

static EVP_PKEY *old_or_new_key(struct str old) {
    BIO *bio = bio_on(old);
    EVP_PKEY *key = bio && old.n ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (char[]){""}) : NULL;
    BIO_free(bio);
    return key ? key : EVP_EC_gen("P-256");
}

static bool set_names(X509 *x, struct str name) {
    X509_NAME *subject = X509_get_subject_name(x);
    const unsigned char *text = (const unsigned char *)name.p;
    if (name.n <= CN_MAX &&
        !X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, text, (int)name.n, -1, 0))
        return false;
    if (!X509_set_issuer_name(x, subject)) return false;
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *dns = GENERAL_NAME_new();
    ASN1_IA5STRING *ia5 = ASN1_IA5STRING_new();
    bool ok = list && dns && ia5 && ASN1_STRING_set(ia5, name.p, (int)name.n);
    if (ok) GENERAL_NAME_set0_value(dns, GEN_DNS, ia5);
    ok = ok && sk_GENERAL_NAME_push(list, dns) && X509_add1_ext_i2d(x, NID_subject_alt_name, list, 0, 0) == 1;
    GENERAL_NAMES_free(list);
    return ok;
}

static bool set_serial(X509 *x) {
    unsigned char octets[16];
    if (RAND_bytes(octets, sizeof octets) != 1) return false;
    octets[0] = (octets[0] & 0x7f) | 1; /* positive, and not short */
    BIGNUM *n = BN_bin2bn(octets, sizeof octets, NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool fill(X509 *x, struct str name, EVP_PKEY *key, int64_t now) {
    return X509_set_version(x, X509_VERSION_3) && set_serial(x) &&
           ASN1_TIME_set(X509_getm_notBefore(x), now - DAY) &&
           ASN1_TIME_set(X509_getm_notAfter(x), now + (int64_t)VALID_DAYS * DAY) && set_names(x, name) &&
           X509_set_pubkey(x, key) &&
           X509_sign(x, key, EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256()) > 0;
}

static bool write_pem(EVP_PKEY *key, X509 *x, struct buf *out) {
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text;
    bool ok =
        bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) && PEM_write_bio_X509(bio, x);
    long n = ok ? BIO_get_mem_data(bio, &text) : 0;
    if (n > 0) buf_add(out, (struct str){text, (size_t)n});
    BIO_free(bio);
    return n > 0 && !out->failed;
}

bool selfsign(struct str name, struct str old, int64_t now, struct buf *out) {
    EVP_PKEY *key = old_or_new_key(old);
    X509 *x = X509_new();
    bool ok = key && x && fill(x, name, key, now) && write_pem(key, x, out);
    X509_free(x);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok;
}

bool selfsign_good(struct str name, struct str pem, int64_t now) {
    char mem[300];
    struct buf why = BUF(mem);
    struct pair *p = pair_parse(pem, pem, &why);
    bool ok = p != NULL;
    if (ok) {
        const unsigned char *der = (const unsigned char *)p->chain[0].p;
        X509 *x = d2i_X509(NULL, &der, (long)p->chain[0].n);
        time_t then = (time_t)(now + (int64_t)RENEW_DAYS * DAY);
        ok = x && X509_check_host(x, name.p, name.n, 0, NULL) == 1 &&
             X509_cmp_time(X509_get0_notAfter(x), &then) > 0;
        X509_free(x);
    }
    pair_free(p);
    return ok;
}
