/* disk_posix.c: the real disk: openat(2) beneath directories that are held open from the start. */
#include "queue/disk.h"

#include "common/arena.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct posix {
    struct disk disk;
    uid_t uid; /* ours */
    int dirs[DISK_DIRS];
};

struct listed {
    ino_t inode;
    size_t name; /* where it begins in names */
};

struct disk_list {
    int dir;
    struct listed *v;
    size_t n, cap, at;
    char *names; /* NUL-terminated, one after the other */
    size_t used, room;
};

static struct posix *of(struct disk *d) {
    return (struct posix *)d; /* its first member */
}

const char *disk_dir_name(int dir, char mem[8]) {
    if (dir == DISK_ASIDE) return "aside";
    if (dir < 0 || dir >= DISK_FOLDERS) return ".";
    snprintf(mem, 8, "%02x", (unsigned)dir % DISK_FOLDERS);
    return mem;
}

/* O_NONBLOCK: a FIFO that somebody put into the spool must not stop us. O_NOATIME: reading a million files at a start
 * must not write a million inodes; only the owner may ask for it. */
static int px_open(struct disk *d, int dir, const char *name, enum disk_mode mode, int *file) {
    static const int flags[] = {
        [DISK_CREATE] = O_RDWR | O_CREAT | O_EXCL,
        [DISK_READ] = O_RDONLY | O_NONBLOCK,
        [DISK_WRITE] = O_RDWR | O_NONBLOCK,
    };
    int how = flags[mode] | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
    int fd = openat(of(d)->dirs[dir], name, how | (mode == DISK_READ ? O_NOATIME : 0), 0600);
    if (fd < 0 && errno == EPERM) fd = openat(of(d)->dirs[dir], name, how, 0600);
    if (fd < 0) return errno;
    *file = fd;
    return 0;
}

static void px_close(struct disk *d, int file) {
    (void)d;
    close(file);
}

static int px_write(struct disk *d, int file, const void *bytes, size_t n, uint64_t at) {
    const char *p = bytes;
    (void)d;
    while (n) {
        ssize_t did = pwrite(file, p, n, (off_t)at);
        if (did < 0 && errno == EINTR) continue;
        if (did < 0) return errno;
        if (did == 0) return EIO;
        p += did, n -= (size_t)did, at += (uint64_t)did;
    }
    return 0;
}

static int px_read(struct disk *d, int file, void *bytes, size_t n, uint64_t at, size_t *got) {
    char *p = bytes;
    (void)d;
    *got = 0;
    while (*got < n) {
        ssize_t did = pread(file, p + *got, n - *got, (off_t)(at + *got));
        if (did < 0 && errno == EINTR) continue;
        if (did < 0) return errno;
        if (did == 0) break;
        *got += (size_t)did;
    }
    return 0;
}

static int px_sync(struct disk *d, int file) {
    (void)d;
    return fdatasync(file) == 0 ? 0 : errno;
}

/* After a failed sync the kernel may forget what it could not write, and say yes to the next fsync of the
 * same descriptor: so that descriptor is not asked again, a new one is opened. */
static void reopen(struct posix *p, int dir) {
    int fd = openat(p->dirs[dir], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;
    close(p->dirs[dir]);
    p->dirs[dir] = fd;
}

static int px_sync_dir(struct disk *d, int dir) {
    if (fsync(of(d)->dirs[dir]) == 0) return 0;
    int error = errno;
    reopen(of(d), dir);
    return error;
}

static int px_sync_all(struct disk *d) {
    if (syncfs(of(d)->dirs[DISK_ROOT]) == 0) return 0;
    int error = errno;
    reopen(of(d), DISK_ROOT);
    return error;
}

static int px_info(struct disk *d, int dir, const char *name, struct disk_info *info) {
    struct stat st;
    if (fstatat(of(d)->dirs[dir], name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno;
    *info = (struct disk_info){
        .size = (uint64_t)st.st_size,
        .regular = S_ISREG(st.st_mode) && st.st_nlink == 1,
        .owned = st.st_uid == of(d)->uid,
        .ours = st.st_uid == of(d)->uid && (st.st_mode & 077) == 0,
        .uid = st.st_uid,
        .mode = st.st_mode & 07777,
    };
    return 0;
}

static int px_unlink(struct disk *d, int dir, const char *name) {
    return unlinkat(of(d)->dirs[dir], name, 0) == 0 ? 0 : errno;
}

static int px_rename(struct disk *d, int dir, const char *name, int to_dir, const char *to_name) {
    return renameat2(of(d)->dirs[dir], name, of(d)->dirs[to_dir], to_name, RENAME_NOREPLACE) == 0 ? 0 : errno;
}

static void list_add(struct disk_list *l, const struct dirent *e) {
    size_t n = strlen(e->d_name);
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || n > DISK_NAME_MAX) return;
    l->v = xgrow(l->v, &l->cap, l->n + 1, sizeof *l->v);
    l->names = xgrow(l->names, &l->room, l->used + n + 1, 1);
    memcpy(l->names + l->used, e->d_name, n + 1);
    l->v[l->n++] = (struct listed){e->d_ino, l->used};
    l->used += n + 1;
}

static int by_inode(const void *a, const void *b) {
    const struct listed *x = a, *y = b;
    return (x->inode > y->inode) - (x->inode < y->inode);
}

static void px_list_close(struct disk *d, struct disk_list *list) {
    (void)d;
    free(list->v);
    free(list->names);
    free(list);
}

/* Reads all names at once and gives them in the order of their inodes: a directory's own order is that of
 * a hash, and whoever opens the files in it makes the disk jump for each. A folder holds a 256th of the
 * queue: 8,000 names of a million messages. */
static int px_list(struct disk *d, int dir, struct disk_list **list) {
    if (of(d)->dirs[dir] < 0) return ENOENT;
    int fd = openat(of(d)->dirs[dir], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (!stream) {
        int error = errno;
        if (fd >= 0) close(fd);
        return error;
    }
    struct disk_list *l = xmalloc(sizeof *l);
    errno = 0;
    for (struct dirent *e; (e = readdir(stream)); errno = 0) list_add(l, e);
    int error = errno;
    closedir(stream);
    if (error) {
        px_list_close(d, l);
        return error;
    }
    if (l->n) qsort(l->v, l->n, sizeof *l->v, by_inode);
    l->dir = dir;
    *list = l;
    return 0;
}

/* Control files are read in the order in which they are listed: what comes soon is asked of the disk now, so that it
 * has many requests at a time to put in order. From a cold disk this is several times as fast. */
static void read_ahead(struct posix *p, const struct disk_list *l) {
    enum { AHEAD = 64, OCTETS = 64 * 1024 };
    if (l->dir >= DISK_FOLDERS || l->at + AHEAD >= l->n) return;
    const char *name = l->names + l->v[l->at + AHEAD].name;
    size_t n = strlen(name);
    if (n < 2 || name[n - 1] != 'c') return;
    int fd = openat(p->dirs[l->dir], name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return;
    posix_fadvise(fd, 0, OCTETS, POSIX_FADV_WILLNEED);
    close(fd);
}

static int px_list_next(struct disk *d, struct disk_list *list, char name[DISK_NAME_MAX + 1]) {
    if (list->at == list->n) return ENOENT;
    read_ahead(of(d), list);
    const char *from = list->names + list->v[list->at++].name;
    memcpy(name, from, strlen(from) + 1);
    return 0;
}

static int px_space(struct disk *d, struct disk_space *space) {
    struct statvfs v;
    if (fstatvfs(of(d)->dirs[DISK_ROOT], &v) != 0) return errno;
    space->bytes = (uint64_t)v.f_bavail * v.f_frsize;
    space->inodes = v.f_files ? (uint64_t)v.f_favail : UINT64_MAX;
    return 0;
}

static int px_lend(struct disk *d, int dir, const char *name, int *file) {
    return px_open(d, dir, name, DISK_READ, file);
}

/* Sealed: whoever reads it, nobody can change it. */
static int px_memory(struct disk *d, const void *bytes, size_t n, int *file) {
    int fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return errno;
    int error = px_write(d, fd, bytes, n, 0);
    if (!error && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        error = errno;
    if (error) close(fd);
    else *file = fd;
    return error;
}

static const struct disk_ops posix_ops = {
    .open = px_open,
    .close = px_close,
    .write = px_write,
    .read = px_read,
    .sync = px_sync,
    .sync_dir = px_sync_dir,
    .sync_all = px_sync_all,
    .info = px_info,
    .unlink = px_unlink,
    .rename = px_rename,
    .list = px_list,
    .list_next = px_list_next,
    .list_close = px_list_close,
    .space = px_space,
    .lend = px_lend,
    .memory = px_memory,
};

static int open_dir(int root, const char *name, bool *made) {
    struct stat st;
    bool fresh = mkdirat(root, name, 0700) == 0;
    if (!fresh && errno != EEXIST) return -1;
    *made |= fresh;
    int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return -1;
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid()) return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

struct disk *disk_posix_new(int root_fd, int *error, const char **where, char mem[8]) {
    struct posix *p = xmalloc(sizeof *p);
    bool made = false;
    p->disk.ops = &posix_ops;
    p->uid = geteuid();
    for (int i = 0; i < DISK_DIRS; i++) p->dirs[i] = -1;
    p->dirs[DISK_ROOT] = root_fd;
    for (int i = 0; i < DISK_DIRS; i++) {
        if (i == DISK_ROOT) continue;
        const char *name = disk_dir_name(i, mem);
        p->dirs[i] = open_dir(root_fd, name, &made);
        if (p->dirs[i] >= 0) continue;
        *error = errno;
        *where = name;
        disk_posix_free(&p->disk);
        return NULL;
    }
    if (!made || fsync(root_fd) == 0)
        return &p->disk; /* what will be accepted into them must be found again */
    *error = errno;
    *where = ".";
    disk_posix_free(&p->disk);
    return NULL;
}

struct disk *disk_posix_look(int root_fd) {
    struct posix *p = xmalloc(sizeof *p);
    char mem[8];
    p->disk.ops = &posix_ops;
    p->uid = geteuid();
    for (int i = 0; i < DISK_DIRS; i++)
        p->dirs[i] = i == DISK_ROOT ? root_fd
                                    : openat(root_fd, disk_dir_name(i, mem),
                                             O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return &p->disk;
}

void disk_posix_free(struct disk *d) {
    if (!d) return;
    for (int i = 0; i < DISK_DIRS; i++)
        if (of(d)->dirs[i] >= 0) close(of(d)->dirs[i]);
    free(d);
}
