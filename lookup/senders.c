#include "lookup/senders.h"

#include "common/arena.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    struct str login, addresses; /* views */
    unsigned line;
};

struct senders {
    char *text;
    size_t n, cap;
    struct entry *v; /* by login */
};

static bool is_pattern(struct str word, struct arena *a, struct addr *out, const char **why) {
    *out = (struct addr){0};
    if (str_eq(word, STR("*"))) return true;
    if (word.n > 1 && word.p[0] == '@')
        return domain_parse(str_sub(word, 1, word.n), 0, a, &out->domain, why);
    return addr_parse(word, ADDR_UTF8, a, out, why);
}

static bool check_addresses(struct str rest, const char **why) {
    struct arena *a = arena_new(8192);
    struct str word;
    struct addr addr;
    bool ok = true;
    size_t n = 0;
    while (ok && str_word(&rest, ',', &word)) {
        arena_reset(a);
        ok = is_pattern(word, a, &addr, why);
        n++;
    }
    arena_free(a);
    if (ok && !n) *why = "no address behind the colon";
    return ok && n;
}

static bool take_line(struct senders *s, struct str line, unsigned number, const char **why) {
    struct str trimmed = str_trim(line);
    ptrdiff_t colon = str_chr(line, ':');
    if (!trimmed.n || trimmed.p[0] == '#') return true;
    *why = "the line is too long";
    if (line.n > SENDERS_LINE_MAX) return false;
    *why = "LOGIN: ADDRESS ... is expected";
    if (colon <= 0) return false;
    struct entry e = {.login = str_trim(str_sub(line, 0, (size_t)colon)), .line = number};
    e.addresses = str_trim(str_sub(line, (size_t)colon + 1, line.n));
    if (!e.login.n || !check_addresses(e.addresses, why)) return false;
    s->v = xgrow(s->v, &s->cap, s->n + 1, sizeof *s->v);
    s->v[s->n++] = e;
    return true;
}

static int by_login(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    int c = str_cmp(x->login, y->login);
    return c ? c : (x->line > y->line) - (x->line < y->line);
}

static struct senders *blame(struct senders *s, const char *file, unsigned line, const char *what, char *why,
                             size_t size) {
    struct buf b = buf_on(why, size);
    buf_add_escaped(&b, str_sub(str_of(file), 0, 200));
    buf_addf(&b, ":%u: %s", line, what);
    buf_cstr(&b);
    senders_free(s);
    return NULL;
}

struct senders *senders_parse(struct str text, const char *file, char *why, size_t why_size) {
    struct senders *s = xmalloc(sizeof *s);
    const char *what = "";
    s->text = xmalloc(text.n + 1);
    if (text.n) memcpy(s->text, text.p, text.n);
    struct str rest = {s->text, text.n};
    for (unsigned number = 1; rest.n; number++) {
        ptrdiff_t end = str_chr(rest, '\n');
        struct str line = end < 0 ? rest : str_sub(rest, 0, (size_t)end);
        if (!take_line(s, line, number, &what)) return blame(s, file, number, what, why, why_size);
        rest = end < 0 ? STR_NONE : str_sub(rest, (size_t)end + 1, rest.n);
    }
    if (s->n) qsort(s->v, s->n, sizeof *s->v, by_login);
    for (size_t i = 1; i < s->n; i++)
        if (str_eq(s->v[i - 1].login, s->v[i].login))
            return blame(s, file, s->v[i].line,
                         "this login stands further up already: put its addresses into one line", why,
                         why_size);
    return s;
}

void senders_free(struct senders *s) {
    if (!s) return;
    free(s->text);
    free(s->v);
    free(s);
}

static const struct entry *find(const struct senders *s, struct str login) {
    struct entry key = {.login = login};
    size_t low = 0, high = s ? s->n : 0;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (str_cmp(s->v[mid].login, key.login) < 0) low = mid + 1;
        else high = mid;
    }
    return s && low < s->n && str_eq(s->v[low].login, login) ? &s->v[low] : NULL;
}

/* Is the local part this name, or this name with an extension? */
static bool names(const struct lookup_rules *r, struct str local, struct str name) {
    if (str_eq_nocase(local, name)) return true;
    return r->delimiter && local.n > name.n && local.p[name.n] == r->delimiter &&
           str_eq_nocase(str_sub(local, 0, name.n), name);
}

static bool owns(const struct lookup_rules *r, struct str login, const struct addr *sender, struct arena *a) {
    struct addr own;
    const char *why;
    if (str_chr(login, '@') < 0) return lookup_is_ours(r, sender->domain) && names(r, sender->local, login);
    if (!addr_parse(login, ADDR_UTF8, a, &own, &why)) return false;
    return str_eq(own.domain, sender->domain) && names(r, sender->local, own.local);
}

static bool listed(struct str rest, const struct addr *sender, struct arena *a) {
    struct str word;
    struct addr p;
    const char *why;
    while (str_word(&rest, ',', &word)) {
        if (str_eq(word, STR("*"))) return true;
        if (!is_pattern(word, a, &p, &why) || !str_eq(p.domain, sender->domain)) continue;
        if (word.p[0] == '@' || str_eq_nocase(p.local, sender->local)) return true;
    }
    return false;
}

bool sender_allowed(const struct lookup_rules *r, const struct senders *s, struct str login,
                    const struct addr *sender, struct arena *a) {
    if (addr_is_null(sender)) return true;
    if (owns(r, login, sender, a)) return true;
    const struct entry *e = find(s, login);
    return e && listed(e->addresses, sender, a);
}
