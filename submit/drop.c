#include "submit/drop.h"

#include "common/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static bool write_all(int fd, struct str s) {
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        s = str_sub(s, (size_t)n, s.n);
    }
    return true;
}

static bool write_front(int fd, const struct dropfile *d) {
    size_t max = DROPFILE_FRONT + DROPFILE_MIDDLE + DROPFILE_FIELD_MAX * 6;
    for (size_t i = 0; i < d->rcpt_count; i++) max += 3 + d->rcpts[i].n;
    char *mem = xmalloc(max);
    struct buf b = buf_on(mem, max);
    bool ok = dropfile_write(&b, d);
    if (!ok) errno = EMSGSIZE;
    ok = ok && write_all(fd, buf_str(&b));
    int error = errno;
    free(mem);
    errno = error;
    return ok;
}

static bool write_data(int fd, struct drop_data data) {
    char mem[32768];
    ptrdiff_t n;
    while ((n = data.read(data.ctx, mem, sizeof mem)) > 0)
        if (!write_all(fd, (struct str){mem, (size_t)n})) return false;
    if (n < 0) errno = EIO;
    return n == 0;
}

/* The file is whole and durable before its name says so; then the name is made durable too. The caller
 * may not open the directory for reading, so fsync of it is out of reach and syncfs does its work. */
static bool fill_and_name(int directory, int fd, const char *temporary, const char *name,
                          const struct dropfile *d, struct drop_data data) {
    return fchmod(fd, 0640) == 0 && write_front(fd, d) && write_data(fd, data) && fsync(fd) == 0 &&
           renameat(directory, temporary, directory, name) == 0 && syncfs(fd) == 0;
}

static bool make_names(char *temporary, char *final) {
    unsigned char r[DROPFILE_RANDOM / 2];
    char hex[DROPFILE_RANDOM + 1];
    if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r) return false;
    for (size_t i = 0; i < sizeof r; i++) snprintf(hex + 2 * i, 3, "%02x", r[i]);
    snprintf(temporary, DROPFILE_NAME, "t-%s", hex);
    snprintf(final, DROPFILE_NAME, "m-%s", hex);
    return true;
}

bool drop_write(int directory, const char *name, const struct dropfile *d, struct drop_data data) {
    char temporary[DROPFILE_NAME], final[DROPFILE_NAME];
    if (!make_names(temporary, final)) return false;
    int fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0) return false;
    bool ok = fill_and_name(directory, fd, temporary, name ? name : final, d, data);
    int error = errno;
    if (!ok) unlinkat(directory, temporary, 0);
    close(fd);
    errno = error;
    return ok;
}
