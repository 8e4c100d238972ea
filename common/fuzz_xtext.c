/* The fuzz twin of xtext.c: what is taken is printable, and comes back from its own encoding. */
#include "common/xtext.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond) ((cond) ? (void)0 : abort())
enum { TEXT_MAX = 2000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char plain_mem[TEXT_MAX], again_mem[3 * TEXT_MAX + 1], back_mem[TEXT_MAX];
    struct buf plain = BUF(plain_mem), again = BUF(again_mem), back = BUF(back_mem);
    if (size > TEXT_MAX) return 0;
    struct str in = {(const char *)data, size};
    if (!xtext_decode(&plain, in)) return 0;
    CHECK(!plain.failed && plain.n <= in.n && str_is_print(buf_str(&plain)));
    xtext_encode(&again, buf_str(&plain));
    CHECK(!again.failed && str_is_print(buf_str(&again)) && str_chr(buf_str(&again), ' ') < 0);
    CHECK(xtext_decode(&back, buf_str(&again)) && str_eq(buf_str(&back), buf_str(&plain)));
    return 0;
}
