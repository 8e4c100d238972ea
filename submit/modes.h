/* modes.h: what sendmail(1) can be asked to do, one file each. All give an exit status of sysexits.h. */
#ifndef POSTERN_SUBMIT_MODES_H
#define POSTERN_SUBMIT_MODES_H

#include "common/config.h"
#include "submit/options.h"

int mode_send(const struct options *o,
              const struct config *c); /* -bm: submit the message on standard input */
int mode_verify(const struct options *o, const struct config *c); /* -bv: ask smtpd about recipients */
int mode_smtp(const struct options *o, const struct config *c);   /* -bs: SMTP on standard input and output */
int mode_queue(const struct options *o, const struct config *c);  /* -bp, mailq */
int mode_flush(const struct options *o, const struct config *c);  /* -q */
int mode_aliases(const struct options *o, const struct config *c); /* -bi, newaliases */

#endif
