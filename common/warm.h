/* warm.h: functions that run when nothing else does (a timer, memory that is given back, the loop going to sleep) lie
 * together: after tidy has dropped a program's pages, the kernel brings back 64 KiB around each that is touched. */
#ifndef POSTERN_COMMON_WARM_H
#define POSTERN_COMMON_WARM_H

#define WARM __attribute__((hot)) /* the linker puts these at the beginning */

#endif
