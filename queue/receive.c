/* receive.c: messages that come in: every field and descriptor is checked here before the store sees it. */
#include "queue/shell.h"

#include "common/arena.h"
#include "queue/select.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct status not_yours = {.kind = STATUS_LATER,
                                        .code = 451,
                                        .detail = {4, 3, 0},
                                        .text = {"Queue id refused", sizeof "Queue id refused" - 1}};
static const struct status bad_chunk = {.kind = STATUS_LATER,
                                        .code = 451,
                                        .detail = {4, 3, 0},
                                        .text = {"Message data refused", sizeof "Message data refused" - 1}};

static void intake_free(struct intake *in) {
    if (in->memfd >= 0) close(in->memfd);
    free(in);
}

/* The draft of this id, if it is this peer's. */
static struct intake *intake_of(struct queue *q, struct channel *ch, struct qid id) {
    struct intake *in = store_owner(q->store, id);
    return in && in->peer && in->peer->ch == ch ? in : NULL;
}

static void answer(struct channel *ch, struct qid id, const struct status *s) {
    SEND(ch, mail_done, .id = id, WIRE_STATUS(*s));
}

/* Others reckon with it: a time beyond all times would be an overflow in dispatch, again at each of its starts. */
static int64_t sane_time(const struct queue *q, int64_t ms) {
    int64_t now = loop_wall_ms(q->me->loop);
    return ms >= 0 && ms <= now + 86400000 ? ms : now;
}

/* What is due by now is due at once. */
static int64_t sane_after(const struct queue *q, int64_t ms) {
    enum { DAYS_MAX = 400 };
    int64_t now = loop_wall_ms(q->me->loop), most = now + (int64_t)DAYS_MAX * 86400000;
    return ms <= now ? 0 : ms < most ? ms : most;
}

void on_mail_begin(void *ctx, struct channel *ch, const struct wire_mail_begin *m, int fd) {
    struct queue *q = queue_of(ctx);
    struct peer *p = peer_of(q, ch);
    (void)fd;
    /* Whoever uses an id that is not his could speak about another's message. A live id is refused by the
     * store. */
    if (!p || !p->lease || m->id.lease != p->lease || store_owner(q->store, m->id)) {
        LOG_TROUBLE("%s used the queue id %s, which it may not use", role_table[channel_peer(ch)].name,
                    qid_format(m->id).c);
        answer(ch, m->id, &not_yours);
        return;
    }
    struct intake *in = xmalloc(sizeof *in);
    *in = (struct intake){.peer = p, .memfd = -1};
    store_begin(q->store,
                &(struct control){.id = m->id,
                                  .about = m->about,
                                  .arrival = sane_time(q, m->arrival),
                                  .body = m->body,
                                  .sender = m->sender,
                                  .ret = m->ret,
                                  .envid = m->envid,
                                  .after = sane_after(q, m->after),
                                  .origin = m->origin},
                in);
}

void on_mail_rcpt(void *ctx, struct channel *ch, const struct wire_mail_rcpt *m, int fd) {
    struct queue *q = queue_of(ctx);
    (void)fd;
    if (!intake_of(q, ch, m->id)) return;
    store_rcpt(q->store, m->id, m->index,
               &(struct control_rcpt){.rcpt = m->rcpt, .orcpt = m->orcpt, .notify = m->notify});
}

/* Sealed, so that its bytes and its length stay what they are after we have looked. */
static bool chunk_fit(int fd, uint32_t size) {
    static const int needed = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & needed) == needed && size <= CHUNK_MAX;
}

/* Asks for one octet more than there may be, which tells the length too. */
static bool chunk_read(int fd, char *bytes, size_t n) {
    size_t got = 0;
    while (got <= n) {
        ssize_t did = pread(fd, bytes + got, n + 1 - got, (off_t)got);
        if (did < 0 && errno == EINTR) continue;
        if (did < 0) return false;
        got += (size_t)did;
        if (did == 0 || got == n) break;
    }
    return got == n;
}

void on_mail_chunk(void *ctx, struct channel *ch, const struct wire_mail_chunk *m, int fd) {
    static char bytes[CHUNK_MAX + 1];
    struct queue *q = queue_of(ctx);
    struct intake *in = intake_of(q, ch, m->id);
    if (!in) {
        close(fd);
        return;
    }
    if (!chunk_fit(fd, m->size) || !chunk_read(fd, bytes, m->size)) {
        close(fd);
        store_refuse(q->store, m->id, &bad_chunk);
        return;
    }
    if (in->memfd >= 0) close(in->memfd);
    in->memfd = in->chunks ? -1 : fd;
    if (in->chunks) close(fd);
    in->chunks++;
    store_data(q->store, m->id, (struct str){bytes, m->size}); /* may end in receive_answer, which frees in */
}

void on_mail_end(void *ctx, struct channel *ch, const struct wire_mail_end *m, int fd) {
    struct queue *q = queue_of(ctx);
    (void)fd;
    if (!intake_of(q, ch, m->id)) return;
    const struct config *c = q->me->config;
    const struct control *draft = store_draft(q->store, m->id);
    uint32_t rcpts = m->rcpts;
    if (m->hold == 1 || (draft && select_rule(c->hold.v, c->hold.n, draft)))
        store_hold_draft(q->store, m->id);
    if (m->redirect.n) store_redirect_draft(q->store, m->id, &rcpts, m->redirect);
    store_end(q->store, m->id, rcpts, m->size, m->prefix);
    queue_ended(q);
}

void on_mail_abort(void *ctx, struct channel *ch, const struct wire_mail_abort *m, int fd) {
    struct queue *q = queue_of(ctx);
    (void)fd;
    if (!intake_of(q, ch, m->id)) return;
    intake_free(store_abort(q->store, m->id));
    queue_unsynced(q);
}

void receive_answer(void *ctx, void *owner, const struct control *c, const struct status *s, unsigned batch) {
    struct queue *q = ctx;
    struct intake *in = owner;
    answer(in->peer->ch, c->id, s);
    if (s->kind == STATUS_OK) {
        LOG(queued, .id = c->id, .from = c->sender, .rcpts = c->rcpt_count, .size = c->size, .batch = batch,
            .commit_us = (uint64_t)(clock_now_ns() - q->commit_began) / 1000);
        int memfd = in->memfd;
        in->memfd = -1;
        if (c->held) LOG(ordered, .id = c->id, .order = STR("hold, by a rule"));
        feed_fresh(q, c, memfd);
    }
    intake_free(in);
}

static bool is_of(void *ctx, void *owner) {
    struct intake *in = owner;
    return in->peer == ctx;
}

static void forget(void *ctx, void *owner) {
    (void)ctx;
    intake_free(owner);
}

/* Nobody is left to be told: what was not committed is not accepted. Its client will send it again. */
void receive_peer_gone(struct queue *q, struct peer *p) {
    store_abort_all(q->store, is_of, forget, p);
}
