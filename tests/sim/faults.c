/* faults.c: what goes wrong, and when: as the seed says. */
#include "queue/disk_fake.h"
#include "tests/sim/world.h"

#include <errno.h>
#include <string.h>

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
    return w->disk_ends && disk_fake_dead((const struct disk *)(const void *)w->disk);
}

void faults_disk_stop(struct world *w) {
    disk_fake_crash_at(disk(w), 1);
}

void faults_disk_resume(struct world *w) {
    disk_fake_reopen(disk(w));
    w->disk_ends = false;
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
    w->dark = true;
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

enum { TROUBLE_ANY, TROUBLE_REFUSED, TROUBLE_FULL, TROUBLE_NAMES, TROUBLE_SYNCS };

static const struct trouble {
    const char *what;
    unsigned kinds;
    int error;
    unsigned group; /* TROUBLE_*: of which profiles like it */
} troubles[] = {
    {"writes fail: EIO", FAKE_WRITE, EIO, TROUBLE_ANY},
    {"no room for writes", FAKE_WRITE | FAKE_OPEN, ENOSPC, TROUBLE_FULL},
    {"syncs fail: EIO", FAKE_SYNCS, EIO, TROUBLE_SYNCS},
    {"syncs fail: ENOSPC", FAKE_SYNCS, ENOSPC, TROUBLE_SYNCS},
    {"everything fails: EIO", FAKE_CHANGES, EIO, TROUBLE_ANY},
    {"everything fails: ENOSPC", FAKE_CHANGES, ENOSPC, TROUBLE_FULL},
    {"it is read-only", FAKE_CHANGES & ~FAKE_SYNCS, EROFS, TROUBLE_ANY},
    {"names cannot be removed", FAKE_UNLINK | FAKE_RENAME, EIO, TROUBLE_NAMES},
    {"syncs fail, and names cannot be removed: EIO", FAKE_SYNCS | FAKE_UNLINK, EIO, TROUBLE_REFUSED},
    {"no descriptors left", FAKE_OPEN, EMFILE, TROUBLE_ANY},
    {"reads fail: EIO", FAKE_READ, EIO, TROUBLE_ANY},
};

/* One that the profile likes, mostly. */
static const struct trouble *trouble_of(struct world *w) {
    enum { N = sizeof troubles / sizeof troubles[0] };
    unsigned at = chance(w, N), likes = w->profile->trouble;
    if (!likes || once_in(w, 4)) return &troubles[at];
    for (unsigned i = 0; i < N; i++, at = (at + 1) % N)
        if (troubles[at].group == likes) break;
    return &troubles[at];
}

static void disk_trouble(struct world *w) {
    w->count.disk_errors++;
    const struct trouble *t = trouble_of(w);
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

/* Most lies about unsynced where a sync begins. */
static void disk_ends_soon(struct world *w, bool all, uint32_t most) {
    w->disk_ends = true;
    w->disk_ends_all = all;
    if (once_in(w, w->profile->at_sync)) disk_fake_crash_in(disk(w), FAKE_SYNCS, 1 + chance(w, most / 4));
    else disk_fake_crash_at(disk(w), disk_fake_ops(disk(w)) + 1 + chance(w, most));
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

/* After the power failed it may be what it always is then. */
static void clock_begins(struct world *w) {
    if (!w->profile->no_battery || !w->dark) return;
    w->wall_offset = -(w->now / NS_MS);
    STORY(w, "the clock begins where it has begun");
}

/* Queue stands still in a sync; then it hears much at once, and in the middle of that the power may fail. */
static void stall(struct world *w) {
    struct process *q = &w->p[P_QUEUE];
    if (!q->alive || w->disk_ends) return;
    STORY(w, "queue stands still");
    q->busy = w->now + between(w, NS_S / 2, 4 * NS_S);
    if (once_in(w, 2)) disk_ends_soon(w, once_in(w, 2), 400);
}

static void maybe_jump(struct world *w) {
    if (once_in(w, 2)) jump(w);
}

static void disk_ends(struct world *w, bool all) {
    if (!w->disk_ends && w->p[P_QUEUE].alive) disk_ends_soon(w, all, 60);
}

static void disk_ends_with_power(struct world *w) {
    disk_ends(w, true);
}

static void disk_ends_for_queue(struct world *w) {
    disk_ends(w, false);
}

/* ---- Profiles: half of the seeds have one, in which some faults come more often ------------------------ */

static void (*const fault[FAULTS])(struct world *w) = {
    [FAULT_POWER] = power_cut,
    [FAULT_POWER_IN_WORK] = disk_ends_with_power,
    [FAULT_QUEUE_IN_WORK] = disk_ends_for_queue,
    [FAULT_DISK] = disk_trouble,
    [FAULT_CLOCK] = maybe_jump,
    [FAULT_RESET] = net_reset_some,
    [FAULT_KILL_MORE] = kill_more,
    [FAULT_KILL] = kill_some,
    [FAULT_STALL] = stall,
};

static const struct profile profiles[] = {
    {"plain", 4 * NS_S, .weight = {1, 1, 1, 1, 1, 2, 1, 3, 1}, .at_sync = 4},
    {"power fails again and again", 2 * NS_S, .weight = {4, 4, 1, 1, 1, 1, 1, 1, 1}, .at_sync = 2},
    {"queue ends just after its start", 4 * NS_S, .weight = {1, 1, 3, 1, 1, 1, 1, 2, 1}, .at_sync = 4,
     .haste = 2},
    {"a small journal, and power cuts", 2 * NS_S, .weight = {1, 5, 1, 1, 1, 1, 1, 1, 4}, .at_sync = 1,
     .segments = 3, .segment_size = 32768},
    {"a small journal, and a disk with trouble", 3 * NS_S, .weight = {1, 2, 1, 4, 1, 1, 1, 1, 1},
     .at_sync = 2, .segments = 3, .segment_size = 16384, .trouble = TROUBLE_SYNCS},
    {"a full disk", 3 * NS_S, .weight = {1, 1, 1, 5, 1, 1, 1, 2, 1}, .at_sync = 4, .trouble = TROUBLE_FULL},
    {"names stay", 3 * NS_S, .weight = {1, 1, 2, 5, 1, 1, 1, 2, 1}, .at_sync = 4, .trouble = TROUBLE_NAMES},
    {"refused mail stays", 3 * NS_S, .weight = {1, 1, 2, 5, 1, 1, 1, 2, 1}, .at_sync = 4,
     .trouble = TROUBLE_REFUSED},
    {"syncs fail", 3 * NS_S, .weight = {2, 2, 1, 5, 1, 1, 1, 1, 1}, .at_sync = 2, .trouble = TROUBLE_SYNCS},
    {"much waits, and syncs fail", 3 * NS_S, .weight = {2, 2, 1, 5, 1, 1, 1, 1, 1}, .at_sync = 4,
     .trouble = TROUBLE_SYNCS, .large = 40, .behind = 5},
    {"all mail stays here", 3 * NS_S, .weight = {4, 2, 1, 1, 1, 1, 1, 3, 1}, .at_sync = 4, .local = true},
    {"a clock without a battery", 3 * NS_S, .weight = {4, 2, 1, 1, 2, 1, 1, 2, 1}, .at_sync = 4,
     .no_battery = true, .clients = 3},
    {"spool-mode changes", 4 * NS_S, .weight = {2, 2, 3, 1, 1, 1, 1, 2, 1}, .at_sync = 2, .switches = 2},
    {"little mail and a small journal", 3 * NS_S, .weight = {3, 3, 1, 2, 1, 1, 1, 1, 2}, .at_sync = 2,
     .clients = 3, .segments = 3, .segment_size = 16384},
};

const struct profile *profile_of(uint64_t seed) {
    enum { N = sizeof profiles / sizeof profiles[0] };
    uint64_t h = mix(seed + 4711);
    return &profiles[h % 2 ? 0 : 1 + h / 2 % (N - 1)];
}

const struct profile *profile_named(const char *name) {
    for (size_t i = 0; name && i < sizeof profiles / sizeof profiles[0]; i++)
        if (strcmp(profiles[i].name, name) == 0) return &profiles[i];
    return NULL;
}

static void one_fault(struct world *w) {
    const uint8_t *weight = w->profile->weight;
    uint32_t all = 0, at;
    unsigned i = 0;
    for (unsigned k = 0; k < FAULTS; k++) all += weight[k];
    for (at = chance(w, all); at >= weight[i]; i++) at -= weight[i];
    fault[i](w);
}

/* In some worlds a program that starts does not live long. */
void faults_queue_starts(struct world *w) {
    clock_begins(w);
    w->dark = false;
    if (faults_on(w) && once_in(w, w->profile->switches)) {
        w->journal = !w->journal;
        STORY(w, "spool-mode is %s now", w->journal ? "journal" : "direct");
    }
    if (!faults_on(w) || w->disk_ends || !w->profile->haste || !once_in(w, w->profile->haste)) return;
    disk_ends_soon(w, once_in(w, 2), once_in(w, 2) ? 8 : 60);
}

static void on_fault(struct world *w, void *ctx, uint64_t arg) {
    (void)ctx, (void)arg;
    if (w->ending || w->calm) return;
    one_fault(w);
    if (!w->failed) world_at(w, w->now + between(w, 0, w->profile->pause), on_fault, NULL, 0);
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
