#include "lookup/text.h"

#include <stdio.h>

/* For a terminal: octets outside 0x20..0x7e as \xHH. (Quotes stay as they are, it is the user's own text.) */
static void put_word(struct buf *b, struct str word) {
    for (size_t i = 0; i < word.n && b->n + 5 < b->max; i++) {
        unsigned char c = (unsigned char)word.p[i];
        if (c >= 0x20 && c <= 0x7e) buf_addc(b, (char)c);
        else buf_addf(b, "\\x%02x", c);
    }
}

bool table_fail(struct table_error *err, unsigned line, struct str word, const char *text) {
    struct buf b = BUF(err->word);
    err->line = line;
    put_word(&b, word);
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
