/* LHLO (RFC 2033 4.1): LMTP's EHLO. What else is different is small: HELO and EHLO are not known, DATA
 * without a recipient is 503, and after the message each recipient that was accepted gets a reply of its
 * own (4.2, 4.3; data.c). As the queue takes a message whole or not at all, these replies are alike. */
#include "smtpd/state.h"

void cmd_lhlo(struct session *s, struct str arg) {
    if (s->client.service == SERVICE_LMTP) session_ehlo(s, arg);
    else session_wrong(s, "command", 500, "5.5.1", "This is SMTP, not LMTP: say EHLO");
}
