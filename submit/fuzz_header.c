/* fuzz_header.c: the fuzz twin of intake, header and address lists. Whatever is piped in, what comes out
 * is CRLF lines without bare CR, LF or NUL and without Bcc; the recipients are valid; scanning it again
 * changes nothing. */
#include "common/addr.h"
#include "common/arena.h"
#include "submit/header.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok) abort();
}

static void check_lines(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        check(s.p[i] != '\0');
        if (s.p[i] == '\r') check(i + 1 < s.n && s.p[i + 1] == '\n');
        if (s.p[i] == '\n') check(i > 0 && s.p[i - 1] == '\r');
    }
}

static void check_fields(struct str head) {
    struct header_field f;
    bool from = false;
    while (header_next(&head, &f)) {
        check(!str_eq_nocase(f.name, STR("Bcc")) && !str_eq_nocase(f.name, STR("Resent-Bcc")));
        from |= str_eq_nocase(f.name, STR("From"));
    }
    check(from && str_eq(head, STR("\r\n")));
}

static void check_rcpts(const struct rcptlist *l, struct arena *a) {
    struct addr addr;
    const char *why;
    for (size_t i = 0; i < l->n; i++) check(addr_parse(l->v[i], 0, a, &addr, &why));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena *a = arena_new(1 << 22);
    struct intake in;
    struct rcptlist l, again;
    struct text head = {.max = 1 << 20}, head2 = {.max = 1 << 20};
    struct str body = STR_NONE, body2 = STR_NONE;
    intake_init(&in, size & 1, 1 << 20);
    intake_add(&in, (struct str){(const char *)data, size / 2});
    intake_add(&in, (struct str){(const char *)data + size / 2, size - size / 2});
    intake_end(&in);
    check_lines(text_str(&in.text));
    rcptlist_init(&l, a, STR("origin.test"));
    rcptlist_init(&again, a, STR("origin.test"));
    struct header_edit e = {STR("origin.test"), STR("me@origin.test"), &l};
    if (header_edit(text_str(&in.text), &e, &head, &body)) {
        check_lines(text_str(&head));
        check_fields(text_str(&head));
        check_rcpts(&l, a);
        e.rcpts = NULL;
        check(header_edit(text_str(&head), &e, &head2, &body2) && str_eq(text_str(&head), text_str(&head2)));
    } else {
        check(*l.why);
    }
    text_free(&head);
    text_free(&head2);
    rcptlist_free(&l);
    rcptlist_free(&again);
    intake_free(&in);
    arena_free(a);
    return 0;
}
