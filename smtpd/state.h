/* state.h: what the files of the session engine share: the session's parts, and how a command answers. */
#ifndef POSTERN_SMTPD_STATE_H
#define POSTERN_SMTPD_STATE_H

#include "common/config.h"
#include "smtpd/fixup.h"
#include "smtpd/header.h"
#include "smtpd/line.h"
#include "smtpd/mend.h"
#include "smtpd/peer.h"
#include "smtpd/policy.h"
#include "smtpd/session.h"

/* Where a session stands (RFC 5321 4.1.4); commands.def says which command goes where. */
enum session_state {
    AT_START = 1,   /* no HELO yet */
    AT_READY = 2,   /* no transaction */
    AT_MAIL = 4,    /* MAIL was accepted, no recipient yet */
    AT_RCPT = 8,    /* at least one recipient */
    AT_CHUNKS = 16, /* a chunk of the data was accepted (RFC 3030) */
    ANYWHERE = 31,
    AT_REFUSED = 32, /* the client was refused as it came (3.1): it can only quit */
};

/* An AUTH exchange: auth is to answer, or the client is. */
enum auth_phase { AUTH_NONE, AUTH_ASKED, AUTH_RESPONSE };

/* A RCPT whose reply has not been sent: they are asked at once, but answered in their order (RFC 2920
 * 3.1). */
struct waiting {
    struct waiting *next;
    struct session_rcpt *rcpt; /* NULL: refused before asking */
    struct str to;             /* for the log */
    uint32_t slot;
    bool answered;
    struct status st;
};

struct data_phase {
    struct line_data line;
    struct mender mender; /* of old machines' data, before it goes through line */
    bool chunked;         /* by BDAT: commands come between */
    struct header_scan header;
    uint64_t taken;      /* octets of the data as they came */
    struct fixup *fixup; /* of submitted mail */
    bool foreign_from;   /* its From is not the sender of the envelope */
    uint32_t delivered;  /* Delivered-To fields */
    bool loop;           /* one of them names one of its recipients */
    bool failed;         /* the message cannot be kept; aborted already */
    struct status failure;
    int64_t began_ns, ended_ns;
    struct arena *arena;
};

struct transaction {
    struct arena *arena; /* owns all this, also itself */
    struct session_mail mail;
    struct session_rcpt **last;
    struct waiting *waiting, **waiting_last;
    struct waiting *spare; /* answered ones, for the next recipients */
    uint32_t waiting_n, next_slot;
    struct session_rcpt **known; /* a hash table of mail.rcpts, to drop those given twice */
    size_t known_cap;
    struct session_rcpt *parsing;  /* whose parameters are being read */
    struct policy_effects effects; /* of rules */
    uint32_t tries;                /* RCPT commands */
    uint32_t taken;                /* RCPT commands answered with 250 */
    struct data_phase *data;       /* from DATA on */
};

struct session {
    struct session_host *host;
    void *ctx;
    struct session_client client; /* after XCLIENT: whom it told of */
    struct session_client real;   /* who is connected */
    struct peer *told;            /* what XCLIENT said, malloc'd, or NULL */
    char *forwarded;              /* what XFORWARD said, for the log, malloc'd, or NULL */
    size_t forwarded_n;
    enum session_state state;
    bool greeted, esmtp, over, lost, stopping, congested;
    bool securing;             /* start_tls was called: nothing is read until session_tls_done */
    bool committing;           /* commit was called, its answer is due */
    bool moved;                /* something whole was taken: the deadline begins anew */
    bool chunking, chunk_last; /* within the octets of a BDAT */
    uint64_t chunk_left;
    const struct chunk_refusal *chunk_refused; /* they are thrown away */
    struct status chunk_status;                /* why, when a rule says so */
    int64_t rest_until;                        /* no command is taken before; 0: not resting */
    bool told_early;
    uint32_t errors, messages, commands;
    enum auth_phase auth;
    uint32_t auth_failures;
    bool asking_sender; /* lookup is to answer MAIL */
    struct line_reader reader;
    struct str helo; /* own memory, malloc'd */
    struct session_tls tls;
    char *tls_mem;    /* holds its texts */
    struct str login; /* who has authenticated, own memory, malloc'd; empty: nobody */
    char *held;       /* input that waits: an unfinished line, or what is behind an open question */
    size_t held_n;
    size_t behind; /* octets that had come behind the command that runs */
    /* What is behind the line at hand may be no command: this ends the session, when the line cannot be taken. */
    void (*grave)(struct session *s, struct str arg);
    struct transaction *tx;
    struct session_now now;
    char policy_text[RULE_TEXT_MAX + 32]; /* of the last refusal by a rule */
};

typedef void session_command(struct session *s, struct str arg);
#define COMMAND(word, fn, states, help) session_command fn;
#include "smtpd/commands.def"
#undef COMMAND

struct session_verb {
    struct str word;
    session_command *fn;
    unsigned states; /* session_state bits */
    const char *help;
};
extern const struct session_verb session_verbs[];
extern const size_t session_verb_count;

/* reply.c: replies, each at most 512 octets (4.5.3.1.5), printable, never an echo of raw input. */
void session_reply(struct session *s, const struct status *st);
void session_say(struct session *s, unsigned code, const char *detail,
                 const char *text); /* status_make + reply */
/* Greeting, EHLO, HELO and 354: without enhanced code (RFC 2034 4). more: another line of the same reply
 * follows. */
void session_plain(struct session *s, unsigned code, bool more, struct str text);
void session_line(struct session *s, unsigned code, bool more, const char *detail, struct str text);
/* Refuses: replies, logs, counts 5xx as an error, ends the session when they are too many. */
void session_refuse(struct session *s, const char *stage, const struct status *st, struct str to);
void session_wrong(struct session *s, const char *stage, unsigned code, const char *detail, const char *text);
void session_tell(struct session *s, const char *stage, const struct status *st,
                  struct str to); /* only the log */
/* Counts a 5xx; the session rests, or ends when they are too many. */
void session_error(struct session *s);
/* May the client have it? False: *st refuses. */
bool session_allows(struct session *s, enum session_use use, struct status *st);
/* 421 and the end. */
void session_end_text(struct session *s, const struct status *st, const char *why);
void session_end(struct session *s, const char *detail, const char *text, const char *why);
void session_flush(struct session *s);

/* cmd_ehlo.c: for LHLO too */
void session_ehlo(struct session *s, struct str arg);

/* cmd_xclient.c */
enum { FORWARDED_MAX = 600 };
bool session_may_etrn(const struct session *s); /* cmd_etrn.c */
bool session_may_xclient(const struct session *s);
bool session_may_xforward(const struct session *s);

/* session.c */
/* The client is another one: s->real, or whom XCLIENT told of. False: *st turns it away. */
bool session_become(struct session *s, struct session_client client, struct status *st);
void session_begin_anew(struct session *s); /* as if the client had just come: the greeting again */
void session_close(struct session *s, const char *why);
bool session_offers_tls(const struct session *s);
void session_forget(struct session *s); /* the transaction, also one whose data has begun */
struct str session_protocol(const struct session *s);
struct transaction *transaction_new(uint32_t rcpt_limit);

/* session_policy.c: the rules of one stage. True: go on. False: *st refuses; its text lives until the next
 * call. */
bool session_policy(struct session *s, enum rule_stage stage, struct session_rcpt *rcpt, struct status *st);
/* The fields that rules ask for. */
void policy_look_for(const struct session *s, struct header_scan *h, struct arena *a);

/* The rest of MAIL and RCPT: parameters (4.1.1.11). Each is taken by its row, at most once. False: *st
 * refuses. */
struct session_param {
    struct str name;
    bool (*take)(struct session *s, struct transaction *tx, struct str value, struct status *st);
};
bool session_params(struct session *s, struct transaction *tx, struct str rest,
                    const struct session_param *table, size_t n, struct status *st);
/* params_dsn.c: RFC 3461 */
bool param_ret(struct session *s, struct transaction *tx, struct str value, struct status *st);
bool param_envid(struct session *s, struct transaction *tx, struct str value, struct status *st);
bool param_notify(struct session *s, struct transaction *tx, struct str value, struct status *st);
bool param_orcpt(struct session *s, struct transaction *tx, struct str value, struct status *st);
/* params_release.c: RFC 4865 */
bool session_may_release(const struct session *s);
bool param_holdfor(struct session *s, struct transaction *tx, struct str value, struct status *st);
bool param_holduntil(struct session *s, struct transaction *tx, struct str value, struct status *st);
bool session_may_utf8(const struct transaction *tx, struct str address, struct status *st);
bool session_address_argument(struct str *arg, struct str keyword); /* cuts "FROM:" or "TO:" off */

/* cmd_auth.c */
bool auth_safe(const struct session *s); /* may a password be said here? */
struct str auth_offer(const struct session *s, struct buf *b, bool *plus);
void auth_response(struct session *s, enum line_what what, struct str line);
void auth_challenged(struct session *s, struct str challenge);
void auth_ended(struct session *s, const struct status *st, struct str login);

/* cmd_mail.c: lookup has said whether the login may use the sender. */
void mail_settle(struct session *s, const struct status *st);

/* cmd_rcpt.c: sends the replies that are due, in order. */
void rcpt_settle(struct session *s);
/* No more recipients, behind so many that are asked for. */
bool rcpt_full(const struct session *s, uint32_t ahead);

/* data.c */
bool data_start(struct session *s, bool chunked); /* false: no message can be taken now */
void data_begin(struct session *s);
void data_chunk(struct session *s, struct str octets); /* of BDAT */
void data_chunk_end(struct session *s, bool last);     /* replies, or commits */
void data_take(struct session *s, struct str *in);
void data_fail(struct session *s, const struct status *st); /* while the data still comes */
void data_done(struct session *s, const struct status *st); /* the answer to commit */

/* cmd_bdat.c: the octets of a chunk */
void chunk_take(struct session *s, struct str *in);

/* prefix.c: Received (4.4), and for local users what is missing (RFC 6409 8). Into the arena; STR_NONE:
 * full. */
struct str prefix_build(const struct session *s, struct arena *a);

#endif
