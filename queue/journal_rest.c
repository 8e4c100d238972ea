/* journal_rest.c: what does not leave soon is written to the disk below, many files with one sync. */
#include "queue/journal_inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- Changes of files below that are not synced -------------------------------------------------------- */

void redo_add(struct journal *j, uint8_t type, int dir, const char *name, const void *bytes, size_t n,
              uint64_t at) {
    struct redo *r = xmalloc(sizeof *r);
    *r = (struct redo){.seq = j->next_seq, .type = type, .dir = dir, .at = at, .n = n};
    memcpy(r->name, name, strlen(name) + 1);
    if (n) {
        r->bytes = xmalloc(n);
        memcpy(r->bytes, bytes, n);
    }
    *j->redo_tail = r;
    j->redo_tail = &r->next;
    j->redo_n++;
}

void redo_clear(struct journal *j) {
    while (j->redo) {
        struct redo *r = j->redo;
        j->redo = r->next;
        free(r->bytes);
        free(r);
    }
    j->redo_tail = &j->redo;
    j->redo_n = 0;
    j->redo_again = false;
}

static int redo_one(struct journal *j, const struct redo *r) {
    int file, error;
    if (r->type == RECORD_UNLINK) {
        error = BELOW(j, unlink, r->dir, r->name);
        return error == ENOENT ? 0 : error;
    }
    error = BELOW(j, open, r->dir, r->name, DISK_WRITE, &file);
    if (error) return error == ENOENT ? 0 : error;
    error = BELOW(j, write, file, r->bytes, r->n, r->at);
    BELOW(j, close, file);
    return error;
}

/* The kernel forgets what it could not write, and believes it clean: so it is written again. */
static int redo_all(struct journal *j) {
    int error = 0;
    if (!j->redo_again || (j->config.skip & JOURNAL_SKIP_REDO)) return 0;
    for (const struct redo *r = j->redo; r && !error; r = r->next) error = redo_one(j, r);
    if (!error) j->redo_again = false;
    return error;
}

/* ---- Items --------------------------------------------------------------------------------------------- */

/* A file that is there is an earlier attempt, whose sync failed: a new one is made, which no error has
 * met. */
int item_write(struct journal *j, struct item *it) {
    int file, error = BELOW(j, open, it->dir, it->name, DISK_CREATE, &file);
    if (error == EEXIST) {
        error = BELOW(j, unlink, it->dir, it->name);
        if (!error) error = BELOW(j, open, it->dir, it->name, DISK_CREATE, &file);
    }
    if (error) return error;
    it->written = true;
    it->unasked = false;
    if (it->n) error = BELOW(j, write, file, it->bytes, it->n, 0);
    BELOW(j, close, file);
    j->counts.rested += !error;
    return error;
}

static int items_write(struct journal *j, uint64_t seq) {
    int error = 0;
    for (struct item *it = j->oldest; it && it->seq <= seq && !error; it = it->newer)
        if (!it->gone) error = item_write(j, it);
    return error;
}

static void gone_remove(struct journal *j, struct item *it) {
    struct item **at = &j->gone;
    while (*at && *at != it) at = &(*at)->gone_next;
    if (*at) *at = it->gone_next;
}

static void items_forget(struct journal *j, uint64_t seq) {
    while (j->oldest && j->oldest->seq <= seq) {
        struct item *it = j->oldest;
        if (it->gone) gone_remove(j, it);
        else item_hide(j, it);
        item_unlist(j, it);
    }
}

static int rest(struct journal *j, uint64_t seq) {
    int error = items_write(j, seq);
    if (!error) error = redo_all(j);
    if (error) return error;
    error = j->below->ops->sync_all(j->below);
    if (error) {
        j->redo_again = true;
        j->syncs_failed++;
        return journal_failed(j, error); /* it may have been the segment that could not be written */
    }
    j->counts.rests++;
    j->below_dirty = false;
    items_forget(j, seq);
    redo_clear(j);
    return 0;
}

int rest_up_to(struct journal *j, uint64_t seq) {
    /* A file that came back from below stands there until the journal has it, durably. */
    if (seq > j->durable_seq) seq = j->durable_seq;
    if (j->returned && seq >= j->returned_seq) seq = j->returned_seq - 1;
    bool items = j->oldest && j->oldest->seq <= seq;
    return items || (j->redo && j->redo->seq <= seq) ? rest(j, seq) : 0;
}

int rest_changes(struct journal *j) {
    return rest(j, 0);
}

int rest_everything(struct journal *j) {
    assert(!j->returned);
    return rest(j, UINT64_MAX);
}
