/* worker.h: the process that is the recipient. */
#ifndef POSTERN_DELIVER_LOCAL_WORKER_H
#define POSTERN_DELIVER_LOCAL_WORKER_H

#include <sys/types.h>

/* For a process that was just forked by the spawner: closes all descriptors but channel_fd and the log,
 * becomes uid and gid for good, and serves jobs until dispatch closes the channel. Never returns. */
_Noreturn void worker_run(int channel_fd, uid_t uid, gid_t gid);

#endif
