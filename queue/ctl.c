/* ctl.c: people at the control socket. The kernel says who they are (SO_PEERCRED): root, and the user who
 * runs a private instance, may see and do everything; others only what concerns mail they sent themselves. */
#include "queue/shell.h"

#include "common/addr.h"
#include "common/arena.h"
#include "queue/select.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PROGRESS_MS = 500 };
enum {
    CATS_MAX = 8
}; /* messages whose files one connection gets: descriptors in flight are counted against us */

/* A walk on behalf of one tool. */
struct lister {
    struct queue *q;
    struct peer *peer;
    struct store_walk *walk;
    struct timer next;
    const struct operation *op;
    struct selection sel; /* texts in the arena */
    struct arena *arena;
    bool detail, dry;
    uint32_t count;
    uint64_t looked;
    int64_t told; /* ns: when it last heard of progress */
};

/* A recipient that is replaced as soon as dispatch has put the message down. */
struct redirect {
    struct redirect *next;
    struct peer *peer; /* who asked */
    struct qid id;
    struct arena *arena;
    struct str from, to;
};

/* ---- Who may ------------------------------------------------------------------------------------------- */

static bool is_admin(const struct queue *q, const struct channel *ch) {
    return program_admin(q->me, ch);
}

static bool is_own(const struct channel *ch, struct str origin) {
    char mem[40];
    int n = snprintf(mem, sizeof mem, "local user %u", (unsigned)channel_uid(ch));
    return n > 0 && str_eq(origin, (struct str){mem, (size_t)n});
}

static bool may_see(const struct queue *q, const struct channel *ch, const struct control *c) {
    return is_admin(q, ch) || is_own(ch, c->origin);
}

/* ---- Answers ------------------------------------------------------------------------------------------- */

static void done(struct channel *ch, uint32_t count, uint16_t code, const char *detail, const char *text) {
    struct status s = status_make(code, detail, text);
    SEND(ch, ctl_done, .count = count, WIRE_STATUS(s));
}

/* Another's message is answered like none at all: ids are not for guessing. */
static void no_such(struct channel *ch) {
    done(ch, 0, 550, "5.1.0", "No such message in the queue, or none of yours");
}

static void show(struct channel *ch, const struct control *c, bool detail) {
    SEND(ch, ctl_message, .id = c->id, .arrival = c->arrival, .sender = c->sender, .size = c->size,
         .rcpts = c->rcpt_count, .pending = c->pending, .origin = c->origin,
         .state = (uint8_t)select_state(c));
    for (uint32_t i = 0; detail && i < c->rcpt_count; i++) {
        const struct control_rcpt *r = &c->rcpts[i];
        SEND(ch, ctl_rcpt, .id = c->id, .index = i, .rcpt = r->rcpt, .state = (uint8_t)r->state,
             .attempts = r->attempts, .next = r->next, WIRE_STATUS(r->status));
    }
}

/* Loads a message that the caller may see; answers itself when it cannot. */
static bool load_own(struct queue *q, struct channel *ch, struct qid id, struct store_message *m) {
    int error = q->store ? store_load(q->store, id, m) : EAGAIN;
    if (!error && may_see(q, ch, &m->c)) return true;
    if (q->store) store_message_done(m);
    if (!error || error == ENOENT || !is_admin(q, ch)) no_such(ch);
    else if (error == EBADMSG) done(ch, 0, 550, "5.6.0", "Its files cannot be understood; see the log");
    else done(ch, 0, 451, "4.3.0", "The spool cannot be read now");
    return false;
}

/* ---- Operations: each is one durable record, or the end of the message ------------------------------------------------ */

static void tell_changed(struct queue *q, struct qid id, bool held) {
    store_let_go(q->store, id);
    if (q->dispatch) SEND(q->dispatch->ch, changed, .id = id, .held = held);
}

static bool order(struct queue *q, const struct control *c, enum control_op op, bool held) {
    struct control_order o = {op, loop_wall_ms(q->me->loop)};
    if (store_order(q->store, c->id, &o) != STORE_OK) return false;
    tell_changed(q, c->id, held);
    return true;
}

static bool op_hold(struct queue *q, const struct control *c) {
    return !c->held && order(q, c, CONTROL_HOLD, true);
}

static bool op_release(struct queue *q, const struct control *c) {
    return c->held && order(q, c, CONTROL_RELEASE, false);
}

static bool op_requeue(struct queue *q, const struct control *c) {
    return order(q, c, CONTROL_REQUEUE, c->held);
}

static bool op_expire(struct queue *q, const struct control *c) {
    return order(q, c, CONTROL_EXPIRE, false);
}

static bool op_flush(struct queue *q, const struct control *c) {
    if (c->held || !q->dispatch) return false;
    SEND(q->dispatch->ch, due_now, .id = c->id);
    return true;
}

/* Results of deliveries that are under way will find no message, and are ignored. */
static bool op_remove(struct queue *q, const struct control *c) {
    if (store_remove(q->store, c->id) != STORE_RETIRED) return false;
    if (q->dispatch) SEND(q->dispatch->ch, gone, .id = c->id);
    return true;
}

static const struct operation {
    char letter;
    bool everyone; /* an ordinary user may do it with his own mail */
    const char *name;
    bool (*apply)(struct queue *q,
                  const struct control *c); /* NULL: only looks. False: nothing was to be done */
} operations[] = {
    {'l', true, "list", NULL},           {'r', true, "remove", op_remove},
    {'h', false, "hold", op_hold},       {'u', false, "release", op_release},
    {'q', false, "requeue", op_requeue}, {'e', false, "expire", op_expire},
    {'f', false, "flush", op_flush},     {'c', false, "check", NULL},
};

static const struct operation *operation_of(uint8_t letter) {
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if ((uint8_t)operations[i].letter == letter) return &operations[i];
    return NULL;
}

/* True: it was done, or shown. */
static bool operate(struct queue *q, struct channel *ch, const struct operation *op, const struct control *c,
                    bool detail, bool dry) {
    if (!op->apply || dry) {
        show(ch, c, detail);
        return true;
    }
    if (!op->apply(q, c)) return false;
    if (op->apply == op_remove) LOG(removed, .id = c->id, .uid = channel_uid(ch));
    else if (op->apply != op_flush)
        LOG(ordered, .id = c->id, .order = str_of(op->name), .uid = channel_uid(ch));
    return true;
}

/* The answer comes when all is durable. */
static void operated(struct queue *q, struct channel *ch, const struct operation *op, uint32_t count,
                     bool dry) {
    bool changed = op->apply && op->apply != op_flush && !dry;
    if (changed && count) queue_commit(q);
    if (changed && count && store_unsynced(q->store))
        done(ch, count, 451, "4.3.0", "Changed, but the disk has not taken it yet; see the log");
    else if (op->apply == op_flush && !q->dispatch && !dry)
        done(ch, 0, 451, "4.3.2", "dispatch is not running; it tries everything when it starts");
    else done(ch, count, 250, "2.0.0", "Done");
}

/* ---- Walks for tools --------------------------------------------------------------------------------------------------- */

static void lister_free(struct lister *l) {
    loop_timer_cancel(l->q->me->loop, &l->next);
    store_walk_free(l->walk);
    arena_free(l->arena);
    l->peer->lister = NULL;
    l->q->listers--;
    free(l);
}

/* The check of a running queue: what is not in order is told as it is found. */
static void on_finding(void *ctx, const struct found *f) {
    struct lister *l = ctx;
    char mem[DISK_NAME_MAX + 16], dir[8];
    struct buf file = BUF(mem);
    if (f->dir != DISK_ROOT) buf_addf(&file, "%s/", disk_dir_name(f->dir, dir));
    buf_adds(&file, f->name);
    SEND(l->peer->ch, ctl_finding, .what = (uint8_t)f->what, .file = buf_str(&file), .why = str_of(f->why));
    l->count++;
}

static struct store_walk *walk_for(struct lister *l) {
    if (l->op->letter != 'c') return store_walk_new(l->q->store, false);
    return store_check_new(l->q->store, &(struct findings){l, on_finding});
}

static void listed(void *ctx, const struct control *c) {
    struct lister *l = ctx;
    l->looked++;
    if (l->op->letter == 'c') return;
    if (!may_see(l->q, l->peer->ch, c) || !select_matches(&l->sel, c, loop_wall_ms(l->q->me->loop))) return;
    l->count += operate(l->q, l->peer->ch, l->op, c, l->detail, l->dry);
}

static void tell_progress(struct lister *l) {
    int64_t now = clock_now_ns();
    if (now - l->told < PROGRESS_MS * 1000000LL) return;
    l->told = now;
    SEND(l->peer->ch, ctl_progress, .looked = l->looked, .matched = l->count);
}

/* An ordinary user may look through the whole spool for his own mail, but slowly, and once at a time: it is not his
 * disk alone. */
enum { USER_SLICE = 8 };

static bool lister_slice(struct lister *l) {
    int64_t end = clock_now_ns() + SLICE_MS * 1000000LL;
    unsigned most = is_admin(l->q, l->peer->ch) ? SLICE : USER_SLICE;
    for (unsigned i = 0; i < most; i++) {
        if (!store_walk_step(l->walk, 1, listed, l)) return false;
        if (clock_now_ns() >= end) break;
    }
    return true;
}

static bool lists_already(const struct queue *q, const struct channel *ch) {
    bool found = false;
    for (const struct peer *p = q->peers; p && !is_admin(q, ch); p = p->next)
        found |= p->lister && channel_uid(p->ch) == channel_uid(ch);
    return found;
}

static void lister_step(void *ctx) {
    struct lister *l = ctx;
    struct queue *q = l->q;
    struct channel *ch = l->peer->ch;
    if (channel_full(ch)) return; /* ctl_drained goes on */
    bool wait = l->op->apply && !l->dry && q->dispatch && channel_full(q->dispatch->ch);
    bool more = wait || lister_slice(l);
    queue_unsynced(q);
    if (more) {
        tell_progress(l);
        loop_timer_in(q->me->loop, &l->next, wait ? 20 : 0);
        return;
    }
    if (l->op->letter == 'c') SEND(ch, ctl_progress, .looked = l->looked, .matched = l->count);
    operated(q, ch, l->op, l->count, l->dry);
    lister_free(l);
}

static void lister_start(struct queue *q, struct channel *ch, const struct operation *op,
                         const struct wire_ctl_queue *m) {
    struct peer *p = peer_of(q, ch);
    if (!p || !q->store || p->lister || lists_already(q, ch) ||
        q->listers >= LISTERS_MAX + (is_admin(q, ch) ? 2 : 0)) {
        done(ch, 0, 451, "4.3.2", "The queue is busy, try again later");
        return;
    }
    struct lister *l = xmalloc(sizeof *l);
    struct arena *a = arena_new(65536);
    *l = (struct lister){.q = q,
                         .peer = p,
                         .op = op,
                         .detail = m->detail == 1,
                         .dry = m->dry == 1,
                         .arena = a,
                         .told = clock_now_ns(),
                         .next = {.fn = lister_step, .ctx = l}};
    l->sel = (struct selection){.sender = str_dup(a, m->sender),
                                .rcpt = str_dup(a, m->rcpt),
                                .domain = str_dup(a, m->domain),
                                .reason = str_dup(a, m->reason),
                                .older = m->older,
                                .newer = m->newer,
                                .larger = m->larger,
                                .smaller = m->smaller,
                                .state = (char)m->state};
    l->walk = walk_for(l);
    p->lister = l;
    q->listers++;
    loop_timer_in(q->me->loop, &l->next, 0);
}

void ctl_drained(struct queue *q, struct peer *p) {
    if (p->lister) loop_timer_in(q->me->loop, &p->lister->next, 0);
}

/* ---- Redirection -------------------------------------------------------------------------------------------------------

 * It is recorded as an expansion is: a new recipient, and the old one split into it. Indices of new recipients are
 * dispatch's to choose while it has the message; so it puts the message down first. */

static bool find_rcpt(const struct control *c, struct str text, uint32_t *index) {
    for (*index = 0; *index < c->rcpt_count; ++*index) {
        const struct control_rcpt *r = &c->rcpts[*index];
        if ((r->state == 'N' || r->state == 'L') && str_eq_nocase(r->rcpt, text)) return true;
    }
    return false;
}

static bool redirect_record(struct queue *q, const struct control *c, const struct redirect *r) {
    uint32_t index;
    struct status st = status_make(250, "2.1.5", "redirected by the administrator");
    if (!find_rcpt(c, r->from, &index)) return false;
    struct control_rcpt fresh = {.rcpt = r->to, .parent = index, .notify = c->rcpts[index].notify};
    struct control_mark mark = {.index = index,
                                .state = 'S',
                                .attempts = c->rcpts[index].attempts,
                                .next = loop_wall_ms(q->me->loop),
                                .status = st};
    return store_split(q->store, c->id, c->rcpt_count, &fresh) == STORE_OK &&
           store_mark(q->store, c->id, &mark) == STORE_OK;
}

static void redirect_free(struct queue *q, struct redirect *r) {
    struct redirect **at = &q->redirects;
    while (*at != r) at = &(*at)->next;
    *at = r->next;
    arena_free(r->arena);
    free(r);
}

static void redirect_now(struct queue *q, struct redirect *r) {
    struct channel *ch = r->peer ? r->peer->ch : NULL;
    struct store_message m;
    bool ok = store_load(q->store, r->id, &m) == 0, did = ok && ch && redirect_record(q, &m.c, r),
         held = ok && m.c.held;
    store_message_done(&m);
    if (did) store_orphan(q->store, r->id);
    if (ok && !held) tell_changed(q, r->id, false);
    if (did) {
        LOG(ordered, .id = r->id, .order = STR("redirect"), .uid = channel_uid(ch));
        queue_commit(q);
    }
    if (did) done(ch, 1, 250, "2.0.0", "Redirected");
    else if (ch) done(ch, 0, 550, "5.1.1", "It has no such recipient that is not done");
    redirect_free(q, r);
}

bool ctl_redirecting(const struct queue *q, struct qid id) {
    for (const struct redirect *r = q->redirects; r; r = r->next)
        if (qid_eq(r->id, id)) return true;
    return false;
}

void on_put_down(void *ctx, struct channel *ch, const struct wire_put_down *m, int fd) {
    struct queue *q = queue_of(ctx);
    (void)fd;
    if (!q->dispatch || q->dispatch->ch != ch) return;
    for (struct redirect *r = q->redirects, *next; r; r = next) {
        next = r->next;
        if (qid_eq(r->id, m->id)) redirect_now(q, r);
    }
}

void ctl_dispatch_gone(struct queue *q) {
    while (q->redirects) redirect_now(q, q->redirects);
}

static bool is_address(struct arena *a, struct str *text) {
    struct addr addr;
    const char *why;
    if (!addr_parse(*text, ADDR_POSTMASTER | ADDR_UTF8, a, &addr, &why)) return false;
    *text = addr_text(a, &addr);
    return text->n > 0 && text->n <= CONTROL_ADDRESS_MAX;
}

void on_ctl_redirect(void *ctx, struct channel *ch, const struct wire_ctl_redirect *m, int fd) {
    struct queue *q = queue_of(ctx);
    struct store_message msg;
    (void)fd;
    if (!is_admin(q, ch)) {
        done(ch, 0, 550, "5.7.1", "Only the administrator may do this");
        return;
    }
    if (!load_own(q, ch, m->id, &msg)) return;
    store_message_done(&msg);
    struct arena *a = arena_new(65536);
    struct redirect *r = xmalloc(sizeof *r);
    *r = (struct redirect){.next = q->redirects,
                           .peer = peer_of(q, ch),
                           .id = m->id,
                           .arena = a,
                           .from = str_dup(a, m->from),
                           .to = m->to};
    bool busy = ctl_redirecting(q, m->id), good = is_address(a, &r->to);
    q->redirects = r;
    if (busy || !good) {
        if (good) done(ch, 0, 451, "4.3.2", "Another redirection of it is under way");
        else done(ch, 0, 550, "5.1.3", "The new recipient is no address");
        redirect_free(q, r);
    } else if (q->dispatch) {
        tell_changed(q, m->id, true);
    } else {
        redirect_now(q, r);
    }
}

/* ---- Tools come and go --------------------------------------------------------------------------------------------------- */

void ctl_gone(struct queue *q, struct peer *p) {
    if (p->lister) lister_free(p->lister);
    for (struct redirect *r = q->redirects; r; r = r->next)
        if (r->peer == p) r->peer = NULL; /* when dispatch has put it down it gets it back as it was */
}

void ctl_accept(struct queue *q, int listener) {
    bool more = true;
    for (int i = 0; more && i < 8; i++) {
        struct channel *ch = program_tool(q->me, listener, &more);
        if (!ch) continue;
        struct peer *p = xmalloc(sizeof *p);
        *p = (struct peer){.next = q->peers, .ch = ch};
        q->peers = p;
    }
}

/* ---- Requests ------------------------------------------------------------------------------------------ */

void on_ctl_queue(void *ctx, struct channel *ch, const struct wire_ctl_queue *m, int fd) {
    struct queue *q = queue_of(ctx);
    const struct operation *op = operation_of(m->op);
    struct store_message msg;
    (void)fd;
    /* Said twice what is meant: no slip of an id must ever become all mail. */
    if (m->which != CTL_FITTING && (m->which != CTL_ONE || m->op == 'c')) op = NULL;
    if (!op || (!op->everyone && !is_admin(q, ch))) {
        done(ch, 0, 550, "5.7.1", op ? "Only the administrator may do this" : "No such operation");
        return;
    }
    if (m->which == CTL_FITTING) {
        lister_start(q, ch, op, m);
        return;
    }
    if (!load_own(q, ch, m->id, &msg)) return;
    bool did = operate(q, ch, op, &msg.c, m->detail == 1, m->dry == 1);
    store_message_done(&msg);
    queue_unsynced(q);
    operated(q, ch, op, did, m->dry == 1);
}

void on_ctl_cat(void *ctx, struct channel *ch, const struct wire_ctl_cat *m, int fd) {
    static const char parts[] = "cd";
    struct queue *q = queue_of(ctx);
    struct store_message msg;
    (void)fd;
    struct peer *p = peer_of(q, ch);
    if (!p || ++p->cats > CATS_MAX) {
        done(ch, 0, 451, "4.3.2", "Enough for one connection, make another");
        return;
    }
    if (!load_own(q, ch, m->id, &msg)) return;
    store_message_done(&msg);
    for (int i = 0; i < 2; i++) {
        int file, error = store_open_part(q->store, m->id, parts[i], &file);
        if (error) {
            done(ch, (uint32_t)i, 451, "4.3.0", "The spool cannot be read now");
            return;
        }
        SEND_FD(ch, file, ctl_file, .id = m->id, .part = (uint8_t)parts[i]);
    }
    done(ch, 2, 250, "2.0.0", "Done");
}
