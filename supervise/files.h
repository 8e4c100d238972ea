/* files.h: the files of certificates and keys. posternd opens them, which takes root, and hands the descriptors to
 * keys; it reads none of their octets. It looks now and then whether they have changed. */
#ifndef POSTERN_SUPERVISE_FILES_H
#define POSTERN_SUPERVISE_FILES_H

#include "common/channel.h"
#include "common/config.h"

/* The state of all files that the settings name, as one number each for what was handed and what was seen. */
struct files {
    uint64_t handed, seen;
    bool known;
};

/* Opens all, and sends them: key_file for each, key_absent for what cannot be opened, key_files. */
void files_hand(const struct config *c, uint32_t generation, struct channel *keys);
/* The first file that cannot be used, and why; false: there is none. */
bool files_trouble(const struct config *c, struct buf *name, struct buf *why);
/* Looks again. True: they are other than when they were handed, and did not change since the last look, so nobody is
 * writing them just now. The first look says false. */
bool files_changed(struct files *f, const struct config *c);
/* Milliseconds until the next look. */
int64_t files_pause(const struct files *f, const struct config *c);

#endif
