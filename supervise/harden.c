#include "build-config.h"

#include "supervise/harden.h"

#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Why each is kept. All that are missing here (ptrace, modules, raw devices, raw packets, time, reboot, audit...) are
 * gone for posternd and for all that it starts. */
static const unsigned char kept[] = {
    CAP_CHOWN,            /* directories are made for the program that owns them */
    CAP_DAC_OVERRIDE,     /* and lie in directories of other owners */
    CAP_FOWNER,           /* their modes are set again */
    CAP_FSETID,           /* the drop directory is set-group-ID */
    CAP_KILL,             /* programs under other UIDs are ended */
    CAP_SETUID,           /* programs and workers become their users */
    CAP_SETGID,           /* with their groups */
    CAP_SETPCAP,          /* the spawner gives up the rest of these */
    CAP_NET_BIND_SERVICE, /* port 25 */
    CAP_NET_ADMIN,        /* larger buffers for the wires than the system's default */
    CAP_SYS_CHROOT,       /* cages: root directory */
    CAP_SYS_ADMIN,        /* cages: namespaces */
    CAP_SYS_RESOURCE,     /* cages: more descriptors than the caller's limit */
};

static uint64_t kept_bits(void) {
    uint64_t bits = 0;
    for (size_t i = 0; i < sizeof kept; i++) bits |= 1ull << kept[i];
    return bits;
}

/* The bounding set first: that takes CAP_SETPCAP. */
static void keep_capabilities(uint64_t bits) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    for (int cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!(bits >> cap & 1)) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capget, &head, data) != 0) return;
    for (int i = 0; i < 2; i++) {
        data[i].effective &= (uint32_t)(bits >> 32 * i);
        data[i].permitted &= (uint32_t)(bits >> 32 * i);
        data[i].inheritable = 0;
    }
    syscall(SYS_capset, &head, data);
}

void harden(void) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#ifndef POSTERN_SANITIZE /* whose leak check traces its own process */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    if (geteuid() == 0) keep_capabilities(kept_bits());
}
