/* verifier.h: what is kept instead of a password, and how a password is compared with it.
 *
 * Two kinds: a hash of crypt(3) (yescrypt and what else libcrypt knows), which costs time and memory to
 * guess; and a SCRAM verifier (RFC 5802 3, RFC 7677), with which a client can prove that it knows the
 * password without sending it. Either serves PLAIN and LOGIN, only the second SCRAM. Pure, but for the
 * random salt of a new one.
 *
 * Text of a SCRAM verifier: SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, base64, as PostgreSQL
 * writes it. */
#ifndef POSTERN_AUTH_VERIFIER_H
#define POSTERN_AUTH_VERIFIER_H

#include "common/str.h"

enum {
    LOGIN_MAX = 255,
    PASSWORD_MAX = 511, /* what crypt(3) takes */
    SCRAM_KEY = 32,
    SCRAM_SALT_MAX = 64,
    SCRAM_ITERATIONS_MIN = 4096, /* RFC 7677 4 */
    SCRAM_ITERATIONS_MAX = 10000000,
    SCRAM_ITERATIONS = 50000, /* of new ones; widespread clients refuse more than 65536 */
    CRYPT_MAX = 384,
};

struct scram_verifier {
    uint32_t iterations;
    uint8_t salt_n, salt[SCRAM_SALT_MAX];
    uint8_t stored[SCRAM_KEY], server[SCRAM_KEY];
};

/* Of one login. An empty one lets nobody in. */
struct verifier {
    bool has_scram;
    struct scram_verifier scram;
    char crypt[CRYPT_MAX]; /* "" when there is none */
};

/* A login: 1 to LOGIN_MAX octets of UTF-8 without controls. A password: likewise, to PASSWORD_MAX. In the
 * engines and the table both are in the form of SASLprep (saslprep.h). */
bool login_is_sound(struct str s);
bool password_is_sound(struct str s);

/* Adds one verifier in its text form to v. False: *why says what is wrong with it. */
bool verifier_add(struct verifier *v, struct str text, const char **why);
/* Slow on purpose. The time does not depend on the password; by which kind it is done, and with how much
 * work, depends on v alone. */
bool verifier_check(const struct verifier *v, struct str password);
/* A verifier that fits nobody, of the same work as like: for logins that do not exist. Its SCRAM salt
 * follows from secret and login, so that asking twice tells nothing. */
void verifier_dummy(struct verifier *v, const struct verifier *like, struct str secret, struct str login);

/* New ones, in text form, with a fresh salt. False: no random octets. */
bool verifier_make_crypt(struct str password, struct buf *out);
bool verifier_make_scram(struct str password, uint32_t iterations, struct buf *out);
bool scram_derive(struct str password, struct str salt, uint32_t iterations, struct scram_verifier *v);
void scram_format(struct buf *b, const struct scram_verifier *v);

/* HMAC-SHA-256 and SHA-256. */
void scram_hmac(const uint8_t *key, size_t n, struct str data, uint8_t out[SCRAM_KEY]);
void scram_hash(struct str data, uint8_t out[SCRAM_KEY]);
bool octets_equal(const void *a, const void *b, size_t n); /* in a time that depends on n alone */

#endif
