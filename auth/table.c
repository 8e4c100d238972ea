#include "auth/table.h"

#include "auth/saslprep.h"
#include "common/arena.h"

#include <stdlib.h>
#include <string.h>

struct table {
    char *text;
    size_t size;
    size_t n, cap;
    struct table_entry *v;
    struct verifier like; /* of the first entry: what a login that does not exist costs */
};

bool table_login_fits(struct str login) {
    char mem[LOGIN_MAX + 1];
    struct buf b = BUF(mem);
    if (!login_is_sound(login) || login.p[0] == '#' || login.p[0] == '-') return false;
    if (!saslprep(&b, login) || !str_eq(buf_str(&b), login)) return false; /* it would never be found */
    return str_chr(login, ':') < 0 && str_chr(login, ' ') < 0;
}

static bool read_verifiers(struct str rest, struct verifier *v, const char **why) {
    struct str word;
    memset(v, 0, sizeof *v);
    *why = "has no verifier behind the colon; postern passwd makes one";
    if (!str_word(&rest, '\0', &word)) return false;
    do {
        if (!verifier_add(v, word, why)) return false;
    } while (str_word(&rest, '\0', &word));
    return true;
}

static bool take_line(struct table *t, struct str line, unsigned number, const char **why) {
    struct verifier v;
    ptrdiff_t colon = str_chr(line, ':');
    if (str_trim(line).n == 0 || line.p[0] == '#') return true;
    struct table_entry e = {.line = number};
    *why = "is too long: at most 1024 octets";
    if (line.n > TABLE_LINE_MAX) return false;
    *why = "has no colon: LOGIN:VERIFIER is expected";
    if (colon < 0) return false;
    e.login = str_sub(line, 0, (size_t)colon);
    e.verifiers = str_trim(str_sub(line, (size_t)colon + 1, line.n));
    *why = "has no login in front of the colon: 1 to 255 octets of UTF-8 without white space";
    if (!table_login_fits(e.login) || !read_verifiers(e.verifiers, &v, why)) return false;
    if (t->n == 0) t->like = v;
    t->v = xgrow(t->v, &t->cap, t->n + 1, sizeof *t->v);
    t->v[t->n++] = e;
    explicit_bzero(&v, sizeof v);
    return true;
}

static int by_login(const void *a, const void *b) {
    const struct table_entry *x = a, *y = b;
    int c = str_cmp(x->login, y->login);
    return c ? c : (x->line > y->line) - (x->line < y->line);
}

/* The line that says a login again, or 0. */
static unsigned twice(const struct table *t) {
    for (size_t i = 1; i < t->n; i++)
        if (str_eq(t->v[i - 1].login, t->v[i].login)) return t->v[i].line;
    return 0;
}

static bool blame(struct table *t, const char *file, unsigned line, const char *what, char *why,
                  size_t size) {
    struct buf b = buf_on(why, size);
    buf_add_escaped(&b, str_sub(str_of(file), 0, 200));
    buf_addf(&b, ":%u: this line %s", line, what);
    buf_cstr(&b);
    table_free(t);
    return false;
}

static bool read_lines(struct table *t, const char *file, char *why, size_t why_size) {
    struct str rest = {t->text, t->size};
    const char *what = "";
    for (unsigned number = 1; rest.n; number++) {
        ptrdiff_t end = str_chr(rest, '\n');
        struct str line = end < 0 ? rest : str_sub(rest, 0, (size_t)end);
        if (!take_line(t, line, number, &what)) return blame(t, file, number, what, why, why_size);
        rest = end < 0 ? STR_NONE : str_sub(rest, (size_t)end + 1, rest.n);
    }
    if (t->n) qsort(t->v, t->n, sizeof *t->v, by_login);
    unsigned again = twice(t);
    return !again ||
           blame(t, file, again, "names a login that stands further up already: remove one", why, why_size);
}

struct table *table_parse(struct str text, const char *file, char *why, size_t why_size) {
    struct table *t = xmalloc(sizeof *t);
    t->text = xmalloc(text.n + 1);
    t->size = text.n;
    if (text.n) memcpy(t->text, text.p, text.n);
    return read_lines(t, file, why, why_size) ? t : NULL;
}

void table_free(struct table *t) {
    if (!t) return;
    explicit_bzero(t->text, t->size);
    free(t->text);
    free(t->v);
    explicit_bzero(t, sizeof *t);
    free(t);
}

size_t table_count(const struct table *t) {
    return t->n;
}

const struct table_entry *table_at(const struct table *t, size_t i) {
    return i < t->n ? &t->v[i] : NULL;
}

static const struct table_entry *search(const struct table *t, struct str login) {
    struct table_entry key = {.login = login};
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (str_cmp(t->v[mid].login, key.login) < 0) low = mid + 1;
        else high = mid;
    }
    return low < t->n && str_eq(t->v[low].login, login) ? &t->v[low] : NULL;
}

bool table_find(const struct table *t, struct str secret, struct str login, struct verifier *v) {
    const struct table_entry *e = t ? search(t, login) : NULL;
    const char *why;
    struct verifier dummy;
    verifier_dummy(&dummy, t && t->n ? &t->like : NULL, secret, login);
    if (!e || !read_verifiers(e->verifiers, v, &why)) {
        *v = dummy;
        return false;
    }
    /* A login without a SCRAM verifier answers SCRAM like one that does not exist. */
    if (!v->has_scram) v->scram = dummy.scram;
    return true;
}
