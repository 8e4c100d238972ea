/* hosttable.h: the host capability table: what we remember of each address of each host that we send mail
 * to.
 *
 * Pure: rows in memory, rules for what is learned, and the form of a row on disk (hostdb.h keeps them
 * there). It is a memory, not a truth: losing it costs a few failed attempts. Each fact has its age and its
 * source. */
#ifndef POSTERN_DISPATCH_HOSTTABLE_H
#define POSTERN_DISPATCH_HOSTTABLE_H

#include "common/net.h"
#include "common/status.h"

struct hosttable;

enum {
    HOSTTABLE_ROWS_MAX = 50000, /* beyond: the row that was not heard of for longest goes */
    HOSTTABLE_RECORD_MAX = 1024,
    HOSTTABLE_TEXT_MAX = 4096, /* of the facts of one row, as text */
    HOSTTABLE_KEPT_DAYS = 60,  /* a row that nobody asked for as long is forgotten at start */
};

struct hosttable_news { /* one contact with a host, as deliver-smtp reports it */
    struct str name;
    struct ip ip;
    uint16_t port;
    bool ok;             /* it greeted and took EHLO */
    uint32_t caps;       /* CAP_* of smtpcaps.h */
    uint64_t size_limit; /* octets; 0 unknown */
    uint32_t rtt_us;
    struct str greeting;
    struct status status; /* when not ok */
};

struct hosttable_facts {
    bool known;
    uint32_t caps;
    uint64_t size_limit;
    bool down; /* the last contact failed and retry_at is ahead */
    int64_t retry_at;
};

struct hosttable *hosttable_new(void);
void hosttable_free(struct hosttable *t);
size_t hosttable_count(const struct hosttable *t);

/* retry_first, retry_max: ms; a host that fails is down for retry_first, doubled with each failure in a row.
 * True when it was up until now. */
bool hosttable_learn(struct hosttable *t, const struct hosttable_news *n, int64_t now, int64_t retry_first,
                     int64_t retry_max);
/* A message for one recipient was taken. Unknown hosts are not added: their EHLO comes first. */
void hosttable_delivered(struct hosttable *t, const struct ip *ip, uint16_t port, int64_t now);
struct hosttable_facts hosttable_facts(const struct hosttable *t, const struct ip *ip, uint16_t port,
                                       int64_t now);
/* Calls fn for each row (name empty: all; else those of this host name or address), with lines name=value
 * age source. */
size_t hosttable_each(const struct hosttable *t, struct str name, int64_t now,
                      void (*fn)(void *ctx, struct str name, struct str facts), void *ctx);

/* Rows changed since they were last taken: key and record, one a call; false when none is left. The views
 * are valid until the next call. An empty record: the row is gone. */
bool hosttable_take_dirty(struct hosttable *t, struct str *key, struct str *record);
bool hosttable_dirty(const struct hosttable *t);
/* Puts a record of the disk into the table. False: it is damaged, of another version, or too old. */
bool hosttable_load(struct hosttable *t, struct str key, struct str record, int64_t now);

#endif
