/* sched_mark.c: what queue is told to record, and what it may not have recorded.
 *
 * A mark lies in a socket until queue reads it; a queue that dies loses it, and tells the new one's dispatch
 * the recipient again as if nothing had happened. So marks and splits are kept until queue says that they are
 * on record, in the order in which they were sent: they are said again to a new queue, and a recipient that a
 * new queue tells us although it was ended is not served twice. However long queue stands still, only its word
 * ends this, never the clock. */
#include "dispatch/sched_impl.h"

#include <stdlib.h>
#include <string.h>

static uint64_t key_hash(struct qid id, uint32_t index) {
    return qid_hash(id) ^ (uint64_t)index * 0xc2b2ae3d27d4eb4fULL;
}

static void forget_first(struct sched *s) {
    struct recent *r = s->recent_head;
    s->recent_head = r->next;
    if (!s->recent_head) s->recent_tail = NULL;
    table_remove(&s->recents, &r->node);
    free(r);
}

static struct recent *keep(struct sched *s, struct qid id, uint32_t index, size_t text) {
    if (s->recents.n >= RECENT_MAX) { /* nothing is started long before this; then memory counts more */
        forget_first(s);
        s->recent_dropped++;
    }
    struct recent *r = xmalloc(sizeof *r + text);
    r->id = id;
    r->index = index;
    if (s->recent_tail) s->recent_tail->next = r;
    else s->recent_head = r;
    s->recent_tail = r;
    table_add(&s->recents, &r->node, key_hash(id, index));
    return r;
}

static struct str keep_text(char *to, struct str from) {
    if (from.n) memcpy(to, from.p, from.n);
    return (struct str){to, from.n};
}

void sched_mark(struct sched *s, const struct wire_mark *m) {
    struct recent *r = keep(s, m->id, m->index, m->text.n);
    r->mark = *m;
    r->mark.text = keep_text(r->text, m->text);
    if (s->queue) s->ops->mark(s->ctx, m);
}

void sched_split(struct sched *s, const struct wire_split *m) {
    struct recent *r = keep(s, m->id, m->index, m->rcpt.n + m->orcpt.n);
    r->is_split = true;
    r->split = *m;
    r->split.rcpt = keep_text(r->text, m->rcpt);
    r->split.orcpt = keep_text(r->text + m->rcpt.n, m->orcpt);
    if (s->queue) s->ops->split(s->ctx, m);
}

bool sched_recent(struct sched *s, struct qid id, uint32_t index) {
    for (struct table_node *n = table_first(&s->recents, key_hash(id, index)); n; n = table_next(n)) {
        const struct recent *r = (const struct recent *)n;
        if (!r->is_split && r->mark.state != 'L' && r->index == index && qid_eq(r->id, id)) return true;
    }
    return false;
}

bool sched_recent_split(struct sched *s, struct qid id, uint32_t index) {
    for (struct table_node *n = table_first(&s->recents, key_hash(id, index)); n; n = table_next(n)) {
        const struct recent *r = (const struct recent *)n;
        if (r->is_split && r->index == index && qid_eq(r->id, id)) return true;
    }
    return false;
}

bool sched_recent_many(const struct sched *s) {
    return s->recents.n >= RECENT_HIGH;
}

void sched_recent_replay(struct sched *s) {
    s->recent_dropped = 0; /* the count begins anew with the channel */
    for (const struct recent *r = s->recent_head; r; r = r->next) {
        if (r->is_split) s->ops->split(s->ctx, &r->split);
        else s->ops->mark(s->ctx, &r->mark);
    }
}

void sched_marked(struct sched *s, uint32_t count) {
    if (!s->queue) return;
    for (; count && s->recent_dropped; count--) s->recent_dropped--;
    for (; count && s->recent_head; count--) forget_first(s);
}

void sched_recent_free(struct sched *s) {
    while (s->recent_head) forget_first(s);
    table_free(&s->recents);
}
