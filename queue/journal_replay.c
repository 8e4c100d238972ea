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
};

struct replay {
    struct journal *j;
    char *bytes[JOURNAL_SEGMENTS_MAX];
    struct found *v;
    size_t n, cap;
};

static void told(struct journal *j, const char *text) {
    j->user.trouble(j->user.ctx, str_of(text));
}

/* ---- Finding batches ----------------------------------------------------------------------------------- */

/* generation 0: the first of the segment, which gives its own seq as the generation. */
static bool batch_whole(const struct journal *j, const char *p, size_t left, uint64_t generation,
                        uint64_t before, struct batch *b) {
    if (left < sizeof *b) return false;
    memcpy(b, p, sizeof *b);
    if (memcmp(b->magic, "PstnJrn1", 8) != 0 || b->n > left - sizeof *b || b->seq > UINT64_MAX / 2)
        return false;
    uint32_t crc = crc32c(crc32c(0, b, offsetof(struct batch, crc)), p + sizeof *b, b->n);
    if (crc != b->crc && !(j->config.skip & JOURNAL_SKIP_CHECKSUM)) return false;
    if (j->config.skip & JOURNAL_SKIP_GENERATION) return true;
    return b->generation == (generation ? generation : b->seq) && b->seq > before;
}

/* Up to the first that is not whole: a torn end, or what an earlier use of the segment has left. */
static void scan(struct replay *r, int i, const char *p, size_t size) {
    struct batch b;
    uint64_t generation = 0, before = 0;
    for (size_t at = 0; at < size; at += JOURNAL_BLOCK) {
        if (!batch_whole(r->j, p + at, size - at, generation, before, &b)) break;
        r->v = xgrow(r->v, &r->cap, r->n + 1, sizeof *r->v);
        r->v[r->n++] = (struct found){.head = b, .records = p + at + sizeof b, .segment = i};
        if (b.seq > r->j->segments[i].last) r->j->segments[i].last = b.seq;
        generation = b.generation;
        before = b.seq;
        at += (sizeof b + b.n - 1) / JOURNAL_BLOCK * JOURNAL_BLOCK;
    }
}

static bool garbage(const char *p, size_t n) {
    if (n >= 8 && memcmp(p, "PstnJrn1", 8) == 0) return false; /* perhaps torn */
    for (size_t i = 0; i < n; i++)
        if (p[i]) return true;
    return false;
}

static int segment_aside(struct journal *j, int i, const char *why) {
    struct segment_name name = segment_name(i);
    char to[DISK_NAME_MAX + 1];
    int error = EEXIST;
    for (unsigned n = 0; error == EEXIST && n < 1000; n++) {
        struct buf b = BUF(to);
        buf_adds(&b, name.c);
        buf_addc(&b, '.');
        buf_addu(&b, n);
        error = BELOW(j, rename, DISK_ROOT, name.c, DISK_ASIDE, buf_cstr(&b));
    }
    if (error) return error;
    j->below_dirty = true;
    j->user.aside(j->user.ctx, str_of(name.c), str_of(why));
    return 0;
}

static int segment_read(struct replay *r, int i) {
    struct journal *j = r->j;
    struct segment_name name = segment_name(i);
    struct disk_info info;
    size_t got;
    int file, error = BELOW(j, info, DISK_ROOT, name.c, &info);
    j->segments[i] = (struct segment){0};
    if (error) return error == ENOENT ? 0 : error;
    if (!info.regular || !info.ours) return segment_aside(j, i, "it is no plain file of ours");
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

/* Of a message whose file rests below already. */
static int write_below(struct journal *j, const struct record *r, const char *name, const char *bytes) {
    struct disk_info info;
    int file, error = BELOW(j, info, r->dir, name, &info);
    if (error == ENOENT || (!error && (!info.regular || !info.ours))) return 0; /* the walk will judge it */
    if (!error) error = BELOW(j, open, r->dir, name, DISK_WRITE, &file);
    if (error) return error;
    error = BELOW(j, write, file, bytes, r->n, r->at);
    BELOW(j, close, file);
    return error;
}

static int redo_record(struct journal *j, const struct record *r, const char *name, const char *bytes,
                       uint64_t seq) {
    static const unsigned skips[] = {[RECORD_CREATE] = JOURNAL_SKIP_CREATE,
                                     [RECORD_WRITE] = JOURNAL_SKIP_WRITE,
                                     [RECORD_UNLINK] = JOURNAL_SKIP_UNLINK,
                                     [RECORD_FORGET] = JOURNAL_SKIP_FORGET};
    struct item *it = item_find(j, r->dir, name);
    int error;
    if (j->config.skip & skips[r->type]) return 0;
    if (r->type == RECORD_WRITE) {
        if (!it) return write_below(j, r, name, bytes);
        item_set(it, bytes, r->n, r->at);
        return 0;
    }
    if (it) {
        item_hide(j, it);
        item_unlist(j, it);
    }
    if (r->type == RECORD_CREATE) item_add(j, r->dir, name, seq);
    if (r->type != RECORD_UNLINK) return 0;
    error = BELOW(j, unlink, r->dir, name);
    return error == ENOENT ? 0 : error;
}

static bool record_sane(const struct record *r, size_t left) {
    _Static_assert(DISK_FOLDERS == UINT8_MAX + 1, "any value of r->dir is a folder");
    return r->type >= RECORD_CREATE && r->type <= RECORD_FORGET && r->name_n &&
           r->name_n <= JOURNAL_NAME_MAX && r->name_n <= left && r->n <= left - r->name_n;
}

static int batch_redo(struct journal *j, const struct found *f) {
    const char *p = f->records, *end = p + f->head.n;
    char name[JOURNAL_NAME_MAX + 1];
    struct record r;
    int error = 0;
    while (!error && (size_t)(end - p) >= sizeof r) {
        memcpy(&r, p, sizeof r);
        p += sizeof r;
        if (!record_sane(&r, (size_t)(end - p)) || memchr(p, '/', r.name_n) || memchr(p, '\0', r.name_n)) {
            told(j, "a record of the journal makes no sense; the rest of its batch is left out");
            return 0;
        }
        memcpy(name, p, r.name_n);
        name[r.name_n] = '\0';
        error = redo_record(j, &r, name, p + r.name_n, f->head.seq);
        p += r.name_n + r.n;
    }
    return error;
}

static int by_seq(const void *a, const void *b) {
    uint64_t x = ((const struct found *)a)->head.seq, y = ((const struct found *)b)->head.seq;
    return (x > y) - (x < y);
}

static int redo_batches(struct replay *r) {
    struct journal *j = r->j;
    uint64_t before = 0;
    int error = 0;
    if (!r->n) return 0;
    qsort(r->v, r->n, sizeof *r->v, by_seq);
    uint64_t tail = (j->config.skip & JOURNAL_SKIP_GENERATION) ? 0 : r->v[r->n - 1].head.tail;
    for (size_t i = 0; i < r->n && !error; i++) {
        const struct batch *b = &r->v[i].head;
        if (b->seq < tail) continue;
        if (b->follows >= tail && b->follows != before)
            told(j, "a batch of the journal is missing that was durable");
        before = b->seq;
        error = batch_redo(j, &r->v[i]);
        j->counts.replayed++;
    }
    /* Numbers are never used twice, not even those of batches that were not written whole. */
    if (r->v[r->n - 1].head.seq >= j->next_seq) j->next_seq = r->v[r->n - 1].head.seq + 1024;
    return error;
}

/* ---- Opening ------------------------------------------------------------------------------------------- */

static void drop_items(struct journal *j) {
    while (j->oldest) {
        struct item *it = j->oldest;
        item_hide(j, it);
        item_unlist(j, it);
    }
}

static int segments_remove(struct journal *j) {
    int error = 0;
    bool any = false;
    for (int i = (int)j->config.segments; i < JOURNAL_SEGMENTS_MAX && !error; i++) {
        if (!j->segments[i].exists) continue;
        error = BELOW(j, unlink, DISK_ROOT, segment_name(i).c);
        if (error == ENOENT) error = 0;
        j->segments[i].exists = false;
        any = true;
    }
    return error || !any ? error : BELOW(j, sync_dir, DISK_ROOT);
}

/* What is read may be in the page cache only, after a program was killed whose sync had failed: so all of
 * it is made durable in files now, before any of it is told. */
static int replay(struct replay *r) {
    struct journal *j = r->j;
    int error = 0;
    for (int i = 0; i < JOURNAL_SEGMENTS_MAX && !error; i++) error = segment_read(r, i);
    if (!error) error = redo_batches(r);
    j->redo_again = false;
    for (struct item *it = j->oldest; it && !error; it = it->newer) {
        error = BELOW(j, unlink, it->dir, it->name);
        if (error == ENOENT) error = 0;
    }
    if (!error && j->oldest) error = rest_up_to(j, UINT64_MAX);
    else if (!error && (r->n || j->below_dirty)) error = j->below->ops->sync_all(j->below);
    return error ? error : segments_remove(j);
}

/* A batch that says so: else the next replay would put what the segments say over files that are newer. */
static int replayed(struct journal *j) {
    j->written_seq = j->durable_seq = j->next_seq - 1;
    j->broken = true;
    return j->config.segments ? journal_flush(j) : 0;
}

int journal_open(struct disk *d) {
    struct journal *j = (struct journal *)(void *)d;
    struct replay r = {.j = j};
    if (j->opened) return 0;
    int error = replay(&r);
    if (!error && r.n) error = replayed(j);
    for (int i = 0; i < JOURNAL_SEGMENTS_MAX; i++) free(r.bytes[i]);
    free(r.v);
    drop_items(j);
    j->opened = !error;
    j->broken = false;
    j->below_dirty = false;
    return error;
}
