/* names.c: the names of a client's address, asked of resolve before the greeting, when a rule wants them. */
#include "common/arena.h"
#include "smtpd/shell.h"

#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 5000 };

static bool wanted(const struct shell *sh) {
    return sh->host.rules && sh->host.rules->facts & (1u << RULE_NAME | 1u << RULE_REVERSE);
}

bool names_ask(struct conn *c) {
    struct shell *sh = c->sh;
    const struct ip *ip = &c->client.ip;
    uint32_t tag = 0;
    if (!wanted(sh) || !ip->family) return false;
    while (tag < NAMINGS_MAX && sh->naming[tag]) tag++;
    if (tag == NAMINGS_MAX || !sh->resolve || channel_full(sh->resolve)) {
        session_names(c->session, STR_NONE, STR_NONE, true);
        return false;
    }
    sh->naming[tag] = c;
    c->naming = tag + 1;
    /* Old answers must not be taken for new ones: the upper half counts. */
    c->naming_tag = ++sh->naming_count * NAMINGS_MAX + tag;
    SEND(sh->resolve, name_query, .tag = c->naming_tag, .family = ip->family,
         .ip = {(const char *)ip->b, ip->family == 4 ? 4 : 16});
    conn_wait(c, PATIENCE_MS);
    return true;
}

void names_forget(struct conn *c) {
    if (c->naming) c->sh->naming[c->naming - 1] = NULL;
    c->naming = 0;
}

void names_give_up(struct conn *c) {
    names_forget(c);
    if (!c->session) return;
    session_names(c->session, STR_NONE, STR_NONE, true);
    conn_greet(c);
}

/* RFC 5321 4.4 puts the name into Received: resolve is not trusted with more than letters. */
static struct str clean(struct str name, char *mem) {
    for (size_t i = 0; i < name.n; i++) {
        char ch = name.p[i];
        bool fine =
            (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' || ch == '.';
        if (!fine) return STR_NONE;
    }
    if (name.n) memcpy(mem, name.p, name.n);
    return (struct str){mem, name.n};
}

void names_answer(void *ctx, struct channel *ch, const struct wire_name_answer *m, int fd) {
    struct shell *sh = ((struct self *)ctx)->state;
    struct conn *c = sh->naming[m->tag % NAMINGS_MAX];
    (void)fd;
    if (ch != sh->resolve || !c || c->naming_tag != m->tag) return;
    names_forget(c);
    if (c->session) {
        c->names = xmalloc(m->name.n + m->reverse.n + 1);
        struct str name = clean(m->name, c->names), reverse = clean(m->reverse, c->names + m->name.n);
        session_names(c->session, name, reverse, m->failed != 0);
        conn_greet(c);
    }
    conn_settle(c);
}

void names_lost(struct shell *sh) {
    sh->resolve = NULL;
    for (size_t i = 0; i < NAMINGS_MAX; i++) {
        struct conn *c = sh->naming[i];
        if (!c) continue;
        names_give_up(c);
        conn_settle(c);
    }
}
