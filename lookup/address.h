/* address.h: which address means what. Pure: tables are behind callbacks, no file, no clock, no global.
 *
 * One classification serves both questions, so what is accepted and where it goes cannot differ: the address
 * was parsed once into (local part, domain), and is never taken apart again. A local part with %, ! or a
 * quoted @ is a local part like any other (RFC 5321 2.3.11). */
#ifndef POSTERN_LOOKUP_ADDRESS_H
#define POSTERN_LOOKUP_ADDRESS_H

#include "common/addr.h"
#include "common/config.h"
#include "common/status.h"

struct arena;

enum lookup_found { LOOKUP_NONE, LOOKUP_FOUND, LOOKUP_FAIL };

struct lookup_user {
    struct str name, home; /* views into the table; the name is safe as one component of a path */
    uint32_t uid, gid;
};

/* What the engine asks. LOOKUP_FAIL sets *fail: the tables cannot answer now, and why. Views live until the
 * next call of the same function at least. */
struct lookup_tables {
    void *ctx;
    enum lookup_found (*alias)(void *ctx, struct str key, struct str *value, struct status *fail);
    enum lookup_found (*route)(void *ctx, struct str key, struct str *value, struct status *fail);
    enum lookup_found (*user)(void *ctx, struct str name, struct lookup_user *out, struct status *fail);
    /* The group whose rights are needed to create a file in this directory, when it is one that members of a
     * group share (/var/mail is root:mail 2775). False: the user's own group will do. */
    bool (*spool_group)(void *ctx, struct str directory, uint32_t uid, uint32_t *gid);
};

/* The settings in the form the engine wants. */
struct lookup_rules {
    struct arena *arena; /* owns what is below */
    struct str origin;
    size_t local_count, relay_count;
    struct str *local, *relay;      /* sorted; relay may hold ".example.org" */
    struct networks relay_networks; /* a view into the config it was made from */
    struct str mailbox, system_mailbox, system_user;
    char delimiter; /* 0: none */
    uint32_t min_uid;
};

enum { LOOKUP_EXPANSION_MAX = 10000, LOOKUP_MAILBOX_MAX = 1024 };

struct lookup_route {
    char how; /* the letters of wire.def's route_answer: L X M H D E */
    struct str nexthop;
    uint16_t port;
    struct status status;    /* for E; otherwise ok */
    struct lookup_user user; /* L: whose rights; the name is the account's, for %u and the log */
    struct str mailbox;      /* L: maildir:PATH or mbox:PATH */
    size_t count;            /* X */
    struct str *rcpt;        /* X: addresses as addr_format writes them */
};

/* Reads the settings; what is wrong in one is left out and told in *why (a sentence), NULL when all is well.
 * */
struct lookup_rules *lookup_rules_new(const struct config *c, const char **why);
void lookup_rules_free(struct lookup_rules *r); /* NULL is allowed */

/* May this client (family 0: a local user; login: he has logged in) send to this recipient? The status answers RCPT. Texts are
 * literals, or lie in the arena or the tables. */
struct status lookup_rcpt(const struct lookup_rules *r, const struct lookup_tables *t, struct arena *a,
                          const struct ip *client, bool login, const struct addr *rcpt);
bool lookup_is_ours(const struct lookup_rules *r, struct str domain); /* do its users live here? */
/* Where does it go? A local part that begins with a backslash is one that must not be looked up in the
 * aliases again: only expansions have it, lookup_rcpt refuses it. */
void lookup_route(const struct lookup_rules *r, const struct lookup_tables *t, struct arena *a,
                  const struct addr *rcpt, struct lookup_route *out);

#endif
