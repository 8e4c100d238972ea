/* listen.h: the listening sockets, bound by posternd and handed to the programs that accept on them. */
#ifndef POSTERN_SUPERVISE_LISTEN_H
#define POSTERN_SUPERVISE_LISTEN_H

#include "common/config.h"
#include "common/program.h"

struct listener {
    enum role role; /* who accepts on it */
    enum listener_kind kind;
    char name[120]; /* "127.0.0.1:25", "submit", ... */
    int fd;
};

struct listeners {
    size_t n, cap;
    struct listener *v;
};

/* Binds what c asks for and *have does not hold yet, into *fresh, and marks nothing else: a reload that
 * fails changes nothing. Unix sockets are made when with_unix. False: err is one line, and *fresh is
 * empty. */
bool listen_bind(const char *file, const struct config *c, bool with_unix, const struct listeners *have,
                 struct listeners *fresh, struct config_error *err);
bool listen_wanted(const struct config *c,
                   const struct listener *l);                    /* does c still ask for this TCP socket */
void listen_add(struct listeners *all, struct listeners *fresh); /* moves fresh into all */
void listen_remove(struct listeners *all, size_t i);             /* closes it */
void listen_free(struct listeners *all);

#endif
