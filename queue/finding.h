/* finding.h: what can be wrong in a spool, from findings.def. */
#ifndef POSTERN_QUEUE_FINDING_H
#define POSTERN_QUEUE_FINDING_H

#include "common/str.h"

#include <stdbool.h>
#include <stdint.h>

enum finding {
#define FINDING(name, remedy, repaired) FOUND_##name,
#include "queue/findings.def"
#undef FINDING
    FINDINGS
};

struct finding_row {
    const char *name, *remedy, *repaired;
};
extern const struct finding_row finding_table[FINDINGS];

/* One of them, as a walk tells it. */
struct found {
    enum finding what;
    int dir; /* of disk.h */
    const char *name;
    const char *why;
    uint64_t end; /* FOUND_torn: where the whole records end */
};

struct findings {
    void *ctx;
    void (*found)(void *ctx, const struct found *f);
};

#endif
