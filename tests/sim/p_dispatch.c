/* p_dispatch.c: the program dispatch: its real shell (dispatch/main.c, orders.c, report.c, events.c) and scheduler. What is
 * here looks at what it says, and stands in for the spawner of local workers and for hosts.db. */
#include "dispatch/bounce.h"
#include "dispatch/shell.h"
#include "tests/sim/shell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { UID_FIRST = 1000 };

int dispatch_main(int argc, char **argv);

struct around {
    struct self me;
    struct wire_handlers handlers; /* the program's, with ears */
    struct channel *spawner;
    struct qid job; /* of the job that is being sent */
    bool mute;      /* a mutant */
};

static struct config config;

static struct around *around(const struct process *p) {
    return p->state;
}

static struct shell *of(const struct process *p) {
    return around(p)->me.state;
}

/* ---- hosts.db: a memory that ends with the program; the real one may as well ----------------------------- */

struct hostdb *hostdb_open(const char *directory, struct hosttable *t, int64_t now,
                           void (*note)(bool trouble, const char *text)) {
    (void)directory, (void)now, (void)note;
    return (struct hostdb *)(void *)t;
}

void hostdb_flush(struct hostdb *d, int64_t now) {
    struct str key, record;
    (void)now;
    while (hosttable_take_dirty((struct hosttable *)(void *)d, &key, &record)) continue;
}

/* ---- The spawner: a worker of each user is a process that comes back by itself ---------------------------- */

struct birth {
    struct process *p;
    int fd;
    uint32_t life, tag, uid;
};

static void tell_spawned(struct process *p, uint32_t tag, int error) {
    struct wire_spawned m = {.tag = tag, .ok = error == 0, .error = (uint32_t)error};
    p->handlers->spawned(p->ctx, around(p)->spawner, &m, -1);
    p->kind->round(p);
}

/* "Started" when it is there; now and then the machine has no process to give. */
static void on_birth(struct world *w, void *ctx, uint64_t again) {
    struct birth *b = ctx, it = *b;
    struct process *p = it.p;
    bool alive = !w->ending && p->alive && p->life == it.life;
    struct channel *door = alive ? shell_door_at(p, it.fd) : NULL;
    (void)again;
    AS(p->number);
    if (door && !link_open(p, P_LOCAL + it.uid - UID_FIRST)) {
        world_at(w, w->now + 20 * NS_MS, on_birth, b, 1);
        return;
    }
    free(b);
    if (!door) return;
    if (faults_on(w) && once_in(w, 50)) {
        tell_spawned(p, it.tag, EAGAIN);
        return;
    }
    shell_door_leads(door, P_LOCAL + it.uid - UID_FIRST);
    local_born(&w->p[P_LOCAL + it.uid - UID_FIRST]);
    tell_spawned(p, it.tag, 0);
}

static void spawn(struct process *p, const struct wire_spawn *m, int fd) {
    struct birth *b = event_ctx(sizeof *b);
    if (m->uid - UID_FIRST >= LOCALS) world_fail(p->w, "a worker is wanted for a user that does not exist");
    *b = (struct birth){p, fd, p->life, m->tag, m->uid};
    world_at(p->w, p->w->now + between(p->w, NS_MS / 10, 5 * NS_MS), on_birth, b, 0);
}

/* ---- What it says -------------------------------------------------------------------------------------- */

/* A mutant: it does not wait for mail_done. */
static void on_bounce_early(struct world *w, void *ctx, uint64_t life) {
    struct process *p = ctx;
    if (w->ending || !p->alive || p->life != life) return;
    AS(p->number);
    while (of(p)->reported_n) {
        struct wire_mail_done ok = {.id = of(p)->reported[0].id, .kind = STATUS_OK, .code = 250};
        p->handlers->mail_done(p->ctx, of(p)->queue, &ok, -1);
    }
    p->kind->round(p);
}

static bool says_to_queue(struct process *p, enum wire_type type, const void *m) {
    struct world *w = p->w;
    uint32_t leaf;
    if (type == WIRE_mark || type == WIRE_split) {
        const struct wire_mark *mark = m;
        const struct wire_split *split = m;
        if (around(p)->mute) return false;
        if (type == WIRE_split && leaf_at_address(w, split->rcpt, &leaf))
            oracle_name(w, split->id, split->index, leaf);
        if (type == WIRE_mark && mark->state == 'D' && oracle_named(w, mark->id, mark->index, &leaf))
            oracle_stage(w, leaf, ST_MARKING);
    }
    if (type == WIRE_mail_end && leaves_out(w, SHELL_BOUNCE_EARLY))
        world_at(w, w->now, on_bounce_early, p, p->life);
    return true;
}

static void say(struct process *p, struct channel *ch, enum wire_type type, const void *m, int fd) {
    unsigned to = shell_to(p, ch);
    if (type == WIRE_spawn) spawn(p, m, fd);
    else if (to == NOBODY || (to == P_QUEUE && !says_to_queue(p, type, m))) blob_put(p->w, fd);
    else link_send(p, to, type, m, fd);
    if (type == WIRE_job) around(p)->job = ((const struct wire_job *)m)->id;
    if (type == WIRE_local_job) around(p)->job = ((const struct wire_local_job *)m)->id;
    if (type == WIRE_job_rcpt && leaves_out(p->w, SHELL_MARK_EARLY))
        TELL(p, P_QUEUE, mark, .id = around(p)->job, .index = ((const struct wire_job_rcpt *)m)->index,
             .state = 'D');
}

bool __real_bounce_build(struct buf *out, const struct bounce *b, bool *eight);
bool __wrap_bounce_build(struct buf *out, const struct bounce *b, bool *eight);

/* The judge must know which report it is. */
bool __wrap_bounce_build(struct buf *out, const struct bounce *b, bool *eight) {
    struct world *w = shell_world();
    uint32_t sub = 0;
    if (!sender_sub(b->sender, &sub))
        world_fail(w, "a bounce to %.*s, whom nobody knows", STR_ARGS(b->sender));
    buf_addf(out, "X-Leaf: %u\r\n", oracle_bounce(w, sub));
    return __real_bounce_build(out, b, eight);
}

/* ---- What it hears ------------------------------------------------------------------------------------- */

static void on_result(void *ctx, struct channel *ch, const struct wire_result *m, int fd) {
    struct self *me = ctx;
    struct world *w = shell_world();
    uint32_t leaf;
    if (m->kind == STATUS_OK && oracle_named(w, m->id, m->index, &leaf)) oracle_stage(w, leaf, ST_REPORTED);
    me->program->handlers->result(ctx, ch, m, fd);
}

/* A worker is heard at the door that was made for it. */
static struct channel *channel(struct process *p, struct link *l) {
    struct channel *ch = (struct channel *)(void *)l;
    unsigned from = link_peer(ch, p);
    struct channel *door = from >= P_LOCAL ? shell_door_to(p, ROLE_local, from) : NULL;
    return door ? door : ch;
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static void start(struct process *p) {
    struct around *a = xmalloc(sizeof *a);
    const struct program *program = shell_program(dispatch_main);
    config.hostname = "mx.sim.example";
    config.state_directory = "/";
    config.queue_lifetime = config.bounce_lifetime = UINT64_C(50) * 86400000;
    config.retry_first = 60000;
    config.retry_max = 1800000;
    config.worker_idle = 60000;
    config.destination_concurrency = 20;
    config.recipients_per_delivery = 50;
    config.remote_processes = REMOTES;
    config.smtp_port = 25;
    config.deliveries = true;
    a->handlers = *program->handlers;
    a->handlers.result = on_result;
    p->state = a;
    p->handlers = &a->handlers;
    p->ctx = &a->me;
    a->me = (struct self){.program = program, .loop = (struct loop *)(void *)p, .config = &config};
    program->prepare(&a->me);
    program->begin(&a->me);
    a->spawner = shell_door(p, ROLE_local, NOBODY);
    program->peer(&a->me, a->spawner);
}

static void end(struct process *p) {
    struct shell *sh = of(p);
    AS(p->number);
    shell_forget(p);
    sched_free(sh->sched);
    hosttable_free(sh->table);
    while (sh->workers) worker_free(sh, sh->workers);
    free(sh->reported);
    free(sh->lost);
    free(sh);
    free(around(p));
    mem_enter(MEM_WORLD);
    oracle_lost(p->w, ST_REPORTED, ST_MARKING, "dispatch died");
}

static void peer(struct process *p, struct link *l, unsigned number) {
    struct around *a = around(p);
    if (number >= P_LOCAL) return; /* known to dispatch when it was spawned */
    a->mute = number == P_QUEUE && leaves_out(p->w, SHELL_NO_REPLAY);
    a->me.program->peer(&a->me, (struct channel *)(void *)l);
    a->mute = false;
    if (number == P_LOOKUP) a->me.program->peer(&a->me, shell_door(p, ROLE_resolve, P_LOOKUP));
}

static void lose(struct process *p, struct channel *door) {
    if (!door) return;
    around(p)->me.program->peer_gone(&around(p)->me, door);
    shell_door_close(door);
}

static void peer_gone(struct process *p, struct link *l, unsigned number) {
    if (number >= P_LOCAL) {
        lose(p, shell_door_to(p, ROLE_local, number));
        return;
    }
    around(p)->me.program->peer_gone(&around(p)->me, (struct channel *)(void *)l);
    if (number == P_LOOKUP) lose(p, shell_door_to(p, ROLE_resolve, P_LOOKUP));
}

static void round_done(struct process *p) {
    shell_round(p);
}

static uint64_t room(const struct process *p) {
    const struct sched *s = of(p)->sched;
    enum { TABLES = 131072 + 65536, BLOCK = 65536 }; /* the last block of entries is kept */
    return TABLES + BLOCK + sched_known(s) * UINT64_C(512) + sched_in_hand(s) * UINT64_C(4096);
}

const struct program_kind kind_dispatch = {.name = "dispatch",
                                           .role = ROLE_dispatch,
                                           .start = start,
                                           .free = end,
                                           .peer = peer,
                                           .peer_gone = peer_gone,
                                           .round = round_done,
                                           .room = room,
                                           .channel = channel,
                                           .send = say};

bool dispatch_idle(const struct world *w) {
    const struct process *p = &w->p[P_DISPATCH];
    if (!p->alive) return false;
    const struct sched *s = of(p)->sched;
    return !sched_known(s) && !sched_in_hand(s) && !sched_jobs(s);
}
