/* postern status: is the suite running, what listens, and which processes are at work, as the kernel sees
 * them. */
#include "tools/command.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

static size_t read_proc(int pid, const char *what, char *mem, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, mem, size - 1);
    if (fd >= 0) close(fd);
    mem[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* The number behind a name in /proc/PID/status, or -1. */
static long long status_number(const char *status, const char *name) {
    const char *at = strstr(status, name);
    struct str rest = str_of(at ? at + strlen(name) : ""), word;
    uint64_t v;
    return at && str_word(&rest, '\n', &word) && str_to_u64(word, INT64_MAX, &v) ? (long long)v : -1;
}

static void print_process(int pid) {
    char status[8192];
    if (!read_proc(pid, "status", status, sizeof status)) return;
    struct str rest = str_of(status), name = STR("?");
    if (str_word(&rest, '\n', &name)) str_word(&rest, '\n', &name);
    printf("  %-15.*s %7d %7lld  %8lld KiB  %s\n", STR_ARGS(name), pid, status_number(status, "\nUid:"),
           status_number(status, "\nVmRSS:"),
           status_number(status, "\nSeccomp:") == 2      ? "caged"
           : status_number(status, "\nNoNewPrivs:") == 1 ? "no new privileges"
                                                         : "");
}

/* posternd's children and theirs, one level at a time. */
static void print_children(int parent, int depth) {
    DIR *d = opendir("/proc");
    struct dirent *e;
    char status[8192];
    while (d && (e = readdir(d))) {
        uint64_t pid;
        if (!str_to_u64(str_of(e->d_name), 1u << 30, &pid) ||
            !read_proc((int)pid, "status", status, sizeof status))
            continue;
        if (status_number(status, "\nPPid:") != parent) continue;
        print_process((int)pid);
        if (depth == 0) print_children((int)pid, 1); /* workers of deliver-local */
    }
    if (d) closedir(d);
}

static bool answers(const char *path, int type) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof sa.sun_path) return false;
    memcpy(sa.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 || errno == EAGAIN);
    if (fd >= 0) close(fd);
    return ok;
}

static bool print_socket(const struct config *c, const char *name, int type) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", c->run_directory, name);
    bool ok = answers(path, type);
    printf("  %-17s %s\n", name, ok ? "answers" : strerror(errno));
    return ok;
}

int run_status(struct tool *t) {
    int pid = tool_running(t->config);
    if (!pid) {
        printf("not running (%s: nobody holds %s/posternd.pid)\n", t->settings.file,
               t->config->run_directory);
        return EX_UNAVAILABLE;
    }
    printf("running, %s\n\n  %-15s %7s %7s  %12s\n", t->settings.file, "program", "pid", "uid", "memory");
    print_process(pid);
    print_children(pid, 0);
    putchar('\n');
    bool ok = print_socket(t->config, "submit", SOCK_STREAM);
    ok &= print_socket(t->config, "control-queue", SOCK_SEQPACKET);
    ok &= print_socket(t->config, "control-dispatch", SOCK_SEQPACKET);
    return ok ? EX_OK : EX_UNAVAILABLE;
}
