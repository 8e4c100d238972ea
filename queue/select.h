/* select.h: which messages an operation means, and patterns of addresses. Pure. */
#ifndef POSTERN_QUEUE_SELECT_H
#define POSTERN_QUEUE_SELECT_H

#include "queue/control.h"

/* Every condition that is not empty (or 0) must hold. rcpt, domain and reason must hold for one and the same recipient
 * that is not done. Patterns are those of pattern_match; a sender "<>" is the null reverse-path. */
struct selection {
    struct str sender, rcpt, domain;
    struct str reason;        /* anywhere in the last status, as status_format writes it */
    int64_t older, newer;     /* age in ms: more than, less than */
    uint64_t larger, smaller; /* octets of the data */
    char state;               /* 'f' fresh: no attempt yet; 'd' deferred; 'h' held */
};

char select_state(const struct control *c); /* 'f', 'd' or 'h' */
bool select_matches(const struct selection *sel, const struct control *c, int64_t now_ms);
/* A rule of addresses for mail that comes in: does a pattern match the sender or a recipient? */
bool select_rule(const struct str *patterns, size_t n, const struct control *c);

#endif
