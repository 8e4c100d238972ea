/* mail.c: accepted messages on their way to queue. A small message travels whole after its end; a large
 * one streams as sealed chunks while it arrives, so that we never hold more than one of them for a
 * session. */
#include "common/arena.h"
#include "smtpd/shell.h"

#include <stdlib.h>
#include <unistd.h>

static struct mail **bucket(struct shell *sh, struct qid id) {
    return &sh->mails[id.serial % MAIL_BUCKETS];
}

static struct mail *find(struct shell *sh, struct qid id) {
    for (struct mail *m = *bucket(sh, id); m; m = m->next_in_bucket)
        if (qid_eq(m->id, id)) return m;
    return NULL;
}

/* Is the queue that leased this id still the one we speak to? */
static bool reachable(const struct shell *sh, const struct mail *m) {
    return sh->queue && sh->lease == m->id.lease;
}

static void tell_envelope(struct shell *sh, struct mail *m) {
    const struct session_mail *e = m->envelope;
    uint32_t index = 0;
    if (m->told) return;
    m->told = true;
    SEND(sh->queue, mail_begin, .id = m->id, .arrival = e->arrival_ms, .sender = e->sender_text,
         .body = e->body, .origin = e->origin, .about = QID_NONE, .ret = e->ret, .envid = e->envid,
         .after = e->after_ms);
    for (const struct session_rcpt *r = e->rcpts; r; r = r->next)
        SEND(sh->queue, mail_rcpt, .id = m->id, .index = index++, .rcpt = r->text, .orcpt = r->orcpt,
             .notify = r->notify);
}

static void on_chunk(void *ctx, int fd, uint32_t size) {
    struct mail *m = ctx;
    struct shell *sh = m->conn->sh;
    if (!reachable(sh, m)) {
        close(fd);
        return;
    }
    tell_envelope(sh, m);
    SEND_FD(sh->queue, fd, mail_chunk, .id = m->id, .size = size);
}

bool mail_begin(struct conn *c, struct session_mail *envelope) {
    struct shell *sh = c->sh;
    if (!sh->queue || !sh->lease || sh->serial == UINT32_MAX) return false;
    struct mail *m = xmalloc(sizeof *m);
    m->conn = c;
    m->envelope = envelope;
    m->id = envelope->id = (struct qid){sh->lease, ++sh->serial};
    body_init(&m->body, on_chunk, m);
    m->next_in_bucket = *bucket(sh, m->id);
    *bucket(sh, m->id) = m;
    c->mail = m;
    return true;
}

bool mail_write(struct conn *c, struct str bytes) {
    return c->mail && reachable(c->sh, c->mail) && guest_may_write(c) && body_write(&c->mail->body, bytes);
}

bool mail_commit(struct conn *c, const struct session_mail *envelope) {
    struct shell *sh = c->sh;
    struct mail *m = c->mail;
    if (!m || !reachable(sh, m) || !body_end(&m->body)) return false;
    tell_envelope(sh, m); /* an empty message has no chunk */
    SEND(sh->queue, mail_end, .id = m->id, .rcpts = envelope->rcpt_count, .size = envelope->size,
         .prefix = envelope->prefix, .hold = envelope->hold, .redirect = envelope->redirect);
    body_free(&m->body);
    m->ended = true;
    return true;
}

void mail_drop(struct conn *c) {
    struct mail *m = c->mail;
    if (!m) return;
    struct mail **at = bucket(c->sh, m->id);
    while (*at != m) at = &(*at)->next_in_bucket;
    *at = m->next_in_bucket;
    body_free(&m->body);
    free(m);
    c->mail = NULL;
}

void mail_abort(struct conn *c) {
    struct mail *m = c->mail;
    if (!m) return;
    if (m->told && reachable(c->sh, m)) SEND(c->sh->queue, mail_abort, .id = m->id);
    mail_drop(c);
}

bool mail_stalled(struct conn *c) {
    return c->mail && c->sh->queue && channel_full(c->sh->queue);
}

void mail_lease(void *ctx, struct channel *ch, const struct wire_lease *m, int fd) {
    struct shell *sh = ((struct self *)ctx)->state;
    (void)fd;
    if (ch != sh->queue) return;
    sh->lease = m->lease;
    sh->serial = 0;
    sh->ready = true;
    shell_accepting(sh);
}

static void fate(struct mail *m, const struct status *st) {
    struct conn *c = m->conn;
    struct shell *sh = c->sh;
    mail_drop(c); /* first: the session may begin another at once */
    if (c->session) session_committed(c->session, shell_now(sh), st);
    conn_settle(c);
}

void mail_done(void *ctx, struct channel *ch, const struct wire_mail_done *w, int fd) {
    struct shell *sh = ((struct self *)ctx)->state;
    struct mail *m = find(sh, w->id);
    struct status st = STATUS_OF(w);
    (void)fd;
    if (ch == sh->queue && m) fate(m, &st);
}

void mail_lost(struct shell *sh) {
    struct status st = status_make(451, "4.3.0", "The message cannot be kept now, try again later");
    sh->queue = NULL;
    sh->lease = 0;
    for (size_t i = 0; i < MAIL_BUCKETS; i++)
        while (sh->mails[i]) fate(sh->mails[i], &st);
}
