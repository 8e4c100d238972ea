#include "common/tidy.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TIDY_MS = 5000, TIDY_FREE = 256 * 1024 };

/* Only what cannot be written: nothing in it is ours alone, so nothing is lost. */
static int drop_pages(struct dl_phdr_info *info, size_t size, void *ctx) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)size, (void)ctx;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || (p->p_flags & PF_W)) continue;
        uintptr_t at = info->dlpi_addr + p->p_vaddr, from = (at + page - 1) / page * page;
        uintptr_t to = (at + p->p_filesz) / page * page;
        if (from < to)
            madvise((void *)from, to - from, MADV_DONTNEED); /* NOLINT(performance-no-int-to-ptr) */
    }
    return 0;
}

static void on_tidy(void *ctx) {
    struct tidy *t = ctx;
    t->ran = true;
    if (mallinfo2().fordblks > TIDY_FREE) malloc_trim(0);
    dl_iterate_phdr(drop_pages, NULL);
}

void tidy_round(struct tidy *t, struct loop *l) {
    t->timer.fn = on_tidy;
    t->timer.ctx = t;
    if (!t->ran && !t->timer.slot) loop_timer_in(l, &t->timer, TIDY_MS);
    t->ran = false;
}
