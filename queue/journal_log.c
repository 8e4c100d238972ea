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

static void add_one(struct journal *j, struct record r, const char *name, const void *bytes) {
    size_t need = sizeof r + r.name_n + r.n;
    j->pending = xgrow(j->pending, &j->pending_cap, j->pending_n + need, 1);
    char *p = j->pending + j->pending_n;
    memcpy(p, &r, sizeof r);
    memcpy(p + sizeof r, name, r.name_n);
    if (r.n) memcpy(p + sizeof r + r.name_n, bytes, r.n);
    j->pending_n += need;
}

/* A long write becomes several records, so that each fits into a segment. */
void journal_log(struct journal *j, enum record_type type, int dir, const char *name, const void *bytes,
                 size_t n, uint64_t at) {
    const char *p = bytes;
    size_t most = j->config.segment_size / 4;
    do {
        size_t part = n < most ? n : most;
        struct record r = {.type = (uint8_t)type,
                           .dir = (uint8_t)dir,
                           .name_n = (uint16_t)strlen(name),
                           .n = (uint32_t)part,
                           .at = at};
        add_one(j, r, name, p);
        if (n) p += part, n -= part, at += part;
    } while (n);
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
    if (!error) return 0;
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

/* A quarter of the segments at once: one sync below frees many. */
static uint64_t quarter(const struct journal *j) {
    uint64_t most = 0, last = 0;
    for (unsigned k = 0; k < 1 + j->config.segments / 4; k++) {
        uint64_t next = UINT64_MAX;
        for (unsigned i = 0; i < j->config.segments; i++) {
            const struct segment *s = &j->segments[i];
            if (s->exists && (int)i != j->current && s->last > last && s->last < next) next = s->last;
        }
        if (next == UINT64_MAX) break;
        most = last = next;
    }
    return most;
}

static void segment_leave(struct journal *j) {
    if (j->current_file >= 0) BELOW(j, close, j->current_file);
    j->current = j->current_file = -1;
}

static int segment_take(struct journal *j, int i) {
    int file, error;
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

/* Always the oldest: so of a file's records the older ones go first, and an unlink outlives what it ends. */
static int segment_next(struct journal *j) {
    int i = oldest_segment(j), absent = absent_segment(j), error;
    if (i >= 0 && j->segments[i].last < journal_tail(j)) return segment_take(j, i);
    if (absent >= 0) {
        error = segment_take(j, absent);
        if (!error || i < 0) return error;
    }
    if (i < 0) return ENOSPC;
    error = (j->config.skip & JOURNAL_SKIP_REST) ? 0 : rest_up_to(j, quarter(j));
    return error ? error : segment_take(j, i);
}

/* ---- Batches ------------------------------------------------------------------------------------------- */

static size_t blocks(size_t n) {
    return (n + JOURNAL_BLOCK - 1) / JOURNAL_BLOCK * JOURNAL_BLOCK;
}

/* Whole records from at on, as many as a segment takes. */
static size_t take(const struct journal *j, size_t at) {
    size_t room = j->config.segment_size - JOURNAL_BLOCK - sizeof(struct batch), n = 0; /* the first claims */
    struct record r;
    while (at + n < j->pending_n) {
        memcpy(&r, j->pending + at + n, sizeof r);
        size_t need = sizeof r + r.name_n + r.n;
        if (n + need > room) break;
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

/* Each begins at a block of its own: a sector that tears is none that was durable. */
static int batch_put(struct journal *j, const char *records, size_t n) {
    size_t whole = blocks(sizeof(struct batch) + n);
    struct batch b = {.magic = "PstnJrn1",
                      .seq = j->next_seq++,
                      .follows = j->written_seq,
                      .tail = journal_tail(j),
                      .n = (uint32_t)n};
    if (b.tail > b.seq) b.tail = b.seq;
    if (!j->current_at) j->generation = b.seq;
    b.generation = j->generation;
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
    size_t whole = blocks(sizeof(struct batch) + n);
    int error = 0;
    if (j->current >= 0 && j->current_at + whole > j->config.segment_size) {
        error = segment_sync(j); /* what this flush has written into it so far */
        if (error) return error;
        segment_leave(j);
    }
    if (j->current < 0) error = segment_next(j);
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

/* What is pending and not in the current segment yet. */
static int write_pending(struct journal *j) {
    int error = 0;
    while (!error && (j->written_n < j->pending_n || j->current < 0)) {
        size_t n = take(j, j->written_n);
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
    int error = write_pending(j);
    if (!error) error = segment_sync(j);
    j->push_failed = false; /* after an error it is tried once, in another segment */
    if (error) return journal_failed(j, error);
    j->broken = false;
    j->durable_seq = j->written_seq;
    j->pending_n = j->written_n = 0;
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
