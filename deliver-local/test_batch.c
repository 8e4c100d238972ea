/* test_batch.c: when a batch is synced, and what is told of it. */
#include "deliver-local/batch.h"

#include "common/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct told {
    char log[4000];
    struct buf b;
    unsigned syncs;
    bool fails;
};

static struct status on_sync(void *ctx) {
    struct told *t = ctx;
    t->syncs++;
    buf_adds(&t->b, "sync ");
    return t->fails ? status_make(451, "4.3.0", "no disk") : status_make(250, "2.0.0", "synced");
}

static void on_report(void *ctx, const struct batch_job *j) {
    struct told *t = ctx;
    buf_addf(&t->b, "%u:%u/%u%.*s ", j->job, j->status.code, j->n ? j->index[j->n - 1] : 0,
             STR_ARGS(j->status.text));
}

static const struct batch_ops ops = {on_sync, on_report};

static struct batch *begin(struct told *t) {
    *t = (struct told){.syncs = 0};
    t->b = BUF(t->log);
    return batch_new(&ops, t);
}

static void add(struct batch *b, uint32_t job, uint16_t code, int64_t now) {
    uint32_t index[] = {job * 10, job * 10 + 1};
    char text[] = "x";
    struct batch_job j = {.job = job, .index = index, .n = 2};
    j.status = status_make(code, code == 250 ? "2.0.0" : "4.2.0", text);
    batch_add(b, &j, now);
    memset(index, 0xff, sizeof index); /* it has copied what it keeps */
    text[0] = '?';
}

#define TOLD(t, want) \
    do { \
        assert_string_equal(buf_cstr(&(t).b), want); \
        (t).b.n = 0; \
    } while (0)

static void alone_at_once_together_later(void **state) {
    struct told t;
    struct batch *b = begin(&t);
    (void)state;
    assert_int_equal(batch_due(b, 1000), -1);
    add(b, 1, 250, 1010);
    assert_int_equal(batch_due(b, 1010), 1010); /* it waits for nobody */
    TOLD(t, "");                                /* and nothing is told before the sync */
    batch_run(b, 1010);
    TOLD(t, "sync 1:250/11x ");
    add(b, 2, 250, 1020);
    add(b, 3, 250, 1030);
    assert_int_equal(batch_due(b, 1030), 1500); /* of all workers at the same moment */
    batch_run(b, 1499);
    TOLD(t, "");
    batch_run(b, 1500);
    TOLD(t, "sync 2:250/21x 3:250/31x ");
    add(b, 4, 250, 1999);
    assert_int_equal(batch_due(b, 1999), 2000);
    batch_flush(b, 1999);
    TOLD(t, "sync 4:250/41x ");
    batch_flush(b, 1999);
    TOLD(t, "");
    add(b, 5, 250, 5000);
    assert_int_equal(batch_due(b, 5000), 5000);
    batch_free(b);
}

static void a_failure_is_told_to_all(void **state) {
    struct told t;
    struct batch *b = begin(&t);
    (void)state;
    add(b, 1, 250, 0);
    add(b, 2, 452, 0); /* not stored: no sync is needed to say so */
    TOLD(t, "2:452/21x ");
    add(b, 3, 250, 0);
    t.fails = true;
    batch_run(b, 0);
    TOLD(t, "sync 1:451/11no disk 3:451/31no disk ");
    t.fails = false;
    batch_run(b, 100000); /* it is not tried again for them: they are delivered again */
    TOLD(t, "");
    batch_free(b);
}

static void memory_is_bounded(void **state) {
    static struct told t;
    static uint32_t many[BATCH_RCPTS_MAX * 8];
    struct batch *b = begin(&t);
    (void)state;
    for (uint32_t i = 0; i < BATCH_MAX; i++) {
        assert_int_equal(t.syncs, 0);
        add(b, i, 250, 1);
    }
    assert_int_equal(t.syncs, 1);
    assert_int_equal(batch_waiting(b), 0);
    struct batch_job j = {.job = 7, .index = many, .n = sizeof many / sizeof *many};
    j.status = status_make(250, "2.0.0", "x");
    add(b, 1, 250, 2);
    t.b.n = 0;
    batch_add(b, &j, 2); /* more than fits: it is synced at once, once */
    TOLD(t, "sync 1:250/11x 7:250/0x ");
    add(b, 1, 250, 2);
    t.b.n = 0;
    t.fails = true;
    batch_add(b, &j, 2);
    TOLD(t, "sync 1:451/11no disk 7:451/0no disk ");
    batch_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_at_once_together_later),
        cmocka_unit_test(a_failure_is_told_to_all),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
