#include "supervise/notify.h"

#include "common/str.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 1000 };

static struct {
    int fd;
    struct loop *loop;
    int64_t watchdog_ms; /* 0: none asked for */
    struct timer watchdog;
} to = {.fd = -1};

/* Waits at most PATIENCE_MS for a manager that is slow to read: a lost READY=1 would end the suite. */
static void say(const char *text) {
    if (to.fd >= 0) send(to.fd, text, strlen(text), MSG_NOSIGNAL);
}

static void on_watchdog(void *ctx) {
    (void)ctx;
    say("WATCHDOG=1");
    loop_timer_in(to.loop, &to.watchdog, to.watchdog_ms);
}

static void connect_to(const char *path) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n < 2 || n >= sizeof sa.sun_path || (path[0] != '/' && path[0] != '@')) return;
    memcpy(sa.sun_path, path, n);
    if (path[0] == '@') sa.sun_path[0] = '\0'; /* an abstract socket */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    const struct timeval patience = {.tv_usec = PATIENCE_MS % 1000 * 1000, .tv_sec = PATIENCE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == 0)
        to.fd = fd;
    else close(fd);
}

static void begin_watchdog(const char *usec, const char *pid) {
    uint64_t us, who = (uint64_t)getpid();
    if (!usec || !str_to_u64(str_of(usec), 3600000000u, &us) || us < 2000) return;
    if (pid && (!str_to_u64(str_of(pid), UINT32_MAX, &who) || who != (uint64_t)getpid())) return;
    to.watchdog_ms = (int64_t)(us / 2000); /* twice as often as asked */
    to.watchdog = (struct timer){.fn = on_watchdog};
    on_watchdog(NULL);
}

void notify_begin(struct loop *l) {
    const char *path = getenv("NOTIFY_SOCKET");
    to.loop = l;
    if (path) connect_to(path);
    if (to.fd >= 0) begin_watchdog(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"));
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static void say_with_status(const char *word, const char *status) {
    char text[512];
    snprintf(text, sizeof text, "%sSTATUS=%s", word, status);
    say(text);
}

void notify_ready(const char *status) {
    say_with_status("READY=1\n", status);
}

void notify_reloading(void) {
    struct timespec ts;
    char text[80];
    clock_gettime(CLOCK_MONOTONIC, &ts);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
    say(text);
}

void notify_stopping(void) {
    say("STOPPING=1");
}
