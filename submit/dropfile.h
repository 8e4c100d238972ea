/* dropfile.h: the form of a mail in the drop directory, where sendmail(1) leaves it while the suite is
 * down and pickup finds it. Pure.
 *
 *   magic     16 octets "postern-drop 01\n"
 *   envelope  u32 length, u64 checksum, then fields: u8 tag, u16 length, octets
 *               'S' sender (once; empty: the null reverse-path)   'R' recipient (once or more)
 *               'B' "7" or "8"   'N' 'T' 'V' NOTIFY, RET, ENVID of RFC 3461   'U' UID, decimal (only
 * pickup's word counts)
 *   data      u64 length, u64 checksum, octets (CRLF lines, not dot-stuffed)
 *
 * Numbers are little-endian. Nothing stands behind the data. The checksum (FNV-1a, 64 bits) finds torn
 * and cut files; it does not guard against their owner, who may write what he likes as himself. */
#ifndef POSTERN_SUBMIT_DROPFILE_H
#define POSTERN_SUBMIT_DROPFILE_H

#include "common/str.h"
#include "submit/rcptlist.h"

struct arena;

enum {
    DROPFILE_FRONT = 16 + 4 + 8, /* magic, length and checksum of the envelope */
    DROPFILE_MIDDLE = 8 + 8,     /* length and checksum of the data */
    DROPFILE_ENVELOPE_MAX = 16 * 1024 * 1024,
    DROPFILE_FIELD_MAX = 1000,
};

struct dropfile {
    struct str sender, notify, ret, envid;
    bool eight_bit;
    bool has_uid;
    uint32_t uid;
    struct str *rcpts;
    size_t rcpt_count;
    uint64_t data_size, data_sum;
};

uint64_t dropfile_sum(uint64_t sum, struct str s); /* start with DROPFILE_SUM */
#define DROPFILE_SUM UINT64_C(0xcbf29ce484222325)

/* All that stands before the data. False: it does not fit into b, or a field is too long. */
bool dropfile_write(struct buf *b, const struct dropfile *d);
/* The octets of the envelope that follow the first DROPFILE_FRONT octets; 0 and *why when they are not a
 * drop file's. */
size_t dropfile_front(struct str front, uint64_t *sum, const char **why);
/* Reads the envelope and the DROPFILE_MIDDLE octets behind it; texts are views into `s`, the list is in
 * the arena. Every address is parsed again: what comes out is a valid mailbox with a domain. */
bool dropfile_read(struct dropfile *d, struct str s, uint64_t sum, struct arena *a, const char **why);

/* Names: 't-' being written, 'm-' complete, 'w-' waiting for another attempt, 'bad-' set aside. */
enum { DROPFILE_RANDOM = 24 /* hexadecimal digits */, DROPFILE_NAME = 64 };

#endif
