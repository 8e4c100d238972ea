/* EXPN (RFC 5321 3.5.2, 7.3): members of a list are nobody's business. */
#include "smtpd/state.h"

void cmd_expn(struct session *s, struct str arg) {
    (void)arg;
    session_wrong(s, "expn", 502, "5.5.1", "EXPN is not offered");
}
