/* Channels, the wire codec, timers and the loop: what two programs rely on. */
#include "common/channel.h"
#include "common/arena.h"
#include "common/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct side {
    struct channel *ch;
    size_t got, closed, drained;
    uint32_t last;
    int fd;
    char text[64];
    const char *why;
};

static void on_fetch(void *ctx, struct channel *ch, const struct wire_fetch *m, int fd) {
    struct side *s = ctx;
    (void)ch, (void)fd;
    s->got++;
    s->last = m->id.serial;
}

static void on_gone(void *ctx, struct channel *ch, const struct wire_gone *m, int fd) {
    on_fetch(ctx, ch, &(struct wire_fetch){.id = m->id}, fd);
}

static void on_ready(void *ctx, struct channel *ch, const struct wire_ready *m, int fd) {
    struct side *s = ctx;
    (void)ch;
    s->got++;
    s->fd = fd;
    snprintf(s->text, sizeof s->text, "%.*s", STR_ARGS(m->sender));
}

static void on_closed(void *ctx, struct channel *ch, const char *why) {
    struct side *s = ctx;
    (void)ch;
    s->closed++;
    s->why = why;
}

static void on_drained(void *ctx, struct channel *ch) {
    (void)ch;
    ((struct side *)ctx)->drained++;
}

static const struct wire_handlers at_queue = {.fetch = on_fetch};
static const struct wire_handlers at_dispatch = {.ready = on_ready, .gone = on_gone};
static const struct channel_user queue_user = {
    .handlers = &at_queue, .closed = on_closed, .drained = on_drained};
static const struct channel_user dispatch_user = {
    .handlers = &at_dispatch, .closed = on_closed, .drained = on_drained};

struct pair {
    struct loop *loop;
    struct side queue, dispatch;
    int fd[2];
};

static struct pair make(enum role queue_expects) {
    struct pair p = {.loop = loop_new()};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p.fd), 0);
    (void)queue_expects;
    return p;
}

static void join(struct pair *p, enum role queue_expects) {
    p->queue.ch = channel_new(p->loop, p->fd[0], ROLE_queue, 0, queue_expects, &queue_user, &p->queue);
    p->dispatch.ch =
        channel_new(p->loop, p->fd[1], ROLE_dispatch, 3, ROLE_queue, &dispatch_user, &p->dispatch);
}

static void spin(struct pair *p) {
    for (int i = 0; i < 50; i++) loop_once(p->loop, 0);
}

static void finish(struct pair *p) {
    if (!p->queue.closed) channel_close(p->queue.ch);
    if (!p->dispatch.closed) channel_close(p->dispatch.ch);
    spin(p);
    loop_free(p->loop);
}

static void test_messages_and_descriptors(void **state) {
    (void)state;
    struct pair p = make(ROLE_dispatch);
    join(&p, ROLE_dispatch);
    int mem = memfd_create("x", MFD_CLOEXEC);
    assert_int_equal(write(mem, "hello", 5), 5);
    SEND_FD(p.queue.ch, mem, ready, .id = {1, 2}, .sender = STR("a@b.test"), .rcpts = 1);
    SEND(p.queue.ch, gone, .id = {7, 9});
    SEND(p.dispatch.ch, fetch, .id = {5, 11});
    spin(&p);
    assert_int_equal(p.dispatch.got, 2);
    assert_int_equal(p.dispatch.last, 9);
    assert_string_equal(p.dispatch.text, "a@b.test");
    char text[6] = "";
    assert_int_equal(pread(p.dispatch.fd, text, 5, 0), 5);
    assert_string_equal(text, "hello");
    assert_true(fcntl(p.dispatch.fd, F_GETFD) & FD_CLOEXEC);
    close(p.dispatch.fd);
    assert_int_equal(p.queue.got, 1);
    assert_int_equal(channel_instance(p.queue.ch), 3);
    assert_int_equal(channel_pid(p.queue.ch), getpid());
    finish(&p);
}

/* More messages than credits, more octets than the socket holds: all arrive, in order, and `full` comes and goes. */
static void test_credit(void **state) {
    (void)state;
    struct pair p = make(ROLE_dispatch);
    join(&p, ROLE_dispatch);
    spin(&p);
    bool was_full = false;
    for (uint32_t i = 1; i <= 60000; i++) {
        SEND(p.dispatch.ch, fetch, .id = {1, i});
        was_full |= channel_full(p.dispatch.ch);
    }
    assert_true(was_full);
    for (int i = 0; i < 5000 && p.queue.got < 60000; i++) {
        uint32_t before = p.queue.last;
        loop_once(p.loop, 0);
        assert_true(p.queue.last >= before);
    }
    assert_int_equal(p.queue.got, 60000);
    assert_int_equal(p.queue.last, 60000);
    spin(&p);
    assert_true(p.dispatch.drained >= 1);
    assert_false(channel_full(p.dispatch.ch));
    finish(&p);
}

/* The packet that uses up the credit may be full, so that more than a window is owed: no reason to take offence. */
static void test_credit_overdrawn(void **state) {
    (void)state;
    struct pair p = make(ROLE_dispatch);
    join(&p, ROLE_dispatch);
    spin(&p);
    SEND(p.dispatch.ch, fetch, .id = {1, 1});
    spin(&p);
    for (uint32_t i = 2; i <= 60000; i++) SEND(p.dispatch.ch, fetch, .id = {1, i});
    for (int i = 0; i < 5000 && p.queue.got < 60000 && !p.dispatch.closed; i++) loop_once(p.loop, 0);
    assert_int_equal(p.dispatch.closed, 0);
    assert_int_equal(p.queue.got, 60000);
    finish(&p);
}

/* Held credit keeps the peer waiting until it is released. */
static void test_hold(void **state) {
    (void)state;
    struct pair p = make(ROLE_dispatch);
    join(&p, ROLE_dispatch);
    spin(&p);
    channel_hold(p.queue.ch, 100000);
    for (uint32_t i = 1; i <= 20000; i++) SEND(p.dispatch.ch, fetch, .id = {1, i});
    spin(&p);
    size_t stopped_at = p.queue.got;
    assert_true(stopped_at < 20000);
    spin(&p);
    assert_int_equal(p.queue.got, stopped_at);
    channel_release(p.queue.ch, 100000);
    for (int i = 0; i < 200; i++) loop_once(p.loop, 0);
    assert_int_equal(p.queue.got, 20000);
    finish(&p);
}

static void quiet(void *ctx, struct str line) {
    (void)ctx, (void)line;
}

/* Raw bytes that an owned program might send; each ends the channel with a reason, none ends us. */
static void test_intruders(void **state) {
    (void)state;
    log_capture(quiet, NULL);
    char hello_mem[64], wrong_role[64], wrong_schema[64], mem[256];
    struct wire_hello hello = {.schema = wire_schema(), .role = ROLE_dispatch, .credit = 100};
    struct buf h = BUF(hello_mem), r = BUF(wrong_role), s = BUF(wrong_schema), b = BUF(mem);
    wire_encode(&h, WIRE_hello, &hello);
    hello.role = ROLE_smtpd;
    wire_encode(&r, WIRE_hello, &hello);
    hello.role = ROLE_dispatch;
    hello.schema++;
    wire_encode(&s, WIRE_hello, &hello);
    wire_encode(&b, WIRE_fetch, &(struct wire_fetch){.id = {1, 2}});
    struct str fetch = buf_str(&b);
    char long_fetch[256], lease[64], ready_end[64];
    memcpy(long_fetch, fetch.p, fetch.n);
    long_fetch[fetch.n] = 'x';
    long_fetch[2]++;
    struct buf l = BUF(lease), e = BUF(ready_end);
    wire_encode(&l, WIRE_lease, &(struct wire_lease){.lease = 1});
    wire_encode(&e, WIRE_mail_abort, &(struct wire_mail_abort){.id = {1, 2}});
    const struct {
        const char *name;
        bool greet;
        struct str bytes;
    } rows[] = {
        {"no hello first", false, fetch},
        {"wrong role", false, buf_str(&r)},
        {"wrong schema", false, buf_str(&s)},
        {"hello twice", true, buf_str(&h)},
        {"unknown type", true, STR("\xff\xff\0\0")},
        {"type zero", true, STR("\0\0\0\0")},
        {"shorter than a header", true, STR("ab")},
        {"length beyond the packet", true, STR("\x01\0\xff\xff")},
        {"one octet short", true, str_sub(fetch, 0, fetch.n - 1)},
        {"one octet long", true, {long_fetch, fetch.n + 1}},
        {"a message of queue's own", true, buf_str(&l)},
        {"allowed by wire.def, not taken by this program", true, buf_str(&e)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pair p = make(ROLE_dispatch);
        p.queue.ch = channel_new(p.loop, p.fd[0], ROLE_queue, 0, ROLE_dispatch, &queue_user, &p.queue);
        if (rows[i].greet) assert_true(send(p.fd[1], h.p, h.n, 0) > 0);
        assert_true(send(p.fd[1], rows[i].bytes.p, rows[i].bytes.n, 0) > 0);
        spin(&p);
        if (p.queue.closed != 1 || !p.queue.why) print_error("row: %s\n", rows[i].name);
        assert_int_equal(p.queue.closed, 1);
        assert_non_null(p.queue.why);
        assert_int_equal(p.queue.got, 0);
        close(p.fd[1]);
        loop_free(p.loop);
    }
    log_capture(NULL, NULL);
}

/* A peer that asks and never reads may not fill our memory with answers. */
static void test_deaf_peer(void **state) {
    (void)state;
    static char text[1000];
    log_capture(quiet, NULL);
    char mem[256];
    struct wire_hello hello = {.schema = wire_schema(), .role = ROLE_dispatch, .credit = 0};
    struct buf b = BUF(mem);
    struct pair p = make(ROLE_dispatch);
    memset(text, 'x', sizeof text);
    p.queue.ch = channel_new(p.loop, p.fd[0], ROLE_queue, 0, ROLE_dispatch, &queue_user, &p.queue);
    wire_encode(&b, WIRE_hello, &hello);
    assert_true(send(p.fd[1], b.p, b.n, 0) > 0);
    spin(&p);
    b.n = 0;
    wire_encode(&b, WIRE_fetch, &(struct wire_fetch){.id = {1, 2}});
    assert_true(send(p.fd[1], b.p, b.n, 0) > 0);
    spin(&p);
    assert_int_equal(p.queue.got, 1);
    for (int i = 0; i < 270000; i++) SEND(p.queue.ch, mail_done, .id = {1, 2}, .text = {text, sizeof text});
    assert_int_equal(p.queue.closed, 0);
    assert_true(send(p.fd[1], b.p, b.n, 0) > 0);
    spin(&p);
    assert_int_equal(p.queue.got, 1);
    assert_int_equal(p.queue.closed, 1);
    assert_non_null(p.queue.why);
    close(p.fd[1]);
    loop_free(p.loop);
    log_capture(NULL, NULL);
}

/* None speaks in the name of another process of its role. */
static void test_instance(void **state) {
    (void)state;
    log_capture(quiet, NULL);
    for (unsigned said = 2; said <= 4; said++) {
        struct pair p = make(ROLE_dispatch);
        join(&p, ROLE_dispatch); /* which says that it is number 3 */
        channel_expect(p.queue.ch, said);
        spin(&p);
        assert_int_equal(p.queue.closed, said != 3);
        if (said == 3) assert_int_equal(channel_instance(p.queue.ch), said); /* the others are freed */
        finish(&p);
    }
    log_capture(NULL, NULL);
}

static void test_peer_ends(void **state) {
    (void)state;
    struct pair p = make(ROLE_dispatch);
    join(&p, ROLE_dispatch);
    SEND(p.dispatch.ch, fetch, .id = {1, 4});
    channel_close(p.dispatch.ch);
    p.dispatch.closed = 1;
    spin(&p);
    assert_int_equal(p.queue.got, 1); /* what was said before the end was heard */
    assert_int_equal(p.queue.closed, 1);
    assert_null(p.queue.why);
    loop_free(p.loop);
}

static void note(void *ctx) {
    char **at = ctx;
    *(*at)++ = 'x';
}

static void test_timers(void **state) {
    (void)state;
    struct timers ts = {0};
    struct timer t[200];
    char marks[256], *at = marks;
    for (size_t i = 0; i < 200; i++) {
        t[i] = (struct timer){.fn = note, .ctx = &at};
        timers_set(&ts, &t[i], (int64_t)((i * 7919) % 200));
    }
    for (size_t i = 0; i < 200; i += 2) timers_cancel(&ts, &t[i]);
    for (size_t i = 1; i < 200; i += 4) timers_set(&ts, &t[i], 1000 + (int64_t)i);
    int64_t next, last = -1;
    size_t ran = 0;
    while (timers_next(&ts, &next)) {
        assert_true(next >= last);
        last = next;
        timers_run(&ts, next);
        ran = (size_t)(at - marks);
    }
    assert_int_equal(ran, 100);
    timers_free(&ts);
}

static void test_fake_clock(void **state) {
    (void)state;
    struct loop *l = loop_new_fake();
    char marks[8], *at = marks;
    struct timer t = {.fn = note, .ctx = &at};
    loop_timer_in(l, &t, 5000);
    loop_advance(l, 4999 * 1000000LL);
    assert_ptr_equal(at, marks);
    loop_advance(l, 1000000);
    assert_ptr_equal(at, marks + 1);
    loop_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_and_descriptors),
        cmocka_unit_test(test_credit),
        cmocka_unit_test(test_credit_overdrawn),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_intruders),
        cmocka_unit_test(test_peer_ends),
        cmocka_unit_test(test_instance),
        cmocka_unit_test(test_deaf_peer),
        cmocka_unit_test(test_timers),
        cmocka_unit_test(test_fake_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
