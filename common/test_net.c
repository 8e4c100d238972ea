/* test_net.c: addresses, networks and ports as values. */
#include "common/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static struct ip ip_of(const char *text) {
    struct ip ip;
    if (!ip_parse(str_of(text), &ip)) fail_msg("ip %s", text);
    return ip;
}

static void ips(void **state) {
    static const struct {
        const char *text, *want; /* NULL: refused */
    } rows[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
        {"::", "::"},
        {"::1", "::1"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"::ffff:c000:201", "192.0.2.1"},
        {"64:ff9b::192.0.2.1", "64:ff9b::c000:201"},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
        {"", NULL},
        {"256.0.0.1", NULL},
        {"192.0.2", NULL},
        {"192.0.2.1.", NULL},
        {"192.0.2.01", NULL}, /* octal to some, decimal to others */
        {"0x7f.0.0.1", NULL},
        {"2130706433", NULL},
        {" 192.0.2.1", NULL},
        {"192.0.2.1\n", NULL},
        {"1:2:3:4:5:6:7:8:9", NULL},
        {"1:2:3:4:5:6:7:8::", NULL},
        {"1::2::3", NULL},
        {":::", NULL},
        {"12345::", NULL},
        {"fe80::1%lo", NULL},
        {"[::1]", NULL},
        {"2001:0db8:0000:0000:0000:0000:0000:0001:0000:0000:0000:0000:0000", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ip ip;
        char mem[64];
        struct buf b = BUF(mem);
        bool ok = ip_parse(str_of(rows[i].text), &ip);
        if (ok != (rows[i].want != NULL)) fail_msg("%s", rows[i].text);
        if (!ok) continue;
        ip_format(&b, &ip);
        assert_string_equal(buf_cstr(&b), rows[i].want);
    }
    struct ip ip;
    assert_false(ip_parse((struct str){"1.2.3.4\0", 8}, &ip));
}

static void kinds(void **state) {
    struct ip none = {0}, a;
    assert_true(ip_is_loopback((a = ip_of("127.255.0.1"), &a)));
    assert_true(ip_is_loopback((a = ip_of("::1"), &a)));
    assert_true(ip_is_loopback((a = ip_of("::ffff:127.0.0.1"), &a)));
    assert_false(ip_is_loopback((a = ip_of("128.0.0.1"), &a)));
    assert_false(ip_is_loopback((a = ip_of("::"), &a)));
    assert_false(ip_is_loopback(&none));
    assert_true(ip_is_unspecified((a = ip_of("0.0.0.0"), &a)));
    assert_true(ip_is_unspecified((a = ip_of("::"), &a)));
    assert_false(ip_is_unspecified((a = ip_of("::1"), &a)));
    assert_false(ip_is_unspecified(&none));
    assert_true(ip_eq(&none, &none));
    assert_false(ip_eq(&none, &a));
}

static void networks(void **state) {
    static const struct {
        const char *net, *in, *out; /* in NULL: refused */
    } rows[] = {
        {"192.0.2.0/24", "192.0.2.255", "192.0.3.0"},
        {"192.0.2.128/25", "192.0.2.129", "192.0.2.127"},
        {"10.0.0.0/7", "11.1.1.1", "12.0.0.0"},
        {"0.0.0.0/0", "8.8.8.8", "::1"},
        {"::/0", "::1", "8.8.8.8"},
        {"192.0.2.1", "192.0.2.1", "192.0.2.0"},
        {"2001:db8::/32", "2001:db8:ffff::", "2001:db9::"},
        {"2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"},
        {"::1", "::1", "::2"},
        {"::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.0"},
        {"::ffff:0.0.0.0/96", "1.2.3.4", "::1"},
        {"::ffff:0.0.0.0/95", NULL, NULL},
        {"192.0.2.1/24", NULL, NULL},
        {"2001:db8::1/64", NULL, NULL},
        {"192.0.2.0/33", NULL, NULL},
        {"::/129", NULL, NULL},
        {"192.0.2.0/", NULL, NULL},
        {"192.0.2.0/-1", NULL, NULL},
        {"192.0.2.0/24/24", NULL, NULL},
        {"192.0.2.0/255.255.255.0", NULL, NULL},
        {"192.0.2/24", NULL, NULL},
        {"/24", NULL, NULL},
        {"", NULL, NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct network net;
        const char *why = NULL;
        bool ok = network_parse(str_of(rows[i].net), &net, &why);
        if (ok != (rows[i].in != NULL)) fail_msg("%s", rows[i].net);
        if (!ok) {
            assert_non_null(why);
            continue;
        }
        struct ip in = ip_of(rows[i].in), out = ip_of(rows[i].out), none = {0};
        struct networks list = {1, &net}, empty = {0, NULL};
        if (!networks_have(&list, &in)) fail_msg("%s in %s", rows[i].in, rows[i].net);
        if (networks_have(&list, &out)) fail_msg("%s in %s", rows[i].out, rows[i].net);
        assert_false(network_has(&net, &none)); /* a Unix socket is in no network */
        assert_false(networks_have(&empty, &in));
    }
}

static void hostports(void **state) {
    static const struct {
        const char *text, *want; /* NULL: refused */
    } rows[] = {
        {"192.0.2.1:25", "192.0.2.1:25"},
        {"[2001:DB8::1]:587", "[2001:db8::1]:587"},
        {"[::]:65535", "[::]:65535"},
        {"0.0.0.0:1", "0.0.0.0:1"},
        {"192.0.2.1", NULL},
        {"192.0.2.1:", NULL},
        {"192.0.2.1:0", NULL},
        {"192.0.2.1:65536", NULL},
        {"192.0.2.1:25 ", NULL},
        {"[192.0.2.1]:25", NULL},
        {"::1:25", NULL},
        {"[::1]", NULL},
        {"[::1]25", NULL},
        {"[::1:25", NULL},
        {"[]:25", NULL},
        {":25", NULL},
        {"", NULL},
        {"localhost:25", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ip ip;
        uint16_t port;
        const char *why = NULL;
        char mem[64];
        struct buf b = BUF(mem);
        bool ok = hostport_parse(str_of(rows[i].text), &ip, &port, &why);
        if (ok != (rows[i].want != NULL)) fail_msg("%s", rows[i].text);
        if (!ok) {
            assert_non_null(why);
            continue;
        }
        hostport_format(&b, &ip, port);
        assert_string_equal(buf_cstr(&b), rows[i].want);
    }
    char mem[16];
    struct buf b = BUF(mem);
    hostport_format(&b, &(struct ip){0}, 0);
    assert_string_equal(buf_cstr(&b), "local");
}

static void sockaddrs(void **state) {
    static const char *const rows[] = {"192.0.2.1", "2001:db8::1", "::"};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct sockaddr_storage sa;
        struct ip ip = ip_of(rows[i]), back;
        uint16_t port;
        assert_true(ip_to_sockaddr(&ip, 2525, &sa) > 0);
        assert_true(ip_from_sockaddr(&sa, &back, &port));
        assert_true(ip_eq(&ip, &back));
        assert_int_equal(port, 2525);
    }
    struct sockaddr_storage sa = {.ss_family = AF_UNIX};
    struct ip ip = {0};
    uint16_t port;
    assert_int_equal(ip_to_sockaddr(&ip, 1, &(struct sockaddr_storage){0}), 0);
    assert_false(ip_from_sockaddr(&sa, &ip, &port));
    assert_int_equal(ip.family, 0);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(ips),       cmocka_unit_test(kinds),     cmocka_unit_test(networks),
        cmocka_unit_test(hostports), cmocka_unit_test(sockaddrs),
    };
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
