/* MAIL (RFC 5321 4.1.1.2). */
#include "common/arena.h"
#include "common/xtext.h"
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
        *st = status_make(552, "5.3.4", "Message too large for this server (message-size-limit)");
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

/* RFC 4954 5: who handed the message in where it came from. It is checked, as what xtext hides must be, and then not
 * believed: nobody we take mail from is trusted to say it. */
static bool take_auth(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    char mem[ADDR_TEXT_MAX + 1];
    struct buf b = BUF(mem);
    struct addr addr;
    const char *why;
    if (s->client.service != SERVICE_SUBMISSION) {
        *st = status_make(555, "5.5.4", "Parameter not known");
        return false;
    }
    if (str_eq(value, STR("<>"))) return true;
    if (xtext_decode(&b, value) && addr_parse(buf_str(&b), 0, tx->arena, &addr, &why)) return true;
    *st = status_make(501, "5.5.4", "AUTH is <> or an address in xtext");
    return false;
}

/* RFC 8689 2: it has no value, and is offered under TLS only. */
static bool take_requiretls(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    if (!s->tls.on) *st = status_make(555, "5.5.4", "REQUIRETLS only under TLS");
    else if (value.p) *st = status_make(501, "5.5.4", "REQUIRETLS has no value");
    else {
        tx->mail.body |= SESSION_REQUIRETLS;
        return true;
    }
    return false;
}

static const struct session_param params[] = {
    {STR("SIZE"), take_size},       {STR("BODY"), take_body},         {STR("SMTPUTF8"), take_utf8},
    {STR("RET"), param_ret},        {STR("ENVID"), param_envid},      {STR("AUTH"), take_auth},
    {STR("HOLDFOR"), param_holdfor}, {STR("HOLDUNTIL"), param_holduntil}, {STR("REQUIRETLS"), take_requiretls},
};

static struct str origin_text(const struct session *s, struct arena *a) {
    struct buf b = buf_in(a, 300);
    if (s->client.local) {
        buf_adds(&b, s->client.service == SERVICE_LMTP ? "LMTP, user " : "local user ");
        buf_addu(&b, s->client.uid);
        return buf_str(&b);
    }
    buf_adds(&b, "client [");
    ip_format(&b, &s->client.ip);
    buf_adds(&b, "] helo ");
    buf_add(&b, str_sub(s->helo, 0, s->login.n || s->forwarded_n ? 100 : 200));
    if (s->login.n) {
        buf_adds(&b, " login ");
        buf_add_escaped(&b, str_sub(s->login, 0, 30));
    }
    if (s->forwarded_n) {
        buf_adds(&b, " for ");
        buf_add(&b, str_sub((struct str){s->forwarded, s->forwarded_n}, 0, 110));
    }
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

/* RFC 6409 4.3: who submits must log in. */
static bool needs_login(struct session *s) {
    if (s->client.service != SERVICE_SUBMISSION || s->login.n) return false;
    if (auth_safe(s)) session_wrong(s, "mail", 530, "5.7.0", "Log in first: AUTH");
    else session_wrong(s, "mail", 530, "5.7.0", "Say STARTTLS first, then AUTH"); /* RFC 3207 4 */
    return true;
}

void mail_settle(struct session *s, const struct status *st) {
    if (st->kind == STATUS_OK) {
        session_say(s, 250, "2.1.0", "Sender ok");
        return;
    }
    struct status copy = *st;
    char mem[300];
    struct buf text = BUF(mem);
    buf_add(&text, str_sub(st->text, 0, sizeof mem)); /* it lives in the transaction */
    copy.text = buf_str(&text);
    session_refuse(s, "mail", &copy, STR_NONE);
    if (!s->over) session_forget(s);
}

/* Whose address it is, only lookup knows (RFC 6409 6.1). */
static void ask_sender(struct session *s) {
    struct status st = status_make(451, "4.3.0", "Sender cannot be checked now, try again later");
    s->asking_sender = s->host->ops->ask_sender(s->ctx, &s->tx->mail);
    if (!s->asking_sender) mail_settle(s, &st);
}

void cmd_mail(struct session *s, struct str arg) {
    struct status st;
    if (needs_login(s)) return;
    if (!session_allows(s, SESSION_USE_MEMORY, &st) || !session_allows(s, SESSION_USE_MESSAGE, &st)) {
        session_refuse(s, "mail", &st, STR_NONE);
        return;
    }
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
    if (s->client.service == SERVICE_SUBMISSION) ask_sender(s);
    else session_say(s, 250, "2.1.0", "Sender ok");
}
