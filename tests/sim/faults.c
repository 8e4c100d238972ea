/* faults.c: what goes wrong, and when: as the seed says. */
#include "queue/disk_fake.h"
#include "tests/sim/world.h"

#include <errno.h>

static struct disk *disk(struct world *w) {
    return (struct disk *)(void *)w->disk;
}

bool faults_on(const struct world *w) {
    return w->o.faults && !w->calm;
}

/* ---- The disk ------------------------------------------------------------------------------------------ */

unsigned faults_skip(const struct world *w) {
    return w->o.mutant ? w->o.mutant->journal_skip : 0;
}

static void mutate(struct world *w) {
    if (w->o.mutant) disk_fake_ignore(disk(w), w->o.mutant->ignore);
}

bool faults_disk_dead(const struct world *w) {
    return w->disk_ends && disk_fake_ops((const struct disk *)(const void *)w->disk) >= w->disk_ends;
}

void faults_disk_stop(struct world *w) {
    disk_fake_crash_at(disk(w), 1);
}

void faults_disk_resume(struct world *w) {
    disk_fake_reopen(disk(w));
    w->disk_ends = 0;
}

void faults_disk_struck(struct world *w) {
    if (w->disk_ends_all) power_cut(w);
    else process_kill(w, P_QUEUE, "in the middle of its work on the disk");
}

void power_cut(struct world *w) {
    AS(MEM_WORLD);
    STORY(w, "the power fails");
    w->count.cuts++;
    w->cutting = true;
    for (unsigned i = 0; i < PROGRAMS; i++)
        if (w->p[i].alive) process_kill(w, i, "with the machine");
    w->cutting = false;
    mailboxes_cut(w);
    disk_fake_restart(disk(w));
    mutate(w);
    oracle_lost(w, ST_SERVED, ST_MARKED, "the power failed");
}

static void on_disk_heals(struct world *w, void *ctx, uint64_t arg) {
    (void)ctx, (void)arg;
    if (w->ending) return;
    w->reads_fail = false;
    disk_fake_fail_often(disk(w), 0, 0, 0);
    disk_fake_room(disk(w), UINT64_MAX / 2);
    STORY(w, "the disk is well again");
}

static void disk_trouble(struct world *w) {
    w->count.disk_errors++;
    static const struct trouble {
        const char *what;
        unsigned kinds;
        int error;
    } troubles[] = {
        {"writes fail: EIO", FAKE_WRITE, EIO},
        {"no room for writes", FAKE_WRITE | FAKE_OPEN, ENOSPC},
        {"syncs fail: EIO", FAKE_SYNCS, EIO},
        {"syncs fail: ENOSPC", FAKE_SYNCS, ENOSPC},
        {"everything fails: EIO", FAKE_CHANGES, EIO},
        {"everything fails: ENOSPC", FAKE_CHANGES, ENOSPC},
        {"it is read-only", FAKE_CHANGES & ~FAKE_SYNCS, EROFS},
        {"names cannot be removed", FAKE_UNLINK | FAKE_RENAME, EIO},
        {"no descriptors left", FAKE_OPEN, EMFILE},
        {"reads fail: EIO", FAKE_READ, EIO},
    };
    const struct trouble *t = &troubles[chance(w, sizeof troubles / sizeof troubles[0])];
    if (once_in(w, 4)) {
        STORY(w, "the disk is full");
        disk_fake_room(disk(w), 1000);
    } else {
        STORY(w, "the disk has trouble: %s", t->what);
        w->reads_fail = (t->kinds & FAKE_READ) != 0;
        disk_fake_fail_often(disk(w), t->kinds, once_in(w, 3) ? 1 : 1 + chance(w, 20), t->error);
    }
    world_at(w, w->now + between(w, 0, 20 * NS_S), on_disk_heals, NULL, 0);
}

static void disk_ends_soon(struct world *w, bool all, uint32_t most) {
    w->disk_ends = disk_fake_ops(disk(w)) + 1 + chance(w, most);
    w->disk_ends_all = all;
    disk_fake_crash_at(disk(w), w->disk_ends);
}

/* ---- The rest ------------------------------------------------------------------------------------------ */

static void kill_some(struct world *w) {
    struct process *p = &w->p[chance(w, programs(w))];
    if (!p->alive) return;
    if (once_in(w, 2)) p->fuse = chance(w, 40);
    else process_kill(w, p->number, "at once");
}

/* Several at about the same time, in any order. */
static void kill_more(struct world *w) {
    for (unsigned i = 0; i < programs(w); i++) {
        struct process *p = &w->p[i];
        if (p->alive && once_in(w, 3)) p->fuse = chance(w, 30);
    }
}

static void jump(struct world *w) {
    w->count.jumps++;
    int64_t most = once_in(w, 3) ? 86400000 : 3600000;
    w->wall_offset += between(w, -most, most);
    STORY(w, "the clock jumps");
}

/* Queue stands still in a sync; then it hears much at once, and in the middle of that the power may fail. */
static void stall(struct world *w) {
    struct process *q = &w->p[P_QUEUE];
    if (!q->alive || w->disk_ends) return;
    STORY(w, "queue stands still");
    q->busy = w->now + between(w, NS_S / 2, 4 * NS_S);
    if (once_in(w, 2)) disk_ends_soon(w, once_in(w, 2), 400);
}

static void one_fault(struct world *w) {
    switch (chance(w, 12)) {
    case 11:
        stall(w);
        break;
    case 0:
        power_cut(w);
        break;
    case 1:
        if (!w->disk_ends && w->p[P_QUEUE].alive) disk_ends_soon(w, true, 60);
        break;
    case 2:
        if (!w->disk_ends && w->p[P_QUEUE].alive) disk_ends_soon(w, false, 60);
        break;
    case 3:
        disk_trouble(w);
        break;
    case 4:
        if (once_in(w, 2)) jump(w);
        break;
    case 5:
    case 6:
        net_reset_some(w);
        break;
    case 7:
        kill_more(w);
        break;
    default:
        kill_some(w);
        break;
    }
}

static void on_fault(struct world *w, void *ctx, uint64_t arg) {
    (void)ctx, (void)arg;
    if (w->ending || w->calm) return;
    one_fault(w);
    if (!w->failed) world_at(w, w->now + between(w, 0, 4 * NS_S), on_fault, NULL, 0);
}

void faults_begin(struct world *w) {
    w->disk = (struct sim_disk *)(void *)disk_fake_new(w->o.seed * 7919 + 1);
    mutate(w);
    if (!w->o.faults) return;
    disk_fake_short(disk(w), 20);
    world_at(w, between(w, 0, 2 * NS_S), on_fault, NULL, 0);
}

void faults_free(struct world *w) {
    disk_fake_free(disk(w));
}
