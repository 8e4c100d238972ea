#include "auth/base64.h"
#include "auth/jwt.h"
#include "auth/sasl.h"

#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A server with one user: what the shell does around the engine. */
struct server {
    struct sasl sasl;
    struct sasl_facts facts;
    const char *user, *password;
    struct scram_verifier verifier;
    char text[SASL_TEXT_MAX];
    struct buf challenge;
};

static enum sasl_result says(struct server *s, const char *text) {
    s->challenge = BUF(s->text);
    enum sasl_result r = sasl_step(&s->sasl, text != NULL, str_of(text), &s->challenge);
    bool known = str_eq(s->sasl.login, str_of(s->user));
    if (r == SASL_VERIFIER) r = sasl_verifier(&s->sasl, known, &s->verifier, &s->challenge);
    if (r == SASL_PASSWORD)
        r = sasl_verdict(&s->sasl, known && str_eq(s->sasl.secret, str_of(s->password)), &s->challenge);
    return r;
}

static enum sasl_result says_octets(struct server *s, struct str octets) {
    s->challenge = BUF(s->text);
    enum sasl_result r = sasl_step(&s->sasl, true, octets, &s->challenge);
    if (r != SASL_PASSWORD) return r;
    bool good = str_eq(s->sasl.login, str_of(s->user)) && str_eq(s->sasl.secret, str_of(s->password));
    return sasl_verdict(&s->sasl, good, &s->challenge);
}

static void plain(void **state) {
    static struct server s;
    static const struct {
        struct str in;
        enum sasl_result want;
    } rows[] = {
        {STR("\0tim\0tanstaaftanstaaf"), SASL_GOOD},
        {STR("tim\0tim\0tanstaaftanstaaf"), SASL_GOOD},
        {STR("\0t\xc2\xadim\0tanstaaftanstaa\xef\xbd\x86"), SASL_GOOD}, /* SASLprep */
        {STR("\0tim\0wrong"), SASL_BAD},
        {STR("\0tom\0tanstaaftanstaaf"), SASL_BAD},
        {STR("Ursel\0tim\0tanstaaftanstaaf"), SASL_BAD},
        {STR("\0a\0"), SASL_MALFORMED},
        {STR("\0\0x"), SASL_MALFORMED},
        {STR("\0a\0b\0c"), SASL_MALFORMED},
        {STR(""), SASL_MALFORMED},
        {STR("tim"), SASL_MALFORMED},
        {STR("\0tim"), SASL_MALFORMED},
        {STR("\0tim\r\n\0x"), SASL_MALFORMED},
        {STR("\0\xff\0x"), SASL_MALFORMED},
    };
    (void)state;
    s.user = "tim", s.password = "tanstaaftanstaaf";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sasl_begin(&s.sasl, SASL_PLAIN, &s.facts);
        if (says_octets(&s, rows[i].in) != rows[i].want) fail_msg("row %zu", i);
        sasl_begin(&s.sasl, SASL_PLAIN, &s.facts); /* without an initial response */
        assert_int_equal(says(&s, NULL), SASL_CHALLENGE);
        assert_int_equal(s.challenge.n, 0);
        assert_int_equal(says_octets(&s, rows[i].in), rows[i].want);
        sasl_end(&s.sasl);
    }
}

static void login(void **state) {
    static struct server s;
    (void)state;
    s.user = "tim", s.password = "x";
    sasl_begin(&s.sasl, SASL_LOGIN, &s.facts);
    assert_int_equal(says(&s, NULL), SASL_CHALLENGE);
    assert_string_equal(buf_cstr(&s.challenge), "Username:");
    assert_int_equal(says(&s, "tim"), SASL_CHALLENGE);
    assert_string_equal(buf_cstr(&s.challenge), "Password:");
    assert_int_equal(says(&s, "x"), SASL_GOOD);
    sasl_begin(&s.sasl, SASL_LOGIN, &s.facts); /* the login with the command */
    assert_int_equal(says(&s, "tim"), SASL_CHALLENGE);
    assert_int_equal(says(&s, "y"), SASL_BAD);
    assert_int_equal(says(&s, "x"), SASL_BAD); /* it is over */
    sasl_begin(&s.sasl, SASL_LOGIN, &s.facts);
    assert_int_equal(says(&s, ""), SASL_MALFORMED);
}

static void external(void **state) {
    static struct server s;
    (void)state;
    sasl_begin(&s.sasl, SASL_EXTERNAL, &s.facts);
    assert_int_equal(says(&s, ""), SASL_BAD); /* no certificate */
    s.facts.identity = STR("alice@example.org");
    sasl_begin(&s.sasl, SASL_EXTERNAL, &s.facts);
    assert_int_equal(says(&s, ""), SASL_GOOD);
    assert_true(str_eq(s.sasl.login, STR("alice@example.org")));
    sasl_begin(&s.sasl, SASL_EXTERNAL, &s.facts);
    assert_int_equal(says(&s, "Alice@example.org"), SASL_GOOD);
    sasl_begin(&s.sasl, SASL_EXTERNAL, &s.facts);
    assert_int_equal(says(&s, "root"), SASL_BAD);
}

/* RFC 7677 3. */
#define FIRST        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
#define SERVER_PART  "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define NONCE        "rOprNGfwEbeRWgbNEkqO" SERVER_PART
#define SERVER_FIRST "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define PROOF        ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define FINAL        "c=biws,r=" NONCE PROOF

static void scram_server(struct server *s) {
    char mem[32];
    struct buf salt = BUF(mem);
    memset(s, 0, sizeof *s);
    base64_decode(&salt, STR("W22ZaJ0SNY7soEsUEjb6gQ=="));
    s->user = "user";
    assert_true(scram_derive(STR("pencil"), buf_str(&salt), 4096, &s->verifier));
    s->facts.nonce = STR(SERVER_PART);
}

static void scram(void **state) {
    static struct server s;
    (void)state;
    scram_server(&s);
    sasl_begin(&s.sasl, SASL_SCRAM, &s.facts);
    assert_int_equal(says(&s, FIRST), SASL_CHALLENGE);
    assert_string_equal(buf_cstr(&s.challenge), SERVER_FIRST);
    assert_int_equal(says(&s, FINAL), SASL_CHALLENGE);
    assert_string_equal(buf_cstr(&s.challenge), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_int_equal(says(&s, ""), SASL_GOOD);
    assert_true(str_eq(s.sasl.login, STR("user")));
    sasl_begin(&s.sasl, SASL_SCRAM, &s.facts); /* the proof of one exchange is none in another */
    s.facts.nonce = STR("another");
    sasl_begin(&s.sasl, SASL_SCRAM, &s.facts);
    assert_int_equal(says(&s, FIRST), SASL_CHALLENGE);
    assert_int_equal(says(&s, FINAL), SASL_BAD);
}

static void scram_wrong_first(void **state) {
    static struct server s;
    static const struct {
        const char *first;
        bool plus_offered;
        enum sasl_mech mech;
        enum sasl_result want;
    } rows[] = {
        {FIRST, true, SASL_SCRAM, SASL_CHALLENGE},
        {"y,,n=user,r=abc", false, SASL_SCRAM, SASL_CHALLENGE},
        {"y,,n=user,r=abc", true, SASL_SCRAM, SASL_BAD}, /* a downgrade */
        {"n,a=user,n=user,r=abc", false, SASL_SCRAM, SASL_CHALLENGE},
        {"n,a=other,n=user,r=abc", false, SASL_SCRAM, SASL_BAD},
        {"n,,n=user,r=abc,x=ext", false, SASL_SCRAM, SASL_CHALLENGE}, /* an optional extension */
        {"n,,m=ext,n=user,r=abc", false, SASL_SCRAM, SASL_BAD},
        {"n,,n=us=er,r=abc", false, SASL_SCRAM, SASL_MALFORMED},
        {"n,,n=us=2cer,r=abc", false, SASL_SCRAM, SASL_MALFORMED},
        {"n,,n=,r=abc", false, SASL_SCRAM, SASL_MALFORMED},
        {"n,,n=user", false, SASL_SCRAM, SASL_MALFORMED},
        {"n,,n=user,r=", false, SASL_SCRAM, SASL_MALFORMED},
        {"n,,n=user,r=a b", false, SASL_SCRAM, SASL_MALFORMED},
        {"n,n=user,r=abc", false, SASL_SCRAM, SASL_MALFORMED},
        {"x,,n=user,r=abc", false, SASL_SCRAM, SASL_MALFORMED},
        {"", false, SASL_SCRAM, SASL_MALFORMED},
        {",,", false, SASL_SCRAM, SASL_MALFORMED},
        {"p=tls-unique,,n=user,r=abc", false, SASL_SCRAM, SASL_BAD},
        {"p=tls-exporter,,n=user,r=abc", false, SASL_SCRAM, SASL_BAD},
        {"p=tls-exporter,,n=user,r=abc", false, SASL_SCRAM_PLUS, SASL_CHALLENGE},
        {"p=tls-server-end-point,,n=user,r=abc", true, SASL_SCRAM_PLUS, SASL_CHALLENGE},
        {"p=tls-unique,,n=user,r=abc", true, SASL_SCRAM_PLUS, SASL_BAD},
        {"n,,n=user,r=abc", true, SASL_SCRAM_PLUS, SASL_BAD},
        {"y,,n=user,r=abc", true, SASL_SCRAM_PLUS, SASL_BAD},
    };
    (void)state;
    scram_server(&s);
    s.facts.exporter = STR("0123456789abcdef0123456789abcdef");
    s.facts.end_point = STR("fedcba9876543210fedcba9876543210");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        s.facts.plus_offered = rows[i].plus_offered;
        sasl_begin(&s.sasl, rows[i].mech, &s.facts);
        enum sasl_result r = says(&s, rows[i].first);
        if (r != rows[i].want) fail_msg("row %zu: %d (%s)", i, (int)r, s.sasl.why);
    }
    s.facts.exporter = STR_NONE; /* a session that has none, TLS 1.2 */
    sasl_begin(&s.sasl, SASL_SCRAM_PLUS, &s.facts);
    assert_int_equal(says(&s, "p=tls-exporter,,n=user,r=abc"), SASL_BAD);
}

static void scram_wrong_final(void **state) {
    static struct server s;
    static const struct {
        const char *final;
        enum sasl_result want;
    } rows[] = {
        {FINAL, SASL_CHALLENGE},
        {"c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AnAAA=", SASL_BAD},
        {"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k1" PROOF, SASL_BAD},
        {"c=eSws,r=" NONCE PROOF, SASL_BAD},
        {"c=biws,r=" NONCE, SASL_MALFORMED},
        {"c=biws,r=" NONCE ",p=", SASL_MALFORMED},
        {"c=biws,r=" NONCE ",p=AAAA", SASL_MALFORMED},
        {"c=biws,r=" NONCE ",p=****", SASL_MALFORMED},
        {"r=" NONCE PROOF, SASL_MALFORMED},
        {"", SASL_MALFORMED},
    };
    (void)state;
    scram_server(&s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sasl_begin(&s.sasl, SASL_SCRAM, &s.facts);
        assert_int_equal(says(&s, FIRST), SASL_CHALLENGE);
        enum sasl_result r = says(&s, rows[i].final);
        if (r != rows[i].want) fail_msg("row %zu: %d (%s)", i, (int)r, s.sasl.why);
    }
    s.user = "nobody"; /* a verifier that fits, of a login that does not exist */
    sasl_begin(&s.sasl, SASL_SCRAM, &s.facts);
    assert_int_equal(says(&s, FIRST), SASL_CHALLENGE);
    assert_int_equal(says(&s, FINAL), SASL_BAD);
}

/* A client of SCRAM, for what the RFC has no example of. */
static void client_final(const struct server *s, const char *bare, struct str bind, char *out, size_t size) {
    char c_mem[300], message_mem[2000];
    struct buf c = BUF(c_mem), message = BUF(message_mem), b = buf_on(out, size);
    uint8_t salted[32], key[32], stored[32], sig[32];
    const char *nonce_end = strstr(s->text, ",s=");
    PKCS5_PBKDF2_HMAC("pencil", 6, s->verifier.salt, s->verifier.salt_n, (int)s->verifier.iterations,
                      EVP_sha256(), 32, salted);
    scram_hmac(salted, 32, STR("Client Key"), key);
    scram_hash((struct str){(char *)key, 32}, stored);
    base64_encode(&c, bind);
    buf_addf(&b, "c=%s,r=%.*s", buf_cstr(&c), (int)(nonce_end - s->text - 2), s->text + 2);
    buf_addf(&message, "%s,%.*s,%.*s", bare, STR_ARGS(buf_str(&s->challenge)), STR_ARGS(buf_str(&b)));
    scram_hmac(stored, 32, buf_str(&message), sig);
    for (int i = 0; i < 32; i++) key[i] ^= sig[i];
    buf_adds(&b, ",p=");
    base64_encode(&b, (struct str){(char *)key, 32});
    buf_cstr(&b);
}

static void scram_plus(void **state) {
    static struct server s;
    static const struct {
        const char *header, *binding;
        enum sasl_result want;
    } rows[] = {
        {"p=tls-exporter,,", "0123456789abcdef0123456789abcdef", SASL_CHALLENGE},
        {"p=tls-exporter,,", "0123456789abcdef0123456789abcdeX",
         SASL_BAD}, /* somebody in between has another channel */
        {"p=tls-exporter,,", "", SASL_BAD},
        {"p=tls-exporter,,", "fedcba9876543210fedcba9876543210", SASL_BAD},
        {"p=tls-server-end-point,,", "fedcba9876543210fedcba9876543210", SASL_CHALLENGE},
        {"p=tls-server-end-point,,", "0123456789abcdef0123456789abcdef", SASL_BAD},
    };
    (void)state;
    scram_server(&s);
    s.facts.exporter = STR("0123456789abcdef0123456789abcdef");
    s.facts.end_point = STR("fedcba9876543210fedcba9876543210");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char first[200], final[600], bind[200];
        snprintf(first, sizeof first, "%sn=user,r=abc", rows[i].header);
        snprintf(bind, sizeof bind, "%s%s", rows[i].header, rows[i].binding);
        sasl_begin(&s.sasl, SASL_SCRAM_PLUS, &s.facts);
        assert_int_equal(says(&s, first), SASL_CHALLENGE);
        client_final(&s, "n=user,r=abc", str_of(bind), final, sizeof final);
        enum sasl_result r = says(&s, final);
        if (r != rows[i].want) fail_msg("row %zu: %d (%s)", i, (int)r, s.sasl.why);
    }
}

/* The vectors sasl/scram.json of POSTERN_SHARED, or beside the tree, where they are there: the exchanges
 * of SHA-256, octet for octet. */
static const char *text_of(const json_t *j, const char *name) {
    const char *s = json_string_value(json_object_get(j, name));
    return s ? s : "";
}

static void vectors(void **state) {
    static struct server s;
    const char *shared = getenv("POSTERN_SHARED"), *srcdir = getenv("srcdir");
    char path[500];
    size_t i, played = 0;
    json_t *row;
    (void)state;
    snprintf(path, sizeof path, "%s%s/vectors/sasl/scram.json",
             shared   ? shared
             : srcdir ? srcdir
                      : ".",
             shared ? "" : "/../shared");
    json_t *all = json_load_file(path, 0, NULL);
    if (!all) return; /* a stranger has none: no test, and no failure either */
    json_array_foreach(json_object_get(all, "good"), i, row) {
        char user[100];
        if (strcmp(text_of(row, "mechanism"), "SCRAM-SHA-256") != 0) continue;
        const char *server_first = text_of(row, "server_first"), *salt = strstr(server_first, ",s=") + 3;
        const char *iterations = strstr(salt, ",i="), *client_first = text_of(row, "client_first");
        const char *client_nonce = strstr(client_first, ",r=") + 3;
        size_t client_n = strlen(client_nonce);
        char salt_mem[100];
        struct buf b = BUF(salt_mem);
        uint64_t rounds;
        assert_true(base64_decode(&b, (struct str){salt, (size_t)(iterations - salt)}));
        assert_true(str_to_u64(str_of(iterations + 3), UINT32_MAX, &rounds));
        assert_true(
            scram_derive(str_of(text_of(row, "password")), buf_str(&b), (uint32_t)rounds, &s.verifier));
        snprintf(user, sizeof user, "%s", text_of(row, "user"));
        s.user = user;
        s.facts.nonce =
            (struct str){server_first + 2 + client_n, (size_t)(salt - 3 - server_first) - 2 - client_n};
        sasl_begin(&s.sasl, SASL_SCRAM, &s.facts);
        assert_int_equal(says(&s, client_first), SASL_CHALLENGE);
        assert_string_equal(buf_cstr(&s.challenge), server_first);
        assert_int_equal(says(&s, text_of(row, "client_final")), SASL_CHALLENGE);
        assert_string_equal(buf_cstr(&s.challenge), text_of(row, "server_final"));
        played++;
    }
    json_array_foreach(json_object_get(all, "bad"), i, row) {
        scram_server(&s);
        s.facts.plus_offered = true;
        sasl_begin(&s.sasl, SASL_SCRAM, &s.facts);
        bool second = strcmp(text_of(row, "step"), "client_final") == 0;
        if (second) assert_int_equal(says(&s, FIRST), SASL_CHALLENGE);
        enum sasl_result r = says(&s, text_of(row, "message"));
        if (r != SASL_BAD && r != SASL_MALFORMED) fail_msg("%s was taken", text_of(row, "name"));
        played++;
    }
    json_array_foreach(json_object_get(all, "plain"), i, row) {
        char mem[200];
        struct buf b = BUF(mem);
        bool valid = !json_is_false(json_object_get(row, "valid"));
        bool decoded = base64_decode(&b, str_of(text_of(row, "message_base64")));
        sasl_begin(&s.sasl, SASL_PLAIN, &s.facts);
        s.challenge = BUF(s.text);
        enum sasl_result r = decoded ? sasl_step(&s.sasl, true, buf_str(&b), &s.challenge) : SASL_MALFORMED;
        bool acts_as_other = *text_of(row, "authzid") != '\0';
        assert_int_equal(r, !valid ? SASL_MALFORMED : acts_as_other ? SASL_BAD : SASL_PASSWORD);
        if (r == SASL_PASSWORD) assert_true(str_eq(s.sasl.secret, str_of(text_of(row, "password"))));
        played++;
    }
    assert_true(played >= 15);
    json_decref(all);
}

/* ---- Tokens ---- */

static void url64(struct buf *out, struct str octets) {
    size_t from = out->n;
    base64_encode(out, octets);
    while (out->n > from && out->p[out->n - 1] == '=') out->n--;
    for (size_t i = from; i < out->n; i++)
        out->p[i] = out->p[i] == '+' ? '-' : out->p[i] == '/' ? '_' : out->p[i];
}

static void make_token(EVP_PKEY *key, const char *head, const char *body, char *out, size_t size) {
    struct buf b = buf_on(out, size);
    unsigned char sig[512];
    size_t n = sizeof sig;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    url64(&b, str_of(head));
    buf_addc(&b, '.');
    url64(&b, str_of(body));
    bool ed = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519;
    assert_true(EVP_DigestSignInit(ctx, NULL, ed ? NULL : EVP_sha256(), NULL, key) == 1);
    assert_true(EVP_DigestSign(ctx, sig, &n, (unsigned char *)b.p, b.n) == 1);
    EVP_MD_CTX_free(ctx);
    buf_addc(&b, '.');
    url64(&b, (struct str){(char *)sig, n});
    buf_cstr(&b);
}

static size_t pem_of(EVP_PKEY *key, char *out, size_t size) {
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PUBKEY(bio, key);
    int n = BIO_read(bio, out, (int)size);
    BIO_free(bio);
    return (size_t)n;
}

static void tokens(void **state) {
    static const struct {
        const char *head, *body;
        bool good;
    } rows[] = {
        {"{\"alg\":\"EdDSA\"}", "{\"iss\":\"i\",\"aud\":\"mail\",\"exp\":2000,\"email\":\"alice@x.test\"}",
         true},
        {"{\"alg\":\"EdDSA\"}",
         "{\"iss\":\"i\",\"aud\":[\"web\",\"mail\"],\"exp\":2000.5,\"nbf\":900,\"email\":\"alice@x.test\"}",
         true},
        {"{\"alg\":\"EdDSA\"}", "{\"iss\":\"i\",\"aud\":\"mail\",\"exp\":900,\"email\":\"alice@x.test\"}",
         false},
        {"{\"alg\":\"EdDSA\"}", "{\"iss\":\"i\",\"aud\":\"mail\",\"email\":\"alice@x.test\"}", false},
        {"{\"alg\":\"EdDSA\"}",
         "{\"iss\":\"i\",\"aud\":\"mail\",\"exp\":\"never\",\"email\":\"alice@x.test\"}", false},
        {"{\"alg\":\"EdDSA\"}",
         "{\"iss\":\"i\",\"aud\":\"mail\",\"exp\":2000,\"nbf\":1500,\"email\":\"alice@x.test\"}", false},
        {"{\"alg\":\"EdDSA\"}", "{\"iss\":\"j\",\"aud\":\"mail\",\"exp\":2000,\"email\":\"alice@x.test\"}",
         false},
        {"{\"alg\":\"EdDSA\"}", "{\"iss\":\"i\",\"aud\":\"web\",\"exp\":2000,\"email\":\"alice@x.test\"}",
         false},
        {"{\"alg\":\"EdDSA\"}", "{\"iss\":\"i\",\"aud\":\"mail\",\"exp\":2000}", false},
        {"{\"alg\":\"EdDSA\"}", "{\"iss\":\"i\",\"aud\":\"mail\",\"exp\":2000,\"email\":\"a\\u0000b\"}",
         false},
        {"{\"alg\":\"EdDSA\"}",
         "{\"iss\":\"i\",\"aud\":\"mail\",\"exp\":2000,\"email\":\"a\",\"email\":\"b\"}", false},
        {"{\"alg\":\"EdDSA\"}", "not json", false},
        {"{\"alg\":\"none\"}", "{\"iss\":\"i\",\"aud\":\"mail\",\"exp\":2000,\"email\":\"alice@x.test\"}",
         false},
        {"{\"alg\":\"HS256\"}", "{\"iss\":\"i\",\"aud\":\"mail\",\"exp\":2000,\"email\":\"alice@x.test\"}",
         false},
        {"{\"alg\":\"EdDSA\",\"crit\":[\"x\"]}",
         "{\"iss\":\"i\",\"aud\":\"mail\",\"exp\":2000,\"email\":\"alice@x.test\"}", false},
    };
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"),
             *other = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    char pem[1000], token[2000], name[LOGIN_MAX + 1];
    const char *why = "";
    (void)state;
    struct jwt_rules *r =
        jwt_rules_new((struct str){pem, pem_of(key, pem, sizeof pem)}, "i", "mail", "email", &why);
    assert_non_null(r);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = BUF(name);
        make_token(key, rows[i].head, rows[i].body, token, sizeof token);
        if (jwt_check(r, str_of(token), 1000, &b, &why) != rows[i].good) fail_msg("row %zu: %s", i, why);
        if (rows[i].good) assert_string_equal(buf_cstr(&b), "alice@x.test");
    }
    struct buf b = BUF(name);
    make_token(other, rows[0].head, rows[0].body, token, sizeof token); /* of a stranger's key */
    assert_false(jwt_check(r, str_of(token), 1000, &b, &why));
    make_token(key, rows[0].head, rows[0].body, token, sizeof token);
    token[strlen(token) - 10] ^= 1;
    assert_false(jwt_check(r, str_of(token), 1000, &b, &why));
    *strrchr(token, '.') = '\0'; /* without a signature */
    assert_false(jwt_check(r, str_of(token), 1000, &b, &why));
    jwt_rules_free(r);
    assert_null(jwt_rules_new(STR("no key"), "", "", "email", &why));
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* RSA as OpenSSL signs it. P-256: in a token R and S stand side by side. */
static void token_kinds(void **state) {
    static const char body[] = "{\"exp\":2000,\"sub\":\"bob\"}";
    char pem[1000], token[2000], name[LOGIN_MAX + 1];
    const char *why = "";
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048),
             *weak = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
    (void)state;
    struct buf b = BUF(name);
    struct jwt_rules *r = jwt_rules_new((struct str){pem, pem_of(rsa, pem, sizeof pem)}, "", "", "sub", &why);
    make_token(rsa, "{\"alg\":\"RS256\"}", body, token, sizeof token);
    assert_true(jwt_check(r, str_of(token), 1000, &b, &why));
    make_token(rsa, "{\"alg\":\"EdDSA\"}", body, token, sizeof token);
    assert_false(jwt_check(r, str_of(token), 1000, &b, &why));
    jwt_rules_free(r);
    assert_null(jwt_rules_new((struct str){pem, pem_of(weak, pem, sizeof pem)}, "", "", "sub", &why));
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(weak);
    /* RFC 7515 A.3: ES256 */
    static const char es256[] =
        "-----BEGIN PUBLIC "
        "KEY-----"
        "\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n6e8Tus9uPHvRVEXH8UTNG72bfocs3+"
        "257rn0s2ldbqkLJK2KRiMohYjlrQ==\n-----END PUBLIC KEY-----\n";
    static const char rfc[] =
        "eyJhbGciOiJFUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    b = BUF(name);
    r = jwt_rules_new(STR(es256), "joe", "", "iss", &why);
    assert_non_null(r);
    if (!jwt_check(r, STR(rfc), 1300819000, &b, &why)) fail_msg("%s", why);
    assert_string_equal(buf_cstr(&b), "joe");
    jwt_rules_free(r);
}

static void bearer(void **state) {
    static struct server s;
    static const struct {
        const char *in;
        enum sasl_mech mech;
        enum sasl_result want;
        const char *login, *token;
    } rows[] = {
        {"n,a=user@example.com,\1host=server.example.com\1port=587\1auth=Bearer vF9dft4qmT\1\1",
         SASL_OAUTHBEARER, SASL_TOKEN, "user@example.com", "vF9dft4qmT"},
        {"n,,\1auth=Bearer x\1\1", SASL_OAUTHBEARER, SASL_TOKEN, "", "x"},
        {"user=me\1auth=Bearer x.y\1\1", SASL_XOAUTH2, SASL_TOKEN, "me", "x.y"},
        {"n,,\1auth=Bearer \1\1", SASL_OAUTHBEARER, SASL_MALFORMED, NULL, NULL},
        {"n,,\1auth=Basic x\1\1", SASL_OAUTHBEARER, SASL_MALFORMED, NULL, NULL},
        {"n,,\1auth=Bearer x\1", SASL_OAUTHBEARER, SASL_TOKEN, "", "x"},
        {"n,,\1auth=Bearer x\1\1more", SASL_OAUTHBEARER, SASL_MALFORMED, NULL, NULL},
        {"p=tls-exporter,,\1auth=Bearer x\1\1", SASL_OAUTHBEARER, SASL_MALFORMED, NULL, NULL},
        {"auth=Bearer x\1\1", SASL_OAUTHBEARER, SASL_MALFORMED, NULL, NULL},
        {"\1", SASL_OAUTHBEARER, SASL_MALFORMED, NULL, NULL},
        {"user=\1auth=Bearer x\1\1", SASL_XOAUTH2, SASL_MALFORMED, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sasl_begin(&s.sasl, rows[i].mech, &s.facts);
        s.challenge = BUF(s.text);
        enum sasl_result r = sasl_step(&s.sasl, true, str_of(rows[i].in), &s.challenge);
        if (r != rows[i].want) fail_msg("row %zu: %d (%s)", i, (int)r, s.sasl.why);
        if (r != SASL_TOKEN) continue;
        assert_true(str_eq(s.sasl.login, str_of(rows[i].login)) &&
                    str_eq(s.sasl.secret, str_of(rows[i].token)));
        assert_int_equal(sasl_verdict(&s.sasl, false, &s.challenge), SASL_CHALLENGE); /* RFC 7628 3.2.2 */
        assert_string_equal(buf_cstr(&s.challenge), "{\"status\":\"invalid_token\"}");
        assert_int_equal(says(&s, "\1"), SASL_BAD);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(plain),
                                       cmocka_unit_test(login),
                                       cmocka_unit_test(external),
                                       cmocka_unit_test(scram),
                                       cmocka_unit_test(scram_wrong_first),
                                       cmocka_unit_test(scram_wrong_final),
                                       cmocka_unit_test(scram_plus),
                                       cmocka_unit_test(vectors),
                                       cmocka_unit_test(tokens),
                                       cmocka_unit_test(token_kinds),
                                       cmocka_unit_test(bearer)};
    return cmocka_run_group_tests_name("auth/sasl", tests, NULL, NULL);
}
