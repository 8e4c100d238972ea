/* The fuzz twin of the reader of Dovecot's protocol: the same octets whole and in pieces must be heard
 * alike, and what is handed on is clean. The first octet is the size of a piece. */
#include "auth/dovecot.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond) ((cond) ? (void)0 : abort())

struct heard {
    uint64_t sum;
    size_t n;
};

static void on_event(void *ctx, enum dovecot_event what, uint32_t id, struct str text, struct str why) {
    struct heard *h = ctx;
    (void)why;
    if (what == DOVECOT_GOOD) CHECK(login_is_sound(text));
    if (what == DOVECOT_BAD) CHECK(!text.n || login_is_sound(text));
    if (what == DOVECOT_CHALLENGE || what == DOVECOT_READY) CHECK(str_is_print(text));
    h->sum = str_hash(text, h->sum * 31 + (uint64_t)what * 7 + id);
    h->n++;
}

static bool tell(struct str in, size_t piece, struct heard *h) {
    struct dovecot d;
    const char *why;
    bool ok = true;
    dovecot_init(&d, &(struct dovecot_ops){h, on_event});
    for (size_t at = 0; at < in.n && ok; at += piece)
        ok = dovecot_input(&d, str_sub(in, at, at + piece), &why);
    dovecot_free(&d);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct heard a = {0, 0}, b = {0, 0};
    if (size < 2) return 0;
    struct str in = {(const char *)data + 1, size - 1};
    bool whole = tell(in, in.n, &a), pieces = tell(in, 1 + data[0] % 64, &b);
    CHECK(whole == pieces && a.sum == b.sum && a.n == b.n);
    return 0;
}
