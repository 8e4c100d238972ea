/* p_lookup.c: lookup and resolve as one process with tables made of arithmetic. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

static struct status sure(void) {
    return status_make(250, "2.1.5", "");
}

/* ---- Questions: answered now, or later and so in another order ------------------------------------------- */

enum question { RCPT, ROUTE, HOST };

struct later {
    struct process *p;
    uint32_t life, tag;
    unsigned to;
    uint32_t to_life; /* who asked may be dead by then, and its number another's */
    enum question what;
    uint16_t n;
    char text[];
};

static void answer(struct process *p, unsigned to, enum question what, uint32_t tag, struct str text);

static void on_later(struct world *w, void *ctx, uint64_t arg) {
    struct later *l = ctx;
    (void)arg;
    if (!w->ending && l->p->alive && l->p->life == l->life && w->p[l->to].life == l->to_life)
        answer(l->p, l->to, l->what, l->tag, (struct str){l->text, l->n});
    free(l);
}

static void ask(struct process *p, unsigned to, enum question what, uint32_t tag, struct str text) {
    struct world *w = p->w;
    if (!once_in(w, what == HOST ? 4 : 30)) {
        answer(p, to, what, tag, text);
        return;
    }
    struct later *l = event_ctx(sizeof *l + text.n);
    *l = (struct later){p, p->life, tag, to, w->p[to].life, what, (uint16_t)text.n};
    if (text.n) memcpy(l->text, text.p, text.n);
    int64_t most = faults_on(w) && once_in(w, 50) ? 20 * NS_S : 100 * NS_MS;
    world_at(w, w->now + between(w, 0, most), on_later, l, 0);
}

static void on_rcpt_query(void *ctx, struct channel *ch, const struct wire_rcpt_query *m, int fd) {
    (void)fd;
    ask(ctx, link_peer(ch, ctx), RCPT, m->tag, m->rcpt);
}

static void on_route_query(void *ctx, struct channel *ch, const struct wire_route_query *m, int fd) {
    (void)fd;
    ask(ctx, link_peer(ch, ctx), ROUTE, m->tag, m->rcpt);
}

static void on_host_query(void *ctx, struct channel *ch, const struct wire_host_query *m, int fd) {
    (void)fd;
    ask(ctx, link_peer(ch, ctx), HOST, m->tag, m->domain);
}

/* ---- Answers ------------------------------------------------------------------------------------------- */

static void answer_rcpt(struct process *p, unsigned to, uint32_t tag, struct str rcpt) {
    struct status st = sure();
    if (rcpt.n && rcpt.p[0] == 'x') st = status_make(550, "5.1.1", "No such recipient");
    else if (faults_on(p->w) && once_in(p->w, 200)) st = status_make(451, "4.3.0", "Try again later");
    TELL(p, to, rcpt_answer, .tag = tag, WIRE_STATUS(st));
}

/* aSUB-FIRST-COUNT@alias.example stands for COUNT leaves. */
static bool alias_read(struct str rcpt, uint64_t v[3]) {
    struct str rest = str_sub(rcpt, 1, rcpt.n);
    if (!rcpt.n || rcpt.p[0] != 'a' || !str_ends_nocase(rcpt, STR("@alias.example"))) return false;
    for (int i = 0; i < 3; i++) {
        ptrdiff_t end = str_chr(rest, i < 2 ? '-' : '@');
        if (end < 0 || !str_to_u64(str_sub(rest, 0, (size_t)end), UINT32_MAX, &v[i])) return false;
        rest = str_sub(rest, (size_t)end + 1, rest.n);
    }
    return true;
}

static void answer_route(struct process *p, unsigned to, uint32_t tag, struct str rcpt) {
    struct status st = sure();
    ptrdiff_t at = str_chr(rcpt, '@');
    uint64_t v[3];
    if (faults_on(p->w) && once_in(p->w, 300)) {
        st = status_make(451, "4.3.0", "tables are away");
        TELL(p, to, route_answer, .tag = tag, .how = 'E', WIRE_STATUS(st));
        return;
    }
    if (alias_read(rcpt, v)) {
        for (uint64_t i = 0; i < v[2]; i++) {
            char mem[100];
            struct buf b = BUF(mem);
            address_of_leaf(p->w, &b, (uint32_t)v[0], (uint32_t)(v[1] + i));
            TELL(p, to, route_rcpt, .tag = tag, .rcpt = buf_str(&b));
        }
        TELL(p, to, route_answer, .tag = tag, .how = 'X', WIRE_STATUS(st));
        return;
    }
    unsigned user;
    if (local_user(p->w, str_sub(rcpt, (size_t)(at + 1), rcpt.n), &user)) {
        char mailbox[] = "maildir:/h/uN/Maildir";
        mailbox[sizeof "maildir:/h/u" - 1] = (char)('0' + user);
        TELL(p, to, route_local, .tag = tag, .user = STR("u"), .uid = 1000 + user, .gid = 1000,
             .home = STR("/h"), .mailbox = str_of(mailbox));
        TELL(p, to, route_answer, .tag = tag, .how = 'L', WIRE_STATUS(st));
        return;
    }
    TELL(p, to, route_answer, .tag = tag, .how = 'M', .nexthop = str_sub(rcpt, (size_t)(at + 1), rcpt.n),
         WIRE_STATUS(st));
}

static void answer_host(struct process *p, unsigned to, uint32_t tag, struct str domain) {
    unsigned v[3], n;
    struct status st = sure();
    if (faults_on(p->w) && once_in(p->w, 100)) {
        st = status_make(451, "4.4.3", "the name servers do not answer");
    } else {
        hosts_mx(p->w, domain, v, &n);
        for (unsigned i = 0; i < n; i++) {
            char mem[40];
            uint8_t ip[4];
            struct buf b = BUF(mem);
            buf_addf(&b, "h%u.example", v[i]);
            host_address(v[i], ip);
            TELL(p, to, host, .tag = tag, .preference = (uint16_t)(10 * i), .name = buf_str(&b), .family = 4,
                 .ip = {(const char *)ip, 4});
        }
    }
    TELL(p, to, host_answer, .tag = tag, .ttl = 300, WIRE_STATUS(st));
}

static void answer(struct process *p, unsigned to, enum question what, uint32_t tag, struct str text) {
    static void (*const answers[])(struct process * p, unsigned to, uint32_t tag, struct str text) = {
        [RCPT] = answer_rcpt, [ROUTE] = answer_route, [HOST] = answer_host};
    answers[what](p, to, tag, text);
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static void start(struct process *p) {
    (void)p;
}

static const struct wire_handlers handlers = {
    .rcpt_query = on_rcpt_query,
    .route_query = on_route_query,
    .host_query = on_host_query,
};

const struct program_kind kind_lookup = {
    .name = "lookup", .role = ROLE_lookup, .handlers = &handlers, .start = start, .free = start};
