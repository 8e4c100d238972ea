/* token.h: short words in replies that lead back to the line of a file that made us say so. A token is a
 * hash of what decided, so that nothing has to be kept: `postern explain` computes the tokens of all that
 * could have decided, and compares. */
#ifndef POSTERN_COMMON_TOKEN_H
#define POSTERN_COMMON_TOKEN_H

#include "common/str.h"

enum { TOKEN_LEN = 7 }; /* "P" and 30 bits: among 1000 rules two are alike once in 2000 configurations */

struct token {
    char c[TOKEN_LEN + 1]; /* NUL-terminated */
};

/* kind: "rule", "route", "reason"; what: the text of the rule, the key of the table, a word of token.c. */
struct token token_of(struct str kind, struct str what);
/* Reads "[P123456-2]" as people copy it: with or without brackets, capitals, and the number of the value
 * (0: none). */
bool token_parse(struct str text, struct token *out, unsigned *value);
void token_add(struct buf *b, struct token t, unsigned value); /* " [P123456-2]" */

/* Refusals that no rule and no line of a table decides, but settings. */
struct token_reason {
    const char *word, *sentence;
    const char *settings[4]; /* which to look at; up to NULL */
};
extern const struct token_reason token_reasons[];
extern const size_t token_reason_count;

#endif
