/* hostdb.c: Berkeley DB, kept on a short chain.
 *
 * libdb reads a file DB_CONFIG in the home directory of its environment, or in the current directory when
 * there is none, and does what it says (CVE-2017-10140; Postfix HISTORY 20170610). So the environment is
 * explicit and private (no region files, nothing shared), its home is a path that cannot exist, and the file
 * is named by an absolute path, which libdb takes as it is. fsync is left out for the whole process: nothing
 * here deserves that mail waits for it. Pages carry checksums (DB_CHKSUM); the file is verified before it is
 * opened, because libdb trusts what it opens. */
#include "dispatch/hostdb.h"

#include "common/arena.h"

#include <db.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_HOME \
    "/dev/null/no-such-home" /* beneath a thing that is no directory: ENOTDIR, or ENOENT in the cage */
enum { CACHE_OCTETS = 256 * 1024 };

struct hostdb {
    DB_ENV *env;
    DB *db;
    struct hosttable *table;
    char path[1100];
    void (*note)(bool trouble, const char *text);
};

static int no_fsync(int fd) {
    (void)fd;
    return 0;
}

static void say(const struct hostdb *d, bool trouble, const char *what, int error) {
    char text[2600];
    snprintf(text, sizeof text, "%s: %s%s%s", d->path, what, error ? ": " : "",
             error ? db_strerror(error) : "");
    d->note(trouble, text);
}

static void shut(struct hostdb *d) {
    if (d->db) d->db->close(d->db, DB_NOSYNC);
    if (d->env) d->env->close(d->env, 0);
    d->db = NULL;
    d->env = NULL;
}

static void quiet(const DB_ENV *env, const char *prefix, const char *text) {
    (void)env, (void)prefix, (void)text; /* the return values tell */
}

static int open_env(struct hostdb *d) {
    int e = db_env_create(&d->env, 0);
    if (e) {
        d->env = NULL;
        return e;
    }
    d->env->set_errcall(d->env, quiet);
    d->env->set_msgcall(d->env, NULL);
    d->env->set_cachesize(d->env, 0, CACHE_OCTETS, 1);
    d->env->set_tmp_dir(d->env, "/");
    return d->env->open(d->env, NO_HOME, DB_CREATE | DB_PRIVATE | DB_INIT_MPOOL, 0600);
}

/* DB->verify consumes its handle, whatever it returns. */
static int verify(struct hostdb *d) {
    DB *db;
    struct stat st;
    if (stat(d->path, &st) != 0) return errno == ENOENT ? 0 : errno;
    int e = db_create(&db, d->env, 0);
    return e ? e : db->verify(db, d->path, NULL, NULL, 0);
}

static int open_db(struct hostdb *d) {
    int e = open_env(d);
    if (!e) e = verify(d);
    if (!e) e = db_create(&d->db, d->env, 0);
    if (e) {
        d->db = NULL;
        return e;
    }
    d->db->set_flags(d->db, DB_CHKSUM);
    return d->db->open(d->db, NULL, d->path, NULL, DB_BTREE, DB_CREATE, 0600);
}

static void load(struct hostdb *d, int64_t now) {
    DBC *c;
    DBT key = {0}, record = {0};
    unsigned bad = 0;
    if (d->db->cursor(d->db, NULL, &c, 0) != 0) return;
    while (c->get(c, &key, &record, DB_NEXT) == 0) {
        if (hosttable_load(d->table, (struct str){key.data, key.size}, (struct str){record.data, record.size},
                           now))
            continue;
        c->del(c, 0);
        bad++;
    }
    c->close(c);
    if (bad) {
        char text[100];
        snprintf(text, sizeof text, "%u records too old or damaged: forgotten", bad);
        say(d, false, text, 0);
    }
}

static void set_aside(struct hostdb *d, int64_t now) {
    char to[1200];
    snprintf(to, sizeof to, "%s.damaged-%lld", d->path, (long long)(now / 1000));
    if (rename(d->path, to) != 0) {
        if (errno != ENOENT) say(d, true, "cannot set the damaged file aside", errno);
        return;
    }
    char text[1300];
    snprintf(text, sizeof text, "is damaged: kept as %s, begun anew", to);
    say(d, true, text, 0);
}

struct hostdb *hostdb_open(const char *directory, struct hosttable *t, int64_t now,
                           void (*note)(bool trouble, const char *text)) {
    struct hostdb *d = xmalloc(sizeof *d);
    d->table = t;
    d->note = note;
    snprintf(d->path, sizeof d->path, "%s/hosts.db", directory);
    db_env_set_func_fsync(no_fsync);
    char half[1200]; /* libdb makes the file under this name first: left over when we died at that moment */
    snprintf(half, sizeof half, "%s/__db.hosts.db", directory);
    unlink(half);
    int e = open_db(d);
    if (e) {
        shut(d);
        set_aside(d, now);
        e = open_db(d);
    }
    if (e) {
        say(d, true, "cannot be used, the host table lives in memory only", e);
        shut(d);
    } else {
        load(d, now);
    }
    return d;
}

static int write_row(struct hostdb *d, struct str key, struct str record) {
    DBT k = {.data = (void *)(uintptr_t)key.p, .size = (uint32_t)key.n};
    DBT v = {.data = (void *)(uintptr_t)record.p, .size = (uint32_t)record.n};
    if (record.n) return d->db->put(d->db, NULL, &k, &v, 0);
    int e = d->db->del(d->db, NULL, &k, 0);
    return e == DB_NOTFOUND ? 0 : e;
}

void hostdb_flush(struct hostdb *d, int64_t now) {
    struct str key, record;
    int e = 0;
    if (!d->db || !hosttable_dirty(d->table)) return;
    while (!e && hosttable_take_dirty(d->table, &key, &record)) e = write_row(d, key, record);
    if (!e) e = d->db->sync(d->db, 0);
    if (!e) return;
    say(d, true, "cannot be written, the host table lives in memory until the next start", e);
    shut(d);
    if (e != ENOSPC && e != EDQUOT && e != EIO && e != EROFS) set_aside(d, now);
}

void hostdb_close(struct hostdb *d) {
    if (!d) return;
    hostdb_flush(d, 0);
    shut(d);
    free(d);
}
