/* delivery.h: one message into one mailbox, with the rights that the process has. Blocking system calls: only
 * a worker, which serves one recipient, may wait for a lock or a disk.
 *
 * The status says what happened; its text lies in the delivery. ok: the message, and the directory entry that
 * leads to it, were synced. Delivering the same message (id, index) to the same mailbox again is harmless. */
#ifndef POSTERN_DELIVER_LOCAL_DELIVERY_H
#define POSTERN_DELIVER_LOCAL_DELIVERY_H

#include "common/qid.h"
#include "common/status.h"
#include "deliver-local/format.h"

enum { DELIVERY_PATH_MAX = 1024 };

struct delivery {
    struct qid id;
    uint32_t index; /* of the first recipient: part of the name of a Maildir file */
    struct format_message message;
    int data;         /* read with pread; stays the caller's */
    uint64_t size;    /* octets of the data, with or without the prefix */
    bool maybe_again; /* the message is not fresh: look more thoroughly whether it is there already */
    int64_t lock_ms;  /* how long to wait for the locks of an mbox */
    char text[512];   /* of the status */
};

/* path: of the Maildir, or of the mbox file; absolute. */
struct status maildir_deliver(struct delivery *d, const char *path);
struct status mbox_deliver(struct delivery *d, const char *path);
/* By the text of route_local: "maildir:PATH" or "mbox:PATH". */
struct status delivery_run(struct delivery *d, struct str mailbox);

/* For the two: */
/* LATER with error (errno, or 0) in the text; the code and detail follow from it: 452 4.2.2 mailbox quota,
 * 452 4.3.1 disk full, 451 4.3.0 others. */
struct status delivery_trouble(struct delivery *d, int error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
struct status delivery_ok(struct delivery *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Reads the data to its end through f, between format_start and format_end. 0, or errno: EBADMSG when the
 * data is shorter or longer than was said. A failure of f shows at format_end. */
int delivery_copy(const struct delivery *d, struct format *f);

#endif
