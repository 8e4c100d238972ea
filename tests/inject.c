/* inject: makes a running process of the suite execute one system call, as an attacker inside it would.
 *
 *     inject PID open PATH | create PATH | connect4 PORT | socket FAMILY | exec PATH | fork | setuid UID | kill PID
 *            | ptrace | unlink PATH | mount | getpid
 *
 * Seccomp and Landlock judge a system call that ptrace injects exactly as one of the process's own, so this tries the
 * cage of the real program, from inside, without a line of test code in it. Prints one word: what came of it.
 *     ok N       the call succeeded (N is its result)
 *     ERRNO      it was refused, e.g. EACCES
 *     killed     the process was ended by its filter (SIGSYS)
 * Only for x86-64; exits with 77 elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
int main(void) {
    return 77;
}
#else

enum { SCRATCH = 4096 }; /* below the stack pointer and its red zone: nobody's */

static pid_t target;

static void fail(const char *what) {
    fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int wait_stop(void) {
    int status;
    if (waitpid(target, &status, __WALL) != target) fail("waitpid");
    return status;
}

static void report_death(int status) {
    if (WIFSIGNALED(status)) {
        puts(WTERMSIG(status) == SIGSYS ? "killed" : "died of another signal");
        exit(0);
    }
    if (WIFEXITED(status)) {
        printf("exited %d\n", WEXITSTATUS(status));
        exit(0);
    }
}

static unsigned long long put(struct user_regs_struct *regs, const void *data, size_t n, size_t at) {
    unsigned long long address = ((regs->rsp - SCRATCH) & ~15ULL) + at;
    struct iovec local = {(void *)(size_t)data, n}, remote = {(void *)(size_t)address, n};
    if (process_vm_writev(target, &local, 1, &remote, 1, 0) != (ssize_t)n) fail("process_vm_writev");
    return address;
}

/* Stops the process inside the system call it waits in, so that the instruction before rip is `syscall`. */
static struct user_regs_struct attach(void) {
    struct user_regs_struct regs;
    if (ptrace(PTRACE_SEIZE, target, 0, 0) != 0) fail("PTRACE_SEIZE");
    if (ptrace(PTRACE_INTERRUPT, target, 0, 0) != 0) fail("PTRACE_INTERRUPT");
    report_death(wait_stop());
    if (ptrace(PTRACE_GETREGS, target, 0, &regs) != 0) fail("PTRACE_GETREGS");
    errno = 0;
    long word = ptrace(PTRACE_PEEKTEXT, target, regs.rip - 2, 0);
    if (errno || (word & 0xffff) != 0x050f) {
        fprintf(stderr, "inject: process %d was not waiting in a system call\n", (int)target);
        exit(2);
    }
    return regs;
}

static long long call(const struct user_regs_struct *saved, long nr, const unsigned long long args[6]) {
    struct user_regs_struct regs = *saved;
    regs.rip -= 2;
    regs.rax = (unsigned long long)nr;
    regs.orig_rax = (unsigned long long)-1; /* not to be taken for the interrupted call and restarted */
    regs.rdi = args[0], regs.rsi = args[1], regs.rdx = args[2];
    regs.r10 = args[3], regs.r8 = args[4], regs.r9 = args[5];
    if (ptrace(PTRACE_SETREGS, target, 0, &regs) != 0) fail("PTRACE_SETREGS");
    if (ptrace(PTRACE_SINGLESTEP, target, 0, 0) != 0) fail("PTRACE_SINGLESTEP");
    report_death(wait_stop());
    if (ptrace(PTRACE_GETREGS, target, 0, &regs) != 0) fail("PTRACE_GETREGS");
    return (long long)regs.rax;
}

struct act {
    const char *name;
    long nr;
    int flags; /* of open */
    enum { PATH, NUMBER, PORT, EXEC, NONE } what;
};

static const struct act acts[] = {
    {"open", SYS_openat, O_RDONLY, PATH},  {"create", SYS_openat, O_CREAT | O_WRONLY, PATH},
    {"unlink", SYS_unlinkat, 0, PATH},     {"connect4", SYS_connect, 0, PORT},
    {"socket", SYS_socket, 0, NUMBER},     {"exec", SYS_execve, 0, EXEC},
    {"fork", SYS_fork, 0, NONE},           {"setuid", SYS_setuid, 0, NUMBER},
    {"kill", SYS_kill, 0, NUMBER},         {"ptrace", SYS_ptrace, 0, NONE},
    {"mount", SYS_mount, 0, NONE},         {"getpid", SYS_getpid, 0, NONE},
    {"chroot", SYS_chroot, 0, EXEC},
};

static long long perform(const struct act *act, const char *arg, struct user_regs_struct *regs) {
    unsigned long long a[6] = {0};
    unsigned long long number = strtoull(arg, NULL, 10);
    if (act->what == PATH) {
        a[0] = (unsigned long long)AT_FDCWD;
        a[1] = put(regs, arg, strlen(arg) + 1, 0);
        if (act->nr == SYS_openat) a[2] = (unsigned long long)act->flags, a[3] = 0600;
    } else if (act->what == EXEC) {
        a[0] = put(regs, arg, strlen(arg) + 1, 0);
    } else if (act->what == NUMBER) {
        a[0] = number;
        if (act->nr == SYS_socket) a[1] = SOCK_STREAM;
        if (act->nr == SYS_kill) a[1] = 0;
    } else if (act->what == PORT) {
        struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((unsigned short)number)};
        sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        long long fd = call(regs, SYS_socket, (unsigned long long[6]){AF_INET, SOCK_STREAM, 0, 0, 0, 0});
        if (fd < 0) return fd;
        a[0] = (unsigned long long)fd;
        a[1] = put(regs, &sin, sizeof sin, 0);
        a[2] = sizeof sin;
        long long r = call(regs, SYS_connect, a);
        call(regs, SYS_close, (unsigned long long[6]){(unsigned long long)fd, 0, 0, 0, 0, 0});
        return r;
    }
    return call(regs, act->nr, a);
}

int main(int argc, char **argv) {
    const struct act *act = NULL;
    for (size_t i = 0; argc >= 3 && i < sizeof acts / sizeof acts[0]; i++)
        if (strcmp(argv[2], acts[i].name) == 0) act = &acts[i];
    if (!act || (act->what != NONE && argc < 4)) {
        fprintf(stderr, "usage: inject PID ACT [ARGUMENT]\n");
        return 64;
    }
    target = (pid_t)strtol(argv[1], NULL, 10);
    struct user_regs_struct saved = attach();
    long long r = perform(act, argc > 3 ? argv[3] : "", &saved);
    if (ptrace(PTRACE_SETREGS, target, 0, &saved) != 0) fail("PTRACE_SETREGS");
    if (ptrace(PTRACE_DETACH, target, 0, 0) != 0) fail("PTRACE_DETACH");
    if (r >= 0) printf("ok %lld\n", r);
    else printf("%s\n", strerrorname_np((int)-r));
    return 0;
}
#endif
