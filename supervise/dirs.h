/* dirs.h: the directories of the suite: made when they are missing, refused when somebody else could write
 * there. */
#ifndef POSTERN_SUPERVISE_DIRS_H
#define POSTERN_SUPERVISE_DIRS_H

#include "common/config.h"

#include <sys/types.h>

/* Makes or checks spool, state, drop and run directory, and what lies in the last. False: err is one line. */
bool dirs_prepare(const char *file, const struct config *c, struct config_error *err);
/* The file that a process counts in (common/counters.h), made when it is missing; -1: errno says why. Clear forgets what
 * an earlier posternd has left. */
int dirs_counters(const struct config *c, const char *program, unsigned instance);
void dirs_counters_clear(const struct config *c);
/* The directory that becomes the root of a role, into mem; NULL for ROOT_NONE. */
const char *dirs_root(const struct config *c, enum role role, char *mem, size_t size);
/* One directory: owned by uid:gid with mode; parents are made too (0755). False: why says what is wrong
 * and what to do. */
bool dirs_ensure(const char *path, uid_t uid, gid_t gid, mode_t mode, struct buf *why);
/* Takes the lock of the run directory by its pid file, and writes our pid into it. *unclean: the last
 * posternd did not end in order. The descriptor is kept open as long as the lock is to hold. */
int dirs_lock(const char *file, const struct config *c, bool *unclean, struct config_error *err);
/* Whether nobody works in the spool, state and drop directory: programs hold a lock on theirs. wait: give
 * those whom a killed posternd has left behind a moment to end. */
bool dirs_unused(const char *file, const struct config *c, bool wait, struct config_error *err);
void dirs_unlock(int fd);

#endif
