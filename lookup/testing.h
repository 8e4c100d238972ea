/* testing.h: runs rows of a table language: texts with the entries that they make, and texts with their mistake.
 * For test_aliases.c and test_routes.c. */
#ifndef POSTERN_LOOKUP_TESTING_H
#define POSTERN_LOOKUP_TESTING_H

#include "lookup/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* Prints an entry into ctx, a struct buf; fails the test when the value cannot be read. */
typedef bool entry_printer(void *ctx, unsigned line, struct str key, struct str value,
                           struct table_error *err);
typedef bool table_parser(struct str text, const struct table_sink *sink, struct table_error *err);

struct good_text {
    const char *text, *entries;
};
struct bad_text {
    const char *text;
    unsigned line;
    const char *word, *says; /* the word that the error names, and a part of what it says */
};

struct parsed {
    bool good;
    struct table_error err;
    char entries[1000];
};

static struct parsed parse_text(table_parser *parse, entry_printer *print, const char *text) {
    struct parsed p = {0};
    struct buf b = BUF(p.entries);
    p.good = parse(str_of(text), &(struct table_sink){&b, print}, &p.err);
    buf_cstr(&b);
    return p;
}

static void texts_are_read(table_parser *parse, entry_printer *print, const struct good_text *rows,
                           size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct parsed p = parse_text(parse, print, rows[i].text);
        if (!p.good)
            fail_msg("row %zu: line %u: %s: %s\n%s", i, p.err.line, p.err.word, p.err.text, rows[i].text);
        assert_string_equal(p.entries, rows[i].entries);
    }
}

static void texts_are_refused(table_parser *parse, entry_printer *print, const struct bad_text *rows,
                              size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct parsed p = parse_text(parse, print, rows[i].text);
        if (p.good) fail_msg("taken: %s", rows[i].text);
        if (p.err.line != rows[i].line || strcmp(p.err.word, rows[i].word) != 0 ||
            !strstr(p.err.text, rows[i].says))
            fail_msg("row %zu: line %u: \"%s\": %s\nfor: %s", i, p.err.line, p.err.word, p.err.text,
                     rows[i].text);
    }
}

#endif
