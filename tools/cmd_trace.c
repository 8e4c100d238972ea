/* postern trace: the journey of one message through the programs, read from the log file: what each did,
 * under which UID, when, and how long it took. */
#include "tools/command.h"
#include "tools/journey.h"

#include "common/arena.h"
#include "common/role.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { EVENTS_MAX = 2000 };

struct event {
    int64_t us; /* when it began */
    uint64_t pid, took_us;
    int64_t uid; /* -1: the log does not say */
    char program[20], sentence[600];
};

struct trace {
    struct qid id;
    struct event *events;
    size_t n, cap, left_out;
    /* Who has which UID: the latest word of the log about a process id. */
    struct owner {
        uint64_t pid;
        int64_t uid;
    } * owners;
    size_t owner_n, owner_cap;
};

static int64_t *owner_of(struct trace *t, uint64_t pid, bool make) {
    for (size_t i = t->owner_n; i-- > 0;)
        if (t->owners[i].pid == pid) return &t->owners[i].uid;
    if (!make) return NULL;
    t->owners = xgrow(t->owners, &t->owner_cap, t->owner_n + 1, sizeof *t->owners);
    t->owners[t->owner_n] = (struct owner){pid, -1};
    return &t->owners[t->owner_n++].uid;
}

/* started (by posternd) and worker (by deliver-local) say which process runs under which UID. */
static void learn_owner(struct trace *t, const struct log_line *l) {
    if (!str_eq(l->event, STR("started")) && !str_eq(l->event, STR("worker"))) return;
    uint64_t pid = log_number(l, "pid");
    if (pid) *owner_of(t, pid, true) = (int64_t)log_number(l, "uid");
}

static void keep(struct trace *t, const struct log_line *l) {
    if (t->n == EVENTS_MAX) {
        t->left_out++;
        return;
    }
    t->events = xgrow(t->events, &t->cap, t->n + 1, sizeof *t->events);
    struct event *e = &t->events[t->n++];
    struct buf sentence = BUF(e->sentence);
    int64_t *uid = owner_of(t, l->pid, false);
    *e = (struct event){.us = l->us, .pid = l->pid, .uid = uid ? *uid : -1};
    journey_tell(l, &sentence, &e->took_us);
    e->us -=
        (int64_t)
            e->took_us; /* a line is written when the work is done; a journey is told from where it began */
    buf_cstr(&sentence);
    snprintf(e->program, sizeof e->program, "%.*s", STR_ARGS(l->program));
}

/* Its own lines, and those about the message whose report it is. */
static bool concerns(const struct trace *t, const struct log_line *l) {
    if (l->has_id && qid_eq(l->id, t->id)) return true;
    return str_eq(l->event, STR("bounced")) && str_eq(log_field(l, "bounce"), str_of(qid_format(t->id).c));
}

static int read_log(struct trace *t, const char *file) {
    FILE *f = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    if (!f) return tool_fail(errno == EACCES ? EX_NOPERM : EX_NOINPUT, "%s: %s", file, strerror(errno));
    while ((n = getline(&line, &cap, f)) > 0) {
        struct log_line l;
        if (!log_line_parse(str_trim((struct str){line, (size_t)n}), &l)) continue;
        learn_owner(t, &l);
        if (concerns(t, &l)) keep(t, &l);
    }
    free(line);
    if (f != stdin) fclose(f);
    return EX_OK;
}

/* Programs write their lines when their loop sleeps: the order of the file is not that of the times. */
static int by_time(const void *a, const void *b) {
    const struct event *x = a, *y = b;
    return (x->us > y->us) - (x->us < y->us);
}

static const char *duration(char mem[24], uint64_t us) {
    if (us == 0) return "";
    if (us < 1000) snprintf(mem, 24, "%llu us", (unsigned long long)us);
    else if (us < 10 * 1000 * 1000) snprintf(mem, 24, "%.1f ms", (double)us / 1000);
    else snprintf(mem, 24, "%.1f s", (double)us / 1e6);
    return mem;
}

static void print(const struct trace *t) {
    char mem[24], uid[24];
    int64_t first = t->events[0].us;
    printf("%12s  %-14s %7s %7s %10s  %s\n", "began", "program", "pid", "uid", "took", "what");
    for (size_t i = 0; i < t->n; i++) {
        const struct event *e = &t->events[i];
        snprintf(uid, sizeof uid, "%lld", (long long)e->uid);
        printf("%9.3f ms  %-14s %7llu %7s %10s  %s\n", (double)(e->us - first) / 1000, e->program,
               (unsigned long long)e->pid, e->uid < 0 ? "?" : uid, duration(mem, e->took_us), e->sentence);
    }
    if (t->left_out) printf("and %zu later events\n", t->left_out);
}

/* Where rsyslog of Debian puts the lines of facility mail. */
static const char syslog_file[] = "/var/log/mail.log";

static const char *log_file(const struct tool *t) {
    const char *log = t->config->log;
    if (t->log) return t->log;
    if (strcmp(log, "syslog") == 0 && access(syslog_file, F_OK) == 0) return syslog_file;
    return strncmp(log, "file:", 5) == 0 ? log + 5 : NULL;
}

int run_trace(struct tool *t) {
    struct trace trace = {0};
    const char *file = log_file(t);
    if (!qid_parse(str_of(t->words[0]), &trace.id))
        return tool_fail(EX_USAGE, "%s: not a queue id", t->words[0]);
    if (!file)
        return tool_fail(EX_USAGE,
                         "log = %s: set it to file:PATH, or name a copy with --log FILE, or pipe the journal in: "
                         "journalctl -o short-iso-precise | postern trace ID --log -",
                         t->config->log);
    int status = read_log(&trace, file);
    if (status == EX_OK && !trace.n)
        status = tool_fail(EX_NOINPUT, "%s: %s does not speak of it", t->words[0], file);
    if (status == EX_OK) {
        qsort(trace.events, trace.n, sizeof *trace.events, by_time);
        print(&trace);
    }
    free(trace.events);
    free(trace.owners);
    return status;
}
