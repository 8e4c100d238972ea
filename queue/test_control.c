/* test_control.c: the control file: what is written reads back, what is torn is known as torn, nothing is
 * forged. */
#include "common/arena.h"
#include "queue/control.h"
#include "queue/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct qid id = {0x123456789abcdef, 42};

static struct control_rcpt rcpts[] = {
    {.rcpt = {"a@example.org", 13}, .parent = CONTROL_NO_PARENT, .notify = 1},
    {.rcpt = {"\"x, 5:y\"@example.org", 20}, .orcpt = {"rfc822;x", 8}, .parent = CONTROL_NO_PARENT},
};

static size_t sample(char *mem, size_t max, uint32_t *chain) {
    /* Text that would like to be a record, a field or the end of one. */
    static const char origin[] = "1:a, rcpt=3:a@b,\nC 8 00000000 complete";
    struct control c = {.id = id,
                        .arrival = 1700000000123,
                        .size = 77,
                        .data_crc = 0xdeadbeef,
                        .body = 1,
                        .ret = 2,
                        .envid = STR("a b"),
                        .sender = STR("s@example.com"),
                        .origin = {origin, sizeof origin - 1},
                        .prefix = STR("Received: from x\r\n by y\r\n"),
                        .rcpt_count = 2,
                        .rcpts = rcpts};
    struct buf b = buf_on(mem, max);
    assert_true(control_put_head(&b, &c, chain));
    assert_true(b.n <= control_head_bound(&c));
    return b.n;
}

static void checksum(void **state) {
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9),
                     0xe3069283); /* RFC 3720 B.4's polynomial, the usual check value */
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    assert_int_equal(crc32c(0, "", 0), 0);
}

static void reads_back(void **state) {
    char mem[4096];
    uint32_t chain;
    const char *why;
    struct control c;
    struct arena *a = arena_new(100000);
    (void)state;
    struct buf b = buf_on(mem, sizeof mem);
    b.n = sample(mem, sizeof mem, &chain);
    size_t head = b.n;
    assert_int_equal(control_read(buf_str(&b), id, a, &c, &why), CONTROL_COMPLETE);
    assert_true(qid_eq(c.id, id));
    assert_int_equal(c.arrival, 1700000000123);
    assert_int_equal(c.size, 77);
    assert_int_equal(c.data_crc, 0xdeadbeef);
    assert_int_equal(c.body, 1);
    assert_int_equal(c.ret, 2);
    assert_true(str_eq(c.envid, STR("a b")));
    assert_int_equal(c.rcpt_count, 2);
    assert_int_equal(c.pending, 2);
    assert_int_equal(c.next, 0);
    assert_int_equal(c.marks, 0);
    assert_true(str_eq(c.rcpts[1].rcpt, rcpts[1].rcpt) && str_eq(c.rcpts[1].orcpt, rcpts[1].orcpt));
    assert_true(str_eq(c.prefix, STR("Received: from x\r\n by y\r\n")));
    assert_int_equal(c.end, head);
    assert_int_equal(c.chain, chain);

    struct control_mark m = {.index = 1,
                             .attempts = 3,
                             .next = 99,
                             .state = 'L',
                             .status = status_make(451, "4.7.1", "wait, 3:a,")};
    assert_true(control_put_mark(&b, &m, &chain));
    assert_true(control_put_split(&b, &(struct control_rcpt){.rcpt = STR("c@d"), .parent = 0}, &chain));
    m = (struct control_mark){
        .index = 0, .state = 'S', .next = -5, .status = {.code = 65535, .detail = {77, 65535, 2}}};
    assert_true(control_put_mark(&b, &m, &chain)); /* nonsense is cut to what can be read */
    assert_int_equal(control_read(buf_str(&b), id, a, &c, &why), CONTROL_COMPLETE);
    assert_int_equal(c.rcpt_count, 3);
    assert_int_equal(c.marks, 3);
    assert_int_equal(c.pending, 2);
    assert_int_equal(c.rcpts[1].state, 'L');
    assert_int_equal(c.rcpts[1].attempts, 3);
    assert_true(str_eq(c.rcpts[1].status.text, STR("wait, 3:a,")));
    assert_int_equal(c.rcpts[2].parent, 0);
    assert_int_equal(c.rcpts[0].state, 'S');
    /* The same bytes under another name are nothing. */
    assert_int_equal(control_read(buf_str(&b), (struct qid){1, 1}, a, &c, &why), CONTROL_CORRUPT);
    arena_free(a);
}

/* Without RET and ENVID the envelope is as it was before they were known: so are files of that time. */
static void without_dsn(void **state) {
    char mem[4096];
    uint32_t chain;
    const char *why;
    struct control c = {.id = id, .sender = STR("s@a.test"), .rcpt_count = 1, .rcpts = rcpts}, got;
    struct arena *a = arena_new(100000);
    struct buf b = BUF(mem);
    (void)state;
    assert_true(control_put_head(&b, &c, &chain));
    assert_non_null(strstr(buf_cstr(&b), " sender=8:s@a.test, origin=0:,\n"));
    assert_int_equal(control_read(buf_str(&b), id, a, &got, &why), CONTROL_COMPLETE);
    assert_int_equal(got.ret, 0);
    assert_int_equal(got.envid.n, 0);
    arena_free(a);
}

/* RFC 4865: all recipients wait for the same time, until they are requeued; what was split from one does not. */
static void to_be_sent_later(void **state) {
    char mem[4096];
    uint32_t chain;
    const char *why;
    struct control c = {.id = id, .sender = STR("s@a.test"), .after = 1700000000999, .rcpt_count = 2, .rcpts = rcpts}, got;
    struct arena *a = arena_new(100000);
    struct buf b = BUF(mem);
    (void)state;
    assert_true(control_put_head(&b, &c, &chain));
    assert_non_null(strstr(buf_cstr(&b), " ret=0 envid=0:, after=1700000000999\n"));
    assert_int_equal(control_read(buf_str(&b), id, a, &got, &why), CONTROL_COMPLETE);
    assert_int_equal(got.after, 1700000000999);
    assert_int_equal(got.next, 1700000000999);
    assert_int_equal(got.rcpts[1].next, 1700000000999);
    assert_true(control_put_split(&b, &(struct control_rcpt){.rcpt = STR("c@d"), .parent = 0}, &chain));
    assert_true(control_put_order(&b, &(struct control_order){CONTROL_REQUEUE, 5}, &chain));
    assert_int_equal(control_read(buf_str(&b), id, a, &got, &why), CONTROL_COMPLETE);
    assert_int_equal(got.next, 0);
    arena_free(a);
}

static void torn_everywhere(void **state) {
    char mem[4096];
    uint32_t chain;
    const char *why;
    struct control c;
    struct arena *a = arena_new(1000000);
    (void)state;
    struct buf b = buf_on(mem, sizeof mem);
    b.n = sample(mem, sizeof mem, &chain);
    size_t head = b.n;
    struct control_mark m = {.index = 1, .state = 'D', .status = status_make(250, "2.0.0", "ok")};
    assert_true(control_put_mark(&b, &m, &chain));
    for (size_t n = 0; n <= b.n; n++) {
        arena_reset(a);
        enum control_verdict v = control_read((struct str){mem, n}, id, a, &c, &why);
        /* The last octets of the head are " complete LF": cut off, all but the LF may stand there. */
        if (n < head) assert_true(v == CONTROL_TORN || (v == CONTROL_CORRUPT && n > head - 2));
        else assert_int_equal(v, CONTROL_COMPLETE);
        if (n >= head) {
            assert_int_equal(c.rcpts[1].state, n == b.n ? 'D' : 'N');
            assert_int_equal(c.end, n == b.n ? b.n : head);
            assert_int_equal(c.torn_tail, n != head && n != b.n);
        }
        /* The length made it, the content did not. */
        char zeros[4096] = {0};
        memcpy(zeros, mem, n);
        arena_reset(a);
        v = control_read((struct str){zeros, b.n}, id, a, &c, &why);
        if (n < head) assert_true(v == CONTROL_TORN || (v == CONTROL_CORRUPT && n > head - 2));
        else assert_int_equal(v, CONTROL_COMPLETE);
    }
    arena_free(a);
}

static void every_flipped_bit(void **state) {
    char mem[4096];
    uint32_t chain;
    const char *why;
    struct control c;
    struct arena *a = arena_new(1000000);
    (void)state;
    size_t n = sample(mem, sizeof mem, &chain);
    for (size_t i = 0; i < n * 8; i++) {
        mem[i / 8] = (char)(mem[i / 8] ^ 1 << i % 8);
        arena_reset(a);
        enum control_verdict v = control_read((struct str){mem, n}, id, a, &c, &why);
        assert_true(v != CONTROL_COMPLETE);
        /* A whole file with one bit wrong is damage, not an unfinished one (but for the record that says
         * so). */
        if (i / 8 < n - 10) assert_int_equal(v, CONTROL_CORRUPT);
        mem[i / 8] = (char)(mem[i / 8] ^ 1 << i % 8);
    }
    arena_free(a);
}

static void limits(void **state) {
    static char big[20000];
    char mem[CONTROL_RECORD_MAX + 4096];
    uint32_t chain;
    const char *why;
    struct control c = {.id = id, .rcpt_count = 2, .rcpts = rcpts}, out;
    (void)state;
    memset(big, 'x', sizeof big);
    struct buf b = BUF(mem);
    c.prefix = (struct str){big, CONTROL_PREFIX_MAX + 1};
    assert_false(control_put_head(&b, &c, &chain));
    assert_int_equal(b.n, 0);
    c.prefix.n--;
    assert_true(control_put_head(&b, &c, &chain));
    struct arena *a = arena_new(100000), *tiny = arena_new(10);
    assert_int_equal(control_read(buf_str(&b), id, a, &out, &why), CONTROL_COMPLETE);
    assert_int_equal(control_read(buf_str(&b), id, tiny, &out, &why), CONTROL_NO_ROOM);
    struct control_mark m = {.index = 0, .state = 'L', .status = {.text = {big, sizeof big}}};
    assert_true(control_put_mark(&b, &m, &chain)); /* the text is cut */
    assert_int_equal(control_read(buf_str(&b), id, a, &out, &why), CONTROL_COMPLETE);
    assert_int_equal(out.rcpts[0].status.text.n, CONTROL_TEXT_MAX);
    arena_free(a);
    arena_free(tiny);
}

/* Orders hold for the whole message, the last one counts; a rule's hold stands in the head and is no mark. */
static void orders(void **state) {
    static const struct {
        enum control_op op[3];
        unsigned n;
        bool held, expired;
        uint32_t attempts;
    } rows[] = {
        {{CONTROL_HOLD}, 1, true, false, 3},
        {{CONTROL_HOLD, CONTROL_RELEASE}, 2, false, false, 3},
        {{CONTROL_HOLD, CONTROL_REQUEUE}, 2, true, false, 0},
        {{CONTROL_REQUEUE}, 1, false, false, 0},
        {{CONTROL_HOLD, CONTROL_EXPIRE}, 2, false, true, 3},
        {{CONTROL_EXPIRE, CONTROL_HOLD, CONTROL_RELEASE}, 3, false, true, 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char mem[4096];
        uint32_t chain;
        const char *why;
        struct control c = {.id = id, .rcpt_count = 1, .rcpts = rcpts}, out;
        struct buf b = BUF(mem);
        struct arena *a = arena_new(10000);
        assert_true(control_put_head(&b, &c, &chain));
        assert_true(control_put_mark(&b, &(struct control_mark){.index = 0, .state = 'L', .attempts = 3, .next = 99}, &chain));
        for (unsigned k = 0; k < rows[i].n; k++)
            assert_true(control_put_order(&b, &(struct control_order){rows[i].op[k], 7}, &chain));
        assert_int_equal(control_read(buf_str(&b), id, a, &out, &why), CONTROL_COMPLETE);
        assert_int_equal(out.held, rows[i].held);
        assert_int_equal(out.expired, rows[i].expired);
        assert_int_equal(out.rcpts[0].attempts, rows[i].attempts);
        assert_int_equal(out.next, out.expired ? 0 : rows[i].attempts ? 99 : 7);
        assert_int_equal(out.marks, 1);
        arena_free(a);
    }
    char mem[4096];
    uint32_t chain;
    const char *why;
    struct control c = {.id = id, .rcpt_count = 1, .rcpts = rcpts, .held = true}, out;
    struct buf b = BUF(mem);
    struct arena *a = arena_new(10000);
    assert_true(control_put_head(&b, &c, &chain));
    assert_int_equal(control_read(buf_str(&b), id, a, &out, &why), CONTROL_COMPLETE);
    assert_true(out.held && out.marks == 0 && out.chain == chain);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum),          cmocka_unit_test(reads_back), cmocka_unit_test(to_be_sent_later), cmocka_unit_test(torn_everywhere),
        cmocka_unit_test(every_flipped_bit), cmocka_unit_test(limits),     cmocka_unit_test(without_dsn),
        cmocka_unit_test(orders),
    };
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
