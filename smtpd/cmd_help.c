/* HELP (RFC 5321 4.1.1.8): the table of commands itself. */
#include "smtpd/state.h"

void cmd_help(struct session *s, struct str arg) {
    (void)arg;
    for (size_t i = 0; i < session_verb_count; i++)
        if (session_verbs[i].help[0]) session_line(s, 214, true, "2.0.0", str_of(session_verbs[i].help));
    session_say(s, 214, "2.0.0", "See postern-smtpd(8)");
}
