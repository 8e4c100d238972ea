#include "smtpd/proxy.h"

#include <string.h>

static const char signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
enum { V2_HEAD = 16, V2_LOCAL = 0x20, V2_PROXY = 0x21 };

static uint32_t be16(const char *p) {
    return (uint32_t)((unsigned char)p[0] << 8 | (unsigned char)p[1]);
}

/* ---- Version 1: one line of text ---- */

static bool field(struct str *rest, struct str *out) {
    if (!rest->n || rest->p[0] != ' ') return false; /* exactly one space */
    *rest = str_sub(*rest, 1, rest->n);
    ptrdiff_t end = str_chr(*rest, ' ');
    *out = str_sub(*rest, 0, end < 0 ? rest->n : (size_t)end);
    *rest = str_sub(*rest, out->n, rest->n);
    return out->n > 0;
}

static bool port_field(struct str *rest, uint16_t *port) {
    struct str s;
    uint64_t v;
    if (!field(rest, &s) || s.n > 5 || (s.n > 1 && s.p[0] == '0') || !str_to_u64(s, 65535, &v)) return false;
    *port = (uint16_t)v;
    return true;
}

static bool address_field(struct str *rest, bool v6, struct ip *ip) {
    struct str s;
    return field(rest, &s) && (str_chr(s, ':') >= 0) == v6 && ip_parse(s, ip) && !ip_is_unspecified(ip);
}

static bool read_v1(struct proxy *p, struct str line) {
    struct str rest = str_sub(line, 5, line.n), family;
    struct ip source, dest;
    uint16_t sport, dport;
    if (!field(&rest, &family)) return false;
    if (str_eq(family, STR("UNKNOWN"))) return true; /* what follows is to be ignored */
    bool v6 = str_eq(family, STR("TCP6"));
    if (!v6 && !str_eq(family, STR("TCP4"))) return false;
    if (!address_field(&rest, v6, &source) || !address_field(&rest, v6, &dest) ||
        !port_field(&rest, &sport) || !port_field(&rest, &dport) || rest.n)
        return false;
    p->source = source;
    p->port = sport;
    return true;
}

static enum proxy_what step_v1(struct proxy *p) {
    char c = p->mem[p->n - 1], before = p->n > 1 ? p->mem[p->n - 2] : '\0';
    if (p->n <= 6) return c == "PROXY "[p->n - 1] ? PROXY_MORE : PROXY_BAD;
    if (before == '\r') {
        if (c != '\n') return PROXY_BAD;
        return read_v1(p, (struct str){p->mem, p->n - 2}) ? PROXY_DONE : PROXY_BAD;
    }
    if (((unsigned char)c < ' ' && c != '\r') || p->n >= PROXY_V1_MAX) return PROXY_BAD;
    return PROXY_MORE;
}

/* ---- Version 2: octets ---- */

/* How long the addresses are; false: a family or transport that does not exist, or is not of streams. */
static bool v2_family(uint8_t family, uint32_t *size) {
    static const struct {
        uint8_t family;
        uint32_t size;
    } known[] = {{0x00, 0}, {0x11, 12}, {0x21, 36}, {0x31, 216}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].family != family) continue;
        *size = known[i].size;
        return true;
    }
    return false;
}

static bool v2_addresses(struct proxy *p) {
    const char *a = p->mem + V2_HEAD;
    switch (p->mem[13]) {
    case 0x11:
        p->source.family = 4;
        memcpy(p->source.b, a, 4);
        p->port = (uint16_t)be16(a + 8);
        return !ip_is_unspecified(&p->source);
    case 0x21: {
        char text[64]; /* by way of text: a v4-mapped address becomes a v4 one in one place only */
        struct buf b = BUF(text);
        struct ip raw = {.family = 6};
        memcpy(raw.b, a, 16);
        ip_format(&b, &raw);
        p->port = (uint16_t)be16(a + 32);
        return ip_parse(buf_str(&b), &p->source) && !ip_is_unspecified(&p->source);
    }
    default:
        return true; /* a Unix socket has no address that means something here */
    }
}

static enum proxy_what walk_if_left(struct proxy *p) {
    p->walking = true;
    return p->left ? PROXY_MORE : PROXY_DONE;
}

static enum proxy_what step_v2(struct proxy *p) {
    uint32_t size = 0;
    if (p->n <= sizeof signature) return p->mem[p->n - 1] == signature[p->n - 1] ? PROXY_MORE : PROXY_BAD;
    if (p->n < V2_HEAD) return PROXY_MORE;
    uint8_t command = (uint8_t)p->mem[12];
    bool local = command == V2_LOCAL;
    if (p->n == V2_HEAD) {
        if ((!local && command != V2_PROXY) || (!local && !v2_family((uint8_t)p->mem[13], &size)))
            return PROXY_BAD;
        p->left = be16(p->mem + 14);
        p->loose = local || p->mem[13] == 0; /* 2.2: whatever is there must be skipped */
        if (p->loose) return walk_if_left(p);
        return p->left < size ? PROXY_BAD : PROXY_MORE;
    }
    (void)v2_family((uint8_t)p->mem[13], &size);
    if (p->n < V2_HEAD + size) return PROXY_MORE;
    p->left -= size;
    return v2_addresses(p) ? walk_if_left(p) : PROXY_BAD;
}

/* TLVs (2.2.): none means anything to us, but each must lie within the header. */
static enum proxy_what step_tlv(struct proxy *p, char c) {
    p->left--;
    if (p->loose) return p->left ? PROXY_MORE : PROXY_DONE;
    if (p->tlv_left) {
        p->tlv_left--;
    } else {
        p->tlv_head[p->tlv_n++] = (uint8_t)c;
        if (p->tlv_n == 3) {
            p->tlv_n = 0;
            p->tlv_left = (uint32_t)p->tlv_head[1] << 8 | p->tlv_head[2];
            if (p->tlv_left > p->left) return PROXY_BAD;
        }
    }
    if (p->left) return PROXY_MORE;
    return p->tlv_n || p->tlv_left ? PROXY_BAD : PROXY_DONE;
}

enum proxy_what proxy_take(struct proxy *p, struct str in, size_t *used) {
    enum proxy_what what = PROXY_MORE;
    for (*used = 0; *used < in.n && what == PROXY_MORE; ++*used) {
        char c = in.p[*used];
        if (p->walking) {
            what = step_tlv(p, c);
            continue;
        }
        p->mem[p->n++] = c;
        what = p->mem[0] == signature[0] ? step_v2(p) : step_v1(p);
    }
    return what;
}
