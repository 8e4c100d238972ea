/* crowd.h: the shared memory of the smtpd processes (common/crowd.h), as posternd sees it: a descriptor. */
#ifndef POSTERN_SUPERVISE_CROWD_H
#define POSTERN_SUPERVISE_CROWD_H

int crowd_new(void); /* -1: none (errno); smtpd works without it, and counts nothing */
void crowd_wipe(int fd, unsigned instance); /* forgets what a process that has ended held */

#endif
