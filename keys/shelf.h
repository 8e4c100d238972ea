/* shelf.h: the pairs that are in force, the ones before, and the files of which the next will be made. */
#ifndef POSTERN_KEYS_SHELF_H
#define POSTERN_KEYS_SHELF_H

#include "common/wire.h"
#include "keys/pair.h"

enum { SHELF_MAX = 257, SHELF_FILE_MAX = 256 * 1024, SHELF_CAS_MAX = 300 };

/* A file as it was handed in. */
struct part {
    char name[1100];
    char why[240]; /* why there is no text; empty: there is */
    char *text;
    size_t n;
};

struct slot {
    struct part chain, key;
    bool has_chain, has_key, spare;
};

struct shelved {
    char name[1100]; /* of the chain's file: by it a pair finds its successor */
    struct pair *pair;
};

struct shelf {
    struct shelved now[SHELF_MAX], before[SHELF_MAX];
    size_t now_n, before_n;
    struct slot *slots; /* SHELF_MAX, while files come in */
    struct part authorities;
    bool has_authorities;
    struct str cas[SHELF_CAS_MAX];
    size_t cas_n;
};

/* Takes a file; text is copied. why: it could not be read. */
void shelf_file(struct shelf *s, uint16_t pair, enum key_part part, struct str name, struct str text,
                struct str why);
/* All files are there: makes the pairs, says in the log what is used and what is not, and why. A pair that is not
 * good leaves the one of the same name from before in its place. */
void shelf_change(struct shelf *s);
const struct pair *shelf_find(const struct shelf *s, uint64_t id); /* also among those of before */
void shelf_free(struct shelf *s);

#endif
