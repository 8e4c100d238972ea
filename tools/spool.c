/* spool.c: looks at the spool directory itself. It uses the queue's own store: what is judged here is judged by the
 * same code as at a start of the queue.
 *
 * Only looking, the journal is replayed onto a disk that forgets (disk_over.h). To repair is to do what a start of the
 * queue does, and before it what only root can do: give files and directories to the queue. Contents are read only as
 * the queue's user. */
#include "tools/spool.h"

#include "common/cage.h"
#include "queue/disk_over.h"
#include "queue/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { STEP = 256 };

struct looking {
    struct spool_check *c;
    int root;
    uid_t uid;
    gid_t gid;
    bool opening; /* what is told now is of the journal */
    bool recovers;
    bool blind; /* the queue's user cannot even look */
    uint64_t looked;
};

__attribute__((format(printf, 3, 4))) static int failed(struct spool_check *c, int status, const char *format,
                                                        ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(c->why, sizeof c->why, format, ap);
    va_end(ap);
    return status;
}

/* --- what only root can do: owners and modes --- */

static void tell(struct looking *l, enum finding what, const char *dir, const char *name, const char *why,
                 bool repaired) {
    char mem[DISK_NAME_MAX + 16];
    struct buf file = BUF(mem);
    buf_adds(&file, dir);
    if (*name) buf_addf(&file, "/%s", name);
    l->c->found(l->c->ctx, what, buf_str(&file), str_of(why), repaired);
}

static bool give(const struct looking *l, int dir, const char *name, mode_t mode) {
    return fchownat(dir, name, l->uid, l->gid, AT_SYMLINK_NOFOLLOW) == 0 && fchmodat(dir, name, mode, 0) == 0;
}

/* Something else has the name of a directory: it is put where the queue puts such things. */
static bool make_way(const struct looking *l, const char *name) {
    char to[64];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(to, sizeof to, "aside/%s.%u", name, i);
        if (renameat2(l->root, name, l->root, to, RENAME_NOREPLACE) == 0) return true;
        if (errno != EEXIST) return false;
    }
    return false;
}

static void look_at_dir(struct looking *l, const char *name) {
    struct stat st;
    const char *why = NULL;
    bool there = fstatat(l->root, name, &st, AT_SYMLINK_NOFOLLOW) == 0, is = there && S_ISDIR(st.st_mode);
    if (!there) why = "it is missing";
    else if (!is) why = "it is no directory";
    else if (st.st_uid != l->uid) why = "it is not the queue's";
    else if ((st.st_mode & 07777) != 0700) why = "its mode is not 0700";
    if (!why) return;
    bool repaired = l->c->repair && (is || !there || make_way(l, name)) &&
                    (is || mkdirat(l->root, name, 0700) == 0) && give(l, l->root, name, 0700);
    tell(l, FOUND_directory, name, "", why, repaired);
}

/* Whoever could write here was root or the queue: a plain file with one name can only be what it seems. */
static void look_at_rights(struct looking *l, int dir, const char *folder) {
    struct stat st;
    DIR *d = fdopendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
            st.st_nlink != 1)
            continue;
        if (st.st_uid == l->uid && (st.st_mode & 07777) == 0600) continue;
        if (give(l, dir, e->d_name, 0600))
            tell(l, FOUND_rights, folder, e->d_name, "its owner or mode is not ours", true);
    }
    if (d) closedir(d);
    else close(dir);
}

static void look_at_dirs(struct looking *l) {
    char mem[8];
    int fd;
    look_at_dir(l, disk_dir_name(DISK_ASIDE, mem));
    for (int i = 0; i < DISK_FOLDERS; i++) look_at_dir(l, disk_dir_name(i, mem));
    for (int i = 0; i <= DISK_FOLDERS && l->c->repair; i++) {
        const char *name = i < DISK_FOLDERS ? disk_dir_name(i, mem) : ".";
        fd = openat(l->root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) look_at_rights(l, fd, name);
    }
}

/* --- what the store tells --- */

static void on_answer(void *ctx, void *owner, const struct control *c, const struct status *s,
                      unsigned batch) {
    (void)ctx, (void)owner, (void)c, (void)s, (void)batch; /* nothing comes in */
}

static void on_retired(void *ctx, struct qid id, int64_t arrival) {
    (void)ctx, (void)id, (void)arrival;
}

/* Of files in folders the walk has told more. */
static void on_aside(void *ctx, struct str file, struct str why) {
    struct looking *l = ctx;
    if (l->opening) l->c->found(l->c->ctx, FOUND_journal, file, why, l->recovers);
}

static void on_intake(void *ctx, bool open, struct str why) {
    (void)ctx, (void)open, (void)why;
}

static void on_trouble(void *ctx, struct str text) {
    struct looking *l = ctx;
    if (l->opening) l->c->found(l->c->ctx, FOUND_journal, STR("journal"), text, l->recovers);
}

/* Behind end there is no whole record. */
static bool cut(const struct looking *l, const struct found *f) {
    char path[DISK_NAME_MAX + 16], mem[8];
    snprintf(path, sizeof path, "%s/%s", disk_dir_name(f->dir, mem), f->name);
    int fd = openat(l->root, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    bool ok = fd >= 0 && ftruncate(fd, (off_t)f->end) == 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

static void on_found(void *ctx, const struct found *f) {
    struct looking *l = ctx;
    char mem[8];
    bool root = f->dir == DISK_ROOT, repaired = l->recovers && f->what != FOUND_unreadable;
    if (repaired && f->what == FOUND_torn) repaired = cut(l, f);
    tell(l, f->what, root ? f->name : disk_dir_name(f->dir, mem), root ? "" : f->name, f->why, repaired);
}

static void on_message(void *ctx, const struct control *c) {
    struct looking *l = ctx;
    (void)c;
    l->looked++;
}

/* --- walking --- */

static void walk_through(struct looking *l, struct store_walk *w) {
    l->looked = 0;
    while (store_walk_step(w, STEP, on_message, l)) l->c->progress(l->c->ctx, l->looked);
    l->c->messages = l->looked;
    store_walk_free(w);
}

/* Every segment is replayed into pairs: the queue makes its journal anew when it is needed. */
static int go_through(struct looking *l, struct disk *disk) {
    struct store_user user = {.ctx = l,
                              .answer = on_answer,
                              .retired = on_retired,
                              .aside = on_aside,
                              .intake = on_intake,
                              .trouble = on_trouble};
    struct findings to = {l, on_found};
    struct store *s = store_new(disk, &(struct store_config){.recipients = 1}, &user);
    int status = 0;
    l->opening = true;
    int error = store_open(s);
    l->opening = false;
    if (error) {
        status = failed(l->c, EX_IOERR, "the journal or the file lease cannot be read: %s; look at the disk",
                        strerror(error));
    } else if (l->recovers) {
        struct store_walk *w = store_walk_new(s, true);
        store_walk_tell(w, &to);
        walk_through(l, w);
        store_commit(s, true);
        if (store_stopped(s) || store_unsynced(s))
            status = failed(l->c, EX_IOERR, "the repairs cannot be made durable; look at the disk");
    } else {
        walk_through(l, store_check_new(s, &to));
    }
    store_free(s);
    return status;
}

static int look(struct looking *l) {
    int fd = fcntl(l->root, F_DUPFD_CLOEXEC, 0);
    struct disk *real = disk_posix_look(fd), *over = disk_over_new(real);
    int status = go_through(l, over);
    disk_over_free(over);
    disk_posix_free(real);
    return status;
}

static int repair(struct looking *l) {
    const char *where = "";
    char mem[8];
    int error, fd = fcntl(l->root, F_DUPFD_CLOEXEC, 0);
    struct disk *real = disk_posix_new(fd, &error, &where, mem);
    if (!real)
        return failed(l->c, EX_IOERR, "the directory %s of the spool cannot be used: %s", where,
                      strerror(error));
    l->recovers = true;
    int status = go_through(l, real);
    l->recovers = false;
    disk_posix_free(real);
    return status;
}

/* --- beginning --- */

static int open_spool(struct looking *l) {
    struct spool_check *c = l->c;
    const char *path = c->config->spool_directory;
    struct stat st;
    l->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (l->root < 0)
        return failed(c, errno == EACCES ? EX_NOPERM : EX_NOINPUT, "%.300s: %s%s", path, strerror(errno),
                      errno == EACCES ? "; only root and the queue's user may look" : "");
    if (flock(l->root, LOCK_EX | LOCK_NB) != 0)
        return failed(c, EX_TEMPFAIL, "%.300s: another program works on it; try again when it has ended",
                      path);
    if (geteuid() != 0) {
        l->uid = geteuid();
        l->gid = getegid();
    } else if (!cage_ids(ROLE_queue, c->config->uid_base, &l->uid, &l->gid)) {
        return failed(
            c, EX_CONFIG,
            "there is no account _postern-queue, whose the spool would be: make it, or set uid-base");
    }
    bool fits = fstat(l->root, &st) == 0 && st.st_uid == l->uid && (st.st_mode & 077) == 0;
    if (fits) return 0;
    if (geteuid() != 0 && st.st_uid != l->uid)
        return failed(c, EX_NOPERM, "%.300s: it is not yours; only root and the queue's user may look", path);
    bool given = c->repair && fchown(l->root, l->uid, l->gid) == 0 && fchmod(l->root, 0700) == 0;
    tell(l, FOUND_directory, ".", "", "the spool directory is not the queue's alone", given);
    l->blind = !given && st.st_uid != l->uid;
    return 0;
}

static bool become(const struct looking *l) {
    if (geteuid() != 0 || !l->uid) return true;
    return setgroups(0, NULL) == 0 && setresgid(l->gid, l->gid, l->gid) == 0 &&
           setresuid(l->uid, l->uid, l->uid) == 0;
}

int spool_check(struct spool_check *c) {
    struct looking l = {.c = c};
    int status = open_spool(&l);
    if (!status && l.blind) return close(l.root);
    if (!status) look_at_dirs(&l);
    if (!status && !become(&l))
        status = failed(c, EX_OSERR, "cannot become the queue's user: %s", strerror(errno));
    if (!status && c->repair) status = repair(&l);
    if (!status) status = look(&l); /* after a repair: is all in order now? */
    if (l.root >= 0) close(l.root);
    return status;
}
