/* auth: checks passwords, and is the only program that sees what they are compared with.
 *
 * smtpd hands it the lines of an AUTH exchange as they come; the mechanisms live here (sasl.h), so smtpd
 * holds no verifier and no state of theirs, only what passes through it. The sources: a table of verifiers
 * (file.c), PAM or Dovecot (remote.c), the public keys of who issues tokens (jwt.h), and for EXTERNAL the
 * certificate that smtpd has verified.
 *
 * SECURITY: its input is strangers' SASL, decoded and parsed here with no right but to read the password
 * table. Who owns it sees the passwords that are tried from then on and the verifiers, and can say yes to
 * any login: then mail can be sent in anybody's name, as if smtpd were owned. It cannot change a password,
 * open another file, reach the network, or see a message. */
#include "auth/shell.h"

#include "auth/base64.h"
#include "common/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KNOWN_MS = 7 * 86400000, KEY_FILE_MAX = 65536, NONCE_OCTETS = 18 };

/* ---- Exchanges ---- */

static struct exchange **tag_bucket(struct auth *a, const struct channel *ch, uint32_t tag) {
    return &a->by_tag[(tag ^ (uint32_t)((uintptr_t)ch >> 6)) % BUCKETS];
}

static struct exchange *by_tag(struct auth *a, const struct channel *ch, uint32_t tag) {
    for (struct exchange *x = *tag_bucket(a, ch, tag); x; x = x->next_by_tag)
        if (x->ch == ch && x->tag == tag) return x;
    return NULL;
}

struct exchange *exchange_by_id(struct auth *a, uint32_t id) {
    for (struct exchange *x = a->by_id[id % BUCKETS]; x; x = x->next_by_id)
        if (x->id == id) return x;
    return NULL;
}

static void unlink_tag(struct exchange *x) {
    struct exchange **at = tag_bucket(x->a, x->ch, x->tag);
    while (*at && *at != x) at = &(*at)->next_by_tag;
    if (*at) *at = x->next_by_tag;
    x->ch = NULL;
}

static void end_sasl(struct exchange *x) {
    if (!x->sasl) return;
    sasl_end(x->sasl);
    free(x->sasl);
    x->sasl = NULL;
}

static void exchange_free(struct exchange *x) {
    struct auth *a = x->a;
    struct exchange **at = &a->by_id[x->id % BUCKETS];
    while (*at != x) at = &(*at)->next_by_id;
    *at = x->next_by_id;
    if (x->ch) unlink_tag(x);
    loop_timer_cancel(a->me->loop, &x->delay);
    end_sasl(x);
    a->count--;
    free(x);
}

static int64_t now_ms(const struct auth *a) {
    return loop_now(a->me->loop) / 1000000;
}

static struct exchange *exchange_new(struct auth *a, struct channel *ch, uint32_t tag) {
    struct exchange *x = xmalloc(sizeof *x);
    do x->id = ++a->ids;
    while (!x->id || exchange_by_id(a, x->id) != NULL);
    x->a = a, x->ch = ch, x->tag = tag;
    x->since_ms = now_ms(a);
    x->next_by_id = a->by_id[x->id % BUCKETS];
    a->by_id[x->id % BUCKETS] = x;
    x->next_by_tag = *tag_bucket(a, ch, tag);
    *tag_bucket(a, ch, tag) = x;
    a->count++;
    return x;
}

/* ---- Limits ---- */

static bool network_allowed(struct exchange *x) {
    const struct config *c = x->a->me->config;
    /* No address is a network too: smtpd always has one to tell, and who owns it may not leave it out to escape. */
    x->network_key = tally_key(x->a->tally, TALLY_NETWORK, &x->ip, STR_NONE);
    /* Behind a webmail server's address are all of its users: one who guesses must not lock out the others. */
    if (networks_have(&c->auth_failures_exempt, &x->ip)) return true;
    x->by_network = tally_take(x->a->tally, x->network_key, now_ms(x->a), c->auth_failures_network,
                               (int64_t)c->auth_failure_window);
    return x->by_network;
}

static void set_login(struct exchange *x, struct str login) {
    struct buf b = BUF(x->login_mem);
    buf_add(&b, str_sub(login, 0, LOGIN_MAX));
    x->login = buf_str(&b);
    x->login_key = tally_key(x->a->tally, TALLY_LOGIN, &x->ip, x->login);
    x->known_key = tally_key(x->a->tally, TALLY_KNOWN, &x->ip, x->login);
}

static bool login_allowed(struct exchange *x, struct str login) {
    const struct config *c = x->a->me->config;
    set_login(x, login);
    if (tally_knows(x->a->tally, x->known_key, now_ms(x->a))) return true;
    x->by_login = tally_take(x->a->tally, x->login_key, now_ms(x->a), c->auth_failures_login,
                             (int64_t)c->auth_failure_window);
    return x->by_login;
}

static void give_back(struct exchange *x) {
    if (x->by_network) tally_give_back(x->a->tally, x->network_key, now_ms(x->a));
    if (x->by_login) tally_give_back(x->a->tally, x->login_key, now_ms(x->a));
    x->by_network = x->by_login = false;
}

/* ---- Ends ---- */

static void tell(struct exchange *x, struct status s, struct str login) {
    if (x->ch) SEND(x->ch, auth_done, .tag = x->tag, WIRE_STATUS(s), .login = login);
    exchange_free(x);
}

static void log_failure(const struct exchange *x, const char *why) {
    char mem[64];
    struct buf client = BUF(mem);
    ip_format(&client, &x->ip);
    LOG(auth_failed, .client = buf_str(&client), .mechanism = str_of(x->mech), .login = x->login,
        .why = str_of(why));
}

static void after_delay(void *ctx) {
    struct exchange *x = ctx;
    tell(x, x->outcome, STR_NONE);
}

/* A failure, whichever, is told after the same time since the client spoke, however long its check took: logins may
 * have verifiers of different cost. Its mechanism's memory is wiped at once. */
static void fail(struct exchange *x, struct status s, const char *why) {
    log_failure(x, why);
    end_sasl(x);
    x->forwarded = x->checking = false;
    x->outcome = s;
    x->delay = (struct timer){.fn = after_delay, .ctx = x};
    int64_t left = (int64_t)x->a->me->config->auth_failure_delay - (now_ms(x->a) - x->since_ms);
    if (!x->ch) exchange_free(x);
    else loop_timer_in(x->a->me->loop, &x->delay, left > 0 ? left : 0);
}

void exchange_bad(struct exchange *x, struct str login, const char *why) {
    const struct config *c = x->a->me->config;
    if (x->forwarded && login.n) {
        /* Dovecot tells only now which login it was. */
        set_login(x, login);
        tally_take(x->a->tally, x->login_key, now_ms(x->a), c->auth_failures_login,
                   (int64_t)c->auth_failure_window);
    }
    fail(x, status_make(535, "5.7.8", "Authentication credentials invalid"), why);
}

void exchange_later(struct exchange *x, const char *why) {
    log_failure(x, why);
    give_back(x);
    tell(x, status_make(454, "4.7.0", "Temporary authentication failure"), STR_NONE);
}

void exchange_good(struct exchange *x, struct str login) {
    char mem[64];
    struct buf client = BUF(mem);
    give_back(x);
    set_login(x, login);
    /* EXTERNAL is smtpd's word. Who owns smtpd must not make each network known by it, and guess passwords from there. */
    if (sasl_named(str_of(x->mech)) != SASL_EXTERNAL)
        tally_remember(x->a->tally, x->known_key, now_ms(x->a), KNOWN_MS);
    ip_format(&client, &x->ip);
    LOG(auth_good, .client = buf_str(&client), .mechanism = str_of(x->mech), .login = x->login);
    tell(x, status_make(235, "2.7.0", "Authentication successful"), x->login);
}

void exchange_challenge(struct exchange *x, struct str base64) {
    x->asked = true;
    if (base64.n > CHALLENGE_MAX) exchange_later(x, "a challenge that is too long");
    else if (x->ch) SEND(x->ch, auth_challenge, .tag = x->tag, .challenge = base64);
}

/* ---- What a mechanism wants next ---- */

static void advance(struct exchange *x, enum sasl_result r, struct buf *challenge);

static void check_password(struct exchange *x) {
    struct auth *a = x->a;
    struct verifier v;
    struct str login = x->sasl->login, password = x->sasl->secret;
    bool asked, known = true;
    if (a->source == SOURCE_PAM) {
        asked = remote_check_pam(a, x, login, password);
    } else {
        known = table_find(file_table(a), (struct str){a->secret, sizeof a->secret}, login, &v);
        asked = pool_check(a->pool, x->id, &v, password);
        explicit_bzero(&v, sizeof v);
    }
    x->checking = asked;
    (void)known; /* a dummy fits no password */
    if (!asked) exchange_later(x, "too many checks are waiting");
}

static void find_verifier(struct exchange *x) {
    struct auth *a = x->a;
    struct verifier v;
    char mem[SASL_TEXT_MAX];
    struct buf challenge = BUF(mem);
    bool known = table_find(file_table(a), (struct str){a->secret, sizeof a->secret}, x->sasl->login, &v);
    enum sasl_result r = sasl_verifier(
        x->sasl, known && v.has_scram && v.crypt[0] != '!' && v.crypt[0] != '*', &v.scram, &challenge);
    explicit_bzero(&v, sizeof v);
    advance(x, r, &challenge);
}

static void check_token(struct exchange *x) {
    char mem[LOGIN_MAX + 1], text[SASL_TEXT_MAX];
    struct buf login = BUF(mem), challenge = BUF(text);
    const char *why = "tokens are not taken here";
    bool good =
        x->a->jwt && jwt_check(x->a->jwt, x->sasl->secret, loop_wall_ms(x->a->me->loop) / 1000, &login, &why);
    if (good && x->sasl->login.n && !str_eq_nocase(x->sasl->login, buf_str(&login)))
        good = false, why = "the token is of another login";
    if (good) set_login(x, buf_str(&login));
    enum sasl_result r = sasl_verdict(x->sasl, good, &challenge);
    if (!good) x->sasl->why = why;
    x->guessed = !good;
    if (r == SASL_GOOD) exchange_good(x, x->login);
    else advance(x, r, &challenge);
}

/* Who may not try again now is told so, before his password is looked at. */
static bool wants_check(struct exchange *x) {
    if (login_allowed(x, x->sasl->login)) return true;
    log_failure(x, "too many failures of this login");
    give_back(x);
    end_sasl(x);
    tell(x,
         status_make(454, "4.7.0", "Too many failures of this login, try again later (auth-failures-login)"),
         STR_NONE);
    return false;
}

static void send_challenge(struct exchange *x, struct str octets) {
    char mem[2 * SASL_TEXT_MAX];
    struct buf b = BUF(mem);
    base64_encode(&b, octets);
    exchange_challenge(x, buf_str(&b));
}

static void advance(struct exchange *x, enum sasl_result r, struct buf *challenge) {
    switch (r) {
    case SASL_CHALLENGE:
        send_challenge(x, buf_str(challenge));
        break;
    case SASL_PASSWORD:
        if (wants_check(x)) check_password(x);
        break;
    case SASL_VERIFIER:
        if (wants_check(x)) find_verifier(x);
        break;
    case SASL_TOKEN:
        check_token(x);
        break;
    case SASL_GOOD:
        exchange_good(x, x->sasl->login);
        break;
    case SASL_BAD:
        if (!x->login.n) set_login(x, x->sasl->login);
        exchange_bad(x, STR_NONE, x->sasl->why);
        break;
    case SASL_MALFORMED:
        if (!x->login.n) set_login(x, x->sasl->login);
        fail(x, status_make(501, "5.5.2", "That is not what this mechanism expects"), x->sasl->why);
        break;
    }
}

void exchange_verdict(struct exchange *x, bool good) {
    char mem[SASL_TEXT_MAX];
    struct buf challenge = BUF(mem);
    x->checking = false;
    advance(x, sasl_verdict(x->sasl, good, &challenge), &challenge);
}

static void on_checked(void *ctx, uint32_t id, bool good) {
    struct exchange *x = exchange_by_id(ctx, id);
    if (x && x->checking) exchange_verdict(x, good);
}

static void step(struct exchange *x, bool given, struct str response) {
    char mem[SASL_RESPONSE_MAX], text[SASL_TEXT_MAX];
    struct buf octets = BUF(mem), challenge = BUF(text);
    if (!base64_decode(&octets, response))
        fail(x, status_make(501, "5.5.2", "That is not base64"), "not base64");
    else advance(x, sasl_step(x->sasl, given, buf_str(&octets), &challenge), &challenge);
    explicit_bzero(mem, sizeof mem);
}

/* ---- smtpd ---- */

static bool offered(const struct auth *a, struct str mech) {
    struct str rest = str_of(a->offer), word;
    while (str_word(&rest, '\0', &word))
        if (str_eq_nocase(word, mech)) return true;
    return false;
}

/* Whether auth-mechanisms lets it be offered. */
static bool wanted(const struct auth *a, struct str mech) {
    const struct words *list = &a->me->config->auth_mechanisms;
    for (size_t i = 0; i < list->n; i++)
        if (str_eq_nocase(list->v[i], mech)) return true;
    return list->n == 0;
}

static void keep_wanted(struct auth *a) {
    char mem[sizeof a->offer];
    struct buf b = BUF(mem);
    struct str rest = str_of(a->offer), word;
    while (str_word(&rest, '\0', &word)) {
        if (!wanted(a, word)) continue;
        if (b.n) buf_addc(&b, ' ');
        buf_add(&b, word);
    }
    snprintf(a->offer, sizeof a->offer, "%s", buf_cstr(&b));
}

static bool client_of(const struct wire_auth_begin *m, struct ip *out) {
    size_t n = m->family == 4 ? 4 : m->family == 6 ? 16 : 0;
    *out = (struct ip){.family = m->family};
    if ((m->family != 0 && n == 0) || m->ip.n != n) return false;
    if (n) memcpy(out->b, m->ip.p, n);
    return true;
}

static void begin_own(struct exchange *x, const struct wire_auth_begin *m) {
    char nonce_mem[32], random[NONCE_OCTETS];
    struct buf nonce = BUF(nonce_mem);
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        exchange_later(x, "no random octets");
        return;
    }
    base64_encode(&nonce, (struct str){random, sizeof random});
    struct sasl_facts facts = {.plus_offered = m->plus,
                               .identity = m->identity,
                               .exporter = m->exporter,
                               .end_point = m->end_point,
                               .nonce = buf_str(&nonce)};
    x->sasl = xmalloc(sizeof *x->sasl);
    sasl_begin(x->sasl, sasl_named(m->mech), &facts);
    step(x, m->given, m->response);
}

static void begin_forwarded(struct exchange *x, const struct wire_auth_begin *m) {
    x->forwarded = true;
    x->guessed = m->given;
    if (!remote_auth(x->a, x, m->given, m->response)) {
        x->forwarded = false;
        exchange_later(x, "Dovecot cannot be asked");
    }
}

/* With half-open exchanges nobody may keep others from logging in: the oldest that waits for its client makes room. */
static void make_room(struct auth *a) {
    struct exchange *oldest = NULL;
    if (a->count < EXCHANGES_MAX) return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct exchange *x = a->by_id[i]; x; x = x->next_by_id)
            if (x->asked && (!oldest || (int32_t)(x->id - oldest->id) < 0)) oldest = x;
    if (!oldest) return;
    if (oldest->forwarded) remote_cancel(a, oldest->id);
    oldest->forwarded = false;
    exchange_later(oldest, "it let us wait, and its place was needed");
}

static bool is_own(const struct auth *a, enum sasl_mech mech) {
    bool outside = mech == SASL_EXTERNAL || ((mech == SASL_OAUTHBEARER || mech == SASL_XOAUTH2) && a->jwt);
    return mech != SASL_NONE && (outside || a->source != SOURCE_DOVECOT);
}

static void on_auth_begin(void *ctx, struct channel *ch, const struct wire_auth_begin *m, int fd) {
    struct auth *a = ((struct self *)ctx)->state;
    struct ip ip;
    struct status s = status_make(454, "4.7.0", "Temporary authentication failure");
    (void)fd;
    if (by_tag(a, ch, m->tag)) return; /* one answer comes, to the first */
    make_room(a);
    if (!client_of(m, &ip) || a->count >= EXCHANGES_MAX || !offered(a, m->mech)) {
        if (a->count < EXCHANGES_MAX && *a->offer)
            s = status_make(504, "5.5.4", "This mechanism is not offered");
        SEND(ch, auth_done, .tag = m->tag, WIRE_STATUS(s));
        return;
    }
    struct exchange *x = exchange_new(a, ch, m->tag);
    x->ip = ip;
    x->tls = m->tls;
    snprintf(x->mech, sizeof x->mech, "%.*s", STR_ARGS(m->mech));
    for (char *p = x->mech; *p; p++)
        if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 'a' + 'A');
    if (!network_allowed(x)) {
        log_failure(x, "too many failures of this network");
        tell(x,
             status_make(421, "4.7.0",
                         "Too many failures of your network, try again later (auth-failures-network)"),
             STR_NONE);
    } else if (is_own(a, sasl_named(m->mech))) begin_own(x, m);
    else begin_forwarded(x, m);
}

static void on_auth_more(void *ctx, struct channel *ch, const struct wire_auth_more *m, int fd) {
    struct auth *a = ((struct self *)ctx)->state;
    struct exchange *x = by_tag(a, ch, m->tag);
    (void)fd;
    if (!x || x->checking) return;
    x->guessed = x->guessed || x->forwarded;
    x->asked = false;
    x->since_ms = now_ms(x->a);
    if (x->sasl) step(x, true, m->response);
    else if (x->forwarded && !remote_cont(a, x, m->response))
        fail(x, status_make(501, "5.5.2", "That is not base64"), "not base64");
}

/* A check that runs goes on, and counts when it fails; so does a secret whose fate only Dovecot knows by now, since a
 * yes is quicker than a no: who hangs up in time would guess for free. All else is forgotten as if it had not been. */
static void drop(struct exchange *x) {
    if (x->forwarded) remote_cancel(x->a, x->id);
    if (x->checking) {
        unlink_tag(x);
        return;
    }
    bool failed = x->delay.slot != 0;
    if (!failed && !x->guessed) give_back(x);
    exchange_free(x);
}

static void on_auth_drop(void *ctx, struct channel *ch, const struct wire_auth_drop *m, int fd) {
    struct exchange *x = by_tag(((struct self *)ctx)->state, ch, m->tag);
    (void)fd;
    if (x) drop(x);
}

static void send_offer(struct auth *a, struct channel *ch) {
    SEND(ch, auth_offer, .mechs = str_of(a->offer));
}

void offer_changed(struct auth *a) {
    struct buf b = buf_on(a->offer, sizeof a->offer - 1);
    b.n = strlen(a->offer);
    if (a->me->config->auth_external && !offered(a, STR("EXTERNAL")))
        buf_adds(&b, b.n ? " EXTERNAL" : "EXTERNAL");
    if (a->jwt && !offered(a, STR("OAUTHBEARER"))) buf_adds(&b, b.n ? " OAUTHBEARER" : "OAUTHBEARER");
    if (a->jwt && !offered(a, STR("XOAUTH2"))) buf_adds(&b, " XOAUTH2");
    a->offer[b.n] = '\0';
    keep_wanted(a);
    for (size_t i = 0; i < SMTPD_MAX; i++)
        if (a->smtpd[i]) send_offer(a, a->smtpd[i]);
}

static void on_peer(struct self *me, struct channel *ch) {
    struct auth *a = me->state;
    for (size_t i = 0; i < SMTPD_MAX; i++) {
        if (a->smtpd[i]) continue;
        a->smtpd[i] = ch;
        break;
    }
    send_offer(a, ch);
}

static void on_peer_gone(struct self *me, struct channel *ch) {
    struct auth *a = me->state;
    for (size_t i = 0; i < SMTPD_MAX; i++)
        if (a->smtpd[i] == ch) a->smtpd[i] = NULL;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct exchange *x = a->by_id[i], *next; x; x = next) {
            next = x->next_by_id;
            if (x->ch == ch) drop(x);
        }
}

/* ---- Start ---- */

static enum source source_of(const char *word) {
    static const char *const words[] = {"none", "file", "pam", "dovecot"};
    for (int i = 0; i < 4; i++)
        if (strcmp(words[i], word) == 0) return (enum source)i;
    return SOURCE_NONE;
}

static bool read_keys(struct auth *a) {
    const struct config *c = a->me->config;
    char mem[KEY_FILE_MAX];
    const char *why = strerror(EFBIG);
    int fd = open(c->oauth_key, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, mem, sizeof mem);
    if (n < 0) why = strerror(errno);
    if (fd >= 0) close(fd);
    if (n >= 0 && n < (ssize_t)sizeof mem)
        a->jwt = jwt_rules_new((struct str){mem, (size_t)n}, c->oauth_issuer, c->oauth_audience,
                               c->oauth_claim, &why);
    if (!a->jwt) LOG_TROUBLE("oauth-key = %s: %s", c->oauth_key, why);
    return a->jwt != NULL;
}

/* What the libraries load late, they load now: their files are out of reach afterwards. With a cheap hash: the whole suite's
 * first greeting waits for this. */
static bool warm_up(struct auth *a) {
    static const struct verifier cheap = {.crypt = "$5$rounds=1000$postern.dummy.salt$"};
    struct verifier v;
    struct scram_verifier s;
    uint8_t out[SCRAM_KEY];
    /* OpenSSL's settings file is not ours, and nobody reads its 90 KiB of error texts here. */
    if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS, NULL) != 1)
        return false;
    scram_hash(STR("warm"), out);
    verifier_dummy(&v, &cheap, STR("warm"), STR("up"));
    scram_derive(STR("warm"), STR("up"), 1, &s);
    json_object_seed(0);
    verifier_check(&v, STR("warm"));
    return getrandom(a->secret, sizeof a->secret, 0) == (ssize_t)sizeof a->secret;
}

static bool prepare(struct self *me) {
    struct auth *a = xmalloc(sizeof *a);
    uint64_t seed;
    me->state = a;
    a->me = me;
    a->keeper = a->dovecot_fd = -1;
    a->source = source_of(me->config->auth_source);
    if (!warm_up(a) || getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) return false;
    a->tally = tally_new(seed);
    if (*me->config->oauth_key && !read_keys(a)) return false;
    if (a->source == SOURCE_FILE) file_prepare(me);
    return (a->source != SOURCE_PAM && a->source != SOURCE_DOVECOT) || remote_prepare(a);
}

static void begin(struct self *me) {
    struct auth *a = me->state;
    if (a->source == SOURCE_FILE) {
        a->pool = pool_new(me->loop, on_checked, a);
        if (!a->pool) LOG_TROUBLE("auth has no descriptor left for its threads: no login is possible");
        file_table(a);
    }
    if (a->source == SOURCE_FILE)
        snprintf(a->offer, sizeof a->offer, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
    if (a->source == SOURCE_PAM) snprintf(a->offer, sizeof a->offer, "PLAIN LOGIN");
    if (a->keeper >= 0) remote_begin(a);
    offer_changed(a);
}

/* The directory of the table, since the table is replaced; nothing for the other sources. Where it could
 * not be made (file_prepare), the one above, so that it is seen when postern passwd makes it. */
static size_t read_paths(const struct config *c, const char **paths, size_t max) {
    static char dir[4096];
    struct stat st;
    if (source_of(c->auth_source) != SOURCE_FILE || !max) return 0;
    snprintf(dir, sizeof dir, "%s", c->auth_file);
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(dir, '/');
        if (!slash || slash == dir) return 0;
        *slash = '\0';
        if (stat(dir, &st) == 0) break;
    }
    paths[0] = dir;
    return 1;
}

int main(int argc, char **argv) {
    static const struct wire_handlers handlers = {
        .auth_begin = on_auth_begin,
        .auth_more = on_auth_more,
        .auth_drop = on_auth_drop,
    };
    static const struct program p = {
        .role = ROLE_auth,
        .purpose = "Checks passwords: SASL for smtpd, with a password table, PAM or Dovecot behind it.",
        .handlers = &handlers,
        .prepare = prepare,
        .read_paths = read_paths,
        .begin = begin,
        .peer = on_peer,
        .peer_gone = on_peer_gone,
    };
    return program_main(&p, argc, argv);
}
