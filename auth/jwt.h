/* jwt.h: bearer tokens that can be checked here: JSON Web Tokens (RFC 7519) signed with a key whose public
 * half is configured. Pure: key and time come in. RS256, ES256 (RFC 7518) and EdDSA with Ed25519 (RFC
 * 8037); the key says which, never the token, so "none" and a public key taken for a secret (RFC 8725 3.1)
 * have no way in. */
#ifndef POSTERN_AUTH_JWT_H
#define POSTERN_AUTH_JWT_H

#include "auth/verifier.h"

enum { JWT_KEYS_MAX = 8 };

struct jwt_rules;

/* pem: one or more PUBLIC KEY blocks. issuer, audience: what iss and aud must say, "" for anything. claim:
 * which claim is the login. NULL: *why says what is wrong. */
struct jwt_rules *jwt_rules_new(struct str pem, const char *issuer, const char *audience, const char *claim,
                                const char **why);
void jwt_rules_free(struct jwt_rules *r);
/* now: seconds since 1970. True: login is what the claim says, appended. False: *why is for the log. */
bool jwt_check(const struct jwt_rules *r, struct str token, int64_t now, struct buf *login, const char **why);

#endif
