/* testing.h: what the tests of the two mailbox forms share: a directory to play in, a message, a file's text.
 * */
#ifndef POSTERN_DELIVER_LOCAL_TESTING_H
#define POSTERN_DELIVER_LOCAL_TESTING_H

#include "common/arena.h"
#include "deliver-local/delivery.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char test_dir[64];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int test_end(void **state) {
    (void)state;
    return *test_dir ? nftw(test_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) : 0;
}

static int test_begin(void **state) {
    (void)state;
    umask(077);
    snprintf(test_dir, sizeof test_dir, "/tmp/postern-mailbox-XXXXXX");
    return mkdtemp(test_dir) ? 0 : -1;
}

static const char *test_path(const char *name) {
    static char path[32][200];
    static unsigned turn;
    char *p = path[turn++ % 32];
    snprintf(p, sizeof path[0], "%s/%s", test_dir, name);
    return p;
}

static const struct addr test_rcpt = {{"alice", 5}, {"here.example", 12}};
/* The id of test_delivery. */
#define TEST_ID "000000000002D0000005"
static const char test_prefix[] = "Received: from x by y id " TEST_ID ";\r\n\tnow\r\n";

/* A delivery of data (CRLF lines) to alice, which owns a memory file with it. */
static struct delivery test_delivery(const char *data) {
    struct delivery d = {.id = {77, 5}, .size = strlen(data), .lock_ms = 20000};
    d.message = (struct format_message){.arrival = 1763770867123,
                                        .sender = {STR("bob"), STR("there.example")},
                                        .rcpt = &test_rcpt,
                                        .rcpts = 1,
                                        .prefix = STR(test_prefix)};
    d.data = memfd_create("data", MFD_CLOEXEC);
    assert_true(d.data >= 0);
    assert_int_equal(write(d.data, data, strlen(data)), (ssize_t)strlen(data));
    return d;
}

/* Stored, unlocked, and synced: the whole life of a mailbox for one message. */
static inline struct status test_deliver(struct delivery *d, const char *kind, const char *path) {
    char setting[DELIVERY_PATH_MAX + 20];
    snprintf(setting, sizeof setting, "%s%s", kind, path);
    struct mailbox *m = mailbox_new(str_of(setting));
    if (!m) return delivery_trouble(d, 0, "no mailbox");
    struct status st = mailbox_store(m, d);
    mailbox_rest(m);
    int error = mailbox_sync(m);
    mailbox_free(m);
    return error && st.kind == STATUS_OK ? delivery_trouble(d, error, "no sync") : st;
}

static inline struct status maildir_deliver(struct delivery *d, const char *path) {
    return test_deliver(d, "maildir:", path);
}

static inline struct status mbox_deliver(struct delivery *d, const char *path) {
    return test_deliver(d, "mbox:", path);
}

/* The text of a file, NUL-terminated, to be freed. */
static inline char *test_read(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail_msg("cannot open %s", path);
    assert_int_equal(fstat(fd, &st), 0);
    char *text = xmalloc((size_t)st.st_size + 1);
    assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
    close(fd);
    return text;
}

static inline void test_write(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static inline size_t test_count(const char *dir) {
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

#endif
