/* worker.c: stores messages as the recipient.
 *
 * The cage is entered in two steps, since the worker learns only from its first job which directory it needs.
 * Before it reads an octet it becomes the recipient: UID, GID, no further groups, no new privileges, not
 * dumpable, within the system calls of the spawner. When the first job names the mailbox, and before anything
 * is opened: Landlock (that directory and nothing else), and the narrow system calls (no exec, no fork, no
 * sockets, no identity).
 *
 * SECURITY: it reads envelopes from dispatch and the data of a message, of which it knows only line ends and
 * the word From. Who owns it has the rights of this one recipient on this one directory; with an mbox in
 * /var/mail also the group of that directory. What is wrong with a job ends the worker, not the suite. */
#include "deliver-local/worker.h"

#include "common/arena.h"
#include "common/cage.h"
#include "common/channel.h"
#include "common/log.h"
#include "common/program.h"
#include "deliver-local/batch.h"
#include "deliver-local/delivery.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum {
    RCPTS_MAX = 1000,   /* of one job, as recipients-per-delivery */
    JOB_MAX = 4u << 20, /* octets of envelope */
    FRESH_MS = 1000, /* what is older, or came before we did, may have been delivered by one who died since */
    SLACK_MS = 100,
    LOOK_MS = 10,  /* how often, in a long round, we look whether dispatch lives */
    MAILBOXES = 4, /* of one recipient, open at the same time */
    FD_CHANNEL = 3,
};

struct worker {
    struct loop *loop;
    struct channel *dispatch; /* NULL: it is gone */
    struct arena *arena;      /* of the job in hand */
    struct batch *batch;
    struct timer due; /* of the batch */
    struct mailbox *box[MAILBOXES];
    unsigned turn;     /* which of them goes when a fifth comes */
    int64_t since;     /* ms since 1970: what came before may have been delivered already */
    int64_t looked_us; /* when dispatch was last seen alive */
    bool busy;         /* a job was begun, its recipients are coming */
    bool told;         /* a result: only then dispatch takes jobs back */
    bool leaving;      /* a job was given back: dispatch ends us when it has heard of the others */
    uint32_t job, expected;
    uint32_t *index; /* in the arena, as all of the job */
    struct addr *rcpt;
    struct delivery delivery;
    struct str user, home, mailbox;
    uid_t uid;
    gid_t gid;
    char wall[PATH_MAX]; /* the directory of the cage; "" before the first job */
    bool wall_there;     /* when we entered */
    dev_t wall_dev;
    ino_t wall_ino;
};

static _Noreturn void leave(int status) {
    log_flush();
    _exit(status);
}

/* ---- Identity ---- */

static bool become(uid_t uid, gid_t gid) {
    if (geteuid() == 0) {
        if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
            return false;
        errno = EPERM;
        if (setuid(0) == 0) return false; /* there must be no way back */
    }
    errno = EPERM;
    if (geteuid() != uid || getuid() != uid || uid == 0) return false;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

/* The channel to 3, the log stays 4, nothing else. */
static bool keep_only(int channel_fd) {
    if (channel_fd != FD_CHANNEL && dup2(channel_fd, FD_CHANNEL) < 0) return false;
    return close_range(FD_LOG + 1, ~0u, 0) == 0;
}

/* ---- The second step of the cage ---- */

/* The directory that a job needs: the home when the mailbox is beneath it (a Maildir may have to be made,
 * with what leads to it), else the one that holds the mailbox. */
static bool wall_of(const struct worker *w, char *out, size_t max) {
    ptrdiff_t colon = str_chr(w->mailbox, ':');
    struct str path = str_sub(w->mailbox, (size_t)(colon + 1), w->mailbox.n);
    struct buf b = buf_on(out, max);
    while (path.n > 1 && path.p[path.n - 1] == '/') path.n--;
    bool beneath = w->home.n > 1 && path.n > w->home.n && path.p[w->home.n] == '/' &&
                   str_eq(str_sub(path, 0, w->home.n), w->home);
    size_t end = path.n;
    while (end > 1 && path.p[end - 1] != '/') end--;
    buf_add(&b, beneath ? w->home : str_sub(path, 0, end > 1 ? end - 1 : end));
    buf_cstr(&b);
    return !b.failed && path.n > 1 && path.p[0] == '/' && !memchr(out, '\0', b.n);
}

/* Our cage does not hold what its name leads to now. Without a result dispatch gives the job in hand, and what else lies in the
 * channel, to the next worker, a second later; what is in the mailboxes is synced and told before. */
static _Noreturn void leave_to_next(struct worker *w) {
    LOG_NOTE("%s is another directory than it was; the next worker will see to it", w->wall);
    batch_flush(w->batch, loop_now(w->loop) / 1000000);
    channel_drain(w->dispatch);
    leave(EX_OK);
}

/* False: this job is not for our cage. *s: this process may do it, or why not. */
static bool enter_cage(struct worker *w, struct status *s) {
    char wall[PATH_MAX], why[256];
    *s = status_make(250, "2.0.0", "");
    if (!wall_of(w, wall, sizeof wall)) {
        *s = delivery_trouble(&w->delivery, 0,
                              "the mailbox setting is not maildir: or mbox: and an absolute path");
        return true;
    }
    if (*w->wall) return strcmp(w->wall, wall) == 0;
    const char *const write[] = {wall, NULL};
    struct stat st;
    w->wall_there = stat(wall, &st) == 0;
    if (w->wall_there) w->wall_dev = st.st_dev, w->wall_ino = st.st_ino;
    if (!cage_worker(w->uid, w->gid, "", write, why, sizeof why)) {
        LOG_TROUBLE("cannot enter the cage of a worker: %s", why);
        leave(EX_OSERR);
    }
    snprintf(w->wall, sizeof w->wall, "%s", wall);
    return true;
}

/* The directory has come, gone, or was replaced by another of its name, into which our cage does not let us. When it is not
 * there, as it was not when we entered, the next worker could do no more. */
static bool wall_is_stale(const struct worker *w) {
    struct stat st;
    bool there = stat(w->wall, &st) == 0;
    return there != w->wall_there || (there && (st.st_dev != w->wall_dev || st.st_ino != w->wall_ino));
}

/* ---- Syncs and results ---- */

static void tell_job(void *ctx, const struct batch_job *j) {
    struct worker *w = ctx;
    if (!w->dispatch) return;
    w->told = true;
    for (uint32_t i = 0; i < j->n; i++)
        SEND(w->dispatch, result, .job = j->job, .id = j->id, .index = j->index[i], .host = STR_NONE,
             WIRE_STATUS(j->status));
    SEND(w->dispatch, job_done, .job = j->job, .transmit_us = j->took_us);
}

static void close_boxes(struct worker *w) {
    for (size_t i = 0; i < MAILBOXES; i++) {
        mailbox_free(w->box[i]);
        w->box[i] = NULL;
    }
}

/* A sync that failed makes everything doubtful that came before it: it is delivered again, through new
 * descriptors, and looked for thoroughly. */
static struct status sync_boxes(void *ctx) {
    static struct delivery d; /* for its text */
    struct worker *w = ctx;
    struct status st = delivery_ok(&d, "synced");
    for (size_t i = 0; i < MAILBOXES; i++) {
        int error = w->box[i] ? mailbox_sync(w->box[i]) : 0;
        if (error)
            st = delivery_trouble(&d, error, "the mailbox %s cannot be synced", mailbox_path(w->box[i]));
    }
    if (st.kind == STATUS_OK) return st;
    LOG_TROUBLE("%.*s; what was stored since the last sync is delivered again", STR_ARGS(st.text));
    close_boxes(w);
    w->since = loop_wall_ms(w->loop) + SLACK_MS;
    return st;
}

static const struct batch_ops batch_ops = {sync_boxes, tell_job};

static struct mailbox *box_for(struct worker *w) {
    for (size_t i = 0; i < MAILBOXES; i++)
        if (w->box[i] && mailbox_is(w->box[i], w->mailbox)) return w->box[i];
    size_t i = w->turn++ % MAILBOXES;
    if (w->box[i]) batch_flush(w->batch, loop_now(w->loop) / 1000000);
    mailbox_free(w->box[i]);
    return w->box[i] = mailbox_new(w->mailbox);
}

/* ---- Jobs ---- */

static int64_t clock_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static bool dispatch_is_dead(void) {
    struct pollfd p = {.fd = FD_CHANNEL, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* We do not deliver what is left in the channel of a dispatch that is dead: nobody would hear of it, and its
 * successor has another worker do it at the same time. */
static void leave_the_dead(struct worker *w) {
    int64_t now = clock_us();
    if (now - w->looked_us < LOOK_MS * 1000) return;
    if (dispatch_is_dead()) leave(EX_OK);
    w->looked_us = now;
}

static bool maybe_again(const struct worker *w) {
    int64_t arrival = w->delivery.message.arrival, now = loop_wall_ms(w->loop);
    return arrival < w->since + SLACK_MS || now - arrival > FRESH_MS || arrival - now > SLACK_MS;
}

static struct status store(struct worker *w) {
    struct delivery *d = &w->delivery;
    struct mailbox *box = box_for(w);
    if (!box)
        return delivery_trouble(d, 0, "the mailbox setting is not maildir: or mbox: and an absolute path");
    struct status s = mailbox_store(box, d);
    if (s.kind != STATUS_OK && wall_is_stale(w)) leave_to_next(w);
    return s;
}

/* Users who share a UID have homes of their own. */
static void give_back(struct worker *w) {
    if (!w->told) batch_flush(w->batch, loop_now(w->loop) / 1000000);
    SEND(w->dispatch, job_back, .job = w->job);
    w->leaving = true;
}

static void over(struct worker *w) {
    close(w->delivery.data);
    w->delivery.data = -1;
    w->busy = false;
}

static void deliver(struct worker *w) {
    struct delivery *d = &w->delivery;
    struct status s;
    int64_t begin = clock_us();
    d->message.rcpt = w->rcpt;
    d->message.rcpts = w->expected;
    d->unwanted = dispatch_is_dead;
    leave_the_dead(w);
    d->maybe_again = maybe_again(w);
    if (!enter_cage(w, &s)) {
        give_back(w);
        over(w);
        return;
    }
    if (s.kind == STATUS_OK) s = store(w);
    int64_t took = clock_us() - begin;
    if (s.kind == STATUS_OK)
        LOG(stored, .id = d->id, .user = w->user, .uid = w->uid, .mailbox = w->mailbox, .us = (uint64_t)took);
    over(w);
    struct batch_job j = {.job = w->job,
                          .id = d->id,
                          .index = w->index,
                          .n = w->expected,
                          .took_us = (uint32_t)(took < UINT32_MAX ? took : UINT32_MAX),
                          .status = s};
    batch_add(w->batch, &j, loop_now(w->loop) / 1000000);
}

static _Noreturn void refuse(const char *why) {
    LOG_TROUBLE("dispatch sent a worker what makes no sense: %s", why);
    leave(EX_PROTOCOL);
}

static void on_local_job(void *ctx, struct channel *ch, const struct wire_local_job *m, int fd) {
    struct worker *w = ctx;
    const char *why;
    (void)ch;
    if (w->busy) refuse("a job within a job");
    if (m->rcpts == 0 || m->rcpts > RCPTS_MAX) refuse("a job for no, or too many, recipients");
    arena_reset(w->arena);
    w->delivery = (struct delivery){.id = m->id, .size = m->size, .data = fd};
    w->delivery.message.arrival = m->arrival;
    w->delivery.message.prefix = str_dup(w->arena, m->prefix);
    if (!addr_parse(m->sender, ADDR_NULL | ADDR_UTF8, w->arena, &w->delivery.message.sender, &why))
        refuse("a sender that is none");
    w->job = m->job;
    w->user = str_dup(w->arena, m->user);
    w->home = str_dup(w->arena, m->home);
    w->mailbox = str_dup(w->arena, m->mailbox);
    w->expected = m->rcpts;
    w->index = arena_alloc(w->arena, m->rcpts * sizeof *w->index);
    w->rcpt = arena_alloc(w->arena, m->rcpts * sizeof *w->rcpt);
    if (!w->index || !w->rcpt) refuse("a job too large for memory");
    w->delivery.message.rcpts = 0;
    w->busy = true;
}

static void on_job_rcpt(void *ctx, struct channel *ch, const struct wire_job_rcpt *m, int fd) {
    struct worker *w = ctx;
    const char *why;
    (void)ch, (void)fd;
    if (!w->busy || m->job != w->job) refuse("a recipient of no job");
    size_t n = w->delivery.message.rcpts++;
    if (!addr_parse(m->rcpt, ADDR_POSTMASTER | ADDR_UTF8, w->arena, &w->rcpt[n], &why))
        refuse("a recipient that is none");
    w->index[n] = m->index;
    if (n + 1 == w->expected) deliver(w);
}

static void dispatch_gone(void *ctx, struct channel *ch, const char *why) {
    struct worker *w = ctx;
    (void)ch, (void)why;
    w->dispatch = NULL;
    loop_stop(w->loop);
}

static const struct wire_handlers handlers = {.local_job = on_local_job, .job_rcpt = on_job_rcpt};
static const struct channel_user user = {.handlers = &handlers, .closed = dispatch_gone};

static void on_due(void *ctx) {
    (void)ctx; /* the end of the round looks at the time */
}

/* What came together is in the mailboxes: let readers in, and sync if it is time. */
static void end_round(struct worker *w) {
    int64_t now = loop_now(w->loop) / 1000000;
    for (size_t i = 0; i < MAILBOXES; i++)
        if (w->box[i]) mailbox_rest(w->box[i]);
    if (w->leaving) batch_flush(w->batch, now);
    batch_run(w->batch, now);
    int64_t due = batch_due(w->batch, now);
    if (due < 0) loop_timer_cancel(w->loop, &w->due);
    else if (!w->due.slot) loop_timer_in(w->loop, &w->due, due > now ? due - now : 0);
    if (due < 0) log_flush(); /* what happened since the last sync is told with it: one write */
}

void worker_run(int channel_fd, uid_t uid, gid_t gid) {
    signal(SIGXFSZ, SIG_IGN); /* a quota of file size is a failed write, not the end */
    signal(SIGCHLD, SIG_DFL);
    umask(077);
    if (!keep_only(channel_fd) || !become(uid, gid)) {
        LOG_TROUBLE("cannot become UID %u GID %u: %s", (unsigned)uid, (unsigned)gid, strerror(errno));
        leave(EX_OSERR);
    }
    struct worker *w = xmalloc(sizeof *w);
    w->uid = uid;
    w->gid = gid;
    w->delivery.data = -1;
    w->loop = loop_new();
    w->since = loop_wall_ms(w->loop);
    w->arena = arena_new(JOB_MAX);
    w->batch = batch_new(&batch_ops, w);
    w->due = (struct timer){.fn = on_due, .ctx = w};
    w->dispatch = channel_new(w->loop, FD_CHANNEL, ROLE_local, 0, ROLE_dispatch, &user, w);
    SEND(w->dispatch, synced, .unused = 0);
    while (loop_once(w->loop, -1)) end_round(w);
    batch_flush(w->batch, loop_now(w->loop) / 1000000); /* nobody hears of it; it is synced */
    leave(EX_OK);
}
