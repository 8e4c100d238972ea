/* test_mbox.c: exact bytes, locks, 200 deliveries at once, and that a failed write is undone. */
#include "deliver-local/testing.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <utime.h>

/* The syncs of the code under test come here. */
static unsigned syncs;
static int sync_fails; /* errno */

int fdatasync(int fd) {
    syncs++;
    if (!sync_fails) return (int)syscall(SYS_fdatasync, fd);
    errno = sync_fails;
    return -1;
}

#define FROM_LINE "From bob@there.example Sat Nov 22 00:21:07 2025\n"
#define HEAD \
    "Return-Path: <bob@there.example>\nDelivered-To: alice@here.example\n" \
    "Received: from x by y id " TEST_ID ";\n\tnow\n"

static void quotes_and_separates(void **state) {
    static const struct {
        const char *before, *data, *after;
    } rows[] = {
        {NULL, "a: b\r\n\r\nbody\r\n", FROM_LINE HEAD "a: b\n\nbody\n\n"},
        {"", "a: b\r\n\r\nbody\r\n", FROM_LINE HEAD "a: b\n\nbody\n\n"},
        {"From x\n\ny\n\n", "\r\nz\r\n", "From x\n\ny\n\n" FROM_LINE HEAD "\nz\n\n"},
        {"From x\n\ny\n", "\r\nz\r\n", "From x\n\ny\n\n" FROM_LINE HEAD "\nz\n\n"},
        {"From x\n\ny", "\r\nz\r\n", "From x\n\ny\n\n" FROM_LINE HEAD "\nz\n\n"},
        {"\n", "\r\nz\r\n", "\n" FROM_LINE HEAD "\nz\n\n"},
        {NULL, "\r\nFrom x\r\n", FROM_LINE HEAD "\n>From x\n\n"},
        {NULL, "\r\n>From x\r\n>>From y\r\n", FROM_LINE HEAD "\n>>From x\n>>>From y\n\n"},
        {NULL, "\r\nFrom\r\nFromage\r\n From x\r\n> From y\r\nF\r\n>\r\n>>F",
         FROM_LINE HEAD "\nFrom\nFromage\n From x\n> From y\nF\n>\n>>F\n\n"},
        {NULL, "From x: y\r\n\r\nFrom ", FROM_LINE HEAD ">From x: y\n\n>From \n\n"},
        {NULL, "\r\nFro", FROM_LINE HEAD "\nFro\n\n"},
        {NULL, "\r\nFr\rom\r\nF\r", FROM_LINE HEAD "\nFr\rom\nF\r\n\n"},
        {NULL, "\r\n\rFrom x\r\n", FROM_LINE HEAD "\n\rFrom x\n\n"},
        {NULL, "", FROM_LINE HEAD "\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *path = test_path("quoted");
        unlink(path);
        if (rows[i].before) test_write(path, rows[i].before);
        struct delivery d = test_delivery(rows[i].data);
        struct status s = mbox_deliver(&d, path);
        if (s.kind != STATUS_OK) fail_msg("row %zu: %.*s", i, STR_ARGS(s.text));
        char *got = test_read(path);
        if (strcmp(got, rows[i].after) != 0) fail_msg("row %zu: got\n%s", i, got);
        free(got);
        close(d.data);
    }
    struct stat st;
    assert_int_equal(stat(test_path("quoted"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(test_path("quoted.lock"), &st), -1);
}

/* The same text whatever the runs in which it arrives. */
static bool collect(void *ctx, const char *p, size_t n) {
    buf_add(ctx, (struct str){p, n});
    return true;
}

static void runs_do_not_matter(void **state) {
    static const char text[] = "From a\r\n>From b\r\n\r\n\rFrom c\r\n>>Fro\r\nx\r\r\n>\r\n";
    static struct format f;
    char whole[300], cut[300];
    struct buf w = BUF(whole);
    format_start(&f, true, collect, &w);
    format_data(&f, STR(text));
    assert_true(format_end(&f));
    for (size_t i = 0; i < sizeof text; i++) {
        struct buf c = BUF(cut);
        format_start(&f, true, collect, &c);
        format_data(&f, str_sub(STR(text), 0, i));
        format_data(&f, str_sub(STR(text), i, sizeof text - 1));
        assert_true(format_end(&f));
        assert_true(str_eq(buf_str(&w), buf_str(&c)));
    }
    struct buf c = BUF(cut);
    format_start(&f, true, collect, &c);
    for (size_t i = 0; i < sizeof text - 1; i++) format_data(&f, str_sub(STR(text), i, i + 1));
    assert_true(format_end(&f));
    assert_true(str_eq(buf_str(&w), buf_str(&c)));
}

enum { CHILDREN = 20, EACH = 10 };

static _Noreturn void deliver_some(const char *path, unsigned child) {
    for (unsigned i = 0; i < EACH; i++) {
        char data[5000];
        struct buf b = BUF(data);
        buf_addf(&b, "Subject: %u.%u\r\n\r\n", child, i);
        for (unsigned line = 0; line < 60; line++)
            buf_addf(&b, "From child %u message %u line %u\r\n", child, i, line);
        buf_addf(&b, "end %u.%u\r\n", child, i);
        struct delivery d = test_delivery(buf_cstr(&b));
        if (mbox_deliver(&d, path).kind != STATUS_OK) _exit(1);
        close(d.data);
    }
    _exit(0);
}

/* Every message whole and in one piece: its From_ line, its lines in order, its end, a blank line. */
static void check_whole(char *text) {
    bool seen[CHILDREN * EACH] = {false};
    size_t messages = 0;
    for (char *p = text; *p; messages++) {
        unsigned child, number, at;
        assert_int_equal(strncmp(p, FROM_LINE HEAD, sizeof(FROM_LINE HEAD) - 1), 0);
        p += sizeof(FROM_LINE HEAD) - 1;
        assert_int_equal(sscanf(p, "Subject: %u.%u\n", &child, &number), 2);
        at = child * EACH + number;
        assert_true(at < CHILDREN * EACH && !seen[at]);
        seen[at] = true;
        p = strchr(p, '\n') + 2;
        for (unsigned line = 0; line < 60; line++, p = strchr(p, '\n') + 1) {
            char want[80];
            int n = snprintf(want, sizeof want, ">From child %u message %u line %u\n", child, number, line);
            assert_int_equal(strncmp(p, want, (size_t)n), 0);
        }
        char want[40];
        int n = snprintf(want, sizeof want, "end %u.%u\n\n", child, number);
        assert_int_equal(strncmp(p, want, (size_t)n), 0);
        p += n;
    }
    assert_int_equal(messages, CHILDREN * EACH);
}

static void two_hundred_at_once(void **state) {
    const char *path = test_path("crowd");
    int status;
    for (unsigned i = 0; i < CHILDREN; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) deliver_some(path, i);
    }
    for (unsigned i = 0; i < CHILDREN; i++) {
        assert_true(wait(&status) > 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    char *text = test_read(path);
    check_whole(text);
    free(text);
    struct stat st;
    assert_int_equal(stat(test_path("crowd.lock"), &st), -1);
}

static void a_failed_write_is_undone(void **state) {
    static char big[200001];
    const char *path = test_path("limited"), *before = "From x\n\ny\n\n";
    struct rlimit old, limit;
    memset(big, 'x', sizeof big - 1);
    test_write(path, before);
    signal(SIGXFSZ, SIG_IGN);
    struct delivery d = test_delivery(big);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){100000, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct status s = mbox_deliver(&d, path);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(s.kind, STATUS_LATER);
    assert_int_equal(s.code, 452);
    assert_int_equal(s.detail[1] * 10 + s.detail[2], 22);
    char *text = test_read(path);
    assert_string_equal(text, before);
    free(text);
    d.size += 7; /* data that is not as long as was said */
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_LATER);
    text = test_read(path);
    assert_string_equal(text, before);
    free(text);
    close(d.data);
}

static void respects_locks(void **state) {
    const char *path = test_path("locked"), *lock = test_path("locked.lock");
    struct delivery d = test_delivery("\r\n");
    struct stat st;
    d.lock_ms = 150;
    test_write(path, "");
    test_write(lock, "1234\n"); /* another program's, fresh */
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_LATER);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 0);
    struct utimbuf old = {time(NULL) - 3600, time(NULL) - 3600};
    assert_int_equal(utime(lock, &old), 0);
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_OK);
    assert_int_equal(stat(lock, &st), -1);
    /* Of a worker that was killed: it would hold the fcntl lock if it lived. */
    test_write(lock, "4321 postern\n");
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_OK);
    assert_int_equal(stat(lock, &st), -1);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || fcntl(fd, F_SETLK, &l) != 0) _exit(1);
        test_write(test_path("ready"), "");
        sleep(20);
        _exit(0);
    }
    for (int i = 0; i < 1000 && stat(test_path("ready"), &st) != 0; i++)
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_LATER);
    assert_int_equal(stat(lock, &st), -1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_OK);
    close(d.data);
}

static void refuses_odd_files(void **state) {
    struct delivery d = test_delivery("\r\n");
    const char *real = test_path("real");
    test_write(real, "");
    assert_int_equal(symlink(real, test_path("link")), 0);
    assert_int_equal(link(real, test_path("second")), 0);
    assert_int_equal(mkdir(test_path("dir"), 0700), 0);
    assert_int_equal(mkfifo(test_path("fifo"), 0600), 0);
    const char *const odd[] = {"link", "second", "dir", "fifo", "absent/mbox"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        struct status s = mbox_deliver(&d, test_path(odd[i]));
        if (s.kind != STATUS_LATER) fail_msg("%s: %.*s", odd[i], STR_ARGS(s.text));
    }
    char *text = test_read(real);
    assert_string_equal(text, "");
    free(text);
    if (geteuid() == 0) {
        assert_int_equal(unlink(test_path("second")), 0);
        assert_int_equal(chown(real, 4711, (gid_t)-1), 0);
        assert_int_equal(mbox_deliver(&d, real).kind, STATUS_LATER);
    }
    close(d.data);
}

static void finds_what_is_there_already(void **state) {
    static char big[300001];
    const char *path = test_path("again");
    struct stat st;
    memset(big, 'z', sizeof big - 1);
    unlink(path);
    struct delivery d = test_delivery(big), other = test_delivery("\r\nother\r\n");
    d.maybe_again = other.maybe_again = true;
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_OK);
    assert_int_equal(stat(path, &st), 0);
    off_t once = st.st_size;
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, once);
    assert_int_equal(mbox_deliver(&other, path).kind, STATUS_OK);
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_OK);
    assert_int_equal(mbox_deliver(&other, path).kind, STATUS_OK);
    assert_int_equal(stat(path, &st), 0);
    off_t both = st.st_size;
    assert_true(both > once && both < once + 1000);
    /* a part of it, of one who was killed, does not count */
    assert_int_equal(truncate(path, 1000), 0);
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > once);
    /* fresh messages are not looked for */
    d.maybe_again = false;
    assert_int_equal(mbox_deliver(&d, path).kind, STATUS_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 2 * once);
    close(d.data);
    close(other.data);
}

static struct mailbox *box_at(const char *name) {
    char setting[300];
    snprintf(setting, sizeof setting, "mbox:%s", test_path(name));
    unlink(test_path(name));
    return mailbox_new(str_of(setting));
}

static off_t size_of(const char *name) {
    struct stat st;
    return stat(test_path(name), &st) == 0 ? st.st_size : -1;
}

/* A message of its own, with its id in the prefix as smtpd writes it. */
static struct delivery numbered(uint32_t serial, char *prefix, size_t size) {
    struct delivery d = test_delivery("x: y\r\n\r\nbody\r\n");
    d.id.serial = serial;
    snprintf(prefix, size, "Received: from x by y\r\n\tid %s; now\r\n", qid_format(d.id).c);
    d.message.prefix = str_of(prefix);
    return d;
}

static void store(struct mailbox *m, uint32_t serial, bool maybe_again) {
    char prefix[100];
    struct delivery d = numbered(serial, prefix, sizeof prefix);
    d.maybe_again = maybe_again;
    struct status st = mailbox_store(m, &d);
    if (st.code != 250) fail_msg("%u: %.*s", serial, STR_ARGS(st.text));
    close(d.data);
}

static void one_lock_and_one_sync_for_many(void **state) {
    struct stat st;
    struct mailbox *m = box_at("round");
    syncs = 0;
    for (uint32_t i = 0; i < 50; i++) {
        store(m, i, false);
        assert_int_equal(stat(test_path("round.lock"), &st), 0); /* the round is not over */
    }
    assert_int_equal(syncs, 0);
    mailbox_rest(m);
    assert_int_equal(stat(test_path("round.lock"), &st), -1);
    assert_int_equal(mailbox_sync(m), 0);
    assert_int_equal(mailbox_sync(m), 0);
    assert_int_equal(syncs, 1);
    /* another may have it now, though we hold it open */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(test_path("round"), O_RDWR | O_CLOEXEC);
        _exit(fd >= 0 && fcntl(fd, F_SETLK, &l) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    mailbox_free(m);
}

/* What a failed sync left in the file may be in the memory of the kernel only: it is written once more. */
static void a_failed_sync_is_not_believed(void **state) {
    struct timespec old[2] = {{1000000000, 0}, {1000000000, 0}};
    struct stat st;
    struct mailbox *m = box_at("broken");
    for (uint32_t i = 0; i < 5; i++) store(m, i, false);
    mailbox_rest(m);
    off_t size = size_of("broken");
    sync_fails = EIO;
    assert_int_equal(mailbox_sync(m), EIO);
    sync_fails = 0;
    assert_int_equal(utimensat(AT_FDCWD, test_path("broken"), old, 0), 0);
    char *before = test_read(test_path("broken"));
    for (uint32_t i = 0; i < 5; i++) store(m, i, true);
    mailbox_rest(m);
    assert_int_equal(mailbox_sync(m), 0);
    assert_int_equal(size_of("broken"), size); /* no second copy */
    char *after = test_read(test_path("broken"));
    assert_string_equal(after, before);
    free(before);
    free(after);
    assert_int_equal(stat(test_path("broken"), &st), 0);
    assert_true(st.st_mtim.tv_sec > 1000000000); /* and yet it was written */
    store(m, 5, true);
    assert_true(size_of("broken") > size);
    mailbox_free(m);
}

/* A reader puts another file in its place: what was in the old one is synced, the new one gets the rest. */
static void a_replaced_mailbox_is_opened_anew(void **state) {
    struct mailbox *m = box_at("box");
    store(m, 1, false);
    mailbox_rest(m);
    off_t one = size_of("box");
    char *text = test_read(test_path("box"));
    test_write(test_path("box.new"), text);
    free(text);
    assert_int_equal(rename(test_path("box.new"), test_path("box")), 0);
    syncs = 0;
    store(m, 2, false);
    assert_int_equal(syncs, 1);
    store(m, 1, true); /* it is in the new one, where we did not put it */
    mailbox_rest(m);
    assert_int_equal(mailbox_sync(m), 0);
    assert_int_equal(size_of("box"), 2 * one);
    mailbox_free(m);
}

/* A backlog of old messages: each is looked for, and the file is read through once only. */
static void a_backlog_is_looked_for(void **state) {
    struct mailbox *m = box_at("backlog");
    for (uint32_t i = 0; i < 300; i++) store(m, i, false);
    mailbox_rest(m);
    assert_int_equal(mailbox_sync(m), 0);
    off_t size = size_of("backlog");
    mailbox_free(m);
    char setting[300];
    snprintf(setting, sizeof setting, "mbox:%s", test_path("backlog"));
    m = mailbox_new(str_of(setting)); /* another worker */
    for (uint32_t i = 0; i < 300; i++) store(m, i, true);
    assert_int_equal(size_of("backlog"), size);
    for (uint32_t i = 300; i < 600; i++) store(m, i, true);
    assert_int_equal(size_of("backlog"), 2 * size);
    mailbox_rest(m);
    mailbox_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_and_separates),
        cmocka_unit_test(runs_do_not_matter),
        cmocka_unit_test(two_hundred_at_once),
        cmocka_unit_test(a_failed_write_is_undone),
        cmocka_unit_test(respects_locks),
        cmocka_unit_test(refuses_odd_files),
        cmocka_unit_test(finds_what_is_there_already),
        cmocka_unit_test(one_lock_and_one_sync_for_many),
        cmocka_unit_test(a_failed_sync_is_not_believed),
        cmocka_unit_test(a_replaced_mailbox_is_opened_anew),
        cmocka_unit_test(a_backlog_is_looked_for),
    };
    return cmocka_run_group_tests(tests, test_begin, test_end);
}
