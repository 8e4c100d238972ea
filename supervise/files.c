#include "supervise/files.h"

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SETTLE_MS = 1000, PATH_SIZE = 1100 };

/* Runs fn for each file that the settings name, in the order in which keys wants them. */
static void each_file(const struct config *c,
                      void (*fn)(void *ctx, uint16_t pair, enum key_part part, struct str path), void *ctx) {
    char mem[PATH_SIZE];
    size_t n = c->certificates.n;
    for (size_t i = 0; i < n; i++) {
        struct str word = c->certificates.v[i];
        ptrdiff_t comma = str_chr(word, ',');
        fn(ctx, (uint16_t)i, KEY_CHAIN, comma < 0 ? word : str_sub(word, 0, (size_t)comma));
        if (comma >= 0) fn(ctx, (uint16_t)i, KEY_PRIVATE, str_sub(word, (size_t)comma + 1, word.n));
    }
    int k = snprintf(mem, sizeof mem, "%s/self-signed.pem", c->key_directory);
    if (k > 0 && (size_t)k < sizeof mem) fn(ctx, (uint16_t)n, KEY_SPARE, (struct str){mem, (size_t)k});
    if (*c->client_authorities) fn(ctx, 0, KEY_AUTHORITIES, str_of(c->client_authorities));
}

/* -1: why says what to do. */
static int open_file(struct str path, enum key_part part, struct buf *why) {
    char name[PATH_SIZE];
    struct buf b = buf_on(name, sizeof name - 1);
    struct stat st;
    buf_add(&b, path);
    /* A place where others can write is the administrator's choice, and links are usual (certbot): no O_NOFOLLOW. */
    int fd = open(buf_cstr(&b), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0)
        buf_addf(why, "cannot be opened: %s; mend the file or its name in the settings", strerror(errno));
    else if (!S_ISREG(st.st_mode)) buf_adds(why, "is no regular file: name one");
    else if (part != KEY_CHAIN && part != KEY_AUTHORITIES && st.st_mode & 07)
        buf_adds(why, "holds a private key, and everyone may read it: chmod o= it");
    if (!why->n) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static void hand(void *ctx, uint16_t pair, enum key_part part, struct str path) {
    struct channel *keys = ctx;
    char mem[200];
    struct buf why = BUF(mem);
    int fd = open_file(path, part, &why);
    if (fd >= 0) SEND_FD(keys, fd, key_file, .pair = pair, .part = (uint8_t)part, .name = path);
    else SEND(keys, key_absent, .pair = pair, .part = (uint8_t)part, .name = path, .why = buf_str(&why));
}

void files_hand(const struct config *c, uint32_t generation, struct channel *keys) {
    each_file(c, hand, keys);
    SEND(keys, key_files, .generation = generation);
}

struct trouble {
    struct buf *name, *why;
};

static void try_file(void *ctx, uint16_t pair, enum key_part part, struct str path) {
    struct trouble *t = ctx;
    if (t->why->n || part == KEY_SPARE) return; /* that one is made by keys */
    int fd = open_file(path, part, t->why);
    if (fd >= 0) close(fd);
    else buf_add(t->name, path);
}

bool files_trouble(const struct config *c, struct buf *name, struct buf *why) {
    struct trouble t = {name, why};
    each_file(c, try_file, &t);
    return why->n > 0;
}

/* ---- Watching ---- */

static uint64_t mix(uint64_t sum, const void *p, size_t n) {
    return str_hash((struct str){p, n}, sum);
}

static void look(void *ctx, uint16_t pair, enum key_part part, struct str path) {
    uint64_t *sum = ctx;
    char name[PATH_SIZE];
    struct buf b = buf_on(name, sizeof name - 1);
    struct stat st;
    buf_add(&b, path);
    *sum = mix(*sum, path.p, path.n);
    if (stat(buf_cstr(&b), &st) != 0) return;
    const int64_t facts[] = {(int64_t)st.st_dev, (int64_t)st.st_ino, (int64_t)st.st_size,
                             st.st_mtim.tv_sec,  st.st_mtim.tv_nsec, st.st_ctim.tv_sec,
                             st.st_ctim.tv_nsec, (int64_t)st.st_mode};
    *sum = mix(*sum, facts, sizeof facts);
}

bool files_changed(struct files *f, const struct config *c) {
    uint64_t sum = 1;
    each_file(c, look, &sum);
    bool settled = sum == f->seen;
    f->seen = sum;
    if (!f->known) f->handed = sum, f->known = true;
    if (sum == f->handed || !settled) return false;
    f->handed = sum;
    return true;
}

int64_t files_pause(const struct files *f, const struct config *c) {
    int64_t pause = (int64_t)c->certificate_watch;
    return f->seen != f->handed && pause > SETTLE_MS ? SETTLE_MS : pause;
}
