/* notify.h: tells systemd how posternd is, by the protocol of sd_notify(3), written by hand: one datagram. */
#ifndef POSTERN_SUPERVISE_NOTIFY_H
#define POSTERN_SUPERVISE_NOTIFY_H

#include "common/loop.h"

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and takes them out of the environment. Call after
 * the last fork that changes the pid of posternd. */
void notify_begin(struct loop *l);
void notify_ready(const char *status); /* READY=1, and STATUS= */
void notify_reloading(void);           /* RELOADING=1 with MONOTONIC_USEC; notify_ready ends it */
void notify_stopping(void);

#endif
