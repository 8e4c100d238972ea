/* testing.h: a small world around one session, for its tests and its fuzz twin: it keeps what the session
 * says and what it accepts, and answers its questions when it is told to. */
#ifndef POSTERN_SMTPD_TESTING_H
#define POSTERN_SMTPD_TESTING_H

#include "smtpd/session.h"

enum { WORLD_ASKS = 128, WORLD_OUT = 1 << 20, WORLD_MAILS = 64 };

struct world {
    struct session_host host;
    char host_out[SESSION_OUT_MIN];
    struct session *session;
    struct session_now now;
    char *out; /* all that the client was sent */
    size_t out_n;
    struct {
        uint32_t slot;
        struct status st;
    } asks[WORLD_ASKS];
    size_t ask_n, asked;
    char *data; /* of the message under way, then of the last */
    size_t data_n;
    char prefix[8192], origin[300];
    size_t prefix_n;
    bool mail_open, committing, closed;
    const char *why;
    struct status fate; /* what commits are answered with */
    uint32_t begun, committed, aborted, rejects, received, not_received, early;
    uint32_t tls_starts, tls_ends;
    bool tls_answers; /* handshakes succeed as soon as they are answered like all else */
    uint32_t rcpts; /* of the last commit */
    bool hold;
    uint8_t body;
    int64_t after_ms;
    char redirect[400], first_rcpt[400], first_orcpt[400];
    uint32_t policies, discarded; /* events */
    char last_action[16];
    bool auth_asked, auth_open, sender_asked, sender_bad;
    char auth_text[200]; /* what the client said last in its AUTH */
    bool no_lookup, no_queue, full, answer_backwards;
    uint32_t send_fails; /* the next so many sends say "pause" */
    int64_t deadline;
    uint32_t used[SESSION_USES];              /* what the session asked for */
    bool refused[SESSION_USES];               /* what it does not get */
    void (*on_commit)(const struct world *w); /* to look at data, before another message overwrites it */
    struct session_client client;
};

/* Makes and greets a session of 192.0.2.7. Worlds are static and used again: their memory stays. */
void world_begin(struct world *w, const char *hostname);
void world_begin_as(struct world *w, const char *hostname, const struct session_client *client);
/* The same with rules of policy; NULL: none. */
void world_open(struct world *w, const char *hostname, const struct session_client *client,
                const struct rules *rules);
void world_end(struct world *w);
void world_feed(struct world *w, struct str bytes); /* as the session wants it, answering in between */
bool world_answer(struct world *w);                 /* one open question, or resumes; false: none */
struct str world_said(const struct world *w);
/* Has each reply an enhanced code of its class (RFC 2034 4), but for greetings, those of EHLO and HELO, and 3xx? Gives
 * the first line that has not; STR_NONE: all is well. first: said holds the greeting. */
struct str world_without_code(struct str said, struct str hostname, bool first);

#endif
