/* test_program.c: the program queue itself, in its cage, between a smtpd, a dispatch, a posternd and a
 * tool that this test plays: what it promises, whom it believes, and what it knows again after kill -9. */
#include "common/arena.h"
#include "common/channel.h"
#include "queue/disk.h"
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

struct play {
    struct loop *loop;
    char dir[64], control[128];
    pid_t pid;
    uid_t uid;
    bool direct; /* spool-mode */
    bool late;   /* dispatch comes later */
    struct channel *supervise, *smtpd, *dispatch, *tool;
    /* What was heard. */
    uint64_t smtpd_lease, dispatch_lease;
    unsigned started, done, waiting, waiting_none, gone, due, ready, fresh, ready_end, lost;
    struct wire_mail_done last_done;
    struct qid ready_id, waiting_id;
    int64_t ready_arrival;
    uint32_t ready_rcpts, first_index;
    int64_t waiting_next;
    unsigned told_rcpts, in_memory, marked;
    char data[256], sender[64], rcpt[64];
    unsigned shown, shown_rcpts, files, ctl_done;
    uint16_t ctl_code;
    uint8_t shown_state;
};

/* ---- What the roles hear ------------------------------------------------------------------------------- */

static void on_started(void *ctx, struct channel *ch, const struct wire_started *m, int fd) {
    ((struct play *)ctx)->started++;
}

static void on_lease(void *ctx, struct channel *ch, const struct wire_lease *m, int fd) {
    struct play *p = ctx;
    if (ch == p->smtpd) p->smtpd_lease = m->lease;
    else p->dispatch_lease = m->lease;
}

static void on_mail_done(void *ctx, struct channel *ch, const struct wire_mail_done *m, int fd) {
    struct play *p = ctx;
    p->done++;
    p->last_done = *m;
}

static void copy(char *to, size_t size, struct str s) {
    snprintf(to, size, "%.*s", STR_ARGS(s));
}

static void on_ready(void *ctx, struct channel *ch, const struct wire_ready *m, int fd) {
    struct play *p = ctx;
    p->ready++;
    p->fresh += m->fresh;
    p->ready_id = m->id;
    p->ready_arrival = m->arrival;
    p->ready_rcpts = m->rcpts;
    p->told_rcpts = 0;
    copy(p->sender, sizeof p->sender, m->sender);
    p->in_memory += (fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE) != 0 && fcntl(fd, F_GET_SEALS) > 0;
    ssize_t n = pread(fd, p->data, sizeof p->data - 1, 0);
    p->data[n > 0 ? n : 0] = '\0';
    close(fd);
}

static void on_ready_rcpt(void *ctx, struct channel *ch, const struct wire_ready_rcpt *m, int fd) {
    struct play *p = ctx;
    if (m->state != 'N' && m->state != 'L') return; /* ended: told for expansions only */
    if (!p->told_rcpts++) p->first_index = m->index;
    copy(p->rcpt, sizeof p->rcpt, m->rcpt);
}

static void on_ready_end(void *ctx, struct channel *ch, const struct wire_ready_end *m, int fd) {
    ((struct play *)ctx)->ready_end++;
}

static void on_marked(void *ctx, struct channel *ch, const struct wire_marked *m, int fd) {
    struct play *p = ctx;
    p->marked += m->count;
}

static void on_waiting(void *ctx, struct channel *ch, const struct wire_waiting *m, int fd) {
    struct play *p = ctx;
    p->waiting++;
    p->waiting_none += m->id.lease == 1; /* nobody's */
    p->waiting_id = m->id;
    p->waiting_next = m->next;
}

static void on_gone(void *ctx, struct channel *ch, const struct wire_gone *m, int fd) {
    ((struct play *)ctx)->gone++;
}

static void on_due_now(void *ctx, struct channel *ch, const struct wire_due_now *m, int fd) {
    ((struct play *)ctx)->due++;
}

static void on_ctl_message(void *ctx, struct channel *ch, const struct wire_ctl_message *m, int fd) {
    ((struct play *)ctx)->shown++;
}

static void on_ctl_rcpt(void *ctx, struct channel *ch, const struct wire_ctl_rcpt *m, int fd) {
    struct play *p = ctx;
    p->shown_rcpts++;
    p->shown_state = m->state;
}

static void on_ctl_file(void *ctx, struct channel *ch, const struct wire_ctl_file *m, int fd) {
    struct play *p = ctx;
    p->files++;
    int seals = fcntl(fd, F_GET_SEALS); /* of the journal it is memory */
    assert_true((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY || (seals > 0 && (seals & F_SEAL_WRITE)));
    close(fd);
}

static void on_ctl_done(void *ctx, struct channel *ch, const struct wire_ctl_done *m, int fd) {
    struct play *p = ctx;
    p->ctl_done++;
    p->ctl_code = m->code;
}

static void on_closed(void *ctx, struct channel *ch, const char *why) {
    struct play *p = ctx;
    p->lost++;
    if (ch == p->smtpd) p->smtpd = NULL;
    if (ch == p->dispatch) p->dispatch = NULL;
    if (ch == p->supervise) p->supervise = NULL;
    if (ch == p->tool) p->tool = NULL;
}

static const struct wire_handlers handlers = {
    .started = on_started,
    .lease = on_lease,
    .mail_done = on_mail_done,
    .marked = on_marked,
    .ready = on_ready,
    .ready_rcpt = on_ready_rcpt,
    .ready_end = on_ready_end,
    .waiting = on_waiting,
    .gone = on_gone,
    .due_now = on_due_now,
    .ctl_message = on_ctl_message,
    .ctl_rcpt = on_ctl_rcpt,
    .ctl_file = on_ctl_file,
    .ctl_done = on_ctl_done,
};
static const struct channel_user user = {.handlers = &handlers, .closed = on_closed};

/* ---- The stage ----------------------------------------------------------------------------------------- */

/* Runs the loop until *count has reached n; fails after ten seconds. */
static void until(struct play *p, const unsigned *count, unsigned n, const char *what) {
    time_t end = time(NULL) + 10;
    while (*count < n) {
        if (time(NULL) > end) fail_msg("waiting for %s: %u of %u", what, *count, n);
        loop_once(p->loop, 100);
    }
}

static void pass(struct play *p, int ms) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    do {
        loop_once(p->loop, 10);
        clock_gettime(CLOCK_MONOTONIC, &b);
    } while ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < ms);
}

static const char *program_path(void) {
    static char path[512];
    const char *builddir = getenv("builddir");
    snprintf(path, sizeof path, "%s/queue/queue", builddir ? builddir : ".");
    return path;
}

static void exec_queue(int supervise) {
    dup2(2, 60);
    if (supervise != 3) dup2(supervise, 3);
    dup2(60, 4);
    for (int i = 5; i < 64; i++) close(i);
    execl(program_path(), "queue", "-i", "0", (char *)NULL);
    _exit(127);
}

static void conf(struct play *p, const char *name, const char *value) {
    SEND(p->supervise, conf, .name = str_of(name), .value = str_of(value));
}

static struct channel *peer(struct play *p, enum role role) {
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
    SEND_FD(p->supervise, fd[1], peer, .role = (uint8_t)role, .instance = 0);
    return channel_new(p->loop, fd[0], role, 0, ROLE_queue, &user, p);
}

static void listen_control(struct play *p) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_true(strlen(p->control) < sizeof a.sun_path);
    memcpy(a.sun_path, p->control, strlen(p->control) + 1);
    unlink(p->control);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(chmod(p->control, 0666), 0);
    SEND_FD(p->supervise, fd, listener, .kind = 2, .name = STR("control-queue"));
}

static void run_queue(struct play *p) {
    int fd[2];
    char spool[80];
    snprintf(spool, sizeof spool, "%s/spool", p->dir);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd), 0);
    p->pid = fork();
    if (p->pid == 0) exec_queue(fd[1]);
    close(fd[1]);
    p->started = 0;
    p->smtpd_lease = p->dispatch_lease = 0;
    p->supervise = channel_new(p->loop, fd[0], ROLE_supervise, 0, ROLE_queue, &user, p);
    conf(p, "spool-directory", spool);
    conf(p, "spool-mode", p->direct ? "direct" : "journal");
    conf(p, "free-space", "0");
    SEND(p->supervise, cage, .uid = p->uid, .gid = p->uid, .root = getuid() ? STR_NONE : str_of(spool));
    SEND(p->supervise, conf_end, .generation = 1);
    until(p, &p->started, 1, "started");
    listen_control(p);
    p->smtpd = peer(p, ROLE_smtpd);
    if (!p->late) p->dispatch = peer(p, ROLE_dispatch);
}

static void leases(struct play *p) {
    time_t end = time(NULL) + 10;
    while (!p->smtpd_lease || (!p->dispatch_lease && !p->late)) {
        if (time(NULL) > end) fail_msg("no lease");
        loop_once(p->loop, 100);
    }
}

static void kill_queue(struct play *p, int signo) {
    int status;
    kill(p->pid, signo);
    waitpid(p->pid, &status, 0);
    unsigned all = p->lost + 2u + (p->dispatch != NULL) + (p->tool != NULL);
    until(p, &p->lost, all, "the end of the channels");
}

static int setup_mode(void **state, bool direct) {
    struct play *p = xmalloc(sizeof *p);
    p->direct = direct;
    char spool[80];
    p->loop = loop_new();
    p->uid = getuid() ? getuid() : 61077;
    snprintf(p->dir, sizeof p->dir, "/tmp/postern-queue-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    assert_int_equal(chmod(p->dir, 0755), 0);
    snprintf(spool, sizeof spool, "%s/spool", p->dir);
    snprintf(p->control, sizeof p->control, "%s/control", p->dir);
    assert_int_equal(mkdir(spool, 0700), 0);
    if (!getuid()) assert_int_equal(chown(spool, p->uid, p->uid), 0);
    signal(SIGPIPE, SIG_IGN);
    *state = p;
    run_queue(p);
    return 0;
}

static int setup(void **state) {
    return setup_mode(state, false);
}

static int setup_direct(void **state) {
    return setup_mode(state, true);
}

static void remove_tree(const char *path) {
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", path, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

static int teardown(void **state) {
    struct play *p = *state;
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    if (p->supervise) channel_close(p->supervise);
    if (p->smtpd) channel_close(p->smtpd);
    if (p->dispatch) channel_close(p->dispatch);
    if (p->tool) channel_close(p->tool);
    loop_once(p->loop, 0);
    loop_free(p->loop);
    remove_tree(p->dir);
    free(p);
    return 0;
}

static int memfd(const char *text, int seals) {
    int fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    if (seals) assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

enum { SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW };

static void send_mail(struct play *p, struct qid id, const char *text, unsigned rcpts, const char *origin) {
    char rcpt[64];
    SEND(p->smtpd, mail_begin, .id = id, .arrival = 1700000000000, .sender = STR("s@example.com"),
         .origin = str_of(origin));
    for (uint32_t i = 0; i < rcpts; i++) {
        snprintf(rcpt, sizeof rcpt, "r%u@example.org", i);
        SEND(p->smtpd, mail_rcpt, .id = id, .index = i, .rcpt = str_of(rcpt));
    }
    SEND_FD(p->smtpd, memfd(text, SEALS), mail_chunk, .id = id, .size = (uint32_t)strlen(text));
    SEND(p->smtpd, mail_end, .id = id, .rcpts = rcpts, .size = strlen(text),
         .prefix = STR("Received: x\r\n"));
}

static void mark(struct play *p, struct qid id, uint32_t index, char state, int64_t next) {
    SEND(p->dispatch, mark, .id = id, .index = index, .state = (uint8_t)state, .attempts = 1, .next = next,
         .kind = 1, .code = 450, .detail = 4002001, .text = STR("later"));
}

static void tool(struct play *p) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    memcpy(a.sun_path, p->control, strlen(p->control) + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    p->tool = channel_new(p->loop, fd, ROLE_tool, 0, ROLE_queue, &user, p);
}

static unsigned spool_files(struct play *p) {
    unsigned n = 0;
    char path[128];
    for (unsigned i = 0; i < DISK_FOLDERS; i++) {
        snprintf(path, sizeof path, "%s/spool/%02x", p->dir, i);
        DIR *d = opendir(path);
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
        closedir(d);
    }
    return n;
}

/* ---- Scenes -------------------------------------------------------------------------------------------- */

static void a_message_goes_through(void **state) {
    struct play *p = *state;
    leases(p);
    assert_true(p->smtpd_lease != p->dispatch_lease);
    struct qid id = {p->smtpd_lease, 1};
    send_mail(p, id, "Subject: x\r\n\r\nhello\r\n", 1, "client [192.0.2.1]");
    until(p, &p->done, 1, "mail_done");
    assert_int_equal(p->last_done.kind, 0);
    assert_int_equal(p->last_done.code, 250);
    until(p, &p->ready_end, 1, "ready");
    assert_true(qid_eq(p->ready_id, id));
    assert_string_equal(p->data, "Subject: x\r\n\r\nhello\r\n");
    assert_string_equal(p->sender, "s@example.com");
    assert_string_equal(p->rcpt, "r0@example.org");
    assert_int_equal(p->fresh, 1);
    assert_int_equal(spool_files(p), 2);
    mark(p, id, 0, 'D', 0);
    pass(p, 1500);
    assert_int_equal(spool_files(p), 0);
}

static void survives_kill(void **state) {
    struct play *p = *state;
    leases(p);
    struct qid a = {p->smtpd_lease, 1}, b = {p->smtpd_lease, 2};
    uint64_t lease = p->smtpd_lease;
    send_mail(p, a, "one\r\n", 3, "client [192.0.2.1]");
    send_mail(p, b, "two\r\n", 1, "client [192.0.2.1]");
    until(p, &p->done, 2, "mail_done");
    until(p, &p->ready_end, 2, "ready");
    int64_t later = loop_wall_ms(p->loop) + 3600000;
    mark(p, a, 0, 'D', 0);
    mark(p, b, 0, 'L', later);
    pass(p, 200);
    kill_queue(p, SIGKILL);
    assert_int_equal(p->fresh, 2);
    p->ready = p->ready_end = p->waiting = p->fresh = 0;
    run_queue(p);
    leases(p);
    assert_true(p->smtpd_lease > lease);
    until(p, &p->ready_end, 1, "ready after the restart");
    until(p, &p->waiting, 1, "waiting after the restart");
    assert_true(qid_eq(p->ready_id, a));
    assert_int_equal(p->ready_rcpts, 3);
    assert_int_equal(p->told_rcpts, 2);
    assert_int_equal(p->first_index, 1);
    assert_string_equal(p->data, "one\r\n");
    assert_true(qid_eq(p->waiting_id, b));
    assert_int_equal(p->waiting_next, later);
    SEND(p->dispatch, fetch, .id = b);
    until(p, &p->ready_end, 2, "what was fetched");
    assert_int_equal(p->fresh, 0); /* neither what was read nor what was fetched */
    assert_string_equal(p->data, "two\r\n");
    SEND(p->dispatch, fetch, .id = {1, 2});
    until(p, &p->gone, 1, "gone");
    /* A new dispatch is told everything again. */
    channel_close(p->dispatch);
    p->ready_end = p->waiting = 0;
    p->dispatch = peer(p, ROLE_dispatch);
    until(p, &p->ready_end, 1, "ready for the new dispatch");
    until(p, &p->waiting, 1, "waiting for the new dispatch");
    pass(p, 100);
    assert_int_equal(p->ready_end + p->waiting, 2);
}

/* dispatch dies while queue is busy, and the next one is there before queue has read what the first had marked. */
static void last_words(void **state) {
    struct play *p = *state;
    enum { N = 100 };
    leases(p);
    struct qid id = {p->smtpd_lease, 1};
    send_mail(p, id, "many\r\n", N + 1, "client [192.0.2.1]");
    until(p, &p->ready_end, 1, "ready");
    kill(p->pid, SIGSTOP);
    for (uint32_t i = 0; i < N; i++) {
        mark(p, id, i, 'D', 0);
        loop_once(p->loop, 0); /* each in a packet of its own */
    }
    struct channel *old = p->dispatch;
    p->dispatch = peer(p, ROLE_dispatch);
    loop_once(p->loop, 0);
    channel_close(old);
    loop_once(p->loop, 0);
    kill(p->pid, SIGCONT);
    /* Not before it is durable: were it lost with queue, the new dispatch would speak of what nobody knows. */
    until(p, &p->waiting, 1, "waiting, while the words of the old dispatch are not durable");
    assert_int_equal(p->ready_end, 1);
    for (int i = 0; i < 40 && p->ready_end < 2; i++) {
        pass(p, 250);
        SEND(p->dispatch, fetch, .id = id);
    }
    until(p, &p->ready_end, 2, "ready for the new dispatch");
    assert_int_equal(p->told_rcpts, 1);
    assert_int_equal(p->first_index, N);
}

/* What the next one asks meanwhile (a deliverer has told it a result) is answered: it asks no more than so many at a time. */
static void heir_is_answered(void **state) {
    struct play *p = *state;
    enum { N = 200 };
    leases(p);
    struct qid id = {p->smtpd_lease, 1};
    send_mail(p, id, "many\r\n", N + 1, "client [192.0.2.1]");
    until(p, &p->ready_end, 1, "ready");
    kill(p->pid, SIGSTOP);
    for (uint32_t i = 0; i < N; i++) {
        mark(p, id, i, 'D', 0);
        loop_once(p->loop, 0);
    }
    struct channel *old = p->dispatch;
    p->dispatch = peer(p, ROLE_dispatch);
    SEND(p->dispatch, fetch, .id = {1, 2});
    loop_once(p->loop, 0);
    channel_close(old);
    loop_once(p->loop, 0);
    kill(p->pid, SIGCONT);
    for (int i = 0; i < 40 && !p->gone; i++) {
        unsigned told = p->waiting_none;
        pass(p, 50);
        if (p->waiting_none > told) SEND(p->dispatch, fetch, .id = {1, 2});
    }
    assert_int_equal(p->gone, 1);
}

/* What dispatch itself has said it need not wait for. */
static void own_words(void **state) {
    struct play *p = *state;
    leases(p);
    struct qid id = {p->smtpd_lease, 1};
    send_mail(p, id, "one\r\n", 2, "client [192.0.2.1]");
    until(p, &p->ready_end, 1, "ready");
    mark(p, id, 0, 'D', 0);
    mark(p, id, 1, 'L', 1000); /* long ago: due again */
    SEND(p->dispatch, fetch, .id = id);
    until(p, &p->ready_end, 2, "ready again, at once");
    assert_int_equal(p->waiting, 0);
    assert_int_equal(p->told_rcpts, 1);
}

/* Large messages that dispatch cannot get rid of do not stay in memory. */
static void memory_is_bounded(void **state) {
    struct play *p = *state;
    static char text[20001];
    enum { N = 600 };
    leases(p);
    memset(text, 'x', 20000);
    for (uint32_t i = 1; i <= N; i++) {
        send_mail(p, (struct qid){p->smtpd_lease, i}, text, 1, "client [192.0.2.1]");
        if (i % 30 == 0) until(p, &p->ready_end, i, "ready");
    }
    assert_true(p->in_memory >= 400 && p->in_memory < 510);
    assert_int_equal(p->data[0], 'x');
}

/* An owned smtpd that says when a message came: not at the end of time. */
static void times_are_sane(void **state) {
    struct play *p = *state;
    static const int64_t said[] = {INT64_MIN, -1, INT64_MAX, 99999999999999};
    leases(p);
    for (uint32_t i = 0; i < 4; i++) {
        struct qid id = {p->smtpd_lease, i + 1};
        SEND(p->smtpd, mail_begin, .id = id, .arrival = said[i], .sender = STR("s@example.com"),
             .origin = STR("x"));
        SEND(p->smtpd, mail_rcpt, .id = id, .index = 0, .rcpt = STR("r@example.org"));
        SEND_FD(p->smtpd, memfd("a\r\n", SEALS), mail_chunk, .id = id, .size = 3);
        SEND(p->smtpd, mail_end, .id = id, .rcpts = 1, .size = 3);
        until(p, &p->ready_end, i + 1, "ready");
        int64_t off = loop_wall_ms(p->loop) - p->ready_arrival;
        assert_true(off >= 0 && off < 20000);
    }
}

static void splits(void **state) {
    struct play *p = *state;
    leases(p);
    struct qid id = {p->smtpd_lease, 1};
    send_mail(p, id, "list\r\n", 1, "client [192.0.2.1]");
    until(p, &p->ready_end, 1, "ready");
    SEND(p->dispatch, split, .id = id, .parent = 0, .index = 1, .rcpt = STR("a@example.org"));
    SEND(p->dispatch, split, .id = id, .parent = 0, .index = 2, .rcpt = STR("b@example.org"));
    mark(p, id, 0, 'S', 0);
    mark(p, id, 1, 'D', 0);
    until(p, &p->marked, 4, "its word that all this is on record");
    kill_queue(p, SIGKILL);
    p->ready_end = p->marked = 0;
    run_queue(p);
    until(p, &p->ready_end, 1, "ready");
    assert_int_equal(p->ready_rcpts, 3);
    SEND(p->dispatch, split, .id = id, .parent = 0, .index = 1,
         .rcpt = STR("a@example.org")); /* said again */
    mark(p, id, 0, 'S', 0);
    until(p, &p->marked, 2, "its word that it knew");
    assert_int_equal(p->told_rcpts, 1);
    assert_int_equal(p->first_index, 2);
    assert_string_equal(p->rcpt, "b@example.org");
}

/* Mail that came while dispatch was away, before and after recovery, is told when it is there, and told
 * once. */
static void dispatch_comes_late(void **state) {
    struct play *p = *state;
    leases(p);
    send_mail(p, (struct qid){p->smtpd_lease, 1}, "old\r\n", 1, "");
    until(p, &p->ready_end, 1, "ready");
    for (int recovered = 0; recovered < 2; recovered++) {
        kill_queue(p, SIGKILL);
        p->late = true;
        run_queue(p);
        leases(p);
        unsigned done = p->done, before = (unsigned)recovered;
        send_mail(p, (struct qid){p->smtpd_lease, 7}, "early\r\n", 1, "");
        until(p, &p->done, done + 1, "mail_done without dispatch");
        if (recovered) pass(p, 1300);
        p->ready = p->ready_end = p->waiting = 0;
        p->dispatch = peer(p, ROLE_dispatch);
        until(p, &p->ready_end, 2 + before, "what was there before, and what came early");
        pass(p, 200);
        assert_int_equal(p->ready_end + p->waiting, 2 + before);
    }
}

static void refuses(void **state) {
    struct play *p = *state;
    leases(p);
    struct qid foreign = {p->dispatch_lease, 1}, id = {p->smtpd_lease, 1}, again = {p->smtpd_lease, 2};
    send_mail(p, foreign, "x\r\n", 1, "");
    until(p, &p->done, 1, "the refusal of another's id");
    assert_int_equal(p->last_done.code, 451);
    /* Not sealed: the sender could still change it. */
    SEND(p->smtpd, mail_begin, .id = id, .sender = STR("s@example.com"));
    SEND(p->smtpd, mail_rcpt, .id = id, .index = 0, .rcpt = STR("r@example.org"));
    SEND_FD(p->smtpd, memfd("abc", F_SEAL_SHRINK), mail_chunk, .id = id, .size = 3);
    SEND(p->smtpd, mail_end, .id = id, .rcpts = 1, .size = 3);
    until(p, &p->done, 2, "the refusal of an unsealed chunk");
    assert_int_equal(p->last_done.code, 451);
    /* Not as long as it says; counts that do not agree; no recipient. */
    SEND(p->smtpd, mail_begin, .id = id, .sender = STR("s@example.com"));
    SEND_FD(p->smtpd, memfd("abc", SEALS), mail_chunk, .id = id, .size = 4);
    until(p, &p->done, 3, "the refusal of a wrong size");
    SEND(p->smtpd, mail_begin, .id = id, .sender = STR("s@example.com"));
    SEND(p->smtpd, mail_rcpt, .id = id, .index = 1, .rcpt = STR("r@example.org"));
    until(p, &p->done, 4, "the refusal of a wrong index");
    SEND(p->smtpd, mail_begin, .id = id, .sender = STR("s@example.com"));
    SEND(p->smtpd, mail_end, .id = id, .rcpts = 0, .size = 0);
    until(p, &p->done, 5, "the refusal of no recipients");
    assert_int_equal(p->ready, 0);
    send_mail(p, again, "good\r\n", 1, "");
    until(p, &p->done, 6, "mail_done");
    assert_int_equal(p->last_done.code, 250);
    /* An unfinished message dies with its smtpd. */
    SEND(p->smtpd, mail_begin, .id = id, .sender = STR("s@example.com"));
    SEND_FD(p->smtpd, memfd("abc", SEALS), mail_chunk, .id = id, .size = 3);
    pass(p, 100);
    assert_int_equal(spool_files(p), 3);
    channel_close(p->smtpd);
    p->smtpd = NULL;
    pass(p, 100);
    assert_int_equal(spool_files(p), 2);
}

static void tools(void **state) {
    struct play *p = *state;
    leases(p);
    struct qid id = {p->smtpd_lease, 1};
    send_mail(p, id, "one\r\n", 2, "client [192.0.2.1]");
    send_mail(p, (struct qid){p->smtpd_lease, 2}, "two\r\n", 1, "local user 4");
    until(p, &p->ready_end, 2, "ready");
    mark(p, id, 0, 'L', 1);
    tool(p);
    SEND(p->tool, ctl_queue, .which = CTL_FITTING, .op = 'l', .detail = 1);
    until(p, &p->ctl_done, 1, "the list");
    assert_int_equal(p->shown, 2);
    assert_int_equal(p->shown_rcpts, 3);
    SEND(p->tool, ctl_queue, .which = CTL_ONE, .op = 'l', .id = id);
    until(p, &p->ctl_done, 2, "one");
    assert_int_equal(p->shown, 3);
    SEND(p->tool, ctl_cat, .id = id);
    until(p, &p->ctl_done, 3, "cat");
    assert_int_equal(p->files, 2);
    SEND(p->tool, ctl_queue, .which = CTL_FITTING, .op = 'f');
    until(p, &p->ctl_done, 4, "flush");
    until(p, &p->due, 2, "due_now");
    SEND(p->tool, ctl_queue, .which = CTL_ONE, .op = 'r', .id = id);
    until(p, &p->ctl_done, 5, "remove");
    assert_int_equal(p->ctl_code, 250);
    until(p, &p->gone, 1, "gone");
    SEND(p->tool, ctl_queue, .which = CTL_ONE, .op = 'r', .id = id);
    until(p, &p->ctl_done, 6, "remove again");
    assert_int_equal(p->ctl_code, 550);
    mark(p, id, 1, 'D', 0); /* its results come too late, and are ignored */
    pass(p, 1200);
    if (p->direct) assert_int_equal(spool_files(p), 2);
    assert_non_null(p->dispatch);
}

/* An ordinary user sees and removes the mail he sent himself, and learns nothing of other mail. */
static void ordinary_user(void **state) {
    struct play *p = *state;
    leases(p);
    if (getuid()) skip(); /* only root can be another */
    struct qid other = {p->smtpd_lease, 1}, own = {p->smtpd_lease, 2};
    send_mail(p, other, "one\r\n", 2, "client [192.0.2.1]");
    send_mail(p, own, "two\r\n", 1, "local user 4");
    send_mail(p, (struct qid){p->smtpd_lease, 3}, "three\r\n", 1, "local user 44");
    until(p, &p->ready_end, 3, "ready");
    assert_int_equal(seteuid(4), 0);
    tool(p);
    assert_int_equal(seteuid(0), 0);
    SEND(p->tool, ctl_queue, .which = CTL_FITTING, .op = 'l', .detail = 1);
    until(p, &p->ctl_done, 1, "the list");
    assert_int_equal(p->shown, 1);
    static const uint16_t codes[] = {550, 250};
    for (unsigned mine = 0; mine < 2; mine++) {
        struct qid id = mine ? own : other;
        SEND(p->tool, ctl_queue, .which = CTL_ONE, .op = 'l', .id = id);
        until(p, &p->ctl_done, 2 + 4 * mine, "one");
        assert_int_equal(p->ctl_code, codes[mine]);
        SEND(p->tool, ctl_cat, .id = id);
        until(p, &p->ctl_done, 3 + 4 * mine, "cat");
        assert_int_equal(p->ctl_code, codes[mine]);
        SEND(p->tool, ctl_queue, .which = CTL_ONE, .op = 'f', .id = id);
        until(p, &p->ctl_done, 4 + 4 * mine, "flush, which is the administrator's");
        assert_int_equal(p->ctl_code, 550);
        SEND(p->tool, ctl_queue, .which = CTL_ONE, .op = 'r', .id = id);
        until(p, &p->ctl_done, 5 + 4 * mine, "remove");
        assert_int_equal(p->ctl_code, codes[mine]);
    }
    assert_int_equal(p->shown, 2);
    assert_int_equal(p->files, 2);
    SEND(p->tool, ctl_queue, .which = CTL_FITTING, .op = 'f');
    until(p, &p->ctl_done, 10, "flush of all");
    assert_int_equal(p->ctl_code, 550);
    pass(p, 100);
    assert_int_equal(p->due, 0);
    assert_int_equal(p->gone, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_goes_through, setup_direct, teardown),
        cmocka_unit_test_setup_teardown(survives_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_kill, setup_direct, teardown),
        cmocka_unit_test_setup_teardown(last_words, setup, teardown),
        cmocka_unit_test_setup_teardown(heir_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(own_words, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_is_bounded, setup_direct, teardown),
        cmocka_unit_test_setup_teardown(times_are_sane, setup, teardown),
        cmocka_unit_test_setup_teardown(splits, setup, teardown),
        cmocka_unit_test_setup_teardown(splits, setup_direct, teardown),
        cmocka_unit_test_setup_teardown(dispatch_comes_late, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses, setup_direct, teardown),
        cmocka_unit_test_setup_teardown(tools, setup_direct, teardown),
        cmocka_unit_test_setup_teardown(tools, setup, teardown),
        cmocka_unit_test_setup_teardown(ordinary_user, setup, teardown),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
