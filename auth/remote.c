/* remote.c: sources that are elsewhere: PAM, in the keeper's children; Dovecot, on a socket that the
 * keeper has connected. */
#include "auth/shell.h"

#include "common/arena.h"
#include "common/cage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECONNECT_MS = 1000, OUT_MAX = 1 << 20, PAM_WAITING_MAX = 256 };

static void keeper_gone(struct auth *a, const char *why) {
    LOG_TROUBLE("the keeper of auth %s: starting again", why);
    program_end(a->me);
}

/* ---- Dovecot ---- */

static void fail_forwarded(struct auth *a) {
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct exchange *x = a->by_id[i], *next; x; x = next) {
            next = x->next_by_id;
            if (x->forwarded) exchange_later(x, "the connection to Dovecot is lost");
        }
}

static void disconnect(struct auth *a, const char *why) {
    if (a->dovecot_fd < 0) return;
    LOG_TROUBLE("the connection to Dovecot at %s is lost: %s", a->me->config->auth_socket, why);
    watch_close(a->dovecot_watch);
    close(a->dovecot_fd);
    a->dovecot_fd = -1;
    a->out_n = 0;
    dovecot_free(&a->dovecot);
    a->offer[0] = '\0';
    fail_forwarded(a);
    offer_changed(a);
    loop_timer_in(a->me->loop, &a->reconnect, RECONNECT_MS);
}

static void push(struct auth *a) {
    size_t done = 0;
    while (done < a->out_n) {
        ssize_t k = send(a->dovecot_fd, a->out + done, a->out_n - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) break; /* a hang-up is told by the loop */
        done += (size_t)k;
    }
    memmove(a->out, a->out + done, a->out_n - done);
    explicit_bzero(a->out + a->out_n - done, done);
    a->out_n -= done;
    watch_set(a->dovecot_watch, EPOLLIN | (a->out_n ? (uint32_t)EPOLLOUT : 0u));
}

static bool sends(struct auth *a, struct str text) {
    if (a->dovecot_fd < 0 || a->out_n + text.n > OUT_MAX) return false;
    memcpy(a->out + a->out_n, text.p, text.n);
    a->out_n += text.n;
    push(a);
    return true;
}

static void on_event(void *ctx, enum dovecot_event what, uint32_t id, struct str text, struct str why) {
    struct auth *a = ctx;
    char mem[200];
    struct buf shown = BUF(mem);
    if (what == DOVECOT_READY) {
        snprintf(a->offer, sizeof a->offer, "%.*s", STR_ARGS(text));
        offer_changed(a);
        return;
    }
    struct exchange *x = exchange_by_id(a, id);
    if (!x || !x->forwarded) return;
    buf_adds(&shown, what == DOVECOT_LATER ? "Dovecot has trouble: " : "Dovecot says no: ");
    buf_add_escaped(&shown, str_sub(why, 0, 100));
    if (what == DOVECOT_CHALLENGE) exchange_challenge(x, text);
    else if (what == DOVECOT_GOOD) exchange_good(x, text);
    else if (what == DOVECOT_BAD) exchange_bad(x, text, buf_cstr(&shown));
    else exchange_later(x, buf_cstr(&shown));
}

static void on_dovecot(void *ctx, uint32_t ready) {
    struct auth *a = ctx;
    char mem[8192];
    const char *why = "closed";
    if (ready & EPOLLOUT) push(a);
    if (!(ready & (EPOLLIN | EPOLLERR | EPOLLHUP))) return;
    ssize_t n = recv(a->dovecot_fd, mem, sizeof mem, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0 || !dovecot_input(&a->dovecot, (struct str){mem, (size_t)n}, &why)) disconnect(a, why);
    explicit_bzero(mem, sizeof mem);
}

static void connected(struct auth *a, int fd) {
    struct dovecot_ops ops = {a, on_event};
    char mem[64];
    struct buf hello = BUF(mem);
    if (a->dovecot_fd >= 0) {
        close(fd);
        return;
    }
    a->dovecot_fd = fd;
    a->dovecot_watch = loop_watch(a->me->loop, fd, EPOLLIN, on_dovecot, a);
    dovecot_init(&a->dovecot, &ops);
    dovecot_hello(&hello, (uint32_t)getpid());
    sends(a, buf_str(&hello));
}

static void ask_connection(void *ctx) {
    struct auth *a = ctx;
    struct keeper_ask ask = {0};
    if (send(a->keeper, &ask, sizeof ask, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) keeper_gone(a, strerror(errno));
}

bool remote_auth(struct auth *a, struct exchange *x, bool given, struct str response) {
    char mem[RESPONSE_MAX + 256];
    struct buf b = BUF(mem);
    bool ok =
        dovecot_auth(&b, x->id, str_of(x->mech), x->tls, &x->ip, given, response) && sends(a, buf_str(&b));
    explicit_bzero(mem, sizeof mem);
    return ok;
}

bool remote_cont(struct auth *a, struct exchange *x, struct str response) {
    char mem[RESPONSE_MAX + 64];
    struct buf b = BUF(mem);
    bool ok = dovecot_cont(&b, x->id, response) && sends(a, buf_str(&b));
    explicit_bzero(mem, sizeof mem);
    return ok;
}

void remote_cancel(struct auth *a, uint32_t id) {
    char mem[32];
    struct buf b = BUF(mem);
    dovecot_cancel(&b, id);
    sends(a, buf_str(&b));
}

/* ---- PAM ---- */

bool remote_check_pam(struct auth *a, struct exchange *x, struct str login, struct str password) {
    struct keeper_ask ask = {.id = x->id};
    struct buf client = buf_on(ask.client, sizeof ask.client - 1);
    /* A login of PAM is an account: no name of a service's own, no path. */
    if (a->keeper_waits >= PAM_WAITING_MAX || login.n > LOGIN_MAX || password.n > PASSWORD_MAX) return false;
    memcpy(ask.login, login.p, login.n);
    memcpy(ask.password, password.p, password.n);
    if (x->ip.family) ip_format(&client, &x->ip);
    bool ok = send(a->keeper, &ask, sizeof ask, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof ask;
    explicit_bzero(&ask, sizeof ask);
    a->keeper_waits += ok;
    return ok;
}

/* ---- What the keeper says ---- */

static void pam_answer(struct auth *a, const struct keeper_answer *m) {
    struct exchange *x = exchange_by_id(a, m->id);
    if (a->keeper_waits) a->keeper_waits--;
    if (!x || !x->checking) return;
    if (m->verdict == KEEPER_TROUBLE) exchange_later(x, "PAM has trouble; its modules tell the system's log");
    else exchange_verdict(x, m->verdict == KEEPER_GOOD);
}

static void connection_answer(struct auth *a, const struct keeper_answer *m, int fd) {
    if (m->verdict == KEEPER_GOOD && fd >= 0) {
        connected(a, fd);
        return;
    }
    if (fd >= 0) close(fd);
    if (!a->looked)
        LOG_TROUBLE("cannot connect to Dovecot at %s: %s", a->me->config->auth_socket, strerror(m->error));
    a->looked = true; /* told once */
    loop_timer_in(a->me->loop, &a->reconnect, RECONNECT_MS);
}

static void on_keeper(void *ctx, uint32_t ready) {
    struct auth *a = ctx;
    struct keeper_answer m = {0};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {&m, sizeof m};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fd = -1;
    (void)ready;
    ssize_t n = recvmsg(a->keeper, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        watch_set(a->keeper_watch, 0);
        keeper_gone(a, "has ended");
        return;
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    if (a->source == SOURCE_DOVECOT) connection_answer(a, &m, fd);
    else {
        if (fd >= 0) close(fd);
        pam_answer(a, &m);
    }
}

bool remote_prepare(struct auth *a) {
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (uid == 0 && !cage_ids(ROLE_auth, a->me->config->uid_base, &uid, &gid)) return false;
    a->keeper = keeper_start(a->me->config, a->source == SOURCE_PAM, uid, gid);
    if (a->keeper < 0) LOG_TROUBLE("auth cannot start its keeper: %s", strerror(errno));
    return a->keeper >= 0;
}

void remote_begin(struct auth *a) {
    a->keeper_watch = loop_watch(a->me->loop, a->keeper, EPOLLIN, on_keeper, a);
    if (a->source != SOURCE_DOVECOT) return;
    a->out = xmalloc(OUT_MAX);
    a->reconnect = (struct timer){.fn = ask_connection, .ctx = a};
    ask_connection(a);
}
