/* delivery.h: messages into one mailbox, with the rights that the process has. Blocking system calls: only a
 * worker, which serves one recipient, may wait for a lock or a disk.
 *
 * Storing and syncing are two steps: what mailbox_store has put into the mailbox is there for readers, and
 * survives a power cut when mailbox_sync has said 0 after it. A sync that failed is never believed afterwards:
 * a message that is delivered again (the same id) and found in the mailbox is written anew in its
 * place, so the next sync speaks of what was written since. Delivering again is harmless. */
#ifndef POSTERN_DELIVER_LOCAL_DELIVERY_H
#define POSTERN_DELIVER_LOCAL_DELIVERY_H

#include "common/qid.h"
#include "common/status.h"
#include "deliver-local/format.h"

enum { DELIVERY_PATH_MAX = 1024 };

struct delivery {
    struct qid id;
    struct format_message message;
    int data;         /* read with pread; stays the caller's */
    uint64_t size;    /* octets of the data, with or without the prefix */
    bool maybe_again; /* the message is not fresh: look more thoroughly whether it is there already */
    int64_t lock_ms;  /* how long to wait for the locks of an mbox */
    /* Asked after a lock was waited for; true: nobody wants it any more, and another may do it now. May be NULL. */
    bool (*unwanted)(void);
    char text[512]; /* of the status */
};

struct mailbox; /* an open one */

/* By the text of route_local: "maildir:PATH" or "mbox:PATH". NULL when it is neither. Opens nothing yet. */
struct mailbox *mailbox_new(struct str setting);
bool mailbox_is(const struct mailbox *m, struct str setting);
/* ok: readers see it. */
struct status mailbox_store(struct mailbox *m, struct delivery *d);
void mailbox_rest(struct mailbox *m); /* the end of a round: locks are given back */
/* 0: everything stored survives a power cut. Else errno, and all that was stored since the last 0 is to be
 * delivered again. */
int mailbox_sync(struct mailbox *m);
void mailbox_free(struct mailbox *m);
const char *mailbox_path(const struct mailbox *m);

/* For the two kinds: */
struct mailbox_kind {
    const char *prefix;
    void *(*open)(const char *path); /* memory only; path outlives it */
    struct status (*store)(void *box, struct delivery *d);
    void (*rest)(void *box); /* or NULL */
    int (*sync)(void *box);
    void (*close)(void *box);
};
extern const struct mailbox_kind mailbox_maildir, mailbox_mbox;

/* LATER with error (errno, or 0) in the text; the code and detail follow from it: 452 4.2.2 mailbox quota,
 * 452 4.3.1 disk full, 451 4.3.0 others. */
struct status delivery_trouble(struct delivery *d, int error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
struct status delivery_ok(struct delivery *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Reads the data to its end through f, between format_start and format_end. 0, or errno: EBADMSG when the
 * data is shorter or longer than was said. A failure of f shows at format_end. */
int delivery_copy(const struct delivery *d, struct format *f);

#endif
