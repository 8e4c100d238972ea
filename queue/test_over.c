/* test_over.c: a disk over another: what is changed on it is seen on it, and nowhere else. */
#include "queue/disk_fake.h"
#include "queue/disk_over.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ON(d, call, ...) ((d)->ops->call((d), __VA_ARGS__))

static void put(struct disk *d, const char *name, enum disk_mode mode, const char *text, uint64_t at,
                int want) {
    int file;
    assert_int_equal(ON(d, open, 3, name, mode, &file), want);
    if (want) return;
    assert_int_equal(ON(d, write, file, text, strlen(text), at), 0);
    d->ops->close(d, file);
}

static void holds(struct disk *d, int dir, const char *name, const char *want) {
    char mem[64] = "";
    size_t got = 0;
    int file, error = ON(d, open, dir, name, DISK_READ, &file);
    assert_int_equal(error, want ? 0 : ENOENT);
    if (!want) return;
    assert_int_equal(ON(d, read, file, mem, sizeof mem - 1, 0, &got), 0);
    d->ops->close(d, file);
    assert_int_equal(got, strlen(want));
    assert_string_equal(mem, want);
}

/* The names of folder 3, each once, as a sum that does not depend on their order. */
static unsigned names(struct disk *d) {
    char name[DISK_NAME_MAX + 1];
    struct disk_list *list;
    unsigned sum = 0;
    assert_int_equal(ON(d, list, 3, &list), 0);
    while (ON(d, list_next, list, name) == 0) sum += 1u << (4 * (name[0] - 'a'));
    d->ops->list_close(d, list);
    return sum;
}

static void over(void **state) {
    struct disk *below = disk_fake_new(1), *d = disk_over_new(below);
    struct disk_info info;
    (void)state;
    put(below, "a", DISK_CREATE, "alpha", 0, 0);
    put(below, "b", DISK_CREATE, "beta", 0, 0);
    put(below, "c", DISK_CREATE, "gamma", 0, 0);
    uint64_t ops = disk_fake_ops(below);
    holds(d, 3, "a", "alpha");
    put(d, "a", DISK_CREATE, "", 0, EEXIST);
    put(d, "x", DISK_WRITE, "", 0, ENOENT);
    put(d, "a", DISK_WRITE, "XY", 4, 0);
    put(d, "d", DISK_CREATE, "delta", 0, 0);
    assert_int_equal(ON(d, unlink, 3, "b"), 0);
    assert_int_equal(ON(d, unlink, 3, "b"), ENOENT);
    assert_int_equal(ON(d, rename, 3, "c", DISK_ASIDE, "c"), 0);
    assert_int_equal(ON(d, rename, 3, "a", DISK_ASIDE, "c"), EEXIST);
    assert_int_equal(ON(d, rename, 3, "d", 3, "e"), 0);
    holds(d, 3, "a", "alphXY");
    holds(d, 3, "b", NULL);
    holds(d, 3, "c", NULL);
    holds(d, 3, "d", NULL);
    holds(d, 3, "e", "delta");
    holds(d, DISK_ASIDE, "c", "gamma");
    assert_int_equal(ON(d, info, 3, "a", &info), 0);
    assert_int_equal(info.size, 6);
    assert_int_equal(ON(d, info, 3, "b", &info), ENOENT);
    assert_int_equal(names(d), 0x10001);
    put(d, "b", DISK_CREATE, "new", 0, 0);
    holds(d, 3, "b", "new");
    assert_int_equal(names(d), 0x10011);
    disk_over_free(d);
    assert_int_equal(disk_fake_ops(below), ops); /* nothing was changed there */
    holds(below, 3, "a", "alpha");
    holds(below, 3, "b", "beta");
    assert_int_equal(names(below), 0x111);
    disk_fake_free(below);
}

int main(void) {
    static const struct CMUnitTest tests[] = {cmocka_unit_test(over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
