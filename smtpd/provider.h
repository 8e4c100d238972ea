/* provider.h: an OpenSSL provider whose private keys are elsewhere.
 *
 * A key here is a public key and a number; what is to be signed goes, whole, to a function of the program, which asks
 * keys. So no private key is ever in this process, and libssl needs to know nothing of that. */
#ifndef POSTERN_SMTPD_PROVIDER_H
#define POSTERN_SMTPD_PROVIDER_H

#include "common/sigscheme.h"
#include "common/str.h"

#include <openssl/evp.h>

/* Signs content; *n is the room in out, then the octets of the signature. May take its time (ASYNC_pause_job). */
typedef bool provider_signer(uint64_t key, uint16_t scheme, struct str content, unsigned char *out,
                             size_t *n);

bool provider_begin(provider_signer *signer); /* once, before any key */
/* The key pair of which this is the public half, and whose private half is called number. NULL: not RSA, EC, Ed25519. */
EVP_PKEY *provider_key(EVP_PKEY *public, uint64_t number);

#endif
