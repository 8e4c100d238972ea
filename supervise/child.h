/* child.h: one program as a process: how it is started, and what its end means. */
#ifndef POSTERN_SUPERVISE_CHILD_H
#define POSTERN_SUPERVISE_CHILD_H

#include "common/config.h"

#include <sys/types.h>

/* Finds PROGRAM below dir: dir/PROGRAM when installed, dir/PROGRAM/PROGRAM in a build tree. False: neither
 * can be run; path then holds the first. */
bool child_path(const char *dir, const char *program, char *path, size_t size);

/* Starts it with descriptor 3 = supervise, 4 = log, no other, and an environment of TZ and what sanitizers
 * and coverage read. Standard output and error go to errors, or nowhere when it is -1. Gives its pid, or
 * -1 and errno: also when exec failed. */
pid_t child_start(const char *path, unsigned instance, int supervise, int log, int errors, int counters);

/* What a status of waitpid means to a reader of the log. */
void child_ending(int status, struct buf *b);

/* How long to wait before the next start, in milliseconds: 100 ms, doubled for each end in a row, at most
 * 30 s; a program that lived for a minute begins anew. */
uint64_t child_backoff(unsigned *ends_in_a_row, int64_t lived_ms);

#endif
