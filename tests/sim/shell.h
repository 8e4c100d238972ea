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

#endif
