/* net.h: Internet addresses and ports as values: parse, print, match. No name resolution. */
#ifndef POSTERN_COMMON_NET_H
#define POSTERN_COMMON_NET_H

#include "common/str.h"

#include <sys/socket.h>

struct ip {
    uint8_t family; /* 4, 6, or 0 for none (a Unix socket) */
    uint8_t b[16];  /* network order, 4 or 16 used */
};

struct network {
    struct ip ip;
    uint8_t bits; /* prefix length */
};

struct networks {
    size_t n;
    struct network *v;
};

bool ip_parse(struct str s, struct ip *out);        /* dotted quad or RFC 4291 text; v4-mapped becomes v4 */
void ip_format(struct buf *b, const struct ip *ip); /* without brackets; "local" for none */
bool ip_eq(const struct ip *a, const struct ip *b);
bool ip_is_loopback(const struct ip *ip);
bool ip_is_unspecified(const struct ip *ip);
/* "192.0.2.0/24", "2001:db8::/32", or one address. The host part must be zero, the length in range;
 * a v4-mapped network becomes a v4 one. */
bool network_parse(struct str s, struct network *out, const char **why);
bool network_has(const struct network *net, const struct ip *ip);
bool networks_have(const struct networks *list, const struct ip *ip);
/* "192.0.2.1:25" or "[2001:db8::1]:25"; port 0 is refused. hostport_format of none is "local". */
bool hostport_parse(struct str s, struct ip *ip, uint16_t *port, const char **why);
void hostport_format(struct buf *b, const struct ip *ip, uint16_t port);
socklen_t ip_to_sockaddr(const struct ip *ip, uint16_t port, struct sockaddr_storage *out);  /* 0 for none */
/* v4-mapped becomes v4. False: not IP. */
bool ip_from_sockaddr(const struct sockaddr_storage *sa, struct ip *ip, uint16_t *port);

#endif
