/* log.h: events as one line each, declared in events.def.
 *
 * Lines are collected and written before the loop sleeps (log_flush), one write for all of a round; a descriptor
 * handed down by posternd is all that a caged program needs. The descriptor is a file or pipe (lines end in LF), or a
 * connected syslog socket (one datagram each). */
#ifndef POSTERN_COMMON_LOG_H
#define POSTERN_COMMON_LOG_H

#include "common/qid.h"
#include "common/str.h"

typedef uint64_t log_type_num;
typedef struct str log_type_text;
typedef struct qid log_type_id;

#define ITEM(type, name) log_type_##type name;
#define EVENT(name, level, sentence, ...) \
    struct event_##name {                 \
        __VA_ARGS__                       \
    };                                    \
    void log_event_##name(const struct event_##name *e);
#include "common/events.def"
#undef EVENT
#undef ITEM

/* program: "postern/smtpd" and the like; hostname for the line's second word (copied). fd -1: standard error. */
void log_open(int fd, const char *program, const char *hostname);
void log_flush(void);
/* For tests and the simulator: lines go to fn instead (without time, host, pid); NULL undoes it. */
void log_capture(void (*fn)(void *ctx, struct str line), void *ctx);

#define LOG(name, ...) log_event_##name(&(struct event_##name){__VA_ARGS__})
#define LOG_TROUBLE(...) log_printf(true, __VA_ARGS__)
#define LOG_NOTE(...) log_printf(false, __VA_ARGS__)
void log_printf(bool trouble, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* the events trouble and note */

#endif
