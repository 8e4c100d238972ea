/* aliases.h: the text of an alias table (aliases(5) of sendmail) into entries. Pure: no file is read. */
#ifndef POSTERN_LOOKUP_ALIASES_H
#define POSTERN_LOOKUP_ALIASES_H

#include "lookup/text.h"

/* Calls the sink for each alias with its lower-cased name and its value (values.h), in the order of the text.
 * False at the first mistake: err says which line, which word, what is wrong and what to write instead. */
bool aliases_parse(struct str text, const struct table_sink *sink, struct table_error *err);

#endif
