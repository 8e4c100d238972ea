#include "deliver-smtp/reply.h"

#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Three digits, the first from 2 to 5, then "-", space or the end (RFC 5321 4.2). 0: not so. */
static unsigned code_of(struct str line) {
    if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || !is_digit(line.p[1]) || !is_digit(line.p[2]))
        return 0;
    if (line.n > 3 && line.p[3] != '-' && line.p[3] != ' ') return 0;
    return (unsigned)(line.p[0] - '0') * 100 + (unsigned)(line.p[1] - '0') * 10 + (unsigned)(line.p[2] - '0');
}

/* Length of an enhanced status code and the space behind it, or 0 (RFC 2034 4). */
static size_t enhanced(struct str s) {
    size_t dots = 0, i = 0;
    for (; i < s.n && (is_digit(s.p[i]) || s.p[i] == '.'); i++) dots += s.p[i] == '.';
    return dots == 2 && i < s.n && s.p[i] == ' ' ? i + 1 : 0;
}

/* Lines after the first repeat the enhanced code (RFC 2034 4): once is enough. */
static struct str without_repetition(const struct client_reply *r, struct str s) {
    struct str have = {r->text, r->text_n};
    size_t n = enhanced(have);
    if (n && str_eq(str_sub(s, 0, n), str_sub(have, 0, n))) return str_sub(s, n, s.n);
    return s;
}

static void add_text(struct client_reply *r, struct str s) {
    if (r->text_n) {
        s = without_repetition(r, s);
        if (s.n && r->text_n < REPLY_TEXT) r->text[r->text_n++] = ' ';
    }
    for (size_t i = 0; i < s.n && r->text_n < REPLY_TEXT; i++) {
        char c = s.p[i] == '\t' ? ' ' : s.p[i];
        r->text[r->text_n++] = c >= ' ' && c <= '~' ? c : '?';
    }
}

static enum client_reply_verdict take_line(struct client_reply *r, struct str *text, const char **why) {
    struct str line = {r->line, r->n};
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    r->n = 0;
    unsigned code = code_of(line);
    *why = "a line without a reply code";
    if (!code) return REPLY_BAD;
    *why = "a reply of lines with different codes";
    if (r->code && code != r->code) return REPLY_BAD;
    *why = "a reply of too many lines";
    if (++r->lines > REPLY_LINES) return REPLY_BAD;
    r->code = code;
    *text = str_sub(line, 4, line.n);
    add_text(r, *text);
    if (line.n > 3 && line.p[3] == '-') return REPLY_MORE;
    r->complete = true;
    return REPLY_DONE;
}

enum client_reply_verdict client_reply_feed(struct client_reply *r, struct str *in, struct str *line,
                                            const char **why) {
    if (r->complete) {
        r->complete = false;
        r->code = r->lines = 0;
        r->octets = r->text_n = r->n = 0;
    }
    ptrdiff_t end = str_chr(*in, '\n');
    size_t n = end < 0 ? in->n : (size_t)end;
    size_t keep = n < REPLY_LINE - r->n ? n : REPLY_LINE - r->n;
    if (keep) memcpy(r->line + r->n, in->p, keep);
    r->n += keep;
    r->octets += n;
    *in = str_sub(*in, end < 0 ? n : n + 1, in->n);
    *why = "a reply that does not end";
    if (r->octets > REPLY_OCTETS) return REPLY_BAD;
    return end < 0 ? REPLY_NEED : take_line(r, line, why);
}

bool client_reply_begins(const struct client_reply *r) {
    return r->complete || (r->lines == 0 && r->octets == 0);
}

struct status client_reply_status(const struct client_reply *r) {
    struct status s = status_from_reply(r->code, (struct str){r->text, r->text_n});
    s.remote = true;
    return s;
}
