/* tidy.h: memory that a start or a load has left behind goes back to the system.
 *
 * Soon after the start, and some seconds after there was something to do: free memory inside the heap (malloc itself
 * gives back only its end, and thousands of messages lie in no order there), and pages of program and libraries, of which
 * a start touches many that are never needed again; those that are come back from the page cache at their next use. An
 * idle program does not wake up for it. */
#ifndef POSTERN_COMMON_TIDY_H
#define POSTERN_COMMON_TIDY_H

#include "common/loop.h"

struct tidy {
    struct timer timer;
    unsigned times;
    bool due; /* at the end of this round */
};

void tidy_heap(void);                            /* now, when much was freed */
void tidy_round(struct tidy *t, struct loop *l); /* after each round of the loop */

#endif
