#include "supervise/dirs.h"

#include "common/cage.h"
#include "common/counters.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 1100 };

static bool make_parents(const char *path) {
    char mem[PATH_SIZE];
    size_t n = strlen(path);
    if (n >= sizeof mem) return false;
    memcpy(mem, path, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (mem[i] != '/') continue;
        mem[i] = '\0';
        if (mkdir(mem, 0755) == 0 && chmod(mem, 0755) != 0) return false; /* whatever the umask says */
        mem[i] = '/';
    }
    return true;
}

static bool says(struct buf *why, const char *what) {
    buf_addf(why, "%s: %s", what, strerror(errno));
    return false;
}

static bool is_ours(const struct stat *st, uid_t uid, mode_t mode, struct buf *why) {
    if (st->st_uid != uid && geteuid() != 0)
        buf_addf(
            why,
            "belongs to UID %u, not to you (UID %u): start posternd as root, or name a directory of your own",
            (unsigned)st->st_uid, (unsigned)uid);
    else if (st->st_uid != uid)
        buf_addf(why, "belongs to UID %u, but must belong to UID %u: chown it, or name another directory",
                 (unsigned)st->st_uid, (unsigned)uid);
    else if (st->st_mode & 022 & ~mode)
        buf_addf(why,
                 "can be written by others (mode %04o): look what is in it, then chmod %04o, or name another "
                 "directory",
                 (unsigned)(st->st_mode & 07777), (unsigned)mode);
    else return true;
    return false;
}

static bool set_rights(int fd, uid_t uid, gid_t gid, mode_t mode, struct buf *why) {
    if (geteuid() == 0 && fchown(fd, uid, gid) != 0) return says(why, "chown");
    return fchmod(fd, mode) == 0 || says(why, "chmod"); /* after chown, which takes set-group-ID away */
}

bool dirs_ensure(const char *path, uid_t uid, gid_t gid, mode_t mode, struct buf *why) {
    struct stat st;
    if (!make_parents(path)) return says(why, "its parent directory");
    bool made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST) return says(why, "cannot be made");
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return says(why, "is no directory that can be used");
    bool ok = fstat(fd, &st) == 0 || says(why, "stat");
    ok = ok && (made || is_ours(&st, uid, mode, why));
    if (ok && (made || (st.st_mode & 07777) != mode || st.st_gid != gid))
        ok = set_rights(fd, uid, gid, mode, why);
    close(fd);
    return ok;
}

/* Which directory belongs to whom. */
static const struct dir {
    const char *setting;
    enum role owner;
    mode_t mode;
    const char *below; /* or "" */
} rows[] = {
    {"run-directory", ROLE_supervise, 0755, ""},          {"run-directory", ROLE_supervise, 0555, "/empty"},
    {"run-directory", ROLE_supervise, 0755, "/counters"}, {"spool-directory", ROLE_queue, 0700, ""},
    {"state-directory", ROLE_dispatch, 0700, ""},         {"key-directory", ROLE_supervise, 0700, ""},
    {"drop-directory", ROLE_pickup, 03733, ""}, /* everyone may leave mail, and see only his own */
};

bool dirs_prepare(const char *file, const struct config *c, struct config_error *err) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[PATH_SIZE], mem[400];
        struct buf why = BUF(mem);
        const char *value = config_text(c, rows[i].setting);
        uid_t uid = geteuid();
        gid_t gid = getegid();
        snprintf(path, sizeof path, "%s%s", value, rows[i].below);
        while (strlen(path) > 1 && path[strlen(path) - 1] == '/') path[strlen(path) - 1] = '\0';
        if (uid == 0 && !cage_ids(rows[i].owner, c->uid_base, &uid, &gid))
            buf_adds(&why, "its owner's account is missing");
        else if (dirs_ensure(path, uid, gid, rows[i].mode, &why)) continue;
        config_blame(err, file, config_line(c, rows[i].setting), str_of(rows[i].setting), str_of(path),
                     buf_cstr(&why));
        return false;
    }
    return true;
}

int dirs_counters(const struct config *c, const char *program, unsigned instance) {
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/counters/%s.%u", c->run_directory, program, instance);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0 || (fchmod(fd, 0644) == 0 && ftruncate(fd, COUNTERS_SIZE) == 0)) return fd;
    close(fd);
    return -1;
}

void dirs_counters_clear(const struct config *c) {
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/counters", c->run_directory);
    DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.') unlinkat(dirfd(d), e->d_name, 0);
    if (d) closedir(d);
}

const char *dirs_root(const struct config *c, enum role role, char *mem, size_t size) {
    switch (role_table[role].root) {
    case ROOT_NONE:
        return NULL;
    case ROOT_SPOOL:
        return c->spool_directory;
    case ROOT_STATE:
        return c->state_directory;
    case ROOT_DROP:
        return c->drop_directory;
    case ROOT_EMPTY:
        break;
    }
    snprintf(mem, size, "%s/empty", c->run_directory);
    return mem;
}

static int refuse_lock(const char *file, const struct config *c, const char *why, struct config_error *err) {
    config_blame(err, file, config_line(c, "run-directory"), STR("run-directory"), str_of(c->run_directory),
                 why);
    return -1;
}

static int refuse_taken(const char *file, const struct config *c, int fd, struct config_error *err) {
    char mem[300], pid[16];
    struct buf why = BUF(mem);
    ssize_t n = pread(fd, pid, sizeof pid, 0);
    buf_addf(
        &why,
        "another posternd (pid %.*s) is using it: stop that one, or give this one a run-directory of its own",
        STR_ARGS(str_trim((struct str){pid, n > 0 ? (size_t)n : 0})));
    close(fd);
    return refuse_lock(file, c, buf_cstr(&why), err);
}

int dirs_lock(const char *file, const struct config *c, bool *unclean, struct config_error *err) {
    char path[PATH_SIZE], pid[32];
    struct stat st;
    snprintf(path, sizeof path, "%s/posternd.pid", c->run_directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) return refuse_lock(file, c, strerror(errno), err);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) return refuse_taken(file, c, fd, err);
    *unclean = fstat(fd, &st) == 0 && st.st_size > 0;
    int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) == 0 && fchmod(fd, 0644) == 0 && pwrite(fd, pid, (size_t)n, 0) == n) return fd;
    close(fd);
    return refuse_lock(file, c, "its pid file cannot be written", err);
}

bool dirs_unused(const char *file, const struct config *c, bool wait, struct config_error *err) {
    static const char *const names[] = {"spool-directory", "state-directory", "drop-directory"};
    int tries = wait ? 40 : 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *path = config_text(c, names[i]);
        bool free = false;
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        while (fd >= 0 && !(free = flock(fd, LOCK_EX | LOCK_NB) == 0) && --tries > 0) usleep(100000);
        if (fd >= 0) close(fd);
        if (free) continue;
        config_blame(err, file, config_line(c, names[i]), str_of(names[i]), str_of(path),
                     "a program of another instance works in it: stop that one, or give this one a directory "
                     "of its own");
        return false;
    }
    return true;
}

void dirs_unlock(int fd) {
    /* Emptied, not removed: who waits for the lock has this very file open. */
    if (fd >= 0 && ftruncate(fd, 0) == 0) close(fd);
}
