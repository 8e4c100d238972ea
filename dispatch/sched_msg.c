/* sched_msg.c: messages: known, waiting, fetched, in hand, settled; recipients that end, wait or fail;
 * reports. */
#include "dispatch/sched_impl.h"

#include <stdlib.h>
#include <string.h>

struct entry *sched_entry(struct sched *s, struct qid id) {
    for (struct table_node *n = table_first(&s->entries, qid_hash(id)); n; n = table_next(n)) {
        struct entry *e = (struct entry *)n;
        if (qid_eq(e->id, id)) return e;
    }
    return NULL;
}

static void block_new(struct sched *s) {
    struct entry_block *b = xmalloc(sizeof *b);
    for (size_t i = BLOCK_ENTRIES; i-- > 0;) {
        b->v[i].at = (uint16_t)i;
        b->v[i].node.next = (struct table_node *)(void *)b->free;
        b->free = &b->v[i];
    }
    sched_link_append(&s->blocks, &b->link);
}

void sched_entry_release(struct sched *s, struct entry *e) {
    struct entry_block *b = SCHED_OF(struct entry_block, v, e - e->at);
    uint16_t at = e->at;
    *e = (struct entry){.at = at, .node.next = (struct table_node *)(void *)b->free};
    b->free = e;
    if (!b->link.next) sched_link_append(&s->blocks, &b->link);
    if (--b->used) return;
    if (s->blocks.next == &b->link && s->blocks.prev == &b->link && !s->freeing)
        return; /* for the next one */
    sched_link_remove(&b->link);
    free(b);
}

static struct entry *entry_new(struct sched *s, struct qid id, int64_t arrival) {
    if (sched_link_empty(&s->blocks)) block_new(s);
    struct entry_block *b = SCHED_OF(struct entry_block, link, s->blocks.next);
    struct entry *e = b->free;
    b->free = (struct entry *)(void *)e->node.next;
    b->used++;
    if (!b->free) sched_link_remove(&b->link);
    e->node.next = NULL;
    e->id = id;
    e->arrival = arrival;
    table_add(&s->entries, &e->node, qid_hash(id));
    return e;
}

static void entry_let_go(struct sched *s, struct entry *e) {
    struct dest *d = e->dest;
    if (!d) return;
    e->dest = NULL;
    d->refs--;
    if (e->recalled) d->recalled--;
    if (e->unmarked) s->unmarked--;
    e->recalled = e->unmarked = false;
    sched_dest_update(s, d);
}

static void entry_wait_for(struct sched *s, struct entry *e, struct dest *d) {
    entry_let_go(s, e);
    e->dest = d;
    if (d) d->refs++;
}

static void entry_free(struct sched *s, struct entry *e) {
    if (e->state == ENTRY_FETCHED) s->fetching--;
    sched_heap_remove(s, e);
    entry_let_go(s, e);
    table_remove(&s->entries, &e->node);
    sched_entry_release(s, e);
}

static void park(struct entry *e, struct fifo *f) {
    e->state = ENTRY_PARKED;
    sched_fifo_push(f, e->id);
}

void sched_hurry(struct sched *s, struct qid id) {
    struct entry *e = sched_entry(s, id);
    if (!e) e = entry_new(s, id, s->now);
    if (e->m || e->state == ENTRY_FETCHED) return;
    sched_heap_remove(s, e);
    entry_let_go(s, e);
    park(e, &s->backlog);
}

/* They stand in the order of their numbers, and all of them were told: so it is nearly always the first look. */
struct rcpt *sched_rcpt(const struct message *m, uint32_t index) {
    if (index < m->n && m->r[index].index == index) return &m->r[index];
    size_t from = 0, to = m->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (m->r[middle].index < index) from = middle + 1;
        else to = middle;
    }
    return from < m->n && m->r[from].index == index ? &m->r[from] : NULL;
}

/* --- in hand --- */

static void rcpt_let_go(struct sched *s, struct rcpt *r) {
    struct dest *d = r->dest;
    if (!d) return;
    r->dest = NULL;
    d->refs--;
    sched_dest_update(s, d);
}

void sched_unclaim(struct sched *s, struct message *m) {
    struct dest *d = m->claim;
    if (!d) return;
    m->claim = NULL;
    d->recalled--;
    d->refs--;
    sched_dest_update(s, d);
}

void sched_message_free(struct sched *s, struct message *m) {
    sched_unclaim(s, m);
    for (size_t i = 0; i < m->n; i++) rcpt_let_go(s, &m->r[i]);
    for (struct slice *sl = m->unsent, *after; sl; sl = after) { /* only at the end of all */
        after = sl->m_next;
        free(sl);
    }
    sched_link_remove(&m->bounces);
    s->ops->release(s->ctx, m->mail.fd);
    m->e->m = NULL;
    s->in_hand--;
    arena_free(m->arena);
    free(m->r);
    free(m);
}

static struct message *message_new(struct sched *s, struct entry *e, const struct wire_ready *w, int fd) {
    struct message *m = xmalloc(sizeof *m);
    m->e = e;
    m->arena = arena_new(ARENA_MAX);
    m->mail = (struct sched_mail){.id = w->id,
                                  .arrival = w->arrival,
                                  .sender = str_dup(m->arena, w->sender),
                                  .prefix = str_dup(m->arena, w->prefix),
                                  .envid = str_dup(m->arena, w->envid),
                                  .body = w->body,
                                  .ret = w->ret,
                                  .size = w->size,
                                  .fd = fd};
    m->next_index = w->rcpts;
    m->cap = w->rcpts < 1 ? 1 : w->rcpts > 64 ? 64 : w->rcpts; /* most have one: no room for eight then */
    m->r = xmalloc(m->cap * sizeof *m->r);
    m->expired = w->expired == 1;
    m->fresh = w->fresh == 1;
    m->taken = s->now;
    m->force = e->force;
    m->turn = e->turn || e->recalled;
    e->force = e->turn = false;
    e->null_sender = w->sender.n == 0;
    e->m = m;
    s->in_hand++;
    return m;
}

/* Queue tells a message that we have in hand, and knows less of its expansions than we: a queue that died
 * before it had read them. What is not on its record could not be marked, and would be lost with us. */
static void split_again(struct sched *s, const struct message *m, uint32_t known) {
    for (size_t i = 0; i < m->n && !m->gone; i++) {
        const struct rcpt *r = &m->r[i];
        if (!r->parent_at || r->index < known) continue;
        sched_split(s, &(struct wire_split){.id = m->mail.id,
                                            .parent = r->parent,
                                            .index = r->index,
                                            .rcpt = r->text,
                                            .orcpt = r->orcpt,
                                            .notify = r->notify});
    }
}

static void say_ended(struct sched *s, const struct message *m, const struct rcpt *r,
                      const struct status *st) {
    sched_mark(s, &(struct wire_mark){.id = m->mail.id,
                                      .index = r->index,
                                      .state = r->ended,
                                      .attempts = r->attempts,
                                      .next = s->now,
                                      WIRE_STATUS(*st)});
}

static bool on_record(uint8_t state) {
    return state != 'N' && state != 'L';
}

/* Likewise a recipient that has ended here, or had when queue told it before: without its mark queue would keep the
 * message for ever. */
static void mark_again(struct sched *s, struct message *m, uint32_t index) {
    struct status st = status_make(250, "2.0.0", "ended before; said again");
    struct rcpt *r = sched_rcpt(m, index);
    if (r && r->ended) say_ended(s, m, r, &st);
}

void sched_ready(struct sched *s, const struct wire_ready *w, int fd) {
    struct entry *e = sched_entry(s, w->id);
    if (!e) e = entry_new(s, w->id, w->arrival);
    e->arrival = w->arrival;
    if (e->m) { /* we have it: queue may be new, and tells all */
        s->ops->release(s->ctx, fd);
        e->m->take_up |= e->m->put_down;
        if (e->m->complete) split_again(s, e->m, w->rcpts);
        return;
    }
    if (e->state == ENTRY_FETCHED) s->fetching--;
    sched_heap_remove(s, e);
    if (s->in_hand >= s->c.in_hand_max || s->c.paused) {
        s->ops->release(s->ctx, fd);
        park(e, &s->backlog);
        return;
    }
    e->state = ENTRY_HAND;
    struct message *m = message_new(s, e, w, fd);
    if (e->recalled) {
        m->claim = e->dest;
        e->dest->refs++;
        e->recalled = false;
    }
    entry_let_go(s, e);
}

static struct message *told(struct sched *s, struct qid id) {
    struct entry *e = sched_entry(s, id);
    return e && e->m && !e->m->complete ? e->m : NULL;
}

/* What waited for its turn is due when that has come, whatever time stands on its record. */
void sched_ready_rcpt(struct sched *s, const struct wire_ready_rcpt *w) {
    struct message *m = told(s, w->id);
    const struct entry *e = m ? NULL : sched_entry(s, w->id);
    const char *why;
    if (e && e->m && !on_record(w->state)) mark_again(s, e->m, w->index);
    if (!m || m->n >= RCPTS_MAX || (m->n && w->index <= m->r[m->n - 1].index))
        return; /* sched_rcpt wants order */
    m->r = xgrow(m->r, &m->cap, m->n + 1, sizeof *m->r);
    struct rcpt *r = &m->r[m->n];
    *r = (struct rcpt){.index = w->index,
                       .parent = w->parent,
                       .attempts = w->attempts,
                       .notify = w->notify,
                       .next = w->next,
                       .text = str_dup(m->arena, w->rcpt),
                       .orcpt = str_dup(m->arena, w->orcpt)};
    m->n++;
    if (w->index >= m->next_index && w->index < UINT32_MAX) m->next_index = w->index + 1;
    r->bad = !addr_parse(r->text, ADDR_POSTMASTER | ADDR_UTF8, m->arena, &r->addr, &why);
    if (w->parent < w->index && w->parent + 1 < m->n &&
        m->r[w->parent].index == w->parent) { /* for loops of aliases */
        r->parent_at = w->parent + 1;
        r->depth = m->r[w->parent].depth < UINT8_MAX ? (uint8_t)(m->r[w->parent].depth + 1) : UINT8_MAX;
    }
    if (on_record(w->state)) {
        r->ended = w->state;
        r->state = RCPT_DONE; /* told so that an alias which leads to it again does not serve it again */
    } else if (sched_recent(s, w->id, w->index)) {
        r->state = RCPT_DONE;
        m->again = true;
    } else if (sched_is_foreign(s, m, r)) {
        r->state = RCPT_FOREIGN;
        m->running++;
    } else if (w->next > s->now + DUE_SLACK && !m->force && !m->expired && !m->turn) {
        r->state = RCPT_LATER;
    }
}

static void want_route(struct sched *s, struct message *m, uint32_t at) {
    struct rcpt *r = &m->r[at];
    struct status bad = status_make(550, "5.1.3", "the address cannot be understood");
    struct status over = status_make(550, "5.4.7", "not delivered in time, given up by the administrator");
    if (m->expired) sched_fail(s, m, r, &over, STR_NONE);
    else if (r->bad) sched_fail(s, m, r, &bad, STR_NONE);
    else sched_route_want(s, m, at);
}

/* What queue tells is older than what was said to it: expansions are on their way to a queue that has not read them. An
 * address expanded now would get their numbers, and marks would end the wrong recipients. So it is asked for again. */
static void told_too_old(struct sched *s, struct message *m) {
    if (!sched_recent_split(s, m->mail.id, m->next_index)) return;
    m->again = true;
    m->e->force = m->force;
    m->e->turn = m->turn;
    for (size_t i = 0; i < m->n; i++)
        if (m->r[i].state == RCPT_NEW || m->r[i].state == RCPT_LATER) m->r[i].state = RCPT_DONE;
}

void sched_ready_end(struct sched *s, struct qid id) {
    struct message *m = told(s, id);
    if (!m) return;
    m->complete = true;
    told_too_old(s, m);
    for (uint32_t i = 0; i < m->n; i++)
        if (m->r[i].state == RCPT_NEW) want_route(s, m, i);
    sched_foreign_apply(s, m);
    sched_settle(s, m);
}

/* Of what we know we know better when it is due. But it is also the answer to a fetch, when queue could not
 * read the message just now, or its last marks are not durable: then it is asked for again, and the fetch is over. */
void sched_waiting(struct sched *s, const struct wire_waiting *w) {
    struct entry *e = sched_entry(s, w->id);
    if (e && e->state != ENTRY_FETCHED) return;
    if (e) {
        s->fetching--;
        e->turn |= e->recalled;
        entry_let_go(s, e);
    } else {
        e = entry_new(s, w->id, w->arrival);
    }
    sched_heap_set(s, e, w->next);
}

void sched_gone(struct sched *s, struct qid id) {
    struct entry *e = sched_entry(s, id);
    if (!e) return;
    struct message *m = e->m;
    if (!m) {
        entry_free(s, e);
        return;
    }
    m->gone = m->complete = true;
    m->failed = 0;
    m->reporting = false;
    sched_link_remove(&m->bounces);
    for (size_t i = 0; i < m->n; i++)
        if (m->r[i].state >= RCPT_LATER || m->r[i].state == RCPT_NEW) m->r[i].state = RCPT_DONE;
    sched_settle(s, m);
}

void sched_due_now(struct sched *s, struct qid id) {
    sched_hurry(s, id);
    struct entry *e = sched_entry(s, id);
    struct message *m = e->m;
    e->force = !m;
    if (!m || m->put_down) return;
    m->force = true;
    m->fresh = false;
    for (uint32_t i = 0; i < m->n && m->complete; i++) {
        if (m->r[i].state != RCPT_LATER) continue;
        m->r[i].state = RCPT_NEW;
        rcpt_let_go(s, &m->r[i]);
        want_route(s, m, i);
    }
    sched_settle(s, m);
}

/* What an administrator changed is read again from the record; what runs is reported first, so nothing is lost of it.
 * What waits in a queue of a destination is dropped when its turn comes. */
void sched_changed(struct sched *s, struct qid id, bool held) {
    struct entry *e = sched_entry(s, id);
    if (e && e->m) {
        e->m->put_down = true;
        e->m->take_up = !held;
        sched_settle(s, e->m);
        return;
    }
    if (held) {
        if (e) entry_free(s, e);
        if (s->ops->put_down) s->ops->put_down(s->ctx, id);
        return;
    }
    if (!e) e = entry_new(s, id, s->now);
    if (e->state == ENTRY_FETCHED) return;
    sched_heap_remove(s, e);
    entry_let_go(s, e);
    park(e, &s->backlog);
}

/* --- settled --- */

static void laid_down(struct sched *s, struct message *m) {
    struct entry *e = m->e;
    bool take_up = m->take_up;
    struct qid id = e->id;
    sched_message_free(s, m);
    if (take_up) {
        park(e, &s->backlog);
        return;
    }
    entry_free(s, e);
    if (s->ops->put_down) s->ops->put_down(s->ctx, id);
}

/* What the waiting recipients have in common: false when none waits. */
static bool waits(const struct message *m, int64_t *next, struct dest **d, bool *parked) {
    bool any = false;
    for (size_t i = 0; i < m->n; i++) {
        const struct rcpt *r = &m->r[i];
        if (r->state != RCPT_LATER) continue;
        if (!any || r->next < *next) *next = r->next;
        *d = !any || *d == r->dest ? r->dest : NULL;
        *parked = (!any || *parked) && r->parked;
        any = true;
    }
    return any;
}

void sched_settle(struct sched *s, struct message *m) {
    struct entry *e = m->e;
    struct dest *d = NULL;
    int64_t next = 0;
    bool parked = false;
    if (!m->complete || m->routing || m->queued || m->running || m->failed || m->slices) return;
    if (m->put_down && !m->gone) {
        laid_down(s, m);
        return;
    }
    bool waiting = !m->gone && waits(m, &next, &d, &parked);
    bool again = !m->gone && m->again;
    if (waiting) entry_wait_for(s, e, d);
    sched_message_free(s, m);
    if (waiting && d && parked) {
        park(e, &d->parked);
        e->unmarked = true;
        s->unmarked++;
    } else if (waiting) sched_heap_set(s, e, next);
    else if (again) sched_heap_set(s, e, s->now + AGAIN);
    else entry_free(s, e);
    if (waiting && d) sched_dest_update(s, d);
}

/* --- what happens to a recipient --- */

void sched_tell(struct sched *s, struct sched_event *ev, struct message *m, const struct rcpt *r,
                const struct status *st, struct str host) {
    ev->id = m->mail.id;
    ev->to = r->text;
    ev->relay = host;
    ev->status = *st;
    ev->delay = s->now > m->mail.arrival ? s->now - m->mail.arrival : 0;
    ev->attempts = r->attempts;
    s->ops->event(s->ctx, ev);
}

void sched_done(struct sched *s, struct message *m, struct rcpt *r, uint8_t state, const struct status *st) {
    r->state = RCPT_DONE;
    r->ended = state;
    if (!m->gone) say_ended(s, m, r, st);
}

static struct status copy_status(struct arena *a, const struct status *st) {
    struct status c = *st;
    c.text = str_dup(a, st->text);
    return c;
}

static void to_report(struct sched *s, struct message *m, struct rcpt *r, enum sched_action action,
                      const struct status *st, struct str host) {
    r->state = RCPT_FAILED;
    r->action = action;
    r->status = copy_status(m->arena, st);
    r->host = str_dup(m->arena, host);
    if (m->failed++ == 0) m->bounce_at = s->now + BOUNCE_PATIENCE;
    if (!m->bounces.next) sched_link_append(&s->bounces, &m->bounces);
}

void sched_fail(struct sched *s, struct message *m, struct rcpt *r, const struct status *st,
                struct str host) {
    struct sched_event ev = {.what = SCHED_BOUNCED};
    if (m->gone) {
        r->state = RCPT_DONE;
        return;
    }
    bool unwanted = r->notify && !(r->notify & NOTIFY_FAILURE); /* RFC 3461 4.1 */
    if (m->mail.sender.n == 0 || unwanted) {                    /* RFC 5321 4.5.5: nobody to tell */
        sched_done(s, m, r, 'F', st);
        sched_tell(s, &ev, m, r, st, host);
        return;
    }
    to_report(s, m, r, SCHED_HAS_FAILED, st, host);
}

/* Its mark is on its way: a success is told once at most, and nothing delivered twice for the sake of telling.
 */
void sched_served(struct sched *s, struct message *m, struct rcpt *r, enum sched_action action,
                  const struct status *st, struct str host) {
    if (!m->gone && m->mail.sender.n && (r->notify & NOTIFY_SUCCESS)) to_report(s, m, r, action, st, host);
}

/* RFC 5321 4.5.4.1: at last the sender is told; X.4.7 of RFC 3463 with what was heard last. */
static void expire(struct sched *s, struct message *m, struct rcpt *r, const struct status *st,
                   struct str host) {
    char mem[1000];
    struct buf b = BUF(mem);
    buf_adds(&b, "not delivered in time, given up; the last answer was: ");
    buf_add(&b, str_sub(st->text, 0, 900));
    struct status over = status_make(550, "5.4.7", "");
    over.text = buf_str(&b);
    over.remote = st->remote;
    sched_fail(s, m, r, &over, host);
}

void sched_defer(struct sched *s, struct message *m, struct rcpt *r, const struct status *st, struct str host,
                 bool counted, int64_t not_before) {
    uint64_t salt = qid_hash(m->mail.id);
    int64_t over = sched_expires(s, m->mail.arrival, m->mail.sender.n == 0);
    if (counted && r->attempts < UINT32_MAX) r->attempts++;
    if (m->gone) {
        r->state = RCPT_DONE;
        return;
    }
    if (s->now >= over) {
        expire(s, m, r, st, host);
        return;
    }
    int64_t next = counted ? s->now + sched_backoff(s, r->local != NULL, r->attempts, salt) : not_before;
    if (next < not_before) next = not_before;
    if (next > over) next = over; /* the last try, and the end */
    if (next < s->now + 100) next = s->now + 100;
    r->state = RCPT_LATER;
    r->parked = false;
    r->next = next;
    sched_mark(s, &(struct wire_mark){.id = m->mail.id,
                                      .index = r->index,
                                      .state = 'L',
                                      .attempts = r->attempts,
                                      .next = next,
                                      WIRE_STATUS(*st)});
    struct sched_event ev = {.what = SCHED_DEFERRED, .next_ms = next - s->now};
    sched_tell(s, &ev, m, r, st, host);
}

void sched_soon(struct sched *s, struct message *m, struct rcpt *r, const char *why) {
    struct status st = status_make(451, "4.3.0", why);
    sched_defer(s, m, r, &st, STR_NONE, false, s->now + SOON + sched_jitter(SOON / 4, qid_hash(m->mail.id)));
}

/* Queue counts what it thinks we have in hand, and stops telling us new mail at some number: so it is not
 * told of a few that wait here, but of more it is. */
void sched_park(struct sched *s, struct message *m, struct rcpt *r, struct dest *d) {
    struct status turn =
        status_make(450, "4.3.2", "waits for its turn: many messages go to this destination");
    r->state = RCPT_LATER;
    r->parked = true;
    r->next = s->now + (s->c.retry_first < PARKED ? s->c.retry_first : PARKED);
    r->dest = d;
    d->refs++;
    if (s->unmarked < UNMARKED_MAX) return;
    sched_mark(s, &(struct wire_mark){.id = m->mail.id,
                                      .index = r->index,
                                      .state = 'L',
                                      .attempts = r->attempts,
                                      .next = r->next,
                                      WIRE_STATUS(turn)});
}

/* --- due, parked, fetched --- */

static void fetch(struct sched *s, struct entry *e) {
    sched_heap_remove(s, e);
    e->state = ENTRY_FETCHED;
    s->fetching++;
    s->ops->fetch(s->ctx, e->id);
}

static void recall(struct sched *s, struct entry *e) {
    if (e->dest && !e->recalled) {
        e->recalled = true;
        e->dest->recalled++;
    }
    park(e, &s->backlog);
}

void sched_release_parked(struct sched *s, struct dest *d) {
    struct qid id;
    bool down = sched_dest_is_down(s, d);
    while ((down || sched_dest_recalls(s, d)) && sched_fifo_pop(&d->parked, &id)) {
        struct entry *e = sched_entry(s, id);
        if (!e || e->state != ENTRY_PARKED || e->dest != d || e->recalled) continue;
        if (down) {
            sched_heap_set(s, e, d->down_until + sched_jitter(s->c.retry_first / 8, qid_hash(id)));
            continue;
        }
        recall(s, e);
    }
}

/* An entry whose time has come. If it waits for one destination only, that one is asked first: a message for
 * a dead host is not even fetched. */
static void due(struct sched *s, struct entry *e) {
    struct dest *d = e->dest;
    sched_heap_remove(s, e);
    if (!d || e->force || s->now >= sched_expires(s, e->arrival, e->null_sender)) {
        fetch(s, e);
    } else if (sched_dest_is_down(s, d)) {
        sched_heap_set(s, e, d->down_until + sched_jitter(s->c.retry_first / 8, qid_hash(e->id)));
    } else if (sched_dest_recalls(s, d)) {
        recall(s, e);
    } else {
        park(e, &d->parked);
    }
}

void sched_route_entry(struct sched *s, struct entry *e) {
    bool waits = e->dest && (e->state == ENTRY_WAITING || e->state == ENTRY_PARKED) && !e->recalled;
    if (!waits) return;
    sched_heap_remove(s, e);
    entry_let_go(s, e);
    e->force = true; /* it is not due by its record */
    sched_heap_set(s, e, s->now);
}

static bool room_to_fetch(const struct sched *s) {
    return s->queue && !s->stopping && !s->c.paused && s->fetching < FETCHES_MAX &&
           s->in_hand + s->fetching < s->c.in_hand_max / 2;
}

void sched_fetch_more(struct sched *s, int64_t *next) {
    enum { DUE_A_ROUND = 2000 };
    struct qid id;
    for (int i = 0; i < DUE_A_ROUND && s->heap_n && s->heap[0]->next <= s->now && room_to_fetch(s); i++)
        due(s, s->heap[0]);
    while (room_to_fetch(s) && sched_fifo_pop(&s->backlog, &id)) {
        struct entry *e = sched_entry(s, id);
        if (e && e->state == ENTRY_PARKED) fetch(s, e);
    }
    /* Without room there is something under way whose end will call us. Thousands that wait are due at thousands of
     * moments: they are looked at together. */
    int64_t at = s->heap_n ? s->heap[0]->next : 0;
    if (at > s->now) sched_wake(s, (at + DUE_GRAIN - 1) / DUE_GRAIN * DUE_GRAIN, next);
    else if (s->heap_n && room_to_fetch(s)) sched_wake(s, at, next);
}

/* --- queue comes and goes --- */

static void forget_told(struct sched *s, struct entry *e) {
    struct message *m = e->m;
    if (m && m->complete) {
        m->reporting = false;
        for (size_t i = 0; i < m->n; i++)
            if (m->r[i].state == RCPT_REPORTING) m->r[i].state = RCPT_FAILED;
        return;
    }
    if (m) sched_message_free(s, m);
    entry_free(s, e);
}

void sched_queue(struct sched *s, bool present) {
    s->queue = present;
    if (present) {
        sched_recent_replay(s);
        sched_foreign_ask(s);
        return;
    }
    struct table_node *n = table_walk(&s->entries, NULL);
    while (n) {
        struct table_node *ahead = table_walk(&s->entries, n);
        forget_told(s, (struct entry *)n);
        n = ahead;
    }
    s->backlog.head = s->backlog.n = 0;
}

/* --- failure reports --- */

static bool report(struct sched *s, struct message *m) {
    size_t n = 0;
    struct sched_failed *v = xmalloc(BOUNCE_RCPTS * sizeof *v);
    for (size_t i = 0; i < m->n && n < BOUNCE_RCPTS; i++) {
        const struct rcpt *r = &m->r[i];
        if (r->state == RCPT_FAILED && (!n || v[0].action == r->action))
            v[n++] = (struct sched_failed){r->index, r->text, r->orcpt, r->host, r->status, r->action};
    }
    uint8_t action = n ? (uint8_t)v[0].action : 0;
    m->reporting = n && s->ops->bounce(s->ctx, &m->mail, v, n, &m->bounce);
    for (size_t i = 0; i < m->n && n && m->reporting; i++) {
        if (m->r[i].state != RCPT_FAILED || m->r[i].action != action) continue;
        m->r[i].state = RCPT_REPORTING;
        n--;
    }
    free(v);
    return m->reporting;
}

void sched_bounces_run(struct sched *s, int64_t *next) {
    if (!s->queue) return;
    for (struct link *l = s->bounces.next; l != &s->bounces; l = l->next) {
        struct message *m = SCHED_OF(struct message, bounces, l);
        bool quiet = !m->routing && !m->queued && !m->running;
        int64_t at = quiet ? m->bounce_not_before : m->bounce_at;
        if (at < m->bounce_not_before) at = m->bounce_not_before;
        if (m->reporting) continue;
        if (s->now >= at && report(s, m)) continue;
        if (s->now >= at) at = m->bounce_not_before = s->now + SCHED_SECOND;
        sched_wake(s, at, next);
    }
}

/* Queue has the report, or will never take it. */
static void reported(struct sched *s, struct message *m, struct rcpt *r, bool ok) {
    struct sched_event ev = {.what = SCHED_BOUNCED, .bounce = m->bounce, .action = r->action};
    m->failed--;
    if (r->action == SCHED_HAS_FAILED) {
        sched_done(s, m, r, 'F', &r->status);
    } else {
        ev.what = SCHED_REPORTED;
        r->state = RCPT_DONE;
    }
    if (ok) sched_tell(s, &ev, m, r, &r->status, r->host);
}

void sched_bounce_done(struct sched *s, struct qid about, const struct status *st) {
    struct entry *e = sched_entry(s, about);
    struct message *m = e ? e->m : NULL;
    if (!m || !m->reporting) return;
    m->reporting = false;
    if (st->kind != STATUS_OK) m->bounce_not_before = s->now + BOUNCE_AGAIN;
    for (size_t i = 0; i < m->n; i++) {
        struct rcpt *r = &m->r[i];
        if (r->state != RCPT_REPORTING) continue;
        r->state = RCPT_FAILED;
        bool ok = st->kind == STATUS_OK, never = st->kind == STATUS_NEVER;
        if (ok || (never && r->action != SCHED_HAS_FAILED)) reported(s, m, r, ok);
    }
    if (!m->failed) sched_link_remove(&m->bounces);
    sched_settle(s, m);
}
