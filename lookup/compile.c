/* compile.c: reads a text, lets a parser make entries of it, and puts the map in place in one step.
 *
 *   state                                     what lookup sees
 *   text read, NAME.cdb.PID being written     the old map
 *   temporary file synced                     the old map
 *   renamed                                   the new map, whole (commit point)
 *   directory synced                          the same, also after a power loss
 */
#include "lookup/compile.h"

#include "common/arena.h"
#include "lookup/aliases.h"
#include "lookup/routes.h"
#include "lookup/values.h"

#include <cdb.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_MAX = 256 << 20 }; /* cdb offsets are 32 bits */

struct kind {
    const char *entries; /* what they are called */
    bool (*parse)(struct str text, const struct table_sink *sink, struct table_error *err);
};

struct job {
    const struct kind *kind;
    const char *text_file;
    char cdb_file[PATH_MAX], temp[PATH_MAX];
    struct cdb_make make;
    size_t longest, total;
    struct compile_report *report;
};

static bool __attribute__((format(printf, 3, 4))) report(struct job *j, int error, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(j->report->text, sizeof j->report->text, fmt, ap);
    va_end(ap);
    j->report->error = error;
    return false;
}

static bool no_file(struct job *j, const char *file, const char *doing) {
    int e = errno;
    const char *remedy = e == ENOENT   ? "; create it, or set another path in postern.conf"
                         : e == EACCES ? "; run this as root"
                         : e == ENOSPC ? "; make room on that file system, the old map is still in force"
                                       : "";
    return report(j, e, "%s: cannot %s: %s%s", file, doing, strerror(e), remedy);
}

static bool read_all(int fd, char *p, size_t n, size_t *got) {
    *got = 0;
    while (*got < n) {
        ssize_t r = read(fd, p + *got, n - *got);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return false;
        if (r == 0) break;
        *got += (size_t)r;
    }
    return true;
}

/* The whole text into memory that the caller frees. */
static bool read_text(struct job *j, char **mem, struct str *text) {
    struct stat st;
    int fd = open(j->text_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return no_file(j, j->text_file, "open the file");
    bool ok = fstat(fd, &st) == 0 ? true : no_file(j, j->text_file, "read the file");
    if (ok && !S_ISREG(st.st_mode)) ok = report(j, EINVAL, "%s: this is not a regular file", j->text_file);
    if (ok && st.st_size > TEXT_MAX)
        ok = report(j, EFBIG, "%s: this file is larger than 256 MiB", j->text_file);
    if (ok) {
        *mem = xmalloc((size_t)st.st_size + 1);
        text->p = *mem;
        if (!read_all(fd, *mem, (size_t)st.st_size, &text->n)) ok = no_file(j, j->text_file, "read the file");
    }
    close(fd);
    return ok;
}

static bool take_entry(void *ctx, unsigned line, struct str key, struct str value, struct table_error *err) {
    struct job *j = ctx;
    int had = cdb_make_exists(&j->make, key.p, (unsigned)key.n);
    if (had > 0) {
        char mem[100];
        struct buf word = BUF(mem);
        buf_add_escaped(&word, str_sub(key, 0, 24));
        if (j->report->warnings++ == 0)
            snprintf(j->report->warning, sizeof j->report->warning,
                     "%s:%u: %s: stands here a second time; the first one counts", j->text_file, line,
                     buf_cstr(&word));
        return true;
    }
    if (had < 0 || cdb_make_add(&j->make, key.p, (unsigned)key.n, value.p, (unsigned)value.n) != 0)
        return table_fail(err, 0, STR_NONE, "");
    j->report->entries++;
    j->total += value.n;
    if (value.n > j->longest) j->longest = value.n;
    return true;
}

static bool write_map(struct job *j, struct str text, int fd) {
    struct table_error err = {0};
    struct table_sink sink = {j, take_entry};
    if (cdb_make_start(&j->make, fd) != 0) return no_file(j, j->temp, "write the file");
    bool ok = j->kind->parse(text, &sink, &err);
    int saved = errno;
    /* finish also frees, so it is called after a mistake too. */
    bool finished = cdb_make_finish(&j->make) == 0;
    if (!ok && err.line)
        return report(j, 0, "%s:%u: %s%s%s", j->text_file, err.line, err.word, *err.word ? ": " : "",
                      err.text);
    if (!ok) errno = saved;
    if (!ok || !finished || fchmod(fd, 0644) != 0 || fsync(fd) != 0)
        return no_file(j, j->temp, "write the file");
    return true;
}

static bool sync_directory(struct job *j) {
    char dir[PATH_MAX];
    const char *slash = strrchr(j->cdb_file, '/');
    int n = slash ? (int)(slash - j->cdb_file) : 0;
    snprintf(dir, sizeof dir, "%.*s%s", n, j->cdb_file, n ? "" : slash ? "/" : ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok) no_file(j, dir, "sync the directory");
    if (fd >= 0) close(fd);
    return ok;
}

static bool replace_map(struct job *j, struct str text) {
    unlink(j->temp); /* left by one who died with our PID */
    int fd = open(j->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) return no_file(j, j->temp, "create the file");
    bool ok = write_map(j, text, fd);
    if (close(fd) != 0 && ok) ok = no_file(j, j->temp, "write the file");
    if (ok && rename(j->temp, j->cdb_file) != 0) ok = no_file(j, j->cdb_file, "replace the file");
    if (!ok) unlink(j->temp);
    return ok && sync_directory(j);
}

static bool name_files(struct job *j, const char *cdb_file) {
    int a = cdb_file ? snprintf(j->cdb_file, sizeof j->cdb_file, "%s", cdb_file)
                     : snprintf(j->cdb_file, sizeof j->cdb_file, "%s.cdb", j->text_file);
    int b = snprintf(j->temp, sizeof j->temp, "%s.%d", j->cdb_file, (int)getpid());
    if (a > 0 && b > 0 && (size_t)a < sizeof j->cdb_file && (size_t)b < sizeof j->temp) return true;
    return report(j, ENAMETOOLONG, "%s: the name of this file is too long", j->text_file);
}

static bool compile(const struct kind *k, const char *text_file, const char *cdb_file,
                    struct compile_report *r) {
    struct job *j = xmalloc(sizeof *j);
    char *mem = NULL;
    struct str text = STR_NONE;
    *r = (struct compile_report){0};
    j->kind = k;
    j->text_file = text_file;
    j->report = r;
    bool ok = name_files(j, cdb_file) && read_text(j, &mem, &text) && replace_map(j, text);
    if (ok)
        snprintf(r->text, sizeof r->text, "%s: %zu %s, longest %zu bytes, %zu bytes total", text_file,
                 r->entries, k->entries, j->longest, j->total);
    free(mem);
    free(j);
    return ok;
}

bool aliases_compile(const char *text_file, const char *cdb_file, struct compile_report *r) {
    static const struct kind k = {"aliases", aliases_parse};
    return compile(&k, text_file, cdb_file, r);
}

bool routes_compile(const char *text_file, const char *cdb_file, struct compile_report *r) {
    static const struct kind k = {"routes", routes_parse};
    return compile(&k, text_file, cdb_file, r);
}
