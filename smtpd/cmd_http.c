/* HTTP spoken to a mail server: a forged request that carries SMTP in its body (ALPACA). The session ends
 * before any of the body is read. */
#include "smtpd/state.h"

void cmd_http(struct session *s, struct str arg) {
    (void)arg;
    session_end(s, "4.7.0", "This is SMTP, not HTTP", "spoke HTTP");
}
