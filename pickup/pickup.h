/* pickup.h: the parts of the pickup program: it finds files (main.c) and hands each to smtpd (job.c). */
#ifndef POSTERN_PICKUP_PICKUP_H
#define POSTERN_PICKUP_PICKUP_H

#include "common/program.h"
#include "pickup/names.h"
#include "submit/dropfile.h"

enum { JOBS_MAX = 16, CHANNELS_MAX = 64, BATCH_MAX = 1024 };

struct job;

struct pickup {
    struct self *me;
    int directory;
    struct job *jobs[JOBS_MAX];
    size_t running;
    struct channel *smtpd[CHANNELS_MAX];
    size_t channels, turn; /* whose turn it is */
    size_t moved;          /* names that changed or went since the last scan: jobs make progress */
    /* What pickup_scan found and no job has taken yet. */
    char batch[BATCH_MAX][DROPFILE_NAME];
    size_t batch_n, batch_at;
};

/* Begins with a file; false: nothing was started (it is not mail, or cannot be read now), go on with the
 * next. */
bool job_start(struct pickup *p, const char *name, struct channel *smtpd);
bool job_has(const struct pickup *p, const char *name); /* is a job at work on it? */
/* main.c: a job has ended and its place is free. */
void pickup_job_ended(struct pickup *p, struct job *job);

#endif
