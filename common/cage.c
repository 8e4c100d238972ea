/* cage.c: the walls, in the order of cage.h. Nothing here parses input from outside: roles.def and
 * posternd say all.
 *
 * The kernel's headers may be older than the kernel, so the newer parts of Landlock are declared here and
 * asked for only when the kernel's ABI number has them. */
#include "common/cage.h"

#include "common/arena.h"
#include "common/str.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZER 1
#endif
#endif
#ifndef SANITIZER
#define SANITIZER 0
#endif

enum { FSIZE_GIB = 1024, PATHS_MAX = 32 };

/* Why a step failed, or a note of what was left out: "a; b". */
static bool fails(struct buf *why, const char *step, const char *what) {
    int error = errno;
    why->n = 0;
    why->failed = false;
    buf_addf(why, "%s%s%s: %s", step, *what ? " " : "", what, strerror(error));
    return false;
}

static void leave_out(struct buf *why, const char *what) {
    if (why->n) buf_adds(why, ", ");
    buf_adds(why, what);
}

/* ---- Limits ---- */

static bool limit(int resource, rlim_t want, struct buf *why, const char *name) {
    struct rlimit now, set = {want, want};
    if (getrlimit((__rlimit_resource_t)resource, &now) != 0) return fails(why, "getrlimit", name);
    if (setrlimit((__rlimit_resource_t)resource, &set) == 0) return true;
    /* Only root may raise; a private instance takes what it has. */
    if (errno != EPERM || now.rlim_max == RLIM_INFINITY || want <= now.rlim_max)
        return fails(why, "setrlimit", name);
    set.rlim_cur = set.rlim_max = now.rlim_max;
    return setrlimit((__rlimit_resource_t)resource, &set) == 0 || fails(why, "setrlimit", name);
}

static bool set_limits(const struct role_info *r, struct buf *why) {
    if (!limit(RLIMIT_CORE, 0, why, "core")) return false;
    if (!limit(RLIMIT_NOFILE, r->files, why, "nofile")) return false;
    if (!limit(RLIMIT_FSIZE, (rlim_t)FSIZE_GIB << 30, why, "fsize")) return false;
    return SANITIZER || limit(RLIMIT_AS, (rlim_t)r->memory_mib << 20, why, "as"); /* ASan maps terabytes */
}

/* ---- Namespaces, root, identity ---- */

/* Sockets that are open keep the network they were made in; only new ones see the empty one. The spawner
 * keeps the network for the programs that its workers will start for their users. */
static bool leave_network(const struct role_info *r, struct buf *why) {
    if (unshare(CLONE_NEWIPC | CLONE_NEWUTS) != 0 && errno != EPERM) return fails(why, "unshare", "ipc");
    if (r->calls & (CALLS_CONNECT | CALLS_SPAWN)) return true;
    if (unshare(CLONE_NEWNET) == 0) return true;
    /* Root of a container may lack the right; Landlock and seccomp still forbid the calls. */
    if (errno != EPERM && errno != EINVAL) return fails(why, "unshare", "net");
    leave_out(why, "no network namespace");
    return true;
}

static bool change_root(const struct cage *c, struct buf *why) {
    if (!c->root) return true;
    if (chroot(c->root) != 0) return fails(why, "chroot", c->root);
    return chdir("/") == 0 || fails(why, "chdir", "/");
}

static bool is_only(uid_t uid, gid_t gid) {
    uid_t u[3];
    gid_t g[3];
    if (getresuid(&u[0], &u[1], &u[2]) != 0 || getresgid(&g[0], &g[1], &g[2]) != 0) return false;
    for (int i = 0; i < 3; i++)
        if (u[i] != uid || g[i] != gid) return false;
    return getgroups(0, NULL) == 0;
}

static bool become(uid_t uid, gid_t gid, struct buf *why) {
    if (setgroups(0, NULL) != 0) return fails(why, "setgroups", "");
    if (setresgid(gid, gid, gid) != 0) return fails(why, "setresgid", "");
    if (setresuid(uid, uid, uid) != 0) return fails(why, "setresuid", "");
    errno = EPERM;
    if (!is_only(uid, gid)) return fails(why, "the change of identity", "did not hold");
    if (uid && (setuid(0) == 0 || seteuid(0) == 0)) return fails(why, "the change of user", "can be undone");
    if (uid && gid && setgid(0) == 0) return fails(why, "the change of group", "can be undone");
    return true;
}

/* What is left of root for the spawner: to become its workers, and to end them. It opens no file, so it
 * needs no right to pass over permissions. Others have lost all capabilities with the change of user. */
static bool keep_few_capabilities(struct buf *why) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    uint32_t bits = 1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_KILL;
    struct __user_cap_data_struct data[2] = {{bits, bits, 0}, {0, 0, 0}};
    if (geteuid() != 0) return true;
    return syscall(SYS_capset, &head, data) == 0 || fails(why, "capset", "");
}

static bool give_up_privileges(struct buf *why) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fails(why, "prctl", "no_new_privs");
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 || fails(why, "prctl", "dumpable");
}

/* ---- Landlock ---- */

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

/* As in linux/landlock.h of 6.12; a kernel takes a shorter or longer struct when the rest is zero. */
struct ll_ruleset {
    uint64_t fs, net, scoped;
};
struct ll_path {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));
struct ll_port {
    uint64_t allowed, port;
};
enum { LL_VERSION = 1, LL_RULE_PATH = 1, LL_RULE_PORT = 2 };
enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_MAKE_SYM = 1 << 12,
    FS_REFER = 1 << 13,     /* ABI 2 */
    FS_TRUNCATE = 1 << 14,  /* ABI 3 */
    FS_IOCTL_DEV = 1 << 15, /* ABI 5 */
    NET_BIND = 1 << 0,      /* ABI 4 */
    NET_CONNECT = 1 << 1,
    SCOPE_ABSTRACT = 1 << 0, /* ABI 6 */
    SCOPE_SIGNAL = 1 << 1,
    FS_READ = FS_READ_FILE | FS_READ_DIR,
    FS_WRITE = FS_READ | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG |
               FS_MAKE_SYM | FS_REFER | FS_TRUNCATE,
    FS_OF_A_FILE = FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE, /* what a rule for a single file may hold */
};

/* Paths are opened before chroot, and become rules after it. */
struct walls {
    struct wall {
        int fd;
        uint64_t rights;
    } v[PATHS_MAX];
    size_t n;
    bool all_files; /* no rule about files but REFER */
    uint64_t net;   /* what is forbidden of NET_* */
    bool port_0;    /* but an ephemeral port may be bound */
};

/* A path that does not exist grants nothing, and that is what the caller would find anyway. */
static bool add_wall(struct walls *w, const char *path, uint64_t rights, struct buf *why) {
    struct stat st;
    if (w->n == PATHS_MAX) {
        errno = E2BIG;
        return fails(why, "landlock", path);
    }
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT || errno == EACCES || errno == ENOTDIR || fails(why, "open", path);
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode)) rights &= FS_OF_A_FILE;
    w->v[w->n++] = (struct wall){fd, rights};
    return true;
}

static bool add_walls(struct walls *w, const char *const *paths, uint64_t rights, struct buf *why) {
    for (; paths && *paths; paths++)
        if (!add_wall(w, *paths, rights, why)) return false;
    return true;
}

static bool plan_walls(struct walls *w, const struct cage *c, struct buf *why) {
    const struct role_info *r = &role_table[c->role];
    w->all_files = r->paths & PATH_ALL;
    w->net = r->calls & CALLS_SPAWN ? 0 : r->calls & CALLS_CONNECT ? NET_BIND : NET_BIND | NET_CONNECT;
    w->port_0 = r->calls & CALLS_DNS;
    /* A ruleset that does not speak of REFER forbids it for good, also to the workers: links and renames
     * from one directory to another would fail with EXDEV. */
    if (w->all_files) return add_wall(w, "/", FS_REFER, why);
    if (r->paths & PATH_ETC_READ && !add_wall(w, "/etc", FS_READ, why)) return false;
    if (r->paths & PATH_ROOT_WRITE && c->root && !add_wall(w, c->root, FS_WRITE, why)) return false;
    return add_walls(w, c->read, FS_READ, why) && add_walls(w, c->write, FS_WRITE, why);
}

static uint64_t known_fs_rights(int abi) {
    uint64_t all = ((uint64_t)FS_REFER) - 1;
    if (abi >= 2) all |= FS_REFER;
    if (abi >= 3) all |= FS_TRUNCATE;
    if (abi >= 5) all |= FS_IOCTL_DEV;
    return all;
}

static bool add_rules(int ruleset, const struct walls *w, uint64_t handled, bool net, struct buf *why) {
    for (size_t i = 0; i < w->n; i++) {
        struct ll_path rule = {w->v[i].rights & handled, w->v[i].fd};
        if (rule.allowed && syscall(SYS_landlock_add_rule, ruleset, LL_RULE_PATH, &rule, 0) != 0)
            return fails(why, "landlock", "path");
    }
    struct ll_port rule = {NET_BIND, 0};
    if (net && w->port_0 && syscall(SYS_landlock_add_rule, ruleset, LL_RULE_PORT, &rule, 0) != 0)
        return fails(why, "landlock", "port");
    return true;
}

static bool restrict_self(const struct walls *w, struct buf *why) {
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LL_VERSION);
    if (abi <= 0) {
        leave_out(why, "no Landlock in this kernel");
        return true;
    }
    struct ll_ruleset set = {.fs = known_fs_rights(abi) & (w->all_files ? (uint64_t)FS_REFER : ~0ull)};
    size_t size = sizeof set.fs;
    if (abi >= 4) size = sizeof set.fs + sizeof set.net, set.net = w->net;
    if (abi >= 6) size = sizeof set, set.scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL;
    if (!set.fs && !set.net && !set.scoped) return true;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &set, size, 0);
    if (ruleset < 0) return fails(why, "landlock", "ruleset");
    bool ok = add_rules(ruleset, w, set.fs, set.net & NET_BIND, why);
    if (ok && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) ok = fails(why, "landlock", "restrict");
    close(ruleset);
    if (abi < 4 && w->net) leave_out(why, "no Landlock for TCP");
    return ok;
}

static void close_walls(struct walls *w) {
    for (size_t i = 0; i < w->n; i++) close(w->v[i].fd);
    w->n = 0;
}

/* ---- seccomp: what each class may call ---- */

enum { CALLS_SANITIZER = 1 << 30 };

/* clang-format off */
static const char *const calls_base[] = {
    "read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev",
    "pwritev2", "lseek", "sendfile", "close", "close_range", "fstat", "newfstatat", "fcntl", "dup",
    "dup2", "dup3", "munmap", "mremap", "madvise", "brk", "epoll_create1", "epoll_ctl", "epoll_wait",
    "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6", "eventfd2", "signalfd4",
    "timerfd_create", "timerfd_settime", "timerfd_gettime", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "rt_sigtimedwait", "rt_sigpending", "sigaltstack", "clock_gettime", "clock_getres",
    "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getpid", "gettid", "getppid", "getuid",
    "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getrandom", "futex",
    "set_robust_list", "rseq", "restart_syscall", "exit", "exit_group", "recvfrom", "recvmsg",
    "recvmmsg", "sendto", "sendmsg", "sendmmsg", "shutdown", "getsockopt", "setsockopt", "getsockname",
    "getpeername", "sched_yield", "sched_getaffinity", "getcpu", "getrusage", "times", "sysinfo",
    "uname", "getrlimit", "umask", NULL};
static const char *const calls_accept[] = {"accept", "accept4", NULL};
static const char *const calls_memfd[] = {"memfd_create", "ftruncate", "fallocate", NULL};
static const char *const calls_files_read[] = {
    "open", "openat", "openat2", "stat", "lstat", "statx", "access", "faccessat", "faccessat2",
    "readlink", "readlinkat", "getdents64", "statfs", "fstatfs", "getcwd", "fadvise64", "readahead",
    "flock", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", NULL};
static const char *const calls_files_write[] = {
    "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat", "unlink",
    "unlinkat", "rmdir", "symlink", "symlinkat", "fsync", "fdatasync", "sync_file_range", "syncfs",
    "msync", "ftruncate", "truncate", "fallocate", "chmod", "fchmod", "fchmodat", "utimensat", "utime",
    "utimes", "copy_file_range", NULL};
static const char *const calls_connect[] = {"connect", NULL};
static const char *const calls_dns[] = {"bind", "pipe", "pipe2", "socketpair", NULL};
static const char *const calls_threads[] = {
    "membarrier", "sched_getparam", "sched_getscheduler", "sched_setaffinity", "get_robust_list",
    "tgkill", NULL};
static const char *const calls_spawn[] = {
    "clone", "clone3", "fork", "vfork", "wait4", "waitid", "kill", "tgkill", "pidfd_open",
    "pidfd_send_signal", "setuid", "setgid", "seteuid", "setreuid", "setregid", "setresuid", "setresgid",
    "setgroups", "setrlimit", "prlimit64", "prctl", "seccomp", "capget", "capset",
    "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "socketpair", "setsid",
    "setpgid", "chdir", "fchdir", NULL};
static const char *const calls_unix[] = {"connect", NULL};
/* What a program needs that is loaded and run, with the modules that it loads in turn. */
static const char *const calls_exec[] = {
    "execve", "mmap", "mprotect", "arch_prctl", "set_tid_address", "prlimit64", "prctl", "alarm", "setitimer",
    "getpgrp", "getpgid", "getsid", "getpriority", "capget", NULL};
/* What the runtime of the sanitizers does on its own, also when it reports. */
static const char *const calls_sanitizer[] = {
    "open", "openat", "stat", "readlink", "readlinkat", "mmap", "mprotect", "prctl", "prlimit64",
    "ioctl", "pipe", "pipe2", "tgkill", "personality", "getdents64", "arch_prctl", "process_vm_readv",
    NULL};
/* clang-format on */

static const struct {
    unsigned bits; /* any of them */
    const char *const *names;
} classes[] = {
    {CALLS_BASE, calls_base},
    {CALLS_ACCEPT, calls_accept},
    {CALLS_MEMFD, calls_memfd},
    {CALLS_FILES_READ | CALLS_FILES_WRITE, calls_files_read},
    {CALLS_FILES_WRITE, calls_files_write},
    {CALLS_CONNECT, calls_connect},
    {CALLS_DNS, calls_dns},
    {CALLS_THREADS, calls_threads},
    {CALLS_SPAWN, calls_spawn},
    {CALLS_UNIX, calls_unix},
    {CALLS_EXEC, calls_exec},
    {(unsigned)CALLS_SANITIZER, calls_sanitizer},
};

/* Calls that are allowed with some arguments only. */
struct limited {
    unsigned bits;
    const char *name;
    unsigned arg; /* counts from 0 */
    enum scmp_compare op;
    uint64_t a, b;
};

static bool allow(scmp_filter_ctx f, const char *name, const struct scmp_arg_cmp *cmp, struct buf *why) {
    int nr = seccomp_syscall_resolve_name(name);
    if (nr == __NR_SCMP_ERROR || nr < 0) return true; /* not on this machine */
    int error = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, nr, cmp ? 1 : 0, cmp);
    if (error == 0 || error == -EEXIST) return true;
    errno = -error;
    return fails(why, "seccomp", name);
}

static bool allow_limited(scmp_filter_ctx f, unsigned calls, uint64_t pid, struct buf *why) {
    const struct limited rows[] = {
        {CALLS_BASE, "mmap", 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}, /* no new code */
        {CALLS_BASE, "mprotect", 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0},
        {CALLS_BASE, "tgkill", 0, SCMP_CMP_EQ, pid, 0}, /* abort */
        {CALLS_BASE, "prctl", 0, SCMP_CMP_EQ, PR_SET_NAME, 0},
        {CALLS_BASE, "prlimit64", 2, SCMP_CMP_EQ, 0, 0},  /* ask, not set */
        {CALLS_BASE, "ioctl", 1, SCMP_CMP_EQ, TCGETS, 0}, /* isatty, of stdio */
        {CALLS_BASE, "ioctl", 1, SCMP_CMP_EQ, FIONREAD, 0},
        {CALLS_BASE, "ioctl", 1, SCMP_CMP_EQ, FIONBIO, 0},
        {CALLS_BASE, "socketpair", 0, SCMP_CMP_EQ, AF_UNIX, 0}, /* leads nowhere but to itself */
        {CALLS_CONNECT, "socket", 0, SCMP_CMP_EQ, AF_INET, 0},
        {CALLS_CONNECT, "socket", 0, SCMP_CMP_EQ, AF_INET6, 0},
        {CALLS_CONNECT | CALLS_UNIX, "socket", 0, SCMP_CMP_EQ, AF_UNIX, 0},
        {CALLS_DNS, "socket", 0, SCMP_CMP_EQ, AF_NETLINK, 0}, /* which addresses the host has */
        {CALLS_THREADS, "clone", 0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scmp_arg_cmp cmp = {rows[i].arg, rows[i].op, rows[i].a, rows[i].b};
        if (calls & rows[i].bits && !allow(f, rows[i].name, &cmp, why)) return false;
    }
    return true;
}

static bool fill_filter(scmp_filter_ctx f, unsigned calls, uint64_t pid, struct buf *why) {
    if (SANITIZER) calls |= CALLS_SANITIZER;
    /* First those without conditions: libseccomp drops a narrower rule for the same call. */
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        for (const char *const *name = classes[i].names; calls & classes[i].bits && *name; name++)
            if (!allow(f, *name, NULL, why)) return false;
    if (!allow_limited(f, calls, pid, why)) return false;
    /* clone3 hides its flags behind a pointer: say that it does not exist, and glibc takes clone. */
    if (calls & CALLS_THREADS && !(calls & CALLS_SPAWN)) {
        int error = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
        errno = -error;
        if (error) return fails(why, "seccomp", "clone3");
    }
    return true;
}

/* The filter for the process pid. NULL: why says it. */
static scmp_filter_ctx make_filter(unsigned calls, uint64_t pid, struct buf *why) {
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!f) {
        errno = ENOMEM;
        fails(why, "seccomp", "init");
        return NULL;
    }
    seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree: the list is long */
    if (fill_filter(f, calls, pid, why)) return f;
    seccomp_release(f);
    return NULL;
}

static bool load_filter(unsigned calls, struct buf *why) {
    if (calls & CALLS_ALL) return true;
    scmp_filter_ctx f = make_filter(calls, (uint64_t)getpid(), why);
    if (!f) return false;
    int error = seccomp_load(f);
    seccomp_release(f);
    errno = -error;
    return error == 0 || fails(why, "seccomp", "load");
}

/* ---- seccomp: the filter of workers, made once ---- */

enum {
    WORKER_CALLS = CALLS_BASE | CALLS_FILES_WRITE,
    NO_PID = 0x7fedcba9, /* above any process id, and no number that a filter has for another reason */
};

/* The program that seccomp_load would load into a worker, with NO_PID in the place of its process id. */
static struct {
    struct sock_filter *v;
    size_t n;
} worker_filter;

static struct sock_filter *pid_in_filter(size_t from) {
    for (size_t i = from; i < worker_filter.n; i++) {
        struct sock_filter *s = &worker_filter.v[i];
        if (s->code == (BPF_JMP | BPF_JEQ | BPF_K) && s->k == NO_PID) return s;
    }
    return NULL;
}

static bool read_filter(int fd, struct buf *why) {
    struct stat st;
    if (fstat(fd, &st) != 0) return fails(why, "seccomp", "export");
    size_t size = (size_t)st.st_size;
    worker_filter.v = xmalloc(size);
    worker_filter.n = size / sizeof *worker_filter.v;
    errno = EIO;
    return (pread(fd, worker_filter.v, size, 0) == st.st_size && worker_filter.n &&
            worker_filter.n <= BPF_MAXINSNS) ||
           fails(why, "seccomp", "export");
}

static bool export_filter(scmp_filter_ctx f, struct buf *why) {
    int fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0) return fails(why, "seccomp", "memfd");
    int error = seccomp_export_bpf(f, fd);
    errno = -error;
    bool ok = (error == 0 || fails(why, "seccomp", "export")) && read_filter(fd, why);
    close(fd);
    return ok;
}

static bool prepare_worker(struct buf *why) {
    scmp_filter_ctx f = make_filter(WORKER_CALLS, NO_PID, why);
    if (!f) return false;
    bool ok = export_filter(f, why);
    seccomp_release(f);
    const struct sock_filter *pid = ok ? pid_in_filter(0) : NULL;
    bool one = pid && !pid_in_filter((size_t)(pid - worker_filter.v) + 1);
    if (ok && (one || (SANITIZER && !pid))) return true; /* there tgkill is allowed anyway */
    worker_filter.n = 0;
    errno = EINVAL;
    return ok ? fails(why, "seccomp", "the place of the process id") : false;
}

bool cage_worker_prepare(char *why, size_t why_size) {
    struct buf note = buf_on(why, why_size);
    bool ok = prepare_worker(&note);
    buf_cstr(&note);
    return ok;
}

static bool load_worker_filter(struct buf *why) {
    if (!worker_filter.n) return load_filter(WORKER_CALLS, why);
    struct sock_filter *pid = pid_in_filter(0);
    if (pid) pid->k = (uint32_t)getpid();
    struct sock_fprog program = {(unsigned short)worker_filter.n, worker_filter.v};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0 ||
           fails(why, "seccomp", "load");
}

/* ---- The whole ---- */

#if SANITIZER
/* The leak checker wants to trace its own process, which no cage allows; called by the runtime at exit. */
static bool caged;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) {
    return caged;
}
#endif

static void mark_caged(void) {
#if SANITIZER
    caged = true;
#endif
}

static bool enter(const struct cage *c, struct walls *w, struct buf *why) {
    const struct role_info *r = &role_table[c->role];
    bool root = geteuid() == 0;
    tzset(); /* gmtime reads the time zone once, from a file */
    if (!plan_walls(w, c, why) || !set_limits(r, why)) return false;
    if (!root) leave_out(why, "not root: own user, own root directory and own network");
    else if (!leave_network(r, why) || !change_root(c, why) || !become(c->uid, c->gid, why)) return false;
    return keep_few_capabilities(why) && give_up_privileges(why) && restrict_self(w, why) &&
           load_filter(r->calls, why);
}

bool cage_enter(const struct cage *c, char *why, size_t why_size) {
    struct buf note = buf_on(why, why_size);
    struct walls w = {.n = 0};
    bool ok = enter(c, &w, &note);
    close_walls(&w);
    buf_cstr(&note);
    mark_caged();
    return ok;
}

static bool become_worker(uid_t uid, gid_t gid, struct buf *why) {
    if (geteuid() == 0) return become(uid, gid, why);
    errno = EPERM;
    return uid == getuid() || fails(why, "without root a worker can only be", "its own user");
}

static bool enter_worker(struct walls *w, uid_t uid, gid_t gid, const char *home, const char *const *write,
                         struct buf *why) {
    w->net = NET_BIND | NET_CONNECT;
    /* As the user: a directory that he cannot reach is no wall of his. */
    if (!become_worker(uid, gid, why)) return false;
    if (home && *home && !add_wall(w, home, FS_WRITE, why)) return false;
    return add_walls(w, write, FS_WRITE, why) && give_up_privileges(why) && restrict_self(w, why) &&
           load_worker_filter(why);
}

bool cage_worker(uid_t uid, gid_t gid, const char *home, const char *const *write, char *why,
                 size_t why_size) {
    struct buf note = buf_on(why, why_size);
    struct walls w = {.n = 0};
    bool ok = enter_worker(&w, uid, gid, home, write, &note);
    close_walls(&w);
    buf_cstr(&note);
    mark_caged();
    return ok;
}

/* Like become(), but for one group that is kept. */
static bool become_in_group(uid_t uid, gid_t gid, gid_t extra, struct buf *why) {
    gid_t got[2];
    if (!extra) return become(uid, gid, why);
    if (setgroups(1, &extra) != 0) return fails(why, "setgroups", "");
    if (setresgid(gid, gid, gid) != 0) return fails(why, "setresgid", "");
    if (setresuid(uid, uid, uid) != 0) return fails(why, "setresuid", "");
    errno = EPERM;
    if (getgroups(2, got) != 1 || got[0] != extra || geteuid() != uid)
        return fails(why, "the change of identity", "did not hold");
    return setuid(0) != 0 || uid == 0 || fails(why, "the change of user", "can be undone");
}

static bool enter_keeper(struct walls *w, uid_t uid, gid_t gid, gid_t extra, bool pam, struct buf *why) {
    static const char *const system[] = {"/etc", "/lib",  "/lib64", "/sbin",    "/usr",
                                         "/run", "/proc", "/dev",   "/var/run", NULL};
    unsigned calls = CALLS_BASE | CALLS_UNIX;
    w->net = NET_BIND | NET_CONNECT;
    if (geteuid() == 0 && unshare(CLONE_NEWNET) != 0 && errno != EPERM && errno != EINVAL)
        return fails(why, "unshare", "net");
    if (geteuid() == 0 && !become_in_group(uid, gid, extra, why)) return false;
    /* The group's files, and programs for PAM's modules; no_new_privs keeps set-id bits from meaning anything. */
    if (pam) {
        calls |= CALLS_FILES_READ | CALLS_DNS | CALLS_THREADS | CALLS_SPAWN | CALLS_EXEC;
        if (!add_walls(w, system, FS_READ | FS_EXECUTE, why) || !add_wall(w, "/dev/null", FS_WRITE, why))
            return false;
    }
    return limit(RLIMIT_CORE, 0, why, "core") && give_up_privileges(why) &&
           prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && restrict_self(w, why) && load_filter(calls, why);
}

bool cage_keeper(uid_t uid, gid_t gid, gid_t extra, bool pam, char *why, size_t why_size) {
    struct buf note = buf_on(why, why_size);
    struct walls w = {.n = 0};
    bool ok = enter_keeper(&w, uid, gid, extra, pam, &note);
    close_walls(&w);
    buf_cstr(&note);
    mark_caged();
    return ok;
}

static bool enter_reader(struct buf *why) {
    enum { NOBODY = 65534, MEMORY_MIB = 256 };
    struct walls w = {.net = NET_BIND | NET_CONNECT};
    if (!SANITIZER && !limit(RLIMIT_AS, (rlim_t)MEMORY_MIB << 20, why, "as")) return false;
    if (geteuid() == 0 && !become(NOBODY, NOBODY, why)) return false;
    return limit(RLIMIT_CORE, 0, why, "core") && give_up_privileges(why) && restrict_self(&w, why) &&
           load_filter(CALLS_BASE, why);
}

bool cage_reader(char *why, size_t why_size) {
    struct buf note = buf_on(why, why_size);
    bool ok = enter_reader(&note);
    buf_cstr(&note);
    mark_caged();
    return ok;
}

bool cage_ids(enum role role, uint64_t uid_base, uid_t *uid, gid_t *gid) {
    const char *user = role_table[role].user;
    char name[64];
    *uid = 0, *gid = 0;
    if (!*user) return true;
    if (uid_base) {
        *uid = (uid_t)(uid_base + (unsigned)role);
        *gid = (gid_t)*uid;
        return true;
    }
    snprintf(name, sizeof name, "_postern-%s", user);
    const struct passwd *pw = getpwnam(name);
    if (!pw) return false;
    *uid = pw->pw_uid, *gid = pw->pw_gid;
    return true;
}
