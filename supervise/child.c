#include "supervise/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/program.h"

enum { BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 30000, HEALTHY_MS = 60000, ENV_MAX = 16 };

extern char **environ;

static bool runnable(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

bool child_path(const char *dir, const char *program, char *path, size_t size) {
    snprintf(path, size, "%s/%s", dir, program);
    if (runnable(path)) return true;
    snprintf(path, size, "%s/%s/%s", dir, program, program);
    if (runnable(path)) return true;
    snprintf(path, size, "%s/%s", dir, program);
    return false;
}

static size_t keep_environment(char **env) {
    static const char *const kept[] = {
        "TZ=",          "ASAN_OPTIONS=",     "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "LLVM_PROFILE_FILE=",
        "GCOV_PREFIX=", "GCOV_PREFIX_STRIP="};
    size_t n = 0;
    for (char **e = environ; *e; e++)
        for (size_t i = 0; i < sizeof kept / sizeof kept[0] && n < ENV_MAX; i++)
            if (strncmp(*e, kept[i], strlen(kept[i])) == 0) env[n++] = *e;
    env[n] = NULL;
    return n;
}

/* Puts the descriptors where program.h says. They may stand in each other's way, so first out of it: the
 * copies are above all targets. */
static bool place(int supervise, int log, int errors, int counters) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int s = fcntl(supervise, F_DUPFD_CLOEXEC, 16), l = fcntl(log, F_DUPFD_CLOEXEC, 16);
    int n = fcntl(null, F_DUPFD_CLOEXEC, 16), e = errors < 0 ? n : fcntl(errors, F_DUPFD_CLOEXEC, 16);
    int c = counters < 0 ? n : fcntl(counters, F_DUPFD_CLOEXEC, 16);
    if (s < 0 || l < 0 || n < 0 || e < 0 || c < 0) return false;
    return dup2(n, 0) == 0 && dup2(e, 1) == 1 && dup2(e, 2) == 2 && dup2(s, FD_SUPERVISE) == FD_SUPERVISE &&
           dup2(l, FD_LOG) == FD_LOG && dup2(c, FD_COUNTERS) == FD_COUNTERS;
}

static void reset_signals(void) {
    sigset_t none;
    for (int i = 1; i < NSIG; i++) signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void run(const char *path, unsigned instance, int supervise, int log, int errors, int counters,
                int report) {
    char number[16], *env[ENV_MAX + 1];
    char *argv[] = {strrchr(path, '/') + 1, (char[]){"-i"}, number, NULL};
    snprintf(number, sizeof number, "%u", instance);
    keep_environment(env);
    reset_signals();
    int kept = fcntl(report, F_DUPFD_CLOEXEC, 16);
    if (kept >= 0 && place(supervise, log, errors, counters) && chdir("/") == 0) {
        close_range(FD_COUNTERS + 1, (unsigned)kept - 1, 0);
        close_range((unsigned)kept + 1, ~0u, 0);
        execve(path, argv, env);
    }
    int error = errno;
    if (write(kept, &error, sizeof error) < 0) _exit(EX_OSERR);
    _exit(EX_OSERR);
}

pid_t child_start(const char *path, unsigned instance, int supervise, int log, int errors, int counters) {
    int report[2], error = 0;
    if (pipe2(report, O_CLOEXEC) != 0) return -1;
    pid_t pid = fork();
    if (pid == 0) run(path, instance, supervise, log, errors, counters, report[1]);
    int fork_error = errno;
    close(report[1]);
    ssize_t n = pid > 0 ? read(report[0], &error, sizeof error) : 0; /* ends when exec closes the other end */
    close(report[0]);
    if (pid < 0) {
        errno = fork_error;
        return -1;
    }
    if (n != (ssize_t)sizeof error) return pid;
    waitpid(pid, NULL, 0);
    errno = error;
    return -1;
}

static const struct {
    int status;
    const char *text;
} exits[] = {
    {EX_OK, "it left without being asked"},
    {EX_USAGE, "it did not understand how it was started: of another version?"},
    {EX_OSERR, "it did not get what it needs from the system: its last line in the log says what"},
    {EX_CONFIG, "its settings are wrong: its last line in the log says which"},
};

void child_ending(int status, struct buf *b) {
    if (WIFSIGNALED(status)) {
        int sig = WTERMSIG(status);
        const char *name = sigabbrev_np(sig);
        buf_addf(b, "killed by signal %d (SIG%s)", sig, name ? name : "?");
        if (sig == SIGSYS) buf_adds(b, ": it tried a system call that its cage forbids");
        else if (sig == SIGABRT) buf_adds(b, ": it found a bug in itself; standard error says where");
        else if (sig == SIGKILL)
            buf_adds(b, ": by posternd, an administrator, or the kernel when memory ran out");
        return;
    }
    buf_addf(b, "exit status %d", WEXITSTATUS(status));
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++)
        if (exits[i].status == WEXITSTATUS(status)) buf_addf(b, ": %s", exits[i].text);
}

uint64_t child_backoff(unsigned *ends_in_a_row, int64_t lived_ms) {
    if (lived_ms >= HEALTHY_MS) *ends_in_a_row = 0;
    uint64_t wait = BACKOFF_MAX_MS;
    if (*ends_in_a_row < 9) wait = (uint64_t)BACKOFF_FIRST_MS << *ends_in_a_row;
    if (*ends_in_a_row < 1000) ++*ends_in_a_row;
    return wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS;
}
