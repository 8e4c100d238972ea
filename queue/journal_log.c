/* journal_log.c: batches of records in segments. */
#include "queue/journal_inside.h"

#include "queue/crc32c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ZEROS = 256 * 1024 };

struct segment_name segment_name(int i) {
    struct segment_name name;
    snprintf(name.c, sizeof name.c, "journal.%02u", (unsigned)i % JOURNAL_SEGMENTS_MAX);
    return name;
}

/* ---- Records ------------------------------------------------------------------------------------------- */

struct records {
    char *p;
    size_t n, cap;
};

static void add_one(struct records *to, struct record r, const char *name, const void *bytes) {
    to->p = xgrow(to->p, &to->cap, to->n + sizeof r + r.name_n + r.n, 1);
    char *p = to->p + to->n;
    memcpy(p, &r, sizeof r);
    memcpy(p + sizeof r, name, r.name_n);
    if (r.n) memcpy(p + sizeof r + r.name_n, bytes, r.n);
    to->n += sizeof r + r.name_n + r.n;
}

/* A long write becomes several records, so that each fits into a segment. */
static void add(const struct journal *j, struct records *to, enum record_type type, int dir, const char *name,
                const void *bytes, size_t n, uint64_t at) {
    const char *p = bytes;
    size_t most = j->config.segment_size / 4;
    do {
        size_t part = n < most ? n : most;
        struct record r = {.type = (uint8_t)type,
                           .dir = (uint8_t)dir,
                           .name_n = (uint16_t)strlen(name),
                           .n = (uint32_t)part,
                           .at = at};
        add_one(to, r, name, p);
        if (n) p += part, n -= part, at += part;
    } while (n);
}

void journal_log(struct journal *j, enum record_type type, int dir, const char *name, const void *bytes,
                 size_t n, uint64_t at) {
    struct records to = {j->pending, j->pending_n, j->pending_cap};
    add(j, &to, type, dir, name, bytes, n, at);
    j->pending = to.p;
    j->pending_n = to.n;
    j->pending_cap = to.cap;
    j->logged++;
}

void journal_log_whole(struct journal *j, const struct item *it) {
    journal_log(j, RECORD_CREATE, it->dir, it->name, NULL, 0, it->n);
    journal_log(j, RECORD_WRITE, it->dir, it->name, it->bytes, it->n, 0);
}

void journal_buffers_fit(struct journal *j) {
    free(j->out);
    j->out = NULL;
    j->out_cap = 0;
    if (j->pending_cap / 2 < j->pending_n || !j->pending_cap) return;
    j->pending = xrealloc(j->pending, j->pending_n);
    j->pending_cap = j->pending_n;
}

void journal_again(struct journal *j, const char *records, size_t n) {
    j->pending = xgrow(j->pending, &j->pending_cap, j->pending_n + n, 1);
    if (n) memcpy(j->pending + j->pending_n, records, n);
    j->pending_n += n;
    j->logged++;
}

static bool refused(const struct journal *j, int dir, const char *name, size_t n) {
    for (const struct item *it = j->gone; it; it = it->gone_next)
        if (it->seq > j->durable_seq && it->dir == dir && strlen(it->name) == n &&
            memcmp(it->name, name, n) == 0)
            return true;
    return false;
}

/* After a flush that failed: what was refused then need not be written, only that it is gone (parts of it may be on
 * the disk). */
static void leave_out_refused(struct journal *j) {
    struct record r;
    size_t kept = 0, need;
    for (size_t at = 0; at < j->pending_n; at += need) {
        memcpy(&r, j->pending + at, sizeof r);
        need = sizeof r + r.name_n + r.n;
        if (r.type != RECORD_UNLINK && refused(j, r.dir, j->pending + at + sizeof r, r.name_n)) continue;
        memmove(j->pending + kept, j->pending + at, need);
        kept += need;
    }
    j->pending_n = kept;
}

/* ---- Segments ------------------------------------------------------------------------------------------ */

/* What is older than the tail is in files, or over. */
uint64_t journal_tail(const struct journal *j) {
    uint64_t tail = j->next_seq;
    if (j->oldest && j->oldest->seq < tail) tail = j->oldest->seq;
    if (j->redo && j->redo->seq < tail) tail = j->redo->seq;
    return tail;
}

/* Written with zeros, so that later syncs have no blocks or lengths to record. */
static int segment_make(struct journal *j, int i, int *file) {
    struct segment_name name = segment_name(i);
    int error = BELOW(j, unlink, DISK_ROOT, name.c);
    if (error && error != ENOENT) return error;
    if (!error) j->names_dirty = true;
    error = BELOW(j, open, DISK_ROOT, name.c, DISK_CREATE, file);
    if (error) return error;
    char *zeros = xmalloc(ZEROS);
    for (uint64_t at = 0, n; !error && at < j->config.segment_size; at += n) {
        n = j->config.segment_size - at < ZEROS ? j->config.segment_size - at : ZEROS;
        error = BELOW(j, write, *file, zeros, n, at);
    }
    free(zeros);
    if (!error) error = BELOW(j, sync, *file);
    if (!error) error = BELOW(j, sync_dir, DISK_ROOT);
    j->segments[i] = (struct segment){.exists = !error};
    if (!error) j->names_dirty = false;
    if (!error) return 0;
    j->names_dirty = true;
    BELOW(j, close, *file);
    BELOW(j, unlink, DISK_ROOT, name.c); /* it may hold room that is needed */
    return error;
}

static int oldest_segment(const struct journal *j) {
    int oldest = -1;
    for (int i = 0; i < (int)j->config.segments; i++) {
        if (!j->segments[i].exists || i == j->current) continue;
        if (oldest < 0 || j->segments[i].last < j->segments[oldest].last) oldest = i;
    }
    return oldest;
}

static int absent_segment(const struct journal *j) {
    for (int i = 0; i < (int)j->config.segments; i++)
        if (!j->segments[i].exists) return i;
    return -1;
}

/* One is kept free, and made before it is needed: on a full disk marks go there, and what is alive moves there from a
 * segment that is mostly dead. */
static unsigned spares(const struct journal *j) {
    return j->config.segments >= 4;
}

static unsigned free_segments(const struct journal *j) {
    uint64_t tail = journal_tail(j);
    unsigned n = 0;
    for (int i = 0; i < (int)j->config.segments; i++)
        n += j->segments[i].exists && i != j->current && j->segments[i].last < tail;
    return n;
}

bool journal_stuck(const struct disk *d) {
    const struct journal *j = (const struct journal *)(const void *)d;
    return j->returned && j->broken && j->current < 0 && !free_segments(j);
}

/* The newest batch in the oldest segment that is needed, but for the current one. 0: none. */
static uint64_t oldest_needed(const struct journal *j) {
    uint64_t tail = journal_tail(j), oldest = 0;
    for (int i = 0; i < (int)j->config.segments; i++) {
        const struct segment *s = &j->segments[i];
        if (!s->exists || i == j->current || s->last < tail) continue;
        if (!oldest || s->last < oldest) oldest = s->last;
    }
    return oldest;
}

uint64_t journal_crowded(const struct journal *j) {
    unsigned exist = 0;
    for (unsigned i = 0; i < j->config.segments; i++) exist += j->segments[i].exists;
    return exist > j->config.segments / 2 && free_segments(j) <= exist / 2 ? oldest_needed(j) : 0;
}

/* On a small or a full disk the room is left to files. */
static bool room_for_another(const struct journal *j) {
    struct disk_space space;
    unsigned exist = 0;
    for (unsigned i = 0; i < j->config.segments; i++) exist += j->segments[i].exists;
    return exist < 3 || j->below->ops->space(j->below, &space) != 0 ||
           space.bytes / 8 > j->config.segment_size;
}

static void segment_leave(struct journal *j) {
    if (j->current_file >= 0) BELOW(j, close, j->current_file);
    j->current = j->current_file = -1;
}

/* Before it is durable that an older segment is gone no other is changed: a power cut could bring the older one back, and
 * not the one behind it with the marks of the same files. Nor is one written whose own name may not be durable, because who
 * made it was killed. */
static int names_sync(struct journal *j) {
    int error = j->names_dirty ? BELOW(j, sync_dir, DISK_ROOT) : 0;
    if (!error) j->names_dirty = false;
    return error;
}

static int segment_take(struct journal *j, int i) {
    int file, error = names_sync(j);
    if (error) return error;
    if (j->segments[i].exists && !j->segments[i].failed)
        error = BELOW(j, open, DISK_ROOT, segment_name(i).c, DISK_WRITE, &file);
    else error = segment_make(j, i, &file);
    if (error) return error;
    j->segments[i].old_last = j->segments[i].last;
    j->current = i;
    j->current_file = file;
    j->current_at = 0;
    j->current_synced = false;
    return 0;
}

/* Something is pending that was not accepted yet. */
static bool intake_pending(const struct journal *j) {
    for (const struct item *it = j->newest; it && it->seq > j->durable_seq; it = it->older)
        if (!it->gone && !it->old && !it->written) return true;
    return false;
}

static int batch_write(struct journal *j, const char *records, size_t n);
static int segment_sync(struct journal *j);

static size_t blocks(size_t n) {
    return (n + JOURNAL_BLOCK - 1) / JOURNAL_BLOCK * JOURNAL_BLOCK;
}

/* What is alive up to that batch is logged again at the head of the current segment, if that gains something. */
static int move_up_to(struct journal *j, uint64_t seq) {
    struct records to = {0};
    struct item *it, *next;
    size_t n = 0;
    int error;
    for (it = j->oldest; it && it->seq <= seq; it = it->newer)
        n += it->gone ? 0 : it->n + 2 * (sizeof(struct record) + 31);
    if (!n || blocks(sizeof(struct batch) + n) + JOURNAL_BLOCK > j->config.segment_size / 4 * 3) return 0;
    for (it = j->oldest; it && it->seq <= seq; it = it->newer) {
        if (it->gone) continue;
        add(j, &to, RECORD_CREATE, it->dir, it->name, NULL, 0, 0);
        add(j, &to, RECORD_WRITE, it->dir, it->name, it->bytes, it->n, 0);
    }
    error = batch_write(j, to.p, to.n);
    free(to.p);
    if (!error) error = segment_sync(j);
    if (error) return error;
    j->durable_seq = j->written_seq;
    for (it = j->oldest; it && it->seq <= seq; it = next) {
        next = it->newer;
        if (!it->gone) item_renew(j, it, j->written_seq);
    }
    return rest_up_to(j, seq); /* changes below; these take no room */
}

static int segments_add(struct journal *j) {
    int error = 0, file, absent;
    while (free_segments(j) <= spares(j) && (absent = absent_segment(j)) >= 0 && room_for_another(j)) {
        error = segment_make(j, absent, &file);
        if (error) break;
        BELOW(j, close, file);
    }
    return error;
}

/* Always the oldest: so of a file's records the older ones go first, and an unlink outlives what it ends. */
static int segment_next(struct journal *j) {
    int error = segments_add(j);
    if (free_segments(j) > spares(j)) return segment_take(j, oldest_segment(j));
    if (oldest_segment(j) < 0) return error;
    error = ENOSPC;
    uint64_t needed = oldest_needed(j);
    if (needed) error = (j->config.skip & JOURNAL_SKIP_REST) ? 0 : rest_up_to(j, needed);
    else if (free_segments(j)) error = 0;
    if (!error && !(j->config.skip & JOURNAL_SKIP_REST) && !free_segments(j)) error = ENOSPC;
    if (!error) return segment_take(j, oldest_segment(j));
    if (!no_room(error) || intake_pending(j) || !free_segments(j) || (j->config.skip & JOURNAL_SKIP_MOVE))
        return error;
    error = segment_take(j, oldest_segment(j));
    return error || !needed ? error : move_up_to(j, needed);
}

/* ---- Batches ------------------------------------------------------------------------------------------- */

/* made: a CREATE. */
static bool writes_into(const char *made, const char *record) {
    struct record c, r;
    if (!made) return false;
    memcpy(&c, made, sizeof c);
    memcpy(&r, record, sizeof r);
    return r.type == RECORD_WRITE && r.dir == c.dir && r.name_n == c.name_n &&
           memcmp(made + sizeof c, record + sizeof r, r.name_n) == 0;
}

/* Whole records from at on, as many as a segment takes. A CREATE is not cut off from the writes behind it: when the next
 * batch is lost, a file that came back would stand there empty, instead of the whole one below. */
static size_t take(const struct journal *j, size_t at) {
    size_t room = j->config.segment_size - JOURNAL_BLOCK - sizeof(struct batch); /* the first claims */
    size_t n = 0, whole = 0;
    const char *made = NULL;
    struct record r;
    while (at + n < j->pending_n) {
        const char *p = j->pending + at + n;
        memcpy(&r, p, sizeof r);
        size_t need = sizeof r + r.name_n + r.n;
        if (!writes_into(made, p)) {
            whole = n;
            made = r.type == RECORD_CREATE ? p : NULL;
        }
        if (n + need > room) return whole ? whole : n;
        n += need;
    }
    return n;
}

/* All that was written is durable. */
static int segment_sync(struct journal *j) {
    int error = BELOW(j, sync, j->current_file);
    if (error) return error;
    j->current_synced = true;
    j->durable_tail = j->written_tail;
    return 0;
}

/* A segment with room for so much becomes the current one. */
static int segment_for(struct journal *j, size_t whole) {
    for (int tries = 0; tries < 4; tries++) {
        if (j->current >= 0 && j->current_at + whole <= j->config.segment_size) return 0;
        int error = 0;
        if (j->current >= 0) {
            error = segment_sync(j); /* what was written into it so far */
            if (error) return error;
            j->durable_seq = j->written_seq;
            segment_leave(j);
        }
        error = segment_next(j);
        if (error) return error;
    }
    return ENOSPC;
}

/* Each begins at a block of its own: a sector that tears is none that was durable. */
static int batch_put(struct journal *j, const char *records, size_t n) {
    size_t whole = blocks(sizeof(struct batch) + n);
    struct batch b = {.magic = "PstnJrn2",
                      .seq = j->next_seq++,
                      .follows = j->written_seq,
                      .tail = journal_tail(j),
                      .durable = j->durable_seq,
                      .n = (uint32_t)n};
    if (b.tail > b.seq) b.tail = b.seq;
    if (!j->current_at) {
        j->generation = b.seq;
        j->tag = str_hash((struct str){(const char *)&b.seq, sizeof b.seq}, j->config.secret);
    }
    b.generation = j->generation;
    b.tag = j->tag;
    b.crc = crc32c(crc32c(0, &b, offsetof(struct batch, crc)), records, n);
    j->out = xgrow(j->out, &j->out_cap, whole, 1);
    memcpy(j->out, &b, sizeof b);
    if (n) memcpy(j->out + sizeof b, records, n);
    memset(j->out + sizeof b + n, 0, whole - sizeof b - n);
    j->segments[j->current].last = b.seq;
    int error = BELOW(j, write, j->current_file, j->out, whole, j->current_at);
    j->current_at += whole;
    j->counts.batches++;
    j->counts.octets += whole;
    if (error) return error;
    j->written_seq = b.seq;
    j->written_tail = b.tail;
    return 0;
}

/* Nothing durable says yet that what the segment held is over, and its blocks change on the disk in any
 * order: the beginning of its old use could be found again without what followed, a file made without
 * its end over the one that rests below. So a batch that says it, alone in the first block, comes first. */
static int segment_claim(struct journal *j) {
    const struct segment *s = &j->segments[j->current];
    if (j->current_at || !s->old_last || s->old_last < j->durable_tail) return 0;
    if (j->config.skip & JOURNAL_SKIP_CLAIM) return 0;
    int error = batch_put(j, NULL, 0);
    if (!error) error = segment_sync(j);
    if (!error) j->durable_seq = j->written_seq;
    return error;
}

static int batch_write(struct journal *j, const char *records, size_t n) {
    int error = segment_for(j, blocks(sizeof(struct batch) + n));
    if (!error) error = segment_claim(j);
    return error ? error : batch_put(j, records, n);
}

/* The records of unlinks are durable: nothing of these files is needed any more. */
static void bury(struct journal *j) {
    while (j->gone) {
        struct item *it = j->gone;
        j->gone = it->gone_next;
        item_unlist(j, it);
    }
}

int journal_below_clean(struct journal *j) {
    int error = j->below_dirty ? j->below->ops->sync_all(j->below) : 0;
    if (error) j->syncs_failed++;
    else j->below_dirty = false;
    return error;
}

/* What is pending and not in the current segment yet. A name that was changed below is durable before the record that
 * says it is over: else a power cut could leave the record only, and the file would be unlinked. */
static int write_pending(struct journal *j) {
    int error = journal_below_clean(j);
    while (!error && (j->written_n < j->pending_n || j->current < 0)) {
        size_t n = take(j, j->written_n);
        if (!n && j->written_n < j->pending_n) return EIO; /* a record that fits nowhere; there are none */
        error = batch_write(j, j->pending + j->written_n, n);
        if (!error) j->written_n += n;
    }
    return error;
}

/* After an error the segment is left for good: the kernel may have forgotten what it could not write, and
 * would say yes next time. The records stay, and go into another segment. */
int journal_failed(struct journal *j, int error) {
    struct segment *s = j->current >= 0 ? &j->segments[j->current] : NULL;
    if (s) s->failed = true;
    /* What it held before may still be there: it stays the oldest, and is made anew before any other is
     * used. */
    if (s && !j->current_synced) s->last = s->old_last;
    segment_leave(j);
    j->broken = true;
    j->written_n = 0;
    j->written_seq = j->durable_seq;
    return error;
}

/* One sync for all that is pending. */
int journal_flush(struct journal *j) {
    if (!j->pending_n && !j->broken) return 0;
    if (j->broken && !j->written_n) leave_out_refused(j);
    int error = write_pending(j);
    if (!error) error = segment_sync(j);
    j->push_failed = false; /* after an error it is tried once, in another segment */
    if (error) return journal_failed(j, error);
    j->broken = j->returned = false;
    j->durable_seq = j->written_seq;
    j->pending_n = j->written_n = 0;
    j->flushed = j->logged;
    bury(j);
    return 0;
}

/* The page cache outlives the program. An error comes back at the next flush. */
void journal_push(struct disk *d) {
    struct journal *j = (struct journal *)(void *)d;
    if (!j->opened || j->push_failed || j->written_n == j->pending_n) return;
    if (write_pending(j) == 0) return;
    journal_failed(j, EIO);
    j->push_failed = true;
}

int journal_close(struct journal *j) {
    int error = batch_put(j, NULL, 0);
    if (!error) error = segment_sync(j);
    segment_leave(j);
    return error;
}
