/* The fuzz twin of SASL: a client that says anything, to every mechanism; and of base64 and tokens
 * beneath. The first octet chooses the mechanism, the second what is known of the connection; responses
 * are separated by octet 0xfe. */
#include "auth/base64.h"
#include "auth/jwt.h"
#include "auth/sasl.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond) ((cond) ? (void)0 : abort())

static void base64_agrees(struct str in) {
    static char mem[20000], back_mem[30000];
    struct buf b = BUF(mem), back = BUF(back_mem);
    if (!base64_decode(&b, in)) return;
    base64_encode(&back, buf_str(&b));
    CHECK(str_eq(buf_str(&back), in)); /* one text for each run of octets */
}

static enum sasl_result one(struct sasl *s, struct str in, struct buf *challenge) {
    static struct scram_verifier v;
    if (!v.iterations) scram_derive(STR("pencil"), STR("0123456789abcdef"), SCRAM_ITERATIONS_MIN, &v);
    enum sasl_result r = sasl_step(s, true, in, challenge);
    if (r == SASL_PASSWORD || r == SASL_TOKEN) {
        CHECK(s->secret.n > 0 && s->secret.n <= SASL_RESPONSE_MAX);
        CHECK(r == SASL_TOKEN || (login_is_sound(s->login) && password_is_sound(s->secret)));
        r = sasl_verdict(s, false, challenge);
    }
    if (r == SASL_VERIFIER) r = sasl_verifier(s, false, &v, challenge);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct sasl s;
    static struct jwt_rules *rules;
    const char *why;
    if (size < 2 || size > 9000) return 0;
    if (!rules)
        rules = jwt_rules_new(STR("-----BEGIN PUBLIC "
                                  "KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n--"
                                  "---END PUBLIC KEY-----\n"),
                              "", "", "sub", &why);
    struct str in = {(const char *)data + 2, size - 2};
    struct sasl_facts facts = {.plus_offered = data[1] & 1,
                               .nonce = STR("abcdef"),
                               .exporter = data[1] & 2 ? STR("0123") : STR_NONE,
                               .identity = data[1] & 4 ? STR("alice") : STR_NONE};
    base64_agrees(in);
    char login_mem[LOGIN_MAX];
    struct buf login = BUF(login_mem);
    CHECK(!jwt_check(rules, in, 1000, &login, &why));
    enum sasl_mech mech = (enum sasl_mech)(1 + data[0] % (SASL_MECHS - 1));
    sasl_begin(&s, mech, &facts);
    for (int i = 0; i < 12; i++) {
        char mem[SASL_TEXT_MAX];
        struct buf challenge = BUF(mem);
        ptrdiff_t end = str_chr(in, (char)0xfe);
        enum sasl_result r = one(&s, end < 0 ? in : str_sub(in, 0, (size_t)end), &challenge);
        CHECK(!challenge.failed);
        /* Nobody comes in who has proved nothing. */
        CHECK(r != SASL_GOOD || (mech == SASL_EXTERNAL && facts.identity.n));
        if (r != SASL_CHALLENGE || end < 0) break;
        in = str_sub(in, (size_t)end + 1, in.n);
    }
    sasl_end(&s);
    return 0;
}
