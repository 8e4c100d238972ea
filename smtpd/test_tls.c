/* test_tls.c: smtpd's end of TLS with a real client of OpenSSL, and keys played by keys' own code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/arena.h"
#include "common/log.h"
#include "keys/pair.h"
#include "keys/selfsign.h"
#include "smtpd/tls.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAIR_RSA, PAIR_EC, PAIR_ED, PAIR_OTHER, PAIRS, ASKS_MAX = 2000 };

static struct pair *pairs[PAIRS];
static struct ask {
    uint32_t tag;
    uint64_t key;
    uint16_t scheme;
    char content[512];
    size_t n;
} asks[ASKS_MAX];
static size_t ask_n;
static bool nobody; /* there is no keys */

static int ask(void *ctx, uint32_t tag, uint64_t key, uint16_t scheme, struct str content) {
    if (nobody || ask_n == ASKS_MAX) return -1;
    struct ask *a = &asks[ask_n++];
    *a = (struct ask){.tag = tag, .key = key, .scheme = scheme, .n = content.n};
    memcpy(a->content, content.p, content.n);
    return 3;
}

static void *answer_first(void) {
    unsigned char sig[1024];
    size_t n = 0;
    struct ask a = asks[0];
    memmove(&asks[0], &asks[1], --ask_n * sizeof asks[0]);
    for (int i = 0; i < PAIRS; i++)
        if (pairs[i]->id == a.key)
            n = pair_sign(pairs[i], a.scheme, (struct str){a.content, a.n}, sig, sizeof sig);
    assert_null(tls_signed(2, a.tag, STR("from one who was not asked")));
    return tls_signed(3, a.tag, (struct str){(const char *)sig, n});
}

static struct pair *make_pair(const char *name, EVP_PKEY *key) {
    static char text_mem[16384], pem_mem[16384];
    char *text, why_mem[300];
    struct buf old = BUF(text_mem), pem = BUF(pem_mem), why = BUF(why_mem);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
    long n = BIO_get_mem_data(bio, &text);
    buf_add(&old, (struct str){text, (size_t)n});
    assert_true(selfsign(str_of(name), buf_str(&old), time(NULL), &pem));
    BIO_free(bio);
    EVP_PKEY_free(key);
    return pair_parse(buf_str(&pem), buf_str(&pem), &why);
}

static bool tell_pairs(int first, int n) {
    tls_set_begin();
    for (int i = 0; i < n; i++) tls_set_cert((unsigned)i, pairs[first + i]->id, pairs[first + i]->chain[0]);
    return tls_set_end();
}

static int begin(void **state) {
    log_open(open("/dev/null", O_WRONLY | O_CLOEXEC), "test", "host");
    assert_true(tls_prepare(ask, NULL));
    assert_false(tls_possible());
    pairs[PAIR_RSA] = make_pair("mx.test", EVP_RSA_gen(2048));
    pairs[PAIR_EC] = make_pair("mx.test", EVP_EC_gen("P-256"));
    pairs[PAIR_ED] = make_pair("ed.test", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    pairs[PAIR_OTHER] = make_pair("other.test", EVP_EC_gen("P-384"));
    char secret[80];
    memset(secret, 'a', sizeof secret);
    tls_ticket_key((struct str){secret, sizeof secret}, 3600);
    assert_true(tell_pairs(0, PAIRS));
    assert_true(tls_possible());
    return 0;
}

/* ---- A client and a session ---- */

struct both {
    int fd[2];
    struct tls *tls;
    SSL_CTX *ctx;
    SSL *client;
    enum tls_step step;
    bool client_done, client_failed;
};

static void meet_with(struct both *b, SSL_CTX *ctx, const char *name) {
    *b = (struct both){.ctx = ctx};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, b->fd), 0);
    b->tls = tls_new(b->fd[0], b);
    assert_non_null(b->tls);
    b->client = SSL_new(ctx);
    SSL_set_fd(b->client, b->fd[1]);
    SSL_set_connect_state(b->client);
    if (name) SSL_set_tlsext_host_name(b->client, name);
}

static void meet(struct both *b, const char *name) {
    meet_with(b, SSL_CTX_new(TLS_client_method()), name);
}

static void part(struct both *b) {
    if (b->client_done) SSL_shutdown(b->client); /* else it would take its session for spoilt */
    tls_free(b->tls);
    SSL_free(b->client);
    SSL_CTX_free(b->ctx);
    close(b->fd[0]), close(b->fd[1]);
}

static void client_step(struct both *b) {
    if (b->client_done || b->client_failed) return;
    ERR_clear_error();
    int r = SSL_do_handshake(b->client), error = SSL_get_error(b->client, r);
    b->client_done = r == 1;
    b->client_failed = r != 1 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
}

/* Until both are done, or one has failed. */
static bool shake(struct both *b) {
    for (int i = 0; i < 50; i++) {
        client_step(b);
        b->step = tls_handshake(b->tls);
        if (b->step == TLS_FAILED) {
            client_step(b);
            return false;
        }
        if (b->step == TLS_WAIT && ask_n) assert_ptr_equal(answer_first(), b);
        if (b->step == TLS_DONE && b->client_done) return true;
    }
    return false;
}

static void check_peer(const struct both *b, int pair) {
    unsigned char *der = NULL;
    X509 *x = SSL_get1_peer_certificate(b->client);
    int n = i2d_X509(x, &der);
    assert_true(n == (int)pairs[pair]->chain[0].n && memcmp(der, pairs[pair]->chain[0].p, (size_t)n) == 0);
    OPENSSL_free(der);
    X509_free(x);
}

static void every_key_and_version(void **state) {
    static const struct {
        int version;
        const char *name, *algorithms;
        int pair;
    } rows[] = {
        {TLS1_3_VERSION, "mx.test", "RSA-PSS+SHA256", PAIR_RSA},
        {TLS1_3_VERSION, "mx.test", "RSA-PSS+SHA512", PAIR_RSA},
        {TLS1_3_VERSION, "mx.test", "ECDSA+SHA256", PAIR_EC},
        {TLS1_3_VERSION, NULL, "RSA-PSS+SHA384", PAIR_RSA},
        {TLS1_3_VERSION, NULL, "ECDSA+SHA256", PAIR_EC},
        {TLS1_3_VERSION, "other.test", "ECDSA+SHA384", PAIR_OTHER},
        {TLS1_3_VERSION, "ed.test", "ed25519", PAIR_ED},
        {TLS1_3_VERSION, "unknown.test", "ECDSA+SHA256", PAIR_EC},
        {TLS1_2_VERSION, "mx.test", "RSA+SHA256", PAIR_RSA},
        {TLS1_2_VERSION, "mx.test", "RSA-PSS+SHA256", PAIR_RSA},
        {TLS1_2_VERSION, "mx.test", "RSA+SHA512", PAIR_RSA},
        {TLS1_2_VERSION, "mx.test", "ECDSA+SHA256", PAIR_EC},
        {TLS1_2_VERSION, "OTHER.test", "ECDSA+SHA384", PAIR_OTHER},
        {TLS1_2_VERSION, "ed.test", "ed25519", PAIR_ED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct both b;
        char mem[TLS_TEXTS], text[8] = "";
        meet(&b, rows[i].name);
        SSL_CTX_set_min_proto_version(b.ctx, rows[i].version);
        SSL_set_min_proto_version(b.client, rows[i].version);
        SSL_set_max_proto_version(b.client, rows[i].version);
        assert_int_equal(SSL_set1_sigalgs_list(b.client, rows[i].algorithms), 1);
        if (!shake(&b)) print_error("row %zu: %s\n", i, tls_why(b.tls));
        assert_true(b.client_done);
        check_peer(&b, rows[i].pair);
        struct session_tls d = tls_describe(b.tls, mem);
        assert_true(d.on && d.bits >= 128);
        assert_true(str_eq(d.version, rows[i].version == TLS1_3_VERSION ? STR("TLSv1.3") : STR("TLSv1.2")));
        assert_true(str_eq(d.name, str_of(rows[i].name)));
        assert_int_equal(SSL_write(b.client, "hello", 5), 5);
        assert_int_equal(tls_read(b.tls, text, sizeof text), 5);
        assert_string_equal(text, "hello");
        assert_int_equal(tls_read(b.tls, text, sizeof text), 0);
        assert_false(tls_more(b.tls));
        assert_int_equal(tls_write(b.tls, STR("there")), 5);
        assert_int_equal(SSL_read(b.client, text, sizeof text), 5);
        tls_bye(b.tls);
        assert_true(SSL_read(b.client, text, sizeof text) == 0 &&
                    SSL_get_shutdown(b.client) == SSL_RECEIVED_SHUTDOWN);
        part(&b);
    }
    assert_int_equal(ask_n, 0);
}

static void refuses(const char *what, void (*spoil)(SSL *client)) {
    struct both b;
    meet(&b, "mx.test");
    spoil(b.client);
    if (shake(&b)) print_error("%s was not refused\n", what);
    assert_false(b.client_done && b.step == TLS_DONE);
    part(&b);
}

static void old_version(SSL *client) {
    SSL_set_security_level(client, 0);
    SSL_set_min_proto_version(client, TLS1_VERSION);
    SSL_set_max_proto_version(client, TLS1_1_VERSION);
}

static void no_forward_secrecy(SSL *client) {
    SSL_set_max_proto_version(client, TLS1_2_VERSION);
    SSL_set_cipher_list(client, "kRSA");
}

static void cbc(SSL *client) {
    SSL_set_max_proto_version(client, TLS1_2_VERSION);
    SSL_set_cipher_list(client, "ECDHE-ECDSA-AES128-SHA256");
}

static void another_protocol(SSL *client) {
    SSL_set_alpn_protos(client, (const unsigned char *)"\2h2", 3);
}

static void refuses_the_weak(void **state) {
    refuses("TLS 1.1", old_version);
    refuses("RSA key exchange", no_forward_secrecy);
    refuses("CBC", cbc);
    refuses("HTTP", another_protocol);
    struct both b;
    meet(&b, NULL);
    SSL_set_alpn_protos(b.client, (const unsigned char *)"\2h2\4smtp", 8);
    assert_true(shake(&b));
    part(&b);
    static const char garbage[] = "EHLO x\r\nMAIL FROM:<a@b>\r\n";
    meet(&b, NULL);
    assert_int_equal(write(b.fd[1], garbage, sizeof garbage - 1), sizeof garbage - 1);
    assert_int_equal(tls_handshake(b.tls), TLS_FAILED);
    assert_true(tls_read(b.tls, (char[4]){0}, 4) == -1 && tls_write(b.tls, STR("x")) == -1);
    part(&b);
}

/* A client that sends nothing but KeyUpdate cannot keep the process. */
static void key_updates_do_not_hold_us(void **state) {
    struct both b;
    char text[8];
    size_t sent = 0;
    int size = 8 << 20;
    meet(&b, NULL);
    setsockopt(b.fd[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    assert_true(shake(&b));
    while (SSL_key_update(b.client, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 && SSL_do_handshake(b.client) == 1)
        sent++;
    assert_true(sent > 100);
    assert_int_equal(tls_read(b.tls, text, sizeof text), 0);
    int left = 0;
    assert_int_equal(ioctl(b.fd[0], FIONREAD, &left), 0);
    if (sent * 27 > 400000) assert_true(left > 0); /* as much as the kernel let us queue */
    while (tls_read(b.tls, text, sizeof text) == 0 && ioctl(b.fd[0], FIONREAD, &left) == 0 && left) {
    }
    assert_true(tls_done(b.tls));
    part(&b);
}

/* One that has its KeyUpdates answered and reads no answer: what it sends stays in the socket, which must not wake us
 * (a loop without end), and we can tell why. */
static void unread_answers_are_told(void **state) {
    struct both b;
    char text[8];
    int left = 1;
    meet(&b, NULL);
    assert_true(shake(&b));
    for (int round = 0; round < 100000 && !tls_stuck(b.tls); round++) {
        if (SSL_key_update(b.client, SSL_KEY_UPDATE_REQUESTED) == 1) SSL_do_handshake(b.client);
        assert_int_equal(tls_read(b.tls, text, sizeof text), 0);
    }
    assert_true(tls_stuck(b.tls));
    assert_true(SSL_key_update(b.client, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(b.client) == 1);
    assert_int_equal(tls_read(b.tls, text, sizeof text), 0);
    assert_true(tls_stuck(b.tls));
    assert_int_equal(ioctl(b.fd[0], FIONREAD, &left), 0);
    assert_true(left > 0);
    for (int round = 0; round < 1000 && (tls_stuck(b.tls) || left); round++) { /* it reads: all goes on */
        SSL_read(b.client, text, sizeof text);
        assert_int_equal(tls_read(b.tls, text, sizeof text), 0);
        assert_int_equal(ioctl(b.fd[0], FIONREAD, &left), 0);
    }
    assert_false(tls_stuck(b.tls));
    part(&b);
}

/* ---- Tickets ---- */

static SSL_SESSION *kept;

/* Gives whether the session kept could be resumed; keeps the new one. */
static bool resumes(int version) {
    struct both b;
    char text[8];
    meet(&b, "mx.test");
    SSL_set_max_proto_version(b.client, version);
    if (kept) SSL_set_session(b.client, kept);
    assert_true(shake(&b));
    assert_int_equal(tls_write(b.tls, STR("x")), 1);
    assert_int_equal(SSL_read(b.client, text, sizeof text), 1); /* and the ticket before it */
    bool resumed = tls_resumed(b.tls);
    assert_int_equal(SSL_session_reused(b.client), resumed);
    char mem[64];
    struct buf binding = BUF(mem);
    assert_int_equal(tls_bind(b.tls, TLS_SERVER_END_POINT, &binding), !resumed);
    SSL_SESSION_free(kept);
    kept = SSL_get1_session(b.client);
    part(&b);
    return resumed;
}

static void change_ticket_key(char c) {
    char secret[80];
    memset(secret, c, sizeof secret);
    tls_ticket_key((struct str){secret, sizeof secret}, 3600);
}

static void resumes_over_one_change(void **state) {
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_SESSION_free(kept);
        kept = NULL;
        assert_false(resumes(version));
        assert_true(resumes(version));
        assert_int_equal(ask_n, 0);
        change_ticket_key(version == TLS1_2_VERSION ? 'b' : 'd');
        SSL_SESSION *old = kept;
        SSL_SESSION_up_ref(old);
        assert_true(resumes(version)); /* with the key of before; a new ticket comes */
        change_ticket_key(version == TLS1_2_VERSION ? 'c' : 'e');
        assert_true(resumes(version));
        SSL_SESSION_free(kept);
        kept = old;
        assert_false(resumes(version)); /* its key has changed twice */
    }
    SSL_SESSION_free(kept);
    kept = NULL;
}

/* ---- keys is slow, refuses, or is gone ---- */

static void until_it_waits(struct both *b) {
    meet(b, "mx.test");
    client_step(b);
    assert_int_equal(tls_handshake(b->tls), TLS_WAIT);
    assert_int_equal(tls_handshake(b->tls), TLS_WAIT); /* asked once only */
}

static void survives_trouble_with_keys(void **state) {
    struct both b, c;
    until_it_waits(&b);
    assert_int_equal(ask_n, 1);
    assert_ptr_equal(tls_signed(3, asks[0].tag, STR_NONE), &b); /* refused */
    assert_null(tls_signed(3, asks[0].tag, STR_NONE));          /* and said again */
    assert_int_equal(tls_handshake(b.tls), TLS_FAILED);
    ask_n = 0;
    part(&b);
    until_it_waits(&b);
    assert_ptr_equal(tls_signed(3, asks[0].tag, STR("this is no signature")), &b);
    assert_false(shake(&b));
    ask_n = 0;
    part(&b);
    until_it_waits(&b);
    part(&b); /* the client has gone while keys works */
    assert_null(tls_signed(3, asks[0].tag, STR("late")));
    ask_n = 0;
    until_it_waits(&b), until_it_waits(&c);
    assert_null(tls_orphan(7));
    assert_non_null(tls_orphan(3));
    assert_non_null(tls_orphan(3));
    assert_null(tls_orphan(3));
    assert_int_equal(tls_handshake(b.tls), TLS_FAILED);
    assert_int_equal(tls_handshake(c.tls), TLS_FAILED);
    assert_null(tls_signed(3, asks[1].tag, STR("of one that has died")));
    ask_n = 0;
    part(&b), part(&c);
    nobody = true;
    meet(&b, NULL);
    client_step(&b);
    assert_int_equal(tls_handshake(b.tls), TLS_FAILED);
    part(&b);
    nobody = false;
    assert_null(tls_signed(3, 1000000, STR_NONE));
    assert_null(tls_signed(-1, 0, STR_NONE));
}

/* More handshakes than there is room for wait their turn. */
static void many_wait(void **state) {
    enum { MANY = 1100 };
    static struct both all[MANY];
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    size_t done = 0;
    for (size_t i = 0; i < MANY; i++) {
        SSL_CTX_up_ref(ctx);
        meet_with(&all[i], ctx, "mx.test");
        client_step(&all[i]);
        assert_int_equal(tls_handshake(all[i].tls), TLS_WAIT);
    }
    assert_in_range(ask_n, 1000, MANY - 1);
    part(&all[MANY - 1]); /* one that waits for room goes */
    while (ask_n) {
        struct both *b = answer_first();
        enum tls_step step = tls_handshake(b->tls);
        assert_true(step == TLS_READ || step == TLS_DONE);
        client_step(b);
        done += tls_handshake(b->tls) == TLS_DONE && b->client_done;
        if ((b = tls_starved())) assert_int_equal(tls_handshake(b->tls), TLS_WAIT);
    }
    assert_int_equal(done, MANY - 1);
    for (size_t i = 0; i < MANY - 1; i++) part(&all[i]);
    SSL_CTX_free(ctx);
}

/* ---- Sets and bindings ---- */

static void binds(void **state) {
    static const char label[] = "EXPORTER-Channel-Binding";
    struct both b;
    char mem[64], point_mem[64];
    unsigned char theirs[32], digest[32];
    struct buf exporter = BUF(mem), point = BUF(point_mem);
    meet(&b, "mx.test");
    assert_true(shake(&b));
    assert_true(tls_bind(b.tls, TLS_EXPORTER, &exporter));
    assert_int_equal(SSL_export_keying_material(b.client, theirs, 32, label, sizeof label - 1,
                                                (const unsigned char *)"", 0, 1),
                     1);
    assert_int_equal(exporter.n, 32);
    assert_memory_equal(exporter.p, theirs, 32);
    X509 *x = SSL_get1_peer_certificate(b.client);
    assert_true(tls_bind(b.tls, TLS_SERVER_END_POINT, &point) && X509_digest(x, EVP_sha256(), digest, NULL));
    assert_int_equal(point.n, 32);
    assert_memory_equal(point.p, digest, 32);
    X509_free(x);
    part(&b);
    meet(&b, "mx.test");
    SSL_set_max_proto_version(b.client, TLS1_2_VERSION);
    assert_true(shake(&b));
    assert_false(tls_bind(b.tls, TLS_EXPORTER, &exporter));
    part(&b);
}

static void changes_sets(void **state) {
    struct both b, c;
    until_it_waits(&b);
    assert_true(tell_pairs(PAIR_OTHER, 1)); /* while a handshake is under way with the old set */
    assert_true(shake(&b));
    check_peer(&b, PAIR_EC);
    meet(&c, "mx.test");
    assert_true(shake(&c));
    check_peer(&c, PAIR_OTHER);
    part(&b), part(&c);
    tls_set_begin();
    tls_set_cert(0, 1, STR("no certificate"));
    assert_false(tls_set_end());
    tls_set_begin();
    tls_set_cert(5, pairs[PAIR_RSA]->id, pairs[PAIR_RSA]->chain[0]); /* not in order */
    assert_false(tls_set_end());
    tls_set_begin();
    assert_false(tls_set_end());
    assert_false(tls_set_end());
    meet(&c, "mx.test");
    assert_true(shake(&c));
    check_peer(&c, PAIR_OTHER);
    part(&c);
    assert_true(tell_pairs(0, PAIRS));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_and_version),
        cmocka_unit_test(refuses_the_weak),
        cmocka_unit_test(resumes_over_one_change),
        cmocka_unit_test(survives_trouble_with_keys),
        cmocka_unit_test(many_wait),
        cmocka_unit_test(binds),
        cmocka_unit_test(changes_sets),
        cmocka_unit_test(key_updates_do_not_hold_us),
        cmocka_unit_test(unread_answers_are_told),
    };
    return cmocka_run_group_tests_name("tls", tests, begin, NULL);
}
