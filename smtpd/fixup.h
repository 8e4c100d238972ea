/* fixup.h: what RFC 6409 8 lets a submission server mend, while the data passes by and before a byte of it
 * is kept: Bcc is left out (RFC 5322 3.6.3), and an address in From that has no domain gets ours.
 * Everything else goes through octet for octet, and after this nobody changes the data any more. Pure;
 * holds at most one field. */
#ifndef POSTERN_SMTPD_FIXUP_H
#define POSTERN_SMTPD_FIXUP_H

#include "common/addr.h"

enum { FIXUP_FIELD_MAX = 16384 }; /* a longer From is passed on as it is */

enum fixup_place {
    FIXUP_LINE, /* the begin of a line */
    FIXUP_NAME,
    FIXUP_NAME_END, /* white space between name and colon */
    FIXUP_PASS,     /* within a field that passes */
    FIXUP_DROP,
    FIXUP_HOLD, /* within From, which is kept in field */
    FIXUP_OVER, /* the header is over */
};

struct fixup {
    enum fixup_place place, field_place; /* field_place: of the field that a folded line goes on with */
    bool started;                        /* a field has been seen */
    unsigned froms;                      /* From fields: there is one, and a few more are understood */
    size_t n;
    char *field; /* FIXUP_FIELD_MAX octets */
    struct str origin;
    void (*sink)(void *ctx, struct str run);
    /* A From field is complete: the addresses in it, with our domain where they had none; ok false: it is
     * no list of addresses. */
    void (*from)(void *ctx, const struct addr *addresses, size_t n, bool ok);
    void *ctx;
    struct arena *arena; /* for field, and for a From while it is looked at */
};

/* False: no memory. origin, sink, from, ctx and arena are set. */
bool fixup_begin(struct fixup *f);
void fixup_take(struct fixup *f, struct str run);
void fixup_end(struct fixup *f); /* the data is complete */

#endif
