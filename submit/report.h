/* report.h: the mail that tells a sender which recipients smtpd refused, with his message. Pure. */
#ifndef POSTERN_SUBMIT_REPORT_H
#define POSTERN_SUBMIT_REPORT_H

#include "submit/handin.h"

struct report {
    struct str hostname, origin;     /* who reports */
    struct str to;                   /* the sender of the message */
    struct str intro;                /* a sentence: what happened */
    const struct handin_rcpt *rcpts; /* those with NEVER are listed, and LATER when `expired` */
    size_t rcpt_count;
    bool expired;
    uint64_t unique; /* makes the boundary one that the message does not contain */
};

/* Appends what stands before the message to head, what stands behind it to tail; CRLF lines. */
void report_build(const struct report *r, struct buf *head, struct buf *tail);

#endif
