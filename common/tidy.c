#include "common/tidy.h"

#include "common/warm.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TIDY_FIRST_MS = 250, TIDY_MS = 5000, TIDY_FREE = 16 * 1024, RANGES_MAX = 256 };

struct ranges {
    struct range {
        uintptr_t from, to;
    } v[RANGES_MAX];
    size_t n;
};

/* Only what cannot be written: nothing in it is ours alone, so nothing is lost. */
static int note_pages(struct dl_phdr_info *info, size_t size, void *ctx) {
    struct ranges *r = ctx;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum && r->n < RANGES_MAX; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || (p->p_flags & PF_W)) continue;
        uintptr_t at = info->dlpi_addr + p->p_vaddr, from = (at + page - 1) / page * page;
        uintptr_t to = (at + p->p_filesz) / page * page;
        if (from < to) r->v[r->n++] = (struct range){from, to};
    }
    return 0;
}

/* First all are noted: each library's list of its parts lies in a page that is dropped, and a look at it would bring back
 * that page and the fifteen around it. */
static WARM void drop_pages(void) {
    static struct ranges r;
    r.n = 0;
    dl_iterate_phdr(note_pages, &r);
    for (size_t i = 0; i < r.n; i++)
        madvise((void *)r.v[i].from, r.v[i].to - r.v[i].from,
                MADV_DONTNEED); /* NOLINT(performance-no-int-to-ptr) */
}

WARM void tidy_heap(void) {
    if (mallinfo2().fordblks > TIDY_FREE) malloc_trim(0);
}

static WARM void on_tidy(void *ctx) {
    struct tidy *t = ctx;
    t->due = true;
}

/* At the end of a round: what else was due in it has left its pages behind too. */
WARM void tidy_round(struct tidy *t, struct loop *l) {
    bool due = t->due;
    t->due = false;
    if (due) {
        tidy_heap();
        drop_pages();
        if (t->times++) return; /* after the first comes a second, when the start is over */
    }
    t->timer.fn = on_tidy;
    t->timer.ctx = t;
    if (!t->timer.slot) loop_timer_in(l, &t->timer, t->times ? TIDY_MS : TIDY_FIRST_MS);
}
