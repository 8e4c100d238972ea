/* tables.c: files that may be replaced while we run.
 *
 *   NAME.cdb        NAME       answer
 *   readable        any        from the map; a newer NAME is told to the log once: newaliases was forgotten
 *   absent          present    LATER 4.3.5: it was never compiled. (With "no such name", mail would be
 *                              refused for good.)
 *   absent          absent     no entries
 *   not readable    any        the old map when there is one, else LATER 4.3.5
 *
 * A map is mapped into memory by libcdb, which checks every offset against the file's size at opening.
 * Whoever cuts a map short in place, instead of replacing it, ends this program with SIGBUS; posternd starts
 * it again. */
#include "lookup/tables.h"

#include "common/arena.h"
#include "common/log.h"
#include "lookup/passwd.h"
#include "lookup/values.h"

#include <cdb.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PASSWD_SIZE_MAX = 64 << 20 };
static const int64_t again_ns = 1000000000;

/* What tells one version of a file from the next. */
struct version {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
};

struct map {
    const char *compiler; /* the command that makes it */
    char text[PATH_MAX], file[PATH_MAX];
    struct cdb cdb;
    bool open, looked;
    unsigned changes;
    struct version version;
    struct timespec told; /* mtime of the text of which was told that it is newer */
    int64_t looked_at;
    struct status fail;
    char why[512];
    bool failed;
};

struct tables {
    const int64_t *now;
    struct map alias, route;
    struct {
        char file[PATH_MAX];
        struct version version;
        struct passwd_table *table;
        bool looked;
        int64_t looked_at;
    } passwd;
    struct {
        char file[PATH_MAX];
        struct version version;
        struct senders *table;
        bool looked;
        int64_t looked_at;
    } senders;
    struct lookup_tables interface;
};

static struct version version_of(const struct stat *st) {
    return (struct version){st->st_dev, st->st_ino, st->st_size, st->st_mtim};
}

static bool later(struct timespec a, struct timespec b) {
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

static bool same_version(const struct version *a, const struct version *b) {
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && !later(a->mtime, b->mtime) &&
           !later(b->mtime, a->mtime);
}

/* ---- Maps ---- */

static void map_close(struct map *m) {
    if (!m->open) return;
    close(cdb_fileno(&m->cdb));
    cdb_free(&m->cdb);
    m->open = false;
}

static void map_fail(struct map *m, const char *what, const char *remedy) {
    struct buf b = BUF(m->why);
    buf_adds(&b, "table ");
    buf_add_escaped(&b, str_sub(str_of(m->text), 0, 80));
    buf_addf(&b, " %s; %s", what, remedy);
    buf_cstr(&b);
    if (!m->failed) LOG_TROUBLE("%s", m->why);
    m->failed = true;
    m->fail = status_make(451, "4.3.5", m->why);
}

static void map_absent(struct map *m) {
    struct stat st;
    char remedy[80];
    map_close(m);
    if (stat(m->text, &st) != 0) {
        m->failed = false;
        return;
    }
    snprintf(remedy, sizeof remedy, "run %s", m->compiler);
    map_fail(m, "was never compiled", remedy);
}

static void map_open(struct map *m) {
    struct stat st;
    struct cdb fresh;
    int fd = open(m->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && cdb_init(&fresh, fd) == 0) {
        map_close(m);
        m->cdb = fresh;
        m->version = version_of(&st);
        m->open = true;
        m->failed = false;
        return;
    }
    char what[100];
    snprintf(what, sizeof what, "cannot be read in its compiled form (%s)", strerror(errno));
    if (fd >= 0) close(fd);
    char remedy[80];
    snprintf(remedy, sizeof remedy, "run %s as root", m->compiler);
    map_fail(m, what, remedy);
}

/* Once for each version of the text. */
static void map_notice_newer_text(struct map *m) {
    struct stat st;
    if (stat(m->text, &st) != 0 || !later(st.st_mtim, m->version.mtime) || !later(st.st_mtim, m->told))
        return;
    m->told = st.st_mtim;
    LOG_NOTE("%s is newer than %s: its changes are not in force until %s was run", m->text, m->file,
             m->compiler);
}

static void map_refresh(struct map *m, int64_t now) {
    struct stat st;
    m->looked = true;
    m->looked_at = now;
    if (stat(m->file, &st) != 0 && errno == ENOENT) {
        map_absent(m);
        return;
    }
    struct version seen = version_of(&st);
    if (!m->open || !same_version(&seen, &m->version)) map_open(m);
    if (m->open) map_notice_newer_text(m);
}

static void map_look(struct map *m, int64_t now) {
    struct version before = m->version;
    bool first = !m->looked, open = m->open;
    if (m->looked && now - m->looked_at < again_ns) return;
    map_refresh(m, now);
    m->changes += !first && (open != m->open || !same_version(&before, &m->version));
}

static enum lookup_found map_find(struct map *m, int64_t now, struct str key, struct str *value,
                                  struct status *fail) {
    map_look(m, now);
    if (!m->open) {
        *fail = m->fail;
        return m->failed ? LOOKUP_FAIL : LOOKUP_NONE;
    }
    int found = cdb_find(&m->cdb, key.p, (unsigned)key.n);
    if (found == 0) return LOOKUP_NONE;
    unsigned n = cdb_datalen(&m->cdb);
    const char *p = found > 0 && n <= ALIAS_VALUE_MAX ? cdb_getdata(&m->cdb) : NULL;
    if (!p) {
        char remedy[80];
        snprintf(remedy, sizeof remedy, "run %s", m->compiler);
        map_fail(m, "is damaged in its compiled form", remedy);
        *fail = m->fail;
        return LOOKUP_FAIL;
    }
    *value = (struct str){p, n};
    return LOOKUP_FOUND;
}

/* ---- Accounts ---- */

static struct passwd_table *read_accounts(int fd, size_t size) {
    char *mem = xmalloc(size + 1);
    size_t n = 0;
    ssize_t got = 0;
    while (n < size && (got = read(fd, mem + n, size - n)) > 0) n += (size_t)got;
    struct passwd_table *p = got < 0 ? NULL : passwd_parse((struct str){mem, n});
    free(mem);
    return p;
}

static void passwd_open(struct tables *t) {
    struct stat st;
    struct passwd_table *fresh = NULL;
    int fd = open(t->passwd.file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= PASSWD_SIZE_MAX)
        fresh = read_accounts(fd, (size_t)st.st_size);
    if (fresh) {
        passwd_free(t->passwd.table);
        t->passwd.table = fresh;
        t->passwd.version = version_of(&st);
    } else LOG_TROUBLE("cannot read the accounts in %s: %s", t->passwd.file, strerror(errno));
    if (fd >= 0) close(fd);
}

static const struct passwd_table *accounts(struct tables *t) {
    struct stat st;
    if (t->passwd.looked && *t->now - t->passwd.looked_at < again_ns) return t->passwd.table;
    t->passwd.looked = true;
    t->passwd.looked_at = *t->now;
    struct version seen = {0};
    if (stat(t->passwd.file, &st) == 0) seen = version_of(&st);
    if (!t->passwd.table || !same_version(&seen, &t->passwd.version)) passwd_open(t);
    return t->passwd.table;
}

/* ---- Who may send from which address ---- */

static void senders_open(struct tables *t, const struct version *seen) {
    struct stat st;
    char why[400];
    int fd = open(t->senders.file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    t->senders.version = *seen; /* told once, if it is wrong */
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > PASSWD_SIZE_MAX) {
        LOG_TROUBLE("cannot read the senders in %s: %s", t->senders.file, strerror(errno));
        if (fd >= 0) close(fd);
        return;
    }
    size_t n = 0, size = (size_t)st.st_size;
    char *mem = xmalloc(size + 1);
    ssize_t got = 0;
    while (n < size && (got = read(fd, mem + n, size - n)) > 0) n += (size_t)got;
    close(fd);
    struct senders *fresh = senders_parse((struct str){mem, n}, t->senders.file, why, sizeof why);
    free(mem);
    if (!fresh) {
        LOG_TROUBLE("%s; the table of before stays in force", why);
        return;
    }
    senders_free(t->senders.table);
    t->senders.table = fresh;
}

const struct senders *tables_senders(struct tables *t) {
    struct stat st;
    if (t->senders.looked && *t->now - t->senders.looked_at < again_ns) return t->senders.table;
    t->senders.looked = true;
    t->senders.looked_at = *t->now;
    if (stat(t->senders.file, &st) == 0) {
        struct version seen = version_of(&st);
        if (!same_version(&seen, &t->senders.version)) senders_open(t, &seen);
    } else if (errno == ENOENT) {
        senders_free(t->senders.table);
        t->senders.table = NULL;
        t->senders.version = (struct version){0};
    }
    return t->senders.table;
}

/* ---- The interface ---- */

static enum lookup_found find_alias(void *ctx, struct str key, struct str *value, struct status *fail) {
    struct tables *t = ctx;
    return map_find(&t->alias, *t->now, key, value, fail);
}

static enum lookup_found find_route(void *ctx, struct str key, struct str *value, struct status *fail) {
    struct tables *t = ctx;
    return map_find(&t->route, *t->now, key, value, fail);
}

static enum lookup_found find_user(void *ctx, struct str name, struct lookup_user *out, struct status *fail) {
    const struct passwd_table *p = accounts(ctx);
    if (!p) {
        *fail = status_make(451, "4.3.5", "the accounts of this host cannot be read");
        return LOOKUP_FAIL;
    }
    return passwd_by_name(p, name, out) ? LOOKUP_FOUND : LOOKUP_NONE;
}

/* root's group is never given away, and a directory that everybody may write needs no group. */
static bool spool_group(void *ctx, struct str directory, uint32_t uid, uint32_t *gid) {
    char path[PATH_MAX];
    struct buf b = BUF(path);
    struct stat st;
    (void)ctx;
    buf_add(&b, directory);
    if (b.failed || stat(buf_cstr(&b), &st) != 0 || !S_ISDIR(st.st_mode)) return false;
    if (st.st_uid == uid || !(st.st_mode & S_IWGRP) || (st.st_mode & S_IWOTH) || st.st_gid == 0) return false;
    *gid = st.st_gid;
    return true;
}

unsigned tables_changes(struct tables *t, bool look) {
    if (look) t->alias.looked_at = t->route.looked_at = *t->now - again_ns;
    if (look) map_look(&t->alias, *t->now);
    if (look) map_look(&t->route, *t->now);
    return t->alias.changes + t->route.changes;
}

bool tables_login(struct tables *t, uint32_t uid, struct str *name) {
    struct lookup_user u;
    const struct passwd_table *p = accounts(t);
    if (!p || !passwd_by_uid(p, uid, &u)) return false;
    *name = u.name;
    return true;
}

static void map_name(struct map *m, const char *text_file, const char *compiler) {
    m->compiler = compiler;
    snprintf(m->text, sizeof m->text, "%s", text_file);
    if (snprintf(m->file, sizeof m->file, "%s.cdb", text_file) >= (int)sizeof m->file) m->file[0] = '\0';
}

struct tables *tables_new(const char *alias_file, const char *route_file, const char *passwd_file, const char *sender_file,
                          const int64_t *now) {
    struct tables *t = xmalloc(sizeof *t);
    t->now = now;
    map_name(&t->alias, alias_file, "newaliases");
    map_name(&t->route, route_file, "postern routes");
    snprintf(t->passwd.file, sizeof t->passwd.file, "%s", *passwd_file ? passwd_file : "/etc/passwd");
    snprintf(t->senders.file, sizeof t->senders.file, "%s", sender_file);
    t->interface = (struct lookup_tables){t, find_alias, find_route, find_user, spool_group};
    return t;
}

const struct lookup_tables *tables_interface(struct tables *t) {
    return &t->interface;
}

void tables_free(struct tables *t) {
    if (!t) return;
    map_close(&t->alias);
    map_close(&t->route);
    passwd_free(t->passwd.table);
    senders_free(t->senders.table);
    free(t);
}
