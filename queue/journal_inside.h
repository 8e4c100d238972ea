/* journal_inside.h: what the parts of the journal share (journal.c: the disk that the store sees;
 * journal_log.c: batches and segments; journal_rest.c: writing to the disk below; journal_replay.c:
 * reading after a start). */
#ifndef POSTERN_QUEUE_JOURNAL_INSIDE_H
#define POSTERN_QUEUE_JOURNAL_INSIDE_H

#include "common/arena.h"
#include "queue/journal.h"

#include <errno.h>

enum { JOURNAL_NAME_MAX = 31 }; /* of what may rest in the journal: QUEUEID.c */

enum record_type { RECORD_CREATE = 1, RECORD_WRITE, RECORD_UNLINK, RECORD_FORGET };

/* In the byte order of the machine: a journal is read by the machine that wrote it. */
struct record {
    uint8_t type, dir;
    uint16_t name_n;
    uint32_t n;  /* octets of a WRITE, behind the name */
    uint64_t at; /* of a CREATE: it does not count before the WRITEs behind it have made so many octets */
};

struct batch {
    char magic[8];
    uint64_t generation; /* seq of the first batch of this use of the segment */
    uint64_t seq;        /* grows by one with each attempt to write a batch, for ever */
    uint64_t follows;    /* the batch before it, which was written whole */
    uint64_t tail;       /* what stood in batches before this one is in files, or over */
    uint64_t durable;    /* all batches up to this one had been synced when this one was written */
    uint64_t tag;        /* of this use of the segment, and not to be guessed: no mail can hold a batch */
    uint32_t n;          /* octets of records */
    uint32_t crc;        /* CRC-32C of all above and the records */
};

/* A file that is in the journal and (unless written) not on the disk below. */
struct item {
    struct item *hash_next;
    struct item *newer, *older; /* by seq */
    struct item *gone_next;
    unsigned refs; /* the list, and open files */
    uint64_t seq;  /* no record of it is older than this batch */
    char *bytes;
    size_t n, cap;
    int dir;
    bool listed;
    bool gone;     /* unlinked; the record of that is not durable */
    bool old;      /* found at the start: nobody is going to refuse it */
    bool unlogged; /* it came back from below in a replay that is not over: then it is logged whole */
    bool lent;     /* it lies below as it is, though not durably */
    bool written;  /* the disk below has something of this name */
    bool unasked;  /* found at the start: written is not known yet (item_below) */
    char name[JOURNAL_NAME_MAX + 1];
};

/* A change of a file below: made at once, logged, and not synced there. */
struct redo {
    struct redo *next;
    uint64_t seq;
    uint8_t type;
    int dir;
    uint64_t at;
    size_t n;
    char *bytes;
    char name[JOURNAL_NAME_MAX + 1];
};

struct handle {
    bool used, logged; /* logged: writes go to a file of a message that is durable */
    int below;         /* -1: none */
    int dir;
    struct item *item;
    char name[JOURNAL_NAME_MAX + 1];
};

struct segment {
    bool exists;
    bool failed;   /* an error was met: it gets no more batches, and is made anew before it is used again */
    uint64_t last; /* newest batch in it; 0: none */
    uint64_t old_last; /* the same, of its use before */
};

struct journal {
    struct disk disk;
    struct disk *below;
    struct journal_config config;
    struct journal_user user;
    bool opened, broken;   /* broken: the last batch was not written */
    bool returned;         /* a file came back from below since the last flush, */
    uint64_t returned_seq; /* the first of them as this batch: nothing from there on comes to rest */
    bool names_dirty;      /* a segment was removed, or found: its name, or its absence, may not be durable */
    uint64_t syncs_failed; /* of the whole disk below */
    bool below_dirty;      /* names were changed below without a record */
    struct item **table;
    size_t buckets, items;
    struct item *newest, *oldest, *gone;
    struct redo *redo, **redo_tail;
    size_t redo_n;
    bool redo_again; /* a sync below failed: what redo says must be done again */
    struct handle *handles;
    size_t handles_n, handles_cap;
    int *free_handles;
    size_t free_n, free_cap;
    char *pending; /* records that are in no durable batch */
    size_t pending_n, pending_cap;
    uint64_t logged, flushed; /* records, ever; and of these durable */
    size_t written_n;         /* of these, in the current segment, but not synced */
    bool push_failed;         /* not to be tried again before the next flush */
    char *out;
    size_t out_cap;
    struct segment segments[JOURNAL_SEGMENTS_MAX];
    int current, current_file; /* -1: none */
    uint64_t current_at, generation, tag;
    bool current_synced; /* since it was taken: of its use before nothing is left */
    uint64_t next_seq, written_seq, durable_seq, rest_seq;
    uint64_t written_tail, durable_tail; /* of the last batch that was written, or is durable */
    struct journal_counts counts;
};

#define BELOW(j, call, ...) ((j)->below->ops->call((j)->below, __VA_ARGS__))

static inline bool journal_is_data(const char *name) {
    size_t n = 0;
    while (name[n]) n++;
    return n > 2 && name[n - 1] == 'd' && name[n - 2] == '.';
}

/* journal.c */
struct item *item_find(const struct journal *j, int dir, const char *name);
struct item *item_add(struct journal *j, int dir, const char *name, uint64_t seq);
void item_set(struct item *it, const void *bytes, size_t n, uint64_t at);
void item_hide(struct journal *j, struct item *it); /* its name stands for it no more */
void item_unlist(struct journal *j, struct item *it);
void item_renew(struct journal *j, struct item *it, uint64_t seq);

/* A control file of the disk below becomes an item again, up to upto and in its place by seq: what does not fit there
 * any more fits into the journal. The caller logs it whole. NULL: *error says why. */
struct item *item_return(struct journal *j, int dir, const char *name, uint64_t upto, uint64_t seq,
                         int *error);

/* journal_log.c */
void journal_again(struct journal *j, const char *records, size_t n); /* whole records as they were logged */
void journal_log(struct journal *j, enum record_type type, int dir, const char *name, const void *bytes,
                 size_t n, uint64_t at);
void journal_buffers_fit(struct journal *j); /* what a load has made them grow to goes */
void journal_log_whole(struct journal *j,
                       const struct item *it); /* what the journal said of it before is over */
int journal_flush(struct journal *j);
int journal_below_clean(struct journal *j); /* names that were changed below without a record are durable */
int journal_close(struct journal *j); /* a last batch in the current segment, which has room; and leaves it */
int journal_failed(struct journal *j,
                   int error); /* nothing of the current segment is to be believed; gives error */
uint64_t journal_tail(const struct journal *j);
uint64_t
journal_crowded(const struct journal *j); /* up to which batch messages should come to rest now; 0: none */
struct segment_name {
    char c[16];
} segment_name(int i);

static inline bool no_room(int error) {
    return error == ENOSPC || error == EDQUOT;
}

/* journal_rest.c */
void redo_add(struct journal *j, uint8_t type, int dir, const char *name, const void *bytes, size_t n,
              uint64_t at);
int item_write(struct journal *j, struct item *it);
int rest_up_to(struct journal *j, uint64_t seq); /* afterwards nothing up to batch seq is needed any more */
int rest_changes(struct journal *j);             /* of files that rest below already */
int rest_everything(
    struct journal
        *j); /* durable or not: when no segment is to be needed any more. Nothing may have returned */
void redo_clear(struct journal *j);

#endif
