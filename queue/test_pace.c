/* Tests of pace.c: what comes in follows what leaves. */
#include "queue/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

enum { LIMIT = 10000 };

/* Senders that send without end, of each one message at a time; so many a second leave. Gives what came in a second,
 * on the average of the last ten. */
static uint64_t intake(unsigned senders, unsigned leave, size_t behind, unsigned seconds, size_t *rest) {
    struct pace p = {.limit = LIMIT};
    uint64_t taken = 0;
    for (int64_t ms = 1; ms <= (int64_t)seconds * 1000; ms++) {
        for (uint64_t done = (uint64_t)(ms - 1) * leave / 1000; done < (uint64_t)ms * leave / 1000 && behind;
             done++) {
            behind--;
            pace_left(&p, ms);
        }
        if (pace_wait(&p, ms, behind)) continue;
        behind += senders;
        pace_took(&p, ms, senders, behind);
        if (ms > ((int64_t)seconds - 10) * 1000) taken += senders;
    }
    *rest = behind;
    return taken / 10;
}

static void follows_what_leaves(void **state) {
    static const struct {
        unsigned senders, leave;
        size_t behind;
        uint64_t least, most;
    } rows[] = {
        {1, 0, 0, PACE_SLOWEST / 2, 2 * PACE_SLOWEST},
        {30, 0, 0, PACE_SLOWEST / 2, 2 * PACE_SLOWEST},
        {30, 500, 0, 400, 600},
        {1, 500, 0, 400, 600},
        {200, 3000, 0, 2500, 3500},
        {1000, 100, LIMIT, 50, 200},
        {10, 20000, 0, 9000, 10000} /* never behind */,
        {30, 500, 10 * LIMIT, 400, 600},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t rest;
        uint64_t got = intake(rows[i].senders, rows[i].leave, rows[i].behind, 60, &rest);
        size_t start = rows[i].behind > LIMIT ? rows[i].behind : LIMIT;
        if (got < rows[i].least || got > rows[i].most || rest > 2 * start + start / 2)
            fail_msg("row %zu: %llu a second came in, %zu are behind", i, (unsigned long long)got, rest);
    }
}

/* Whatever the clock does, nobody waits longer than the longest pause. */
static void clocks_jump(void **state) {
    (void)state;
    struct pace p = {.limit = LIMIT};
    pace_left(&p, 1000000);
    pace_took(&p, 1000000, 50000, LIMIT);
    assert_int_equal(pace_wait(&p, 1000000, LIMIT), PACE_PAUSE_MAX);
    assert_int_equal(pace_wait(&p, 1000000, LIMIT - 1), 0);
    assert_int_equal(pace_wait(&p, 1, LIMIT), PACE_PAUSE_MAX);
    pace_left(&p, 1);
    pace_took(&p, INT64_MAX / 2, 1, LIMIT);
    assert_true(pace_wait(&p, INT64_MAX / 2, LIMIT) <= PACE_PAUSE_MAX);
    assert_int_equal(pace_wait(&p, INT64_MAX / 2 + PACE_PAUSE_MAX, LIMIT), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_what_leaves),
        cmocka_unit_test(clocks_jump),
    };
    return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
