/* DATA (RFC 5321 4.1.1.4): the command; what follows 354 is in data.c. */
#include "smtpd/state.h"

void cmd_data(struct session *s, struct str arg) {
    struct status st;
    if (arg.n) session_wrong(s, "data", 501, "5.5.4", "DATA has no argument");
    else if (s->state == AT_RCPT && !session_policy(s, RULE_DATA, NULL, &st))
        session_refuse(s, "data", &st, STR_NONE);
    else if (s->state == AT_RCPT) data_begin(s);
    else if (s->tx->tries && s->client.service != SERVICE_LMTP)
        session_wrong(s, "data", 554, "5.5.1", "No recipient was accepted"); /* 3.3 */
    else session_wrong(s, "data", 503, "5.5.1", "RCPT comes first");
}
