/* smtpcaps.h: what another host said in its EHLO reply (RFC 5321 4.1.1.1), as bits.
 *
 * deliver-smtp makes them (learned.caps), dispatch remembers them in the host table and hands them back with each job
 * (job_host.known). CAP_EHLO tells "it took EHLO and offered nothing" from "nothing is known". The numbers are part
 * of the format of hosts.db: never give a bit another meaning. */
#ifndef POSTERN_COMMON_SMTPCAPS_H
#define POSTERN_COMMON_SMTPCAPS_H

/* X(name, keyword, bit) */
#define SMTP_CAPS(X)                                                         \
    X(EHLO, "", 0)                               /* it took EHLO at all */   \
    X(PIPELINING, "PIPELINING", 1)               /* RFC 2920 */              \
    X(SIZE, "SIZE", 2)                           /* RFC 1870 */              \
    X(8BITMIME, "8BITMIME", 3)                   /* RFC 6152 */              \
    X(ENHANCEDSTATUSCODES, "ENHANCEDSTATUSCODES", 4) /* RFC 2034 */          \
    X(STARTTLS, "STARTTLS", 5)                   /* RFC 3207 */              \
    X(CHUNKING, "CHUNKING", 6)                   /* RFC 3030 */              \
    X(SMTPUTF8, "SMTPUTF8", 7)                   /* RFC 6531 */              \
    X(DSN, "DSN", 8)                             /* RFC 3461 */              \
    X(REQUIRETLS, "REQUIRETLS", 9)               /* RFC 8689 */              \
    X(LIMITS, "LIMITS", 10)                      /* RFC 9422 */

#define CAP_BIT(name, keyword, bit) CAP_##name = 1 << (bit),
enum smtp_cap { SMTP_CAPS(CAP_BIT) };
#undef CAP_BIT

#endif
