/* postern counters: what each program has counted since posternd started: its CPU time, its wake-ups, what it told its
 * peers, and the events of its log; and what that makes for each message. */
#include "common/counters.h"
#include "tools/command.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { PROGRAMS_MAX = 200, NAME_SIZE = 40 };

struct page {
    char name[NAME_SIZE];
    struct counters c;
};

static struct page pages[PROGRAMS_MAX];
static size_t page_count;

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct page *)a)->name, ((const struct page *)b)->name);
}

static void read_page(int dir, const char *name) {
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct page *p = &pages[page_count];
    if (fd < 0) return;
    ssize_t n = pread(fd, &p->c, sizeof p->c, 0);
    close(fd);
    if (n != (ssize_t)sizeof p->c || p->c.layout != counters_layout()) return;
    snprintf(p->name, sizeof p->name, "%s", name);
    page_count++;
}

static int read_pages(const struct config *c) {
    char path[1200];
    snprintf(path, sizeof path, "%s/counters", c->run_directory);
    DIR *d = opendir(path);
    struct dirent *e;
    if (!d)
        return tool_fail(EX_UNAVAILABLE, "%s: %s (has posternd started with this run-directory?)", path,
                         strerror(errno));
    while (page_count < PROGRAMS_MAX && (e = readdir(d)))
        if (e->d_name[0] != '.' && strlen(e->d_name) < NAME_SIZE) read_page(dirfd(d), e->d_name);
    closedir(d);
    if (!page_count) return tool_fail(EX_UNAVAILABLE, "%s: nothing there that this version can read", path);
    qsort(pages, page_count, sizeof *pages, by_name);
    return EX_OK;
}

static uint64_t events(enum event_number e) {
    uint64_t n = 0;
    for (size_t i = 0; i < page_count; i++) n += pages[i].c.events[e];
    return n;
}

static json_t *hops_json(const struct counters *c) {
    json_t *hops = json_object();
    for (int r = 0; r < ROLE_COUNT; r++) {
        const struct counters_hop *h = &c->hops[r];
        if (!h->packets_in && !h->packets_out) continue;
        json_object_set_new(hops, role_table[r].name,
                            json_pack("{sI sI sI sI}", "packets_in", (json_int_t)h->packets_in, "messages_in",
                                      (json_int_t)h->messages_in, "packets_out", (json_int_t)h->packets_out,
                                      "messages_out", (json_int_t)h->messages_out));
    }
    return hops;
}

static void print_json(void) {
    json_t *all = json_object();
    for (size_t i = 0; i < page_count; i++) {
        const struct counters *c = &pages[i].c;
        json_t *told = json_object();
        for (int e = 0; e < EVENT_COUNT; e++)
            if (c->events[e])
                json_object_set_new(told, event_names[e], json_integer((json_int_t)c->events[e]));
        json_object_set_new(all, pages[i].name,
                            json_pack("{sI sI so so}", "cpu_us", (json_int_t)c->cpu_us, "wakeups",
                                      (json_int_t)c->wakeups, "hops", hops_json(c), "events", told));
    }
    json_dumpf(all, stdout, JSON_INDENT(1) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(all);
}

static double each(uint64_t n, uint64_t messages) {
    return messages ? (double)n / (double)messages : 0;
}

static void print_table(void) {
    uint64_t n = events(EVENT_queued), cpu = 0;
    printf("%llu messages accepted; a message:\n\n", (unsigned long long)n);
    printf("%-18s %10s %10s   %s\n", "program", "CPU us", "wake-ups", "to peers: messages (packets)");
    for (size_t i = 0; i < page_count; i++) {
        const struct counters *c = &pages[i].c;
        printf("%-18s %10.1f %10.2f  ", pages[i].name, each(c->cpu_us, n), each(c->wakeups, n));
        cpu += c->cpu_us;
        for (int r = 0; r < ROLE_COUNT; r++)
            if (c->hops[r].packets_out && r != ROLE_supervise)
                printf(" %s %.2f (%.2f)", role_table[r].name, each(c->hops[r].messages_out, n),
                       each(c->hops[r].packets_out, n));
        putchar('\n');
    }
    printf("%-18s %10.1f\n\nevents:\n", "all", each(cpu, n));
    for (int e = 0; e < EVENT_COUNT; e++)
        if (events((enum event_number)e))
            printf("  %-18s %12llu\n", event_names[e], (unsigned long long)events((enum event_number)e));
}

int run_counters(struct tool *t) {
    int status = read_pages(t->config);
    if (status != EX_OK) return status;
    if (t->json) print_json();
    else print_table();
    return EX_OK;
}
