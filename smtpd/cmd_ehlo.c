/* EHLO and HELO (RFC 5321 4.1.1.1). */
#include "common/arena.h"
#include "smtpd/date.h"
#include "smtpd/state.h"

#include <stdlib.h>
#include <string.h>

/* A proper domain or address literal; or at least a word that can do no harm in Received and log: real
 * hosts say names with underscores. */
static bool acceptable(struct str name, struct arena *a) {
    static const char others[] = "._-";
    struct str parsed;
    const char *why;
    if (name.n == 0 || name.n > ADDR_DOMAIN_MAX) return false;
    if (domain_parse(name, 0, a, &parsed, &why)) return true;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && !memchr(others, c, sizeof others - 1)) return false;
    }
    return true;
}

static bool hello(struct session *s, struct str name, bool esmtp) {
    struct status st;
    struct arena *a = arena_new(4096);
    bool ok = acceptable(name, a);
    arena_free(a);
    if (!ok) {
        session_wrong(s, "helo", 501, "5.5.4", "Your name is needed: a domain or [address]");
        return false;
    }
    if (s->told && s->told->state[PEER_HELO] == PEER_GIVEN)
        name = s->told->text[PEER_HELO]; /* said by XCLIENT */
    char *copy = xmalloc(name.n);
    memcpy(copy, name.p, name.n);
    free((char *)(uintptr_t)s->helo.p);
    s->helo = (struct str){copy, name.n};
    session_forget(s); /* 4.1.4: as RSET */
    s->state = AT_READY;
    s->esmtp = esmtp;
    if (session_policy(s, RULE_HELO, NULL, &st)) return true;
    s->state = AT_START;
    session_refuse(s, "helo", &st, STR_NONE);
    return false;
}

static void offer_words(struct session *s, const char *word, const char *rest) {
    char mem[120];
    struct buf b = BUF(mem);
    buf_adds(&b, word);
    buf_adds(&b, rest);
    session_plain(s, 250, true, buf_str(&b));
}

/* RFC 4865 3: the longest interval in seconds, and the latest time. */
static void offer_release(struct session *s) {
    char mem[80];
    struct buf b = BUF(mem);
    buf_adds(&b, "FUTURERELEASE ");
    buf_addu(&b, (uint64_t)s->host->release_ms / 1000);
    buf_addc(&b, ' ');
    date_rfc3339(&b, s->now.wall_ms + s->host->release_ms);
    session_plain(s, 250, true, buf_str(&b));
}

void session_ehlo(struct session *s, struct str arg) {
    char mem[64], limits_mem[64], auth_mem[420], offer_mem[400];
    struct buf size = BUF(mem), limits = BUF(limits_mem), auth = BUF(auth_mem), offer = BUF(offer_mem);
    bool plus;
    if (!hello(s, arg, true)) return;
    buf_adds(&size, "SIZE "); /* RFC 1870 */
    buf_addu(&size, s->host->size_limit);
    buf_adds(&limits, "LIMITS RCPTMAX="); /* RFC 9422; messages in a session are not limited */
    buf_addu(&limits, s->host->rcpt_limit);
    session_plain(s, 250, true, s->host->hostname);
    session_plain(s, 250, true, STR("PIPELINING")); /* RFC 2920 */
    session_plain(s, 250, true, buf_str(&size));
    session_plain(s, 250, true, STR("8BITMIME"));                            /* RFC 6152 */
    session_plain(s, 250, true, STR("SMTPUTF8"));                            /* RFC 6531 */
    session_plain(s, 250, true, STR("CHUNKING"));                            /* RFC 3030 */
    if (session_offers_tls(s)) session_plain(s, 250, true, STR("STARTTLS")); /* RFC 3207 */
    session_plain(s, 250, true, STR("DSN"));                                 /* RFC 3461 */
    if (auth_offer(s, &offer, &plus).n) {
        buf_adds(&auth, "AUTH ");
        buf_add(&auth, buf_str(&offer));
        session_plain(s, 250, true, buf_str(&auth)); /* RFC 4954 */
    }
    session_plain(s, 250, true, buf_str(&limits));
    session_plain(s, 250, true, STR("ENHANCEDSTATUSCODES"));       /* RFC 2034 */
    if (s->tls.on) session_plain(s, 250, true, STR("REQUIRETLS")); /* RFC 8689 2 */
    if (session_may_release(s)) offer_release(s);
    if (session_may_etrn(s)) session_plain(s, 250, true, STR("ETRN")); /* RFC 1985 */
    if (session_may_xclient(s)) offer_words(s, "XCLIENT ", peer_xclient_words);
    if (session_may_xforward(s)) offer_words(s, "XFORWARD ", peer_xforward_words);
    session_plain(s, 250, false, STR("HELP"));
}

/* RFC 2033 4.1: 500, as if they were not there. */
static bool wrong_language(struct session *s) {
    if (s->client.service != SERVICE_LMTP) return false;
    session_wrong(s, "command", 500, "5.5.1", "This is LMTP, not SMTP: say LHLO");
    return true;
}

void cmd_ehlo(struct session *s, struct str arg) {
    if (!wrong_language(s)) session_ehlo(s, arg);
}

void cmd_helo(struct session *s, struct str arg) {
    if (wrong_language(s)) return;
    if (hello(s, arg, false)) session_plain(s, 250, false, s->host->hostname);
}
