/* fuzz_addr.c: the fuzz twin of addr.c. The first octet is the flags, the rest is text; what is accepted must come
 * back from its own printed form. */
#include "common/addr.h"
#include "common/arena.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool truth) {
    if (!truth) abort();
}

static void comes_back(struct arena *a, const struct addr *got, unsigned flags) {
    struct addr again;
    const char *why;
    struct str text = addr_text(a, got);
    check(text.p && text.n <= ADDR_TEXT_MAX);
    check(got->local.n <= ADDR_LOCAL_MAX && got->domain.n <= ADDR_DOMAIN_MAX);
    check(addr_parse(text, flags, a, &again, &why));
    check(addr_same(got, &again));
    for (size_t i = 0; i < text.n; i++) check((unsigned char)text.p[i] >= 0x20 && text.p[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct arena *a;
    if (!a) a = arena_new(1 << 16);
    if (size == 0) return 0;
    unsigned flags = data[0];
    struct str text = {(const char *)data + 1, size - 1}, rest, domain, same;
    struct addr got;
    const char *why = NULL;
    arena_reset(a);
    if (addr_parse(text, flags, a, &got, &why)) comes_back(a, &got, flags);
    else check(why && *why);
    if (addr_parse_path(text, flags, a, &got, &rest, &why)) {
        comes_back(a, &got, flags);
        check(rest.n < text.n);
    }
    if (domain_parse(text, flags, a, &domain, &why))
        check(domain_parse(domain, flags, a, &same, &why) && str_eq(domain, same));
    return 0;
}
