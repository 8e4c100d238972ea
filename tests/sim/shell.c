/* shell.c: loop, channels, descriptors and clock for real shells. A channel is a link, a descriptor a blob, a
 * timer an event of the world. The linker sends the system calls of a shell here (--wrap, local.mk); nothing
 * else in this program makes any, but for its own account (many.c), which runs as the world. */
#include "tests/sim/shell.h"

#include "common/arena.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct process *shell_process(void) {
    unsigned who = mem_owner();
    if (who >= PROGRAMS) abort();
    return &shell_world()->p[who];
}

static struct process *process_of(const struct loop *l) {
    return (struct process *)(void *)(uintptr_t)l;
}

/* ---- Programs ------------------------------------------------------------------------------------------ */

static const struct program *captured;

int program_main(const struct program *p, int argc, char **argv) {
    (void)argc, (void)argv;
    captured = p;
    return 0;
}

/* This disk breaks no promise, so what a journal holds is never damaged. (A segment may look like it: its first
 * block was being written anew when the power failed. Without a journal, or before there was one, so may a pair that
 * nobody accepted.) */
static void check_line(struct world *w, struct str line) {
    bool pair = w->o.journal && !w->profile->switches && str_starts_nocase(line, STR("set_aside")) &&
                !str_starts_nocase(line, STR("set_aside file=journal."));
    if (pair || str_starts_nocase(line, STR("trouble text=\"a record of the journal")))
        world_fail(w, "queue tells of damage, and the disk has done none: %.*s", STR_ARGS(line));
}

static void on_log(void *ctx, struct str line) {
    const struct process *p = shell_process();
    (void)ctx;
    check_line(p->w, line);
    if (str_starts_nocase(line, STR("intake_stopped"))) oracle_sync_failed(p->w);
    STORY(p->w, "%s: %.*s", process_name(p), STR_ARGS(line));
}

const struct program *shell_program(int (*main)(int argc, char **argv)) {
    log_capture(on_log, NULL);
    main(0, NULL);
    return captured;
}

static void on_end(struct world *w, void *ctx, uint64_t life) {
    struct process *p = ctx;
    if (!w->ending && p->alive && p->life == life) process_kill(w, p->number, "by its own will");
}

void program_end(struct self *me) {
    struct process *p = process_of(me->loop);
    world_at(p->w, p->w->now + NS_MS, on_end, p, p->life);
}

/* Few now and then, by the seed, so that they run out. */
unsigned program_files(void) {
    const struct process *p = shell_process();
    static const unsigned files[] = {20000, 900, 400};
    return p->number == P_QUEUE ? files[0] : files[mix(p->w->o.seed + 17) % 3];
}

bool program_admin(const struct self *me, const struct channel *ch) {
    (void)me, (void)ch;
    return false;
}

struct channel *program_tool(struct self *me, int listener, bool *more) {
    (void)me, (void)listener, (void)more;
    abort(); /* there are no tools here */
}

/* ---- Doors ---------------------------------------------------------------------------------------------- */

enum { DOORS = 64 };

static struct door {
    bool used;
    unsigned owner, to; /* P_*, or NOBODY */
    enum role role;
} doors[DOORS];

static struct door *door_of(const struct channel *ch) {
    uintptr_t at = (uintptr_t)ch, first = (uintptr_t)doors;
    return at >= first && at < first + sizeof doors ? &doors[(at - first) / sizeof *doors] : NULL;
}

static struct channel *channel_of(struct door *d) {
    return (struct channel *)(void *)d;
}

static struct door *door_new(const struct process *p) {
    size_t i = 0;
    while (i < DOORS && doors[i].used) i++;
    if (i == DOORS) abort();
    doors[i] = (struct door){.used = true, .owner = p->number, .to = NOBODY};
    return &doors[i];
}

struct channel *shell_door(struct process *p, enum role role, unsigned to) {
    struct door *d = door_new(p);
    d->role = role;
    d->to = to;
    return channel_of(d);
}

/* Descriptors of socket pairs are negative, so that no blob has their number, and -1 stays what it is. */
static int fd_of(const struct door *d) {
    return -(int)(d - doors) - 2;
}

struct channel *shell_door_at(const struct process *p, int fd) {
    size_t i = (size_t)(-fd - 2);
    return fd < -1 && i < DOORS && doors[i].used && doors[i].owner == p->number ? channel_of(&doors[i])
                                                                                : NULL;
}

void shell_door_leads(struct channel *door, unsigned to) {
    door_of(door)->to = to;
}

struct channel *shell_door_to(const struct process *p, enum role role, unsigned to) {
    for (size_t i = 0; i < DOORS; i++)
        if (doors[i].used && doors[i].owner == p->number && doors[i].role == role && doors[i].to == to)
            return channel_of(&doors[i]);
    return NULL;
}

void shell_door_close(struct channel *door) {
    door_of(door)->used = false;
}

unsigned shell_to(const struct process *p, const struct channel *ch) {
    const struct door *d = door_of(ch);
    return d ? d->to : link_peer(ch, p);
}

struct channel *program_channel(struct self *me, int fd, enum role expect) {
    struct channel *ch = shell_door_at(process_of(me->loop), fd);
    door_of(ch)->role = expect;
    return ch;
}

void channel_close(struct channel *ch) {
    if (door_of(ch)) door_of(ch)->used = false;
    else abort(); /* none does that to its peers */
}

/* ---- Timers -------------------------------------------------------------------------------------------- */

struct ring {
    struct process *p;
    struct timer *t;
    uint32_t life;
    size_t slot;
};

static size_t slots;

/* p->state may be another life's by then, so the timer itself (a part of it) is looked at last. */
static void on_timer(struct world *w, void *ctx, uint64_t arg) {
    struct ring *r = ctx;
    struct process *p = r->p;
    (void)arg;
    if (w->ending || !p->alive || p->life != r->life || r->t->slot != r->slot) {
        free(r);
        return;
    }
    if (p->busy > w->now) {
        world_at(w, p->busy, on_timer, r, 0);
        return;
    }
    struct timer *t = r->t;
    free(r);
    t->slot = 0;
    t->fn(t->ctx);
    if (p->alive && p->kind->round) p->kind->round(p);
}

void loop_timer_in(struct loop *l, struct timer *t, int64_t delay_ms) {
    struct process *p = process_of(l);
    struct ring *r = event_ctx(sizeof *r);
    t->slot = ++slots;
    *r = (struct ring){p, t, p->life, t->slot};
    world_at(p->w, p->w->now + delay_ms * NS_MS, on_timer, r, 0);
}

void loop_timer_cancel(struct loop *l, struct timer *t) {
    (void)l;
    t->slot = 0;
}

int64_t loop_wall_ms(const struct loop *l) {
    return world_wall(process_of(l)->w);
}

struct watch *loop_watch(struct loop *l, int fd, uint32_t events, void (*fn)(void *ctx, uint32_t ready),
                         void *ctx) {
    (void)l, (void)fd, (void)events, (void)fn, (void)ctx;
    abort();
}

/* ---- The end of a round -------------------------------------------------------------------------------- */

void loop_defer(struct loop *l, struct deferred *d) {
    struct process *p = process_of(l);
    struct deferred **at = &p->deferred;
    if (d->queued) return;
    d->queued = true;
    d->next = NULL;
    while (*at) at = &(*at)->next;
    *at = d;
}

void shell_round(struct process *p) {
    while (p->alive && p->deferred) {
        struct deferred *d = p->deferred;
        p->deferred = d->next;
        d->queued = false;
        d->fn(d->ctx);
    }
}

void shell_forget(struct process *p) {
    p->deferred = NULL;
    p->full = 0;
    for (size_t i = 0; i < DOORS; i++)
        if (doors[i].owner == p->number) doors[i].used = false;
}

/* ---- Channels ------------------------------------------------------------------------------------------ */

void channel_send(struct channel *ch, enum wire_type type, const void *m, int fd) {
    struct process *p = shell_process();
    unsigned to = shell_to(p, ch);
    if (p->number == P_QUEUE && faults_disk_dead(p->w))
        blob_put(p->w, fd); /* dead, and does not know it yet */
    else if (p->kind->send) p->kind->send(p, ch, type, m, fd);
    else if (to != NOBODY) link_send(p, to, type, m, fd);
    else blob_put(p->w, fd);
}

void channel_drain(struct channel *ch) {
    (void)ch;
}

struct drain {
    struct process *p;
    uint32_t life;
};

static void on_drained(struct world *w, void *ctx, uint64_t peer) {
    struct drain d = *(struct drain *)ctx;
    struct process *p = d.p;
    free(ctx);
    if (w->ending || !p->alive || p->life != d.life) return;
    p->full &= ~(1u << peer);
    struct self *me = p->ctx;
    if (p->links[peer] && me->program->drained)
        me->program->drained(me, (struct channel *)(void *)p->links[peer]);
    if (p->alive) p->kind->round(p);
}

/* Now and then the peer is behind. */
bool channel_full(struct channel *ch) {
    struct process *p = shell_process();
    unsigned peer = link_peer(ch, p);
    if (p->full & 1u << peer) return true;
    if (!faults_on(p->w) || !once_in(p->w, 200)) return false;
    p->full |= 1u << peer;
    struct drain *d = event_ctx(sizeof *d);
    *d = (struct drain){p, p->life};
    world_at(p->w, p->w->now + between(p->w, 0, 500 * NS_MS), on_drained, d, peer);
    return true;
}

enum role channel_peer(const struct channel *ch) {
    const struct process *p = shell_process();
    const struct door *d = door_of(ch);
    return d ? d->role : p->w->p[link_peer(ch, p)].kind->role;
}

unsigned channel_instance(const struct channel *ch) {
    const struct process *p = shell_process();
    unsigned to = shell_to(p, ch);
    return to == NOBODY ? 0 : p->w->p[to].instance;
}

uid_t channel_uid(const struct channel *ch) {
    (void)ch;
    return 0;
}

/* ---- System calls -------------------------------------------------------------------------------------- */

int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
int __wrap_fcntl(int fd, int what, ...);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_stat(const char *path, struct stat *st);
int __wrap_socketpair(int domain, int type, int protocol, int pair[2]);
int __wrap_getifaddrs(struct ifaddrs **list);
int __wrap_memfd_create(const char *name, unsigned flags);
ssize_t __real_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_pread(int fd, void *bytes, size_t n, off_t at);
ssize_t __wrap___pread_chk(int fd, void *bytes, size_t n, off_t at, size_t room);
ssize_t __wrap_getrandom(void *bytes, size_t n, unsigned flags);
int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

int __wrap_open(const char *path, int flags, ...) {
    (void)path, (void)flags;
    return 1;
}

int __wrap_close(int fd) {
    blob_put(shell_world(), fd);
    return 0;
}

int __wrap_fcntl(int fd, int what, ...) {
    if (what == F_DUPFD_CLOEXEC) return blob_dup(shell_world(), fd);
    if (what == F_ADD_SEALS) return 0;
    return what == F_GET_SEALS ? F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW : -1;
}

int __wrap_socketpair(int domain, int type, int protocol, int pair[2]) {
    (void)domain, (void)type, (void)protocol;
    pair[0] = pair[1] = fd_of(door_new(shell_process()));
    return 0;
}

int __wrap_getifaddrs(struct ifaddrs **list) {
    *list = NULL;
    return -1;
}

int __wrap_stat(const char *path, struct stat *st) {
    (void)path;
    memset(st, 0, sizeof *st);
    return 0;
}

int __wrap_memfd_create(const char *name, unsigned flags) {
    char *bytes;
    (void)name, (void)flags;
    return blob_new(shell_world(), 0, &bytes);
}

/* To a memfd; short now and then. */
ssize_t __wrap_write(int fd, const void *bytes, size_t n) {
    if (mem_owner() == MEM_WORLD) return __real_write(fd, bytes, n);
    if (n > 1 && faults_on(shell_world()) && once_in(shell_world(), 100))
        n = 1 + chance(shell_world(), (uint32_t)n - 1);
    blob_add(shell_world(), fd, (struct str){bytes, n});
    return (ssize_t)n;
}

int __wrap_fstat(int fd, struct stat *st) {
    memset(st, 0, sizeof *st);
    st->st_size = (off_t)blob_str(shell_world(), fd).n;
    return 0;
}

/* Short now and then, as the manual allows. */
ssize_t __wrap_pread(int fd, void *bytes, size_t n, off_t at) {
    struct str all = blob_str(shell_world(), fd), some = str_sub(all, (size_t)at, (size_t)at + n);
    if (some.n > 1 && faults_on(shell_world()) && once_in(shell_world(), 500))
        some.n = 1 + chance(shell_world(), (uint32_t)some.n - 1);
    if (some.n) memcpy(bytes, some.p, some.n);
    return (ssize_t)some.n;
}

/* What pread is when the compiler knows how large the buffer is. */
ssize_t __wrap___pread_chk(int fd, void *bytes, size_t n, off_t at, size_t room) {
    return n > room ? -1 : __wrap_pread(fd, bytes, n, at);
}

ssize_t __wrap_getrandom(void *bytes, size_t n, unsigned flags) {
    (void)flags;
    for (size_t i = 0; i < n; i++) ((unsigned char *)bytes)[i] = (unsigned char)chance(shell_world(), 256);
    return (ssize_t)n;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts) {
    if (mem_owner() == MEM_WORLD) return __real_clock_gettime(clock, ts);
    int64_t now = shell_world()->now;
    *ts = (struct timespec){now / NS_S, now % NS_S};
    return 0;
}
