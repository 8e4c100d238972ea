/* postern queue: list, show, cat, flush, remove. */
#include "tools/command.h"
#include "tools/control.h"
#include "tools/listing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static bool read_id(const char *word, struct qid *id) {
    if (qid_parse(str_of(word), id)) return true;
    tool_fail(0, "%s: not a queue id (20 of 0-9, A-Z without I L O U)", word);
    return false;
}

static int list(struct tool *t) {
    return listing_print("postern", t->config, QID_NONE, t->json ? LISTING_JSON : LISTING_MAILQ);
}

static int show(struct tool *t) {
    struct qid id;
    if (!read_id(t->words[1], &id)) return EX_USAGE;
    return listing_print("postern", t->config, id, t->json ? LISTING_JSON : LISTING_FULL);
}

static int flush(struct tool *t) {
    struct qid id = QID_NONE;
    if (t->word_count > 1 && !read_id(t->words[1], &id)) return EX_USAGE;
    return listing_flush("postern", t->config, id);
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

static int cat(struct tool *t) {
    struct qid id;
    struct control c;
    if (!read_id(t->words[1], &id)) return EX_USAGE;
    if (!control_open(&c, t->config, ROLE_queue, &handlers, NULL))
        return tool_fail(EX_UNAVAILABLE, "%s", c.why);
    SEND(c.channel, ctl_cat, .id = id);
    int status = answer(&c);
    control_close(&c);
    return status;
}

static int remove_all(struct tool *t) {
    struct qid id;
    struct control c;
    int status = EX_OK;
    for (size_t i = 1; i < t->word_count; i++)
        if (!read_id(t->words[i], &id)) return EX_USAGE;
    if (!control_open(&c, t->config, ROLE_queue, &handlers, NULL))
        return tool_fail(EX_UNAVAILABLE, "%s", c.why);
    for (size_t i = 1; i < t->word_count && !c.lost; i++) {
        qid_parse(str_of(t->words[i]), &id);
        SEND(c.channel, ctl_queue_remove, .id = id);
        int one = answer(&c);
        if (one != EX_OK) fprintf(stderr, "postern: %s: not removed\n", t->words[i]);
        if (status == EX_OK) status = one;
    }
    control_close(&c);
    return status;
}

static const struct verb {
    const char *name;
    size_t min, max; /* words behind it */
    int (*run)(struct tool *t);
} verbs[] = {
    {"list", 0, 0, list},
    {"show", 1, 1, show},
    {"cat", 1, 1, cat},
    {"flush", 0, 1, flush},
    {"remove", 1, WORDS_MAX, remove_all},
};

int run_queue(struct tool *t) {
    size_t n = t->word_count - 1;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].name, t->words[0]) != 0) continue;
        if (n >= verbs[i].min && n <= verbs[i].max) return verbs[i].run(t);
        return tool_fail(EX_USAGE, "usage: postern queue list|show ID|cat ID|flush [ID]|remove ID...");
    }
    return tool_fail(EX_USAGE, "queue: %s: one of list, show, cat, flush, remove is meant", t->words[0]);
}
