/* tables.h: the files behind the engine: alias.cdb, routes.cdb, passwd. Each is looked at again when it is
 * used, at most once a second, and opened again when it was replaced. */
#ifndef POSTERN_LOOKUP_TABLES_H
#define POSTERN_LOOKUP_TABLES_H

#include "lookup/senders.h"

struct tables;

/* Paths are copied. passwd_file "": the system's. now: nanoseconds of a monotonic clock, read at each use. */
struct tables *tables_new(const char *alias_file, const char *route_file, const char *passwd_file, const char *sender_file,
                          const int64_t *now);
void tables_free(struct tables *t);
const struct lookup_tables *tables_interface(struct tables *t);
const struct senders *tables_senders(struct tables *t); /* NULL: an empty table */
/* How often the alias or the route table was found to be another than before. look: now, however lately it was done. */
unsigned tables_changes(struct tables *t, bool look);
bool tables_login(struct tables *t, uint32_t uid, struct str *name); /* the account of a UID */

#endif
