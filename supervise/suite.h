/* suite.h: the programs at work, who is wired to whom, and how all of it starts, changes and stops. */
#ifndef POSTERN_SUPERVISE_SUITE_H
#define POSTERN_SUPERVISE_SUITE_H

#include "common/channel.h"
#include "common/config.h"
#include "common/loop.h"
#include "supervise/files.h"
#include "supervise/listen.h"

#include <sys/types.h>

struct suite;

enum proc_state {
    PROC_WAITING,  /* no process; a timer starts it, unless the suite stops */
    PROC_STARTING, /* runs, has not said started */
    PROC_UP,       /* in its cage, wired to its peers */
    PROC_STOPPING, /* was told to stop, or will be killed */
};

struct proc {
    struct suite *suite;
    enum role role;
    unsigned instance;
    enum proc_state state;
    bool again;    /* to be started again when it has stopped: its settings changed */
    bool retiring; /* to be forgotten when it has stopped: there shall be fewer */
    pid_t pid;     /* 0: none */
    uid_t uid;
    struct channel *channel;
    int64_t since; /* of the start, loop_now */
    unsigned ends; /* in a row */
    struct timer start, kill;
};

enum { PROCS_MAX = 160 };

struct suite {
    struct loop *loop;
    const char *file; /* the configuration's name */
    struct config *config;
    uint32_t generation;
    int log_fd;
    int errors_fd; /* standard error of the programs; -1: nowhere */
    struct listeners listeners;
    int crowd; /* what the smtpd processes count in; 0: not made yet, -1: none */
    struct proc *procs[PROCS_MAX];
    size_t proc_count;
    bool ready; /* all were at work once */
    bool stopping;
    size_t phase;      /* of the stop */
    const char *why;   /* of the stop */
    char failure[600]; /* the program that could not be started, and why; empty: none */
    int status;        /* exit status of posternd */
    void (*on_ready)(struct suite *s);
    struct timer linger;
    struct files files; /* of certificates, as they were seen last */
    struct timer watch;
};

/* Starts everything; then loop_run. suite_stop ends the loop when all have ended. */
void suite_start(struct suite *s);
void suite_stop(struct suite *s, const char *why, int status);
void suite_reaped(struct suite *s, pid_t pid, int status); /* what waitpid said */
/* Puts another configuration in force, as it is possible while running; the old one is freed then. False:
 * nothing has changed, err says why in one line; next is the caller's still. */
bool suite_change(struct suite *s, struct config *next, struct config_error *err);
void suite_free(struct suite *s);

/* How many processes of a role there shall be. */
unsigned suite_count(const struct config *c, enum role role);
/* Which roles stop in which phase of a stop (masks of ROLE_BIT), and how long they may take; 0 after the
 * last. */
uint32_t suite_phase(size_t phase, uint32_t *within_ms);

#endif
