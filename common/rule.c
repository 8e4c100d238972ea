#include "common/rule.h"

#include "common/addr.h"
#include "common/arena.h"

#include <string.h>

enum { SHOWN_MAX = 60 };

/* ---- The words ---- */

static const char *const stage_words[] = {"connect", "helo", "mail", "rcpt", "data", "end", NULL};

enum kind { KIND_NETWORKS, KIND_PATTERNS, KIND_ADDRESSES, KIND_CHOICE, KIND_SIZE, KIND_HEADERS };

static const struct fact_row {
    enum kind kind;
    enum rule_stage from; /* before, it is not known */
    const char *choices, *example;
} facts[RULE_FACTS] = {
    [RULE_CLIENT] = {KIND_NETWORKS, RULE_CONNECT, NULL, "192.0.2.0/24,2001:db8::/32"},
    [RULE_NAME] = {KIND_PATTERNS, RULE_CONNECT, NULL, "*.example.org"},
    [RULE_REVERSE] = {KIND_PATTERNS, RULE_CONNECT, NULL, "*.dyn.example.org"},
    [RULE_SERVICE] = {KIND_CHOICE, RULE_CONNECT, "smtp submission lmtp local", "submission"},
    [RULE_HELO_NAME] = {KIND_PATTERNS, RULE_HELO, NULL, "*.example.org"},
    [RULE_TLS] = {KIND_CHOICE, RULE_MAIL, "off on 1.2 1.3", "off"},
    [RULE_IDENTITY] = {KIND_PATTERNS, RULE_MAIL, NULL, "*.example.org"},
    [RULE_LOGIN] = {KIND_PATTERNS, RULE_MAIL, NULL, "alice"},
    [RULE_SENDER] = {KIND_ADDRESSES, RULE_MAIL, NULL, "*@example.org"},
    [RULE_RECIPIENT] = {KIND_ADDRESSES, RULE_RCPT, NULL, "*@example.org"},
    [RULE_SIZE] = {KIND_SIZE, RULE_END, NULL, "10M"},
    [RULE_HEADER] = {KIND_HEADERS, RULE_END, NULL, "List-Id"},
};
static const char *const fact_words[] = {"client", "name",     "reverse", "service", "helo",
                                         "tls",    "identity", "login",   "sender",  "recipient",
                                         "size",   "header",   NULL};

static const struct action_row {
    enum rule_stage from;
    const char *argument; /* what it needs; NULL: nothing; "" may have a text */
    const char *deed;
} actions[RULE_ACTIONS] = {
    [RULE_ACCEPT] = {RULE_CONNECT, NULL, "ends the rules of this stage: what is left of them does not count"},
    [RULE_REJECT] = {RULE_CONNECT, "", "refuses"},
    [RULE_DEFER] = {RULE_CONNECT, "", "refuses for now"},
    [RULE_HOLD] = {RULE_MAIL, NULL, "accepts the message and keeps it in the queue until it is released"},
    [RULE_DISCARD] = {RULE_MAIL, NULL, "accepts and throws away"},
    [RULE_REDIRECT] = {RULE_MAIL, "an address like postmaster@example.org", "sends to another address"},
    [RULE_ADD] = {RULE_MAIL, "a field like X-Checked: yes", "adds a header field"},
    [RULE_WARN] = {RULE_CONNECT, "", "only writes a line to the log"},
};
static const char *const action_words[] = {"accept",   "reject", "defer", "hold", "discard",
                                           "redirect", "add",    "warn",  NULL};

const char *rule_stage_word(enum rule_stage s) {
    return stage_words[s];
}

const char *rule_action_word(enum rule_action a) {
    return action_words[a];
}

static int find(const char *const *words, struct str s) {
    for (int i = 0; words[i]; i++)
        if (str_eq(s, str_of(words[i]))) return i;
    return -1;
}

/* ---- Saying what is wrong ---- */

static bool wrong(struct buf *why, struct str word, const char *text) {
    buf_addc(why, '"');
    buf_add_escaped(why, str_sub(word, 0, SHOWN_MAX));
    buf_addf(why, "\": %s", text);
    return false;
}

static bool no_such(struct buf *why, struct str word, const char *what, const char *const *words) {
    const char *near = str_nearest(word, words);
    wrong(why, word, "is no ");
    buf_adds(why, what);
    if (near) {
        buf_addf(why, "; did you mean \"%s\"?", near);
        return false;
    }
    buf_adds(why, "; there are");
    for (size_t i = 0; words[i]; i++) buf_addf(why, " %s", words[i]);
    return false;
}

/* ---- Conditions ---- */

struct task {
    struct rules *rules;
    struct arena *arena;
    struct buf *why;
    struct rule *rule;
    struct rule_condition conditions[RULE_CONDITIONS_MAX];
};

static bool no_room(struct task *t) {
    buf_adds(t->why, "the rules are too large all together");
    return false;
}

static bool take_values(struct task *t, struct rule_condition *c, struct str list) {
    size_t n = 1;
    for (size_t i = 0; i < list.n; i++) n += list.p[i] == ',';
    if (n > RULE_VALUES_MAX) return wrong(t->why, list, "has too many values: write a second rule");
    c->values = arena_alloc(t->arena, n * sizeof *c->values);
    if (!c->values) return no_room(t);
    while (c->n < n) {
        ptrdiff_t comma = str_chr(list, ',');
        struct str v = str_sub(list, 0, comma < 0 ? list.n : (size_t)comma);
        list = str_sub(list, v.n + 1, list.n);
        if (!v.n)
            return wrong(t->why, list, "a value is missing: no space may stand beside = and the commas");
        c->values[c->n++] = v;
    }
    return true;
}

static bool take_networks(struct task *t, struct rule_condition *c) {
    const char *why = "";
    c->nets = arena_alloc(t->arena, c->n * sizeof *c->nets);
    if (!c->nets) return no_room(t);
    for (size_t i = 0; i < c->n; i++) {
        if (network_parse(c->values[i], &c->nets[i], &why)) continue;
        wrong(t->why, c->values[i], why);
        buf_adds(t->why, "; for names of hosts there is name=");
        return false;
    }
    return true;
}

static bool take_choices(struct task *t, struct rule_condition *c, const char *choices) {
    for (size_t i = 0; i < c->n; i++) {
        struct str rest = str_of(choices), w;
        bool found = false;
        while (!found && str_word(&rest, 0, &w)) found = str_eq(w, c->values[i]);
        if (found) continue;
        wrong(t->why, c->values[i], "must be one of: ");
        buf_adds(t->why, choices);
        return false;
    }
    return true;
}

static bool take_addresses(struct task *t, struct rule_condition *c) {
    for (size_t i = 0; i < c->n; i++) {
        struct str v = c->values[i];
        if (str_chr(v, '@') >= 0 || str_chr(v, '*') >= 0 || str_eq(v, STR("postmaster"))) continue;
        if (c->fact == RULE_SENDER && str_eq(v, STR("<>"))) continue;
        return wrong(t->why, v, "has no @: write user@example.org, or *@example.org for a whole domain");
    }
    return true;
}

static bool take_size(struct task *t, struct rule_condition *c) {
    static const char units[] = "KMG";
    struct str s = c->values[0];
    const char *unit = s.n ? memchr(units, s.p[s.n - 1] & ~0x20, 3) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    uint64_t v;
    if (c->n == 1 && str_to_u64(str_sub(s, 0, s.n - (unit != NULL)), UINT64_MAX >> shift, &v)) {
        c->number = v << shift;
        return true;
    }
    return wrong(t->why, s, "must be a size in octets, or with K, M or G");
}

static bool is_field_name(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == ':') return false;
    return s.n > 0 && s.n <= 64;
}

static bool take_header(struct task *t, struct str name, uint8_t *index) {
    struct rules *r = t->rules;
    size_t i = 0;
    while (i < r->header_count && !str_eq_nocase(r->header[i], name)) i++;
    if (i == RULE_HEADERS_MAX)
        return wrong(t->why, name, "is one header name too many in all the rules together");
    if (i == r->header_count) r->header[r->header_count++] = name;
    *index = (uint8_t)i;
    return true;
}

static bool take_headers(struct task *t, struct rule_condition *c) {
    c->header = arena_alloc(t->arena, c->n);
    if (!c->header) return no_room(t);
    for (size_t i = 0; i < c->n; i++) {
        if (!is_field_name(c->values[i]))
            return wrong(t->why, c->values[i], "is no name of a header field, like List-Id");
        if (!take_header(t, c->values[i], &c->header[i])) return false;
    }
    return true;
}

static bool take_kind(struct task *t, struct rule_condition *c) {
    const struct fact_row *f = &facts[c->fact];
    switch (f->kind) {
    case KIND_NETWORKS:
        return take_networks(t, c);
    case KIND_CHOICE:
        return take_choices(t, c, f->choices);
    case KIND_ADDRESSES:
        return take_addresses(t, c);
    case KIND_SIZE:
        return take_size(t, c);
    case KIND_HEADERS:
        return take_headers(t, c);
    case KIND_PATTERNS:
        break;
    }
    return true;
}

static bool too_early(struct task *t, struct str word, const char *what, enum rule_stage from) {
    wrong(t->why, word, "");
    buf_addf(t->why, "%s at %s; put the rule at", what, stage_words[t->rule->stage]);
    for (enum rule_stage s = from; s < RULE_STAGES; s++) buf_addf(t->why, " %s", stage_words[s]);
    return false;
}

/* "fact=a,b", "fact!=a,b", "size>10M" */
static bool take_condition(struct task *t, struct str word, size_t op) {
    struct rule_condition *c = &t->conditions[t->rule->n];
    bool negated = op > 0 && word.p[op] == '=' && word.p[op - 1] == '!';
    struct str name = str_sub(word, 0, op - negated);
    int fact = find(fact_words, name);
    if (fact < 0) return no_such(t->why, name, "condition", fact_words);
    if (t->rule->n == RULE_CONDITIONS_MAX) return wrong(t->why, word, "is one condition too many");
    if (facts[fact].from > t->rule->stage) return too_early(t, name, "is not known yet", facts[fact].from);
    if ((word.p[op] == '>') != (fact == RULE_SIZE))
        return wrong(t->why, word,
                     fact == RULE_SIZE ? "must be size>NUMBER, like size>10M" : "must have a = there");
    *c = (struct rule_condition){.fact = (enum rule_fact)fact, .negated = negated};
    if (!take_values(t, c, str_sub(word, op + 1, word.n)) || !take_kind(t, c)) return false;
    t->rule->n++;
    return true;
}

/* ---- Actions ---- */

static struct str unquoted(struct str s) {
    s = str_trim(s);
    return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? str_sub(s, 1, s.n - 1) : s;
}

static bool is_digits(struct str s, size_t n) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9') return false;
    return s.n == n;
}

/* RFC 3463 2: class.subject.detail, each subject and detail of one to three digits. */
static bool take_detail(struct task *t, struct str word) {
    uint64_t v;
    for (int i = 0; i < 3; i++) {
        ptrdiff_t dot = i < 2 ? str_chr(word, '.') : (ptrdiff_t)word.n;
        if (dot < 1 || dot > 3 || !str_to_u64(str_sub(word, 0, (size_t)dot), 999, &v)) return false;
        t->rule->detail[i] = (uint16_t)v;
        word = str_sub(word, (size_t)dot + 1, word.n);
    }
    return true;
}

static bool looks_like_detail(struct str w) {
    return w.n >= 5 && w.p[1] == '.' && is_digits(str_sub(w, 0, 1), 1);
}

/* [CODE [X.Y.Z]] TEXT */
static bool take_reply(struct task *t, struct str rest) {
    struct rule *r = t->rule;
    bool later = r->action == RULE_DEFER;
    uint64_t code;
    struct str after = rest, w;
    r->code = later ? 450 : r->stage == RULE_CONNECT ? 554 : 550;
    r->detail[0] = later ? 4 : 5;
    r->detail[1] = 7;
    r->detail[2] = 1;
    if (later && r->stage == RULE_CONNECT) r->code = 421;
    if (str_word(&after, 0, &w) && is_digits(w, 3)) {
        if (!str_to_u64(w, 599, &code) || code < (later ? 450 : 500) || code > (later ? 459 : 599) ||
            r->stage == RULE_CONNECT)
            return wrong(t->why, w,
                         r->stage == RULE_CONNECT ? "no code can be chosen at connect: leave it out"
                         : later                  ? "must be from 450 to 459"
                                                  : "must be from 500 to 599");
        r->code = (uint16_t)code;
        rest = after;
        if (str_word(&after, 0, &w) && looks_like_detail(w)) {
            if (!take_detail(t, w) || r->detail[0] != r->code / 100)
                return wrong(t->why, w, "is no enhanced code of this reply's class, like 5.7.1");
            rest = after;
        }
    }
    r->argument = unquoted(rest);
    if (!r->argument.n) r->argument = later ? STR("Not now, try again later") : STR("Refused by our policy");
    if (r->argument.n <= RULE_TEXT_MAX && str_is_print(r->argument)) return true;
    return wrong(t->why, r->argument, "must be printable ASCII of at most 200 characters");
}

static bool take_redirect(struct task *t, struct str rest) {
    struct addr a;
    const char *why = "";
    struct str text = str_trim(rest);
    if (!addr_parse(text, 0, t->arena, &a, &why)) return wrong(t->why, text, why);
    t->rule->argument = addr_text(t->arena, &a);
    return t->rule->argument.n || no_room(t);
}

static bool take_field(struct task *t, struct str rest) {
    struct str text = unquoted(rest);
    ptrdiff_t colon = str_chr(text, ':');
    t->rule->argument = text;
    if (colon > 0 && is_field_name(str_sub(text, 0, (size_t)colon)) && str_is_print(text) &&
        text.n <= RULE_HEADER_MAX && str_trim(str_sub(text, (size_t)colon + 1, text.n)).n)
        return true;
    return wrong(t->why, text,
                 "must be a header field like X-Checked: yes, printable ASCII of at most 400 characters");
}

static bool take_action(struct task *t, struct str word, struct str rest) {
    struct rule *r = t->rule;
    int action = find(action_words, word);
    if (find(fact_words, word) >= 0) {
        wrong(t->why, word, "needs a value: ");
        int f = find(fact_words, word);
        buf_addf(t->why, "%s%c%s", fact_words[f], f == RULE_SIZE ? '>' : '=', facts[f].example);
        return false;
    }
    if (action < 0) return no_such(t->why, word, "action", action_words);
    r->action = (enum rule_action)action;
    if (actions[action].from > r->stage)
        return too_early(t, word, "there is no message yet", actions[action].from);
    if (!actions[action].argument && str_trim(rest).n)
        return wrong(t->why, str_trim(rest), "nothing may follow the action");
    switch (r->action) {
    case RULE_REJECT:
    case RULE_DEFER:
        return take_reply(t, rest);
    case RULE_REDIRECT:
        return take_redirect(t, rest);
    case RULE_ADD:
        return take_field(t, rest);
    default:
        r->argument = str_sub(unquoted(rest), 0, RULE_TEXT_MAX);
        return true;
    }
}

/* ---- A rule ---- */

/* Where the operator of a condition stands, or -1: the word is none. */
static ptrdiff_t operator_in(struct str w) {
    for (size_t i = 0; i < w.n; i++)
        if (w.p[i] == '=' || w.p[i] == '>') return (ptrdiff_t)i;
    return -1;
}

static bool parse(struct task *t, struct str rest) {
    struct str w;
    if (!str_word(&rest, 0, &w)) {
        buf_adds(t->why,
                 "is empty: write STAGE, conditions, ACTION, as in: rcpt recipient=old@example.org reject");
        return false;
    }
    int stage = find(stage_words, w);
    if (stage < 0) return no_such(t->why, w, "stage", stage_words);
    t->rule->stage = (enum rule_stage)stage;
    while (str_word(&rest, 0, &w)) {
        ptrdiff_t op = operator_in(w);
        if (op < 0) return take_action(t, w, rest);
        if (!take_condition(t, w, (size_t)op)) return false;
    }
    buf_adds(t->why, "has no action at its end: accept, reject, defer, hold, discard, redirect, add or warn");
    return false;
}

/* One space between words, so that the token does not depend on how it was laid out. */
static struct str normal(struct arena *a, struct str text) {
    struct buf b = buf_in(a, text.n + 1);
    struct str w;
    while (str_word(&text, 0, &w)) {
        if (b.n) buf_addc(&b, ' ');
        buf_add(&b, w);
    }
    return buf_str(&b);
}

static bool keep(struct task *t) {
    struct rules *r = t->rules;
    struct rule *rule = t->rule;
    size_t n = rule->n * sizeof *rule->conditions;
    rule->conditions = arena_alloc(t->arena, n + 1);
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 16;
        struct rule **v = arena_alloc(t->arena, cap * sizeof *v);
        if (!v) return no_room(t);
        if (r->n) memcpy(v, r->v, r->n * sizeof *v);
        r->v = v;
        r->cap = cap;
    }
    if (!rule->conditions) return no_room(t);
    if (n) memcpy(rule->conditions, t->conditions, n);
    for (size_t i = 0; i < rule->n; i++) r->facts |= 1u << rule->conditions[i].fact;
    r->stages |= 1u << rule->stage;
    r->v[r->n++] = rule;
    return true;
}

bool rules_add(struct rules *r, struct str text, struct arena *a, struct buf *why) {
    struct task t = {.rules = r, .arena = a, .why = why, .rule = ARENA_NEW(a, struct rule)};
    size_t headers = r->header_count;
    if (r->n == RULES_MAX) {
        buf_adds(why, "is one rule too many (1000)");
        return false;
    }
    text = normal(a, text);
    if (!t.rule || !text.p) return no_room(&t);
    t.rule->text = text;
    t.rule->token = token_of(STR("rule"), text);
    if (parse(&t, text) && keep(&t)) return true;
    r->header_count = headers;
    return false;
}

bool rules_same(const struct rules *a, const struct rules *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->v[i]->line != b->v[i]->line || !str_eq(a->v[i]->text, b->v[i]->text)) return false;
    return true;
}

void rule_describe(struct buf *b, const struct rule *r) {
    buf_adds(b, actions[r->action].deed);
    if (r->code) buf_addf(b, " with %u %u.%u.%u", r->code, r->detail[0], r->detail[1], r->detail[2]);
    if (r->argument.n) buf_adds(b, ": ");
    buf_add(b, r->argument);
}
