/* QUIT (RFC 5321 4.1.1.10). */
#include "smtpd/state.h"

void cmd_quit(struct session *s, struct str arg) {
    if (arg.n) {
        session_wrong(s, "quit", 501, "5.5.4", "QUIT has no argument");
        return;
    }
    session_say(s, 221, "2.0.0", "Goodbye");
    session_close(s, "quit");
}
