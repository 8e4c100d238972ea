#include "auth/scram.h"

#include "auth/base64.h"

#include <string.h>

/* Cuts "x=value" up to the next comma off *rest. */
static bool attribute(struct str *rest, char name, struct str *value) {
    if (rest->n < 2 || rest->p[0] != name || rest->p[1] != '=') return false;
    ptrdiff_t comma = str_chr(*rest, ',');
    size_t end = comma < 0 ? rest->n : (size_t)comma;
    *value = str_sub(*rest, 2, end);
    *rest = str_sub(*rest, comma < 0 ? end : end + 1, rest->n);
    return true;
}

/* saslname: "=2C" is a comma, "=3D" an equals sign, no other "=" (5.1). */
static bool unescape(struct buf *out, struct str name) {
    for (size_t i = 0; i < name.n; i++) {
        struct str three = str_sub(name, i, i + 3);
        if (name.p[i] != '=') {
            buf_addc(out, name.p[i]);
            continue;
        }
        if (str_eq(three, STR("=2C"))) buf_addc(out, ',');
        else if (str_eq(three, STR("=3D"))) buf_addc(out, '=');
        else return false;
        i += 2;
    }
    return !out->failed;
}

bool scram_authzid(struct sasl *s, struct str text) {
    char mem[LOGIN_MAX];
    struct buf name = BUF(mem);
    struct str value;
    if (!text.n) return true;
    return attribute(&text, 'a', &value) && unescape(&name, value) && sasl_set_login(s, buf_str(&name));
}

/* ---- client-first ---- */

/* gs2-cbind-flag "," [ authzid ] ","; what follows it is client-first-bare. */
static enum sasl_result gs2(struct sasl *s, struct str *in) {
    struct str flag, authzid, data = STR_NONE;
    bool plus = s->mech == SASL_SCRAM_PLUS;
    ptrdiff_t one = str_chr(*in, ',');
    ptrdiff_t two = one < 0 ? -1 : str_chr(str_sub(*in, (size_t)one + 1, in->n), ',');
    if (two < 0) return sasl_fails(s, SASL_MALFORMED, "no GS2 header");
    flag = str_sub(*in, 0, (size_t)one);
    authzid = str_sub(*in, (size_t)one + 1, (size_t)(one + 1 + two));
    struct str header = str_sub(*in, 0, (size_t)(one + two + 2));
    *in = str_sub(*in, header.n, in->n);
    if (!scram_authzid(s, authzid))
        return sasl_fails(s, SASL_MALFORMED, "the authorization identity is no name");
    if (str_eq(flag, STR("p=tls-exporter"))) data = s->facts.exporter;
    else if (str_eq(flag, STR("p=tls-server-end-point"))) data = s->facts.end_point;
    else if (flag.n > 2 && flag.p[0] == 'p')
        return sasl_fails(s, SASL_BAD, "a channel binding that is not supported");
    else if (!str_eq(flag, STR("n")) && !str_eq(flag, STR("y")))
        return sasl_fails(s, SASL_MALFORMED, "no GS2 header");
    if ((flag.p[0] == 'p') != plus)
        return sasl_fails(s, SASL_BAD, "channel binding and mechanism do not agree");
    if (plus && !data.n) return sasl_fails(s, SASL_BAD, "a channel binding that is not there");
    if (flag.p[0] == 'y' && s->facts.plus_offered)
        return sasl_fails(s, SASL_BAD,
                          "the client believes that -PLUS was not offered: somebody in between took it away");
    buf_add(&s->bind, header);
    buf_add(&s->bind, data);
    return SASL_GOOD;
}

/* 5.1: printable ASCII without a comma. */
static bool is_nonce(struct str s) {
    if (s.n == 0 || s.n > SASL_NONCE_MAX) return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == ',') return false;
    return true;
}

static enum sasl_result client_first(struct sasl *s, struct str in) {
    char mem[LOGIN_MAX], wanted_mem[LOGIN_MAX + 1];
    struct buf name = BUF(mem), wanted = BUF(wanted_mem);
    struct str user, nonce, rest;
    enum sasl_result r = gs2(s, &in);
    if (r != SASL_GOOD) return r;
    buf_add(&wanted, s->login);
    buf_add(&s->bare, in);
    rest = in;
    if (rest.n && rest.p[0] == 'm') return sasl_fails(s, SASL_BAD, "a mandatory extension that nobody knows");
    if (!attribute(&rest, 'n', &user) || !attribute(&rest, 'r', &nonce))
        return sasl_fails(s, SASL_MALFORMED, "name and nonce are expected");
    if (!unescape(&name, user) || !sasl_set_login(s, buf_str(&name)))
        return sasl_fails(s, SASL_MALFORMED, "the login is wrongly encoded, empty, too long, or no text");
    if (!is_nonce(nonce) || s->bind.failed || s->bare.failed)
        return sasl_fails(s, SASL_MALFORMED, "no proper nonce");
    if (wanted.n && !str_eq(buf_str(&wanted), s->login))
        return sasl_fails(s, SASL_BAD, "wants to act as somebody else");
    buf_add(&s->nonce, nonce);
    buf_add(&s->nonce, s->facts.nonce);
    return SASL_VERIFIER;
}

enum sasl_result sasl_verifier(struct sasl *s, bool known, const struct scram_verifier *v,
                               struct buf *challenge) {
    s->known = known;
    s->verifier = *v;
    buf_adds(&s->first, "r=");
    buf_add(&s->first, buf_str(&s->nonce));
    buf_adds(&s->first, ",s=");
    base64_encode(&s->first, (struct str){(const char *)v->salt, v->salt_n});
    buf_adds(&s->first, ",i=");
    buf_addu(&s->first, v->iterations);
    buf_add(challenge, buf_str(&s->first));
    s->step++;
    return SASL_CHALLENGE;
}

/* ---- client-final ---- */

static bool bound(struct sasl *s, struct str text) {
    char mem[SASL_TEXT_MAX];
    struct buf got = BUF(mem);
    if (!base64_decode(&got, text)) return false;
    return got.n == s->bind.n && octets_equal(got.p, s->bind.p, got.n);
}

/* AuthMessage := client-first-bare "," server-first "," client-final-without-proof */
static void auth_message(const struct sasl *s, struct str without_proof, struct buf *out) {
    buf_add(out, buf_str(&s->bare));
    buf_addc(out, ',');
    buf_add(out, buf_str(&s->first));
    buf_addc(out, ',');
    buf_add(out, without_proof);
}

static bool proof_fits(const struct sasl *s, struct str message, const uint8_t proof[SCRAM_KEY]) {
    uint8_t key[SCRAM_KEY], stored[SCRAM_KEY];
    scram_hmac(s->verifier.stored, SCRAM_KEY, message, key);
    for (size_t i = 0; i < SCRAM_KEY; i++) key[i] ^= proof[i];
    scram_hash((struct str){(char *)key, sizeof key}, stored);
    bool fits = octets_equal(stored, s->verifier.stored, SCRAM_KEY);
    explicit_bzero(key, sizeof key);
    return fits & s->known;
}

static enum sasl_result client_final(struct sasl *s, struct str in, struct buf *challenge) {
    char mem[3 * SASL_TEXT_MAX], proof_mem[SCRAM_KEY];
    struct buf message = BUF(mem), proof = BUF(proof_mem);
    struct str binding, nonce, rest = in;
    uint8_t signature[SCRAM_KEY];
    if (in.n > SASL_TEXT_MAX || !attribute(&rest, 'c', &binding) || !attribute(&rest, 'r', &nonce))
        return sasl_fails(s, SASL_MALFORMED, "channel binding and nonce are expected");
    ptrdiff_t p = -1;
    for (size_t i = 0; i + 3 <= in.n; i++)
        if (memcmp(in.p + i, ",p=", 3) == 0) p = (ptrdiff_t)i;
    if (p < 0 || !base64_decode(&proof, str_sub(in, (size_t)p + 3, in.n)) || proof.n != SCRAM_KEY)
        return sasl_fails(s, SASL_MALFORMED, "no proof");
    auth_message(s, str_sub(in, 0, (size_t)p), &message);
    bool fits = !message.failed && proof_fits(s, buf_str(&message), (const uint8_t *)proof_mem);
    if (!str_eq(nonce, buf_str(&s->nonce))) return sasl_fails(s, SASL_BAD, "another nonce");
    if (!bound(s, binding)) return sasl_fails(s, SASL_BAD, "another channel: somebody is in between");
    if (!fits) return sasl_fails(s, SASL_BAD, "no such login, or a wrong password");
    scram_hmac(s->verifier.server, SCRAM_KEY, buf_str(&message), signature);
    buf_adds(challenge, "v=");
    base64_encode(challenge, (struct str){(char *)signature, sizeof signature});
    return SASL_CHALLENGE;
}

/* RFC 4954 4: SMTP has no room for data with its 235, so our signature is one more challenge, and the
 * client's answer to it is empty. */
enum sasl_result scram_step(struct sasl *s, struct str in, struct buf *challenge) {
    if (s->step == 1) return client_first(s, in);
    if (s->step == 2) return client_final(s, in, challenge);
    if (in.n) return sasl_fails(s, SASL_MALFORMED, "nothing more was expected");
    return SASL_GOOD;
}
