/* intake.h: what a program pipes into sendmail(1), as it becomes a message: lines that end in CRLF, no
 * bare CR, no NUL. Pure: bytes in, bytes out.
 *
 * LF, CRLF and CR...CR LF end a line. A CR elsewhere (progress bars in the output of cron jobs) becomes a
 * line end in the body and a space in the header, where a line end would make a new field. NUL is left
 * out: smtpd refuses both (RFC 5321 2.3.8, RFC 5322 4), and a report with a NUL is better without it than
 * lost. */
#ifndef POSTERN_SUBMIT_INTAKE_H
#define POSTERN_SUBMIT_INTAKE_H

#include "common/str.h"

/* Text that grows on the heap, up to max; then `failed`, and further bytes are dropped. */
struct text {
    char *p;
    size_t n, cap, max;
    bool failed;
};

void text_add(struct text *t, struct str s);
void text_free(struct text *t);
struct str text_str(const struct text *t);

struct intake {
    struct text text; /* the message so far */
    bool dots;        /* a line with a lone dot ends the message (no -i) */
    bool ended;       /* it came: what follows is not read */
    bool in_header;   /* no empty line yet */
    bool true_start;  /* the current line began after an LF, not after a CR that we turned into a line end */
    size_t line;      /* where the current line starts */
    size_t crs;       /* CRs that wait for what follows them */
};

/* max: the most octets; more set text.failed. */
void intake_init(struct intake *in, bool dots, size_t max);
void intake_add(struct intake *in, struct str bytes);
/* No more input: ends the last line. */
void intake_end(struct intake *in);
void intake_free(struct intake *in);

#endif
