#include "smtpd/body.h"

#include "common/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUFFER_FIRST = 2048, BUFFER_MAX = 65536 };
_Static_assert(BODY_CHUNK_MAX % BUFFER_MAX == 0, "full buffers fill a chunk exactly");

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

void body_init(struct body *b, void (*chunk)(void *ctx, int fd, uint32_t size), void *ctx) {
    *b = (struct body){.chunk = chunk, .ctx = ctx, .fd = -1};
}

static int memory_file(void) {
    int fd = memfd_create("postern-message", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* kernels before 6.3 do not know NOEXEC */
        fd = memfd_create("postern-message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

static bool write_out(struct body *b) {
    size_t done = 0;
    if (b->fd < 0) {
        b->fd = memory_file();
        b->size = 0;
    }
    if (b->fd < 0) return false;
    while (done < b->n) {
        /* pwrite: the file offset, which all holders share, stays at 0 for whoever reads. */
        ssize_t k = pwrite(b->fd, b->buf + done, b->n - done, (off_t)b->size + (off_t)done);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        done += (size_t)k;
    }
    b->size += (uint32_t)done;
    b->n = 0;
    return true;
}

static bool hand_on(struct body *b) {
    int fd = b->fd;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) return false;
    b->fd = -1;
    b->chunk(b->ctx, fd, b->size);
    return true;
}

static bool full(struct body *b) {
    return write_out(b) && (b->size < BODY_CHUNK_MAX || hand_on(b));
}

static bool grow(struct body *b, size_t want) {
    size_t cap = b->cap ? b->cap : BUFFER_FIRST;
    while (cap < want && cap < BUFFER_MAX) cap *= 2;
    if (cap == b->cap) return true;
    char *p = realloc(b->buf, cap);
    if (!p) return false;
    b->buf = p;
    b->cap = cap;
    return true;
}

bool body_write(struct body *b, struct str s) {
    while (s.n) {
        if (!grow(b, b->n + s.n)) return false;
        size_t take = s.n < b->cap - b->n ? s.n : b->cap - b->n;
        memcpy(b->buf + b->n, s.p, take);
        b->n += take;
        s = str_sub(s, take, s.n);
        if (b->n == BUFFER_MAX && !full(b)) return false;
    }
    return true;
}

bool body_end(struct body *b) {
    if (b->n && !write_out(b)) return false;
    return b->fd < 0 || hand_on(b);
}

size_t body_memory(const struct body *b) {
    return b->cap + (b->fd >= 0 ? b->size : 0);
}

void body_free(struct body *b) {
    if (b->fd >= 0) close(b->fd);
    b->fd = -1;
    free(b->buf);
    b->buf = NULL;
    b->n = b->cap = 0;
}
