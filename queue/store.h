/* store.h: the spool as a state machine: takes messages, makes them durable together, records how they go
 * on.
 *
 * Pure: the disk is a struct disk, the time is an argument, what happens is told through struct
 * store_user. Nothing here says how a message rests on the disk (store.c does), so that a journal can slip
 * in beneath.
 *
 * A message is a draft from store_begin to the commit after store_end; each draft gets exactly one answer,
 * unless it is aborted. After an answer of "ok" it is in hand: its states stay in memory until dispatch is
 * through with it, or store_let_go, or too many others came after it. That only saves reading them again:
 * a message that rests costs no memory at all, and can be marked, fetched and removed just the same. */
#ifndef POSTERN_QUEUE_STORE_H
#define POSTERN_QUEUE_STORE_H

#include "queue/control.h"
#include "queue/disk.h"
#include "queue/finding.h"
#include "queue/journal.h"

struct store;

/* What a test leaves out, to see that it is caught. */
enum store_skip {
    STORE_SKIP_ORPHANS = 1,    /* S1, S6: data without a control file is removed */
    STORE_SKIP_INCOMPLETE = 2, /* S2: so is what an interrupted commit left */
    STORE_SKIP_QUEUED = 4,     /* S3: a message without marks is kept and told */
    STORE_SKIP_MARKED = 8,     /* S4: so are the marks of one that has some */
    STORE_SKIP_ENDED = 16,     /* S5: a message all of whose recipients have ended is removed */
    STORE_SKIP_RECOVERED = 32, /* what recovery has read is made durable */
    STORE_SKIP_REREAD = 64,    /* what an earlier life wrote is written again with the first mark */
    STORE_SKIP_DISTRUST = 128, /* marks whose sync failed are written again */
    STORE_SKIP_TRASH = 256,    /* a refused message whose control file cannot be unlinked is none */
    STORE_SKIP_DOUBT = 512,    /* data that a failed sync may have taken are refused */
};

struct store_config {
    uint64_t free_space;   /* octets below which intake stops */
    uint64_t message_size; /* of the data of one message */
    uint64_t recipients;   /* of one message as it comes in */
    unsigned drafts;       /* at a time, 0: the most; each holds three descriptors with that of the shell */
    struct journal_config journal; /* no segments: the direct mode. As at store_new. */
    unsigned skip;                 /* tests only: enum store_skip */
};

struct store_user {
    void *ctx;
    /* The fate of a draft. ok: durable, batch messages in the same commit; c is complete. Else only c->id
     * is filled in. Everything c points to is valid during the call. The store may be called from here. */
    void (*answer)(void *ctx, void *owner, const struct control *c, const struct status *s, unsigned batch);
    void (*retired)(void *ctx, struct qid id, int64_t arrival);
    void (*aside)(void *ctx, struct str file, struct str why);
    void (*intake)(void *ctx, bool open, struct str why);
    void (*trouble)(void *ctx, struct str text);
};

/* config and user are copied; the disk stays the caller's. Call store_open before anything else. */
struct store *store_new(struct disk *d, const struct store_config *config, const struct store_user *user);
void store_free(struct store *s); /* drops drafts without an answer */
void store_configure(struct store *s, const struct store_config *config);
/* Replays the journal, and learns where the leases stand. 0 or an errno: try again later. */
int store_open(struct store *s);
/* The journal was replayed. Until then nothing is read, and marks get lost: when it cannot be, end the
 * program, so that dispatch keeps them for the next one. */
bool store_begun(const struct store *s);

/* A lease that was never given before, whatever the clock says. 0 or an errno. */
int store_lease(struct store *s, int64_t now_ms, uint64_t *lease);

/* ---- Intake -----------------------------------------------------------------------------------------------
 *
 * A draft that fails is answered at once and is gone; what still comes for its id finds nothing and is
 * ignored. All but store_begin return silently when there is no draft of that id. */

/* Takes id, about, arrival, body, sender and origin of head; the rest is ignored. owner comes back with
 * the answer. */
void store_begin(struct store *s, const struct control *head, void *owner);
void *store_owner(struct store *s, struct qid id); /* of a draft; NULL when there is none */
void store_rcpt(struct store *s, struct qid id, uint32_t index, const struct control_rcpt *r);
void store_data(struct store *s, struct qid id, struct str bytes); /* in order */
void store_end(struct store *s, struct qid id, uint32_t rcpts, uint64_t size, struct str prefix);
void store_refuse(struct store *s, struct qid id, const struct status *why); /* answers; why must not be ok */
void *store_abort(struct store *s, struct qid id); /* no answer; gives the owner back */
/* Aborts every draft whose owner matches; gone is called for each. */
void store_abort_all(struct store *s, bool (*match)(void *ctx, void *owner),
                     void (*gone)(void *ctx, void *owner), void *ctx);

/* DRAFTS: makes all ended drafts durable and answers them. MARKS: makes durable what has to be so within a second
 * (marks, retirements). */
enum { COMMIT_DRAFTS = 1, COMMIT_MARKS = 2, COMMIT_ALL = COMMIT_DRAFTS | COMMIT_MARKS };
void store_commit_some(struct store *s, unsigned what);
static inline void store_commit(struct store *s, bool all) {
    store_commit_some(s, all ? COMMIT_ALL : COMMIT_DRAFTS);
}
unsigned store_ended(const struct store *s); /* drafts that wait for a commit */
size_t
store_unsynced(const struct store *s); /* marks or retirements are not durable yet; about how many files
                                                   are held open for them */
unsigned store_drafts(const struct store *s);

/* Intake is stopped after an error of the disk, or without room. store_heal tries whether it can go on:
 * call it from time to time while this is true. store_check looks at the free space. */
bool store_stopped(const struct store *s);
/* It is stopped, the disk has room, and only a new start of the program helps (journal_stuck). */
bool store_stuck(const struct store *s);
bool store_failing(
    const struct store *s); /* and not because there is no room: marks cannot be synced either */
void store_heal(struct store *s);
void store_check(struct store *s);

/* Messages that stay longer than between two calls are written from the journal to their files: call it
 * every few seconds while store_wants_rest. True: there are more than that many files, call it again soon. */
bool store_rest(struct store *s, unsigned files);
/* Marks outlive a crash of this program from here on (that of the machine only after a commit): call it
 * when all that came in together was worked on. False: not now, the disk has trouble. */
bool store_push(struct store *s);
bool store_wants_rest(const struct store *s);
struct journal_counts store_journal_counts(const struct store *s);

/* ---- Messages that are durable ------------------------------------------------------------------------- */

struct store_message {
    struct control c;
    struct arena *arena;
    char *bytes;
};

/* Reads one message. 0; ENOENT: there is none (or only a draft); EBADMSG: it cannot be understood; else
 * the disk's errno. store_message_done in every case. */
int store_load(struct store *s, struct qid id, struct store_message *m);
void store_message_done(struct store_message *m);
/* For reading; the file is the caller's to close, and of the disk that was given to store_new. part is
 * 'd' or 'c'. */
int store_open_part(struct store *s, struct qid id, char part, int *file);

/* A loaded message was given to dispatch (again): keep its states in memory while it works. now_ms:
 * recipients due after it are not being worked on. */
void store_take(struct store *s, const struct control *c, int64_t now_ms);
void store_let_go(struct store *s,
                  struct qid id); /* nobody works on it: forget it until it is loaded again */
void store_let_go_all(struct store *s); /* dispatch is gone */
bool store_in_hand(const struct store *s, struct qid id);
bool store_is_draft(const struct store *s, struct qid id);
size_t store_hands(const struct store *s); /* messages in hand */

enum store_outcome {
    STORE_OK,
    STORE_RETIRED, /* that was the last recipient: the message is gone */
    STORE_RESTS,   /* all its recipients wait: it was let go */
    STORE_UNKNOWN, /* no such message */
    STORE_REFUSED, /* no such recipient, or it makes no sense */
};
/* A result for one recipient. A second final mark of the same recipient is ignored (OK). */
enum store_outcome store_mark(struct store *s, struct qid id, const struct control_mark *m);
/* A new recipient; r->parent names the one it was made from, index must be the next free one; or all is
 * as it stands on record already (OK). */
enum store_outcome store_split(struct store *s, struct qid id, uint32_t index, const struct control_rcpt *r);
/* All marks and splits so far were written: they are found again by whoever comes after a kill of this
 * program. (What a power cut may take is another matter: store_commit.) False while the disk has trouble. */
bool store_marks_kept(struct store *s);
/* Marks and splits of this message are durable, if there are any that no dispatch will say again. */
bool store_on_record(const struct store *s, struct qid id);
/* What was said of it and is not durable, no dispatch will say again. */
void store_orphan(struct store *s, struct qid id);
/* An order of the administrator for the whole message. OK or UNKNOWN. */
enum store_outcome store_order(struct store *s, struct qid id, const struct control_order *o);
/* A draft that has not ended: what came so far; and: it is to be held from the commit on. */
const struct control *store_draft(const struct store *s, struct qid id);
void store_hold_draft(struct store *s, struct qid id);
/* One recipient instead of those told, of which there must be *rcpts; that is 1 then, or 0 when it cannot be done. */
void store_redirect_draft(struct store *s, struct qid id, uint32_t *rcpts, struct str to);
enum store_outcome store_remove(struct store *s,
                                struct qid id); /* RETIRED (without telling retired) or UNKNOWN */

/* ---- Walking through the spool ------------------------------------------------------------------------- */

struct store_walk;
struct store_counts {
    uint64_t messages, incomplete, aside, orphans;
};

/* recover: also judges and cleans up what was there before this run: once, at start. A plain walk changes
 * nothing. Messages that are told: durable before the walk began (also those of this run), not retired;
 * those that come during it may be told or not. */
struct store_walk *store_walk_new(struct store *s, bool recover);
/* Judges all as recovery does, and the data of each message too, and tells what is wrong; changes nothing. */
struct store_walk *store_check_new(struct store *s, const struct findings *to);
void store_walk_tell(struct store_walk *w,
                     const struct findings *to); /* what recovery finds, too; it looks as closely then */
/* Looks at up to files more names; calls found for each message. False: that was all. found may use the
 * store. */
bool store_walk_step(struct store_walk *w, unsigned files, void (*found)(void *ctx, const struct control *c),
                     void *ctx);
const struct store_counts *store_walk_counts(const struct store_walk *w);
void store_walk_free(struct store_walk *w);

#endif
