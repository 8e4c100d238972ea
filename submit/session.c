#include "submit/session.h"

#include "common/arena.h"
#include "submit/drop.h"
#include "submit/line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void trace(void *ctx, char who, struct str line) {
    char mem[2 * HANDIN_LINE];
    struct buf b = BUF(mem);
    (void)ctx;
    buf_add_escaped(&b, line);
    printf("%s %.*s\n", who == 'C' ? ">>>" : "   ", STR_ARGS(buf_str(&b)));
}

void session_init(struct session *s, const struct config *c, struct arena *a, bool verbose) {
    s->config = c;
    s->arena = a;
    s->fd = -1;
    s->dialled = false;
    s->why[0] = '\0';
    handin_init(&s->handin, a, str_of(c->hostname));
    if (verbose) s->handin.trace = trace;
}

static void dial(struct session *s) {
    if (s->dialled) return;
    s->dialled = true;
    s->fd = line_dial(s->config);
    if (s->fd < 0) handin_lost(&s->handin, "the mail system is down");
}

void session_end(struct session *s) {
    if (s->fd < 0) return;
    handin_quit(&s->handin);
    struct str out = handin_output(&s->handin);
    /* A courtesy: whether it arrives changes nothing. */
    if (out.n && write(s->fd, out.p, out.n) < 0) errno = 0;
    close(s->fd);
    s->fd = -1;
}

/* Moves the recipients that this transaction had no room for to the front of a list of their own. */
static size_t left_over(const struct handin_mail *m, struct handin_rcpt *rest, size_t *taken) {
    size_t n = 0;
    *taken = 0;
    for (size_t i = 0; i < m->rcpt_count; i++) {
        const struct handin_rcpt *r = &m->rcpts[i];
        if (r->status.kind == STATUS_OK) (*taken)++;
        if (r->status.kind == STATUS_LATER && r->status.code == 452) rest[n++] = *r;
    }
    return n;
}

static void take_back(struct handin_mail *m, const struct handin_rcpt *rest, size_t n) {
    for (size_t i = 0, at = 0; i < m->rcpt_count && at < n; i++)
        if (m->rcpts[i].text.p == rest[at].text.p) m->rcpts[i] = rest[at++];
}

static void transact(struct session *s, struct handin_mail *m, struct source *data) {
    source_rewind(data);
    m->read = source_read;
    m->ctx = data;
    m->size = source_size(data);
    handin_mail(&s->handin, m);
    if (s->fd >= 0) line_run(s->fd, &s->handin);
}

void session_send(struct session *s, struct handin_mail *m, struct source *data) {
    dial(s);
    transact(s, m, data);
    struct handin_rcpt *rest = xmalloc((m->rcpt_count + 1) * sizeof *rest);
    struct handin_mail part = *m;
    part.rcpts = rest;
    size_t taken;
    part.rcpt_count = left_over(m, rest, &taken);
    while (part.rcpt_count && taken && !m->verify && s->handin.state == HANDIN_IDLE) {
        transact(s, &part, data);
        take_back(m, rest, part.rcpt_count);
        size_t before = part.rcpt_count;
        part.rcpt_count = left_over(&part, rest, &taken);
        if (part.rcpt_count == before) break;
    }
    free(rest);
}

static void sum_up(struct dropfile *d, struct source *data) {
    d->data_size = source_size(data);
    d->data_sum = DROPFILE_SUM;
    for (size_t i = 0; i < sizeof data->part / sizeof *data->part; i++)
        d->data_sum = dropfile_sum(d->data_sum, data->part[i]);
}

static bool drop(struct session *s, struct dropfile *d, struct source *data) {
    const char *dir = s->config->drop_directory;
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    source_rewind(data);
    bool ok = fd >= 0 && drop_write(fd, NULL, d, (struct drop_data){source_read, data});
    if (!ok) snprintf(s->why, sizeof s->why, "%s: %s", dir, strerror(errno));
    if (fd >= 0) close(fd);
    return ok;
}

bool session_drop(struct session *s, const struct handin_mail *m, struct source *data) {
    struct dropfile d = {.sender = m->sender,
                         .notify = m->notify,
                         .ret = m->ret,
                         .envid = m->envid,
                         .eight_bit = m->eight_bit};
    d.rcpts = xmalloc((m->rcpt_count + 1) * sizeof *d.rcpts);
    for (size_t i = 0; i < m->rcpt_count; i++)
        if (m->rcpts[i].status.kind == STATUS_LATER) d.rcpts[d.rcpt_count++] = m->rcpts[i].text;
    sum_up(&d, data);
    bool ok = d.rcpt_count == 0 || drop(s, &d, data);
    free(d.rcpts);
    return ok;
}
