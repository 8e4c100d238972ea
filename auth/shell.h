/* shell.h: what surrounds the engines in auth: exchanges with clients of smtpd, and the sources of
 * passwords. */
#ifndef POSTERN_AUTH_SHELL_H
#define POSTERN_AUTH_SHELL_H

#include "auth/dovecot.h"
#include "auth/jwt.h"
#include "auth/keeper.h"
#include "common/tally.h"
#include "auth/pool.h"
#include "auth/sasl.h"
#include "auth/table.h"
#include "common/program.h"

enum { EXCHANGES_MAX = 4096, BUCKETS = 1024, SMTPD_MAX = 64, RESPONSE_MAX = 12288, CHALLENGE_MAX = 500 };

enum source { SOURCE_NONE, SOURCE_FILE, SOURCE_PAM, SOURCE_DOVECOT };

/* One AUTH of one client. */
struct exchange {
    struct exchange *next_by_id, *next_by_tag;
    uint32_t id;        /* ours, with those who check */
    struct channel *ch; /* NULL: nobody waits for the answer any more */
    uint32_t tag;
    struct ip ip;
    bool tls;
    char mech[24];
    struct sasl *sasl; /* NULL: the mechanism is Dovecot's, or the exchange is over */
    bool forwarded;    /* Dovecot has it */
    bool checking;     /* a password of it is being checked: the try counts, whatever happens */
    bool asked;        /* a challenge is with the client */
    bool guessed;      /* a secret was tried that counts, unless it turns out to be right */
    bool by_network, by_login;
    int64_t since_ms; /* the client spoke last */
    uint64_t network_key, login_key, known_key;
    char login_mem[LOGIN_MAX + 1];
    struct str login;
    struct status outcome; /* while the delay of a failure runs */
    struct timer delay;
    struct auth *a;
};

struct auth {
    struct self *me;
    enum source source;
    struct exchange *by_id[BUCKETS], *by_tag[BUCKETS];
    size_t count;
    uint32_t ids;
    struct channel *smtpd[SMTPD_MAX];
    struct tally *tally;
    struct pool *pool;
    char secret[32]; /* of dummy verifiers */
    struct jwt_rules *jwt;
    char offer[400];
    /* file.c */
    struct table *table;
    int64_t looked_at;
    bool looked, table_wrong;
    uint64_t version[4];
    /* remote.c: the keeper, and Dovecot through it */
    int keeper; /* -1: none */
    struct watch *keeper_watch;
    size_t keeper_waits;
    int dovecot_fd;
    struct watch *dovecot_watch;
    struct dovecot dovecot;
    struct timer reconnect;
    char *out;
    size_t out_n;
};

/* main.c */
struct exchange *exchange_by_id(struct auth *a, uint32_t id);
void exchange_verdict(struct exchange *x, bool good);     /* of a password or token */
void exchange_later(struct exchange *x, const char *why); /* it cannot be found out now; why is for the log */
void exchange_good(struct exchange *x, struct str login);
void exchange_bad(struct exchange *x, struct str login, const char *why);
void exchange_challenge(struct exchange *x, struct str base64);
void offer_changed(struct auth *a);

/* file.c: the password table */
void file_prepare(struct self *me);
const struct table *file_table(struct auth *a);

/* remote.c */
bool remote_prepare(struct auth *a);
void remote_begin(struct auth *a);
bool remote_check_pam(struct auth *a, struct exchange *x, struct str login, struct str password);
bool remote_auth(struct auth *a, struct exchange *x, bool given, struct str response);
bool remote_cont(struct auth *a, struct exchange *x, struct str response);
void remote_cancel(struct auth *a, uint32_t id);

#endif
