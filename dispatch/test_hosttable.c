/* test_hosttable.c: the host capability table: what it learns, how it comes back from disk, and damage. */
#include "dispatch/hostdb.h"
#include "dispatch/hosttable.h"

#include "common/arena.h"
#include "common/smtpcaps.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* libdb does not give back all pages of a private environment after it met damage; once a start, so be it. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libdb-5.3.so\n";
}

static const int64_t NOW = 1700000000000;
static char notes[4000];

static void note(bool trouble, const char *text) {
    size_t n = strlen(notes);
    snprintf(notes + n, sizeof notes - n, "%s%s\n", trouble ? "! " : "", text);
}

static struct hosttable_news news(uint8_t last, bool ok) {
    struct hosttable_news n = {
        .name = STR("mx.far.test"), .ip = {4, {192, 0, 2, last}}, .port = 25, .ok = ok};
    if (ok) {
        n.caps = CAP_EHLO | CAP_PIPELINING | CAP_8BITMIME;
        n.size_limit = 1000000;
        n.rtt_us = 1234;
        n.greeting = STR("220 mx.far.test \"ESMTP\"");
    } else {
        n.status = status_make(451, "4.4.1", "connection refused");
    }
    return n;
}

static void learn(struct hosttable *t, uint8_t last, bool ok, int64_t now) {
    struct hosttable_news n = news(last, ok);
    hosttable_learn(t, &n, now, 1000, 8000);
}

static void collect(void *ctx, struct str name, struct str facts) {
    struct buf *b = ctx;
    buf_add(b, name);
    buf_addc(b, '\n');
    buf_add(b, facts);
}

static const char *text_of(const struct hosttable *t, const char *name, int64_t now) {
    static char mem[20000];
    struct buf b = BUF(mem);
    hosttable_each(t, str_of(name), now, collect, &b);
    return buf_cstr(&b);
}

static void learns(void **state) {
    (void)state;
    struct hosttable *t = hosttable_new();
    struct ip ip = {4, {192, 0, 2, 1}};
    assert_false(hosttable_facts(t, &ip, 25, NOW).known);
    hosttable_delivered(t, &ip, 25, NOW); /* unknown: nothing to count on */
    assert_int_equal(hosttable_count(t), 0);
    learn(t, 1, true, NOW);
    hosttable_delivered(t, &ip, 25, NOW + 1000);
    hosttable_delivered(t, &ip, 25, NOW + 2000);
    struct hosttable_facts f = hosttable_facts(t, &ip, 25, NOW + 3000);
    assert_true(f.known && !f.down);
    assert_int_equal(f.caps, CAP_EHLO | CAP_PIPELINING | CAP_8BITMIME);
    assert_int_equal(f.size_limit, 1000000);
    assert_false(hosttable_facts(t, &ip, 26, NOW).known); /* another port is another service */
    assert_string_equal(text_of(t, "", NOW + 60000),
                        "mx.far.test\naddress=192.0.2.1:25\n"
                        "capabilities=PIPELINING,8BITMIME age=60s source=learned\n"
                        "size-limit=1000000 age=60s source=learned\nrtt-us=1234 age=60s source=learned\n"
                        "last-ok=60s-ago age=60s source=learned\ndeliveries=2 age=58s source=learned\n"
                        "greeting=220 mx.far.test \\x22ESMTP\\x22 age=60s source=learned\n");
    hosttable_free(t);
}

static void goes_down_and_up(void **state) {
    (void)state;
    static const struct {
        int64_t at; /* after NOW */
        bool ok;
        bool down;     /* right after */
        int64_t retry; /* after NOW */
    } rows[] = {
        {0, true, false, 0},         {10, false, true, 1010},
        {20, false, true, 1010}, /* tried together: one failure */
        {2000, false, true, 4000},   {5000, false, true, 9000},
        {10000, false, true, 18000}, {20000, false, true, 28000}, /* retry-max */
        {30000, true, false, 0},     {30010, false, true, 31010}, /* begins anew */
    };
    struct hosttable *t = hosttable_new();
    struct ip ip = {4, {192, 0, 2, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        learn(t, 1, rows[i].ok, NOW + rows[i].at);
        struct hosttable_facts f = hosttable_facts(t, &ip, 25, NOW + rows[i].at);
        assert_int_equal(f.down, rows[i].down);
        if (f.down) assert_int_equal(f.retry_at, NOW + rows[i].retry);
        if (f.down) assert_false(hosttable_facts(t, &ip, 25, f.retry_at).down);
    }
    assert_non_null(strstr(text_of(t, "MX.FAR.TEST", NOW), "failure=451 4.4.1 connection refused age="));
    assert_non_null(strstr(text_of(t, "192.0.2.1", NOW), "down-since="));
    assert_string_equal(text_of(t, "other.test", NOW), "");
    hosttable_free(t);
}

/* A clock that was years ahead must not silence a host for years. */
static void clock_goes_back(void **state) {
    (void)state;
    struct hosttable *t = hosttable_new();
    struct ip ip = {4, {192, 0, 2, 1}};
    learn(t, 1, false, NOW + (int64_t)400 * 86400 * 1000);
    assert_false(hosttable_facts(t, &ip, 25, NOW).down);
    hosttable_free(t);
}

static void oldest_goes(void **state) {
    (void)state;
    struct hosttable *t = hosttable_new();
    struct hosttable_news n = news(1, true);
    for (uint32_t i = 0; i <= HOSTTABLE_ROWS_MAX; i++) {
        n.ip.b[1] = (uint8_t)(i >> 16);
        n.ip.b[2] = (uint8_t)(i >> 8);
        n.ip.b[3] = (uint8_t)i;
        hosttable_learn(t, &n, NOW + i, 1000, 8000);
    }
    assert_int_equal(hosttable_count(t), HOSTTABLE_ROWS_MAX);
    struct ip first = {4, {192, 0, 0, 0}}, second = {4, {192, 0, 0, 1}};
    assert_false(hosttable_facts(t, &first, 25, NOW).known);
    assert_true(hosttable_facts(t, &second, 25, NOW).known);
    struct str key, record;
    assert_true(hosttable_take_dirty(t, &key, &record));
    assert_true(str_eq(key, STR("192.0.0.0:25")) && record.n == 0); /* its record goes too */
    hosttable_free(t);
}

/* Every octet of a record flipped, every length: refused, never a crash, never a wrong fact. */
static void damaged_records(void **state) {
    (void)state;
    struct hosttable *t = hosttable_new();
    struct str key, record;
    char copy[HOSTTABLE_RECORD_MAX];
    learn(t, 1, true, NOW);
    assert_true(hosttable_take_dirty(t, &key, &record));
    assert_false(hosttable_dirty(t));
    size_t n = record.n;
    memcpy(copy, record.p, n);
    struct hosttable *u = hosttable_new();
    for (size_t i = 0; i < n; i++) {
        copy[i] ^= 0x10;
        assert_false(hosttable_load(u, STR("192.0.2.1:25"), (struct str){copy, n}, NOW));
        copy[i] ^= 0x10;
        assert_false(hosttable_load(u, STR("192.0.2.1:25"), (struct str){copy, i}, NOW));
    }
    assert_false(hosttable_load(u, STR("192.0.2.1"), (struct str){copy, n}, NOW));
    assert_false(
        hosttable_load(u, STR("192.0.2.1:25"), (struct str){copy, n}, NOW + (int64_t)61 * 86400 * 1000));
    assert_int_equal(hosttable_count(u), 0);
    assert_true(hosttable_load(u, STR("192.0.2.1:25"), (struct str){copy, n}, NOW));
    assert_int_equal(hosttable_count(u), 1);
    hosttable_free(t);
    hosttable_free(u);
}

/* --- on disk --- */

struct place {
    char dir[64], file[96];
};

static struct place place_new(void) {
    struct place p;
    snprintf(p.dir, sizeof p.dir, "/tmp/postern-hosts.XXXXXX");
    assert_non_null(mkdtemp(p.dir));
    snprintf(p.file, sizeof p.file, "%s/hosts.db", p.dir);
    notes[0] = '\0';
    return p;
}

static unsigned files_like(const struct place *p, const char *begin) {
    unsigned n = 0;
    DIR *d = opendir(p->dir);
    for (struct dirent *e; (e = readdir(d));) n += strncmp(e->d_name, begin, strlen(begin)) == 0;
    closedir(d);
    return n;
}

static void place_done(const struct place *p) {
    DIR *d = opendir(p->dir);
    char path[400];
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", p->dir, e->d_name);
        unlink(path);
    }
    closedir(d);
    rmdir(p->dir);
}

static void fill(const struct place *p, int rows) {
    struct hosttable *t = hosttable_new();
    struct hostdb *d = hostdb_open(p->dir, t, NOW, note);
    for (int i = 0; i < rows; i++) learn(t, (uint8_t)i, i % 2 == 0, NOW);
    hostdb_close(d);
    hosttable_free(t);
}

static size_t rows_in(const struct place *p) {
    struct hosttable *t = hosttable_new();
    struct hostdb *d = hostdb_open(p->dir, t, NOW + 1000, note);
    size_t n = hosttable_count(t);
    hostdb_close(d);
    hosttable_free(t);
    return n;
}

static void survives_restart(void **state) {
    (void)state;
    struct place p = place_new();
    struct stat st;
    fill(&p, 200);
    assert_int_equal(stat(p.file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct hosttable *t = hosttable_new();
    struct hostdb *d = hostdb_open(p.dir, t, NOW + 1000, note);
    struct ip up = {4, {192, 0, 2, 8}}, down = {4, {192, 0, 2, 9}};
    assert_int_equal(hosttable_count(t), 200);
    assert_int_equal(hosttable_facts(t, &up, 25, NOW).caps, CAP_EHLO | CAP_PIPELINING | CAP_8BITMIME);
    assert_true(hosttable_facts(t, &down, 25, NOW).down);
    learn(t, 9, true, NOW + 2000);
    hostdb_flush(d, NOW + 2000);
    struct hosttable *t2 = hosttable_new(); /* what a killed process leaves: written, never closed */
    struct hostdb *d2 = hostdb_open(p.dir, t2, NOW + 3000, note);
    assert_false(hosttable_facts(t2, &down, 25, NOW).down);
    hostdb_close(d2);
    hosttable_free(t2);
    hostdb_close(d);
    hosttable_free(t);
    assert_string_equal(notes, "");
    place_done(&p);
}

static void no_configuration_from_outside(void **state) {
    (void)state;
    struct place p = place_new();
    char path[100], before[400];
    snprintf(path, sizeof path, "%s/DB_CONFIG", p.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("this is no word that libdb knows\n", f); /* an environment that reads it cannot be opened */
    fclose(f);
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(p.dir), 0);
    fill(&p, 10);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rows_in(&p), 10);
    assert_string_equal(notes, "");
    place_done(&p);
}

static void overwrite(const struct place *p, off_t at, const void *bytes, size_t n) {
    int fd = open(p->file, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), n);
    close(fd);
}

static void break_head(const struct place *p) {
    overwrite(p, 12, "XXXXXXXX", 8);
}
static void break_page(const struct place *p) {
    overwrite(p, 4096 + 3000, "garbage garbage garbage", 23);
}
static void break_short(const struct place *p) {
    assert_int_equal(truncate(p->file, 4096 + 100), 0);
}
static void break_text(const struct place *p) {
    FILE *f = fopen(p->file, "w");
    assert_non_null(f);
    fputs("this is not a database\n", f);
    fclose(f);
}

static void damage_is_set_aside(void **state) {
    (void)state;
    static void (*const damages[])(const struct place *p) = {break_head, break_page, break_short, break_text};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct place p = place_new();
        fill(&p, 200);
        damages[i](&p);
        assert_int_equal(rows_in(&p), 0);
        assert_non_null(strstr(notes, "begun anew"));
        assert_int_equal(files_like(&p, "hosts.db.damaged-"), 1);
        fill(&p, 5); /* and it works again */
        assert_int_equal(rows_in(&p), 5);
        place_done(&p);
    }
}

static void half_made_file(void **state) {
    (void)state;
    struct place p = place_new();
    char path[100];
    snprintf(path, sizeof path, "%s/__db.hosts.db", p.dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    fill(&p, 5);
    assert_int_equal(rows_in(&p), 5);
    assert_string_equal(notes, "");
    place_done(&p);
}

static void no_directory(void **state) {
    (void)state;
    struct place p = place_new();
    place_done(&p);
    assert_int_equal(rows_in(&p), 0); /* lives in memory, and says so */
    assert_non_null(strstr(notes, "! "));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns),
        cmocka_unit_test(goes_down_and_up),
        cmocka_unit_test(clock_goes_back),
        cmocka_unit_test(oldest_goes),
        cmocka_unit_test(damaged_records),
        cmocka_unit_test(survives_restart),
        cmocka_unit_test(no_configuration_from_outside),
        cmocka_unit_test(damage_is_set_aside),
        cmocka_unit_test(half_made_file),
        cmocka_unit_test(no_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
