/* mutants.c: what may be left out, one safeguard at a time: the simulator must notice. */
#include "queue/disk_fake.h"
#include "queue/journal.h"
#include "tests/sim/world.h"

const struct mutant mutants[] = {
    {"no-sync-data", "fdatasync of data", .direct = true, .ignore = FAKE_SYNC_DATA},
    {"no-sync-control", "fdatasync of control files", .direct = true, .ignore = FAKE_SYNC_CONTROL},
    {"no-sync-dir", "fsync of folders", .direct = true, .ignore = FAKE_SYNC_DIR},
    {"no-sync-all", "syncfs", .direct = true, .journal = true, .ignore = FAKE_SYNC_ALL},
    {"no-sync-journal", "fdatasync of segments", .journal = true, .ignore = FAKE_SYNC_JOURNAL},
    {"no-checksum", "checksum of batches", .journal = true, .journal_skip = JOURNAL_SKIP_CHECKSUM},
    {"no-generation", "generation and tail", .journal = true, .journal_skip = JOURNAL_SKIP_GENERATION},
    {"no-create", "replay of CREATE", .journal = true, .journal_skip = JOURNAL_SKIP_CREATE},
    {"no-write", "replay of WRITE", .journal = true, .journal_skip = JOURNAL_SKIP_WRITE},
    {"no-unlink", "replay of UNLINK", .journal = true, .journal_skip = JOURNAL_SKIP_UNLINK},
    {"no-forget", "replay of FORGET", .journal = true, .journal_skip = JOURNAL_SKIP_FORGET},
    {"no-rest", "writing to files before a segment is used again", .journal = true,
     .journal_skip = JOURNAL_SKIP_REST},
    {"no-claim", "a durable batch before a segment is used again", .journal = true,
     .journal_skip = JOURNAL_SKIP_CLAIM},
    {"no-redo", "not believing a second sync after a failed one", .journal = true,
     .journal_skip = JOURNAL_SKIP_REDO},
    {NULL},
};

const struct mutant *mutant_find(struct str name) {
    const struct mutant *m = mutants;
    while (m->name && !str_eq(str_of(m->name), name)) m++;
    return m->name ? m : NULL;
}
