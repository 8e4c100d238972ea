/* many.c: many runs. Workers are forked, take one seed after another from a shared counter, and add up what
 * they saw in shared memory; nothing else is shared, so a run is the same wherever it is made. */
#include "tests/sim/many.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COUNTERS = sizeof(struct counters) / sizeof(uint64_t), JOBS_MAX = 256, PROGRESS_S = 10 };

struct shared {
    _Atomic uint64_t next, runs, failed, hash, worst;
    _Atomic int64_t simulated;
    atomic_bool stop;
    _Atomic uint64_t peak[MEM_OWNERS];
    _Atomic uint64_t count[COUNTERS];
    struct {
        _Atomic uint64_t runs, steps, accepted;
    } mode[2];
};

static double seconds(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- Telling ------------------------------------------------------------------------------------------- */

#define U(x) (unsigned long long)(x)

void print_counts(const struct counters *c, int64_t simulated, uint64_t hash) {
    printf("# %llu steps, %llu messages between programs, %llu segments, %llu connections in %lld simulated "
           "seconds\n",
           U(c->events), U(c->messages), U(c->segments), U(c->connections), (long long)(simulated / NS_S));
    printf("# %llu accepted, %llu refused, %llu in doubt; %llu copies served, %llu bounces; %llu windows, "
           "%llu served again in one\n",
           U(c->accepted), U(c->refused), U(c->doubtful), U(c->served), U(c->bounced), U(c->windows),
           U(c->again));
    printf("# %llu kills, %llu power cuts, %llu resets, %llu refused connections, %llu that got no answer, "
           "%llu disk troubles, %llu "
           "clock jumps; hash %016llx\n",
           U(c->kills), U(c->cuts), U(c->resets), U(c->refusals), U(c->holes), U(c->disk_errors), U(c->jumps),
           U(hash));
}

/* In KiB, each of the programs at its largest. */
static void print_memory(const uint64_t peak[MEM_OWNERS]) {
    static const char *const names[PROGRAMS] = {[P_SMTPD] = "smtpd",
                                                [P_QUEUE] = "queue",
                                                [P_DISPATCH] = "dispatch",
                                                [P_REMOTE] = "deliver-smtp",
                                                [P_LOCAL] = "worker"};
    printf("# most memory, KiB:");
    for (unsigned i = 0; i < PROGRAMS; i++)
        if (names[i]) printf(" %s %llu", names[i], U(peak[i] + 1023) / 1024);
    putchar('\n');
}

void print_sum(const struct sum *s) {
    print_counts(&s->count, s->simulated, s->hash);
    print_memory(s->peak);
    for (int i = 0; i < 2; i++)
        if (s->mode[i].runs)
            printf("# %s: %llu runs, %llu steps, %llu messages accepted\n", i ? "journal" : "direct",
                   U(s->mode[i].runs), U(s->mode[i].steps), U(s->mode[i].accepted));
    printf("# %llu runs in %.1f seconds: %.0f accepted messages and %.0f steps a second\n", U(s->runs),
           s->seconds, (double)s->count.accepted / s->seconds, (double)s->count.events / s->seconds);
}

void print_again(const struct options *o) {
    printf("tests/sim/sim --seed %llu --messages %u%s%s%s%s", U(o->seed), o->messages,
           o->journal ? " --journal" : "", o->mutant ? " --mutant " : "", o->mutant ? o->mutant->name : "",
           o->faults ? "" : " --no-faults");
}

static void tell_failure(const struct options *o, const struct outcome *r) {
    printf("# seed %llu (%s): %s\n# again, with its story: ", U(o->seed), profile_of(o->seed)->name, r->why);
    print_again(o);
    printf(" --story\n");
    print_counts(&r->count, r->simulated, r->hash);
    fflush(stdout);
}

/* ---- Working ------------------------------------------------------------------------------------------- */

static void most(_Atomic uint64_t *at, uint64_t n) {
    uint64_t was = atomic_load(at);
    while (n > was && !atomic_compare_exchange_weak(at, &was, n)) {
    }
}

static void add(struct shared *sh, const struct options *o, const struct outcome *r) {
    const uint64_t *from = (const uint64_t *)(const void *)&r->count;
    for (size_t i = 0; i < COUNTERS; i++) atomic_fetch_add(&sh->count[i], from[i]);
    for (size_t i = 0; i < MEM_OWNERS; i++) most(&sh->peak[i], r->peak[i]);
    atomic_fetch_add(&sh->runs, 1);
    atomic_fetch_add(&sh->mode[o->journal].runs, 1);
    atomic_fetch_add(&sh->mode[o->journal].steps, r->count.events);
    atomic_fetch_add(&sh->mode[o->journal].accepted, r->count.accepted);
    atomic_fetch_add(&sh->simulated, r->simulated);
    atomic_fetch_xor(&sh->hash, mix(r->hash + o->seed));
    if (!r->failed) return;
    uint64_t worst = atomic_load(&sh->worst);
    while (o->seed < worst && !atomic_compare_exchange_weak(&sh->worst, &worst, o->seed)) {
    }
    atomic_fetch_add(&sh->failed, 1);
}

static bool enough(const struct work *work, const struct shared *sh) {
    const struct counters *c = (const struct counters *)(const void *)sh->count;
    return (work->enough_steps && c->events >= work->enough_steps) ||
           (work->enough_messages && c->accepted >= work->enough_messages);
}

static void worker(const struct work *work, struct shared *sh, double until) {
    struct options o = work->o;
    while (!atomic_load(&sh->stop) && seconds() < until && !enough(work, sh)) {
        uint64_t n = atomic_fetch_add(&sh->next, 1);
        o.seed = work->from + (work->both ? n / 2 : n);
        if (work->both) o.journal = n % 2;
        if (o.seed > work->to) return;
        if (work->profile && profile_of(o.seed) != work->profile) continue;
        struct outcome r = run(&o);
        if (r.failed && !work->go_on) atomic_store(&sh->stop, true);
        if (r.failed && !work->quiet) tell_failure(&o, &r);
        add(sh, &o, &r);
    }
}

static void progress(const struct shared *sh, double began) {
    const struct counters *c = (const struct counters *)(const void *)sh->count;
    printf("# %6.0f s: %llu runs, %llu steps, %llu messages, %llu kills, %llu power cuts, %llu failed\n",
           seconds() - began, U(sh->runs), U(c->events), U(c->accepted), U(c->kills), U(c->cuts),
           U(sh->failed));
    fflush(stdout);
}

/* A worker that crashed is a failure too: an assertion of an engine, say. */
static bool wait_for(const struct work *work, struct shared *sh, unsigned jobs, double began) {
    bool good = true;
    double told = began;
    while (jobs) {
        int how;
        pid_t pid = waitpid(-1, &how, work->progress ? WNOHANG : 0);
        if (pid < 0) return false;
        if (pid > 0) {
            jobs--;
            good &= WIFEXITED(how) && WEXITSTATUS(how) == 0;
            continue;
        }
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        if (seconds() - told < PROGRESS_S) continue;
        told = seconds();
        progress(sh, began);
    }
    return good;
}

static bool in_processes(const struct work *work, struct shared *sh, unsigned jobs, double began,
                         double until) {
    fflush(stdout);
    for (unsigned i = 0; i < jobs; i++) {
        pid_t pid = fork();
        if (pid < 0) return false;
        if (pid > 0) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        worker(work, sh, until);
        fflush(stdout);
        _exit(0);
    }
    return wait_for(work, sh, jobs, began);
}

struct sum many(const struct work *work) {
    double began = seconds(), until = work->seconds ? began + work->seconds : 1e300;
    long cpus = work->jobs ? (long)work->jobs : sysconf(_SC_NPROCESSORS_ONLN);
    unsigned jobs = cpus < 1 ? 1 : cpus > JOBS_MAX ? JOBS_MAX : (unsigned)cpus;
    struct shared *sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sh == MAP_FAILED) abort();
    sh->worst = UINT64_MAX;
    bool good = true;
    if (work->from == work->to && !work->both) worker(work, sh, until); /* for a debugger */
    else good = in_processes(work, sh, jobs, began, until);
    struct sum s = {.runs = sh->runs,
                    .failed = sh->failed + !good,
                    .hash = sh->hash,
                    .worst = sh->worst,
                    .simulated = sh->simulated,
                    .seconds = seconds() - began};
    memcpy(&s.count, (const void *)sh->count, sizeof s.count);
    memcpy(s.mode, (const void *)sh->mode, sizeof s.mode);
    memcpy(s.peak, (const void *)sh->peak, sizeof s.peak);
    munmap(sh, sizeof *sh);
    return s;
}
