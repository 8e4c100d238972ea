/* report.c: failure reports: reads the header of the message that comes back, and hands the report to queue. */
#include "build-config.h"

#include "common/arena.h"
#include "dispatch/bounce.h"
#include "dispatch/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CHUNK_MAX = 1024 * 1024 };

/* The header of the message, read into mem: never more than BOUNCE_HEADER_MAX. */
static struct str read_header(int fd, char *mem, bool *cut) {
    size_t n = 0;
    ssize_t k;
    *cut = true;
    while (n < BOUNCE_HEADER_MAX) {
        k = pread(fd, mem + n, BOUNCE_HEADER_MAX - n, (off_t)n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break;
        n += (size_t)k;
        size_t length = bounce_header_length((struct str){mem, n}, cut);
        if (!*cut) return (struct str){mem, length};
    }
    bool whole = n < BOUNCE_HEADER_MAX; /* no empty line at all: a message that is only a header */
    size_t length = bounce_header_length((struct str){mem, n}, cut);
    *cut = !whole;
    return (struct str){mem, length};
}

/* RET=FULL (RFC 3461 4.3): all of it, when it is of a size that one report can carry. */
static bool read_full(const struct sched_mail *mail, char *mem, struct str *out) {
    if (mail->size > BOUNCE_FULL_MAX) return false;
    size_t n = 0;
    while (n < mail->size) {
        ssize_t k = pread(mail->fd, mem + n, mail->size - n, (off_t)n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        n += (size_t)k;
    }
    *out = (struct str){mem, n};
    return true;
}

static int sealed_memfd(struct str s) {
    int fd = memfd_create("report", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    while (fd >= 0 && s.n) {
        ssize_t k = write(fd, s.p, s.n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) {
            close(fd);
            return -1;
        }
        s = str_sub(s, (size_t)k, s.n);
    }
    if (fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool send_chunks(struct shell *sh, struct qid id, struct str text) {
    while (text.n) {
        struct str part = str_sub(text, 0, CHUNK_MAX);
        int fd = sealed_memfd(part);
        if (fd < 0) return false;
        SEND_FD(sh->queue, fd, mail_chunk, .id = id, .size = (uint32_t)part.n);
        text = str_sub(text, part.n, text.n);
    }
    return true;
}

static bool send_report(struct shell *sh, const struct bounce *b, struct str text, bool eight) {
    char mem[1024];
    struct buf trace = BUF(mem);
    buf_addf(&trace, "Received: by %.*s (Postern) with dispatch\r\n\tid %s; ", STR_ARGS(b->hostname),
             qid_format(b->id).c);
    bounce_date(&trace, b->now);
    buf_adds(&trace, "\r\n");
    if (trace.failed) trace.n = 0;
    SEND(sh->queue, mail_begin, .id = b->id, .arrival = b->now, .sender = STR_NONE,
         .body = (uint8_t)(eight | (b->utf8 ? 2 : 0) | (b->require_tls ? 4 : 0)),
         .origin = STR("failure report"), .about = b->about);
    SEND(sh->queue, mail_rcpt, .id = b->id, .index = 0, .rcpt = b->sender);
    if (!send_chunks(sh, b->id, text)) {
        SEND(sh->queue, mail_abort, .id = b->id);
        return false;
    }
    SEND(sh->queue, mail_end, .id = b->id, .rcpts = 1, .size = text.n, .prefix = buf_str(&trace));
    sh->reported = xgrow(sh->reported, &sh->reported_cap, sh->reported_n + 1, sizeof *sh->reported);
    sh->reported[sh->reported_n++] = (struct reported){b->id, b->about};
    return true;
}

bool report_send(struct shell *sh, const struct sched_mail *mail, const struct sched_failed *v, size_t n,
                 struct qid *id) {
    bool eight, ok = false;
    if (!sh->queue || !sh->lease || sh->serial == UINT32_MAX) return false;
    /* RFC 8689 5: what must only travel under TLS is not sent back whole, and its report asks for the same. */
    bool require_tls = mail->body & 4;
    bool full = mail->ret == 1 && !require_tls && v[0].action == SCHED_HAS_FAILED;
    char *header = xmalloc(full ? BOUNCE_FULL_MAX : BOUNCE_HEADER_MAX);
    struct bounce b = {.hostname = str_of(sh->me->config->hostname),
                       .id = {sh->lease, ++sh->serial},
                       .about = mail->id,
                       .now = loop_wall_ms(sh->me->loop),
                       .arrival = mail->arrival,
                       .sender = mail->sender,
                       .prefix = mail->prefix,
                       .envid = mail->envid,
                       .utf8 = mail->body & 2,
                       .require_tls = require_tls,
                       .failed = v,
                       .count = n};
    b.full = full && read_full(mail, header, &b.header);
    if (!b.full) b.header = read_header(mail->fd, header, &b.cut);
    size_t room = bounce_room(&b);
    char *text = xmalloc(room);
    struct buf out = buf_on(text, room);
    if (bounce_build(&out, &b, &eight)) ok = send_report(sh, &b, buf_str(&out), eight);
    else LOG_TROUBLE("a failure report did not fit into %zu octets", room);
    *id = b.id;
    free(text);
    free(header);
    return ok;
}
