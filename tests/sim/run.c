/* run.c: one run: a world is made from a seed, lives until all mail has left it, and is judged. */
#include "tests/sim/world.h"

#include <string.h>

static void programs_start(struct world *w) {
    static const struct program_kind *const kinds[PROGRAMS] = {
        [P_SMTPD] = &kind_smtpd,       [P_SMTPD + 1] = &kind_smtpd, [P_QUEUE] = &kind_queue,
        [P_DISPATCH] = &kind_dispatch, [P_LOOKUP] = &kind_lookup,   [P_REMOTE] = &kind_remote,
        [P_REMOTE + 1] = &kind_remote, [P_LOCAL] = &kind_local,     [P_LOCAL + 1] = &kind_local};
    static const unsigned first[PROGRAMS] = {
        [P_SMTPD] = P_SMTPD,       [P_SMTPD + 1] = P_SMTPD, [P_QUEUE] = P_QUEUE,
        [P_DISPATCH] = P_DISPATCH, [P_LOOKUP] = P_LOOKUP,   [P_REMOTE] = P_REMOTE,
        [P_REMOTE + 1] = P_REMOTE, [P_LOCAL] = P_LOCAL,     [P_LOCAL + 1] = P_LOCAL};
    for (unsigned i = 0; i < PROGRAMS; i++)
        w->p[i] =
            (struct process){.w = w, .kind = kinds[i], .number = i, .instance = i - first[i], .fuse = -1};
    for (unsigned i = 0; i < programs(w); i++) process_start(w, i);
    links_flush(w);
}

/* NULL when nothing is under way any more, and everything that was accepted has left; else what still is. */
static const char *restless(const struct world *w) {
    for (unsigned i = 0; i < REMOTES; i++)
        if (!w->p[P_REMOTE + i].alive || !remote_idle(&w->p[P_REMOTE + i])) return "a deliverer works";
    for (unsigned i = P_LOCAL; i < programs(w); i++)
        if (!w->p[i].alive || !local_idle(&w->p[i])) return "a worker works";
    if (!clients_done(w)) return "clients have mail";
    if (queue_busy(w)) return queue_busy(w);
    if (!dispatch_idle(w)) return "dispatch knows of mail";
    if (links_in_flight(w)) return "messages between programs are on their way";
    if (w->live_conns) return "connections are open";
    return hosts_sessions(w) ? "hosts have sessions" : NULL;
}

static void on_look(struct world *w, void *ctx, uint64_t arg) {
    (void)ctx, (void)arg;
    if (w->ending) return;
    if (!w->calm && w->now > 86400 * NS_S) world_fail(w, "after a day clients still have mail");
    if (!w->calm && clients_done(w)) {
        STORY(w, "all mail is in: no more faults");
        w->calm = true;
    }
    if (!w->calm) world_at(w, w->now + NS_S, on_look, NULL, 0);
}

static void check_memory(struct world *w);

static void run_until_quiet(struct world *w) {
    int64_t look = w->now + NS_S, limit = w->now + INT64_C(40) * 86400 * NS_S;
    while (!w->failed) {
        if (!world_step(w)) {
            if (restless(w)) world_fail(w, "nothing more happens: %s", restless(w));
            break;
        }
        if (w->count.events > w->o.steps || w->now > limit) {
            world_fail(w, "not quiet after %llu events and %lld simulated seconds: %s",
                       (unsigned long long)w->count.events, (long long)(w->now / NS_S), restless(w));
            break;
        }
        if (w->now < look) continue;
        look = w->now + NS_S;
        check_memory(w);
        if (w->calm && !restless(w)) break;
    }
}

/* What a failed unlink has left behind goes with the next recovery; and recovery must find nothing else to
 * do. */
static void restart_queue(struct world *w) {
    uint64_t served = w->count.served;
    if (w->failed) return;
    process_kill(w, P_QUEUE, "for the last time");
    run_until_quiet(w);
    if (w->count.served != served && !w->count.disk_errors)
        world_fail(w, "the spool was empty, and a restart delivered something");
}

/* What each program may hold for what it has in hand; without any, what its tables have grown to. */
static void check_memory(struct world *w) {
    for (unsigned i = 0; i < PROGRAMS && !w->failed; i++) {
        const struct process *p = &w->p[i];
        uint64_t most = p->alive && p->kind->room ? p->kind->room(p) : UINT64_MAX;
        if (memory.now[i] > most)
            world_fail(w, "%s holds %llu octets of memory, and %llu are enough for what it has in hand",
                       process_name(p), (unsigned long long)memory.now[i], (unsigned long long)most);
    }
}

static void judge(struct world *w) {
    if (w->failed) return;
    oracle_verdict(w);
    queue_check_empty(w);
    if (w->blobs_live) world_fail(w, "%zu descriptors of message data are never closed", w->blobs_live);
}

struct outcome run(const struct options *o) {
    memset(&memory, 0, sizeof memory); /* a mutant may have leaked in the run before */
    struct world *w = world_new(o);
    oracle_new(w);
    mailboxes_new(w);
    hosts_new(w);
    faults_begin(w);
    programs_start(w);
    clients_new(w);
    world_at(w, 0, on_look, NULL, 0);
    run_until_quiet(w);
    restart_queue(w);
    judge(w);
    struct outcome out = {.failed = w->failed, .hash = w->hash, .count = w->count, .simulated = w->now};
    memcpy(out.why, w->why, sizeof out.why);
    memcpy(out.peak, memory.peak, sizeof out.peak);
    world_free(w);
    return out;
}
