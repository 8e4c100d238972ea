/* pace.h: when the next commit comes: later when delivery does not keep up, and a moment later under load.
 *
 * "behind" is how many accepted messages delivery has not got to. Up to a limit nothing happens: each commit comes as
 * soon as it can. Above it a commit of n messages is followed by a pause, so that hardly more come in than leave
 * (delivered, or put to rest because their hosts must wait): the number stays where it is, senders wait for their 250,
 * and the disk is free for delivery.
 *
 * Company: while a commit serves several messages, the next waits a moment until about as many have come. Senders who
 * wait for one sync otherwise part into two groups that take turns, and each sync serves half of them. A message that is
 * alone, or one of few, or comes when it was quiet, never waits. Pure: times are arguments, in ms. */
#ifndef POSTERN_QUEUE_PACE_H
#define POSTERN_QUEUE_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PACE_SLOWEST = 20, /* messages a second that come in even when none leaves: nobody's session dies of it */
    PACE_PAUSE_MAX = 10000, /* RFC 5321 4.5.3.2.6: senders wait ten minutes for the reply to the final dot */
    PACE_WINDOW = 1000,     /* over which is counted what leaves */
    COMPANY_LEAST = 4,      /* messages in a commit from which on the next waits for company, */
    COMPANY_MS = 1,         /* so long at most, */
    COMPANY_FADE = 20,      /* unless that commit is so long ago */
};

struct pace {
    size_t limit;        /* the owner's to set */
    int64_t window;      /* when it began */
    uint64_t left, rate; /* messages that left in it; a second, in the one before */
    int64_t until;       /* no commit before */
    int64_t took;        /* when the last commit was made */
    unsigned served;     /* messages in a commit lately: up at once, down by a quarter of the difference */
};

void pace_left(struct pace *p, int64_t now); /* a message is delivered or rests */
/* A commit of n messages was made, and now so many are behind. */
void pace_took(struct pace *p, int64_t now, unsigned n, size_t behind);
/* How long the next commit has to wait; 0: not at all. */
int64_t pace_wait(const struct pace *p, int64_t now, size_t behind);
/* Whether a commit of the n messages that are there should wait for more. */
bool pace_company(const struct pace *p, int64_t now, unsigned n);

#endif
