#include "smtpd/policy.h"

static const char *const service_words[] = {[SERVICE_SMTP] = "smtp",
                                            [SERVICE_SUBMISSION] = "submission",
                                            [SERVICE_LMTP] = "lmtp",
                                            [SERVICE_LOCAL] = "local"};

/* One value of a condition. */
static bool is_client(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    return f->client->ip.family && network_has(&c->nets[i], &f->client->ip);
}

/* "unknown" is the word for a name that is not there, and no name of a host. */
static bool is_host(struct str pattern, struct str name) {
    if (str_eq_nocase(pattern, STR("unknown"))) return name.n == 0;
    return name.n && pattern_match(pattern, name);
}

static bool is_name(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    return is_host(c->values[i], f->client->name);
}

static bool is_reverse(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    return is_host(c->values[i], f->client->reverse);
}

static bool is_service(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    return str_eq(c->values[i], str_of(service_words[f->client->service]));
}

static bool is_text(struct str pattern, struct str text) {
    return text.n && pattern_match(pattern, text);
}

static bool is_helo(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    return is_text(c->values[i], f->helo);
}

static bool is_tls(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    struct str v = c->values[i];
    if (str_eq(v, STR("off"))) return !f->tls->on;
    return f->tls->on && (str_eq(v, STR("on")) || str_ends_nocase(f->tls->version, v));
}

static bool is_identity(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    return f->tls->on && is_text(c->values[i], f->tls->client);
}

static bool is_login(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    return is_text(c->values[i], f->login);
}

static bool is_sender(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    return str_eq(c->values[i], STR("<>")) ? f->sender.n == 0 : is_text(c->values[i], f->sender);
}

static bool is_recipient(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    if (f->stage == RULE_RCPT) return pattern_match(c->values[i], f->rcpt);
    for (const struct session_rcpt *r = f->rcpts; r; r = r->next)
        if (pattern_match(c->values[i], r->text)) return true;
    return false;
}

static bool is_larger(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    (void)i;
    return f->size > c->number;
}

static bool has_header(const struct rule_condition *c, size_t i, const struct policy_facts *f) {
    return f->headers & 1u << c->header[i];
}

static bool (*const tests[RULE_FACTS])(const struct rule_condition *c, size_t i,
                                       const struct policy_facts *f) = {
    [RULE_CLIENT] = is_client,       [RULE_NAME] = is_name,      [RULE_REVERSE] = is_reverse,
    [RULE_SERVICE] = is_service,     [RULE_HELO_NAME] = is_helo, [RULE_TLS] = is_tls,
    [RULE_IDENTITY] = is_identity,   [RULE_LOGIN] = is_login,    [RULE_SENDER] = is_sender,
    [RULE_RECIPIENT] = is_recipient, [RULE_SIZE] = is_larger,    [RULE_HEADER] = has_header,
};

static bool condition_holds(const struct rule_condition *c, const struct policy_facts *f, unsigned *value) {
    size_t i = 0;
    /* DNS may say it in a minute: neither "it is" nor "it is not" is true. */
    if (f->client->names_failed && (c->fact == RULE_NAME || c->fact == RULE_REVERSE)) return false;
    while (i < c->n && !tests[c->fact](c, i, f)) i++;
    if (!c->negated && c->n > 1 && !*value) *value = (unsigned)i + 1;
    return (i < c->n) != c->negated;
}

/* What our own users on this host send is policy only for rules that name them: service=local. */
static bool names_local(const struct rule *r) {
    for (size_t i = 0; i < r->n; i++)
        if (r->conditions[i].fact == RULE_SERVICE && !r->conditions[i].negated) return true;
    return false;
}

static bool holds(const struct rule *r, const struct policy_facts *f, unsigned *value) {
    *value = 0;
    if (r->stage != f->stage || (f->client->service == SERVICE_LOCAL && !names_local(r))) return false;
    for (size_t i = 0; i < r->n; i++)
        if (!condition_holds(&r->conditions[i], f, value)) return false;
    return true;
}

const struct rule *policy_next(const struct rules *r, const struct policy_facts *f, size_t *at,
                               unsigned *value) {
    if (!(r->stages & 1u << f->stage)) return NULL;
    while (*at < r->n) {
        const struct rule *rule = r->v[(*at)++];
        if (holds(rule, f, value)) return rule;
    }
    return NULL;
}
