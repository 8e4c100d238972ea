/* file.c: the password table as a file that may be replaced while we run. It is looked at when it is used,
 * at most once a second. One that is wrong is told once, and the good one of before stays in force. */
#include "auth/shell.h"

#include "common/arena.h"
#include "common/cage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t again_ns = 1000000000;

static bool parent_of(const char *file, char *mem, size_t size) {
    const char *slash = strrchr(file, '/');
    if (!slash || slash == file) return false;
    return snprintf(mem, size, "%.*s", (int)(slash - file), file) < (int)size;
}

/* Still root: the directory is made now, since a wall can only be opened for what exists. Nobody but root
 * may write there: not even we may change a password. */
void file_prepare(struct self *me) {
    char dir[PATH_MAX];
    uid_t uid;
    gid_t gid = getegid();
    if (!parent_of(me->config->auth_file, dir, sizeof dir) || mkdir(dir, 0750) != 0) return;
    if (geteuid() != 0 || !cage_ids(ROLE_auth, me->config->uid_base, &uid, &gid)) return;
    if (chown(dir, 0, gid) != 0 || chmod(dir, 0750) != 0)
        LOG_TROUBLE("directory %s: %s", dir, strerror(errno));
}

static void trouble(struct auth *a, const char *what, const char *remedy) {
    if (!a->table_wrong) LOG_TROUBLE("password table %s %s", what, remedy);
    a->table_wrong = true;
}

static void take(struct auth *a, int fd, const struct stat *st) {
    char why[400];
    size_t size = (size_t)st->st_size, n = 0;
    char *mem = xmalloc(size + 1);
    ssize_t got = 0;
    while (n < size && (got = read(fd, mem + n, size - n)) > 0) n += (size_t)got;
    struct table *fresh =
        got < 0 ? NULL : table_parse((struct str){mem, n}, a->me->config->auth_file, why, sizeof why);
    explicit_bzero(mem, size);
    free(mem);
    if (!fresh) {
        trouble(a, got < 0 ? a->me->config->auth_file : why,
                got < 0 ? "cannot be read" : "; the one of before stays in force");
        return;
    }
    table_free(a->table);
    a->table = fresh;
    a->table_wrong = false;
    LOG_NOTE("password table %s: %zu logins", a->me->config->auth_file, table_count(fresh));
}

static void open_table(struct auth *a) {
    struct stat st;
    const char *file = a->me->config->auth_file;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0)
        trouble(a, file,
                errno == EACCES ? "cannot be read: chgrp it to the group of auth, chmod 0640"
                                : strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size > TABLE_SIZE_MAX)
        trouble(a, file, "is no file, or too large");
    else if (st.st_mode & 0007) trouble(a, file, "may be read by others: chmod o= it; it is not used");
    else take(a, fd, &st);
    if (fd >= 0) close(fd);
}

const struct table *file_table(struct auth *a) {
    struct stat st;
    int64_t now = loop_now(a->me->loop);
    if (a->looked && now - a->looked_at < again_ns) return a->table;
    a->looked = true;
    a->looked_at = now;
    uint64_t seen[4] = {0};
    if (stat(a->me->config->auth_file, &st) == 0) {
        seen[0] = st.st_ino, seen[1] = (uint64_t)st.st_size;
        seen[2] = (uint64_t)st.st_ctim.tv_sec, seen[3] = (uint64_t)st.st_ctim.tv_nsec;
    } else if (errno == ENOENT) {
        table_free(a->table); /* no table, no logins */
        a->table = NULL;
    }
    if (memcmp(seen, a->version, sizeof seen) == 0) return a->table;
    memcpy(a->version, seen, sizeof seen);
    if (seen[0]) {
        a->table_wrong = false;
        open_table(a);
    }
    return a->table;
}
