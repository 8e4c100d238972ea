/* mbox.c: messages onto the end of an mbox file.
 *
 *   state                                  what a reader (who takes the locks) sees
 *   locked, being appended                 waits
 *   unlocked                               the messages of this round
 *   a write failed: cut to its old length  what was there before
 *   synced (mbox_sync)                     the messages (commit point: fdatasync)
 *
 * Locks as Debian policy 11.6 says: fcntl(2) first, then the dot lock; who does not get the second gives back
 * the first. Where the user may not create files beside his mailbox there is no dot lock, fcntl has to do. A
 * dot lock is stale when it is old; and when Postern wrote it (its text says so) while we hold the fcntl
 * lock: a living Postern would hold that. The file must be regular, have one name, and belong to us (or to
 * root, for system mailboxes): no mail goes through a link somewhere else.
 *
 * The locks are taken once in a round, for all messages that came in it. The file stays open: to close it
 * would give back the fcntl lock, whichever descriptor it was taken with. When its name leads elsewhere
 * (readers replace mailboxes) it is synced and opened anew. */
#include "deliver-local/delivery.h"

#include "common/arena.h"
#include "deliver-local/seen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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
    bool locked, dot_locked;
    bool busy; /* in this round the locks could not be had: the others do not wait for them as long again */
    off_t size, grown; /* before the message in hand; by how much it grew */
    /* since the last sync: */
    bool dirty, created;
    int lost; /* errno of a sync that had to be made early */
    /* Everything from ours_from to ours_to was appended by this process, which knows what became of it. */
    off_t ours_from, ours_to;
    /* the queue ids before that, within the last 4 MiB, and where they stand */
    struct seen ids;
    bool ids_known;
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
    if (m->dir >= 0) return true;
    m->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->dir < 0 && errno == EACCES) m->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return m->dir >= 0;
}

static bool open_file(struct mbox *m) {
    if (m->fd >= 0) return true;
    const int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    m->fd = openat(m->dir, m->name, flags);
    if (m->fd < 0 && errno == ENOENT) {
        m->fd = openat(m->dir, m->name, flags | O_CREAT | O_EXCL, 0600);
        m->created |= m->fd >= 0;
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
    if (st->st_nlink > 1) return "has more than one name (hard links)";
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
    if (m->locked) fcntl_lock(m->fd, F_UNLCK);
    m->locked = m->dot_locked = false;
}

/* Is the name still the file that we have locked? A reader may have replaced it while we waited. */
static bool still_there(const struct mbox *m, const struct stat *mine) {
    struct stat st;
    return lstat(m->path, &st) == 0 && st.st_dev == mine->st_dev && st.st_ino == mine->st_ino;
}

/* ---- Appending ---- */

static bool put(void *ctx, const char *p, size_t n) {
    struct mbox *m = ctx;
    while (n) {
        ssize_t w = write(m->fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return false;
        m->grown += w;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* What is missing before a From_ line may stand: a line end and a blank line, when somebody left them out, or
 * died. */
static int separate(struct mbox *m) {
    char tail[2] = {'\n', '\n'};
    if (m->size == 0 || m->size == m->ours_to) return 0;
    off_t from = m->size > 2 ? m->size - 2 : 0;
    size_t n = (size_t)(m->size - from);
    if (pread(m->fd, tail + 2 - n, n, from) != (ssize_t)n) return errno ? errno : EIO;
    size_t need = tail[1] != '\n' ? 2 : tail[0] != '\n' ? 1 : 0;
    return put(m, "\n\n", need) ? 0 : errno;
}

static int append(const struct delivery *d, struct mbox *m) {
    static struct format f;
    errno = 0;
    m->grown = 0;
    int error = separate(m);
    if (error) return error;
    format_start(&f, true, put, m);
    format_head(&f, &d->message);
    error = delivery_copy(d, &f);
    if (!format_end(&f) && !error) error = errno ? errno : EIO;
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

/* What stands there already is written once more: the kernel may have lost it in a sync that failed, and would say
 * nothing of that now. */
static bool rewrite_put(void *ctx, const char *p, size_t n) {
    struct compare *c = ctx;
    while (n) {
        ssize_t w = pwrite(c->m->fd, p, n, c->at);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return false;
        c->at += w;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

static bool run_at(const struct delivery *d, const struct mbox *m, off_t at,
                   bool (*what)(void *ctx, const char *p, size_t n)) {
    static struct format f;
    struct compare c = {m, at};
    format_start(&f, true, what, &c);
    format_head(&f, &d->message);
    return delivery_copy(d, &f) == 0 && format_end(&f);
}

static int rewrite_at(const struct delivery *d, struct mbox *m, off_t at) {
    int flags = fcntl(m->fd, F_GETFL);
    errno = 0;
    if (flags < 0 || fcntl(m->fd, F_SETFL, flags & ~O_APPEND) != 0) return errno;
    bool ok = run_at(d, m, at, rewrite_put);
    int error = ok ? 0 : errno ? errno : EIO;
    if (fcntl(m->fd, F_SETFL, flags) != 0 && !error) error = errno;
    return error;
}

enum { HEAD_MAX = 65536, WINDOW = 65536, WINDOWS_MAX = 64, ID_MAX = 3 + QID_LEN };

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

static bool is_id(const char *p) {
    for (size_t i = 0; i < QID_LEN; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'A' && p[i] <= 'Z'))) return false;
    return true;
}

static uint64_t id_hash(const char *p) {
    return str_hash((struct str){p, QID_LEN}, 7);
}

/* Everything in the last 4 MiB before `end` that looks like the id in a Received field, and where it stands. */
static bool know_ids(struct mbox *m, off_t end) {
    static char window[WINDOW + ID_MAX];
    if (m->ids_known) return true;
    seen_clear(&m->ids);
    for (int i = 0; i < WINDOWS_MAX && end > 0; i++) {
        off_t from = end > WINDOW ? end - WINDOW : 0;
        size_t size = (size_t)(end - from) + ID_MAX;
        ssize_t got = pread(m->fd, window, size, from);
        if (got < 0) return false;
        const char *stop = window + (got < (ssize_t)size ? got : (ssize_t)size);
        for (const char *p = window; (p = memmem(p, (size_t)(stop - p), "id ", 3)) && stop - p >= ID_MAX; p++)
            if (is_id(p + 3)) seen_add(&m->ids, id_hash(p + 3), (uint64_t)(from + (p + 3 - window)));
        end = from;
    }
    m->ids_known = true;
    return true;
}

/* The message begins with h, in which its id stands at id. The whole of it, octet for octet. */
static bool find_by_id(const struct delivery *d, struct mbox *m, const char *id, size_t before, off_t *at) {
    size_t turn = 0;
    uint64_t place;
    if (!know_ids(m, m->ours_from)) return false;
    while (seen_find(&m->ids, id_hash(id), &turn, &place)) {
        *at = (off_t)place - (off_t)before;
        if (*at >= 0 && run_at(d, m, *at, compare_put)) return true;
    }
    return false;
}

/* The whole message, octet for octet, within the last 4 MiB of what we have not appended ourselves: a worker was killed
 * between its append and its result. A part of it (killed while it was appended) does not count, so nothing is
 * lost by this. Only for messages that are not fresh; what the prefix (Received with the queue id) says makes
 * the copy unmistakable. */
static bool is_there(const struct delivery *d, struct mbox *m, off_t *at) {
    static struct format f;
    static struct head h;
    struct qid_text id = qid_format(d->id);
    if (!d->maybe_again || !d->message.prefix.n || !m->ours_from) return false;
    h.n = 0;
    format_start(&f, true, keep_head, &h);
    format_head(&f, &d->message);
    format_end(&f);
    const char *p = memmem(h.text, h.n, id.c, QID_LEN);
    return p && find_by_id(d, m, id.c, (size_t)(p - h.text), at);
}

/* ---- One message, under the locks ---- */

static struct status undo(struct delivery *d, struct mbox *m, int error) {
    if (ftruncate(m->fd, m->size) != 0)
        return delivery_trouble(d, error,
                                "mailbox %s could not be written, and not be cut back to %lld octets",
                                m->path, (long long)m->size);
    if (error == EBADMSG)
        return delivery_trouble(d, 0, "the data of this message is not as long as it should be");
    return delivery_trouble(d, error, "mailbox %s cannot be written", m->path);
}

static struct status write_again(struct delivery *d, struct mbox *m, off_t at) {
    int error = rewrite_at(d, m, at);
    if (error) return delivery_trouble(d, error, "mailbox %s cannot be written", m->path);
    m->dirty = true;
    return delivery_ok(d, "already in %s", m->path);
}

/* Somebody else has changed the file since we looked last: whatever we know of it is old. */
static void look_anew(struct mbox *m) {
    m->ours_from = m->size;
    m->ours_to = -1;
    m->ids_known = false;
}

static struct status append_one(struct delivery *d, struct mbox *m) {
    struct stat st;
    off_t at;
    if (fstat(m->fd, &st) != 0) return delivery_trouble(d, errno, "mailbox %s cannot be read", m->path);
    m->size = st.st_size;
    if (m->size != m->ours_to) look_anew(m);
    if (is_there(d, m, &at)) return write_again(d, m, at);
    int error = append(d, m);
    if (error) return undo(d, m, error);
    m->dirty = true;
    m->ours_to = m->size + m->grown;
    return delivery_ok(d, "delivered to %s", m->path);
}

/* ---- The file, once in a round ---- */

static int mbox_sync(void *box);

static void let_go(struct mbox *m) {
    unlock(m);
    if (m->dirty) m->lost = mbox_sync(m);
    if (m->fd >= 0) close(m->fd);
    if (m->dir >= 0) close(m->dir);
    m->fd = m->dir = -1;
    m->ours_to = -1;
}

/* Opened and locked, and the name leads to it. ok, or what is wrong; *again: another file has the name now. */
static struct status hold(struct delivery *d, struct mbox *m, bool *again) {
    struct stat st;
    *again = false;
    if (!open_dir(m) || !open_file(m)) return cannot_open(d, m, errno);
    const char *why = fstat(m->fd, &st) == 0 ? unfit(&st) : "cannot be read";
    if (why) return delivery_trouble(d, 0, "mailbox %s %s", m->path, why);
    m->busy = m->busy || !lock(m, d->lock_ms ? d->lock_ms : PATIENCE_MS);
    if (m->busy) return delivery_trouble(d, 0, "mailbox %s stays locked by another program", m->path);
    m->locked = true;
    *again = !still_there(m, &st);
    if (*again) return delivery_trouble(d, 0, "mailbox %s is replaced again and again", m->path);
    why = fstat(m->fd, &st) == 0 ? unfit(&st) : "cannot be read";
    if (why) return delivery_trouble(d, 0, "mailbox %s %s", m->path, why);
    if (d->unwanted && d->unwanted()) return delivery_trouble(d, 0, "dispatch is gone");
    return delivery_ok(d, "locked");
}

static struct status mbox_store(void *box, struct delivery *d) {
    struct mbox *m = box;
    bool again = true;
    if (m->locked) return append_one(d, m);
    struct status s = {.kind = STATUS_LATER};
    for (int i = 0; i < REOPEN_MAX && again; i++) {
        s = hold(d, m, &again);
        if (s.kind != STATUS_OK) let_go(m);
    }
    return s.kind == STATUS_OK ? append_one(d, m) : s;
}

/* ---- Its life ---- */

static int mbox_sync(void *box) {
    struct mbox *m = box;
    int error = m->dirty && fdatasync(m->fd) != 0 ? errno : 0;
    if (!error && m->created && fsync(m->dir) != 0 && errno != EBADF) error = errno; /* EBADF: O_PATH */
    if (!error) m->created = false;
    if (error) m->ours_to = -1; /* what we appended is delivered again, and looked for */
    if (!error) error = m->lost;
    m->dirty = false;
    m->lost = 0;
    return error;
}

static void *mbox_open(const char *path) {
    struct mbox *m = xmalloc(sizeof *m);
    *m = (struct mbox){.path = path, .dir = -1, .fd = -1, .ours_to = -1};
    return m;
}

static void mbox_rest(void *box) {
    struct mbox *m = box;
    unlock(m);
    m->busy = false;
}

static void mbox_close(void *box) {
    struct mbox *m = box;
    unlock(m);
    if (m->fd >= 0) close(m->fd);
    if (m->dir >= 0) close(m->dir);
    seen_clear(&m->ids);
    free(m);
}

const struct mailbox_kind mailbox_mbox = {"mbox:", mbox_open, mbox_store, mbox_rest, mbox_sync, mbox_close};
