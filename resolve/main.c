/* resolve: asks DNS, with DNSSEC, for dispatch; and the names of clients, for smtpd.
 *
 * dispatch asks for the hosts of a domain; the answer is an ordered list of addresses, or a status that says
 * why there is none. What the records mean is in answer.c, a pure machine; libunbound does the asking, the
 * caching and the validating in a thread of its own, and hands the outcomes over through a pipe that our loop
 * watches.
 *
 * What it may touch: port 53 of name servers, and /etc for reading (resolv.conf). Its trust anchor was read
 * before the cage closed.
 *
 * Why it is safe: it alone parses what strangers put into DNS, with a library of 500,000 lines, and an owner
 * of it can give false answers about hosts and nothing else: no mail, no spool, no key. What it tells
 * dispatch is addresses and host names, bounded in number and form, and dispatch checks them. */
#include "common/addr.h"
#include "common/arena.h"
#include "common/program.h"
#include "resolve/answer.h"
#include "resolve/names.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <unbound.h>
#include <unistd.h>

enum {
    QUERIES_MAX = 4096, /* under way; more are told to come again */
    NAMINGS_MAX = 2048, /* of them for smtpd: strangers must not keep dispatch from asking */
    QUESTIONS_MAX = 1 + 2 * ANSWER_HOSTS,
    DEADLINE_MS = 20000, /* for one domain; dispatch has other mail to think of */
    NAMING_MS = 4000,    /* for the name of a client, who waits for his greeting */
    REPLIES_MAX = ANSWER_RECORDS,
};

#define ROOT_KEY "/usr/share/dns/root.key"

struct state;

struct question {
    struct query *query;
    int id; /* libunbound's, while open */
    bool open;
};

struct query {
    LIST_ENTRY(query) link;
    struct state *state;
    struct channel *ch;
    uint32_t tag;
    struct answer *answer; /* or: */
    struct names *names;
    struct timer deadline;
    struct deferred reap;
    struct question questions[QUESTIONS_MAX];
};

struct state {
    struct loop *loop;
    struct ub_ctx *ub;
    struct watch *watch;
    char asked[200];
    LIST_HEAD(, query) queries;
    size_t count, namings;
};

/* ---- one query ---- */

static void reap(void *ctx) {
    struct query *q = ctx;
    for (size_t i = 0; i < QUESTIONS_MAX; i++)
        if (q->questions[i].open) ub_cancel(q->state->ub, q->questions[i].id);
    loop_timer_cancel(q->state->loop, &q->deadline);
    LIST_REMOVE(q, link);
    q->state->count--;
    if (q->names) q->state->namings--;
    answer_free(q->answer);
    names_free(q->names);
    free(q);
}

static struct answer_reply failed(const char *why) {
    return (struct answer_reply){.outcome = ANSWER_FAILED, .why = why};
}

static struct answer_reply reply_of(const struct ub_result *r, struct str *data) {
    struct answer_reply a = {.secure = r->secure, .ttl = r->ttl > 0 ? (uint32_t)r->ttl : 0, .data = data};
    if (r->bogus) return failed("its DNSSEC signatures are wrong");
    if (r->nxdomain) {
        a.outcome = ANSWER_NO_NAME;
        return a;
    }
    if (r->rcode == 2) return failed("SERVFAIL, or no answer");
    if (r->rcode != 0) return failed(r->rcode == 5 ? "REFUSED" : "an error of the server");
    for (; r->havedata && a.count < REPLIES_MAX && r->data[a.count]; a.count++)
        data[a.count] = (struct str){r->data[a.count], (size_t)r->len[a.count]};
    a.outcome = a.count ? ANSWER_FOUND : ANSWER_NO_DATA;
    return a;
}

static void take(struct query *q, unsigned which, const struct answer_reply *r) {
    if (q->names) names_take(q->names, which, r);
    else answer_take(q->answer, which, r);
}

/* From ub_process, in our thread. The result is ours to free. */
static void on_result(void *ctx, int error, struct ub_result *r) {
    struct question *at = ctx;
    struct query *q = at->query;
    struct str data[REPLIES_MAX];
    at->open = false;
    struct answer_reply reply = error || !r ? failed("the resolver library failed") : reply_of(r, data);
    take(q, (unsigned)(at - q->questions), &reply);
    ub_resolve_free(r);
}

static void on_ask(void *ctx, unsigned which, struct str name, enum answer_kind kind) {
    struct query *q = ctx;
    char text[ANSWER_NAME + 1];
    struct question *at = &q->questions[which];
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    *at = (struct question){.query = q, .open = true};
    int error = ub_resolve_async(q->state->ub, text, kind, 1, at, on_result, &at->id);
    if (error == 0) return;
    at->open = false;
    struct answer_reply reply = failed("the resolver library failed");
    if (error == UB_SYNTAX)
        reply = (struct answer_reply){.outcome = ANSWER_NO_NAME}; /* a label of 64 octets or so */
    take(q, which, &reply);
}

static void on_host(void *ctx, const struct answer_host *h) {
    struct query *q = ctx;
    struct str ip = {(const char *)h->ip.b, h->ip.family == 6 ? 16 : 4};
    if (!q->ch) return;
    SEND(q->ch, host, .tag = q->tag, .preference = h->preference, .name = h->name, .family = h->ip.family,
         .ip = ip, .secure = h->secure);
}

static void on_done(void *ctx, uint32_t ttl, const struct status *s) {
    struct query *q = ctx;
    if (q->ch) SEND(q->ch, host_answer, .tag = q->tag, .ttl = ttl, WIRE_STATUS(*s));
    loop_defer(q->state->loop, &q->reap);
}

static const struct answer_ops answer_callbacks = {on_ask, on_host, on_done};

static void on_deadline(void *ctx) {
    struct query *q = ctx;
    struct answer_reply reply = failed("no answer in time");
    for (unsigned i = 0; i < QUESTIONS_MAX; i++) {
        struct question *at = &q->questions[i];
        if (!at->open) continue;
        at->open = false;
        ub_cancel(q->state->ub, at->id);
        take(q, i, &reply);
    }
}

static struct query *query_new(struct self *me, struct channel *ch, uint32_t tag, int64_t patience_ms) {
    struct state *s = me->state;
    struct query *q = xmalloc(sizeof *q);
    q->state = s;
    q->ch = ch;
    q->tag = tag;
    q->reap = (struct deferred){.fn = reap, .ctx = q};
    q->deadline = (struct timer){.fn = on_deadline, .ctx = q};
    LIST_INSERT_HEAD(&s->queries, q, link);
    s->count++;
    loop_timer_in(me->loop, &q->deadline, patience_ms);
    return q;
}

/* ---- what smtpd says ---- */

static void on_named(void *ctx, struct str confirmed, struct str claimed, bool no_answer) {
    struct query *q = ctx;
    if (q->ch) SEND(q->ch, name_answer, .tag = q->tag, .name = confirmed, .reverse = claimed, .failed = no_answer);
    loop_defer(q->state->loop, &q->reap);
}

static const struct names_ops names_callbacks = {on_ask, on_named};

static void on_name_query(void *ctx, struct channel *ch, const struct wire_name_query *m, int fd) {
    struct self *me = ctx;
    struct state *s = me->state;
    struct ip ip = {.family = m->family};
    size_t n = m->family == 4 ? 4 : m->family == 6 ? 16 : 0;
    (void)fd;
    if (s->namings >= NAMINGS_MAX || me->stopping || !n || m->ip.n != n) {
        SEND(ch, name_answer, .tag = m->tag, .failed = 1);
        return;
    }
    memcpy(ip.b, m->ip.p, n);
    struct query *q = query_new(me, ch, m->tag, NAMING_MS);
    q->names = names_new(&names_callbacks, q, &ip);
    s->namings++;
    names_begin(q->names);
}

/* ---- what dispatch says ---- */

static void refuse(struct channel *ch, uint32_t tag, struct status s) {
    SEND(ch, host_answer, .tag = tag, .ttl = 0, WIRE_STATUS(s));
}

static void on_host_query(void *ctx, struct channel *ch, const struct wire_host_query *m, int fd) {
    struct self *me = ctx;
    struct state *s = me->state;
    struct str domain;
    const char *why;
    uint64_t seed;
    if (s->count >= QUERIES_MAX || me->stopping) {
        refuse(ch, m->tag, status_make(451, "4.4.3", "too many DNS lookups at the same time"));
        return;
    }
    struct arena *a = arena_new(4096);
    if (!domain_parse(m->domain, ADDR_UNDERSCORE, a, &domain, &why)) {
        refuse(ch, m->tag, status_make(550, "5.1.2", "this is not a domain"));
        arena_free(a);
        return;
    }
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed) seed = (uint64_t)loop_now(me->loop);
    struct query *q = query_new(me, ch, m->tag, DEADLINE_MS);
    q->answer = answer_new(&answer_callbacks, q, domain, m->mx != 0, seed, s->asked);
    arena_free(a);
    answer_begin(q->answer);
}

static void on_peer_gone(struct self *me, struct channel *ch) {
    struct state *s = me->state;
    struct query *q;
    LIST_FOREACH(q, &s->queries, link) {
        if (q->ch != ch) continue;
        q->ch = NULL;
        loop_defer(me->loop, &q->reap);
    }
}

/* ---- libunbound ---- */

static void on_unbound(void *ctx, uint32_t ready) {
    struct state *s = ctx;
    int error = ub_process(s->ub);
    if (error) LOG_TROUBLE("libunbound: %s", ub_strerror(error));
}

static bool option(struct ub_ctx *ub, const char *name, const char *value) {
    int error = ub_ctx_set_option(ub, name, value);
    if (error) LOG_TROUBLE("libunbound does not take %s %s: %s", name, value, ub_strerror(error));
    return error == 0;
}

static const struct {
    const char *name, *value;
} options[] = {
    {"do-not-query-localhost:", "no"}, /* a resolver of our own on this host is the best there is */
    {"outgoing-range:", "1024"},
    {"num-queries-per-thread:", "2048"},
    /* A name server that was silent is asked again after seconds. The default is to leave it alone for 15
     * minutes, which suits a resolver with the root servers to choose from; we have a forwarder or two, and
     * they are rebooted. */
    {"infra-host-ttl:", "5"},
    {"infra-cache-max-rtt:", "4000"},
    {"unblock-lan-zones:", "yes"}, /* what our name servers say about private names is for them to say */
    /* What fails validation counts as unsigned, not as lost: many forwarders cannot DNSSEC. `secure` is true
     * only for what was proven; whoever needs proof (DANE) asks for it. */
    {"val-permissive-mode:", "yes"},
};

/* Our own servers know about "test" and the like what the world does not: libunbound shall not answer in
 * their place. */
static const char *const not_ours[] = {"test.", "invalid.", "127.in-addr.arpa."};

static bool add_forwarders(struct state *s, const struct config *c) {
    struct buf asked = BUF(s->asked);
    int error = 0;
    for (size_t i = 0; i < c->resolver.n && !error; i++) {
        char text[80];
        struct buf b = BUF(text);
        ip_format(&b, &c->resolver.v[i].ip);
        buf_addf(&b, "@%u", c->resolver.v[i].port);
        error = ub_ctx_set_fwd(s->ub, buf_cstr(&b));
        buf_addf(&asked, "%s%s", i ? " " : "", buf_cstr(&b));
    }
    if (!c->resolver.n) {
        error = ub_ctx_resolvconf(s->ub, NULL);
        buf_adds(&asked, "the name servers of /etc/resolv.conf");
        /* A host without resolv.conf, or with an odd one, still has mail to deliver: what resolv.conf(5) says of a
         * missing file, the name server of this host, is asked, and what needs DNS waits. */
        if (error) {
            LOG_TROUBLE("libunbound does not take %s (%s): 127.0.0.1 is asked; set `resolver`, or mend the file and restart",
                        buf_cstr(&asked), ub_strerror(error));
            asked = BUF(s->asked);
            error = ub_ctx_set_fwd(s->ub, "127.0.0.1");
            buf_adds(&asked, "127.0.0.1");
        }
    }
    buf_cstr(&asked);
    if (error) LOG_TROUBLE("libunbound does not take %s: %s", s->asked, ub_strerror(error));
    return error == 0;
}

/* All files are read here: ub_ctx_zone_remove makes libunbound take its settings in. Its thread starts with
 * the first question, inside the cage. */
static bool prepare(struct self *me) {
    struct state *s = xmalloc(sizeof *s);
    me->state = s;
    s->loop = me->loop;
    LIST_INIT(&s->queries);
    s->ub = ub_ctx_create();
    if (!s->ub) {
        LOG_TROUBLE("libunbound could not be started: is there memory, and a random source?");
        return false;
    }
    bool ok = ub_ctx_async(s->ub, 1) == 0 && add_forwarders(s, me->config);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        ok &= option(s->ub, options[i].name, options[i].value);
    if (access(ROOT_KEY, R_OK) == 0) ok &= ub_ctx_add_ta_file(s->ub, ROOT_KEY) == 0;
    for (size_t i = 0; i < sizeof not_ours / sizeof not_ours[0]; i++)
        ok &= ub_ctx_zone_remove(s->ub, not_ours[i]) == 0;
    return ok;
}

static void begin(struct self *me) {
    struct state *s = me->state;
    s->watch = loop_watch(me->loop, ub_fd(s->ub), EPOLLIN, on_unbound, s);
    if (s->watch) return;
    LOG_TROUBLE("cannot watch the pipe of libunbound");
    program_end(me);
}

static const struct wire_handlers handlers = {
    .host_query = on_host_query,
    .name_query = on_name_query,
};

static const struct program resolve = {
    .role = ROLE_resolve,
    .purpose = "Asks DNS for the hosts that take a domain's mail.",
    .handlers = &handlers,
    .prepare = prepare,
    .begin = begin,
    .peer_gone = on_peer_gone,
};

int main(int argc, char **argv) {
    return program_main(&resolve, argc, argv);
}
