/* STARTTLS (RFC 3207). Without EHLO too: neither it nor RFC 5321 4.1.4 demands one, some clients (gsasl) say none, and
 * all that was said before is forgotten anyway (4.2). */
#include "smtpd/state.h"

void cmd_starttls(struct session *s, struct str arg) {
    struct status st;
    if (s->tls.on || s->client.local) session_wrong(s, "tls", 503, "5.5.1", "TLS is not to be had here");
    else if (arg.n) session_wrong(s, "tls", 501, "5.5.4", "STARTTLS has no parameters"); /* 4 */
    else if (!s->host->tls)
        session_wrong(s, "tls", 454, "4.7.0", "TLS is not to be had now, try again later");
    else if (s->behind) {
        /* What stands behind it was sent in the clear, by the client or by someone between us: it must not be taken
         * for something that was said under TLS (4.2), and an honest client waits for our answer. */
        session_wrong(s, "tls", 554, "5.5.1", "Nothing may follow STARTTLS before its reply");
        session_close(s, "input behind STARTTLS");
    } else if (!session_allows(s, SESSION_USE_TLS, &st)) {
        session_refuse(s, "tls", &st, STR_NONE);
    } else {
        session_say(s, 220, "2.0.0", "Ready to start TLS");
        session_flush(s);
        s->securing = true;
        s->host->ops->start_tls(s->ctx);
    }
}
