/* rule.h: the rules of policy in postern.conf (postern-rules(5)), parsed. What they mean for a session is
 * smtpd/policy.c's; posternd and postern check parse them too.
 *
 *     rule = STAGE [FACT=VALUE,...] ... ACTION [ARGUMENT]
 *
 * Pure. */
#ifndef POSTERN_COMMON_RULE_H
#define POSTERN_COMMON_RULE_H

#include "common/net.h"
#include "common/token.h"

struct arena;

enum {
    RULES_MAX = 1000,
    RULE_VALUES_MAX = 500, /* of one condition */
    RULE_CONDITIONS_MAX = 16,
    RULE_TEXT_MAX = 200,   /* of a reply: with code, token and CRLF it fits one line (RFC 5321 4.5.3.1.5) */
    RULE_HEADER_MAX = 400, /* of a field that is added */
    RULE_HEADERS_MAX = 32, /* names that the rules together look for */
};

/* In the order in which they come. */
enum rule_stage { RULE_CONNECT, RULE_HELO, RULE_MAIL, RULE_RCPT, RULE_DATA, RULE_END, RULE_STAGES };

enum rule_fact {
    RULE_CLIENT,  /* address: networks */
    RULE_NAME,    /* its name, reverse and forward confirmed; "unknown" */
    RULE_REVERSE, /* the name that it claims in DNS, unconfirmed; "unknown" */
    RULE_SERVICE, /* smtp submission lmtp local */
    RULE_HELO_NAME,
    RULE_TLS,      /* off on 1.2 1.3 */
    RULE_IDENTITY, /* of a client certificate that was verified */
    RULE_LOGIN,
    RULE_SENDER,    /* "<>": the null reverse-path */
    RULE_RECIPIENT, /* at data and end: any of them */
    RULE_SIZE,      /* size>N */
    RULE_HEADER,    /* a field of this name is there */
    RULE_FACTS,
};

enum rule_action {
    RULE_ACCEPT, /* no later rule of this stage is looked at */
    RULE_REJECT,
    RULE_DEFER,
    RULE_HOLD,
    RULE_DISCARD,
    RULE_REDIRECT,
    RULE_ADD, /* a header field; later rules are looked at */
    RULE_WARN,
    RULE_ACTIONS,
};

struct rule_condition {
    enum rule_fact fact;
    bool negated;
    size_t n;
    struct str *values;   /* patterns, words; for networks as they were written */
    struct network *nets; /* RULE_CLIENT */
    uint64_t number;      /* RULE_SIZE */
    uint8_t *header;      /* RULE_HEADER: which of rules->header */
};

struct rule {
    unsigned line;   /* 0: not from a file */
    struct str text; /* words with one space between them */
    struct token token;
    enum rule_stage stage;
    size_t n;
    struct rule_condition *conditions;
    enum rule_action action;
    uint16_t code; /* reject, defer */
    uint16_t detail[3];
    struct str argument; /* text of the reply, address, header field, warning */
};

struct rules {
    size_t n, cap;
    struct rule **v;
    uint32_t facts;  /* bits of those that some rule asks for */
    uint32_t stages; /* bits of those that have a rule */
    size_t header_count;
    struct str header[RULE_HEADERS_MAX];
};

/* Appends one rule. False: *why says which word is wrong, and the remedy; r is unchanged. All memory from
 * a. */
bool rules_add(struct rules *r, struct str text, struct arena *a, struct buf *why);
bool rules_same(const struct rules *a, const struct rules *b); /* the same texts in the same order */

const char *rule_stage_word(enum rule_stage s);
const char *rule_action_word(enum rule_action a);
/* What a rule does, for people: "refuses with 550 5.7.1". */
void rule_describe(struct buf *b, const struct rule *r);

#endif
