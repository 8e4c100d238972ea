/* sim: all engines of the mail path in one process, under a simulated clock, network and disk, with faults
 * by a seed.
 *
 *     sim                        the check of the build: TAP, fixed seeds, mutants
 *     sim --seed 7 --story       one run, told event by event
 *     sim --seeds 1-1000         many runs; the first that fails is printed as a command that repeats it
 *     sim --mutant no-sync-data --seeds 1-50
 *
 * May touch: nothing but standard output and memory. Safe because it makes no system call that could. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { QUIET_S = 60 };

struct outcome {
    bool failed;
    char why[512];
    uint64_t hash;
    struct counters count;
    int64_t simulated; /* ns */
};

static const char *const mutants[MUTANTS] = {
    "none",        "no-sync-data",  "no-sync-control", "no-sync-dir", "no-sync-all", "no-sync-journal",
    "no-checksum", "no-generation", "no-create",       "no-write",    "no-unlink",   "no-forget",
    "no-rest",     "no-redo",       "no-claim"};

/* ---- One run ------------------------------------------------------------------------------------------- */

static void programs_start(struct world *w) {
    static const struct program_kind *const kinds[PROGRAMS] = {
        [P_SMTPD] = &kind_smtpd,       [P_SMTPD + 1] = &kind_smtpd, [P_QUEUE] = &kind_queue,
        [P_DISPATCH] = &kind_dispatch, [P_LOOKUP] = &kind_lookup,   [P_REMOTE] = &kind_remote,
        [P_REMOTE + 1] = &kind_remote};
    static const unsigned first[PROGRAMS] = {
        [P_SMTPD] = P_SMTPD,   [P_SMTPD + 1] = P_SMTPD, [P_QUEUE] = P_QUEUE,      [P_DISPATCH] = P_DISPATCH,
        [P_LOOKUP] = P_LOOKUP, [P_REMOTE] = P_REMOTE,   [P_REMOTE + 1] = P_REMOTE};
    for (unsigned i = 0; i < PROGRAMS; i++)
        w->p[i] =
            (struct process){.w = w, .kind = kinds[i], .number = i, .instance = i - first[i], .fuse = -1};
    for (unsigned i = 0; i < PROGRAMS; i++) process_start(w, i);
    links_flush(w);
}

/* NULL when nothing is under way any more, and everything that was accepted has left; else what still is. */
static const char *restless(const struct world *w) {
    for (unsigned i = 0; i < REMOTES; i++)
        if (!w->p[P_REMOTE + i].alive || !remote_idle(&w->p[P_REMOTE + i])) return "a deliverer works";
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
    if (!w->calm && clients_done(w)) {
        STORY(w, "all mail is in: no more faults");
        w->calm = true;
        w->disk_ends = w->disk_ends ? w->disk_ends : 0;
    }
    world_at(w, w->now + (w->calm ? 5 * NS_S : NS_S), on_look, NULL, 0);
}

static void run_until_quiet(struct world *w) {
    int64_t look = w->now + NS_S, limit = w->now + INT64_C(40) * 86400 * NS_S;
    while (!w->failed) {
        if (!world_step(w)) break;
        if (w->count.events > w->o.steps || w->now > limit) {
            world_fail(w, "not quiet after %llu events and %lld simulated seconds: %s",
                       (unsigned long long)w->count.events, (long long)(w->now / NS_S), restless(w));
            break;
        }
        if (w->now < look) continue;
        look = w->now + NS_S;
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

static void judge(struct world *w) {
    if (w->failed) return;
    oracle_verdict(w);
    queue_check_empty(w);
    if (w->blobs_live) world_fail(w, "%zu descriptors of message data are never closed", w->blobs_live);
}

static struct outcome run(const struct options *o) {
    struct world *w = world_new(o);
    oracle_new(w);
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
    world_free(w);
    return out;
}

/* ---- Telling ------------------------------------------------------------------------------------------- */

static void print_counts(const struct outcome *r) {
    const struct counters *c = &r->count;
#define U(x) (unsigned long long)(x)
    printf("# %llu events, %llu messages between programs, %llu segments, %llu connections in %lld simulated "
           "seconds\n",
           U(c->events), U(c->messages), U(c->segments), U(c->connections), (long long)(r->simulated / NS_S));
    printf("# %llu accepted, %llu refused, %llu in doubt; %llu copies served, %llu bounces; %llu windows, "
           "%llu served again in one\n",
           U(c->accepted), U(c->refused), U(c->doubtful), U(c->served), U(c->bounced), U(c->windows),
           U(c->again));
    printf("# %llu kills, %llu power cuts, %llu resets, %llu refused connections, %llu disk troubles, %llu "
           "clock jumps; hash %016llx\n",
           U(c->kills), U(c->cuts), U(c->resets), U(c->refusals), U(c->disk_errors), U(c->jumps), U(r->hash));
}

static void print_failure(const struct options *o, const struct outcome *r) {
    printf("# seed %llu: %s\n", U(o->seed), r->why);
    printf("# again, with its story: tests/sim/sim --seed %llu --messages %u%s%s%s%s --story\n", U(o->seed),
           o->messages, o->journal ? " --journal" : "", o->mutant ? " --mutant " : "",
           o->mutant ? mutants[o->mutant] : "", o->faults ? "" : " --no-faults");
}

static double seconds(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void add(struct counters *sum, const struct counters *c) {
    const uint64_t *from = (const uint64_t *)(const void *)c;
    uint64_t *to = (uint64_t *)(void *)sum;
    for (size_t i = 0; i < sizeof *c / sizeof *from; i++) to[i] += from[i];
}

/* Runs seeds from to to; stops at the first that fails. */
static bool run_seeds(struct options o, uint64_t from, uint64_t to, struct outcome *sum) {
    *sum = (struct outcome){0};
    for (o.seed = from; o.seed <= to; o.seed++) {
        struct outcome r = run(&o);
        add(&sum->count, &r.count);
        sum->simulated += r.simulated;
        sum->hash ^= mix(r.hash + o.seed);
        if (!r.failed) continue;
        print_failure(&o, &r);
        print_counts(&r);
        return false;
    }
    return true;
}

/* ---- TAP ----------------------------------------------------------------------------------------------- */

static unsigned points, bad;

static void point(bool ok, const char *what) {
    points++;
    bad += !ok;
    printf("%sok %u - %s\n", ok ? "" : "not ", points, what);
    fflush(stdout);
}

static void check_seeds(const char *what, struct options o, uint64_t from, uint64_t to) {
    struct outcome sum;
    double began = seconds();
    bool ok = run_seeds(o, from, to, &sum);
    print_counts(&sum);
    printf("# %.1f seconds, %.0f messages a second\n", seconds() - began,
           (double)sum.count.accepted / (seconds() - began));
    point(ok, what);
}

static void check_same(struct options o) {
    o.seed = 5;
    o.messages = 300;
    struct outcome a = run(&o), b = run(&o);
    o.seed = 6;
    struct outcome c = run(&o);
    point(a.hash == b.hash && a.count.events == b.count.events, "the same seed gives the same run");
    point(a.hash != c.hash, "another seed gives another");
}

static void check_mutant(struct options o, unsigned mutant) {
    char what[120];
    o.mutant = mutant;
    o.messages = 300;
    for (o.seed = 1; o.seed <= 60; o.seed++) {
        struct outcome r = run(&o);
        if (!r.failed) continue;
        printf("# seed %llu: %s\n", U(o.seed), r.why);
        break;
    }
    snprintf(what, sizeof what, "%s: the mutant %s is caught", o.journal ? "journal" : "direct",
             mutants[mutant]);
    o.mutant = MUTANT_NONE; /* and it was the mutant, not the seed */
    point(o.seed <= 60 && !run(&o).failed, what);
}

static void check_mode(struct options o, const unsigned *mutant, unsigned n) {
    struct options plain = o;
    plain.faults = 0;
    plain.messages = 10000;
    check_seeds(o.journal ? "journal: 10,000 messages without faults"
                          : "direct: 10,000 messages without faults",
                plain, 1, 1);
    o.messages = 500;
    check_seeds(o.journal ? "journal: 20,000 messages through crashes, cuts and errors: none lost, none twice"
                          : "direct: 20,000 messages through crashes, cuts and errors: none lost, none twice",
                o, 1, 40);
    check_same(o);
    for (unsigned i = 0; i < n; i++) check_mutant(o, mutant[i]);
}

/* What the simulator does not meet often enough (checksums, FORGET, redo) queue/test_store catches. */
static int check(struct options o) {
    static const unsigned of_journal[] = {MUTANT_NO_SYNC_ALL, MUTANT_NO_SYNC_JOURNAL, MUTANT_NO_GENERATION,
                                          MUTANT_NO_CREATE,   MUTANT_NO_WRITE,        MUTANT_NO_UNLINK,
                                          MUTANT_NO_REST};
    static const unsigned direct[] = {MUTANT_NO_SYNC_DATA, MUTANT_NO_SYNC_CONTROL, MUTANT_NO_SYNC_DIR,
                                      MUTANT_NO_SYNC_ALL};
    enum {
        N_DIRECT = sizeof direct / sizeof direct[0],
        N_JOURNAL = sizeof of_journal / sizeof of_journal[0]
    };
    printf("1..%u\n", 8 + N_DIRECT + N_JOURNAL);
    check_mode(o, direct, N_DIRECT);
    o.journal = true;
    check_mode(o, of_journal, N_JOURNAL);
    return bad != 0;
}

/* ---- Options ------------------------------------------------------------------------------------------- */

static int usage(void) {
    fputs("usage: sim [--seed N | --seeds FROM-TO] [--messages N] [--steps N] [--no-faults] [--journal] "
          "[--story]\n"
          "           [--mutant NAME]\n",
          stderr);
    return 64;
}

struct command {
    struct options o;
    uint64_t from, to;
    bool any;
};

static bool number(const char *text, uint64_t *n) {
    return text && str_to_u64(str_of(text), UINT64_MAX / 2, n);
}

static bool range(const char *text, struct command *c) {
    struct str s = str_of(text);
    ptrdiff_t dash = str_chr(s, '-');
    return dash > 0 && str_to_u64(str_sub(s, 0, (size_t)dash), UINT64_MAX / 2, &c->from) &&
           str_to_u64(str_sub(s, (size_t)dash + 1, s.n), UINT64_MAX / 2, &c->to);
}

static bool mutant(const char *text, struct command *c) {
    for (unsigned i = 0; text && i < MUTANTS; i++)
        if (str_eq(str_of(text), str_of(mutants[i]))) c->o.mutant = i;
    return c->o.mutant != MUTANT_NONE;
}

/* Words with a value take *value, and say so. */
static bool option(struct command *c, struct str word, const char *value, bool *used) {
    uint64_t n = 0;
    *used = true;
    if (str_eq(word, STR("--seed")) && number(value, &c->from)) {
        c->to = c->from;
        return true;
    }
    if (str_eq(word, STR("--seeds")) && range(value, c)) return true;
    if (str_eq(word, STR("--mutant"))) return mutant(value, c);
    if (str_eq(word, STR("--messages")) && number(value, &n) && n > 0 && n < UINT32_MAX) {
        c->o.messages = (uint32_t)n;
        return true;
    }
    if (str_eq(word, STR("--steps")) && number(value, &c->o.steps)) return true;
    *used = false;
    if (str_eq(word, STR("--story"))) c->o.story = true;
    else if (str_eq(word, STR("--no-faults"))) c->o.faults = 0;
    else if (str_eq(word, STR("--journal"))) c->o.journal = true;
    else return false;
    return true;
}

int main(int argc, char **argv) {
    struct command c = {.o = {.messages = 500, .steps = UINT64_MAX, .faults = 1}, .from = 1, .to = 1};
    struct outcome sum;
    for (int i = 1; i < argc; i++) {
        bool used;
        if (!option(&c, str_of(argv[i]), i + 1 < argc ? argv[i + 1] : NULL, &used)) return usage();
        i += used;
        c.any = true;
    }
    if (!c.any) return check(c.o);
    double began = seconds();
    bool ok = run_seeds(c.o, c.from, c.to, &sum);
    if (ok) print_counts(&sum);
    printf("# %.2f seconds\n", seconds() - began);
    return !ok;
}
