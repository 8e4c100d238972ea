/* shell.h: what a real shell (queue/main.c and the files beside it) finds in the simulator in place of the loop, the
 * channels, the descriptors and the clock of a real program. */
#ifndef POSTERN_TESTS_SIM_SHELL_H
#define POSTERN_TESTS_SIM_SHELL_H

#include "common/program.h"
#include "tests/sim/world.h"

/* The program whose main is called; it is not run, but given back. */
const struct program *shell_program(int (*main)(int argc, char **argv));
/* What the program deferred to the end of its round; busy: not before that time. */
void shell_round(struct process *p);
void shell_forget(struct process *p); /* it has died */
struct process *shell_process(void);  /* the one that runs in it now */

/* ---- Doors: channels that are no links, or not yet ------------------------------------------------------ */

enum { NOBODY = PROGRAMS };

/* A channel of p to a peer of this role; what is sent goes to program `to`, or with NOBODY nowhere. */
struct channel *shell_door(struct process *p, enum role role, unsigned to);
/* The door that a descriptor belongs to: one end of a socket pair, of which the other has become a channel of the
 * program. NULL: it was closed. */
struct channel *shell_door_at(const struct process *p, int fd);
void shell_door_leads(struct channel *door, unsigned to);
void shell_door_close(struct channel *door);
struct channel *shell_door_to(const struct process *p, enum role role, unsigned to); /* NULL: there is none */
unsigned shell_to(const struct process *p, const struct channel *ch); /* whom a channel leads to */

#endif
