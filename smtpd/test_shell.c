/* The real program in its real cage, with posternd, queue and lookup played from here over socket pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/arena.h"
#include "common/channel.h"
#include "smtpd/body.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DATA_MAX = 8 << 20, PATIENCE_MS = 20000 };

static struct town {
    struct loop *loop;
    struct channel *supervise, *queue, *lookup, *keys;
    pid_t pid;
    int log_fd;
    uint16_t port;
    char submit[80], empty[64];
    bool started, hold; /* hold: mail_end is not answered */
    uint32_t begun, ended, aborted, chunks, chunks_before_end, rcpts, user_queries;
    uint8_t family;
    struct qid id;
    struct status fate;
    char *data;
    size_t data_n;
    char prefix[9000], origin[400], sender[500], rcpt[500];
} t;

struct client {
    int fd;
    struct watch *watch; /* only wakes the loop */
    char *in;
    size_t n;
};

static void copy(char *to, size_t max, struct str s) {
    assert_true(s.n < max);
    if (s.n) memcpy(to, s.p, s.n);
    to[s.n] = '\0';
}

static void on_started(void *ctx, struct channel *ch, const struct wire_started *m, int fd) {
    t.started = true;
}

static void on_begin(void *ctx, struct channel *ch, const struct wire_mail_begin *m, int fd) {
    t.begun++;
    t.id = m->id;
    t.data_n = 0;
    t.chunks = t.rcpts = 0;
    copy(t.sender, sizeof t.sender, m->sender);
    copy(t.origin, sizeof t.origin, m->origin);
}

static void on_rcpt(void *ctx, struct channel *ch, const struct wire_mail_rcpt *m, int fd) {
    assert_true(qid_eq(m->id, t.id));
    assert_int_equal(m->index, t.rcpts++);
    copy(t.rcpt, sizeof t.rcpt, m->rcpt);
}

static void on_chunk(void *ctx, struct channel *ch, const struct wire_mail_chunk *m, int fd) {
    assert_true(m->size > 0 && m->size <= BODY_CHUNK_MAX);
    assert_int_equal(fcntl(fd, F_GET_SEALS) & 15, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    assert_int_equal(lseek(fd, 0, SEEK_END), m->size);
    assert_true(t.data_n + m->size <= DATA_MAX);
    assert_int_equal(pread(fd, t.data + t.data_n, m->size, 0), m->size);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    t.data_n += m->size;
    t.chunks++;
    close(fd);
}

static void on_end(void *ctx, struct channel *ch, const struct wire_mail_end *m, int fd) {
    assert_true(qid_eq(m->id, t.id));
    assert_int_equal(m->size, t.data_n);
    assert_int_equal(m->rcpts, t.rcpts);
    copy(t.prefix, sizeof t.prefix, m->prefix);
    t.ended++;
    if (!t.hold) SEND(ch, mail_done, .id = m->id, WIRE_STATUS(t.fate));
}

static void on_abort(void *ctx, struct channel *ch, const struct wire_mail_abort *m, int fd) {
    t.aborted++;
}

static void on_query(void *ctx, struct channel *ch, const struct wire_rcpt_query *m, int fd) {
    struct status st = str_starts_nocase(m->rcpt, STR("no")) ? status_make(550, "5.1.1", "No such user here")
                                                             : status_make(250, "2.1.5", "Recipient ok");
    t.family = m->family;
    assert_int_equal(m->ip.n, m->family == 4 ? 4 : 0);
    SEND(ch, rcpt_answer, .tag = m->tag, WIRE_STATUS(st));
}

static void on_user(void *ctx, struct channel *ch, const struct wire_user_query *m, int fd) {
    t.user_queries++;
    SEND(ch, user_answer, .tag = m->tag, .login = STR("someone"));
}

static void on_closed(void *ctx, struct channel *ch, const char *why) {
    if (ch == t.queue) t.queue = NULL;
    if (ch == t.lookup) t.lookup = NULL;
    if (ch == t.supervise) t.supervise = NULL;
    assert_null(why);
}

static const struct wire_handlers as_supervise = {.started = on_started};
static const struct wire_handlers as_queue = {.mail_begin = on_begin,
                                              .mail_rcpt = on_rcpt,
                                              .mail_chunk = on_chunk,
                                              .mail_end = on_end,
                                              .mail_abort = on_abort};
static const struct wire_handlers as_lookup = {.rcpt_query = on_query, .user_query = on_user};
static const struct channel_user user_supervise = {.handlers = &as_supervise, .closed = on_closed};
static const struct channel_user user_queue = {.handlers = &as_queue, .closed = on_closed};
static const struct channel_user user_lookup = {.handlers = &as_lookup, .closed = on_closed};

/* Runs the loop until cond; a test that waits in vain fails. */
#define UNTIL(cond) \
    do { \
        int64_t end_ = loop_now(t.loop) + PATIENCE_MS * 1000000LL; \
        while (!(cond) && loop_now(t.loop) < end_) loop_once(t.loop, 5); \
        assert_true(cond); \
    } while (0)

static int pair(enum role role) {
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
    SEND_FD(t.supervise, sv[1], peer, .role = (uint8_t)role);
    return sv[0];
}

static void wire_queue(void) {
    t.queue = channel_new(t.loop, pair(ROLE_queue), ROLE_queue, 0, ROLE_smtpd, &user_queue, NULL);
    static uint64_t lease = 1000;
    SEND(t.queue, lease, .lease = ++lease);
    UNTIL(channel_greeted(t.queue));
}

static void wire_lookup(void) {
    t.lookup = channel_new(t.loop, pair(ROLE_lookup), ROLE_lookup, 0, ROLE_smtpd, &user_lookup, NULL);
    UNTIL(channel_greeted(t.lookup));
}

/* A keys without certificates: there is no STARTTLS, and clients are let in. */
static void wire_keys(void) {
    static const struct wire_handlers none;
    static const struct channel_user user = {.handlers = &none, .closed = on_closed};
    t.keys = channel_new(t.loop, pair(ROLE_keys), ROLE_keys, 0, ROLE_smtpd, &user, NULL);
    SEND(t.keys, tls_begin, .set = 1);
    SEND(t.keys, tls_end, .set = 1);
    UNTIL(channel_greeted(t.keys));
}

static void conf(const char *name, const char *value) {
    SEND(t.supervise, conf, .name = str_of(name), .value = str_of(value));
}

static void start_program(int supervise, int log) {
    const char *dir = getenv("builddir");
    char path[512];
    snprintf(path, sizeof path, "%s/smtpd/smtpd", dir ? dir : ".");
    t.pid = fork();
    if (t.pid != 0) return;
    int a = fcntl(supervise, F_DUPFD, 20), b = fcntl(log, F_DUPFD, 20);
    dup2(a, 3);
    dup2(b, 4);
    close_range(5, ~0U, 0);
    execl(path, "smtpd", "-i", "0", (char *)NULL);
    _exit(127);
}

static void listeners(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t n = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(fd, 1000), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    t.port = ntohs(in.sin_port);
    SEND_FD(t.supervise, fd, listener, .kind = 0, .name = STR("tcp"));
    snprintf(t.submit, sizeof t.submit, "%s/submit", t.empty);
    snprintf(un.sun_path, sizeof un.sun_path, "%s", t.submit);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(listen(fd, 100), 0);
    SEND_FD(t.supervise, fd, listener, .kind = 1, .name = STR("submit"));
}

static int begin(void **state) {
    int sv[2], log[2];
    t.fate = status_make(250, "2.0.0", "Durable");
    t.data = xmalloc(DATA_MAX);
    t.loop = loop_new();
    snprintf(t.empty, sizeof t.empty, "/tmp/postern-smtpd-XXXXXX");
    if (!mkdtemp(t.empty)) return -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) != 0 ||
        pipe2(log, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    start_program(sv[1], log[1]);
    close(sv[1]);
    close(log[1]);
    t.log_fd = log[0];
    t.supervise = channel_new(t.loop, sv[0], ROLE_supervise, 0, ROLE_smtpd, &user_supervise, NULL);
    conf("hostname", "mx.test");
    conf("message-size-limit", "7M");
    bool root = geteuid() == 0;
    SEND(t.supervise, cage, .uid = root ? 61000 + ROLE_smtpd : getuid(),
         .gid = root ? 61000 + ROLE_smtpd : getgid(), .root = root ? str_of(t.empty) : STR_NONE);
    SEND(t.supervise, conf_end, .generation = 1);
    UNTIL(t.started);
    listeners();
    wire_queue();
    wire_lookup();
    wire_keys();
    return 0;
}

static int end(void **state) {
    int status = -1;
    if (t.supervise) SEND(t.supervise, stop, .within_ms = 2000);
    UNTIL(!t.supervise);
    assert_int_equal(waitpid(t.pid, &status, 0), t.pid);
    assert_int_equal(status, 0); /* not killed by its cage, among others */
    unlink(t.submit);
    rmdir(t.empty);
    return 0;
}

/* ---- Clients ---- */

static void wake(void *ctx, uint32_t ready) {
}

static struct client client_of(int fd) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return (struct client){.fd = fd, .watch = loop_watch(t.loop, fd, EPOLLIN, wake, NULL)};
}

static void leave(struct client *c) {
    watch_close(c->watch);
    close(c->fd);
    free(c->in);
}

static struct client connect_tcp(void) {
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(t.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    return client_of(fd);
}

static bool take(struct client *c) {
    char mem[4096];
    ssize_t k = recv(c->fd, mem, sizeof mem, 0);
    if (k <= 0) return k == 0;
    c->in = xrealloc(c->in, c->n + (size_t)k + 1);
    memcpy(c->in + c->n, mem, (size_t)k);
    c->n += (size_t)k;
    c->in[c->n] = '\0';
    return false;
}

static void hear(struct client *c, const char *want) {
    size_t n = strlen(want);
    int64_t give_up = loop_now(t.loop) + PATIENCE_MS * 1000000LL;
    while (c->n < n && loop_now(t.loop) < give_up) {
        if (take(c)) break;
        if (c->n < n) loop_once(t.loop, 5);
    }
    if (c->n < n || memcmp(c->in, want, n) != 0)
        print_error("heard: %s\nwant: %s\n", c->in ? c->in : "", want);
    assert_true(c->n >= n && memcmp(c->in, want, n) == 0);
    c->n -= n;
    memmove(c->in, c->in + n, c->n + 1);
}

static void hear_end(struct client *c) {
    int64_t give_up = loop_now(t.loop) + PATIENCE_MS * 1000000LL;
    while (!take(c) && loop_now(t.loop) < give_up) loop_once(t.loop, 5);
    assert_true(take(c));
    assert_int_equal(c->n, 0);
    leave(c);
}

static void say(struct client *c, const char *bytes, size_t n) {
    int64_t give_up = loop_now(t.loop) + PATIENCE_MS * 1000000LL;
    while (n && loop_now(t.loop) < give_up) {
        ssize_t k = send(c->fd, bytes, n, MSG_NOSIGNAL);
        if (k > 0) bytes += k, n -= (size_t)k;
        else assert_int_equal(errno, EAGAIN);
        if (n) loop_once(t.loop, 1);
    }
    assert_int_equal(n, 0);
}

#define SAY(c, text) say((c), (text), sizeof(text) - 1)
#define HI           "220 mx.test ESMTP Postern\r\n"
#define HELO         "HELO a.test\r\n"
#define OPEN         "MAIL FROM:<s@a.test>\r\nRCPT TO:<r@mx.test>\r\nDATA\r\n"
#define HELO_R       "250 mx.test\r\n"
#define OPEN_R \
    "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n354 End the message with a line that is one dot\r\n"
#define BUSY "451 4.3.0 The message cannot be kept now, try again later\r\n"

static void hear_accepted(struct client *c) {
    char want[80];
    snprintf(want, sizeof want, "250 2.0.0 Accepted as %s\r\n", qid_format(t.id).c);
    hear(c, want);
}

/* ---- The tests ---- */

static void small_message(void **state) {
    struct client c = connect_tcp();
    hear(&c, HI);
    SAY(&c, HELO "MAIL FROM:<s@a.test>\r\nRCPT TO:<nobody@mx.test>\r\nRCPT TO:<r@mx.test>\r\nDATA\r\n");
    hear(&c, HELO_R "250 2.1.0 Sender ok\r\n550 5.1.1 No such user here\r\n250 2.1.5 Recipient ok\r\n"
                    "354 End the message with a line that is one dot\r\n");
    SAY(&c, "Subject: x\r\n\r\n..\r\nhello\r\n.\r\nQUIT\r\n");
    UNTIL(t.ended == 1);
    hear_accepted(&c);
    hear(&c, "221 2.0.0 Goodbye\r\n");
    hear_end(&c);
    assert_int_equal(t.family, 4);
    assert_int_equal(t.chunks, 1);
    assert_int_equal(t.rcpts, 1);
    assert_string_equal(t.rcpt, "r@mx.test");
    assert_string_equal(t.sender, "s@a.test");
    assert_string_equal(t.origin, "client [127.0.0.1] helo a.test");
    assert_true(t.data_n == 24 && memcmp(t.data, "Subject: x\r\n\r\n.\r\nhello\r\n", 24) == 0);
    assert_ptr_equal(
        strstr(t.prefix, "Received: from a.test ([127.0.0.1])\r\n\tby mx.test (Postern) with SMTP\r\n\tid "),
        t.prefix);
}

/* Streams while it arrives: chunks come before the end, and hold exactly what was sent. */
static void large_message(void **state) {
    enum { LINE = 100, LINES = 60000 };
    char *text = xmalloc(LINE * LINES);
    for (size_t i = 0; i < LINES; i++) {
        memset(text + i * LINE, (int)('a' + i % 26), LINE);
        memcpy(text + i * LINE + LINE - 2, "\r\n", 2);
    }
    struct client c = connect_tcp();
    hear(&c, HI);
    SAY(&c, HELO OPEN);
    hear(&c, HELO_R OPEN_R);
    uint32_t ended = t.ended;
    say(&c, text, LINE * LINES);
    UNTIL(t.chunks == 5);
    assert_int_equal(t.ended, ended);
    SAY(&c, ".\r\n");
    UNTIL(t.ended == ended + 1);
    hear_accepted(&c);
    assert_int_equal(t.chunks, 6);
    assert_true(t.data_n == LINE * LINES && memcmp(t.data, text, t.data_n) == 0);

    /* Cut off after that much: queue is told to forget it. */
    SAY(&c, OPEN);
    hear(&c, OPEN_R);
    say(&c, text, LINE * LINES);
    UNTIL(t.chunks == 5);
    leave(&c);
    UNTIL(t.aborted == 1);
    assert_int_equal(t.ended, ended + 1);

    /* Over the limit: forgotten at once, told at the end. */
    c = connect_tcp();
    hear(&c, HI);
    SAY(&c, HELO OPEN);
    hear(&c, HELO_R OPEN_R);
    say(&c, text, LINE * LINES);
    say(&c, text, LINE * 20000);
    UNTIL(t.aborted == 2);
    SAY(&c, ".\r\nQUIT\r\n");
    hear(&c, "552 5.3.4 Message too large for this server (message-size-limit)\r\n221 2.0.0 Goodbye\r\n");
    hear_end(&c);
    free(text);
}

static void cut_off(void **state) {
    uint32_t begun = t.begun;
    struct client c = connect_tcp();
    hear(&c, HI);
    SAY(&c, HELO OPEN);
    hear(&c, HELO_R OPEN_R);
    SAY(&c, "Subject: half\r\n\r\nhal");
    leave(&c);
    c = connect_tcp(); /* by the time this one is served, the other has been forgotten */
    hear(&c, HI);
    SAY(&c, "QUIT\r\n");
    hear(&c, "221 2.0.0 Goodbye\r\n");
    hear_end(&c);
    assert_int_equal(t.begun, begun);
}

static void talk_as_local(struct client *c, uid_t uid) {
    char want[64];
    hear(c, HI);
    SAY(c, HELO OPEN);
    hear(c, HELO_R OPEN_R);
    uint32_t ended = t.ended;
    SAY(c, "Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n");
    UNTIL(t.ended == ended + 1);
    hear_accepted(c);
    hear(c, "221 2.0.0 Goodbye\r\n");
    hear_end(c);
    snprintf(want, sizeof want, "local user %u", (unsigned)uid);
    assert_string_equal(t.origin, want);
    assert_int_equal(t.family, 0);
    assert_non_null(strstr(t.prefix, "\r\nDate: "));
    assert_non_null(strstr(t.prefix, "\r\nMessage-ID: <"));
}

static void submit_socket(void **state) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", t.submit);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof un), 0);
    struct client c = client_of(fd);
    talk_as_local(&c, getuid());
    assert_int_equal(t.user_queries, 1);
}

static void from_pickup(void **state) {
    static const struct wire_handlers none;
    static const struct channel_user user = {.handlers = &none, .closed = on_closed};
    struct channel *pickup = channel_new(t.loop, pair(ROLE_pickup), ROLE_pickup, 0, ROLE_smtpd, &user, NULL);
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    SEND_FD(pickup, sv[1], submission, .uid = 4321);
    struct client c = client_of(sv[0]);
    talk_as_local(&c, 4321);
    channel_close(pickup);
}

/* Without queue or lookup the client hears 451, and all is well again when they are back. */
static void peers_come_and_go(void **state) {
    struct client c = connect_tcp();
    hear(&c, HI);
    SAY(&c, HELO OPEN);
    hear(&c, HELO_R OPEN_R);
    t.hold = true;
    uint32_t ended = t.ended;
    SAY(&c, "x\r\n.\r\n");
    UNTIL(t.ended == ended + 1);
    channel_close(t.queue);
    hear(&c, BUSY);
    SAY(&c, OPEN);
    hear(&c, "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n451 4.3.0 No mail can be taken now, try again "
             "later\r\n");
    channel_close(t.lookup);
    SAY(&c, "RCPT TO:<q@mx.test>\r\n");
    hear(&c, "451 4.3.0 Recipient cannot be checked now, try again later\r\n");
    t.hold = false;
    wire_lookup();
    wire_queue();
    SAY(&c, "DATA\r\n");
    hear(&c, "354 End the message with a line that is one dot\r\n");
    SAY(&c, "y\r\n.\r\n");
    UNTIL(t.ended == ended + 2);
    hear_accepted(&c);
    t.fate = status_make(452, "4.3.1", "The disk is full");
    SAY(&c, OPEN);
    hear(&c, OPEN_R);
    SAY(&c, "z\r\n.\r\n");
    hear(&c, "452 4.3.1 The disk is full\r\n");
    t.fate = status_make(250, "2.0.0", "Durable");
    leave(&c);
}

static void send_raw(int fd, enum wire_type type, const void *m) {
    char mem[1000];
    struct buf b = BUF(mem);
    assert_true(wire_encode(&b, type, m));
    assert_int_equal(send(fd, mem, b.n, 0), b.n);
}

/* A queue that takes three messages and then no more: the client is not read from until it takes them
 * again. */
static void back_pressure(void **state) {
    channel_close(t.queue);
    int fd = pair(ROLE_queue);
    send_raw(fd, WIRE_hello, &(struct wire_hello){.schema = wire_schema(), .role = ROLE_queue, .credit = 3});
    send_raw(fd, WIRE_lease, &(struct wire_lease){.lease = 77});
    int unread = 1;
    UNTIL(ioctl(fd, SIOCOUTQ, &unread) == 0 && unread == 0);
    struct client c = connect_tcp();
    hear(&c, HI);
    SAY(&c, HELO OPEN);
    hear(&c, HELO_R OPEN_R);
    static char line[65536];
    memset(line, 'x', sizeof line);
    size_t sent = 0;
    int64_t quiet = loop_now(t.loop);
    while (loop_now(t.loop) - quiet < 300000000) { /* until nothing moves for 0.3 s */
        ssize_t k = send(c.fd, line, sizeof line, MSG_NOSIGNAL);
        if (k > 0) sent += (size_t)k, quiet = loop_now(t.loop);
        loop_once(t.loop, 1);
        if (sent > 100 << 20) break;
    }
    assert_true(sent > BODY_CHUNK_MAX && sent < 32 << 20); /* a chunk or two and the sockets' buffers */
    send_raw(fd, WIRE_credit, &(struct wire_credit){.more = 100});
    ssize_t k = -1;
    for (int i = 0; i < 2000 && k <= 0; i++) {
        k = send(c.fd, line, sizeof line, MSG_NOSIGNAL);
        loop_once(t.loop, 1);
    }
    assert_true(k > 0);
    leave(&c);
    close(fd);
    wire_queue();
}

static long resident_kib(void) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)t.pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    assert_true(n > 0);
    text[n] = '\0';
    const char *at = strstr(text, "RssAnon:");
    assert_non_null(at);
    return strtol(at + 8, NULL, 10);
}

static void many_idle(void **state) {
    enum { MANY = 800 };
    static struct client c[MANY];
    long before = resident_kib();
    for (int i = 0; i < MANY; i++) {
        c[i] = connect_tcp();
        hear(&c[i], HI);
        SAY(&c[i], HELO);
        hear(&c[i], HELO_R);
    }
    double each = (double)(resident_kib() - before) / MANY;
    print_message("# %.2f KiB for each idle session\n", each);
#ifndef POSTERN_SANITIZE
    assert_true(each < 4.0);
#endif
    for (int i = 0; i < MANY; i++) leave(&c[i]);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_message),     cmocka_unit_test(many_idle),     cmocka_unit_test(large_message),
        cmocka_unit_test(cut_off),           cmocka_unit_test(submit_socket), cmocka_unit_test(from_pickup),
        cmocka_unit_test(peers_come_and_go), cmocka_unit_test(back_pressure),
    };
    return cmocka_run_group_tests_name("smtpd", tests, begin, end);
}
