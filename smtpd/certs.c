#include "smtpd/certs.h"

#include "common/arena.h"
#include "common/log.h"
#include "smtpd/provider.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS_MAX = 257, GROUPS_MAX = 300, NAMES_MAX = 200, NAME_MAX_OCTETS = 255, NOBODY = -1 };

struct host_pair {
    X509 *leaf;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    enum sig_type type;
    size_t name_n;
    char *names[NAMES_MAX]; /* in small letters */
};

/* The certificates for one client: of each type of key at most one, as one context. */
struct group {
    int pair[SIG_TYPES]; /* NOBODY: none of this type */
    SSL_CTX *ctx;
};

struct certs {
    unsigned refs;
    struct host_pair *pairs[PAIRS_MAX];
    size_t pair_n;
    X509_STORE *authorities;
    STACK_OF(X509_NAME) * authority_names;
    EVP_MD_CTX *authority_digest;
    unsigned char authority_id[32]; /* which authorities: a session that was resumed must have met the same */
    bool has_authorities;
    bool (*setup)(SSL_CTX *ctx);
    struct group groups[GROUPS_MAX]; /* the first is the default */
    size_t group_n;
};

struct certs *certs_new(void) {
    struct certs *c = xmalloc(sizeof *c);
    c->refs = 1;
    c->authorities = X509_STORE_new();
    c->authority_names = sk_X509_NAME_new_null();
    c->authority_digest = EVP_MD_CTX_new();
    if (c->authority_digest) EVP_DigestInit_ex(c->authority_digest, EVP_sha256(), NULL);
    return c;
}

static void free_pair(struct host_pair *p) {
    if (!p) return;
    X509_free(p->leaf);
    sk_X509_pop_free(p->chain, X509_free);
    EVP_PKEY_free(p->key);
    for (size_t i = 0; i < p->name_n; i++) free(p->names[i]);
    free(p);
}

struct certs *certs_ref(struct certs *c) {
    c->refs++;
    return c;
}

void certs_unref(struct certs *c) {
    if (!c || --c->refs) return;
    for (size_t i = 0; i < c->group_n; i++) SSL_CTX_free(c->groups[i].ctx);
    for (size_t i = 0; i < c->pair_n; i++) free_pair(c->pairs[i]);
    X509_STORE_free(c->authorities);
    sk_X509_NAME_pop_free(c->authority_names, X509_NAME_free);
    EVP_MD_CTX_free(c->authority_digest);
    free(c);
}

/* ---- Filling ---- */

static X509 *parse(struct str der) {
    const unsigned char *p = (const unsigned char *)der.p;
    return d2i_X509(NULL, &p, (long)der.n);
}

static void add_name(struct host_pair *p, const unsigned char *text, int n) {
    if (p->name_n == NAMES_MAX || n <= 0 || n > NAME_MAX_OCTETS || memchr(text, 0, (size_t)n)) return;
    char *copy = xmalloc((size_t)n + 1);
    for (int i = 0; i < n; i++) copy[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
    p->names[p->name_n++] = copy;
}

/* RFC 6125 6.4.4: the common name only when there is no other. */
static void find_names(struct host_pair *p) {
    GENERAL_NAMES *list = X509_get_ext_d2i(p->leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(list, i);
        if (name->type == GEN_DNS)
            add_name(p, ASN1_STRING_get0_data(name->d.dNSName), ASN1_STRING_length(name->d.dNSName));
    }
    GENERAL_NAMES_free(list);
    X509_NAME *subject = X509_get_subject_name(p->leaf);
    int at = p->name_n ? -1 : X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return;
    const ASN1_STRING *cn = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    add_name(p, ASN1_STRING_get0_data(cn), ASN1_STRING_length(cn));
}

static struct host_pair *new_pair(X509 *leaf, uint64_t key) {
    struct host_pair *p = xmalloc(sizeof *p);
    EVP_PKEY *public = X509_get0_pubkey(leaf);
    p->leaf = leaf;
    p->chain = sk_X509_new_null();
    p->key = public ? provider_key(public, key) : NULL;
    while (p->key && p->type < SIG_TYPES && !EVP_PKEY_is_a(p->key, sig_type_name(p->type))) p->type++;
    find_names(p);
    if (p->chain && p->key && p->type < SIG_TYPES) return p;
    free_pair(p);
    return NULL;
}

bool certs_add(struct certs *c, unsigned pair, uint64_t key, struct str der) {
    X509 *x = pair < PAIRS_MAX && pair + 1 >= c->pair_n ? parse(der) : NULL;
    if (!x) return false;
    if (pair + 1 == c->pair_n) return sk_X509_push(c->pairs[pair]->chain, x) > 0;
    if (pair != c->pair_n) {
        X509_free(x);
        return false;
    }
    struct host_pair *p = new_pair(x, key);
    if (p) c->pairs[c->pair_n++] = p;
    return p != NULL;
}

bool certs_add_authority(struct certs *c, struct str der) {
    X509 *x = parse(der);
    if (!x) return false;
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));
    bool ok = name && X509_STORE_add_cert(c->authorities, x) == 1 &&
              sk_X509_NAME_push(c->authority_names, name) > 0;
    if (!ok) X509_NAME_free(name);
    ok = ok && EVP_DigestUpdate(c->authority_digest, der.p, der.n) == 1;
    X509_free(x);
    c->has_authorities = c->has_authorities || ok;
    return ok;
}

/* ---- Contexts ---- */

/* Whether there is a certificate decides nothing: who the client is, is asked when the handshake is over. */
static int on_verify(X509_STORE_CTX *store, void *arg) {
    X509_verify_cert(store);
    return 1;
}

static bool use_authorities(const struct certs *c, SSL_CTX *ctx) {
    SSL_CTX_set_cert_verify_callback(ctx, on_verify, NULL);
    SSL_CTX_set_max_cert_list(ctx, 32768);
    if (SSL_CTX_set1_verify_cert_store(ctx, c->authorities) != 1) return false;
    for (int i = 0; i < sk_X509_NAME_num(c->authority_names); i++) {
        X509_NAME *copy = X509_NAME_dup(sk_X509_NAME_value(c->authority_names, i));
        STACK_OF(X509_NAME) *list = SSL_CTX_get_client_CA_list(ctx);
        if (!list && (list = sk_X509_NAME_new_null())) SSL_CTX_set_client_CA_list(ctx, list);
        if (!copy || !list || sk_X509_NAME_push(list, copy) <= 0) return false;
    }
    return SSL_CTX_set_session_id_context(ctx, c->authority_id, sizeof c->authority_id) == 1;
}

static bool use_pair(const struct certs *c, SSL_CTX *ctx, int pair) {
    if (pair == NOBODY) return true;
    const struct host_pair *p = c->pairs[pair];
    return SSL_CTX_use_cert_and_key(ctx, p->leaf, p->key, p->chain, 1) == 1;
}

static SSL_CTX *make_context(const struct certs *c, const int *pair) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    bool ok = ctx && c->setup(ctx) && use_authorities(c, ctx);
    for (int t = 0; ok && t < SIG_TYPES; t++) ok = use_pair(c, ctx, pair[t]);
    if (ok) return ctx;
    unsigned long error = ERR_peek_last_error();
    LOG_TROUBLE("a certificate cannot be used: %s",
                error ? ERR_reason_error_string(error) : "OpenSSL does not say why");
    ERR_clear_error();
    SSL_CTX_free(ctx);
    return NULL;
}

static bool has_name(const struct host_pair *p, const char *name) {
    const char *rest = strchr(name, '.'); /* RFC 6125 6.4.3: a star stands for one label */
    for (size_t i = 0; i < p->name_n; i++) {
        if (strcmp(p->names[i], name) == 0) return true;
        if (rest && rest != name && p->names[i][0] == '*' && strcmp(p->names[i] + 1, rest) == 0) return true;
    }
    return false;
}

static bool share_a_name(const struct host_pair *a, const struct host_pair *b) {
    for (size_t i = 0; i < a->name_n; i++)
        if (has_name(b, a->names[i])) return true;
    return false;
}

/* The first of each type that fits: by name, or beside the first of all. */
static bool choose(const struct certs *c, const char *name, int *pair) {
    bool any = false;
    for (int t = 0; t < SIG_TYPES; t++) pair[t] = NOBODY;
    for (size_t i = 0; i < c->pair_n; i++) {
        const struct host_pair *p = c->pairs[i];
        bool fits = name ? has_name(p, name) : i == 0 || share_a_name(c->pairs[0], p);
        if (!fits || pair[p->type] != NOBODY) continue;
        pair[p->type] = (int)i;
        any = true;
    }
    return any;
}

static SSL_CTX *group_of(struct certs *c, const int *pair) {
    for (size_t i = 0; i < c->group_n; i++)
        if (memcmp(c->groups[i].pair, pair, sizeof c->groups[i].pair) == 0) return c->groups[i].ctx;
    if (c->group_n == GROUPS_MAX) return c->groups[0].ctx;
    SSL_CTX *ctx = make_context(c, pair);
    if (!ctx) return c->group_n ? c->groups[0].ctx : NULL;
    struct group *g = &c->groups[c->group_n++];
    memcpy(g->pair, pair, sizeof g->pair);
    g->ctx = ctx;
    return ctx;
}

bool certs_ready(struct certs *c, bool (*setup)(SSL_CTX *ctx)) {
    int pair[SIG_TYPES];
    c->setup = setup;
    if (EVP_DigestFinal_ex(c->authority_digest, c->authority_id, NULL) != 1) return false;
    return choose(c, NULL, pair) && group_of(c, pair);
}

SSL_CTX *certs_context(struct certs *c) {
    return c->groups[0].ctx;
}

SSL_CTX *certs_named(struct certs *c, struct str name) {
    char small[NAME_MAX_OCTETS + 1];
    int pair[SIG_TYPES];
    if (name.n == 0 || name.n > NAME_MAX_OCTETS) return c->groups[0].ctx;
    for (size_t i = 0; i < name.n; i++)
        small[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
    small[name.n] = '\0';
    return choose(c, small, pair) ? group_of(c, pair) : c->groups[0].ctx;
}

bool certs_has_authorities(const struct certs *c) {
    return c->has_authorities;
}
