/* disk_fake.h: a disk in memory, for tests and the simulator: it keeps after a crash only what POSIX
 * promises.
 *
 * Bytes are durable after a sync of their file, names after a sync_dir of their directory, all after
 * sync_all. What was not synced is decided at the crash by the seed: each write may be there, torn, there in
 * some sectors or blocks only, or not; each name may be as it was, as it is, or as it was for a moment. A sync that
 * failed forgets what it should have written, as Linux does (some of it may be there): the bytes still read back,
 * but no later sync makes them durable. */
#ifndef POSTERN_QUEUE_DISK_FAKE_H
#define POSTERN_QUEUE_DISK_FAKE_H

#include "queue/disk.h"

/* Kinds of operations, for faults and mutants; joined by |. */
enum disk_fake_kind {
    FAKE_OPEN = 1,
    FAKE_WRITE = 2,
    FAKE_SYNC_DATA = 4,    /* sync of a name that ends in ".d" */
    FAKE_SYNC_CONTROL = 8, /* ".c" */
    FAKE_SYNC_OTHER = 16,
    FAKE_SYNC_DIR = 32, /* of a folder or aside */
    FAKE_SYNC_ALL = 64,
    FAKE_UNLINK = 128,
    FAKE_RENAME = 256,
    FAKE_READ = 512,          /* read, info, list, space */
    FAKE_SYNC_ROOT = 1024,    /* of the spool directory itself */
    FAKE_SYNC_JOURNAL = 2048, /* of a segment of the journal */
    FAKE_SYNCS = FAKE_SYNC_DATA | FAKE_SYNC_CONTROL | FAKE_SYNC_OTHER | FAKE_SYNC_DIR | FAKE_SYNC_ROOT |
                 FAKE_SYNC_ALL | FAKE_SYNC_JOURNAL,
    FAKE_CHANGES = FAKE_OPEN | FAKE_WRITE | FAKE_SYNCS | FAKE_UNLINK | FAKE_RENAME,
    FAKE_ALL = 4095,
};

struct disk *disk_fake_new(uint64_t seed);
void disk_fake_free(struct disk *d);

/* Operations are counted from 1, over all kinds in FAKE_CHANGES; reads have no number. */
uint64_t disk_fake_ops(const struct disk *d);
/* From operation op on, that one included, nothing happens any more and everything fails with EIO; 0:
 * never. */
void disk_fake_crash_at(struct disk *d, uint64_t op);
/* The same at the nth operation of these kinds, from now on. */
void disk_fake_crash_in(struct disk *d, unsigned kinds, unsigned n);
bool disk_fake_dead(const struct disk *d); /* it has come to that */
/* The machine starts again: open files are gone, what was not synced is decided. The fault settings are
 * cleared. */
void disk_fake_restart(struct disk *d);
/* Only the program ended (perhaps in the middle, by disk_fake_crash_at): open files are closed, nothing is
 * lost. */
void disk_fake_reopen(struct disk *d);

/* Operation op fails with error (a write may have written a part); 0: none. */
void disk_fake_fail_at(struct disk *d, uint64_t op, int error);
/* Every operation of these kinds fails with error, until called with 0. */
void disk_fake_fail_kinds(struct disk *d, unsigned kinds, int error);
/* Each operation of these kinds fails with one in that many (0: never); from the seed. */
void disk_fake_fail_often(struct disk *d, unsigned kinds, unsigned one_in, int error);
/* One in that many writes is done in two parts, each an operation of its own (0: none). */
void disk_fake_short(struct disk *d, unsigned one_in);
/* Syncs of these kinds say yes and do nothing, also as parts of a sync_all: mutants of the store that a
 * test must catch. */
void disk_fake_ignore(struct disk *d, unsigned kinds);
/* No block is left: what makes a file longer fails with ENOSPC. (No inode: FAKE_OPEN fails.) */
void disk_fake_full(struct disk *d, bool full);
void disk_fake_room(struct disk *d, uint64_t bytes); /* what space tells; writes do not use it up */
/* For tests that damage or plant files: content as it is now, durable at once. */
void disk_fake_plant(struct disk *d, int dir, const char *name, const void *bytes, size_t n);
void disk_fake_foreign(struct disk *d, int dir, const char *name); /* owner and mode become another's */
size_t disk_fake_files(struct disk *d, int dir);                   /* names in a directory */
int disk_fake_open_files(const struct disk *d);                    /* to find leaks */

#endif
