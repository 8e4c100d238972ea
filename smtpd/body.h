/* body.h: the data of a message as a run of sealed memory files, at most 1 MiB each. Octets are collected
 * and written in large pieces; a small message costs one write. Once sealed, nobody can change a byte,
 * neither can we. */
#ifndef POSTERN_SMTPD_BODY_H
#define POSTERN_SMTPD_BODY_H

#include "common/str.h"

enum { BODY_CHUNK_MAX = 1024 * 1024 };

struct body {
    /* A chunk is sealed; fd is the callee's. */
    void (*chunk)(void *ctx, int fd, uint32_t size);
    void *ctx;
    char *buf;
    size_t n, cap;
    int fd;        /* the chunk being filled, or -1 */
    uint32_t size; /* octets in it */
};

void body_init(struct body *b, void (*chunk)(void *ctx, int fd, uint32_t size), void *ctx);
bool body_write(struct body *b, struct str s); /* false: the system refuses memory or descriptors */
bool body_end(struct body *b);                 /* hands on the last chunk, if octets are left */
size_t body_memory(const struct body *b);      /* octets that it holds now */
void body_free(struct body *b);                /* forgets what was not handed on */

#endif
