#include "build-config.h"

#include "auth/keeper.h"

#include "common/cage.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef HAVE_PAM
#include <security/pam_appl.h>
#endif

/* ---- PAM: one check, in a process of its own ---- */

#ifdef HAVE_PAM
/* It asks for the password once, or says something, which nobody would read. */
static int converse(int n, const struct pam_message **msg, struct pam_response **out, void *ctx) {
    const struct keeper_ask *ask = ctx;
    if (n <= 0 || n > PAM_MAX_NUM_MSG) return PAM_CONV_ERR;
    struct pam_response *r = calloc((size_t)n, sizeof *r);
    if (!r) return PAM_BUF_ERR;
    for (int i = 0; i < n; i++)
        if (msg[i]->msg_style == PAM_PROMPT_ECHO_OFF) r[i].resp = strdup(ask->password);
    *out = r;
    return PAM_SUCCESS;
}

/* The delay of failures is auth's, the same for all. */
static void no_delay(int status, unsigned usec, void *ctx) {
    (void)status, (void)usec, (void)ctx;
}

static enum keeper_verdict verdict_of(int pam) {
    switch (pam) {
    case PAM_SUCCESS:
        return KEEPER_GOOD;
    case PAM_AUTH_ERR:
    case PAM_USER_UNKNOWN:
    case PAM_MAXTRIES:
    case PAM_PERM_DENIED:
    case PAM_ACCT_EXPIRED:
    case PAM_NEW_AUTHTOK_REQD:
    case PAM_CRED_EXPIRED:
    case PAM_AUTHTOK_EXPIRED:
        return KEEPER_BAD;
    default:
        return KEEPER_TROUBLE;
    }
}

static enum keeper_verdict ask_pam(struct keeper_ask *ask) {
    struct pam_conv conv = {converse, ask};
    pam_handle_t *h = NULL;
    int r = pam_start("postern", ask->login, &conv, &h);
    if (r != PAM_SUCCESS) return KEEPER_TROUBLE;
    pam_set_item(h, PAM_RHOST, ask->client);
    pam_set_item(h, PAM_TTY, "smtp");
    pam_set_item(h, PAM_FAIL_DELAY, (const void *)(uintptr_t)no_delay);
    r = pam_authenticate(h, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    if (r == PAM_SUCCESS) r = pam_acct_mgmt(h, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    pam_end(h, r);
    return verdict_of(r);
}
#else
static enum keeper_verdict ask_pam(struct keeper_ask *ask) {
    (void)ask;
    return KEEPER_TROUBLE;
}
#endif

struct check {
    pid_t pid; /* 0: free */
    uint32_t id;
};

static void answer(int fd, uint32_t id, enum keeper_verdict v) {
    struct keeper_answer a = {.id = id, .verdict = v};
    while (send(fd, &a, sizeof a, MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
}

static void reap(int fd, struct check *checks) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < KEEPER_CHECKS_MAX; i++) {
            if (checks[i].pid != pid) continue;
            bool told = WIFEXITED(status) && WEXITSTATUS(status) <= KEEPER_TROUBLE;
            answer(fd, checks[i].id, told ? (enum keeper_verdict)WEXITSTATUS(status) : KEEPER_TROUBLE);
            checks[i].pid = 0;
        }
}

static void begin_check(int fd, struct check *free_slot, struct keeper_ask *ask) {
    sigset_t none;
    ask->login[LOGIN_MAX] = ask->password[PASSWORD_MAX] = ask->client[sizeof ask->client - 1] = '\0';
    pid_t pid = fork();
    if (pid == 0) {
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        alarm(KEEPER_CHECK_S);
        _exit((int)ask_pam(ask));
    }
    if (pid < 0) answer(fd, ask->id, KEEPER_TROUBLE);
    else *free_slot = (struct check){pid, ask->id};
}

static struct check *free_slot(struct check *checks) {
    for (size_t i = 0; i < KEEPER_CHECKS_MAX; i++)
        if (!checks[i].pid) return &checks[i];
    return NULL;
}

static void keep_pam(int fd, int children) {
    struct check checks[KEEPER_CHECKS_MAX] = {{0}};
    struct signalfd_siginfo info;
    struct keeper_ask ask;
    for (;;) {
        struct check *slot = free_slot(checks);
        struct pollfd p[2] = {{slot ? fd : -1, POLLIN, 0}, {children, POLLIN, 0}};
        if (poll(p, 2, -1) < 0 && errno != EINTR) return;
        if (p[1].revents) {
            if (read(children, &info, sizeof info) < 0 && errno != EINTR && errno != EAGAIN) return;
            reap(fd, checks);
        }
        if (!slot || !p[0].revents) continue;
        ssize_t n = recv(fd, &ask, sizeof ask, 0);
        if (n == 0 || (n < 0 && errno != EINTR)) return;
        if (n == (ssize_t)sizeof ask) begin_check(fd, slot, &ask);
        explicit_bzero(&ask, sizeof ask);
    }
}

/* ---- Dovecot: a connection to its socket, and to nothing else ---- */

static int connect_to(const char *path) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(to.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void hand_over(int fd, int connection, int error) {
    struct keeper_answer a = {.verdict = connection >= 0 ? KEEPER_GOOD : KEEPER_TROUBLE, .error = error};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct iovec iov = {&a, sizeof a};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (connection >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &connection, sizeof connection);
    }
    while (sendmsg(fd, &m, MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
    if (connection >= 0) close(connection);
}

static void keep_dovecot(int fd, const char *path) {
    struct keeper_ask ask;
    for (;;) {
        ssize_t n = recv(fd, &ask, sizeof ask, 0);
        if (n == 0 || (n < 0 && errno != EINTR)) return;
        if (n < 0) continue;
        int connection = connect_to(path);
        hand_over(fd, connection, connection < 0 ? errno : 0);
    }
}

/* ---- Its start ---- */

static int child_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Where the hashes of system accounts may be read; 0 where there is no such group. */
static gid_t shadow_group(void) {
    const struct group *g = getgrnam("shadow");
    return g ? g->gr_gid : 0;
}

static void run(int fd, const struct config *c, bool pam, uid_t uid, gid_t gid) {
    char why[256], path[108];
    int children = pam ? child_signals() : -1;
    snprintf(path, sizeof path, "%s", c->auth_socket);
    prctl(PR_SET_NAME, "auth-keeper", 0, 0, 0);
    if (!cage_keeper(uid, gid, pam ? shadow_group() : 0, pam, why, sizeof why)) {
        LOG_TROUBLE("cannot enter the cage of auth's keeper: %s", why);
        log_flush();
        _exit(71);
    }
    if (pam) keep_pam(fd, children);
    else keep_dovecot(fd, path);
    _exit(0);
}

int keeper_start(const struct config *c, bool pam, uid_t uid, gid_t gid) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        /* Its own socket becomes descriptor 5; log and standard descriptors stay below. */
        if (dup2(pair[1], 5) != 5 || close(3) != 0) _exit(71);
        close_range(6, ~0u, 0);
        fcntl(5, F_SETFD, FD_CLOEXEC);
        run(5, c, pam, uid, gid);
    }
    close(pair[1]);
    if (pid > 0) {
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        return pair[0];
    }
    close(pair[0]);
    return -1;
}
