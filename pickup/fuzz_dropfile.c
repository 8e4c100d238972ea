/* fuzz_dropfile.c: the fuzz twin of the drop file's reader. The checksum is made right, as a hostile
 * owner would. */
#include "common/addr.h"
#include "common/arena.h"
#include "pickup/names.h"
#include "submit/dropfile.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str s = {(const char *)data, size};
    struct arena *a = arena_new(1 << 22);
    struct dropfile d;
    const char *why = NULL;
    uint64_t sum;
    if (!dropfile_front(s, &sum, &why)) check(why && *why);
    sum = dropfile_sum(DROPFILE_SUM,
                       size >= DROPFILE_MIDDLE ? str_sub(s, 0, size - DROPFILE_MIDDLE) : STR_NONE);
    why = NULL;
    if (dropfile_read(&d, s, sum, a, &why)) {
        struct addr addr;
        check(d.rcpt_count > 0);
        for (size_t i = 0; i < d.rcpt_count; i++) check(addr_parse(d.rcpts[i], 0, a, &addr, &why));
        check(addr_parse(d.sender, ADDR_NULL, a, &addr, &why));
        check(str_is_print(d.notify) && str_is_print(d.ret) && str_is_print(d.envid));
    } else {
        check(why && *why);
    }
    struct drop_name n = name_parse(s);
    check(n.kind == NAME_OTHER || n.random.n == DROPFILE_RANDOM);
    arena_free(a);
    return 0;
}
