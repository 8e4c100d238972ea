/* mutants.c: what may be left out, one safeguard at a time: the simulator must notice. */
#include "queue/disk_fake.h"
#include "queue/store.h"
#include "tests/sim/world.h"

const struct mutant mutants[] = {
    {"no-sync-data", "fdatasync of data", .direct = true, .ignore = FAKE_SYNC_DATA},
    {"no-sync-control", "fdatasync of control files", .direct = true, .ignore = FAKE_SYNC_CONTROL},
    {"no-sync-dir", "fsync of folders", .direct = true, .ignore = FAKE_SYNC_DIR},
    {"no-sync-all", "syncfs", .direct = true, .journal = true, .ignore = FAKE_SYNC_ALL},
    {"no-sync-journal", "fdatasync of segments", .journal = true, .ignore = FAKE_SYNC_JOURNAL},
    {"no-checksum", "checksum of batches", .journal = true, .journal_skip = JOURNAL_SKIP_CHECKSUM},
    {"no-generation", "generation and tail", .journal = true, .journal_skip = JOURNAL_SKIP_GENERATION,
     .profile = "a clock without a battery"},
    {"no-create", "replay of CREATE", .journal = true, .journal_skip = JOURNAL_SKIP_CREATE},
    {"no-write", "replay of WRITE", .journal = true, .journal_skip = JOURNAL_SKIP_WRITE},
    {"no-unlink", "replay of UNLINK", .journal = true, .journal_skip = JOURNAL_SKIP_UNLINK},
    {"no-forget", "replay of FORGET", .journal = true, .journal_skip = JOURNAL_SKIP_FORGET,
     .profile = "a small journal, and power cuts"},
    {"no-rest", "writing to files before a segment is used again", .journal = true,
     .journal_skip = JOURNAL_SKIP_REST},
    {"no-claim", "a durable batch before a segment is used again", .journal = true,
     .journal_skip = JOURNAL_SKIP_CLAIM, .profile = "little mail and a small journal", .rare = true},
    {"no-redo", "not believing a second sync after a failed one", .journal = true,
     .journal_skip = JOURNAL_SKIP_REDO, .profile = "syncs fail", .rare = true},
    {"no-sync-lease", "fdatasync of the lease file", .direct = true, .journal = true,
     .ignore = FAKE_SYNC_OTHER, .profile = "power fails again and again"},
    {"no-sync-root", "fsync of the spool directory", .direct = true, .journal = true,
     .ignore = FAKE_SYNC_ROOT, .profile = "a clock without a battery"},
    {"no-orphans", "recovery of S1 and S6 (data without a control file)", .direct = true, .journal = true,
     .store_skip = STORE_SKIP_ORPHANS},
    {"no-incomplete", "recovery of S2 (an interrupted commit)", .direct = true,
     .store_skip = STORE_SKIP_INCOMPLETE},
    {"no-incomplete", "recovery of S2 (an interrupted commit)", .journal = true,
     .store_skip = STORE_SKIP_INCOMPLETE, .profile = "spool-mode changes"},
    {"no-queued", "recovery of S3 (queued)", .direct = true, .journal = true,
     .store_skip = STORE_SKIP_QUEUED},
    {"no-marked", "recovery of S4 (marked)", .direct = true, .journal = true,
     .store_skip = STORE_SKIP_MARKED},
    {"no-ended", "recovery of S5 (retiring)", .direct = true, .store_skip = STORE_SKIP_ENDED},
    {"no-ended", "recovery of S5 (retiring)", .journal = true, .store_skip = STORE_SKIP_ENDED,
     .profile = "names stay"},
    {"no-recovered", "making durable what recovery has read", .direct = true,
     .store_skip = STORE_SKIP_RECOVERED, .profile = "a small journal, and power cuts"},
    {"no-reread", "writing again what an earlier life wrote", .direct = true, .store_skip = STORE_SKIP_REREAD,
     .profile = "refused mail stays", .rare = true},
    {"no-distrust", "writing marks again after a failed sync", .direct = true,
     .store_skip = STORE_SKIP_DISTRUST, .profile = "a full disk"},
    {"no-trash", "refused mail that cannot be unlinked is none", .direct = true,
     .store_skip = STORE_SKIP_TRASH, .profile = "refused mail stays"},
    {"250-early", "smtpd: 250 only after mail_done", .direct = true, .journal = true,
     .shell = SHELL_250_EARLY},
    {"mark-early", "dispatch: marks only after results", .direct = true, .journal = true,
     .shell = SHELL_MARK_EARLY},
    {"bounce-early", "dispatch: the mark only after the report is durable", .direct = true, .journal = true,
     .shell = SHELL_BOUNCE_EARLY},
    {"no-replay", "dispatch: marks are said again to a new queue", .direct = true, .journal = true,
     .shell = SHELL_NO_REPLAY},
    {"ack-early", "queue: marks are acknowledged only when they are written", .direct = true, .journal = true,
     .shell = SHELL_ACK_EARLY, .profile = "spool-mode changes"},
    {"no-push", "queue: marks are written at the end of each round", .journal = true, .shell = SHELL_NO_PUSH,
     .profile = "syncs fail", .rare = true},
    {"no-telling", "queue: a new dispatch is told everything", .direct = true, .journal = true,
     .shell = SHELL_NO_TELLING},
    {"no-running", "deliver-smtp: a new dispatch is told what runs", .direct = true, .journal = true,
     .shell = SHELL_NO_RUNNING},
    {"leak", "queue: memory is given back (32 octets a round)", .direct = true, .journal = true,
     .shell = SHELL_LEAK},
    {"no-sync-mailbox", "the sync of a Maildir", .direct = true, .journal = true, .mailbox = MAILBOX_NO_SYNC},
    {"mark-before-sync", "waiting for the sync of a Maildir before the mark", .direct = true, .journal = true,
     .mailbox = MAILBOX_REPORTS_EARLY},
    {"believe-mailbox", "writing anew what is found in a Maildir", .direct = true, .journal = true,
     .mailbox = MAILBOX_BELIEVES},
    {"no-doubt", "refusing data that a failed sync may have taken", .direct = true,
     .store_skip = STORE_SKIP_DOUBT, .profile = "much waits, and syncs fail", .rare = true},
    {"risk-mailbox", "syncing a file before it takes the place of another in a Maildir", .direct = true,
     .journal = true, .mailbox = MAILBOX_RISKS, .profile = "all mail stays here"},
    {NULL},
};

const struct mutant *mutant_find(struct str name) {
    const struct mutant *m = mutants;
    while (m->name && !str_eq(str_of(m->name), name)) m++;
    return m->name ? m : NULL;
}

bool leaves_out(const struct world *w, enum shell_skip what) {
    return w->o.mutant && (w->o.mutant->shell & (unsigned)what);
}
