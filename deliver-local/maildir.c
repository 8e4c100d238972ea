/* maildir.c: messages into a Maildir.
 *
 *   state                             what a reader sees     what a power cut leaves
 *   tmp/NAME.PID being written        nothing                nothing in new/
 *   renamed to new/NAME               the message            nothing, or the message, or a file without its data
 *   synced (maildir_sync)             the message            the message (commit point)
 *
 * NAME follows from the arrival and the queue id: a message is in a Maildir once, for however many of its
 * recipients, whatever their numbers. So a second delivery finds the first: rename does not replace
 * (RENAME_NOREPLACE). A reader may have moved it to cur/ with flags after its name (NAME:2,S); when the message is
 * not fresh, the names in cur/ are looked at, which were read once and are read again when the directory has
 * changed. A file that is found may be one whose data a power cut or a disk
 * error took: so it is never believed, but exchanged (RENAME_EXCHANGE) for one that was written now, under the
 * very name that it has, flags and all, and that is durable before.
 *
 * Directories are held open and names are single components opened with O_NOFOLLOW: what the user puts in the
 * way can only hurt himself. When a message is in new/ the path must lead there: if the home or the Maildir, or a directory
 * in it, was replaced meanwhile, the message is taken back and stored in the one that is there now. So whoever moves his
 * Maildir away finds in the old one what was delivered before, and in the new one what was delivered after.
 *
 * A sync is of the files one by one when there are few, or of the whole file system: whichever has cost less
 * of late. Where others write much at the same time, the file system is the dearer one. */
#include "deliver-local/delivery.h"

#include "common/arena.h"
#include "deliver-local/seen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
    FILE_FLAGS = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
    FEW = 8,         /* files kept open until they are synced */
    TRIES = 5,       /* against a reader that moves a file while we look for it */
    SETTLED_MS = 50, /* a directory that changed so shortly before it was read may change again unseen */
};

struct place { /* a directory, however it is called now */
    dev_t dev;
    ino_t ino;
};

struct maildir {
    const char *path;
    int top, tmp, new, cur;
    struct place tmp_at, new_at, cur_at;
    /* since the last sync: */
    size_t stored;
    int files[FEW]; /* those of them that are open */
    bool replaced;  /* something in cur/ */
    int lost;       /* errno of a sync that had to be made early */
    /* what a sync has cost, in microseconds: of one file, of all */
    int64_t file_us, all_us;
    /* cur/ as it was read */
    struct seen seen;
    struct timespec read_at;
    bool settled;
};

struct names {
    char name[80], temp[100];
    char found[300]; /* under which it is in cur/ */
};

static int64_t clock_us(clockid_t clock) {
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- The directories ---- */

static struct place place_of(const struct stat *st) {
    return (struct place){st->st_dev, st->st_ino};
}

/* Opens the directory, made 0700 when it is absent; *made is then set. -1: errno. */
static int open_dir(int at, const char *name, bool *made) {
    int fd = openat(at, name, DIR_FLAGS);
    if (fd >= 0 || errno != ENOENT) return fd;
    if (mkdirat(at, name, 0700) != 0 && errno != EEXIST) return -1;
    *made = true;
    return openat(at, name, DIR_FLAGS);
}

static void close_files(struct maildir *m) {
    for (size_t i = 0; i < FEW; i++) {
        if (m->files[i] >= 0) close(m->files[i]);
        m->files[i] = -1;
    }
}

static void close_dirs(struct maildir *m) {
    int *const fds[] = {&m->top, &m->tmp, &m->new, &m->cur};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0) close(*fds[i]);
        *fds[i] = -1;
    }
    seen_clear(&m->seen);
    m->settled = false;
}

/* The directory that holds path, opened; *name is the last component. */
static int open_parent(const char *path, const char **name) {
    char dir[DELIVERY_PATH_MAX + 1];
    const char *slash = strrchr(path, '/');
    *name = slash + 1;
    snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* One of the three; *at is where it is. */
static bool open_inner(const struct maildir *m, const char *name, bool *made, int *fd, struct place *at) {
    struct stat st;
    *fd = open_dir(m->top, name, made);
    if (*fd < 0 || fstat(*fd, &st) != 0) return false;
    *at = place_of(&st);
    return true;
}

static bool open_dirs(struct maildir *m) {
    const char *name;
    bool made = false, inner = false;
    int parent = open_parent(m->path, &name);
    if (parent < 0) return false;
    m->top = open_dir(parent, name, &made);
    bool ok = m->top >= 0 && open_inner(m, "tmp", &inner, &m->tmp, &m->tmp_at) &&
              open_inner(m, "new", &inner, &m->new, &m->new_at) &&
              open_inner(m, "cur", &inner, &m->cur, &m->cur_at);
    if (ok && inner) ok = fsync(m->top) == 0;
    if (ok && made) ok = fsync(parent) == 0;
    int saved = errno;
    close(parent);
    if (!ok) close_dirs(m);
    errno = saved;
    return ok;
}

static bool is_at(const struct maildir *m, const char *name, const struct place *at) {
    char path[DELIVERY_PATH_MAX + 8];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", m->path, name);
    return lstat(path, &st) == 0 && st.st_dev == at->dev && st.st_ino == at->ino;
}

/* The path leads to what we hold, as far as this message was concerned with it. */
static bool still_there(const struct maildir *m, const struct delivery *d, bool stored) {
    return is_at(m, "new", &m->new_at) && (stored || is_at(m, "tmp", &m->tmp_at)) &&
           ((stored && !d->maybe_again) || is_at(m, "cur", &m->cur_at));
}

/* ---- Is it there already? ---- */

static uint64_t name_hash(const char *name, size_t n) {
    return str_hash((struct str){name, n}, 5);
}

static DIR *open_cur(const struct maildir *m) {
    int fd = openat(m->cur, ".", DIR_FLAGS);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir && fd >= 0) close(fd);
    return dir;
}

/* Reads the names in cur/, unless they are known. False when it cannot be read. */
static bool know_cur(struct maildir *m) {
    struct stat st;
    if (fstat(m->cur, &st) != 0) return false;
    const struct timespec *t = &st.st_mtim;
    if (m->settled && t->tv_sec == m->read_at.tv_sec && t->tv_nsec == m->read_at.tv_nsec) return true;
    DIR *dir = open_cur(m);
    if (!dir) return false;
    seen_clear(&m->seen);
    m->read_at = *t;
    int64_t age = clock_us(CLOCK_REALTIME) / 1000 - ((int64_t)t->tv_sec * 1000 + t->tv_nsec / 1000000);
    m->settled = age > SETTLED_MS;
    for (struct dirent *e; (e = readdir(dir));)
        seen_add(&m->seen, name_hash(e->d_name, strcspn(e->d_name, ":")), 0);
    closedir(dir);
    return true;
}

/* In cur/ under its name, with or without flags: found. */
static bool was_read(struct maildir *m, struct names *n) {
    size_t length = strlen(n->name), turn = 0;
    uint64_t at;
    if (!know_cur(m) || !seen_find(&m->seen, name_hash(n->name, length), &turn, &at)) return false;
    DIR *dir = open_cur(m);
    bool found = false;
    for (struct dirent *e; dir && !found && (e = readdir(dir));) {
        found = strncmp(e->d_name, n->name, length) == 0 &&
                (e->d_name[length] == '\0' || e->d_name[length] == ':');
        if (found) snprintf(n->found, sizeof n->found, "%s", e->d_name);
    }
    if (dir) closedir(dir);
    return found;
}

/* ---- Writing ---- */

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

/* The whole message into the open file. 0 or errno. */
static int fill(const struct delivery *d, int fd) {
    static struct format f;
    format_start(&f, false, put, &fd);
    format_head(&f, &d->message);
    errno = 0;
    int error = delivery_copy(d, &f);
    if (!format_end(&f) && !error) error = errno ? errno : EIO;
    return error;
}

static int create_temp(const struct maildir *m, const struct names *n) {
    int fd = openat(m->tmp, n->temp, FILE_FLAGS, 0600);
    if (fd < 0 && errno == EEXIST && unlinkat(m->tmp, n->temp, 0) == 0) /* of one who died with our PID */
        fd = openat(m->tmp, n->temp, FILE_FLAGS, 0600);
    return fd;
}

/* The file in dir under this name is exchanged for ours, whose place in tmp/ is freed. ENOENT: it is not there any more.
 * Ours is durable first: the other may be, and be all that another recipient with this mailbox has, whom queue has
 * forgotten (the simulator, seeds 4004434 and 4005226). */
static int exchange(const struct maildir *m, const struct names *n, int fd, int dir, const char *name) {
    struct stat st;
    if (fsync(fd) != 0) return errno;
    if (renameat2(m->tmp, n->temp, dir, name, RENAME_EXCHANGE) == 0)
        return unlinkat(m->tmp, n->temp, 0) == 0 ? 0 : errno;
    if (errno != EINVAL) return errno;
    /* This file system cannot exchange: look, then replace. */
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno;
    return renameat(m->tmp, n->temp, dir, name) == 0 ? 0 : errno;
}

static int first_time(const struct maildir *m, const struct names *n) {
    if (renameat2(m->tmp, n->temp, m->new, n->name, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL) return errno;
    /* This file system cannot refuse to replace; link(2) does. */
    if (linkat(m->tmp, n->temp, m->new, n->name, 0) != 0) return errno;
    return unlinkat(m->tmp, n->temp, 0) == 0 ? 0 : errno;
}

/* Into new/, or in the place of the one that is there already. */
static int publish(const struct delivery *d, struct maildir *m, struct names *n, int fd, bool *again) {
    int error = ENOENT;
    for (int i = 0; i < TRIES && error == ENOENT; i++) {
        if ((d->maybe_again || *again) && was_read(m, n)) {
            *again = m->replaced = true;
            error = exchange(m, n, fd, m->cur, n->found);
            continue;
        }
        error = first_time(m, n);
        if (error != EEXIST) return error;
        *again = true;
        error = exchange(m, n, fd, m->new, n->name);
    }
    return error;
}

static void keep_open(struct maildir *m, int fd) {
    if (m->stored < FEW) {
        m->files[m->stored++] = fd;
        return;
    }
    if (m->stored++ == FEW) close_files(m);
    close(fd);
}

/* *again: it was there already, and was exchanged. */
static struct status store_in(struct delivery *d, struct maildir *m, struct names *n, bool *again) {
    *again = false;
    int fd = create_temp(m, n);
    if (fd < 0) return delivery_trouble(d, errno, "a file in %s/tmp cannot be created", m->path);
    int error = fill(d, fd);
    if (!error) error = publish(d, m, n, fd, again);
    if (!error) {
        keep_open(m, fd);
        return delivery_ok(d, *again ? "already in %s" : "delivered to %s", m->path);
    }
    unlinkat(m->tmp, n->temp, 0);
    close(fd);
    if (error == EBADMSG)
        return delivery_trouble(d, 0, "the data of this message is not as long as it should be");
    return delivery_trouble(d, error, "the message cannot be written to %s", m->path);
}

static int maildir_sync(void *box);

/* The directories are others now. What lies in the old ones is there for whoever moved them, and synced; but not the
 * message in hand, when it has only now come into new/ (made), since nobody was told of it. One that was there before
 * stays: it may be all that another recipient with this mailbox has. False: it cannot be taken back, since they are
 * out of our cage, so there it stays. */
static bool let_go(struct maildir *m, const struct names *n, bool made) {
    bool back = !made || unlinkat(m->new, n->name, 0) == 0 || errno == ENOENT;
    m->lost = maildir_sync(m); /* told by the next sync */
    close_dirs(m);
    return back;
}

static struct status maildir_store(void *box, struct delivery *d) {
    struct maildir *m = box;
    struct names n;
    struct status s;
    bool again;
    int64_t seconds = d->message.arrival / 1000;
    snprintf(n.name, sizeof n.name, "%lld.Q%s.postern", (long long)seconds, qid_format(d->id).c);
    snprintf(n.temp, sizeof n.temp, "%s.%d", n.name, (int)getpid());
    for (int i = 1;; i++) {
        if (m->new < 0 && !open_dirs(m)) {
            int error = errno;
            /* ENOENT: it was replaced while we opened it */
            if (error == ENOENT && i < TRIES) continue;
            return delivery_trouble(d, error, "the Maildir %s cannot be opened or created", m->path);
        }
        s = store_in(d, m, &n, &again);
        bool ok = s.kind == STATUS_OK;
        if (i == TRIES || still_there(m, d, ok) || !let_go(m, &n, ok && !again)) return s;
    }
}

/* ---- Syncing ---- */

static int sync_files(struct maildir *m) {
    int error = 0;
    for (size_t i = 0; i < FEW; i++)
        if (m->files[i] >= 0 && fsync(m->files[i]) != 0) error = errno;
    return error;
}

/* After a failed sync the kernel may forget what it could not write; syncfs reports it once to each descriptor that was
 * open at the time, as ours are. A file system that has given up may say yes to syncfs, but not to fsync. */
static int sync_dirs(const struct maildir *m) {
    if (fsync(m->new) != 0) return errno;
    return m->replaced && fsync(m->cur) != 0 ? errno : 0;
}

static int64_t learn(int64_t known, int64_t now) {
    return known ? (7 * known + now) / 8 : now;
}

static int sync_all(struct maildir *m) {
    int64_t began = clock_us(CLOCK_MONOTONIC), n = (int64_t)m->stored;
    bool one_by_one = m->stored == 1 || (m->stored <= FEW && n * m->file_us < m->all_us);
    int error = one_by_one ? sync_files(m) : syncfs(m->new) == 0 ? 0 : errno;
    if (!error) error = sync_dirs(m);
    int64_t took = clock_us(CLOCK_MONOTONIC) - began;
    if (one_by_one) m->file_us = learn(m->file_us, took / n + 1);
    else m->all_us = learn(m->all_us, took);
    if (one_by_one && m->stored > 1) m->all_us -= m->all_us / 16; /* so that it is tried again some day */
    return error;
}

static int maildir_sync(void *box) {
    struct maildir *m = box;
    int error = m->stored ? sync_all(m) : 0;
    close_files(m);
    if (!error) error = m->lost;
    m->stored = 0;
    m->replaced = false;
    m->lost = 0;
    if (error)
        close_dirs(m); /* these descriptors have reported it; what is stored next is reported to new ones */
    return error;
}

/* ---- Its life ---- */

static void *maildir_open(const char *path) {
    struct maildir *m = xmalloc(sizeof *m);
    *m = (struct maildir){.path = path, .top = -1, .tmp = -1, .new = -1, .cur = -1};
    for (size_t i = 0; i < FEW; i++) m->files[i] = -1;
    return m;
}

static void maildir_close(void *box) {
    struct maildir *m = box;
    close_files(m);
    close_dirs(m);
    free(m);
}

const struct mailbox_kind mailbox_maildir = {.prefix = "maildir:",
                                             .open = maildir_open,
                                             .store = maildir_store,
                                             .sync = maildir_sync,
                                             .close = maildir_close};
