/* aliases.c: the parser of alias tables.
 *
 * A logical line is `name: target, target ...`; it goes on in the lines after it that begin with white space.
 * Lines that are empty or whose first visible octet is # are passed over, also in the middle of a logical
 * line, and # after white space begins a comment too. Text in parentheses is a comment (RFC 5322 3.2.2). A
 * parser over octets with one cursor, no recursion; everything it keeps has a fixed maximum. */
#include "lookup/aliases.h"

#include "common/addr.h"
#include "common/arena.h"
#include "lookup/values.h"

#include <stdlib.h>

enum {
    ITEM_MAX = 1024,                      /* octets of one target as written */
    NAME_MAX_OCTETS = ADDR_LOCAL_MAX - 1, /* lookup must be able to write \\name as a local part */
    SCRATCH_MAX = 16u << 20,              /* addresses of one entry */
};

struct scan {
    struct str text;
    size_t at;
    unsigned line;
    struct arena *scratch; /* emptied after each entry */
    struct buf value;
    struct table_error *err;
};

static bool fail(struct scan *s, struct str word, const char *text) {
    return table_fail(s->err, s->line, word, text);
}

static int peek(const struct scan *s) {
    return s->at < s->text.n ? (unsigned char)s->text.p[s->at] : -1;
}

static bool is_blank(int c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static size_t line_end(const struct scan *s, size_t from) {
    ptrdiff_t n = str_chr(str_sub(s->text, from, s->text.n), '\n');
    return n < 0 ? s->text.n : from + (size_t)n;
}

/* Is [from, to) empty, blank or a comment? */
static bool says_nothing(const struct scan *s, size_t from, size_t to) {
    while (from < to && is_blank((unsigned char)s->text.p[from])) from++;
    return from == to || s->text.p[from] == '#';
}

/* The cursor is at a LF or at the end. Moves to the first octet of the next line that says something; false
 * at the end of the text. */
static bool next_line(struct scan *s) {
    while (s->at < s->text.n) {
        size_t from = s->at + 1, to = line_end(s, from);
        s->at = from;
        s->line++;
        if (from < s->text.n && !says_nothing(s, from, to)) return true;
        s->at = to;
    }
    return false;
}

/* At a LF: goes on with the continuation line, if there is one. */
static bool continues(struct scan *s) {
    struct scan ahead = *s;
    if (!next_line(&ahead) || !is_blank(peek(&ahead))) return false;
    s->at = ahead.at;
    s->line = ahead.line;
    return true;
}

/* A comment in parentheses; they nest. */
static bool skip_comment(struct scan *s) {
    unsigned depth = 0;
    do {
        int c = peek(s);
        if (c < 0 || c == '\n') return fail(s, STR("("), "the comment has no closing parenthesis; write it");
        if (c == '\\' && s->at + 1 < s->text.n && s->text.p[s->at + 1] != '\n') s->at++;
        else if (c == '(') depth++;
        else if (c == ')') depth--;
        s->at++;
    } while (depth);
    return true;
}

/* Past white space, comments, and line ends that are continued. False only for a comment that does not close.
 * */
static bool skip_space(struct scan *s) {
    for (;;) {
        int c = peek(s);
        if (is_blank(c)) s->at++;
        else if (c == '#' && s->at && is_blank((unsigned char)s->text.p[s->at - 1]))
            s->at = line_end(s, s->at);
        else if (c == '(') {
            if (!skip_comment(s)) return false;
        } else if (c != '\n' || !continues(s)) return true;
    }
}

static bool at_end(const struct scan *s) {
    int c = peek(s);
    return c < 0 || c == '\n';
}

/* The cursor is at a quote: copies up to and with the closing one, escapes as they stand. */
static bool copy_quoted(struct scan *s, struct buf *item) {
    size_t from = s->at;
    bool escaped = false;
    for (;;) {
        int c = peek(s);
        if (c < 0 || c == '\n')
            return fail(s, str_sub(s->text, from, s->at), "the quote is not closed on this line; close it");
        buf_addc(item, (char)c);
        s->at++;
        if (c == '"' && !escaped && s->at - 1 > from) return true;
        escaped = c == '\\' && !escaped;
    }
}

/* One target as written, without comments and outer white space; the cursor ends at the comma or the end.
 * White space within becomes one space. */
static bool read_item(struct scan *s, struct buf *item) {
    while (!at_end(s) && peek(s) != ',') {
        size_t before = s->at;
        if (peek(s) == '"') {
            if (!copy_quoted(s, item)) return false;
            continue;
        }
        if (!skip_space(s)) return false;
        if (s->at != before) {
            if (!at_end(s) && peek(s) != ',') buf_addc(item, ' ');
            continue;
        }
        buf_addc(item, (char)peek(s));
        s->at++;
    }
    if (item->failed)
        return fail(s, buf_str(item), "one target is longer than 1024 octets; is a comma missing?");
    return true;
}

/* Where the quoted string that begins text ends (index after the closing quote); the item was read by
 * copy_quoted, so there is one. */
static size_t quoted_end(struct str text) {
    size_t i = 1;
    while (i < text.n && text.p[i] != '"') i += text.p[i] == '\\' ? 2 : 1;
    return i < text.n ? i + 1 : text.n;
}

static void unquote(struct buf *out, struct str quoted) {
    for (size_t i = 1; i + 1 < quoted.n; i++) {
        if (quoted.p[i] == '\\' && i + 2 < quoted.n) i++;
        buf_addc(out, quoted.p[i]);
    }
}

/* `Some Name <user@example.org>`: what is between the last < and the closing >. */
static struct str without_phrase(struct str text) {
    if (text.n < 2 || text.p[text.n - 1] != '>' || text.p[0] == '|') return text;
    for (size_t i = text.n - 1; i-- > 0;)
        if (text.p[i] == '<') return str_trim(str_sub(text, i + 1, text.n - 1));
    return text;
}

/* What names no mailbox. These are known words of the language, so each says that it was understood. */
static const struct {
    const char *prefix, *text;
} unsupported[] = {
    {"|", "delivery to a command is not supported yet; name a user or an address instead, or put # before "
          "the line"},
    {"/", "delivery to a file is not supported yet; name a user whose mailbox it shall be, or put # before "
          "the line"},
    {":include:", ":include: is not supported yet; write the addresses here, separated by commas, or put # "
                  "before the line"},
};

static bool refuse_unsupported(struct scan *s, struct str text) {
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (str_starts_nocase(text, str_of(unsupported[i].prefix))) return fail(s, text, unsupported[i].text);
    if (text.n && text.p[0] == ':')
        return fail(s, text, "a target cannot begin with a colon; name a user or an address");
    return true;
}

static void add_address(struct scan *s, bool final, const struct addr *to) {
    if (to->domain.n) alias_value_add(&s->value, ALIAS_ADDRESS, addr_text(s->scratch, to));
    else alias_value_add(&s->value, final ? ALIAS_FINAL : ALIAS_NAME, to->local);
}

static bool add_parsed(struct scan *s, bool final, struct str text) {
    struct addr to;
    const char *why;
    char why_text[256];
    bool parsed = addr_parse(text, ADDR_NO_DOMAIN, s->scratch, &to, &why);
    if (parsed && to.domain.n == 0 && to.local.n > NAME_MAX_OCTETS)
        return fail(s, text, "a name has at most 63 octets");
    if (parsed) {
        add_address(s, final, &to);
        return true;
    }
    struct buf b = BUF(why_text);
    if (str_chr(text, ' ') >= 0 && str_chr(text, '"') < 0)
        buf_adds(&b, "two words: separate targets with a comma");
    else buf_addf(&b, "this is no user name and no address: %s", why);
    return fail(s, text, buf_cstr(&b));
}

/* What stood in quotes as a whole: the quotes protect it from the grammar of addresses, so it is a local part
 * of any printable octets, unless it reads as an address with a domain. */
static bool add_unquoted(struct scan *s, bool final, struct str text) {
    struct addr to = {.local = text};
    if (str_chr(text, '@') >= 0) return add_parsed(s, final, text);
    if (text.n == 0 || text.n > NAME_MAX_OCTETS || !str_is_print(text))
        return fail(s, text, "a name in quotes has 1 to 63 printable octets");
    add_address(s, final, &to);
    return true;
}

static bool take_item(struct scan *s, struct str item) {
    char mem[ITEM_MAX];
    struct buf plain = BUF(mem);
    struct str text = without_phrase(item);
    bool quoted = text.n >= 2 && text.p[0] == '"' && quoted_end(text) == text.n;
    if (quoted) {
        unquote(&plain, text);
        text = buf_str(&plain);
    }
    if (!refuse_unsupported(s, text)) return false;
    bool final = text.n > 1 && text.p[0] == '\\';
    if (final) text = str_sub(text, 1, text.n);
    return quoted ? add_unquoted(s, final, text) : add_parsed(s, final, text);
}

static bool read_targets(struct scan *s, struct str name) {
    size_t count = 0;
    for (;;) {
        char mem[ITEM_MAX];
        struct buf item = BUF(mem);
        if (!skip_space(s)) return false;
        if (at_end(s)) break;
        if (peek(s) == ',') {
            s->at++;
            continue;
        }
        if (!read_item(s, &item) || !take_item(s, buf_str(&item))) return false;
        if (++count > ALIAS_TARGETS_MAX)
            return fail(s, name, "this alias stands for more than 10000 addresses; split it into several");
    }
    if (count == 0)
        return fail(s, name, "this alias stands for nothing; write a user or an address after the colon");
    if (s->value.failed)
        return fail(s, name, "the addresses of this alias take more than 1 MiB; split it into several");
    return true;
}

/* The name up to the colon, unquoted; a name is compared without regard to case. */
static bool read_name(struct scan *s, struct buf *name) {
    char mem[ITEM_MAX];
    struct buf raw = BUF(mem);
    while (!at_end(s) && peek(s) != ':') {
        if (peek(s) == '"') {
            if (!copy_quoted(s, &raw)) return false;
            continue;
        }
        buf_addc(&raw, (char)peek(s));
        s->at++;
    }
    struct str text = str_trim(buf_str(&raw));
    if (raw.failed || at_end(s))
        return fail(s, text, "there is no colon after the name; write \"name: target\"");
    s->at++;
    if (text.n >= 2 && text.p[0] == '"' && quoted_end(text) == text.n) {
        char plain_mem[ITEM_MAX];
        struct buf plain = BUF(plain_mem);
        unquote(&plain, text);
        table_lower(name, buf_str(&plain));
        return true;
    }
    if (str_chr(text, '@') >= 0)
        return fail(s, text,
                    "an alias has no domain; leave out \"@\" and what follows, or use the route table");
    if (str_chr(text, ' ') >= 0 || str_chr(text, '\t') >= 0)
        return fail(s, text, "a name with a space must be in quotes; or is a colon missing?");
    table_lower(name, text);
    return true;
}

static bool read_entry(struct scan *s, const struct table_sink *sink) {
    char mem[ITEM_MAX];
    struct buf name = BUF(mem);
    unsigned line = s->line;
    arena_reset(s->scratch);
    s->value.n = 0;
    s->value.failed = false;
    alias_value_begin(&s->value);
    if (is_blank(peek(s)))
        return fail(s, STR_NONE,
                    "this line begins with white space, but there is no line before it to go on with");
    if (!read_name(s, &name)) return false;
    struct str key = buf_str(&name);
    if (key.n == 0 || key.n > NAME_MAX_OCTETS || !str_is_print(key))
        return fail(s, key, "the name of an alias has 1 to 63 printable ASCII octets");
    if (!read_targets(s, key)) return false;
    return sink->entry(sink->ctx, line, key, buf_str(&s->value), s->err);
}

bool aliases_parse(struct str text, const struct table_sink *sink, struct table_error *err) {
    char *mem = xmalloc(ALIAS_VALUE_MAX);
    struct scan s = {.text = text, .line = 1, .err = err, .value = buf_on(mem, ALIAS_VALUE_MAX)};
    s.scratch = arena_new(SCRATCH_MAX);
    bool ok = true;
    bool more =
        text.n > 0 && (!says_nothing(&s, 0, line_end(&s, 0)) || (s.at = line_end(&s, 0), next_line(&s)));
    while (more && ok) {
        ok = read_entry(&s, sink);
        more = next_line(&s);
    }
    arena_free(s.scratch);
    free(mem);
    return ok;
}
