#include "supervise/suite.h"

#include "common/arena.h"
#include "common/cage.h"
#include "common/log.h"
#include "supervise/child.h"
#include "supervise/crowd.h"
#include "supervise/dirs.h"
#include "supervise/notify.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    CHANGE_WITHIN_MS = 5000, /* a program that is started again because of its settings */
    KILL_AFTER_MS = 1000,    /* beyond the time it was given */
    HANGUP_MS = 5000,        /* a program that closed its channel to us, and lives on */
    LINGER_MS = 5000,        /* workers of deliver-local that still write, after all else has ended */
    BUFFER = 1024 * 1024,    /* of each wire */
    FIRST_TRIES = 4,         /* a program that ends so often before the suite was ever ready: give up */
};

/* ---- Which programs ---- */

unsigned suite_count(const struct config *c, enum role role) {
    switch (role) {
    case ROLE_supervise:
    case ROLE_tool:
        return 0;
    case ROLE_smtpd:
        return (unsigned)c->smtpd_processes;
    case ROLE_remote:
        return (unsigned)c->remote_processes;
    case ROLE_keys:
        return (unsigned)c->keys_processes;
    default:
        return 1;
    }
}

static struct proc *find_proc(struct suite *s, enum role role, unsigned instance) {
    for (size_t i = 0; i < s->proc_count; i++)
        if (s->procs[i]->role == role && s->procs[i]->instance == instance) return s->procs[i];
    return NULL;
}

static bool all_up(const struct suite *s) {
    for (size_t i = 0; i < s->proc_count; i++)
        if (s->procs[i]->state != PROC_UP) return false;
    return true;
}

static void tell_status(struct suite *s) {
    char text[80];
    size_t up = 0;
    if (s->stopping || !s->ready) return;
    for (size_t i = 0; i < s->proc_count; i++) up += s->procs[i]->state == PROC_UP;
    snprintf(text, sizeof text, "%zu of %zu programs at work", up, s->proc_count);
    notify_ready(text);
}

/* ---- Wiring ---- */

static void widen(int fd) {
    int size = BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

static bool make_wire(int pair[2]) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        LOG_TROUBLE("no socket pair: %s", strerror(errno));
        return false;
    }
    widen(pair[0]);
    widen(pair[1]);
    return true;
}

static void wire(struct proc *a, struct proc *b) {
    int pair[2];
    if (!make_wire(pair)) return;
    SEND_FD(a->channel, pair[0], peer, .role = (uint8_t)b->role, .instance = (uint16_t)b->instance);
    SEND_FD(b->channel, pair[1], peer, .role = (uint8_t)a->role, .instance = (uint16_t)a->instance);
}

static void hand_listener(struct proc *p, const struct listener *l) {
    if (p->role != l->role || p->state != PROC_UP || !p->channel) return;
    int fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        LOG_TROUBLE("listening socket %s cannot be handed on: %s", l->name, strerror(errno));
        return;
    }
    SEND_FD(p->channel, fd, listener, .kind = (uint8_t)l->kind, .name = str_of(l->name));
}

/* The world is let in only when the whole suite stands; until then connections wait in the kernel. */
static void hand_listeners(struct suite *s, struct proc *p) {
    for (size_t i = 0; i < s->listeners.n; i++)
        if (s->ready || s->listeners.v[i].kind == LISTEN_CONTROL) hand_listener(p, &s->listeners.v[i]);
}

static void become_ready(struct suite *s) {
    s->ready = true;
    for (size_t i = 0; i < s->listeners.n; i++)
        for (size_t k = 0; k < s->proc_count; k++)
            if (s->listeners.v[i].kind != LISTEN_CONTROL) hand_listener(s->procs[k], &s->listeners.v[i]);
    LOG(suite_started, .config = str_of(s->file), .generation = s->generation, .programs = s->proc_count);
    if (s->on_ready) s->on_ready(s);
}

/* ---- Certificates ---- */

/* The first makes the self-signed certificate before it says started: then all can have it. */
static void hand_certificates(struct suite *s, const struct proc *to) {
    for (size_t i = 0; i < s->proc_count; i++) {
        struct proc *p = s->procs[i];
        if (p->role == ROLE_keys && p->state == PROC_UP && p->channel &&
            (!to || to == p || to->instance == 0))
            files_hand(s->config, s->generation, p->channel);
    }
}

static void on_watch(void *ctx) {
    struct suite *s = ctx;
    if (files_changed(&s->files, s->config)) hand_certificates(s, NULL);
    loop_timer_in(s->loop, &s->watch, files_pause(&s->files, s->config));
}

static void watch_certificates(struct suite *s) {
    loop_timer_cancel(s->loop, &s->watch);
    s->watch = (struct timer){.fn = on_watch, .ctx = s};
    s->files.known = false;
    files_changed(&s->files, s->config); /* the files of now are the ones to compare with */
    loop_timer_in(s->loop, &s->watch, files_pause(&s->files, s->config));
}

static void on_started(void *ctx, struct channel *ch, const struct wire_started *m, int fd) {
    struct proc *p = ctx;
    struct suite *s = p->suite;
    (void)ch, (void)fd;
    if (p->state != PROC_STARTING) return;
    p->state = PROC_UP;
    LOG(started, .program = str_of(role_table[p->role].program), .instance = p->instance,
        .pid = (uint64_t)p->pid, .uid = p->uid, .note = m->note);
    for (size_t i = 0; i < s->proc_count; i++)
        if (s->procs[i]->state == PROC_UP && s->procs[i]->channel && role_linked(p->role, s->procs[i]->role))
            wire(p, s->procs[i]);
    hand_listeners(s, p);
    if (p->role == ROLE_keys) hand_certificates(s, p);
    if (!s->ready && !s->stopping && all_up(s)) become_ready(s);
    tell_status(s);
}

/* ---- Intruders and hang-ups ---- */

static void kill_now(struct proc *p) {
    if (p->pid) kill(p->pid, SIGKILL);
}

static void on_intruder(void *ctx, struct channel *ch, const struct wire_intruder *m, int fd) {
    struct proc *teller = ctx;
    (void)ch, (void)fd;
    struct proc *p = m->role < ROLE_COUNT ? find_proc(teller->suite, (enum role)m->role, m->instance) : NULL;
    /* Only one to whom it is wired can have been wronged by it. A worker of deliver-local has no row here:
     * its channel is closed, and that ends it. */
    if (!p || !role_linked(teller->role, p->role) || !p->pid || p->role == ROLE_local) return;
    char why[300];
    snprintf(why, sizeof why, "%s says: %.*s", role_table[teller->role].program, STR_ARGS(m->why));
    LOG(intrusion, .peer = str_of(role_table[p->role].name), .instance = p->instance, .pid = (uint64_t)p->pid,
        .why = str_of(why));
    kill_now(p);
}

static void on_kill(void *ctx) {
    struct proc *p = ctx;
    if (!p->pid) return;
    LOG_TROUBLE("%s[%d] does not end in time: killing it", role_table[p->role].program, (int)p->pid);
    kill_now(p);
}

static void on_closed(void *ctx, struct channel *ch, const char *why) {
    struct proc *p = ctx;
    (void)ch;
    p->channel = NULL;
    if (why) kill_now(p); /* channel.c has logged it */
    else if (p->state != PROC_STOPPING) loop_timer_in(p->suite->loop, &p->kill, HANGUP_MS);
}

static const struct wire_handlers from_programs = {.started = on_started, .intruder = on_intruder};
static const struct channel_user channel_user = {.handlers = &from_programs, .closed = on_closed};

/* ---- Starting one ---- */

static void tell_setting(void *ctx, const char *name, struct str text, unsigned line) {
    struct proc *p = ctx;
    SEND(p->channel, conf, .name = str_of(name), .value = text, .line = line);
}

static void tell_settings(struct proc *p) {
    struct suite *s = p->suite;
    config_each_for(s->config, p->role, tell_setting, p);
    SEND(p->channel, conf_end, .generation = s->generation);
}

static void tell_rights(struct proc *p, gid_t gid) {
    char mem[1100];
    const char *root = dirs_root(p->suite->config, p->role, mem, sizeof mem);
    SEND(p->channel, cage, .uid = p->uid, .gid = gid, .root = str_of(root));
}

static void hand_crowd(struct proc *p) {
    struct suite *s = p->suite;
    if (p->role != ROLE_smtpd) return;
    if (!s->crowd) {
        s->crowd = crowd_new();
        if (s->crowd < 0)
            LOG_TROUBLE("no memory for the limits of smtpd, which count nothing now: %s", strerror(errno));
    }
    int fd = s->crowd < 0 ? -1 : fcntl(s->crowd, F_DUPFD_CLOEXEC, 3);
    if (fd >= 0) SEND_FD(p->channel, fd, crowd, .unused = 0);
}

static void try_again(struct proc *p, const char *why, int64_t lived_ms) {
    struct suite *s = p->suite;
    p->state = PROC_WAITING;
    uint64_t wait = child_backoff(&p->ends, lived_ms);
    LOG(ended, .program = str_of(role_table[p->role].program), .instance = p->instance,
        .pid = (uint64_t)p->pid, .why = str_of(why), .again_ms = wait);
    p->pid = 0;
    if (!s->ready && p->ends >= FIRST_TRIES) {
        snprintf(s->failure, sizeof s->failure, "%s: %s", role_table[p->role].program, why);
        suite_stop(s, "a program cannot be started", EX_UNAVAILABLE);
        return;
    }
    loop_timer_in(s->loop, &p->start, (int64_t)wait);
}

static void start_proc(struct proc *p) {
    struct suite *s = p->suite;
    char path[1200], why[1400];
    int pair[2];
    gid_t gid = getegid();
    p->uid = geteuid();
    p->since = loop_now(s->loop);
    if (p->uid == 0 && !cage_ids(p->role, s->config->uid_base, &p->uid, &gid)) {
        try_again(p, "its account is missing", 0);
        return;
    }
    if (!make_wire(pair)) {
        try_again(p, "no socket pair", 0);
        return;
    }
    child_path(s->config->program_directory, role_table[p->role].program, path, sizeof path);
    int counters = dirs_counters(s->config, role_table[p->role].program, p->instance);
    p->pid = child_start(path, p->instance, pair[1], s->log_fd, s->errors_fd, counters);
    close(pair[1]);
    if (counters >= 0) close(counters);
    if (p->pid < 0) {
        p->pid = 0;
        snprintf(why, sizeof why, "%s cannot be run: %s", path, strerror(errno));
        close(pair[0]);
        try_again(p, why, 0);
        return;
    }
    p->state = PROC_STARTING;
    p->channel = channel_new(s->loop, pair[0], ROLE_supervise, 0, p->role, &channel_user, p);
    channel_expect(p->channel, p->instance);
    tell_rights(p, gid);
    hand_crowd(p);
    tell_settings(p);
}

static void on_start(void *ctx) {
    struct proc *p = ctx;
    if (!p->suite->stopping && p->state == PROC_WAITING) start_proc(p);
}

static struct proc *add_proc(struct suite *s, enum role role, unsigned instance) {
    struct proc *p = xmalloc(sizeof *p);
    assert(s->proc_count < PROCS_MAX); /* the maxima in config.def allow 64 + 64 + 16 and the single ones */
    *p = (struct proc){.suite = s, .role = role, .instance = instance};
    p->start = (struct timer){.fn = on_start, .ctx = p};
    p->kill = (struct timer){.fn = on_kill, .ctx = p};
    s->procs[s->proc_count++] = p;
    return p;
}

static void add_missing(struct suite *s) {
    for (int r = 0; r < ROLE_COUNT; r++)
        for (unsigned i = 0; i < suite_count(s->config, (enum role)r); i++)
            if (!find_proc(s, (enum role)r, i)) start_proc(add_proc(s, (enum role)r, i));
}

void suite_start(struct suite *s) {
    add_missing(s);
    watch_certificates(s);
}

/* ---- Ends ---- */

static void forget(struct suite *s, struct proc *p) {
    loop_timer_cancel(s->loop, &p->start);
    loop_timer_cancel(s->loop, &p->kill);
    if (p->channel) channel_close(p->channel);
    for (size_t i = 0; i < s->proc_count; i++)
        if (s->procs[i] == p) s->procs[i] = s->procs[--s->proc_count];
    free(p);
}

static void stop_proc(struct proc *p, uint32_t within_ms) {
    loop_timer_cancel(p->suite->loop, &p->start);
    if (!p->pid) {
        p->state = PROC_WAITING;
        return;
    }
    p->state = PROC_STOPPING;
    if (p->channel) SEND(p->channel, stop, .within_ms = within_ms);
    loop_timer_in(p->suite->loop, &p->kill, (int64_t)within_ms + KILL_AFTER_MS);
}

static void next_phase(struct suite *s);

static void ended(struct proc *p, int status) {
    struct suite *s = p->suite;
    char mem[200];
    struct buf why = BUF(mem);
    child_ending(status, &why);
    if (p->role == ROLE_smtpd) crowd_wipe(s->crowd ? s->crowd : -1, p->instance);
    loop_timer_cancel(s->loop, &p->kill);
    if (p->channel) channel_close(p->channel);
    p->channel = NULL;
    bool asked = p->state == PROC_STOPPING;
    if (asked && status != 0)
        LOG(ended, .program = str_of(role_table[p->role].program), .instance = p->instance,
            .pid = (uint64_t)p->pid, .why = buf_str(&why), .again_ms = 0);
    if (s->stopping || p->retiring || p->again) {
        p->pid = 0;
        p->state = PROC_WAITING;
    } else {
        try_again(p, buf_cstr(&why), (loop_now(s->loop) - p->since) / 1000000);
    }
    if (s->stopping) next_phase(s);
    else if (p->retiring) forget(s, p);
    else if (p->again) p->again = false, start_proc(p);
    if (!s->stopping) tell_status(s);
}

void suite_reaped(struct suite *s, pid_t pid, int status) {
    for (size_t i = 0; i < s->proc_count; i++)
        if (s->procs[i]->pid == pid) {
            ended(s->procs[i], status);
            return;
        }
    /* Else a worker whose spawner has died: posternd is the reaper of orphans. */
    if (s->stopping) next_phase(s);
}

/* ---- Stopping in order: first who takes mail in, last who keeps it ---- */

static const struct phase {
    uint32_t roles, within_ms;
} phases[] = {
    {ROLE_BIT(ROLE_smtpd) | ROLE_BIT(ROLE_pickup), 5000},
    {ROLE_BIT(ROLE_dispatch), 10000},
    {ROLE_BIT(ROLE_remote) | ROLE_BIT(ROLE_local) | ROLE_BIT(ROLE_lookup) | ROLE_BIT(ROLE_resolve) |
         ROLE_BIT(ROLE_auth) | ROLE_BIT(ROLE_keys),
     5000},
    {ROLE_BIT(ROLE_queue), 10000},
};

uint32_t suite_phase(size_t phase, uint32_t *within_ms) {
    if (phase >= sizeof phases / sizeof phases[0]) return 0;
    *within_ms = phases[phase].within_ms;
    return phases[phase].roles;
}

static bool any_of(const struct suite *s, uint32_t roles) {
    for (size_t i = 0; i < s->proc_count; i++)
        if (ROLE_BIT(s->procs[i]->role) & roles && s->procs[i]->pid) return true;
    return false;
}

static void on_linger(void *ctx) {
    struct suite *s = ctx;
    loop_stop(s->loop);
}

static void next_phase(struct suite *s) {
    uint32_t within = 0, roles = suite_phase(s->phase, &within);
    while (roles && !any_of(s, roles)) {
        roles = suite_phase(++s->phase, &within);
        for (size_t i = 0; i < s->proc_count; i++)
            if (ROLE_BIT(s->procs[i]->role) & roles) stop_proc(s->procs[i], within);
    }
    if (roles) return;
    if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD) {
        loop_stop(s->loop);
        return;
    }
    s->linger = (struct timer){.fn = on_linger, .ctx = s};
    loop_timer_in(s->loop, &s->linger, LINGER_MS); /* or until nobody is left: suite_reaped */
}

void suite_stop(struct suite *s, const char *why, int status) {
    uint32_t within = 0, roles = suite_phase(0, &within);
    if (s->stopping) return;
    s->stopping = true;
    s->why = why;
    s->status = status;
    notify_stopping();
    for (size_t i = 0; i < s->proc_count; i++) {
        loop_timer_cancel(s->loop, &s->procs[i]->start);
        if (ROLE_BIT(s->procs[i]->role) & roles) stop_proc(s->procs[i], within);
    }
    next_phase(s);
}

/* ---- Changing ---- */

/* What only a new posternd could change: its own directories, log and identities. */
static bool possible(const struct suite *s, const struct config *next, struct config_error *err) {
    static const char *const fixed[] = {"run-directory", "program-directory", "log", "uid-base"};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        const char *text = config_text(next, fixed[i]);
        if (strcmp(config_text(s->config, fixed[i]), text) == 0) continue;
        config_blame(err, s->file, config_line(next, fixed[i]), str_of(fixed[i]), str_of(text),
                     "cannot change while posternd runs: restart it");
        return false;
    }
    return true;
}

static void unlisten(struct suite *s, const struct config *next) {
    for (size_t i = s->listeners.n; i-- > 0;) {
        struct listener *l = &s->listeners.v[i];
        if (listen_wanted(next, l)) continue;
        for (size_t k = 0; k < s->proc_count; k++)
            if (s->procs[k]->role == l->role && s->procs[k]->state == PROC_UP && s->procs[k]->channel)
                SEND(s->procs[k]->channel, unlisten, .name = str_of(l->name));
        listen_remove(&s->listeners, i);
    }
}

static void hand_fresh(struct suite *s, const struct listeners *fresh) {
    for (size_t i = 0; i < fresh->n; i++) {
        LOG(listening, .name = str_of(fresh->v[i].name));
        for (size_t k = 0; s->ready && k < s->proc_count; k++) hand_listener(s->procs[k], &fresh->v[i]);
    }
}

/* One program and the new settings: told, or started again. */
static void change_proc(struct proc *p, int change) {
    struct suite *s = p->suite;
    if (p->instance >= suite_count(s->config, p->role)) {
        p->retiring = true;
        stop_proc(p, CHANGE_WITHIN_MS);
    } else if (change == 2) {
        p->again = p->pid != 0;
        p->ends = 0;
        if (p->state != PROC_STOPPING) stop_proc(p, CHANGE_WITHIN_MS);
        if (!p->pid) start_proc(p);
    } else if (change == 1 && p->state != PROC_STOPPING && p->channel) {
        tell_settings(p);
    }
}

bool suite_change(struct suite *s, struct config *next, struct config_error *err) {
    struct listeners fresh;
    if (!possible(s, next, err) || !dirs_prepare(s->file, next, err)) return false;
    if (!listen_bind(s->file, next, true, &s->listeners, &fresh, err)) return false;
    unlisten(s, next);
    hand_fresh(s, &fresh);
    listen_add(&s->listeners, &fresh);
    struct config *old = s->config;
    s->config = next;
    s->generation++;
    for (size_t i = s->proc_count; i-- > 0;) {
        struct proc *p = s->procs[i];
        change_proc(p, config_change(old, next, p->role));
        if (p->retiring && !p->pid) forget(s, p);
    }
    add_missing(s);
    config_free(old);
    hand_certificates(s, NULL); /* also when only the files changed: who asks for a reload wants to see it */
    watch_certificates(s);
    return true;
}

void suite_free(struct suite *s) {
    while (s->proc_count) forget(s, s->procs[0]);
    if (s->crowd > 0) close(s->crowd);
    listen_free(&s->listeners);
    config_free(s->config);
    s->config = NULL;
    loop_once(s->loop, 0); /* closed channels are freed by the loop */
    loop_free(s->loop);
}
