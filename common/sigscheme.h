/* sigscheme.h: signature schemes of TLS, made from sigscheme.def. */
#ifndef POSTERN_COMMON_SIGSCHEME_H
#define POSTERN_COMMON_SIGSCHEME_H

#include <stddef.h>
#include <stdint.h>

enum sig_type { SIG_RSA, SIG_EC, SIG_ED25519, SIG_TYPES };
enum sig_padding { SIG_NONE, SIG_PKCS1, SIG_PSS };

struct sig_scheme {
    uint16_t number;
    const char *name;
    enum sig_type type;
    const char *digest; /* as OpenSSL calls it; NULL: none */
    enum sig_padding padding;
};

const struct sig_scheme *sig_scheme_numbered(uint16_t number); /* NULL: none */
const struct sig_scheme *sig_scheme_of(enum sig_type type, const char *digest, enum sig_padding padding);
const char *sig_type_name(enum sig_type type); /* as OpenSSL calls the kind of key */

#endif
