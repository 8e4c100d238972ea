/* sched_job.c: deliverers, jobs and results, also those of an earlier life of ours. */
#include "dispatch/sched_impl.h"

#include <stdlib.h>
#include <string.h>

static uint64_t job_hash(uint32_t no) {
    return (uint64_t)no * 0x9e3779b97f4a7c15ULL;
}

static struct job *job_find(struct sched *s, uint32_t no) {
    for (struct table_node *n = table_first(&s->jobs, job_hash(no)); n; n = table_next(n))
        if (((struct job *)n)->no == no) return (struct job *)n;
    return NULL;
}

static bool same_source(struct sched_source a, struct sched_source b) {
    return a.local == b.local && a.id == b.id;
}

static void job_free(struct sched *s, struct job *j) {
    table_remove(&s->jobs, &j->node);
    arena_free(j->arena);
    free(j->v);
    free(j);
}

/* --- deliver-smtp processes --- */

bool sched_may_start(const struct sched *s) {
    if (s->stopping || s->c.paused) return false;
    bool patience = s->now >= s->started && s->now - s->started < START_PATIENCE;
    return s->remotes_synced >= s->c.remote_processes || !patience;
}

bool sched_remotes_away(const struct sched *s) {
    return s->remote_gone && s->now - s->remote_gone >= ABSENT_PATIENCE;
}

static struct remote *least_busy(const struct sched *s) {
    struct remote *best = NULL;
    for (size_t i = 0; i < s->remote_cap; i++) {
        struct remote *r = &s->remotes[i];
        if (r->synced && r->jobs < s->c.jobs_per_remote && (!best || r->jobs < best->jobs)) best = r;
    }
    return best;
}

bool sched_remote_room(const struct sched *s) {
    return least_busy(s) != NULL;
}

static struct remote *remote_of(struct sched *s, unsigned i) {
    enum { REMOTES_MAX = 64 };
    if (i >= REMOTES_MAX) return NULL;
    if (i >= s->remote_cap) {
        size_t old = s->remote_cap;
        s->remotes = xgrow(s->remotes, &s->remote_cap, i + 1, sizeof *s->remotes);
        memset(s->remotes + old, 0, (s->remote_cap - old) * sizeof *s->remotes);
    }
    return &s->remotes[i];
}

void sched_remote_synced(struct sched *s, unsigned remote) {
    struct remote *r = remote_of(s, remote);
    if (!r || r->synced) return;
    r->synced = true;
    s->remotes_synced++;
    s->remote_gone = 0;
}

/* --- starting a job --- */

/* The first recipients of the slice that can share a transaction: for a mailbox, those of the same one. */
static size_t take_rcpts(struct sched *s, struct job *j, struct slice *sl, struct sched_job_rcpt *v) {
    struct message *m = sl->m;
    const struct local *local = m->r[sl->first - 1].local;
    uint32_t *link = &sl->first;
    uint32_t before = 0;
    for (uint32_t at = sl->first; at; at = *link) {
        struct rcpt *r = &m->r[at - 1];
        if (r->local != local || j->n >= s->c.rcpts_per_job) {
            before = at;
            link = &r->next_in_slice;
            continue;
        }
        *link = r->next_in_slice;
        r->next_in_slice = 0;
        v[j->n] = (struct sched_job_rcpt){r->index, r->text, r->orcpt, r->notify};
        j->v[j->n++].rcpt = at - 1;
        r->state = RCPT_RUNNING;
    }
    sl->last = before;
    sl->n -= (uint32_t)j->n;
    m->queued -= (unsigned)j->n;
    m->running += (unsigned)j->n;
    return j->n;
}

/* Those that the host table knows to be down come last: others first, without losing the order among them. */
static size_t order_hosts(struct sched *s, const struct dest *d, struct sched_host *out) {
    size_t n = 0;
    bool down[HOSTS_MAX];
    uint32_t caps[HOSTS_MAX];
    for (size_t i = 0; i < d->host_count && i < HOSTS_MAX; i++) {
        struct sched_facts f = {0};
        s->ops->facts(s->ctx, &d->hosts[i].ip, d->hosts[i].port, &f);
        down[i] = f.down;
        caps[i] = f.caps;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < d->host_count && i < HOSTS_MAX; i++) {
            if (down[i] != (pass == 1)) continue;
            out[n] = d->hosts[i];
            out[n++].caps = caps[i];
        }
    }
    return n;
}

static uint32_t next_number(struct sched *s) {
    do s->next_job++;
    while (s->next_job == 0 || job_find(s, s->next_job));
    return s->next_job;
}

static void discard(struct sched *s, struct dest *d, struct slices *q) {
    struct slice *sl = sched_pop(q);
    struct message *m = sl->m;
    for (uint32_t at = sl->first; at; at = m->r[at - 1].next_in_slice) {
        m->r[at - 1].state = RCPT_DONE;
        m->queued--;
    }
    free(sl);
    m->slices--;
    sched_dest_update(s, d);
    sched_settle(s, m);
}

static void send_job(struct sched *s, struct job *j, const struct sched_job_rcpt *v,
                     const struct local *local) {
    struct sched_host hosts[HOSTS_MAX];
    struct sched_job o = {
        .job = j->no, .mail = &j->m->mail, .rcpts = v, .rcpt_count = j->n, .local = j->to.local};
    if (j->to.local) {
        o.uid = j->d->uid;
        o.user = local->user;
        o.home = local->home;
        o.mailbox = local->mailbox;
    } else {
        o.remote = j->to.id;
        o.destination = (struct str){j->d->name, j->d->name_n};
        o.hosts = hosts;
        o.host_count = order_hosts(s, j->d, hosts);
    }
    s->ops->job(s->ctx, &o);
}

/* Queue may have told a message before a deliverer told that it still works on it: no job starts before all
 * have told, so now is the time to know. Takes those recipients out of the slice. */
static void leave_foreign(struct sched *s, struct slice *sl) {
    struct message *m = sl->m;
    uint32_t *link = &sl->first;
    bool left = false;
    sl->last = 0;
    for (uint32_t at = sl->first; at; at = *link) {
        struct rcpt *r = &m->r[at - 1];
        if (!sched_is_foreign(s, m, r)) {
            sl->last = at;
            link = &r->next_in_slice;
            continue;
        }
        *link = r->next_in_slice;
        r->next_in_slice = 0;
        r->state = RCPT_FOREIGN;
        sl->n--;
        m->queued--;
        m->running++;
        left = true;
    }
    if (left) sched_foreign_apply(s, m);
}

/* The slice at the head is used up. */
static void drop_slice(struct slices *q, struct message *m) {
    free(sched_pop(q));
    m->slices--;
}

void sched_job_start(struct sched *s, struct dest *d) {
    struct slices *q = sched_turn(d);
    struct slice *sl = q->head;
    struct message *m = sl->m;
    if (s->foreign.n && !m->gone) leave_foreign(s, sl);
    if (!sl->first) {
        drop_slice(q, m);
        sched_dest_update(s, d);
        sched_settle(s, m);
        return;
    }
    struct remote *remote = d->kind == KIND_LOCAL ? NULL : least_busy(s);
    if (message_over(m)) {
        discard(s, d, q);
        return;
    }
    const struct local *local = m->r[sl->first - 1].local;
    size_t most = sl->n < s->c.rcpts_per_job ? sl->n : s->c.rcpts_per_job;
    struct job *j = xmalloc(sizeof *j);
    *j = (struct job){
        .no = next_number(s), .m = m, .d = d, .started = s->now, .v = xmalloc(most * sizeof *j->v)};
    j->to = remote ? (struct sched_source){false, (uint32_t)(remote - s->remotes)}
                   : (struct sched_source){true, d->uid};
    struct sched_job_rcpt *v = xmalloc(most * sizeof *v);
    take_rcpts(s, j, sl, v);
    if (q != &d->back) sched_dest_started(d, q == &d->fresh);
    if (!sl->first) drop_slice(q, m);
    table_add(&s->jobs, &j->node, job_hash(j->no));
    d->running++;
    if (remote) remote->jobs++;
    send_job(s, j, v, local);
    free(v);
    sched_dest_update(s, d);
}

/* --- results --- */

/* The host could not be reached or threw us out, whatever the message: RFC 3463 X.4.1, X.4.2; RFC 5321 3.8
 * (421). */
static bool is_miss(const struct status *st) {
    if (st->kind != STATUS_LATER) return false;
    return st->code == 421 ||
           (!st->remote && st->detail[1] == 4 && (st->detail[2] == 1 || st->detail[2] == 2));
}

/* What its destination learns from a job. False: not every result has come. */
static bool feedback(struct sched *s, struct job *j) {
    size_t told = 0, missed = 0;
    const struct outcome *last = NULL;
    for (size_t i = 0; i < j->n; i++) {
        if (!j->v[i].have) continue;
        told++;
        last = &j->v[i];
        missed += is_miss(&last->status);
    }
    if (!told) return false;
    if (j->to.local) {
        j->d->served = true;
        sched_dest_grow(j->d);
    } else if (missed == told) sched_dest_miss(s, j->d, &last->status, last->host);
    else sched_dest_ok(s, j->d);
    return told == j->n;
}

static void outcome_of_foreign(struct sched *s, struct message *m, struct rcpt *r, const struct status *st,
                               struct str host, bool reports) {
    struct sched_event ev = {.what = SCHED_DELIVERED, .a = m->taken - m->mail.arrival};
    if (st->kind == STATUS_OK) {
        sched_done(s, m, r, 'D', st);
        if (!m->gone) sched_tell(s, &ev, m, r, st, host);
        if (!reports) sched_served(s, m, r, SCHED_WAS_RELAYED, st, host);
    } else if (st->kind == STATUS_NEVER) {
        sched_fail(s, m, r, st, host);
    } else {
        sched_defer(s, m, r, st, host, true, 0);
    }
}

/* A worker or deliver-smtp that died over it: soon again, but not at once for ever. */
static void died(struct sched *s, struct message *m, struct rcpt *r) {
    struct status st = status_make(451, "4.3.0", "the program that was delivering it ended");
    sched_defer(s, m, r, &st, STR_NONE, false, s->now + ((int64_t)SCHED_SECOND << m->e->deaths));
}

static void apply(struct sched *s, struct job *j, struct outcome *o, const struct wire_job_done *w) {
    struct message *m = j->m;
    struct rcpt *r = &m->r[o->rcpt];
    struct dest *d = j->d;
    struct sched_event ev = {.what = SCHED_DELIVERED,
                             .a = m->taken - m->mail.arrival,
                             .b = j->started - m->taken,
                             .c = w ? w->connect_us / 1000 : 0,
                             .d = w ? w->transmit_us / 1000 : 0};
    m->running--;
    if (!o->have) {
        died(s, m, r);
    } else if (o->status.kind == STATUS_OK) {
        if (!m->gone) sched_tell(s, &ev, m, r, &o->status, o->host);
        if (!o->reports)
            sched_served(s, m, r, j->to.local ? SCHED_WAS_DELIVERED : SCHED_WAS_RELAYED, &o->status, o->host);
    } else if (o->status.kind == STATUS_NEVER) {
        sched_fail(s, m, r, &o->status, o->host);
    } else {
        sched_defer(s, m, r, &o->status, o->host, true, sched_dest_is_down(s, d) ? d->down_until : 0);
        if (r->state == RCPT_LATER && sched_dest_is_down(s, d)) {
            r->dest = d;
            d->refs++;
        }
    }
}

static void worker_leaves(struct sched *s, struct dest *d) {
    if (d->worker == WORKER_LEAVING && !d->running) sched_worker_stop(s, d);
}

static void job_over(struct sched *s, struct job *j, const struct wire_job_done *w) {
    struct message *m = j->m;
    struct dest *d = j->d;
    d->running--;
    if (!j->to.local && j->to.id < s->remote_cap && s->remotes[j->to.id].jobs) s->remotes[j->to.id].jobs--;
    bool whole = feedback(s, j);
    for (size_t i = 0; i < j->n; i++) apply(s, j, &j->v[i], w);
    if (!whole && m->e->deaths < DEATHS_MAX) m->e->deaths++;
    job_free(s, j);
    worker_leaves(s, d);
    sched_dest_update(s, d);
    sched_settle(s, m);
}

/* Before all else that waits for this mailbox's UID, and behind what was given back before it. */
static void requeue(struct job *j) {
    struct message *m = j->m;
    struct slice *sl = xmalloc(sizeof *sl);
    *sl = (struct slice){.m = m, .d = j->d, .n = (uint32_t)j->n};
    for (size_t i = 0; i < j->n; i++) {
        uint32_t at = j->v[i].rcpt + 1;
        m->r[at - 1].state = RCPT_QUEUED;
        m->r[at - 1].next_in_slice = 0;
        if (sl->last) m->r[sl->last - 1].next_in_slice = at;
        else sl->first = at;
        sl->last = at;
    }
    m->running -= (unsigned)j->n;
    m->queued += (unsigned)j->n;
    sched_enqueue_back(j->d, sl);
}

static bool has_result(const struct job *j) {
    for (size_t i = 0; i < j->n; i++)
        if (j->v[i].have) return true;
    return false;
}

static struct outcome *outcome_of(struct job *j, uint32_t index) {
    for (size_t i = 0; i < j->n; i++)
        if (j->m->r[j->v[i].rcpt].index == index) return &j->v[i];
    return NULL;
}

static void foreign_free(struct sched *s, struct foreign *f);
static bool foreign_result(struct sched *s, struct sched_source from, const struct wire_result *w);
static void foreign_over(struct sched *s, unsigned remote, bool all, uint32_t job);

void sched_result(struct sched *s, struct sched_source from, const struct wire_result *w) {
    struct job *j = job_find(s, w->job);
    if (!j || !same_source(j->to, from) || !qid_eq(j->m->mail.id, w->id)) {
        foreign_result(s, from, w);
        return;
    }
    struct outcome *o = outcome_of(j, w->index);
    if (!o || o->have) return;
    if (!j->arena) j->arena = arena_new(ARENA_MAX);
    o->have = true;
    o->reports = w->reports;
    o->status = STATUS_OF(w);
    o->status.text = str_dup(j->arena, w->text);
    o->host = str_dup(j->arena, w->host);
    /* Said to queue at once: what is not said when we die is sent a second time. */
    if (o->status.kind == STATUS_OK) sched_done(s, j->m, &j->m->r[o->rcpt], 'D', &o->status);
}

void sched_job_done(struct sched *s, struct sched_source from, const struct wire_job_done *w) {
    struct job *j = job_find(s, w->job);
    if (j && same_source(j->to, from)) job_over(s, j, w);
    else if (!from.local) foreign_over(s, from.id, false, w->job);
}

/* From a worker that has answered nothing in its life it would be for ever: then it is as if it had died over it. */
void sched_job_back(struct sched *s, struct sched_source from, uint32_t no) {
    struct job *j = job_find(s, no);
    if (!j || !from.local || !same_source(j->to, from)) return;
    struct dest *d = j->d;
    if (!d->served || has_result(j)) {
        job_over(s, j, NULL);
        return;
    }
    requeue(j);
    d->running--;
    job_free(s, j);
    d->worker = WORKER_LEAVING;
    worker_leaves(s, d);
    sched_dest_update(s, d);
}

/* The deliverer is gone: what it did not report counts as not done. */
static void jobs_lost(struct sched *s, struct sched_source of) {
    struct table_node *n = table_walk(&s->jobs, NULL);
    while (n) {
        struct table_node *ahead = table_walk(&s->jobs, n);
        if (same_source(((struct job *)n)->to, of)) job_over(s, (struct job *)n, NULL);
        n = ahead;
    }
}

void sched_remote_gone(struct sched *s, unsigned remote) {
    struct remote *r = remote_of(s, remote);
    if (!r) return;
    if (r->synced) s->remotes_synced--;
    r->synced = false;
    jobs_lost(s, (struct sched_source){false, remote});
    foreign_over(s, remote, true, 0);
    r->jobs = 0;
    if (!s->remotes_synced && !s->remote_gone) s->remote_gone = s->now;
}

void sched_worker_up(struct sched *s, uint32_t uid) {
    struct dest *d = sched_dest_find(s, KIND_LOCAL, STR_NONE, 0, uid);
    if (!d || d->worker != WORKER_ASKED) return;
    d->worker = WORKER_UP;
    d->served = false;
    d->failures = 0;
    d->down_until = 0;
    sched_dest_update(s, d);
}

void sched_worker_down(struct sched *s, uint32_t uid, const struct status *st) {
    struct dest *d = sched_dest_find(s, KIND_LOCAL, STR_NONE, 0, uid);
    if (!d) return;
    if (d->worker != WORKER_NONE) s->workers--;
    d->worker = WORKER_NONE;
    jobs_lost(s, (struct sched_source){true, uid});
    if (st) sched_dest_down(s, d, st, STR_NONE);
    else sched_dest_update(s, d);
}

void sched_jobs_free(struct sched *s) {
    struct table_node *n;
    while ((n = table_walk(&s->jobs, NULL))) job_free(s, (struct job *)n);
    table_free(&s->jobs);
    while ((n = table_walk(&s->foreign, NULL))) foreign_free(s, (struct foreign *)n);
    table_free(&s->foreign);
    table_free(&s->foreign_rcpts);
}

/* --- of an earlier life --- */

static uint64_t foreign_hash(struct qid id, uint32_t index) {
    return qid_hash(id) ^ (uint64_t)index * 0x9e3779b97f4a7c15ULL;
}

static uint64_t rcpt_hash(struct qid id, struct str rcpt) {
    return qid_hash(id) ^ str_hash(rcpt, 3);
}

/* The one of which this deliverer speaks. */
static struct foreign *foreign_of(struct sched *s, unsigned remote, uint32_t job, struct qid id,
                                  uint32_t index) {
    for (struct table_node *n = table_first(&s->foreign, foreign_hash(id, index)); n; n = table_next(n)) {
        struct foreign *f = (struct foreign *)n;
        if (f->remote == remote && f->job == job && f->index == index && qid_eq(f->id, id)) return f;
    }
    return NULL;
}

/* The one that serves this recipient of queue's: the same address of the same message, whatever number it had
 * when the job began. Of several that with its number, else one that knows the end. */
static struct foreign *foreign_for(struct sched *s, struct qid id, const struct rcpt *r) {
    struct foreign *best = NULL;
    int most = -1;
    for (struct table_node *n = table_first(&s->foreign_rcpts, rcpt_hash(id, r->text)); n;
         n = table_next(n)) {
        struct foreign *f = SCHED_OF(struct foreign, by_rcpt, n);
        int fits = 2 * (f->index == r->index) + f->have;
        if (fits <= most || !qid_eq(f->id, id) || !str_eq(f->rcpt, r->text)) continue;
        best = f;
        most = fits;
    }
    return best;
}

static void foreign_free(struct sched *s, struct foreign *f) {
    table_remove(&s->foreign, &f->node);
    table_remove(&s->foreign_rcpts, &f->by_rcpt);
    free(f->text);
    free(f->host);
    free(f);
}

bool sched_is_foreign(struct sched *s, struct message *m, const struct rcpt *r) {
    const struct foreign *f = s->foreign.n ? foreign_for(s, m->mail.id, r) : NULL;
    if (f && f->index != r->index) m->moved = true;
    return f;
}

/* The recipient in hand that this deliverer's result is for; NULL when queue has not told it yet. */
static struct rcpt *served_by(struct sched *s, const struct foreign *f, struct message **m) {
    struct entry *e = sched_entry(s, f->id);
    *m = e && e->m && e->m->complete ? e->m : NULL;
    struct rcpt *r = *m ? sched_rcpt(*m, f->index) : NULL;
    if (r && str_eq(r->text, f->rcpt)) return r;
    for (size_t i = 0; *m && i < (*m)->n; i++)
        if (str_eq((*m)->r[i].text, f->rcpt)) return &(*m)->r[i];
    return NULL;
}

static struct rcpt *waiting_for(struct sched *s, const struct foreign *f, struct message **m) {
    struct rcpt *r = served_by(s, f, m);
    return r && r->state == RCPT_FOREIGN ? r : NULL;
}

void sched_remote_running(struct sched *s, unsigned remote, const struct wire_running *w) {
    struct job *j = job_find(s, w->job);
    if (j && j->to.id == remote && !j->to.local && qid_eq(j->m->mail.id, w->id)) return; /* of this life */
    if (s->foreign.n >= FOREIGN_MAX || foreign_of(s, remote, w->job, w->id, w->index)) return;
    struct foreign *f = xmalloc(sizeof *f + w->rcpt.n);
    f->id = w->id;
    f->index = w->index;
    f->job = w->job;
    f->remote = remote;
    f->rcpt = (struct str){f->mem, w->rcpt.n};
    if (w->rcpt.n) memcpy(f->mem, w->rcpt.p, w->rcpt.n);
    table_add(&s->foreign, &f->node, foreign_hash(w->id, w->index));
    table_add(&s->foreign_rcpts, &f->by_rcpt, rcpt_hash(w->id, w->rcpt));
}

/* Its recipient is not ours to mark yet: queue has not told which number this address has. So queue is asked.
 * When it has told, but the recipient is on its way to a job, the mark is said now: we could die before. */
static void foreign_keep(struct sched *s, struct foreign *f, const struct wire_result *w,
                         const struct status *st) {
    struct message *m;
    struct rcpt *r = served_by(s, f, &m);
    f->have = true;
    f->reports = w->reports;
    f->kept_until = s->now + 60 * SCHED_SECOND;
    f->text = xmalloc(w->text.n + 1);
    f->host = xmalloc(w->host.n + 1);
    if (w->text.n) memcpy(f->text, w->text.p, w->text.n);
    if (w->host.n) memcpy(f->host, w->host.p, w->host.n);
    f->status = *st;
    f->status.text = (struct str){f->text, w->text.n};
    if (!m) sched_hurry(s, f->id);
    if (r && r->state != RCPT_DONE && st->kind == STATUS_OK)
        sched_mark(s, &(struct wire_mark){
                          .id = f->id, .index = r->index, .state = 'D', .next = s->now, WIRE_STATUS(*st)});
}

void sched_foreign_ask(struct sched *s) {
    for (struct table_node *n = table_walk(&s->foreign, NULL); n; n = table_walk(&s->foreign, n)) {
        struct foreign *f = (struct foreign *)n;
        if (!f->have) continue;
        f->kept_until = s->now + 60 * SCHED_SECOND;
        sched_hurry(s, f->id);
    }
}

static bool foreign_result(struct sched *s, struct sched_source from, const struct wire_result *w) {
    struct foreign *f = from.local ? NULL : foreign_of(s, from.id, w->job, w->id, w->index);
    struct status st = STATUS_OF(w);
    struct message *m;
    if (!f || f->have) return false;
    struct rcpt *r = waiting_for(s, f, &m);
    if (!r) {
        foreign_keep(s, f, w, &st);
        return true;
    }
    foreign_free(s, f);
    m->running--;
    outcome_of_foreign(s, m, r, &st, w->host, w->reports);
    if (m->moved) sched_foreign_apply(s, m); /* another may have waited for the same */
    sched_settle(s, m);
    return true;
}

void sched_foreign_apply(struct sched *s, struct message *m) {
    for (size_t i = 0; i < m->n; i++) {
        struct rcpt *r = &m->r[i];
        struct foreign *f = r->state == RCPT_FOREIGN ? foreign_for(s, m->mail.id, r) : NULL;
        if (r->state != RCPT_FOREIGN || (f && !f->have)) continue;
        m->running--;
        if (!f) {
            died(s, m, r);
            continue;
        }
        struct foreign copy = *f;
        outcome_of_foreign(s, m, r, &copy.status, str_of(copy.host), copy.reports);
        foreign_free(s, f);
    }
}

/* A job of an earlier life, or all of a deliverer, is over: what was not reported is free again. */
static void foreign_over(struct sched *s, unsigned remote, bool all, uint32_t job) {
    struct table_node *n = table_walk(&s->foreign, NULL);
    while (n) {
        struct foreign *f = (struct foreign *)n;
        struct message *m;
        n = table_walk(&s->foreign, n);
        if (f->remote != remote || (!all && f->job != job) || f->have) continue;
        struct rcpt *r = waiting_for(s, f, &m);
        foreign_free(s, f);
        if (!r) continue;
        m->running--;
        died(s, m, r);
        if (m->moved) {
            sched_foreign_apply(s, m); /* which may end others that we would come to */
            n = table_walk(&s->foreign, NULL);
        }
        sched_settle(s, m);
    }
}

/* A result of which queue knows no message: it was removed, or has ended. */
void sched_foreign_expire(struct sched *s) {
    struct table_node *n = s->foreign.n ? table_walk(&s->foreign, NULL) : NULL;
    while (n) {
        struct foreign *f = (struct foreign *)n;
        n = table_walk(&s->foreign, n);
        if (f->have && f->kept_until <= s->now && s->queue && !sched_entry(s, f->id)) foreign_free(s, f);
    }
}
