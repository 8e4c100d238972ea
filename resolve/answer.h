/* answer.h: from the records of a domain to the ordered list of hosts to try (RFC 5321 5.1), as a pure
 * machine.
 *
 * answer_begin says through the callbacks which records it wants; answer_take gives it the outcome of one
 * such question, in any order; when none is open it tells the hosts, in order, and ends. No DNS library, no
 * clock, no randomness of its own (hosts of equal preference are shuffled with the seed), so that tables can
 * test it.
 *
 * Decisions, and where they come from:
 *   no such domain                          5.1.2 never  (RFC 5321 5.1; RFC 3463 X.1.2)
 *   no MX, but addresses                    the domain itself is its exchanger (RFC 5321 5.1, implicit MX)
 *   no MX and no addresses                  5.4.4 never
 *   the one MX is "."                       5.1.10 never, code 556 (RFC 7505)
 *   MX, none of whose hosts has an address  5.4.4 never, as Postfix's default
 * (smtp_defer_if_no_mx_address_found = no) a question failed that could change any of these: 4.4.3 later.
 * Failure of some hosts only: the others are used. */
#ifndef POSTERN_RESOLVE_ANSWER_H
#define POSTERN_RESOLVE_ANSWER_H

#include "common/net.h"
#include "common/status.h"

enum {
    ANSWER_RECORDS = 100, /* of one kind that are looked at */
    ANSWER_HOSTS = 20,    /* exchangers, and addresses told in all */
    ANSWER_EACH = 8,      /* addresses told of one exchanger */
    ANSWER_NAME = 255,
};

enum answer_kind { ANSWER_A = 1, ANSWER_PTR = 12, ANSWER_MX = 15, ANSWER_AAAA = 28 }; /* as in DNS */
enum answer_outcome {
    ANSWER_FOUND,
    ANSWER_NO_DATA, /* the name exists, without such records */
    ANSWER_NO_NAME, /* NXDOMAIN */
    ANSWER_FAILED   /* SERVFAIL, no answer, bogus signatures */
};

struct answer_reply {
    enum answer_outcome outcome;
    bool secure; /* DNSSEC says so */
    uint32_t ttl;
    const char *why; /* of FAILED: a word or two that live for ever */
    size_t count;
    const struct str *data; /* as in DNS; names not compressed */
};

struct answer_host {
    uint16_t preference;
    struct str name;
    struct ip ip;
    bool secure; /* MX and address both */
};

struct answer_ops {
    /* Ask for the records; which comes back with answer_take. name is valid during the call. */
    void (*ask)(void *ctx, unsigned which, struct str name, enum answer_kind kind);
    void (*host)(void *ctx, const struct answer_host *h);
    /* The end; s.text is valid during the call. ops may free the answer afterwards, not in here. */
    void (*done)(void *ctx, uint32_t ttl, const struct status *s);
};

struct answer;

/* domain: lower case, without the dot at the end, or an address literal; copied. asked: whom the questions go
 * to, for texts; must outlive it. mx false: only its own addresses. */
struct answer *answer_new(const struct answer_ops *ops, void *ctx, struct str domain, bool mx, uint64_t seed,
                          const char *asked);
void answer_begin(struct answer *a); /* may end at once (literals) */
void answer_take(struct answer *a, unsigned which, const struct answer_reply *r);
void answer_free(struct answer *a);

/* A name as it stands in DNS messages, to text in lower case without the dot at the end; "" is the root.
 * False: it is cut off, or it holds octets that no host name has. */
bool answer_name(struct str wire, char text[ANSWER_NAME + 1], size_t *n);

#endif
