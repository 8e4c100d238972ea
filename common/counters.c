#include "common/counters.h"

#include "common/str.h"
#include "common/warm.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CPU_EVERY_NS = 200000000 };

static struct counters own;
struct counters *counters = &own;
static uint64_t cpu_before; /* of the lives before this one */

const char *const event_names[EVENT_COUNT] = {
#define EVENT(name, ...) #name,
#include "common/events.def"
#undef EVENT
};

uint64_t counters_layout(void) {
    uint64_t h = ROLE_COUNT;
    for (int i = 0; i < EVENT_COUNT; i++) h = str_hash(str_of(event_names[i]), h);
    return h;
}

bool counters_map(int fd) {
    struct stat st;
    void *page = MAP_FAILED;
    if (fstat(fd, &st) == 0 && st.st_size == COUNTERS_SIZE)
        page = mmap(NULL, COUNTERS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) return false;
    counters = page;
    if (counters->layout != counters_layout()) *counters = (struct counters){.layout = counters_layout()};
    cpu_before = counters->cpu_us;
    return true;
}

void counters_leave(void) {
    if (counters != &own) munmap(counters, COUNTERS_SIZE);
    counters = &own;
}

static uint64_t cpu_of(int who) {
    struct rusage r;
    if (getrusage(who, &r) != 0) return 0;
    return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

WARM void counters_round(int64_t now_ns) {
    static int64_t next;
    if (now_ns < next || counters == &own) return; /* whoever counts for itself alone is not asked */
    next = now_ns + CPU_EVERY_NS;
    counters->cpu_us = cpu_before + cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN);
}
