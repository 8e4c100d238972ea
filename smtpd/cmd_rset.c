/* RSET (RFC 5321 4.1.1.5). */
#include "smtpd/state.h"

void cmd_rset(struct session *s, struct str arg) {
    if (arg.n) {
        session_wrong(s, "rset", 501, "5.5.4", "RSET has no argument");
        return;
    }
    session_forget(s);
    session_say(s, 250, "2.0.0", "Forgotten");
}
