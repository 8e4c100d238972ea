/* routes.c: the parser of route tables: `PATTERN ROUTE`, one a line; # at the start of a line begins a
 * comment, and so it does after white space, except within the text of an error. */
#include "lookup/routes.h"

#include "common/addr.h"
#include "common/arena.h"
#include "lookup/values.h"

#include <stdlib.h>

enum { LINE_MAX_OCTETS = 2000, ERROR_TEXT_MAX = 400 };

struct line {
    unsigned number;
    struct arena *scratch; /* emptied after each line */
    struct table_error *err;
};

static bool fail(const struct line *l, struct str word, const char *text) {
    return table_fail(l->err, l->number, word, text);
}

static bool read_domain(const struct line *l, struct str text, struct str *out, const char *what) {
    const char *why;
    char mem[256];
    struct buf b = BUF(mem);
    if (domain_parse(text, 0, l->scratch, out, &why)) return true;
    buf_addf(&b, "%s: %s", what, why);
    return fail(l, text, buf_cstr(&b));
}

static bool read_pattern(const struct line *l, struct str text, struct buf *key) {
    struct str domain;
    struct addr a;
    const char *why;
    if (str_eq(text, STR("*"))) {
        buf_addc(key, '*');
        return true;
    }
    if (str_chr(text, '@') >= 0) {
        if (!addr_parse(text, 0, l->scratch, &a, &why)) return fail(l, text, why);
        table_lower(key, a.local);
        buf_addc(key, '@');
        buf_add(key, a.domain);
        return true;
    }
    bool below = text.n > 1 && text.p[0] == '.';
    if (!read_domain(l, below ? str_sub(text, 1, text.n) : text, &domain,
                     "a pattern is a domain, .domain, user@domain or *"))
        return false;
    if (below && domain_is_literal(domain))
        return fail(l, text, "an address has no subdomains; leave out the dot");
    if (below) buf_addc(key, '.');
    buf_add(key, domain);
    return true;
}

static bool read_port(const struct line *l, struct str text, uint16_t *port) {
    uint64_t v;
    if (!str_to_u64(text, 65535, &v) || v == 0)
        return fail(l, text, "a port is a number from 1 to 65535; write smtp:HOST:25 or leave it out");
    *port = (uint16_t)v;
    return true;
}

/* [HOST] or [ADDRESS]: an address may be written with or without the "IPv6:" of RFC 5321 4.1.3. */
static bool read_host(const struct line *l, struct str bracketed, struct str *out) {
    char mem[300];
    struct buf b = BUF(mem);
    const char *why;
    struct str inside = str_sub(bracketed, 1, bracketed.n - 1);
    if (domain_parse(bracketed, 0, l->scratch, out, &why)) return true;
    buf_adds(&b, "[IPv6:");
    buf_add(&b, inside);
    buf_addc(&b, ']');
    if (!b.failed && domain_parse(buf_str(&b), 0, l->scratch, out, &why)) return true;
    return read_domain(l, inside, out, "in the brackets stands a host name or an address");
}

static bool route_smtp(const struct line *l, struct str text, struct route_value *v) {
    struct str host = text;
    ptrdiff_t close = str_chr(text, ']');
    bool bracketed = text.n && text.p[0] == '[';
    if (bracketed && close < 0) return fail(l, text, "the bracket is not closed; write smtp:[HOST]:PORT");
    ptrdiff_t colon = str_chr(str_sub(text, bracketed ? (size_t)close : 0, text.n), ':');
    if (colon >= 0) {
        size_t at = (size_t)colon + (bracketed ? (size_t)close : 0);
        host = str_sub(text, 0, at);
        if (!read_port(l, str_sub(text, at + 1, text.n), &v->port)) return false;
    }
    if (bracketed && host.p[host.n - 1] != ']')
        return fail(l, text, "after the bracket only :PORT may follow; write smtp:[HOST]:PORT");
    v->how = bracketed ? 'H' : 'M';
    if (bracketed) return read_host(l, host, &v->nexthop);
    if (!read_domain(l, host, &v->nexthop, "smtp: wants a domain, or a host in brackets")) return false;
    if (domain_is_literal(v->nexthop)) v->how = 'H';
    return true;
}

static bool route_local(const struct line *l, struct str text, struct route_value *v) {
    v->how = 'L';
    return text.n == 0 || fail(l, text, "nothing may follow \"local\"");
}

static bool route_discard(const struct line *l, struct str text, struct route_value *v) {
    v->how = 'D';
    return text.n == 0 || fail(l, text, "nothing may follow \"discard\"");
}

/* An enhanced code at the start of the text: 4.x.y or 5.x.y (RFC 3463). */
static bool read_code(struct str word, struct status *s) {
    uint64_t v;
    for (int i = 0; i < 3; i++) {
        ptrdiff_t dot = str_chr(word, '.');
        size_t to = dot < 0 ? word.n : (size_t)dot;
        if ((dot < 0) != (i == 2) || !str_to_u64(str_sub(word, 0, to), 999, &v)) return false;
        s->detail[i] = (uint16_t)v;
        word = str_sub(word, to + 1, word.n);
    }
    return true;
}

/* RFC 5321 4.2.2: 550 for a mailbox that is not there, 554 for policy; 450 is the temporary one of 550. */
static bool route_error(const struct line *l, struct str text, struct route_value *v) {
    struct str rest = text, word;
    struct status code = {0};
    v->how = 'E';
    v->status = (struct status){.kind = STATUS_NEVER, .code = 550, .detail = {5, 1, 1}};
    if (str_word(&rest, 0, &word) && read_code(word, &code)) {
        if (code.detail[0] != 4 && code.detail[0] != 5)
            return fail(l, word, "the code of an error begins with 4 (try later) or 5 (never)");
        v->status = code;
        v->status.kind = code.detail[0] == 4 ? STATUS_LATER : STATUS_NEVER;
        v->status.code = code.detail[0] == 4 ? 450 : code.detail[1] == 7 ? 554 : 550;
        text = rest;
    }
    v->status.text = str_trim(text);
    if (v->status.text.n == 0)
        return fail(l, STR("error:"), "say what the sender shall read, as in \"error:5.1.6 moved\"");
    if (v->status.text.n > ERROR_TEXT_MAX || !str_is_print(v->status.text))
        return fail(l, v->status.text, "the text of an error has at most 400 printable ASCII octets");
    return true;
}

static const struct {
    const char *word;
    bool prefix; /* the word ends with a colon, and something follows */
    bool (*read)(const struct line *l, struct str text, struct route_value *v);
} kinds[] = {
    {"smtp:", true, route_smtp},
    {"error:", true, route_error},
    {"local", false, route_local},
    {"discard", false, route_discard},
};

/* Cuts off a comment: # after white space, unless the route is an error, whose text may hold one. */
static struct str without_comment(struct str text) {
    if (str_starts_nocase(text, STR("error:"))) return text;
    for (size_t i = 1; i < text.n; i++)
        if (text.p[i] == '#' && (text.p[i - 1] == ' ' || text.p[i - 1] == '\t'))
            return str_trim(str_sub(text, 0, i));
    return text;
}

static bool read_route(const struct line *l, struct str text, struct route_value *v) {
    text = without_comment(text);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct str word = str_of(kinds[i].word);
        if (!str_starts_nocase(text, word)) continue;
        struct str rest = str_sub(text, word.n, text.n);
        if (kinds[i].prefix || rest.n == 0 || rest.p[0] == ' ' || rest.p[0] == '\t')
            return kinds[i].read(l, str_trim(rest), v);
    }
    return fail(l, text,
                "a route is smtp:HOST, smtp:HOST:PORT, smtp:[HOST]:PORT, local, discard or error:TEXT");
}

/* The first word; white space within double quotes is part of it ("a b"@example.org). */
static struct str cut_pattern(struct str *text) {
    bool quoted = false;
    size_t i = 0;
    for (; i < text->n; i++) {
        char c = text->p[i];
        if (c == '"') quoted = !quoted;
        else if (c == '\\' && quoted) i++;
        else if (!quoted && (c == ' ' || c == '\t')) break;
    }
    struct str word = str_sub(*text, 0, i);
    *text = str_trim(str_sub(*text, i, text->n));
    return word;
}

static bool read_line(const struct line *l, struct str text, const struct table_sink *sink) {
    char key_mem[TABLE_KEY_MAX + 1], value_mem[ROUTE_VALUE_MAX];
    struct buf key = BUF(key_mem), value = BUF(value_mem);
    struct route_value v = {0};
    struct str pattern = cut_pattern(&text);
    if (text.n > LINE_MAX_OCTETS) return fail(l, STR_NONE, "this line is longer than 2000 octets");
    if (!read_pattern(l, pattern, &key)) return false;
    if (text.n == 0) return fail(l, pattern, "there is no route after the pattern; write \"PATTERN ROUTE\"");
    if (!read_route(l, text, &v)) return false;
    route_value_write(&value, &v);
    if (key.failed || value.failed) return fail(l, pattern, "the pattern or its route is too long");
    return sink->entry(sink->ctx, l->number, buf_str(&key), buf_str(&value), l->err);
}

bool routes_parse(struct str text, const struct table_sink *sink, struct table_error *err) {
    struct line l = {.err = err, .scratch = arena_new(16384)};
    bool ok = true;
    while (ok && text.n) {
        ptrdiff_t end = str_chr(text, '\n');
        struct str one = str_trim(end < 0 ? text : str_sub(text, 0, (size_t)end));
        text = end < 0 ? STR_NONE : str_sub(text, (size_t)end + 1, text.n);
        l.number++;
        arena_reset(l.scratch);
        if (one.n && one.p[0] != '#') ok = read_line(&l, one, sink);
    }
    arena_free(l.scratch);
    return ok;
}
