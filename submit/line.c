#include "submit/line.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_MS = 600 * 1000 /* RFC 5321 4.5.3.2.6: the server may take long after the final dot */ };

int line_dial(const struct config *c) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (snprintf(sa.sun_path, sizeof sa.sun_path, "%s/submit", c->run_directory) >= (int)sizeof sa.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0) return fd;
    int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    return -1;
}

static void take_in(int fd, struct handin *h) {
    char mem[4096];
    ssize_t n = recv(fd, mem, sizeof mem, MSG_DONTWAIT);
    if (n > 0) handin_input(h, (struct str){mem, (size_t)n});
    else if (n == 0) handin_lost(h, "the mail system closed the connection");
    else if (errno != EAGAIN && errno != EINTR) handin_lost(h, strerror(errno));
}

/* A failed send is no end yet: the reason may wait to be read. */
static bool give_out(int fd, struct handin *h) {
    struct str out = handin_output(h);
    ssize_t n = send(fd, out.p, out.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) handin_written(h, (size_t)n);
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

void line_run(int fd, struct handin *h) {
    bool can_send = true;
    for (;;) {
        handin_pump(h);
        if (handin_done(h)) return;
        bool out = can_send && handin_output(h).n > 0;
        struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (out ? POLLOUT : 0))};
        int n = poll(&p, 1, PATIENCE_MS);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) handin_lost(h, "the mail system did not answer in time");
        else if (p.revents & POLLOUT) can_send = give_out(fd, h);
        if (n > 0 && (p.revents & (POLLIN | POLLHUP | POLLERR))) take_in(fd, h);
    }
}
