/* scram.h: SCRAM within the SASL engine (RFC 5802). */
#ifndef POSTERN_AUTH_SCRAM_H
#define POSTERN_AUTH_SCRAM_H

#include "auth/sasl.h"

enum sasl_result scram_step(struct sasl *s, struct str in, struct buf *challenge);
/* "" or "a=" saslname: as whom the client wants to act; kept in login, with which it must agree. */
bool scram_authzid(struct sasl *s, struct str text);

/* sasl.c */
enum sasl_result sasl_fails(struct sasl *s, enum sasl_result how, const char *why);
bool sasl_set_login(struct sasl *s, struct str login);

#endif
