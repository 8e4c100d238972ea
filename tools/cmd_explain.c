/* postern explain: what made us say no. Works from the files alone: it computes the token of all that can
 * refuse (rules, error routes, settings), and shows what has this one. */
#include "common/token.h"
#include "lookup/routes.h"
#include "lookup/values.h"
#include "tools/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { TABLE_FILE_MAX = 64 * 1024 * 1024 };

struct search {
    struct tool *tool;
    struct token token;
    unsigned value;
    size_t found;
};

static bool is_it(struct search *s, struct str kind, struct str what) {
    struct token t = token_of(kind, what);
    bool yes = strcmp(t.c, s->token.c) == 0;
    s->found += yes;
    return yes;
}

/* Text of files may hold anything; a terminal must not. */
static void show(const char *label, struct str text) {
    char mem[4 * 4096];
    struct buf b = BUF(mem);
    buf_add_escaped(&b, str_sub(text, 0, 4000));
    printf("%-8s %s\n", label, buf_cstr(&b));
}

/* Which value of the rule's first list of several: the key. */
static void show_key(const struct rule *r, unsigned value) {
    for (size_t i = 0; value && i < r->n; i++) {
        const struct rule_condition *c = &r->conditions[i];
        if (c->negated || c->n < 2) continue;
        if (value <= c->n) show("key:", c->values[value - 1]);
        return;
    }
}

static void search_rules(struct search *s) {
    const struct rules *rules = &s->tool->config->rule;
    for (size_t i = 0; i < rules->n; i++) {
        char mem[800];
        struct buf b = BUF(mem);
        const struct rule *r = rules->v[i];
        if (!is_it(s, STR("rule"), r->text)) continue;
        printf("%s:%u: rule %zu of %zu\n", s->tool->settings.file, r->line, i + 1, rules->n);
        show("table:", STR("rule (postern-rules(5))"));
        show("rule:", r->text);
        show_key(r, s->value);
        rule_describe(&b, r);
        show("does:", buf_str(&b));
    }
}

static bool try_route(void *ctx, unsigned line, struct str key, struct str value, struct table_error *err) {
    struct search *s = ctx;
    struct route_value v;
    char mem[1200];
    struct buf b = BUF(mem);
    (void)err;
    if (!is_it(s, STR("route"), key)) return true;
    printf("%s:%u: error route\n", s->tool->config->route_file, line);
    show("table:", STR("route-file (postern-routes(5))"));
    show("key:", key);
    if (route_value_read(value, &v) && v.how == 'E') status_format(&b, &v.status);
    show("says:", buf_str(&b));
    return true;
}

static void search_routes(struct search *s) {
    const char *file = s->tool->config->route_file;
    struct table_sink sink = {s, try_route};
    struct table_error err = {0};
    size_t n;
    char *text = settings_read_file(file, TABLE_FILE_MAX, &n);
    if (!text && errno != ENOENT) tool_fail(0, "%s: cannot be read: %s", file, strerror(errno));
    if (text && !routes_parse((struct str){text, n}, &sink, &err))
        tool_fail(0, "%s:%u: %s; what stands behind it was not searched", file, err.line, err.text);
    free(text);
}

static void show_setting(void *ctx, const char *name, struct str text, unsigned line) {
    const struct search *s = ctx;
    printf("%s", s->tool->settings.file);
    if (line) printf(":%u: ", line);
    else printf(" (default): ");
    printf("%s = %.*s\n", name, STR_ARGS(text));
}

static void search_reasons(struct search *s) {
    for (size_t i = 0; i < token_reason_count; i++) {
        const struct token_reason *r = &token_reasons[i];
        if (!is_it(s, STR("reason"), str_of(r->word))) continue;
        puts(r->sentence);
        for (size_t k = 0; k < 4 && r->settings[k]; k++)
            for (size_t j = 0; j < config_setting_count; j++)
                if (strcmp(config_settings[j].name, r->settings[k]) == 0)
                    config_each_text(s->tool->config, j, show_setting, s);
    }
}

int run_explain(struct tool *t) {
    struct search s = {.tool = t};
    if (!token_parse(str_of(t->words[0]), &s.token, &s.value))
        return tool_fail(EX_USAGE, "%s: is no token: give the [P123456] that stands at the end of a reply",
                         t->words[0]);
    search_rules(&s);
    search_routes(&s);
    search_reasons(&s);
    if (s.found) return EX_OK;
    return tool_fail(
        EX_DATAERR,
        "nothing in %s and %s has the token %s; it was made by files that were changed since, or by "
        "another host",
        t->settings.file, t->config->route_file, s.token.c);
}
