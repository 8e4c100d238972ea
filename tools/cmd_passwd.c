/* postern passwd: the password table of auth-source = file. One line changes, all others stay as they are;
 * the table is replaced as a whole, durable before it is seen, under a lock of its directory. A table that
 * is wrong is not touched. */
#include "auth/saslprep.h"
#include "auth/table.h"
#include "common/arena.h"
#include "common/cage.h"
#include "tools/command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

struct change {
    const struct tool *tool;
    const char *file, *name; /* name: behind its last slash */
    int dir;                 /* its directory, locked */
    char *text;              /* the table as it is */
    size_t n;
    struct stat st;
    bool exists;
};

/* ---- The password ---- */

static void wipe(struct buf *b) {
    explicit_bzero(b->p, b->max);
    b->n = 0;
}

/* One line of standard input, without its end. False: told why. */
static bool read_line(struct buf *out) {
    char c, mem[PASSWORD_MAX + 2];
    ssize_t n;
    while ((n = read(STDIN_FILENO, &c, 1)) == 1 && c != '\n') buf_addc(out, c);
    if (n < 0) return tool_fail(0, "standard input: %s", strerror(errno)), false;
    if (out->n && out->p[out->n - 1] == '\r') out->n--;
    bool failed = out->failed;
    struct buf prepared = BUF(mem);
    bool ok = !failed && saslprep(&prepared, buf_str(out)) && password_is_sound(buf_str(&prepared));
    if (ok) {
        out->n = 0;
        buf_add(out, buf_str(&prepared));
    }
    wipe(&prepared);
    if (ok && !out->failed) return true;
    tool_fail(0, "a password is 1 to %d octets of UTF-8 text in one line", PASSWORD_MAX);
    return false;
}

static bool ask(const char *prompt, struct buf *out) {
    struct termios old, quiet;
    if (tcgetattr(STDIN_FILENO, &old) != 0) return false;
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    fputs(prompt, stderr);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    bool ok = read_line(out);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
    fputc('\n', stderr);
    return ok;
}

static bool get_password(struct buf *out, bool twice) {
    char mem[PASSWORD_MAX + 2];
    struct buf again = BUF(mem);
    if (!isatty(STDIN_FILENO)) return read_line(out);
    if (!ask("Password: ", out)) return false;
    if (!twice) return true;
    bool ok = ask("Once more: ", &again);
    bool same = ok && str_eq(buf_str(out), buf_str(&again));
    wipe(&again);
    if (ok && !same) tool_fail(0, "the two are not the same: nothing was changed");
    return same;
}

/* ---- The table ---- */

static bool auth_group(const struct tool *t, gid_t *gid) {
    uid_t uid;
    return geteuid() == 0 && cage_ids(ROLE_auth, t->config->uid_base, &uid, gid);
}

static int open_directory(struct change *c) {
    char dir[PATH_MAX];
    gid_t gid;
    const char *slash = strrchr(c->file, '/');
    c->name = slash ? slash + 1 : c->file;
    snprintf(dir, sizeof dir, "%.*s", slash ? (slash == c->file ? 1 : (int)(slash - c->file)) : 1,
             slash ? c->file : ".");
    if (mkdir(dir, 0750) == 0 && auth_group(c->tool, &gid) &&
        (chown(dir, 0, gid) != 0 || chmod(dir, 0750) != 0))
        return tool_fail(EX_CANTCREAT, "%s: %s", dir, strerror(errno));
    c->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->dir < 0 || flock(c->dir, LOCK_EX) != 0)
        return tool_fail(EX_CANTCREAT, "%s: %s", dir, strerror(errno));
    return EX_OK;
}

static int read_table(struct change *c) {
    int fd = openat(c->dir, c->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) return EX_OK;
    if (fd < 0 || fstat(fd, &c->st) != 0) return tool_fail(EX_NOINPUT, "%s: %s", c->file, strerror(errno));
    c->exists = true;
    if (c->st.st_size > TABLE_SIZE_MAX) return tool_fail(EX_DATAERR, "%s: is too large", c->file);
    c->text = xmalloc((size_t)c->st.st_size + 1);
    ssize_t got = 0;
    while (c->n < (size_t)c->st.st_size && (got = read(fd, c->text + c->n, (size_t)c->st.st_size - c->n)) > 0)
        c->n += (size_t)got;
    close(fd);
    return got < 0 ? tool_fail(EX_IOERR, "%s: %s", c->file, strerror(errno)) : EX_OK;
}

static int parse(const struct change *c, struct table **t) {
    char why[400];
    *t = table_parse((struct str){c->text, c->n}, c->file, why, sizeof why);
    return *t ? EX_OK : tool_fail(EX_DATAERR, "%s", why);
}

static bool write_all(int fd, struct str s) {
    for (size_t done = 0; done < s.n;) {
        ssize_t k = write(fd, s.p + done, s.n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return false;
        done += (size_t)k;
    }
    return true;
}

static bool set_owner(const struct change *c, int fd) {
    gid_t gid = 0;
    if (c->exists)
        return fchown(fd, c->st.st_uid, c->st.st_gid) == 0 && fchmod(fd, c->st.st_mode & 0770) == 0;
    return !auth_group(c->tool, &gid) || (fchown(fd, 0, gid) == 0 && fchmod(fd, 0640) == 0);
}

/* before and after: what stays; line: what comes between. */
static int replace(const struct change *c, struct str before, struct str line, struct str after) {
    char fresh[NAME_MAX + 1];
    snprintf(fresh, sizeof fresh, ".%.240s.new", c->name);
    unlinkat(c->dir, fresh, 0); /* of one that was killed; we have the lock */
    int fd = openat(c->dir, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool gap = before.n && before.p[before.n - 1] != '\n';
    bool ok = fd >= 0 && write_all(fd, before) && (!gap || write_all(fd, STR("\n"))) && write_all(fd, line) &&
              write_all(fd, after) && set_owner(c, fd) && fsync(fd) == 0;
    ok = ok && renameat(c->dir, fresh, c->dir, c->name) == 0 && fsync(c->dir) == 0;
    int error = errno;
    if (fd >= 0) close(fd);
    if (ok) return EX_OK;
    unlinkat(c->dir, fresh, 0);
    return tool_fail(EX_CANTCREAT, "%s: %s", c->file, strerror(error));
}

/* Where the line of the entry begins and ends; for a new one, at the end of the table. */
static int change_line(const struct change *c, const struct table_entry *e, struct str line) {
    struct str all = {c->text, c->n}, rest = all;
    if (!e) return replace(c, all, line, STR_NONE);
    for (unsigned number = 1; number < e->line; number++)
        rest = str_sub(rest, (size_t)str_chr(rest, '\n') + 1, rest.n);
    ptrdiff_t end = str_chr(rest, '\n');
    struct str after = end < 0 ? STR_NONE : str_sub(rest, (size_t)end + 1, rest.n);
    return replace(c, str_sub(all, 0, all.n - rest.n), line, after);
}

/* ---- What one may want ---- */

static int set_password(const struct change *c, struct str login, const struct table_entry *e) {
    char password_mem[PASSWORD_MAX + 2], line_mem[TABLE_LINE_MAX + 2];
    struct buf password = BUF(password_mem), line = BUF(line_mem);
    int status = EX_DATAERR;
    buf_add(&line, login);
    buf_addc(&line, ':');
    if (get_password(&password, true)) {
        bool ok = verifier_make_crypt(buf_str(&password), &line);
        buf_addc(&line, ' ');
        ok = ok && verifier_make_scram(buf_str(&password), SCRAM_ITERATIONS, &line);
        buf_addc(&line, '\n');
        status = !ok || line.failed ? tool_fail(EX_SOFTWARE, "no verifier could be made")
                                    : change_line(c, e, buf_str(&line));
    }
    wipe(&password);
    wipe(&line);
    if (status == EX_OK) printf("%s %.*s in %s\n", e ? "changed" : "added", STR_ARGS(login), c->file);
    return status;
}

static int verify(struct str login, const struct table *t) {
    char mem[PASSWORD_MAX + 2];
    struct buf password = BUF(mem);
    struct verifier v, scram;
    if (!get_password(&password, false)) return EX_DATAERR;
    bool known = table_find(t, STR("passwd"), login, &v);
    bool good = verifier_check(&v, buf_str(&password)) && known;
    /* The second verifier must say the same, or PLAIN and SCRAM would disagree. */
    scram = v;
    scram.crypt[0] = '\0';
    bool agrees = !good || !v.has_scram || verifier_check(&scram, buf_str(&password));
    wipe(&password);
    if (good && !agrees)
        return tool_fail(EX_DATAERR, "%.*s: the two verifiers are of different passwords; set it anew",
                         STR_ARGS(login));
    if (!good) return tool_fail(EX_NOPERM, "%.*s: no such login, or a wrong password", STR_ARGS(login));
    printf("%.*s: right\n", STR_ARGS(login));
    return EX_OK;
}

static int list(const struct table *t) {
    for (size_t i = 0; i < table_count(t); i++) {
        const struct table_entry *e = table_at(t, i);
        struct str rest = e->verifiers, word;
        printf("%.*s", STR_ARGS(e->login));
        while (str_word(&rest, '\0', &word)) {
            bool locked = word.p[0] == '!' || word.p[0] == '*',
                 scram = str_starts_nocase(word, STR("SCRAM-"));
            printf(" %s", locked                                ? "locked"
                          : scram                               ? "SCRAM-SHA-256"
                          : str_starts_nocase(word, STR("$y$")) ? "yescrypt"
                                                                : "hash");
        }
        putchar('\n');
    }
    return EX_OK;
}

static const struct table_entry *find(const struct table *t, struct str login) {
    for (size_t i = 0; i < table_count(t); i++)
        if (str_eq(table_at(t, i)->login, login)) return table_at(t, i);
    return NULL;
}

static int act(const struct change *c, const struct table *t) {
    char mem[LOGIN_MAX + 1];
    struct buf prepared = BUF(mem);
    bool sound = saslprep(&prepared, str_of(c->tool->word_count ? c->tool->words[0] : ""));
    struct str login = buf_str(&prepared);
    const struct table_entry *e = find(t, login);
    if (c->tool->list) return list(t);
    if (!sound || !table_login_fits(login))
        return tool_fail(EX_USAGE,
                         "a login is 1 to %d octets of UTF-8 without \":\" and white space, and does not "
                         "begin with # or -",
                         LOGIN_MAX);
    if (c->tool->verify) return verify(login, t);
    if (!c->tool->remove) return set_password(c, login, e);
    if (!e) return tool_fail(EX_NOUSER, "%.*s is not in %s", STR_ARGS(login), c->file);
    int status = change_line(c, e, STR_NONE);
    if (status == EX_OK) printf("deleted %.*s in %s\n", STR_ARGS(login), c->file);
    return status;
}

int run_passwd(struct tool *t) {
    struct change c = {.tool = t, .file = t->table_file ? t->table_file : t->config->auth_file, .dir = -1};
    struct table *table = NULL;
    if (t->remove + t->verify + t->list > 1 || (t->list ? t->word_count != 0 : t->word_count != 1))
        return tool_fail(EX_USAGE, "usage: postern passwd [-f FILE] [--delete|--verify] LOGIN, or --list");
    umask(077);
    int status = open_directory(&c);
    if (status == EX_OK) status = read_table(&c);
    if (status == EX_OK) status = parse(&c, &table);
    if (status == EX_OK) status = act(&c, table);
    table_free(table);
    if (c.text) explicit_bzero(c.text, c.n);
    free(c.text);
    if (c.dir >= 0) close(c.dir);
    return status;
}
