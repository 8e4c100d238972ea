/* policy.h: do the rules of postern.conf (postern-rules(5), common/rule.h) say anything of this client, this
 * envelope, this message? Pure: facts in, rules out; what a rule does to a session is in session_policy.c. */
#ifndef POSTERN_SMTPD_POLICY_H
#define POSTERN_SMTPD_POLICY_H

#include "common/rule.h"
#include "smtpd/session.h"

/* What is known. Texts that are not known yet, or not there, are empty; then only a negated condition
 * holds. */
struct policy_facts {
    enum rule_stage stage;
    const struct session_client *client;
    const struct session_tls *tls;
    struct str helo, login, sender;
    struct str rcpt;                  /* at RULE_RCPT */
    const struct session_rcpt *rcpts; /* from RULE_DATA on */
    uint64_t size;                    /* at RULE_END */
    uint32_t headers;                 /* at RULE_END: bits of rules->header that were seen */
};

/* The next rule of this stage that holds, from *at on; NULL: none is left. *value: which value of its first
 * list of several was it, counted from 1; 0 when there is no such list. */
const struct rule *policy_next(const struct rules *r, const struct policy_facts *f, size_t *at,
                               unsigned *value);

/* What the rules want to be done with a message that is accepted. */
enum { POLICY_FIELDS_MAX = 16 };
struct policy_effects {
    bool hold, discard;
    struct str redirect; /* to this address instead of all recipients; or empty */
    size_t field_n;
    struct str fields[POLICY_FIELDS_MAX];
};

#endif
