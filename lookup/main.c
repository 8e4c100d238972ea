/* lookup: every table; which address means what.
 *
 * Asked by smtpd (may this client send to this recipient) and dispatch (where does it go). Reads the compiled
 * alias and route tables and passwd(5); writes nothing, has no network, speaks no name service.
 *
 * SECURITY: its input is addresses that another program has parsed, and files that root wrote. It parses both
 * again. Who owns it can give false answers: accept mail for strangers, refuse it, misroute it, and name any
 * UID to deliver as; deliver-local refuses UIDs below min-uid. It sees no message and holds no descriptor but
 * its channels. */
#include "common/arena.h"
#include "common/channel.h"
#include "common/program.h"
#include "common/tally.h"
#include "common/token.h"
#include "lookup/address.h"
#include "lookup/tables.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

enum { QUERY_MAX = 16u << 20 }; /* octets one answer may take: 10,000 addresses */

struct lookup {
    struct lookup_rules *rules;
    struct tables *tables;
    struct tally *tally;
    struct arena *arena; /* of the question in hand */
    struct channel *dispatch; /* NULL while it is away */
    unsigned changes;         /* of the tables, that dispatch was told */
    int64_t now;
};

static struct lookup *state_of(struct self *me) {
    struct lookup *l = me->state;
    l->now = loop_now(me->loop);
    arena_reset(l->arena);
    return l;
}

/* An address that smtpd or dispatch could not have made. */
static struct status bad_address(void) {
    return status_make(553, "5.1.3", "this is no mail address");
}

static bool client_of(const struct wire_rcpt_query *m, struct ip *out) {
    size_t n = m->family == 4 ? 4 : m->family == 6 ? 16 : 0;
    *out = (struct ip){.family = m->family};
    if ((m->family != 0 && n == 0) || m->ip.n != n) return false;
    if (n) memcpy(out->b, m->ip.p, n);
    return true;
}

/* Messages and recipients of a login, in one place for all smtpd processes. */
enum { LOGIN_MESSAGE = 'm', LOGIN_RECIPIENT = 'r' };

static bool counted(struct self *me, char what, struct str login) {
    struct lookup *l = me->state;
    char mem[257];
    struct buf name = BUF(mem);
    uint64_t max = what == LOGIN_MESSAGE ? me->config->login_message_rate : me->config->login_recipient_rate;
    buf_addc(&name, what);
    buf_add(&name, login);
    uint64_t key = tally_key(l->tally, TALLY_LOGIN, &(struct ip){0}, buf_str(&name));
    return tally_take(l->tally, key, l->now / 1000000, max, (int64_t)me->config->login_rate_window);
}

static struct status not_yours(char *mem, size_t size) {
    struct buf b = buf_on(mem, size);
    buf_adds(&b, "This address is not yours to send from");
    token_add(&b, token_of(STR("reason"), STR("sender")), 0);
    return status_make(553, "5.7.1", buf_cstr(&b));
}

static void on_sender_query(void *ctx, struct channel *ch, const struct wire_sender_query *m, int fd) {
    struct lookup *l = state_of(ctx);
    struct addr sender;
    struct status s = status_make(250, "2.1.0", "Sender ok");
    const char *why;
    char mem[80];
    (void)fd;
    if (!m->login.n || !addr_parse(m->sender, ADDR_NULL | ADDR_UTF8, l->arena, &sender, &why)) s = bad_address();
    else if (!sender_allowed(l->rules, tables_senders(l->tables), m->login, &sender, l->arena))
        s = not_yours(mem, sizeof mem);
    else if (!counted(ctx, LOGIN_MESSAGE, m->login))
        s = status_make(450, "4.7.1", "Too many messages of this login, try again later (login-message-rate)");
    SEND(ch, rcpt_answer, .tag = m->tag, WIRE_STATUS(s));
}

static void on_rcpt_query(void *ctx, struct channel *ch, const struct wire_rcpt_query *m, int fd) {
    struct lookup *l = state_of(ctx);
    struct addr rcpt;
    struct ip client;
    struct status s;
    const char *why;
    (void)fd;
    if (!client_of(m, &client)) s = status_make(451, "4.3.0", "the question of smtpd is damaged");
    else if (!addr_parse(m->rcpt, ADDR_POSTMASTER | ADDR_UTF8, l->arena, &rcpt, &why)) s = bad_address();
    else s = lookup_rcpt(l->rules, tables_interface(l->tables), l->arena, &client, m->login.n > 0, &rcpt);
    if (s.kind == STATUS_OK && m->login.n && !counted(ctx, LOGIN_RECIPIENT, m->login))
        s = status_make(450, "4.7.1", "Too many recipients of this login, try again later (login-recipient-rate)");
    SEND(ch, rcpt_answer, .tag = m->tag, WIRE_STATUS(s));
}

static void send_route(struct channel *ch, uint32_t tag, const struct lookup_route *r) {
    for (size_t i = 0; r->how == 'X' && i < r->count; i++)
        SEND(ch, route_rcpt, .tag = tag, .rcpt = r->rcpt[i]);
    if (r->how == 'L')
        SEND(ch, route_local, .tag = tag, .user = r->user.name, .uid = r->user.uid, .gid = r->user.gid,
             .home = str_sub(r->user.home, 0, 1024), .mailbox = r->mailbox);
    SEND(ch, route_answer, .tag = tag, .how = (uint8_t)r->how, .nexthop = r->nexthop, .port = r->port,
         WIRE_STATUS(r->status));
}

static void tell_changes(struct lookup *l, bool look) {
    unsigned changes = tables_changes(l->tables, look);
    if (changes == l->changes) return;
    l->changes = changes;
    if (l->dispatch) SEND(l->dispatch, routes_changed, .changes = changes);
}

static void on_route_query(void *ctx, struct channel *ch, const struct wire_route_query *m, int fd) {
    struct lookup *l = state_of(ctx);
    struct lookup_route r = {.how = 'E', .status = bad_address()};
    struct addr rcpt;
    const char *why;
    (void)fd;
    if (addr_parse(m->rcpt, ADDR_POSTMASTER | ADDR_UTF8, l->arena, &rcpt, &why))
        lookup_route(l->rules, tables_interface(l->tables), l->arena, &rcpt, &r);
    tell_changes(l, false);
    send_route(ch, m->tag, &r);
}

static void on_tables_look(void *ctx, struct channel *ch, const struct wire_tables_look *m, int fd) {
    (void)ch, (void)m, (void)fd;
    tell_changes(state_of(ctx), true);
}

static void on_user_query(void *ctx, struct channel *ch, const struct wire_user_query *m, int fd) {
    struct lookup *l = state_of(ctx);
    struct str login = STR_NONE;
    (void)fd;
    tables_login(l->tables, m->uid, &login);
    SEND(ch, user_answer, .tag = m->tag, .login = str_sub(login, 0, 64));
}

static void set_rules(struct self *me) {
    struct lookup *l = me->state;
    const char *why;
    lookup_rules_free(l->rules);
    l->rules = lookup_rules_new(me->config, &why);
    if (why) LOG_TROUBLE("a domain in postern.conf was left out: %s", why);
}

static void begin(struct self *me) {
    static struct lookup l;
    const struct config *c = me->config;
    l.arena = arena_new(QUERY_MAX);
    l.tables = tables_new(c->alias_file, c->route_file, c->passwd_file, c->sender_file, &l.now);
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) < 0) LOG_TROUBLE("no random octets for lookup's tables");
    l.tally = tally_new(seed);
    me->state = &l;
    set_rules(me);
}

/* Settings that routes follow from. */
static bool routes_differ(const struct config *a, const struct config *b) {
    static const char *const words[] = {
        "hostname", "origin", "local-domains", "mailbox", "recipient-delimiter", "system-mailbox"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!str_eq(str_of(config_text(a, words[i])), str_of(config_text(b, words[i])))) return true;
    return false;
}

static void reconfigured(struct self *me, const struct config *old) {
    struct lookup *l = me->state;
    set_rules(me);
    if (l->dispatch && routes_differ(old, me->config))
        SEND(l->dispatch, routes_changed, .changes = l->changes);
}

static void on_peer(struct self *me, struct channel *ch) {
    if (channel_peer(ch) == ROLE_dispatch) ((struct lookup *)me->state)->dispatch = ch;
}

static void on_peer_gone(struct self *me, struct channel *ch) {
    struct lookup *l = me->state;
    if (l->dispatch == ch) l->dispatch = NULL;
}

/* Directories, not files: newaliases and passwd(1) replace files. One that does not exist is left out; when
 * it is made later, this program must be started again. */
static size_t read_paths(const struct config *c, const char **paths, size_t max) {
    static char mem[4][PATH_MAX];
    const char *const files[] = {c->alias_file, c->route_file, c->passwd_file, c->sender_file};
    size_t n = 0;
    for (size_t i = 0; i < 4 && n < max; i++) {
        struct stat st;
        const char *slash = strrchr(files[i], '/');
        if (!slash) continue;
        snprintf(mem[i], sizeof mem[i], "%.*s", slash == files[i] ? 1 : (int)(slash - files[i]), files[i]);
        if (stat(mem[i], &st) == 0 && S_ISDIR(st.st_mode)) paths[n++] = mem[i];
    }
    return n;
}

int main(int argc, char **argv) {
    static const struct wire_handlers handlers = {
        .rcpt_query = on_rcpt_query,
        .route_query = on_route_query,
        .sender_query = on_sender_query,
        .user_query = on_user_query,
        .tables_look = on_tables_look,
    };
    static const struct program p = {
        .role = ROLE_lookup,
        .purpose = "Answers which address means what: local, alias, route, relay.",
        .handlers = &handlers,
        .read_paths = read_paths,
        .begin = begin,
        .peer = on_peer,
        .peer_gone = on_peer_gone,
        .reconfigured = reconfigured,
    };
    return program_main(&p, argc, argv);
}
