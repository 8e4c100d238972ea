/* session.h: one SMTP server session (RFC 5321) as a pure engine: bytes, answers and the time go in;
 * bytes, questions, messages and deadlines come out through struct session_ops. No system call, no global,
 * no clock.
 *
 * The shell (or the simulator) calls in; the engine calls back through the ops while it runs, and never
 * keeps a view of what it was given. The ops must not call into the session again; answers come later,
 * from outside. */
#ifndef POSTERN_SMTPD_SESSION_H
#define POSTERN_SMTPD_SESSION_H

#include "common/addr.h"
#include "common/net.h"
#include "common/qid.h"
#include "common/status.h"

struct session;
struct rules;
struct words;

/* The time, as the caller's clocks say. */
struct session_now {
    int64_t mono_ns; /* monotonic: deadlines and durations */
    int64_t wall_ms; /* since 1970: Date and arrival */
};

struct session_rcpt {
    struct session_rcpt *next;
    struct addr addr;
    struct str text;  /* as addr_format writes it */
    struct str orcpt; /* RFC 3461: type;address, without xtext; or empty */
    uint8_t notify;   /* bits: 1 NEVER, 2 SUCCESS, 4 FAILURE, 8 DELAY; 0 not given */
    bool by_rule;     /* a rule put it there instead of the one that was given: it may be anywhere */
    bool discard;     /* a rule: it is accepted, and gets nothing */
};

/* The numbers are those of wire.def. */
enum {
    SESSION_8BITMIME = 1,
    SESSION_SMTPUTF8 = 2,
    SESSION_REQUIRETLS = 4,
    SESSION_TLS_OPTIONAL = 8,
    SESSION_RET_FULL = 1,
    SESSION_RET_HDRS = 2
};

/* An envelope. Valid from begin until commit was answered, or abort. */
struct session_mail {
    struct qid id; /* filled in by begin */
    int64_t arrival_ms;
    struct addr sender;
    struct str sender_text; /* empty for the null reverse-path */
    uint8_t body;           /* bits: from SESSION_8BITMIME to SESSION_TLS_OPTIONAL */
    uint8_t ret;            /* RFC 3461: SESSION_RET_*, 0 not given */
    struct str envid;       /* without xtext; or empty */
    uint32_t rcpt_count;
    struct session_rcpt *rcpts;
    int64_t after_ms;    /* not to be sent before this time (RFC 4865); 0: at once */
    bool hold;           /* at commit: to be kept until it is released */
    struct str redirect; /* at commit: an address that takes the place of all recipients, or empty */
    struct str origin;   /* for people: "client [192.0.2.1] helo x", "local user 1000" */
    struct str prefix;   /* at commit: header fields to put in front */
    uint64_t size;       /* at commit: octets of the data */
};

/* EARLY: the client sent on where it must wait for a reply; stage says behind what. POLICY: a rule took
 * effect, other than by a refusal; reply is its argument. DISCARDED: a message was accepted and thrown away.
 * FORWARDED: XFORWARD told in reply who is behind the client. */
enum session_event_kind {
    SESSION_REJECT,
    SESSION_RECEIVED,
    SESSION_NOT_RECEIVED,
    SESSION_POLICY,
    SESSION_DISCARDED,
    SESSION_FORWARDED,
    SESSION_EARLY
};

struct session_event {
    enum session_event_kind kind;
    struct str stage, from, to, helo, reply, protocol;
    struct str action, token; /* of a rule */
    unsigned line;
    const struct session_mail *mail; /* NULL for SESSION_REJECT and SESSION_POLICY */
    uint64_t data_us, commit_us;
};

/* AUTH of a client; response is base64, as it came. */
struct session_auth {
    struct str mech, response;
    bool given; /* there was an initial response */
    bool plus;  /* a mechanism with channel binding was offered */
};

enum { SESSION_SLOT_SENDER = 0xfffffffe };

/* What a client has only so much of. The shell counts for the client and its network, over all processes. */
enum session_use {
    SESSION_USE_MESSAGE,   /* a message is begun */
    SESSION_USE_RECIPIENT, /* a recipient of it */
    SESSION_USE_ERROR,     /* a command was wrong or refused: counted in any case; false ends the session */
    SESSION_USE_TLS,       /* a new TLS session */
    SESSION_USE_MEMORY,    /* may it hold more than now? counts nothing */
    SESSION_USES,
};

struct session_client;

struct session_ops {
    /* Sends to the client. False: what was sent before piles up; the session takes no more input until
     * session_resume. The bytes are taken in any case. */
    bool (*send)(void *ctx, struct str bytes);
    /* Call session_expire at this time (mono_ns), unless another deadline is set before. */
    void (*deadline)(void *ctx, int64_t at_ns);
    /* May this client send to rcpt? Answer with session_answer(s, slot, status). False: nobody to ask now. */
    bool (*ask)(void *ctx, uint32_t slot, const struct session_mail *m, const struct session_rcpt *rcpt);
    /* The data of this message begins; fill in m->id. False: no message can be taken now. */
    bool (*begin)(void *ctx, struct session_mail *m);
    /* The next octets of its data. False: it cannot be kept; abort follows. */
    bool (*write)(void *ctx, struct str bytes);
    /* It is complete. Answer with session_committed. False: it cannot be handed over now; abort follows. */
    bool (*commit)(void *ctx, const struct session_mail *m);
    /* Forget the message that was begun. */
    void (*abort)(void *ctx);
    void (*event)(void *ctx, const struct session_event *e);
    /* The session is over when what was sent has left; call session_free then. why is a literal. */
    void (*close)(void *ctx, const char *why);
    /* The four below are for SERVICE_SUBMISSION only. A client logs in: answer with session_challenge or
     * session_authenticated. False: nobody to ask now. */
    bool (*auth)(void *ctx, const struct session_auth *a);
    bool (*auth_more)(void *ctx, struct str response); /* what it said to the challenge, likewise */
    void (*auth_drop)(void *ctx);                      /* it has cancelled; no answer any more */
    /* May this login use this sender? Answer with session_answer(s, SESSION_SLOT_SENDER, status). */
    bool (*ask_sender)(void *ctx, const struct session_mail *m);
    /* When all that was sent has left, begin TLS; then session_tls_done, or session_lost. */
    void (*start_tls)(void *ctx);
    /* May it have one (more)? False: *st refuses, with a literal that names the setting. NULL: no limits. */
    bool (*allow)(void *ctx, enum session_use use, struct status *st);
    /* The client is another one now: client->ip, as XCLIENT has told, or again who is connected. Its limits count from
     * here on; client->trusted is set. False: *st turns it away. NULL: no limits. */
    bool (*identify)(void *ctx, struct session_client *client, struct status *st);
};

enum session_early { SESSION_EARLY_IGNORE, SESSION_EARLY_LOG, SESSION_EARLY_REFUSE };

/* What the sessions of one process share. Settings may change at any time between calls. */
struct session_host {
    const struct session_ops *ops;
    struct str hostname;
    const struct rules *rules;                 /* of policy, or NULL */
    bool tls;                                  /* STARTTLS can be had */
    const struct networks *xclient, *xforward; /* who may use them; NULL: nobody */
    const struct networks *etrn_networks;      /* who may use ETRN, and for which domains */
    const struct words *etrn_domains;
    /* Has the mail for this domain (below: and all below it) tried soon. False: not now. NULL: no ETRN. */
    bool (*etrn)(void *ctx, struct str domain, bool below);
    uint64_t size_limit;
    uint32_t rcpt_limit, error_limit, hop_limit;
    int64_t command_ms, data_ms;
    uint64_t data_rate;        /* octets a second that data must come with, beyond data_ms; 0: any */
    int64_t error_rest_ms;     /* the pause before the next command, from the fifth error on; 0: none */
    enum session_early early;  /* what to do with clients that do not wait for replies */
    struct str mechs;          /* that auth offers, between spaces; a view */
    struct networks cleartext; /* who may log in without TLS */
    struct str origin;         /* the domain of addresses without one, in submitted mail */
    bool check_from;           /* From of submitted mail must be the sender of the envelope */
    bool hide_client;          /* Received of submitted mail does not tell where it came from */
    int64_t release_ms;        /* how far ahead mail may be held (RFC 4865); 0: not at all */
    struct buf out; /* replies on their way, empty between calls; at least SESSION_OUT_MIN octets */
};

enum { SESSION_OUT_MIN = 4096, SESSION_LOGIN_MAX = 255 };

/* What the client came for: the listener says. */
enum session_service {
    SERVICE_SMTP,       /* mail for us from other hosts */
    SERVICE_SUBMISSION, /* mail of our users, who log in (RFC 6409) */
    SERVICE_LMTP,       /* a local program hands in mail by LMTP (RFC 2033) */
    SERVICE_LOCAL,      /* sendmail(1) and pickup: a user of this host, known by his UID */
};

struct session_client {
    struct ip ip; /* family 0 for local users */
    enum session_service service;
    bool local;   /* the kernel says who it is */
    uint32_t uid; /* of a local user */
    /* Names of its address in DNS, when they were asked for, else empty; views that outlive the session.
     * name was confirmed by its own address records, reverse is only what the owner of the address claims. */
    struct str name, reverse;
    bool names_failed; /* DNS did not say */
    bool trusted;      /* no limits: it never rests after errors */
    bool mended;       /* an old machine whose lines are mended instead of refused (normalise-networks) */
};

/* What protects a session, as the shell found it. The texts may stand in a comment of a header field:
 * letters, digits, and -._@:+=*_ only. */
struct session_tls {
    bool on;
    struct str version; /* "TLSv1.3" */
    struct str cipher;  /* OpenSSL's name of it */
    unsigned bits;      /* of its key */
    struct str name;    /* the server name that the client asked for (SNI), or empty */
    struct str client;  /* the identity of its certificate, verified; or empty */
};

/* ctx goes to the ops. Nothing is sent or taken before session_greet. */
struct session *session_new(struct session_host *host, void *ctx, const struct session_client *client);
void session_free(struct session *s); /* calls no op */

/* The bytes are protected from now on: before session_greet, or after start_tls. All that the client said
 * before is forgotten (RFC 3207 4.2). The texts are copied. */
void session_tls_done(struct session *s, struct session_now now, const struct session_tls *tls);
/* What DNS says of the client, before session_greet. The texts are not copied. */
void session_names(struct session *s, struct str name, struct str reverse, bool failed);
void session_greet(struct session *s, struct session_now now);
/* Instead of it: this reply, and the end. */
void session_turn_away(struct session *s, struct session_now now, const struct status *st, const char *why);
/* Its place is needed: 421, unless a message of it is being made durable (false). */
bool session_displace(struct session *s, struct session_now now);
/* Bytes of the client; not when session_wants says no. */
void session_input(struct session *s, struct session_now now, struct str bytes);
void session_answer(struct session *s, struct session_now now, uint32_t slot, const struct status *st);
/* Answers to auth and auth_more. The login is copied. */
void session_challenge(struct session *s, struct session_now now, struct str base64);
void session_authenticated(struct session *s, struct session_now now, const struct status *st,
                           struct str login);
/* The fate of the message: after commit, or (not ok) at any time after begin, when it must fail. */
void session_committed(struct session *s, struct session_now now, const struct status *st);
void session_resume(struct session *s, struct session_now now); /* after send said false: it flows again */
void session_expire(struct session *s, struct session_now now); /* the deadline has passed */
/* The client has gone: what is not complete is forgotten. After a commit the session waits for the answer,
 * then closes; else it closes at once. */
void session_lost(struct session *s, struct session_now now, const char *why);
/* The program is to stop: 421 as soon as no message is under way. */
void session_stop(struct session *s, struct session_now now);

bool session_wants(const struct session *s);   /* may session_input be called? */
bool session_in_data(const struct session *s); /* is it taking the data of a message? */
bool session_over(const struct session *s);    /* close was called */

struct session_counts {
    uint32_t messages, commands;
};
size_t session_memory(const struct session *s); /* octets that it holds */
struct session_counts session_counts(const struct session *s);
const struct session_client *session_client_of(const struct session *s); /* as it is, or as XCLIENT told */
struct str session_helo(const struct session *s);  /* as given; a view, until the next call */
struct str session_login(const struct session *s); /* likewise */
const struct session_tls *session_tls(const struct session *s);

#endif
