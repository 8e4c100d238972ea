/* fault: makes system calls of a running process fail, or lie, for as long as this program runs.
 *
 *     fault PID RESULT CALL[,CALL...] [AFTER]
 *
 * RESULT is the name of an errno (EIO, ENOSPC), or "lie": the call is not made and seems to have succeeded.
 * CALL is one of the names in the table below. The first AFTER of them are let through. Says "ready" when it
 * has taken hold, and at its end (SIGTERM, or that of the process) how many it has faked.
 *
 * It does what `strace -e inject` does, in a way that a strict seccomp filter allows: strace skips a call by
 * turning its number into -1, for which the cages of the suite kill. Here the call keeps its number, and is
 * made with -1 for its descriptor, so that it does nothing; then the result is replaced. Only for x86-64;
 * exits with 77 elsewhere. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
int main(void) {
    return 77;
}
#else

enum { THREADS_MAX = 64, CALLS_MAX = 16, STOPPED_BY_CALL = SIGTRAP | 0x80 };

struct thread {
    pid_t tid;
    bool inside; /* between entry and exit of a call */
    bool faked;
    unsigned long long first, second; /* the arguments that were replaced */
};

static const struct name {
    const char *name;
    long nr;
} known_calls[] = {
    {"fsync", SYS_fsync},
    {"fdatasync", SYS_fdatasync},
    {"syncfs", SYS_syncfs},
    {"sync_file_range", SYS_sync_file_range},
    {"write", SYS_write},
    {"pwrite64", SYS_pwrite64},
    {"pwritev", SYS_pwritev},
    {"fallocate", SYS_fallocate},
    {"openat", SYS_openat},
    {"unlinkat", SYS_unlinkat},
};

static struct thread threads[THREADS_MAX];
static size_t thread_count;
static long calls[CALLS_MAX];
static size_t call_count;
static unsigned long after, faked;
static long long result;

static void fail(const char *what) {
    fprintf(stderr, "fault: %s: %s\n", what, strerror(errno));
    exit(1);
}

static bool add_call(const char *name) {
    for (size_t i = 0; i < sizeof known_calls / sizeof known_calls[0]; i++) {
        if (strcmp(name, known_calls[i].name) != 0 || call_count == CALLS_MAX) continue;
        calls[call_count++] = known_calls[i].nr;
        return true;
    }
    return false;
}

static bool set_result(const char *name) {
    if (strcmp(name, "lie") == 0) return true;
    for (int e = 1; e < 134; e++) {
        const char *known = strerrorname_np(e);
        if (known && strcmp(known, name) == 0) result = -e;
    }
    return result != 0;
}

static bool is_chosen(long nr) {
    for (size_t i = 0; i < call_count; i++)
        if (calls[i] == nr) return true;
    return false;
}

static struct thread *thread_of(pid_t tid) {
    for (size_t i = 0; i < thread_count; i++)
        if (threads[i].tid == tid) return &threads[i];
    if (thread_count == THREADS_MAX) return NULL;
    threads[thread_count] = (struct thread){.tid = tid};
    return &threads[thread_count++];
}

static bool any_faked(void) {
    for (size_t i = 0; i < thread_count; i++)
        if (threads[i].faked) return true;
    return false;
}

static void enter(struct thread *t, struct user_regs_struct *regs) {
    if (!is_chosen((long)regs->orig_rax)) return;
    if (after) {
        after--;
        return;
    }
    t->faked = true;
    t->first = regs->rdi;
    t->second = regs->rsi;
    regs->rdi = (unsigned long long)-1;
    bool by_name = regs->orig_rax == SYS_openat || regs->orig_rax == SYS_unlinkat;
    if (by_name) regs->rsi = 0; /* an absolute path needs no descriptor */
    ptrace(PTRACE_SETREGS, t->tid, 0, regs);
}

/* How much a write that lies has written is what it was asked to. */
static void leave(struct thread *t, struct user_regs_struct *regs) {
    bool writes = regs->orig_rax == SYS_pwrite64 || regs->orig_rax == SYS_write;
    if (!t->faked) return;
    t->faked = false;
    regs->rdi = t->first;
    regs->rsi = t->second;
    regs->rax = !result && writes ? regs->rdx : (unsigned long long)result;
    ptrace(PTRACE_SETREGS, t->tid, 0, regs);
    faked++;
}

static void at_call(struct thread *t) {
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, t->tid, 0, &regs) != 0) return; /* it died meanwhile */
    t->inside = !t->inside;
    if (t->inside) enter(t, &regs);
    else leave(t, &regs);
}

static void handle(pid_t tid, int status) {
    struct thread *t = thread_of(tid);
    if (!t || !WIFSTOPPED(status)) return;
    int sig = WSTOPSIG(status), event = status >> 16;
    if (sig == STOPPED_BY_CALL) {
        at_call(t);
        sig = 0;
    } else if (event == PTRACE_EVENT_STOP && (sig == SIGSTOP || sig == SIGTSTP)) {
        ptrace(PTRACE_LISTEN, tid, 0, 0); /* somebody else stopped it: it stays so until he continues it */
        return;
    } else if (event) {
        sig = 0;
    }
    ptrace(PTRACE_SYSCALL, tid, 0, (void *)(long)sig);
}

/* Also the threads; those that come later are followed. */
static void take_hold(pid_t pid) {
    char path[64];
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    if (!dir) fail(path);
    for (struct dirent *e; (e = readdir(dir));) {
        pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);
        if (!tid) continue;
        if (ptrace(PTRACE_SEIZE, tid, 0, (void *)options) != 0) fail("PTRACE_SEIZE");
        if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) != 0) fail("PTRACE_INTERRUPT");
    }
    closedir(dir);
}

static bool reap(pid_t pid) {
    int status;
    for (pid_t tid; (tid = waitpid(-1, &status, __WALL | WNOHANG)) != 0;) {
        if (tid < 0) return false;
        handle(tid, status);
        if (tid == pid && !WIFSTOPPED(status)) return false;
    }
    return true;
}

int main(int argc, char **argv) {
    sigset_t set;
    siginfo_t info;
    bool ok = argc == 4 || argc == 5;
    if (ok) ok = set_result(argv[2]);
    char *at, *word = ok ? strtok_r(argv[3], ",", &at) : NULL;
    for (; ok && word; word = strtok_r(NULL, ",", &at)) ok = add_call(word);
    if (!ok) {
        fprintf(stderr, "usage: fault PID RESULT CALL[,CALL...] [AFTER]\n");
        return 64;
    }
    pid_t pid = (pid_t)strtol(argv[1], NULL, 10);
    if (argc == 5) after = strtoul(argv[4], NULL, 10);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    take_hold(pid);
    puts("ready");
    fflush(stdout);
    /* Its end lets the process go; but not in the middle of a call that it has changed. */
    bool end = false;
    while (reap(pid) && !(end && !any_faked()))
        if (sigwaitinfo(&set, &info) != SIGCHLD) end = true;
    printf("%lu\n", faked);
    return 0;
}
#endif
