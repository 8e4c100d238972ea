/* session.h: hands mail to the suite, whatever its state: over the submit socket, and what it cannot take
 * now into the drop directory. */
#ifndef POSTERN_SUBMIT_SESSION_H
#define POSTERN_SUBMIT_SESSION_H

#include "common/config.h"
#include "submit/handin.h"
#include "submit/source.h"

struct session {
    const struct config *config;
    struct arena *arena;
    struct handin handin;
    int fd; /* -1: no connection */
    bool dialled;
    char why[600]; /* when the drop directory could not take it */
};

void session_init(struct session *s, const struct config *c, struct arena *a, bool verbose);
void session_end(struct session *s);
/* Gives the mail to smtpd; every recipient has a status afterwards. Recipients beyond the limit of one
 * transaction (452, RFC 5321 4.5.3.1.10) follow in further ones. */
void session_send(struct session *s, struct handin_mail *m, struct source *data);
/* Leaves the mail for the recipients that are LATER in the drop directory. True: none was, or it is
 * durable there. */
bool session_drop(struct session *s, const struct handin_mail *m, struct source *data);

#endif
