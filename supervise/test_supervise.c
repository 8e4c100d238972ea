/* test_supervise.c: reading the configuration in a caged child, directories, locks, listeners, ends and
 * waits. */
#include "common/arena.h"
#include "supervise/child.h"
#include "supervise/configure.h"
#include "supervise/dirs.h"
#include "supervise/listen.h"
#include "supervise/suite.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/postern-supervise-XXXXXX";
static char path[200];

static const char *in_dir(const char *name) {
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static const char *file_with(const char *text, size_t n) {
    int fd = open(in_dir("conf"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
    return path;
}

static void reads_a_file(void **state) {
    static const char text[] = "hostname = mx.example\n\nlisten = 127.0.0.1:2525\n";
    struct config_error err;
    struct config *c = configure_read(file_with(text, sizeof text - 1), &err);
    if (!c) fail_msg("%s", err.text);
    assert_string_equal(c->hostname, "mx.example");
    assert_string_equal(c->program_directory, POSTERN_PROGRAM_DIR);
    assert_int_equal(config_line(c, "listen"), 3);
    assert_int_equal(config_line(c, "log"), 0);
    assert_int_equal(c->listen.n, 1);
    config_free(c);
}

static void says_why_it_refuses_a_file(void **state) {
    struct config_error err;
    char want[300], *big = calloc(1, 2 << 20);
    assert_null(configure_read(file_with("listne = x\n", 11), &err));
    snprintf(want, sizeof want, "%s:1: listne: no such setting; did you mean \"listen\"?", path);
    assert_string_equal(err.text, want);
    assert_null(configure_read(in_dir("none"), &err));
    snprintf(want, sizeof want,
             "%s: cannot be opened: No such file or directory; posternd -c names another file", path);
    assert_string_equal(err.text, want);
    assert_null(configure_read(dir, &err));
    assert_non_null(strstr(err.text, "is no regular file"));
    memset(big, '#', 2 << 20);
    assert_null(configure_read(file_with(big, 2 << 20), &err));
    assert_non_null(strstr(err.text, "larger than 1 MiB"));
    assert_null(configure_read(file_with("a\0b = 1", 7), &err));
    free(big);
}

static bool ensure(const char *name, mode_t mode, struct buf *why) {
    why->n = 0;
    return dirs_ensure(in_dir(name), geteuid(), getegid(), mode, why);
}

static void makes_and_guards_directories(void **state) {
    char mem[400];
    struct buf why = BUF(mem);
    struct stat st;
    assert_true(ensure("a/b/c", 0700, &why));
    assert_true(stat(path, &st) == 0 && (st.st_mode & 07777) == 0700);
    assert_true(ensure("a/b/c", 03733, &why));
    assert_true(stat(path, &st) == 0 && (st.st_mode & 07777) == 03733);
    assert_false(ensure("a/b/c", 0700, &why)); /* others could have put something there */
    assert_non_null(strstr(buf_cstr(&why), "can be written by others"));
    assert_int_equal(chmod(path, 0750), 0);
    assert_true(ensure("a/b/c", 0700, &why));
    assert_int_equal(symlink("b/c", in_dir("a/link")), 0);
    assert_false(ensure("a/link", 0700, &why));
    why.n = 0;
    assert_false(dirs_ensure(in_dir("a/b/c"), geteuid() + 1, getegid(), 0700, &why));
    assert_non_null(strstr(buf_cstr(&why), "belongs to UID"));
}

static void locks_a_directory_once(void **state) {
    struct config_error err;
    struct config *c = config_new();
    const char *why;
    bool unclean = true;
    assert_true(config_set(c, STR("run-directory"), str_of(dir), &why));
    int fd = dirs_lock("f", c, &unclean, &err);
    assert_true(fd >= 0 && !unclean);
    assert_int_equal(dirs_lock("f", c, &unclean, &err), -1);
    assert_non_null(strstr(err.text, "another posternd (pid "));
    close(fd); /* as if killed */
    fd = dirs_lock("f", c, &unclean, &err);
    assert_true(fd >= 0 && unclean);
    dirs_unlock(fd);
    fd = dirs_lock("f", c, &unclean, &err);
    assert_true(fd >= 0 && !unclean);
    dirs_unlock(fd);
    config_free(c);
}

static void says_who_may_hold_a_port(void **state) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof sa;
    int holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(bind(holder, (struct sockaddr *)&sa, n) == 0 && listen(holder, 1) == 0);
    assert_int_equal(getsockname(holder, (struct sockaddr *)&sa, &n), 0);
    char text[100], want[300];
    struct config_error err;
    struct listeners none = {0}, fresh;
    snprintf(text, sizeof text, "\nlisten = 127.0.0.1:%u\n", ntohs(sa.sin_port));
    struct config *c = config_parse("f", str_of(text), &err);
    assert_non_null(c);
    assert_false(listen_bind("f", c, false, &none, &fresh, &err));
    snprintf(want, sizeof want,
             "f:2: listen = 127.0.0.1:%u: Address already in use: another program holds it (see: ss -ltnp "
             "'sport = :%u'), or name another port",
             ntohs(sa.sin_port), ntohs(sa.sin_port));
    assert_string_equal(err.text, want);
    assert_int_equal(fresh.n, 0);
    close(holder);
    assert_true(listen_bind("f", c, false, &none, &fresh, &err));
    assert_int_equal(fresh.n, 1);
    struct listeners again;
    assert_true(listen_bind("f", c, false, &fresh, &again, &err)); /* what we have is not bound twice */
    assert_int_equal(again.n, 0);
    assert_true(listen_wanted(c, &fresh.v[0]));
    config_free(c);
    /* The same port for another service: the socket, and who waits in it, is kept. */
    snprintf(text, sizeof text, "listen = none\nlisten-submission = 127.0.0.1:%u\n", ntohs(sa.sin_port));
    c = config_parse("f", str_of(text), &err);
    assert_false(listen_wanted(c, &fresh.v[0]));
    assert_true(listen_bind("f", c, false, &fresh, &again, &err));
    assert_int_equal(again.n, 1);
    assert_int_equal(again.v[0].kind, LISTEN_SUBMISSION);
    assert_true(listen_wanted(c, &again.v[0]));
    listen_free(&fresh), listen_free(&again);
    config_free(c);
}

static void refuses_one_port_with_two_services(void **state) {
    struct config_error err;
    struct listeners none = {0}, fresh;
    struct config *c = config_parse(
        "f", STR("listen = 127.0.0.1:1\nlisten-submission = none\nlisten-submissions = 127.0.0.1:1\n"), &err);
    assert_false(listen_bind("f", c, false, &none, &fresh, &err));
    assert_non_null(strstr(err.text, "is named twice"));
    config_free(c);
}

static void waits_longer_each_time(void **state) {
    static const uint64_t want[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
    unsigned ends = 0;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_int_equal(child_backoff(&ends, 59999), want[i]);
    assert_int_equal(child_backoff(&ends, 60000), 100);
    assert_int_equal(child_backoff(&ends, 5), 200);
}

static void explains_ends(void **state) {
    static const struct {
        int status;
        const char *part;
    } rows[] = {
        {W_EXITCODE(0, 0), "exit status 0: it left"},
        {W_EXITCODE(71, 0), "what it needs from the system"},
        {W_EXITCODE(3, 0), "exit status 3"},
        {W_EXITCODE(0, SIGSYS), "SIGSYS): it tried a system call that its cage forbids"},
        {W_EXITCODE(0, SIGSEGV), "killed by signal 11 (SIGSEGV)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char mem[200];
        struct buf b = BUF(mem);
        child_ending(rows[i].status, &b);
        if (!strstr(buf_cstr(&b), rows[i].part)) fail_msg("%s: %s", rows[i].part, mem);
    }
}

static void starts_a_process_with_its_descriptors(void **state) {
    int pair[2], log[2], status;
    char text[200] = "";
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(log, O_CLOEXEC), 0);
    int fd = open(in_dir("prog"), O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    static const char script[] = "#!/bin/sh\necho $0 $1 $2 $(ls /proc/$$/fd | tr '\\n' ' ') $HOME\n";
    assert_int_equal(write(fd, script, sizeof script - 1), sizeof script - 1);
    close(fd);
    char found[300];
    assert_true(child_path(dir, "prog", found, sizeof found));
    pid_t pid = child_start(found, 7, pair[1], log[1], log[1], -1);
    assert_true(pid > 0);
    close(log[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(read(log[0], text, sizeof text - 1) > 0);
    assert_non_null(strstr(text, "-i 7 0 1 10 2 3 4 5 ")); /* dash keeps its script at 10 */
    assert_null(strstr(text, "/root"));
    assert_int_equal(child_start("/nonexistent/x", 0, pair[1], log[0], -1, -1), -1);
    assert_false(child_path(dir, "missing", found, sizeof found));
    close(pair[0]), close(pair[1]), close(log[0]);
}

static void stops_every_role_once(void **state) {
    uint32_t seen = 0, roles, within;
    for (size_t i = 0; (roles = suite_phase(i, &within)) != 0; i++) {
        assert_int_equal(seen & roles, 0);
        seen |= roles;
    }
    struct config *c = config_new();
    for (int r = 0; r < ROLE_COUNT; r++)
        assert_int_equal(suite_count(c, (enum role)r) > 0, (seen & ROLE_BIT(r)) != 0);
    config_free(c);
}

static int set_up(void **state) {
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state) {
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_file),
        cmocka_unit_test(says_why_it_refuses_a_file),
        cmocka_unit_test(makes_and_guards_directories),
        cmocka_unit_test(locks_a_directory_once),
        cmocka_unit_test(says_who_may_hold_a_port),
        cmocka_unit_test(refuses_one_port_with_two_services),
        cmocka_unit_test(waits_longer_each_time),
        cmocka_unit_test(explains_ends),
        cmocka_unit_test(starts_a_process_with_its_descriptors),
        cmocka_unit_test(stops_every_role_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
