/* deliver-local: mailbox, pipe, forward, as the recipient. This is the spawner: it runs as root, and so it
 * does as little as a program can.
 *
 * From dispatch comes `spawn`: a UID, a GID, and a descriptor which is one end of a channel between dispatch
 * and the worker to be. The numbers are checked against what may be a recipient, a process is forked, and
 * that process becomes the recipient before it reads anything (worker.c).
 *
 * SECURITY: it reads three integers and never a name, an address, a file or an octet of mail. It cannot exec
 * and has no network (roles.def). Who owns dispatch can have a worker started for any UID from min-uid on,
 * and for system-mailbox-user, but never for root, for another system account, or for one of Postern's own
 * programs; and only with a GID from min-uid on, or one of the few groups that mailboxes need. Who owns this
 * program owns the machine. */
#include "common/counters.h"
#include "common/arena.h"
#include "common/cage.h"
#include "common/channel.h"
#include "common/program.h"
#include "deliver-local/worker.h"

#include <errno.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum { WORKERS_MAX = 1000, WAITING_MAX = 256, GROUPS_MAX = 4 };

struct request {
    struct channel *ch;
    uint32_t tag, uid, gid;
    int fd;
};

struct spawner {
    struct self *me;
    uid_t system_uid;         /* of system-mailbox-user; 0: there is none */
    gid_t groups[GROUPS_MAX]; /* below min-uid, and yet allowed */
    size_t group_count;
    uid_t own[ROLE_COUNT]; /* the programs of the suite; 0: none */
    struct request waiting[WAITING_MAX];
    size_t waiting_count, workers;
    struct deferred fork_soon; /* not from within a handler: the child must not inherit a channel in use */
};

static struct spawner state;

/* ---- Who may be a recipient ---- */

static void allow_group(gid_t gid) {
    if (gid != 0 && state.group_count < GROUPS_MAX) state.groups[state.group_count++] = gid;
}

/* The account as lookup sees it: in passwd-file, when one is set. */
static const struct passwd *find_account(const char *file, const char *name) {
    const struct passwd *pw;
    FILE *f = *file ? fopen(file, "re") : NULL;
    if (!f) return *file ? NULL : getpwnam(name);
    while ((pw = fgetpwent(f)) && strcmp(pw->pw_name, name) != 0) {
    }
    fclose(f);
    return pw;
}

static bool prepare(struct self *me) {
    /* Debian: of /var/mail; of users without a group of their own. */
    static const char *const names[] = {"mail", "users"};
    const struct config *c = me->config;
    char why[256];
    gid_t gid;
    state.me = me;
    if (!cage_worker_prepare(why, sizeof why)) {
        LOG_TROUBLE("cannot make the cage of workers: %s", why);
        return false;
    }
    for (int r = 0; r < ROLE_COUNT; r++)
        if (!cage_ids((enum role)r, c->uid_base, &state.own[r], &gid)) state.own[r] = 0;
    const struct passwd *pw = find_account(c->passwd_file, c->system_mailbox_user);
    if (pw && pw->pw_uid != 0) {
        state.system_uid = pw->pw_uid;
        allow_group(pw->pw_gid);
    } else
        LOG_NOTE("there is no account \"%s\" (system-mailbox-user): mail for system accounts will wait",
                 c->system_mailbox_user);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct group *gr = getgrnam(names[i]);
        if (gr) allow_group(gr->gr_gid);
    }
    return true;
}

static bool uid_allowed(uid_t uid) {
    if (geteuid() != 0) return uid == geteuid(); /* a private instance serves its owner */
    if (uid == 0 || uid == (uid_t)-1) return false;
    for (int r = 0; r < ROLE_COUNT; r++)
        if (uid == state.own[r]) return false;
    return uid == state.system_uid || uid >= state.me->config->min_uid;
}

static bool gid_allowed(gid_t gid) {
    if (geteuid() != 0) return true; /* it stays what it is */
    for (size_t i = 0; i < state.group_count; i++)
        if (gid == state.groups[i]) return true;
    return gid != (gid_t)-1 && gid >= state.me->config->min_uid;
}

/* ---- Workers ---- */

static int start_worker(const struct request *r) {
    if (state.workers >= WORKERS_MAX) return EAGAIN;
    if (!uid_allowed(r->uid) || !gid_allowed(r->gid)) {
        LOG_TROUBLE("dispatch asked for a worker with UID %u GID %u, which no mailbox has", (unsigned)r->uid,
                    (unsigned)r->gid);
        return EPERM;
    }
    log_flush(); /* else the child would write our lines too */
    pid_t pid = fork();
    if (pid == 0) {
        counters_leave(); /* the page is the spawner's */
        worker_run(r->fd, r->uid, r->gid);
    }
    if (pid < 0) return errno;
    state.workers++;
    LOG(worker, .uid = r->uid, .pid = (uint64_t)pid);
    return 0;
}

static void fork_waiting(void *ctx) {
    (void)ctx;
    for (size_t i = 0; i < state.waiting_count; i++) {
        struct request *r = &state.waiting[i];
        int error = r->ch ? start_worker(r) : ECONNRESET;
        close(r->fd);
        if (r->ch) SEND(r->ch, spawned, .tag = r->tag, .ok = error == 0, .error = (uint32_t)error);
    }
    state.waiting_count = 0;
}

static void on_spawn(void *ctx, struct channel *ch, const struct wire_spawn *m, int fd) {
    struct self *me = ctx;
    if (me->stopping || state.waiting_count == WAITING_MAX) {
        close(fd);
        SEND(ch, spawned, .tag = m->tag, .ok = 0, .error = EAGAIN);
        return;
    }
    state.waiting[state.waiting_count++] = (struct request){ch, m->tag, m->uid, m->gid, fd};
    loop_defer(me->loop, &state.fork_soon);
}

static void peer_gone(struct self *me, struct channel *ch) {
    (void)me;
    for (size_t i = 0; i < state.waiting_count; i++)
        if (state.waiting[i].ch == ch) state.waiting[i].ch = NULL;
}

static void on_child(void *ctx, int signo) {
    struct self *me = ctx;
    int status;
    pid_t pid;
    (void)signo;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (state.workers) state.workers--;
        if (WIFSIGNALED(status)) LOG_TROUBLE("worker %d was ended by signal %d", (int)pid, WTERMSIG(status));
    }
    if (me->stopping && state.workers == 0) program_end(me);
}

static void begin(struct self *me) {
    malloc_trim(0); /* the making of cages left more behind than all that a worker needs */
    state.fork_soon = (struct deferred){.fn = fork_waiting};
    loop_signal(me->loop, SIGCHLD, on_child, me);
}

/* Workers end when dispatch closes their channels; until then they may finish what they are at. */
static void stop(struct self *me) {
    if (state.workers == 0) program_end(me);
}

int main(int argc, char **argv) {
    static const struct wire_handlers handlers = {.spawn = on_spawn};
    static const struct program p = {
        .role = ROLE_local,
        .purpose = "Starts workers that store mail with the rights of its recipient.",
        .handlers = &handlers,
        .prepare = prepare,
        .begin = begin,
        .peer_gone = peer_gone,
        .stop = stop,
    };
    return program_main(&p, argc, argv);
}
