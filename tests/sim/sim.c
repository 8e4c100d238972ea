/* sim: all engines of the mail path in one process, under a simulated clock, network and disk, with faults
 * by a seed.
 *
 *     sim                        the check of the build: TAP, both modes, mutants; $SIM_SECONDS long
 *     sim --seed 7 --story       one run, told event by event
 *     sim --seeds 1-1000         many runs; the first that fails is printed as a command that repeats it
 *     sim --seconds 3600 --both  as many as there is time for, in both modes of the spool
 *     sim --both --until-steps 1000000000       or as many as make a billion steps (--until-messages)
 *     sim --mutants              each safeguard left out: a table of what caught it
 *
 * A step is one event of the simulated world: a packet between programs, a segment of a connection, a
 * timer. May touch: nothing but standard output and memory; it forks workers. */
#include "tests/sim/many.h"

#include <stdlib.h>

enum {
    MUTANT_MESSAGES = 300,
    MUTANT_SEEDS = 2000,
    MUTANT_CHECK_SEEDS = 1000,
    CHECK_SECONDS = 60,
    PROFILES = 26
};

/* ---- Mutants ------------------------------------------------------------------------------------------- */

struct hunt {
    bool caught, alone; /* alone: without the mutant the same seed is good */
    struct options o;
    struct outcome r;
    uint64_t runs;
    double seconds;
};

/* Until the first that notices. */
static bool hunt_in(struct hunt *h, const char *profile, uint64_t from, uint64_t to) {
    struct sum s = many(&(struct work){.o = h->o,
                                       .from = from,
                                       .to = to,
                                       .profile = profile ? profile_named(profile) : NULL,
                                       .quiet = true});
    h->runs += s.runs;
    h->seconds += s.seconds;
    if (!s.failed || s.worst == UINT64_MAX) return false;
    h->o.seed = s.worst;
    return true;
}

/* Where it is met soonest first, then anywhere. */
static struct hunt hunt(struct options o, const struct mutant *m, uint64_t seeds) {
    struct hunt h = {.o = o};
    h.o.mutant = m;
    h.o.messages = MUTANT_MESSAGES;
    h.caught = (m->profile && hunt_in(&h, m->profile, 1, seeds * PROFILES)) || hunt_in(&h, NULL, 1, seeds);
    if (!h.caught) return h;
    h.r = run(&h.o);
    struct options plain = h.o;
    plain.mutant = NULL;
    h.alone = !run(&plain).failed;
    return h;
}

static bool fits(const struct mutant *m, bool journal) {
    return journal ? m->journal : m->direct;
}

static bool row_of_mutant(struct options o, const struct mutant *m, double *seconds) {
    struct hunt h = hunt(o, m, MUTANT_SEEDS);
    unsigned long long seed = h.o.seed;
    const char *mode = o.journal ? " --journal" : "";
    *seconds += h.seconds;
    printf("| %s | %s | ", m->what, o.journal ? "journal" : "direct");
    if (!h.caught) printf("**not in %llu runs** (`%s`) | |\n", (unsigned long long)h.runs, m->name);
    else if (!h.alone) printf("**seed %llu fails without it too** (`%s`) | %s |\n", seed, m->name, h.r.why);
    else
        printf("`sim%s --mutant %s --messages %u --seed %llu` | %s |\n", mode, m->name, h.o.messages, seed,
               h.r.why);
    fflush(stdout);
    fprintf(stderr, "# %s%s: %llu runs, %.1f seconds\n", m->name, mode, (unsigned long long)h.runs,
            h.seconds);
    return h.caught && h.alone;
}

static int table_of_mutants(struct options o) {
    unsigned rows = 0, missed = 0;
    double seconds = 0;
    printf("| left out | mode | caught by | what it saw |\n|---|---|---|---|\n");
    for (const struct mutant *m = mutants; m->name; m++) {
        for (int journal = 0; journal < 2; journal++) {
            o.journal = journal;
            if (!fits(m, journal)) continue;
            rows++;
            missed += !row_of_mutant(o, m, &seconds);
        }
    }
    printf("\n%u of %u mutants are caught, in %.0f seconds.\n", rows - missed, rows, seconds);
    return missed != 0;
}

/* ---- TAP ----------------------------------------------------------------------------------------------- */

static unsigned points, bad;

static void point(bool ok, const char *what) {
    points++;
    bad += !ok;
    printf("%sok %u - %s\n", ok ? "" : "not ", points, what);
    fflush(stdout);
}

static const char *mode(const struct options *o) {
    return o->journal ? "journal" : "direct";
}

static void check_plain(struct options o) {
    char what[120];
    o.faults = 0;
    o.messages = 5000;
    struct sum s = many(&(struct work){.o = o, .from = 1, .to = 1});
    snprintf(what, sizeof what, "%s: %u messages without faults", mode(&o), o.messages);
    point(!s.failed, what);
}

static void check_same(struct options o) {
    char what[120];
    o.seed = 5;
    o.messages = 300;
    struct outcome a = run(&o), b = run(&o);
    o.seed = 6;
    struct outcome c = run(&o);
    snprintf(what, sizeof what, "%s: the same seed gives the same run, another seed another", mode(&o));
    point(a.hash == b.hash && a.count.events == b.count.events && a.hash != c.hash, what);
}

static void check_mutants(struct options o) {
    char what[200];
    for (const struct mutant *m = mutants; m->name; m++) {
        if (!fits(m, o.journal) || m->rare) continue;
        struct hunt h = hunt(o, m, MUTANT_CHECK_SEEDS);
        if (h.caught) printf("# seed %llu: %s\n", (unsigned long long)h.o.seed, h.r.why);
        snprintf(what, sizeof what, "%s: %s left out is caught (%s)", mode(&o), m->what, m->name);
        point(h.caught && h.alone, what);
    }
}

static void check_faults(struct options o, unsigned seconds) {
    char what[200];
    struct sum s = many(&(struct work){
        .o = o, .from = 1, .to = UINT64_MAX / 2, .seconds = seconds, .both = true, .progress = true});
    print_sum(&s);
    snprintf(what, sizeof what,
             "both modes: %llu messages through crashes, power cuts and errors: none lost, none twice",
             (unsigned long long)s.count.accepted);
    point(!s.failed && s.count.accepted, what);
}

static int check(struct options o) {
    const char *text = getenv("SIM_SECONDS");
    uint64_t seconds = CHECK_SECONDS;
    unsigned n = 5;
    if (text && !str_to_u64(str_of(text), 1000000, &seconds)) return 64;
    for (const struct mutant *m = mutants; m->name; m++) n += m->rare ? 0 : (unsigned)m->direct + m->journal;
    printf("1..%u\n", n);
    for (int journal = 0; journal < 2; journal++) {
        o.journal = journal;
        check_plain(o);
        check_same(o);
        check_mutants(o);
    }
    check_faults(o, seconds ? (unsigned)seconds : 1);
    return bad != 0;
}

/* ---- Options ------------------------------------------------------------------------------------------- */

static int usage(void) {
    fputs("usage: sim [--seed N | --seeds FROM-TO] [--seconds N] [--jobs N] [--journal | --both] [--go-on]\n"
          "           [--until-steps N] [--until-messages N] [--profile NAME]\n"
          "           [--messages N] [--steps N] [--no-faults] [--mutant NAME] [--story] | --mutants\n",
          stderr);
    return 64;
}

struct command {
    struct work work;
    bool any, mutants;
};

static bool number(const char *text, uint64_t most, uint64_t *n) {
    return text && str_to_u64(str_of(text), most, n);
}

static bool small(const char *text, unsigned *to) {
    uint64_t n;
    if (!number(text, UINT32_MAX - 1, &n) || !n) return false;
    *to = (unsigned)n;
    return true;
}

static bool seed(const char *text, struct work *w) {
    bool ok = number(text, UINT64_MAX / 2, &w->from);
    w->to = w->from;
    return ok;
}

static bool seeds(const char *text, struct work *w) {
    struct str s = str_of(text ? text : "");
    ptrdiff_t dash = str_chr(s, '-');
    return dash > 0 && str_to_u64(str_sub(s, 0, (size_t)dash), UINT64_MAX / 2, &w->from) &&
           str_to_u64(str_sub(s, (size_t)dash + 1, s.n), UINT64_MAX / 2, &w->to);
}

static bool seconds_of(const char *text, struct work *w) {
    if (w->to == w->from) w->to = UINT64_MAX / 2;
    return small(text, &w->seconds);
}

static bool enough(const char *text, struct work *w, uint64_t *to) {
    if (w->to == w->from) w->to = UINT64_MAX / 2;
    return number(text, UINT64_MAX, to) && *to;
}

static bool mutant_of(const char *text, struct work *w) {
    w->o.mutant = text ? mutant_find(str_of(text)) : NULL;
    return w->o.mutant != NULL;
}

/* Words with a value take it, and say so. */
static bool valued(struct command *c, struct str word, const char *value) {
    struct work *w = &c->work;
    if (str_eq(word, STR("--seed"))) return seed(value, w);
    if (str_eq(word, STR("--seeds"))) return seeds(value, w);
    if (str_eq(word, STR("--seconds"))) return seconds_of(value, w);
    if (str_eq(word, STR("--mutant"))) return mutant_of(value, w);
    if (str_eq(word, STR("--profile"))) return (w->profile = profile_named(value)) != NULL;
    if (str_eq(word, STR("--jobs"))) return small(value, &w->jobs);
    if (str_eq(word, STR("--messages"))) return small(value, &w->o.messages);
    if (str_eq(word, STR("--until-steps"))) return enough(value, w, &w->enough_steps);
    if (str_eq(word, STR("--until-messages"))) return enough(value, w, &w->enough_messages);
    if (str_eq(word, STR("--steps"))) return number(value, UINT64_MAX, &w->o.steps);
    return false;
}

static bool flag(struct command *c, struct str word) {
    struct work *w = &c->work;
    if (str_eq(word, STR("--story"))) w->o.story = true;
    else if (str_eq(word, STR("--no-faults"))) w->o.faults = 0;
    else if (str_eq(word, STR("--journal"))) w->o.journal = true;
    else if (str_eq(word, STR("--both"))) w->both = true;
    else if (str_eq(word, STR("--go-on"))) w->go_on = true;
    else if (str_eq(word, STR("--mutants"))) c->mutants = true;
    else return false;
    return true;
}

int main(int argc, char **argv) {
    struct command c = {
        .work = {.o = {.messages = 500, .steps = UINT64_MAX, .faults = 1}, .from = 1, .to = 1}};
    for (int i = 1; i < argc; i++) {
        c.any = true;
        if (flag(&c, str_of(argv[i]))) continue;
        if (!valued(&c, str_of(argv[i]), i + 1 < argc ? argv[i + 1] : NULL)) return usage();
        i++;
    }
    if (!c.any) return check(c.work.o);
    if (c.mutants) return table_of_mutants(c.work.o);
    c.work.progress = c.work.to - c.work.from > 100;
    struct sum s = many(&c.work);
    if (s.runs != 1 || !s.failed) print_sum(&s);
    return s.failed != 0;
}
