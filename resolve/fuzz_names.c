/* fuzz_names.c: the fuzz twin of names.c. The input is a run of replies as in fuzz_answer.c; there must be
 * one end, and a name that is confirmed must be one that was asked for. */
#include "common/arena.h"
#include "resolve/names.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct play {
    size_t asked, ends;
};

static void check(bool truth) {
    if (!truth) abort();
}

static void on_ask(void *ctx, unsigned which, struct str name, enum answer_kind kind) {
    struct play *p = ctx;
    p->asked++;
    check(which <= NAMES_MAX && (which == 0) == (kind == ANSWER_PTR) && name.n > 0 && str_is_print(name));
}

static void on_done(void *ctx, struct str confirmed, struct str claimed, bool failed) {
    struct play *p = ctx;
    check(!p->ends++ && confirmed.n <= ANSWER_NAME && claimed.n <= ANSWER_NAME);
    check(str_is_print(confirmed) && str_is_print(claimed) && (!confirmed.n || claimed.n) &&
          (!failed || !confirmed.n));
}

static uint8_t next(const uint8_t **data, size_t *size) {
    if (!*size) return 0;
    (*size)--;
    return *(*data)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct names_ops ops = {on_ask, on_done};
    static const struct ip four = {4, {192, 0, 2, 7}}, six = {6, {0x20, 1, 0xd, 0xb8}};
    struct play p = {0};
    struct names *n = names_new(&ops, &p, next(&data, &size) & 1 ? &six : &four);
    names_begin(n);
    while (size) {
        struct str records[100];
        struct answer_reply r = {.why = "x", .data = records};
        unsigned which = next(&data, &size) % 8;
        r.outcome = (enum answer_outcome)(next(&data, &size) & 3);
        for (size_t k = next(&data, &size) % 100; r.count < k; r.count++) {
            size_t len = next(&data, &size);
            if (len > size) len = size;
            records[r.count] = (struct str){(const char *)data, len};
            data += len;
            size -= len;
        }
        names_take(n, which, &r);
    }
    for (unsigned i = 0; i <= NAMES_MAX; i++)
        names_take(n, i, &(struct answer_reply){.outcome = ANSWER_FAILED, .why = "x"});
    check(p.ends == 1);
    names_free(n);
    return 0;
}
