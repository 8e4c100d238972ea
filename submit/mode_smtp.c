/* sendmail -bs: the caller speaks SMTP himself; we are a pipe to smtpd's submit socket. */
#include "submit/line.h"
#include "submit/modes.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

static bool pass_on(int to, const char *p, ssize_t n) {
    while (n > 0) {
        ssize_t done = write(to, p, (size_t)n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        p += done;
        n -= done;
    }
    return true;
}

/* One read from one side to the other; false: that direction has ended. */
static bool move(int from, int to) {
    char mem[32768];
    ssize_t n = read(from, mem, sizeof mem);
    if (n < 0 && errno == EINTR) return true;
    return n > 0 && pass_on(to, mem, n);
}

int mode_smtp(const struct options *o, const struct config *c) {
    (void)o;
    int fd = line_dial(c);
    if (fd < 0) { /* RFC 5321 3.8 */
        printf("421 4.3.2 %s the mail system is down, try again later\r\n", c->hostname);
        return EX_TEMPFAIL;
    }
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR) break;
        if (p[0].revents && !move(fd, STDOUT_FILENO)) break;
        if (p[1].revents && !move(STDIN_FILENO, fd)) {
            shutdown(fd, SHUT_WR);
            p[1].fd = -1;
        }
    }
    close(fd);
    return EX_OK;
}
