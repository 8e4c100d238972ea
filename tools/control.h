/* control.h: a blocking client of the control sockets of queue and dispatch, for the tools. They speak
 * the messages of wire.def as ROLE_tool; SO_PEERCRED tells the other side who asks. */
#ifndef POSTERN_TOOLS_CONTROL_H
#define POSTERN_TOOLS_CONTROL_H

#include "common/channel.h"
#include "common/config.h"

struct control {
    struct loop *loop;
    struct channel *channel;
    void *user; /* the caller's own */
    bool done, lost;
    const char *doing;    /* what a long operation is called; NULL: no progress is told */
    int64_t since, told;  /* ms */
    uint32_t count;       /* of ctl_done */
    struct status status; /* of ctl_done, its text in text[] */
    char text[1024];
    char why[512]; /* after a failure: one line */
};

/* Connects to the socket of ROLE_queue or ROLE_dispatch. handlers must have .ctl_done = control_done;
 * they get the struct control as their ctx. False: c->why says why. */
bool control_open(struct control *c, const struct config *config, enum role to,
                  const struct wire_handlers *handlers, void *user);
void control_done(void *ctx, struct channel *ch, const struct wire_ctl_done *m, int fd);
/* For .ctl_progress: tells people on standard error how far it is, once a second, when it takes longer. */
void control_progress(void *ctx, struct channel *ch, const struct wire_ctl_progress *m, int fd);
/* Waits for the end of the answer. False: the other side is gone, or silent for a minute; c->why says so.
 * A true result may still carry a c->status that is not OK. */
bool control_wait(struct control *c);
void control_close(struct control *c);

#endif
