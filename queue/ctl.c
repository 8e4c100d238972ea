/* ctl.c: people at the control socket. The kernel says who they are (SO_PEERCRED): root, and the user who
 * runs a private instance, may see and do everything; others only what concerns mail they sent themselves. */
#include "queue/shell.h"

#include "common/arena.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CATS_MAX = 8 }; /* messages whose files one connection gets: descriptors in flight are counted against us */

/* A walk on behalf of one tool. */
struct lister {
    struct queue *q;
    struct peer *peer;
    struct store_walk *walk;
    struct timer next;
    bool detail, flush;
    uint32_t count;
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
         .rcpts = c->rcpt_count, .pending = c->pending, .origin = c->origin);
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

/* ---- Walks for tools ----------------------------------------------------------------------------------- */

static void lister_free(struct lister *l) {
    loop_timer_cancel(l->q->me->loop, &l->next);
    store_walk_free(l->walk);
    l->peer->lister = NULL;
    l->q->listers--;
    free(l);
}

static void listed(void *ctx, const struct control *c) {
    struct lister *l = ctx;
    if (!may_see(l->q, l->peer->ch, c)) return;
    l->count++;
    if (!l->flush) show(l->peer->ch, c, l->detail);
    else if (l->q->dispatch) SEND(l->q->dispatch->ch, due_now, .id = c->id);
}

/* An ordinary user may look through the whole spool for his own mail, but slowly, and once at a time: it is not his
 * disk alone. */
enum { USER_SLICE = 8 };

static bool lists_already(const struct queue *q, const struct channel *ch) {
    bool found = false;
    for (const struct peer *p = q->peers; p && !is_admin(q, ch); p = p->next)
        found |= p->lister && channel_uid(p->ch) == channel_uid(ch);
    return found;
}

static void lister_step(void *ctx) {
    struct lister *l = ctx;
    struct channel *ch = l->peer->ch;
    if (channel_full(ch)) return; /* ctl_drained goes on */
    bool wait = l->flush && l->q->dispatch && channel_full(l->q->dispatch->ch);
    if (wait || store_walk_step(l->walk, is_admin(l->q, ch) ? SLICE : USER_SLICE, listed, l)) {
        loop_timer_in(l->q->me->loop, &l->next, wait ? 20 : 0);
        return;
    }
    if (l->flush && !l->q->dispatch)
        done(ch, 0, 451, "4.3.2", "dispatch is not running; it tries everything when it starts");
    else done(ch, l->count, 250, "2.0.0", "Done");
    lister_free(l);
}

static void lister_start(struct queue *q, struct channel *ch, bool flush, bool detail) {
    struct peer *p = peer_of(q, ch);
    if (!p || !q->store || p->lister || lists_already(q, ch) ||
        q->listers >= LISTERS_MAX + (is_admin(q, ch) ? 2 : 0)) {
        done(ch, 0, 451, "4.3.2", "The queue is busy, try again later");
        return;
    }
    struct lister *l = xmalloc(sizeof *l);
    *l = (struct lister){.q = q,
                         .peer = p,
                         .walk = store_walk_new(q->store, false),
                         .flush = flush,
                         .detail = detail,
                         .next = {.fn = lister_step, .ctx = l}};
    p->lister = l;
    q->listers++;
    loop_timer_in(q->me->loop, &l->next, 0);
}

void ctl_gone(struct queue *q, struct peer *p) {
    (void)q;
    if (p->lister) lister_free(p->lister);
}

void ctl_drained(struct queue *q, struct peer *p) {
    if (p->lister) loop_timer_in(q->me->loop, &p->lister->next, 0);
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

void on_ctl_queue_list(void *ctx, struct channel *ch, const struct wire_ctl_queue_list *m, int fd) {
    struct queue *q = queue_of(ctx);
    struct store_message msg;
    (void)fd;
    if (qid_eq(m->id, QID_NONE)) {
        lister_start(q, ch, false, m->detail == 1);
        return;
    }
    if (!load_own(q, ch, m->id, &msg)) return;
    show(ch, &msg.c, m->detail == 1);
    store_message_done(&msg);
    done(ch, 1, 250, "2.0.0", "Done");
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

void on_ctl_queue_flush(void *ctx, struct channel *ch, const struct wire_ctl_queue_flush *m, int fd) {
    struct queue *q = queue_of(ctx);
    struct store_message msg;
    (void)fd;
    if (qid_eq(m->id, QID_NONE)) {
        /* Walks over all, but touches only what the caller may see: a user may hurry his own mail. */
        lister_start(q, ch, true, false);
        return;
    }
    if (!load_own(q, ch, m->id, &msg)) return;
    store_message_done(&msg);
    if (q->dispatch) {
        SEND(q->dispatch->ch, due_now, .id = m->id);
        done(ch, 1, 250, "2.0.0", "It is tried now");
    } else {
        done(ch, 0, 451, "4.3.2", "dispatch is not running; it tries everything when it starts");
    }
}

void on_ctl_queue_remove(void *ctx, struct channel *ch, const struct wire_ctl_queue_remove *m, int fd) {
    struct queue *q = queue_of(ctx);
    struct store_message msg;
    (void)fd;
    if (!load_own(q, ch, m->id, &msg)) return;
    store_message_done(&msg);
    /* Results of deliveries that are under way will find no message, and are ignored. */
    enum store_outcome outcome = store_remove(q->store, m->id);
    if (outcome != STORE_RETIRED) {
        done(ch, 0, 451, "4.3.0", "It could not be removed; see the log");
        return;
    }
    LOG(removed, .id = m->id, .uid = channel_uid(ch));
    if (q->dispatch) SEND(q->dispatch->ch, gone, .id = m->id);
    queue_unsynced(q);
    done(ch, 1, 250, "2.0.0", "Removed");
}
