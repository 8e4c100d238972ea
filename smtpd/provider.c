/* provider.c: key management and signatures in the terms of provider-keymgmt(7) and provider-signature(7).
 *
 * All that concerns the public key is asked of OpenSSL's own provider. Functions that are not offered (export of a
 * private key, verifying, decrypting) do not exist here, so nobody can come to rely on them. */
#include "smtpd/provider.h"

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define PARAM_NUMBER "postern-number"
#define PARAM_PUBLIC "postern-public"
#define OF_OPENSSL   "provider=default"

static provider_signer *sign;

struct remote_key {
    enum sig_type type;
    EVP_PKEY *public;
    uint64_t number;
    bool whole; /* its private half is somewhere; else it was only imported to be compared */
};

/* ---- Key management ---- */

static void *key_new(enum sig_type type) {
    struct remote_key *k = calloc(1, sizeof *k);
    if (k) k->type = type;
    return k;
}

static void *key_new_rsa(void *ctx) {
    return key_new(SIG_RSA);
}

static void *key_new_ec(void *ctx) {
    return key_new(SIG_EC);
}

static void *key_new_ed25519(void *ctx) {
    return key_new(SIG_ED25519);
}

static void key_free(void *data) {
    struct remote_key *k = data;
    if (!k) return;
    EVP_PKEY_free(k->public);
    free(k);
}

static int key_has(const void *data, int selection) {
    const struct remote_key *k = data;
    if (!k || !k->public) return 0;
    return !(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) || k->whole;
}

static int key_match(const void *a, const void *b, int selection) {
    const struct remote_key *x = a, *y = b;
    return x && y && x->public && y->public && EVP_PKEY_eq(x->public, y->public) == 1;
}

static EVP_PKEY *public_from_params(enum sig_type type, const OSSL_PARAM params[]) {
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, sig_type_name(type), OF_OPENSSL);
    if (ctx && EVP_PKEY_fromdata_init(ctx) == 1)
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, (OSSL_PARAM *)(uintptr_t)params);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

/* Ours comes as SubjectPublicKeyInfo and number (provider_key); others, to be compared with ours, in OpenSSL's own
 * parameters. */
static int key_import(void *data, int selection, const OSSL_PARAM params[]) {
    struct remote_key *k = data;
    const OSSL_PARAM *number = OSSL_PARAM_locate_const(params, PARAM_NUMBER);
    const OSSL_PARAM *public = OSSL_PARAM_locate_const(params, PARAM_PUBLIC);
    if (!k || k->public) return 0;
    if (!number || !public) {
        k->public = public_from_params(k->type, params);
    } else if (public->data_type == OSSL_PARAM_OCTET_STRING && OSSL_PARAM_get_uint64(number, &k->number)) {
        const unsigned char *der = public->data;
        k->public = d2i_PUBKEY_ex(NULL, &der, (long)public->data_size, NULL, OF_OPENSSL);
        k->whole = k->public != NULL;
    }
    return k->public != NULL;
}

/* The private half cannot leave: it is not here. libssl then takes this provider for signing. */
static int key_export(void *data, int selection, OSSL_CALLBACK *take, void *arg) {
    const struct remote_key *k = data;
    OSSL_PARAM *params = NULL;
    if (!k || !k->public || selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) return 0;
    int ok = EVP_PKEY_todata(k->public, EVP_PKEY_PUBLIC_KEY, &params) == 1 && take(params, arg);
    OSSL_PARAM_free(params);
    return ok;
}

static const OSSL_PARAM *key_types(int selection) {
    static const OSSL_PARAM types[] = {OSSL_PARAM_uint64(PARAM_NUMBER, NULL),
                                       OSSL_PARAM_octet_string(PARAM_PUBLIC, NULL, 0), OSSL_PARAM_END};
    return types;
}

static int key_get_params(void *data, OSSL_PARAM params[]) {
    const struct remote_key *k = data;
    return k && k->public && EVP_PKEY_get_params(k->public, params);
}

static const OSSL_PARAM *key_gettable(void *ctx) {
    static const OSSL_PARAM list[] = {OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
                                      OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
                                      OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
                                      OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
                                      OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
                                      OSSL_PARAM_END};
    return list;
}

static const char *operation_rsa(int operation) {
    return "RSA";
}

static const char *operation_ec(int operation) {
    return operation == OSSL_OP_SIGNATURE ? "ECDSA" : "EC";
}

static const char *operation_ed25519(int operation) {
    return "ED25519";
}

#define FN(id, function) \
    { OSSL_FUNC_##id, (void (*)(void))(function) }
#define KEYMGMT(type) \
    static const OSSL_DISPATCH keymgmt_##type[] = {FN(KEYMGMT_NEW, key_new_##type), \
                                                   FN(KEYMGMT_FREE, key_free), \
                                                   FN(KEYMGMT_HAS, key_has), \
                                                   FN(KEYMGMT_MATCH, key_match), \
                                                   FN(KEYMGMT_IMPORT, key_import), \
                                                   FN(KEYMGMT_IMPORT_TYPES, key_types), \
                                                   FN(KEYMGMT_EXPORT, key_export), \
                                                   FN(KEYMGMT_EXPORT_TYPES, key_types), \
                                                   FN(KEYMGMT_GET_PARAMS, key_get_params), \
                                                   FN(KEYMGMT_GETTABLE_PARAMS, key_gettable), \
                                                   FN(KEYMGMT_QUERY_OPERATION_NAME, operation_##type), \
                                                   {0, NULL}}
KEYMGMT(rsa);
KEYMGMT(ec);
KEYMGMT(ed25519);

/* ---- Signatures ---- */

struct signing {
    const struct remote_key *key;
    const char *digest;
    enum sig_padding padding;
};

static void *sig_new(void *ctx, const char *properties) {
    return calloc(1, sizeof(struct signing));
}

static void sig_free(void *data) {
    free(data);
}

static const char *known_digest(const char *name) {
    static const char *const names[][2] = {
        {"SHA2-256", "SHA256"}, {"SHA2-384", "SHA384"}, {"SHA2-512", "SHA512"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (OPENSSL_strcasecmp(name, names[i][0]) == 0 || OPENSSL_strcasecmp(name, names[i][1]) == 0)
            return names[i][1];
    return NULL;
}

static int sig_set_params(void *data, const OSSL_PARAM params[]) {
    struct signing *s = data;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
    const char *word = NULL;
    int mode = 0;
    if (!p) return 1; /* the length of the salt is that of the digest, whatever is asked (RFC 8446 4.2.3) */
    if (p->data_type == OSSL_PARAM_UTF8_STRING) {
        if (!OSSL_PARAM_get_utf8_string_ptr(p, &word) || !word) return 0;
        mode = strcmp(word, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0       ? RSA_PKCS1_PSS_PADDING
               : strcmp(word, OSSL_PKEY_RSA_PAD_MODE_PKCSV15) == 0 ? RSA_PKCS1_PADDING
                                                                   : 0;
    } else if (!OSSL_PARAM_get_int(p, &mode)) {
        return 0;
    }
    s->padding = mode == RSA_PKCS1_PSS_PADDING ? SIG_PSS : SIG_PKCS1;
    return s->key && s->key->type == SIG_RSA && (mode == RSA_PKCS1_PSS_PADDING || mode == RSA_PKCS1_PADDING);
}

static const OSSL_PARAM *sig_settable(void *data, void *ctx) {
    static const OSSL_PARAM list[] = {OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
                                      OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
                                      OSSL_PARAM_END};
    return list;
}

static int sig_init(void *data, const char *digest, void *key, const OSSL_PARAM params[]) {
    struct signing *s = data;
    s->key = key;
    if (!s->key || !s->key->whole) return 0;
    s->padding = s->key->type == SIG_RSA ? SIG_PKCS1 : SIG_NONE;
    s->digest = digest && *digest ? known_digest(digest) : NULL;
    if (!s->digest && s->key->type != SIG_ED25519) return 0;
    return !params || sig_set_params(s, params);
}

static int sig_sign(void *data, unsigned char *out, size_t *n, size_t room, const unsigned char *content,
                    size_t content_n) {
    const struct signing *s = data;
    const struct sig_scheme *scheme = sig_scheme_of(s->key->type, s->digest, s->padding);
    if (!out) {
        *n = (size_t)EVP_PKEY_get_size(s->key->public);
        return 1;
    }
    size_t max = room;
    if (!scheme ||
        !sign(s->key->number, scheme->number, (struct str){(const char *)content, content_n}, out, &max))
        return 0;
    *n = max;
    return 1;
}

static const OSSL_DISPATCH signature[] = {FN(SIGNATURE_NEWCTX, sig_new),
                                          FN(SIGNATURE_FREECTX, sig_free),
                                          FN(SIGNATURE_DIGEST_SIGN_INIT, sig_init),
                                          FN(SIGNATURE_DIGEST_SIGN, sig_sign),
                                          FN(SIGNATURE_SET_CTX_PARAMS, sig_set_params),
                                          FN(SIGNATURE_SETTABLE_CTX_PARAMS, sig_settable),
                                          {0, NULL}};

/* ---- The provider ---- */

#define PROPERTIES "provider=postern"

static const OSSL_ALGORITHM *query(void *ctx, int operation, int *no_cache) {
    static const OSSL_ALGORITHM keys[] = {
        {"RSA:rsaEncryption:1.2.840.113549.1.1.1", PROPERTIES, keymgmt_rsa, "RSA keys of postern-keys"},
        {"EC:id-ecPublicKey:1.2.840.10045.2.1", PROPERTIES, keymgmt_ec, "EC keys of postern-keys"},
        {"ED25519:1.3.101.112", PROPERTIES, keymgmt_ed25519, "Ed25519 keys of postern-keys"},
        {NULL, NULL, NULL, NULL}};
    static const OSSL_ALGORITHM signatures[] = {
        {"RSA:rsaEncryption:1.2.840.113549.1.1.1", PROPERTIES, signature, "RSA by postern-keys"},
        {"ECDSA", PROPERTIES, signature, "ECDSA by postern-keys"},
        {"ED25519:1.3.101.112", PROPERTIES, signature, "Ed25519 by postern-keys"},
        {NULL, NULL, NULL, NULL}};
    *no_cache = 0;
    return operation == OSSL_OP_KEYMGMT ? keys : operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                void **ctx) {
    static const OSSL_DISPATCH functions[] = {FN(PROVIDER_QUERY_OPERATION, query), {0, NULL}};
    *out = functions;
    *ctx = (void *)(uintptr_t)handle;
    return 1;
}

bool provider_begin(provider_signer *signer) {
    sign = signer;
    /* Whoever does not ask for us by name gets OpenSSL's own algorithms: these here cannot verify. */
    return OSSL_PROVIDER_load(NULL, "default") && OSSL_PROVIDER_add_builtin(NULL, "postern", init) &&
           OSSL_PROVIDER_load(NULL, "postern") && EVP_set_default_properties(NULL, "?" OF_OPENSSL) == 1;
}

static enum sig_type type_of(const EVP_PKEY *key) {
    for (int t = 0; t < SIG_TYPES; t++)
        if (EVP_PKEY_is_a(key, sig_type_name((enum sig_type)t))) return (enum sig_type)t;
    return SIG_TYPES;
}

EVP_PKEY *provider_key(EVP_PKEY *public, uint64_t number) {
    enum sig_type type = type_of(public);
    unsigned char *der = NULL;
    int n = type < SIG_TYPES ? i2d_PUBKEY(public, &der) : 0;
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = n > 0 ? EVP_PKEY_CTX_new_from_name(NULL, sig_type_name(type), PROPERTIES) : NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_uint64(PARAM_NUMBER, &number),
                           OSSL_PARAM_construct_octet_string(PARAM_PUBLIC, der, n > 0 ? (size_t)n : 0),
                           OSSL_PARAM_construct_end()};
    if (ctx && EVP_PKEY_fromdata_init(ctx) == 1) EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params);
    EVP_PKEY_CTX_free(ctx);
    OPENSSL_free(der);
    return key;
}
