/* test_keys.c: what keys signs and what not; pairs of files, good and bad; the self-signed certificate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/arena.h"
#include "common/log.h"
#include "keys/content.h"
#include "keys/selfsign.h"
#include "keys/shelf.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KIND_RSA, KIND_P256, KIND_P384, KIND_ED25519, KIND_SMALL, KIND_P521, KINDS };

static char pem_mem[KINDS][16384];
static struct str pem[KINDS]; /* a self-signed pair of each kind */

static EVP_PKEY *new_key(int kind) {
    switch (kind) {
    case KIND_RSA:
        return EVP_RSA_gen(2048);
    case KIND_SMALL:
        return EVP_RSA_gen(1024);
    case KIND_ED25519:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    default:
        return EVP_EC_gen(kind == KIND_P256 ? "P-256" : kind == KIND_P384 ? "P-384" : "P-521");
    }
}

static int make_pairs(void **state) {
    log_open(open("/dev/null", O_WRONLY), "test", "host");
    for (int k = 0; k < KINDS; k++) {
        char mem[8192], *text;
        struct buf key = BUF(mem), out = BUF(pem_mem[k]);
        EVP_PKEY *pkey = new_key(k);
        BIO *bio = BIO_new(BIO_s_mem());
        assert_true(pkey && PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL));
        long n = BIO_get_mem_data(bio, &text);
        buf_add(&key, (struct str){text, (size_t)n});
        assert_true(
            selfsign(STR("mx.test"), buf_str(&key), time(NULL), &out)); /* keeps the key it is given */
        pem[k] = buf_str(&out);
        BIO_free(bio);
        EVP_PKEY_free(pkey);
    }
    return 0;
}

/* ---- Contents ---- */

static struct str tls13(char *mem, size_t hash) {
    static const char word[] = "TLS 1.3, server CertificateVerify";
    memset(mem, ' ', 64);
    memcpy(mem + 64, word, sizeof word);
    memset(mem + 64 + sizeof word, 0xab, hash);
    return (struct str){mem, 64 + sizeof word + hash};
}

static struct str tls12(char *mem, unsigned group, unsigned point) {
    memset(mem, 7, 64);
    mem[64] = 3, mem[65] = 0, mem[66] = (char)group, mem[67] = (char)point;
    memset(mem + 68, 4, point);
    return (struct str){mem, 68 + point};
}

static void knows_contents(void **state) {
    char mem[300];
    assert_int_equal(content_kind(tls13(mem, 32)), CONTENT_TLS13);
    assert_int_equal(content_kind(tls13(mem, 48)), CONTENT_TLS13);
    assert_int_equal(content_kind(tls13(mem, 33)), CONTENT_OTHER);
    assert_int_equal(content_kind(tls13(mem, 0)), CONTENT_OTHER);
    struct str s = tls13(mem, 32);
    mem[63] = 'x';
    assert_int_equal(content_kind(s), CONTENT_OTHER);
    s = tls13(mem, 32);
    memcpy(mem + 64, "TLS 1.3, client", 15); /* we are no client */
    assert_int_equal(content_kind(s), CONTENT_OTHER);
    assert_int_equal(content_kind(tls12(mem, 29, 32)), CONTENT_TLS12);
    assert_int_equal(content_kind(tls12(mem, 23, 65)), CONTENT_TLS12);
    assert_int_equal(content_kind(tls12(mem, 24, 97)), CONTENT_TLS12);
    assert_int_equal(content_kind(tls12(mem, 23, 64)), CONTENT_OTHER);
    assert_int_equal(content_kind(tls12(mem, 25, 133)), CONTENT_OTHER);
    s = tls12(mem, 23, 65);
    mem[68] = 2; /* compressed */
    assert_int_equal(content_kind(s), CONTENT_OTHER);
    s = tls12(mem, 29, 32);
    mem[64] = 1;
    assert_int_equal(content_kind(s), CONTENT_OTHER);
    s = tls12(mem, 29, 32);
    assert_int_equal(content_kind(str_sub(s, 0, s.n - 1)), CONTENT_OTHER);
    for (size_t n = 0; n < 68; n++) assert_int_equal(content_kind(str_sub(s, 0, n)), CONTENT_OTHER);
    assert_int_equal(content_kind(STR("From: somebody\r\n")), CONTENT_OTHER);
}

static bool verifies(const struct pair *p, const struct sig_scheme *s, struct str content,
                     const unsigned char *sig, size_t n) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pkey;
    bool ok = EVP_DigestVerifyInit_ex(ctx, &pkey, s->digest, NULL, NULL, p->key, NULL) == 1;
    if (ok && s->padding == SIG_PSS)
        ok = EVP_PKEY_CTX_set_rsa_padding(pkey, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey, RSA_PSS_SALTLEN_DIGEST) == 1;
    ok = ok && EVP_DigestVerify(ctx, sig, n, (const unsigned char *)content.p, content.n) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static struct pair *pair_of(int kind) {
    char mem[500];
    struct buf why = BUF(mem);
    struct pair *p = pair_parse(pem[kind], pem[kind], &why);
    if (!p) print_error("%s\n", buf_cstr(&why));
    assert_non_null(p);
    return p;
}

static void signs_handshakes_only(void **state) {
    static const uint16_t all[] = {0x0401, 0x0501, 0x0601, 0x0403, 0x0503, 0x0603,
                                   0x0804, 0x0805, 0x0806, 0x0807, 0x0201, 0};
    char mem13[300], mem12[300];
    struct str c13 = tls13(mem13, 32), c12 = tls12(mem12, 29, 32);
    unsigned char sig[1024];
    for (int kind = KIND_RSA; kind <= KIND_ED25519; kind++) {
        struct pair *p = pair_of(kind);
        unsigned signed_13 = 0, signed_12 = 0;
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            const struct sig_scheme *s = sig_scheme_numbered(all[i]);
            size_t n = pair_sign(p, all[i], c13, sig, sizeof sig);
            assert_true(n == 0 || (s && verifies(p, s, c13, sig, n)));
            signed_13 += n > 0;
            n = pair_sign(p, all[i], c12, sig, sizeof sig);
            assert_true(n == 0 || (s && verifies(p, s, c12, sig, n)));
            signed_12 += n > 0;
            assert_int_equal(pair_sign(p, all[i], STR("Subject: not this\r\n"), sig, sizeof sig), 0);
            assert_int_equal(pair_sign(p, all[i], c12, sig, 10), 0);
        }
        assert_int_equal(signed_13, kind == KIND_ED25519 ? 1 : 3); /* RFC 8446 4.4.3: no PKCS1 */
        assert_int_equal(signed_12, kind == KIND_ED25519 ? 1 : kind == KIND_RSA ? 6 : 3);
        pair_free(p);
    }
}

/* ---- Pairs ---- */

static void refuses_bad_files(void **state) {
    const struct {
        struct str chain, key;
        const char *why;
    } rows[] = {
        {STR_NONE, pem[KIND_P256], "holds no certificate"},
        {STR("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"), pem[KIND_P256],
         "cannot be read"},
        {pem[KIND_P256], STR_NONE, "holds no private key"},
        {pem[KIND_P256], STR("-----BEGIN PRIVATE KEY-----\nx\n"), "holds no private key"},
        {pem[KIND_P256], pem[KIND_RSA], "does not fit the key"},
        {pem[KIND_RSA], pem[KIND_P256], "does not fit the key"},
        {pem[KIND_P384], pem[KIND_P256], "does not fit the key"},
        {pem[KIND_SMALL], pem[KIND_SMALL], "RSA key of 1024 bits"},
        {pem[KIND_P521], pem[KIND_P521], "another curve"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char mem[500];
        struct buf why = BUF(mem);
        assert_null(pair_parse(rows[i].chain, rows[i].key, &why));
        if (!strstr(buf_cstr(&why), rows[i].why)) print_error("row %zu: %s\n", i, buf_cstr(&why));
        assert_non_null(strstr(buf_cstr(&why), rows[i].why));
    }
}

static void names_keys_by_themselves(void **state) {
    struct pair *a = pair_of(KIND_P256), *b = pair_of(KIND_P256), *c = pair_of(KIND_RSA);
    assert_true(a->id == b->id && a->id != c->id && a->id != 0);
    assert_string_equal(a->what, "ECDSA P-256");
    assert_string_equal(c->what, "RSA 2048");
    assert_string_equal(c->names, "mx.test");
    assert_false(c->expired);
    pair_free(a), pair_free(b), pair_free(c);
}

static void put(struct shelf *s, uint16_t i, int kind, int key, bool spare) {
    char name[20];
    snprintf(name, sizeof name, "/pair%u", i);
    shelf_file(s, i, spare ? KEY_SPARE : KEY_CHAIN, str_of(name), pem[kind], STR_NONE);
    if (!spare) shelf_file(s, i, KEY_PRIVATE, STR("/key"), pem[key], STR_NONE);
}

static void keeps_what_was_good(void **state) {
    static struct shelf s;
    put(&s, 0, KIND_RSA, KIND_RSA, false);
    put(&s, 1, KIND_P256, KIND_P256, false);
    put(&s, 2, KIND_ED25519, 0, true);
    shelf_change(&s);
    assert_int_equal(s.now_n, 2); /* the spare one is not needed */
    uint64_t rsa = s.now[0].pair->id, ec = s.now[1].pair->id;
    put(&s, 0, KIND_RSA, KIND_P256, false); /* does not fit */
    put(&s, 1, KIND_P384, KIND_P384, false);
    shelf_change(&s);
    assert_int_equal(s.now_n, 2);
    assert_true(s.now[0].pair->id == rsa && s.now[1].pair->id != ec);
    assert_non_null(shelf_find(&s, ec)); /* handshakes that began with it */
    shelf_file(&s, 0, KEY_CHAIN, STR("/pair0"), STR_NONE, STR("cannot be opened"));
    shelf_change(&s);
    assert_int_equal(s.now_n, 1);
    assert_true(s.now[0].pair->id == rsa);
    assert_null(shelf_find(&s, ec));
    put(&s, 7, KIND_RSA, KIND_P256, false); /* new and bad, nothing else: the spare one stands in */
    put(&s, 8, KIND_ED25519, 0, true);
    shelf_change(&s);
    assert_int_equal(s.now_n, 1);
    assert_int_equal(s.now[0].pair->type, SIG_ED25519);
    shelf_file(&s, 60000, KEY_CHAIN, STR("/x"), pem[0], STR_NONE); /* out of bounds: nothing */
    shelf_free(&s);
}

/* ---- Self-signed ---- */

static void signs_itself(void **state) {
    char first_mem[16384], second_mem[16384];
    struct buf first = BUF(first_mem), second = BUF(second_mem);
    int64_t now = time(NULL), day = 86400;
    assert_false(selfsign_good(STR("mx.test"), STR_NONE, now));
    assert_true(selfsign(STR("mx.test"), STR_NONE, now, &first));
    struct str text = buf_str(&first);
    assert_true(selfsign_good(STR("mx.test"), text, now));
    assert_false(selfsign_good(STR("other.test"), text, now));
    assert_true(selfsign_good(STR("mx.test"), text, now + 3600 * day));
    assert_false(selfsign_good(STR("mx.test"), text, now + 3630 * day)); /* within its last month */
    assert_true(selfsign(STR("other.test"), text, now, &second));
    char mem[300];
    struct buf why = BUF(mem);
    struct pair *a = pair_parse(text, text, &why), *b = pair_parse(buf_str(&second), buf_str(&second), &why);
    assert_true(a && b && a->id == b->id);
    assert_string_equal(b->names, "other.test");
    pair_free(a), pair_free(b);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_contents),      cmocka_unit_test(signs_handshakes_only),
        cmocka_unit_test(refuses_bad_files),   cmocka_unit_test(names_keys_by_themselves),
        cmocka_unit_test(keeps_what_was_good), cmocka_unit_test(signs_itself),
    };
    return cmocka_run_group_tests_name("keys", tests, make_pairs, NULL);
}
