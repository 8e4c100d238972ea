/* spool: how fast the real store makes messages durable, in both modes, on the disk beneath a directory.
 *
 *     bench/spool DIRECTORY direct|journal SENDERS MESSAGES [SIZE [stay]]
 *
 * Each round, each of SENDERS has one message ready; one commit serves them all, and each is delivered (marked done) in
 * the round after. "stay": every tenth is deferred instead. Then the store is thrown away as kill -9 does it, and the
 * next one recovers. May touch: the directory, which must be empty or its own. */
#include "common/arena.h"
#include "queue/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SENDERS_MAX = 1000 };

static uint64_t syncs, accepted, found_n;
static struct disk_ops counted, real;

static int count_sync(struct disk *d, int file) {
    syncs++;
    return real.sync(d, file);
}

static int count_sync_dir(struct disk *d, int dir) {
    syncs++;
    return real.sync_dir(d, dir);
}

static int count_sync_all(struct disk *d) {
    syncs++;
    return real.sync_all(d);
}

static double wall(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void on_answer(void *ctx, void *owner, const struct control *c, const struct status *s,
                      unsigned batch) {
    (void)ctx, (void)owner, (void)c, (void)batch;
    accepted += s->kind == STATUS_OK;
}

static void on_retired(void *ctx, struct qid id, int64_t arrival) {
    (void)ctx, (void)id, (void)arrival;
}

static void on_text(void *ctx, struct str text) {
    (void)ctx;
    fprintf(stderr, "%.*s\n", STR_ARGS(text));
}

static void on_aside(void *ctx, struct str file, struct str why) {
    on_text(ctx, file);
    on_text(ctx, why);
}

static void on_intake(void *ctx, bool open, struct str why) {
    (void)open;
    on_text(ctx, why);
}

static void found(void *ctx, const struct control *c) {
    (void)ctx, (void)c;
    found_n++;
}

static struct disk *disk_at(const char *path) {
    const char *where;
    char mem[8];
    int error = 0, fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct disk *d = fd < 0 ? NULL : disk_posix_new(fd, &error, &where, mem);
    if (!d) {
        perror(path);
        exit(1);
    }
    real = counted = *d->ops;
    counted.sync = count_sync;
    counted.sync_dir = count_sync_dir;
    counted.sync_all = count_sync_all;
    d->ops = &counted;
    return d;
}

static struct store *store_at(struct disk *d, bool journal) {
    struct store_config c = {.message_size = 1 << 26, .recipients = 100};
    if (journal)
        c.journal = (struct journal_config){.segments = 16, .segment_size = 4 << 20, .large = 256 << 10};
    struct store_user user = {NULL, on_answer, on_retired, on_aside, on_intake, on_text};
    struct store *s = store_new(d, &c, &user);
    int error = store_open(s);
    if (error) {
        fprintf(stderr, "cannot open: %s\n", strerror(error));
        exit(1);
    }
    return s;
}

static void receive(struct store *s, struct qid id, struct str data) {
    struct control head = {.id = id,
                           .arrival = 1700000000000,
                           .sender = STR("sender@example.com"),
                           .origin = STR("client [192.0.2.1] helo client.example.com")};
    store_begin(s, &head, NULL);
    store_rcpt(s, id, 0, &(struct control_rcpt){.rcpt = STR("recipient@example.org"), .notify = 3});
    store_data(s, id, data);
    store_end(s, id, 1, data.n,
              STR("Received: from client.example.com ([192.0.2.1])\r\n\tby mx.example.org (Postern) with "
                  "ESMTP\r\n"));
}

static void mark(struct store *s, struct qid id, bool stay) {
    struct control_mark m = {.state = stay ? 'L' : 'D',
                             .attempts = 1,
                             .next = 1800000000000,
                             .status = status_make(stay ? 450 : 250, stay ? "4.2.1" : "2.0.0", "so it is")};
    store_mark(s, id, &m);
}

static void load(struct store *s, uint32_t senders, uint32_t n, struct str data, bool stay) {
    uint64_t lease;
    double began = wall(), rested = began;
    if (store_lease(s, 1700000000000, &lease) != 0) exit(1);
    for (uint32_t at = 1; at <= n; at += senders) {
        for (uint32_t i = 0; i < senders; i++) receive(s, (struct qid){lease, at + i}, data);
        store_commit(s, false);
        for (uint32_t i = 0; i < senders; i++) mark(s, (struct qid){lease, at + i}, stay && i % 10 == 0);
        store_push(s);
        if (wall() - rested < 5) continue;
        rested = wall();
        store_commit(s, true);
        while (store_rest(s, 1000)) store_commit(s, true);
    }
}

static void recover(struct disk *d, bool journal) {
    double began = wall();
    struct store *s = store_at(d, journal);
    double opened = wall();
    struct store_walk *w = store_walk_new(s, true);
    while (store_walk_step(w, 1000, found, NULL)) {
    }
    store_walk_free(w);
    store_commit(s, true);
    printf("  recovery: replay %.3f s, all %.3f s, %llu batches, %llu messages found\n", opened - began,
           wall() - began, (unsigned long long)store_journal_counts(s).replayed, (unsigned long long)found_n);
    store_free(s);
}

int main(int argc, char **argv) {
    uint64_t senders = 0, n = 0, size = 1200;
    if (argc < 5 || !str_to_u64(str_of(argv[3]), SENDERS_MAX, &senders) || !senders ||
        !str_to_u64(str_of(argv[4]), 100000000, &n) ||
        (argc > 5 && !str_to_u64(str_of(argv[5]), 1 << 26, &size))) {
        fputs("usage: spool DIRECTORY direct|journal SENDERS MESSAGES [SIZE [stay]]\n", stderr);
        return 64;
    }
    bool journal = strcmp(argv[2], "journal") == 0;
    char *data = xmalloc(size);
    memset(data, 'x', size);
    struct disk *d = disk_at(argv[1]);
    struct store *s = store_at(d, journal);
    load(s, (uint32_t)senders, 20 * (uint32_t)senders, (struct str){data, size},
         false); /* makes the first segments */
    double began = wall(), used = cpu();
    syncs = accepted = 0;
    load(s, (uint32_t)senders, (uint32_t)n, (struct str){data, size}, argc > 6);
    double seconds = wall() - began;
    struct journal_counts c = store_journal_counts(s);
    printf("%-7s %3llu senders: %8.0f messages/s, %.1f us CPU, %.3f syncs a message; %llu files rested\n",
           argv[2], (unsigned long long)senders, (double)accepted / seconds,
           (cpu() - used) * 1e6 / (double)accepted, (double)syncs / (double)accepted,
           (unsigned long long)c.rested);
    fflush(stdout);
    store_free(s); /* writes nothing: as a kill leaves it */
    recover(d, journal);
    disk_posix_free(d);
    free(data);
    return 0;
}
