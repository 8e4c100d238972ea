/* guest.c: who is let in, how much of us he may have, and who must make room when all places are taken.
 *
 * A connection begins with the PROXY header, if it comes from an upstream that sends one; then the limits are asked;
 * then a client that is not known yet may have to wait for its greeting; then the session is open. */
#include "common/arena.h"
#include "smtpd/shell.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PROXY_MS = 10000,  /* for the header: the upstream has it ready */
    EARLY_SHOWN = 100, /* octets of what an early talker said, for the log */
    PROGRESS = 16384,  /* octets of data that count as a sign of life */
    SHORTLIST = 16,    /* of those who did nothing for the longest time */
    NETWORK_SHARE = 8, /* a network's part of session-memory, once half of it is used */
    SPARE_FILES = 64,
    USER_SHARE = 4,      /* a user's part of the places of a process */
    IDLE_MS = 250,       /* who does something more often keeps his place */
    DATA_IDLE_MS = 5000, /* with the data of a message under way */
    TLS_MEMORY = 20480,  /* what OpenSSL keeps for a session, about */
};

/* ---- Settings ---- */

bool guest_prepare(struct shell *sh) {
    struct crowd *shared = NULL;
    struct stat st;
    int fd = sh->me->crowd;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size == sizeof *shared) {
        void *p = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p != MAP_FAILED) shared = p;
    }
    if (fd >= 0) close(fd);
    sh->me->crowd = -1;
    limits_attach(&sh->limits, shared, sh->me->instance);
    sh->memory_of = xmalloc((CROWD_PLACES + 1) * sizeof *sh->memory_of);
    return true;
}

void guest_settings(struct shell *sh) {
    const struct config *c = sh->me->config;
    limits_settings(&sh->limits, c);
    const char *exempt = config_text(c, "limit-exempt");
    sh->exempt = exempt && *exempt ? c->limit_exempt : c->relay_networks;
    sh->host.error_rest_ms = (int64_t)c->error_delay;
    struct str early = str_of(c->early_commands);
    sh->host.early = str_eq(early, STR("refuse")) ? SESSION_EARLY_REFUSE
                     : str_eq(early, STR("log"))  ? SESSION_EARLY_LOG
                                                  : SESSION_EARLY_IGNORE;
}

/* How many sessions this process may hold: each has a socket, and some have a memory file. */
uint64_t guest_most(const struct shell *sh) {
    uint64_t files = program_files(), most = sh->me->config->sessions_per_process;
    uint64_t room = files > 2 * SPARE_FILES ? (files - SPARE_FILES) * 3 / 4 : files / 2;
    return most < room ? most : room;
}

/* ---- The line of strangers: first who did nothing for the longest time ---- */

static void line_leave(struct conn *c) {
    struct shell *sh = c->sh;
    if (!c->in_line) return;
    c->in_line = false;
    if (c->line_prev) c->line_prev->line_next = c->line_next;
    else sh->line_first = c->line_next;
    if (c->line_next) c->line_next->line_prev = c->line_prev;
    else sh->line_last = c->line_prev;
    c->line_next = c->line_prev = NULL;
}

static void line_join(struct conn *c) {
    struct shell *sh = c->sh;
    c->moved_ns = loop_now(sh->me->loop);
    c->in_line = true;
    c->line_prev = sh->line_last;
    if (sh->line_last) sh->line_last->line_next = c;
    else sh->line_first = c;
    sh->line_last = c;
}

/* A whole command, or a good piece of data, is a sign of life; octets that drip in are none. */
static void line_moved(struct conn *c) {
    uint32_t commands = c->session ? session_counts(c->session).commands : 0;
    if (!c->in_line || (commands == c->commands_seen && c->octets_read < PROGRESS)) return;
    c->commands_seen = commands;
    c->octets_read = 0;
    c->moved_ns = loop_now(c->sh->me->loop);
    if (c == c->sh->line_last) return;
    line_leave(c);
    line_join(c);
}

/* Does it nothing, and is not complete and being made durable? */
static bool displaceable(const struct conn *c) {
    int64_t ms = c->session && session_in_data(c->session) ? DATA_IDLE_MS : IDLE_MS;
    return loop_now(c->sh->me->loop) - c->moved_ns >= ms * 1000000 && !(c->mail && c->mail->ended);
}

/* Among those who did nothing for the longest time, one of the network that has the most sessions; from whom mail was
 * accepted before, last. */
static struct conn *least_missed(struct shell *sh) {
    struct conn *best = NULL;
    uint32_t most = 0;
    int seen = 0;
    for (struct conn *c = sh->line_first; c && seen < SHORTLIST; c = c->line_next) {
        seen++;
        if (!displaceable(c)) continue;
        uint32_t n = limits_known(&sh->limits, &c->source) ? 0 : limits_sessions(&sh->limits, &c->source);
        if (best && n <= most) continue;
        best = c;
        most = n;
    }
    return best;
}

bool guest_has_room(struct shell *sh) {
    return sh->conn_count < guest_most(sh) || least_missed(sh);
}

bool guest_make_room(struct shell *sh) {
    struct conn *c = least_missed(sh);
    if (!c) return false;
    c->hasty = true;
    if (!c->session) c->gone = true;
    else if (!session_displace(c->session, shell_now(sh))) return false;
    conn_settle(c);
    return true;
}

/* ---- Memory: of all sessions, and of each network's ---- */

static size_t memory_of(const struct conn *c) {
    size_t n =
        sizeof *c + c->out_n + (c->tls ? TLS_MEMORY : 0) + (c->session ? session_memory(c->session) : 0);
    return n + (c->mail ? sizeof *c->mail + body_memory(&c->mail->body) : 0);
}

static void set_memory(struct conn *c, size_t n) {
    struct shell *sh = c->sh;
    sh->memory += n - c->memory;
    sh->memory_of[c->source.network] += n - c->memory;
    c->memory = n;
}

void guest_account(struct conn *c) {
    set_memory(c, memory_of(c));
    line_moved(c);
}

static bool memory_left(const struct conn *c) {
    const struct shell *sh = c->sh;
    uint64_t most = sh->me->config->session_memory;
    if (sh->memory <= most / 2) return true;
    if (sh->memory > most) return false;
    return !c->source.network || sh->memory_of[c->source.network] <= most / NETWORK_SHARE;
}

bool guest_may_write(const struct conn *c) {
    return memory_left(c);
}

/* ---- What a session asks ---- */

bool guest_allow(void *ctx, enum session_use use, struct status *st) {
    static const enum limit limits[] = {
        [SESSION_USE_MESSAGE] = LIMIT_MESSAGES,
        [SESSION_USE_RECIPIENT] = LIMIT_RECIPIENTS,
        [SESSION_USE_ERROR] = LIMIT_ERRORS,
        [SESSION_USE_TLS] = LIMIT_TLS_SESSIONS,
    };
    struct conn *c = ctx;
    struct limits *l = &c->sh->limits;
    int64_t now = loop_now(c->sh->me->loop);
    enum limit_verdict v;
    if (use == SESSION_USE_MEMORY) {
        set_memory(c, memory_of(c));
        if (memory_left(c)) return true;
        *st = status_make(452, "4.3.1", "No memory for more mail now, try again later (session-memory)");
        return false;
    }
    if (!l->shared || c->client.trusted) return true;
    if (use == SESSION_USE_ERROR) v = limits_count(l, &c->source, limits[use], now);
    else v = limits_take(l, &c->source, limits[use], 1, now);
    if (v == LIMIT_OK) return true;
    *st = limits_status(limits[use], v);
    return false;
}

void guest_known(struct conn *c) {
    limits_know(&c->sh->limits, &c->source, loop_now(c->sh->me->loop));
}

/* ---- Arriving ---- */

static void turn_away(struct conn *c, const struct status *st, const char *why) {
    c->stage = CONN_OPEN;
    c->hasty = true;
    session_turn_away(c->session, shell_now(c->sh), st, why);
}

static void open_session(struct conn *c) {
    struct status st;
    c->stage = CONN_OPEN;
    if (c->secure && !guest_allow(c, SESSION_USE_TLS, &st)) {
        turn_away(c, &st, limits_setting(LIMIT_TLS_SESSIONS));
        return;
    }
    if (c->secure) c->tls_wanted = true;
    else if (c->client.local && ask_user(c)) conn_wait(c, c->sh->host.command_ms);
    else if (!names_ask(c)) conn_greet(c);
}

/* Who has failed too often stays outside until he may fail again. */
static enum limit_verdict admit(struct conn *c, const struct ip *ip, enum limit *which) {
    struct limits *l = &c->sh->limits;
    int64_t now = loop_now(c->sh->me->loop);
    *which = LIMIT_CONNECTIONS;
    if (c->client.local)
        return limits_enter_user(l, c->client.uid, (uint32_t)guest_most(c->sh) / USER_SHARE + 1, now,
                                 &c->source);
    enum limit_verdict v = limits_enter(l, ip, now, &c->source, which);
    if (v != LIMIT_OK || !l->shared) return v;
    *which = LIMIT_ERRORS;
    return limits_look(l, &c->source, LIMIT_ERRORS, now);
}

/* The client's address is known. */
static void identified(struct conn *c) {
    struct shell *sh = c->sh;
    const struct config *cf = sh->me->config;
    enum limit which;
    enum limit_verdict v = LIMIT_OK;
    c->client.trusted = c->client.local || networks_have(&sh->exempt, &c->client.ip);
    c->client.mended = networks_have(&cf->normalise_networks, &c->client.ip);
    /* One user of this host cannot take all places from the others either. */
    if (!c->client.trusted || (c->client.local && c->client.uid)) v = admit(c, &c->client.ip, &which);
    c->session = session_new(&sh->host, c, &c->client);
    if (v != LIMIT_OK) {
        struct status st = limits_status(which, v);
        turn_away(c, &st, limits_setting(which));
        return;
    }
    if (!c->client.trusted) line_join(c);
    if (!c->client.trusted && c->client.service == SERVICE_SMTP && cf->greet_delay &&
        !limits_known(&sh->limits, &c->source)) {
        c->stage = CONN_PAUSE;
        conn_wait(c, (int64_t)cf->greet_delay);
        return;
    }
    open_session(c);
}

/* A proxy of which nobody knows for whom it speaks counts itself. */
bool guest_identify(void *ctx, struct session_client *client, struct status *st) {
    struct conn *c = ctx;
    const struct ip *ip = client->ip.family ? &client->ip : &c->client.ip;
    enum limit which;
    enum limit_verdict v = LIMIT_OK;
    set_memory(c, 0);
    line_leave(c);
    limits_leave(&c->sh->limits, &c->source);
    c->client.trusted = client->trusted = networks_have(&c->sh->exempt, ip);
    if (!client->trusted) {
        v = admit(c, ip, &which);
        line_join(c);
    }
    if (v != LIMIT_OK) *st = limits_status(which, v);
    return v == LIMIT_OK;
}

void guest_arrive(struct conn *c) {
    if (c->client.local || !networks_have(&c->sh->me->config->proxy_networks, &c->client.ip)) {
        identified(c);
        return;
    }
    c->stage = CONN_PROXY;
    c->proxy = xmalloc(sizeof *c->proxy);
    line_join(c);
    conn_wait(c, PROXY_MS);
}

/* ---- PROXY ---- */

/* Whoever sends nonsense here is no client: nobody is answered. */
static void proxy_refuse(struct conn *c, const char *why) {
    char mem[160];
    LOG(proxy_refused, .session = c->number, .client = conn_client(c, mem), .why = str_of(why));
    c->gone = true;
}

static void proxy_done(struct conn *c) {
    if (c->proxy->source.family) c->client.ip = c->proxy->source;
    free(c->proxy);
    c->proxy = NULL;
    line_leave(c);
    identified(c);
}

/* Looks before it takes: what follows the header is the client's, and may even be TLS. */
static void proxy_read(struct conn *c) {
    size_t used;
    ssize_t k = recv(c->fd, c->sh->read_mem, READ_MAX, MSG_DONTWAIT | MSG_PEEK);
    if (k < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (k <= 0) {
        proxy_refuse(c, "closed before the header was complete");
        return;
    }
    enum proxy_what what = proxy_take(c->proxy, (struct str){c->sh->read_mem, (size_t)k}, &used);
    if (recv(c->fd, c->sh->read_mem, used, MSG_DONTWAIT) != (ssize_t)used || what == PROXY_BAD)
        proxy_refuse(c, "no PROXY header, or a wrong one");
    else if (what == PROXY_DONE) proxy_done(c);
}

/* ---- The pause before the greeting ---- */

static void pause_read(struct conn *c) {
    char mem[160];
    ssize_t k = recv(c->fd, c->sh->read_mem, READ_MAX, MSG_DONTWAIT);
    if (k < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (k <= 0) {
        conn_lost(c, "client closed before the greeting");
        return;
    }
    struct status st = status_make(554, "5.5.1", "You spoke before the greeting (greet-delay)");
    struct str said = {c->sh->read_mem, (size_t)k};
    LOG(pregreet, .session = c->number, .client = conn_client(c, mem), .octets = said.n,
        .ms = (uint64_t)(loop_now(c->sh->me->loop) - c->since_ns) / 1000000,
        .said = str_sub(said, 0, EARLY_SHOWN));
    turn_away(c, &st, "pregreet");
}

void guest_ready(struct conn *c, uint32_t ready) {
    if (ready & EPOLLIN) {
        if (c->stage == CONN_PROXY) proxy_read(c);
        else pause_read(c);
    } else if (ready & (EPOLLERR | EPOLLHUP)) {
        if (c->stage == CONN_PROXY) c->gone = true;
        else conn_lost(c, "connection lost");
    }
}

void guest_timeout(struct conn *c) {
    if (c->stage == CONN_PROXY) proxy_refuse(c, "no complete PROXY header in time");
    else open_session(c);
}

void guest_leave(struct conn *c) {
    line_leave(c);
    set_memory(c, 0);
    limits_leave(&c->sh->limits, &c->source);
    free(c->proxy);
    c->proxy = NULL;
}
