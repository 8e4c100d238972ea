/* fuzz_control.c: the fuzz twin of the reader of control files. An even first octet: the rest is the file.
 * An odd one: the rest is a run of (type, length, payload), from which records with right checksums are
 * made, so that what lies behind the checksum is reached. What reads as complete must be within all
 * limits, and read the same when it is written again. */
#include "common/arena.h"
#include "queue/control.h"
#include "queue/crc32c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct qid id = {77, 7};

static void check(bool truth) {
    if (!truth) abort();
}

static void make_records(struct buf *b, const uint8_t *data, size_t size) {
    struct qid_text t = qid_format(id);
    uint32_t chain = crc32c(0, t.c, QID_LEN);
    while (size >= 3) {
        char front[32];
        size_t n = (size_t)data[1] | (size_t)(data[2] & 15) << 8;
        char type = "VEHRCMSO"[data[0] & 7];
        data += 3, size -= 3;
        if (n > size) n = size;
        int front_n = snprintf(front, sizeof front, "%c %zu ", type, n);
        chain = crc32c(crc32c(chain, front, (size_t)front_n), data, n);
        buf_addf(b, "%s%08x ", front, chain);
        buf_add(b, (struct str){(const char *)data, n});
        buf_addc(b, '\n');
        data += n, size -= n;
    }
}

static void within_limits(const struct control *c, size_t size) {
    uint32_t pending = 0;
    check(c->rcpt_count > 0 && c->rcpt_count <= CONTROL_RCPTS_MAX && c->end <= size);
    check(c->sender.n <= CONTROL_ADDRESS_MAX && c->origin.n <= CONTROL_ORIGIN_MAX &&
          c->prefix.n <= CONTROL_PREFIX_MAX);
    for (uint32_t i = 0; i < c->rcpt_count; i++) {
        const struct control_rcpt *r = &c->rcpts[i];
        check(r->rcpt.n <= CONTROL_ADDRESS_MAX && r->orcpt.n <= CONTROL_ORCPT_MAX &&
              r->status.text.n <= CONTROL_TEXT_MAX);
        check(r->parent == CONTROL_NO_PARENT || r->parent < i);
        check(r->state && strchr("NLDFS", r->state));
        pending += r->state == 'N' || r->state == 'L';
    }
    check(pending == c->pending);
}

static void comes_back(const struct control *c, struct arena *a) {
    struct control again;
    const char *why;
    uint32_t chain;
    for (uint32_t i = 0; i < c->rcpt_count; i++)
        if (c->rcpts[i].parent != CONTROL_NO_PARENT) return; /* splits are not of the head */
    size_t max = control_head_bound(c);
    char *mem = xmalloc(max);
    struct buf b = buf_on(mem, max);
    check(control_put_head(&b, c, &chain));
    check(control_read(buf_str(&b), id, a, &again, &why) == CONTROL_COMPLETE);
    check(again.size == c->size && again.arrival == c->arrival && str_eq(again.sender, c->sender));
    check(again.rcpt_count == c->rcpt_count && str_eq(again.prefix, c->prefix) && again.chain == chain &&
          again.end == b.n);
    free(mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct control c;
    const char *why;
    if (size < 1 || size > 60000) return 0;
    size_t max = size * 20 + 64;
    char *mem = xmalloc(max);
    struct buf b = buf_on(mem, max);
    if (data[0] & 1) make_records(&b, data + 1, size - 1);
    else buf_add(&b, (struct str){(const char *)data + 1, size - 1});
    struct arena *a = arena_new(1 << 24);
    if (control_read(buf_str(&b), id, a, &c, &why) == CONTROL_COMPLETE) {
        within_limits(&c, b.n);
        comes_back(&c, a);
    }
    arena_free(a);
    free(mem);
    return 0;
}
