/* session_policy.c: what the rules of postern.conf do to a session. What a message is to become is noted in
 * its transaction, with texts of its own: the rules may be replaced while it still comes. */
#include "common/arena.h"
#include "smtpd/state.h"

static struct policy_facts facts_of(const struct session *s, enum rule_stage stage,
                                    const struct session_rcpt *rcpt) {
    struct policy_facts f = {
        .stage = stage, .client = &s->client, .tls = &s->tls, .helo = s->helo, .login = s->login};
    if (!s->tx) return f;
    f.sender = s->tx->mail.sender_text;
    if (rcpt) f.rcpt = rcpt->text;
    if (stage >= RULE_DATA) f.rcpts = s->tx->mail.rcpts;
    f.size = s->tx->mail.size;
    return f;
}

/* The names that were looked for are those of the rules as the data began; by now they may be others. */
static uint32_t headers_of(const struct session *s, const struct rules *r) {
    const struct header_scan *h = &s->tx->data->header;
    uint32_t bits = 0;
    for (size_t i = 0; i < r->header_count; i++)
        for (size_t k = 0; k < h->wanted_n; k++)
            if (h->seen & 1u << k && str_eq_nocase(r->header[i], h->wanted[k])) bits |= 1u << i;
    return bits;
}

void policy_look_for(const struct session *s, struct header_scan *h, struct arena *a) {
    const struct rules *r = s->host->rules;
    struct str *names = r && r->header_count ? arena_alloc(a, r->header_count * sizeof *names) : NULL;
    if (!names) return;
    for (size_t i = 0; i < r->header_count; i++) names[i] = str_dup(a, r->header[i]);
    h->wanted = names;
    h->wanted_n = r->header_count;
}

static void tell(struct session *s, const struct rule *r, const struct session_rcpt *rcpt) {
    struct session_event e = {.kind = SESSION_POLICY,
                              .stage = str_of(rule_stage_word(r->stage)),
                              .to = rcpt ? rcpt->text : STR_NONE,
                              .helo = s->helo,
                              .reply = r->argument,
                              .action = str_of(rule_action_word(r->action)),
                              .token = str_of(r->token.c),
                              .line = r->line};
    if (s->tx) e.from = s->tx->mail.sender_text;
    s->host->ops->event(s->ctx, &e);
}

static void refusal(struct session *s, const struct rule *r, unsigned value, struct status *st) {
    struct buf text = BUF(s->policy_text);
    buf_add(&text, r->argument);
    token_add(&text, r->token, value);
    *st = (struct status){.kind = r->action == RULE_DEFER ? STATUS_LATER : STATUS_NEVER,
                          .code = r->code,
                          .detail = {r->detail[0], r->detail[1], r->detail[2]},
                          .text = buf_str(&text)};
}

static bool no_memory(struct status *st) {
    *st = status_make(452, "4.3.1", "No memory, try again later");
    return false;
}

/* RFC 3461 4.2: the sender asked for somebody else, and is told so in reports. */
static void remember_original(struct arena *a, struct session_rcpt *rcpt) {
    struct buf b = buf_in(a, rcpt->text.n + 8);
    if (rcpt->orcpt.n || !str_is_print(rcpt->text)) return;
    buf_adds(&b, "rfc822;");
    buf_add(&b, rcpt->text);
    if (!b.failed) rcpt->orcpt = buf_str(&b);
}

static bool redirect(struct session *s, const struct rule *r, struct session_rcpt *rcpt, struct status *st) {
    struct arena *a = s->tx->arena;
    const char *why;
    struct str text = str_dup(a, r->argument);
    if (!rcpt) {
        s->tx->effects.redirect = text;
        return text.n || no_memory(st);
    }
    remember_original(a, rcpt);
    if (!text.n || !addr_parse(text, 0, a, &rcpt->addr, &why)) return no_memory(st);
    rcpt->text = text;
    rcpt->by_rule = true;
    return true;
}

static bool add_field(struct session *s, const struct rule *r, struct status *st) {
    struct policy_effects *e = &s->tx->effects;
    if (e->field_n == POLICY_FIELDS_MAX) return true;
    e->fields[e->field_n] = str_dup(s->tx->arena, r->argument);
    if (!e->fields[e->field_n].n) return no_memory(st);
    e->field_n++;
    return true;
}

static bool apply(struct session *s, const struct rule *r, unsigned value, struct session_rcpt *rcpt,
                  struct status *st) {
    bool whole = r->stage != RULE_RCPT;
    if (r->action != RULE_ACCEPT && r->action != RULE_REJECT && r->action != RULE_DEFER) tell(s, r, rcpt);
    switch (r->action) {
    case RULE_REJECT:
    case RULE_DEFER:
        refusal(s, r, value, st);
        return false;
    case RULE_HOLD:
        s->tx->effects.hold = true;
        return true;
    case RULE_DISCARD:
        if (whole) s->tx->effects.discard = true;
        else if (rcpt) rcpt->discard = true;
        return true;
    case RULE_REDIRECT:
        return redirect(s, r, whole ? NULL : rcpt, st);
    case RULE_ADD:
        return add_field(s, r, st);
    default:
        return true;
    }
}

bool session_policy(struct session *s, enum rule_stage stage, struct session_rcpt *rcpt, struct status *st) {
    const struct rules *rules = s->host->rules;
    const struct rule *r;
    unsigned value;
    size_t at = 0;
    if (!rules || !(rules->stages & 1u << stage)) return true;
    struct policy_facts f = facts_of(s, stage, rcpt);
    if (stage == RULE_END) f.headers = headers_of(s, rules);
    while ((r = policy_next(rules, &f, &at, &value))) {
        if (!apply(s, r, value, rcpt, st)) return false;
        if (r->action != RULE_ADD && r->action != RULE_WARN) break;
    }
    return true;
}
