/* unfiltered.c: a library for LD_PRELOAD, with which a program can run under valgrind: it keeps away the filter of system calls, in
 * which valgrind itself could not live, and the limits of memory and descriptors, which valgrind would have to share. bench/callgrind
 * builds and uses it, for counting alone; the programs are those that ship, and have no switch for this. */
#include <seccomp.h>
#include <sys/resource.h>

scmp_filter_ctx seccomp_init(uint32_t action) {
    static char some;
    (void)action;
    return &some;
}

int seccomp_attr_set(scmp_filter_ctx filter, enum scmp_filter_attr attr, uint32_t value) {
    (void)filter, (void)attr, (void)value;
    return 0;
}

int seccomp_rule_add(scmp_filter_ctx filter, uint32_t action, int call, unsigned n, ...) {
    (void)filter, (void)action, (void)call, (void)n;
    return 0;
}

int seccomp_rule_add_array(scmp_filter_ctx filter, uint32_t action, int call, unsigned n,
                           const struct scmp_arg_cmp *args) {
    (void)filter, (void)action, (void)call, (void)n, (void)args;
    return 0;
}

int seccomp_load(scmp_filter_ctx filter) {
    (void)filter;
    return 0;
}

void seccomp_release(scmp_filter_ctx filter) {
    (void)filter;
}

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) {
    (void)resource, (void)limit;
    return 0;
}
