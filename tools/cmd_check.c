/* postern check: everything that would stop the suite, or make it refuse mail, found before it does. Each
 * problem is told once, in one line with the place in the file, the word, what is wrong, and the remedy.
 * Nothing is changed. */
#include "auth/table.h"
#include "common/addr.h"
#include "common/arena.h"
#include "common/cage.h"
#include "keys/pair.h"
#include "lookup/compile.h"
#include "lookup/senders.h"
#include "supervise/child.h"
#include "supervise/dirs.h"
#include "supervise/files.h"
#include "supervise/listen.h"
#include "tools/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct check {
    const char *file;
    const struct config *c;
    bool running;
    size_t problems;
};

static void problem(struct check *k, const char *setting, const char *value, const char *why) {
    struct config_error err;
    config_blame(&err, k->file, setting ? config_line(k->c, setting) : 0, str_of(setting), str_of(value),
                 why);
    fprintf(stderr, "%s\n", err.text);
    k->problems++;
}

/* --- accounts and directories --- */

static void check_accounts(struct check *k) {
    char mem[400];
    struct buf why = BUF(mem);
    uid_t uid;
    gid_t gid;
    size_t missing = 0;
    if (geteuid() != 0 || k->c->uid_base) return; /* then no accounts are needed */
    buf_adds(&why, "accounts are missing:");
    for (int r = 0; r < ROLE_COUNT; r++)
        if (!cage_ids((enum role)r, 0, &uid, &gid))
            buf_addf(&why, " _postern-%s", role_table[r].user), missing++;
    buf_adds(&why, ": make them (systemd-sysusers, or useradd --system NAME), or set uid-base");
    if (missing) problem(k, NULL, NULL, buf_cstr(&why));
}

static const char *root_setting(enum role_root root) {
    switch (root) {
    case ROOT_SPOOL:
        return "spool-directory";
    case ROOT_STATE:
        return "state-directory";
    case ROOT_DROP:
        return "drop-directory";
    default:
        return NULL;
    }
}

/* posternd makes what is missing; what is there must belong to the right program, and to nobody else. */
static void check_directory(struct check *k, enum role role, const char *setting, bool may_write) {
    const char *path = config_text(k->c, setting);
    char why[300];
    struct stat st;
    uid_t uid = geteuid();
    gid_t gid;
    if (stat(path, &st) != 0) {
        if (errno == ENOENT || errno == EACCES) return;
        problem(k, setting, path, strerror(errno));
        return;
    }
    if (uid == 0 && !cage_ids(role, k->c->uid_base, &uid, &gid)) return; /* told by check_accounts */
    if (!S_ISDIR(st.st_mode)) snprintf(why, sizeof why, "is no directory: name another, or move it away");
    else if (st.st_uid != uid && (geteuid() == 0 || !k->running))
        snprintf(why, sizeof why, "belongs to UID %u, but must belong to %u: chown -R %u %.150s",
                 (unsigned)st.st_uid, (unsigned)uid, (unsigned)uid, path);
    else if (!may_write && (st.st_mode & 022))
        snprintf(why, sizeof why, "others can write to it (mode %04o): chmod 0700 %.150s",
                 (unsigned)(st.st_mode & 07777), path);
    else return;
    problem(k, setting, path, why);
}

static void check_directories(struct check *k) {
    check_directory(k, ROLE_supervise, "run-directory", false);
    for (int r = 0; r < ROLE_COUNT; r++) {
        const char *setting = root_setting(role_table[r].root);
        if (setting) check_directory(k, (enum role)r, setting, role_table[r].root == ROOT_DROP);
    }
}

/* --- tables --- */

/* Compiles into a directory of its own, which is removed again: the real map stays as it is. */
static bool compiles(bool (*fn)(const char *, const char *, struct compile_report *), const char *file,
                     struct compile_report *r) {
    char dir[] = "/tmp/postern-check.XXXXXX", map[64];
    if (!mkdtemp(dir)) return true;
    snprintf(map, sizeof map, "%s/map.cdb", dir);
    bool ok = fn(file, map, r);
    unlink(map);
    rmdir(dir);
    return ok;
}

static void check_table(struct check *k, const char *setting, const char *command,
                        bool (*fn)(const char *, const char *, struct compile_report *)) {
    const char *file = config_text(k->c, setting);
    char map[1100], why[200];
    struct compile_report r = {0};
    struct stat text, compiled;
    if (stat(file, &text) != 0) {
        if (errno != ENOENT) problem(k, setting, file, strerror(errno));
        return; /* without a table there are no aliases and no routes */
    }
    if (!compiles(fn, file, &r)) {
        fprintf(stderr, "%s\n", r.text); /* has its own place: file and line of the table */
        k->problems++;
        return;
    }
    snprintf(map, sizeof map, "%s.cdb", file);
    if (stat(map, &compiled) != 0) snprintf(why, sizeof why, "was never compiled: run %s", command);
    else if (text.st_mtime > compiled.st_mtime)
        snprintf(why, sizeof why, "was changed after it was compiled: run %s", command);
    else return;
    problem(k, setting, file, why);
}

static void check_tables(struct check *k) {
    check_table(k, "alias-file", "newaliases", aliases_compile);
    check_table(k, "route-file", "postern routes", routes_compile);
    if (*k->c->passwd_file && access(k->c->passwd_file, R_OK) != 0)
        problem(k, "passwd-file", k->c->passwd_file, strerror(errno));
}

/* --- logins --- */

static bool table_is_good(struct str text, const char *file, char *why, size_t size) {
    struct table *t = table_parse(text, file, why, size);
    table_free(t);
    return t != NULL;
}

static bool senders_are_good(struct str text, const char *file, char *why, size_t size) {
    struct senders *s = senders_parse(text, file, why, size);
    senders_free(s);
    return s != NULL;
}

/* A text that is read as it is; it may be absent. */
static void check_text(struct check *k, const char *setting,
                       bool (*good)(struct str, const char *, char *, size_t)) {
    const char *file = config_text(k->c, setting);
    char why[500];
    size_t n = 0;
    char *text = settings_read_file(file, TABLE_SIZE_MAX, &n);
    if (!text) {
        if (errno != ENOENT && errno != EACCES) problem(k, setting, file, strerror(errno));
        return;
    }
    if (!good((struct str){text, n}, file, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        k->problems++;
    }
    explicit_bzero(text, n);
    free(text);
}

static void check_password_rights(struct check *k) {
    struct stat st;
    const char *file = k->c->auth_file;
    uid_t uid;
    gid_t gid;
    char why[200];
    if (stat(file, &st) != 0) return;
    if (st.st_mode & 0007)
        problem(k, "auth-file", file, "may be read by others, so it is not used: chmod o= it");
    if (geteuid() != 0 || !cage_ids(ROLE_auth, k->c->uid_base, &uid, &gid)) return;
    if (st.st_gid == gid && st.st_mode & 0040) return;
    snprintf(why, sizeof why, "auth cannot read it: chgrp %u, chmod 0640", (unsigned)gid);
    problem(k, "auth-file", file, why);
}

static void check_logins(struct check *k) {
    check_text(k, "sender-file", senders_are_good);
    if (strcmp(k->c->auth_source, "file") == 0) {
        check_text(k, "auth-file", table_is_good);
        check_password_rights(k);
    }
    if (strcmp(k->c->auth_source, "dovecot") == 0 && access(k->c->auth_socket, F_OK) != 0)
        problem(k, "auth-socket", k->c->auth_socket,
                "is not there: start Dovecot with a unix_listener of this name in its service auth");
    if (strcmp(k->c->auth_source, "pam") == 0 && access("/etc/pam.d/postern", F_OK) != 0)
        problem(k, "auth-source", "pam",
                "/etc/pam.d/postern is not there, so PAM refuses everybody: install it");
    if (*k->c->oauth_key && access(k->c->oauth_key, R_OK) != 0)
        problem(k, "oauth-key", k->c->oauth_key, strerror(errno));
}

/* --- programs, ports, names --- */

static void check_programs(struct check *k) {
    for (int r = 0; r < ROLE_COUNT; r++) {
        char path[1200], why[1300];
        if (r == ROLE_supervise || r == ROLE_tool) continue;
        child_path(k->c->program_directory, role_table[r].program, path, sizeof path);
        if (access(path, X_OK) == 0) continue;
        snprintf(why, sizeof why,
                 "%s is not in it (%s): install the suite, or name the directory where it is",
                 role_table[r].program, strerror(errno));
        problem(k, "program-directory", k->c->program_directory, why);
        return;
    }
}

/* Binds each address for a moment. The ports of a running suite are its own. */
static void check_ports(struct check *k) {
    static const struct listeners none;
    struct listeners fresh = {0};
    struct config_error err;
    if (k->running || geteuid() != 0) {
        for (size_t i = 0; i < k->c->listen.n; i++)
            if (k->running || k->c->listen.v[i].port < 1024) return;
    }
    if (!listen_bind(k->file, k->c, false, &none, &fresh, &err)) {
        fprintf(stderr, "%s\n", err.text);
        k->problems++;
    }
    listen_free(&fresh);
}

/* files_trouble has found that it can be opened. */
static struct str read_pem(struct str path, char *mem, size_t max) {
    char name[1100];
    struct buf b = BUF(name);
    buf_add(&b, path);
    FILE *f = fopen(buf_cstr(&b), "re");
    size_t n = f ? fread(mem, 1, max, f) : 0;
    if (f) fclose(f);
    return (struct str){mem, n};
}

/* keys would refuse such a pair, and the self-signed certificate would take its place. */
static void check_pair(struct check *k, struct str word) {
    enum { PEM_MAX = 256 * 1024 };
    static char chain_mem[PEM_MAX], key_mem[PEM_MAX];
    char why_mem[300], name_mem[1100];
    struct buf why = BUF(why_mem), name = BUF(name_mem);
    ptrdiff_t comma = str_chr(word, ',');
    buf_add(&name, comma < 0 ? word : str_sub(word, 0, (size_t)comma));
    struct str chain = read_pem(buf_str(&name), chain_mem, sizeof chain_mem);
    struct str key =
        comma < 0 ? chain : read_pem(str_sub(word, (size_t)comma + 1, word.n), key_mem, sizeof key_mem);
    struct pair *p = pair_parse(chain, key, &why);
    if (p && p->expired) buf_addf(&why, "has expired (%s): renew it", p->until);
    if (why.n) problem(k, "certificates", buf_cstr(&name), buf_cstr(&why));
    pair_free(p);
    explicit_bzero(chain_mem, sizeof chain_mem);
    explicit_bzero(key_mem, sizeof key_mem);
}

static void check_certificates(struct check *k) {
    char name_mem[1100], why_mem[300];
    struct buf name = BUF(name_mem), why = BUF(why_mem);
    if (geteuid() != 0) return; /* others may not read keys */
    if (!files_trouble(k->c, &name, &why)) {
        for (size_t i = 0; i < k->c->certificates.n; i++) check_pair(k, k->c->certificates.v[i]);
        return;
    }
    const char *file = buf_cstr(&name);
    bool authorities = strcmp(file, k->c->client_authorities) == 0;
    problem(k, authorities ? "client-authorities" : "certificates", file, buf_cstr(&why));
}

static void check_name(struct check *k, const char *setting) {
    const char *name = config_text(k->c, setting);
    if (!strchr(name, '.'))
        problem(
            k, setting, name,
            "is no full domain name: other hosts will refuse it in HELO; set it to one like mx.example.org");
}

static void (*const checks[])(struct check *) = {
    check_accounts, check_directories, check_tables, check_programs, check_ports, check_certificates,
};

static int check_all(struct check *k) {
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) checks[i](k);
    check_logins(k);
    check_name(k, "hostname");
    check_name(k, "origin");
    if (k->problems) {
        fprintf(stderr, "%s: %zu problem%s\n", k->file, k->problems, k->problems == 1 ? "" : "s");
        return EX_CONFIG;
    }
    printf("%s: all is well%s\n", k->file, k->running ? "; the suite is running" : "");
    return EX_OK;
}

int run_check(struct tool *t) {
    settings_load(&t->settings, t->word_count ? t->words[0] : t->config_file);
    if (!t->settings.config) {
        fprintf(stderr, "%s\n", t->settings.error.text);
        return EX_CONFIG;
    }
    struct check k = {.file = t->settings.file, .c = t->settings.config};
    k.running = tool_running(k.c) != 0;
    return check_all(&k);
}
