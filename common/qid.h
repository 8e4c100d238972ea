/* qid.h: the queue id of a message. 96 bits: a lease which `queue` gives to one smtpd process (or to itself), never
 * given twice, and a serial which its holder counts up. So an id can be put into Received before queue has seen the
 * message, and queue can still tell who may use it. Written as 20 characters of [0-9A-HJKMNP-TV-Z]; the order of
 * the texts is the order of the leases. */
#ifndef POSTERN_COMMON_QID_H
#define POSTERN_COMMON_QID_H

#include "common/str.h"

enum { QID_LEN = 20 };

struct qid {
    uint64_t lease;  /* milliseconds since 1970 << 20 | 20 bits that make it unique */
    uint32_t serial;
};

struct qid_text {
    char c[QID_LEN + 1]; /* NUL-terminated */
};

struct qid_text qid_format(struct qid id);
bool qid_parse(struct str text, struct qid *out); /* exactly what qid_format writes, nothing else */
bool qid_eq(struct qid a, struct qid b);
int qid_cmp(struct qid a, struct qid b);
uint64_t qid_hash(struct qid id);
#define QID_NONE ((struct qid){0, 0})

#endif
