#include "common/arena.h"
#include "smtpd/shell.h"

enum { SLOT_USER = 0xffffffffu };

static uint32_t ask_new(struct conn *c, uint32_t slot) {
    struct shell *sh = c->sh;
    if (!sh->ask_free) {
        sh->asks = xgrow(sh->asks, &sh->ask_cap, sh->ask_count + 1, sizeof *sh->asks);
        sh->asks[sh->ask_count++] = (struct ask){0};
        sh->ask_free = (uint32_t)sh->ask_count;
    }
    uint32_t tag = sh->ask_free - 1;
    struct ask *a = &sh->asks[tag];
    sh->ask_free = a->next_free;
    *a = (struct ask){.conn = c, .slot = slot};
    c->asked++;
    return tag;
}

/* Gives the question back; false when nobody asked it. */
static bool ask_take(struct shell *sh, uint32_t tag, struct ask *out) {
    if (tag >= sh->ask_count || !sh->asks[tag].conn) return false;
    *out = sh->asks[tag];
    out->conn->asked--;
    sh->asks[tag] = (struct ask){.next_free = sh->ask_free};
    sh->ask_free = tag + 1;
    return true;
}

bool ask_rcpt(struct conn *c, uint32_t slot, const struct session_mail *m, const struct session_rcpt *rcpt) {
    static const struct ip ourselves = {0}; /* a rule chose the recipient */
    static const struct ip nobody = {
        4, {255, 255, 255, 255}}; /* no client has this address, none may relay by it */
    struct shell *sh = c->sh;
    const struct ip *client = &session_client_of(c->session)->ip;
    /* XCLIENT may say that nobody knows where the client is: that makes it no user of this host. */
    bool outsider =
        c->client.service == SERVICE_LMTP ? !sh->me->config->lmtp_relay : !c->client.local && !client->family;
    if (!sh->lookup || channel_full(sh->lookup)) return false;
    const struct ip *ip = rcpt->by_rule ? &ourselves : outsider ? &nobody : client;
    SEND(sh->lookup, rcpt_query, .tag = ask_new(c, slot), .family = ip->family,
         .ip = {(const char *)ip->b, ip->family == 4   ? 4
                                     : ip->family == 6 ? 16
                                                       : 0},
         .sender = m->sender_text, .rcpt = rcpt->text, .login = session_login(c->session));
    return true;
}

bool ask_sender(struct conn *c, const struct session_mail *m) {
    struct shell *sh = c->sh;
    if (!sh->lookup || channel_full(sh->lookup)) return false;
    SEND(sh->lookup, sender_query, .tag = ask_new(c, SESSION_SLOT_SENDER), .login = session_login(c->session),
         .sender = m->sender_text);
    return true;
}

bool ask_user(struct conn *c) {
    struct shell *sh = c->sh;
    if (!sh->lookup) return false;
    SEND(sh->lookup, user_query, .tag = ask_new(c, SLOT_USER), .uid = c->client.uid);
    return true;
}

static void answered(struct shell *sh, const struct ask *a, const struct status *st) {
    struct conn *c = a->conn;
    if (c->session && a->slot == SLOT_USER) conn_greet(c);
    else if (c->session) session_answer(c->session, shell_now(sh), a->slot, st);
    conn_settle(c);
}

void ask_rcpt_answer(void *ctx, struct channel *ch, const struct wire_rcpt_answer *m, int fd) {
    struct shell *sh = ((struct self *)ctx)->state;
    struct ask a;
    (void)fd;
    if (ch != sh->lookup || !ask_take(sh, m->tag, &a)) return;
    struct status st = STATUS_OF(m);
    if (a.slot == SLOT_USER) st = status_make(451, "4.3.0", "");
    answered(sh, &a, &st);
}

void ask_user_answer(void *ctx, struct channel *ch, const struct wire_user_answer *m, int fd) {
    struct shell *sh = ((struct self *)ctx)->state;
    struct ask a;
    struct status st = status_make(451, "4.3.0", "Confused for a moment, try again later");
    (void)fd;
    if (ch != sh->lookup || !ask_take(sh, m->tag, &a)) return;
    if (a.conn->session && !a.conn->login && m->login.n) {
        struct buf b = buf_on(xmalloc(m->login.n + 1), m->login.n + 1);
        buf_add(&b, m->login);
        a.conn->login = b.p; /* NUL-terminated by xmalloc's zeros */
    }
    answered(sh, &a, &st);
}

void ask_lost(struct shell *sh) {
    struct status st = status_make(451, "4.3.0", "Recipient cannot be checked now, try again later");
    sh->lookup = NULL;
    for (uint32_t tag = 0; tag < sh->ask_count; tag++) {
        struct ask a;
        if (ask_take(sh, tag, &a)) answered(sh, &a, &st);
    }
}
