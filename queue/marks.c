/* marks.c: how messages go on after the commit: results, splits, retirement. */
#include "queue/inside.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPLIT_RCPTS_MAX = 200000
}; /* recipients of one message with all that aliases and lists made of them */

/* ---- The list of entries with marks that are not durable ----------------------------------------------- */

static void dirty_add(struct store *s, struct entry *e) {
    if (e->dirty) return;
    e->dirty = true;
    s->dirty_n++;
    e->dirty_next = s->dirty;
    e->dirty_at = &s->dirty;
    if (s->dirty) s->dirty->dirty_at = &e->dirty_next;
    s->dirty = e;
}

static void dirty_remove(struct store *s, struct entry *e) {
    if (!e->dirty) return;
    *e->dirty_at = e->dirty_next;
    if (e->dirty_next) e->dirty_next->dirty_at = e->dirty_at;
    e->dirty = e->spoken = e->orphan = false;
    s->dirty_n--;
    if (e->file >= 0) DISK(s, close, e->file);
    e->file = -1;
    e->suspect = false;
}

void entry_clean(struct store *s, struct entry *e) {
    dirty_remove(s, e);
    e->synced += e->tail_n;
    e->tail_n = 0;
    free(e->tail);
    e->tail = NULL;
    e->tail_cap = 0;
    if (e->place == PLACE_SOIL) entry_drop(s, e);
}

static void let_go(struct store *s, struct entry *e) {
    entry_place(s, e, PLACE_SOIL);
    if (!e->dirty) entry_drop(s, e);
}

/* ---- Appending ----------------------------------------------------------------------------------------- */

static int write_tail(struct store *s, struct entry *e, size_t from) {
    int error = 0;
    if (e->file < 0) error = DISK(s, open, folder_of(e->id), part_name(e->id, 'c').c, DISK_WRITE, &e->file);
    if (!error) error = DISK(s, write, e->file, e->tail + from, e->tail_n - from, e->synced + from);
    if (error && e->file >= 0) {
        DISK(s, close, e->file);
        e->file = -1;
    }
    return error;
}

/* What cannot be written now stays in memory, and is written when the disk heals. */
static void append(struct store *s, struct entry *e, struct str record) {
    size_t from = e->tail_n;
    e->tail = xgrow(e->tail, &e->tail_cap, from + record.n, 1);
    if (record.n) memcpy(e->tail + from, record.p, record.n);
    e->tail_n += record.n;
    dirty_add(s, e);
    if (e->suspect) return; /* marks_doubt is set */
    int error = write_tail(s, e, e->reread ? 0 : from);
    s->marks_point = journal_point(s->journal);
    e->reread = false;
    if (!error) return;
    e->suspect = s->marks_doubt = true;
    if (error != EMFILE && error != ENFILE) intake_stop(s, error, "writing a mark");
}

static void append_mark(struct store *s, struct entry *e, const struct control_mark *m) {
    char mem[CONTROL_MARK_MAX + 32];
    struct buf b = BUF(mem);
    if (control_put_mark(&b, m, &e->chain)) append(s, e, buf_str(&b));
    e->spoken = e->dirty;
}

/* ---- Retirement ---------------------------------------------------------------------------------------- */

void ids_add(struct ids *ids, struct qid id) {
    ids->v = xgrow(ids->v, &ids->cap, ids->n + 1, sizeof *ids->v);
    ids->v[ids->n++] = id;
}

void limbo_add(struct store *s, struct qid id) {
    ids_add(&s->limbo, id);
}

int part_unlink(struct store *s, struct qid id, char part) {
    int error = DISK(s, unlink, folder_of(id), part_name(id, part).c);
    if (part != 'c' || (error && error != ENOENT)) return error;
    dir_soil(s, folder_of(id));
    s->marks_point = journal_point(s->journal);
    return error;
}

static int unlink_control(struct store *s, struct entry *e) {
    int error = part_unlink(s, e->id, 'c');
    if (error && error != ENOENT) return error;
    limbo_add(s, e->id);
    dirty_remove(s, e);
    return 0;
}

static void retired(struct store *s, struct entry *e) {
    struct qid id = e->id;
    int64_t arrival = e->arrival;
    entry_drop(s, e);
    s->user.retired(s->user.ctx, id, arrival);
}

/* The last recipient has ended. Its mark need not be written: without .c there is nothing to be marked. */
static enum store_outcome finish(struct store *s, struct entry *e, const struct control_mark *m) {
    int error = unlink_control(s, e);
    if (!error) {
        retired(s, e);
        return STORE_RETIRED;
    }
    intake_stop(s, error, "unlinking a control file");
    append_mark(s, e, m);
    e->states[m->index] = (char)tolower(m->state);
    e->pending = e->working = 0;
    e->retire = s->marks_doubt = true;
    entry_place(s, e, PLACE_SOIL);
    return STORE_OK;
}

void marks_rewrite(struct store *s) {
    for (struct entry *e = s->dirty, *next; e; e = next) {
        next = e->dirty_next;
        if (e->retire) {
            if (unlink_control(s, e) == 0) retired(s, e);
        } else if (e->suspect) {
            int error = write_tail(s, e, 0);
            s->marks_point = journal_point(s->journal);
            if (!error) e->suspect = false;
            if (error != ENOENT) continue;
            told_trouble(s, "the control file has gone of", str_of(qid_format(e->id).c), error);
            dirty_remove(s, e);
            entry_drop(s, e);
        }
    }
}

bool store_marks_kept(struct store *s) {
    if (!s->begun) return false;
    /* What was only pushed may still go: a segment whose sync fails is made anew before its records are in
     * another. */
    if (s->disk == s->journal && !journal_durable(s->journal, s->marks_point)) return false;
    for (const struct entry *e = s->dirty; s->marks_doubt && e; e = e->dirty_next)
        if (e->suspect || e->retire) return false;
    s->marks_doubt = false;
    return true;
}

bool store_on_record(const struct store *s, struct qid id) {
    const struct entry *e = entry_find(s, id);
    return !e || !e->orphan;
}

void store_orphan(struct store *s, struct qid id) {
    struct entry *e = entry_find(s, id);
    if (e) e->orphan = e->dirty && e->spoken;
}

/* ---- What dispatch says -------------------------------------------------------------------------------- */

static bool pending(char state) {
    return strchr("NLnl", state) != NULL;
}

struct entry *entry_from(struct store *s, const struct control *c) {
    struct entry *e = entry_add(s, c->id, PLACE_SOIL);
    entry_states(e, c->rcpt_count);
    e->rcpts = c->rcpt_count;
    e->arrival = c->arrival;
    /* What was read may be what an earlier life wrote and a failed sync forgot: it reads well from memory,
     * and is gone after a power cut, and all behind it. So the first mark of this life writes it again. */
    e->synced = c->end - c->tail.n;
    e->chain = c->chain;
    e->reread = c->tail.n > 0 && !(s->config.skip & STORE_SKIP_REREAD);
    e->tail_n = c->tail.n;
    if (e->tail_n) {
        e->tail = xgrow(NULL, &e->tail_cap, e->tail_n, 1);
        memcpy(e->tail, c->tail.p, e->tail_n);
    }
    for (uint32_t i = 0; i < c->rcpt_count; i++) e->states[i] = (char)tolower(c->rcpts[i].state);
    e->pending = c->pending;
    return e;
}

/* S5. What says so may be an earlier life's words that a failed sync has forgotten: when its control file cannot be
 * removed they are written again, and dispatch keeps what it knows until it could be (the simulator, seed 7001976). */
void ended_goes(struct store *s, const struct control *c) {
    int error = part_unlink(s, c->id, 'c');
    if (!error) limbo_add(s, c->id);
    if (!error || error == ENOENT || entry_find(s, c->id)) return;
    struct entry *e = entry_from(s, c);
    append(s, e, STR_NONE);
    e->retire = s->marks_doubt = true;
    intake_stop(s, error, "unlinking a control file");
}

/* The entry of a durable message, made from its control file when there is none in memory. */
static struct entry *entry_for(struct store *s, struct qid id) {
    struct entry *e = entry_find(s, id);
    if (e) return e->place == PLACE_DRAFT || e->retire ? NULL : e;
    struct store_message m;
    if (store_load(s, id, &m) == 0) e = entry_from(s, &m.c);
    store_message_done(&m);
    return e;
}

static enum store_outcome leave(struct store *s, struct entry *e, enum store_outcome outcome) {
    if (e->place == PLACE_SOIL && !e->dirty) entry_drop(s, e);
    return outcome;
}

enum store_outcome store_mark(struct store *s, struct qid id, const struct control_mark *m) {
    struct entry *e = entry_for(s, id);
    if (!e) return STORE_UNKNOWN;
    if (m->index >= e->rcpts || m->state == '\0' || !strchr("DLFS", m->state))
        return leave(s, e, STORE_REFUSED);
    char *state = &e->states[m->index];
    bool final = m->state != 'L';
    if (!pending(*state)) { /* dispatch says again what it has no word of: it may be in the page cache only */
        if (e->reread) append(s, e, STR_NONE);
        return leave(s, e, STORE_OK);
    }
    if (final && e->pending == 1) return finish(s, e, m);
    append_mark(s, e, m);
    if (isupper((unsigned char)*state)) e->working--;
    e->pending -= final;
    *state = (char)tolower(m->state);
    if (e->working || e->place != PLACE_HAND) return leave(s, e, STORE_OK);
    let_go(s, e);
    return STORE_RESTS;
}

static bool printable(struct str t) {
    for (size_t i = 0; i < t.n; i++)
        if ((unsigned char)t.p[i] < 0x20 || t.p[i] == 0x7f) return false;
    return true;
}

static bool acceptable(const struct entry *e, uint32_t index, const struct control_rcpt *r) {
    if (index != e->rcpts || index >= SPLIT_RCPTS_MAX || r->parent >= e->rcpts ||
        !pending(e->states[r->parent]))
        return false;
    if (!r->rcpt.n || r->rcpt.n > CONTROL_ADDRESS_MAX || r->orcpt.n > CONTROL_ORCPT_MAX) return false;
    return printable(r->rcpt) && printable(r->orcpt);
}

void repeated_forget(struct store *s) {
    store_message_done(&s->repeated);
    s->repeated = (struct store_message){.c.id = QID_NONE};
}

/* Dispatch says a split again to a queue that may not have read it. */
static bool on_record(struct store *s, const struct entry *e, uint32_t index, const struct control_rcpt *r) {
    struct store_message *m = &s->repeated;
    if (index >= e->rcpts || r->parent >= e->rcpts) return false;
    if (!qid_eq(m->c.id, e->id) || index >= m->c.rcpt_count) { /* what it has of recipients does not change */
        repeated_forget(s);
        if (store_load(s, e->id, m) != 0) {
            repeated_forget(s);
            return false;
        }
    }
    if (index >= m->c.rcpt_count) return false;
    const struct control_rcpt *have = &m->c.rcpts[index];
    return have->parent == r->parent && str_eq(have->rcpt, r->rcpt);
}

enum store_outcome store_split(struct store *s, struct qid id, uint32_t index, const struct control_rcpt *r) {
    char mem[CONTROL_RCPT_MAX + 32];
    struct buf b = BUF(mem);
    struct entry *e = entry_for(s, id);
    if (!e) return STORE_UNKNOWN;
    if (on_record(s, e, index, r)) return leave(s, e, STORE_OK);
    if (!acceptable(e, index, r) || !entry_states(e, index + 1) || !control_put_split(&b, r, &e->chain))
        return leave(s, e, STORE_REFUSED);
    append(s, e, buf_str(&b));
    e->spoken = true;
    e->states[index] = 'N';
    e->rcpts++;
    e->pending++;
    e->working++;
    return STORE_OK;
}

enum store_outcome store_order(struct store *s, struct qid id, const struct control_order *o) {
    char mem[128];
    struct buf b = BUF(mem);
    struct entry *e = entry_for(s, id);
    if (!e) return STORE_UNKNOWN;
    if (control_put_order(&b, o, &e->chain)) append(s, e, buf_str(&b));
    return leave(s, e, STORE_OK);
}

enum store_outcome store_remove(struct store *s, struct qid id) {
    struct entry *e = entry_for(s, id);
    if (!e) return STORE_UNKNOWN;
    int error = unlink_control(s, e);
    if (error) {
        told_trouble(s, "cannot remove", str_of(qid_format(id).c), error);
        return leave(s, e, STORE_REFUSED);
    }
    entry_drop(s, e);
    return STORE_RETIRED;
}

/* ---- In hand, or not ----------------------------------------------------------------------------------- */

void store_take(struct store *s, const struct control *c, int64_t now_ms) {
    struct entry *e = entry_find(s, c->id);
    if (e && (e->place == PLACE_DRAFT || e->retire)) return;
    if (!e) e = entry_from(s, c);
    if (e->rcpts != c->rcpt_count) return; /* not what was loaded; cannot be */
    entry_place(s, e, PLACE_HAND);
    e->working = 0;
    for (uint32_t i = 0; i < c->rcpt_count; i++) {
        bool due = pending(e->states[i]) && (c->rcpts[i].state == 'N' || c->rcpts[i].next <= now_ms);
        e->states[i] = (char)(due ? toupper(e->states[i]) : tolower(e->states[i]));
        e->working += due;
    }
}

void store_let_go(struct store *s, struct qid id) {
    struct entry *e = entry_find(s, id);
    if (e && e->place == PLACE_HAND) let_go(s, e);
}

void store_let_go_all(struct store *s) {
    for (size_t i = 0; i < s->buckets; i++) {
        for (struct entry *e = s->table[i], *next; e; e = next) {
            next = e->next;
            if (e->place == PLACE_HAND) let_go(s, e);
        }
    }
    for (struct entry *e = s->dirty; e; e = e->dirty_next) e->orphan |= e->spoken;
}
