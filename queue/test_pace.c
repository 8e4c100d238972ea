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

/* Senders of which each sends its next message some time (us, half to one and a half of think) after the 250; a commit
 * takes 400 us. Gives how many messages a commit serves, times ten; *waits: how often one waited for company. */
static unsigned company(unsigned senders, unsigned think, unsigned messages, unsigned *waits) {
    enum { SENDERS_MAX = 64, COMMIT = 400 };
    struct pace p = {.limit = LIMIT};
    int64_t next[SENDERS_MAX] = {0}, now = 1000000;
    unsigned commits = 0, served = 0, seed = 1;
    *waits = 0;
    for (unsigned i = 0; i < senders; i++) next[i] = now + i * think / senders;
    while (served < messages) {
        unsigned ended = 0;
        for (int64_t until = 0; !ended || (until && now < until); now += 10) {
            ended = 0;
            for (unsigned i = 0; i < senders; i++) ended += next[i] <= now;
            if (!ended) continue;
            if (!pace_company(&p, now / 1000, ended)) break;
            if (!until) {
                until = now + COMPANY_MS * 1000;
                ++*waits;
            }
        }
        int64_t began = now;
        now += COMMIT;
        for (unsigned i = 0; i < senders; i++) {
            seed = seed * 1103515245 + 12345;
            if (next[i] <= began) next[i] = now + think / 2 + (seed >> 16) % (think + 1);
        }
        pace_took(&p, now / 1000, ended, 0);
        served += ended;
        commits++;
    }
    return served * 10 / commits;
}

static void company_is_waited_for_under_load_only(void **state) {
    static const struct {
        unsigned senders, think, least, most; /* tenths of a message in a commit */
    } rows[] = {
        {1, 200, 10, 10},
        {1, 100000, 10, 10},
        {3, 200, 10, 30},
        {10, 300, 75, 100},
        {20, 500, 150, 200},
        {50, 500, 375, 500},
        {20, 50000, 10, 20} /* far away: as they come */,
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned waits, got = company(rows[i].senders, rows[i].think, 20000, &waits);
        bool may_wait = rows[i].senders >= COMPANY_LEAST;
        if (got < rows[i].least || got > rows[i].most || (waits && !may_wait))
            fail_msg("row %zu: %u tenths in a commit, %u waits", i, got, waits);
    }
}

/* After a burst, and after a clock that was set back, a lone message is not delayed. */
static void nobody_waits_when_it_was_quiet(void **state) {
    (void)state;
    struct pace p = {.limit = LIMIT};
    pace_took(&p, 1000, 50, 0);
    assert_true(pace_company(&p, 1000, 1));
    assert_false(pace_company(&p, 1000, 50));
    assert_false(pace_company(&p, 1000 + COMPANY_FADE, 1));
    assert_false(pace_company(&p, 999, 1));
    for (int i = 0; i < 20; i++) pace_took(&p, 1000, 1, 0);
    assert_false(pace_company(&p, 1000, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_what_leaves),
        cmocka_unit_test(clocks_jump),
        cmocka_unit_test(company_is_waited_for_under_load_only),
        cmocka_unit_test(nobody_waits_when_it_was_quiet),
    };
    return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
