/* source.h: the data of a message in up to three pieces of memory, as handin and the drop file read it.
 * Pure. */
#ifndef POSTERN_SUBMIT_SOURCE_H
#define POSTERN_SUBMIT_SOURCE_H

#include "common/str.h"

struct source {
    struct str part[3];
    size_t at;   /* which part */
    size_t done; /* octets of it that were read */
};

uint64_t source_size(const struct source *s);
void source_rewind(struct source *s);
/* The signature of handin_mail.read; ctx is the struct source. */
ptrdiff_t source_read(void *ctx, char *mem, size_t n);

#endif
