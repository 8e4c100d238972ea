/* journal.h: a disk on top of a disk, on which making everything durable costs one sync.
 *
 * The store sees the same files, names and calls (disk.h). What it creates and appends in the message
 * folders is kept in memory and logged; sync_all writes the log of all that happened since the last one
 * as one batch into a preallocated segment, and syncs that file. What is unlinked soon never becomes a
 * file of the disk below; the rest is written there before its segment is used again. journal.c holds the
 * state table. Other directories go straight to the disk below.
 *
 * One difference from disk.h: a data file that has become large, and a control file that begins large,
 * lie on the disk below at once; sync must be called for these before sync_all. For others sync does
 * nothing. */
#ifndef POSTERN_QUEUE_JOURNAL_H
#define POSTERN_QUEUE_JOURNAL_H

#include "common/str.h"
#include "queue/disk.h"

enum { JOURNAL_SEGMENTS_MAX = 64, JOURNAL_BLOCK = 4096 };

/* What a test leaves out, to see that it is caught. */
enum journal_skip {
    JOURNAL_SKIP_CHECKSUM = 1,
    JOURNAL_SKIP_GENERATION = 2, /* and the tail: each alone tells old records from new ones */
    JOURNAL_SKIP_CREATE = 4,     /* replay of these records */
    JOURNAL_SKIP_WRITE = 8,
    JOURNAL_SKIP_UNLINK = 16,
    JOURNAL_SKIP_FORGET = 32,
    JOURNAL_SKIP_REST = 64,   /* a segment is used again though its messages were not written */
    JOURNAL_SKIP_AGAIN = 512, /* the last batches are not written again at a start */
    JOURNAL_SKIP_MOVE = 1024, /* on a full disk what is alive is not moved out of the oldest segment */
    JOURNAL_SKIP_CLAIM = 256, /* a segment is used again before anything durable says that it may be */
    JOURNAL_SKIP_REDO = 128,  /* after a failed sync of the disk below, changes are not made again */
};

struct journal_config {
    unsigned segments; /* at most that many, and at least 3; 0: no journal, the files themselves are synced */
    uint64_t segment_size; /* octets; a multiple of JOURNAL_BLOCK, at least 4 of them */
    size_t large;          /* octets; at most a quarter of a segment */
    size_t changes; /* of files below, that wait for a sync together; 0: any number until they come to rest */
    uint64_t secret; /* random, and another each time */
    unsigned skip;   /* tests only */
};

struct journal_user {
    void *ctx;
    void (*aside)(void *ctx, struct str file, struct str why);
    void (*trouble)(void *ctx, struct str text);
};

struct journal_counts {
    uint64_t batches, octets; /* written */
    uint64_t rested;          /* files written to the disk below */
    uint64_t rests;           /* how often */
    uint64_t replayed;        /* batches, at open */
};

/* below stays the caller's. config and user are copied. */
struct disk *journal_new(struct disk *below, const struct journal_config *config,
                         const struct journal_user *user);
void journal_free(struct disk *d);
/* Replays what an earlier life has left, so that everything rests in its files, durably. 0 or an errno:
 * try again. With no segments configured it also removes those that are there. */
int journal_open(struct disk *d);
/* Writes what is pending without a sync, so that it outlives this program, if not the machine. */
void journal_push(struct disk *d);
bool journal_pushed(const struct disk *d); /* nothing is in memory only */
/* How much was logged; and whether the flush has come that made it durable. */
uint64_t journal_point(const struct disk *d);
bool journal_durable(const struct disk *d, uint64_t point);
/* How many syncs of the whole disk below have failed: what lies there and was not synced may be gone. */
uint64_t journal_syncs_failed(const struct disk *d);
/* Writes to the disk below what is there since before the last round of calls, about so many files. 0 or an
 * errno; more: this round is not over. */
int journal_rest(struct disk *d, unsigned files, bool *more);
bool journal_wants_rest(const struct disk *d);
/* Files that came back from a full disk at the start wait for a segment, and none becomes free before they have one:
 * only another start helps, once the disk has room. */
bool journal_stuck(const struct disk *d);
/* Syncs the changes of files below when they have become many: else there is no end to the memory that they take, nor
 * to the time of the sync. */
int journal_settle(struct disk *d);
struct journal_counts journal_counts(const struct disk *d);

#endif
