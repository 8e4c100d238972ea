/* test_options.c: the command lines of real callers (ecosystem table), spellings, and mistakes. */
#include "submit/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static bool parse(struct options *o, char **argv) {
    int n = 0;
    while (argv[n]) n++;
    return options_parse(o, n, argv);
}

#define ARGV(...) ((char *[]){__VA_ARGS__, NULL})

static void callers(void **state) {
    struct options o;
    assert_true(parse(&o, ARGV("/usr/sbin/sendmail", "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root")));
    assert_string_equal(o.name, "CronDaemon");
    assert_true(o.keep_dots && o.errors == ERRORS_MAIL && o.rcpt_count == 1 && !o.from_header);
    assert_true(parse(&o, ARGV("sendmail", "-i", "-t")));
    assert_true(o.from_header && o.rcpt_count == 0);
    assert_true(parse(&o, ARGV("sendmail", "-i", "-f", "a@b", "--", "-odd", "c")));
    assert_string_equal(o.sender, "a@b");
    assert_true(o.rcpt_count == 2);
    assert_string_equal(o.rcpts[0], "-odd");
    assert_true(parse(&o, ARGV("sendmail", "-oi", "-f", "alice@mx.dropin.test", "-t")));
    assert_true(o.keep_dots && o.from_header);
    assert_true(parse(&o, ARGV("sendmail", "-oem", "-oi", "--", "a", "b")));
    assert_true(o.rcpt_count == 2 && o.errors == ERRORS_MAIL);
    assert_true(parse(&o, ARGV("sendmail", "-t", "-i", "-fbounce@x")));
    assert_string_equal(o.sender, "bounce@x");
    assert_true(parse(&o, ARGV("sendmail", "-f", "user", "--", "rcpt")));
    assert_true(parse(&o, ARGV("sendmail", "-ti")));
    assert_true(o.from_header && o.keep_dots);
    assert_true(parse(&o, ARGV("sendmail", "-tf", "x@y", "-oee")));
    assert_true(o.from_header && strcmp(o.sender, "x@y") == 0 && o.errors == ERRORS_MAIL_OK);
}

static void spellings(void **state) {
    struct options o;
    assert_true(parse(
        &o, ARGV("sendmail", "-o", "i", "-o", "em", "-odb", "-odi", "-odq", "-oMr", "-om", "-oeq", "x")));
    assert_true(o.keep_dots && o.errors == ERRORS_QUIET);
    assert_true(parse(&o, ARGV("sendmail", "-r", "a", "-F", "Full Name", "-B", "8BITMIME", "-N",
                               "success,failure", "-R", "hdrs", "-V", "id1", "x")));
    assert_string_equal(o.notify, "success,failure");
    assert_string_equal(o.ret, "HDRS");
    assert_string_equal(o.envid, "id1");
    assert_true(parse(&o, ARGV("sendmail", "-f", "", "x")));
    assert_string_equal(o.sender, "");
    assert_true(parse(&o, ARGV("sendmail", "-C/etc/x", "-v", "-bm", "-d8", "-m", "-G", "-h", "3", "x")));
    assert_true(o.verbose && o.mode == MODE_SEND && strcmp(o.config, "/etc/x") == 0);
    assert_true(parse(&o, ARGV("sendmail", "-B7bit", "-Nnever", "x")));
    assert_true(o.body_7bit);
    assert_true(parse(&o, ARGV("sendmail", "-")));
    assert_true(o.rcpt_count == 1);
}

static void modes(void **state) {
    static const struct {
        const char *argv[3];
        enum mode mode;
    } rows[] = {
        {{"mailq"}, MODE_QUEUE},
        {{"/usr/bin/newaliases"}, MODE_ALIASES},
        {{"sendmail", "-bp"}, MODE_QUEUE},
        {{"sendmail", "-bi"}, MODE_ALIASES},
        {{"sendmail", "-I"}, MODE_ALIASES},
        {{"sendmail", "-bs"}, MODE_SMTP},
        {{"sendmail", "-bv"}, MODE_VERIFY},
        {{"sendmail", "-q"}, MODE_FLUSH},
        {{"sendmail", "-q30m"}, MODE_FLUSH},
        {{"sendmail", "-qRexample"}, MODE_FLUSH},
        {{"sendmail", "--help"}, MODE_HELP},
        {{"sendmail", "--version"}, MODE_VERSION},
        {{"sendmail", "x"}, MODE_SEND},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct options o;
        char a[32], b[32];
        snprintf(a, sizeof a, "%s", rows[i].argv[0]);
        snprintf(b, sizeof b, "%s", rows[i].argv[1] ? rows[i].argv[1] : "");
        char *argv[] = {a, rows[i].argv[1] ? b : NULL, NULL};
        assert_true(parse(&o, argv));
        assert_int_equal(o.mode, rows[i].mode);
    }
}

static void mistakes(void **state) {
    static const struct {
        const char *argv[3], *named;
    } rows[] = {
        {{"-z", "x"}, "-z"},
        {{"-X", "/tmp/log"}, "-X"},
        {{"-f"}, "-f"},
        {{"-bd"}, "-b d"},
        {{"-bz"}, "-b z"},
        {{"-b"}, "-b"},
        {{"-BQP", "x"}, "-B QP"},
        {{"-Nmaybe", "x"}, "-N maybe"},
        {{"-Nnever,delay", "x"}, "-N"},
        {{"-Rsome", "x"}, "-R some"},
        {{"-C", ""}, "-C"},
        {{"-tz"}, "-z"},
        {{"-t\x1b", "x"}, "-\\x1b"},
        {{"x", "-f"}, "-f"},
        {{"-N", ""}, "-N"},
        {{"-V", "a\nb"}, "-V"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct options o;
        char name[] = "sendmail", mem[2][64];
        char *argv[4] = {name};
        for (size_t k = 0; k < 2 && rows[i].argv[k]; k++) {
            snprintf(mem[k], sizeof mem[k], "%s", rows[i].argv[k]);
            argv[k + 1] = mem[k];
        }
        if (parse(&o, argv)) fail_msg("%s was taken", rows[i].argv[0]);
        if (!strstr(o.why, rows[i].named)) fail_msg("%s: %s", rows[i].argv[0], o.why);
    }
    struct options o;
    assert_true(options_parse(&o, 0, (char *[]){NULL})); /* execve without argv[0] */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers),
        cmocka_unit_test(spellings),
        cmocka_unit_test(modes),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
