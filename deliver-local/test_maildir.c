/* test_maildir.c: exact bytes, delivered once, and nothing half. */
#include "deliver-local/testing.h"

#include <errno.h>
#include <sys/syscall.h>

/* The syncs of the code under test come here: counted, and refused when a test says so. */
static struct {
    unsigned fsyncs, syncfss;
    int fail; /* errno; the data is then what the kernel has forgotten */
} syncs;

int fsync(int fd) {
    syncs.fsyncs++;
    if (!syncs.fail) return (int)syscall(SYS_fsync, fd);
    errno = syncs.fail;
    return -1;
}

int syncfs(int fd) {
    (void)fd; /* the machine's disk need not do the work */
    syncs.syncfss++;
    if (!syncs.fail) return 0;
    errno = syncs.fail;
    return -1;
}

static const char head[] = "Return-Path: <bob@there.example>\nDelivered-To: alice@here.example\n"
                           "Received: from x by y id " TEST_ID ";\n\tnow\n";

static char *only_file(const char *maildir) {
    static char path[600];
    char new[300];
    snprintf(new, sizeof new, "%s/new", maildir);
    DIR *d = opendir(new);
    assert_non_null(d);
    path[0] = '\0';
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') snprintf(path, sizeof path, "%s/%s", new, e->d_name);
    closedir(d);
    assert_true(*path);
    return path;
}

static void stores_exact_bytes(void **state) {
    static const struct {
        const char *data, *stored;
    } rows[] = {
        {"Subject: x\r\n\r\nbody\r\n", "Subject: x\n\nbody\n"},
        {"\r\n", "\n"},
        {"", ""},
        {"a: b\r\n\r\nFrom here\r\n>From there\r\n", "a: b\n\nFrom here\n>From there\n"},
        {"a: b\r\n\r\nbare\rCR\r\r\nend", "a: b\n\nbare\rCR\r\nend"},
        {"a: b\r\n\r\nends in CR\r", "a: b\n\nends in CR\r"},
        {"a: b\r\n\r\nbare\nLF\r\n", "a: b\n\nbare\nLF\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[20], want[500];
        snprintf(name, sizeof name, "exact%zu", i);
        struct delivery d = test_delivery(rows[i].data);
        struct status s = maildir_deliver(&d, test_path(name));
        if (s.kind != STATUS_OK) fail_msg("row %zu: %.*s", i, STR_ARGS(s.text));
        snprintf(want, sizeof want, "%s%s", head, rows[i].stored);
        char *got = test_read(only_file(test_path(name)));
        assert_string_equal(got, want);
        free(got);
        close(d.data);
    }
}

static void makes_private_directories(void **state) {
    static const char *const parts[] = {"made", "made/tmp", "made/new", "made/cur"};
    struct stat st;
    struct delivery d = test_delivery("x: y\r\n\r\n");
    assert_int_equal(maildir_deliver(&d, test_path("made")).code, 250);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        assert_int_equal(stat(test_path(parts[i]), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
    }
    assert_int_equal(stat(only_file(test_path("made")), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(test_count(test_path("made/tmp")), 0);
    close(d.data);
}

static void a_second_delivery_is_harmless(void **state) {
    char cur[700], name[100];
    struct delivery d = test_delivery("x: y\r\n\r\n");
    const char *dir = test_path("twice");
    assert_int_equal(maildir_deliver(&d, dir).code, 250);
    struct status s = maildir_deliver(&d, dir);
    assert_int_equal(s.code, 250);
    assert_int_equal(test_count(test_path("twice/new")), 1);
    assert_int_equal(test_count(test_path("twice/tmp")), 0);
    /* read meanwhile: in cur/, with flags */
    char *file = only_file(dir);
    snprintf(name, sizeof name, "%s", strrchr(file, '/') + 1);
    snprintf(cur, sizeof cur, "%s/twice/cur/%s:2,RS", test_dir, name);
    assert_int_equal(rename(file, cur), 0);
    d.maybe_again = true;
    assert_int_equal(maildir_deliver(&d, dir).code, 250);
    assert_int_equal(test_count(test_path("twice/new")), 0);
    /* another message is another file */
    d.id.serial++;
    assert_int_equal(maildir_deliver(&d, dir).code, 250);
    assert_int_equal(test_count(test_path("twice/new")), 1);
    close(d.data);
}

static void failures_leave_nothing(void **state) {
    struct stat st;
    struct delivery d = test_delivery("x: y\r\n\r\nbody\r\n");
    d.size += 1;
    struct status s = maildir_deliver(&d, test_path("short"));
    assert_int_equal(s.kind, STATUS_LATER);
    assert_int_equal(test_count(test_path("short/new")), 0);
    assert_int_equal(test_count(test_path("short/tmp")), 0);
    d.size -= 1;
    /* with the prefix counted in, it is right too */
    d.size += d.message.prefix.n;
    assert_int_equal(maildir_deliver(&d, test_path("short")).kind, STATUS_OK);
    assert_int_equal(maildir_deliver(&d, test_path("absent/Maildir")).kind, STATUS_LATER);
    assert_int_equal(stat(test_path("absent"), &st), -1);
    test_write(test_path("file"), "");
    assert_int_equal(maildir_deliver(&d, test_path("file")).kind, STATUS_LATER);
    assert_int_equal(symlink(test_path("short"), test_path("link")), 0);
    assert_int_equal(maildir_deliver(&d, test_path("link")).kind, STATUS_LATER);
    assert_int_equal(mkdir(test_path("odd"), 0700), 0);
    assert_int_equal(symlink(test_dir, test_path("odd/new")), 0);
    assert_int_equal(maildir_deliver(&d, test_path("odd")).kind, STATUS_LATER);
    close(d.data);
}

static void takes_mailbox_settings(void **state) {
    static const struct {
        const char *mailbox;
        enum status_kind kind;
    } rows[] = {
        {"maildir:%s/set", STATUS_OK},   {"maildir:%s/set/", STATUS_OK},
        {"mbox:%s/set.mbox", STATUS_OK}, {"maildir:", STATUS_LATER},
        {"maildir:/", STATUS_LATER},     {"mbox:relative", STATUS_LATER},
        {"mh:%s/set", STATUS_LATER},     {"", STATUS_LATER},
    };
    struct delivery d = test_delivery("x: y\r\n\r\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[200];
        struct buf b = BUF(text);
        struct str rest = str_of(rows[i].mailbox);
        ptrdiff_t at = str_chr(rest, '%');
        buf_add(&b, str_sub(rest, 0, at < 0 ? rest.n : (size_t)at));
        if (at >= 0) {
            buf_adds(&b, test_dir);
            buf_add(&b, str_sub(rest, (size_t)at + 2, rest.n));
        }
        struct status s = test_deliver(&d, "", buf_cstr(&b));
        if (s.kind != rows[i].kind) fail_msg("%s: %.*s", rows[i].mailbox, STR_ARGS(s.text));
        assert_true(s.text.n > 0 && str_is_print(s.text));
    }
    assert_int_equal(test_count(test_path("set/new")), 1);
    close(d.data);
}

static void hides_the_mark_of_expansions(void **state) {
    const struct addr rcpts[] = {{STR("\\alice"), STR("here.example")}, {STR("a b"), STR("here.example")}};
    struct delivery d = test_delivery("\r\n");
    d.message.rcpt = rcpts;
    d.message.rcpts = 2;
    d.message.sender = (struct addr){STR_NONE, STR_NONE};
    d.message.prefix = STR_NONE;
    assert_int_equal(maildir_deliver(&d, test_path("marked")).code, 250);
    char *got = test_read(only_file(test_path("marked")));
    assert_string_equal(got, "Return-Path: <>\nDelivered-To: alice@here.example\n"
                             "Delivered-To: \"a b\"@here.example\n\n");
    free(got);
    close(d.data);
}

static struct mailbox *box_at(const char *name) {
    char setting[300];
    snprintf(setting, sizeof setting, "maildir:%s", test_path(name));
    return mailbox_new(str_of(setting));
}

static struct delivery numbered(uint32_t serial) {
    struct delivery d = test_delivery("x: y\r\n\r\nbody\r\n");
    d.id.serial = serial;
    return d;
}

static void store_numbered(struct mailbox *m, uint32_t serial) {
    struct delivery d = numbered(serial);
    assert_int_equal(mailbox_store(m, &d).code, 250);
    close(d.data);
}

static void many_share_a_sync(void **state) {
    struct mailbox *m = box_at("many");
    store_numbered(m, 0);
    assert_int_equal(mailbox_sync(m), 0);
    memset(&syncs, 0, sizeof syncs);
    store_numbered(m, 1);
    assert_int_equal(syncs.fsyncs + syncs.syncfss, 0); /* a reader sees it, nothing was synced */
    assert_int_equal(test_count(test_path("many/new")), 2);
    assert_int_equal(mailbox_sync(m), 0);
    assert_int_equal(syncs.fsyncs, 2); /* the file and new/ */
    memset(&syncs, 0, sizeof syncs);
    for (uint32_t i = 2; i < 102; i++) store_numbered(m, i);
    mailbox_rest(m);
    assert_int_equal(mailbox_sync(m), 0);
    assert_int_equal(syncs.syncfss, 1);
    assert_int_equal(syncs.fsyncs, 1);
    assert_int_equal(test_count(test_path("many/new")), 102);
    assert_int_equal(test_count(test_path("many/tmp")), 0);
    memset(&syncs, 0, sizeof syncs);
    assert_int_equal(mailbox_sync(m), 0); /* nothing new: nothing to do */
    assert_int_equal(syncs.fsyncs + syncs.syncfss, 0);
    mailbox_free(m);
}

static ino_t inode_of(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

/* What was found may be the file of which the disk has nothing: it is written anew, where it is. */
static void a_failed_sync_is_not_believed(void **state) {
    struct mailbox *m = box_at("broken");
    struct delivery d = numbered(1);
    assert_int_equal(mailbox_store(m, &d).code, 250);
    syncs.fail = EIO;
    assert_int_equal(mailbox_sync(m), EIO);
    syncs.fail = 0;
    const char *file = only_file(test_path("broken"));
    ino_t before = inode_of(file);
    assert_int_equal(truncate(file, 0), 0); /* as after a power cut */
    assert_int_equal(mailbox_store(m, &d).code, 250);
    assert_int_equal(mailbox_sync(m), 0);
    assert_int_equal(test_count(test_path("broken/new")), 1);
    assert_int_equal(test_count(test_path("broken/tmp")), 0);
    assert_true(inode_of(file) != before);
    char *text = test_read(file);
    assert_non_null(strstr(text, "body"));
    free(text);
    mailbox_free(m);
    close(d.data);
}

/* It may be all that another recipient has, whose delivery is on record: ours must be durable before it takes its place. */
static void what_is_there_is_replaced_by_what_is_durable(void **state) {
    struct mailbox *m = box_at("shared");
    struct delivery d = numbered(1);
    assert_int_equal(mailbox_store(m, &d).code, 250);
    assert_int_equal(mailbox_sync(m), 0);
    syncs.fsyncs = syncs.syncfss = 0;
    assert_int_equal(mailbox_store(m, &d).code, 250);
    assert_int_equal(syncs.fsyncs, 1);
    char *first = test_read(only_file(test_path("shared")));
    syncs.fail = true;
    assert_int_equal(mailbox_store(m, &d).code, 451);
    syncs.fail = false;
    char *second = test_read(only_file(test_path("shared")));
    assert_string_equal(first, second);
    free(first);
    free(second);
    mailbox_free(m);
    close(d.data);
}

static void what_was_read_keeps_its_flags(void **state) {
    char cur[700];
    struct mailbox *m = box_at("flagged");
    struct delivery d = numbered(1);
    assert_int_equal(mailbox_store(m, &d).code, 250);
    char *file = only_file(test_path("flagged"));
    snprintf(cur, sizeof cur, "%s/flagged/cur/%s:2,RS", test_dir, strrchr(file, '/') + 1);
    assert_int_equal(rename(file, cur), 0);
    assert_int_equal(truncate(cur, 3), 0);
    d.maybe_again = true;
    assert_int_equal(mailbox_store(m, &d).code, 250);
    assert_int_equal(mailbox_sync(m), 0);
    assert_int_equal(test_count(test_path("flagged/new")), 0);
    assert_int_equal(test_count(test_path("flagged/cur")), 1);
    char *text = test_read(cur);
    assert_non_null(strstr(text, "body"));
    free(text);
    /* others that are not fresh are not taken for it, before and after cur/ was read */
    for (uint32_t i = 2; i < 5; i++) {
        struct delivery other = numbered(i);
        other.maybe_again = true;
        assert_int_equal(mailbox_store(m, &other).code, 250);
        close(other.data);
    }
    assert_int_equal(test_count(test_path("flagged/new")), 3);
    mailbox_free(m);
    close(d.data);
}

static void a_replaced_maildir_is_opened_anew(void **state) {
    struct mailbox *m = box_at("old");
    store_numbered(m, 1);
    mailbox_rest(m);
    assert_int_equal(rename(test_path("old"), test_path("older")), 0);
    memset(&syncs, 0, sizeof syncs);
    store_numbered(m, 2);
    assert_true(syncs.fsyncs >= 2); /* what lies in the old one was not forgotten */
    assert_int_equal(test_count(test_path("old/new")), 1);
    assert_int_equal(test_count(test_path("older/new")), 1);
    mailbox_rest(m);
    assert_int_equal(rename(test_path("old"), test_path("oldest")), 0);
    syncs.fail = EIO;
    struct delivery d = numbered(3);
    assert_int_equal(mailbox_store(m, &d).kind, STATUS_LATER); /* its directories could not be made durable */
    syncs.fail = 0;
    store_numbered(m, 3);
    assert_int_equal(mailbox_sync(m), EIO); /* of the one before */
    close(d.data);
    mailbox_free(m);
}

/* Also in the middle of a round, whatever of it was replaced: nothing is refused, and nothing goes where nobody looks. */
static void replaced_in_a_round(void **state) {
    static const char *const parts[] = {"round", "round/new", "round/tmp", "round/cur"};
    struct mailbox *m = box_at("round");
    uint32_t serial = 1;
    store_numbered(m, serial++);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char from[300], to[300];
        snprintf(from, sizeof from, "%s", test_path(parts[i]));
        snprintf(to, sizeof to, "%s.%zu", test_path("away"), i);
        size_t before = test_count(test_path("round/new"));
        assert_int_equal(rename(from, to), 0);
        struct delivery d = numbered(serial++);
        d.maybe_again = true; /* cur/ counts too */
        assert_int_equal(mailbox_store(m, &d).code, 250);
        close(d.data);
        assert_int_equal(test_count(test_path("round/new")), i < 2 ? 1 : before + 1);
        if (i != 2) assert_int_equal(test_count(test_path("round/tmp")), 0); /* the old one does as well */
        if (i == 0) assert_int_equal(test_count(test_path("away.0/new")), before);
        if (i == 1) assert_int_equal(test_count(to), before);
    }
    assert_int_equal(mailbox_sync(m), 0);
    mailbox_free(m);
}

/* What lies in a Maildir that was moved away may be all that another recipient has, whose delivery is on record: a
 * second delivery that finds the move out does not take it back, also when it has nowhere to go itself. */
static void what_was_moved_away_stays(void **state) {
    struct mailbox *m = box_at("moved");
    char away[300], moved[300];
    snprintf(moved, sizeof moved, "%s", test_path("moved"));
    snprintf(away, sizeof away, "%s", test_path("moved.away"));
    store_numbered(m, 1);
    assert_int_equal(mailbox_sync(m), 0);
    assert_int_equal(rename(moved, away), 0);
    struct delivery d = numbered(1);
    assert_int_equal(mailbox_store(m, &d).code, 250);
    assert_int_equal(test_count(test_path("moved.away/new")), 1);
    assert_int_equal(test_count(test_path("moved/new")), 1);
    assert_int_equal(mailbox_sync(m), 0);
    snprintf(away, sizeof away, "%s", test_path("moved.again"));
    assert_int_equal(rename(moved, away), 0);
    test_write(moved, ""); /* no place for another Maildir */
    assert_int_equal(mailbox_store(m, &d).kind, STATUS_LATER);
    assert_int_equal(test_count(test_path("moved.again/new")), 1);
    mailbox_free(m);
    close(d.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_exact_bytes),
        cmocka_unit_test(makes_private_directories),
        cmocka_unit_test(a_second_delivery_is_harmless),
        cmocka_unit_test(failures_leave_nothing),
        cmocka_unit_test(takes_mailbox_settings),
        cmocka_unit_test(hides_the_mark_of_expansions),
        cmocka_unit_test(many_share_a_sync),
        cmocka_unit_test(a_failed_sync_is_not_believed),
        cmocka_unit_test(what_is_there_is_replaced_by_what_is_durable),
        cmocka_unit_test(what_was_read_keeps_its_flags),
        cmocka_unit_test(a_replaced_maildir_is_opened_anew),
        cmocka_unit_test(replaced_in_a_round),
        cmocka_unit_test(what_was_moved_away_stays),
    };
    return cmocka_run_group_tests(tests, test_begin, test_end);
}
