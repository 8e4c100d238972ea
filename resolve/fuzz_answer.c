/* fuzz_answer.c: the fuzz twin of answer.c. The input is a run of replies: which question, outcome, how many
 * records, each with its length; the machine must come to one end, and name only hosts that have a name and
 * an address. */
#include "common/arena.h"
#include "resolve/answer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct play {
    size_t asked, hosts, ends;
};

static void check(bool truth) {
    if (!truth) abort();
}

static void on_ask(void *ctx, unsigned which, struct str name, enum answer_kind kind) {
    struct play *p = ctx;
    p->asked++;
    check(which <= 2 * ANSWER_HOSTS && name.n > 0 && name.n <= ANSWER_NAME && str_is_print(name));
}

static void on_host(void *ctx, const struct answer_host *h) {
    struct play *p = ctx;
    check(++p->hosts <= ANSWER_HOSTS && !p->ends && str_is_print(h->name));
    check((h->ip.family == 4 || h->ip.family == 6) && !ip_is_unspecified(&h->ip));
}

static void on_done(void *ctx, uint32_t ttl, const struct status *s) {
    struct play *p = ctx;
    check(!p->ends++ && (s->kind == STATUS_OK) == (p->hosts > 0) && str_is_print(s->text));
}

static uint8_t next(const uint8_t **data, size_t *size) {
    if (!*size) return 0;
    (*size)--;
    return *(*data)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct answer_ops ops = {on_ask, on_host, on_done};
    struct play p = {0};
    struct answer *a = answer_new(&ops, &p, STR("a.test"), next(&data, &size) & 1, size, "nobody");
    answer_begin(a);
    while (size) {
        struct str records[200];
        struct answer_reply r = {.why = "x", .data = records};
        unsigned which = next(&data, &size);
        r.outcome = (enum answer_outcome)(next(&data, &size) & 3);
        for (size_t n = next(&data, &size) % 200; r.count < n; r.count++) {
            size_t len = next(&data, &size);
            if (len > size) len = size;
            records[r.count] = (struct str){(const char *)data, len};
            data += len;
            size -= len;
        }
        answer_take(a, which, &r);
    }
    for (unsigned i = 0; i <= 2 * ANSWER_HOSTS; i++)
        answer_take(a, i, &(struct answer_reply){.outcome = ANSWER_FAILED, .why = "x"});
    check(p.ends == 1);
    answer_free(a);
    return 0;
}
