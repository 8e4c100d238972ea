/* p_queue.c: the program queue: its real shell (queue/main.c, receive.c, feed.c) on the simulated disk. What is here
 * only looks at what it does: calls between shell and store come through here (--wrap, local.mk). */
#include "queue/disk_fake.h"
#include "queue/inside.h"
#include "queue/shell.h"
#include "tests/sim/shell.h"

#include <stdlib.h>
#include <string.h>

int queue_main(int argc, char **argv);

struct around {
    struct self me;
    struct disk *disk;
    bool opened;
};

static struct config config;

static struct around *around(const struct process *p) {
    return p->state;
}

static struct queue *of(const struct process *p) {
    return around(p)->me.state;
}

/* ---- What it asks of its store ------------------------------------------------------------------------- */

struct disk *__wrap_disk_posix_new(int root_fd, int *error, const char **where, char mem[8]);
struct store *__wrap_store_new(struct disk *d, const struct store_config *c, const struct store_user *user);
void __real_store_commit_some(struct store *s, unsigned what);
void __wrap_store_commit_some(struct store *s, unsigned what);
bool __real_store_rest(struct store *s, unsigned files);
bool __wrap_store_rest(struct store *s, unsigned files);
bool __real_store_push(struct store *s);
bool __wrap_store_push(struct store *s);
bool __real_store_marks_kept(struct store *s);
bool __wrap_store_marks_kept(struct store *s);
enum store_outcome __real_store_mark(struct store *s, struct qid id, const struct control_mark *m);
enum store_outcome __wrap_store_mark(struct store *s, struct qid id, const struct control_mark *m);
struct store *__real_store_new(struct disk *d, const struct store_config *c, const struct store_user *user);

struct disk *__wrap_disk_posix_new(int root_fd, int *error, const char **where, char mem[8]) {
    (void)root_fd, (void)error, (void)where, (void)mem;
    return around(shell_process())->disk;
}

/* Small, so that segments are used again all the time; the size by the seed. */
static struct journal_config journal_of(const struct world *w) {
    uint64_t h = mix(w->o.seed + 99);
    uint32_t size = UINT32_C(16384) << h % 3;
    unsigned segments = 3 + (unsigned)(h >> 8) % 4;
    if (!w->journal) return (struct journal_config){0};
    if (w->profile->segments) segments = w->profile->segments, size = w->profile->segment_size;
    return (struct journal_config){.segments = segments,
                                   .segment_size = size,
                                   .large = size / 4,
                                   .changes = h >> 16 & 1 ? 1 + (h >> 17) % 16 : 0,
                                   .skip = faults_skip(w)};
}

struct store *__wrap_store_new(struct disk *d, const struct store_config *c, const struct store_user *user) {
    const struct world *w = shell_world();
    struct store_config small = *c;
    small.journal = journal_of(w);
    small.skip = w->o.mutant ? w->o.mutant->store_skip : 0;
    return __real_store_new(d, &small, user);
}

static void takes_time(int64_t most) {
    struct process *p = shell_process();
    p->busy = p->w->now + between(p->w, 100 * NS_US, most);
}

/* A sync may take long, and queue may be killed before it has read what dispatch has said meanwhile. */
void __wrap_store_commit_some(struct store *s, unsigned what) {
    struct world *w = shell_world();
    takes_time(w->o.faults && once_in(w, 100) ? once_in(w, 4) ? 20 * NS_S : 2 * NS_S : 8 * NS_MS);
    __real_store_commit_some(s, what);
}

bool __wrap_store_rest(struct store *s, unsigned files) {
    takes_time(8 * NS_MS);
    return __real_store_rest(s, faults_on(shell_world()) ? 1 + chance(shell_world(), 50) : files);
}

bool __wrap_store_push(struct store *s) {
    struct world *w = shell_world();
    if (leaves_out(w, SHELL_NO_PUSH)) {
        oracle_written(w);
        return true;
    }
    bool kept = __real_store_push(s);
    if (kept && !faults_disk_dead(w)) oracle_written(w);
    return kept;
}

bool __wrap_store_marks_kept(struct store *s) {
    return leaves_out(shell_world(), SHELL_ACK_EARLY) || __real_store_marks_kept(s);
}

enum store_outcome __wrap_store_mark(struct store *s, struct qid id, const struct control_mark *m) {
    struct world *w = shell_world();
    enum store_outcome outcome = __real_store_mark(s, id, m);
    uint32_t leaf;
    if (outcome == STORE_REFUSED || !store_begun(s) || faults_disk_dead(w) || m->state == 'L') return outcome;
    if (!oracle_named(w, id, m->index, &leaf)) return outcome;
    if (outcome == STORE_UNKNOWN && w->reads_fail) { /* as ARCHITECTURE.md says */
        oracle_excuse(w, leaf, "its control file could not be read when its mark came");
        return outcome;
    }
    /* Without a journal it was written at once; with one at the end of the round. */
    leaf_of(w, leaf)->teller = w->p[P_DISPATCH].life;
    oracle_stage(w, leaf, w->journal ? ST_TAKEN : ST_MARKED);
    return outcome;
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static void start(struct process *p) {
    struct around *a = xmalloc(sizeof *a);
    const struct program *program = shell_program(queue_main);
    config.spool_directory = "/";
    config.spool_mode = "direct"; /* store_new knows better */
    config.free_space = 1 << 20;
    config.message_size_limit = 4 << 20;
    config.recipient_limit = 1000;
    config.deliveries = true;
    config.behind_limit = p->w->o.seed % 4 == 3 ? 20 : 1000;
    if (p->w->profile->behind) config.behind_limit = p->w->profile->behind;
    p->state = a;
    p->handlers = program->handlers;
    p->ctx = &a->me;
    a->disk = disk_of_programs(p->w);
    a->me = (struct self){.program = program, .loop = (struct loop *)(void *)p, .config = &config};
    program->prepare(&a->me);
    faults_queue_starts(p->w);
    program->begin(&a->me);
}

static struct channel *channel_of(struct link *l) {
    return (struct channel *)(void *)l;
}

static void peer(struct process *p, struct link *l, unsigned number) {
    around(p)->me.program->peer(&around(p)->me, channel_of(l));
    if (number == P_DISPATCH && leaves_out(p->w, SHELL_NO_TELLING)) of(p)->tell_again = false;
}

static void peer_gone(struct process *p, struct link *l, unsigned number) {
    (void)number;
    around(p)->me.program->peer_gone(&around(p)->me, channel_of(l));
}

static void leak(void) {
    static void *all; /* so that it is one for us, and none for a sanitizer */
    void **some = xmalloc(32);
    *some = all;
    all = some;
}

/* After each event of its. The disk may have stopped in the middle: the program, or the whole machine, ends there. */
static void round_done(struct process *p) {
    struct world *w = p->w;
    struct queue *q = of(p);
    if (leaves_out(w, SHELL_LEAK)) leak();
    if (leaves_out(w, SHELL_ACK_EARLY)) feed_marked(q);
    shell_round(p);
    if (faults_disk_dead(w)) {
        faults_disk_struck(w);
        return;
    }
    /* What an earlier life has left in the page cache is synced at the end of the recovery. */
    if (q->store && q->recovered && !store_unsynced(q->store)) oracle_durable(w);
}

static void free_queue(struct queue *q) {
    while (q->peers) {
        struct peer *p = q->peers;
        q->peers = p->next;
        receive_peer_gone(q, p);
        free(p);
    }
    store_walk_free(q->recovery);
    store_walk_free(q->telling);
    free(q->told.v);
    free(q->fresh.v);
    free(q->fetched.v);
    store_free(q->store);
    *q = (struct queue){.root_fd = -1};
}

/* The memory of the dead: freed without its doing anything any more. */
static void end(struct process *p) {
    struct world *w = p->w;
    struct queue *q = of(p);
    bool stopped = q->store && store_stopped(q->store);
    for (size_t i = 0; q->store && i < q->store->trash.n; i++) oracle_stays(w, q->store->trash.v[i]);
    faults_disk_stop(w);
    AS(p->number);
    shell_forget(p);
    free_queue(q);
    free(around(p)->disk);
    free(around(p));
    mem_enter(MEM_WORLD);
    faults_disk_resume(w);
    oracle_queue_crashed(w);
    oracle_unwritten(w, stopped);
}

/* ---- For the judge ------------------------------------------------------------------------------------- */

static uint64_t room(const struct process *p) {
    const struct queue *q = of(p);
    uint64_t journal = p->w->journal ? 6 * 65536 * UINT64_C(2) : 0;
    uint64_t held = store_drafts(q->store) * UINT64_C(8192) + store_hands(q->store) * UINT64_C(512) +
                    store_unsynced(q->store) * UINT64_C(1024);
    enum { TABLES = 196608, BLOCKS = 2 * 65536 }; /* a block of entries goes when the last in it has */
    return TABLES + BLOCKS + journal + held +
           (q->told.cap + q->fresh.cap + q->fetched.cap) * sizeof(struct qid);
}

const struct program_kind kind_queue = {.name = "queue",
                                        .role = ROLE_queue,
                                        .start = start,
                                        .free = end,
                                        .peer = peer,
                                        .peer_gone = peer_gone,
                                        .round = round_done,
                                        .room = room};

const char *queue_busy(const struct world *w) {
    const struct process *p = &w->p[P_QUEUE];
    if (!p->alive || !of(p)->recovered) return "queue has not recovered";
    const struct queue *q = of(p);
    if (q->telling || q->tell_again || q->fresh.n || q->fetched.n) return "queue tells dispatch what it has";
    if (store_stopped(q->store)) return "the store takes no mail";
    if (store_drafts(q->store)) return "the store has drafts";
    if (store_hands(q->store)) return "the store has mail in dispatch's hands";
    return store_unsynced(q->store) ? "the store has marks that are not durable" : NULL;
}
/* The spool holds nothing any more but the lease, and what was set aside. */
void queue_check_empty(struct world *w) {
    struct disk *d = (struct disk *)(void *)w->disk;
    size_t files = 0;
    for (int i = 0; i < DISK_FOLDERS; i++) files += disk_fake_files(d, i);
    if (files) {
        char name[DISK_NAME_MAX + 1] = "";
        struct disk_list *list;
        for (int i = 0; i < DISK_FOLDERS && !name[0]; i++) {
            if (d->ops->list(d, i, &list) != 0) break;
            d->ops->list_next(d, list, name);
            d->ops->list_close(d, list);
        }
        world_fail(w, "%zu files are left in the spool, one is %s", files, name);
    }
    if (disk_fake_open_files(d) > (w->journal ? 1 : 0))
        world_fail(w, "%d files are left open", disk_fake_open_files(d));
}
