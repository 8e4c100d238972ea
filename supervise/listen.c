#include "supervise/listen.h"

#include "common/arena.h"

#include <errno.h>
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

static bool has(const struct listeners *list, const char *name) {
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->v[i].name, name) == 0) return true;
    return false;
}

bool listen_wanted(const struct config *c, const struct listener *l) {
    char mem[120];
    if (l->kind != LISTEN_SMTP) return true;
    for (size_t i = 0; i < c->listen.n; i++)
        if (strcmp(name_of(&c->listen.v[i], mem, sizeof mem), l->name) == 0) return true;
    return false;
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

static bool bind_tcp(const char *file, const struct config *c, const struct listeners *have,
                     struct listeners *fresh, struct config_error *err) {
    for (size_t i = 0; i < c->listen.n; i++) {
        char name[120], why[200], hint[120];
        const struct endpoint *e = &c->listen.v[i];
        name_of(e, name, sizeof name);
        if (has(have, name)) continue;
        int fd = tcp_socket(e);
        if (fd >= 0) {
            keep(fresh, ROLE_smtpd, LISTEN_SMTP, name, fd);
            continue;
        }
        int error = errno;
        /* The default asks for IPv6 too; a machine without it is no mistake of the administrator. */
        bool ours = !config_line(c, "listen") && e->ip.family == 6;
        if (ours && (error == EAFNOSUPPORT || error == EADDRNOTAVAIL)) continue;
        snprintf(why, sizeof why, "%s: %s", strerror(error), remedy(error, e->port, hint, sizeof hint));
        config_blame(err, file, config_line(c, "listen"), STR("listen"), str_of(name), why);
        return false;
    }
    return true;
}

static int unix_socket(const char *path, int type) {
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
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && chmod(path, 0666) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static bool bind_unix(const char *file, const struct config *c, struct listeners *fresh,
                      struct config_error *err) {
    for (size_t i = 0; i < sizeof unix_rows / sizeof unix_rows[0]; i++) {
        const struct unix_row *r = &unix_rows[i];
        char path[1100];
        snprintf(path, sizeof path, "%s/%s", c->run_directory, r->name);
        int fd = unix_socket(path, r->type);
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

bool listen_bind(const char *file, const struct config *c, bool with_unix, const struct listeners *have,
                 struct listeners *fresh, struct config_error *err) {
    *fresh = (struct listeners){0};
    if (bind_tcp(file, c, have, fresh, err) && (!with_unix || bind_unix(file, c, fresh, err))) return true;
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
    close(all->v[i].fd);
    all->v[i] = all->v[--all->n];
}

void listen_free(struct listeners *all) {
    for (size_t i = 0; i < all->n; i++) close(all->v[i].fd);
    free(all->v);
    *all = (struct listeners){0};
}
