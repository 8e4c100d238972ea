/* test_config.c: the grammar of postern.conf, the types of settings, and what errors say. */
#include "common/arena.h"
#include "common/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct config *parse(const char *text, struct config_error *err) {
    err->text[0] = '\0';
    return config_parse("f", str_of(text), err);
}

static struct config *good(const char *text) {
    struct config_error err;
    struct config *c = parse(text, &err);
    if (!c) fail_msg("refused: %s\nfor: %s", err.text, text);
    return c;
}

static void has_defaults(void **state) {
    struct config *c = good("");
    assert_string_equal(c->hostname, "");
    assert_string_equal(c->spool_directory, "/var/spool/postern/queue");
    assert_int_equal(c->relay_networks.n, 2);
    assert_int_equal(c->listen.n, 2);
    assert_int_equal(c->listen.v[0].port, 25);
    assert_int_equal(c->listen.v[1].ip.family, 6);
    assert_int_equal(c->smtpd_processes, 2);
    assert_int_equal(c->message_size_limit, 50 * 1024 * 1024);
    assert_int_equal(c->command_timeout, 300000);
    assert_int_equal(c->queue_lifetime, 5 * 86400000);
    assert_false(c->allow_loopback);
    assert_int_equal(c->resolver.n, 0);
    assert_int_equal(config_line(c, "listen"), 0);
    config_free(c);
}

static void limits(void **state) {
    static const char *const wrong[] = {
        "limit-connections = 1 2 3", "limit-connections = -1", "limit-connections = 60001",
        "limit-prefix = 0",          "limit-messages = 10",    "limit-messages = 10/1m 5/1m x",
        "limit-messages = 0/1m",     "limit-messages = 10/",   "limit-messages = 10/100ms",
        "limit-messages = 10/2d",    "early-commands = maybe",
    };
    struct config_error err;
    struct config *c = good("limit-connections = 7\nlimit-messages = 10/2m 1000000/1d\nlimit-recipients = "
                            "5/1s\nlimit-errors = 0");
    (void)state;
    assert_int_equal(c->limit_connections.client, 7);
    assert_int_equal(c->limit_connections.network, 0);
    assert_int_equal(c->limit_messages.client.n, 10);
    assert_int_equal(c->limit_messages.client.ms, 120000);
    assert_int_equal(c->limit_messages.network.n, 1000000);
    assert_int_equal(c->limit_messages.network.ms, 86400000);
    assert_int_equal(c->limit_recipients.network.n, 0);
    assert_int_equal(c->limit_errors.client.n, 0);
    assert_int_equal(c->limit_prefix.network, 64);
    config_free(c);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (parse(wrong[i], &err)) fail_msg("taken: %s", wrong[i]);
}

static void keeps_values(void **state) {
    struct config *c = good("hostname=mx.example   # why\n"
                            "listen =\n"
                            "    127.0.0.1:2525  # here\n"
                            "# between\n"
                            "\t[::1]:2525\r\n"
                            "local-domains = one.example\n two.example [192.0.2.1]\n"
                            "relay-domains = .three.example three.example\n"
                            "spool-directory = /tmp/a b/\n"
                            "allow-loopback-exchangers = YES\n"
                            "log = file:/tmp/x#y\n"
                            "relay-networks = none");
    assert_string_equal(c->hostname, "mx.example");
    assert_int_equal(c->listen.n, 2);
    assert_int_equal(c->listen.v[0].port, 2525);
    assert_int_equal(c->local_domains.n, 3);
    assert_int_equal(c->relay_domains.n, 2);
    assert_true(str_eq(c->local_domains.v[1], STR("two.example")));
    assert_string_equal(c->spool_directory, "/tmp/a b");
    assert_true(c->allow_loopback);
    assert_string_equal(c->log, "file:/tmp/x#y");
    assert_int_equal(c->relay_networks.n, 0);
    assert_int_equal(config_line(c, "listen"), 2);
    assert_int_equal(config_line(c, "relay-networks"), 12);
    assert_string_equal(config_text(c, "listen"), "127.0.0.1:2525 [::1]:2525");
    assert_null(config_text(c, "nothing"));
    config_free(c);
}

static void counts_units(void **state) {
    static const struct {
        const char *name, *text;
        uint64_t value; /* 0: refused */
    } rows[] = {
        {"message-size-limit", "1024", 1024},  {"message-size-limit", "1K", 1024},
        {"message-size-limit", "3m", 3 << 20}, {"message-size-limit", "1G", 1 << 30},
        {"message-size-limit", "1023", 0},     {"message-size-limit", "5G", 0},
        {"message-size-limit", "K", 0},        {"message-size-limit", "1 K", 0},
        {"message-size-limit", "-1", 0},       {"message-size-limit", "99999999999999999999G", 0},
        {"command-timeout", "1", 1000},        {"command-timeout", "1s", 1000},
        {"command-timeout", "2000ms", 2000},   {"command-timeout", "1h", 3600000},
        {"command-timeout", "2m", 120000},     {"command-timeout", "999ms", 0},
        {"command-timeout", "2h", 0},          {"command-timeout", "1x", 0},
        {"command-timeout", "1.5m", 0},        {"smtpd-processes", "64", 64},
        {"smtpd-processes", "65", 0},          {"smtpd-processes", "0", 0},
        {"smtpd-processes", "two", 0},         {"smtpd-processes", "0x2", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config *c = config_new();
        const char *why = NULL;
        bool ok = config_set(c, str_of(rows[i].name), str_of(rows[i].text), &why);
        if (ok != (rows[i].value != 0)) fail_msg("%s = %s", rows[i].name, rows[i].text);
        if (!ok) assert_non_null(why);
        uint64_t v = *rows[i].name == 'm'   ? c->message_size_limit
                     : *rows[i].name == 'c' ? c->command_timeout
                                            : c->smtpd_processes;
        if (ok) assert_int_equal(v, rows[i].value);
        config_free(c);
    }
}

static void says_what_is_wrong(void **state) {
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"hostnmae = x", "f:1: hostnmae: no such setting; did you mean \"hostname\"?"},
        {"\n\nspool_directory = /x",
         "f:3: spool_directory: no such setting; did you mean \"spool-directory\"?"},
        {"xyzzy = 1", "f:1: xyzzy: no such setting; postern.conf(5) lists them"},
        {"hostname", "f:1: hostname: has no \"=\": write name = value"},
        {" x = 1",
         "f:1: x = 1: begins with white space, but no setting stands before it: move it to the left"},
        {"= 1", "f:1: is no name of a setting: write name = value"},
        {"host name = 1", "f:1: host name: is no name of a setting: write name = value"},
        {"log = stderr\nlog = syslog", "f:2: log: is set twice (line 1 too): take one out"},
        {"smtp-port = 0", "f:1: smtp-port = 0: must be a number from 1 to 65535"},
        {"command-timeout = 5 m",
         "f:1: command-timeout = 5 m: must be a time (with ms, s, m, h or d) from 1s to 1h"},
        {"connection-idle = x",
         "f:1: connection-idle = x: must be a time (with ms, s, m, h or d) from 0s to 5m"},
        {"message-size-limit = 1",
         "f:1: message-size-limit = 1: must be a size (octets, or with K, M or G) from 1K to 4294967295"},
        {"allow-loopback-exchangers = 1", "f:1: allow-loopback-exchangers = 1: must be yes or no"},
        {"smtpd-processes =", "f:1: smtpd-processes: needs a value, like 2"},
        {"spool-directory = x",
         "f:1: spool-directory = x: must be an absolute path (it begins with /) without . and .. in it"},
        {"spool-directory = /a/../b", "f:1: spool-directory = /a/../b: must be an absolute path (it begins "
                                      "with /) without . and .. in it"},
        {"log = \x01", "f:1: log = \\x01: has a control character in it"},
        {"log = nowhere", "f:1: log = nowhere: must be syslog, stderr, or file: and an absolute path"},
        {"log = file:x", "f:1: log = file:x: must be syslog, stderr, or file: and an absolute path"},
        {"listen = 127.0.0.1:25 127.0.0.1:25",
         "f:1: listen = 127.0.0.1:25 127.0.0.1:25: \"127.0.0.1:25\": is there twice: take one out"},
        {"recipient-delimiter = ++",
         "f:1: recipient-delimiter = ++: must be one character other than @, or none"},
        {"mailbox = /x",
         "f:1: mailbox = /x: must be maildir:PATH or mbox:PATH, where PATH begins with / or %h"},
        {"retry-first = 3h", "f: retry-max = 2h: is shorter than retry-first (3h): make it at least as long"},
        {"retry-first = 3h\nretry-max = 2h",
         "f:2: retry-max = 2h: is shorter than retry-first (3h): make it at least as long"},
        {"local-domains = a.example\nrelay-domains = A.example",
         "f:2: relay-domains = A.example: \"A.example\" is in local-domains too: take it out of one"},
        {"state-directory = /var/spool/postern/queue/x",
         "f:1: state-directory = /var/spool/postern/queue/x: is the same as, inside of, or around "
         "spool-directory "
         "(/var/spool/postern/queue): each needs a directory of its own"},
        {"hostname = a_b!", NULL},
        {"hostname = [192.0.2.1]", "f:1: hostname = [192.0.2.1]: must be a name, not an address"},
        {"relay-networks = 127.0.0.1/8", NULL},
        {"listen = 25", NULL},
        {"local-domains = x..y", NULL},
        {"local-domains = [192.0.2.300]", NULL},
        {"local-domains = .example", NULL},
        {"relay-domains = [192.0.2.1]", NULL},
        {"relay-domains = ..example", NULL},
        {"spool-mode = jornal", "f:1: spool-mode = jornal: must be journal or direct"},
        {"auth-source = shadow", "f:1: auth-source = shadow: must be file, pam, dovecot or none"},
        {"auth-file = /passwords", NULL},
        {"auth-mechanisms = PLAIN SCRAM-SHA256",
         "f:1: auth-mechanisms = PLAIN SCRAM-SHA256: \"SCRAM-SHA256\" is no mechanism; did you mean "
         "SCRAM-SHA-256?"},
        {"auth-mechanisms = CRAM-MD5", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config_error err;
        struct config *c = parse(rows[i].text, &err);
        if (c) fail_msg("taken: %s", rows[i].text);
        if (rows[i].error) assert_string_equal(err.text, rows[i].error);
        else assert_true(strncmp(err.text, "f:1: ", 5) == 0);
    }
}

static void bounds_its_input(void **state) {
    static char big[100000];
    struct config_error err;
    memset(big, 'a', sizeof big - 1);
    assert_null(config_parse("f", str_of(big), &err));
    assert_true(strlen(err.text) < sizeof err.text);
    memcpy(big, "local-domains = ", 16);
    assert_null(config_parse("f", str_of(big), &err));
    assert_string_equal(err.text, "f:1: local-domains: the value is too long");
    for (size_t i = 16; i < 30000; i++) big[i] = i % 2 ? ' ' : 'a';
    big[30000] = '\0';
    struct config *c = config_parse("f", str_of(big), &err);
    assert_non_null(c);
    assert_int_equal(c->local_domains.n, (30000 - 16) / 2);
    config_free(c);
    assert_null(config_parse("f", (struct str){"log = a\0b", 9}, &err));
}

static void leaves_a_config_alone_that_it_refuses(void **state) {
    struct config *c = good("listen = 127.0.0.1:1");
    const char *why;
    assert_false(config_set(c, STR("listen"), STR("127.0.0.1:2 x"), &why));
    assert_int_equal(c->listen.n, 1);
    assert_int_equal(c->listen.v[0].port, 1);
    assert_string_equal(config_text(c, "listen"), "127.0.0.1:1");
    assert_false(config_set(c, STR("no"), STR("1"), &why));
    config_free(c);
}

static void count(void *ctx, const char *name, struct str text, unsigned line) {
    unsigned *bits = ctx;
    *bits += 1;
    if (strcmp(name, "spool-directory") == 0) *bits += 1000;
    if (strcmp(name, "hostname") == 0) assert_true(str_eq(text, STR("mx.example")));
}

static void tells_each_role_its_own(void **state) {
    struct config *c = good("hostname = mx.example");
    unsigned queue = 0, smtpd = 0;
    config_each_for(c, ROLE_queue, count, &queue);
    config_each_for(c, ROLE_smtpd, count, &smtpd);
    assert_true(queue > 1000);
    assert_true(smtpd > 2 && smtpd < 1000);
    config_free(c);
}

static void knows_what_a_change_means(void **state) {
    struct config *a = good(""), *b = good("error-limit = 5"), *c = good("spool-directory = /x");
    assert_int_equal(config_change(a, a, ROLE_smtpd), 0);
    assert_int_equal(config_change(a, b, ROLE_smtpd), 1);
    assert_int_equal(config_change(a, b, ROLE_queue), 0);
    assert_int_equal(config_change(a, c, ROLE_queue), 2);
    assert_int_equal(config_change(a, c, ROLE_smtpd), 0);
    config_free(a), config_free(b), config_free(c);
}

static void keep_last(void *ctx, const char *name, struct str text, unsigned line) {
    char *out = ctx;
    if (strcmp(name, "rule") == 0)
        snprintf(out + strlen(out), 200 - strlen(out), "%u:%.*s;", line, STR_ARGS(text));
}

static void keeps_rules_in_order(void **state) {
    struct config *c = good(
                      "rule = mail  sender=<> accept\nerror-limit = 5\nrule = rcpt\n recipient=a@b\treject"),
                  *same = good("rule = mail sender=<> accept\n\nrule = rcpt recipient=a@b reject"),
                  *other = good("rule = rcpt recipient=a@b reject");
    struct config_error err;
    char told[200] = "";
    assert_int_equal(c->rule.n, 2);
    config_each_for(c, ROLE_smtpd, keep_last, told);
    assert_string_equal(told, "1:mail sender=<> accept;3:rcpt recipient=a@b reject;");
    assert_int_equal(config_change(c, other, ROLE_smtpd), 1);
    assert_int_equal(config_change(c, other, ROLE_queue), 0);
    assert_int_equal(config_change(c, same, ROLE_queue), 0);
    assert_null(parse("rule = mail reject\nrule = mail sendr=x@y reject", &err));
    assert_string_equal(
        err.text, "f:2: rule = mail sendr=x@y reject: \"sendr\": is no condition; did you mean \"sender\"?");
    assert_null(parse("rule =\n", &err));
    config_free(c), config_free(same), config_free(other);
}

static void completes(void **state) {
    struct config *c = good(""), *d = good("hostname = mx.example\norigin = example");
    config_complete(c);
    config_complete(d);
    assert_true(*c->hostname && *c->origin && *c->program_directory == '/');
    assert_string_equal(config_text(c, "hostname"), c->hostname);
    assert_string_equal(d->hostname, "mx.example");
    assert_string_equal(d->origin, "example");
    config_free(c), config_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_defaults),
        cmocka_unit_test(keeps_values),
        cmocka_unit_test(limits),
        cmocka_unit_test(counts_units),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(bounds_its_input),
        cmocka_unit_test(leaves_a_config_alone_that_it_refuses),
        cmocka_unit_test(tells_each_role_its_own),
        cmocka_unit_test(knows_what_a_change_means),
        cmocka_unit_test(keeps_rules_in_order),
        cmocka_unit_test(completes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
