/* test_values.c: the small values that all programs share: queue ids, statuses, arenas, the role table. */
#include "common/arena.h"
#include "common/qid.h"
#include "common/role.h"
#include "common/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void ids_come_back(void **state) {
    static const struct qid rows[] = {
        {0, 0},
        {0, 1},
        {1, 0},
        {31, 32},
        {1ULL << 60, 7},
        {UINT64_MAX, UINT32_MAX},
        {0x123456789abcdef0, 0xdeadbeef},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct qid_text t = qid_format(rows[i]);
        struct qid back;
        assert_int_equal(strlen(t.c), QID_LEN);
        assert_true(qid_parse(str_of(t.c), &back));
        assert_true(qid_eq(rows[i], back));
        assert_int_equal(qid_cmp(rows[i], back), 0);
        assert_true(qid_hash(rows[i]) == qid_hash(back));
    }
    assert_string_equal(qid_format(QID_NONE).c, "00000000000000000000");
}

static void ids_in_order(void **state) {
    static const struct qid rows[] = {{1, 9}, {2, 0}, {2, 1}, {33, 0}, {1ULL << 40, 0}, {1ULL << 63, 0}};
    for (size_t i = 1; i < COUNT(rows); i++) {
        assert_true(qid_cmp(rows[i - 1], rows[i]) < 0);
        assert_true(qid_cmp(rows[i], rows[i - 1]) > 0);
        assert_true(strcmp(qid_format(rows[i - 1]).c, qid_format(rows[i]).c) < 0);
    }
}

/* One text for one id: file names are made of them. */
static void ids_refused(void **state) {
    static const char *const rows[] = {
        "",
        "0000000000000000000",   /* 19 */
        "000000000000000000000", /* 21 */
        "0000000000000000000a",  /* lower case */
        "0000000000000000000I",
        "0000000000000000000L",
        "0000000000000000000O",
        "0000000000000000000U",
        "0000000000000000000/",
        "../../../../../etc/x",
        " 0000000000000000000",
        "G0000000000000000000", /* lease beyond 64 bits */
        "00000000000004000000", /* serial beyond 32 bits */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct qid id = {5, 6};
        if (qid_parse(str_of(rows[i]), &id)) fail_msg("%s", rows[i]);
        assert_true(id.lease == 5 && id.serial == 6);
    }
    struct qid id;
    assert_false(qid_parse((struct str){"0000000000000000000\0", 20}, &id));
}

static void replies(void **state) {
    static const struct {
        unsigned code;
        const char *text;
        enum status_kind kind;
        const char *want;
    } rows[] = {
        {250, "2.1.5 Ok", STATUS_OK, "250 2.1.5 Ok"},
        {250, "Ok", STATUS_OK, "250 2.0.0 Ok"},
        {550, "5.1.1 no such user", STATUS_NEVER, "550 5.1.1 no such user"},
        {550, "5.1.1", STATUS_NEVER, "550 5.1.1 "},
        {550, "", STATUS_NEVER, "550 5.0.0 "},
        {451, "4.7.100  later", STATUS_LATER, "451 4.7.100 later"},
        {451, "5.7.1 no", STATUS_LATER, "451 4.0.0 5.7.1 no"}, /* contradicts: the code wins */
        {550, "5.1.1.1 no", STATUS_NEVER, "550 5.0.0 5.1.1.1 no"},
        {550, "5.1234.1 no", STATUS_NEVER, "550 5.0.0 5.1234.1 no"},
        {550, "5.1.1no", STATUS_NEVER, "550 5.0.0 5.1.1no"},
        {550, "5..1 no", STATUS_NEVER, "550 5.0.0 5..1 no"},
        {550, "5.1", STATUS_NEVER, "550 5.0.0 5.1"},
        {354, "go on", STATUS_LATER, "354 4.5.0 go on"},
        {650, "what", STATUS_LATER, "650 4.5.0 what"},
        {0, "", STATUS_LATER, "0 4.5.0 "},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char mem[128];
        struct buf b = BUF(mem);
        struct status s = status_from_reply(rows[i].code, str_of(rows[i].text));
        status_format(&b, &s);
        assert_string_equal(buf_cstr(&b), rows[i].want);
        assert_int_equal(s.kind, rows[i].kind);
        assert_true(s.remote);
    }
}

static void own_statuses(void **state) {
    char mem[128];
    struct buf b = BUF(mem);
    struct status s = status_make(452, "4.3.1", "disk is full");
    status_format(&b, &s);
    assert_string_equal(buf_cstr(&b), "452 4.3.1 disk is full");
    assert_int_equal(s.kind, STATUS_LATER);
    assert_false(s.remote);
    assert_int_equal(status_make(250, "2.0.0", "").kind, STATUS_OK);
    assert_int_equal(status_make(550, "5.1.1", "").kind, STATUS_NEVER);
}

static void arena_limit(void **state) {
    struct arena *a = arena_new(100);
    assert_non_null(arena_alloc(a, 60));
    assert_null(arena_alloc(a, 41));
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_null(arena_alloc_bytes(a, SIZE_MAX));
    assert_non_null(arena_alloc_bytes(a, 40));
    assert_int_equal(arena_used(a), 100);
    assert_null(arena_alloc_bytes(a, 0)); /* even nothing needs one octet */
    arena_reset(a);
    assert_int_equal(arena_used(a), 0);
    assert_non_null(arena_alloc(a, 100));
    arena_free(a);
    arena_free(NULL);
}

static void arena_memory(void **state) {
    struct arena *a = arena_new(1 << 20);
    for (int round = 0; round < 3; round++) {
        for (size_t n = 1; n < 3000; n += 37) {
            unsigned char *p = arena_alloc(a, n);
            assert_non_null(p);
            assert_true((uintptr_t)p % _Alignof(max_align_t) == 0);
            for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0); /* also after a reset */
            memset(p, 0xff, n);
            assert_non_null(arena_alloc_bytes(a, 1)); /* puts the next out of line */
        }
        arena_reset(a);
    }
    assert_non_null(arena_alloc(a, 200000)); /* larger than any block */
    arena_free(a);
    a = arena_new(1 << 20);
    assert_non_null(arena_alloc(a, 200000)); /* as the first block: given back by the reset */
    arena_reset(a);
    assert_non_null(arena_alloc(a, 10));
    arena_free(a);
}

static void grows(void **state) {
    size_t cap = 0;
    uint32_t *v = xgrow(NULL, &cap, 1, sizeof *v);
    assert_int_equal(cap, 8);
    v[7] = 7;
    v = xgrow(v, &cap, 9, sizeof *v);
    assert_int_equal(cap, 16);
    assert_int_equal(v[7], 7);
    assert_ptr_equal(xgrow(v, &cap, 16, sizeof *v), v);
    v = xrealloc(v, 1);
    assert_non_null(v);
    free(v);
}

static void roles(void **state) {
    for (int i = 0; i < ROLE_COUNT; i++) {
        const struct role_info *r = &role_table[i];
        assert_true(r->name && r->program && r->user && *r->sentence);
        assert_false(role_linked(i, i));
        for (int j = 0; j < ROLE_COUNT; j++) {
            assert_int_equal(role_linked(i, j), role_linked(j, i));
            if (i != j) assert_string_not_equal(r->name, role_table[j].name);
            if (i != j && *r->user) assert_string_not_equal(r->user, role_table[j].user);
        }
    }
    assert_true(role_linked(ROLE_queue, ROLE_dispatch));
    assert_false(role_linked(ROLE_smtpd, ROLE_remote)); /* who speaks with strangers never meets */
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_come_back), cmocka_unit_test(ids_in_order), cmocka_unit_test(ids_refused),
        cmocka_unit_test(replies),       cmocka_unit_test(own_statuses), cmocka_unit_test(arena_limit),
        cmocka_unit_test(arena_memory),  cmocka_unit_test(grows),        cmocka_unit_test(roles),
    };
    return cmocka_run_group_tests_name("values", tests, NULL, NULL);
}
