/* AUTH (RFC 4954), for those who submit mail (RFC 6409): on port 25 nobody has a password to offer. What
 * the lines between 334 and the end say is for auth to know; here they are only passed on. */
#include "common/arena.h"
#include "smtpd/state.h"

#include <stdlib.h>
#include <string.h>

enum { MECH_MAX = 20, FAILURES_MAX = 3 }; /* RFC 4422 3.1; one who fails so often may come again */

/* RFC 8314 3.3, RFC 4954 9: a password in the clear belongs to everybody on the way. */
bool auth_safe(const struct session *s) {
    return s->tls.on || networks_have(&s->host->cleartext, &s->client.ip);
}

static bool fits(const struct session *s, struct str mech) {
    if (str_ends_nocase(mech, STR("-PLUS"))) return s->tls.on;
    /* The certificate is that of who is connected: after XCLIENT a proxy's, not its client's. */
    return !str_eq(mech, STR("EXTERNAL")) || (s->tls.client.n && !s->told);
}

/* What may be said to this client; empty: AUTH is not offered. plus: with -PLUS. */
struct str auth_offer(const struct session *s, struct buf *b, bool *plus) {
    struct str rest = s->host->mechs, word;
    *plus = false;
    if (s->client.service != SERVICE_SUBMISSION || s->login.n || !auth_safe(s)) return STR_NONE;
    while (str_word(&rest, '\0', &word)) {
        if (!fits(s, word)) continue;
        *plus = *plus || str_ends_nocase(word, STR("-PLUS"));
        if (b->n) buf_addc(b, ' ');
        buf_add(b, word);
    }
    return buf_str(b);
}

static bool offered(const struct session *s, struct str mech, bool *plus) {
    char mem[400];
    struct buf b = BUF(mem);
    struct str rest = auth_offer(s, &b, plus), word;
    while (str_word(&rest, '\0', &word))
        if (str_eq_nocase(word, mech)) return true;
    return false;
}

static bool refused(struct session *s, struct str mech, bool *plus) {
    if (s->client.service != SERVICE_SUBMISSION)
        session_wrong(s, "auth", 502, "5.5.1", "AUTH is for the submission ports");
    else if (s->login.n) session_wrong(s, "auth", 503, "5.5.1", "You are logged in already"); /* 4 */
    else if (!s->esmtp) session_wrong(s, "auth", 503, "5.5.1", "Say EHLO first");
    else if (!auth_safe(s)) session_wrong(s, "auth", 538, "5.7.11", "Encryption is needed first: STARTTLS");
    else if (!s->host->mechs.n) session_wrong(s, "auth", 454, "4.7.0", "Temporary authentication failure");
    else if (!offered(s, mech, plus)) session_wrong(s, "auth", 504, "5.5.4", "This mechanism is not offered");
    else return false;
    return true;
}

void cmd_auth(struct session *s, struct str arg) {
    struct session_auth a = {0};
    struct str more;
    if (!str_word(&arg, '\0', &a.mech) || a.mech.n > MECH_MAX) {
        session_wrong(s, "auth", 501, "5.5.4", "Use AUTH mechanism [initial-response]");
        return;
    }
    a.given = str_word(&arg, '\0', &a.response);
    if (str_word(&arg, '\0', &more)) {
        session_wrong(s, "auth", 501, "5.5.4", "Use AUTH mechanism [initial-response]");
        return;
    }
    if (refused(s, a.mech, &a.plus)) return;
    if (a.given && str_eq(a.response, STR("="))) a.response = STR_NONE; /* 4: empty, but there */
    if (s->host->ops->auth(s->ctx, &a)) s->auth = AUTH_ASKED;
    else session_wrong(s, "auth", 454, "4.7.0", "Temporary authentication failure");
}

/* A line of the client in answer to 334. */
void auth_response(struct session *s, enum line_what what, struct str line) {
    bool cancel = what == LINE_READY && str_eq(line, STR("*"));
    if (what == LINE_READY && !cancel && s->host->ops->auth_more(s->ctx, line)) {
        s->auth = AUTH_ASKED;
        return;
    }
    s->auth = AUTH_NONE;
    s->host->ops->auth_drop(s->ctx);
    if (cancel) session_wrong(s, "auth", 501, "5.0.0", "Cancelled");                     /* 4 */
    else if (what == LINE_LONG) session_wrong(s, "auth", 500, "5.5.6", "Line too long"); /* 6 */
    else if (what == LINE_STRAY)
        session_wrong(s, "auth", 501, "5.5.2", "Bare CR, bare LF or NUL in a response");
    else session_wrong(s, "auth", 454, "4.7.0", "Temporary authentication failure");
}

void auth_challenged(struct session *s, struct str challenge) {
    s->auth = AUTH_RESPONSE;
    session_plain(s, 334, false, challenge);
}

static void logged_in(struct session *s, const struct status *st, struct str login) {
    char *mem = xmalloc(login.n);
    memcpy(mem, login.p, login.n);
    free((char *)(uintptr_t)s->login.p);
    s->login = (struct str){mem, login.n};
    session_reply(s, st);
}

void auth_ended(struct session *s, const struct status *st, struct str login) {
    s->auth = AUTH_NONE;
    if (st->kind == STATUS_OK && login.n && login.n <= SESSION_LOGIN_MAX) {
        logged_in(s, st, login);
        return;
    }
    struct status no = *st;
    if (st->kind == STATUS_OK || st->code / 100 < 4 || st->code / 100 != st->detail[0])
        no = status_make(454, "4.7.0", "Temporary authentication failure");
    if (no.code == 421) {
        session_tell(s, "auth", &no, STR_NONE);
        session_end_text(s, &no, "too many failed logins");
        return;
    }
    session_refuse(s, "auth", &no, STR_NONE);
    if (!s->over && no.kind == STATUS_NEVER && ++s->auth_failures >= FAILURES_MAX)
        session_end(s, "4.7.0", "Too many failed logins", "too many failed logins");
}
