/* etrn.c: a host asks by ETRN (RFC 1985) for the mail that waits for its domains. One walk through the
 * spool serves all that was asked for before it began; walks have a pause between them, so that nobody
 * keeps the disk busy by asking. */
#include "queue/shell.h"

#include "common/addr.h"
#include "common/arena.h"

#include <stdlib.h>
#include <string.h>

enum { DOMAINS_MAX = 32, PAUSE_MS = 10000 };

struct wanted {
    size_t n;
    struct etrn_domain {
        char text[ADDR_DOMAIN_MAX];
        size_t n;
        bool below; /* and all that is below it */
    } v[DOMAINS_MAX];
};

struct etrn {
    struct queue *q;
    struct wanted next, now; /* to be looked for by the next walk, by this one */
    struct store_walk *walk;
    struct timer step;
    uint64_t found;
};

static bool matches(const struct etrn_domain *d, struct str domain) {
    struct str want = {d->text, d->n};
    if (str_eq_nocase(domain, want)) return true;
    return d->below && domain.n > want.n && domain.p[domain.n - want.n - 1] == '.' &&
           str_ends_nocase(domain, want);
}

static struct str domain_of(struct str address) {
    for (size_t i = address.n; i > 0; i--)
        if (address.p[i - 1] == '@') return str_sub(address, i, address.n);
    return STR_NONE;
}

static bool wants(const struct wanted *w, const struct control_rcpt *r) {
    if (r->state != 'N' && r->state != 'L') return false;
    for (size_t i = 0; i < w->n; i++)
        if (matches(&w->v[i], domain_of(r->rcpt))) return true;
    return false;
}

static void look(void *ctx, const struct control *c) {
    struct etrn *e = ctx;
    if (c->held || !e->q->dispatch) return;
    for (uint32_t i = 0; i < c->rcpt_count; i++) {
        if (!wants(&e->now, &c->rcpts[i])) continue;
        SEND(e->q->dispatch->ch, due_now, .id = c->id);
        e->found++;
        return;
    }
}

/* True: there is more to look at. */
static bool slice(struct etrn *e) {
    int64_t end = clock_now_ns() + SLICE_MS * 1000000LL;
    for (unsigned i = 0; i < SLICE && clock_now_ns() < end; i++) {
        if (e->q->dispatch && channel_full(e->q->dispatch->ch)) return true;
        if (!store_walk_step(e->walk, 1, look, e)) return false;
    }
    return true;
}

static void begin(struct etrn *e) {
    if (!e->next.n || !e->q->store || !store_begun(e->q->store)) return;
    e->now = e->next;
    e->next.n = 0;
    e->found = 0;
    e->walk = store_walk_new(e->q->store, false);
}

static void on_step(void *ctx) {
    struct etrn *e = ctx;
    if (!e->walk) begin(e);
    if (!e->walk) return;
    if (slice(e)) {
        loop_timer_in(e->q->me->loop, &e->step, 1);
        return;
    }
    store_walk_free(e->walk);
    e->walk = NULL;
    for (size_t i = 0; i < e->now.n; i++)
        LOG(asked, .domain = {e->now.v[i].text, e->now.v[i].n}, .messages = e->found);
    loop_timer_in(e->q->me->loop, &e->step, PAUSE_MS); /* what was asked for meanwhile */
}

static void add(struct wanted *w, struct str domain, bool below) {
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i].below == below && str_eq_nocase((struct str){w->v[i].text, w->v[i].n}, domain)) return;
    if (w->n == DOMAINS_MAX || !domain.n || domain.n > ADDR_DOMAIN_MAX) return;
    struct etrn_domain *d = &w->v[w->n++];
    memcpy(d->text, domain.p, domain.n);
    d->n = domain.n;
    d->below = below;
}

void on_etrn(void *ctx, struct channel *ch, const struct wire_etrn *m, int fd) {
    struct queue *q = queue_of(ctx);
    (void)ch, (void)fd;
    if (!q->etrn) {
        q->etrn = xmalloc(sizeof *q->etrn);
        q->etrn->q = q;
        q->etrn->step = (struct timer){.fn = on_step, .ctx = q->etrn};
    }
    add(&q->etrn->next, m->domain, m->below == 1);
    if (!q->etrn->walk && !q->etrn->step.slot) loop_timer_in(q->me->loop, &q->etrn->step, 0);
}
