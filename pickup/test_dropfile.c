/* test_dropfile.c: the drop file written and read back, cut at every octet, changed in every octet; and
 * its names. */
#include "common/arena.h"
#include "pickup/names.h"
#include "submit/drop.h"
#include "submit/dropfile.h"
#include "submit/source.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static struct str rcpts[] = {{"a@x.y", 5}, {"\"b b\"@x.y", 9}};

static struct dropfile sample(void) {
    return (struct dropfile){.sender = STR("s@x.y"),
                             .notify = STR("NEVER"),
                             .ret = STR("HDRS"),
                             .envid = STR("an id"),
                             .eight_bit = true,
                             .has_uid = true,
                             .uid = 1234,
                             .rcpts = rcpts,
                             .rcpt_count = 2,
                             .data_size = 9,
                             .data_sum = 77};
}

static bool read_back(struct str file, struct dropfile *d, struct arena *a, const char **why) {
    uint64_t sum;
    size_t n = dropfile_front(file, &sum, why);
    if (!n || file.n < DROPFILE_FRONT + n + DROPFILE_MIDDLE) return false;
    return dropfile_read(d, str_sub(file, DROPFILE_FRONT, DROPFILE_FRONT + n + DROPFILE_MIDDLE), sum, a, why);
}

static void round_trip(void **state) {
    char mem[1000];
    struct buf b = BUF(mem);
    struct dropfile in = sample(), out;
    const char *why;
    struct arena *a = arena_new(100000);
    assert_true(dropfile_write(&b, &in));
    assert_true(read_back(buf_str(&b), &out, a, &why));
    assert_true(str_eq(out.sender, in.sender) && str_eq(out.notify, in.notify) && str_eq(out.ret, in.ret) &&
                str_eq(out.envid, in.envid));
    assert_true(out.eight_bit && out.has_uid && out.uid == 1234 && out.rcpt_count == 2);
    assert_true(str_eq(out.rcpts[1], rcpts[1]) && out.data_size == 9 && out.data_sum == 77);
    in.sender = STR("");
    b = BUF(mem);
    assert_true(dropfile_write(&b, &in) && read_back(buf_str(&b), &out, a, &why));
    assert_true(out.sender.p && out.sender.n == 0);
    arena_free(a);
}

/* No octet of the envelope can change or be missing unseen. */
static void damage(void **state) {
    char mem[1000];
    struct buf b = BUF(mem);
    struct dropfile in = sample(), out;
    const char *why;
    assert_true(dropfile_write(&b, &in));
    for (size_t i = 0; i < b.n; i++) {
        struct arena *a = arena_new(100000);
        assert_false(read_back(str_sub(buf_str(&b), 0, i), &out, a, &why));
        if (i < b.n - DROPFILE_MIDDLE) { /* behind it the data is described, not the envelope */
            mem[i] ^= 1;
            assert_false(read_back(buf_str(&b), &out, a, &why));
            mem[i] ^= 1;
        }
        arena_free(a);
    }
}

/* A right checksum over wrong fields: what a hostile owner writes. */
static void hostile(void **state) {
    static const struct {
        const char *fields;
        size_t n;
        bool ok;
    } rows[] = {
        {"S\0\0R\3\0a@x", 9, true},
        {"R\3\0a@xS\0\0", 9, true},
        {"S\0\0", 3, false},               /* no recipient */
        {"R\3\0a@x", 6, false},            /* no sender */
        {"S\0\0S\0\0R\3\0a@x", 12, false}, /* two */
        {"S\0\0R\4\0a@x", 9, false},       /* cut short */
        {"S\0\0R\377\377a@x", 9, false},
        {"S\0\0R\1\0a", 7, false},         /* no domain */
        {"S\0\0R\7\0a@x\r\nQ", 13, false}, /* a line of its own */
        {"S\6\0a@x> B"
         "R\3\0a@x",
         15, false},
        {"S\0\0R\3\0a@xQ\0\0", 12, false},    /* unknown tag */
        {"S\0\0R\3\0a@xN\3\0a b", 15, false}, /* would be two parameters */
        {"S\0\0R\3\0a@xT\3\0ALL", 15, false},
        {"S\0\0R\3\0a@xV\3\0a\nb", 15, false},
        {"S\0\0R\3\0a@xU\2\0-1", 14, false},
        {"S\0\0R\3\0a@xB\1\0x", 13, false},
        {"S\0\0R\3\0a@xS", 10, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char mem[100];
        struct buf b = BUF(mem);
        struct dropfile out;
        const char *why = NULL;
        struct arena *a = arena_new(100000);
        struct str fields = {rows[i].fields, rows[i].n};
        buf_add(&b, fields);
        for (size_t k = 0; k < DROPFILE_MIDDLE; k++) buf_addc(&b, '\0');
        if (dropfile_read(&out, buf_str(&b), dropfile_sum(DROPFILE_SUM, fields), a, &why) != rows[i].ok)
            fail_msg("row %zu", i);
        arena_free(a);
    }
}

static void names(void **state) {
    static const struct {
        const char *name;
        enum name_kind kind;
        int64_t due;
        unsigned attempts;
    } rows[] = {
        {"m-0123456789abcdef01234567", NAME_MAIL, 0, 0},
        {"t-0123456789abcdef01234567", NAME_PARTIAL, 0, 0},
        {"w-000000000010-03-0123456789abcdef01234567", NAME_WAITING, 16, 3},
        {"bad-0123456789abcdef01234567", NAME_OTHER, 0, 0},
        {"m-0123456789abcdef0123456", NAME_OTHER, 0, 0},
        {"m-0123456789ABCDEF01234567", NAME_OTHER, 0, 0},
        {"m-0123456789abcdef0123456/", NAME_OTHER, 0, 0},
        {"w-00000000001x-03-0123456789abcdef01234567", NAME_OTHER, 0, 0},
        {"w-000000000010-03-0123456789abcdef0123456", NAME_OTHER, 0, 0},
        {"..", NAME_OTHER, 0, 0},
        {"m", NAME_OTHER, 0, 0},
        {"", NAME_OTHER, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct drop_name n = name_parse(str_of(rows[i].name));
        if (n.kind != rows[i].kind || n.due != rows[i].due || n.attempts != rows[i].attempts)
            fail_msg("%s", rows[i].name);
    }
    char mem[DROPFILE_NAME];
    struct buf b = BUF(mem);
    struct drop_name n = name_parse(str_of(rows[2].name));
    name_waiting(&b, &n, 1000);
    struct drop_name again = name_parse(buf_str(&b));
    assert_true(again.kind == NAME_WAITING && again.attempts == 4 && again.due == 1000 + name_delay(3));
    assert_true(str_eq(again.random, n.random));
    assert_true(name_delay(0) == 2 && name_delay(1) == 4 && name_delay(255) == 3600);
}

/* --- on a disk --- */

static size_t count(const char *dir, const char *prefix) {
    DIR *d = opendir(dir);
    struct dirent *e;
    size_t n = 0;
    while ((e = readdir(d))) n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(d);
    return n;
}

static ptrdiff_t fails(void *ctx, char *mem, size_t n) {
    (void)ctx, (void)mem, (void)n;
    return -1;
}

static void on_disk(void **state) {
    char dir[] = "/tmp/postern-drop.XXXXXX", command[100];
    assert_non_null(mkdtemp(dir));
    int fd = open(dir, O_PATH | O_DIRECTORY);
    struct dropfile d = sample();
    struct source data = {.part = {STR("some data")}};
    assert_true(drop_write(fd, NULL, &d, (struct drop_data){source_read, &data}));
    assert_int_equal(count(dir, "m-"), 1);
    assert_int_equal(count(dir, "t-"), 0);
    /* data that cannot be read leaves nothing */
    assert_false(drop_write(fd, NULL, &d, (struct drop_data){fails, NULL}));
    assert_int_equal(count(dir, "m-"), 1);
    assert_int_equal(count(dir, "t-"), 0);
    /* a limit on file sizes: nothing that looks like a mail */
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit = {50, 50};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        source_rewind(&data);
        _exit(drop_write(fd, NULL, &d, (struct drop_data){source_read, &data}) ? 1 : 0);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(count(dir, "m-"), 1);
    close(fd);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(damage),  cmocka_unit_test(hostile),
        cmocka_unit_test(names),      cmocka_unit_test(on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
