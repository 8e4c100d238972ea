/* drop.h: writes mail into the drop directory. */
#ifndef POSTERN_SUBMIT_DROP_H
#define POSTERN_SUBMIT_DROP_H

#include "submit/dropfile.h"

/* Data as handin reads it: octets into mem; 0 at the end, -1 when it cannot be read. */
struct drop_data {
    ptrdiff_t (*read)(void *ctx, char *mem, size_t n);
    void *ctx;
};

/* Writes the file under a 't-' name, syncs it, renames it to `name` (NULL: an 'm-' name of its own), and
 * syncs the file system: when this returns true, the mail survives a power loss. d->data_size and
 * data_sum must be those of the data. A name that exists is replaced in one step. directory may be an
 * O_PATH descriptor: the drop directory cannot be read by those who leave mail in it.
 * False: errno says why; nothing is left (when the process is killed: a 't-' file, which is never taken
 * for mail). */
bool drop_write(int directory, const char *name, const struct dropfile *d, struct drop_data data);

#endif
