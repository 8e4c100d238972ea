/* RCPT (RFC 5321 4.1.1.3). Whether a recipient is ours, or may be relayed to for this client, only lookup
 * knows. */
#include "common/arena.h"
#include "smtpd/state.h"

/* Keyed by where the table happens to lie, so that a client cannot choose names that collide. */
static struct session_rcpt **place(struct session_rcpt **table, size_t cap, const struct session_rcpt *r) {
    size_t i = str_hash(r->text, (uint64_t)(uintptr_t)table) & (cap - 1);
    while (table[i] && !addr_same(&table[i]->addr, &r->addr)) i = (i + 1) & (cap - 1);
    return &table[i];
}

/* Twice as large, at most half full. Without memory for it nothing is dropped: a second copy is the lesser
 * evil. */
static bool known_grow(struct transaction *tx) {
    size_t cap = tx->known_cap ? tx->known_cap * 2 : 16;
    struct session_rcpt **table = arena_alloc(tx->arena, cap * sizeof(struct session_rcpt *));
    if (!table) return false;
    for (struct session_rcpt *r = tx->mail.rcpts; r; r = r->next) *place(table, cap, r) = r;
    tx->known = table;
    tx->known_cap = cap;
    return true;
}

/* Is it among the recipients already? One message gives one copy to each. */
static bool known(struct transaction *tx, struct session_rcpt *r) {
    if ((size_t)tx->mail.rcpt_count * 2 >= tx->known_cap && !known_grow(tx)) return false;
    struct session_rcpt **at = place(tx->known, tx->known_cap, r);
    if (*at) return true;
    *at = r;
    return false;
}

static void accept_rcpt(struct session *s, struct waiting *w) {
    struct transaction *tx = s->tx;
    tx->taken++;
    if (w->rcpt->discard || known(tx, w->rcpt)) {
        s->state = AT_RCPT;
        session_reply(s, &w->st);
        return;
    }
    *tx->last = w->rcpt;
    tx->last = &w->rcpt->next;
    tx->mail.rcpt_count++;
    s->state = AT_RCPT;
    session_reply(s, &w->st);
}

void rcpt_settle(struct session *s) {
    while (!s->over && s->tx && s->tx->waiting && s->tx->waiting->answered) {
        struct waiting *w = s->tx->waiting;
        s->tx->waiting = w->next;
        if (!w->next) s->tx->waiting_last = &s->tx->waiting;
        s->tx->waiting_n--;
        if (w->st.kind == STATUS_OK && w->rcpt) accept_rcpt(s, w);
        else session_refuse(s, "rcpt", &w->st, w->to);
        if (s->over) return;
        w->next = s->tx->spare;
        s->tx->spare = w;
    }
}

static struct waiting *waiting_new(struct transaction *tx) {
    struct waiting *w = tx->spare;
    if (!w) return ARENA_NEW(tx->arena, struct waiting);
    tx->spare = w->next;
    *w = (struct waiting){0};
    return w;
}

static const struct session_param params[] = {{STR("NOTIFY"), param_notify}, {STR("ORCPT"), param_orcpt}};

static struct status no_memory(void) {
    return status_make(452, "4.3.1", "No memory, try again later");
}

static bool parse(struct session *s, struct str arg, struct waiting *w) {
    struct arena *a = s->tx->arena;
    struct session_rcpt *r = ARENA_NEW(a, struct session_rcpt);
    struct str rest;
    const char *why = "Syntax";
    if (!session_address_argument(&arg, STR("TO:"))) {
        w->st = status_make(501, "5.5.4", "Use RCPT TO:<address>");
        return false;
    }
    if (!r || !addr_parse_path(arg, ADDR_POSTMASTER | ADDR_UTF8, a, &r->addr, &rest, &why)) {
        bool memory = !r || why == addr_no_memory;
        w->st = memory ? no_memory() : status_make(501, "5.1.3", why);
        return false;
    }
    s->tx->parsing = r;
    if (!session_params(s, s->tx, rest, params, sizeof params / sizeof params[0], &w->st)) return false;
    r->text = addr_text(a, &r->addr);
    if (!r->text.n) {
        w->st = no_memory();
        return false;
    }
    if (!session_may_utf8(s->tx, r->text, &w->st)) return false;
    w->rcpt = r;
    return true;
}

static bool permitted(struct session *s, struct waiting *w) {
    struct str given = w->rcpt->text;
    w->to = given;
    if (!session_policy(s, RULE_RCPT, w->rcpt, &w->st)) {
        w->st.text = str_dup(s->tx->arena, w->st.text); /* its turn may come after that of others */
        w->rcpt = NULL;
        return false;
    }
    if (w->rcpt->discard) w->st = status_make(250, "2.1.5", "ok"); /* as lookup says it */
    return !w->rcpt->discard;
}

static void ask(struct session *s, struct waiting *w) {
    w->answered = !s->host->ops->ask(s->ctx, w->slot, &s->tx->mail, w->rcpt);
    if (w->answered) w->rcpt = NULL;
}

/* LMTP answers each one after the data, also those that were given twice. The same address over and over, and refused
 * ones, count too: twice the limit is enough. */
bool rcpt_full(const struct session *s, uint32_t ahead) {
    const struct transaction *tx = s->tx;
    uint32_t n = s->client.service == SERVICE_LMTP ? tx->taken : tx->mail.rcpt_count;
    return n + ahead >= s->host->rcpt_limit || tx->tries / 2 >= s->host->rcpt_limit;
}

void cmd_rcpt(struct session *s, struct str arg) {
    struct transaction *tx = s->tx;
    if (rcpt_full(s, 0)) { /* 4.5.3.1.10 */
        session_wrong(s, "rcpt", 452, "4.5.3",
                      "Too many recipients; send them the message separately (recipient-limit)");
        return;
    }
    struct waiting *w = waiting_new(tx);
    if (!w) {
        session_end(s, "4.3.1", "No memory for more recipients", "transaction too large");
        return;
    }
    tx->tries++;
    w->slot = tx->next_slot++;
    w->answered = true;
    if (session_allows(s, SESSION_USE_MEMORY, &w->st) && session_allows(s, SESSION_USE_RECIPIENT, &w->st)) {
        w->st = status_make(451, "4.3.0", "Recipient cannot be checked now, try again later");
        w->to = str_dup(tx->arena, arg);
        if (parse(s, arg, w) && permitted(s, w)) ask(s, w);
    }
    *tx->waiting_last = w;
    tx->waiting_last = &w->next;
    tx->waiting_n++;
    rcpt_settle(s);
}
