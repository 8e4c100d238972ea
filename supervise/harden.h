/* harden.h: what posternd gives up before it starts anything, although it stays root. */
#ifndef SUPERVISE_HARDEN_H
#define SUPERVISE_HARDEN_H

/* no_new_privs, no core and no tracer, and only the capabilities that its work and the making of the cages need;
 * all of it holds for every program started from here, whatever it execs. What this kernel or container does not
 * allow is left out: nothing depends on it. */
void harden(void);

#endif
