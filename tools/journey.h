/* journey.h: log lines read back: what events.def wrote, taken apart again. Pure. */
#ifndef POSTERN_TOOLS_JOURNEY_H
#define POSTERN_TOOLS_JOURNEY_H

#include "common/qid.h"
#include "common/str.h"

struct log_line {
    int64_t us;         /* microseconds since 1970 */
    struct str program; /* "smtpd" */
    uint64_t pid;
    bool has_id;
    struct qid id;
    struct str event;
    struct str fields; /* " name=value name=\"value\"" */
};

/* "2026-11-21T09:30:00.123456Z host postern/smtpd[123]: ID: event field=value". False: another kind of
 * line. */
bool log_line_parse(struct str text, struct log_line *l);
/* The value of a field, without quotes, escapes as they are; STR_NONE when there is none. */
struct str log_field(const struct log_line *l, const char *name);
uint64_t log_number(const struct log_line *l, const char *name); /* 0 when there is none */
/* What the event means, in a sentence, with its fields filled in; *took_us how long it says it took, 0
 * unknown. */
void journey_tell(const struct log_line *l, struct buf *sentence, uint64_t *took_us);

#endif
