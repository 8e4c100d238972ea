/* hostdb.h: the host capability table on disk: one Berkeley DB file, hosts.db.
 *
 * Written in batches, without waiting for the disk: it is a memory, not a truth. A file that cannot be read
 * is set aside as hosts.db.damaged-TIME and begun anew; each record has its own version and checksum
 * besides. */
#ifndef POSTERN_DISPATCH_HOSTDB_H
#define POSTERN_DISPATCH_HOSTDB_H

#include "dispatch/hosttable.h"

struct hostdb;

/* Opens directory/hosts.db (directory "" is the root) and fills t. Never NULL: without a file that can be
 * used the table lives in memory alone; note is told what a person should know (level: true is trouble). */
struct hostdb *hostdb_open(const char *directory, struct hosttable *t, int64_t now,
                           void (*note)(bool trouble, const char *text));
void hostdb_flush(struct hostdb *d, int64_t now); /* writes what changed */
void hostdb_close(struct hostdb *d);              /* writes what changed, and closes */

#endif
