/* journal_replay.c: reads the segments after a start, and puts what they say into files. */
#include "queue/journal_inside.h"

#include "queue/crc32c.h"

#include <stdlib.h>
#include <string.h>

/* A batch that was found whole; its records lie in memory of the segment. */
struct found {
    struct batch head;
    const char *records;
    int segment;
    size_t at;   /* where in it */
    bool counts; /* its records do */
};

struct replay {
    struct journal *j;
    char *bytes[JOURNAL_SEGMENTS_MAX];
    uint64_t end[JOURNAL_SEGMENTS_MAX]; /* of the last whole batch */
    struct found *v;
    size_t n, cap;
    uint64_t durable; /* what the batches themselves say: up to here all had been synced */
    bool damaged[JOURNAL_SEGMENTS_MAX];
    bool any_damage;
    struct item part; /* a file that is logged whole, as far as it was read; not listed */
    uint64_t part_n;  /* so long it will be; 0: there is none */
};

static const char magic[8] = "PstnJrn2";

static void told(struct journal *j, const char *text) {
    j->user.trouble(j->user.ctx, str_of(text));
}

/* ---- Finding batches ----------------------------------------------------------------------------------- */

/* first: of the segment; NULL: this is the first, which gives its own seq as the generation. */
static bool batch_whole(const struct journal *j, const char *p, size_t left, const struct batch *first,
                        uint64_t before, struct batch *b) {
    if (left < sizeof *b) return false;
    memcpy(b, p, sizeof *b);
    if (memcmp(b->magic, magic, sizeof magic) != 0 || b->n > left - sizeof *b || b->seq > UINT64_MAX / 2)
        return false;
    bool ours = first ? b->generation == first->generation && b->tag == first->tag && b->seq > before
                      : b->generation == b->seq;
    if (!ours && !(j->config.skip & JOURNAL_SKIP_GENERATION)) return false;
    uint32_t crc = crc32c(crc32c(0, b, offsetof(struct batch, crc)), p + sizeof *b, b->n);
    return crc == b->crc || (j->config.skip & JOURNAL_SKIP_CHECKSUM);
}

static size_t batch_size(const struct batch *b) {
    return (sizeof *b + b->n + JOURNAL_BLOCK - 1) / JOURNAL_BLOCK * JOURNAL_BLOCK;
}

/* What is not whole is stepped over, block by block: a torn end, what an earlier use of the segment has left, or damage
 * with good batches behind it. The octets of a mail cannot look like a batch: they cannot know the tag. */
static void scan(struct replay *r, int i, const char *p, size_t size) {
    struct batch b, first;
    uint64_t before = 0;
    for (size_t at = 0, step; at < size; at += step) {
        step = JOURNAL_BLOCK;
        if (!batch_whole(r->j, p + at, size - at, at ? &first : NULL, before, &b)) {
            if (!at) return; /* whose batches these are cannot be known */
            continue;
        }
        if (!at) first = b;
        r->v = xgrow(r->v, &r->cap, r->n + 1, sizeof *r->v);
        r->v[r->n++] = (struct found){.head = b, .records = p + at + sizeof b, .segment = i, .at = at};
        if (b.seq > r->j->segments[i].last) r->j->segments[i].last = b.seq;
        if (b.durable > r->durable) r->durable = b.durable;
        before = b.seq;
        step = batch_size(&b);
        r->end[i] = at + step;
    }
}

/* A batch that is torn, even in its first word, is none. */
static bool garbage(const char *p, size_t n) {
    size_t i = 0;
    while (i < n && i < sizeof magic && p[i] == magic[i]) i++;
    if (i == sizeof magic) return false;
    while (i < n && !p[i]) i++;
    return i < n;
}

static int file_aside(struct journal *j, const char *name, const char *why) {
    char to[DISK_NAME_MAX + 1];
    int error = EEXIST;
    for (unsigned n = 0; error == EEXIST && n < 1000; n++) {
        struct buf b = BUF(to);
        buf_adds(&b, name);
        buf_addc(&b, '.');
        buf_addu(&b, n);
        error = BELOW(j, rename, DISK_ROOT, name, DISK_ASIDE, buf_cstr(&b));
    }
    if (error) return error;
    j->below_dirty = true;
    j->user.aside(j->user.ctx, str_of(name), str_of(why));
    return 0;
}

static int segment_aside(struct journal *j, int i, const char *why) {
    int error = file_aside(j, segment_name(i).c, why);
    if (!error) j->segments[i] = (struct segment){0};
    return error;
}

/* "journal.NN" with a number that we may use. */
static bool segment_named(const char *name) {
    for (int i = 0; i < JOURNAL_SEGMENTS_MAX; i++)
        if (strcmp(name, segment_name(i).c) == 0) return true;
    return false;
}

static int foreign_aside(struct journal *j) {
    char name[DISK_NAME_MAX + 1];
    struct disk_list *list;
    int error = BELOW(j, list, DISK_ROOT, &list);
    if (error) return error;
    while (!error && (error = BELOW(j, list_next, list, name)) == 0)
        if (strncmp(name, "journal", 7) == 0 && !segment_named(name) && strlen(name) < DISK_NAME_MAX - 8)
            error = file_aside(j, name, "its name is no segment's of the journal");
    j->below->ops->list_close(j->below, list);
    return error == ENOENT ? 0 : error;
}

static int segment_read(struct replay *r, int i) {
    struct journal *j = r->j;
    struct segment_name name = segment_name(i);
    struct disk_info info;
    size_t got;
    int file, error = BELOW(j, info, DISK_ROOT, name.c, &info);
    j->segments[i] = (struct segment){0};
    if (error) return error == ENOENT ? 0 : error;
    if (!info.regular || !info.owned) return segment_aside(j, i, "it is no plain file of ours");
    if (!info.ours) told(j, "others may read or write a segment of the journal; chmod 600 it");
    if (info.size > UINT32_MAX) return segment_aside(j, i, "it is longer than any segment");
    error = BELOW(j, open, DISK_ROOT, name.c, DISK_READ, &file);
    if (error) return error;
    r->bytes[i] = xmalloc(info.size + 1);
    error = BELOW(j, read, file, r->bytes[i], info.size, 0, &got);
    BELOW(j, close, file);
    if (error) return error;
    scan(r, i, r->bytes[i], got);
    if (!j->segments[i].last && garbage(r->bytes[i], got < 512 ? got : 512))
        return segment_aside(j, i, "it holds no journal");
    /* Of another size, or cut off while it was made: it is made anew when it is needed. */
    j->segments[i].exists = true;
    j->segments[i].failed = info.size != j->config.segment_size;
    return 0;
}

/* ---- Records ------------------------------------------------------------------------------------------- */

/* It does not fit below any more: the file is one of the journal from here on. */
static int write_returns(struct journal *j, const struct record *r, const char *name, const char *bytes,
                         uint64_t seq) {
    int error;
    struct item *it = item_return(j, r->dir, name, r->at, seq, &error);
    if (!it) return error;
    item_set(it, bytes, r->n, r->at);
    it->unlogged = true;
    return 0;
}

/* Not before all batches are read: the CREATE would stand behind the writes, or the unlink, that follow in durable
 * ones and are not logged again, and the next start would forget these. */
static void log_returned(struct journal *j) {
    for (struct item *it = j->oldest; it && j->returned; it = it->newer) {
        if (it->unlogged) journal_log_whole(j, it);
        it->unlogged = false;
    }
}

/* Of a message whose file rests below already. */
static int write_below(struct journal *j, const struct record *r, const char *name, const char *bytes,
                       uint64_t seq) {
    struct disk_info info;
    int file, error = BELOW(j, info, r->dir, name, &info);
    if (error == ENOENT || (!error && (!info.regular || !info.ours))) return 0; /* the walk will judge it */
    if (!error) error = BELOW(j, open, r->dir, name, DISK_WRITE, &file);
    if (error) return error;
    error = BELOW(j, write, file, bytes, r->n, r->at);
    BELOW(j, close, file);
    return no_room(error) && j->config.segments ? write_returns(j, r, name, bytes, seq) : error;
}

static void item_over(struct journal *j, struct item *it) {
    item_hide(j, it);
    item_unlist(j, it);
}

static void part_over(struct replay *r) {
    free(r->part.bytes);
    r->part = (struct item){0};
    r->part_n = 0;
}

static void part_begins(struct replay *r, const struct record *record, const char *name, uint64_t seq) {
    r->part = (struct item){.dir = record->dir, .seq = seq};
    memcpy(r->part.name, name, record->name_n + 1);
    r->part_n = record->at;
}

/* A file is made, or made again. When the batch that says so is not durable (it is written once more at the end of the
 * start), what stood before stays needed: its segment must not be used again meanwhile. */
static struct item *item_made(struct replay *r, int dir, const char *name, uint64_t seq) {
    struct item *it = item_find(r->j, dir, name);
    if (it && seq > r->durable) {
        it->n = 0;
        return it;
    }
    if (it) item_over(r->j, it);
    it = item_add(r->j, dir, name, seq);
    it->old = it->unasked = true;
    return it;
}

static void part_whole(struct replay *r) {
    struct item *it = item_made(r, r->part.dir, r->part.name, r->part.seq);
    item_set(it, r->part.bytes, r->part.n, 0);
    part_over(r);
}

/* What is logged whole may be longer than a segment, and the power may fail between its batches: then what was there
 * before still counts. Its records follow on each other, with nothing between. */
static bool part_takes(struct replay *r, const struct record *record, const char *name, const char *bytes) {
    if (!r->part_n) return false;
    if (record->type != RECORD_WRITE || record->dir != r->part.dir || strcmp(name, r->part.name) != 0 ||
        record->at != r->part.n) {
        part_over(r);
        return false;
    }
    item_set(&r->part, bytes, record->n, record->at);
    if (r->part.n >= r->part_n) part_whole(r);
    return true;
}

static int redo_record(struct replay *replay, const struct record *r, const char *name, const char *bytes,
                       uint64_t seq) {
    static const unsigned skips[] = {[RECORD_CREATE] = JOURNAL_SKIP_CREATE,
                                     [RECORD_WRITE] = JOURNAL_SKIP_WRITE,
                                     [RECORD_UNLINK] = JOURNAL_SKIP_UNLINK,
                                     [RECORD_FORGET] = JOURNAL_SKIP_FORGET};
    struct journal *j = replay->j;
    int error;
    if ((j->config.skip & skips[r->type]) || part_takes(replay, r, name, bytes)) return 0;
    if (r->type == RECORD_CREATE && r->at) {
        part_begins(replay, r, name, seq);
        return 0;
    }
    struct item *it = item_find(j, r->dir, name);
    if (r->type == RECORD_WRITE) {
        if (!it) return write_below(j, r, name, bytes, seq);
        item_set(it, bytes, r->n, r->at);
        return 0;
    }
    if (r->type == RECORD_CREATE) {
        item_made(replay, r->dir, name, seq);
        return 0;
    }
    if (it) item_over(j, it);
    if (r->type != RECORD_UNLINK) return 0;
    error = BELOW(j, unlink, r->dir, name);
    return error == ENOENT ? 0 : error;
}

static bool record_sane(const struct record *r, size_t left) {
    _Static_assert(DISK_FOLDERS == UINT8_MAX + 1, "any value of r->dir is a folder");
    return r->type >= RECORD_CREATE && r->type <= RECORD_FORGET && r->name_n &&
           r->name_n <= JOURNAL_NAME_MAX && r->name_n <= left && r->n <= left - r->name_n;
}

/* sane: octets of the records that make sense. */
static int batch_redo(struct replay *replay, const struct found *f, size_t *sane) {
    const char *p = f->records, *end = p + f->head.n;
    char name[JOURNAL_NAME_MAX + 1];
    struct record r;
    int error = 0;
    while (!error && (size_t)(end - p) >= sizeof r) {
        memcpy(&r, p, sizeof r);
        p += sizeof r;
        if (!record_sane(&r, (size_t)(end - p)) || memchr(p, '/', r.name_n) || memchr(p, '\0', r.name_n)) {
            told(replay->j, "a record of the journal makes no sense; the rest of its batch is left out");
            return 0;
        }
        memcpy(name, p, r.name_n);
        name[r.name_n] = '\0';
        error = redo_record(replay, &r, name, p + r.name_n, f->head.seq);
        p += r.name_n + r.n;
        *sane = (size_t)(p - f->records);
    }
    return error;
}

static int by_seq(const void *a, const void *b) {
    uint64_t x = ((const struct found *)a)->head.seq, y = ((const struct found *)b)->head.seq;
    return (x > y) - (x < y);
}

/* A newer batch follows one that is older than the one that v[i] follows: a start, or a flush after one that failed, did
 * not have that one. So it was not durable, whatever newer batches say, and what follows it did not count then. */
static bool given_up(const struct replay *r, size_t i) {
    for (size_t c = i + 1; c < r->n; c++)
        if (r->v[c].head.follows < r->v[i].head.follows) return true;
    return false;
}

/* Batches between this one and the one before were written, and are not there. When they were durable that is damage;
 * else the power failed before their sync, and what was written after them does not count either. */
static bool missing(struct replay *r, size_t i, uint64_t tail, uint64_t before, int before_in) {
    const struct batch *b = &r->v[i].head;
    if (b->follows < tail || b->follows <= before) return false;
    if (b->follows > r->durable || given_up(r, i)) return true;
    told(r->j, "a batch of the journal is missing that was durable: what it held is lost, or lies in aside/");
    r->damaged[r->v[i].segment] = r->any_damage = true;
    if (before_in >= 0) r->damaged[before_in] = true;
    return false;
}

/* Some segment can be used without taking anything that stands in a batch. */
static bool segment_to_spare(const struct replay *r, uint64_t tail) {
    for (int i = 0; i < (int)r->j->config.segments; i++)
        if (r->j->segments[i].exists && r->j->segments[i].last < tail) return true;
    return false;
}

static int batch_again(struct replay *r, const struct found *f) {
    const char *p = r->bytes[f->segment];
    int file, error = BELOW(r->j, open, DISK_ROOT, segment_name(f->segment).c, DISK_WRITE, &file);
    if (error) return error;
    error = BELOW(r->j, write, file, p + f->at, sizeof f->head + f->head.n, f->at);
    if (!error) error = BELOW(r->j, sync, file);
    BELOW(r->j, close, file);
    return error;
}

/* What may be in the page cache only, since a sync of the life before has failed, is logged once more. Without a segment
 * to spare for that it is written again where it stands, octet for octet: whatever of that the power leaves is what was
 * there. True: it is durable now. */
static bool batches_again(struct replay *r, uint64_t tail) {
    if (r->j->config.skip & JOURNAL_SKIP_AGAIN) return true;
    if (segment_to_spare(r, tail)) return false;
    for (size_t i = 0; i < r->n; i++)
        if (r->v[i].counts && r->v[i].head.seq > r->durable && batch_again(r, &r->v[i]) != 0) return false;
    return true;
}

/* Which of the batches count, in their order. */
static void batches_judge(struct replay *r, uint64_t tail) {
    uint64_t before = 0;
    int before_in = -1;
    for (size_t i = 0; i < r->n; i++) {
        struct found *f = &r->v[i];
        f->counts = f->head.seq >= tail && !missing(r, i, tail, before, before_in);
        if (!f->counts) continue;
        before = f->head.seq;
        before_in = f->segment;
    }
}

static int redo_batches(struct replay *r) {
    struct journal *j = r->j;
    int error = 0;
    if (!r->n) return 0;
    qsort(r->v, r->n, sizeof *r->v, by_seq);
    const struct batch *last = &r->v[r->n - 1].head;
    uint64_t tail = (j->config.skip & JOURNAL_SKIP_GENERATION) ? 0 : last->tail;
    /* Numbers are never used twice, not even those of batches that were not written whole. */
    if (last->seq >= j->next_seq) j->next_seq = last->seq + 1024;
    batches_judge(r, tail);
    bool sure = batches_again(r, tail);
    for (size_t i = 0; i < r->n && !error; i++) {
        const struct batch *b = &r->v[i].head;
        if (!r->v[i].counts) continue;
        if (sure && b->seq > r->durable) r->durable = b->seq;
        size_t sane = 0;
        error = batch_redo(r, &r->v[i], &sane);
        if (!error && b->seq > r->durable) journal_again(j, r->v[i].records, sane);
        j->counts.replayed++;
    }
    part_over(r);
    return error;
}

/* ---- Opening ------------------------------------------------------------------------------------------- */

static bool segments_too_many(const struct journal *j) {
    for (int i = (int)j->config.segments; i < JOURNAL_SEGMENTS_MAX; i++)
        if (j->segments[i].exists) return true;
    return false;
}

/* The segment of the newest batch becomes the current one. */
static int segment_resume(struct replay *r) {
    struct journal *j = r->j;
    const struct found *f = &r->v[r->n - 1];
    int file, error = BELOW(j, open, DISK_ROOT, segment_name(f->segment).c, DISK_WRITE, &file);
    if (error) return error;
    j->current = f->segment;
    j->current_file = file;
    j->current_at = r->end[f->segment];
    j->generation = f->head.generation;
    j->tag = f->head.tag;
    j->current_synced = true;
    return 0;
}

/* Says behind the newest batch that all is over, be it beyond the end of that segment: else what a power cut leaves while
 * the segments go would look like damage. */
static int segments_close(struct replay *r) {
    int error = r->n ? segment_resume(r) : 0;
    if (r->n && !error) error = journal_close(r->j);
    return no_room(error) ? 0 : error;
}

static int oldest_of_all(const struct journal *j) {
    int oldest = -1;
    for (int i = 0; i < JOURNAL_SEGMENTS_MAX; i++)
        if (j->segments[i].exists && (oldest < 0 || j->segments[i].last < j->segments[oldest].last))
            oldest = i;
    return oldest;
}

/* When some must go all go, since all is in files. The oldest first, and each durably before the next: an older one
 * without those behind it would put back what these had changed. */
static int segments_go(struct replay *r) {
    struct journal *j = r->j;
    int i, error = segments_close(r);
    while (!error && (i = oldest_of_all(j)) >= 0) {
        bool unread = r->any_damage && !j->segments[i].last;
        if (r->damaged[i] || unread) {
            error = segment_aside(j, i, "a batch that was durable is missing here or before");
            if (!error) error = BELOW(j, sync_dir, DISK_ASIDE);
        } else {
            error = BELOW(j, unlink, DISK_ROOT, segment_name(i).c);
        }
        if (!error) error = BELOW(j, sync_dir, DISK_ROOT);
        if (!error) j->segments[i] = (struct segment){0};
    }
    return error;
}

/* Everything into its files: when segments go that may be needed. */
static int rest_all(struct replay *r) {
    struct journal *j = r->j;
    if (j->returned) return 0; /* there is no room anyway */
    int error = rest_everything(j);
    if (error) return error;
    j->pending_n = j->written_n = 0;
    j->written_seq = j->durable_seq = j->next_seq - 1;
    return r->any_damage || segments_too_many(j) ? segments_go(r) : 0;
}

/* It is gone on with: so a program that ends again and again does not use up others. */
static void newest_resume(struct replay *r) {
    const struct journal *j = r->j;
    const struct found *f = r->n ? &r->v[r->n - 1] : NULL;
    if (!f || f->segment >= (int)j->config.segments || !j->segments[f->segment].exists) return;
    if (j->segments[f->segment].failed || f->head.generation > r->durable) return;
    (void)segment_resume(r); /* another serves as well */
}

static int replay(struct replay *r) {
    struct journal *j = r->j;
    int error = foreign_aside(j);
    for (int i = 0; i < JOURNAL_SEGMENTS_MAX && !error; i++) error = segment_read(r, i);
    for (int i = 0; i < JOURNAL_SEGMENTS_MAX; i++) j->names_dirty |= j->segments[i].exists;
    if (!error) error = redo_batches(r);
    if (!error) log_returned(j);
    if (error) return error;
    j->written_seq = j->durable_seq = r->durable;
    if (r->any_damage || segments_too_many(j)) return rest_all(r);
    /* Without a batch too: an earlier life without a journal may have left marks in the page cache only. */
    return r->n || j->below_dirty || j->config.segments ? j->below->ops->sync_all(j->below) : 0;
}

/* A batch that says so: else the next replay would put what the segments say over files that are newer. When starts
 * that were cut have used up all segments, everything goes to files after all. When there is no room for these either,
 * the batch waits in memory: nobody was told of what it holds. */
static int replayed(struct replay *r) {
    struct journal *j = r->j;
    newest_resume(r);
    j->broken = true;
    int error = journal_flush(j);
    if (!no_room(error)) return error;
    if (!j->returned && rest_all(r) == 0) error = journal_flush(j);
    return no_room(error) ? 0 : error;
}

static void start_again(struct journal *j) {
    while (j->oldest) item_over(j, j->oldest);
    redo_clear(j);
    j->pending_n = j->written_n = 0;
    j->broken = j->returned = false;
}

int journal_open(struct disk *d) {
    struct journal *j = (struct journal *)(void *)d;
    struct replay r = {.j = j};
    if (j->opened) return 0;
    int error = replay(&r);
    if (!error && j->config.segments && (r.n || j->pending_n)) error = replayed(&r);
    for (int i = 0; i < JOURNAL_SEGMENTS_MAX; i++) free(r.bytes[i]);
    free(r.v);
    if (error || !j->config.segments) start_again(j);
    j->opened = !error;
    j->rest_seq = j->next_seq - 1; /* the life before counts as a round: the first one takes what it left */
    if (!error) j->below_dirty = false;
    return error;
}
