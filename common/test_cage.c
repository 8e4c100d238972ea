/* test_cage.c: tries, from inside each cage, what its row of roles.def forbids and what it allows. */
#include "build-config.h"

#include "common/cage.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* What a child can end with: the deed's own answer, or the kernel's. */
enum outcome { DONE, REFUSED, KILLED, NO_CAGE, ODD };

static char root_dir[] = "/tmp/postern-cage-XXXXXX";
static bool as_root;
static char outside_file[] = "/tmp/postern-outside-XXXXXX";

static int answer(bool ok) {
    return ok ? DONE : REFUSED;
}

static int opens_a_file(void) {
    return answer(open(outside_file, O_RDONLY | O_CLOEXEC) >= 0);
}

static int reads_etc(void) {
    return answer(open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0);
}

static int writes_etc(void) {
    return answer(open("/etc/postern-test", O_RDWR | O_CREAT | O_CLOEXEC, 0600) >= 0);
}

static int writes_its_root(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/x", as_root ? "" : root_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return answer(fd >= 0 && fsync(fd) == 0 && unlink(path) == 0);
}

static int runs_a_program(void) {
    char *argv[] = {(char *)(uintptr_t) "true", NULL}, *env[] = {NULL};
    execve("/bin/true", argv, env);
    return REFUSED;
}

static int forks(void) {
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    return answer(pid > 0 && waitpid(pid, NULL, 0) == pid);
}

static int connects(void) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return REFUSED;
    int e = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno;
    return answer(e == 0 || e == ECONNREFUSED);
}

static int listens(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return answer(fd >= 0 && listen(fd, 1) == 0);
}

static int traces(void) {
    return answer(kill(getppid(), 0) == 0);
}

static int maps_code(void) {
    return answer(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

static int makes_a_memfd(void) {
    int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return answer(fd >= 0 && write(fd, "x", 1) == 1 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
}

static int compare(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

/* What every program does without thinking: it must not be killed for it. */
static int lives(void) {
    int *v = calloc(100000, sizeof *v), fds[2];
    time_t now = time(NULL);
    struct tm tm;
    if (!v) return REFUSED;
    for (int i = 0; i < 100000; i++) v[i] = (i * 7919) % 100003;
    qsort(v, 100000, sizeof *v, compare);
    v = realloc(v, 4000000);
    free(v);
    fds[0] = dup(0);
    gmtime_r(&now, &tm);
    localtime_r(&now, &tm);
    setvbuf(stderr, NULL, _IOLBF, 0);
    fprintf(stderr, "# %s %d\n", strerror(EPERM), tm.tm_year);
    return answer(fds[0] >= 0 && prctl(PR_SET_NAME, "x") == 0);
}

static int aborts(void) {
    abort();
}

static int run_caged(enum role role, int (*deed)(void)) {
    char why[256];
    uid_t uid;
    gid_t gid;
    pid_t pid = fork();
    if (pid == 0) {
        struct cage c = {.role = role};
        signal(SIGABRT, SIG_DFL);
        if (!cage_ids(role, 61000, &uid, &gid)) _exit(NO_CAGE);
        c.uid = uid, c.gid = gid;
        c.root = role_table[role].root == ROOT_NONE ? NULL : root_dir;
        if (geteuid() == 0 && c.root && chown(root_dir, uid, gid) != 0) _exit(NO_CAGE);
        if (!cage_enter(&c, why, sizeof why)) {
            fprintf(stderr, "# %s: %s\n", role_table[role].name, why);
            _exit(NO_CAGE);
        }
        _exit(deed());
    }
    int status;
    if (waitpid(pid, &status, 0) != pid) return ODD;
    if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGSYS ? KILLED : ODD;
    return WIFEXITED(status) ? WEXITSTATUS(status) : ODD;
}

/* R refused, K killed, - done, x refused or killed (root's rights decide which), ? not asked */
static const struct {
    enum role role;
    const char *want;
} rows[] = {
    {ROLE_smtpd, "KKKKKKKKKK-"},    {ROLE_lookup, "R-RKKKKKK?K"},  {ROLE_queue, "xxxKKKKKK--"},
    {ROLE_dispatch, "xxxKKKKKK--"}, {ROLE_resolve, "R-RKK-KKKRK"}, {ROLE_remote, "KKKKK-KKKKK"},
    {ROLE_local, "-??K-KKxK?K"},    {ROLE_pickup, "xxxKKKKKK-K"},  {ROLE_keys, "KKKKKKKKKKK"},
};
static const struct {
    const char *name;
    int (*fn)(void);
} deeds[] = {
    {"open a file", opens_a_file},
    {"read /etc", reads_etc},
    {"write /etc", writes_etc},
    {"exec", runs_a_program},
    {"fork", forks},
    {"connect", connects},
    {"listen", listens},
    {"signal its parent", traces},
    {"map code", maps_code},
    {"write its root", writes_its_root},
    {"make a memfd", makes_a_memfd},
};

static bool as_wanted(char want, int got) {
#ifdef POSTERN_SANITIZE
    if (want == 'K')
        return got != ODD; /* the runtime opens files and maps code itself; Landlock still refuses */
#endif
    switch (want) {
    case '-':
        return got == DONE;
    case 'R':
        return got == REFUSED;
    case 'K':
        return got == KILLED;
    case 'x':
        return got == REFUSED || got == KILLED;
    default:
        return true;
    }
}

static void forbids_what_the_row_forbids(void **state) {
    int wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t k = 0; k < sizeof deeds / sizeof deeds[0]; k++) {
            int got = rows[i].want[k] == '?' ? 0 : run_caged(rows[i].role, deeds[k].fn);
            if (as_wanted(rows[i].want[k], got)) continue;
            fprintf(stderr, "# %s: %s: wanted %c, got %d\n", role_table[rows[i].role].name, deeds[k].name,
                    rows[i].want[k], got);
            wrong++;
        }
    assert_int_equal(wrong, 0);
}

static void lets_programs_live(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(run_caged(rows[i].role, lives), DONE);
        assert_int_equal(run_caged(rows[i].role, aborts), ODD); /* by SIGABRT: the cage lets a bug say so */
    }
}

static int run_worker(uid_t uid, gid_t gid, int (*deed)(void)) {
    pid_t pid = fork();
    if (pid == 0) {
        char why[256];
        if (!cage_worker(uid, gid, root_dir, NULL, why, sizeof why)) _exit(NO_CAGE);
        _exit(deed());
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? (WTERMSIG(status) == SIGSYS ? KILLED : ODD) : WEXITSTATUS(status);
}

static int writes_home(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/mbox", root_dir);
    return answer(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) >= 0 && unlink(path) == 0);
}

/* Only to end itself: abort. */
static int signals_its_parent(void) {
    return answer(tgkill(getppid(), getppid(), 0) == 0);
}

static void cages_workers(void **state) {
    uid_t uid = geteuid() == 0 ? 61900 : getuid();
    gid_t gid = geteuid() == 0 ? 61900 : getgid();
    if (geteuid() == 0) assert_int_equal(chown(root_dir, uid, gid), 0);
    assert_int_equal(run_worker(uid, gid, writes_home), DONE);
    assert_int_equal(run_worker(uid, gid, lives), DONE);
    assert_int_equal(run_worker(uid, gid, opens_a_file), REFUSED);
    assert_int_equal(run_worker(uid, gid, reads_etc), REFUSED);
    assert_int_equal(run_worker(uid, gid, connects), KILLED);
    assert_int_equal(run_worker(uid, gid, runs_a_program), KILLED);
    assert_int_equal(run_worker(uid, gid, forks), KILLED);
    assert_true(as_wanted('K', run_worker(uid, gid, maps_code)));
    assert_int_equal(run_worker(uid, gid, aborts), ODD); /* by SIGABRT */
    assert_true(as_wanted('K', run_worker(uid, gid, signals_its_parent)));
    if (geteuid() != 0) assert_int_equal(run_worker(uid + 1, gid, lives), NO_CAGE);
}

/* All of it again, with a filter that was made before. */
static void cages_workers_that_were_prepared(void **state) {
    char why[256];
    assert_true(cage_worker_prepare(why, sizeof why));
    cages_workers(state);
}

static void knows_identities(void **state) {
    uid_t uid;
    gid_t gid;
    assert_true(cage_ids(ROLE_queue, 61000, &uid, &gid) && uid == 61000 + ROLE_queue && gid == uid);
    assert_true(cage_ids(ROLE_local, 61000, &uid, &gid) && uid == 0 && gid == 0);
}

/* As a Maildir does it: written in one directory, linked into another. */
static int links_across(void) {
    char a[128], b[128], from[140], to[140];
    snprintf(a, sizeof a, "%s/tmp", root_dir), snprintf(b, sizeof b, "%s/new", root_dir);
    snprintf(from, sizeof from, "%s/x", a), snprintf(to, sizeof to, "%s/x", b);
    bool ok = mkdir(a, 0700) == 0 && mkdir(b, 0700) == 0 &&
              open(from, O_RDWR | O_CREAT | O_CLOEXEC, 0600) >= 0 && link(from, to) == 0 &&
              unlink(from) == 0 && rename(to, from) == 0;
    unlink(from), unlink(to), rmdir(a), rmdir(b);
    return answer(ok);
}

static int worker_links_across(void) {
    return run_worker(as_root ? 61900 : getuid(), as_root ? 61900 : getgid(), links_across);
}

static void lets_workers_of_the_spawner_link(void **state) {
    if (as_root) assert_int_equal(chown(root_dir, 61900, 61900), 0);
    assert_int_equal(run_caged(ROLE_local, worker_links_across), DONE);
}

static int set_up(void **state) {
    as_root = geteuid() == 0;
    int fd = mkstemp(outside_file);
    return mkdtemp(root_dir) && fd >= 0 && fchmod(fd, 0644) == 0 ? 0 : -1;
}

static int tear_down(void **state) {
    unlink(outside_file);
    return rmdir(root_dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_identities),
        cmocka_unit_test(forbids_what_the_row_forbids),
        cmocka_unit_test(lets_programs_live),
        cmocka_unit_test(cages_workers),
        cmocka_unit_test(lets_workers_of_the_spawner_link),
        cmocka_unit_test(cages_workers_that_were_prepared),
        cmocka_unit_test(lets_workers_of_the_spawner_link),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
