/* cage.h: puts the calling process into the cage that roles.def gives its role, for good.
 *
 * In this order, and every step is checked, also that it cannot be undone: limits; own network namespace
 * for roles without CALLS_CONNECT; chroot into the root of the row; groups, GID and UID; no capabilities
 * (the spawner keeps those to change user and to kill); no_new_privs, not dumpable; Landlock (as much as
 * the kernel's ABI knows: files, and TCP connect and bind from ABI 4, abstract sockets and signals from
 * ABI 6); seccomp, whose default action is to kill the process. Without root (a private instance of an
 * ordinary user) the steps that need it are left out and cage_enter says so in why; no_new_privs, Landlock
 * and seccomp are never left out (a kernel without Landlock is told in the note too). Built with
 * sanitizers, RLIMIT_AS is not set, and the calls that their runtime makes are allowed. */
#ifndef POSTERN_COMMON_CAGE_H
#define POSTERN_COMMON_CAGE_H

#include "common/role.h"

#include <sys/types.h>

struct cage {
    enum role role;
    uid_t uid; /* what to become; ignored without root */
    gid_t gid;
    const char *root;         /* directory for the row's root; NULL when ROOT_NONE */
    const char *const *read;  /* further paths for Landlock, readable beneath; NULL-terminated, or NULL */
    const char *const *write; /* further paths, readable and writable beneath; NULL-terminated, or NULL */
};

/* Ends in the cage, or returns false with why[] telling the step and errno; the caller must then exit with
 * EX_OSERR. In success why[] is a note of what was left out, empty when nothing was. Descriptors that
 * should survive must be open already, threads must not have been started, and what libraries load late
 * must be loaded. */
bool cage_enter(const struct cage *c, char *why, size_t why_size);
/* For a worker that the spawner of local deliveries (CALLS_SPAWN) has forked: becomes uid and gid, without
 * further groups and for good; then no_new_privs, Landlock (files beneath home, when not empty, and
 * beneath the paths of write, NULL-terminated or NULL; nothing else), and seccomp with CALLS_BASE |
 * CALLS_FILES_WRITE: no exec, no fork, no sockets. Without root, uid must be the caller's. Returns like
 * cage_enter; in failure the caller must _exit. */
bool cage_worker(uid_t uid, gid_t gid, const char *home, const char *const *write, char *why,
                 size_t why_size);
/* The filter of workers is made here, by the spawner before it enters its own cage; its children then only load it. Without
 * this each makes it for itself, which costs the most of its start. */
bool cage_worker_prepare(char *why, size_t why_size);
/* For a child that only computes on descriptors it holds already (the configuration parser): with root it
 * becomes nobody; no file, no network, CALLS_BASE. Returns like cage_enter. */
bool cage_reader(char *why, size_t why_size);
/* For the child of auth that speaks to PAM or connects to Dovecot (auth/keeper.h): becomes uid and gid, with one
 * further group when extra is not 0. pam: it may read the system's directories, load code, fork, run programs
 * (without new privileges) and connect to Unix sockets; else only the last. Never a file to write, never TCP.
 * Returns like cage_enter. */
bool cage_keeper(uid_t uid, gid_t gid, gid_t extra, bool pam, char *why, size_t why_size);
/* The UID and GID of a role: uid_base + row, or the account "_postern-" user (looked up). False when the
 * account does not exist; root ("" user) gives 0. */
bool cage_ids(enum role role, uint64_t uid_base, uid_t *uid, gid_t *gid);

#endif
