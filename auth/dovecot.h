/* dovecot.h: the client's side of Dovecot's authentication protocol 1.x as pure code: lines of fields
 * between tabs over a Unix socket (doc/wiki/Design.AuthProtocol of Dovecot). What the socket says goes in,
 * what is to be sent and what has happened comes out. Nothing that it says is believed without a look. */
#ifndef POSTERN_AUTH_DOVECOT_H
#define POSTERN_AUTH_DOVECOT_H

#include "auth/verifier.h"
#include "common/net.h"

enum { DOVECOT_LINE_MAX = 16384, DOVECOT_MECHS_MAX = 400 };

enum dovecot_event { DOVECOT_READY, DOVECOT_CHALLENGE, DOVECOT_GOOD, DOVECOT_BAD, DOVECOT_LATER };

struct dovecot_ops {
    void *ctx;
    /* READY: mechs is the list of mechanisms, between spaces. CHALLENGE: text is its base64. GOOD: text is
     * the login. BAD: text is the login, or empty; why is for the log. LATER: Dovecot has trouble of its
     * own. */
    void (*event)(void *ctx, enum dovecot_event what, uint32_t id, struct str text, struct str why);
};

struct dovecot {
    struct dovecot_ops ops;
    bool version, ready;
    char mech_mem[DOVECOT_MECHS_MAX];
    struct buf mechs;
    char *line; /* of DOVECOT_LINE_MAX octets, the begin of one */
    size_t line_n;
};

void dovecot_init(struct dovecot *d, const struct dovecot_ops *ops);
void dovecot_free(struct dovecot *d);
void dovecot_hello(struct buf *out, uint32_t pid);
/* False: this is not Dovecot, or of another version; why is a literal. */
bool dovecot_input(struct dovecot *d, struct str bytes, const char **why);

/* Requests. Responses are base64, checked here; given false: no initial response. False: not sendable. */
bool dovecot_auth(struct buf *out, uint32_t id, struct str mech, bool secured, const struct ip *client,
                  bool given, struct str response);
bool dovecot_cont(struct buf *out, uint32_t id, struct str response);
void dovecot_cancel(struct buf *out, uint32_t id);

#endif
