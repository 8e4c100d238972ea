/* maildir.c: a message into a Maildir.
 *
 *   state                             what a reader sees
 *   tmp/NAME.PID being written        nothing
 *   synced, linked as new/NAME        the message (commit point, once new/ was synced)
 *   tmp/NAME.PID unlinked             the message
 *
 * NAME follows from the arrival, the queue id and the recipient, so a second delivery finds the first:
 * link(2) does not replace. A reader may have moved it to cur/ with flags after its name (NAME:2,S): cur/ is
 * searched when the message is not fresh. Directories are held open and names are single components opened
 * with O_NOFOLLOW: what the user puts in the way can only hurt himself. */
#include "deliver-local/delivery.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

struct maildir {
    const char *path;
    int top, tmp, new, cur;
    char name[80], temp[100];
};

/* Opens the directory, made 0700 when it is absent; *made is then set. -1: errno. */
static int open_dir(int at, const char *name, bool *made) {
    int fd = openat(at, name, DIR_FLAGS);
    if (fd >= 0 || errno != ENOENT) return fd;
    if (mkdirat(at, name, 0700) != 0 && errno != EEXIST) return -1;
    *made = true;
    return openat(at, name, DIR_FLAGS);
}

static void close_dirs(struct maildir *m) {
    const int fds[] = {m->top, m->tmp, m->new, m->cur};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0) close(fds[i]);
}

/* The directory that holds path, opened; *name is the last component. */
static int open_parent(const char *path, const char **name) {
    char dir[DELIVERY_PATH_MAX + 1];
    const char *slash = strrchr(path, '/');
    *name = slash + 1;
    snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool open_dirs(struct maildir *m) {
    const char *name;
    bool made = false, inner = false;
    int parent = open_parent(m->path, &name);
    if (parent < 0) return false;
    m->top = open_dir(parent, name, &made);
    bool ok = m->top >= 0 && (m->tmp = open_dir(m->top, "tmp", &inner)) >= 0 &&
              (m->new = open_dir(m->top, "new", &inner)) >= 0 &&
              (m->cur = open_dir(m->top, "cur", &inner)) >= 0;
    if (ok && inner) ok = fsync(m->top) == 0;
    if (ok && made) ok = fsync(parent) == 0;
    int saved = errno;
    close(parent);
    errno = saved;
    return ok;
}

/* In cur/ under its name, with or without flags. */
static bool was_read(const struct maildir *m) {
    size_t n = strlen(m->name);
    int fd = openat(m->cur, ".", DIR_FLAGS);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0) close(fd);
        return false;
    }
    bool found = false;
    for (struct dirent *e; !found && (e = readdir(dir));)
        found = strncmp(e->d_name, m->name, n) == 0 && (e->d_name[n] == '\0' || e->d_name[n] == ':');
    closedir(dir);
    return found;
}

static bool is_there(const struct delivery *d, const struct maildir *m) {
    struct stat st;
    if (fstatat(m->new, m->name, &st, AT_SYMLINK_NOFOLLOW) == 0) return true;
    return d->maybe_again && was_read(m);
}

static bool put(void *ctx, const char *p, size_t n) {
    const int *fd = ctx;
    while (n) {
        ssize_t w = write(*fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* The whole message into the open file, synced. 0 or errno. */
static int fill(const struct delivery *d, int fd) {
    static struct format f;
    format_start(&f, false, put, &fd);
    format_head(&f, &d->message);
    errno = 0;
    int error = delivery_copy(d, &f);
    if (!format_end(&f) && !error) error = errno ? errno : EIO;
    if (!error && fsync(fd) != 0) error = errno;
    return error;
}

/* link(2) refuses to replace, which is what we want of it; where a file system has no links, rename does. */
static int publish(const struct maildir *m) {
    if (linkat(m->tmp, m->temp, m->new, m->name, 0) == 0) unlinkat(m->tmp, m->temp, 0);
    else if (errno == EEXIST) unlinkat(m->tmp, m->temp, 0);
    else if (renameat(m->tmp, m->temp, m->new, m->name) != 0) return errno;
    return fsync(m->new) == 0 ? 0 : errno;
}

static struct status store(struct delivery *d, struct maildir *m) {
    if (is_there(d, m)) {
        if (fsync(m->new) != 0) return delivery_trouble(d, errno, "%s/new cannot be synced", m->path);
        return delivery_ok(d, "already in %s", m->path);
    }
    int fd = openat(m->tmp, m->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST && unlinkat(m->tmp, m->temp, 0) == 0) /* of one who died with our PID */
        fd = openat(m->tmp, m->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return delivery_trouble(d, errno, "a file in %s/tmp cannot be created", m->path);
    int error = fill(d, fd);
    if (close(fd) != 0 && !error) error = errno;
    if (!error) error = publish(m);
    if (!error) return delivery_ok(d, "delivered to %s", m->path);
    unlinkat(m->tmp, m->temp, 0);
    if (error == EBADMSG)
        return delivery_trouble(d, 0, "the data of this message is not as long as it should be");
    return delivery_trouble(d, error, "the message cannot be written to %s", m->path);
}

struct status maildir_deliver(struct delivery *d, const char *path) {
    struct maildir m = {path, -1, -1, -1, -1, "", ""};
    int64_t s = d->message.arrival / 1000;
    snprintf(m.name, sizeof m.name, "%lld.Q%sR%u.postern", (long long)s, qid_format(d->id).c,
             (unsigned)d->index);
    snprintf(m.temp, sizeof m.temp, "%s.%d", m.name, (int)getpid());
    struct status st = open_dirs(&m)
                           ? store(d, &m)
                           : delivery_trouble(d, errno, "the Maildir %s cannot be opened or created", path);
    close_dirs(&m);
    return st;
}
