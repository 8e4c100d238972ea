/* disk_over.h: a disk over another, which keeps every change to itself and forgets it at the end. What would happen
 * can be tried on it: `postern queue check` replays the journal of a stopped queue there. */
#ifndef POSTERN_QUEUE_DISK_OVER_H
#define POSTERN_QUEUE_DISK_OVER_H

#include "queue/disk.h"

/* below stays the caller's, and is only read. */
struct disk *disk_over_new(struct disk *below);
void disk_over_free(struct disk *d);

#endif
