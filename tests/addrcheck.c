/* addrcheck: says of each line of standard input, an address in hexadecimal (so that it may hold NUL and line ends),
 * whether addr_parse takes it: "accept" and the address as printed, or "refuse" and why. For addr_vectors.py. */
#include "common/addr.h"
#include "common/arena.h"

#include <stdio.h>
#include <string.h>

/* Decodes hex in place of memory of the same arena; false: not hex. */
static bool unhex(struct arena *a, struct str hex, struct str *out) {
    struct buf b = buf_in(a, hex.n / 2 + 1);
    for (size_t i = 0; i < hex.n; i += 2) {
        uint64_t v;
        if (!str_hex_to_u64(str_sub(hex, i, i + 2), &v)) return false;
        buf_addc(&b, (char)v);
    }
    *out = buf_str(&b);
    return hex.n % 2 == 0 && !b.failed;
}

int main(void) {
    char line[8192];
    while (fgets(line, sizeof line, stdin)) {
        struct arena *a = arena_new(65536);
        struct str text;
        struct addr got;
        const char *why = "the line is not hexadecimal";
        if (unhex(a, str_trim(str_of(line)), &text) && addr_parse(text, 0, a, &got, &why))
            printf("accept %s\n", addr_text(a, &got).p);
        else
            printf("refuse %s\n", why);
        arena_free(a);
    }
    return 0;
}
