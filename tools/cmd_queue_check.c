/* postern queue check: is everything in the spool in order? A running queue looks itself, and is asked at its control
 * socket; of one that does not run the tool looks at the files. */
#include "tools/command.h"
#include "tools/control.h"
#include "tools/listing.h"
#include "tools/spool.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

struct report {
    bool json;
    uint64_t open, repaired; /* findings */
    uint64_t messages;
    time_t told;
};

static void print_json(const struct report *r, const struct finding_row *row, struct str file, struct str why,
                       bool repaired) {
    char mem[1700];
    struct buf b = BUF(mem);
    buf_add_escaped(&b, file);
    json_t *j = json_object();
    json_object_set_new(j, "what", json_string(row->name));
    json_object_set_new(j, "file", json_string(buf_cstr(&b)));
    json_object_set_new(j, "why", json_stringn(why.n ? why.p : "", why.n));
    json_object_set_new(j, "repaired", json_boolean(repaired));
    json_object_set_new(j, repaired ? "done" : "remedy", json_string(repaired ? row->repaired : row->remedy));
    fputs(r->open + r->repaired > 1 ? ",\n " : "", stdout);
    json_dumpf(j, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(j);
}

static void on_found(void *ctx, enum finding what, struct str file, struct str why, bool repaired) {
    struct report *r = ctx;
    const struct finding_row *row = &finding_table[what];
    char mem[1700];
    struct buf b = BUF(mem);
    r->open += !repaired;
    r->repaired += repaired;
    if (r->json) {
        print_json(r, row, file, why, repaired);
        return;
    }
    buf_add_escaped(&b, file);
    printf("%s: %s: %.*s; %s%s\n", buf_cstr(&b), row->name, STR_ARGS(why), repaired ? "repaired: " : "",
           repaired ? row->repaired : row->remedy);
}

static void on_looked(void *ctx, uint64_t looked) {
    struct report *r = ctx;
    time_t now = time(NULL);
    if (!r->told) r->told = now;
    if (now <= r->told) return;
    r->told = now;
    fprintf(stderr, "postern: check: %llu messages looked at\n", (unsigned long long)looked);
}

/* --- a running queue --- */

static void on_ctl_finding(void *ctx, struct channel *ch, const struct wire_ctl_finding *m, int fd) {
    (void)ch, (void)fd;
    if (m->what < FINDINGS)
        on_found(((struct control *)ctx)->user, (enum finding)m->what, m->file, m->why, false);
}

static void on_ctl_progress(void *ctx, struct channel *ch, const struct wire_ctl_progress *m, int fd) {
    struct report *r = ((struct control *)ctx)->user;
    (void)ch, (void)fd;
    r->messages = m->looked;
    on_looked(r, m->looked);
}

static int ask(struct control *c) {
    SEND(c->channel, ctl_queue, .which = CTL_FITTING, .op = 'c');
    if (!control_wait(c)) return tool_fail(EX_UNAVAILABLE, "%s", c->why);
    return c->status.kind == STATUS_OK ? EX_OK : listing_failed("postern", &c->status);
}

/* --- both --- */

static unsigned long long set_aside(const struct config *config) {
    char path[1100];
    unsigned long long n = 0;
    snprintf(path, sizeof path, "%s/aside", config->spool_directory);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d) closedir(d);
    return n;
}

static int offline(struct tool *t, struct report *r) {
    struct spool_check c = {
        .config = t->config, .repair = t->repair, .ctx = r, .found = on_found, .progress = on_looked};
    int status = spool_check(&c);
    r->messages = c.messages;
    return status ? tool_fail(status, "%s", c.why) : EX_OK;
}

static void print_end(const struct report *r, unsigned long long aside) {
    if (r->json) {
        printf("], \"messages\": %llu, \"open\": %llu, \"repaired\": %llu, \"aside\": %llu}\n",
               (unsigned long long)r->messages, (unsigned long long)r->open, (unsigned long long)r->repaired,
               aside);
        return;
    }
    printf("%llu message%s in order, %llu finding%s", (unsigned long long)r->messages,
           r->messages == 1 ? "" : "s", (unsigned long long)r->open, r->open == 1 ? "" : "s");
    if (r->repaired) printf(", %llu repaired", (unsigned long long)r->repaired);
    if (aside)
        printf(", %llu file%s in aside/ (put there earlier or now: read them, then move them back or delete "
               "them)",
               aside, aside == 1 ? "" : "s");
    putchar('\n');
}

int run_queue_check(struct tool *t) {
    static const struct wire_handlers handlers = {
        .ctl_finding = on_ctl_finding, .ctl_progress = on_ctl_progress, .ctl_done = control_done};
    struct report r = {.json = t->json};
    struct control c;
    bool runs = control_open(&c, t->config, ROLE_queue, &handlers, &r);
    if (t->repair && (runs || tool_running(t->config))) {
        if (runs) control_close(&c);
        return tool_fail(
            EX_TEMPFAIL,
            "queue check --repair: the suite is running, and queue works on the spool: stop it first");
    }
    unsigned long long aside = set_aside(t->config);
    if (r.json) fputs("{\"findings\": [", stdout);
    int status = runs ? ask(&c) : offline(t, &r);
    if (runs) control_close(&c);
    if (t->repair) aside = set_aside(t->config);
    if (status == EX_OK || r.json) print_end(&r, aside);
    return status == EX_OK && r.open ? EX_DATAERR : status;
}
