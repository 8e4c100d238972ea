/* fuzz_aliases.c: the fuzz twin of aliases.c and routes.c: what they accept can be read back, within its
 * bounds. */
#include "lookup/aliases.h"
#include "lookup/routes.h"
#include "lookup/values.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool truth) {
    if (!truth) abort();
}

static bool alias_entry(void *ctx, unsigned line, struct str key, struct str value, struct table_error *err) {
    struct alias_target t;
    struct str rest;
    int more;
    size_t n = 0;
    (void)ctx, (void)err;
    check(line > 0 && key.n > 0 && key.n < 64 && str_is_print(key));
    check(alias_value_open(value, &rest));
    while ((more = alias_value_next(&rest, &t)) > 0) {
        n++;
        check(str_is_print(t.text) && t.text.n < 400 && (t.kind == ALIAS_ADDRESS || t.text.n < 64));
    }
    check(more == 0 && n > 0 && n <= ALIAS_TARGETS_MAX);
    return true;
}

static bool route_entry(void *ctx, unsigned line, struct str key, struct str value, struct table_error *err) {
    struct route_value v;
    (void)ctx, (void)err;
    check(line > 0 && key.n > 0 && key.n <= TABLE_KEY_MAX && value.n <= ROUTE_VALUE_MAX &&
          route_value_read(value, &v));
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct table_error err = {0};
    struct str text = {(const char *)data, size};
    struct table_sink aliases = {NULL, alias_entry}, routes = {NULL, route_entry};
    if (!aliases_parse(text, &aliases, &err)) check(err.line > 0 && *err.text);
    err = (struct table_error){0};
    if (!routes_parse(text, &routes, &err)) check(err.line > 0 && *err.text);
    struct route_value v;
    route_value_read(text, &v);
    return 0;
}
