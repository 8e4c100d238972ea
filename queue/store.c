/* store.c: the spool: one pair of files for each message. In the direct mode these are files of the disk;
 * with a journal they begin in it, and what "durable" means for a file is the table in journal.c.
 *
 * STATE TABLE. "+" the file's name is durable and its content whole, "?" it may be missing, short, torn
 * or garbage, "-" it does not exist. <id>.d is the data, <id>.c the control file (control.h). Both are
 * created under their final names: checksums, not renames, say what is whole.
 *
 *   state          .d  .c   what it means                         what recovery does
 *   S0 nothing     -   -    no message                            nothing
 *   S1 arriving    ?   -    data come in, nobody has a promise    removes .d
 *   S2 committing  ?   ?    both are written, the sync is on      whole: keeps it, it may be delivered (the
 *                                                                 client was told nothing, and sends again);
 *                                                                 .c without its record "complete", or .d
 *                                                                 missing or short: removes both
 *   ---- COMMIT POINT: data, control file and both names are synced. Only then is mail_done ok sent. ------
 *   S3 queued      +   +    accepted                              keeps it, dispatch is told
 *   S4 marked      +   +?   the same; marks (M, S records) follow keeps it; a torn tail was not written: that
 *                           "complete", the last may be torn      recipient is tried again
 *   S5 retiring    +   ?    .c is unlinked (THE RETIREMENT), the  .c is still there: keeps it, recipients
 *                           directory is not synced yet           without a mark are served again; else as S6
 *   S6 retired     ?   -    unlink of .c durable; .d may go       removes .d
 *
 * Data is unlinked only after the retirement is durable: so a .c without its .d is S2 when it has no mark
 * (never accepted, since dispatch marks only what was committed, or a start found whole and synced), and
 * damage when it has one: maybe of an S2 that a failed sync had left to the page cache only. What fits
 * no row (foreign names, another owner or mode, records that do not check, data that differ from their
 * checksum) is damage or somebody's experiment: it is moved to aside/ with the reason in the log, never
 * deleted.
 *
 * Marks are written at once, and durable with the next commit that syncs everything, at the latest after
 * a second: a crash in between lets a recipient be served twice, as SMTP itself does (RFC 5321 6.1, RFC
 * 1047).
 *
 * A write or sync that fails is not believed when it is tried again (the kernel forgets what it could not
 * write): drafts of that commit are answered 4xx and their files removed; marks are kept in memory and
 * written again through a new descriptor; intake stops until a probe has been written, synced and
 * unlinked. */
#include "queue/inside.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int folder_of(struct qid id) {
    return (int)(qid_hash(id) % DISK_FOLDERS);
}

struct file_name part_name(struct qid id, char part) {
    struct file_name name;
    struct qid_text t = qid_format(id);
    memcpy(name.c, t.c, QID_LEN);
    name.c[QID_LEN] = '.';
    name.c[QID_LEN + 1] = part;
    name.c[QID_LEN + 2] = '\0';
    return name;
}

int part_create(struct store *s, const struct draft *d, char part, int *file) {
    enum disk_mode mode = d->fresh && s->disk->batches ? DISK_FRESH : DISK_CREATE;
    return DISK(s, open, folder_of(d->c.id), part_name(d->c.id, part).c, mode, file);
}

/* ---- Entries: what is in memory of a message ----------------------------------------------------------- */

struct entry *entry_find(const struct store *s, struct qid id) {
    if (!s->buckets) return NULL;
    struct entry *e = s->table[qid_hash(id) & (s->buckets - 1)];
    while (e && !qid_eq(e->id, id)) e = e->next;
    return e;
}

enum { BUCKETS_MIN = 1024 };

static void rehash(struct store *s, size_t n) {
    struct entry **fresh = xmalloc(n * sizeof *fresh);
    for (size_t i = 0; i < s->buckets; i++) {
        for (struct entry *e = s->table[i], *next; e; e = next) {
            next = e->next;
            size_t at = qid_hash(e->id) & (n - 1);
            e->next = fresh[at];
            fresh[at] = e;
        }
    }
    free(s->table);
    s->table = fresh;
    s->buckets = n;
}

static void block_link(struct store *s, struct entry_block *b) {
    b->at = &s->blocks;
    b->next = s->blocks;
    if (b->next) b->next->at = &b->next;
    s->blocks = b;
}

static void block_unlink(struct entry_block *b) {
    *b->at = b->next;
    if (b->next) b->next->at = b->at;
}

static struct entry *entry_take(struct store *s) {
    if (!s->blocks) block_link(s, xmalloc(sizeof *s->blocks));
    struct entry_block *b = s->blocks;
    struct entry *e = b->free;
    if (e) b->free = e->next;
    else e = &b->v[b->made++];
    b->used++;
    if (!b->free && b->made == BLOCK_ENTRIES) block_unlink(b);
    e->block = b;
    return e;
}

static void entry_give_back(struct store *s, struct entry *e) {
    struct entry_block *b = e->block;
    if (!b->free && b->made == BLOCK_ENTRIES) block_link(s, b);
    e->next = b->free;
    b->free = e;
    if (--b->used || (BLOCK_ENTRIES > 1 && s->blocks == b && !b->next))
        return; /* the last is for the next message */
    block_unlink(b);
    free(b);
}

struct entry *entry_add(struct store *s, struct qid id, enum place place) {
    if (s->entries >= s->buckets) rehash(s, s->buckets * 2);
    struct entry *e = entry_take(s);
    size_t at = qid_hash(id) & (s->buckets - 1);
    *e = (struct entry){.next = s->table[at], .block = e->block, .id = id, .place = place, .file = -1};
    e->states = e->few;
    e->state_cap = CACHED_STATES;
    s->table[at] = e;
    s->entries++;
    return e;
}

static void hand_unlink(struct store *s, struct entry *e) {
    if (e->place != PLACE_HAND) return;
    if (e->newer) e->newer->older = e->older;
    else s->newest = e->older;
    if (e->older) e->older->newer = e->newer;
    else s->oldest = e->newer;
    e->newer = e->older = NULL;
    s->hands--;
}

static void hand_link(struct store *s, struct entry *e) {
    e->older = s->newest;
    if (e->older) e->older->newer = e;
    else s->oldest = e;
    s->newest = e;
    s->hands++;
}

void entry_place(struct store *s, struct entry *e, enum place place) {
    hand_unlink(s, e);
    e->place = place;
    if (place != PLACE_HAND) return;
    hand_link(s, e);
    if (s->hands > HANDS_MAX) store_let_go(s, s->oldest->id);
}

void entry_drop(struct store *s, struct entry *e) {
    struct entry **at = &s->table[qid_hash(e->id) & (s->buckets - 1)];
    assert(!e->dirty);
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    s->entries--;
    hand_unlink(s, e);
    if (e->states != e->few) free(e->states);
    free(e->tail);
    entry_give_back(s, e);
}

bool entry_states(struct entry *e, uint32_t n) {
    if (n > CONTROL_RCPTS_MAX) return false;
    if (n <= e->state_cap) return true;
    if (e->states == e->few) {
        size_t cap = 0;
        char *fresh = xgrow(NULL, &cap, n, 1);
        memcpy(fresh, e->few, sizeof e->few);
        e->states = fresh;
        e->state_cap = cap;
    } else {
        e->states = xgrow(e->states, &e->state_cap, n, 1);
    }
    return true;
}

/* ---- Trouble ------------------------------------------------------------------------------------------- */

void dir_soil(struct store *s, int dir) {
    s->dirs_dirty += !s->dir_dirty[dir];
    s->dir_dirty[dir] = true;
}

static bool is_room(int error) {
    return error == ENOSPC || error == EDQUOT;
}

/* RFC 5321 4.2.3: 452 insufficient system storage; RFC 3463 3.4: 4.3.1 mail system full. */
struct status status_of_errno(int error) {
    if (is_room(error))
        return status_make(452, "4.3.1", "Not enough room in the mail queue, try again later");
    return status_make(451, "4.3.0", "The mail queue could not store the message, try again later");
}

void intake_stop(struct store *s, int error, const char *doing) {
    char mem[256];
    struct buf why = BUF(mem);
    if (s->stopped) return;
    s->stopped = true;
    s->stopped_for_room = is_room(error);
    buf_addf(&why, "%s: %s", doing, strerror(error));
    s->user.intake(s->user.ctx, false, buf_str(&why));
}

void told_trouble(struct store *s, const char *what, struct str name, int error) {
    char mem[512];
    struct buf text = BUF(mem);
    buf_addf(&text, "%s %.*s: %s", what, STR_ARGS(name), strerror(error));
    s->user.trouble(s->user.ctx, buf_str(&text));
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

struct store *store_new(struct disk *d, const struct store_config *config, const struct store_user *user) {
    struct store *s = xmalloc(sizeof *s);
    s->config = *config;
    s->user = *user;
    s->disk = d;
    s->journal =
        journal_new(d, &config->journal, &(struct journal_user){user->ctx, user->aside, user->trouble});
    s->batch_tail = &s->batch;
    rehash(s, BUCKETS_MIN);
    return s;
}

void store_free(struct store *s) {
    if (!s) return;
    while (s->drafts) draft_free(s, s->drafts);
    for (size_t i = 0; i < s->buckets; i++) {
        while (s->table[i]) {
            struct entry *e = s->table[i];
            if (e->file >= 0) DISK(s, close, e->file);
            e->dirty = false;
            entry_drop(s, e);
        }
    }
    free(s->blocks);
    free(s->table);
    free(s->limbo.v);
    free(s->trash.v);
    repeated_forget(s);
    journal_free(s->journal);
    free(s);
}

void store_configure(struct store *s, const struct store_config *config) {
    s->config = *config;
}

/* ---- The journal beneath ------------------------------------------------------------------------------- */

/* In the direct mode too: an earlier life may have had one. */
int journal_begin(struct store *s) {
    if (s->begun) return 0;
    int error = journal_open(s->journal);
    if (!error && s->config.journal.segments) s->disk = s->journal;
    s->begun = !error;
    return error;
}

bool store_begun(const struct store *s) {
    return s->begun;
}

bool store_push(struct store *s) {
    if (s->disk != s->journal) return true;
    journal_push(s->journal);
    int error = s->stopped ? 0 : journal_settle(s->journal);
    if (error) intake_stop(s, error, "syncing marks");
    return journal_pushed(s->journal);
}

bool store_rest(struct store *s, unsigned files) {
    bool more = false;
    if (s->disk != s->journal || s->stopped) return false;
    int error = journal_rest(s->journal, files, &more);
    while (s->buckets > BUCKETS_MIN && s->entries < s->buckets / 4) rehash(s, s->buckets / 2);
    if (error) intake_stop(s, error, "writing messages from the journal");
    return more && !error;
}

bool store_wants_rest(const struct store *s) {
    return s->disk == s->journal && journal_wants_rest(s->journal);
}

struct journal_counts store_journal_counts(const struct store *s) {
    return journal_counts(s->journal);
}

unsigned store_ended(const struct store *s) {
    return s->batch_n;
}

size_t store_unsynced(const struct store *s) {
    return s->dirty_n + (s->dirs_dirty || s->limbo.n || s->sync_everything);
}

unsigned store_drafts(const struct store *s) {
    return s->draft_count;
}

bool store_stopped(const struct store *s) {
    return s->stopped;
}

bool store_failing(const struct store *s) {
    return s->stopped && !s->stopped_for_room;
}

size_t store_hands(const struct store *s) {
    return s->hands;
}

bool store_in_hand(const struct store *s, struct qid id) {
    const struct entry *e = entry_find(s, id);
    return e && e->place == PLACE_HAND;
}

bool store_is_draft(const struct store *s, struct qid id) {
    const struct entry *e = entry_find(s, id);
    return e && e->place == PLACE_DRAFT;
}
