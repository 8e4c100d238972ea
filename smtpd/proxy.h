/* proxy.h: the PROXY protocol, versions 1 and 2 (HAProxy, doc/proxy-protocol.txt): an upstream that is listed says
 * for whom it speaks, before anything else. Pure; any cut of the octets gives the same result, and no octet behind
 * the header is ever taken. */
#ifndef POSTERN_SMTPD_PROXY_H
#define POSTERN_SMTPD_PROXY_H

#include "common/net.h"

enum {
    PROXY_V1_MAX = 107,       /* section 2.1, with CR LF */
    PROXY_V2_KEPT = 16 + 216, /* section 2.2: head and the longest addresses; TLVs are walked, not kept */
};

enum proxy_what { PROXY_MORE, PROXY_DONE, PROXY_BAD };

struct proxy {
    struct ip source; /* when done; family 0: the upstream speaks for itself (LOCAL), or does not know */
    uint16_t port;
    char mem[PROXY_V2_KEPT];
    size_t n;          /* octets in mem */
    bool walking;      /* behind the addresses of version 2 */
    bool loose;        /* whose further octets mean nothing: LOCAL, UNSPEC */
    uint32_t left;     /* octets of the header that are to come */
    uint32_t tlv_left; /* octets of the value that are to come */
    uint8_t tlv_head[3], tlv_n;
};

/* Start with a zeroed struct proxy. *used octets of `in` belong to the header; after PROXY_DONE and PROXY_BAD do not
 * come again. */
enum proxy_what proxy_take(struct proxy *p, struct str in, size_t *used);

#endif
