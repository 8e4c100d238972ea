#include "deliver-local/delivery.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
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
    for (;;) {
        ssize_t n = pread(d->data, block, sizeof block, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) break;
        format_data(f, (struct str){block, (size_t)n});
        at += n;
        if (f->failed) return 0;
    }
    uint64_t got = (uint64_t)at;
    return got == d->size || got + d->message.prefix.n == d->size ? 0 : EBADMSG;
}

static const struct {
    const char *prefix;
    struct status (*deliver)(struct delivery *d, const char *path);
} kinds[] = {
    {"maildir:", maildir_deliver},
    {"mbox:", mbox_deliver},
};

struct status delivery_run(struct delivery *d, struct str mailbox) {
    char path[DELIVERY_PATH_MAX + 1];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct str prefix = str_of(kinds[i].prefix);
        if (!str_starts_nocase(mailbox, prefix)) continue;
        struct str rest = str_sub(mailbox, prefix.n, mailbox.n);
        /* A slash at the end says no more than the word maildir. */
        while (rest.n > 1 && rest.p[rest.n - 1] == '/') rest.n--;
        if (rest.n < 2 || rest.p[0] != '/' || rest.n > DELIVERY_PATH_MAX || memchr(rest.p, '\0', rest.n))
            break;
        memcpy(path, rest.p, rest.n);
        path[rest.n] = '\0';
        return kinds[i].deliver(d, path);
    }
    return delivery_trouble(d, 0, "the mailbox setting is not maildir: or mbox: and an absolute path");
}
