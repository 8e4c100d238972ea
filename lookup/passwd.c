#include "lookup/passwd.h"

#include "common/arena.h"

#include <stdlib.h>
#include <string.h>

enum { FIELDS = 7 };

struct entry {
    struct lookup_user user;
    size_t line; /* for "the first counts" */
};

struct passwd_table {
    char *text;
    size_t n, cap;
    struct entry *v;       /* by name, then line */
    struct entry **by_uid; /* by UID, then line */
};

/* %u becomes one component of a path. */
static bool name_is_safe(struct str s) {
    if (s.n == 0 || s.n > PASSWD_NAME_MAX || !str_is_print(s) || s.p[0] == '.' || s.p[0] == '+' ||
        s.p[0] == '-')
        return false;
    return str_chr(s, '/') < 0 && str_chr(s, ' ') < 0;
}

static bool split(struct str line, struct str field[FIELDS]) {
    for (int i = 0; i < FIELDS; i++) {
        ptrdiff_t colon = str_chr(line, ':');
        if ((colon < 0) != (i == FIELDS - 1)) return false;
        field[i] = colon < 0 ? line : str_sub(line, 0, (size_t)colon);
        line = colon < 0 ? STR_NONE : str_sub(line, (size_t)colon + 1, line.n);
    }
    return true;
}

static void take_line(struct passwd_table *p, struct str line, size_t number) {
    struct str f[FIELDS];
    uint64_t uid, gid;
    if (!split(line, f) || !name_is_safe(f[0])) return;
    /* (uid_t)-1 means "nobody at all" to setresuid(2). */
    if (!str_to_u64(f[2], UINT32_MAX - 1, &uid) || !str_to_u64(f[3], UINT32_MAX - 1, &gid)) return;
    p->v = xgrow(p->v, &p->cap, p->n + 1, sizeof *p->v);
    p->v[p->n++] =
        (struct entry){{.name = f[0], .home = f[5], .uid = (uint32_t)uid, .gid = (uint32_t)gid}, number};
}

static int by_name(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    int c = str_cmp(x->user.name, y->user.name);
    return c ? c : (x->line > y->line) - (x->line < y->line);
}

static int by_uid(const void *a, const void *b) {
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    if (x->user.uid != y->user.uid) return x->user.uid < y->user.uid ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

struct passwd_table *passwd_parse(struct str text) {
    struct passwd_table *p = xmalloc(sizeof *p);
    p->text = xmalloc(text.n + 1);
    if (text.n) memcpy(p->text, text.p, text.n);
    struct str rest = {p->text, text.n};
    for (size_t number = 1; rest.n; number++) {
        ptrdiff_t end = str_chr(rest, '\n');
        take_line(p, end < 0 ? rest : str_sub(rest, 0, (size_t)end), number);
        rest = end < 0 ? STR_NONE : str_sub(rest, (size_t)end + 1, rest.n);
    }
    if (p->n) qsort(p->v, p->n, sizeof *p->v, by_name);
    p->by_uid = xmalloc((p->n + 1) * sizeof(struct entry *));
    for (size_t i = 0; i < p->n; i++) p->by_uid[i] = &p->v[i];
    if (p->n) qsort(p->by_uid, p->n, sizeof *p->by_uid, by_uid);
    return p;
}

void passwd_free(struct passwd_table *p) {
    if (!p) return;
    free(p->by_uid);
    free(p->v);
    free(p->text);
    free(p);
}

size_t passwd_count(const struct passwd_table *p) {
    return p->n;
}

bool passwd_by_name(const struct passwd_table *p, struct str name, struct lookup_user *out) {
    size_t low = 0, high = p->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (str_cmp(p->v[mid].user.name, name) < 0) low = mid + 1;
        else high = mid;
    }
    if (low == p->n || !str_eq(p->v[low].user.name, name)) return false;
    *out = p->v[low].user;
    return true;
}

bool passwd_by_uid(const struct passwd_table *p, uint32_t uid, struct lookup_user *out) {
    size_t low = 0, high = p->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (p->by_uid[mid]->user.uid < uid) low = mid + 1;
        else high = mid;
    }
    if (low == p->n || p->by_uid[low]->user.uid != uid) return false;
    *out = p->by_uid[low]->user;
    return true;
}
