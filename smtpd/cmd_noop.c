/* NOOP (RFC 5321 4.1.1.9): whatever its argument says. */
#include "smtpd/state.h"

void cmd_noop(struct session *s, struct str arg) {
    (void)arg;
    session_say(s, 250, "2.0.0", "Ok");
}
