/* addr.c: one scanner walks the text once, from left to right, by the grammar of RFC 5321 4.1.2. Where an address
 * ends is decided by the grammar alone, never by searching for "@" or ">", so a quoted ">" or "@" ends nothing. */
#include "common/addr.h"

#include "common/arena.h"
#include "common/net.h"

const char addr_no_memory[] = "no memory left for addresses in this transaction";

static const char bad_domain[] = "character not allowed in or after the domain (RFC 5321 4.1.2)";

struct scan {
    struct str s;
    size_t at;
    unsigned flags;
    const char *why;
};

static bool fail(struct scan *sc, const char *why) {
    sc->why = why;
    return false;
}

/* The octet at the scanner, or -1 at the end. */
static int peek(const struct scan *sc) {
    return sc->at < sc->s.n ? (unsigned char)sc->s.p[sc->at] : -1;
}

static bool skip(struct scan *sc, char c) {
    if (peek(sc) != (unsigned char)c) return false;
    sc->at++;
    return true;
}

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 5322 3.2.3, without the octets above 0x7e. */
static bool is_atext(int c) {
    return is_letter(c) || is_digit(c) || (c > 0 && str_chr(STR("!#$%&'*+-/=?^_`{|}~"), (char)c) >= 0);
}

/* Length of the UTF-8 sequence of RFC 3629 at the scanner when it is one above U+009F (U+0080 to U+009F are
 * controls) and such are allowed here; otherwise 0. */
static size_t utf8_length(const struct scan *sc) {
    int c = peek(sc);
    if (!(sc->flags & ADDR_UTF8) || c < 0xc2 || c > 0xf4) return 0;
    size_t n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (sc->s.n - sc->at < n) return 0;
    const unsigned char *p = (const unsigned char *)sc->s.p + sc->at;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    /* Overlong forms, surrogates, beyond U+10FFFF, C1 controls. */
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) ||
        (c == 0xf4 && p[1] > 0x8f) || (c == 0xc2 && p[1] < 0xa0))
        return 0;
    return n;
}

/* Why the octet at the scanner cannot stand there; other is for printable ones. */
static bool fail_octet(struct scan *sc, const char *other) {
    int c = peek(sc);
    if (c >= 0 && (c < 0x20 || c == 0x7f)) return fail(sc, "control character in the address");
    if (c > 0x7f && (sc->flags & ADDR_UTF8)) return fail(sc, "octets that are not UTF-8 text (RFC 3629)");
    if (c > 0x7f) return fail(sc, "octet above 0x7e without SMTPUTF8 (RFC 6531)");
    return fail(sc, other);
}

static void take(struct scan *sc, size_t n, struct buf *out) {
    buf_add(out, str_sub(sc->s, sc->at, sc->at + n));
    sc->at += n;
}

/* Quoted-string: the scanner is behind the opening quote. */
static bool read_quoted(struct scan *sc, struct buf *out) {
    for (;;) {
        int c = peek(sc);
        size_t n = utf8_length(sc);
        if (c < 0) return fail(sc, "quoted local part without its closing quote");
        if (c == '"') break;
        if (c == '\\') { /* quoted-pairSMTP: only printable ASCII may follow */
            sc->at++;
            c = peek(sc);
            n = 0;
            if (c < 0) return fail(sc, "backslash without a character after it");
        }
        if (n == 0 && c >= 0x20 && c <= 0x7e) n = 1;
        if (n == 0) return fail_octet(sc, "character not allowed in a quoted local part");
        take(sc, n, out);
    }
    sc->at++;
    return true;
}

/* Dot-string: atoms with single dots between them. */
static bool read_dot_string(struct scan *sc, struct buf *out) {
    for (;;) {
        size_t from = sc->at, n;
        while ((n = utf8_length(sc)) > 0 || (n = is_atext(peek(sc))) > 0) take(sc, n, out);
        if (sc->at == from) {
            bool begun = peek(sc) == '.' || out->n > 0;
            return fail_octet(sc, begun ? "local part with an empty atom (RFC 5321 4.1.2)"
                                        : "the local part is missing");
        }
        if (peek(sc) != '.') return true;
        take(sc, 1, out);
    }
}

static bool read_local(struct scan *sc, struct buf *out) {
    if (skip(sc, '"') ? !read_quoted(sc, out) : !read_dot_string(sc, out)) return false;
    if (out->failed) return fail(sc, "local part longer than 64 octets (RFC 5321 4.5.3.1.1)");
    return true;
}

/* One label of a Domain: letters, digits, and hyphens between them. */
static bool read_label(struct scan *sc, struct buf *out) {
    size_t from = sc->at;
    if (peek(sc) == '-') return fail(sc, "domain label begins with a hyphen (RFC 5321 4.1.2)");
    for (;;) {
        int c = peek(sc);
        size_t n = utf8_length(sc);
        if (n > 0) {
            take(sc, n, out);
        } else if (is_letter(c)) {
            buf_addc(out, (char)(c | 0x20));
            sc->at++;
        } else if (is_digit(c) || c == '-' || (c == '_' && (sc->flags & ADDR_UNDERSCORE))) {
            take(sc, 1, out);
        } else {
            break;
        }
    }
    if (sc->at == from) return fail_octet(sc, "domain with an empty or unreadable label (RFC 5321 4.1.2)");
    if (sc->s.p[sc->at - 1] == '-') return fail(sc, "domain label ends with a hyphen (RFC 5321 4.1.2)");
    if (sc->at - from > 63) return fail(sc, "domain label longer than 63 octets (RFC 1035 2.3.4)");
    return true;
}

/* address-literal, RFC 5321 4.1.3: the scanner is at the "[". General literals: no tag but IPv6 is registered. */
static bool read_literal(struct scan *sc, struct buf *out) {
    struct str inside = str_sub(sc->s, sc->at + 1, sc->s.n);
    ptrdiff_t end = str_chr(inside, ']');
    if (end < 0) return fail(sc, "address literal without its closing bracket");
    inside.n = (size_t)end;
    sc->at += inside.n + 2;

    bool tag = str_starts_nocase(inside, STR("IPv6:"));
    struct str text = tag ? str_sub(inside, 5, inside.n) : inside;
    struct ip ip;
    if (!ip_parse(text, &ip) || tag != (str_chr(text, ':') >= 0))
        return fail(sc, "address literal that is neither IPv4 nor \"IPv6:\" and IPv6 (RFC 5321 4.1.3)");
    buf_adds(out, ip.family == 6 ? "[IPv6:" : "[");
    ip_format(out, &ip);
    buf_addc(out, ']');
    return true;
}

static bool read_domain(struct scan *sc, struct buf *out) {
    if (peek(sc) < 0) return fail(sc, "the domain is missing");
    if (peek(sc) == '[') return read_literal(sc, out);
    for (;;) {
        if (!read_label(sc, out)) return false;
        if (!skip(sc, '.')) break;
        buf_addc(out, '.');
    }
    if (out->failed) return fail(sc, "domain longer than 255 octets (RFC 5321 4.5.3.1.2)");
    return true;
}

static bool keep(struct scan *sc, struct arena *a, const struct buf *b, struct str *out) {
    *out = str_dup(a, buf_str(b));
    return out->p || fail(sc, addr_no_memory);
}

/* May this local part go without a domain? RFC 5321 4.5.1. */
static bool may_be_bare(unsigned flags, struct str local) {
    return (flags & ADDR_NO_DOMAIN) || ((flags & ADDR_POSTMASTER) && str_eq_nocase(local, STR("postmaster")));
}

/* A Mailbox, as far as the grammar goes; what follows it is the caller's. close is the octet that may end it, or -1
 * for the end of the text. */
static bool read_mailbox(struct scan *sc, int close, struct arena *a, struct addr *out) {
    char local_mem[ADDR_LOCAL_MAX], domain_mem[ADDR_DOMAIN_MAX];
    struct buf local = BUF(local_mem), domain = BUF(domain_mem);
    struct addr got = {STR_NONE, STR_NONE};
    if (!read_local(sc, &local)) return false;
    bool bare = peek(sc) == close;
    if (bare && !may_be_bare(sc->flags, buf_str(&local))) return fail(sc, "the address has no domain");
    if (bare && local.n == 0) return fail(sc, "the local part is empty"); /* would be the null address */
    if (!bare) {
        if (!skip(sc, '@')) return fail_octet(sc, "the local part needs quotes (RFC 5321 4.1.2)");
        if (!read_domain(sc, &domain)) return false;
        if (peek(sc) != close) return fail_octet(sc, bad_domain);
        if (!keep(sc, a, &domain, &got.domain)) return false;
    }
    if (!keep(sc, a, &local, &got.local)) return false;
    *out = got;
    return true;
}

/* A-d-l ":" of RFC 5321 4.1.2, dropped as its appendix C says. */
static bool skip_route(struct scan *sc) {
    if (peek(sc) != '@') return true;
    do {
        char mem[ADDR_DOMAIN_MAX];
        struct buf b = BUF(mem);
        if (!skip(sc, '@')) return fail_octet(sc, "source route with a part that does not begin with \"@\"");
        if (peek(sc) == '[') return fail(sc, "address literal in a source route (RFC 5321 4.1.2)");
        if (!read_domain(sc, &b)) return false;
    } while (skip(sc, ','));
    if (!skip(sc, ':')) return fail_octet(sc, "source route without its colon, or without a local part");
    return true;
}

static bool is_null_path(struct str s) {
    return s.n >= 2 && s.p[0] == '<' && s.p[1] == '>';
}

bool addr_parse(struct str text, unsigned flags, struct arena *a, struct addr *out, const char **why) {
    struct scan sc = {.s = text, .flags = flags};
    if ((flags & ADDR_NULL) && (text.n == 0 || (text.n == 2 && is_null_path(text)))) {
        *out = (struct addr){STR_NONE, STR_NONE};
        return true;
    }
    if (read_mailbox(&sc, -1, a, out)) return true;
    *why = sc.why;
    return false;
}

static bool read_path(struct scan *sc, struct arena *a, struct addr *out) {
    if (is_null_path(sc->s)) {
        if (!(sc->flags & ADDR_NULL)) return fail(sc, "only a sender may be null (RFC 5321 4.1.2)");
        *out = (struct addr){STR_NONE, STR_NONE};
        sc->at = 2;
        return true;
    }
    if (!skip(sc, '<')) return fail(sc, "the address does not begin with \"<\"");
    if (str_chr(sc->s, '>') < 0) return fail(sc, "the address does not end with \">\"");
    if (!skip_route(sc) || !read_mailbox(sc, '>', a, out)) return false;
    sc->at++;
    return true;
}

bool addr_parse_path(struct str text, unsigned flags, struct arena *a, struct addr *out, struct str *rest,
                     const char **why) {
    struct scan sc = {.s = text, .flags = flags};
    struct addr got;
    if (!read_path(&sc, a, &got)) {
        *why = sc.why;
        return false;
    }
    if (peek(&sc) >= 0 && peek(&sc) != ' ') {
        *why = "after \">\" only a space and parameters may follow (RFC 5321 4.1.2)";
        return false;
    }
    *out = got;
    *rest = str_sub(text, sc.at, text.n);
    return true;
}

bool domain_parse(struct str text, unsigned flags, struct arena *a, struct str *out, const char **why) {
    struct scan sc = {.s = text, .flags = flags};
    char mem[ADDR_DOMAIN_MAX];
    struct buf b = BUF(mem);
    struct str got;
    bool ok =
        read_domain(&sc, &b) && (peek(&sc) < 0 || fail_octet(&sc, bad_domain)) && keep(&sc, a, &b, &got);
    if (ok) *out = got;
    else *why = sc.why;
    return ok;
}

bool addr_is_null(const struct addr *a) {
    return a->local.n == 0 && a->domain.n == 0;
}

bool addr_same(const struct addr *a, const struct addr *b) {
    return str_eq(a->local, b->local) && str_eq(a->domain, b->domain);
}

/* Is s a Dot-string, so that it needs no quotes? Octets above 0x7e got here as valid UTF-8. */
static bool is_dot_string(struct str s) {
    bool atom = false;
    for (size_t i = 0; i < s.n; i++) {
        bool dot = s.p[i] == '.';
        unsigned char c = (unsigned char)s.p[i];
        if (dot ? !atom : !is_atext(c) && c < 0x80) return false;
        atom = !dot;
    }
    return atom;
}

void addr_format(struct buf *b, const struct addr *a) {
    if (addr_is_null(a)) return;
    if (is_dot_string(a->local)) {
        buf_add(b, a->local);
    } else {
        buf_addc(b, '"');
        for (size_t i = 0; i < a->local.n; i++) {
            char c = a->local.p[i];
            if (c == '"' || c == '\\') buf_addc(b, '\\');
            buf_addc(b, c);
        }
        buf_addc(b, '"');
    }
    if (a->domain.n == 0) return;
    buf_addc(b, '@');
    buf_add(b, a->domain);
}

struct str addr_text(struct arena *ar, const struct addr *a) {
    char mem[ADDR_TEXT_MAX];
    struct buf b = BUF(mem);
    addr_format(&b, a);
    return str_dup(ar, buf_str(&b));
}

bool domain_is_literal(struct str domain) {
    return domain.n > 0 && domain.p[0] == '[';
}
