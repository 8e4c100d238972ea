/* inside.h: what the parts of the store share (store.c intake.c commit.c marks.c load.c walk.c lease.c). */
#ifndef POSTERN_QUEUE_INSIDE_H
#define POSTERN_QUEUE_INSIDE_H

#include "build-config.h"

#include "common/arena.h"
#include "queue/store.h"

#include <errno.h>

enum {
    SYNC_EACH_MAX = 3,  /* a lone message; for two, one sync_all is already cheaper (measured, ext4) */
    DRAFTS_MAX = 16384, /* each may hold two descriptors */
    INODES_MIN = 1024,  /* free inodes below which intake stops */
    LEASES_MAX = 4096,  /* remembered of this run */
    HANDS_MAX = 20000,  /* messages whose states are kept in memory; of older ones they are read again */
    CACHED_STATES = 16, /* recipients whose states fit into the entry itself */
};

struct file_name {
    char c[QID_LEN + 3];
};

enum place {
    PLACE_DRAFT, /* being received, or waiting for the commit */
    PLACE_HAND,  /* durable, and dispatch works on it */
    PLACE_SOIL,  /* nobody works on it, but its last marks are not durable yet */
};

struct draft {
    struct draft *next, *prev; /* of all drafts */
    struct draft *batch_next;
    struct entry *entry; /* NULL once it is a message */
    struct arena *arena;
    struct control c;
    size_t rcpt_cap;
    void *owner;
    int data, control; /* files, -1: not open */
    bool data_made, control_made;
    uint64_t syncs_failed; /* when its data file was made */
    bool fresh; /* its id was not used before, so no file has its name */
    bool ended;
};

struct entry {
    struct entry *next; /* of its hash chain, or of the free ones in its block */
    struct entry_block *block;
    struct entry *newer, *older; /* PLACE_HAND: by when dispatch was given it */
    struct qid id;
    enum place place;
    struct draft *draft; /* PLACE_DRAFT */
    int64_t arrival;
    uint32_t rcpts, pending,
        working;     /* recipients: all, not ended, of these not yet marked since dispatch has it */
    uint64_t synced; /* length of the control file that is durable */
    uint32_t chain;
    bool dirty;   /* on the list of those with marks that are not durable */
    bool spoken;  /* some of them are what dispatch has said (not orders of the administrator), */
    bool orphan;  /* and that dispatch is gone, or it was ourselves (a redirection) */
    bool suspect; /* its marks could not be written or synced: write them again through a new descriptor */
    bool reread;  /* tail is what the file held when it was loaded: to be written again with the first mark */
    bool retire;  /* its control file could not be unlinked: try again */
    int file;     /* control file, open while dirty and not suspect; else -1 */
    struct entry *dirty_next, **dirty_at;
    char *tail; /* the records behind synced */
    size_t tail_n, tail_cap;
    char *states; /* one for each recipient; lower case: was marked since dispatch has it */
    size_t state_cap;
    char few[CACHED_STATES];
};

/* Entries stay when the messages' octets beside them are gone: in blocks of their own they leave no holes in the heap that
 * cannot be given back. With sanitizers each is alone, so that they see a use after its end. */
#ifdef POSTERN_SANITIZE
enum { BLOCK_ENTRIES = 1 };
#else
enum { BLOCK_ENTRIES = 320 };
#endif

struct entry_block {
    struct entry_block *next, **at; /* among those with room */
    struct entry *free;
    unsigned made, used; /* made: were in use, ever: the rest of the block was not touched */
    struct entry v[BLOCK_ENTRIES];
};

struct ids {
    struct qid *v;
    size_t n, cap;
};

struct store {
    struct disk *disk; /* what was given, or the journal on it */
    struct disk *journal;
    bool begun; /* the journal was replayed: before, the files may be old */
    struct store_config config;
    struct store_user user;
    struct entry **table;
    struct entry_block *blocks; /* with room */
    size_t buckets, entries, hands;
    struct entry *newest, *oldest; /* in hand */
    struct draft *drafts;
    unsigned draft_count;
    struct draft *batch, **batch_tail;
    unsigned batch_n;
    struct entry *dirty;
    size_t dirty_n;
    struct ids limbo; /* their control file is unlinked, but not yet durably so; then the data file goes */
    struct ids trash; /* refused, but their control file could not be unlinked */
    bool dir_dirty[DISK_DIRS];
    unsigned dirs_dirty;
    uint64_t marks_point;          /* of the journal: the last mark */
    uint64_t syncs_failed;         /* so many have */
    bool marks_doubt;              /* some entry may be suspect, or to be retired */
    struct store_message repeated; /* the last of which a split came a second time; until the next commit */
    bool sync_everything;          /* what recovery found may not be durable yet */
    bool stopped, stopped_for_room;
    /* leases */
    bool opened;
    bool lease_lost; /* the file could not be read, and was made from the names in the spool */
    uint64_t lease_last, lease_reserved;
    int lease_slot;
    struct given {
        uint64_t lease, seen; /* seen: of the serials up to top, which; bit 0: top */
        uint32_t top;
    } given[LEASES_MAX];
    size_t given_n, given_last; /* the one that was asked for last */
};

#define DISK(s, call, ...) ((s)->disk->ops->call((s)->disk, __VA_ARGS__))

/* store.c */
int folder_of(struct qid id);
uint64_t syncs_failed(const struct store *s);
int part_create(struct store *s, const struct draft *d, char part, int *file);
struct file_name part_name(struct qid id, char part);
struct entry *entry_find(const struct store *s, struct qid id);
struct entry *entry_add(struct store *s, struct qid id, enum place place);
void entry_drop(struct store *s, struct entry *e); /* must not be dirty */
void entry_place(struct store *s, struct entry *e, enum place place);
bool entry_states(struct entry *e, uint32_t n); /* room for n states */
void dir_soil(struct store *s, int dir);
struct status status_of_errno(int error);
void intake_stop(struct store *s, int error, const char *doing);
void told_trouble(struct store *s, const char *what, struct str name, int error);

int journal_begin(struct store *s);

/* intake.c */
void draft_answer(struct store *s, struct draft *d, const struct status *status, unsigned batch);
void draft_discard(struct store *s, struct draft *d); /* its files too */
void draft_free(struct store *s, struct draft *d);
void draft_joins(struct store *s, struct draft *d);
bool trash_has(const struct store *s, struct qid id);
bool limbo_has(const struct store *s, struct qid id);
bool trash_empty(struct store *s); /* false: the disk does not let us */

/* marks.c */
void entry_clean(struct store *s, struct entry *e); /* its marks are durable, or do not matter any more */
void marks_rewrite(struct store *s);                /* suspects, and retirements that failed */
void ended_goes(struct store *s, const struct control *c); /* all its recipients have ended: its files go */
struct entry *entry_from(struct store *s, const struct control *c); /* PLACE_SOIL */
void repeated_forget(struct store *s);
void limbo_add(struct store *s, struct qid id);
void ids_add(struct ids *ids, struct qid id);
int part_unlink(struct store *s, struct qid id, char part);

/* walk.c */
bool aside_move(struct store *s, int dir, const char *name, const char *why);

/* load.c: reads and judges what the disk holds. incomplete: as an interrupted commit leaves it. */
enum care { CARE_LOAD, CARE_RECOVER, CARE_CHECK }; /* the data's checksum: never, without marks, always */
enum judgement { JUDGED_WHOLE, JUDGED_ENDED, JUDGED_INCOMPLETE, JUDGED_BAD, JUDGED_NONE, JUDGED_ERROR };
enum judgement message_judge(struct store *s, struct qid id, enum care care, struct store_message *m,
                             const char **why, int *error);

/* lease.c */
bool lease_fresh(struct store *s, struct qid id); /* of this run, and asked for the first time */
bool lease_of_this_run(const struct store *s, uint64_t lease);
/* ids up to this lease lie in the spool. Says what is wrong with the file, or NULL; with repair it is written again. */
const char *lease_judge(struct store *s, uint64_t max, bool repair);

#endif
