/* pair.h: a chain of certificates and the private key that belongs to it. */
#ifndef POSTERN_KEYS_PAIR_H
#define POSTERN_KEYS_PAIR_H

#include "common/sigscheme.h"
#include "common/str.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

enum { PAIR_CHAIN_MAX = 10, PAIR_DER_MAX = 16384, PAIR_RSA_MIN = 2048, PAIR_RSA_MAX = 8192 };

struct pair {
    uint64_t id; /* of the key: what smtpd calls it; follows from the public key alone */
    EVP_PKEY *key;
    enum sig_type type;
    struct str chain[PAIR_CHAIN_MAX]; /* DER, malloc'd; the own certificate first */
    size_t chain_n;
    char what[40];   /* "RSA 2048" */
    char names[300]; /* that the certificate is for, as many as fit */
    char until[40];
    bool expired;
};

/* From the texts of two PEM files. NULL: why says what is wrong and what to do. */
struct pair *pair_parse(struct str chain, struct str key, struct buf *why);
void pair_free(struct pair *p);
/* All certificates of a PEM file as DER (malloc'd) into v; 0: none, why says so. */
size_t pair_certificates(struct str pem, struct str *v, size_t max, struct buf *why);

/* The signature of content with the key of p; its octets, 0 when it is refused: a scheme that does not fit the key, or
 * content that is none of a TLS server. */
size_t pair_sign(const struct pair *p, uint16_t scheme, struct str content, unsigned char *out, size_t max);

#endif
