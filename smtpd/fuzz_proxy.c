/* The fuzz twin of proxy.c: whole and cut anywhere it comes to the same, and never takes an octet behind the header. */
#include "smtpd/proxy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond) ((cond) ? (void)0 : abort())

static enum proxy_what take(struct proxy *p, struct str in, size_t piece, size_t *all) {
    enum proxy_what what = PROXY_MORE;
    *all = 0;
    while (what == PROXY_MORE && *all < in.n) {
        size_t used;
        struct str bytes = str_sub(in, *all, *all + piece);
        what = proxy_take(p, bytes, &used);
        CHECK(used <= bytes.n && (used == bytes.n || what != PROXY_MORE));
        *all += used;
    }
    return what;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct proxy whole = {0}, cut = {0};
    size_t a, b;
    if (size < 1) return 0;
    struct str in = {(const char *)data + 1, size - 1};
    enum proxy_what what = take(&whole, in, in.n ? in.n : 1, &a);
    CHECK(what == take(&cut, in, 1 + data[0] % 40, &b) && a == b);
    if (what != PROXY_DONE) return 0;
    CHECK(ip_eq(&whole.source, &cut.source) && whole.port == cut.port && !ip_is_unspecified(&whole.source));
    CHECK(in.p[0] == 'P' ? a <= PROXY_V1_MAX : a <= 16 + 65535);
    return 0;
}
