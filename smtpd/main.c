/* smtpd: turns a stranger's bytes into one envelope and one sealed message.
 *
 * It reads from the network, and from local users at the submit socket. It may touch no file and make no
 * connection: it accepts on sockets it was handed, seals memory files of its own, and speaks to queue and
 * lookup over channels. Why it is safe: whoever takes it over holds the sessions in this process and can
 * do what any client could, inject mail; the spool, the mailboxes, the tables and the other processes stay
 * out of reach (common/roles.def).
 *
 * The protocol is in the engine (session.h), which knows nothing of sockets. Here are listeners and
 * settings. */
#include "common/arena.h"
#include "smtpd/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS_A_ROUND = 16, ACCEPT_PAUSE_MS = 500, EARS_AGAIN_MS = 100 };

static void on_accept(void *ctx, uint32_t ready);

static void ears_again(void *ctx) {
    shell_accepting(ctx);
}

/* A full process leaves newcomers to the others. When all are full it goes on, and those who did nothing for the
 * longest time make room. Nobody wakes us when another one becomes full, or somebody has been idle for long enough: so
 * we look. able: nothing else speaks against newcomers. */
static bool has_place(struct shell *sh, bool able) {
    bool open = limits_open(&sh->limits, (uint32_t)sh->conn_count, able ? (uint32_t)guest_most(sh) : 0);
    bool room = able && open && guest_has_room(sh);
    if (able && !room && !sh->ears_again.slot) {
        sh->ears_again = (struct timer){.fn = ears_again, .ctx = sh};
        loop_timer_in(sh->me->loop, &sh->ears_again, EARS_AGAIN_MS);
    }
    return room;
}

void shell_accepting(struct shell *sh) {
    /* At the start strangers wait in the kernel until queue is there; when it is lost later they hear 451. */
    bool ears = has_place(sh, sh->ready && sh->certified && !sh->me->stopping && !sh->accept_again.slot);
    for (struct listening *l = sh->listening; l; l = l->next) {
        /* Exclusive: one process wakes for each stranger. Such a watch cannot be modified, so it is made
         * anew. */
        if (ears && !l->watch)
            l->watch = loop_watch(sh->me->loop, l->fd, EPOLLIN | EPOLLEXCLUSIVE, on_accept, l);
        if (!ears && l->watch) {
            watch_close(l->watch);
            l->watch = NULL;
        }
    }
}

static void accept_again(void *ctx) {
    shell_accepting(ctx);
}

/* Out of descriptors or memory: waiting strangers would wake us without end. */
static void pause_accepting(struct shell *sh) {
    LOG_TROUBLE("cannot accept more connections (errno %d); trying again soon", errno);
    (void)guest_make_room(sh);
    sh->accept_again.fn = accept_again;
    sh->accept_again.ctx = sh;
    loop_timer_in(sh->me->loop, &sh->accept_again, ACCEPT_PAUSE_MS);
    shell_accepting(sh);
}

/* control is not for us. */
static const struct {
    bool ours, local;
    enum session_service service;
} listening_kinds[] = {
    [LISTEN_SMTP] = {true, false, SERVICE_SMTP},
    [LISTEN_SUBMIT] = {true, true, SERVICE_LOCAL},
    [LISTEN_SUBMISSION] = {true, false, SERVICE_SUBMISSION},
    [LISTEN_SUBMISSIONS] = {true, false, SERVICE_SUBMISSION},
    [LISTEN_LMTP] = {true, true, SERVICE_LMTP},
};

static bool identify(int fd, enum listener_kind kind, const struct sockaddr_storage *sa,
                     struct session_client *client) {
    struct ucred cred;
    socklen_t n = sizeof cred;
    uint16_t port;
    *client = (struct session_client){.service = listening_kinds[kind].service};
    if (!listening_kinds[kind].local) return ip_from_sockaddr(sa, &client->ip, &port);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0 || n != sizeof cred) return false;
    client->local = true;
    client->uid = cred.uid;
    return true;
}

static void on_accept(void *ctx, uint32_t ready) {
    struct listening *l = ctx;
    struct shell *sh = l->sh;
    (void)ready;
    for (int i = 0; i < ACCEPTS_A_ROUND && l->watch; i++) {
        struct sockaddr_storage sa;
        struct session_client client;
        socklen_t n = sizeof sa;
        int fd = accept4(l->fd, (struct sockaddr *)&sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
            pause_accepting(sh);
        if (fd < 0) break;
        bool room = sh->conn_count < guest_most(sh) || guest_make_room(sh);
        if (room && identify(fd, l->kind, &sa, &client))
            conn_start(sh, fd, &client, l->kind == LISTEN_SUBMISSIONS);
        else close(fd);
        shell_accepting(sh);
    }
}

/* RFC 1985 is cheap to say and makes work: a few a minute from all who may are enough. */
static bool on_session_etrn(void *ctx, struct str domain, bool below) {
    enum { ASKS = 10, A_MINUTE = 60 };
    struct shell *sh = ((struct conn *)ctx)->sh;
    int64_t now = loop_now(sh->me->loop);
    if (now - sh->etrn_since > (int64_t)A_MINUTE * 1000000000 || !sh->etrn_since) {
        sh->etrn_since = now;
        sh->etrn_count = 0;
    }
    if (!sh->queue || channel_full(sh->queue) || sh->etrn_count >= ASKS) return false;
    sh->etrn_count++;
    SEND(sh->queue, etrn, .domain = domain, .below = below);
    return true;
}

static void take_settings(struct shell *sh) {
    const struct config *c = sh->me->config;
    sh->host.ops = &conn_ops;
    sh->host.hostname = str_of(c->hostname);
    sh->host.rules = &c->rule;
    sh->host.etrn_networks = &c->etrn_networks;
    sh->host.etrn_domains = &c->etrn_domains;
    sh->host.etrn = on_session_etrn;
    sh->host.xclient = &c->xclient_networks;
    sh->host.xforward = &c->xforward_networks;
    sh->host.size_limit = c->message_size_limit;
    sh->host.rcpt_limit = (uint32_t)c->recipient_limit;
    sh->host.error_limit = (uint32_t)c->error_limit;
    sh->host.hop_limit = (uint32_t)c->hop_limit;
    sh->host.command_ms = (int64_t)c->command_timeout;
    sh->host.data_ms = (int64_t)c->data_timeout;
    sh->host.data_rate = c->data_rate;
    sh->host.mechs = str_of(sh->mechs);
    sh->host.cleartext = c->auth_cleartext_networks;
    sh->host.origin = str_of(c->origin);
    sh->host.check_from = c->submission_check_from;
    sh->host.hide_client = c->submission_hide_client;
    sh->host.release_ms = (int64_t)c->future_release;
    certified_settings(sh);
    guest_settings(sh);
}

static bool prepare(struct self *me) {
    struct shell *sh = xmalloc(sizeof *sh);
    sh->me = me;
    sh->host.out = buf_on(sh->out_mem, sizeof sh->out_mem);
    sh->read_mem = xmalloc(READ_MAX);
    me->state = sh;
    take_settings(sh);
    return guest_prepare(sh) && certified_prepare(sh);
}

static void begin(struct self *me) {
    certified_wait(me->state);
}

static void on_listener(struct self *me, int fd, enum listener_kind kind, struct str name) {
    struct shell *sh = me->state;
    int on = 1, flags = fcntl(fd, F_GETFL);
    if (kind >= sizeof listening_kinds / sizeof listening_kinds[0] || !listening_kinds[kind].ours ||
        me->stopping) {
        close(fd);
        return;
    }
    if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    /* Accepted sockets inherit it. */
    if (!listening_kinds[kind].local) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct listening *l = xmalloc(sizeof *l + name.n);
    struct buf copy = buf_on((char *)(l + 1), name.n);
    buf_add(&copy, name);
    *l = (struct listening){.next = sh->listening, .sh = sh, .fd = fd, .kind = kind, .name = buf_str(&copy)};
    sh->listening = l;
    shell_accepting(sh);
}

static void remove_listening(struct listening **at) {
    struct listening *l = *at;
    *at = l->next;
    if (l->watch) watch_close(l->watch);
    close(l->fd);
    free(l);
}

static void on_unlisten(struct self *me, struct str name) {
    struct shell *sh = me->state;
    for (struct listening **at = &sh->listening; *at;) {
        if (str_eq((*at)->name, name)) remove_listening(at);
        else at = &(*at)->next;
    }
}

/* From pickup: a stream on which it speaks SMTP in the name of the user who owned the dropped file. */
static void on_submission(void *ctx, struct channel *ch, const struct wire_submission *m, int fd) {
    struct self *me = ctx;
    struct shell *sh = me->state;
    struct session_client client = {.service = SERVICE_LOCAL, .local = true, .uid = m->uid};
    int flags = fcntl(fd, F_GETFL);
    (void)ch;
    if (me->stopping || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        close(fd);
        return;
    }
    conn_start(sh, fd, &client, false);
}

static void on_peer(struct self *me, struct channel *ch) {
    struct shell *sh = me->state;
    if (channel_peer(ch) == ROLE_queue) {
        if (sh->queue) mail_lost(sh);
        sh->queue = ch;
    } else if (channel_peer(ch) == ROLE_resolve) {
        if (sh->resolve) names_lost(sh);
        sh->resolve = ch;
    } else if (channel_peer(ch) == ROLE_lookup) {
        if (sh->lookup) ask_lost(sh);
        sh->lookup = ch;
    } else if (channel_peer(ch) == ROLE_auth) {
        if (sh->auth) auth_lost(sh);
        sh->auth = ch;
    } else {
        certified_peer(sh, ch);
    }
}

static void on_peer_gone(struct self *me, struct channel *ch) {
    struct shell *sh = me->state;
    if (ch == sh->queue) mail_lost(sh);
    else if (ch == sh->lookup) ask_lost(sh);
    else if (ch == sh->resolve) names_lost(sh);
    else if (ch == sh->auth) auth_lost(sh);
    else certified_peer_gone(sh, ch);
}

static void on_drained(struct self *me, struct channel *ch) {
    struct shell *sh = me->state;
    if (ch != sh->queue) return;
    for (struct conn *c = sh->conns, *next; c; c = next) {
        next = c->next;
        conn_settle(c);
    }
}

static void on_reconfigured(struct self *me, const struct config *old) {
    (void)old;
    take_settings(me->state);
    shell_accepting(me->state);
}

static void on_stop(struct self *me) {
    struct shell *sh = me->state;
    while (sh->listening) remove_listening(&sh->listening);
    for (struct conn *c = sh->conns, *next; c; c = next) {
        next = c->next;
        if (c->session) session_stop(c->session, shell_now(sh));
        else c->gone = true;
        conn_settle(c);
    }
    if (!sh->conns) program_end(me);
}

static const struct wire_handlers handlers = {
    .rcpt_answer = ask_rcpt_answer,
    .user_answer = ask_user_answer,
    .name_answer = names_answer,
    .submission = on_submission,
    .auth_offer = auth_take_offer,
    .auth_challenge = auth_take_challenge,
    .auth_done = auth_take_done,
    .tls_begin = certified_begin,
    .tls_cert = certified_cert,
    .tls_ca = certified_ca,
    .tls_end = certified_end,
    .ticket_key = certified_ticket,
    .signature = certified_signature,
    .lease = mail_lease,
    .mail_done = mail_done,
};

static const struct program smtpd = {
    .role = ROLE_smtpd,
    .purpose = "Receives mail by SMTP and hands it to queue as sealed messages.",
    .handlers = &handlers,
    .prepare = prepare,
    .begin = begin,
    .peer = on_peer,
    .peer_gone = on_peer_gone,
    .drained = on_drained,
    .listener = on_listener,
    .unlisten = on_unlisten,
    .reconfigured = on_reconfigured,
    .stop = on_stop,
};

int main(int argc, char **argv) {
    return program_main(&smtpd, argc, argv);
}
