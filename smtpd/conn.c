/* conn.c: the connection beneath a session: reads, writes, time, and the log. */
#include "common/arena.h"
#include "smtpd/shell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HELD_MAX = 16384,    /* replies that wait for others of their group */
    COMMAND_READ = 8192, /* between messages: little to hold when a question stops the session */
    LINGER_MS = 2000,    /* after our last word: time for the client to read it */
    LINGER_OCTETS = 1 << 20,
};

struct session_now shell_now(const struct shell *sh) {
    return (struct session_now){loop_now(sh->me->loop), loop_wall_ms(sh->me->loop)};
}

struct str conn_client(const struct conn *c, char mem[static 160]) {
    struct buf b = buf_on(mem, 160);
    if (!c->client.local) {
        ip_format(&b, c->session ? &session_client_of(c->session)->ip : &c->client.ip);
        return buf_str(&b);
    }
    buf_adds(&b, "uid:");
    buf_addu(&b, c->client.uid);
    if (c->login) buf_addf(&b, "(%s)", c->login);
    return buf_str(&b);
}

/* Between the clear and TLS. */
static bool securing(const struct conn *c) {
    return c->tls_wanted || (c->tls && !tls_done(c->tls));
}

/* Octets taken; 0: not now; -1: the client is gone, and the loop tells its hang-up. */
static ssize_t put(struct conn *c, struct str bytes) {
    if (c->tls) return tls_write(c->tls, bytes);
    for (;;) {
        ssize_t k = send(c->fd, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k >= 0) return k;
        if (errno == EAGAIN || errno == ENOBUFS) return 0;
        if (errno != EINTR) return -1;
    }
}

static bool push(struct conn *c) {
    while (c->out_at < c->out_n && c->fd >= 0) {
        ssize_t k = put(c, (struct str){c->out + c->out_at, c->out_n - c->out_at});
        if (k == 0) {
            c->blocked = true;
            return false;
        }
        if (k < 0) break;
        c->out_at += (size_t)k;
    }
    c->blocked = false;
    free(c->out);
    c->out = NULL;
    c->out_n = c->out_at = 0;
    return true;
}

static void keep(struct conn *c, struct str bytes) {
    if (!bytes.n) return;
    c->out = xrealloc(c->out, c->out_n + bytes.n);
    memcpy(c->out + c->out_n, bytes.p, bytes.n);
    c->out_n += bytes.n;
}

/* Replies to a group of commands leave together (RFC 2920 3.2): those of MAIL and of the first recipients wait while
 * lookup is asked about the others. */
static bool op_send(void *ctx, struct str bytes) {
    struct conn *c = ctx;
    size_t done = 0;
    if (securing(c) || (c->secure && !c->tls))
        return true; /* the client does not listen to words in the clear any more */
    if (c->fd < 0) return true;
    if (c->out || c->asked) {
        keep(c, bytes);
        if (c->asked && !c->blocked && c->out_n < HELD_MAX) return true;
        return !c->blocked && push(c);
    }
    while (done < bytes.n) {
        ssize_t k = put(c, str_sub(bytes, done, bytes.n));
        if (k == 0) break;
        if (k < 0) return true;
        done += (size_t)k;
    }
    c->blocked = done < bytes.n;
    keep(c, str_sub(bytes, done, bytes.n));
    return !c->blocked;
}

/* The handshake has failed; OpenSSL has sent its alert. */
static void insecure(struct conn *c, const char *why) {
    char mem[160];
    LOG(tls_failed, .session = c->number, .client = conn_client(c, mem), .why = str_of(why));
    c->tls_wanted = false;
    if (!c->why) c->why = "TLS failed";
    if (c->session) session_lost(c->session, shell_now(c->sh), "TLS failed");
}

static void on_timer(void *ctx) {
    struct conn *c = ctx;
    int64_t now = loop_now(c->sh->me->loop);
    /* Moved deadlines do not move the timer: it finds out here. */
    if (now < c->deadline) {
        loop_timer(c->sh->me->loop, &c->timer, c->deadline);
        return;
    }
    if (c->lingering || c->closing) c->gone = true;
    else if (c->stage != CONN_OPEN) guest_timeout(c);
    else if (securing(c)) insecure(c, "handshake timeout");
    else if (c->naming) names_give_up(c);
    else if (c->session) session_expire(c->session, shell_now(c->sh));
    conn_settle(c);
}

static void op_deadline(void *ctx, int64_t at_ns) {
    struct conn *c = ctx;
    c->deadline = at_ns;
    if (!c->timer.slot || c->timer.at > at_ns) loop_timer(c->sh->me->loop, &c->timer, at_ns);
}

void conn_wait(struct conn *c, int64_t ms) {
    op_deadline(c, loop_now(c->sh->me->loop) + ms * 1000000);
}

static bool op_ask(void *ctx, uint32_t slot, const struct session_mail *m, const struct session_rcpt *rcpt) {
    return ask_rcpt(ctx, slot, m, rcpt);
}

static bool op_begin(void *ctx, struct session_mail *m) {
    return mail_begin(ctx, m);
}

static bool op_write(void *ctx, struct str bytes) {
    return mail_write(ctx, bytes);
}

static bool op_commit(void *ctx, const struct session_mail *m) {
    return mail_commit(ctx, m);
}

static void op_abort(void *ctx) {
    mail_abort(ctx);
}

static void op_close(void *ctx, const char *why) {
    struct conn *c = ctx;
    c->closing = true;
    c->why = why;
}

static void op_event(void *ctx, const struct session_event *e) {
    struct conn *c = ctx;
    char mem[160];
    struct str client = conn_client(c, mem);
    switch (e->kind) {
    case SESSION_REJECT:
        LOG(reject, .session = c->number, .client = client, .stage = e->stage, .from = e->from, .to = e->to,
            .helo = e->helo, .reply = e->reply);
        break;
    case SESSION_POLICY:
        LOG(policy, .session = c->number, .client = client, .stage = e->stage, .line = e->line,
            .rule = e->token, .action = e->action, .from = e->from, .to = e->to, .helo = e->helo,
            .text = e->reply);
        break;
    case SESSION_FORWARDED:
        LOG(forwarded, .session = c->number, .client = client, .text = e->reply);
        break;
    case SESSION_DISCARDED:
        LOG(discarded, .id = e->mail->id, .client = client, .from = e->from, .rcpts = e->mail->rcpt_count,
            .size = e->mail->size);
        break;
    case SESSION_RECEIVED:
        guest_known(c);
        LOG(received, .id = e->mail->id, .client = client, .helo = e->helo, .protocol = e->protocol,
            .login = session_login(c->session), .from = e->from, .rcpts = e->mail->rcpt_count,
            .size = e->mail->size, .data_us = e->data_us, .commit_us = e->commit_us);
        break;
    case SESSION_NOT_RECEIVED:
        LOG(not_received, .id = e->mail->id, .client = client, .from = e->from, .reply = e->reply);
        break;
    case SESSION_EARLY:
        LOG(early, .session = c->number, .client = client, .helo = e->helo, .behind = e->stage);
        break;
    }
}

static bool op_auth(void *ctx, const struct session_auth *a) {
    return auth_begin(ctx, a);
}

static bool op_auth_more(void *ctx, struct str response) {
    return auth_more(ctx, response);
}

static void op_auth_drop(void *ctx) {
    auth_drop(ctx);
}

static bool op_ask_sender(void *ctx, const struct session_mail *m) {
    return ask_sender(ctx, m);
}

static void op_start_tls(void *ctx) {
    struct conn *c = ctx;
    c->tls_wanted = true;
}

const struct session_ops conn_ops = {
    .send = op_send,
    .deadline = op_deadline,
    .ask = op_ask,
    .begin = op_begin,
    .write = op_write,
    .commit = op_commit,
    .abort = op_abort,
    .event = op_event,
    .close = op_close,
    .auth = op_auth,
    .auth_more = op_auth_more,
    .auth_drop = op_auth_drop,
    .ask_sender = op_ask_sender,
    .start_tls = op_start_tls,
    .allow = guest_allow,
    .identify = guest_identify,
};

static void close_socket(struct conn *c) {
    if (c->fd < 0) return;
    watch_close(c->watch);
    tls_free(c->tls);
    c->tls = NULL;
    close(c->fd);
    c->fd = -1;
}

static void end_session(struct conn *c) {
    char mem[160];
    if (!c->session) return;
    struct session_counts n = session_counts(c->session);
    LOG(disconnect, .session = c->number, .client = conn_client(c, mem),
        .why = str_of(c->why ? c->why : "end"), .messages = n.messages, .commands = n.commands,
        .ms = (uint64_t)(loop_now(c->sh->me->loop) - c->since_ns) / 1000000);
    auth_drop(c);
    session_free(c->session);
    c->session = NULL;
    mail_drop(c);
    free(c->login);
    c->login = NULL;
}

static void conn_free(struct conn *c) {
    struct shell *sh = c->sh;
    if (c->prev) c->prev->next = c->next;
    else sh->conns = c->next;
    if (c->next) c->next->prev = c->prev;
    sh->conn_count--;
    names_forget(c);
    free(c->names);
    guest_leave(c);
    free(c->out);
    free(c);
    shell_accepting(sh);
    if (sh->me->stopping && !sh->conns) program_end(sh->me);
}

/* Our last word has left. A client that is still sending would get a reset that can destroy it unread, so
 * wait a little for its end; after QUIT there is nothing to wait for. */
static void begin_linger(struct conn *c) {
    if (c->tls) tls_bye(c->tls);
    if (c->client.local || c->hasty || strcmp(c->why, "quit") == 0 || shutdown(c->fd, SHUT_WR) != 0) {
        c->gone = true;
        return;
    }
    c->lingering = true;
    watch_set(c->watch, EPOLLIN);
    op_deadline(c, loop_now(c->sh->me->loop) + (int64_t)LINGER_MS * 1000000);
}

static void begin_tls(struct conn *c) {
    c->tls_wanted = false;
    c->tls = tls_new(c->fd, c);
    op_deadline(c, loop_now(c->sh->me->loop) + (int64_t)c->sh->me->config->tls_timeout * 1000000);
    if (c->tls) conn_secure(c);
    else insecure(c, "no certificate");
}

static void secured(struct conn *c) {
    char texts[TLS_TEXTS], mem[160];
    struct session_tls tls = tls_describe(c->tls, texts);
    LOG(tls, .session = c->number, .client = conn_client(c, mem), .version = tls.version,
        .cipher = tls.cipher, .bits = tls.bits, .sni = tls.name, .identity = tls.client,
        .resumed = tls_resumed(c->tls) ? STR("yes") : STR("no"));
    bool greeted = c->greeted;
    session_tls_done(c->session, shell_now(c->sh), &tls);
    if (!greeted && !names_ask(c)) conn_greet(c);
    c->reading = true;
}

/* For keys, and for whom the loop wakes: c->reading and c->out say what the socket is watched for. */
void conn_secure(struct conn *c) {
    if (!c->tls || !c->session || tls_done(c->tls)) return;
    enum tls_step step = tls_handshake(c->tls);
    /* Most clients are silent while keys works: EPOLLIN is taken back only when it fires (on_ready). */
    if (step != TLS_WAIT) c->reading = step == TLS_READ;
    c->writing = step == TLS_WRITE;
    c->waiting = step == TLS_WAIT;
    if (step == TLS_FAILED) insecure(c, tls_why(c->tls));
    else if (step == TLS_DONE) secured(c);
}

void conn_settle(struct conn *c) {
    bool over = !c->session || session_over(c->session);
    if (c->out && !c->blocked && (!c->asked || over)) push(c);
    if (c->tls_wanted && !c->out && c->fd >= 0 && c->session && !session_over(c->session)) begin_tls(c);
    if (c->session && session_over(c->session)) {
        end_session(c);
        if (c->hasty) c->gone = true; /* what the kernel did not take is lost */
        if (c->fd >= 0 && c->out) op_deadline(c, loop_now(c->sh->me->loop) + (int64_t)30000 * 1000000);
    }
    if (c->stage == CONN_PROXY && !c->gone) return;
    if (!c->session && c->fd >= 0 && !c->out && !c->lingering && !c->gone) begin_linger(c);
    if (!c->session && c->gone) close_socket(c);
    if (!c->session && c->fd < 0) {
        loop_timer_cancel(c->sh->me->loop, &c->timer);
        if (!c->asked) conn_free(c);
        return;
    }
    guest_account(c);
    if (c->fd < 0 || c->lingering) return;
    if (securing(c) && c->session) {
        watch_set(c->watch, (c->reading ? (uint32_t)EPOLLIN : 0u) |
                                (c->writing || c->blocked ? (uint32_t)EPOLLOUT : 0u));
        return;
    }
    bool want = c->session && session_wants(c->session);
    if (want && session_in_data(c->session) && mail_stalled(c)) want = false;
    /* EPOLLIN is taken back only when it fires unwanted (on_ready): most questions are answered before
     * that. */
    c->reading = c->reading || want;
    /* What OpenSSL has read already no socket tells: one that can be written wakes us too. */
    bool again = want && c->tls && tls_more(c->tls);
    /* A client that has its KeyUpdates answered and does not read the answers: its octets wake nobody until it does. */
    bool stuck = want && c->tls && tls_stuck(c->tls);
    watch_set(c->watch, (c->reading && !stuck ? (uint32_t)EPOLLIN : 0u) |
                            (c->blocked || again || stuck ? (uint32_t)EPOLLOUT : 0u));
}

void conn_lost(struct conn *c, const char *why) {
    close_socket(c);
    c->gone = true;
    if (!c->session) return;
    if (!c->why) c->why = why;
    session_lost(c->session, shell_now(c->sh), why);
}

static void drain_linger(struct conn *c) {
    ssize_t k = recv(c->fd, c->sh->read_mem, READ_MAX, MSG_DONTWAIT);
    if (k < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (k > 0) c->linger_octets += (uint32_t)k;
    if (k <= 0 || c->linger_octets > LINGER_OCTETS) c->gone = true;
}

/* What came before a login may be a password: it does not stay. */
static void take(struct conn *c, size_t n) {
    bool secret = c->client.service == SERVICE_SUBMISSION && !session_login(c->session).n;
    c->octets_read += (uint32_t)n;
    session_input(c->session, shell_now(c->sh), (struct str){c->sh->read_mem, n});
    if (secret) explicit_bzero(c->sh->read_mem, n);
}

/* What OpenSSL has at hand; of the data of a message as many records as there are. */
static void read_tls(struct conn *c, size_t want) {
    size_t n = 0;
    ssize_t k;
    do {
        k = tls_read(c->tls, c->sh->read_mem + n, want - n);
        if (k > 0) n += (size_t)k;
    } while (k > 0 && n < want && (tls_more(c->tls) || session_in_data(c->session)));
    bool closed = k < 0 && tls_closed(c->tls);
    if (n) take(c, n);
    /* Who says goodbye behind its last command hears the replies (RFC 8446 6.1): the end is read again, after them. */
    if (k < 0 && (!n || !closed)) conn_lost(c, tls_why(c->tls));
}

static void read_some(struct conn *c) {
    size_t want = session_in_data(c->session) ? READ_MAX : COMMAND_READ;
    if (c->tls) {
        read_tls(c, want);
        return;
    }
    ssize_t k = recv(c->fd, c->sh->read_mem, want, MSG_DONTWAIT);
    if (k > 0) take(c, (size_t)k);
    else if (k == 0) conn_lost(c, "client closed");
    else if (errno != EAGAIN && errno != EINTR) conn_lost(c, "connection lost");
}

static bool wants_now(struct conn *c) {
    return c->session && session_wants(c->session) && !(session_in_data(c->session) && mail_stalled(c));
}

static void on_ready(void *ctx, uint32_t ready) {
    struct conn *c = ctx;
    if (c->lingering || c->stage != CONN_OPEN) {
        if (c->lingering) drain_linger(c);
        else guest_ready(c, ready);
        conn_settle(c);
        return;
    }
    if (securing(c) && !c->out && c->session) {
        /* Hung up while keys works: nothing else would tell. */
        if (c->waiting && (ready & (EPOLLERR | EPOLLHUP))) conn_lost(c, "connection lost");
        else if (c->waiting) c->reading = false;
        else conn_secure(c);
        conn_settle(c);
        return;
    }
    bool more = c->tls && (tls_more(c->tls) || (ready & EPOLLOUT && tls_stuck(c->tls)));
    if ((ready & EPOLLOUT) && c->out && push(c) && c->session) session_resume(c->session, shell_now(c->sh));
    if ((ready & EPOLLIN || more) && wants_now(c)) {
        read_some(c);
    } else if (ready & (EPOLLERR | EPOLLHUP)) {
        conn_lost(c, "connection lost");
    } else if (ready & EPOLLIN) {
        c->reading = false;
    }
    conn_settle(c);
}

void conn_greet(struct conn *c) {
    char mem[160];
    LOG(connect, .session = c->number, .client = conn_client(c, mem),
        .host = session_client_of(c->session)->name);
    c->greeted = true;
    session_greet(c->session, shell_now(c->sh));
}

void conn_start(struct shell *sh, int fd, const struct session_client *client, bool secure) {
    struct conn *c = xmalloc(sizeof *c);
    *c = (struct conn){.sh = sh,
                       .next = sh->conns,
                       .number = ++sh->numbers,
                       .fd = fd,
                       .client = *client,
                       .since_ns = loop_now(sh->me->loop),
                       .reading = true};
    c->timer = (struct timer){.fn = on_timer, .ctx = c};
    c->watch = loop_watch(sh->me->loop, fd, EPOLLIN, on_ready, c);
    if (!c->watch) {
        close(fd);
        free(c);
        return;
    }
    if (sh->conns) sh->conns->prev = c;
    sh->conns = c;
    sh->conn_count++;
    c->secure = secure;
    guest_arrive(c);
    conn_settle(c);
}
