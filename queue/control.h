/* control.h: the control file <id>.c: what is known of one message, and how it went on.
 *
 * The file is a run of records, each
 *
 *     TYPE SP LENGTH SP CRC SP PAYLOAD LF
 *
 * TYPE is one letter; LENGTH the octets of PAYLOAD in decimal; CRC eight hex digits: the CRC-32C of "TYPE
 * SP LENGTH SP PAYLOAD", gone on from the CRC of the record before it (of the queue id's text for the
 * first). So a record counts only in its own file, at its own place, behind all that went before: neither
 * a torn write nor an old block of another file can pass for one. Text from outside stands only as
 * "N:octets," with its length in front, so no octet of it can forge a record or a field. Numbers are
 * decimal; times are milliseconds since 1970.
 *
 * The head, written once, in this order:
 *     V  version=1 id=ID
 *     E  arrival=MS body=N size=OCTETS crc=HEX8 rcpts=N about=ID|- sender=TEXT origin=TEXT [ret=N envid=TEXT [after=MS]]
 *        size and crc are those of the data file; ret and envid (RFC 3461) are left out when not given, and
 *        so is after: nothing is to be sent before that time (RFC 4865)
 *     H  the header fields that Postern adds, raw CRLF lines (left out when there are none)
 *     R  parent=- notify=N rcpt=TEXT orcpt=TEXT       one for each recipient, numbered from 0 in their order
 *     C  complete                                     the commit record: without it nothing was accepted
 * Then, appended as they come:
 *     M  index=N state=D|L|F attempts=N next=MS status=KIND CODE X.Y.Z REMOTE text=TEXT     (or state=S)
 *     S  parent=N notify=N rcpt=TEXT orcpt=TEXT       one more recipient, made from an earlier one
 *     O  op=hold|release|requeue|expire at=MS         an order of the administrator, for the whole message; one record,
 *                                                     so it is there or not. A hold rule puts one right behind C.
 *
 * Reading stops at the first record that is cut off or does not check. Behind C that is the torn tail of a
 * crash: what stands before it counts, and the next append goes over it. */
#ifndef POSTERN_QUEUE_CONTROL_H
#define POSTERN_QUEUE_CONTROL_H

#include "common/qid.h"
#include "common/status.h"

enum {
    CONTROL_VERSION = 1,
    CONTROL_ADDRESS_MAX = 400,
    CONTROL_ORCPT_MAX = 500,
    CONTROL_ENVID_MAX = 100,
    CONTROL_ORIGIN_MAX = 300,
    CONTROL_PREFIX_MAX = 8192,
    CONTROL_TEXT_MAX = 1000,
    CONTROL_RECORD_MAX = CONTROL_PREFIX_MAX + 64,                     /* the longest record, all told */
    CONTROL_MARK_MAX = CONTROL_TEXT_MAX + 256,                        /* the longest M */
    CONTROL_RCPT_MAX = CONTROL_ADDRESS_MAX + CONTROL_ORCPT_MAX + 128, /* the longest R or S */
    CONTROL_RCPTS_MAX = 1000000, /* recipients of one message, splits included */
    CONTROL_FILE_MAX = 512 * 1024 * 1024,
};
#define CONTROL_NO_PARENT 0xffffffffu

struct control_rcpt {
    struct str rcpt, orcpt;
    uint32_t parent;
    uint32_t attempts;
    int64_t next; /* not before this time */
    uint8_t notify;
    char state;           /* 'N' new, 'L' later, 'D' done, 'F' failed, 'S' split */
    struct status status; /* of the last attempt; code 0 when there was none */
};

struct control_mark {
    uint32_t index, attempts;
    int64_t next;
    char state; /* 'D' 'L' 'F' 'S' */
    struct status status;
};

struct control {
    struct qid id, about;
    int64_t arrival;
    uint64_t size; /* of the data file */
    uint32_t data_crc;
    uint8_t body; /* bits, as in wire.def */
    uint8_t ret;  /* RFC 3461: 0 not given, 1 FULL, 2 HDRS */
    int64_t after; /* not to be sent before; 0: at once */
    struct str sender, origin, prefix, envid;
    uint32_t rcpt_count;
    struct control_rcpt *rcpts;
    /* Of the reader: */
    uint32_t pending; /* recipients that are new or later */
    uint32_t marks;   /* M and S records: a message with one was accepted, since only dispatch makes them */
    int64_t next;     /* the earliest time at which a pending recipient is due; 0 when one is new */
    bool held;        /* kept back by an administrator, or by a hold rule as it came in (a writer may set it) */
    bool expired;     /* to be returned to its sender now */
    uint64_t end;     /* where the next record goes */
    uint32_t chain;   /* the CRC it goes on from */
    struct str tail;  /* the records behind "complete", up to end */
    bool torn_tail;   /* octets behind end that are no record */
};

enum control_op { CONTROL_HOLD, CONTROL_RELEASE, CONTROL_REQUEUE, CONTROL_EXPIRE, CONTROL_OPS };

/* An order of the administrator. REQUEUE: as if it had just come in, at this time; EXPIRE ends a hold. */
struct control_order {
    enum control_op op;
    int64_t at;
};

struct arena;

/* Writing: each appends whole records to b and moves *chain on. False: b is too small (a bug of the caller
 * or a text above its maximum); b is as it was then. The head: V, E, H, all R, C, and an O
 * when c->held. */
size_t control_head_bound(const struct control *c); /* octets that are enough for the head */
bool control_put_head(struct buf *b, const struct control *c, uint32_t *chain);
bool control_put_mark(struct buf *b, const struct control_mark *m, uint32_t *chain);
bool control_put_split(struct buf *b, const struct control_rcpt *r, uint32_t *chain);
bool control_put_order(struct buf *b, const struct control_order *o, uint32_t *chain);

enum control_verdict {
    CONTROL_COMPLETE, /* *out is filled in; texts are views into bytes */
    CONTROL_TORN,     /* the head is cut off, as a crash before the commit leaves it: never accepted */
    CONTROL_CORRUPT,  /* anything else; *why says what */
    CONTROL_NO_ROOM,  /* the arena is full */
};
/* Reads the bytes of the file of this id. Trusts nothing in it. rcpts comes from the arena. */
enum control_verdict control_read(struct str bytes, struct qid id, struct arena *a, struct control *out,
                                  const char **why);

#endif
