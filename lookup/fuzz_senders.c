/* The fuzz twin of the table of senders: any text is taken or refused with its place, and what is taken
 * lets nobody send from an address that it does not name. */
#include "common/arena.h"
#include "lookup/senders.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond) ((cond) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct lookup_rules rules = {.delimiter = '+'};
    char why[300];
    struct str text = {(const char *)data, size};
    struct addr sender = {STR("zq"), STR("zq.example")};
    struct senders *s = senders_parse(text, "f", why, sizeof why);
    if (!s) {
        CHECK(strncmp(why, "f:", 2) == 0);
        return 0;
    }
    struct arena *a = arena_new(65536);
    bool named = str_chr(text, '*') >= 0;
    for (size_t i = 0; i + 7 <= size; i++)
        named = named || str_starts_nocase(str_sub(text, i, size), STR("example"));
    bool allowed = sender_allowed(&rules, s, STR("alice"), &sender, a);
    CHECK(!allowed || named);
    arena_free(a);
    senders_free(s);
    return 0;
}
