/* shell.h: what surrounds the session engine in smtpd: connections, the links to queue and lookup. */
#ifndef POSTERN_SMTPD_SHELL_H
#define POSTERN_SMTPD_SHELL_H

#include "common/program.h"
#include "common/rule.h"
#include "smtpd/body.h"
#include "smtpd/limits.h"
#include "smtpd/proxy.h"
#include "smtpd/session.h"
#include "smtpd/tls.h"

struct shell;

enum conn_stage {
    CONN_PROXY, /* an upstream is to say for whom it speaks: there is no session yet */
    CONN_PAUSE, /* the client waits for its greeting */
    CONN_OPEN,
};

/* One client. It outlives its session while questions about it are open. */
struct conn {
    struct shell *sh;
    struct conn *next, *prev;
    uint64_t number; /* for the log */
    int fd;          /* -1: closed */
    struct watch *watch;
    bool reading; /* the watch has EPOLLIN */
    bool closing, lingering, gone;
    bool greeted;    /* 220 was said */
    bool waiting;    /* a handshake waits for keys */
    bool writing;    /* a handshake waits until it can write */
    bool tls_wanted; /* to begin as soon as our last word in the clear has left */
    struct tls *tls; /* NULL: in the clear */
    const char *why;
    struct session *session; /* NULL: over */
    struct session_client client;
    char *login; /* of a local user, once lookup has told */
    struct timer timer;
    int64_t deadline;
    int64_t since_ns;
    char *out; /* replies that wait: for those of open questions, or (blocked) for the kernel */
    bool blocked;
    size_t out_n, out_at;
    uint32_t naming; /* 1 + where it stands among those that wait for their names */
    uint32_t naming_tag;
    char *names;
    uint32_t asked; /* questions that lookup has not answered */
    struct mail *mail;
    uint32_t auth_tag; /* 0: not logging in. Never used again, so a late answer finds nobody else */
    struct conn *next_auth;
    uint32_t linger_octets;
    enum conn_stage stage;
    struct proxy *proxy;
    bool secure; /* TLS begins with the first octet */
    bool hasty;  /* its end is not waited for */
    struct source source;
    size_t memory;                      /* octets, as they were last counted */
    struct conn *line_next, *line_prev; /* of the strangers; see guest.c */
    bool in_line;
    int64_t moved_ns;                    /* when it last gave a sign of life: */
    uint32_t commands_seen, octets_read; /* when it last gave a sign of life, and since then */
};

/* A message on its way to queue, from DATA to mail_done. */
struct mail {
    struct mail *next_in_bucket;
    struct conn *conn;
    const struct session_mail *envelope;
    struct qid id;
    bool told;  /* mail_begin was sent */
    bool ended; /* mail_end was sent: it is being made durable */
    struct body body;
};

struct ask {
    struct conn *conn; /* NULL: free */
    uint32_t slot;
    uint32_t next_free; /* 1 + index */
};

struct listening {
    struct listening *next;
    struct shell *sh;
    int fd;
    struct watch *watch; /* NULL while no more sessions are taken */
    enum listener_kind kind;
    struct str name;
};

enum { MAIL_BUCKETS = 1024, AUTH_BUCKETS = 256, READ_MAX = 65536, NAMINGS_MAX = 1024, KEYS_MAX = 16 };

struct shell {
    struct self *me;
    struct session_host host;
    char out_mem[8192];
    char *read_mem; /* READ_MAX octets, for whoever is reading */
    struct listening *listening;
    struct conn *conns;
    uint64_t conn_count, numbers;
    struct timer accept_again, ears_again;
    struct limits limits;
    struct networks exempt;
    uint64_t memory, *memory_of; /* octets of all sessions, and by source.network */
    struct conn *line_first, *line_last;
    struct channel *queue, *lookup, *resolve, *auth;
    struct conn *naming[NAMINGS_MAX];
    uint32_t naming_count;
    char mechs[400];                  /* what auth offers */
    struct conn *auths[AUTH_BUCKETS]; /* who is logging in, by tag */
    uint32_t auth_tags;
    struct channel *keys[KEYS_MAX];
    size_t keys_n, keys_next;
    struct timer uncertified;
    bool certified; /* keys has told its certificates, or that there are none */
    int64_t etrn_since; /* ETRN commands that were passed on since then */
    unsigned etrn_count;
    bool ready;     /* there has been a lease: strangers are welcome */
    uint64_t lease; /* 0: none */
    uint32_t serial;
    struct mail *mails[MAIL_BUCKETS];
    struct ask *asks;
    size_t ask_count, ask_cap;
    uint32_t ask_free; /* 1 + index */
};

struct session_now shell_now(const struct shell *sh);
void shell_accepting(struct shell *sh); /* opens or closes our ears, as the number of sessions says */

/* conn.c */
extern const struct session_ops conn_ops;
/* secure: TLS from the first octet. */
void conn_start(struct shell *sh, int fd, const struct session_client *client, bool secure);
/* After any call into the session: sends, reads, closes, frees as its new state wants. conn may be gone
 * then. */
void conn_settle(struct conn *c);
void conn_greet(struct conn *c);
void conn_wait(struct conn *c, int64_t ms); /* wakes it, unless its session sets another deadline */
void conn_secure(struct conn *c);           /* goes on with a handshake; then conn_settle */
void conn_lost(struct conn *c, const char *why);
struct str conn_client(const struct conn *c, char mem[static 160]); /* for the log */

/* guest.c: who is let in, and who must make room. */
bool guest_prepare(struct shell *sh); /* before the cage */
void guest_settings(struct shell *sh);
uint64_t guest_most(const struct shell *sh); /* sessions of this process */
void guest_arrive(struct conn *c);
void guest_ready(struct conn *c, uint32_t ready); /* while its stage is not CONN_OPEN */
void guest_timeout(struct conn *c);
void guest_account(struct conn *c); /* after it did something */
bool guest_may_write(const struct conn *c);
bool guest_allow(void *ctx, enum session_use use, struct status *st);
bool guest_identify(void *ctx, struct session_client *client, struct status *st);
void guest_known(struct conn *c);      /* mail of it was accepted */
bool guest_has_room(struct shell *sh); /* there is a place, or one can be made */
bool guest_make_room(struct shell *sh);
void guest_leave(struct conn *c);

/* ask.c: questions to lookup. */
bool ask_rcpt(struct conn *c, uint32_t slot, const struct session_mail *m, const struct session_rcpt *rcpt);
bool ask_sender(struct conn *c, const struct session_mail *m);
bool ask_user(struct conn *c);
void ask_lost(struct shell *sh); /* lookup has gone */
void ask_rcpt_answer(void *ctx, struct channel *ch, const struct wire_rcpt_answer *m, int fd);
void ask_user_answer(void *ctx, struct channel *ch, const struct wire_user_answer *m, int fd);

/* names.c: questions to resolve. */
bool names_ask(struct conn *c); /* true: conn_greet comes later */
void names_forget(struct conn *c);
void names_give_up(struct conn *c);
void names_lost(struct shell *sh);
void names_answer(void *ctx, struct channel *ch, const struct wire_name_answer *m, int fd);
/* certified.c: certificates from keys, signatures by keys. */
bool certified_prepare(struct shell *sh);
void certified_wait(struct shell *sh);                          /* for the first certificates, not for ever */
bool certified_peer(struct shell *sh, struct channel *ch);      /* true: it is one of keys */
bool certified_peer_gone(struct shell *sh, struct channel *ch); /* likewise */
void certified_settings(struct shell *sh);
void certified_begin(void *ctx, struct channel *ch, const struct wire_tls_begin *m, int fd);
void certified_cert(void *ctx, struct channel *ch, const struct wire_tls_cert *m, int fd);
void certified_ca(void *ctx, struct channel *ch, const struct wire_tls_ca *m, int fd);
void certified_end(void *ctx, struct channel *ch, const struct wire_tls_end *m, int fd);
void certified_ticket(void *ctx, struct channel *ch, const struct wire_ticket_key *m, int fd);
void certified_signature(void *ctx, struct channel *ch, const struct wire_signature *m, int fd);

/* auth.c: clients that log in. */
bool auth_begin(struct conn *c, const struct session_auth *a);
bool auth_more(struct conn *c, struct str response);
void auth_drop(struct conn *c);
void auth_lost(struct shell *sh); /* auth has gone */
void auth_take_offer(void *ctx, struct channel *ch, const struct wire_auth_offer *m, int fd);
void auth_take_challenge(void *ctx, struct channel *ch, const struct wire_auth_challenge *m, int fd);
void auth_take_done(void *ctx, struct channel *ch, const struct wire_auth_done *m, int fd);

/* mail.c: messages to queue. */
bool mail_begin(struct conn *c, struct session_mail *m);
bool mail_write(struct conn *c, struct str bytes);
bool mail_commit(struct conn *c, const struct session_mail *m);
void mail_abort(struct conn *c);
void mail_drop(struct conn *c);    /* forgets it here, says nothing to queue */
bool mail_stalled(struct conn *c); /* queue takes no more just now */
void mail_lost(struct shell *sh);  /* queue has gone */
void mail_lease(void *ctx, struct channel *ch, const struct wire_lease *m, int fd);
void mail_done(void *ctx, struct channel *ch, const struct wire_mail_done *m, int fd);

#endif
