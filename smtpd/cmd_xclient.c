/* XCLIENT and XFORWARD (Postfix's XCLIENT_README, XFORWARD_README): a proxy or filter that is listed says
 * who the client behind it is. After XCLIENT the session begins anew, as that client's; XFORWARD is for the
 * log. */
#include "common/arena.h"
#include "smtpd/peer.h"
#include "smtpd/state.h"

#include <stdlib.h>

/* By the address from which the connection really came, not by one that an XCLIENT has told. */
bool session_may_xclient(const struct session *s) {
    const struct networks *n = s->host->xclient;
    return n && s->real.ip.family && networks_have(n, &s->real.ip);
}

bool session_may_xforward(const struct session *s) {
    const struct networks *n = s->host->xforward;
    return n && s->real.ip.family && networks_have(n, &s->real.ip);
}

/* False: it was answered. */
static bool begin(struct session *s, bool may, const char *stage) {
    if (!may) session_wrong(s, stage, 550, "5.7.1", "You are not listed for this");
    else if (s->tx)
        session_wrong(s, stage, 503, "5.5.1", "A message has been begun already; RSET forgets it");
    else return true;
    return false;
}

static struct peer *parse(struct session *s, struct str arg, bool xclient, const char *stage) {
    struct peer *p = xmalloc(sizeof *p);
    const char *why;
    if (peer_parse(arg, xclient, p, &why)) return p;
    free(p);
    session_wrong(s, stage, 501, "5.5.4", why);
    return NULL;
}

/* What this command does not tell stays as the last one told it; but a new address has other names, and a login is
 * never handed on to the next client (as Postfix does it). */
static bool merge(struct peer *p, const struct peer *old) {
    for (int i = 0; old && i < PEER_ATTRIBUTES; i++) {
        bool stale = i == PEER_LOGIN || (p->state[PEER_ADDR] && (i == PEER_NAME || i == PEER_REVERSE_NAME));
        if (p->state[i] == PEER_NOT_GIVEN && !stale && !peer_copy(p, old, (enum peer_attribute)i))
            return false;
    }
    return true;
}

static void take_names(struct session_client *c, const struct peer *p) {
    if (p->state[PEER_ADDR]) {
        c->ip = p->addr; /* none, when it is unavailable */
        c->name = c->reverse = STR_NONE;
        c->names_failed = true; /* nobody has said what it is called */
    }
    if (p->state[PEER_NAME]) {
        c->name = c->reverse = p->text[PEER_NAME];
        c->names_failed = p->state[PEER_NAME] == PEER_TEMPUNAVAIL;
    }
    if (p->state[PEER_REVERSE_NAME]) c->reverse = p->text[PEER_REVERSE_NAME];
}

static void take_login(struct session *s, struct str login) {
    struct buf b = buf_on(xmalloc(login.n + 1), login.n + 1);
    buf_add(&b, login);
    free((char *)(uintptr_t)s->login.p);
    s->login = buf_str(&b);
}

void cmd_xclient(struct session *s, struct str arg) {
    if (!begin(s, session_may_xclient(s), "xclient")) return;
    struct peer *p = parse(s, arg, true, "xclient");
    if (!p) return;
    if (!merge(p, s->told)) {
        session_wrong(s, "xclient", 501, "5.5.4", "The attributes are too long all together");
        free(p);
        return;
    }
    free(s->told);
    s->told = p;
    struct session_client client = s->real;
    struct status st;
    take_names(&client, p);
    take_login(s, p->text[PEER_LOGIN]);
    if (session_become(s, client, &st)) {
        session_begin_anew(s);
    } else {
        session_refuse(s, "xclient", &st, STR_NONE);
        session_close(s, "limit of the client behind the proxy");
    }
}

static void add(struct buf *b, const char *word, const struct peer *p, enum peer_attribute i) {
    if (p->state[i] != PEER_GIVEN) return;
    if (b->n) buf_addc(b, ' ');
    buf_adds(b, word);
    buf_addc(b, '=');
    buf_add(b, p->text[i]);
}

/* Several commands may tell one client: each adds what it says. */
void cmd_xforward(struct session *s, struct str arg) {
    static const struct {
        const char *word;
        enum peer_attribute i;
    } rows[] = {{"name", PEER_NAME}, {"addr", PEER_ADDR},   {"port", PEER_PORT},    {"proto", PEER_PROTO},
                {"helo", PEER_HELO}, {"ident", PEER_IDENT}, {"source", PEER_SOURCE}};
    if (!begin(s, session_may_xforward(s), "xforward")) return;
    struct peer *p = parse(s, arg, false, "xforward");
    if (!p) return;
    if (!s->forwarded) s->forwarded = xmalloc(FORWARDED_MAX);
    struct buf b = buf_on(s->forwarded, FORWARDED_MAX);
    b.n = s->forwarded_n;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) add(&b, rows[i].word, p, rows[i].i);
    if (!b.failed) s->forwarded_n = b.n;
    free(p);
    struct session_event e = {
        .kind = SESSION_FORWARDED, .reply = {s->forwarded, s->forwarded_n}, .helo = s->helo};
    s->host->ops->event(s->ctx, &e);
    session_say(s, 250, "2.0.0", "Noted");
}
