/* select.c: which messages an operation means. */
#include "queue/select.h"

static bool within(struct str pattern, struct str text) {
    char mem[CONTROL_ADDRESS_MAX + 2];
    struct buf b = BUF(mem);
    buf_addc(&b, '*');
    buf_add(&b, str_sub(pattern, 0, CONTROL_ADDRESS_MAX));
    buf_addc(&b, '*');
    return pattern_match(buf_str(&b), text);
}

static struct str domain_of(struct str address) {
    for (size_t i = address.n; i > 0; i--)
        if (address.p[i - 1] == '@') return str_sub(address, i, address.n);
    return STR_NONE;
}

static bool is_pending(const struct control_rcpt *r) {
    return r->state == 'N' || r->state == 'L';
}

char select_state(const struct control *c) {
    if (c->held) return 'h';
    for (uint32_t i = 0; i < c->rcpt_count; i++)
        if (c->rcpts[i].state == 'L' || (c->rcpts[i].state == 'N' && c->rcpts[i].next)) return 'd';
    return 'f';
}

static bool reason_matches(struct str pattern, const struct status *s) {
    char mem[CONTROL_TEXT_MAX + 64];
    struct buf b = BUF(mem);
    if (!s->code) return false;
    status_format(&b, s);
    return within(pattern, buf_str(&b));
}

static bool rcpt_matches(const struct selection *sel, const struct control_rcpt *r) {
    if (!is_pending(r)) return false;
    if (sel->rcpt.n && !pattern_match(sel->rcpt, r->rcpt)) return false;
    if (sel->domain.n && !pattern_match(sel->domain, domain_of(r->rcpt))) return false;
    return !sel->reason.n || reason_matches(sel->reason, &r->status);
}

static bool sender_matches(struct str pattern, struct str sender) {
    return str_eq(pattern, STR("<>")) ? !sender.n : sender.n && pattern_match(pattern, sender);
}

bool select_matches(const struct selection *sel, const struct control *c, int64_t now) {
    int64_t age = now - c->arrival;
    if (sel->state && sel->state != select_state(c)) return false;
    if ((sel->older && age <= sel->older) || (sel->newer && age >= sel->newer)) return false;
    if ((sel->larger && c->size <= sel->larger) || (sel->smaller && c->size >= sel->smaller)) return false;
    if (sel->sender.n && !sender_matches(sel->sender, c->sender)) return false;
    if (!sel->rcpt.n && !sel->domain.n && !sel->reason.n) return true;
    for (uint32_t i = 0; i < c->rcpt_count; i++)
        if (rcpt_matches(sel, &c->rcpts[i])) return true;
    return false;
}

bool select_rule(const struct str *patterns, size_t n, const struct control *c) {
    for (size_t i = 0; i < n; i++) {
        if (sender_matches(patterns[i], c->sender)) return true;
        for (uint32_t k = 0; k < c->rcpt_count; k++)
            if (pattern_match(patterns[i], c->rcpts[k].rcpt)) return true;
    }
    return false;
}
