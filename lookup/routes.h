/* routes.h: the text of a route table (postern-routes(5)) into entries. Pure: no file is read. */
#ifndef POSTERN_LOOKUP_ROUTES_H
#define POSTERN_LOOKUP_ROUTES_H

#include "lookup/text.h"

/* As aliases_parse. Keys: "example.org", ".example.org", "user@example.org" (all lower case; the local part
 * without quoting), "*". Values: values.h. */
bool routes_parse(struct str text, const struct table_sink *sink, struct table_error *err);

#endif
