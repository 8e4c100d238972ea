#include "smtpd/peer.h"

#include "common/xtext.h"

const char peer_xclient_words[] = "NAME REVERSE_NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";
const char peer_xforward_words[] = "NAME ADDR PORT PROTO HELO IDENT SOURCE";

static bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* They go into Received fields, the log and rules: octets of host names and address literals, no others. */
static bool is_host(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '-' && s.p[i] != '_') return false;
    return s.n > 0 && s.n <= 255;
}

static bool is_helo(struct str s) {
    struct str inside = s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']' ? str_sub(s, 1, s.n - 1) : s;
    for (size_t i = 0; i < inside.n; i++)
        if (!is_alnum(inside.p[i]) && inside.p[i] != '.' && inside.p[i] != '-' && inside.p[i] != '_' &&
            inside.p[i] != ':')
            return false;
    return inside.n > 0 && s.n <= 255;
}

static bool read_address(struct str s, struct ip *ip) {
    if (str_starts_nocase(s, STR("IPV6:"))) s = str_sub(s, 5, s.n);
    return ip_parse(s, ip);
}

static bool is_address(struct str s) {
    struct ip ip;
    return read_address(s, &ip);
}

static bool is_port(struct str s) {
    uint64_t v;
    return str_to_u64(s, 65535, &v);
}

static bool is_proto(struct str s) {
    return str_eq_nocase(s, STR("SMTP")) || str_eq_nocase(s, STR("ESMTP"));
}

static bool is_word(struct str s) {
    return s.n > 0 && s.n <= 64 && str_is_print(s) && str_chr(s, ' ') < 0;
}

static bool is_source(struct str s) {
    return str_eq_nocase(s, STR("LOCAL")) || str_eq_nocase(s, STR("REMOTE"));
}

static const struct {
    struct str word;
    bool xclient, xforward;
    bool (*fits)(struct str s);
    const char *wrong;
} rows[PEER_ATTRIBUTES] = {
    [PEER_NAME] = {STR("NAME"), true, true, is_host, "NAME is no host name"},
    [PEER_REVERSE_NAME] = {STR("REVERSE_NAME"), true, false, is_host, "REVERSE_NAME is no host name"},
    [PEER_ADDR] = {STR("ADDR"), true, true, is_address, "ADDR is no IP address"},
    [PEER_PORT] = {STR("PORT"), true, true, is_port, "PORT is no port"},
    [PEER_PROTO] = {STR("PROTO"), true, true, is_proto, "PROTO is SMTP or ESMTP"},
    [PEER_HELO] = {STR("HELO"), true, true, is_helo, "HELO is no name of a host"},
    [PEER_LOGIN] = {STR("LOGIN"), true, false, is_word, "LOGIN is no login"},
    [PEER_DESTADDR] = {STR("DESTADDR"), true, false, is_address, "DESTADDR is no IP address"},
    [PEER_DESTPORT] = {STR("DESTPORT"), true, false, is_port, "DESTPORT is no port"},
    [PEER_IDENT] = {STR("IDENT"), false, true, is_word, "IDENT is no word"},
    [PEER_SOURCE] = {STR("SOURCE"), false, true, is_source, "SOURCE is LOCAL or REMOTE"},
};

static int find(struct str name, bool xclient) {
    for (int i = 0; i < PEER_ATTRIBUTES; i++)
        if (str_eq_nocase(name, rows[i].word) && (xclient ? rows[i].xclient : rows[i].xforward)) return i;
    return -1;
}

static bool take_value(struct peer *p, int i, struct str value, const char **why) {
    struct buf b = buf_on(p->mem + p->used, sizeof p->mem - p->used);
    *why = rows[i].wrong;
    if (str_eq_nocase(value, STR("[UNAVAILABLE]"))) {
        p->state[i] = PEER_UNAVAILABLE;
        return true;
    }
    if (str_eq_nocase(value, STR("[TEMPUNAVAIL]"))) {
        p->state[i] = PEER_TEMPUNAVAIL;
        return true;
    }
    if (!xtext_decode(&b, value) || b.failed || !rows[i].fits(buf_str(&b))) return false;
    p->state[i] = PEER_GIVEN;
    p->text[i] = buf_str(&b);
    p->used += b.n;
    return i != PEER_ADDR || read_address(p->text[i], &p->addr);
}

bool peer_copy(struct peer *p, const struct peer *from, enum peer_attribute i) {
    struct buf b = buf_on(p->mem + p->used, sizeof p->mem - p->used);
    buf_add(&b, from->text[i]);
    if (b.failed) return false;
    p->state[i] = from->state[i];
    p->text[i] = buf_str(&b);
    p->used += b.n;
    if (i == PEER_ADDR) p->addr = from->addr;
    return true;
}

bool peer_parse(struct str arg, bool xclient, struct peer *out, const char **why) {
    struct str word;
    size_t n = 0;
    *out = (struct peer){0};
    while (str_word(&arg, 0, &word)) {
        ptrdiff_t eq = str_chr(word, '=');
        int i = eq < 0 ? -1 : find(str_sub(word, 0, (size_t)eq), xclient);
        n++;
        if (i < 0) {
            *why = eq < 0 ? "Attributes are NAME=value" : "Attribute not known";
            return false;
        }
        if (out->state[i] != PEER_NOT_GIVEN) {
            *why = "Attribute given twice";
            return false;
        }
        if (!take_value(out, i, str_sub(word, (size_t)eq + 1, word.n), why)) return false;
    }
    *why = "Attributes are needed";
    return n > 0;
}
