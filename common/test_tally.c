#include "common/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const struct ip here = {4, {192, 0, 2, 7}}, neighbour = {4, {192, 0, 2, 250}},
                       elsewhere = {4, {192, 0, 3, 7}};
static const struct ip six = {6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0xff}},
                       six_near = {6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0xee}};
static const struct ip six_far = {6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 0xff}};

static void keys(void **state) {
    struct tally *l = tally_new(42);
    struct str a = STR("alice"), b = STR("bob");
    (void)state;
#define KEY(kind, ip, login) tally_key(l, kind, &(ip), login)
    assert_true(KEY(TALLY_NETWORK, here, a) == KEY(TALLY_NETWORK, neighbour, b));
    assert_true(KEY(TALLY_NETWORK, here, a) != KEY(TALLY_NETWORK, elsewhere, a));
    assert_true(KEY(TALLY_NETWORK, six, a) == KEY(TALLY_NETWORK, six_near, a));
    assert_true(KEY(TALLY_NETWORK, six, a) != KEY(TALLY_NETWORK, six_far, a));
    assert_true(KEY(TALLY_LOGIN, here, a) == KEY(TALLY_LOGIN, elsewhere, a));
    assert_true(KEY(TALLY_LOGIN, here, a) != KEY(TALLY_LOGIN, here, b));
    assert_true(KEY(TALLY_KNOWN, here, a) != KEY(TALLY_KNOWN, elsewhere, a));
    assert_true(KEY(TALLY_KNOWN, here, a) != KEY(TALLY_LOGIN, here, a));
    tally_free(l);
}

static void counting(void **state) {
    struct tally *l = tally_new(1);
    (void)state;
    for (int i = 0; i < 3; i++) assert_true(tally_take(l, 7, 1000, 3, 500));
    assert_false(tally_take(l, 7, 1400, 3, 500));
    tally_give_back(l, 7, 1400); /* one of them was right */
    assert_true(tally_take(l, 7, 1400, 3, 500));
    assert_false(tally_take(l, 7, 1499, 3, 500));
    assert_true(tally_take(l, 7, 1500, 3, 500));                            /* the window has passed */
    assert_true(tally_take(l, 8, 1400, 3, 500));                            /* another one */
    for (int i = 0; i < 100; i++) assert_true(tally_take(l, 9, 0, 0, 500)); /* 0: any number */
    assert_false(tally_knows(l, 10, 0));
    tally_remember(l, 10, 0, 100);
    assert_true(tally_knows(l, 10, 99));
    assert_false(tally_knows(l, 10, 100));
    tally_free(l);
}

/* A flood of strangers with one failure each does not make the table forget who has failed often. */
static void flood(void **state) {
    struct tally *l = tally_new(3);
    (void)state;
    for (int i = 0; i < 50; i++) tally_take(l, 77, 0, 50, 1000000);
    for (uint64_t i = 1; i < 1000000; i++) tally_take(l, i * 2654435761u + 1000, 1, 50, 1000000);
    assert_false(tally_take(l, 77, 2, 50, 1000000));
    tally_free(l);
}

/* Nor do strangers who fail more than once make it forget who has logged in from where. */
static void remembered(void **state) {
    struct tally *l = tally_new(5);
    (void)state;
    tally_remember(l, 77, 0, 1000000);
    for (uint64_t i = 1; i < 1000000; i++)
        for (int k = 0; k < 2; k++) tally_take(l, i * 2654435761u + 1000, 1, 50, 1000000);
    assert_true(tally_knows(l, 77, 2));
    tally_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys), cmocka_unit_test(counting),
                                       cmocka_unit_test(flood), cmocka_unit_test(remembered)};
    return cmocka_run_group_tests_name("common/tally", tests, NULL, NULL);
}
