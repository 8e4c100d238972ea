#include "supervise/configure.h"

#include "common/arena.h"
#include "common/cage.h"
#include "common/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILE_MAX = 1024 * 1024, PATIENCE_MS = 10000 };

/* ---- The child ---- */

static void tell(int fd, enum wire_type type, const void *m) {
    static char mem[WIRE_PACKET_MAX];
    struct buf b = BUF(mem);
    if (!wire_encode(&b, type, m) || send(fd, b.p, b.n, MSG_NOSIGNAL) != (ssize_t)b.n) _exit(1);
}

static struct str slurp(int file) {
    char *mem = xmalloc(FILE_MAX + 1);
    size_t n = 0;
    while (n <= FILE_MAX) {
        ssize_t k = read(file, mem + n, FILE_MAX + 1 - n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break;
        n += (size_t)k;
    }
    return (struct str){mem, n};
}

static void tell_setting(void *ctx, const char *name, struct str text, unsigned line) {
    if (line) tell(*(int *)ctx, WIRE_conf, &(struct wire_conf){.name = str_of(name), .value = text, .line = line});
}

static void parse_and_tell(const char *name, int file, int to) {
    struct config_error err = {""};
    struct str text = slurp(file);
    struct config *c = NULL;
    if (text.n > FILE_MAX)
        config_blame(&err, name, 0, STR_NONE, STR_NONE, "is larger than 1 MiB: is it the right file?");
    else c = config_parse(name, text, &err);
    if (!c) tell(to, WIRE_conf_error, &(struct wire_conf_error){.text = str_of(err.text)});
    for (size_t i = 0; c && i < config_setting_count; i++) config_each_text(c, i, tell_setting, &to);
    if (c) tell(to, WIRE_conf_end, &(struct wire_conf_end){.generation = 0});
    _exit(0);
}

static void be_parser(const char *name, int file, int to) {
    char why[256];
    /* Whatever posternd holds open is none of the parser's business. */
    if (dup2(file, 3) != 3 || dup2(to, 4) != 4 || close_range(5, ~0u, 0) != 0) _exit(1);
    if (!cage_reader(why, sizeof why)) {
        struct config_error err;
        config_blame(&err, name, 0, STR_NONE, STR_NONE, why);
        tell(4, WIRE_conf_error, &(struct wire_conf_error){.text = str_of(err.text)});
        _exit(1);
    }
    parse_and_tell(name, 3, 4);
}

/* ---- The parent: believes no length and no type ---- */

struct answer {
    const char *file;
    struct config *config;
    struct config_error *err;
    bool complete, failed;
};

static void refuse(struct answer *a, const char *why) {
    if (!a->failed) config_blame(a->err, a->file, 0, STR_NONE, STR_NONE, why);
    a->failed = true;
}

static void take_conf(struct answer *a, struct str payload) {
    struct wire_conf m;
    const char *why;
    char name[65];
    if (!wire_read_conf(payload, &m) || m.name.n >= sizeof name) {
        refuse(a, "its parser sent nonsense");
        return;
    }
    /* The values are parsed again here, by the parsers of single values, because the parser is not
     * trusted. */
    if (!config_set(a->config, m.name, m.value, &why)) {
        refuse(a, why);
        return;
    }
    memcpy(name, m.name.p, m.name.n);
    name[m.name.n] = '\0';
    config_set_line(a->config, name, m.line);
}

static void take_error(struct answer *a, struct str payload) {
    struct wire_conf_error m;
    struct buf b = BUF(a->err->text);
    if (!wire_read_conf_error(payload, &m)) {
        refuse(a, "its parser sent nonsense");
        return;
    }
    if (m.text.n < b.max) buf_add(&b, m.text);
    for (size_t i = 0; i < b.n; i++)
        if ((unsigned char)b.p[i] < ' ') b.p[i] = '?';
    buf_cstr(&b);
    a->failed = true;
}

static void take_packet(struct answer *a, struct str packet) {
    const unsigned char *h = (const unsigned char *)packet.p;
    struct wire_conf_end end;
    unsigned type = packet.n < WIRE_HEADER ? WIRE_NONE : h[0] | (unsigned)h[1] << 8;
    size_t n = packet.n < WIRE_HEADER ? 0 : h[2] | (size_t)h[3] << 8;
    struct str payload = str_sub(packet, WIRE_HEADER, packet.n);
    if (payload.n != n) refuse(a, "its parser sent nonsense");
    else if (type == WIRE_conf) take_conf(a, payload);
    else if (type == WIRE_conf_error) take_error(a, payload);
    else if (type == WIRE_conf_end && wire_read_conf_end(payload, &end)) a->complete = true;
    else refuse(a, "its parser sent nonsense");
}

static void listen_to(struct answer *a, int from) {
    static char mem[WIRE_PACKET_MAX];
    while (!a->complete && !a->failed) {
        struct pollfd p = {.fd = from, .events = POLLIN};
        int k = poll(&p, 1, PATIENCE_MS);
        if (k < 0 && errno == EINTR) continue;
        ssize_t n = k > 0 ? recv(from, mem, sizeof mem, MSG_DONTWAIT) : -1;
        if (n < 0 && k > 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (n > 0) take_packet(a, (struct str){mem, (size_t)n});
        else refuse(a, k == 0 ? "its parser took too long" : "its parser died");
    }
}

static void reap(pid_t pid, struct answer *a) {
    int status;
    kill(pid, SIGKILL); /* it has said all; a bad one is not waited for */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (a->failed && !a->err->text[0]) refuse(a, "its parser died");
}

static struct config *parse_in_child(const char *file, int fd, struct config_error *err) {
    int pair[2];
    struct answer a = {.file = file, .err = err};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        config_blame(err, file, 0, STR_NONE, STR_NONE, strerror(errno));
        return NULL;
    }
    pid_t pid = fork();
    if (pid == 0) be_parser(file, fd, pair[1]);
    close(pair[1]);
    a.config = config_new();
    if (pid < 0) refuse(&a, strerror(errno));
    else {
        listen_to(&a, pair[0]);
        reap(pid, &a);
    }
    close(pair[0]);
    if (a.complete && !a.failed) {
        config_complete(a.config);
        return a.config;
    }
    config_free(a.config);
    return NULL;
}

struct config *configure_read(const char *file, struct config_error *err) {
    struct stat st;
    char why[200];
    err->text[0] = '\0';
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(why, sizeof why, "cannot be opened: %s; posternd -c names another file", strerror(errno));
        config_blame(err, file, 0, STR_NONE, STR_NONE, why);
        if (fd >= 0) close(fd);
        return NULL;
    }
    struct config *c = NULL;
    if (S_ISREG(st.st_mode)) c = parse_in_child(file, fd, err);
    else config_blame(err, file, 0, STR_NONE, STR_NONE, "is no regular file; posternd -c names another");
    close(fd);
    return c;
}
