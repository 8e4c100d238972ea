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

static void texts_are_read(table_parser *parse, entry_printer *print, const struct good_text *rows,
                           size_t n) {
    for (size_t i = 0; i < n; i++) {
        char mem[1000];
        struct buf b = BUF(mem);
        struct table_error err = {0};
        struct table_sink sink = {&b, print};
        if (!parse(str_of(rows[i].text), &sink, &err))
            fail_msg("row %zu: line %u: %s: %s\n%s", i, err.line, err.word, err.text, rows[i].text);
        assert_string_equal(buf_cstr(&b), rows[i].entries);
    }
}

static void texts_are_refused(table_parser *parse, entry_printer *print, const struct bad_text *rows,
                              size_t n) {
    for (size_t i = 0; i < n; i++) {
        char mem[1000];
        struct buf b = BUF(mem);
        struct table_error err = {0};
        struct table_sink sink = {&b, print};
        if (parse(str_of(rows[i].text), &sink, &err)) fail_msg("taken: %s", rows[i].text);
        if (err.line != rows[i].line || strcmp(err.word, rows[i].word) != 0 ||
            !strstr(err.text, rows[i].says))
            fail_msg("row %zu: line %u: \"%s\": %s\nfor: %s", i, err.line, err.word, err.text, rows[i].text);
    }
}

#endif
