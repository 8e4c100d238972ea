/* fillspool: fills a spool directory with messages, quickly, for tests of a large queue. No suite may run on it.
 *
 *     fillspool DIRECTORY COUNT DOMAIN [AGE-SECONDS [DUE-SECONDS]]
 *
 * COUNT small messages for one recipient each, fN@DOMAIN (a %u in DOMAIN becomes N modulo 1000), that arrived
 * AGE-SECONDS ago; with DUE-SECONDS they were tried once and are due again then (a minus sign: they are due already,
 * spread over that time). Run as the owner of the spool. */
#include "common/arena.h"
#include "queue/crc32c.h"
#include "queue/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char data[] = "From: <a@mx.test>\r\nTo: <b@far.test>\r\nSubject: one of many\r\nDate: Sat, 21 Nov 2026 09:30:00 "
                           "+0000\r\nMessage-ID: <many@mx.test>\r\n\r\nhello\r\n";
static uint64_t failed, answered;

static void on_answer(void *ctx, void *owner, const struct control *c, const struct status *s, unsigned batch) {
    (void)ctx, (void)owner, (void)batch;
    answered++;
    failed += s->kind != STATUS_OK;
    if (s->kind == STATUS_OK) store_let_go(*(struct store **)ctx, c->id);
}

static void on_retired(void *ctx, struct qid id, int64_t arrival) {
    (void)ctx, (void)id, (void)arrival;
}

static void on_aside(void *ctx, struct str file, struct str why) {
    (void)ctx;
    fprintf(stderr, "fillspool: %.*s: %.*s\n", STR_ARGS(file), STR_ARGS(why));
}

static void on_intake(void *ctx, bool open, struct str why) {
    (void)ctx, (void)open;
    fprintf(stderr, "fillspool: intake: %.*s\n", STR_ARGS(why));
}

static void on_trouble(void *ctx, struct str text) {
    (void)ctx;
    fprintf(stderr, "fillspool: %.*s\n", STR_ARGS(text));
}

/* What is only for a test need not survive a power cut. */
static int no_sync(struct disk *d, int file_or_dir) {
    (void)d, (void)file_or_dir;
    return 0;
}

static int no_sync_all(struct disk *d) {
    (void)d;
    return 0;
}

struct plan {
    struct store *store;
    uint64_t lease;
    uint64_t count;
    const char *domain;
    int64_t now, age, due;
    bool tried;
};

static void put_rcpt(const struct plan *p, uint64_t n, struct buf *b) {
    const char *u = strstr(p->domain, "%u");
    buf_addf(b, "f%llu@", (unsigned long long)n);
    buf_add(b, (struct str){p->domain, u ? (size_t)(u - p->domain) : strlen(p->domain)});
    if (!u) return;
    buf_addu(b, n % 1000);
    buf_adds(b, u + 2);
}

static void put_message(const struct plan *p, uint64_t n) {
    char mem[300];
    struct buf rcpt = BUF(mem);
    struct qid id = {p->lease, (uint32_t)n + 1};
    put_rcpt(p, n, &rcpt);
    store_begin(p->store, &(struct control){.id = id, .arrival = p->now - p->age, .sender = STR("alice@mx.test"),
                                            .origin = STR("client [192.0.2.1]")}, NULL);
    store_rcpt(p->store, id, 0, &(struct control_rcpt){.rcpt = buf_str(&rcpt)});
    store_data(p->store, id, (struct str){data, sizeof data - 1});
    store_end(p->store, id, 1, sizeof data - 1, STR("Received: by mx.test\r\n"));
}

static void put_mark(const struct plan *p, uint64_t n) {
    int64_t due = p->due < 0 ? p->now + p->due * (int64_t)(n + 1) / (int64_t)p->count : p->now + p->due;
    struct status st = status_make(451, "4.4.1", "connection refused");
    struct control_mark m = {.index = 0, .state = 'L', .attempts = 1, .next = due, .status = st};
    store_mark(p->store, (struct qid){p->lease, (uint32_t)n + 1}, &m);
}

/* Batches: one sync for many. */
static void fill(const struct plan *p) {
    enum { BATCH = 500 };
    for (uint64_t n = 0; n < p->count && !failed;) {
        uint64_t first = n;
        for (; n < p->count && n - first < BATCH; n++) put_message(p, n);
        store_commit(p->store, true);
        for (uint64_t i = first; i < n && p->tried && !failed; i++) put_mark(p, i);
        if (p->tried) store_commit(p->store, true);
    }
    store_commit(p->store, true);
}

int main(int argc, char **argv) {
    struct plan p = {.age = 60000};
    const char *where = "";
    char mem[8];
    int error = 0, root;
    struct timespec ts;
    if (argc < 4 || argc > 6 || !str_to_u64(str_of(argv[2]), 100000000, &p.count) || (root = open(argv[1], O_RDONLY | O_DIRECTORY)) < 0) {
        fprintf(stderr, "usage: fillspool DIRECTORY COUNT DOMAIN [AGE-SECONDS [DUE-SECONDS]]\n");
        return 64;
    }
    clock_gettime(CLOCK_REALTIME, &ts);
    p.now = (int64_t)ts.tv_sec * 1000;
    p.domain = argv[3];
    if (argc > 4) p.age = strtoll(argv[4], NULL, 10) * 1000;
    p.tried = argc > 5;
    if (p.tried) p.due = strtoll(argv[5], NULL, 10) * 1000;
    struct disk *disk = disk_posix_new(root, &error, &where, mem);
    if (!disk) {
        fprintf(stderr, "fillspool: %s/%s: %s\n", argv[1], where, strerror(error));
        return 74;
    }
    struct disk_ops quick = *disk->ops;
    quick.sync = quick.sync_dir = no_sync;
    quick.sync_all = no_sync_all;
    disk->ops = &quick;
    struct store_user user = {.ctx = &p.store, .answer = on_answer, .retired = on_retired, .aside = on_aside,
                              .intake = on_intake, .trouble = on_trouble};
    struct store_config config = {.message_size = 1 << 20, .recipients = 10};
    p.store = store_new(disk, &config, &user);
    error = store_open(p.store);
    if (!error) error = store_lease(p.store, p.now, &p.lease);
    if (!error) fill(&p);
    store_free(p.store);
    disk_posix_free(disk);
    if (error) fprintf(stderr, "fillspool: %s\n", strerror(error));
    return error || failed || answered != p.count ? 74 : 0;
}
