/* crc32c.h: the checksum of the spool (CRC-32C, RFC 3720 B.4): finds what is torn, stale or rotten, no
 * attacker. */
#ifndef POSTERN_QUEUE_CRC32C_H
#define POSTERN_QUEUE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from crc (0 at the beginning): crc32c(crc32c(0, a), b) is the checksum of a and b joined. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);

#endif
