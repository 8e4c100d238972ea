/* line.h: the stream to smtpd's submit socket, and a handin session over it, with blocking waits. */
#ifndef POSTERN_SUBMIT_LINE_H
#define POSTERN_SUBMIT_LINE_H

#include "common/config.h"
#include "submit/handin.h"

/* Connects to run-directory/submit; -1 and errno: the suite is down. */
int line_dial(const struct config *c);
/* Moves octets until the mail that was given to h is done. Closes nothing. */
void line_run(int fd, struct handin *h);

#endif
