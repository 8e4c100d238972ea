/* auth.c: clients that log in: their lines go to the program auth, its challenges come back. Nothing is
 * decoded or kept here. */
#include "smtpd/shell.h"

#include <stdio.h>
#include <string.h>

static struct conn **bucket(struct shell *sh, uint32_t tag) {
    return &sh->auths[tag % AUTH_BUCKETS];
}

static struct conn *find(struct shell *sh, uint32_t tag) {
    for (struct conn *c = *bucket(sh, tag); c; c = c->next_auth)
        if (c->auth_tag == tag) return c;
    return NULL;
}

static void forget(struct conn *c) {
    struct conn **at = bucket(c->sh, c->auth_tag);
    while (*at != c) at = &(*at)->next_auth;
    *at = c->next_auth;
    c->auth_tag = 0;
}

bool auth_begin(struct conn *c, const struct session_auth *a) {
    struct shell *sh = c->sh;
    const struct session_tls *tls = session_tls(c->session);
    /* Failures are counted for the client that a proxy told of, not for all that come by the proxy. */
    const struct ip *told = &session_client_of(c->session)->ip, *ip = told->family ? told : &c->client.ip;
    char exporter_mem[64], end_point_mem[64];
    struct buf exporter = BUF(exporter_mem), end_point = BUF(end_point_mem);
    if (!sh->auth || channel_full(sh->auth) || c->auth_tag) return false;
    do c->auth_tag = ++sh->auth_tags;
    while (!c->auth_tag);
    c->next_auth = *bucket(sh, c->auth_tag);
    *bucket(sh, c->auth_tag) = c;
    if (c->tls && tls_done(c->tls)) {
        tls_bind(c->tls, TLS_EXPORTER, &exporter);
        tls_bind(c->tls, TLS_SERVER_END_POINT, &end_point);
    }
    /* Half an identity would be another one. */
    struct str identity = tls->client.n <= SESSION_LOGIN_MAX ? tls->client : STR_NONE;
    SEND(sh->auth, auth_begin, .tag = c->auth_tag, .family = ip->family,
         .ip = {(const char *)ip->b, ip->family == 4   ? 4
                                     : ip->family == 6 ? 16
                                                       : 0},
         .tls = tls->on, .plus = a->plus, .identity = identity, .exporter = buf_str(&exporter),
         .end_point = buf_str(&end_point), .mech = a->mech, .given = a->given, .response = a->response);
    return true;
}

bool auth_more(struct conn *c, struct str response) {
    if (!c->sh->auth || !c->auth_tag) return false;
    SEND(c->sh->auth, auth_more, .tag = c->auth_tag, .response = response);
    return true;
}

void auth_drop(struct conn *c) {
    if (!c->auth_tag) return;
    if (c->sh->auth) SEND(c->sh->auth, auth_drop, .tag = c->auth_tag);
    forget(c);
}

void auth_take_offer(void *ctx, struct channel *ch, const struct wire_auth_offer *m, int fd) {
    struct shell *sh = ((struct self *)ctx)->state;
    (void)fd;
    if (ch != sh->auth || !str_is_print(m->mechs)) return;
    snprintf(sh->mechs, sizeof sh->mechs, "%.*s", STR_ARGS(m->mechs));
    sh->host.mechs = str_of(sh->mechs);
}

void auth_take_challenge(void *ctx, struct channel *ch, const struct wire_auth_challenge *m, int fd) {
    struct shell *sh = ((struct self *)ctx)->state;
    struct conn *c = find(sh, m->tag);
    (void)fd;
    if (ch != sh->auth || !c || !c->session) return;
    session_challenge(c->session, shell_now(sh), m->challenge);
    conn_settle(c);
}

static void done(struct conn *c, const struct status *st, struct str login) {
    forget(c); /* first: the client may begin anew at once */
    if (c->session) session_authenticated(c->session, shell_now(c->sh), st, login);
    conn_settle(c);
}

void auth_take_done(void *ctx, struct channel *ch, const struct wire_auth_done *m, int fd) {
    struct shell *sh = ((struct self *)ctx)->state;
    struct conn *c = find(sh, m->tag);
    struct status st = STATUS_OF(m);
    (void)fd;
    if (ch == sh->auth && c) done(c, &st, m->login);
}

void auth_lost(struct shell *sh) {
    struct status st = status_make(454, "4.7.0", "Temporary authentication failure");
    sh->auth = NULL;
    for (size_t i = 0; i < AUTH_BUCKETS; i++)
        while (sh->auths[i]) done(sh->auths[i], &st, STR_NONE);
}
