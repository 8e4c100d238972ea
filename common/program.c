#include "build-config.h"

#include "common/program.h"

#include "common/counters.h"
#include "common/arena.h"
#include "common/cage.h"
#include "common/tidy.h"
#include "common/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct start {
    struct self me;
    struct config *config; /* in force; NULL before the first conf_end */
    struct config *next;   /* being told */
    struct cage cage;
    char root[1024];
    bool complete;         /* settings and rights were told */
    struct timer deadline; /* of a stop */
};

static struct start *start_of(struct self *me) {
    return (struct start *)me; /* me is its first member */
}

static void end_now(void *ctx) {
    struct self *me = ctx;
    program_end(me);
}

static void begin_stop(struct self *me, uint32_t within_ms) {
    struct start *s = start_of(me);
    if (me->stopping) return;
    me->stopping = true;
    s->deadline = (struct timer){.fn = end_now, .ctx = me};
    loop_timer_in(me->loop, &s->deadline, within_ms);
    if (me->program->stop && s->complete) me->program->stop(me);
    else program_end(me);
}

void program_end(struct self *me) {
    loop_stop(me->loop);
}

static void on_conf(void *ctx, struct channel *ch, const struct wire_conf *m, int fd) {
    struct start *s = start_of(ctx);
    const char *why;
    (void)ch, (void)fd;
    if (!s->next) s->next = config_new();
    char name[65];
    struct buf b = BUF(name);
    buf_add(&b, m->name);
    if (config_set(s->next, m->name, m->value, &why)) config_set_line(s->next, buf_cstr(&b), m->line);
    else
        LOG_TROUBLE("posternd sent a setting that this program does not understand: %.*s: %s",
                    STR_ARGS(m->name), why);
}

static void on_cage(void *ctx, struct channel *ch, const struct wire_cage *m, int fd) {
    struct start *s = start_of(ctx);
    (void)ch, (void)fd;
    s->cage = (struct cage){.role = s->me.program->role, .uid = m->uid, .gid = m->gid};
    if (m->root.n && m->root.n < sizeof s->root) {
        memcpy(s->root, m->root.p, m->root.n);
        s->root[m->root.n] = '\0';
        s->cage.root = s->root;
    }
}

static void on_conf_end(void *ctx, struct channel *ch, const struct wire_conf_end *m, int fd) {
    struct start *s = start_of(ctx);
    struct config *old = s->config;
    (void)ch, (void)m, (void)fd;
    s->config = s->next ? s->next : config_new();
    s->next = NULL;
    s->me.config = s->config;
    if (old && s->complete && s->me.program->reconfigured) s->me.program->reconfigured(&s->me, old);
    config_free(old);
    s->complete = true;
}

static void on_crowd(void *ctx, struct channel *ch, const struct wire_crowd *m, int fd) {
    struct self *me = ctx;
    (void)ch, (void)m;
    if (me->crowd >= 0) close(me->crowd);
    me->crowd = fd;
}

static void on_peer(void *ctx, struct channel *ch, const struct wire_peer *m, int fd) {
    struct self *me = ctx;
    (void)ch;
    if (m->role >= ROLE_COUNT) {
        close(fd);
        return;
    }
    struct channel *peer = program_channel(me, fd, (enum role)m->role);
    channel_expect(peer, m->instance);
    if (me->program->peer) me->program->peer(me, peer);
}

static void on_listener(void *ctx, struct channel *ch, const struct wire_listener *m, int fd) {
    struct self *me = ctx;
    (void)ch;
    if (me->program->listener) me->program->listener(me, fd, (enum listener_kind)m->kind, m->name);
    else close(fd);
}

static void on_unlisten(void *ctx, struct channel *ch, const struct wire_unlisten *m, int fd) {
    struct self *me = ctx;
    (void)ch, (void)fd;
    if (me->program->unlisten) me->program->unlisten(me, m->name);
}

static void on_stop(void *ctx, struct channel *ch, const struct wire_stop *m, int fd) {
    (void)ch, (void)fd;
    begin_stop(ctx, m->within_ms);
}

static void supervise_gone(void *ctx, struct channel *ch, const char *why) {
    struct self *me = ctx;
    (void)ch, (void)why;
    me->supervise = NULL;
    begin_stop(me, 2000);
}

unsigned program_files(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur > UINT_MAX) return UINT_MAX;
    return (unsigned)r.rlim_cur;
}

/* ---- Control sockets ---- */

enum { TOOLS_MAX = 64, TOOLS_SPARE = 16, TOOLS_A_USER = 8 }; /* spare: for administrators only */
static uid_t tools[TOOLS_MAX + TOOLS_SPARE];
static size_t tool_count;

bool program_admin(const struct self *me, const struct channel *ch) {
    uid_t uid = channel_uid(ch);
    return uid == 0 || (me->supervise && uid == channel_uid(me->supervise));
}

static bool tool_welcome(const struct self *me, int fd) {
    struct ucred cred;
    socklen_t n = sizeof cred;
    size_t same = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0) return false;
    bool admin = cred.uid == 0 || (me->supervise && cred.uid == channel_uid(me->supervise));
    for (size_t i = 0; i < tool_count; i++) same += tools[i] == cred.uid;
    if (tool_count >= TOOLS_MAX + (admin ? TOOLS_SPARE : 0) || (!admin && same >= TOOLS_A_USER)) return false;
    tools[tool_count++] = cred.uid;
    return true;
}

static void tool_left(uid_t uid) {
    for (size_t i = 0; i < tool_count; i++) {
        if (tools[i] != uid) continue;
        tools[i] = tools[--tool_count];
        return;
    }
}

struct channel *program_tool(struct self *me, int listener, bool *more) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    *more = fd >= 0;
    if (fd < 0) return NULL;
    if (tool_welcome(me, fd)) return program_channel(me, fd, ROLE_tool);
    close(fd);
    return NULL;
}

static void peer_closed(void *ctx, struct channel *ch, const char *why) {
    struct self *me = ctx;
    if (why && me->supervise && channel_peer(ch) != ROLE_tool)
        SEND(me->supervise, intruder, .role = (uint8_t)channel_peer(ch),
             .instance = (uint16_t)channel_instance(ch), .why = str_sub(str_of(why), 0, 200));
    if (channel_peer(ch) == ROLE_tool) tool_left(channel_uid(ch));
    if (me->program->peer_gone) me->program->peer_gone(me, ch);
}

static void peer_drained(void *ctx, struct channel *ch) {
    struct self *me = ctx;
    if (me->program->drained) me->program->drained(me, ch);
}

struct channel *program_channel(struct self *me, int fd, enum role expect) {
    static struct channel_user user; /* one program a process, so one set of handlers */
    static const struct wire_handlers none;
    user = (struct channel_user){.handlers = me->program->handlers ? me->program->handlers : &none,
                                 .closed = peer_closed,
                                 .drained = peer_drained};
    return channel_new(me->loop, fd, me->program->role, me->instance, expect, &user, me);
}

/* What every program is told, and beside that what this one takes. */
static struct wire_handlers from_supervise(const struct program *p) {
    struct wire_handlers h = {0};
    if (p->handlers) h = *p->handlers;
    h.conf = on_conf;
    h.cage = on_cage;
    h.crowd = on_crowd;
    h.conf_end = on_conf_end;
    h.peer = on_peer;
    h.listener = on_listener;
    h.unlisten = on_unlisten;
    h.stop = on_stop;
    return h;
}

static int usage(const struct program *p, FILE *to, int status) {
    const struct role_info *r = &role_table[p->role];
    fprintf(to,
            "usage: %s [--help | --version]\n%s\n"
            "It is started by posternd(8); by hand it does nothing. See postern-%s(8).\n",
            r->program, p->purpose, r->program);
    return status;
}

/* What somebody who starts it by hand may ask; -1: nothing of that. */
static int answer_by_hand(const struct program *p, const char *word) {
    const char *name = role_table[p->role].program;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return usage(p, stdout, EX_OK);
    if (strcmp(word, "--version") != 0) {
        fprintf(stderr, "%s: %s: unknown option\n", name, word);
        return -1;
    }
    printf("%s of Postern %s\n", name, PACKAGE_VERSION);
    return EX_OK;
}

static bool enter_cage(struct start *s) {
    const char *paths[16] = {NULL};
    char why[256];
    const struct program *p = s->me.program;
    if (p->read_paths) p->read_paths(s->config, paths, 15);
    s->cage.read = paths;
    bool caged = cage_enter(&s->cage, why, sizeof why);
    s->cage.read = NULL; /* it lay on this stack */
    if (!caged) {
        LOG_TROUBLE("cannot enter the cage of %s: %s", role_table[p->role].program, why);
        return false;
    }
    SEND(s->me.supervise, started, .note = str_sub(str_of(why), 0, 200));
    return true;
}

/* Two processes must never work on one spool, state or drop directory, also when a posternd was killed and the next
 * one is faster than what the old one left behind: whoever works there holds the lock until the kernel takes it. */
static bool lock_root(const struct start *s) {
    enum { TRIES = 40, WAIT_US = 100000 };
    enum role_root root = role_table[s->me.program->role].root;
    if (!s->cage.root || root == ROOT_NONE || root == ROOT_EMPTY) return true;
    int fd = open(s->cage.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
        usleep(WAIT_US);
    }
    LOG_TROUBLE("directory %s: %s", s->cage.root, fd < 0 ? strerror(errno) : "another process works in it");
    return false;
}

/* With supervise's channel only: until settings and rights are complete. */
static bool learn_settings(struct start *s) {
    while (!s->complete && loop_once(s->me.loop, -1)) {
    }
    return s->complete && !s->me.stopping;
}

/* A function of its own: it would bring back the pages of all that is needed at a start only. */
static WARM __attribute__((noinline)) void work(struct self *me) {
    struct tidy tidy = {0};
    while (loop_once(me->loop, -1)) {
        log_flush();
        tidy_round(&tidy, me->loop);
    }
}

static int run(struct start *s) {
    struct self *me = &s->me;
    static struct wire_handlers handlers;
    static const struct channel_user user = {.handlers = &handlers, .closed = supervise_gone};
    handlers = from_supervise(me->program);
    me->supervise =
        channel_new(me->loop, FD_SUPERVISE, me->program->role, me->instance, ROLE_supervise, &user, me);
    if (!learn_settings(s)) return EX_OK;
    char name[48];
    snprintf(name, sizeof name, "postern/%s", role_table[me->program->role].program);
    log_open(FD_LOG, name, s->config->hostname);
    if (!lock_root(s)) return EX_OSERR;
    if (me->program->prepare && !me->program->prepare(me)) return EX_OSERR;
    if (!enter_cage(s)) return EX_OSERR;
    if (me->program->begin) me->program->begin(me);
    work(me);
    if (me->supervise) channel_drain(me->supervise);
    return EX_OK;
}

int program_main(const struct program *p, int argc, char **argv) {
    static struct start s;
    struct stat st;
    int answer = argc == 2 ? answer_by_hand(p, argv[1]) : -1;
    if (answer >= 0) return answer;
    uint64_t instance = 0;
    if (argc != 3 || strcmp(argv[1], "-i") != 0 || !str_to_u64(str_of(argv[2]), 1000, &instance) ||
        fstat(FD_SUPERVISE, &st) != 0 || !S_ISSOCK(st.st_mode))
        return usage(p, stderr, EX_USAGE);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* Ctrl-C reaches posternd, which stops us in order */
    umask(077);
    counters_map(FD_COUNTERS); /* without, it counts for itself alone: no reason not to work */
    s.me = (struct self){.program = p, .loop = loop_new(), .instance = (unsigned)instance, .crowd = -1};
    int status = run(&s);
    log_flush();
    return status;
}
