/* str.h: strings that carry their length, and builders that carry their maximum.
 *
 * A `struct str` is a view: it owns nothing, is not NUL-terminated, and is valid as long as the memory behind
 * it. A `struct buf` builds bytes in memory of the caller with a hard maximum; the first append that does not
 * fit sets `failed`, later appends do nothing, so a caller checks once, at the end. */
#ifndef POSTERN_COMMON_STR_H
#define POSTERN_COMMON_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

struct str {
    const char *p;
    size_t n;
};

#define STR(lit) ((struct str){(lit), sizeof(lit) - 1})
#define STR_NONE ((struct str){NULL, 0})
/* For printf: printf("%.*s", STR_ARGS(s)). */
#define STR_ARGS(s) (int)(s).n, (s).n ? (s).p : ""

struct str str_of(const char *cstr);               /* view of a NUL-terminated string; NULL gives the empty view */
bool str_eq(struct str a, struct str b);           /* same bytes */
bool str_eq_nocase(struct str a, struct str b);    /* same bytes, ASCII letters without regard to case */
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends_nocase(struct str s, struct str suffix);
int str_cmp(struct str a, struct str b);           /* memcmp order, shorter first */
ptrdiff_t str_chr(struct str s, char c);           /* index of the first c, or -1 */
struct str str_sub(struct str s, size_t from, size_t to); /* [from, to), clamped to s */
struct str str_trim(struct str s);                 /* without space, tab, CR, LF at both ends */
/* Cuts the next word (run of bytes that are not space, tab or, when given, sep) off *rest; false when none is left. */
bool str_word(struct str *rest, char sep, struct str *word);
/* All or nothing: decimal digits only, no sign, no space, at most max. False leaves *out alone. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *out);
bool str_hex_to_u64(struct str s, uint64_t *out);  /* 1..16 hex digits */
/* Copies into the arena, adds a NUL after the end (not counted). On failure (arena limit) returns STR_NONE for
 * non-empty input. */
struct str str_dup(struct arena *a, struct str s);
const char *str_cstr(struct arena *a, struct str s); /* NUL-terminated copy, NULL when the arena is full */
/* Does the whole text match? '*' stands for any octets, '?' for one; letters without regard to case. Takes time in
 * proportion to the product of the lengths at most. */
bool pattern_match(struct str pattern, struct str text);
/* The one of the words (up to NULL) that was meant by a word typed wrong; NULL: none is near. */
const char *str_nearest(struct str word, const char *const *words);
bool str_is_print(struct str s);                   /* only 0x20..0x7e */
uint64_t str_hash(struct str s, uint64_t seed);    /* keyed by seed; not cryptographic, for hash tables */
uint64_t str_hash_nocase(struct str s, uint64_t seed);

struct buf {
    char *p;
    size_t n;    /* used */
    size_t max;  /* capacity of p */
    bool failed; /* an append did not fit; the content up to n is what did */
};

#define BUF(array) ((struct buf){(array), 0, sizeof(array), false})
struct buf buf_on(char *mem, size_t max);
struct buf buf_in(struct arena *a, size_t max);     /* memory from the arena; failed at once when it is full */
void buf_add(struct buf *b, struct str s);
void buf_adds(struct buf *b, const char *cstr);
void buf_addc(struct buf *b, char c);
void buf_addu(struct buf *b, uint64_t n);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends s with every byte outside 0x20..0x7e, and '\\' and '"', as \xHH: safe in a log line, a reply, a terminal. */
void buf_add_escaped(struct buf *b, struct str s);
struct str buf_str(const struct buf *b);
/* NUL-terminates (the NUL is not counted); always succeeds when max > 0, cutting one byte when full. */
const char *buf_cstr(struct buf *b);

#endif
