/* posternd: starts, cages, wires and restarts the programs of the suite.
 *
 * It is the only program that stays root, so it does the least: it opens the configuration file and has it
 * parsed by a caged child that is nobody; makes directories and listening sockets; forks and execs; and
 * passes descriptors. It reads no byte from the network, no mail, no table, and from its children only
 * `started` and `intruder`, whose texts go to the log, escaped.
 *
 * May touch: its configuration file (read), the directories that it names (made, never listed), /dev/log,
 * the listening sockets, and the signal of any of its children. */
#include "build-config.h"

#include "common/tidy.h"
#include "common/cage.h"
#include "common/log.h"
#include "supervise/configure.h"
#include "supervise/dirs.h"
#include "supervise/harden.h"
#include "supervise/notify.h"
#include "supervise/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

struct options {
    const char *file;
    bool foreground, check;
};

struct posternd {
    struct options options;
    char file[PATH_MAX]; /* absolute: without -f we leave the directory we were started in */
    int lock;
    int parent; /* who waits to hear that all programs have started; -1: nobody */
    struct suite suite;
};

/* ---- Reports before there is a log ---- */

static int refuse(const char *text, int status) {
    fprintf(stderr, "%s\n", text);
    return status;
}

static int usage(FILE *to, int status) {
    fprintf(to, "usage: posternd [-c FILE] [-f] [--check] [--help] [--version]\n"
                "Starts the programs of the Postern mail suite, each in its cage, and keeps them running.\n"
                "  -c FILE    the configuration (default " POSTERN_CONF ")\n"
                "  -f         stay in the foreground; the log goes to standard error unless FILE says where\n"
                "  --check    only say whether the configuration is right\n"
                "See posternd(8) and postern.conf(5).\n");
    return status;
}

static int parse_options(struct options *o, int argc, char **argv) {
    static const struct option words[] = {{"check", no_argument, NULL, 'k'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'v'},
                                          {0}};
    int c;
    *o = (struct options){.file = POSTERN_CONF};
    while ((c = getopt_long(argc, argv, "c:fh", words, NULL)) != -1) switch (c) {
        case 'c':
            o->file = optarg;
            break;
        case 'f':
            o->foreground = true;
            break;
        case 'k':
            o->check = true;
            break;
        case 'h':
            exit(usage(stdout, EX_OK));
        case 'v':
            printf("posternd of Postern %s\n", PACKAGE_VERSION);
            exit(EX_OK);
        default:
            return usage(stderr, EX_USAGE);
        }
    return optind == argc ? EX_OK : usage(stderr, EX_USAGE);
}

/* ---- What must be there before anything is started ---- */

static bool have_accounts(const struct posternd *d, const struct config *c, struct config_error *err) {
    uid_t uid;
    gid_t gid;
    char why[200];
    if (geteuid() != 0) return true;
    for (int r = 0; r < ROLE_COUNT; r++) {
        if (cage_ids((enum role)r, c->uid_base, &uid, &gid)) continue;
        snprintf(why, sizeof why,
                 "the account _postern-%s does not exist: make it (systemd-sysusers, or the package), or set "
                 "uid-base",
                 role_table[r].user);
        config_blame(err, d->file, 0, STR_NONE, STR_NONE, why);
        return false;
    }
    return true;
}

static int connect_syslog(void) {
    static const struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&sa, sizeof sa) == 0) return fd;
    int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    return -1;
}

static const char *log_remedy(int error) {
    if (error == ENOENT) return "make the directory that it is to lie in, or name another file";
    if (error == EACCES) return "start posternd as root, or name a file that you may write";
    return "name another file, or set log = syslog";
}

static bool open_log(struct posternd *d, struct config_error *err) {
    const struct config *c = d->suite.config;
    /* -f is said by somebody at a terminal, who wants to see; or by a service manager, who does not. */
    bool seen = d->options.foreground && !getenv("NOTIFY_SOCKET");
    const char *log = seen && !config_line(c, "log") ? "stderr" : c->log;
    char why[300];
    if (strcmp(log, "stderr") == 0) d->suite.log_fd = fcntl(2, F_DUPFD_CLOEXEC, 3);
    else if (strcmp(log, "syslog") == 0) d->suite.log_fd = connect_syslog();
    else d->suite.log_fd = open(log + 5, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (strcmp(log, "syslog") != 0) d->suite.errors_fd = d->suite.log_fd;
    else d->suite.errors_fd = d->options.foreground ? 2 : -1;
    if (d->suite.log_fd >= 0) {
        log_open(d->suite.log_fd, "postern/posternd", c->hostname);
        return true;
    }
    if (strcmp(log, "syslog") == 0)
        snprintf(why, sizeof why, "/dev/log: %s: start a system logger, or set log = file:PATH",
                 strerror(errno));
    else snprintf(why, sizeof why, "%s: %s", strerror(errno), log_remedy(errno));
    config_blame(err, d->file, config_line(c, "log"), STR("log"), str_of(log), why);
    return false;
}

/* Programs of a posternd that was killed may hold its sockets for a moment yet. */
static bool bind_all(struct posternd *d, bool unclean, struct config_error *err) {
    struct suite *s = &d->suite;
    struct listeners fresh;
    for (int tries = unclean ? 20 : 0; !listen_bind(d->file, s->config, true, &s->listeners, &fresh, err);
         tries--) {
        if (tries == 0) return false;
        usleep(200 * 1000);
    }
    for (size_t i = 0; i < fresh.n; i++) LOG(listening, .name = str_of(fresh.v[i].name));
    listen_add(&s->listeners, &fresh);
    return true;
}

static bool prepare(struct posternd *d, struct config_error *err) {
    bool unclean;
    if (!have_accounts(d, d->suite.config, err) || !dirs_prepare(d->file, d->suite.config, err)) return false;
    d->lock = dirs_lock(d->file, d->suite.config, &unclean, err);
    if (d->lock < 0) return false;
    dirs_counters_clear(d->suite.config);
    return dirs_unused(d->file, d->suite.config, unclean, err) && open_log(d, err) &&
           bind_all(d, unclean, err);
}

/* ---- Signals ---- */

static void on_reload(void *ctx, int signo) {
    struct posternd *d = ctx;
    struct suite *s = &d->suite;
    struct config_error err;
    (void)signo;
    if (s->stopping) return;
    notify_reloading();
    struct config *next = configure_read(d->file, &err);
    if (next && have_accounts(d, next, &err) && suite_change(s, next, &err)) {
        log_open(s->log_fd, "postern/posternd", s->config->hostname);
        LOG(config_loaded, .config = str_of(d->file), .generation = s->generation);
    } else {
        LOG(config_kept, .why = str_of(err.text));
        config_free(next);
    }
    notify_ready("configuration read again");
}

static void on_stop(void *ctx, int signo) {
    struct posternd *d = ctx;
    suite_stop(&d->suite, signo == SIGTERM ? "SIGTERM" : "SIGINT", EX_OK);
}

static void on_child(void *ctx, int signo) {
    struct posternd *d = ctx;
    int status;
    pid_t pid;
    (void)signo;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) suite_reaped(&d->suite, pid, status);
}

/* ---- In the background ---- */

static void tell_parent(struct posternd *d, int status) {
    unsigned char byte = (unsigned char)status;
    if (d->parent < 0) return;
    if (write(d->parent, &byte, 1) == 1) close(d->parent);
    d->parent = -1;
}

static void on_ready(struct suite *s) {
    struct posternd *d = (struct posternd *)((char *)s - offsetof(struct posternd, suite));
    notify_ready("all programs at work");
    if (d->options.foreground) return;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3 && null >= 0; fd++) dup2(null, fd);
    tell_parent(d, EX_OK);
}

/* The parent waits until the suite stands, so that its exit status is the truth. */
static void go_background(struct posternd *d) {
    int pair[2];
    unsigned char status = EX_OSERR;
    if (pipe2(pair, O_CLOEXEC) != 0) exit(refuse("posternd: no pipe", EX_OSERR));
    pid_t pid = fork();
    if (pid < 0) exit(refuse("posternd: no fork", EX_OSERR));
    if (pid == 0) {
        close(pair[0]);
        d->parent = pair[1];
        if (setsid() < 0 || chdir("/") != 0) _exit(EX_OSERR);
        return;
    }
    close(pair[1]);
    if (read(pair[0], &status, 1) != 1) status = EX_OSERR;
    _exit(status);
}

/* ---- The life of posternd ---- */

static int supervise(struct posternd *d) {
    struct suite *s = &d->suite;
    s->loop = loop_new();
    s->file = d->file;
    s->generation = 1;
    s->on_ready = on_ready;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    loop_signal(s->loop, SIGHUP, on_reload, d);
    loop_signal(s->loop, SIGTERM, on_stop, d);
    loop_signal(s->loop, SIGINT, on_stop, d);
    loop_signal(s->loop, SIGCHLD, on_child, d);
    notify_begin(s->loop);
    LOG(config_loaded, .config = str_of(d->file), .generation = s->generation);
    suite_start(s);
    struct tidy tidy = {0};
    while (loop_once(s->loop, -1)) {
        log_flush();
        tidy_round(&tidy, s->loop);
    }
    LOG(suite_stopped, .why = str_of(s->why));
    log_flush();
    return s->status;
}

static int run(struct posternd *d) {
    struct config_error err;
    if (!prepare(d, &err)) return refuse(err.text, EX_CONFIG);
    int status = supervise(d);
    if (status && !d->suite.ready)
        fprintf(stderr, "posternd: the suite could not be started: %s; more stands in the log (%s)\n",
                d->suite.failure, d->suite.config->log);
    suite_free(&d->suite);
    dirs_unlock(d->lock);
    return status;
}

/* A program that was started with closed standard descriptors would take the next sockets for them. */
static void tidy_descriptors(void) {
    int fd;
    do fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd < 3);
    if (fd >= 0) close(fd);
    close_range(3, ~0u, 0);
}

int main(int argc, char **argv) {
    static struct posternd d = {.lock = -1, .parent = -1};
    struct config_error err;
    int status = parse_options(&d.options, argc, argv);
    if (status) return status;
    tidy_descriptors();
    harden();
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    if (!realpath(d.options.file, d.file)) snprintf(d.file, sizeof d.file, "%s", d.options.file);
    d.suite.config = configure_read(d.file, &err);
    if (!d.suite.config) return refuse(err.text, EX_CONFIG);
    if (d.options.check) {
        printf("%s: no error found\n", d.file);
        return EX_OK;
    }
    if (!d.options.foreground) go_background(&d);
    status = run(&d);
    tell_parent(&d, status);
    return status;
}
