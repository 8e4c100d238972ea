/* p_lookup.c: lookup and resolve as one process with tables made of arithmetic. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

static struct status sure(void) {
    return status_make(250, "2.1.5", "");
}

static void on_rcpt_query(void *ctx, struct channel *ch, const struct wire_rcpt_query *m, int fd) {
    struct process *p = ctx;
    struct status st = sure();
    (void)fd;
    if (m->rcpt.n && m->rcpt.p[0] == 'x') st = status_make(550, "5.1.1", "No such recipient");
    else if (faults_on(p->w) && once_in(p->w, 200)) st = status_make(451, "4.3.0", "Try again later");
    TELL(p, link_peer(ch, p), rcpt_answer, .tag = m->tag, WIRE_STATUS(st));
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

static void on_route_query(void *ctx, struct channel *ch, const struct wire_route_query *m, int fd) {
    struct process *p = ctx;
    unsigned to = link_peer(ch, p);
    struct status st = sure();
    ptrdiff_t at = str_chr(m->rcpt, '@');
    uint64_t v[3];
    (void)fd;
    if (faults_on(p->w) && once_in(p->w, 300)) {
        st = status_make(451, "4.3.0", "tables are away");
        TELL(p, to, route_answer, .tag = m->tag, .how = 'E', WIRE_STATUS(st));
        return;
    }
    if (alias_read(m->rcpt, v)) {
        for (uint64_t i = 0; i < v[2]; i++) {
            char mem[100];
            struct buf b = BUF(mem);
            address_of_leaf(p->w, &b, (uint32_t)v[0], (uint32_t)(v[1] + i));
            TELL(p, to, route_rcpt, .tag = m->tag, .rcpt = buf_str(&b));
        }
        TELL(p, to, route_answer, .tag = m->tag, .how = 'X', WIRE_STATUS(st));
        return;
    }
    TELL(p, to, route_answer, .tag = m->tag, .how = 'M',
         .nexthop = str_sub(m->rcpt, (size_t)(at + 1), m->rcpt.n), WIRE_STATUS(st));
}

static void on_host_query(void *ctx, struct channel *ch, const struct wire_host_query *m, int fd) {
    struct process *p = ctx;
    unsigned to = link_peer(ch, p), v[3], n;
    struct status st = sure();
    (void)fd;
    if (faults_on(p->w) && once_in(p->w, 100)) {
        st = status_make(451, "4.4.3", "the name servers do not answer");
    } else {
        hosts_mx(p->w, m->domain, v, &n);
        for (unsigned i = 0; i < n; i++) {
            char mem[40];
            uint8_t ip[4];
            struct buf b = BUF(mem);
            buf_addf(&b, "h%u.example", v[i]);
            host_address(v[i], ip);
            TELL(p, to, host, .tag = m->tag, .preference = (uint16_t)(10 * i), .name = buf_str(&b),
                 .family = 4, .ip = {(const char *)ip, 4});
        }
    }
    TELL(p, to, host_answer, .tag = m->tag, .ttl = 300, WIRE_STATUS(st));
}

static void start(struct process *p) {
    (void)p;
}

static const struct wire_handlers handlers = {
    .rcpt_query = on_rcpt_query,
    .route_query = on_route_query,
    .host_query = on_host_query,
};

const struct program_kind kind_lookup = {"lookup", ROLE_lookup, &handlers, start, start, NULL, NULL, NULL};
