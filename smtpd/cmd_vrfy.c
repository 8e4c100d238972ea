/* VRFY (RFC 5321 3.5.3, 7.3): who lives here is not told to whoever asks; RCPT shows what it must. */
#include "smtpd/state.h"

void cmd_vrfy(struct session *s, struct str arg) {
    if (arg.n) session_say(s, 252, "2.5.0", "Not told; send mail and see");
    else session_wrong(s, "vrfy", 501, "5.5.4", "VRFY needs an address");
}
