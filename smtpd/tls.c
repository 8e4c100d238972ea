#include "smtpd/tls.h"

#include "common/arena.h"
#include "common/log.h"
#include "smtpd/certs.h"
#include "smtpd/provider.h"

#include <openssl/async.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    NOBODY = -1,
    JOBS_MAX = 1024, /* handshakes in flight to keys; each has a stack of 32 KiB while it waits */
    SIGNATURE_ROOM = 1024,
    READ_BUDGET = 256 * 1024,
    TICKET_NAME = 16,
    TICKET_KEY = 32,
    TICKET_SECRET = TICKET_NAME + 2 * TICKET_KEY,
};

/* A question to keys, while a handshake waits for its answer. */
struct question {
    uint32_t tag;
    bool open, answered;
    size_t n; /* octets of the signature; 0: refused */
    unsigned char octets[SIGNATURE_ROOM];
};

struct tls {
    SSL *ssl;
    void *owner;
    struct certs *certs;       /* during the handshake */
    struct question *question; /* during the handshake */
    bool done, failed, closed, more, stuck, starved; /* closed: the client has said all, and may still listen */
    size_t budget; /* octets that this call may still take from the socket */
    const char *why;
    struct tls *next_starved;
};

struct tag {
    struct tls *tls;    /* NULL: free, or its connection is gone and the answer will be dropped */
    int who;            /* was asked; -1: nobody, it is free */
    uint32_t next_free; /* 1 + index */
};

static struct server {
    tls_asker *ask;
    void *ask_ctx;
    struct certs *certs, *coming;
    bool spoilt; /* the coming one has a certificate that cannot be read */
    char ticket[2][TICKET_SECRET];
    unsigned tickets;
    uint32_t ticket_lifetime_s;
    const struct str *fingerprints;
    size_t fingerprint_n;
    struct tag *tags;
    size_t tag_n, tag_cap;
    uint32_t tag_free;   /* 1 + index */
    struct tls *running; /* whose job is about to run or runs */
    struct tls *starved, **starved_last;
} server = {.starved_last = &server.starved};

/* ---- Tags ---- */

static uint32_t tag_new(struct tls *t) {
    if (!server.tag_free) {
        server.tags = xgrow(server.tags, &server.tag_cap, server.tag_n + 1, sizeof *server.tags);
        server.tags[server.tag_n++] = (struct tag){.who = NOBODY};
        server.tag_free = (uint32_t)server.tag_n;
    }
    uint32_t tag = server.tag_free - 1;
    server.tag_free = server.tags[tag].next_free;
    server.tags[tag] = (struct tag){.tls = t, .who = NOBODY};
    return tag;
}

static struct tls *tag_free(uint32_t tag) {
    struct tls *t = server.tags[tag].tls;
    server.tags[tag] = (struct tag){.who = NOBODY, .next_free = server.tag_free};
    server.tag_free = tag + 1;
    return t;
}

/* ---- Signatures ---- */

/* Runs within a job, on a stack of its own: the handshake's caller goes on while we wait. */
static bool sign_remotely(uint64_t key, uint16_t scheme, struct str content, unsigned char *out, size_t *n) {
    struct tls *t = server.running;
    if (!t || !t->question || t->question->open || !ASYNC_get_current_job()) return false;
    struct question *q = t->question;
    q->tag = tag_new(t);
    int who = server.ask(server.ask_ctx, q->tag, key, scheme, content);
    if (who < 0) {
        tag_free(q->tag);
        return false;
    }
    server.tags[q->tag].who = who;
    q->open = true;
    q->answered = false;
    while (!q->answered) ASYNC_pause_job();
    q->open = false;
    if (q->n == 0 || q->n > *n) return false;
    memcpy(out, q->octets, q->n);
    *n = q->n;
    return true;
}

static void answer(struct tls *t, struct str octets) {
    struct question *q = t->question;
    q->n = octets.n <= sizeof q->octets ? octets.n : 0;
    if (q->n) memcpy(q->octets, octets.p, q->n);
    q->answered = true;
}

void *tls_signed(int who, uint32_t tag, struct str octets) {
    if (tag >= server.tag_n || who < 0 || server.tags[tag].who != who) return NULL; /* nobody asked him */
    struct tls *t = tag_free(tag);
    if (!t) return NULL;
    answer(t, octets);
    return t->owner;
}

void *tls_orphan(int who) {
    for (uint32_t tag = 0; tag < server.tag_n; tag++) {
        struct tls *t = who >= 0 && server.tags[tag].who == who ? tag_free(tag) : NULL;
        if (!t) continue;
        answer(t, STR_NONE);
        return t->owner;
    }
    return NULL;
}

static void starve(struct tls *t) {
    if (t->starved) return;
    t->starved = true;
    t->next_starved = NULL;
    *server.starved_last = t;
    server.starved_last = &t->next_starved;
}

static void unstarve(struct tls *t) {
    struct tls **at = &server.starved;
    if (!t->starved) return;
    while (*at != t) at = &(*at)->next_starved;
    *at = t->next_starved;
    if (server.starved_last == &t->next_starved) server.starved_last = at;
    t->starved = false;
}

void *tls_starved(void) {
    struct tls *t = server.starved;
    if (!t) return NULL;
    unstarve(t);
    return t->owner;
}

/* ---- Session tickets (RFC 5077; RFC 8446 4.6.1), made and read by every smtpd process alike ---- */

static bool ticket_ciphers(const char *secret, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                           int encrypt) {
    const unsigned char *aes = (const unsigned char *)secret + TICKET_NAME;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(
                               OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)(aes + TICKET_KEY), TICKET_KEY),
                           OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
                           OSSL_PARAM_construct_end()};
    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, aes, iv, encrypt) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt) {
    enum { NONE = 0, USE = 1, RENEW = 2, ERROR = -1 };
    if (encrypt) {
        if (!server.tickets || RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1) return ERROR;
        memcpy(name, server.ticket[0], TICKET_NAME);
        return ticket_ciphers(server.ticket[0], iv, cipher, mac, 1) ? USE : ERROR;
    }
    for (unsigned i = 0; i < server.tickets; i++) {
        if (memcmp(name, server.ticket[i], TICKET_NAME) != 0) continue;
        if (!ticket_ciphers(server.ticket[i], iv, cipher, mac, 0)) return ERROR;
        return i == 0 ? USE : RENEW;
    }
    return NONE; /* a full handshake, then */
}

void tls_ticket_key(struct str secret, uint32_t lifetime_s) {
    if (secret.n != TICKET_SECRET) return;
    memcpy(server.ticket[1], server.ticket[0], TICKET_SECRET);
    memcpy(server.ticket[0], secret.p, TICKET_SECRET);
    if (server.tickets < 2) server.tickets++;
    server.ticket_lifetime_s = lifetime_s;
}

/* ---- Contexts ---- */

static int on_name(SSL *ssl, int *alert, void *arg) {
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    struct tls *t = SSL_get_app_data(ssl);
    if (!name || !t || !t->certs) return SSL_TLSEXT_ERR_NOACK;
    /* A name that we have no certificate for is answered with the default (RFC 6066 3): who verifies will see it. */
    SSL_set_SSL_CTX(ssl, certs_named(t->certs, str_of(name)));
    return SSL_TLSEXT_ERR_OK;
}

/* RFC 7301 3.2: who asks for another protocol than this one was led here by somebody (ALPACA). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in,
                   unsigned in_n, void *arg) {
    static const unsigned char ours[] = "\4smtp";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, n, ours, sizeof ours - 1, in, in_n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* Forward secrecy and authenticated encryption only, each the cheapest first: all of them are good. */
static bool set_up(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_ASYNC | SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* the tickets are with the clients */
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_timeout(ctx, server.ticket_lifetime_s ? (long)server.ticket_lifetime_s : 7200);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
           SSL_CTX_set_ciphersuites(
               ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1 &&
           SSL_CTX_set1_sigalgs_list(
               ctx, "ECDSA+SHA256:ed25519:ECDSA+SHA384:RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:"
                    "RSA+SHA256:RSA+SHA384:RSA+SHA512:ECDSA+SHA512") == 1 &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) == 1;
}

void tls_set_begin(void) {
    certs_unref(server.coming);
    server.coming = certs_new();
    server.spoilt = false;
}

void tls_set_cert(unsigned pair, uint64_t key, struct str der) {
    if (server.coming && !certs_add(server.coming, pair, key, der)) server.spoilt = true;
}

void tls_set_authority(struct str der) {
    if (server.coming && !certs_add_authority(server.coming, der)) server.spoilt = true;
}

bool tls_set_end(void) {
    struct certs *fresh = server.coming;
    bool ok = fresh && !server.spoilt && certs_ready(fresh, set_up);
    server.coming = NULL;
    if (ok) {
        certs_unref(server.certs);
        server.certs = fresh;
    } else {
        certs_unref(fresh);
        LOG_TROUBLE("keys told certificates that OpenSSL cannot use here%s",
                    server.certs ? ": those of before stay in use" : ": there is no STARTTLS");
    }
    ERR_clear_error();
    return ok;
}

void tls_fingerprints(const struct str *v, size_t n) {
    server.fingerprints = v;
    server.fingerprint_n = n;
}

bool tls_possible(void) {
    return server.certs != NULL;
}

/* What OpenSSL does late is done before the cage: no settings file is read, random numbers are seeded. */
bool tls_prepare(tls_asker *ask, void *ctx) {
    unsigned char seed[16];
    server.ask = ask;
    server.ask_ctx = ctx;
    return OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1 && RAND_bytes(seed, sizeof seed) == 1 &&
           provider_begin(sign_remotely) && ASYNC_is_capable() && ASYNC_init_thread(JOBS_MAX, 0) == 1;
}

/* ---- A connection ---- */

/* OpenSSL reads on while records come that are no data for us (KeyUpdate, above all): nobody may keep the process with
 * them. The rest stays in the kernel, and the loop comes back for it. */
static long on_bio(BIO *bio, int what, const char *mem, size_t n, int argi, long argl, int ret,
                   size_t *done) {
    struct tls *t = (struct tls *)BIO_get_callback_arg(bio);
    if (what == (BIO_CB_READ | BIO_CB_RETURN) && ret > 0 && done) {
        t->budget -= *done < t->budget ? *done : t->budget;
    } else if (what == BIO_CB_READ && t->budget == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    return ret;
}

struct tls *tls_new(int fd, void *owner) {
    if (!server.certs) return NULL;
    struct tls *t = xmalloc(sizeof *t);
    t->owner = owner;
    t->ssl = SSL_new(certs_context(server.certs));
    if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1) {
        SSL_free(t->ssl);
        free(t);
        return NULL;
    }
    t->certs = certs_ref(server.certs);
    t->question = xmalloc(sizeof *t->question);
    SSL_set_app_data(t->ssl, t);
    BIO_set_callback_ex(SSL_get_rbio(t->ssl), on_bio);
    BIO_set_callback_arg(SSL_get_rbio(t->ssl), (char *)t);
    SSL_set_accept_state(t->ssl);
    if (server.fingerprint_n || certs_has_authorities(t->certs))
        SSL_set_verify(t->ssl, SSL_VERIFY_PEER, NULL);
    return t;
}

/* A job cannot be thrown away: it must run to its end. */
static void finish_job(struct tls *t) {
    struct question *q = t->question;
    if (!q || !q->open) return;
    if (!q->answered) server.tags[q->tag].tls = NULL; /* the tag stays taken until keys answers */
    answer(t, STR_NONE);
    server.running = t;
    SSL_do_handshake(t->ssl);
    server.running = NULL;
}

static void end_handshake(struct tls *t) {
    free(t->question);
    t->question = NULL;
    certs_unref(t->certs);
    t->certs = NULL;
}

void tls_free(struct tls *t) {
    if (!t) return;
    unstarve(t);
    finish_job(t);
    end_handshake(t);
    SSL_free(t->ssl);
    ERR_clear_error();
    free(t);
}

static enum tls_step failed(struct tls *t, int error) {
    unsigned long code = ERR_peek_error();
    t->failed = true;
    if (error == SSL_ERROR_SSL && code) t->why = ERR_reason_error_string(code);
    else if (error == SSL_ERROR_ZERO_RETURN) t->why = "client closed";
    if (!t->why) t->why = error == SSL_ERROR_SYSCALL ? "connection lost" : "TLS error";
    return TLS_FAILED;
}

enum tls_step tls_handshake(struct tls *t) {
    if (t->done) return TLS_DONE;
    if (t->failed) return TLS_FAILED;
    ERR_clear_error();
    server.running = t;
    t->budget = READ_BUDGET;
    int r = SSL_do_handshake(t->ssl);
    server.running = NULL;
    if (r == 1) {
        t->done = true;
        t->more = SSL_has_pending(t->ssl);
        SSL_clear_mode(t->ssl, SSL_MODE_ASYNC); /* nothing will be signed any more */
        end_handshake(t);
        return TLS_DONE;
    }
    int error = SSL_get_error(t->ssl, r);
    if (error == SSL_ERROR_WANT_READ) return TLS_READ;
    if (error == SSL_ERROR_WANT_WRITE) return TLS_WRITE;
    if (error == SSL_ERROR_WANT_ASYNC) return TLS_WAIT;
    if (error == SSL_ERROR_WANT_ASYNC_JOB) {
        starve(t);
        return TLS_WAIT;
    }
    return failed(t, error);
}

bool tls_done(const struct tls *t) {
    return t->done;
}

const char *tls_why(const struct tls *t) {
    return t->why ? t->why : "TLS error";
}

bool tls_closed(const struct tls *t) {
    return t->closed;
}

bool tls_stuck(const struct tls *t) {
    return t->stuck;
}

bool tls_more(const struct tls *t) {
    return t->more;
}

ssize_t tls_read(struct tls *t, char *mem, size_t max) {
    size_t n = 0;
    if (t->failed) return -1;
    ERR_clear_error();
    t->budget = READ_BUDGET;
    int r = SSL_read_ex(t->ssl, mem, max, &n);
    t->more = r == 1 && SSL_has_pending(t->ssl);
    t->stuck = false;
    if (r == 1) return (ssize_t)n;
    int error = SSL_get_error(t->ssl, r);
    t->stuck = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return 0;
    t->closed = t->more = error == SSL_ERROR_ZERO_RETURN;
    if (t->closed) t->why = "client closed";
    else failed(t, error);
    return -1;
}

ssize_t tls_write(struct tls *t, struct str bytes) {
    size_t n = 0;
    if (t->failed) return -1;
    if (bytes.n == 0) return 0;
    ERR_clear_error();
    int r = SSL_write_ex(t->ssl, bytes.p, bytes.n, &n);
    if (r == 1) return (ssize_t)n;
    int error = SSL_get_error(t->ssl, r);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return 0;
    failed(t, error);
    return -1;
}

void tls_bye(struct tls *t) {
    if (!t->done || t->failed) return;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
}

bool tls_resumed(const struct tls *t) {
    return SSL_session_reused(t->ssl);
}

/* ---- Who is there ---- */

/* What may stand in a comment of Received, in a log line and in a table; the rest becomes "_". */
static struct str add_safe(struct buf *b, struct str text, size_t max) {
    size_t start = b->n;
    for (size_t i = 0; i < text.n && i < max; i++) {
        char c = text.p[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  (c && strchr("-._@:+=*", c));
        buf_addc(b, ok ? c : '_');
    }
    return (struct str){b->p + start, b->n - start};
}

static struct str string_of(const ASN1_STRING *s) {
    return (struct str){(const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s)};
}

static struct str alternative_name(GENERAL_NAMES *list, int type) {
    for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(list, i);
        if (name->type == type) return string_of(name->d.ia5);
    }
    return STR_NONE;
}

/* An address, else a host's name, else the common name. */
static struct str add_subject(struct buf *b, X509 *x) {
    enum { NAME_MAX_OCTETS = 255 };
    GENERAL_NAMES *list = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    struct str name = alternative_name(list, GEN_EMAIL);
    if (!name.n) name = alternative_name(list, GEN_DNS);
    X509_NAME *subject = X509_get_subject_name(x);
    int at = name.n ? -1 : X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at >= 0) name = string_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    struct str safe = add_safe(b, name, NAME_MAX_OCTETS);
    GENERAL_NAMES_free(list);
    return safe;
}

static bool same_digits(struct str listed, const char *hex) {
    size_t n = 0;
    for (size_t i = 0; i < listed.n; i++) {
        char c = listed.p[i];
        if (c == ':') continue;
        if (c >= 'A' && c <= 'F') c = (char)(c + 32);
        if (c != hex[n++]) return false;
    }
    return hex[n] == '\0';
}

static struct str add_fingerprint(struct buf *b, X509 *x) {
    unsigned char digest[32];
    char hex[2 * sizeof digest + 1];
    if (X509_digest(x, EVP_sha256(), digest, NULL) != 1) return STR_NONE;
    for (size_t i = 0; i < sizeof digest; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    for (size_t i = 0; i < server.fingerprint_n; i++) {
        if (!same_digits(server.fingerprints[i], hex)) continue;
        size_t start = b->n;
        buf_addf(b, "sha256:%s", hex);
        return (struct str){b->p + start, b->n - start};
    }
    return STR_NONE;
}

static struct str add_client(struct buf *b, SSL *ssl) {
    X509 *x = SSL_get0_peer_certificate(ssl);
    if (!x) return STR_NONE;
    /* Without authorities nothing can be verified; X509_V_OK would be the state before any check. */
    if (SSL_get_verify_result(ssl) == X509_V_OK && sk_X509_NAME_num(SSL_get_client_CA_list(ssl)) > 0)
        return add_subject(b, x);
    return add_fingerprint(b, x);
}

struct session_tls tls_describe(const struct tls *t, char mem[static TLS_TEXTS]) {
    struct buf b = buf_on(mem, TLS_TEXTS);
    const SSL_CIPHER *cipher = SSL_get_current_cipher(t->ssl);
    const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
    struct session_tls d = {.on = true, .bits = (unsigned)SSL_CIPHER_get_bits(cipher, NULL)};
    d.version = add_safe(&b, str_of(SSL_get_version(t->ssl)), 20);
    d.cipher = add_safe(&b, str_of(SSL_CIPHER_standard_name(cipher)), 80);
    d.name = add_safe(&b, str_of(name), 255);
    d.client = add_client(&b, t->ssl);
    return d;
}

bool tls_bind(const struct tls *t, enum tls_binding kind, struct buf *out) {
    enum { EXPORTER = 32 };
    static const char label[] = "EXPORTER-Channel-Binding";
    unsigned char mem[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (kind == TLS_EXPORTER) {
        /* RFC 9266 2: with TLS 1.2 implementations do not agree on what an empty context is. */
        if (SSL_version(t->ssl) < TLS1_3_VERSION) return false;
        if (SSL_export_keying_material(t->ssl, mem, EXPORTER, label, sizeof label - 1, NULL, 0, 0) != 1)
            return false;
        n = EXPORTER;
    } else {
        /* RFC 5929 4.1: the digest of the certificate's own signature. */
        /* A resumed session does not say which of our certificates it began with. */
        X509 *own = SSL_session_reused(t->ssl) ? NULL : SSL_get_certificate(t->ssl);
        ASN1_OCTET_STRING *digest = own ? X509_digest_sig(own, NULL, NULL) : NULL;
        if (!digest) return false;
        n = (unsigned)ASN1_STRING_length(digest);
        if (n <= sizeof mem) memcpy(mem, ASN1_STRING_get0_data(digest), n);
        else n = 0;
        ASN1_OCTET_STRING_free(digest);
    }
    buf_add(out, (struct str){(const char *)mem, n});
    return n && !out->failed;
}
