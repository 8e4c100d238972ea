/* table.h: the password table, from its text. Pure: no file is read.
 *
 *     # comment
 *     login:verifier [verifier]
 *
 * A verifier is a hash of crypt(3) or a SCRAM verifier (verifier.h), at most one of each, between white
 * space. A hash that begins with "!" or "*" is locked: nobody comes in. Lines are at most TABLE_LINE_MAX
 * octets, logins hold neither ":" nor white space, and stand there once. One wrong line makes the whole
 * table wrong: a table of which a part was understood would let the wrong people in, or lock the right
 * ones out. */
#ifndef POSTERN_AUTH_TABLE_H
#define POSTERN_AUTH_TABLE_H

#include "auth/verifier.h"

enum { TABLE_LINE_MAX = 1024, TABLE_SIZE_MAX = 256 << 20 };

struct table;

struct table_entry {
    struct str login; /* a view into the table's own copy of the text */
    unsigned line;
    struct str verifiers;
};

/* Copies the text. NULL: why says FILE:LINE: and what is wrong. */
struct table *table_parse(struct str text, const char *file, char *why, size_t why_size);
void table_free(struct table *t); /* NULL is allowed; the text is wiped */
size_t table_count(const struct table *t);
const struct table_entry *table_at(const struct table *t, size_t i); /* by login */
/* False: no such login; *v is then a dummy of the same work. secret: verifier_dummy. */
bool table_find(const struct table *t, struct str secret, struct str login, struct verifier *v);

/* May this stand in front of the colon? */
bool table_login_fits(struct str login);

#endif
