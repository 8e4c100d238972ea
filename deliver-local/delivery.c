#include "deliver-local/delivery.h"

#include "common/arena.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    int error;
    uint16_t code;
    const char *detail;
} codes[] = {
    {EDQUOT, 452, "4.2.2"}, /* RFC 3463 X.2.2: mailbox full */
    {EFBIG, 452, "4.2.2"},
    {ENOSPC, 452, "4.3.1"}, /* X.3.1: mail system full */
};

static void __attribute__((format(printf, 3, 0)))
make_text(struct delivery *d, int error, const char *fmt, va_list ap) {
    char mem[400];
    struct buf b = BUF(d->text);
    vsnprintf(mem, sizeof mem, fmt, ap);
    buf_add_escaped(&b, str_of(mem));
    if (error) buf_addf(&b, ": %s", strerror(error));
    buf_cstr(&b);
}

struct status delivery_trouble(struct delivery *d, int error, const char *fmt, ...) {
    uint16_t code = 451;
    const char *detail = "4.3.0";
    va_list ap;
    va_start(ap, fmt);
    make_text(d, error, fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (error == codes[i].error) code = codes[i].code, detail = codes[i].detail;
    return status_make(code, detail, d->text);
}

struct status delivery_ok(struct delivery *d, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    make_text(d, 0, fmt, ap);
    va_end(ap);
    return status_make(250, "2.0.0", d->text);
}

int delivery_copy(const struct delivery *d, struct format *f) {
    static char block[65536];
    off_t at = 0;
    for (ssize_t n = sizeof block; n == sizeof block;) { /* less is the end: it is a file */
        n = pread(d->data, block, sizeof block, at);
        if (n < 0 && errno == EINTR) {
            n = sizeof block;
            continue;
        }
        if (n < 0) return errno;
        format_data(f, (struct str){block, (size_t)n});
        at += n;
        if (f->failed) return 0;
    }
    uint64_t got = (uint64_t)at;
    return got == d->size || got + d->message.prefix.n == d->size ? 0 : EBADMSG;
}

/* ---- Mailboxes of either kind ---- */

struct mailbox {
    const struct mailbox_kind *kind;
    void *box;
    struct str path; /* without the slashes at its end */
    char mem[DELIVERY_PATH_MAX + 1];
};

static const struct mailbox_kind *const kinds[] = {&mailbox_maildir, &mailbox_mbox};

/* The path of a setting, when it is one. */
static const struct mailbox_kind *understand(struct str setting, struct str *path) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct str prefix = str_of(kinds[i]->prefix);
        if (!str_starts_nocase(setting, prefix)) continue;
        struct str rest = str_sub(setting, prefix.n, setting.n);
        /* A slash at the end says no more than the word maildir. */
        while (rest.n > 1 && rest.p[rest.n - 1] == '/') rest.n--;
        if (rest.n < 2 || rest.p[0] != '/' || rest.n > DELIVERY_PATH_MAX || memchr(rest.p, '\0', rest.n))
            break;
        *path = rest;
        return kinds[i];
    }
    return NULL;
}

struct mailbox *mailbox_new(struct str setting) {
    struct str path;
    const struct mailbox_kind *kind = understand(setting, &path);
    if (!kind) return NULL;
    struct mailbox *m = xmalloc(sizeof *m);
    m->kind = kind;
    memcpy(m->mem, path.p, path.n);
    m->path = (struct str){m->mem, path.n};
    m->box = kind->open(m->mem);
    return m;
}

bool mailbox_is(const struct mailbox *m, struct str setting) {
    struct str path;
    return understand(setting, &path) == m->kind && str_eq(path, m->path);
}

struct status mailbox_store(struct mailbox *m, struct delivery *d) {
    return m->kind->store(m->box, d);
}

void mailbox_rest(struct mailbox *m) {
    if (m->kind->rest) m->kind->rest(m->box);
}

int mailbox_sync(struct mailbox *m) {
    return m->kind->sync(m->box);
}

const char *mailbox_path(const struct mailbox *m) {
    return m->mem;
}

void mailbox_free(struct mailbox *m) {
    if (!m) return;
    m->kind->close(m->box);
    free(m);
}
