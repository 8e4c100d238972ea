/* summary.c: what is queued, counted by domain and age (as qshape does), and by reason. */
#include "tools/control.h"
#include "tools/listing.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { GROUPS_MAX = 100000, BUCKETS = 65536, NAME_MAX_SHOWN = 160, SHOWN = 30, AGES = 6 };

static const struct {
    int64_t below; /* ms */
    const char *title;
} ages[AGES] = {{300000, "<5m"}, {1200000, "<20m"}, {3600000, "<1h"}, {21600000, "<6h"}, {86400000, "<1d"}, {INT64_MAX, "older"}};

struct group {
    struct group *next;
    uint64_t total, held, by_age[AGES];
    char name[NAME_MAX_SHOWN];
};

struct groups {
    struct group *table[BUCKETS];
    size_t n;
};

struct summary {
    struct groups domains, reasons;
    uint64_t messages, recipients, octets, states[256];
    int age;
    uint8_t state; /* of the message whose recipients come now */
};

static struct group *group_of(struct groups *g, struct str name) {
    name = str_sub(name, 0, NAME_MAX_SHOWN - 1);
    struct group **at = &g->table[str_hash_nocase(name, 1) % BUCKETS];
    for (struct group *i = *at; i; i = i->next)
        if (str_eq_nocase(str_of(i->name), name)) return i;
    if (g->n >= GROUPS_MAX) return group_of(g, STR("(others)"));
    struct group *fresh = calloc(1, sizeof *fresh);
    if (!fresh) exit(EX_OSERR);
    if (name.n) memcpy(fresh->name, name.p, name.n);
    fresh->next = *at;
    *at = fresh;
    g->n += !str_eq(name, STR("(others)"));
    return fresh;
}

static void count(struct summary *s, struct groups *g, struct str name) {
    char mem[4 * NAME_MAX_SHOWN];
    struct buf b = BUF(mem);
    buf_add_escaped(&b, str_sub(name, 0, NAME_MAX_SHOWN));
    struct group *i = group_of(g, buf_str(&b));
    i->total++;
    i->held += s->state == 'h';
    i->by_age[s->age]++;
}

static void on_message(void *ctx, struct channel *ch, const struct wire_ctl_message *m, int fd) {
    struct control *c = ctx;
    struct summary *s = c->user;
    int64_t age = loop_wall_ms(c->loop) - m->arrival;
    (void)ch, (void)fd;
    s->messages++;
    s->octets += m->size;
    s->states[m->state]++;
    s->state = m->state;
    for (s->age = 0; s->age < AGES - 1 && age >= ages[s->age].below; s->age++) continue;
}

static void on_rcpt(void *ctx, struct channel *ch, const struct wire_ctl_rcpt *m, int fd) {
    struct summary *s = ((struct control *)ctx)->user;
    char mem[1200];
    struct buf b = BUF(mem);
    struct status status = STATUS_OF(m);
    size_t at = m->rcpt.n;
    (void)ch, (void)fd;
    if (m->state != 'N' && m->state != 'L') return;
    s->recipients++;
    while (at > 0 && m->rcpt.p[at - 1] != '@') at--;
    count(s, &s->domains, at ? str_sub(m->rcpt, at, m->rcpt.n) : STR("(local)"));
    if (m->code) status_format(&b, &status);
    count(s, &s->reasons, m->code ? buf_str(&b) : STR("(not tried yet)"));
}

static int by_total(const void *a, const void *b) {
    const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;
    if (x->total != y->total) return x->total < y->total ? 1 : -1;
    return strcmp(x->name, y->name);
}

static struct group **sorted(const struct groups *g, size_t *n) {
    struct group **v = calloc(g->n + 2, sizeof *v);
    if (!v) exit(EX_OSERR);
    *n = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct group *at = g->table[i]; at; at = at->next) v[(*n)++] = at;
    qsort(v, *n, sizeof *v, by_total);
    return v;
}

static void print_table(const struct groups *g, const char *title) {
    size_t n;
    struct group **v = sorted(g, &n);
    printf("\n%9s", "TOTAL");
    for (int k = 0; k < AGES; k++) printf(" %8s", ages[k].title);
    printf(" %8s  %s\n", "held", title);
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        printf("%9llu", (unsigned long long)v[i]->total);
        for (int k = 0; k < AGES; k++) printf(" %8llu", (unsigned long long)v[i]->by_age[k]);
        printf(" %8llu  %s\n", (unsigned long long)v[i]->held, v[i]->name);
    }
    if (n > SHOWN) printf("          and %zu more; --json has all\n", n - SHOWN);
    free(v);
}

static json_t *json_groups(const struct groups *g) {
    size_t n;
    struct group **v = sorted(g, &n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_object(), *by_age = json_object();
        for (int k = 0; k < AGES; k++) json_object_set_new(by_age, ages[k].title, json_integer((json_int_t)v[i]->by_age[k]));
        json_object_set_new(row, "name", json_string(v[i]->name));
        json_object_set_new(row, "recipients", json_integer((json_int_t)v[i]->total));
        json_object_set_new(row, "held", json_integer((json_int_t)v[i]->held));
        json_object_set_new(row, "by_age", by_age);
        json_array_append_new(list, row);
    }
    free(v);
    return list;
}

static void print_json(const struct summary *s) {
    json_t *j = json_object();
    json_object_set_new(j, "messages", json_integer((json_int_t)s->messages));
    json_object_set_new(j, "recipients", json_integer((json_int_t)s->recipients));
    json_object_set_new(j, "octets", json_integer((json_int_t)s->octets));
    json_object_set_new(j, "fresh", json_integer((json_int_t)s->states['f']));
    json_object_set_new(j, "deferred", json_integer((json_int_t)s->states['d']));
    json_object_set_new(j, "held", json_integer((json_int_t)s->states['h']));
    json_object_set_new(j, "domains", json_groups(&s->domains));
    json_object_set_new(j, "reasons", json_groups(&s->reasons));
    json_dumpf(j, stdout, JSON_INDENT(1) | JSON_ENSURE_ASCII);
    putchar('\n');
    json_decref(j);
}

static void print_text(const struct summary *s) {
    printf("%llu messages (%llu fresh, %llu deferred, %llu held) for %llu recipients, %llu octets\n",
           (unsigned long long)s->messages, (unsigned long long)s->states['f'], (unsigned long long)s->states['d'],
           (unsigned long long)s->states['h'], (unsigned long long)s->recipients, (unsigned long long)s->octets);
    if (!s->messages) return;
    print_table(&s->domains, "domain");
    print_table(&s->reasons, "reason");
}

int listing_summary(const char *program, const struct config *config, const struct wire_ctl_queue *request, bool json) {
    static const struct wire_handlers handlers = {
        .ctl_message = on_message, .ctl_rcpt = on_rcpt, .ctl_done = control_done, .ctl_progress = control_progress};
    static struct summary s; /* large, and this program does it once */
    struct control c;
    int status = EX_OK;
    if (!control_open(&c, config, ROLE_queue, &handlers, &s)) {
        fprintf(stderr, "%s: %s\n", program, c.why);
        return EX_UNAVAILABLE;
    }
    c.doing = "summary";
    channel_send_ctl_queue(c.channel, request, -1);
    if (!control_wait(&c)) {
        fprintf(stderr, "%s: %s\n", program, c.why);
        status = EX_UNAVAILABLE;
    } else if (c.status.kind != STATUS_OK) status = listing_failed(program, &c.status);
    control_close(&c);
    if (status != EX_OK) return status;
    if (json) print_json(&s);
    else print_text(&s);
    return EX_OK;
}
