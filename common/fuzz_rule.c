/* fuzz_rule.c: the fuzz twin of rule.c: what it accepts is within its bounds, reads the same when it is read
 * again, and what it refuses has a reason and leaves nothing behind. */
#include "common/arena.h"
#include "common/rule.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool truth) {
    if (!truth) abort();
}

static void check_rule(const struct rules *r, const struct rule *k) {
    check(k->n <= RULE_CONDITIONS_MAX && k->stage < RULE_STAGES && k->action < RULE_ACTIONS);
    check(r->stages & 1u << k->stage);
    bool replies = k->action == RULE_REJECT || k->action == RULE_DEFER;
    check(replies == (k->code != 0));
    if (replies)
        check(k->code / 100 == k->detail[0] && k->argument.n <= RULE_TEXT_MAX && str_is_print(k->argument));
    if (k->action == RULE_ADD) check(str_is_print(k->argument) && str_chr(k->argument, ':') > 0);
    for (size_t i = 0; i < k->n; i++) {
        const struct rule_condition *c = &k->conditions[i];
        check(c->fact < RULE_FACTS && c->n > 0 && c->n <= RULE_VALUES_MAX && (r->facts & 1u << c->fact));
        if (c->fact == RULE_HEADER)
            for (size_t j = 0; j < c->n; j++) check(c->header[j] < r->header_count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct rules r = {0}, again = {0};
    struct arena *a = arena_new(1 << 20);
    struct str text = {(const char *)data, size};
    while (text.n) {
        char mem[400];
        struct buf why = BUF(mem);
        ptrdiff_t end = str_chr(text, '\n');
        struct str line = str_sub(text, 0, end < 0 ? text.n : (size_t)end);
        size_t n = r.n;
        if (rules_add(&r, line, a, &why)) {
            check(r.n == n + 1 && why.n == 0);
            check_rule(&r, r.v[n]);
            check(rules_add(&again, r.v[n]->text, a, &why));
            check(strcmp(again.v[n]->token.c, r.v[n]->token.c) == 0);
        } else {
            check(r.n == n && (why.n > 0 || why.failed));
        }
        text = str_sub(text, line.n + 1, text.n);
    }
    check(rules_same(&r, &again));
    struct token t;
    unsigned value;
    token_parse((struct str){(const char *)data, size}, &t, &value);
    arena_free(a);
    return 0;
}
