/* peer.h: what a proxy or filter says of the client behind it: the attributes of XCLIENT and XFORWARD, as
 * Postfix's XCLIENT_README and XFORWARD_README describe them. Pure. */
#ifndef POSTERN_SMTPD_PEER_H
#define POSTERN_SMTPD_PEER_H

#include "common/net.h"

enum peer_attribute {
    PEER_NAME,
    PEER_REVERSE_NAME,
    PEER_ADDR,
    PEER_PORT,
    PEER_PROTO,
    PEER_HELO,
    PEER_LOGIN,
    PEER_DESTADDR,
    PEER_DESTPORT,
    PEER_IDENT,
    PEER_SOURCE,
    PEER_ATTRIBUTES
};

enum peer_state {
    PEER_NOT_GIVEN,
    PEER_GIVEN,
    PEER_UNAVAILABLE, /* "[UNAVAILABLE]": there is none */
    PEER_TEMPUNAVAIL  /* "[TEMPUNAVAIL]": it could not be found out now */
};

enum { PEER_TEXT_MAX = 1024 /* all values together */ };

struct peer {
    enum peer_state state[PEER_ATTRIBUTES];
    struct str text
        [PEER_ATTRIBUTES]; /* of those that are given: decoded, printable, of the attribute's form; in mem */
    struct ip addr;        /* PEER_ADDR */
    char mem[PEER_TEXT_MAX];
    size_t used;
};

/* As they stand behind the word in the reply to EHLO. */
extern const char peer_xclient_words[], peer_xforward_words[];

/* Reads "NAME=value ADDR=value ..."; at least one. xclient: else the attributes of XFORWARD. Starts from
 * nothing. False: *why says what is wrong. */
bool peer_parse(struct str arg, bool xclient, struct peer *out, const char **why);
/* One attribute as another told it. False: no room. */
bool peer_copy(struct peer *p, const struct peer *from, enum peer_attribute i);

#endif
