/* text.h: reading a text table line by line, and saying where it is wrong. Shared by aliases.c and routes.c.
 * */
#ifndef POSTERN_LOOKUP_TEXT_H
#define POSTERN_LOOKUP_TEXT_H

#include "common/str.h"

struct table_error {
    unsigned line;  /* counted from 1 */
    char word[72];  /* what is wrong, escaped for a terminal and cut; may be empty */
    char text[256]; /* what is wrong with it, and the remedy */
};

/* Where entries go. Names and values are views that end with the call. False stops the parser (the sink has
 * said why in err, or elsewhere); the parser then gives false. */
struct table_sink {
    void *ctx;
    bool (*entry)(void *ctx, unsigned line, struct str key, struct str value, struct table_error *err);
};

/* Fills err and gives false, for `return table_fail(...)`. */
bool table_fail(struct table_error *err, unsigned line, struct str word, const char *text);
/* Lower-cases ASCII letters into b. */
void table_lower(struct buf *b, struct str s);

#endif
