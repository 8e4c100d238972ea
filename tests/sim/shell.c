/* shell.c: loop, channels, descriptors and clock for real shells. A channel is a link, a descriptor a blob, a
 * timer an event of the world. The linker sends the system calls of a shell here (--wrap, local.mk); nothing
 * else in this program makes any, but for its own account (many.c), which runs as the world. */
#include "tests/sim/shell.h"

#include "common/arena.h"

#include <errno.h>
#include <fcntl.h>
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

const struct program *shell_program(int (*main)(int argc, char **argv)) {
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

unsigned program_files(void) {
    return 20000;
}

bool program_admin(const struct self *me, const struct channel *ch) {
    (void)me, (void)ch;
    return false;
}

struct channel *program_tool(struct self *me, int listener, bool *more) {
    (void)me, (void)listener, (void)more;
    abort(); /* there are no tools here */
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
}

/* ---- Channels ------------------------------------------------------------------------------------------ */

void channel_send(struct channel *ch, enum wire_type type, const void *m, int fd) {
    struct process *p = shell_process();
    if (faults_disk_dead(p->w)) blob_put(p->w, fd); /* it is dead and does not know it yet */
    else link_send(p, link_peer(ch, p), type, m, fd);
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
    if (p->links[peer]) me->program->drained(me, (struct channel *)(void *)p->links[peer]);
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
    struct process *p = shell_process();
    return p->w->p[link_peer(ch, p)].kind->role;
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
    (void)fd;
    return what == F_GET_SEALS ? F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW : -1;
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
