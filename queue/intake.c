/* intake.c: drafts: messages that are coming in, until the commit. */
#include "queue/inside.h"

#include "queue/crc32c.h"

#include <stdlib.h>
#include <string.h>

/* Memory that one draft may take: envelope and prefix, and what each recipient needs. */
static size_t arena_limit(const struct store *s) {
    return 16384 + (size_t)s->config.recipients * (CONTROL_ADDRESS_MAX + CONTROL_ORCPT_MAX + 2);
}

static struct draft *draft_of(const struct store *s, struct qid id) {
    struct entry *e = entry_find(s, id);
    return e && e->place == PLACE_DRAFT ? e->draft : NULL;
}

/* A draft that may still grow. */
static struct draft *open_draft(const struct store *s, struct qid id) {
    struct draft *d = draft_of(s, id);
    return d && !d->ended ? d : NULL;
}

static struct draft *draft_new(struct store *s, const struct control *head, void *owner) {
    struct draft *d = xmalloc(sizeof *d);
    d->data = d->control = -1;
    d->owner = owner;
    d->arena = arena_new(arena_limit(s));
    d->c = (struct control){.id = head->id,
                            .about = head->about,
                            .arrival = head->arrival,
                            .body = head->body,
                            .ret = head->ret,
                            .after = head->after};
    d->fresh = lease_fresh(s, head->id);
    d->entry = entry_add(s, head->id, PLACE_DRAFT);
    d->entry->draft = d;
    d->next = s->drafts;
    if (d->next) d->next->prev = d;
    s->drafts = d;
    s->draft_count++;
    return d;
}

void draft_joins(struct store *s, struct draft *d) {
    d->batch_next = NULL;
    *s->batch_tail = d;
    s->batch_tail = &d->batch_next;
    s->batch_n++;
}

static void batch_remove(struct store *s, struct draft *d) {
    struct draft **at = &s->batch;
    while (*at && *at != d) at = &(*at)->batch_next;
    if (!*at) return;
    *at = d->batch_next;
    if (!*at) s->batch_tail = at;
    s->batch_n--;
}

static void close_files(struct store *s, struct draft *d) {
    if (d->data >= 0) DISK(s, close, d->data);
    if (d->control >= 0) DISK(s, close, d->control);
    d->data = d->control = -1;
}

/* The draft is over; its entry goes too unless it has become a message in hand. */
void draft_free(struct store *s, struct draft *d) {
    if (d->ended) batch_remove(s, d);
    close_files(s, d);
    if (d->prev) d->prev->next = d->next;
    else s->drafts = d->next;
    if (d->next) d->next->prev = d->prev;
    s->draft_count--;
    if (d->entry) entry_drop(s, d->entry);
    arena_free(d->arena);
    free(d->c.rcpts);
    free(d);
}

/* Control first: if only one of the two unlinks survives a crash, what is left is S1, which is no message. A
 * control file that cannot be unlinked would be a message although it was refused: it is tried again before
 * intake resumes. */
void draft_discard(struct store *s, struct draft *d) {
    struct qid id = d->c.id;
    bool data = d->data_made;
    int error = d->control_made ? part_unlink(s, id, 'c') : 0;
    draft_free(s, d);
    if (error && error != ENOENT && !(s->config.skip & STORE_SKIP_TRASH)) {
        ids_add(&s->trash, id);
        intake_stop(s, error, "unlinking a control file");
        return;
    }
    if (!data) return;
    error = part_unlink(s, id, 'd');
    if (error && error != ENOENT) limbo_add(s, id); /* again with the next commit */
}

bool trash_has(const struct store *s, struct qid id) {
    for (size_t i = 0; i < s->trash.n; i++)
        if (qid_eq(s->trash.v[i], id)) return true;
    return false;
}

bool limbo_has(const struct store *s, struct qid id) {
    for (size_t i = 0; i < s->limbo.n; i++)
        if (qid_eq(s->limbo.v[i], id)) return true;
    return false;
}

bool trash_empty(struct store *s) {
    while (s->trash.n) {
        struct qid id = s->trash.v[s->trash.n - 1];
        int error = part_unlink(s, id, 'c');
        if (error && error != ENOENT) return false;
        s->trash.n--;
        limbo_add(s, id);
    }
    return true;
}

void draft_answer(struct store *s, struct draft *d, const struct status *status, unsigned batch) {
    s->user.answer(s->user.ctx, d->owner, &d->c, status, batch);
}

static void refuse(struct store *s, struct draft *d, struct status why) {
    struct control c = {.id = d->c.id};
    void *owner = d->owner;
    draft_discard(s, d);
    s->user.answer(s->user.ctx, owner, &c, &why, 0);
}

void store_refuse(struct store *s, struct qid id, const struct status *why) {
    struct draft *d = draft_of(s, id);
    if (d) refuse(s, d, *why);
}

static void refuse_errno(struct store *s, struct draft *d, int error, const char *doing) {
    refuse(s, d, status_of_errno(error));
    /* No descriptor left is no fault of the disk; it passes as drafts end. */
    if (error != EMFILE && error != ENFILE && error != EEXIST) intake_stop(s, error, doing);
}

/* Controls in an address or a note would be no danger to the file (texts carry their length), but no
 * parser makes them either. */
static bool clean(struct str t) {
    for (size_t i = 0; i < t.n; i++)
        if ((unsigned char)t.p[i] < 0x20 || t.p[i] == 0x7f) return false;
    return true;
}

static const struct status bad_envelope = {
    .kind = STATUS_LATER,
    .code = 451,
    .detail = {4, 3, 0},
    .text = {"The envelope makes no sense", sizeof "The envelope makes no sense" - 1}};

static bool draft_envelope(struct draft *d, const struct control *head) {
    if (!clean(head->sender) || !clean(head->origin) || !clean(head->envid)) return false;
    if (head->sender.n > CONTROL_ADDRESS_MAX || head->origin.n > CONTROL_ORIGIN_MAX ||
        head->envid.n > CONTROL_ENVID_MAX)
        return false;
    d->c.sender = str_dup(d->arena, head->sender);
    d->c.origin = str_dup(d->arena, head->origin);
    d->c.envid = str_dup(d->arena, head->envid);
    return true;
}

static void answer_unborn(struct store *s, struct qid id, void *owner, struct status why) {
    struct control c = {.id = id};
    s->user.answer(s->user.ctx, owner, &c, &why, 0);
}

void store_begin(struct store *s, const struct control *head, void *owner) {
    if (s->stopped) {
        answer_unborn(s, head->id, owner, status_of_errno(s->stopped_for_room ? ENOSPC : EIO));
        return;
    }
    unsigned most = s->config.drafts && s->config.drafts < DRAFTS_MAX ? s->config.drafts : DRAFTS_MAX;
    if (!s->opened || s->draft_count >= most || entry_find(s, head->id)) {
        answer_unborn(s, head->id, owner,
                      status_make(451, "4.3.2", "The mail queue is busy, try again later"));
        return;
    }
    struct draft *d = draft_new(s, head, owner);
    if (!draft_envelope(d, head)) refuse(s, d, bad_envelope);
}

void *store_owner(struct store *s, struct qid id) {
    struct draft *d = draft_of(s, id);
    return d ? d->owner : NULL;
}

void store_rcpt(struct store *s, struct qid id, uint32_t index, const struct control_rcpt *r) {
    struct draft *d = open_draft(s, id);
    if (!d) return;
    struct control *c = &d->c;
    if (index != c->rcpt_count || !r->rcpt.n || !clean(r->rcpt) || !clean(r->orcpt) ||
        r->rcpt.n > CONTROL_ADDRESS_MAX || r->orcpt.n > CONTROL_ORCPT_MAX) {
        refuse(s, d, bad_envelope);
        return;
    }
    struct control_rcpt copy = {.rcpt = str_dup(d->arena, r->rcpt),
                                .orcpt = str_dup(d->arena, r->orcpt),
                                .parent = CONTROL_NO_PARENT,
                                .notify = r->notify,
                                .next = c->after,
                                .state = 'N'};
    if (c->rcpt_count >= s->config.recipients || !copy.rcpt.p || (r->orcpt.n && !copy.orcpt.p)) {
        refuse(s, d, status_make(452, "4.5.3", "Too many recipients"));
        return;
    }
    c->rcpts = xgrow(c->rcpts, &d->rcpt_cap, c->rcpt_count + 1, sizeof *c->rcpts);
    c->rcpts[c->rcpt_count++] = copy;
}

static int data_open(struct store *s, struct draft *d) {
    if (d->data >= 0) return 0;
    int error = part_create(s, d, 'd', &d->data);
    d->data_made = !error;
    d->syncs_failed = syncs_failed(s);
    return error;
}

void store_data(struct store *s, struct qid id, struct str bytes) {
    struct draft *d = open_draft(s, id);
    if (!d) return;
    if (bytes.n > s->config.message_size || d->c.size > s->config.message_size - bytes.n) {
        refuse(s, d, status_make(552, "5.3.4", "Message too big")); /* RFC 1870 6.3 */
        return;
    }
    int error = data_open(s, d);
    if (!error) error = DISK(s, write, d->data, bytes.p, bytes.n, d->c.size);
    if (error) {
        refuse_errno(s, d, error, "writing data");
        return;
    }
    d->c.data_crc = crc32c(d->c.data_crc, bytes.p, bytes.n);
    d->c.size += bytes.n;
}

void store_end(struct store *s, struct qid id, uint32_t rcpts, uint64_t size, struct str prefix) {
    struct draft *d = open_draft(s, id);
    if (!d) return;
    d->c.prefix = str_dup(d->arena, prefix);
    if (rcpts != d->c.rcpt_count || !rcpts || size != d->c.size || prefix.n > CONTROL_PREFIX_MAX ||
        (prefix.n && !d->c.prefix.p)) {
        refuse(s, d, bad_envelope);
        return;
    }
    int error = data_open(s, d); /* an empty message has its file too */
    if (error) {
        refuse_errno(s, d, error, "creating a data file");
        return;
    }
    d->ended = true;
    draft_joins(s, d);
}

void *store_abort(struct store *s, struct qid id) {
    struct draft *d = draft_of(s, id);
    if (!d) return NULL;
    void *owner = d->owner;
    draft_discard(s, d);
    return owner;
}

void store_abort_all(struct store *s, bool (*match)(void *ctx, void *owner),
                     void (*gone)(void *ctx, void *owner), void *ctx) {
    for (struct draft *d = s->drafts, *next; d; d = next) {
        void *owner = d->owner;
        next = d->next;
        if (!match(ctx, owner)) continue;
        draft_discard(s, d);
        gone(ctx, owner);
    }
}

const struct control *store_draft(const struct store *s, struct qid id) {
    const struct entry *e = entry_find(s, id);
    return e && e->place == PLACE_DRAFT && e->draft ? &e->draft->c : NULL;
}

void store_hold_draft(struct store *s, struct qid id) {
    struct entry *e = entry_find(s, id);
    if (e && e->place == PLACE_DRAFT && e->draft && !e->draft->ended) e->draft->c.held = true;
}

void store_redirect_draft(struct store *s, struct qid id, uint32_t *rcpts, struct str to) {
    struct draft *d = open_draft(s, id);
    if (!d || !*rcpts || *rcpts != d->c.rcpt_count) return;
    struct str copy = clean(to) && to.n <= CONTROL_ADDRESS_MAX ? str_dup(d->arena, to) : STR_NONE;
    *rcpts = 0; /* what cannot be redirected is refused: it was not meant for those */
    if (!copy.n) return;
    d->c.rcpts[0] =
        (struct control_rcpt){.rcpt = copy, .parent = CONTROL_NO_PARENT, .next = d->c.after, .state = 'N'};
    d->c.rcpt_count = *rcpts = 1;
}
