/* deliver-smtp: speaks SMTP to other hosts.
 *
 * dispatch hands it jobs that carry everything: the sealed message, sender, recipients, and the hosts to try
 * in order. It makes the connections, keeps them a while for the next message, and reports an outcome for
 * each recipient. The protocol is in client.c (no system call), the sockets are in pool.c, what a job is in
 * job.c; here is who says what to whom.
 *
 * What it may touch: TCP connections that it makes itself, and the descriptors of messages it is handed. No
 * file, no name service, no listening socket, no other program than dispatch (and posternd).
 *
 * Why it is safe: it reads what hostile servers say, so all of that goes through one bounded reader
 * (reply.c), and an owner of this process sees the messages it is sending now and can lie about their fate,
 * and has nothing else. It never holds a spool file for writing; it sends only whole CRLF lines; it checks
 * again what dispatch and smtpd checked before.
 *
 * When dispatch dies the jobs in hand go on; the next dispatch is told which recipients are running before it
 * may give new jobs, and gets their results, so that nobody is served twice. */
#include "common/arena.h"
#include "common/program.h"
#include "deliver-smtp/pool.h"

#include <unistd.h>

enum { JOBS_MAX = 20000 };

struct state {
    struct pool *pool;
    struct channel *dispatch; /* NULL while there is none */
    struct jobs jobs;         /* being told, running, or finished while dispatch was away */
    size_t count;
};

static void drop(struct state *s, struct job *j) {
    TAILQ_REMOVE(&s->jobs, j, all);
    s->count--;
    job_free(j);
}

static void end_if_done(struct self *me) {
    struct state *s = me->state;
    struct job *j;
    if (!me->stopping) return;
    TAILQ_FOREACH(j, &s->jobs, all)
    if (j->working && !j->finished) return;
    if (s->dispatch) channel_drain(s->dispatch);
    program_end(me);
}

/* ---- jobs ---- */

/* The one being told is nearly always the newest. Numbers are dispatch's, and unique among what it tells now.
 */
static struct job *told(struct state *s, uint32_t number) {
    struct job *j;
    TAILQ_FOREACH_REVERSE(j, &s->jobs, jobs, all) {
        if (j->working) continue;
        if (j->number == number) return j;
    }
    return NULL;
}

/* Not an intrusion: one job that cannot be, by whatever mistake, is no reason to end dispatch, which would only
 * make it again. */
static void refuse(struct state *s, struct channel *ch, struct job *j, const struct wire_job_rcpt *more) {
    if (!more || !j->refused)
        LOG_TROUBLE("dispatch told job %u against the rules; it is answered with later", j->number);
    j->refused = true;
    if (job_refuse(j, ch, more)) drop(s, j);
}

static void on_job(void *ctx, struct channel *ch, const struct wire_job *m, int fd) {
    struct self *me = ctx;
    struct state *s = me->state;
    struct job *j = told(s, m->job);
    if (j) { /* two of one number: nobody can say whose a part is */
        j->rcpt_count = j->mail.count;
        refuse(s, ch, j, NULL);
        close(fd);
        return;
    }
    j = job_new(m, fd);
    if (s->count >= JOBS_MAX) j->bad = "too many deliveries at the same time";
    TAILQ_INSERT_TAIL(&s->jobs, j, all);
    s->count++;
    if (j->refused) refuse(s, ch, j, NULL);
}

/* After each part: a complete one begins. */
static void proceed(struct self *me, struct job *j) {
    struct state *s = me->state;
    if (!job_complete(j) || me->stopping) return;
    job_prepare(j);
    pool_start(s->pool, j);
}

static void on_job_host(void *ctx, struct channel *ch, const struct wire_job_host *m, int fd) {
    struct self *me = ctx;
    struct job *j = told(me->state, m->job);
    if (!j || j->refused) return;
    if (job_add_host(j, m)) proceed(me, j);
    else refuse(me->state, ch, j, NULL);
}

static void on_job_rcpt(void *ctx, struct channel *ch, const struct wire_job_rcpt *m, int fd) {
    struct self *me = ctx;
    struct job *j = told(me->state, m->job);
    if (!j) return;
    if (!j->refused && job_add_rcpt(j, m)) proceed(me, j);
    else refuse(me->state, ch, j, m);
}

static void report(struct state *s, struct job *j) {
    job_report(j, s->dispatch);
    drop(s, j);
}

static void on_finished(void *ctx, struct job *j) {
    struct self *me = ctx;
    struct state *s = me->state;
    if (s->dispatch) report(s, j);
    end_if_done(me);
}

static void on_learned(void *ctx, const struct job_target *t, const struct client_server *server,
                       uint32_t rtt_us, const struct status *failure) {
    struct state *s = ((struct self *)ctx)->state;
    struct status ok = status_make(250, "2.0.0", "");
    struct str ip = {(const char *)t->ip.b, t->ip.family == 6 ? 16 : 4};
    if (!s->dispatch) return; /* a memory, not a truth: the next connection will tell it again */
    SEND(s->dispatch, learned, .name = t->name, .family = t->ip.family, .ip = ip, .port = t->port,
         .ok = server != NULL, .caps = server ? server->caps : 0,
         .size_limit = server ? server->size_limit : 0, .rtt_us = rtt_us,
         .greeting = server ? str_sub(server->greeting, 0, 200) : STR_NONE,
         WIRE_STATUS(failure ? *failure : ok));
}

/* ---- dispatch comes and goes ---- */

static void forget_partial(struct state *s) {
    struct job *j, *next;
    for (j = TAILQ_FIRST(&s->jobs); j; j = next) {
        next = TAILQ_NEXT(j, all);
        if (!j->working) drop(s, j);
    }
}

static void on_peer(struct self *me, struct channel *ch) {
    struct state *s = me->state;
    struct job *j, *next;
    if (channel_peer(ch) != ROLE_dispatch) return;
    forget_partial(s);
    s->dispatch = ch;
    TAILQ_FOREACH(j, &s->jobs, all) job_running(j, ch);
    SEND(ch, synced, .unused = 0);
    for (j = TAILQ_FIRST(&s->jobs); j; j = next) {
        next = TAILQ_NEXT(j, all);
        if (j->finished) report(s, j);
    }
}

static void on_peer_gone(struct self *me, struct channel *ch) {
    struct state *s = me->state;
    if (s->dispatch != ch) return;
    s->dispatch = NULL;
    forget_partial(s);
    end_if_done(me);
}

static void begin(struct self *me) {
    struct state *s = xmalloc(sizeof *s);
    struct pool_user user = {.ctx = me, .finished = on_finished, .learned = on_learned};
    TAILQ_INIT(&s->jobs);
    s->pool = pool_new(me->loop, me->config, &user);
    me->state = s;
}

static void reconfigured(struct self *me, const struct config *old) {
    struct state *s = me->state;
    pool_configure(s->pool, me->config);
}

static void stop(struct self *me) {
    struct state *s = me->state;
    pool_stop(s->pool);
    end_if_done(me);
}

static const struct wire_handlers handlers = {
    .job = on_job,
    .job_host = on_job_host,
    .job_rcpt = on_job_rcpt,
};

static const struct program deliver_smtp = {
    .role = ROLE_remote,
    .purpose = "Speaks SMTP to other hosts.",
    .handlers = &handlers,
    .begin = begin,
    .peer = on_peer,
    .peer_gone = on_peer_gone,
    .reconfigured = reconfigured,
    .stop = stop,
};

int main(int argc, char **argv) {
    return program_main(&deliver_smtp, argc, argv);
}
