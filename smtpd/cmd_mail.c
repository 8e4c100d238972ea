/* MAIL (RFC 5321 4.1.1.2). */
#include "common/arena.h"
#include "smtpd/state.h"

static bool take_size(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    uint64_t n;
    (void)tx;
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < '0' || value.p[i] > '9') value.n = 0;
    if (value.n == 0 || value.n > 20) { /* RFC 1870 4: 1*20DIGIT */
        *st = status_make(501, "5.5.4", "SIZE needs a number");
        return false;
    }
    if (!str_to_u64(value, UINT64_MAX, &n) || n > s->host->size_limit) { /* RFC 1870 6.1 */
        *st = status_make(552, "5.3.4", "Message too large for this server");
        return false;
    }
    return true;
}

static bool take_body(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    (void)s;
    if (str_eq_nocase(value, STR("8BITMIME"))) tx->mail.body |= SESSION_8BITMIME;
    else if (!str_eq_nocase(value, STR("7BIT"))) {
        *st = status_make(501, "5.5.4", "BODY is 7BIT or 8BITMIME");
        return false;
    }
    return true;
}

/* RFC 6531 3.4: it has no value. */
static bool take_utf8(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    (void)s;
    if (value.p) {
        *st = status_make(501, "5.5.4", "SMTPUTF8 has no value");
        return false;
    }
    tx->mail.body |= SESSION_SMTPUTF8;
    return true;
}

static const struct session_param params[] = {{STR("SIZE"), take_size},
                                              {STR("BODY"), take_body},
                                              {STR("SMTPUTF8"), take_utf8},
                                              {STR("RET"), param_ret},
                                              {STR("ENVID"), param_envid}};

static struct str origin_text(const struct session *s, struct arena *a) {
    struct buf b = buf_in(a, 300);
    if (s->client.local) {
        buf_adds(&b, "local user ");
        buf_addu(&b, s->client.uid);
        return buf_str(&b);
    }
    buf_adds(&b, "client [");
    ip_format(&b, &s->client.ip);
    buf_adds(&b, "] helo ");
    buf_add(&b, str_sub(s->helo, 0, 200));
    return buf_str(&b);
}

static bool parse(struct session *s, struct transaction *tx, struct str arg, struct status *st) {
    struct str rest;
    const char *why = "Syntax";
    if (!session_address_argument(&arg, STR("FROM:"))) {
        *st = status_make(501, "5.5.4", "Use MAIL FROM:<address>");
        return false;
    }
    if (!addr_parse_path(arg, ADDR_NULL | ADDR_UTF8, tx->arena, &tx->mail.sender, &rest, &why)) {
        *st = status_make(501, "5.1.7", why);
        return false;
    }
    if (!session_params(s, tx, rest, params, sizeof params / sizeof params[0], st)) return false;
    tx->mail.sender_text = addr_text(tx->arena, &tx->mail.sender);
    tx->mail.origin = origin_text(s, tx->arena);
    return session_may_utf8(tx, tx->mail.sender_text, st);
}

void cmd_mail(struct session *s, struct str arg) {
    struct status st;
    struct transaction *tx = transaction_new(s->host->rcpt_limit);
    if (!tx) {
        session_wrong(s, "mail", 452, "4.3.1", "No memory, try again later");
        return;
    }
    if (!parse(s, tx, arg, &st)) {
        session_refuse(s, "mail", &st, STR_NONE);
        arena_free(tx->arena);
        return;
    }
    s->tx = tx;
    s->state = AT_MAIL;
    if (!session_policy(s, RULE_MAIL, NULL, &st)) {
        session_refuse(s, "mail", &st, STR_NONE);
        session_forget(s);
        return;
    }
    session_say(s, 250, "2.1.0", "Sender ok");
}
