/* content.h: what a TLS server has to sign, and nothing else.
 *
 * Whoever owns smtpd may ask for signatures. So that all he gets are handshakes of TLS, and not a signed mail, token
 * or certificate of this host, the whole content comes here, not its digest, and its form is checked. */
#ifndef POSTERN_KEYS_CONTENT_H
#define POSTERN_KEYS_CONTENT_H

#include "common/str.h"

enum content_kind {
    CONTENT_OTHER,
    CONTENT_TLS13, /* CertificateVerify of a server (RFC 8446 4.4.3) */
    CONTENT_TLS12, /* ServerKeyExchange with ECDHE (RFC 8422 5.4) */
};

enum content_kind content_kind(struct str content);

#endif
