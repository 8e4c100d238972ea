#include "common/addrlist.h"

#include <string.h>

enum { COMMENT_DEPTH_MAX = 100 };

enum token { T_END, T_WORD, T_QUOTED, T_LITERAL, T_BAD /* else the character itself */ };

struct parse {
    struct str text;
    size_t at; /* behind the current token */
    int token;
    struct str value; /* of the current token */
    const char *why;
    bool in_group;
    struct buf spec; /* the address being built */
    char mem[ADDRLIST_SPEC_MAX];
    size_t local_end;
    bool has_domain;
};

static bool is_wsp(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_special(char c) {
    return strchr("()<>[]:;@\\,.\"", c) != NULL; /* also NUL, which strchr finds at the end */
}

/* RFC 5322 3.2.2: comments nest; a depth counter instead of recursion. */
static bool skip_comment(struct parse *p) {
    size_t depth = 0;
    while (p->at < p->text.n) {
        char c = p->text.p[p->at++];
        if (c == '\\' && p->at < p->text.n) p->at++;
        else if (c == '(' && ++depth > COMMENT_DEPTH_MAX) break;
        else if (c == ')' && --depth == 0) return true;
    }
    p->why = "a comment is not closed";
    return false;
}

static bool skip_space(struct parse *p) {
    while (p->at < p->text.n) {
        char c = p->text.p[p->at];
        if (is_wsp(c)) p->at++;
        else if (c != '(') return true;
        else if (!skip_comment(p)) return false;
    }
    return true;
}

/* From the opening character to `close`, which is included. */
static int delimited(struct parse *p, char close, int token, const char *why) {
    size_t from = p->at++;
    while (p->at < p->text.n) {
        char c = p->text.p[p->at++];
        if (c == '\\' && p->at < p->text.n) p->at++;
        else if (c == close) {
            p->value = str_sub(p->text, from, p->at);
            return token;
        }
    }
    p->why = why;
    return T_BAD;
}

static void next(struct parse *p) {
    if (!skip_space(p)) {
        p->token = T_BAD;
        return;
    }
    if (p->at == p->text.n) {
        p->token = T_END;
        return;
    }
    char c = p->text.p[p->at];
    if (c == '"') {
        p->token = delimited(p, '"', T_QUOTED, "a quoted string is not closed");
    } else if (c == '[') {
        p->token = delimited(p, ']', T_LITERAL, "an address literal is not closed");
    } else if (is_special(c)) {
        p->token = (unsigned char)c;
        p->at++;
    } else {
        size_t from = p->at;
        while (p->at < p->text.n && !is_wsp(p->text.p[p->at]) && !is_special(p->text.p[p->at])) p->at++;
        p->value = str_sub(p->text, from, p->at);
        p->token = T_WORD;
    }
}

/* A token's text without its line ends: folding inside a quoted string is no part of it (RFC 5322 3.2.4). */
static void add_unfolded(struct buf *b, struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '\r' && s.p[i] != '\n') buf_addc(b, s.p[i]);
}

struct words {
    size_t words, dots;
    bool local; /* word *("." word): may be a local part */
};

/* Words and dots up to something else, into spec. A phrase takes any order of them (4.1), a local part
 * does not. */
static struct words read_words(struct parse *p) {
    struct words w = {.local = true};
    bool after_word = false;
    p->spec = buf_on(p->mem, sizeof p->mem);
    for (; p->token == T_WORD || p->token == T_QUOTED || p->token == '.'; next(p)) {
        bool word = p->token != '.';
        if (word == after_word) w.local = false;
        if (word) w.words++;
        else w.dots++;
        if (word) add_unfolded(&p->spec, p->value);
        else buf_addc(&p->spec, '.');
        after_word = word;
        p->local_end = p->at;
    }
    if (!after_word) w.local = false;
    return w;
}

static bool fail(struct parse *p, const char *why) {
    if (!p->why) p->why = why;
    return false;
}

/* Behind "@": an address literal, or atom *("." atom). */
static bool read_domain(struct parse *p, bool keep) {
    bool after_word = false;
    if (keep) buf_addc(&p->spec, '@');
    if (p->token == T_LITERAL) {
        if (keep) add_unfolded(&p->spec, p->value);
        next(p);
        return true;
    }
    for (; p->token == T_WORD || p->token == '.'; next(p)) {
        bool word = p->token == T_WORD;
        if (word == after_word) return fail(p, "a domain is malformed");
        if (keep && word) buf_add(&p->spec, p->value);
        if (keep && !word) buf_addc(&p->spec, '.');
        after_word = word;
    }
    return after_word || fail(p, "a domain is missing after \"@\"");
}

static bool read_spec_after(struct parse *p, struct words w) {
    if (!w.local)
        return fail(p, w.words ? "words without a dot or comma between them"
                               : "the name before \"@\" is missing");
    p->has_domain = p->token == '@';
    if (!p->has_domain) return true;
    next(p);
    return read_domain(p, true);
}

/* 4.4: "<@a,@b:user@c>": the route is history. */
static bool skip_route(struct parse *p) {
    while (p->token == '@' || p->token == ',') {
        bool at = p->token == '@';
        next(p);
        if (at && !read_domain(p, false)) return false;
    }
    if (p->token != ':') return fail(p, "a route is malformed");
    next(p);
    return true;
}

static bool read_angle(struct parse *p) {
    next(p);
    if (p->token == '@' && !skip_route(p)) return false;
    if (!read_spec_after(p, read_words(p))) return false;
    if (p->token != '>') return fail(p, "\">\" is missing");
    next(p);
    return true;
}

static bool tell(struct parse *p, bool (*fn)(void *, const struct addrlist_item *), void *ctx) {
    if (p->spec.failed) return fail(p, "an address is too long");
    struct addrlist_item item = {buf_str(&p->spec), p->has_domain, p->local_end};
    return fn(ctx, &item) || fail(p, "not a valid address");
}

static bool group_begins(struct parse *p, struct words w) {
    if (p->in_group) return fail(p, "a group inside a group");
    if (!w.words) return fail(p, "a group has no name");
    p->in_group = true;
    next(p);
    return true;
}

/* One member of the list, up to what separates it from the next. */
static bool member(struct parse *p, bool (*fn)(void *, const struct addrlist_item *), void *ctx) {
    struct words w = read_words(p);
    if (p->token == T_BAD) return fail(p, "malformed");
    if (p->token == ':') return group_begins(p, w);
    if (p->token == '<') {
        if (!read_angle(p)) return false;
    } else if (w.words + w.dots > 0 || p->token == '@') {
        if (!read_spec_after(p, w)) return false;
    } else {
        return true; /* empty: 4.4 allows it */
    }
    return tell(p, fn, ctx);
}

static bool separator(struct parse *p) {
    if (p->token == ';' && p->in_group) p->in_group = false;
    else if (p->token != ',') return false;
    next(p);
    return true;
}

bool addrlist_parse(struct str text, bool (*fn)(void *ctx, const struct addrlist_item *item), void *ctx,
                    struct addrlist_error *err) {
    struct parse p = {.text = text};
    bool ok = true;
    next(&p);
    while (ok && p.token != T_END) {
        bool opened = p.in_group;
        ok = member(&p, fn, ctx);
        if (!ok || p.token == T_END) break;
        if (!opened && p.in_group) continue; /* just behind the ":" of a group */
        ok = separator(&p) || fail(&p, "a comma is missing");
    }
    if (ok && p.in_group) ok = fail(&p, "a group is not closed by \";\"");
    if (!ok) *err = (struct addrlist_error){p.why, p.at};
    return ok;
}
