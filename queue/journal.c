/* journal.c: the disk that the store sees when there is a journal. See journal.h; the parts are in
 * journal_inside.h.
 *
 * STATE TABLE of one file in a message folder (the table of messages, in store.c, stands on it: "durable"
 * there is what this table calls so). J: what the journal's durable batches from the tail on say of it;
 * F: the file below; "+" whole, "?" missing, short, torn or old, "-" nothing.
 *
 *   state          J       F   what it means                          what a start does
 *   J0 nothing     -       -   no file                                nothing
 *   J1 logged      ?       -   created or written, not flushed        a torn batch, and what was written
 *                                                                     after it, is as if never written; a
 *                                                                     whole one counts (J2)
 *   ---- COMMIT POINT: the batch is written and its segment synced (journal_flush). sync_all returns. ---
 *   J2 in journal  +       -   durable, in memory and in the journal  has it in memory again, from CREATE
 *                                                                     and WRITEs; the segment keeps it
 *   J3 resting     +       ?   is being written below, not synced     as J2; what is below goes when it
 *                                                                     comes to rest, or ends
 *   J4 at rest     + -     +   synced below; its records are not      J +: as J3; else leaves it
 *                              needed, the tail passes them
 *   J5 changed     WRITE   +?  a mark was appended below and logged,  writes the same octets at the same
 *                              below it is not synced                 place
 *   J6 unlinked    UNLINK  +?  unlinked below too, not synced there   unlinks it
 *   J7 large       FORGET  +?  lies below since it became large; the  forgets CREATE and WRITE: the file
 *                              store syncs it before the commit       below counts
 *   J8 returned    +       +   a mark had no room below: the file     as J3; until the records are durable
 *                              was logged whole, it is in the         it does not come to rest, so what is
 *                              journal again                          below stays whole as long
 *
 * SEGMENTS. A segment is used again when all its batches are older than the tail, the oldest first; each batch
 * says where the tail is, so what is before it is never replayed once a newer batch is durable. Before a
 * segment is used again a durable batch says that its old use is over: the blocks of a file reach the disk in
 * any order, so the beginning of the old use could stay and the rest be gone. When none is free, messages of
 * the oldest one are written below with one sync, within the commit: so intake waits, and nothing alive is
 * overwritten; mostly they were written before, in slices between commits (journal_rest).
 *
 * A FULL DISK. One segment more than needed is made ahead and kept free. When nothing can be written below,
 * new mail is refused and marks go on: what is alive in the oldest segment moves to the free one, which frees
 * the oldest. Everything ends that way but a journal that is alive from end to end; then marks wait in memory,
 * and dispatch, which is told of none of them, keeps them too.
 *
 * A START reads all segments, has in memory again what was there, and goes on in the newest segment; it needs
 * no room. A batch counts when its checksum is right and its generation and tag are those of the batch at the
 * head of its segment: what an earlier use has left behind has others, and what stands in mail cannot know
 * them. Each batch says up to which one all was durable when it was written. Up to there a batch that is not
 * there is damage: it is told, the others count, and the segment is set aside once all is in files. Behind it
 * the power failed before the sync: it does not count, nor what follows it; and since what is read there may
 * be in the page cache only, it is written once more before anybody is told of it. A batch that a failed flush
 * has left whole says nothing that its successor, which holds the same records, does not say too. A file that was
 * logged whole, maybe over several batches (J8), counts when all of it is there; until then what stood before.
 * When segments must go (damage, fewer of them, the direct mode), everything is put to rest, a last batch says so,
 * and they go from the oldest on: an older one alone would put back what newer ones had changed. */
#include "queue/journal_inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct journal *of(struct disk *d) {
    return (struct journal *)(void *)d; /* its first member */
}

/* ---- Items --------------------------------------------------------------------------------------------- */

static size_t slot(const struct journal *j, int dir, const char *name) {
    return str_hash(str_of(name), (uint64_t)dir + 1) & (j->buckets - 1);
}

struct item *item_find(const struct journal *j, int dir, const char *name) {
    if (!j->items) return NULL;
    struct item *it = j->table[slot(j, dir, name)];
    while (it && (it->dir != dir || strcmp(it->name, name) != 0)) it = it->hash_next;
    return it;
}

enum { BUCKETS_MIN = 1024 };

static void rehash(struct journal *j, size_t buckets) {
    size_t was = j->buckets;
    struct item **old = j->table;
    j->buckets = buckets;
    j->table = xmalloc(j->buckets * sizeof *j->table);
    for (size_t i = 0; i < was; i++) {
        for (struct item *it = old[i], *next; it; it = next) {
            struct item **at = &j->table[slot(j, it->dir, it->name)];
            next = it->hash_next;
            it->hash_next = *at;
            *at = it;
        }
    }
    free(old);
}

struct item *item_add(struct journal *j, int dir, const char *name, uint64_t seq) {
    if (j->items >= j->buckets) rehash(j, j->buckets * 2);
    struct item *it = xmalloc(sizeof *it);
    struct item **at = &j->table[slot(j, dir, name)];
    *it = (struct item){
        .refs = 1, .seq = seq, .dir = dir, .listed = true, .hash_next = *at, .older = j->newest};
    memcpy(it->name, name, strlen(name) + 1);
    *at = it;
    if (it->older) it->older->newer = it;
    else j->oldest = it;
    j->newest = it;
    j->items++;
    return it;
}

/* Most are written once, and lie here by the ten thousand: no room ahead, before a second write comes. */
static void item_room(struct item *it, size_t n) {
    if (n <= it->cap) return;
    it->cap = it->cap ? n + n / 4 : n;
    it->bytes = xrealloc(it->bytes, it->cap);
}

void item_set(struct item *it, const void *bytes, size_t n, uint64_t at) {
    if (!n) return;
    if (at + n > it->n) {
        item_room(it, at + n);
        if (at > it->n) memset(it->bytes + it->n, 0, at - it->n);
        it->n = at + n;
    }
    memcpy(it->bytes + at, bytes, n);
}

struct item *item_return(struct journal *j, int dir, const char *name, uint64_t upto, uint64_t seq,
                         int *error) {
    struct disk_info info;
    size_t got = 0;
    int file;
    *error = BELOW(j, info, dir, name, &info);
    if (!*error && info.size < upto) upto = info.size;
    if (!*error) *error = BELOW(j, open, dir, name, DISK_READ, &file);
    if (*error) return NULL;
    char *bytes = xmalloc(upto + 1);
    *error = BELOW(j, read, file, bytes, upto, 0, &got);
    BELOW(j, close, file);
    struct item *it = *error ? NULL : item_add(j, dir, name, seq);
    if (it) {
        if (!j->returned || seq < j->returned_seq) j->returned_seq = seq;
        it->written = it->old = j->returned = true;
        item_set(it, bytes, got, 0);
    }
    free(bytes);
    return it;
}

static void item_put(struct item *it) {
    if (--it->refs) return;
    free(it->bytes);
    free(it);
}

void item_hide(struct journal *j, struct item *it) {
    struct item **at = &j->table[slot(j, it->dir, it->name)];
    while (*at != it) at = &(*at)->hash_next;
    *at = it->hash_next;
    j->items--;
    if (j->buckets > BUCKETS_MIN && j->items < j->buckets / 8) rehash(j, j->buckets / 4);
}

void item_unlist(struct journal *j, struct item *it) {
    if (it->older) it->older->newer = it->newer;
    else j->oldest = it->newer;
    if (it->newer) it->newer->older = it->older;
    else j->newest = it->older;
    it->listed = false;
    item_put(it);
}

/* It stands in that batch now, whole. */
void item_renew(struct journal *j, struct item *it, uint64_t seq) {
    if (it->older) it->older->newer = it->newer;
    else j->oldest = it->newer;
    if (it->newer) it->newer->older = it->older;
    else j->newest = it->older;
    it->seq = seq;
    it->newer = NULL;
    it->older = j->newest;
    if (it->older) it->older->newer = it;
    else j->oldest = it;
    j->newest = it;
}

/* ---- Handles ------------------------------------------------------------------------------------------- */

static int handle_new(struct journal *j, int dir, const char *name, struct item *it, int below) {
    int n;
    if (j->free_n) {
        n = j->free_handles[--j->free_n];
    } else {
        j->handles = xgrow(j->handles, &j->handles_cap, j->handles_n + 1, sizeof *j->handles);
        n = (int)j->handles_n++;
    }
    struct handle *h = &j->handles[n];
    *h = (struct handle){.used = true, .below = below, .dir = dir, .item = it};
    if (it) it->refs++;
    size_t len = strlen(name);
    if (len <= JOURNAL_NAME_MAX) memcpy(h->name, name, len + 1);
    return n;
}

static struct handle *handle_of(struct journal *j, int file) {
    assert(file >= 0 && (size_t)file < j->handles_n && j->handles[file].used);
    return &j->handles[file];
}

static bool ours(int dir, const char *name) {
    return dir < DISK_FOLDERS && strlen(name) <= JOURNAL_NAME_MAX;
}

static int jd_create(struct journal *j, int dir, const char *name, bool fresh, int *file) {
    struct disk_info info;
    int error = item_find(j, dir, name) ? EEXIST : fresh ? ENOENT : BELOW(j, info, dir, name, &info);
    if (error != ENOENT) return error ? error : EEXIST;
    struct item *it = item_add(j, dir, name, j->next_seq);
    journal_log(j, RECORD_CREATE, dir, name, NULL, 0, 0);
    *file = handle_new(j, dir, name, it, -1);
    return 0;
}

static int jd_open(struct disk *d, int dir, const char *name, enum disk_mode mode, int *file) {
    struct journal *j = of(d);
    int below;
    if (ours(dir, name) && (mode == DISK_CREATE || mode == DISK_FRESH))
        return jd_create(j, dir, name, mode == DISK_FRESH, file);
    struct item *it = ours(dir, name) ? item_find(j, dir, name) : NULL;
    if (it) {
        *file = handle_new(j, dir, name, it, -1);
        return 0;
    }
    int error = BELOW(j, open, dir, name, mode, &below);
    if (error) return error;
    *file = handle_new(j, dir, name, NULL, below);
    j->handles[*file].logged = ours(dir, name) && mode == DISK_WRITE && !journal_is_data(name);
    return 0;
}

static void jd_close(struct disk *d, int file) {
    struct journal *j = of(d);
    struct handle *h = handle_of(j, file);
    if (h->below >= 0) BELOW(j, close, h->below);
    if (h->item) item_put(h->item);
    *h = (struct handle){0};
    j->free_handles = xgrow(j->free_handles, &j->free_cap, j->free_n + 1, sizeof *j->free_handles);
    j->free_handles[j->free_n++] = file;
}

/* ---- Reading and writing ------------------------------------------------------------------------------- */

/* The file of this handle has come to rest: the handle is now one of the file below. Octets of data are
 * not logged there: whatever the journal says of the file must not count any more (the control file will
 * be logged later). */
static int handle_moves(struct journal *j, struct handle *h) {
    int error = BELOW(j, open, h->dir, h->name, DISK_WRITE, &h->below);
    if (error) {
        h->below = -1;
        return error;
    }
    item_put(h->item);
    h->item = NULL;
    h->logged = !journal_is_data(h->name);
    if (!h->logged) journal_log(j, RECORD_FORGET, h->dir, h->name, NULL, 0, 0);
    return 0;
}

/* Of a name that was found at the start the disk below may have something, from a rest that was not over. Not asked then,
 * of thousands, but when it matters. */
static int item_below(struct journal *j, struct item *it) {
    struct disk_info info;
    if (!it->unasked) return 0;
    int error = BELOW(j, info, it->dir, it->name, &info);
    if (error && error != ENOENT) return error;
    it->written = !error;
    it->unasked = false;
    return 0;
}

/* A file that has become large lies below from now on; the store syncs it. */
static int handle_spills(struct journal *j, struct handle *h) {
    struct item *it = h->item;
    int file, error = item_below(j, it);
    if (!error && it->written) error = BELOW(j, unlink, h->dir, h->name);
    if (!error || error == ENOENT) error = BELOW(j, open, h->dir, h->name, DISK_CREATE, &file);
    if (error) return error;
    if (it->n) error = BELOW(j, write, file, it->bytes, it->n, 0);
    if (error) {
        BELOW(j, close, file);
        BELOW(j, unlink, h->dir, h->name);
        return error;
    }
    journal_log(j, RECORD_FORGET, h->dir, h->name, NULL, 0, 0);
    h->below = file;
    h->item = NULL;
    item_hide(j, it);
    item_unlist(j, it);
    item_put(it);
    return 0;
}

/* The disk below is full: the file comes back into the journal, whose segments are there already. With what could not be
 * written, for that may be a long tail which stood there before. */
static int handle_returns(struct journal *j, struct handle *h, const void *bytes, size_t n, uint64_t at) {
    int error;
    struct item *it = item_return(j, h->dir, h->name, at, j->next_seq, &error);
    if (!it) return error;
    item_set(it, bytes, n, at);
    journal_log_whole(j, it);
    BELOW(j, close, h->below);
    h->below = -1;
    h->item = it;
    it->refs++;
    return 0;
}

static bool too_large(const struct journal *j, const struct handle *h, size_t n, uint64_t at) {
    return at + n > j->config.large && (journal_is_data(h->name) || !h->item->n);
}

static int jd_write(struct disk *d, int file, const void *bytes, size_t n, uint64_t at) {
    struct journal *j = of(d);
    struct handle *h = handle_of(j, file);
    int error = 0;
    if (h->item && h->item->gone) return 0;
    if (h->item && h->item->listed && too_large(j, h, n, at)) error = handle_spills(j, h);
    else if (h->item && !h->item->listed) error = handle_moves(j, h);
    if (error) return error;
    if (!h->item) error = BELOW(j, write, h->below, bytes, n, at);
    if (no_room(error) && h->logged) return handle_returns(j, h, bytes, n, at);
    if (h->item) item_set(h->item, bytes, n, at);
    if (error || (!h->item && !h->logged) || !n) return error;
    journal_log(j, RECORD_WRITE, h->dir, h->name, bytes, n, at);
    if (!h->item) redo_add(j, RECORD_WRITE, h->dir, h->name, bytes, n, at);
    return 0;
}

static int jd_read(struct disk *d, int file, void *bytes, size_t n, uint64_t at, size_t *got) {
    struct journal *j = of(d);
    struct handle *h = handle_of(j, file);
    if (!h->item) return BELOW(j, read, h->below, bytes, n, at, got);
    *got = at < h->item->n ? h->item->n - at < n ? h->item->n - at : n : 0;
    if (*got) memcpy(bytes, h->item->bytes + at, *got);
    return 0;
}

/* ---- Syncing ------------------------------------------------------------------------------------------- */

/* What the journal holds is for sync_all; what lies below is synced here, its name too. */
static int jd_sync(struct disk *d, int file) {
    struct journal *j = of(d);
    struct handle *h = handle_of(j, file);
    if (h->item || h->logged) return 0;
    int error = BELOW(j, sync, h->below);
    return error || h->dir >= DISK_FOLDERS ? error : BELOW(j, sync_dir, h->dir);
}

static int jd_sync_all(struct disk *d) {
    struct journal *j = of(d);
    int error = journal_below_clean(j);
    return error ? journal_failed(j, error) : journal_flush(j);
}

static int jd_sync_dir(struct disk *d, int dir) {
    return dir < DISK_FOLDERS ? jd_sync_all(d) : BELOW(of(d), sync_dir, dir);
}

/* ---- Names --------------------------------------------------------------------------------------------- */

static int jd_info(struct disk *d, int dir, const char *name, struct disk_info *info) {
    const struct item *it = ours(dir, name) ? item_find(of(d), dir, name) : NULL;
    if (!it) return BELOW(of(d), info, dir, name, info);
    *info = (struct disk_info){.size = it->n, .regular = true, .owned = true, .ours = true, .mode = 0600};
    return 0;
}

static int jd_unlink(struct disk *d, int dir, const char *name) {
    struct journal *j = of(d);
    struct item *it = ours(dir, name) ? item_find(j, dir, name) : NULL;
    int error = it ? item_below(j, it) : 0;
    if (error) return error;
    if (!it || it->written) error = BELOW(j, unlink, dir, name);
    if (error && !(it && error == ENOENT)) return error;
    if (!ours(dir, name)) return 0;
    if (!it || it->written) redo_add(j, RECORD_UNLINK, dir, name, NULL, 0, 0);
    journal_log(j, RECORD_UNLINK, dir, name, NULL, 0, 0);
    if (!it) return 0;
    it->gone = true; /* its records are needed until this one is durable */
    it->gone_next = j->gone;
    j->gone = it;
    item_hide(j, it);
    return 0;
}

/* Only to set something aside. */
static int jd_rename(struct disk *d, int dir, const char *name, int to_dir, const char *to_name) {
    struct journal *j = of(d);
    struct item *it = ours(dir, name) ? item_find(j, dir, name) : NULL;
    int error = it && it->seq > j->durable_seq ? journal_flush(j) : 0;
    if (it && !error) error = rest_up_to(j, it->seq);
    if (!error) error = BELOW(j, rename, dir, name, to_dir, to_name);
    if (error) return error;
    j->below_dirty = true;
    if (ours(dir, name)) journal_log(j, RECORD_UNLINK, dir, name, NULL, 0, 0);
    return 0;
}

struct disk_list {
    struct disk_list *below;
    char (*names)[JOURNAL_NAME_MAX + 1]; /* in the journal when the list was opened, sorted */
    size_t n, cap, at;
};

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

static int jd_list(struct disk *d, int dir, struct disk_list **list) {
    struct journal *j = of(d);
    struct disk_list *below;
    int error = BELOW(j, list, dir, &below);
    if (error) return error;
    struct disk_list *l = xmalloc(sizeof *l);
    l->below = below;
    for (const struct item *it = j->oldest; it; it = it->newer) {
        if (it->dir != dir || it->gone) continue;
        l->names = xgrow(l->names, &l->cap, l->n + 1, sizeof *l->names);
        memcpy(l->names[l->n++], it->name, sizeof it->name);
    }
    if (l->n) qsort(l->names, l->n, sizeof *l->names, by_name);
    *list = l;
    return 0;
}

static int jd_list_next(struct disk *d, struct disk_list *list, char name[DISK_NAME_MAX + 1]) {
    if (list->at < list->n) {
        memcpy(name, list->names[list->at++], sizeof *list->names);
        return 0;
    }
    for (;;) { /* what has come to rest meanwhile was listed already */
        int error = BELOW(of(d), list_next, list->below, name);
        if (error || !list->n || !bsearch(name, list->names, list->n, sizeof *list->names, by_name))
            return error;
    }
}

static void jd_list_close(struct disk *d, struct disk_list *list) {
    BELOW(of(d), list_close, list->below);
    free(list->names);
    free(list);
}

static int jd_space(struct disk *d, struct disk_space *space) {
    return BELOW(of(d), space, space);
}

static int jd_memory(struct disk *d, const void *bytes, size_t n, int *file) {
    return BELOW(of(d), memory, bytes, n, file);
}

/* Whoever keeps a descriptor of many large ones should not keep our memory: these get a file below (J3). */
static bool lend_below(struct journal *j, struct item *it) {
    enum { MEMORY_MAX = 16 * 1024 };
    if (it->n <= MEMORY_MAX || !journal_is_data(it->name)) return false;
    if (!it->lent) it->lent = item_write(j, it) == 0;
    return it->lent;
}

static int jd_lend(struct disk *d, int dir, const char *name, int *file) {
    struct item *it = ours(dir, name) ? item_find(of(d), dir, name) : NULL;
    if (it && !lend_below(of(d), it)) return BELOW(of(d), memory, it->bytes, it->n, file);
    return BELOW(of(d), lend, dir, name, file);
}

static const struct disk_ops journal_ops = {
    .open = jd_open,
    .close = jd_close,
    .write = jd_write,
    .read = jd_read,
    .sync = jd_sync,
    .sync_dir = jd_sync_dir,
    .sync_all = jd_sync_all,
    .info = jd_info,
    .unlink = jd_unlink,
    .rename = jd_rename,
    .list = jd_list,
    .list_next = jd_list_next,
    .list_close = jd_list_close,
    .space = jd_space,
    .lend = jd_lend,
    .memory = jd_memory,
};

/* ---- Life ---------------------------------------------------------------------------------------------- */

struct disk *journal_new(struct disk *below, const struct journal_config *config,
                         const struct journal_user *user) {
    struct journal *j = xmalloc(sizeof *j);
    *j = (struct journal){.disk = {.ops = &journal_ops, .batches = true},
                          .below = below,
                          .config = *config,
                          .user = *user,
                          .current = -1,
                          .current_file = -1,
                          .next_seq = 1};
    if (j->config.segments > JOURNAL_SEGMENTS_MAX) j->config.segments = JOURNAL_SEGMENTS_MAX;
    j->redo_tail = &j->redo;
    rehash(j, BUCKETS_MIN);
    return &j->disk;
}

void journal_free(struct disk *d) {
    struct journal *j = of(d);
    if (!d) return;
    for (size_t i = 0; i < j->handles_n; i++)
        if (j->handles[i].used) jd_close(d, (int)i);
    while (j->oldest) item_unlist(j, j->oldest);
    redo_clear(j);
    if (j->current_file >= 0) BELOW(j, close, j->current_file);
    free(j->table);
    free(j->handles);
    free(j->free_handles);
    free(j->pending);
    free(j->out);
    free(j);
}

/* Up to which batch its files are at least so many, if there are as many up to most. */
static uint64_t some_files(const struct journal *j, unsigned files, uint64_t most) {
    const struct item *it = j->oldest;
    while (it && it->seq <= most && files) {
        files--;
        it = it->newer;
    }
    return it && it->seq <= most ? it->seq : most;
}

/* What was there in the round before too. When the journal fills faster than that, rounds begin earlier. */
int journal_rest(struct disk *d, unsigned files, bool *more) {
    struct journal *j = of(d);
    uint64_t most = journal_crowded(j);
    if (most < j->rest_seq) most = j->rest_seq;
    uint64_t seq = some_files(j, files, most);
    int error = rest_up_to(j, seq);
    *more = !error && seq < most;
    if (!*more) j->rest_seq = j->next_seq - 1;
    if (!*more) journal_buffers_fit(j);
    return error;
}

int journal_settle(struct disk *d) {
    struct journal *j = of(d);
    return j->config.changes && j->redo_n >= j->config.changes ? rest_changes(j) : 0;
}

uint64_t journal_point(const struct disk *d) {
    return ((const struct journal *)(const void *)d)->logged;
}

bool journal_durable(const struct disk *d, uint64_t point) {
    return ((const struct journal *)(const void *)d)->flushed >= point;
}

bool journal_pushed(const struct disk *d) {
    const struct journal *j = (const struct journal *)(const void *)d;
    return j->written_n == j->pending_n;
}

bool journal_wants_rest(const struct disk *d) {
    const struct journal *j = (const struct journal *)(const void *)d;
    return j->oldest || j->redo;
}

uint64_t journal_syncs_failed(const struct disk *d) {
    return ((const struct journal *)(const void *)d)->syncs_failed;
}

struct journal_counts journal_counts(const struct disk *d) {
    return ((const struct journal *)(const void *)d)->counts;
}
