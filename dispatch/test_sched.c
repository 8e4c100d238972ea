/* test_sched.c: the scheduler in a world of its own: a clock, a queue, lookup, resolve and deliverers that
 * write down what they are told and answer as the story says. Each story is a list of inputs and what must
 * be seen after each. */
#include "dispatch/sched.h"

#include "common/arena.h"
#include "dispatch/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { JOBS_MAX = 4096, TAGS_MAX = 4096, TOLD_MAX = 16384 };
enum { T0 = 1700000000 };
#define NOW0 ((int64_t)T0 * 1000)

struct seen_job {
    uint32_t no, uid;
    unsigned remote;
    bool local, over;
    struct qid id;
    char destination[100], rcpts[400], hosts[400], mailbox[100];
    uint32_t index[110];
    size_t n;
};

struct world {
    struct sched *s;
    struct sched_config c;
    int64_t now, wake;
    int open_fds, next_fd;
    char log[65536]; /* what happened since it was last looked at */
    size_t log_n;
    struct seen_job jobs[JOBS_MAX];
    size_t job_n;
    struct {
        uint32_t tag;
        char rcpt[200];
    } routes[TAGS_MAX];
    size_t route_n;
    struct {
        uint32_t tag;
        char domain[200];
        bool mx;
    } hosts[TAGS_MAX];
    size_t host_n;
    size_t fetches, marks, splits, bounces;
    struct qid last_fetch, asked[200];
    size_t asked_n;
    bool refuse_bounce, quiet;
    bool old; /* what queue tells was read by it at its start */
    bool host_is_down;
};

__attribute__((format(printf, 2, 3))) static void say(struct world *w, const char *fmt, ...) {
    va_list ap;
    if (w->quiet) return;
    va_start(ap, fmt);
    int k = vsnprintf(w->log + w->log_n, sizeof w->log - w->log_n, fmt, ap);
    va_end(ap);
    if (k > 0 && w->log_n + (size_t)k < sizeof w->log) w->log_n += (size_t)k;
}

static void op_fetch(void *ctx, struct qid id) {
    struct world *w = ctx;
    w->fetches++;
    w->last_fetch = id;
    if (w->asked_n < 200) w->asked[w->asked_n++] = id;
    say(w, "fetch %u\n", id.serial);
}

static void op_mark(void *ctx, const struct wire_mark *m) {
    struct world *w = ctx;
    w->marks++;
    say(w, "mark %u/%u %c %u\n", m->id.serial, m->index, m->state, m->detail);
}

static void op_split(void *ctx, const struct wire_split *m) {
    struct world *w = ctx;
    w->splits++;
    say(w, "split %u/%u>%u %.*s\n", m->id.serial, m->parent, m->index, STR_ARGS(m->rcpt));
}

static bool op_bounce(void *ctx, const struct sched_mail *mail, const struct sched_failed *v, size_t n,
                      struct qid *bounce) {
    struct world *w = ctx;
    if (w->refuse_bounce) return false;
    w->bounces++;
    *bounce = (struct qid){9, 900 + (uint32_t)w->bounces};
    say(w, "bounce %u", mail->id.serial);
    for (size_t i = 0; i < n; i++) say(w, " %.*s", STR_ARGS(v[i].rcpt));
    say(w, "\n");
    return true;
}

static void op_route(void *ctx, uint32_t tag, struct str rcpt) {
    struct world *w = ctx;
    assert_true(w->route_n < TAGS_MAX);
    w->routes[w->route_n].tag = tag;
    snprintf(w->routes[w->route_n++].rcpt, 200, "%.*s", STR_ARGS(rcpt));
}

static void op_host(void *ctx, uint32_t tag, struct str domain, bool mx) {
    struct world *w = ctx;
    assert_true(w->host_n < TAGS_MAX);
    w->hosts[w->host_n].tag = tag;
    w->hosts[w->host_n].mx = mx;
    snprintf(w->hosts[w->host_n++].domain, 200, "%.*s", STR_ARGS(domain));
}

static void op_job(void *ctx, const struct sched_job *j) {
    struct world *w = ctx;
    assert_true(w->job_n < JOBS_MAX);
    struct seen_job *k = &w->jobs[w->job_n++];
    *k = (struct seen_job){
        .no = j->job, .remote = j->remote, .local = j->local, .uid = j->uid, .id = j->mail->id};
    struct buf r = BUF(k->rcpts), h = BUF(k->hosts);
    snprintf(k->destination, sizeof k->destination, "%.*s", STR_ARGS(j->destination));
    snprintf(k->mailbox, sizeof k->mailbox, "%.*s", STR_ARGS(j->mailbox));
    for (size_t i = 0; i < j->rcpt_count && i < 110; i++) {
        k->index[k->n++] = j->rcpts[i].index;
        buf_addf(&r, "%s%.*s", i ? " " : "", STR_ARGS(j->rcpts[i].rcpt));
    }
    for (size_t i = 0; i < j->host_count; i++) {
        buf_addf(&h, "%s%.*s:%u", i ? " " : "", STR_ARGS(j->hosts[i].name), j->hosts[i].port);
    }
    r.failed = h.failed = false;
    buf_cstr(&r);
    buf_cstr(&h);
    assert_true(j->mail->fd >= 0);
    say(w, "job %u %s: %s\n", k->id.serial, j->local ? k->mailbox : k->destination, k->rcpts);
}

static void op_worker_start(void *ctx, uint32_t uid, uint32_t gid) {
    say(ctx, "worker %u:%u\n", uid, gid);
}
static void op_worker_stop(void *ctx, uint32_t uid) {
    say(ctx, "worker stop %u\n", uid);
}
static void op_release(void *ctx, int fd) {
    struct world *w = ctx;
    assert_true(fd >= 0);
    w->open_fds--;
}
static void op_facts(void *ctx, const struct ip *ip, uint16_t port, struct sched_facts *out) {
    struct world *w = ctx;
    (void)port;
    out->caps = 7;
    out->down = w->host_is_down && ip->b[3] == 1;
}
static void op_timer(void *ctx, int64_t at) {
    ((struct world *)ctx)->wake = at;
}
static void op_event(void *ctx, const struct sched_event *e) {
    static const char *const names[] = {"routed",   "delivered", "deferred", "bounced",
                                        "reported", "expanded",  "host_down"};
    struct world *w = ctx;
    if (e->what == SCHED_ROUTED) return;
    if (e->what == SCHED_HOST_DOWN) say(w, "host_down %.*s %lld\n", STR_ARGS(e->to), (long long)e->next_ms);
    else say(w, "%s %u %.*s\n", names[e->what], e->id.serial, STR_ARGS(e->to));
}

static const struct sched_ops ops = {
    .fetch = op_fetch,
    .mark = op_mark,
    .split = op_split,
    .bounce = op_bounce,
    .route_query = op_route,
    .host_query = op_host,
    .job = op_job,
    .worker_start = op_worker_start,
    .worker_stop = op_worker_stop,
    .release = op_release,
    .facts = op_facts,
    .timer = op_timer,
    .event = op_event,
};

static const struct sched_own own = {{4, {10, 0, 0, 9}}, 25};

static struct world *world_bare(void) {
    struct world *w = xmalloc(sizeof *w);
    w->now = NOW0;
    w->c = (struct sched_config){.queue_lifetime = 5 * 86400000LL,
                                 .bounce_lifetime = 86400000,
                                 .retry_first = 300000,
                                 .retry_max = 7200000,
                                 .worker_idle = 10000,
                                 .concurrency = 20,
                                 .rcpts_per_job = 100,
                                 .jobs_per_remote = 50,
                                 .remote_processes = 1,
                                 .worker_max = 2,
                                 .in_hand_max = 20000,
                                 .smtp_port = 25,
                                 .hostname = STR("mx.here.test"),
                                 .own = &own,
                                 .own_count = 1};
    w->s = sched_new(&w->c, &ops, w, w->now);
    return w;
}

static struct world *world(void) {
    struct world *w = world_bare();
    sched_queue(w->s, true);
    sched_lookup(w->s, true);
    sched_resolve(w->s, true);
    sched_spawner(w->s, true);
    sched_remote_synced(w->s, 0);
    sched_run(w->s);
    return w;
}

static void end(struct world *w) {
    sched_free(w->s);
    assert_int_equal(w->open_fds, 0);
    free(w);
}

/* What happened since last time, exactly. */
#define SAW(w, text) \
    do { \
        (w)->log[(w)->log_n] = '\0'; \
        assert_string_equal((w)->log, text); \
        (w)->log_n = 0; \
    } while (0)

static void forget(struct world *w) {
    w->log_n = 0;
}

static void at(struct world *w, int64_t later_ms) {
    w->now += later_ms;
    sched_clock(w->s, w->now);
    sched_run(w->s);
}

static struct qid mid(uint32_t n) {
    return (struct qid){1, n};
}

static void ready_rcpt(struct world *w, uint32_t n, uint32_t index, const char *to, uint32_t attempts,
                       int64_t next) {
    sched_ready_rcpt(w->s, &(struct wire_ready_rcpt){.id = mid(n),
                                                     .index = index,
                                                     .rcpt = str_of(to),
                                                     .parent = UINT32_MAX,
                                                     .attempts = attempts,
                                                     .next = next,
                                                     .state = attempts ? 'L' : 'N'});
}

static void ready_from(struct world *w, uint32_t n, const char *sender, int64_t arrival,
                       const char *const *to, size_t count) {
    w->open_fds++;
    sched_ready(w->s,
                &(struct wire_ready){.id = mid(n),
                                     .arrival = arrival,
                                     .sender = str_of(sender),
                                     .size = 100,
                                     .rcpts = (uint32_t)count,
                                     .prefix = STR("Received: x\r\n"),
                                     .fresh = !w->old},
                w->next_fd++);
    for (size_t i = 0; i < count; i++) ready_rcpt(w, n, (uint32_t)i, to[i], 0, 0);
    sched_ready_end(w->s, mid(n));
}

#define READY(w, n, ...) \
    ready_from(w, n, "sender@s.test", (w)->now, (const char *[]){__VA_ARGS__}, \
               sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), \
        sched_run((w)->s)
#define OLD(w, n, ...) \
    do { \
        (w)->old = true; \
        READY(w, n, __VA_ARGS__); \
        (w)->old = false; \
    } while (0)

static void answer_route(struct world *w, uint32_t tag, char how, const char *nexthop, uint16_t port,
                         struct status st) {
    sched_route_answer(
        w->s,
        &(struct wire_route_answer){
            .tag = tag, .how = (uint8_t)how, .nexthop = str_of(nexthop), .port = port, WIRE_STATUS(st)});
}

/* Lookup of the stories: user@dom goes by MX of dom; N@local.test is the mailbox of UID 1000 + N; nobody@...
 * fails; soft@... later; list@ and loop@ and self@ are aliases; null@ is thrown away; fix@ goes to a host by
 * its address. */
static void route(struct world *w, uint32_t tag, const char *rcpt) {
    struct status ok = status_make(250, "2.0.0", "");
    const char *domain = strchr(rcpt, '@') + 1;
    if (strncmp(rcpt, "nobody@", 7) == 0)
        answer_route(w, tag, 'E', "", 0, status_make(550, "5.1.1", "no such user"));
    else if (strncmp(rcpt, "soft@", 5) == 0)
        answer_route(w, tag, 'E', "", 0, status_make(451, "4.3.0", "table broken"));
    else if (strncmp(rcpt, "null@", 5) == 0) answer_route(w, tag, 'D', "", 0, ok);
    else if (strncmp(rcpt, "fix@", 4) == 0) answer_route(w, tag, 'H', "[192.0.2.7]", 2525, ok);
    else if (strncmp(rcpt, "list@", 5) == 0) {
        sched_route_rcpt(w->s, &(struct wire_route_rcpt){tag, STR("a@x.test")});
        sched_route_rcpt(w->s, &(struct wire_route_rcpt){tag, STR("b@y.test")});
        sched_route_rcpt(w->s, &(struct wire_route_rcpt){tag, STR("a@x.test")});
        answer_route(w, tag, 'X', "", 0, ok);
    } else if (strncmp(rcpt, "ping@", 5) == 0 || strncmp(rcpt, "pong@", 5) == 0) {
        sched_route_rcpt(w->s, &(struct wire_route_rcpt){tag, rcpt[1] == 'i' ? STR("pong@local.test")
                                                                             : STR("ping@local.test")});
        answer_route(w, tag, 'X', "", 0, ok);
    } else if (strncmp(rcpt, "deep", 4) == 0) {
        char next[40];
        uint64_t depth;
        assert_true(str_to_u64((struct str){rcpt + 4, strcspn(rcpt + 4, "@")}, 1000, &depth));
        snprintf(next, sizeof next, "deep%u@local.test", (unsigned)depth + 1);
        sched_route_rcpt(w->s, &(struct wire_route_rcpt){tag, str_of(next)});
        answer_route(w, tag, 'X', "", 0, ok);
    } else if (strncmp(rcpt, "empty@", 6) == 0) {
        answer_route(w, tag, 'X', "", 0, ok);
    } else if (strcmp(domain, "local.test") == 0) {
        uint32_t uid = 1000 + (uint32_t)strtoul(rcpt, NULL, 10);
        sched_route_local(w->s,
                          &(struct wire_route_local){.tag = tag,
                                                     .user = STR("u"),
                                                     .uid = uid,
                                                     .gid = uid + 1,
                                                     .home = STR("/h"),
                                                     .mailbox = strchr(rcpt, '+') ? STR("maildir:/h/ext")
                                                                                  : STR("maildir:/h/M")});
        answer_route(w, tag, 'L', "", 0, ok);
    } else answer_route(w, tag, 'M', domain, 0, ok);
}

static void routes(struct world *w) {
    for (size_t i = 0; i < w->route_n; i++) route(w, w->routes[i].tag, w->routes[i].rcpt);
    w->route_n = 0;
    sched_run(w->s);
    if (w->route_n) routes(w); /* of children; bounded by the depth of aliases */
}

static void host(struct world *w, uint32_t tag, uint16_t preference, const char *name, uint8_t a, uint8_t d) {
    char ip[4] = {(char)a, 0, 0, (char)d};
    sched_host(w->s,
               &(struct wire_host){
                   .tag = tag, .preference = preference, .name = str_of(name), .family = 4, .ip = {ip, 4}});
}

static void host_done(struct world *w, uint32_t tag, struct status st) {
    sched_host_answer(w->s, &(struct wire_host_answer){.tag = tag, .ttl = 300, WIRE_STATUS(st)});
}

/* DNS of the stories: every domain has one exchanger 10.0.0.2, but see the domain's first letters. */
static void hosts(struct world *w) {
    struct status ok = status_make(250, "2.0.0", "");
    for (size_t i = 0; i < w->host_n; i++) {
        const char *d = w->hosts[i].domain;
        uint32_t tag = w->hosts[i].tag;
        if (strncmp(d, "void", 4) == 0) {
            host_done(w, tag, status_make(550, "5.1.2", "no such domain"));
        } else if (strncmp(d, "slow", 4) == 0) {
            host_done(w, tag, status_make(451, "4.4.3", "DNS does not answer"));
        } else if (strncmp(d, "ours", 4) == 0) { /* we are the second of three */
            host(w, tag, 30, "worse.ours.test", 10, 4);
            host(w, tag, 10, "best.ours.test", 10, 3);
            host(w, tag, 20, "mx.here.test", 10, 9);
            host_done(w, tag, ok);
        } else if (strncmp(d, "loop", 4) == 0) {
            host(w, tag, 10, "mx.here.test", 10, 9);
            host(w, tag, 20, "second.loop.test", 10, 5);
            host_done(w, tag, ok);
        } else if (strncmp(d, "back", 4) == 0) {
            host(w, tag, 10, "localhost", 127, 1);
            host_done(w, tag, ok);
        } else if (strncmp(d, "two", 3) == 0) {
            host(w, tag, 10, "first.two.test", 10, 1);
            host(w, tag, 20, "second.two.test", 10, 2);
            host_done(w, tag, ok);
        } else {
            host(w, tag, 10, "mx.far.test", 10, 2);
            host_done(w, tag, ok);
        }
    }
    w->host_n = 0;
    sched_run(w->s);
}

static void flow(struct world *w) {
    routes(w);
    hosts(w);
}

static struct sched_source source(const struct seen_job *j) {
    return (struct sched_source){j->local, j->local ? j->uid : j->remote};
}

static void result(struct world *w, const struct seen_job *j, uint32_t index, struct status st) {
    sched_result(
        w->s, source(j),
        &(struct wire_result){
            .job = j->no, .id = j->id, .index = index, .host = STR("mx[10.0.0.2]:25"), WIRE_STATUS(st)});
}

static void job_done(struct world *w, struct seen_job *j) {
    j->over = true;
    sched_job_done(w->s, source(j),
                   &(struct wire_job_done){.job = j->no, .connect_us = 5000, .transmit_us = 7000});
}

static void finish(struct world *w, struct seen_job *j, struct status st) {
    for (size_t i = 0; i < j->n; i++) result(w, j, j->index[i], st);
    job_done(w, j);
    sched_run(w->s);
}

static struct seen_job *last(struct world *w) {
    assert_true(w->job_n > 0);
    return &w->jobs[w->job_n - 1];
}

static size_t running(const struct world *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->job_n; i++) n += !w->jobs[i].over;
    return n;
}

static struct status sent(void) {
    struct status st = status_make(250, "2.0.0", "taken");
    st.remote = true;
    return st;
}
static struct status grey(void) {
    struct status st = status_make(450, "4.2.0", "try again");
    st.remote = true;
    return st;
}
static struct status never(void) {
    struct status st = status_make(550, "5.1.1", "no such user here");
    st.remote = true;
    return st;
}
static struct status dead(void) {
    return status_make(451, "4.4.1", "no answer");
}

/* --- stories --- */

static void three_ways(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "1@local.test", "a@up.test", "b@down.test");
    flow(w);
    SAW(w, "worker 1001:1002\njob 1 up.test: a@up.test\njob 1 down.test: b@down.test\n");
    sched_worker_up(w->s, 1001);
    sched_run(w->s);
    SAW(w, "job 1 maildir:/h/M: 1@local.test\n");
    finish(w, last(w), sent());
    SAW(w, "mark 1/0 D 2000000\ndelivered 1 1@local.test\n");
    assert_string_equal(w->jobs[0].destination, "up.test");
    finish(w, &w->jobs[0], sent());
    SAW(w, "mark 1/1 D 2000000\ndelivered 1 a@up.test\n");
    finish(w, &w->jobs[1], dead());
    assert_non_null(strstr(w->log, "host_down down.test"));
    assert_non_null(strstr(w->log, "mark 1/2 L 4004001\ndeferred 1 b@down.test\n"));
    assert_int_equal(w->open_fds, 0);
    assert_int_equal(sched_in_hand(w->s), 0);
    assert_int_equal(sched_known(w->s), 1);
    forget(w);
    at(w, 299000);
    assert_int_equal(w->fetches, 0);
    at(w, 60000);
    assert_int_equal(w->fetches, 1);
    end(w);
}

static void batches(void **state) {
    (void)state;
    struct world *w = world();
    w->c.rcpts_per_job = 2;
    sched_configure(w->s, &w->c);
    READY(w, 1, "a@x.test", "b@x.test", "c@y.test", "d@x.test", "1@local.test", "1+e@local.test");
    flow(w);
    sched_worker_up(w->s, 1001);
    sched_run(w->s);
    w->log[w->log_n] = '\0';
    assert_non_null(strstr(w->log, "x.test: a@x.test b@x.test\n"));
    assert_non_null(strstr(w->log, "x.test: d@x.test\n"));
    assert_non_null(strstr(w->log, "y.test: c@y.test\n"));
    assert_non_null(strstr(w->log, "maildir:/h/M: 1@local.test\n"));
    assert_non_null(strstr(w->log, "maildir:/h/ext: 1+e@local.test\n"));
    assert_int_equal(w->job_n, 5);
    end(w);
}

static void expansion(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "list@local.test", "b@y.test");
    flow(w);
    w->log[w->log_n] = '\0';
    assert_non_null(strstr(w->log, "split 1/0>2 a@x.test\nmark 1/0 S 2000000\nexpanded 1 list@local.test\n"));
    assert_int_equal(w->splits, 1); /* b@y.test is there already, a@x.test only once */
    assert_int_equal(w->job_n, 2);
    end(w);

    w = world(); /* a loop of two: the mail must not vanish */
    READY(w, 1, "ping@local.test");
    flow(w);
    w->log[w->log_n] = '\0';
    assert_non_null(strstr(w->log, "bounce 1 pong@local.test\n"));
    sched_bounce_done(w->s, mid(1), &(struct status){.kind = STATUS_OK});
    assert_int_equal(sched_known(w->s), 0);
    end(w);

    w = world(); /* and aliases without end */
    READY(w, 1, "deep0@local.test");
    flow(w);
    assert_int_equal(w->splits, 20);
    w->log[w->log_n] = '\0';
    assert_non_null(strstr(w->log, "bounce 1 deep20@local.test\n"));
    end(w);

    w = world();
    READY(w, 1, "empty@local.test");
    flow(w);
    SAW(w, "mark 1/0 L 4003005\ndeferred 1 empty@local.test\n");
    end(w);
}

static void answers_of_lookup(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "null@local.test");
    flow(w);
    SAW(w, "mark 1/0 D 2000000\ndelivered 1 null@local.test\n");
    assert_int_equal(sched_known(w->s), 0);
    READY(w, 2, "soft@local.test");
    flow(w);
    SAW(w, "mark 2/0 L 4003000\ndeferred 2 soft@local.test\n");
    READY(w, 3, "fix@local.test");
    flow(w);
    assert_string_equal(last(w)->hosts, "[192.0.2.7]:2525");
    assert_int_equal(w->host_n, 0);
    end(w);
}

static void failure_is_reported(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "nobody@local.test", "a@x.test", "b@x.test");
    flow(w);
    SAW(w, "job 1 x.test: a@x.test b@x.test\n");
    result(w, last(w), 1, sent());
    result(w, last(w), 2, never());
    job_done(w, last(w));
    sched_run(w->s);
    /* One report for both; F only when it is durable. */
    SAW(w, "mark 1/1 D 2000000\ndelivered 1 a@x.test\nbounce 1 nobody@local.test b@x.test\n");
    struct status full = status_make(452, "4.3.1", "disk full");
    sched_bounce_done(w->s, mid(1), &full);
    at(w, 1000);
    SAW(w, "");
    assert_int_equal(w->open_fds, 1);
    at(w, 30000);
    SAW(w, "bounce 1 nobody@local.test b@x.test\n");
    sched_bounce_done(w->s, mid(1), &(struct status){.kind = STATUS_OK});
    SAW(w, "mark 1/0 F 5001001\nbounced 1 nobody@local.test\nmark 1/2 F 5001001\nbounced 1 b@x.test\n");
    assert_int_equal(w->open_fds, 0);
    assert_int_equal(sched_known(w->s), 0);
    end(w);
}

/* RFC 3461: a recipient with NOTIFY. */
static void ready_asking(struct world *w, uint32_t n, uint8_t notify, const char *to) {
    w->open_fds++;
    sched_ready(w->s,
                &(struct wire_ready){
                    .id = mid(n), .arrival = w->now, .sender = STR("sender@s.test"), .size = 100, .rcpts = 1},
                w->next_fd++);
    sched_ready_rcpt(
        w->s, &(struct wire_ready_rcpt){
                  .id = mid(n), .rcpt = str_of(to), .notify = notify, .parent = UINT32_MAX, .state = 'N'});
    sched_ready_end(w->s, mid(n));
    sched_run(w->s);
    flow(w);
}

static void never_means_never(void **state) {
    (void)state;
    struct world *w = world();
    static const uint8_t quiet[] = {NOTIFY_NEVER, NOTIFY_SUCCESS, NOTIFY_DELAY};
    for (size_t i = 0; i < 3; i++) {
        ready_asking(w, (uint32_t)i + 1, quiet[i], "nobody@local.test");
        assert_int_equal(w->bounces, 0);
        assert_int_equal(sched_known(w->s), 0);
    }
    forget(w);
    ready_asking(w, 4, NOTIFY_FAILURE, "nobody@local.test");
    SAW(w, "bounce 4 nobody@local.test\n");
    end(w);
}

/* Marked at once, so that nothing is delivered twice for the sake of telling; told when queue takes it. */
static void success_is_reported(void **state) {
    (void)state;
    struct world *w = world();
    ready_asking(w, 1, NOTIFY_SUCCESS, "a@x.test");
    SAW(w, "job 1 x.test: a@x.test\n");
    result(w, last(w), 0, sent());
    job_done(w, last(w));
    sched_run(w->s);
    SAW(w, "mark 1/0 D 2000000\ndelivered 1 a@x.test\nbounce 1 a@x.test\n");
    assert_int_equal(w->open_fds, 1);
    sched_bounce_done(w->s, mid(1), &(struct status){.kind = STATUS_OK});
    SAW(w, "reported 1 a@x.test\n");
    assert_int_equal(w->open_fds, 0);
    assert_int_equal(sched_known(w->s), 0);
    end(w);
}

static void next_host_reports(void **state) {
    (void)state;
    struct world *w = world();
    ready_asking(w, 1, NOTIFY_SUCCESS, "a@x.test");
    struct status st = sent();
    sched_result(w->s, (struct sched_source){false, 0},
                 &(struct wire_result){.job = last(w)->no, .id = mid(1), .reports = 1, WIRE_STATUS(st)});
    job_done(w, last(w));
    sched_run(w->s);
    assert_int_equal(w->bounces, 0);
    assert_int_equal(sched_known(w->s), 0);
    end(w);
}

/* A list: told as expanded, and its members only of trouble. */
static void expansion_is_reported(void **state) {
    (void)state;
    struct world *w = world();
    ready_asking(w, 1, NOTIFY_SUCCESS, "list@local.test");
    assert_non_null(strstr(w->log, "mark 1/0 S"));
    for (size_t i = 0; i < w->job_n; i++) {
        result(w, &w->jobs[i], w->jobs[i].index[0], sent());
        job_done(w, &w->jobs[i]);
    }
    sched_run(w->s);
    assert_int_equal(w->bounces, 1);
    assert_non_null(strstr(w->log, "bounce 1 list@local.test\n"));
    sched_bounce_done(w->s, mid(1), &(struct status){.kind = STATUS_OK});
    assert_int_equal(sched_known(w->s), 0);
    end(w);
}

/* A queue that comes back hears the mark again, and the report is still made. */
static void success_outlives_queue(void **state) {
    (void)state;
    struct world *w = world();
    w->refuse_bounce = true;
    ready_asking(w, 1, NOTIFY_SUCCESS, "a@x.test");
    result(w, last(w), 0, sent());
    job_done(w, last(w));
    sched_run(w->s);
    sched_queue(w->s, false);
    sched_queue(w->s, true);
    forget(w);
    w->open_fds++;
    sched_ready(
        w->s,
        &(struct wire_ready){.id = mid(1), .arrival = w->now, .sender = STR("sender@s.test"), .rcpts = 1},
        w->next_fd++);
    ready_rcpt(w, 1, 0, "a@x.test", 0, 0);
    sched_ready_end(w->s, mid(1));
    w->refuse_bounce = false;
    at(w, 2000);
    SAW(w, "mark 1/0 D 2000000\nbounce 1 a@x.test\n");
    sched_bounce_done(w->s, mid(1), &(struct status){.kind = STATUS_OK});
    assert_int_equal(sched_known(w->s), 0);
    end(w);
}

static void no_report_of_a_report(void **state) {
    (void)state;
    struct world *w = world();
    ready_from(w, 1, "", w->now, (const char *[]){"nobody@local.test"}, 1);
    sched_run(w->s);
    flow(w);
    SAW(w, "mark 1/0 F 5001001\nbounced 1 nobody@local.test\n");
    assert_int_equal(w->bounces, 0);
    assert_int_equal(sched_known(w->s), 0);
    end(w);
}

/* Told again by queue: as the mark said. */
static void tell_again(struct world *w, uint32_t n, const char *to, uint32_t attempts, int64_t arrival) {
    w->open_fds++;
    sched_ready(w->s,
                &(struct wire_ready){.id = mid(n), .arrival = arrival, .sender = STR("s@s.test"), .rcpts = 1},
                w->next_fd++);
    ready_rcpt(w, n, 0, to, attempts, 0);
    sched_ready_end(w->s, mid(n));
    sched_run(w->s);
    flow(w);
}

static void backs_off(void **state) {
    (void)state;
    struct world *w = world();
    int64_t arrival = w->now, before = w->now;
    static const int64_t least[] = {300000, 600000, 1200000, 2400000, 4800000, 7200000, 7200000};
    READY(w, 1, "a@x.test");
    flow(w);
    for (size_t i = 0; i < sizeof least / sizeof least[0]; i++) {
        finish(w, last(w), grey());
        forget(w);
        at(w, least[i] - 1);
        assert_int_equal(w->fetches, i);
        at(w, least[i] / 8 + 2);
        assert_int_equal(w->fetches, i + 1);
        assert_true(w->now - before >= least[i]);
        before = w->now;
        tell_again(w, 1, "a@x.test", (uint32_t)i + 1, arrival);
    }
    end(w);
}

static void gives_up(void **state) {
    (void)state;
    struct world *w = world();
    ready_from(w, 1, "s@s.test", w->now - w->c.queue_lifetime, (const char *[]){"a@x.test"}, 1);
    sched_run(w->s);
    flow(w);
    finish(w, last(w), grey());
    SAW(w, "job 1 x.test: a@x.test\nbounce 1 a@x.test\n");
    sched_bounce_done(w->s, mid(1), &(struct status){.kind = STATUS_OK});
    SAW(w, "mark 1/0 F 5004007\nbounced 1 a@x.test\n");
    end(w);
}

static void dead_host_is_left_alone(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "a@x.test");
    flow(w);
    finish(w, last(w), dead());
    forget(w);
    for (uint32_t i = 2; i < 50; i++) READY(w, i, "a@x.test");
    flow(w);
    assert_int_equal(w->job_n, 1); /* nobody tried */
    assert_int_equal(sched_in_hand(w->s), 0);
    forget(w);
    at(w, 299999);
    assert_int_equal(w->fetches, 0);
    at(w, 100000);
    assert_int_equal(w->fetches, 1); /* one goes ahead */
    tell_again(w, w->last_fetch.serial, "a@x.test", 0, NOW0);
    assert_int_equal(w->job_n, 2);
    assert_int_equal(w->fetches, 1);
    finish(w, last(w), dead());
    at(w, 500000);
    assert_int_equal(w->fetches, 1); /* and it is left alone for longer */
    at(w, 300000);
    assert_int_equal(w->fetches, 2);
    tell_again(w, w->last_fetch.serial, "a@x.test", 0, NOW0);
    finish(w, last(w), sent());
    assert_true(w->fetches > 20); /* it lives: the others follow */
    end(w);
}

static void flush_tries_now(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "a@x.test");
    flow(w);
    finish(w, last(w), dead());
    sched_due_now(w->s, mid(1));
    sched_run(w->s);
    assert_int_equal(w->fetches, 1);
    w->open_fds++;
    sched_ready(w->s,
                &(struct wire_ready){.id = mid(1), .arrival = NOW0, .sender = STR("s@s.test"), .rcpts = 1},
                w->next_fd++);
    ready_rcpt(w, 1, 0, "a@x.test", 1, w->now + 300000); /* not due, but forced */
    sched_ready_end(w->s, mid(1));
    sched_run(w->s);
    flow(w);
    assert_int_equal(w->job_n, 2);
    end(w);
}

static void stuck_mail_does_not_slow_fresh_mail(void **state) {
    (void)state;
    struct world *w = world();
    w->quiet = true;
    for (uint32_t i = 1; i <= 10000; i++) {
        READY(w, i, "a@tar.test");
        flow(w);
    }
    assert_int_equal(running(w), 5);         /* the window of a host that never answers */
    assert_true(sched_in_hand(w->s) < 2200); /* the rest waits in queue, known by its id */
    assert_int_equal(sched_known(w->s), 10000);
    w->quiet = false;
    READY(w, 20000, "a@fresh.test");
    flow(w);
    SAW(w, "job 20000 fresh.test: a@fresh.test\n");
    end(w);
}

/* Queue answers: with a mark whose time has not come; waits: that it cannot tell the message just now, so often. */
static void tell_asked(struct world *w, const char *to, unsigned waits) {
    static unsigned char told[TOLD_MAX];
    size_t n = w->asked_n;
    w->asked_n = 0;
    for (size_t i = 0; i < n; i++) {
        struct qid id = w->asked[i];
        assert_true(id.serial < TOLD_MAX);
        if (told[id.serial]++ < waits) {
            sched_waiting(
                w->s, &(struct wire_waiting){.id = id, .arrival = NOW0, .next = w->now + 900, .rcpts = 1});
            continue;
        }
        told[id.serial] = 0;
        w->open_fds++;
        sched_ready(w->s,
                    &(struct wire_ready){.id = id, .arrival = NOW0, .sender = STR("s@s.test"), .rcpts = 1},
                    w->next_fd++);
        ready_rcpt(w, id.serial, 0, to, 0, w->now + 3600000);
        sched_ready_end(w->s, id);
    }
    sched_run(w->s);
}

/* Of thousands for one destination most wait in queue, with a mark and its time on record. Their turn is when there is room,
 * not when that time has come; also when queue, asked for one of them, cannot tell it at once. */
static void turn_comes_before_time(void **state) {
    (void)state;
    static const char *const to[] = {"a@x.test", "1@local.test"};
    enum { MANY = 3000 };
    for (unsigned k = 0; k < 4; k++) {
        struct world *w = world();
        w->quiet = true;
        for (uint32_t i = 1; i <= MANY; i++) {
            READY(w, i, to[k % 2]);
            flow(w);
        }
        assert_true(w->marks > 500);
        sched_worker_up(w->s, 1001);
        sched_run(w->s);
        for (size_t i = 0; i < w->job_n; i++) {
            finish(w, &w->jobs[i], sent());
            tell_asked(w, to[k % 2], k / 2);
            at(w, k / 2 * 1000);
            flow(w);
        }
        assert_int_equal(w->job_n, MANY);
        assert_int_equal(sched_known(w->s), 0);
        end(w);
    }
}

/* Fresh mail does not wait for the old mail of its destination, neither for lookup nor in the queue; of four jobs one
 * is for old mail nevertheless. Each keeps its order. */
static void fresh_mail_goes_first(void **state) {
    (void)state;
    static const uint32_t order[] = {1001, 1002, 1003, 6, 1004, 1005, 1006, 7, 1007, 1008, 8, 9};
    static const char *const to[] = {"a@x.test", "1@local.test"};
    for (size_t k = 0; k < 2; k++) {
        struct world *w = world();
        w->c.jobs_per_remote = 5;
        sched_configure(w->s, &w->c);
        w->quiet = true;
        for (uint32_t i = 1; i <= 600; i++) OLD(w, i, to[k]);
        assert_int_equal(w->route_n, 200);
        if (k == 0) flow(w);
        for (uint32_t i = 1001; i <= 1008; i++) READY(w, i, to[k]);
        if (k == 1) assert_int_equal(w->route_n, 208);
        flow(w);
        if (k ==
            1) { /* all of a worker's window is open at once: it takes them in the order of their turns */
            sched_worker_up(w->s, 1001);
            sched_run(w->s);
            assert_int_equal(w->jobs[0].id.serial, 1001);
            assert_int_equal(w->jobs[3].id.serial, 1);
            end(w);
            continue;
        }
        assert_int_equal(running(w), 5);
        for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
            finish(w, &w->jobs[i], sent());
            assert_int_equal(last(w)->id.serial, order[i]);
        }
        end(w);
    }
}

/* However much fresh mail comes, old mail that waits in queue gets through, and what is in hand stays within bounds. */
static void old_mail_does_not_starve(void **state) {
    (void)state;
    enum { MANY = 1000, ROUNDS = 5 * MANY };
    struct world *w = world();
    size_t old = 0, i = 0;
    uint32_t fresh = 2 * MANY;
    w->quiet = true;
    for (uint32_t n = 1; n <= MANY; n++) OLD(w, n, "a@x.test");
    for (; i < ROUNDS && old < MANY; i++) {
        for (int k = 0; k < 2; k++) READY(w, fresh++, "a@x.test"); /* twice what the host takes */
        flow(w);
        finish(w, &w->jobs[i], sent());
        old += w->jobs[i].id.serial <= MANY;
        tell_asked(w, "a@x.test", 0);
        flow(w);
        assert_true(sched_in_hand(w->s) <= 20 + (200 + i) * 7 / 4);
    }
    assert_int_equal(old, MANY);
    assert_true(i >= 3 * MANY); /* and no more than its share */
    end(w);
}

static void windows(void **state) {
    (void)state;
    struct world *w = world();
    for (uint32_t i = 1; i <= 100; i++) READY(w, i, "a@x.test");
    flow(w);
    assert_int_equal(running(w), 5);
    finish(w, &w->jobs[0], sent());
    assert_int_equal(running(w), 6);
    for (size_t i = 1; i < 20; i++) finish(w, &w->jobs[i], sent());
    assert_int_equal(running(w), 20);
    finish(w, &w->jobs[20], dead()); /* it took mail a moment ago: not dead at once, but half of the window */
    assert_int_equal(running(w), 19);
    finish(w, &w->jobs[21], grey());
    assert_int_equal(running(w), 18);
    w->log[w->log_n] = '\0';
    assert_null(strstr(w->log, "host_down"));
    end(w);
}

static void turns(void **state) {
    (void)state;
    struct world *w = world();
    w->c.jobs_per_remote = 4;
    sched_configure(w->s, &w->c);
    for (uint32_t i = 1; i <= 20; i++) {
        ready_from(w, i, "s@s.test", w->now, (const char *[]){"a@x.test"}, 1);
        ready_from(w, 100 + i, "s@s.test", w->now, (const char *[]){"a@y.test"}, 1);
    }
    sched_run(w->s);
    flow(w);
    assert_int_equal(running(w), 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(w->jobs[i].destination,
                            i % 2 == 0 ? w->jobs[0].destination : w->jobs[1].destination);
    assert_string_not_equal(w->jobs[0].destination, w->jobs[1].destination);
    end(w);
}

static void spread(void **state) {
    (void)state;
    struct world *w = world();
    sched_remote_synced(w->s, 1);
    READY(w, 1, "a@x.test");
    READY(w, 2, "a@y.test");
    flow(w);
    assert_int_equal(w->job_n, 2);
    assert_int_not_equal(w->jobs[0].remote, w->jobs[1].remote);
    /* one of them dies: its recipient is tried soon again, not counted */
    forget(w);
    sched_remote_gone(w->s, w->jobs[0].remote);
    sched_run(w->s);
    w->log[w->log_n] = '\0';
    assert_non_null(strstr(w->log, "L 4003000"));
    at(w, 1500);
    assert_int_equal(w->fetches, 1);
    assert_int_equal(w->last_fetch.serial, w->jobs[0].id.serial);
    end(w);
}

static void nobody_speaks_for_another(void **state) {
    (void)state;
    struct world *w = world();
    sched_remote_synced(w->s, 1);
    READY(w, 1, "a@x.test");
    flow(w);
    struct seen_job fake = *last(w);
    fake.remote = !fake.remote;
    result(w, &fake, 0, sent());
    job_done(w, &fake);
    fake = *last(w);
    fake.id = mid(7);
    result(w, &fake, 0, sent());
    fake = *last(w);
    result(w, &fake, 5, sent());
    assert_int_equal(w->marks, 0);
    finish(w, &w->jobs[0], sent());
    finish(w, &w->jobs[0], sent()); /* twice: the second is of no job */
    assert_int_equal(w->marks, 1);
    sched_route_answer(w->s, &(struct wire_route_answer){.tag = 12345, .how = 'L'});
    sched_host_answer(w->s, &(struct wire_host_answer){.tag = 12345});
    sched_host(w->s, &(struct wire_host){.tag = 0, .family = 4, .ip = {"x", 1}});
    end(w);
}

static void own_hosts(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "a@ours.test");
    flow(w);
    assert_string_equal(last(w)->hosts, "best.ours.test:25");
    forget(w);
    READY(w, 2, "a@loop.test");
    flow(w);
    sched_bounce_done(w->s, mid(2), &(struct status){.kind = STATUS_OK});
    SAW(w, "bounce 2 a@loop.test\nmark 2/0 F 5004006\nbounced 2 a@loop.test\n");
    READY(w, 3, "a@back.test");
    flow(w);
    sched_bounce_done(w->s, mid(3), &(struct status){.kind = STATUS_OK});
    SAW(w, "bounce 3 a@back.test\nmark 3/0 F 5004004\nbounced 3 a@back.test\n");
    READY(w, 4, "a@void.test");
    flow(w);
    sched_bounce_done(w->s, mid(4), &(struct status){.kind = STATUS_OK});
    SAW(w, "bounce 4 a@void.test\nmark 4/0 F 5001002\nbounced 4 a@void.test\n");
    READY(w, 5, "a@slow.test");
    flow(w);
    SAW(w, "mark 5/0 L 4004003\ndeferred 5 a@slow.test\n");
    end(w);
}

static void known_dead_hosts_come_last(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "a@two.test");
    flow(w);
    assert_string_equal(last(w)->hosts, "first.two.test:25 second.two.test:25");
    w->host_is_down = true;
    READY(w, 2, "a@two.test");
    flow(w);
    assert_string_equal(last(w)->hosts, "second.two.test:25 first.two.test:25");
    end(w);
}

static void absent_programs(void **state) {
    (void)state;
    struct world *w = world();
    sched_lookup(w->s, false);
    READY(w, 1, "a@x.test");
    at(w, 4000);
    SAW(w, "");
    at(w, 1000);
    SAW(w, "mark 1/0 L 4003000\ndeferred 1 a@x.test\n");
    sched_lookup(w->s, true);
    sched_resolve(w->s, false);
    READY(w, 2, "a@x.test");
    flow(w);
    at(w, 5000);
    SAW(w, "mark 2/0 L 4003000\ndeferred 2 a@x.test\n");
    sched_resolve(w->s, true);
    sched_remote_gone(w->s, 0);
    READY(w, 3, "a@x.test");
    flow(w);
    at(w, 5000);
    SAW(w, "mark 3/0 L 4003000\ndeferred 3 a@x.test\n");
    sched_spawner(w->s, false);
    READY(w, 4, "1@local.test");
    flow(w);
    at(w, 5000);
    w->log[w->log_n] = '\0';
    assert_non_null(strstr(w->log, "mark 4/0 L 4003000\ndeferred 4 1@local.test\n"));
    end(w);
}

static void answers_lost_are_asked_again(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "a@x.test");
    assert_int_equal(w->route_n, 1);
    w->route_n = 0;
    sched_lookup(w->s, false);
    sched_lookup(w->s, true);
    sched_run(w->s);
    assert_int_equal(w->route_n, 1);
    routes(w);
    assert_int_equal(w->host_n, 1);
    w->host_n = 0;
    sched_resolve(w->s, false);
    sched_resolve(w->s, true);
    sched_run(w->s);
    assert_int_equal(w->host_n, 1);
    hosts(w);
    assert_int_equal(w->job_n, 1);
    end(w);
}

static void queue_dies(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "a@x.test", "b@y.test");
    flow(w);
    assert_int_equal(w->job_n, 2);
    forget(w);
    result(w, &w->jobs[0], w->jobs[0].index[0], sent()); /* the mark may be lost with queue */
    job_done(w, &w->jobs[0]);
    forget(w);
    sched_queue(w->s, false);
    result(w, &w->jobs[1], w->jobs[1].index[0], sent()); /* and this one finds none */
    job_done(w, &w->jobs[1]);
    at(w, 60000);
    sched_queue(w->s, true);
    w->log[w->log_n] = '\0';
    assert_non_null(strstr(w->log, "mark 1/0 D")); /* both are said to the new one */
    assert_non_null(strstr(w->log, "mark 1/1 D"));
    READY(w, 1, "a@x.test", "b@y.test"); /* which had told us the message before it read them */
    flow(w);
    assert_int_equal(w->job_n, 2); /* nobody is served twice */
    assert_int_equal(sched_in_hand(w->s), 0);
    end(w);
}

/* What queue has acknowledged is not said again; what it has not, however long it stood still, is. */
static void queue_acknowledges(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "a@x.test", "b@y.test", "c@z.test");
    flow(w);
    for (size_t i = 0; i < 3; i++) finish(w, &w->jobs[i], sent());
    sched_marked(w->s, 1);
    for (int i = 0; i < 60; i++) at(w, 1000); /* it stands still */
    forget(w);
    sched_queue(w->s, false);
    sched_marked(w->s, 1); /* of a channel that is gone */
    at(w, 1);
    sched_queue(w->s, true);
    SAW(w, "mark 1/1 D 2000000\nmark 1/2 D 2000000\n");
    READY(w, 1, "a@x.test", "b@y.test", "c@z.test"); /* its old record */
    flow(w);
    assert_int_equal(w->job_n, 4); /* of the first it said that it knew; of the others it did not */
    assert_string_equal(last(w)->rcpts, "a@x.test");
    finish(w, last(w), sent());
    sched_marked(w->s, 1000000); /* more than there is */
    forget(w);
    sched_queue(w->s, false);
    sched_queue(w->s, true);
    SAW(w, "");
    end(w);
}

/* A queue that never acknowledges is not given more and more to remember. */
static void queue_lags_behind(void **state) {
    (void)state;
    enum { N = 1000, ROUNDS = 100 };
    static const char *to[N];
    struct world *w = world();
    w->quiet = true;
    for (size_t i = 0; i < N; i++) to[i] = "null@here.test";
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        ready_from(w, i, "s@s.test", w->now, to, N);
        routes(w);
    }
    assert_int_equal(w->marks, N * ROUNDS);
    READY(w, 200, "a@x.test");
    flow(w);
    assert_int_equal(w->job_n, 0); /* nothing new */
    sched_marked(w->s, N);
    sched_run(w->s);
    flow(w);
    assert_int_equal(w->job_n, 1);
    end(w);
}

/* Telling a message again costs what its recipients cost, not their square. */
static void many_are_told_again(void **state) {
    (void)state;
    enum { N = 60000 };
    const char **to = xmalloc(N * sizeof *to);
    struct world *w = world();
    w->quiet = true;
    for (size_t i = 0; i < N; i++) to[i] = i ? "null@here.test" : "a@x.test";
    ready_from(w, 1, "s@s.test", w->now, to, N);
    sched_run(w->s);
    flow(w);
    assert_int_equal(w->marks, N - 1);
    sched_queue(w->s, false);
    sched_marked(w->s, N);
    sched_queue(w->s, true);
    w->marks = 0;
    clock_t began = clock();
    ready_from(w, 1, "s@s.test", w->now, to, N);
    assert_int_equal(w->marks, N - 1);
    assert_true((double)(clock() - began) / CLOCKS_PER_SEC < 1.0);
    finish(w, last(w), sent());
    free(to);
    end(w);
}

/* Setting the clock does not make a mark old that queue may not have read. */
static void clock_jumps_and_queue_dies(void **state) {
    (void)state;
    static const int64_t jumps[] = {3600000, -3600000};
    for (size_t i = 0; i < sizeof jumps / sizeof jumps[0]; i++) {
        struct world *w = world();
        READY(w, 1, "a@x.test");
        flow(w);
        finish(w, last(w), sent());
        at(w, jumps[i]);
        forget(w);
        sched_queue(w->s, false);
        sched_run(w->s);
        sched_queue(w->s, true);
        SAW(w, "mark 1/0 D 2000000\n");
        READY(w, 1, "a@x.test");
        flow(w);
        assert_int_equal(w->job_n, 1);
        end(w);
    }
}

/* Queue was away for long, in a busy time; the new one tells its old record before it hears what we say
 * again. */
static void queue_is_away_for_long(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "a@x.test");
    flow(w);
    sched_queue(w->s, false);
    finish(w, last(w), sent());
    for (int i = 0; i < 10; i++) at(w, 1000);
    sched_queue(w->s, true);
    at(w, 1);
    READY(w, 1, "a@x.test");
    flow(w);
    assert_int_equal(w->job_n, 1); /* nobody is served twice */
    end(w);
}

/* A queue that stood still for long is killed before it has read marks and splits. What of the message is
 * still in hand here is told to the new one again: else its record would never end. */
static void queue_had_not_read(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "list@here.test", "c@z.test");
    flow(w);
    assert_int_equal(w->job_n, 3);
    for (size_t i = 0; i < w->job_n; i++)
        if (strcmp(w->jobs[i].rcpts, "b@y.test") == 0) finish(w, &w->jobs[i], sent());
    for (int i = 0; i < 10; i++) at(w, 1000);
    sched_queue(w->s, false);
    at(w, 1);
    sched_queue(w->s, true);
    at(w, 1);
    forget(w);
    READY(w, 1, "list@here.test", "c@z.test"); /* all that it knows */
    flow(w);
    SAW(w, "split 1/0>2 a@x.test\nsplit 1/0>3 b@y.test\nmark 1/0 S 2000000\n");
    sched_queue(w->s, false);
    at(w, 1);
    sched_queue(w->s, true);
    forget(w);
    w->open_fds++;
    sched_ready(
        w->s,
        &(struct wire_ready){.id = mid(1), .arrival = w->now, .sender = STR("sender@s.test"), .rcpts = 4},
        w->next_fd++);
    ready_rcpt(w, 1, 1, "c@z.test", 0, 0);
    ready_rcpt(w, 1, 2, "a@x.test", 0, 0);
    ready_rcpt(w, 1, 3, "b@y.test", 0, 0);
    sched_ready_end(w->s, mid(1));
    SAW(w, "mark 1/3 D 2000000\n");
    assert_int_equal(w->job_n, 3);
    end(w);
}

/* The message rests here, with expansions that a queue has died with: the next one reads them, but has told its older
 * record before. An address expanded of that one would get numbers that are taken. */
static void told_before_it_had_read(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "list@here.test", "c@z.test");
    flow(w);
    assert_int_equal(w->job_n, 3);
    for (size_t i = 0; i < 3; i++) finish(w, &w->jobs[i], grey());
    sched_queue(w->s, false);
    at(w, 1);
    sched_queue(w->s, true);
    size_t splits = w->splits, fetches = w->fetches;
    READY(w, 1, "list@here.test", "c@z.test");
    flow(w);
    assert_int_equal(w->job_n, 3); /* nothing is begun of it */
    assert_int_equal(w->splits, splits);
    assert_int_equal(w->fetches, fetches);
    for (int i = 0; i < 6; i++) at(w, 1000);
    assert_int_equal(w->fetches, fetches + 1); /* it is asked for instead */
    end(w);
}

/* The same when an administrator wants it tried now: that is not forgotten over it. */
static void tried_now_after_it_had_read(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "list@here.test", "c@z.test");
    flow(w);
    for (size_t i = 0; i < 3; i++) finish(w, &w->jobs[i], grey());
    sched_queue(w->s, false);
    at(w, 1);
    sched_queue(w->s, true);
    sched_due_now(w->s, mid(1));
    at(w, 1);
    READY(w, 1, "list@here.test", "c@z.test"); /* the older record */
    for (int i = 0; i < 6; i++) at(w, 1000);
    w->open_fds++;
    sched_ready(
        w->s,
        &(struct wire_ready){.id = mid(1), .arrival = w->now, .sender = STR("sender@s.test"), .rcpts = 4},
        w->next_fd++);
    ready_rcpt(w, 1, 1, "c@z.test", 1, w->now + 3600000);
    ready_rcpt(w, 1, 2, "a@x.test", 1, w->now + 3600000);
    ready_rcpt(w, 1, 3, "b@y.test", 1, w->now + 3600000);
    sched_ready_end(w->s, mid(1));
    sched_run(w->s);
    flow(w);
    assert_int_equal(w->job_n, 6);
    end(w);
}

/* What has ended is told too: an alias that leads to it again does not serve it again, and a loop that was begun
 * before the restart is still seen. */
static void ended_is_told(void **state) {
    (void)state;
    struct world *w = world();
    w->open_fds++;
    sched_ready(
        w->s,
        &(struct wire_ready){.id = mid(1), .arrival = w->now, .sender = STR("sender@s.test"), .rcpts = 3},
        w->next_fd++);
    sched_ready_rcpt(
        w->s, &(struct wire_ready_rcpt){
                  .id = mid(1), .rcpt = STR("a@x.test"), .parent = UINT32_MAX, .attempts = 1, .state = 'D'});
    ready_rcpt(w, 1, 1, "list@local.test", 0, 0);
    sched_ready_rcpt(
        w->s,
        &(struct wire_ready_rcpt){
            .id = mid(1), .index = 2, .rcpt = STR("b@y.test"), .parent = 1, .attempts = 1, .state = 'F'});
    sched_ready_end(w->s, mid(1));
    flow(w);
    SAW(w, "mark 1/1 S 2000000\nexpanded 1 list@local.test\n");
    assert_int_equal(w->splits, 0);
    assert_int_equal(w->job_n, 0);
    end(w);

    w = world();
    w->open_fds++;
    sched_ready(
        w->s,
        &(struct wire_ready){.id = mid(1), .arrival = w->now, .sender = STR("sender@s.test"), .rcpts = 2},
        w->next_fd++);
    sched_ready_rcpt(
        w->s,
        &(struct wire_ready_rcpt){
            .id = mid(1), .rcpt = STR("ping@local.test"), .parent = UINT32_MAX, .attempts = 1, .state = 'S'});
    sched_ready_rcpt(w->s, &(struct wire_ready_rcpt){
                               .id = mid(1), .index = 1, .rcpt = STR("pong@local.test"), .state = 'N'});
    sched_ready_end(w->s, mid(1));
    flow(w);
    for (int i = 0; i < 10; i++) at(w, 1000);
    w->log[w->log_n] = '\0';
    assert_non_null(strstr(w->log, "bounce 1 pong@local.test\n"));
    sched_bounce_done(w->s, mid(1), &(struct status){.kind = STATUS_OK});
    end(w);
}

/* Queue may answer a fetch with waiting: it could not read the message just now. */
static void queue_cannot_read_now(void **state) {
    (void)state;
    struct world *w = world();
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 1; i <= 300; i++)
            sched_waiting(
                w->s, &(struct wire_waiting){.id = mid(i), .arrival = w->now, .next = w->now, .rcpts = 1});
        w->fetches = w->asked_n = 0;
        at(w, 5000);
        assert_int_equal(w->fetches, 200); /* so many at a time */
        for (size_t i = 0; i < 200; i++)
            sched_waiting(w->s, &(struct wire_waiting){.id = w->asked[i], .next = w->now + 5000, .rcpts = 1});
    }
    at(w, 1);
    assert_int_equal(w->fetches, 300); /* the others have their turn */
    end(w);
}

static void queue_dies_in_the_middle(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "a@x.test");
    flow(w);
    sched_waiting(w->s,
                  &(struct wire_waiting){.id = mid(2), .arrival = w->now, .next = w->now + 1000, .rcpts = 1});
    w->open_fds++;
    sched_ready(w->s,
                &(struct wire_ready){.id = mid(3), .arrival = w->now, .sender = STR("s@s.test"), .rcpts = 1},
                w->next_fd++);
    sched_queue(w->s, false); /* message 3 was half told */
    assert_int_equal(sched_known(w->s), 1);
    at(w, 2000);
    assert_int_equal(w->fetches, 0);
    sched_queue(w->s, true);
    READY(w, 1, "a@x.test"); /* told again while it is under way */
    flow(w);
    assert_int_equal(w->job_n, 1);
    forget(w);
    finish(w, &w->jobs[0], sent());
    SAW(w, "mark 1/0 D 2000000\ndelivered 1 a@x.test\n");
    end(w);
}

/* A deliverer tells a new dispatch what it still works on. */
static void runs(struct world *w, uint32_t job, uint32_t n, uint32_t index, const char *rcpt) {
    sched_remote_running(
        w->s, 0, &(struct wire_running){.job = job, .id = mid(n), .index = index, .rcpt = str_of(rcpt)});
}

static void after_our_own_death(void **state) {
    (void)state;
    struct world *w = world_bare();
    sched_queue(w->s, true);
    sched_lookup(w->s, true);
    sched_resolve(w->s, true);
    sched_spawner(w->s, true);
    READY(w, 1, "a@x.test", "b@x.test", "c@x.test", "d@x.test");
    flow(w);
    assert_int_equal(w->job_n, 0); /* first hear what is under way */
    static const char *const to[] = {"e@x.test", "f@x.test", "g@x.test", "h@x.test"};
    for (uint32_t i = 0; i < 4; i++) runs(w, 77, 2, i, to[i]);
    sched_remote_synced(w->s, 0);
    sched_run(w->s);
    SAW(w, "job 1 x.test: a@x.test b@x.test c@x.test d@x.test\n");
    struct seen_job old = {.no = 77, .id = mid(2)};
    result(w, &old, 0, sent()); /* before queue has told the message */
    result(w, &old, 1, never());
    sched_run(w->s);
    SAW(w, "fetch 2\n"); /* what it is about is not ours to say: queue shall tell it */
    READY(w, 2, "e@x.test", "f@x.test", "g@x.test", "h@x.test");
    SAW(w, "mark 2/0 D 2000000\ndelivered 2 e@x.test\n");
    flow(w);
    assert_int_equal(w->job_n, 1); /* none of them is started */
    result(w, &old, 2, grey());    /* after */
    job_done(w, &old);             /* without a word about the fourth: soon */
    sched_run(w->s);
    w->log[w->log_n] = '\0';
    assert_non_null(strstr(w->log, "mark 2/2 L 4002000"));
    assert_non_null(strstr(w->log, "mark 2/3 L 4003000"));
    assert_non_null(strstr(w->log, "bounce 2 f@x.test\n"));
    end(w);
}

/* The message comes first, the word that it is under way later: it must not be sent a second time. */
static void told_too_late(void **state) {
    (void)state;
    struct world *w = world_bare();
    sched_queue(w->s, true);
    sched_lookup(w->s, true);
    sched_resolve(w->s, true);
    READY(w, 1, "a@x.test", "b@x.test", "c@x.test");
    READY(w, 2, "d@x.test");
    flow(w);
    runs(w, 77, 1, 0, "a@x.test");
    runs(w, 77, 1, 2, "c@x.test");
    runs(w, 78, 2, 0, "d@x.test");
    sched_remote_synced(w->s, 0);
    struct seen_job old = {.no = 77, .id = mid(1)};
    result(w, &old, 2, sent()); /* at once */
    sched_run(w->s);
    SAW(w, "mark 1/2 D 2000000\n"
           "mark 1/2 D 2000000\n"
           "delivered 1 c@x.test\n"
           "job 1 x.test: b@x.test\n");
    result(w, &old, 0, sent());
    job_done(w, &old);
    finish(w, last(w), sent());
    SAW(w, "mark 1/0 D 2000000\ndelivered 1 a@x.test\nmark 1/1 D 2000000\ndelivered 1 b@x.test\n");
    struct seen_job other = {.no = 78, .id = mid(2)};
    result(w, &other, 0, sent());
    job_done(w, &other);
    sched_run(w->s);
    assert_int_equal(w->job_n, 1);
    assert_int_equal(sched_known(w->s), 0);
    end(w);
}

/* Dispatch and queue died before a split was recorded. The deliverer still works for b under a number that
 * belongs to a now: a must not count as served, and b must not be served again. */
static void a_number_means_another(void **state) {
    (void)state;
    for (int late = 0; late < 2; late++) {
        struct world *w = world_bare();
        sched_queue(w->s, true);
        sched_lookup(w->s, true);
        sched_resolve(w->s, true);
        runs(w, 77, 1, 1, "b@y.test");
        runs(w, 78, 2, 0, "gone@y.test");
        sched_remote_synced(w->s, 0);
        struct seen_job old = {.no = 77, .id = mid(1)}, older = {.no = 78, .id = mid(2)};
        if (!late) result(w, &old, 1, sent());
        result(w, &older, 0, sent());
        sched_run(w->s);
        SAW(w, late ? "fetch 2\n" : "fetch 1\nfetch 2\n");
        READY(w, 1, "list@here.test");
        READY(w, 2, "c@z.test");
        flow(w);
        if (late) result(w, &old, 1, sent());
        job_done(w, &old);
        job_done(w, &older);
        sched_run(w->s);
        assert_int_equal(w->job_n, 2);
        assert_string_equal(w->jobs[0].rcpts, "c@z.test");
        assert_string_equal(w->jobs[1].rcpts, "a@x.test");
        w->log[w->log_n] = '\0';
        assert_non_null(strstr(w->log, "split 1/0>1 a@x.test\nsplit 1/0>2 b@y.test\n"));
        assert_non_null(strstr(w->log, "mark 1/2 D 2000000\ndelivered 1 b@y.test\n"));
        assert_null(strstr(w->log, "mark 1/1 D"));
        assert_null(strstr(w->log, "mark 2/0 D"));
        finish(w, &w->jobs[0], sent());
        finish(w, &w->jobs[1], sent());
        assert_int_equal(sched_known(w->s), 0);
        end(w);
    }
}

/* The same address twice in one message, and a deliverer that works for the first of them: the second waits
 * with it, and is not forgotten. */
static void one_address_twice(void **state) {
    (void)state;
    struct world *w = world_bare();
    sched_queue(w->s, true);
    sched_lookup(w->s, true);
    sched_resolve(w->s, true);
    for (uint32_t i = 1; i <= 2; i++) runs(w, 70 + i, i, 0, "a@x.test");
    sched_remote_synced(w->s, 0);
    READY(w, 1, "a@x.test", "a@x.test");
    READY(w, 2, "a@x.test", "a@x.test");
    flow(w);
    assert_int_equal(w->job_n, 0);
    struct seen_job old = {.no = 71, .id = mid(1)};
    result(w, &old, 0, sent());
    job_done(w, &old);
    sched_remote_gone(w->s, 0);
    sched_remote_synced(w->s, 0);
    at(w, 2000);
    assert_int_equal(w->fetches, 2);
    end(w);
}

/* The result came while queue was away: the next one is asked for the message, however late it comes. */
static void a_result_waits_for_queue(void **state) {
    (void)state;
    struct world *w = world_bare();
    sched_lookup(w->s, true);
    sched_resolve(w->s, true);
    runs(w, 77, 1, 0, "a@x.test");
    sched_remote_synced(w->s, 0);
    struct seen_job old = {.no = 77, .id = mid(1)};
    result(w, &old, 0, sent());
    job_done(w, &old);
    for (int i = 0; i < 100; i++) at(w, 1000);
    SAW(w, "");
    sched_queue(w->s, true);
    sched_run(w->s);
    SAW(w, "fetch 1\n");
    READY(w, 1, "a@x.test");
    flow(w);
    SAW(w, "mark 1/0 D 2000000\ndelivered 1 a@x.test\n");
    end(w);

    w = world(); /* and of a message that rests for another hour */
    runs(w, 77, 1, 0, "a@x.test");
    sched_waiting(
        w->s, &(struct wire_waiting){.id = mid(1), .arrival = w->now, .next = w->now + 3600000, .rcpts = 2});
    result(w, &old, 0, sent());
    at(w, 1);
    SAW(w, "fetch 1\n");
    sched_gone(w->s, mid(1)); /* somebody has removed it */
    at(w, 61000);
    READY(w, 1, "a@x.test"); /* the result is forgotten */
    flow(w);
    assert_int_equal(w->job_n, 1);
    end(w);
}

static void patience_with_deliverers_ends(void **state) {
    (void)state;
    struct world *w = world_bare();
    w->c.remote_processes = 2;
    sched_configure(w->s, &w->c);
    sched_queue(w->s, true);
    sched_lookup(w->s, true);
    sched_resolve(w->s, true);
    sched_remote_synced(w->s, 0); /* the second does not come */
    READY(w, 1, "a@x.test");
    flow(w);
    assert_int_equal(w->job_n, 0);
    assert_true(w->wake <= w->now + 2000);
    at(w, 2000);
    assert_int_equal(w->job_n, 1);
    end(w);
}

static void workers(void **state) {
    (void)state;
    struct world *w = world(); /* two at a time */
    READY(w, 1, "1@local.test");
    READY(w, 2, "2@local.test");
    READY(w, 3, "3@local.test");
    flow(w);
    SAW(w, "worker 1001:1002\nworker 1002:1003\n");
    sched_worker_up(w->s, 1001);
    sched_worker_up(w->s, 1002);
    sched_run(w->s);
    forget(w);
    finish(w, &w->jobs[0], sent());
    /* the idle one makes room */
    SAW(w, "mark 1/0 D 2000000\ndelivered 1 1@local.test\nworker stop 1001\nworker 1003:1004\n");
    sched_worker_up(w->s, 1003);
    sched_run(w->s);
    SAW(w, "job 3 maildir:/h/M: 3@local.test\n");
    finish(w, &w->jobs[1], sent());
    forget(w);
    at(w, 10001);
    SAW(w, "worker stop 1002\n"); /* idle for long enough */
    sched_worker_down(w->s, 1003, NULL);
    sched_run(w->s);
    SAW(w, "mark 3/0 L 4003000\ndeferred 3 3@local.test\n");
    READY(w, 4, "4@local.test");
    flow(w);
    SAW(w, "worker 1004:1005\n");
    struct status refused = status_make(451, "4.3.0", "rights refused");
    sched_worker_down(w->s, 1004, &refused);
    sched_run(w->s);
    SAW(w, "mark 4/0 L 4003000\ndeferred 4 4@local.test\n");
    end(w);
}

static void back(struct world *w, struct seen_job *j) {
    j->over = true;
    sched_job_back(w->s, source(j), j->no);
    sched_run(w->s);
}

/* A worker gives back what its cage is not made for: it gets no more, answers the rest, and is stopped; the next one begins
 * with what was given back. */
static void another_worker_does_it(void **state) {
    (void)state;
    struct world *w = world();
    READY(w, 1, "1@local.test");
    flow(w);
    sched_worker_up(w->s, 1001);
    sched_run(w->s);
    forget(w);
    back(w, last(w)); /* it has done nothing yet: so it would be for ever */
    SAW(w, "mark 1/0 L 4003000\ndeferred 1 1@local.test\n");
    READY(w, 2, "1@local.test");
    READY(w, 3, "1@local.test");
    READY(w, 4, "1@local.test", "1+x@local.test");
    flow(w);
    assert_int_equal(w->job_n, 5); /* of 4 one for each mailbox */
    finish(w, &w->jobs[1], sent());
    forget(w);
    back(w, &w->jobs[3]);
    READY(w, 5, "1@local.test");
    flow(w);
    SAW(w, "");
    finish(w, &w->jobs[4], sent());
    SAW(w, "mark 4/1 D 2000000\ndelivered 4 1+x@local.test\n");
    finish(w, &w->jobs[2], sent());
    SAW(w, "mark 3/0 D 2000000\ndelivered 3 1@local.test\nworker stop 1001\nworker 1001:1002\n");
    sched_worker_up(w->s, 1001);
    sched_run(w->s);
    SAW(w, "job 4 maildir:/h/M: 1@local.test\njob 5 maildir:/h/M: 1@local.test\n");
    finish(w, &w->jobs[5], sent());
    back(w, last(w));
    SAW(w, "mark 4/0 D 2000000\ndelivered 4 1@local.test\nworker stop 1001\nworker 1001:1002\n");
    sched_worker_up(w->s, 1001);
    sched_run(w->s);
    sched_gone(w->s, mid(5)); /* while it runs, and before it comes back */
    back(w, last(w));
    assert_int_equal(sched_jobs(w->s), 0);
    assert_int_equal(sched_known(w->s), 1);
    end(w);
}

/* A life of a worker whose cage lets it into the mailbox of its first job only: it does those, and gives back the others.
 * Fresh mail for 1@ comes meanwhile, so much and so much a job. True: it has done message 1. */
static bool life_of_worker(struct world *w, size_t from, uint32_t *fresh, unsigned a_life, unsigned a_job) {
    char cage[100];
    bool done = false;
    assert_true(from < w->job_n);
    snprintf(cage, sizeof cage, "%s", w->jobs[from].mailbox);
    for (size_t i = from; i < w->job_n; i++) {
        bool ours = strcmp(w->jobs[i].mailbox, cage) == 0;
        done |= ours && w->jobs[i].id.serial == 1;
        if (ours) finish(w, &w->jobs[i], sent());
        else back(w, &w->jobs[i]);
        for (unsigned k = 0; k < a_job; k++) READY(w, (*fresh)++, "1@local.test");
        flow(w);
    }
    for (unsigned k = 0; k < a_life; k++) READY(w, (*fresh)++, "1@local.test");
    flow(w);
    return done;
}

/* A stream for one home does not keep mail for another of the same UID: not when that mail is old, and the stream fresh; nor
 * when the stream is more than a worker does, so that some of it always waits. */
static void a_stream_keeps_no_home(void **state) {
    (void)state;
    static const struct {
        bool old;
        unsigned before, a_life, a_job;
    } rows[] = {{false, 1, 1, 0}, {true, 1, 1, 0}, {true, 3, 8, 0}, {false, 600, 0, 1}, {true, 600, 0, 1}};
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct world *w = world();
        uint32_t fresh = 100;
        size_t from = 0;
        bool done = false;
        w->quiet = true;
        READY(w, fresh++, "1@local.test");
        flow(w);
        for (unsigned life = 0; life < 2 && !done; life++) {
            sched_worker_up(w->s, 1001);
            sched_run(w->s);
            for (unsigned i = 0; i < rows[k].before && !life; i++) {
                READY(w, fresh++, "1@local.test");
                flow(w);
            }
            w->old = rows[k].old;
            if (!life) READY(w, 1, "1+x@local.test");
            w->old = false;
            flow(w);
            done = life_of_worker(w, from, &fresh, rows[k].a_life, rows[k].a_job);
            from = w->job_n;
        }
        if (!done) fail_msg("row %zu: not done in the second life", k);
        end(w);
    }
}

/* What a mailbox refuses is tried again after seconds, then ever more slowly; what its worker died of likewise, also when
 * queue had to be asked for the message again. */
static void mailbox_trouble_is_short(void **state) {
    (void)state;
    static const int64_t refused[] = {10000, 20000, 40000, 80000, 160000, 320000},
                         died[] = {1000, 2000, 4000, 8000, 16000, 32000, 64000, 64000};
    struct world *w = world();
    w->quiet = true;
    READY(w, 1, "1@local.test");
    flow(w);
    sched_worker_up(w->s, 1001);
    sched_run(w->s);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        finish(w, last(w), grey());
        at(w, refused[i] - 1);
        assert_int_equal(w->fetches, i);
        at(w, refused[i] / 8 + 300);
        assert_int_equal(w->fetches, i + 1);
        tell_again(w, 1, "1@local.test", (uint32_t)i + 1, NOW0);
        sched_worker_up(w->s, 1001); /* it was idle for too long */
        sched_run(w->s);
    }
    w->fetches = 0;
    for (size_t i = 0; i < sizeof died / sizeof *died; i++) {
        sched_worker_down(w->s, 1001, NULL);
        at(w, died[i] - 1);
        assert_int_equal(w->fetches, i);
        at(w, 300);
        assert_int_equal(w->fetches, i + 1);
        tell_again(w, 1, "1@local.test", 6, NOW0);
        sched_worker_up(w->s, 1001);
        sched_run(w->s);
    }
    finish(w, last(w), sent());
    assert_int_equal(sched_known(w->s), 0);
    end(w);
}

static void removed(void **state) {
    (void)state;
    struct world *w = world();
    sched_waiting(w->s,
                  &(struct wire_waiting){.id = mid(1), .arrival = w->now, .next = w->now + 1000, .rcpts = 1});
    sched_gone(w->s, mid(1));
    assert_int_equal(sched_known(w->s), 0);
    for (uint32_t i = 2; i < 20; i++) READY(w, i, "a@x.test");
    flow(w);
    for (uint32_t i = 2; i < 20; i++) sched_gone(w->s, mid(i)); /* running ones and queued ones */
    sched_run(w->s);
    forget(w);
    for (size_t i = 0; i < 5; i++) finish(w, &w->jobs[i], sent());
    assert_int_equal(sched_known(w->s), 0);
    assert_int_equal(w->open_fds, 0);
    READY(w, 30, "nobody@local.test"); /* while it is being reported */
    flow(w);
    sched_gone(w->s, mid(30));
    sched_bounce_done(w->s, mid(30), &(struct status){.kind = STATUS_OK});
    sched_gone(w->s, mid(99));
    assert_int_equal(sched_known(w->s), 0);
    end(w);
}

static void a_million(void **state) {
    (void)state;
    struct world *w = world();
    w->quiet = true;
    enum { MANY = 200000 };
    for (uint32_t i = 1; i <= MANY; i++)
        sched_waiting(w->s, &(struct wire_waiting){
                                .id = mid(i), .arrival = w->now, .next = w->now + 1000 + i, .rcpts = 1});
    assert_int_equal(sched_known(w->s), MANY);
    assert_true(sched_entry_size() + 16 /* malloc */ + 2 * sizeof(void *) /* buckets */ +
                    2 * sizeof(void *) /* heap */
                <= 160);
    at(w, 1000 + MANY);
    assert_int_equal(w->fetches, 200); /* and not all at once */
    end(w);
}

/* Ten places for a hundred messages: all get through, and never more than ten descriptors are open. */
static void too_much_in_hand(void **state) {
    (void)state;
    struct world *w = world();
    w->c.in_hand_max = 10;
    sched_configure(w->s, &w->c);
    w->quiet = true;
    for (uint32_t i = 1; i <= 100; i++) READY(w, i, "a@x.test");
    assert_int_equal(w->open_fds, 10);
    assert_int_equal(sched_known(w->s), 100);
    flow(w);
    for (size_t round = 0; round < 100 && sched_known(w->s); round++) {
        struct qid asked[200];
        size_t n = w->asked_n;
        memcpy(asked, w->asked, n * sizeof *asked);
        w->asked_n = 0;
        for (size_t i = 0; i < n; i++) tell_again(w, asked[i].serial, "a@x.test", 0, w->now);
        assert_true(w->open_fds <= 10);
        for (size_t i = 0; i < w->job_n; i++)
            if (!w->jobs[i].over) finish(w, &w->jobs[i], sent());
    }
    assert_int_equal(sched_known(w->s), 0);
    assert_int_equal(w->job_n, 100);
    end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_ways),
        cmocka_unit_test(batches),
        cmocka_unit_test(expansion),
        cmocka_unit_test(ended_is_told),
        cmocka_unit_test(answers_of_lookup),
        cmocka_unit_test(failure_is_reported),
        cmocka_unit_test(never_means_never),
        cmocka_unit_test(success_is_reported),
        cmocka_unit_test(next_host_reports),
        cmocka_unit_test(expansion_is_reported),
        cmocka_unit_test(success_outlives_queue),
        cmocka_unit_test(no_report_of_a_report),
        cmocka_unit_test(backs_off),
        cmocka_unit_test(gives_up),
        cmocka_unit_test(dead_host_is_left_alone),
        cmocka_unit_test(flush_tries_now),
        cmocka_unit_test(stuck_mail_does_not_slow_fresh_mail),
        cmocka_unit_test(turn_comes_before_time),
        cmocka_unit_test(fresh_mail_goes_first),
        cmocka_unit_test(old_mail_does_not_starve),
        cmocka_unit_test(windows),
        cmocka_unit_test(turns),
        cmocka_unit_test(spread),
        cmocka_unit_test(nobody_speaks_for_another),
        cmocka_unit_test(own_hosts),
        cmocka_unit_test(known_dead_hosts_come_last),
        cmocka_unit_test(absent_programs),
        cmocka_unit_test(answers_lost_are_asked_again),
        cmocka_unit_test(queue_dies),
        cmocka_unit_test(queue_is_away_for_long),
        cmocka_unit_test(queue_acknowledges),
        cmocka_unit_test(queue_lags_behind),
        cmocka_unit_test(many_are_told_again),
        cmocka_unit_test(queue_had_not_read),
        cmocka_unit_test(told_before_it_had_read),
        cmocka_unit_test(tried_now_after_it_had_read),
        cmocka_unit_test(queue_cannot_read_now),
        cmocka_unit_test(queue_dies_in_the_middle),
        cmocka_unit_test(clock_jumps_and_queue_dies),
        cmocka_unit_test(after_our_own_death),
        cmocka_unit_test(told_too_late),
        cmocka_unit_test(a_number_means_another),
        cmocka_unit_test(one_address_twice),
        cmocka_unit_test(a_result_waits_for_queue),
        cmocka_unit_test(patience_with_deliverers_ends),
        cmocka_unit_test(workers),
        cmocka_unit_test(another_worker_does_it),
        cmocka_unit_test(a_stream_keeps_no_home),
        cmocka_unit_test(mailbox_trouble_is_short),
        cmocka_unit_test(removed),
        cmocka_unit_test(a_million),
        cmocka_unit_test(too_much_in_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
