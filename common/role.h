/* role.h: the programs of the suite as an enum and a table, made from roles.def and links.def. */
#ifndef POSTERN_COMMON_ROLE_H
#define POSTERN_COMMON_ROLE_H

#include "common/str.h"

#include <stdbool.h>
#include <stdint.h>

enum role {
#define ROLE(name, ...) ROLE_##name,
#include "common/roles.def"
#undef ROLE
    ROLE_COUNT
};

enum role_root { ROOT_NONE, ROOT_EMPTY, ROOT_SPOOL, ROOT_STATE, ROOT_DROP };
enum { PATH_ETC_READ = 1, PATH_ROOT_WRITE = 2, PATH_ALL = 4 };
enum {
    CALLS_BASE = 1,        /* memory, time, epoll, read, write, send, receive on what is already open */
    CALLS_ACCEPT = 2,      /* accept on a listening socket it was handed */
    CALLS_MEMFD = 4,       /* make and seal memory files */
    CALLS_FILES_READ = 8,  /* open, stat, list: Landlock says where */
    CALLS_FILES_WRITE = 16,/* also create, rename, link, unlink, sync */
    CALLS_CONNECT = 32,    /* make sockets and connect them (stream) */
    CALLS_DNS = 64,        /* also bind and datagram sockets */
    CALLS_THREADS = 128,   /* clone for threads, as libraries need it */
    CALLS_SPAWN = 256,     /* fork, wait, kill, change identity */
    CALLS_UNIX = 1024,     /* make Unix sockets and connect them */
    CALLS_EXEC = 2048,     /* run programs, load code */
    CALLS_ALL = 512        /* no filter (posternd, tools) */
};

struct role_info {
    const char *name;     /* "smtpd": as in links.def and messages */
    const char *program;  /* "smtpd": binary and log name */
    const char *user;     /* account without its prefix, "" for root */
    enum role_root root;
    unsigned paths, calls; /* PATH_*, CALLS_* */
    unsigned files;        /* RLIMIT_NOFILE */
    unsigned memory_mib;   /* RLIMIT_AS */
    const char *sentence;
};

extern const struct role_info role_table[ROLE_COUNT];
#define ROLE_BIT(r) (1u << (r))

bool role_linked(enum role a, enum role b); /* is there a row for the two in links.def, in either order */

#endif
