/* mbox.c: a message onto the end of an mbox file.
 *
 *   state                                  what a reader (who takes the locks) sees
 *   locked, being appended                 waits
 *   synced, unlocked                       the message (commit point: fsync)
 *   a write failed: cut to its old length  what was there before
 *
 * Locks as Debian policy 11.6 says: fcntl(2) first, then the dot lock; who does not get the second gives back
 * the first. Where the user may not create files beside his mailbox there is no dot lock, fcntl has to do. A
 * dot lock is stale when it is old; and when Postern wrote it (its text says so) while we hold the fcntl
 * lock: a living Postern would hold that. The file must be regular, have one name, and belong to us (or to
 * root, for system mailboxes): no mail goes through a link somewhere else. */
#include "deliver-local/delivery.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STALE_SECONDS = 300, PATIENCE_MS = 30000, WAIT_MIN_MS = 2, WAIT_MAX_MS = 50, REOPEN_MAX = 5 };
static const char our_mark[] = " postern\n";

struct mbox {
    const char *path, *name;
    char lock_name[300];
    int dir, fd;
    bool dot_locked, created;
    off_t old_size;
};

static int64_t now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- The file ---- */

static bool open_dir(struct mbox *m) {
    char dir[DELIVERY_PATH_MAX + 1];
    const char *slash = strrchr(m->path, '/');
    m->name = slash + 1;
    snprintf(dir, sizeof dir, "%.*s", slash == m->path ? 1 : (int)(slash - m->path), m->path);
    if (snprintf(m->lock_name, sizeof m->lock_name, "%s.lock", m->name) >= (int)sizeof m->lock_name) {
        errno = ENAMETOOLONG;
        return false;
    }
    m->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->dir < 0 && errno == EACCES) m->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return m->dir >= 0;
}

static bool open_file(struct mbox *m) {
    const int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    m->fd = openat(m->dir, m->name, flags);
    if (m->fd < 0 && errno == ENOENT) {
        m->fd = openat(m->dir, m->name, flags | O_CREAT | O_EXCL, 0600);
        m->created = m->fd >= 0;
        if (m->fd < 0 && errno == EEXIST) m->fd = openat(m->dir, m->name, flags);
    }
    return m->fd >= 0;
}

static struct status cannot_open(struct delivery *d, const struct mbox *m, int error) {
    struct stat st;
    bool there = m->dir >= 0 && fstatat(m->dir, m->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (m->dir < 0)
        return delivery_trouble(d, error, "the directory of mailbox %s cannot be opened", m->path);
    if (error == ELOOP) return delivery_trouble(d, 0, "mailbox %s is a symbolic link; remove it", m->path);
    if (error == EACCES && !there)
        return delivery_trouble(
            d, 0,
            "mailbox %s does not exist and UID %u GID %u may not create it; create it, or give "
            "its directory to group mail with mode 2775",
            m->path, (unsigned)geteuid(), (unsigned)getegid());
    if (error == EACCES)
        return delivery_trouble(d, 0, "mailbox %s may not be written by UID %u; see its owner and mode",
                                m->path, (unsigned)geteuid());
    return delivery_trouble(d, error, "mailbox %s cannot be opened", m->path);
}

/* NULL, or what is wrong with the open file. */
static const char *unfit(const struct stat *st) {
    if (!S_ISREG(st->st_mode)) return "is not a regular file";
    if (st->st_nlink != 1) return "has more than one name (hard links)";
    if (st->st_uid != geteuid() && st->st_uid != 0) return "belongs to another user";
    return NULL;
}

/* ---- The locks ---- */

static bool fcntl_lock(int fd, short type) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &l) == 0;
}

/* We hold the fcntl lock. */
static bool dot_lock_is_stale(const struct mbox *m) {
    char text[64];
    struct stat st;
    int fd = openat(m->dir, m->lock_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        /* Not ours to read: only its age counts. */
        return fstatat(m->dir, m->lock_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               time(NULL) - st.st_mtime > STALE_SECONDS;
    }
    ssize_t n = fstat(fd, &st) == 0 ? read(fd, text, sizeof text) : -1;
    close(fd);
    if (n < 0) return false;
    size_t mark = sizeof our_mark - 1;
    bool ours = (size_t)n > mark && memcmp(text + (size_t)n - mark, our_mark, mark) == 0;
    return ours || time(NULL) - st.st_mtime > STALE_SECONDS;
}

enum locked { LOCKED, BUSY, NO_DOT_LOCK };

static enum locked dot_lock(struct mbox *m) {
    char text[40];
    int fd = openat(m->dir, m->lock_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST) {
        if (dot_lock_is_stale(m)) unlinkat(m->dir, m->lock_name, 0);
        return BUSY;
    }
    if (fd < 0) return NO_DOT_LOCK;
    /* A number first: liblockfile reads it as the owner's PID. */
    int n = snprintf(text, sizeof text, "%d%s", (int)getpid(), our_mark);
    bool ok = write(fd, text, (size_t)n) == n;
    close(fd);
    m->dot_locked = true;
    return ok ? LOCKED : NO_DOT_LOCK;
}

static bool lock_once(struct mbox *m) {
    if (!fcntl_lock(m->fd, F_WRLCK)) return false;
    if (dot_lock(m) != BUSY) return true;
    fcntl_lock(m->fd, F_UNLCK);
    return false;
}

static bool lock(struct mbox *m, int64_t patience_ms) {
    int64_t until = now_ms() + patience_ms;
    unsigned seed = (unsigned)getpid();
    for (int64_t wait = WAIT_MIN_MS; !lock_once(m); wait = wait * 2 < WAIT_MAX_MS ? wait * 2 : WAIT_MAX_MS) {
        if (now_ms() >= until) return false;
        seed = seed * 1103515245u + 12345u; /* so that two who wait do not wake together for ever */
        int64_t ms = 1 + (int64_t)(seed >> 16) % wait;
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    }
    return true;
}

static void unlock(struct mbox *m) {
    if (m->dot_locked) unlinkat(m->dir, m->lock_name, 0);
    m->dot_locked = false;
    if (m->fd >= 0) close(m->fd); /* gives back the fcntl lock too */
    m->fd = -1;
}

/* Is the name still the file that we have locked? A reader may have replaced it while we waited. */
static bool still_there(const struct mbox *m, const struct stat *mine) {
    struct stat st;
    return fstatat(m->dir, m->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == mine->st_dev &&
           st.st_ino == mine->st_ino;
}

/* ---- Appending ---- */

static bool put(void *ctx, const char *p, size_t n) {
    const struct mbox *m = ctx;
    while (n) {
        ssize_t w = write(m->fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* What is missing before a From_ line may stand: a line end and a blank line, when somebody left them out, or
 * died. */
static int separate(struct mbox *m) {
    char tail[2] = {'\n', '\n'};
    if (m->old_size == 0) return 0;
    off_t from = m->old_size > 2 ? m->old_size - 2 : 0;
    size_t n = (size_t)(m->old_size - from);
    if (pread(m->fd, tail + 2 - n, n, from) != (ssize_t)n) return errno ? errno : EIO;
    size_t need = tail[1] != '\n' ? 2 : tail[0] != '\n' ? 1 : 0;
    return put(m, "\n\n", need) ? 0 : errno;
}

static int append(const struct delivery *d, struct mbox *m) {
    static struct format f;
    errno = 0;
    int error = separate(m);
    if (error) return error;
    format_start(&f, true, put, m);
    format_head(&f, &d->message);
    error = delivery_copy(d, &f);
    if (!format_end(&f) && !error) error = errno ? errno : EIO;
    if (!error && fsync(m->fd) != 0) error = errno;
    if (!error && m->created && fsync(m->dir) != 0 && errno != EBADF) error = errno; /* EBADF: O_PATH */
    return error;
}

/* ---- Is it there already? ---- */

struct compare {
    const struct mbox *m;
    off_t at;
};

static bool compare_put(void *ctx, const char *p, size_t n) {
    struct compare *c = ctx;
    char block[4096];
    while (n) {
        size_t want = n < sizeof block ? n : sizeof block;
        ssize_t got = pread(c->m->fd, block, want, c->at);
        if (got <= 0 || memcmp(block, p, (size_t)got) != 0) return false;
        c->at += got;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static bool is_at(const struct delivery *d, const struct mbox *m, off_t at) {
    static struct format f;
    struct compare c = {m, at};
    format_start(&f, true, compare_put, &c);
    format_head(&f, &d->message);
    return delivery_copy(d, &f) == 0 && format_end(&f);
}

enum { HEAD_MAX = 600, WINDOW = 65536, WINDOWS_MAX = 64 };

struct head {
    char text[HEAD_MAX];
    size_t n;
};

static bool keep_head(void *ctx, const char *p, size_t n) {
    struct head *h = ctx;
    size_t room = sizeof h->text - h->n, take = n < room ? n : room;
    memcpy(h->text + h->n, p, take);
    h->n += take;
    return true;
}

/* The whole message, octet for octet, within the last 4 MiB: a worker was killed between its fsync and its
 * result. A part of it (killed while it was appended) does not count, so nothing is lost by this. Only for
 * messages that are not fresh; what the prefix (Received with the queue id) says makes the copy unmistakable.
 * */
static bool is_there(const struct delivery *d, const struct mbox *m) {
    static struct format f;
    static char window[WINDOW + HEAD_MAX];
    struct head h = {.n = 0};
    if (!d->maybe_again || !d->message.prefix.n) return false;
    format_start(&f, true, keep_head, &h);
    format_head(&f, &d->message);
    format_end(&f);
    h.n -= 2; /* the end of the message, which format_end added */
    off_t end = m->old_size;
    for (int i = 0; i < WINDOWS_MAX && end > 0; i++) {
        off_t from = end > WINDOW ? end - WINDOW : 0;
        size_t size = (size_t)(end - from) + h.n;
        ssize_t got = pread(m->fd, window, size < sizeof window ? size : sizeof window, from);
        if (got <= 0) return false;
        for (const char *p = window; (p = memmem(p, (size_t)(window + got - p), h.text, h.n)); p++)
            if (is_at(d, m, from + (p - window))) return true;
        end = from;
    }
    return false;
}

/* ---- The whole ---- */

static struct status undo(struct delivery *d, struct mbox *m, int error) {
    if (ftruncate(m->fd, m->old_size) != 0 || fsync(m->fd) != 0)
        return delivery_trouble(d, error,
                                "mailbox %s could not be written, and not be cut back to %lld octets",
                                m->path, (long long)m->old_size);
    if (error == EBADMSG)
        return delivery_trouble(d, 0, "the data of this message is not as long as it should be");
    return delivery_trouble(d, error, "mailbox %s cannot be written", m->path);
}

/* Locked. *again: the name leads to another file now. */
static struct status store(struct delivery *d, struct mbox *m, bool *again) {
    struct stat st;
    if (fstat(m->fd, &st) != 0) return delivery_trouble(d, errno, "mailbox %s cannot be read", m->path);
    *again = !still_there(m, &st);
    if (*again) return delivery_trouble(d, 0, "mailbox %s is replaced again and again", m->path);
    const char *why = unfit(&st);
    if (why) return delivery_trouble(d, 0, "mailbox %s %s", m->path, why);
    m->old_size = st.st_size;
    if (is_there(d, m)) return delivery_ok(d, "already in %s", m->path);
    int error = append(d, m);
    return error ? undo(d, m, error) : delivery_ok(d, "delivered to %s", m->path);
}

static struct status attempt(struct delivery *d, struct mbox *m, bool *again) {
    struct stat st;
    *again = false;
    if (!open_file(m)) return cannot_open(d, m, errno);
    const char *why = fstat(m->fd, &st) == 0 ? unfit(&st) : "cannot be read";
    struct status s;
    if (why) s = delivery_trouble(d, 0, "mailbox %s %s", m->path, why);
    else if (!lock(m, d->lock_ms ? d->lock_ms : PATIENCE_MS))
        s = delivery_trouble(d, 0, "mailbox %s stays locked by another program", m->path);
    else s = store(d, m, again);
    unlock(m);
    return s;
}

struct status mbox_deliver(struct delivery *d, const char *path) {
    struct mbox m = {.path = path, .dir = -1, .fd = -1};
    bool again = true;
    struct status s;
    if (!open_dir(&m)) s = cannot_open(d, &m, errno);
    else
        for (int i = 0; i < REOPEN_MAX && again; i++) s = attempt(d, &m, &again);
    if (m.dir >= 0) close(m.dir);
    return s;
}
