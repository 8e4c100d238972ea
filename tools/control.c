#include "tools/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SILENCE_MS = 60 * 1000 };

static void on_closed(void *ctx, struct channel *ch, const char *why) {
    struct control *c = ctx;
    (void)ch;
    c->lost = true;
    c->channel = NULL;
    snprintf(c->why, sizeof c->why, "the suite has closed the connection%s%s",
             why ? ": " : " before its answer was complete", why ? why : "");
}

static int dial(const char *path, char *why, size_t why_size) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof sa.sun_path) {
        snprintf(why, why_size, "%.300s: the name is too long for a socket; choose a shorter run-directory",
                 path);
        return -1;
    }
    memcpy(sa.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0) return fd;
    bool down = errno == ENOENT || errno == ECONNREFUSED;
    snprintf(why, why_size, "%.300s: %s%s", path, strerror(errno),
             down ? "; the suite is not running (posternd starts it)" : "");
    if (fd >= 0) close(fd);
    return -1;
}

bool control_open(struct control *c, const struct config *config, enum role to,
                  const struct wire_handlers *handlers, void *user) {
    static struct channel_user channel_user; /* must outlive the channel; one set of handlers at a time */
    char path[1100];
    *c = (struct control){.user = user};
    snprintf(path, sizeof path, "%s/control-%s", config->run_directory, role_table[to].name);
    int fd = dial(path, c->why, sizeof c->why);
    if (fd < 0) return false;
    channel_user = (struct channel_user){.handlers = handlers, .closed = on_closed};
    c->loop = loop_new();
    c->channel = channel_new(c->loop, fd, ROLE_tool, 0, to, &channel_user, c);
    return true;
}

void control_done(void *ctx, struct channel *ch, const struct wire_ctl_done *m, int fd) {
    struct control *c = ctx;
    (void)ch, (void)fd;
    c->done = true;
    c->count = m->count;
    c->status = STATUS_OF(m);
    struct str text = str_sub(c->status.text, 0, sizeof c->text);
    if (text.n) memcpy(c->text, text.p, text.n);
    c->status.text = (struct str){c->text, text.n};
}

void control_progress(void *ctx, struct channel *ch, const struct wire_ctl_progress *m, int fd) {
    struct control *c = ctx;
    int64_t now = loop_wall_ms(c->loop);
    (void)ch, (void)fd;
    if (!c->since) c->since = c->told = now - 500; /* queue sends the first after half a second */
    if (!c->doing || now - c->told < 1000) return;
    c->told = now;
    fprintf(stderr, "postern: %s: %llu messages looked at, %llu meant\n", c->doing, (unsigned long long)m->looked,
            (unsigned long long)m->matched);
}

static void on_silence(void *ctx) {
    struct control *c = ctx;
    c->lost = true;
    snprintf(c->why, sizeof c->why, "no answer within %d seconds", SILENCE_MS / 1000);
}

bool control_wait(struct control *c) {
    struct timer silence = {.fn = on_silence, .ctx = c};
    c->done = false;
    while (!c->done && !c->lost) {
        loop_timer_in(c->loop, &silence, SILENCE_MS);
        if (!loop_once(c->loop, -1)) break;
    }
    loop_timer_cancel(c->loop, &silence);
    return c->done;
}

void control_close(struct control *c) {
    if (c->channel) channel_close(c->channel);
    if (c->loop) loop_once(c->loop, 0);
    if (c->loop) loop_free(c->loop);
    c->channel = NULL;
    c->loop = NULL;
}
