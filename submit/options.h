/* options.h: the command line of sendmail(1), in all the spellings that thirty years of callers use. Pure. */
#ifndef POSTERN_SUBMIT_OPTIONS_H
#define POSTERN_SUBMIT_OPTIONS_H

#include "common/str.h"

enum mode {
    MODE_SEND,
    MODE_SMTP,
    MODE_QUEUE,
    MODE_ALIASES,
    MODE_VERIFY,
    MODE_FLUSH,
    MODE_HELP,
    MODE_VERSION
};

/* -oe: what to do with refused recipients. */
enum errors {
    ERRORS_PRINT,   /* p: standard error and exit status */
    ERRORS_QUIET,   /* q: exit status only */
    ERRORS_MAIL,    /* m: mail to the sender, and the exit status */
    ERRORS_MAIL_OK, /* e: mail to the sender, exit status 0 */
    ERRORS_WRITE,   /* w: print when a terminal is there, else mail */
};

struct options {
    enum mode mode;
    enum errors errors;
    bool from_header;   /* -t */
    bool keep_dots;     /* -i, -oi */
    bool verbose;       /* -v */
    bool body_7bit;     /* -B7BIT */
    const char *sender; /* -f, -r; NULL: the caller */
    const char *name;   /* -F */
    const char *config; /* -C */
    const char *notify; /* -N: NOTIFY of RFC 3461 4.1 */
    const char *ret;    /* -R: RET, 4.3 */
    const char *envid;  /* -V: ENVID, 4.4 */
    char **rcpts;
    size_t rcpt_count;
    char why[200]; /* of a wrong command line */
};

/* argv[0] decides between sendmail, mailq and newaliases. False: o->why names the option and what is
 * wrong. */
bool options_parse(struct options *o, int argc, char **argv);

#endif
