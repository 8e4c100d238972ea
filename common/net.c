#include "common/net.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:0:0/96, RFC 4291 2.5.5.2 */

static struct ip ip_from_v6(const uint8_t b[16]) {
    struct ip ip = {.family = 6};
    if (memcmp(b, mapped_prefix, sizeof mapped_prefix) == 0) {
        ip.family = 4;
        memcpy(ip.b, b + 12, 4);
    } else {
        memcpy(ip.b, b, 16);
    }
    return ip;
}

bool ip_parse(struct str s, struct ip *out) {
    char text[INET6_ADDRSTRLEN];
    /* inet_pton is strict (no leading zeros, no scope, no short forms) but wants a NUL: so none may be inside. */
    if (s.n == 0 || s.n >= sizeof text || str_chr(s, '\0') >= 0) return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    uint8_t b[16] = {0};
    if (str_chr(s, ':') >= 0) {
        if (inet_pton(AF_INET6, text, b) != 1) return false;
        *out = ip_from_v6(b);
        return true;
    }
    if (inet_pton(AF_INET, text, b) != 1) return false;
    *out = (struct ip){.family = 4};
    memcpy(out->b, b, 4);
    return true;
}

void ip_format(struct buf *b, const struct ip *ip) {
    char text[INET6_ADDRSTRLEN];
    int af = ip->family == 4 ? AF_INET : AF_INET6;
    if (ip->family == 0 || !inet_ntop(af, ip->b, text, sizeof text)) buf_adds(b, "local");
    else buf_adds(b, text);
}

static size_t ip_size(const struct ip *ip) {
    return ip->family == 4 ? 4 : ip->family == 6 ? 16 : 0;
}

bool ip_eq(const struct ip *a, const struct ip *b) {
    return a->family == b->family && memcmp(a->b, b->b, ip_size(a)) == 0;
}

bool ip_is_loopback(const struct ip *ip) {
    static const uint8_t one[16] = {[15] = 1};
    if (ip->family == 4) return ip->b[0] == 127;
    return ip->family == 6 && memcmp(ip->b, one, 16) == 0;
}

bool ip_is_unspecified(const struct ip *ip) {
    static const uint8_t zero[16];
    return ip->family != 0 && memcmp(ip->b, zero, ip_size(ip)) == 0;
}

/* Are the bits from..to of b zero? */
static bool bits_zero(const uint8_t *b, unsigned from, unsigned to) {
    for (unsigned i = from; i < to; i++)
        if (b[i / 8] & 0x80 >> i % 8) return false;
    return true;
}

bool network_parse(struct str s, struct network *out, const char **why) {
    ptrdiff_t slash = str_chr(s, '/');
    struct str text = slash < 0 ? s : str_sub(s, 0, (size_t)slash);
    struct network net = {0};
    if (!ip_parse(text, &net.ip)) {
        *why = "not an IPv4 or IPv6 address";
        return false;
    }
    unsigned size = (unsigned)ip_size(&net.ip) * 8;
    /* ::ffff:192.0.2.0/120 is 192.0.2.0/24. */
    unsigned written = str_chr(text, ':') >= 0 ? 128 : 32;
    uint64_t bits = written;
    if (slash >= 0 && !str_to_u64(str_sub(s, (size_t)slash + 1, s.n), written, &bits)) {
        *why = written == 32 ? "the prefix length is not a number from 0 to 32"
                             : "the prefix length is not a number from 0 to 128";
        return false;
    }
    bool host_zero = bits >= written - size && bits_zero(net.ip.b, (unsigned)bits - (written - size), size);
    if (!host_zero) {
        *why = "the address has bits set beyond the prefix length";
        return false;
    }
    net.bits = (uint8_t)(bits - (written - size));
    *out = net;
    return true;
}

bool network_has(const struct network *net, const struct ip *ip) {
    if (net->ip.family != ip->family || ip->family == 0) return false;
    size_t whole = net->bits / 8, odd = net->bits % 8;
    if (memcmp(net->ip.b, ip->b, whole) != 0) return false;
    return odd == 0 || ((net->ip.b[whole] ^ ip->b[whole]) & (0xff00 >> odd & 0xff)) == 0;
}

bool networks_have(const struct networks *list, const struct ip *ip) {
    for (size_t i = 0; i < list->n; i++)
        if (network_has(&list->v[i], ip)) return true;
    return false;
}

/* Cuts "[v6]:port" or "v4:port" in two. */
static bool hostport_cut(struct str s, struct str *host, struct str *port, const char **why) {
    bool bracket = s.n && s.p[0] == '[';
    ptrdiff_t end = str_chr(s, bracket ? ']' : ':');
    if (end < 0) {
        *why = bracket ? "\"]\" is missing" : "\":\" and a port are missing";
        return false;
    }
    *host = str_sub(s, bracket, (size_t)end);
    size_t colon = (size_t)end + bracket;
    if (colon >= s.n || s.p[colon] != ':') {
        *why = "\":\" and a port are missing";
        return false;
    }
    *port = str_sub(s, colon + 1, s.n);
    if (bracket != (str_chr(*host, ':') >= 0)) {
        *why = "only an IPv6 address is written in brackets";
        return false;
    }
    return true;
}

bool hostport_parse(struct str s, struct ip *ip, uint16_t *port, const char **why) {
    struct str host, digits;
    struct ip parsed;
    uint64_t n;
    if (!hostport_cut(s, &host, &digits, why)) return false;
    if (!ip_parse(host, &parsed)) {
        *why = s.p[0] != '[' && str_chr(digits, ':') >= 0
                   ? "an IPv6 address is written in brackets: [address]:port"
                   : "not an IPv4 or IPv6 address";
        return false;
    }
    if (!str_to_u64(digits, 65535, &n) || n == 0) {
        *why = "the port is not a number from 1 to 65535";
        return false;
    }
    *ip = parsed;
    *port = (uint16_t)n;
    return true;
}

void hostport_format(struct buf *b, const struct ip *ip, uint16_t port) {
    if (ip->family == 6) buf_addc(b, '[');
    ip_format(b, ip);
    if (ip->family == 6) buf_addc(b, ']');
    if (ip->family == 0) return;
    buf_addc(b, ':');
    buf_addu(b, port);
}

socklen_t ip_to_sockaddr(const struct ip *ip, uint16_t port, struct sockaddr_storage *out) {
    memset(out, 0, sizeof *out);
    if (ip->family == 4) {
        struct sockaddr_in *sin = (struct sockaddr_in *)out;
        sin->sin_family = AF_INET;
        sin->sin_port = htons(port);
        memcpy(&sin->sin_addr, ip->b, 4);
        return sizeof *sin;
    }
    if (ip->family == 6) {
        struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)out;
        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons(port);
        memcpy(&sin6->sin6_addr, ip->b, 16);
        return sizeof *sin6;
    }
    return 0;
}

bool ip_from_sockaddr(const struct sockaddr_storage *sa, struct ip *ip, uint16_t *port) {
    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *sin = (const struct sockaddr_in *)sa;
        *ip = (struct ip){.family = 4};
        memcpy(ip->b, &sin->sin_addr, 4);
        *port = ntohs(sin->sin_port);
        return true;
    }
    if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)sa;
        uint8_t b[16];
        memcpy(b, &sin6->sin6_addr, 16);
        *ip = ip_from_v6(b);
        *port = ntohs(sin6->sin6_port);
        return true;
    }
    *ip = (struct ip){0};
    *port = 0;
    return false;
}
