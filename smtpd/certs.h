/* certs.h: the certificates that keys has told, as contexts of OpenSSL: which of them a client sees. */
#ifndef POSTERN_SMTPD_CERTS_H
#define POSTERN_SMTPD_CERTS_H

#include "common/str.h"

#include <openssl/ssl.h>

struct certs; /* a set: counted, since handshakes go on with the set that they began with */

/* A set is filled, made ready, and then does not change. */
struct certs *certs_new(void);
/* The next certificate of the chain of this pair, the host's own first. False: it cannot be used. */
bool certs_add(struct certs *c, unsigned pair, uint64_t key, struct str der);
bool certs_add_authority(struct certs *c, struct str der);
/* setup is called with each context that is made. False: there is no certificate in it that works. */
bool certs_ready(struct certs *c, bool (*setup)(SSL_CTX *ctx));
struct certs *certs_ref(struct certs *c);
void certs_unref(struct certs *c); /* NULL is allowed */

SSL_CTX *certs_context(struct certs *c);                /* for a client that has not said a name */
SSL_CTX *certs_named(struct certs *c, struct str name); /* for one that has; never NULL */
bool certs_has_authorities(const struct certs *c);

#endif
