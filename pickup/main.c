/* pickup: hands in what sendmail(1) left in the drop directory while the suite was down.
 *
 * Everybody may create files in that directory (mode 3733) and nobody but pickup may list it. So whatever
 * is in it is hostile: pickup runs in a cage with the directory as its root, under a UID of its own,
 * without a network, opens without following links or waiting, judges by the open descriptor, parses
 * length-prefixed records with hard limits, and then is no more to smtpd than any local client: what it
 * hands in is checked there like a stranger's mail. The only thing smtpd takes its word for is the UID of
 * the file's owner. An owner of pickup could read and forge mail that is waiting in the drop directory,
 * and nothing that was accepted.
 *
 * It sleeps until the kernel tells it of a new name (inotify) or a waiting mail is due. */
#include "pickup/pickup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PARTIAL_AGE_S = 24 * 3600, /* no sendmail(1) writes for a day */
    SWEEP_S = 3600,            /* and how often that is looked at */
    FUTURE_S = 4 * 3600,       /* a due time beyond that is a wrong clock */
    NO_PROGRESS_MS = 10000,    /* names that cannot be moved (a full disk) must not keep us busy */
};

struct state {
    struct pickup p;
    DIR *listing;
    int inotify;
    struct watch *watch;
    struct timer timer;
    struct deferred work;
    bool rescan; /* something may be in the directory that is not in the batch */
    bool asked;  /* because of news, not because jobs ended */
};

static struct state *state_of(struct pickup *p) {
    return (struct state *)p; /* p is its first member */
}

static void work_soon(struct state *s) {
    loop_defer(s->p.me->loop, &s->work);
}

static void remove_if_stale(struct state *s, const char *name, int64_t now) {
    struct stat st;
    if (fstatat(s->p.directory, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || now - st.st_mtime < PARTIAL_AGE_S)
        return;
    if (unlinkat(s->p.directory, name, 0) == 0)
        LOG(picked_up, .file = str_of(name), .uid = st.st_uid, .outcome = STR("never completed; removed"));
}

/* What one name asks for; *next becomes the earliest due time of those that wait. */
static void consider(struct state *s, const char *name, int64_t now, int64_t *next) {
    struct drop_name n = name_parse(str_of(name));
    if (n.kind == NAME_PARTIAL) remove_if_stale(s, name, now);
    if ((n.kind != NAME_MAIL && n.kind != NAME_WAITING) || job_has(&s->p, name)) return;
    if (n.due > now && n.due <= now + FUTURE_S) {
        if (n.due < *next) *next = n.due;
        return;
    }
    if (s->p.batch_n == BATCH_MAX) {
        s->rescan = true;
        return;
    }
    snprintf(s->p.batch[s->p.batch_n++], DROPFILE_NAME, "%.*s", DROPFILE_NAME - 1, name);
}

static void scan(struct state *s) {
    int64_t now = loop_wall_ms(s->p.me->loop) / 1000, next = now + SWEEP_S;
    struct dirent *d;
    s->rescan = s->asked = false;
    s->p.moved = 0;
    s->p.batch_n = s->p.batch_at = 0;
    rewinddir(s->listing);
    while ((d = readdir(s->listing))) consider(s, d->d_name, now, &next);
    loop_timer_in(s->p.me->loop, &s->timer, (next - now) * 1000 + 10);
}

static struct channel *next_channel(struct pickup *p) {
    for (size_t i = 0; i < p->channels; i++) {
        struct channel *ch = p->smtpd[p->turn++ % p->channels];
        if (!channel_full(ch)) return ch;
    }
    return NULL;
}

/* False: the last scan led nowhere, so the next one waits. */
static bool scan_now(struct state *s) {
    bool now = s->asked || s->p.moved;
    if (now) scan(s);
    else loop_timer_in(s->p.me->loop, &s->timer, NO_PROGRESS_MS);
    return now;
}

/* Starts as many jobs as there is room for. Runs before the loop sleeps. */
static void work(void *ctx) {
    struct state *s = ctx;
    struct pickup *p = &s->p;
    struct channel *ch;
    if (p->me->stopping) return;
    if (p->batch_at == p->batch_n && s->rescan && p->channels && !scan_now(s)) return;
    while (p->batch_at < p->batch_n && p->running < JOBS_MAX && (ch = next_channel(p)))
        job_start(p, p->batch[p->batch_at++], ch);
    if (p->batch_at == p->batch_n && s->rescan && p->running < JOBS_MAX && p->channels) work_soon(s);
}

void pickup_job_ended(struct pickup *p, struct job *job) {
    struct state *s = state_of(p);
    for (size_t i = 0; i < p->running; i++)
        if (p->jobs[i] == job) {
            p->jobs[i] = p->jobs[--p->running];
            s->rescan = true; /* it may wait under another name now: its due time must be known */
            break;
        }
    if (p->me->stopping && p->running == 0) program_end(p->me);
    work_soon(s);
}

static void look_again(void *ctx) {
    struct state *s = ctx;
    s->rescan = s->asked = true;
    work_soon(s);
}

static void on_inotify(void *ctx, uint32_t ready) {
    struct state *s = ctx;
    char mem[4096];
    (void)ready;
    while (read(s->inotify, mem, sizeof mem) > 0) {
    }
    look_again(s);
}

static bool prepare(struct self *me) {
    static struct state s; /* one program a process */
    const char *dir = me->config->drop_directory;
    s.p.me = me;
    s.p.directory = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int copy = s.p.directory < 0 ? -1 : fcntl(s.p.directory, F_DUPFD_CLOEXEC, 0);
    s.listing = copy < 0 ? NULL : fdopendir(copy);
    s.inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (!s.listing || s.inotify < 0 || inotify_add_watch(s.inotify, dir, IN_MOVED_TO | IN_ONLYDIR) < 0) {
        LOG_TROUBLE("drop-directory %s: %s; posternd makes it, mode 3733, owned by pickup", dir,
                    strerror(errno));
        return false;
    }
    me->state = &s;
    return true;
}

static void begin(struct self *me) {
    struct state *s = me->state;
    s->timer = (struct timer){.fn = look_again, .ctx = s};
    s->work = (struct deferred){.fn = work, .ctx = s};
    s->watch = loop_watch(me->loop, s->inotify, EPOLLIN, on_inotify, s);
    s->rescan = s->asked = true;
}

static void peer(struct self *me, struct channel *ch) {
    struct state *s = me->state;
    if (s->p.channels == CHANNELS_MAX) {
        channel_close(ch);
        return;
    }
    s->p.smtpd[s->p.channels++] = ch;
    look_again(s);
}

static void peer_gone(struct self *me, struct channel *ch) {
    struct pickup *p = &((struct state *)me->state)->p;
    for (size_t i = 0; i < p->channels; i++)
        if (p->smtpd[i] == ch) p->smtpd[i--] = p->smtpd[--p->channels];
}

static void drained(struct self *me, struct channel *ch) {
    (void)ch;
    work_soon(me->state);
}

/* A session that is cut between the dot and its answer could be delivered twice: finish what runs. */
static void stop(struct self *me) {
    if (((struct state *)me->state)->p.running == 0) program_end(me);
}

static const struct wire_handlers handlers = {.hello = NULL};

static const struct program pickup = {
    .role = ROLE_pickup,
    .purpose = "Hands in mail that sendmail(1) left in the drop directory while the suite was down.",
    .handlers = &handlers,
    .prepare = prepare,
    .begin = begin,
    .peer = peer,
    .peer_gone = peer_gone,
    .drained = drained,
    .stop = stop,
};

int main(int argc, char **argv) {
    return program_main(&pickup, argc, argv);
}
