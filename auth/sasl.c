#include "auth/sasl.h"

#include "auth/base64.h"
#include "auth/saslprep.h"
#include "auth/scram.h"

#include <string.h>

static const char *const names[SASL_MECHS] = {
    [SASL_NONE] = "",
    [SASL_PLAIN] = "PLAIN",
    [SASL_LOGIN] = "LOGIN",
    [SASL_SCRAM] = "SCRAM-SHA-256",
    [SASL_SCRAM_PLUS] = "SCRAM-SHA-256-PLUS",
    [SASL_EXTERNAL] = "EXTERNAL",
    [SASL_OAUTHBEARER] = "OAUTHBEARER",
    [SASL_XOAUTH2] = "XOAUTH2",
};

enum sasl_mech sasl_named(struct str name) {
    for (int m = SASL_NONE + 1; m < SASL_MECHS; m++)
        if (str_eq_nocase(name, str_of(names[m]))) return (enum sasl_mech)m;
    return SASL_NONE;
}

const char *sasl_name(enum sasl_mech m) {
    return m < SASL_MECHS ? names[m] : "";
}

enum sasl_result sasl_fails(struct sasl *s, enum sasl_result how, const char *why) {
    s->why = why;
    s->step = 99;
    return how;
}

bool sasl_set_login(struct sasl *s, struct str login) {
    struct buf b = BUF(s->login_mem);
    if (!saslprep(&b, login) || !login_is_sound(buf_str(&b))) return false;
    s->login = buf_str(&b);
    return true;
}

/* RFC 4616 2: both sides prepare what they compare. */
static bool set_password(struct sasl *s, struct str password) {
    struct buf b = buf_on(s->secret_mem, PASSWORD_MAX + 1);
    if (!saslprep(&b, password) || !password_is_sound(buf_str(&b))) return false;
    s->secret = buf_str(&b);
    return true;
}

static bool set_secret(struct sasl *s, struct str secret) {
    struct buf b = BUF(s->secret_mem);
    buf_add(&b, secret);
    s->secret = buf_str(&b);
    return !b.failed;
}

static bool same_login(const struct sasl *s, struct str text) {
    char mem[LOGIN_MAX + 1];
    struct buf b = BUF(mem);
    return saslprep(&b, text) && str_eq(buf_str(&b), s->login);
}

/* ---- PLAIN: [authzid] NUL authcid NUL passwd ---- */

static enum sasl_result plain(struct sasl *s, struct str in, struct buf *challenge) {
    ptrdiff_t first = str_chr(in, '\0');
    struct str rest = first < 0 ? STR_NONE : str_sub(in, (size_t)first + 1, in.n);
    ptrdiff_t second = first < 0 ? -1 : str_chr(rest, '\0');
    (void)challenge;
    if (second < 0) return sasl_fails(s, SASL_MALFORMED, "two NUL octets are expected");
    struct str authzid = str_sub(in, 0, (size_t)first), login = str_sub(rest, 0, (size_t)second);
    struct str password = str_sub(rest, (size_t)second + 1, rest.n);
    if (!sasl_set_login(s, login) || !set_password(s, password))
        return sasl_fails(s, SASL_MALFORMED, "login or password is empty, too long, or no text");
    if (authzid.n && !same_login(s, authzid)) return sasl_fails(s, SASL_BAD, "wants to act as somebody else");
    return SASL_PASSWORD;
}

/* ---- LOGIN: two questions; some clients send the first answer with the command ---- */

static enum sasl_result login(struct sasl *s, struct str in, struct buf *challenge) {
    if (s->step == 1) {
        if (!sasl_set_login(s, in))
            return sasl_fails(s, SASL_MALFORMED, "the login is empty, too long, or no text");
        buf_adds(challenge, "Password:");
        return SASL_CHALLENGE;
    }
    if (!set_password(s, in))
        return sasl_fails(s, SASL_MALFORMED, "the password is empty, too long, or no text");
    return SASL_PASSWORD;
}

/* ---- EXTERNAL: who the client is, TLS has found out; it may say as whom it wants to act ---- */

static enum sasl_result external(struct sasl *s, struct str in, struct buf *challenge) {
    (void)challenge;
    if (!s->facts.identity.n) return sasl_fails(s, SASL_BAD, "no verified client certificate");
    if (in.n && !str_eq_nocase(in, s->facts.identity))
        return sasl_fails(s, SASL_BAD, "wants to act as somebody else");
    if (!sasl_set_login(s, s->facts.identity))
        return sasl_fails(s, SASL_BAD, "the certificate names no login");
    return SASL_GOOD;
}

/* ---- OAUTHBEARER and XOAUTH2: key=value pairs, ended by ^A; a token that is refused is told as JSON, and
 * the client then sends a mere ^A (RFC 7628 3.2.3) ---- */

static bool cut_pair(struct str *rest, struct str *pair) {
    ptrdiff_t end = str_chr(*rest, '\1');
    if (end < 0) return false;
    *pair = str_sub(*rest, 0, (size_t)end);
    *rest = str_sub(*rest, (size_t)end + 1, rest->n);
    return true;
}

static bool take_token(struct sasl *s, struct str pair) {
    struct str key = STR("auth="), bearer = STR("Bearer ");
    if (!str_starts_nocase(pair, key)) return false;
    pair = str_sub(pair, key.n, pair.n);
    if (!str_starts_nocase(pair, bearer)) return false;
    pair = str_trim(str_sub(pair, bearer.n, pair.n));
    return pair.n && str_is_print(pair) && set_secret(s, pair);
}

static bool gs2_header(struct sasl *s, struct str *in) {
    /* "n," [ "a=" saslname ] "," ^A; a binding is not for these mechanisms. */
    if (in->n < 2 || (in->p[0] != 'n' && in->p[0] != 'y') || in->p[1] != ',') return false;
    struct str rest = str_sub(*in, 2, in->n);
    ptrdiff_t comma = str_chr(rest, ',');
    if (comma < 0 || !scram_authzid(s, str_sub(rest, 0, (size_t)comma))) return false;
    *in = str_sub(rest, (size_t)comma + 1, rest.n);
    return in->n && in->p[0] == '\1' && (*in = str_sub(*in, 1, in->n), true);
}

static enum sasl_result bearer(struct sasl *s, struct str in, struct buf *challenge) {
    struct str pair, user = STR("user=");
    (void)challenge;
    if (s->step > 1) return sasl_fails(s, SASL_BAD, "the token is not good");
    if (s->mech == SASL_OAUTHBEARER && !gs2_header(s, &in))
        return sasl_fails(s, SASL_MALFORMED, "no GS2 header");
    while (cut_pair(&in, &pair) && pair.n) {
        if (take_token(s, pair)) continue;
        if (s->mech == SASL_XOAUTH2 && str_starts_nocase(pair, user))
            if (!sasl_set_login(s, str_sub(pair, user.n, pair.n)))
                return sasl_fails(s, SASL_MALFORMED, "the login is empty, too long, or no text");
    }
    if (!s->secret.n || in.n) return sasl_fails(s, SASL_MALFORMED, "no bearer token");
    return SASL_TOKEN;
}

/* ---- All ---- */

static const struct mech {
    enum sasl_result (*step)(struct sasl *s, struct str in, struct buf *challenge);
    const char *prompt; /* the challenge that asks for the first response */
} mechs[SASL_MECHS] = {
    [SASL_PLAIN] = {plain, ""},       [SASL_LOGIN] = {login, "Username:"},
    [SASL_SCRAM] = {scram_step, ""},  [SASL_SCRAM_PLUS] = {scram_step, ""},
    [SASL_EXTERNAL] = {external, ""}, [SASL_OAUTHBEARER] = {bearer, ""},
    [SASL_XOAUTH2] = {bearer, ""},
};

static struct str keep(struct buf *b, struct str s, size_t max) {
    size_t from = b->n;
    if (s.n > max) return STR_NONE;
    buf_add(b, s);
    return (struct str){b->p + from, b->n - from};
}

void sasl_begin(struct sasl *s, enum sasl_mech mech, const struct sasl_facts *facts) {
    memset(s, 0, sizeof *s);
    struct buf b = BUF(s->facts_mem);
    s->mech = mech;
    s->why = "";
    s->facts.plus_offered = facts->plus_offered;
    s->facts.identity = keep(&b, facts->identity, LOGIN_MAX);
    s->facts.exporter = keep(&b, facts->exporter, SASL_BINDING_MAX);
    s->facts.end_point = keep(&b, facts->end_point, SASL_BINDING_MAX);
    s->facts.nonce = keep(&b, facts->nonce, SASL_NONCE_MAX);
    s->bind = BUF(s->bind_mem);
    s->bare = BUF(s->bare_mem);
    s->first = BUF(s->first_mem);
    s->nonce = BUF(s->nonce_mem);
}

enum sasl_result sasl_step(struct sasl *s, bool given, struct str response, struct buf *challenge) {
    const struct mech *m = &mechs[s->mech];
    if (!m->step || s->step > 8) return sasl_fails(s, SASL_BAD, "the exchange is over");
    if (s->step == 0 && !given) {
        buf_adds(challenge, m->prompt);
        s->step = 1;
        /* An empty challenge is told from none by the line that carries it. */
        return SASL_CHALLENGE;
    }
    if (s->step == 0) s->step = 1;
    enum sasl_result r = m->step(s, response, challenge);
    if (r == SASL_CHALLENGE) s->step++;
    return r;
}

enum sasl_result sasl_verdict(struct sasl *s, bool good, struct buf *challenge) {
    explicit_bzero(s->secret_mem, s->secret.n);
    s->secret = STR_NONE;
    if (good) return SASL_GOOD;
    if (s->mech != SASL_OAUTHBEARER && s->mech != SASL_XOAUTH2)
        return sasl_fails(s, SASL_BAD, "no such login, or a wrong password");
    buf_adds(challenge, "{\"status\":\"invalid_token\"}");
    s->step++;
    return SASL_CHALLENGE;
}

void sasl_end(struct sasl *s) {
    explicit_bzero(s, sizeof *s);
}
