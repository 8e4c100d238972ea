/* reply.h: reads the replies of an SMTP server (RFC 5321 4.2), however its octets are cut up.
 *
 * A line ends in LF, with or without a CR before it: replies are passed on to nobody, so leniency is harmless
 * here. Of a line that is too long the front is kept (to throw a "250" away because of a chatty text would
 * mean sending the message twice); more than REPLY_LINES lines or REPLY_OCTETS octets is an attack. */
#ifndef POSTERN_DELIVER_SMTP_REPLY_H
#define POSTERN_DELIVER_SMTP_REPLY_H

#include "common/status.h"

enum { REPLY_LINE = 1024, REPLY_LINES = 100, REPLY_OCTETS = 65536, REPLY_TEXT = 1000 };

struct client_reply {
    char line[REPLY_LINE];
    size_t n;      /* of the line being read */
    bool complete; /* the reply in here is over: the next octet begins another */
    unsigned code; /* of the reply being read; 0 before its first line */
    unsigned lines;
    size_t octets;
    char text[REPLY_TEXT]; /* its lines joined by spaces, printable */
    size_t text_n;
};

enum client_reply_verdict {
    REPLY_NEED, /* all octets were taken; the line is not over */
    REPLY_MORE, /* one line was taken, others follow */
    REPLY_DONE, /* the last line was taken */
    REPLY_BAD,  /* this is not SMTP; *why says how */
};

/* Takes octets off the front of *in up to the end of one line. After REPLY_MORE and REPLY_DONE *line is the
 * text of this line (without code); valid until the next call. */
enum client_reply_verdict client_reply_feed(struct client_reply *r, struct str *in, struct str *line,
                                            const char **why);
bool client_reply_begins(const struct client_reply *r); /* the next octet is the first of a reply */
/* The whole reply after REPLY_DONE, as a status; its text is a view into r. */
struct status client_reply_status(const struct client_reply *r);

#endif
