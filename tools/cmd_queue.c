/* postern queue: look at queued mail, and change it. What is meant by a selection is found by queue. */
#include "tools/command.h"
#include "tools/control.h"
#include "tools/listing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct verb {
    const char *name;
    size_t min, max; /* words behind it */
    int (*run)(struct tool *t, const struct verb *verb);
    char op; /* of ctl_queue */
    const char *arguments;
    bool all_by_default;
};

static bool read_id(const char *word, struct qid *id) {
    if (qid_parse(str_of(word), id)) return true;
    tool_fail(0, "%s: not a queue id (20 of 0-9, A-Z without I L O U)", word);
    return false;
}

/* --- selections --- */

static bool read_number(const char *option, const char *text, bool age, uint64_t *out) {
    static const struct {
        char suffix;
        bool age;
        uint64_t factor;
    } units[] = {{'s', true, 1000},      {'m', true, 60000}, {'h', true, 3600000}, {'d', true, 86400000},
                 {'w', true, 604800000}, {'K', false, 1024}, {'M', false, 1048576}, {'G', false, 1073741824}};
    struct str s = str_of(text);
    uint64_t factor = age ? 1000 : 1;
    for (size_t i = 0; s.n && i < sizeof units / sizeof *units; i++) {
        if (units[i].age != age || units[i].suffix != s.p[s.n - 1]) continue;
        factor = units[i].factor;
        s.n--;
        break;
    }
    if (!str_to_u64(s, 1000000000000, out) || *out > 4000000000000000 / factor) {
        tool_fail(0, "%s %s: not %s", option, text, age ? "an age (as 30s, 5m, 2h, 3d, 1w)" : "a size (octets, or as 10K, 5M, 1G)");
        return false;
    }
    *out *= factor;
    if (!*out) *out = 1; /* 0 would mean: no such condition */
    return true;
}

static bool read_state(const char *text, uint8_t *state) {
    static const char *const names[] = {"fresh", "deferred", "held"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], text) != 0) continue;
        *state = (uint8_t)names[i][0];
        return true;
    }
    tool_fail(0, "--state %s: fresh, deferred or held is meant", text);
    return false;
}

static bool read_selection(const struct tool *t, struct wire_ctl_queue *m) {
    static const size_t max[] = {[SELECT_SENDER] = 400, [SELECT_RECIPIENT] = 400, [SELECT_DOMAIN] = 260, [SELECT_REASON] = 400};
    struct str *texts[] = {[SELECT_SENDER] = &m->sender, [SELECT_RECIPIENT] = &m->rcpt, [SELECT_DOMAIN] = &m->domain,
                           [SELECT_REASON] = &m->reason};
    uint64_t older = 0, newer = 0;
    const char *const *v = t->select;
    for (int i = 0; i <= SELECT_REASON; i++) {
        if (v[i]) *texts[i] = str_of(v[i]);
        if (!v[i] || (texts[i]->n && texts[i]->n <= max[i])) continue;
        tool_fail(0, "%s: the pattern is empty or too long%s", select_names[i], i == SELECT_SENDER ? "; \"<>\" is the null sender" : "");
        return false;
    }
    if (v[SELECT_OLDER] && !read_number("--older", v[SELECT_OLDER], true, &older)) return false;
    if (v[SELECT_NEWER] && !read_number("--newer", v[SELECT_NEWER], true, &newer)) return false;
    if (v[SELECT_LARGER] && !read_number("--larger", v[SELECT_LARGER], false, &m->larger)) return false;
    if (v[SELECT_SMALLER] && !read_number("--smaller", v[SELECT_SMALLER], false, &m->smaller)) return false;
    m->older = (int64_t)older;
    m->newer = (int64_t)newer;
    return !v[SELECT_STATE] || read_state(v[SELECT_STATE], &m->state);
}

/* --- looking --- */

static int list(struct tool *t, const struct verb *verb) {
    struct wire_ctl_queue m = {.which = CTL_FITTING, .op = 'l', .detail = 1};
    (void)verb;
    if (!read_selection(t, &m)) return EX_USAGE;
    return listing_print("postern", t->config, &m, t->json ? LISTING_JSON : LISTING_MAILQ);
}

static int summary(struct tool *t, const struct verb *verb) {
    struct wire_ctl_queue m = {.which = CTL_FITTING, .op = 'l', .detail = 1};
    (void)verb;
    if (!read_selection(t, &m)) return EX_USAGE;
    return listing_summary("postern", t->config, &m, t->json);
}

static int show(struct tool *t, const struct verb *verb) {
    struct wire_ctl_queue m = {.which = CTL_ONE, .op = 'l', .detail = 1};
    (void)verb;
    if (!read_id(t->words[1], &m.id)) return EX_USAGE;
    return listing_print("postern", t->config, &m, t->json ? LISTING_JSON : LISTING_FULL);
}

static int check(struct tool *t, const struct verb *verb) {
    (void)verb;
    if (t->selects || t->all || t->dry_run) return tool_fail(EX_USAGE, "queue check: it checks everything; only --repair and --json fit");
    return run_queue_check(t);
}

/* --- cat --- */

static void print_file(int fd) {
    char mem[65536];
    ssize_t n;
    off_t at = 0;
    while ((n = pread(fd, mem, sizeof mem, at)) > 0) {
        fwrite(mem, 1, (size_t)n, stdout);
        at += n;
    }
    if (n < 0) tool_fail(0, "cannot be read: %s", strerror(errno));
}

static void on_file(void *ctx, struct channel *ch, const struct wire_ctl_file *m, int fd) {
    (void)ctx, (void)ch;
    printf("==== %s ====\n", m->part == 'c' ? "control" : "data");
    print_file(fd);
    close(fd);
}

static const struct wire_handlers handlers = {.ctl_file = on_file, .ctl_done = control_done};

static int answer(struct control *c) {
    if (!control_wait(c)) return tool_fail(EX_UNAVAILABLE, "%s", c->why);
    return c->status.kind == STATUS_OK ? EX_OK : listing_failed("postern", &c->status);
}

static int cat(struct tool *t, const struct verb *verb) {
    struct qid id;
    struct control c;
    (void)verb;
    if (!read_id(t->words[1], &id)) return EX_USAGE;
    if (!control_open(&c, t->config, ROLE_queue, &handlers, NULL))
        return tool_fail(EX_UNAVAILABLE, "%s", c.why);
    SEND(c.channel, ctl_cat, .id = id);
    int status = answer(&c);
    control_close(&c);
    return status;
}

/* --- changing --- */

static void tell_count(const struct tool *t, const struct verb *verb, uint64_t count) {
    if (t->json) printf("{\"operation\": \"%s\", \"messages\": %llu}\n", verb->name, (unsigned long long)count);
    else printf("%s: %llu message%s\n", verb->name, (unsigned long long)count, count == 1 ? "" : "s");
}

static int selected(struct tool *t, const struct verb *verb) {
    struct wire_ctl_queue m = {.which = CTL_FITTING, .op = (uint8_t)verb->op, .dry = t->dry_run, .detail = t->dry_run};
    uint32_t count;
    if (!read_selection(t, &m)) return EX_USAGE;
    if (t->dry_run) return listing_print("postern", t->config, &m, t->json ? LISTING_JSON : LISTING_MAILQ);
    int status = listing_order("postern", t->config, &m, verb->name, &count);
    if (status == EX_OK || count) tell_count(t, verb, count);
    return status;
}

static int each(struct tool *t, const struct verb *verb) {
    struct qid id;
    int status = EX_OK;
    uint64_t done = 0;
    for (size_t i = 1; i < t->word_count; i++)
        if (!read_id(t->words[i], &id)) return EX_USAGE;
    for (size_t i = 1; i < t->word_count; i++) {
        struct wire_ctl_queue m = {.which = CTL_ONE, .op = (uint8_t)verb->op, .dry = t->dry_run, .detail = t->dry_run};
        uint32_t count = 0;
        qid_parse(str_of(t->words[i]), &m.id);
        int one = t->dry_run ? listing_print("postern", t->config, &m, t->json ? LISTING_JSON : LISTING_MAILQ)
                             : listing_order("postern", t->config, &m, NULL, &count);
        if (one != EX_OK) fprintf(stderr, "postern: %s: not done\n", t->words[i]);
        if (status == EX_OK) status = one;
        done += count;
    }
    if (!t->dry_run && status == EX_OK) tell_count(t, verb, done);
    return status;
}

static int operate(struct tool *t, const struct verb *verb) {
    bool ids = t->word_count > 1;
    if (ids && (t->selects || t->all)) return tool_fail(EX_USAGE, "queue %s: ids, or a selection, not both", verb->name);
    if (ids) return each(t, verb);
    if (t->selects || t->all || verb->all_by_default) return selected(t, verb);
    return tool_fail(EX_USAGE, "queue %s: which? ids, a selection (--sender, --domain ...), or --all", verb->name);
}

static int redirect(struct tool *t, const struct verb *verb) {
    struct qid id;
    struct control c;
    (void)verb;
    if (!read_id(t->words[1], &id)) return EX_USAGE;
    struct str from = str_of(t->words[2]), to = str_of(t->words[3]);
    if (from.n > 400 || to.n > 400) return tool_fail(EX_DATAERR, "the address is too long");
    if (!control_open(&c, t->config, ROLE_queue, &handlers, NULL)) return tool_fail(EX_UNAVAILABLE, "%s", c.why);
    SEND(c.channel, ctl_redirect, .id = id, .from = from, .to = to);
    int status = answer(&c);
    control_close(&c);
    if (status == EX_OK) tell_count(t, verb, 1);
    return status;
}

static const struct verb verbs[] = {
    {"list", 0, 0, list, 'l', "[SELECTION]", true},
    {"summary", 0, 0, summary, 'l', "[SELECTION]", true},
    {"show", 1, 1, show, 'l', "ID", false},
    {"cat", 1, 1, cat, 0, "ID", false},
    {"hold", 0, WORDS_MAX, operate, 'h', "ID...|SELECTION|--all [--dry-run]", false},
    {"release", 0, WORDS_MAX, operate, 'u', "ID...|SELECTION|--all [--dry-run]", false},
    {"requeue", 0, WORDS_MAX, operate, 'q', "ID...|SELECTION|--all [--dry-run]", false},
    {"expire", 0, WORDS_MAX, operate, 'e', "ID...|SELECTION|--all [--dry-run]", false},
    {"flush", 0, WORDS_MAX, operate, 'f', "[ID...|SELECTION] [--dry-run]", true},
    {"remove", 0, WORDS_MAX, operate, 'r', "ID...|SELECTION|--all [--dry-run]", false},
    {"check", 0, 0, check, 'c', "[--repair]", true},
    {"redirect", 3, 3, redirect, 0, "ID OLD-RECIPIENT NEW-RECIPIENT", false},
};

int run_queue(struct tool *t) {
    size_t n = t->word_count - 1;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        const struct verb *v = &verbs[i];
        if (strcmp(v->name, t->words[0]) != 0) continue;
        if (n >= v->min && n <= v->max) return v->run(t, v);
        return tool_fail(EX_USAGE, "usage: postern queue %s %s", v->name, v->arguments);
    }
    return tool_fail(EX_USAGE, "queue: %s: one of list, summary, show, cat, hold, release, requeue, expire, flush, remove, "
                               "redirect, check is meant", t->words[0]);
}
