/* The fuzz twin of the password table: no text of it lets a stranger in, and each entry is found again. */
#include "auth/table.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond) ((cond) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char why[400];
    struct verifier v;
    struct table *t = table_parse((struct str){(const char *)data, size}, "f", why, sizeof why);
    if (!t) {
        CHECK(strncmp(why, "f:", 2) == 0);
        return 0;
    }
    for (size_t i = 0; i < table_count(t); i++) {
        struct str login = table_at(t, i)->login;
        CHECK(table_login_fits(login) && table_find(t, STR("s"), login, &v));
        CHECK(v.scram.salt_n <= SCRAM_SALT_MAX && v.scram.iterations <= SCRAM_ITERATIONS_MAX);
    }
    CHECK(!table_find(t, STR("s"), STR("no: such"), &v));
    table_free(t);
    return 0;
}
