#include "supervise/listen.h"

#include "common/arena.h"

#include <errno.h>
#include <grp.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static const struct unix_row {
    const char *name;
    enum role role;
    enum listener_kind kind;
    int type;
} unix_rows[] = {
    {"submit", ROLE_smtpd, LISTEN_SUBMIT, SOCK_STREAM},
    {"control-queue", ROLE_queue, LISTEN_CONTROL, SOCK_SEQPACKET},
    {"control-dispatch", ROLE_dispatch, LISTEN_CONTROL, SOCK_SEQPACKET},
};

static void keep(struct listeners *list, enum role role, enum listener_kind kind, const char *name, int fd) {
    list->v = xgrow(list->v, &list->cap, list->n + 1, sizeof *list->v);
    struct listener *l = &list->v[list->n++];
    *l = (struct listener){.role = role, .kind = kind, .fd = fd};
    snprintf(l->name, sizeof l->name, "%s", name);
}

static const char *name_of(const struct endpoint *e, char *mem, size_t size) {
    struct buf b = buf_on(mem, size);
    hostport_format(&b, &e->ip, e->port);
    return buf_cstr(&b);
}

static const struct listener *find(const struct listeners *list, const char *name) {
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->v[i].name, name) == 0) return &list->v[i];
    return NULL;
}

static const struct endpoints *endpoints_of(const struct config *c, enum listener_kind kind) {
    switch (kind) {
    case LISTEN_SMTP:
        return &c->listen;
    case LISTEN_SUBMISSION:
        return &c->listen_submission;
    case LISTEN_SUBMISSIONS:
        return &c->listen_submissions;
    default:
        return NULL;
    }
}

bool listen_wanted(const struct config *c, const struct listener *l) {
    char mem[120];
    const struct endpoints *list = endpoints_of(c, l->kind);
    if (l->kind == LISTEN_LMTP) return strcmp(c->listen_lmtp, l->name) == 0;
    for (size_t i = 0; list && i < list->n; i++)
        if (strcmp(name_of(&list->v[i], mem, sizeof mem), l->name) == 0) return true;
    return !list;
}

/* -1: errno says why, and is never 0. */
static int tcp_socket(const struct endpoint *e) {
    struct sockaddr_storage sa;
    socklen_t n = ip_to_sockaddr(&e->ip, e->port, &sa);
    int on = 1, fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (e->ip.family == 6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&sa, n) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* What an administrator would ask next. */
static const char *remedy(int error, uint16_t port, char *mem, size_t size) {
    if (error == EADDRINUSE)
        snprintf(mem, size, "another program holds it (see: ss -ltnp 'sport = :%u'), or name another port",
                 port);
    else if (error == EACCES)
        snprintf(mem, size, "ports below 1024 need root: name a port above, or start as root");
    else if (error == EADDRNOTAVAIL) snprintf(mem, size, "no interface has this address (see: ip addr)");
    else if (error == EAFNOSUPPORT)
        snprintf(mem, size, "this kernel does not speak it: take it out of listen");
    else snprintf(mem, size, "take it out, or name another");
    return mem;
}

/* A socket that serves another setting so far keeps its queue of connections and changes its kind. */
static int have_or_bind(const struct listener *old, const struct endpoint *e) {
    return old ? fcntl(old->fd, F_DUPFD_CLOEXEC, 3) : tcp_socket(e);
}

static const struct tcp_row {
    const char *setting;
    enum listener_kind kind;
} tcp_rows[] = {
    {"listen", LISTEN_SMTP},
    {"listen-submission", LISTEN_SUBMISSION},
    {"listen-submissions", LISTEN_SUBMISSIONS},
};
enum { TCP_ROWS = sizeof tcp_rows / sizeof tcp_rows[0] };

/* How often the settings name it: one address and port can have one service. */
static size_t times_named(const struct config *c, const struct endpoint *e) {
    size_t n = 0;
    for (size_t r = 0; r < TCP_ROWS; r++) {
        const struct endpoints *list = endpoints_of(c, tcp_rows[r].kind);
        for (size_t i = 0; i < list->n; i++) n += list->v[i].port == e->port && ip_eq(&list->v[i].ip, &e->ip);
    }
    return n;
}

static bool bind_one(const struct tcp_row *row, const struct config *c, const struct endpoint *e,
                     const struct listeners *have, struct listeners *fresh, struct buf *why) {
    char name[120], hint[120];
    name_of(e, name, sizeof name);
    if (times_named(c, e) > 1) {
        buf_adds(why, "is named twice: one address and port has one service");
        return false;
    }
    const struct listener *old = find(have, name);
    if (old && old->kind == row->kind) return true;
    int fd = have_or_bind(old, e);
    if (fd >= 0) {
        keep(fresh, ROLE_smtpd, row->kind, name, fd);
        return true;
    }
    int error = errno;
    /* The default asks for IPv6 too; a machine without it is no mistake of the administrator. */
    bool ours = !config_line(c, row->setting) && e->ip.family == 6;
    if (ours && (error == EAFNOSUPPORT || error == EADDRNOTAVAIL)) return true;
    buf_addf(why, "%s: %s", strerror(error), remedy(error, e->port, hint, sizeof hint));
    return false;
}

static bool bind_tcp(const char *file, const struct config *c, const struct listeners *have,
                     struct listeners *fresh, struct config_error *err) {
    char mem[200], name[120];
    struct buf why = BUF(mem);
    for (size_t r = 0; r < TCP_ROWS; r++) {
        const struct endpoints *list = endpoints_of(c, tcp_rows[r].kind);
        for (size_t i = 0; i < list->n; i++) {
            if (bind_one(&tcp_rows[r], c, &list->v[i], have, fresh, &why)) continue;
            config_blame(err, file, config_line(c, tcp_rows[r].setting), str_of(tcp_rows[r].setting),
                         str_of(name_of(&list->v[i], name, sizeof name)), buf_cstr(&why));
            return false;
        }
    }
    return true;
}

static int unix_socket(const char *path, int type, mode_t mode) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n >= sizeof sa.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(sa.sun_path, path, n);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    unlink(path); /* of an earlier run: we hold the lock of the directory, and only we can write in it */
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && chmod(path, mode) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static bool bind_unix(const char *file, const struct config *c, const struct listeners *have,
                      struct listeners *fresh, struct config_error *err) {
    for (size_t i = 0; i < sizeof unix_rows / sizeof unix_rows[0]; i++) {
        const struct unix_row *r = &unix_rows[i];
        char path[1100];
        if (find(have, r->name)) continue;
        snprintf(path, sizeof path, "%s/%s", c->run_directory, r->name);
        int fd = unix_socket(path, r->type, 0666);
        if (fd >= 0) {
            keep(fresh, r->role, r->kind, r->name, fd);
            continue;
        }
        char why[200];
        snprintf(why, sizeof why, "the socket %s cannot be made in it: %s", r->name, strerror(errno));
        config_blame(err, file, config_line(c, "run-directory"), STR("run-directory"),
                     str_of(c->run_directory), why);
        return false;
    }
    return true;
}

/* Who may connect. Whoever does, smtpd hears from the kernel who it is. */
static const char *lmtp_rights(const char *path, const char *group) {
    uint64_t gid;
    if (!*group) return chmod(path, 0600) == 0 ? NULL : strerror(errno);
    if (strcmp(group, "any") == 0) return chmod(path, 0666) == 0 ? NULL : strerror(errno);
    const struct group *g = getgrnam(group);
    if (g) gid = g->gr_gid;
    else if (!str_to_u64(str_of(group), UINT32_MAX - 1, &gid)) return "there is no such group: make it, or name another";
    return chown(path, (uid_t)-1, (gid_t)gid) == 0 && chmod(path, 0660) == 0 ? NULL : strerror(errno);
}

static const char *open_lmtp(const char *path, int *fd) {
    struct stat st;
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) return "is there already, and no socket: name another";
    *fd = unix_socket(path, SOCK_STREAM, 0600);
    return *fd < 0 ? strerror(errno) : NULL;
}

/* A socket that is there already is kept; who may connect may have changed. */
static bool bind_lmtp(const char *file, const struct config *c, const struct listeners *have,
                      struct listeners *fresh, struct config_error *err) {
    const char *path = c->listen_lmtp, *setting = "listen-lmtp", *why = NULL;
    int fd = -1;
    if (!*path) return true;
    if (!find(have, path)) why = open_lmtp(path, &fd);
    if (!why && (why = lmtp_rights(path, c->lmtp_group))) setting = "lmtp-group";
    if (!why && fd >= 0) keep(fresh, ROLE_smtpd, LISTEN_LMTP, path, fd);
    else if (fd >= 0) close(fd);
    if (why) config_blame(err, file, config_line(c, setting), str_of(setting), str_of(config_text(c, setting)), why);
    return !why;
}

bool listen_bind(const char *file, const struct config *c, bool with_unix, const struct listeners *have,
                 struct listeners *fresh, struct config_error *err) {
    *fresh = (struct listeners){0};
    if (bind_tcp(file, c, have, fresh, err) &&
        (!with_unix || (bind_lmtp(file, c, have, fresh, err) && bind_unix(file, c, have, fresh, err))))
        return true;
    listen_free(fresh);
    return false;
}

void listen_add(struct listeners *all, struct listeners *fresh) {
    all->v = xgrow(all->v, &all->cap, all->n + fresh->n, sizeof *all->v);
    for (size_t i = 0; i < fresh->n; i++) all->v[all->n++] = fresh->v[i];
    fresh->n = 0;
    listen_free(fresh);
}

void listen_remove(struct listeners *all, size_t i) {
    if (all->v[i].kind == LISTEN_LMTP) unlink(all->v[i].name);
    close(all->v[i].fd);
    all->v[i] = all->v[--all->n];
}

void listen_free(struct listeners *all) {
    for (size_t i = 0; i < all->n; i++) close(all->v[i].fd);
    free(all->v);
    *all = (struct listeners){0};
}
