/* sasl.h: the server's side of SASL (RFC 4422) as pure code: what the client said and what is known of its
 * connection go in; the next challenge, or what must be checked, comes out. No system call, no clock, no
 * global.
 *
 * PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login), SCRAM-SHA-256 and -PLUS (RFC 5802, 7677) with the
 * channel bindings tls-exporter (RFC 9266) and tls-server-end-point (RFC 5929), EXTERNAL (RFC 4422 A),
 * OAUTHBEARER (RFC 7628), XOAUTH2.
 *
 * Ours and not libgsasl's: that one asks for passwords in callbacks which must answer at once, while ours
 * may take half a second in a thread or an answer from PAM; it tells unknown users and wrong passwords
 * apart by what it does; and its parsers are C strings. */
#ifndef POSTERN_AUTH_SASL_H
#define POSTERN_AUTH_SASL_H

#include "auth/verifier.h"

enum sasl_mech {
    SASL_NONE,
    SASL_PLAIN,
    SASL_LOGIN,
    SASL_SCRAM,
    SASL_SCRAM_PLUS,
    SASL_EXTERNAL,
    SASL_OAUTHBEARER,
    SASL_XOAUTH2,
    SASL_MECHS
};

enum {
    SASL_RESPONSE_MAX = 9216, /* octets of one response: 12288 in base64 (RFC 4954 4) */
    SASL_BINDING_MAX = 64,
    SASL_NONCE_MAX = 128, /* of the client */
    SASL_TEXT_MAX = 1024,
};

/* What is known of the connection. Views; sasl_new copies. */
struct sasl_facts {
    bool plus_offered;    /* the client was offered -PLUS: "y" is a downgrade (RFC 5802 6) */
    struct str identity;  /* of a verified client certificate, or empty */
    struct str exporter;  /* tls-exporter, or empty */
    struct str end_point; /* tls-server-end-point, or empty */
    struct str nonce;     /* ours: printable, without a comma, never used before */
};

enum sasl_result {
    SASL_CHALLENGE, /* send the challenge, come again with the response */
    SASL_PASSWORD,  /* check login and password, then call sasl_verdict */
    SASL_VERIFIER,  /* find the SCRAM verifier of login (a dummy when there is none), then sasl_verifier */
    SASL_TOKEN,     /* check the token of login (empty: the token says), then sasl_verdict */
    SASL_GOOD,      /* login is who it says */
    SASL_BAD,       /* it is not; why is for the log */
    SASL_MALFORMED, /* what came is not the mechanism's language; why is for the log */
};

struct sasl {
    enum sasl_mech mech;
    unsigned step;
    struct sasl_facts facts;
    const char *why;
    char login_mem[LOGIN_MAX + 1];
    struct str login;
    char secret_mem[SASL_RESPONSE_MAX]; /* password or token */
    struct str secret;
    char facts_mem[LOGIN_MAX + 2 * SASL_BINDING_MAX + SASL_NONCE_MAX];
    /* SCRAM */
    bool known;
    struct scram_verifier verifier;
    char bind_mem[SASL_TEXT_MAX], bare_mem[SASL_TEXT_MAX], first_mem[SASL_TEXT_MAX],
        nonce_mem[2 * SASL_NONCE_MAX];
    struct buf bind, bare, first,
        nonce; /* gs2 header and binding; client-first-bare; server-first; both nonces */
};

enum sasl_mech sasl_named(struct str name); /* SASL_NONE: not known */
const char *sasl_name(enum sasl_mech m);

void sasl_begin(struct sasl *s, enum sasl_mech mech, const struct sasl_facts *facts);
/* A response of the client, decoded. given false: there was no initial response. challenge is empty at
 * entry. */
enum sasl_result sasl_step(struct sasl *s, bool given, struct str response, struct buf *challenge);
enum sasl_result sasl_verifier(struct sasl *s, bool known, const struct scram_verifier *v,
                               struct buf *challenge);
enum sasl_result sasl_verdict(struct sasl *s, bool good, struct buf *challenge);
void sasl_end(struct sasl *s); /* wipes all of it */

#endif
