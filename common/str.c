#include "common/str.h"

#include "common/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static unsigned char lower(char c) {
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u + 32) : u;
}

struct str str_of(const char *cstr) {
    return cstr ? (struct str){cstr, strlen(cstr)} : STR_NONE;
}

bool str_eq(struct str a, struct str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eq_nocase(struct str a, struct str b) {
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i])) return false;
    return true;
}

bool str_starts_nocase(struct str s, struct str prefix) {
    return s.n >= prefix.n && str_eq_nocase((struct str){s.p, prefix.n}, prefix);
}

bool str_ends_nocase(struct str s, struct str suffix) {
    return s.n >= suffix.n && str_eq_nocase(str_sub(s, s.n - suffix.n, s.n), suffix);
}

int str_cmp(struct str a, struct str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int r = n ? memcmp(a.p, b.p, n) : 0;
    if (r) return r;
    return (a.n > b.n) - (a.n < b.n);
}

ptrdiff_t str_chr(struct str s, char c) {
    const char *hit = s.n ? memchr(s.p, c, s.n) : NULL;
    return hit ? hit - s.p : -1;
}

struct str str_sub(struct str s, size_t from, size_t to) {
    if (to > s.n) to = s.n;
    if (from > to) from = to;
    return (struct str){s.p ? s.p + from : NULL, to - from};
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s) {
    while (s.n && is_blank(s.p[0])) s = str_sub(s, 1, s.n);
    while (s.n && is_blank(s.p[s.n - 1])) s.n--;
    return s;
}

bool str_word(struct str *rest, char sep, struct str *word) {
    struct str s = *rest;
    size_t i = 0;
    while (i < s.n && (is_blank(s.p[i]) || (sep && s.p[i] == sep))) i++;
    size_t from = i;
    while (i < s.n && !is_blank(s.p[i]) && !(sep && s.p[i] == sep)) i++;
    *word = str_sub(s, from, i);
    *rest = str_sub(s, i, s.n);
    return word->n > 0;
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *out) {
    uint64_t v = 0;
    if (s.n == 0) return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        uint64_t d = (uint64_t)(s.p[i] - '0');
        if (v > max / 10 || (v == max / 10 && d > max % 10)) return false;
        v = v * 10 + d;
    }
    *out = v;
    return true;
}

bool str_hex_to_u64(struct str s, uint64_t *out) {
    uint64_t v = 0;
    if (s.n == 0 || s.n > 16) return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = lower(s.p[i]);
        if (c >= '0' && c <= '9') v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f') v = v << 4 | (uint64_t)(c - 'a' + 10);
        else return false;
    }
    *out = v;
    return true;
}

struct str str_dup(struct arena *a, struct str s) {
    char *p = arena_alloc_bytes(a, s.n + 1);
    if (!p) return STR_NONE;
    if (s.n) memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}

const char *str_cstr(struct arena *a, struct str s) {
    return str_dup(a, s).p;
}

bool str_is_print(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || (unsigned char)s.p[i] > 0x7e) return false;
    return true;
}

/* Only the last '*' is ever gone back to: what an earlier one could take, the later one can take as well. */
bool pattern_match(struct str p, struct str t) {
    size_t i = 0, k = 0, star = 0, from = 0;
    bool any = false;
    while (k < t.n) {
        if (i < p.n && p.p[i] == '*') {
            any = true;
            star = ++i;
            from = k;
        } else if (i < p.n && (p.p[i] == '?' || lower(p.p[i]) == lower(t.p[k]))) {
            i++;
            k++;
        } else if (any) {
            i = star;
            k = ++from;
        } else {
            return false;
        }
    }
    while (i < p.n && p.p[i] == '*') i++;
    return i == p.n;
}

enum { NEAR_MAX = 64 };

/* Edit distance with swaps of neighbours (a word typed wrong), on at most NEAR_MAX octets. */
static size_t distance(struct str a, struct str b) {
    size_t rows[3][NEAR_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.n; j++) last[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t best = last[j - 1] + (a.p[i - 1] != b.p[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.n];
}

const char *str_nearest(struct str word, const char *const *words) {
    const char *found = NULL;
    if (word.n > NEAR_MAX) return NULL;
    size_t best = word.n / 3 > 2 ? word.n / 3 + 1 : 3; /* further away it is another word, not a slip */
    for (; *words; words++) {
        size_t d = distance(word, str_of(*words));
        if (d >= best) continue;
        best = d;
        found = *words;
    }
    return found;
}

/* FNV-1a with a seed and a final mix, so that a client that can choose names cannot choose buckets. */
static uint64_t mix(uint64_t h) {
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdULL;
    h ^= h >> 33;
    return h;
}

uint64_t str_hash(struct str s, uint64_t seed) {
    uint64_t h = 0xcbf29ce484222325ULL ^ seed;
    for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3ULL;
    return mix(h);
}

uint64_t str_hash_nocase(struct str s, uint64_t seed) {
    uint64_t h = 0xcbf29ce484222325ULL ^ seed;
    for (size_t i = 0; i < s.n; i++) h = (h ^ lower(s.p[i])) * 0x100000001b3ULL;
    return mix(h);
}

struct buf buf_on(char *mem, size_t max) {
    return (struct buf){mem, 0, max, false};
}

struct buf buf_in(struct arena *a, size_t max) {
    char *p = arena_alloc_bytes(a, max);
    return (struct buf){p, 0, p ? max : 0, p == NULL};
}

void buf_add(struct buf *b, struct str s) {
    if (b->failed || s.n > b->max - b->n) {
        b->failed = true;
        return;
    }
    if (s.n) memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
}

void buf_adds(struct buf *b, const char *cstr) {
    buf_add(b, str_of(cstr));
}

void buf_addc(struct buf *b, char c) {
    buf_add(b, (struct str){&c, 1});
}

void buf_addu(struct buf *b, uint64_t n) {
    char digits[20];
    size_t i = sizeof digits;
    do digits[--i] = (char)('0' + n % 10);
    while (n /= 10);
    buf_add(b, (struct str){digits + i, sizeof digits - i});
}

void buf_addf(struct buf *b, const char *fmt, ...) {
    if (b->failed) return;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(b->p ? b->p + b->n : NULL, b->max - b->n, fmt, ap);
    va_end(ap);
    /* vsnprintf needs room for its NUL, so a text that fits exactly counts as too long: one byte of slack. */
    if (n < 0 || (size_t)n >= b->max - b->n) b->failed = true;
    else b->n += (size_t)n;
}

void buf_add_escaped(struct buf *b, struct str s) {
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c > 0x7e || c == '\\' || c == '"') {
            char esc[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
            buf_add(b, (struct str){esc, 4});
        } else {
            buf_addc(b, (char)c);
        }
    }
}

struct str buf_str(const struct buf *b) {
    return (struct str){b->p, b->n};
}

const char *buf_cstr(struct buf *b) {
    if (b->max == 0) return "";
    if (b->n == b->max) b->n--;
    b->p[b->n] = '\0';
    return b->p;
}
