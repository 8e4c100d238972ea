#include "auth/jwt.h"

#include "auth/base64.h"
#include "common/arena.h"

#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

enum { PART_MAX = 8192, SIGNATURE_MAX = 1024, SKEW_S = 60 };

struct jwt_rules {
    size_t key_count;
    EVP_PKEY *keys[JWT_KEYS_MAX];
    char *issuer, *audience, *claim; /* own copies */
};

static const char *algorithm_of(const EVP_PKEY *key) {
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        return EVP_PKEY_get_bits(key) >= 2048 ? "RS256" : NULL;
    case EVP_PKEY_EC:
        return EVP_PKEY_get_bits(key) == 256 ? "ES256" : NULL;
    case EVP_PKEY_ED25519:
        return "EdDSA";
    default:
        return NULL;
    }
}

struct jwt_rules *jwt_rules_new(struct str pem, const char *issuer, const char *audience, const char *claim,
                                const char **why) {
    struct jwt_rules *r = xmalloc(sizeof *r);
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    EVP_PKEY *key;
    r->issuer = strdup(issuer), r->audience = strdup(audience), r->claim = strdup(claim);
    if (!r->issuer || !r->audience || !r->claim) abort(); /* no memory, at the start */
    *why = "holds no PUBLIC KEY block (PEM)";
    while (bio && r->key_count < JWT_KEYS_MAX && (key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL))) {
        r->keys[r->key_count++] = key;
        if (algorithm_of(key)) continue;
        *why = "holds a key of another kind than RSA (2048 bits or more), P-256 or Ed25519";
        BIO_free(bio);
        jwt_rules_free(r);
        return NULL;
    }
    BIO_free(bio);
    ERR_clear_error();
    if (r->key_count) return r;
    jwt_rules_free(r);
    return NULL;
}

void jwt_rules_free(struct jwt_rules *r) {
    if (!r) return;
    for (size_t i = 0; i < r->key_count; i++) EVP_PKEY_free(r->keys[i]);
    free(r->issuer);
    free(r->audience);
    free(r->claim);
    free(r);
}

/* ---- The signature ---- */

/* RFC 7518 3.4: R and S, 32 octets each; OpenSSL wants DER. */
static int ecdsa_der(struct str raw, unsigned char **der) {
    if (raw.n != 64) return 0;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn((const unsigned char *)raw.p, 32, NULL),
           *s = BN_bin2bn((const unsigned char *)raw.p + 32, 32, NULL);
    int n = 0;
    if (sig && r && s && ECDSA_SIG_set0(sig, r, s)) n = i2d_ECDSA_SIG(sig, der);
    else BN_free(r), BN_free(s);
    ECDSA_SIG_free(sig);
    return n;
}

static bool signed_with(EVP_PKEY *key, struct str text, struct str signature) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ed = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519;
    unsigned char *der = NULL;
    const unsigned char *sig = (const unsigned char *)signature.p;
    size_t n = signature.n;
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC) {
        int len = ecdsa_der(signature, &der);
        sig = der, n = len > 0 ? (size_t)len : 0;
    }
    bool ok = ctx && n && EVP_DigestVerifyInit(ctx, NULL, ed ? NULL : EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestVerify(ctx, sig, n, (const unsigned char *)text.p, text.n) == 1;
    OPENSSL_free(der);
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

/* ---- The parts ---- */

static json_t *part(struct str text) {
    char mem[PART_MAX];
    struct buf b = BUF(mem);
    if (!base64url_decode(&b, text)) return NULL;
    json_t *j = json_loadb(b.p, b.n, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(j)) return j;
    json_decref(j);
    return NULL;
}

static bool split(struct str token, struct str *head, struct str *body, struct str *signature,
                  struct str *text) {
    ptrdiff_t one = str_chr(token, '.');
    struct str rest = one < 0 ? STR_NONE : str_sub(token, (size_t)one + 1, token.n);
    ptrdiff_t two = one < 0 ? -1 : str_chr(rest, '.');
    if (two < 0) return false;
    *head = str_sub(token, 0, (size_t)one);
    *body = str_sub(rest, 0, (size_t)two);
    *signature = str_sub(rest, (size_t)two + 1, rest.n);
    *text = str_sub(token, 0, (size_t)(one + 1 + two));
    return true;
}

static bool says(const json_t *object, const char *name, const char *text) {
    const char *value = json_string_value(json_object_get(object, name));
    return value && strcmp(value, text) == 0;
}

static bool signature_good(const struct jwt_rules *r, const json_t *head, struct str text,
                           struct str encoded) {
    char mem[SIGNATURE_MAX];
    struct buf signature = BUF(mem);
    if (!base64url_decode(&signature, encoded)) return false;
    for (size_t i = 0; i < r->key_count; i++)
        if (says(head, "alg", algorithm_of(r->keys[i])) && signed_with(r->keys[i], text, buf_str(&signature)))
            return true;
    return false;
}

/* aud may be one text or several (RFC 7519 4.1.3). */
static bool for_us(const json_t *body, const char *audience) {
    const json_t *aud = json_object_get(body, "aud");
    if (!*audience || says(body, "aud", audience)) return true;
    for (size_t i = 0; i < json_array_size(aud); i++) {
        const char *one = json_string_value(json_array_get(aud, i));
        if (one && strcmp(one, audience) == 0) return true;
    }
    return false;
}

static const char *objection(const struct jwt_rules *r, const json_t *body, int64_t now) {
    const json_t *exp = json_object_get(body, "exp"), *nbf = json_object_get(body, "nbf");
    if (!json_is_number(exp)) return "the token never expires";
    if (json_number_value(exp) <= (double)(now - SKEW_S)) return "the token has expired";
    if (nbf && (!json_is_number(nbf) || json_number_value(nbf) > (double)(now + SKEW_S)))
        return "the token is not valid yet";
    if (*r->issuer && !says(body, "iss", r->issuer)) return "the token is of another issuer";
    if (!for_us(body, r->audience)) return "the token is for somebody else";
    return NULL;
}

static bool check_body(const struct jwt_rules *r, const json_t *body, int64_t now, struct buf *login,
                       const char **why) {
    *why = objection(r, body, now);
    if (*why) return false;
    const json_t *claim = json_object_get(body, r->claim);
    struct str name = {json_string_value(claim), json_string_length(claim)};
    *why = "the token names no login";
    if (!name.p || !login_is_sound(name)) return false;
    buf_add(login, name);
    return !login->failed;
}

bool jwt_check(const struct jwt_rules *r, struct str token, int64_t now, struct buf *login,
               const char **why) {
    struct str h, b, s, text;
    *why = "no JSON Web Token";
    if (token.n > PART_MAX || !split(token, &h, &b, &s, &text)) return false;
    json_t *head = part(h), *body = part(b);
    bool ok = false;
    if (head && body) {
        *why = "the signature is not of a key that is configured";
        ok = !json_object_get(head, "crit") && signature_good(r, head, text, s) &&
             check_body(r, body, now, login, why);
    }
    json_decref(head);
    json_decref(body);
    return ok;
}
