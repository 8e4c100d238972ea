/* program.h: how every program of the suite begins and ends, in one place.
 *
 *     int main(int argc, char **argv) { return program_main(&smtpd, argc, argv); }
 *
 * program_main reads options; takes the channel to posternd (descriptor 3), the log (4) and its counters (5); is told its
 * settings and rights; lets the program prepare (the last moment with the rights of root); enters the cage of its row
 * in roles.def; says `started`; and runs the loop, in which posternd hands it channels to its peers and listening
 * sockets. When posternd says stop, or is gone, the program is asked to finish. */
#ifndef POSTERN_COMMON_PROGRAM_H
#define POSTERN_COMMON_PROGRAM_H

#include "common/channel.h"
#include "common/config.h"
#include "common/log.h"
#include "common/loop.h"

enum { FD_SUPERVISE = 3, FD_LOG = 4, FD_COUNTERS = 5 };
/* submit, control and lmtp are Unix sockets; submission speaks STARTTLS, submissions TLS from the first octet. */
enum listener_kind { LISTEN_SMTP, LISTEN_SUBMIT, LISTEN_CONTROL, LISTEN_SUBMISSION, LISTEN_SUBMISSIONS, LISTEN_LMTP };

struct program;

struct self {
    const struct program *program;
    struct loop *loop;
    const struct config *config; /* replaced by a reload; see reconfigured */
    unsigned instance;           /* 0, 1 ... among the processes of this role */
    struct channel *supervise;
    int crowd; /* memory that was handed to us before prepare (common/crowd.h); -1: none */
    void *state;                 /* the program's own */
    bool stopping;
};

/* All functions may be NULL except handlers where peers exist. Handlers and callbacks of channels get the struct self
 * as their ctx. */
struct program {
    enum role role;
    const char *purpose; /* one sentence for --help */
    const struct wire_handlers *handlers;
    /* Still with root's rights and outside the cage: open what will be needed. False (say why with LOG_TROUBLE) ends
     * the program; posternd tries again later. */
    bool (*prepare)(struct self *me);
    /* Further paths for Landlock beyond the row: put at most max pointers, return how many. */
    size_t (*read_paths)(const struct config *c, const char **paths, size_t max);
    void (*begin)(struct self *me); /* in the cage, before the first event */
    void (*peer)(struct self *me, struct channel *ch);      /* a peer was wired (again) */
    void (*peer_gone)(struct self *me, struct channel *ch); /* and lost; ch is freed after this */
    void (*drained)(struct self *me, struct channel *ch);   /* after channel_full: it takes more now */
    void (*listener)(struct self *me, int fd, enum listener_kind kind, struct str name); /* fd is yours */
    void (*unlisten)(struct self *me, struct str name);
    void (*reconfigured)(struct self *me, const struct config *old);
    void (*stop)(struct self *me); /* take no new work; call program_end when done. NULL: end at once */
};

int program_main(const struct program *p, int argc, char **argv);
void program_end(struct self *me); /* flush and leave the loop with status 0 */

/* A channel of the program's own making (control clients, workers): same handlers, peer_gone and drained as peers. */
struct channel *program_channel(struct self *me, int fd, enum role expect);
/* Accepts one tool at a control socket; NULL: nobody waits, or he was sent away, since no user may have so many
 * connections that others are not heard (*more: there may be another). peer_gone tells its end. */
struct channel *program_tool(struct self *me, int listener, bool *more);
/* How many descriptors this process may have: its row of roles.def, or less where the machine does not give so many. */
unsigned program_files(void);
/* Is he root, or the user who runs this (private) instance? The kernel says who he is. */
bool program_admin(const struct self *me, const struct channel *ch);

#endif
