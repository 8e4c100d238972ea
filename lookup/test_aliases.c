/* test_aliases.c: the language of alias tables, what mistakes say, and that a mistake keeps the old map. */
#include "lookup/aliases.h"
#include "lookup/compile.h"
#include "lookup/testing.h"
#include "lookup/values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* Entries as one line: "name=N:alice,A:bob@x.example;" */
static bool print_entry(void *ctx, unsigned line, struct str key, struct str value, struct table_error *err) {
    struct buf *b = ctx;
    struct alias_target t;
    struct str rest;
    int more;
    (void)line, (void)err;
    assert_true(alias_value_open(value, &rest));
    buf_add(b, key);
    for (char mark = '='; (more = alias_value_next(&rest, &t)) > 0; mark = ',') {
        buf_addc(b, mark);
        buf_addc(b, (char)t.kind);
        buf_addc(b, ':');
        buf_add(b, t.text);
    }
    assert_int_equal(more, 0);
    buf_addc(b, ';');
    return true;
}

static void reads_the_language(void **state) {
    static const struct good_text rows[] = {
        {"", ""},
        {"\n\n", ""},
        {"# only\n   # comments\n", ""},
        {"root: alice\n", "root=N:alice;"},
        {"root: alice", "root=N:alice;"},
        {"ROOT:Alice\r\n", "root=N:Alice;"},
        {"root : alice\n", "root=N:alice;"},
        {"a: b,c , d\n", "a=N:b,N:c,N:d;"},
        {"a: b,\n   c,\n\td\nx: y\n", "a=N:b,N:c,N:d;x=N:y;"},
        {"a:\n b\n", "a=N:b;"},
        {"a: b,\n# comment\n\n   # another\n  c\n", "a=N:b,N:c;"},
        {"a: b, # why\n  c # and\n", "a=N:b,N:c;"},
        {"a: b#c\n", "a=N:b#c;"},
        {"a: b,,c,\n", "a=N:b,N:c;"},
        {"a: \\a, b@x.example\n", "a=F:a,A:b@x.example;"},
        {"a: \"\\a\"\n", "a=N:a;"}, /* within quotes the backslash is the quote's own */
        {"a: \"\\\\a\"\n", "a=F:a;"},
        {"a: B@X.Example\n", "a=A:B@x.example;"},
        {"a: \"b@x.example\"\n", "a=A:b@x.example;"},
        {"a: \"b c\"\n", "a=N:b c;"},
        {"a: \"b, c\", d\n", "a=N:b, c,N:d;"},
        {"a: \"b c\"@x.example\n", "a=A:\"b c\"@x.example;"},
        {"a: b@[192.0.2.1]\n", "a=A:b@[192.0.2.1];"},
        {"a: Some One <b@x.example>\n", "a=A:b@x.example;"},
        {"a: \"One, Some\" <b@x.example>, c\n", "a=A:b@x.example,N:c;"},
        {"a: b (who, is (nested) that), c (\\) quoted)\n", "a=N:b,N:c;"},
        {"\"Full Name\": b\n", "full name=N:b;"},
        {"\"a:b\": c\n", "a:b=N:c;"},
        {"a+x: b\n", "a+x=N:b;"},
        {"a: b-c.d_e\n", "a=N:b-c.d_e;"},
    };
    (void)state;
    texts_are_read(aliases_parse, print_entry, rows, sizeof rows / sizeof *rows);
}

static void names_mistakes(void **state) {
    static const struct bad_text rows[] = {
        {"a b\n", 1, "a b", "colon"},
        {"ok: x\n\nbad\n", 3, "bad", "colon"},
        {"a:\n", 1, "a", "stands for nothing"},
        {"a: ,\n", 1, "a", "stands for nothing"},
        {": b\n", 1, "", "1 to 63"},
        {"a b: c\n", 1, "a b", "quotes"},
        {"a@x.example: b\n", 1, "a@x.example", "no domain"},
        {"  a: b\n", 1, "", "white space"},
        {"a: b c\n", 1, "b c", "comma"},
        {"a: b,\n  c d\n", 2, "c d", "comma"},
        {"a: \"b\n", 1, "\"b", "not closed"},
        {"\"a: b\n", 1, "\"a: b", "not closed"},
        {"a: b@\n", 1, "b@", "no address"},
        {"a: (b\n", 1, "(", "parenthesis"},
        {"a: :fail:\n", 1, ":fail:", "colon"},
        {"a: |/bin/cat\n", 1, "|/bin/cat", "not supported yet"},
        {"a: \"|/bin/cat -n, x\"\n", 1, "|/bin/cat -n, x", "not supported yet"},
        {"a: /dev/null\n", 1, "/dev/null", "not supported yet"},
        {"a: \"/var/mail/x y\"\n", 1, "/var/mail/x y", "not supported yet"},
        {"a: b,\n :include:/etc/list\n", 2, ":include:/etc/list", "not supported yet"},
        {"a: b\xc3\xa9\n", 1, "b\\xc3\\xa9", "no address"},
        {"a: \x01\n", 1, "\\x01", "no address"},
        {"a\x01: b\n", 1, "a\\x01", "printable"},
        {"a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", 1,
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "63"},
    };
    (void)state;
    texts_are_refused(aliases_parse, print_entry, rows, sizeof rows / sizeof *rows);
}

static void refuses_damaged_values(void **state) {
    char mem[200];
    struct buf b = BUF(mem);
    struct str rest;
    struct alias_target t;
    alias_value_begin(&b);
    alias_value_add(&b, ALIAS_NAME, STR("alice"));
    alias_value_add(&b, ALIAS_ADDRESS, STR("b@x.example"));
    for (size_t cut = 0; cut < b.n; cut++) {
        struct str part = str_sub(buf_str(&b), 0, cut);
        int more = alias_value_open(part, &rest) ? 1 : -1;
        while (more > 0) more = alias_value_next(&rest, &t);
        /* Cut exactly between two targets it reads as whole: libcdb keeps the length. */
        assert_true(more == -1 || cut == 2 + 3 + 5);
    }
    mem[1] = 2;
    assert_false(alias_value_open(buf_str(&b), &rest));
    mem[1] = 1, mem[0] = 'R';
    assert_false(alias_value_open(buf_str(&b), &rest));
    mem[0] = 'A', mem[2] = '|';
    assert_true(alias_value_open(buf_str(&b), &rest));
    assert_int_equal(alias_value_next(&rest, &t), -1);
}

static char text_file[] = "/tmp/postern-aliases-XXXXXX";
static char cdb_file[sizeof text_file + 4];

static void write_text(const char *text) {
    FILE *f = fopen(text_file, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static ino_t map_inode(void) {
    struct stat st;
    return stat(cdb_file, &st) == 0 ? st.st_ino : 0;
}

static void keeps_the_old_map(void **state) {
    struct compile_report r;
    int fd = mkstemp(text_file);
    assert_true(fd >= 0);
    close(fd);
    snprintf(cdb_file, sizeof cdb_file, "%s.cdb", text_file);
    write_text("root: alice\nRoot: bob\nx: y, z\n");
    assert_true(aliases_compile(text_file, NULL, &r));
    assert_int_equal(r.entries, 2);
    assert_int_equal(r.warnings, 1);
    assert_non_null(strstr(r.warning, ":2: root: "));
    assert_non_null(strstr(r.text, ": 2 aliases, longest "));
    ino_t first = map_inode();
    assert_true(first != 0);
    write_text("root: alice\nbad\n");
    assert_false(aliases_compile(text_file, NULL, &r));
    assert_non_null(strstr(r.text, ":2: bad: "));
    assert_int_equal(r.error, 0);
    assert_int_equal(map_inode(), first);
    write_text("");
    assert_true(aliases_compile(text_file, NULL, &r));
    assert_true(map_inode() != first);
    unlink(text_file);
    assert_false(aliases_compile(text_file, NULL, &r));
    assert_true(r.error != 0);
    assert_false(aliases_compile("/", NULL, &r));
    assert_false(aliases_compile("/nowhere/aliases", NULL, &r));
    unlink(cdb_file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_language),
        cmocka_unit_test(names_mistakes),
        cmocka_unit_test(refuses_damaged_values),
        cmocka_unit_test(keeps_the_old_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
