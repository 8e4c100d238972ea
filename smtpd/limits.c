#include "smtpd/limits.h"

#include <stdatomic.h>
#include <string.h>

enum { SECOND = 1000000000 };

/* ---- Places ---- */

static uint64_t key_of(const struct crowd *k, const struct ip *ip, unsigned bits) {
    char mem[18] = {(char)ip->family, (char)bits};
    size_t size = ip->family == 4 ? 4 : 16;
    memcpy(mem + 2, ip->b, size);
    for (size_t i = 0; i < size; i++) {
        unsigned kept = bits <= i * 8 ? 0 : bits - (unsigned)i * 8;
        if (kept < 8) mem[2 + i] = (char)(mem[2 + i] & (0xff00 >> kept));
    }
    return str_hash((struct str){mem, 2 + size}, k->seed) | 1; /* 0 is a free place */
}

static uint32_t sessions_at(const struct crowd *k, size_t place) {
    uint64_t rows = atomic_load_explicit(&k->working, memory_order_relaxed);
    uint32_t n = 0;
    for (unsigned i = 0; i < CROWD_ROWS; i++)
        if (rows >> i & 1) n += atomic_load_explicit(&k->rows[i].held[place], memory_order_relaxed);
    return n;
}

static void wipe(struct crowd *k, size_t place) {
    for (size_t i = 0; i < CROWD_RATES; i++)
        atomic_store_explicit(&k->places[place].whole_at[i], 0, memory_order_relaxed);
    atomic_store_explicit(&k->places[place].known, 0, memory_order_relaxed);
}

/* The place among the ways that a new source takes: a free one, or the one seen longest ago without a session. */
static bool oldest(const struct crowd *k, size_t set, size_t *place) {
    bool found = false;
    uint32_t best = 0;
    for (size_t i = set; i < set + CROWD_WAYS; i++) {
        uint32_t seen = atomic_load_explicit(&k->seen[i], memory_order_relaxed);
        if (!atomic_load_explicit(&k->keys[i], memory_order_relaxed)) {
            *place = i;
            return true;
        }
        if ((found && seen >= best) || sessions_at(k, i)) continue;
        found = true;
        best = seen;
        *place = i;
    }
    return found;
}

/* 1 + the place of a source, which is made when need be; 0: none is free. */
static uint32_t find(struct crowd *k, uint64_t key, uint32_t second) {
    size_t set = (size_t)(key >> 32) % (CROWD_PLACES / CROWD_WAYS) * CROWD_WAYS, place;
    for (size_t i = set; i < set + CROWD_WAYS; i++) {
        if (atomic_load_explicit(&k->keys[i], memory_order_relaxed) != key) continue;
        atomic_store_explicit(&k->seen[i], second, memory_order_relaxed);
        return (uint32_t)i + 1;
    }
    if (!oldest(k, set, &place)) return 0;
    bool fresh =
        !atomic_load_explicit(&k->keys[place], memory_order_relaxed); /* then its memory was never touched */
    /* Two processes may do this at once. The worst that comes of it is a count that is a little off. */
    atomic_store_explicit(&k->keys[place], key, memory_order_relaxed);
    atomic_store_explicit(&k->seen[place], second, memory_order_relaxed);
    if (!fresh) wipe(k, place);
    return (uint32_t)place + 1;
}

/* ---- Rates ---- */

static const struct rate *rate_of(const struct limits *l, enum limit what, bool network) {
    return network ? &l->rates[what].network : &l->rates[what].client;
}

/* Would n more keep within the limit? Whatever stands in the memory, no one is shut out for longer than the time
 * that the setting names. */
static bool fits(struct limits *l, uint32_t place, enum limit what, bool network, uint32_t n, int64_t now,
                 int64_t *then) {
    const struct rate *r = rate_of(l, what, network);
    if (!place || !r->n) return true;
    int64_t span = (int64_t)r->ms * 1000000, each = span / r->n;
    int64_t at = atomic_load_explicit(&l->shared->places[place - 1].whole_at[what], memory_order_relaxed);
    if (at < now) at = now;
    if (at > now + span) at = now + span;
    *then = at + each * n;
    return *then <= now + span;
}

static void put(struct limits *l, uint32_t place, enum limit what, bool network, int64_t then) {
    if (place && rate_of(l, what, network)->n)
        atomic_store_explicit(&l->shared->places[place - 1].whole_at[what], then, memory_order_relaxed);
}

static enum limit_verdict judge(struct limits *l, const struct source *s, enum limit what, uint32_t n,
                                int64_t now, int64_t then[2]) {
    bool network = fits(l, s->network, what, true, n, now, &then[1]);
    bool client = fits(l, s->client, what, false, n, now, &then[0]);
    return !client ? LIMIT_CLIENT : !network ? LIMIT_NETWORK : LIMIT_OK;
}

enum limit_verdict limits_look(struct limits *l, const struct source *s, enum limit what, int64_t now_ns) {
    int64_t then[2] = {0, 0};
    return judge(l, s, what, 1, now_ns, then);
}

enum limit_verdict limits_take(struct limits *l, const struct source *s, enum limit what, uint32_t n,
                               int64_t now_ns) {
    int64_t then[2] = {0, 0};
    enum limit_verdict v = judge(l, s, what, n, now_ns, then);
    if (v != LIMIT_OK) return v;
    put(l, s->client, what, false, then[0]);
    put(l, s->network, what, true, then[1]);
    return v;
}

enum limit_verdict limits_count(struct limits *l, const struct source *s, enum limit what, int64_t now_ns) {
    int64_t then[2] = {0, 0};
    (void)judge(l, s, what, 1, now_ns, then);
    put(l, s->client, what, false, then[0]);
    put(l, s->network, what, true, then[1]);
    return limits_look(l, s, what, now_ns);
}

/* ---- Sessions ---- */

static unsigned prefix(const struct limits *l, const struct ip *ip) {
    uint64_t bits = ip->family == 4 ? l->prefix.client : l->prefix.network; /* the pair is: IPv4, IPv6 */
    unsigned most = ip->family == 4 ? 32 : 128;
    return bits < most ? (unsigned)bits : most;
}

static void hold(struct limits *l, uint32_t place, int by) {
    if (!place) return;
    _Atomic uint16_t *n = &l->shared->rows[l->instance].held[place - 1];
    uint16_t was = atomic_load_explicit(n, memory_order_relaxed);
    if (by < 0 ? was == 0 : was == UINT16_MAX) return;
    atomic_store_explicit(n, (uint16_t)(was + by), memory_order_relaxed);
}

/* The network first: a network at its limit cannot fill the memory with its clients. */
static enum limit_verdict admit(struct limits *l, uint32_t place, bool network, int64_t now,
                                enum limit *which) {
    uint64_t most = network ? l->connections.network : l->connections.client;
    enum limit_verdict hit = network ? LIMIT_NETWORK : LIMIT_CLIENT;
    int64_t then = 0;
    *which = LIMIT_CONNECTIONS;
    if (place && most && sessions_at(l->shared, place - 1) >= most) return hit;
    *which = LIMIT_CONNECTION_RATE;
    return fits(l, place, LIMIT_CONNECTION_RATE, network, 1, now, &then) ? LIMIT_OK : hit;
}

enum limit_verdict limits_enter(struct limits *l, const struct ip *ip, int64_t now_ns, struct source *out,
                                enum limit *which) {
    struct crowd *k = l->shared;
    uint32_t second = (uint32_t)(now_ns / SECOND);
    *out = (struct source){0};
    if (!k || !ip->family) return LIMIT_OK;
    struct source s = {.network = find(k, key_of(k, ip, prefix(l, ip)), second)};
    enum limit_verdict v = admit(l, s.network, true, now_ns, which);
    if (v != LIMIT_OK) return v;
    hold(l, s.network, 1); /* so that its client cannot take its place */
    s.client = find(k, key_of(k, ip, 255), second);
    v = admit(l, s.client, false, now_ns, which);
    if (v != LIMIT_OK) {
        hold(l, s.network, -1);
        return v;
    }
    hold(l, s.client, 1);
    (void)limits_take(l, &s, LIMIT_CONNECTION_RATE, 1, now_ns);
    *out = s;
    return LIMIT_OK;
}

enum limit_verdict limits_enter_user(struct limits *l, uint32_t uid, uint32_t most, int64_t now_ns,
                                     struct source *out) {
    char mem[16];
    struct buf b = BUF(mem);
    *out = (struct source){0};
    if (!l->shared) return LIMIT_OK;
    buf_addf(&b, "uid %u", uid);
    uint32_t place = find(l->shared, str_hash(buf_str(&b), l->shared->seed) | 1, (uint32_t)(now_ns / SECOND));
    if (place && sessions_at(l->shared, place - 1) >= most) return LIMIT_CLIENT;
    hold(l, place, 1);
    out->client = place;
    return LIMIT_OK;
}

void limits_leave(struct limits *l, struct source *s) {
    if (l->shared) {
        hold(l, s->client, -1);
        hold(l, s->network, -1);
    }
    *s = (struct source){0};
}

void limits_know(struct limits *l, const struct source *s, int64_t now_ns) {
    uint32_t second = (uint32_t)(now_ns / SECOND);
    if (s->client)
        atomic_store_explicit(&l->shared->places[s->client - 1].known, second ? second : 1,
                              memory_order_relaxed);
}

bool limits_known(const struct limits *l, const struct source *s) {
    return s->client && atomic_load_explicit(&l->shared->places[s->client - 1].known, memory_order_relaxed);
}

uint32_t limits_sessions(const struct limits *l, const struct source *s) {
    return s->network ? sessions_at(l->shared, s->network - 1) : 0;
}

/* ---- Among the processes ---- */

enum { ROW_ROOM = 1, ROW_FULL = 2 };

bool limits_open(struct limits *l, uint32_t sessions, uint32_t most) {
    struct crowd *k = l->shared;
    bool room = sessions < most;
    if (!k) return room;
    atomic_store_explicit(&k->rows[l->instance].state, room ? ROW_ROOM : ROW_FULL, memory_order_relaxed);
    atomic_store_explicit(&k->rows[l->instance].sessions, sessions, memory_order_relaxed);
    if (room) return true;
    uint64_t rows = atomic_load_explicit(&k->working, memory_order_relaxed);
    for (unsigned i = 0; i < CROWD_ROWS; i++)
        if (rows >> i & 1 && atomic_load_explicit(&k->rows[i].state, memory_order_relaxed) == ROW_ROOM)
            return false;
    return true;
}

void limits_attach(struct limits *l, struct crowd *shared, unsigned instance) {
    l->shared = instance < CROWD_ROWS ? shared : NULL;
    l->instance = instance;
    if (!l->shared) return;
    /* posternd has wiped the row when the process before us ended; until limits_open it has no room. */
    atomic_fetch_or(&shared->working, (uint64_t)1 << instance);
}

void limits_settings(struct limits *l, const struct config *c) {
    l->connections = c->limit_connections;
    l->prefix = c->limit_prefix;
    l->rates[LIMIT_CONNECTION_RATE] = c->limit_connection_rate;
    l->rates[LIMIT_MESSAGES] = c->limit_messages;
    l->rates[LIMIT_RECIPIENTS] = c->limit_recipients;
    l->rates[LIMIT_ERRORS] = c->limit_errors;
    l->rates[LIMIT_TLS_SESSIONS] = c->limit_tls_sessions;
}

/* ---- What is said ---- */

static const struct {
    uint16_t code;
    const char *detail, *setting, *client, *network;
} texts[] = {
    [LIMIT_CONNECTION_RATE] = {421, "4.7.0", "limit-connection-rate",
                               "You connect too often (limit-connection-rate)",
                               "Your network connects too often (limit-connection-rate)"},
    [LIMIT_MESSAGES] = {450, "4.7.1", "limit-messages",
                        "Too many messages from you in a short time (limit-messages)",
                        "Too many messages from your network in a short time (limit-messages)"},
    [LIMIT_RECIPIENTS] = {450, "4.7.1", "limit-recipients",
                          "Too many recipients from you in a short time (limit-recipients)",
                          "Too many recipients from your network in a short time (limit-recipients)"},
    [LIMIT_ERRORS] = {421, "4.7.0", "limit-errors", "Too many errors from you in a short time (limit-errors)",
                      "Too many errors from your network in a short time (limit-errors)"},
    [LIMIT_TLS_SESSIONS] =
        {454, "4.7.0", "limit-tls-sessions",
         "Too many new TLS sessions from you in a short time (limit-tls-sessions)",
         "Too many new TLS sessions from your network in a short time (limit-tls-sessions)"},
    [LIMIT_CONNECTIONS] = {421, "4.7.0", "limit-connections",
                           "Too many connections from you at a time (limit-connections)",
                           "Too many connections from your network at a time (limit-connections)"},
};

const char *limits_setting(enum limit what) {
    return texts[what].setting;
}

struct status limits_status(enum limit what, enum limit_verdict v) {
    return status_make(texts[what].code, texts[what].detail,
                       v == LIMIT_NETWORK ? texts[what].network : texts[what].client);
}
