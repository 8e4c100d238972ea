#include "supervise/crowd.h"

#include "common/crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static int memory_file(void) {
    int fd = memfd_create("postern-crowd", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* kernels before 6.3 do not know NOEXEC */
        fd = memfd_create("postern-crowd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

int crowd_new(void) {
    uint64_t seed;
    int fd = memory_file();
    if (fd < 0) return -1;
    if (getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed &&
        ftruncate(fd, sizeof(struct crowd)) == 0 &&
        pwrite(fd, &seed, sizeof seed, offsetof(struct crowd, seed)) == (ssize_t)sizeof seed &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

void crowd_wipe(int fd, unsigned instance) {
    if (fd < 0 || instance >= CROWD_ROWS) return;
    /* A hole reads as zeros, and gives the pages back. */
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    (off_t)(offsetof(struct crowd, rows) + instance * sizeof(struct crowd_row)),
                    sizeof(struct crowd_row));
}
