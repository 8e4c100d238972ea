#include "lookup/text.h"

#include <stdio.h>

bool table_fail(struct table_error *err, unsigned line, struct str word, const char *text) {
    struct buf b = BUF(err->word);
    err->line = line;
    /* Room for the escapes (4 octets each) and the NUL: a cut in the middle of one would read as something else. */
    buf_add_escaped(&b, str_sub(word, 0, (sizeof err->word - 1) / 4));
    buf_cstr(&b);
    snprintf(err->text, sizeof err->text, "%s", text);
    return false;
}

void table_lower(struct buf *b, struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        buf_addc(b, c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c);
    }
}
