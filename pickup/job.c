/* job.c: one mail on its way from the drop directory to smtpd.
 *
 * The file is opened once, judged by its descriptor alone (a regular file, one link), and read through
 * that; its owner is who submits. Its checksums are verified while it streams: the final dot is only sent
 * when they were right, so a torn file never becomes a mail. It is removed after smtpd's 250, or replaced
 * in one step by what is left of it when some recipients must wait. Refused recipients are reported to
 * the sender by mail before they are forgotten. */
#include "pickup/pickup.h"

#include "common/arena.h"
#include "submit/drop.h"
#include "submit/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ARENA_MAX = 64 * 1024 * 1024,
    PATIENCE_MS = 600 * 1000,   /* RFC 5321 4.5.3.2.6 */
    LIFETIME_S = 5 * 24 * 3600, /* then what still waits goes back to the sender */
    REPORT_MAX = 256 * 1024,
};

struct job {
    struct pickup *p;
    char name[DROPFILE_NAME];
    struct drop_name parsed; /* views into name */
    int file, sock;
    struct stat st;
    uid_t uid;
    struct arena *arena;
    struct dropfile mail;
    off_t data;         /* where it begins */
    uint64_t done, sum; /* of the data, while it is read */
    bool damaged, expired, reporting, report_refused;
    struct handin handin;
    struct handin_mail envelope, report;
    struct handin_rcpt report_to;
    struct str head, tail; /* of the report */
    size_t head_done, tail_done;
    struct watch *watch;
    struct timer silence;
};

static void step(struct job *j);

static void outcome(const struct job *j, const char *text) {
    LOG(picked_up, .file = str_of(j->name), .uid = j->uid, .outcome = str_of(text));
}

static void job_free(struct job *j) {
    if (j->watch) watch_close(j->watch);
    loop_timer_cancel(j->p->me->loop, &j->silence);
    if (j->sock >= 0) close(j->sock);
    if (j->file >= 0) close(j->file);
    arena_free(j->arena);
    pickup_job_ended(j->p, j);
    free(j);
}

/* --- reading --- */

static bool read_at(int fd, char *p, size_t n, off_t at) {
    while (n > 0) {
        ssize_t got = pread(fd, p, n, at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        p += got, at += got, n -= (size_t)got;
    }
    return true;
}

static ptrdiff_t read_data(void *ctx, char *mem, size_t n) {
    struct job *j = ctx;
    uint64_t left = j->mail.data_size - j->done;
    if (n > left) n = (size_t)left;
    if (n == 0) {
        j->damaged |= j->sum != j->mail.data_sum;
        return j->damaged ? -1 : 0;
    }
    if (!read_at(j->file, mem, n, j->data + (off_t)j->done)) {
        j->damaged = true;
        return -1;
    }
    j->sum = dropfile_sum(j->sum, (struct str){mem, n});
    j->done += n;
    return (ptrdiff_t)n;
}

static void rewind_data(struct job *j) {
    j->done = 0;
    j->sum = DROPFILE_SUM;
    j->head_done = j->tail_done = 0;
}

static ptrdiff_t read_text(struct str text, size_t *done, char *mem, size_t n) {
    struct str next = str_sub(text, *done, *done + n);
    if (next.n) memcpy(mem, next.p, next.n);
    *done += next.n;
    return (ptrdiff_t)next.n;
}

static ptrdiff_t read_report(void *ctx, char *mem, size_t n) {
    struct job *j = ctx;
    ptrdiff_t got = read_text(j->head, &j->head_done, mem, n);
    if (got == 0) got = read_data(ctx, mem, n);
    if (got == 0) got = read_text(j->tail, &j->tail_done, mem, n);
    return got;
}

/* --- what becomes of the file --- */

/* The name may have come to mean another file since it was opened; only ours may go. */
static bool still_ours(const struct job *j) {
    struct stat st;
    return fstatat(j->p->directory, j->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == j->st.st_ino &&
           st.st_dev == j->st.st_dev;
}

static void give_new_name(const struct job *j, const struct buf *name) {
    char mem[DROPFILE_NAME];
    snprintf(mem, sizeof mem, "%.*s", STR_ARGS(buf_str(name)));
    if (renameat(j->p->directory, j->name, j->p->directory, mem) == 0) j->p->moved++;
    else LOG_TROUBLE("drop directory: %s cannot be renamed to %s: %s", j->name, mem, strerror(errno));
}

static void set_aside(const struct job *j, const char *why) {
    char mem[DROPFILE_NAME];
    struct buf name = BUF(mem);
    name_bad(&name, &j->parsed);
    LOG(set_aside, .file = str_of(j->name), .why = str_of(why));
    give_new_name(j, &name);
}

/* What is no regular file holds no mail. It must leave its name, or a user could fill every batch with such. Pipes
 * and sockets hold nothing at all, and the cage, which makes none, renames none. */
static void clear_away(const struct job *j) {
    struct stat st;
    if (fstatat(j->p->directory, j->name, &st, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode)) {
        set_aside(j, "it is no regular file");
    } else if (!S_ISREG(st.st_mode) && unlinkat(j->p->directory, j->name, 0) == 0) {
        j->p->moved++;
        LOG(picked_up, .file = str_of(j->name), .uid = st.st_uid, .outcome = STR("no regular file; removed"));
    }
}

static void try_later(const struct job *j) {
    char mem[DROPFILE_NAME];
    struct buf name = BUF(mem);
    name_waiting(&name, &j->parsed, loop_wall_ms(j->p->me->loop) / 1000);
    give_new_name(j, &name);
}

/* Is this recipient finished? Refused ones are once the report about them is durable. */
static bool finished(const struct job *j, const struct handin_rcpt *r, bool reported) {
    if (r->status.kind == STATUS_OK) return true;
    return reported && (r->status.kind == STATUS_NEVER || j->expired);
}

/* Puts a file with the recipients that are left in the place of the whole; they must not be served twice. */
static void keep_rest(struct job *j, bool reported) {
    struct dropfile rest = j->mail;
    rest.has_uid = true; /* the new file will be owned by us */
    rest.uid = (uint32_t)j->uid;
    rest.rcpt_count = 0;
    for (size_t i = 0; i < j->envelope.rcpt_count; i++)
        if (!finished(j, &j->envelope.rcpts[i], reported))
            rest.rcpts[rest.rcpt_count++] = j->envelope.rcpts[i].text;
    rewind_data(j);
    if (!drop_write(j->p->directory, j->name, &rest, (struct drop_data){read_data, j}))
        LOG_TROUBLE("drop directory: %s cannot be rewritten: %s; recipients that were served will be again",
                    j->name, strerror(errno));
}

/* Why it waits: what smtpd said to the message, else to the report about refused recipients. */
static void tell_waiting(const struct job *j) {
    const struct status *s = &j->report_to.status;
    char mem[1100];
    struct buf b = BUF(mem);
    for (size_t i = j->envelope.rcpt_count; i-- > 0;)
        if (j->envelope.rcpts[i].status.kind == STATUS_LATER) s = &j->envelope.rcpts[i].status;
    buf_adds(&b, "must wait: ");
    status_format(&b, s);
    outcome(j, buf_cstr(&b));
}

static void conclude(struct job *j, bool reported) {
    size_t left = 0, n = j->envelope.rcpt_count;
    for (size_t i = 0; i < n; i++) left += !finished(j, &j->envelope.rcpts[i], reported);
    if (!still_ours(j)) outcome(j, "its owner has taken it away");
    else if (j->damaged) set_aside(j, "it is cut or damaged");
    else if (left == 0) {
        outcome(j, reported ? "handed in, and refused recipients reported to the sender" : "handed in");
        if (unlinkat(j->p->directory, j->name, 0) == 0) j->p->moved++;
        else LOG_TROUBLE("drop directory: %s cannot be removed: %s", j->name, strerror(errno));
    } else if (j->report_refused) {
        outcome(j, "refused, and the sender cannot be told");
        set_aside(j, "refused, and the sender cannot be told");
    } else {
        tell_waiting(j);
        if (left < n) keep_rest(j, reported);
        try_later(j);
    }
    job_free(j);
}

/* --- the two transactions --- */

static bool anything_to_report(const struct job *j) {
    for (size_t i = 0; i < j->envelope.rcpt_count; i++) {
        enum status_kind kind = j->envelope.rcpts[i].status.kind;
        if (kind == STATUS_NEVER || (kind == STATUS_LATER && j->expired)) return true;
    }
    return false;
}

static void begin_report(struct job *j) {
    struct buf head = buf_in(j->arena, REPORT_MAX), tail = buf_in(j->arena, 200);
    const struct config *c = j->p->me->config;
    struct report r = {
        .hostname = str_of(c->hostname),
        .origin = str_of(c->origin),
        .to = j->mail.sender,
        .intro = STR("Your message was taken while the mail system was down. Now it was not accepted for:"),
        .rcpts = j->envelope.rcpts,
        .rcpt_count = j->envelope.rcpt_count,
        .expired = j->expired,
    };
    if (getrandom(&r.unique, sizeof r.unique, 0) < 0) r.unique = (uint64_t)j->st.st_ino;
    report_build(&r, &head, &tail);
    j->head = buf_str(&head);
    j->tail = buf_str(&tail);
    j->reporting = true;
    j->report_to = (struct handin_rcpt){.text = j->mail.sender};
    j->report = (struct handin_mail){.sender = STR(""),
                                     .eight_bit = true,
                                     .rcpts = &j->report_to,
                                     .rcpt_count = 1,
                                     .read = read_report,
                                     .ctx = j,
                                     .size = j->head.n + j->tail.n + j->mail.data_size};
    rewind_data(j);
    handin_mail(&j->handin, &j->report);
}

/* The transaction that was under way is over. */
static void transaction_done(struct job *j) {
    if (j->reporting) {
        j->report_refused = j->report_to.status.kind == STATUS_NEVER;
        conclude(j, j->report_to.status.kind == STATUS_OK);
    } else if (j->damaged || !anything_to_report(j)) {
        conclude(j, false);
    } else if (!j->mail.sender.n) { /* a report about a report is never sent (RFC 5321 6.1) */
        j->report_refused = true;
        conclude(j, false);
    } else {
        begin_report(j);
        step(j);
    }
}

static void receive(struct job *j) {
    char mem[4096];
    ssize_t n = recv(j->sock, mem, sizeof mem, MSG_DONTWAIT);
    if (n > 0) handin_input(&j->handin, (struct str){mem, (size_t)n});
    else if (n == 0) handin_lost(&j->handin, "smtpd closed the stream");
    else if (errno != EAGAIN && errno != EINTR) handin_lost(&j->handin, strerror(errno));
}

static void step(struct job *j) {
    handin_pump(&j->handin);
    struct str out = handin_output(&j->handin);
    if (out.n) {
        ssize_t n = send(j->sock, out.p, out.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) handin_written(&j->handin, (size_t)n);
        else if (n < 0 && errno != EAGAIN && errno != EINTR) handin_lost(&j->handin, strerror(errno));
    }
    if (handin_done(&j->handin)) {
        transaction_done(j);
        return;
    }
    handin_pump(&j->handin);
    watch_set(j->watch, EPOLLIN | (handin_output(&j->handin).n ? (uint32_t)EPOLLOUT : 0));
    loop_timer_in(j->p->me->loop, &j->silence, PATIENCE_MS);
}

static void on_ready(void *ctx, uint32_t ready) {
    struct job *j = ctx;
    if (ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(j);
    step(j);
}

static void on_silence(void *ctx) {
    struct job *j = ctx;
    handin_lost(&j->handin, "smtpd did not answer in time");
    step(j);
}

/* --- the beginning --- */

/* Opens what the name means without being led elsewhere or kept waiting (links, pipes, devices). */
static bool open_file(struct job *j) {
    j->file = openat(j->p->directory, j->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (j->file < 0 && (errno == ELOOP || errno == ENXIO)) clear_away(j); /* a link, a socket */
    else if (j->file < 0 && errno != ENOENT) {
        LOG_TROUBLE("drop directory: %s cannot be opened: %s", j->name, strerror(errno));
        try_later(j);
    }
    return j->file >= 0 && fstat(j->file, &j->st) == 0;
}

static bool read_envelope(struct job *j, const char **why) {
    char front[DROPFILE_FRONT];
    uint64_t sum;
    *why = "it is cut";
    if (!read_at(j->file, front, sizeof front, 0)) return false;
    size_t n = dropfile_front((struct str){front, sizeof front}, &sum, why);
    if (!n) return false;
    char *mem = arena_alloc_bytes(j->arena, n + DROPFILE_MIDDLE);
    *why = "it is cut";
    if (!mem || !read_at(j->file, mem, n + DROPFILE_MIDDLE, DROPFILE_FRONT)) return false;
    if (!dropfile_read(&j->mail, (struct str){mem, n + DROPFILE_MIDDLE}, sum, j->arena, why)) return false;
    j->data = (off_t)(DROPFILE_FRONT + n + DROPFILE_MIDDLE);
    *why = "its length is wrong";
    return (uint64_t)j->st.st_size - (uint64_t)j->data == j->mail.data_size && j->st.st_size >= j->data;
}

/* Only a plain file with one name: a second link could be another user's file, put here to be sent or
 * removed. */
static bool judge(struct job *j) {
    const char *why = NULL;
    if (!open_file(j)) return false;
    if (!S_ISREG(j->st.st_mode)) {
        clear_away(j);
        return false;
    }
    if (j->st.st_nlink != 1) why = "it has more than one link";
    else if (read_envelope(j, &why)) why = NULL;
    if (why) {
        set_aside(j, why);
        return false;
    }
    j->uid = j->mail.has_uid && j->st.st_uid == geteuid() ? (uid_t)j->mail.uid : j->st.st_uid;
    j->expired = loop_wall_ms(j->p->me->loop) / 1000 - j->st.st_mtime > LIFETIME_S;
    return true;
}

static bool begin_mail(struct job *j) {
    struct handin_mail *m = &j->envelope;
    *m = (struct handin_mail){
        .sender = j->mail.sender,
        .notify = j->mail.notify,
        .ret = j->mail.ret,
        .envid = j->mail.envid,
        .eight_bit = j->mail.eight_bit,
        .size = j->mail.data_size,
        .rcpt_count = j->mail.rcpt_count,
        .read = read_data,
        .ctx = j,
    };
    m->rcpts = arena_alloc(j->arena, m->rcpt_count * sizeof *m->rcpts);
    if (!m->rcpts) return false;
    for (size_t i = 0; i < m->rcpt_count; i++) m->rcpts[i].text = j->mail.rcpts[i];
    rewind_data(j);
    handin_init(&j->handin, j->arena, str_of(j->p->me->config->hostname));
    handin_mail(&j->handin, m);
    return true;
}

static bool connect_to(struct job *j, struct channel *smtpd) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        LOG_TROUBLE("no stream to smtpd: %s", strerror(errno));
        return false;
    }
    SEND_FD(smtpd, pair[1], submission, .uid = (uint32_t)j->uid);
    j->sock = pair[0];
    j->watch = loop_watch(j->p->me->loop, j->sock, EPOLLIN, on_ready, j);
    j->silence = (struct timer){.fn = on_silence, .ctx = j};
    loop_timer_in(j->p->me->loop, &j->silence, PATIENCE_MS);
    return j->watch != NULL;
}

bool job_has(const struct pickup *p, const char *name) {
    for (size_t i = 0; i < p->running; i++)
        if (strcmp(p->jobs[i]->name, name) == 0) return true;
    return false;
}

bool job_start(struct pickup *p, const char *name, struct channel *smtpd) {
    struct job *j = xmalloc(sizeof *j);
    j->p = p;
    j->file = j->sock = -1;
    j->arena = arena_new(ARENA_MAX);
    snprintf(j->name, sizeof j->name, "%s", name);
    j->parsed = name_parse(str_of(j->name));
    if (!judge(j) || !begin_mail(j) || !connect_to(j, smtpd)) {
        job_free(j);
        return false;
    }
    p->jobs[p->running++] = j;
    return true;
}
