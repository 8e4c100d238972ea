/* values.h: what the compiled tables hold, and how it is written.
 *
 * A value begins with the table's letter and the version of the encoding; each field is preceded by its
 * length. The readers take nothing on trust: a map that was damaged, or belongs to another table or version,
 * reads as "damaged" and never as something else. Keys are lower-cased text.
 *
 *   alias  'A' 1 { kind:u8 length:u16 octets }*       kinds below
 *   route  'R' 1 how:u8 port:u16 code:u16 detail:u16*3 length:u16 octets
 *
 * Numbers are little-endian. */
#ifndef POSTERN_LOOKUP_VALUES_H
#define POSTERN_LOOKUP_VALUES_H

#include "common/status.h"
#include "common/str.h"

enum {
    ALIAS_TARGETS_MAX = 10000, /* addresses one name may stand for */
    ALIAS_VALUE_MAX = 1 << 20, /* octets of one value */
    ROUTE_VALUE_MAX = 1024,
    TABLE_KEY_MAX = 64 + 1 + 255, /* local-part "@" domain (RFC 5321 4.5.3.1) */
};

enum alias_kind {
    ALIAS_NAME = 'N',    /* a local part of this host: looked up again */
    ALIAS_FINAL = 'F',   /* the same, from \name: not looked up in the aliases again */
    ALIAS_ADDRESS = 'A', /* an address with a domain, as addr_format writes it */
};

struct alias_target {
    enum alias_kind kind;
    struct str text;
};

/* Build: alias_value_begin once, then each target. b says by its failed flag that the value became too long.
 * */
void alias_value_begin(struct buf *b);
void alias_value_add(struct buf *b, enum alias_kind kind, struct str text);
/* Read: checks the header and leaves *rest at the targets; then one target at a time. next gives 1 for a
 * target, 0 at the end, -1 when the value is damaged. */
bool alias_value_open(struct str value, struct str *rest);
int alias_value_next(struct str *rest, struct alias_target *out);

/* how: the letters of wire.def's route_answer. */
struct route_value {
    char how;             /* 'M' by MX, 'H' host, 'L' local, 'D' discard, 'E' error */
    uint16_t port;        /* 0: the default */
    struct status status; /* for 'E'; its text is the view below */
    struct str nexthop;   /* for 'M' and 'H': a domain or address literal in the form of domain_parse */
};

void route_value_write(struct buf *b, const struct route_value *v);
bool route_value_read(struct str value, struct route_value *out); /* false: damaged */

#endif
