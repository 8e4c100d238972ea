#include "pickup/names.h"

#include "submit/dropfile.h"

enum { TIME = 12, ATTEMPTS = 2, DELAY_FIRST = 2, DELAY_MAX = 3600 };

static bool is_hex(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (str_chr(STR("0123456789abcdef"), s.p[i]) < 0) return false;
    return true;
}

static struct drop_name parse_waiting(struct str rest) {
    struct drop_name n = {.kind = NAME_OTHER};
    uint64_t due, attempts;
    if (rest.n != TIME + 1 + ATTEMPTS + 1 + DROPFILE_RANDOM || rest.p[TIME] != '-' ||
        rest.p[TIME + 1 + ATTEMPTS] != '-')
        return n;
    struct str random = str_sub(rest, rest.n - DROPFILE_RANDOM, rest.n);
    if (!str_hex_to_u64(str_sub(rest, 0, TIME), &due) || !is_hex(random)) return n;
    if (!str_hex_to_u64(str_sub(rest, TIME + 1, TIME + 1 + ATTEMPTS), &attempts)) return n;
    return (struct drop_name){NAME_WAITING, (int64_t)due, (unsigned)attempts, random};
}

struct drop_name name_parse(struct str name) {
    struct drop_name n = {.kind = NAME_OTHER};
    struct str rest = str_sub(name, 2, name.n);
    if (name.n < 2 || name.p[1] != '-') return n;
    if (name.p[0] == 'w') return parse_waiting(rest);
    if (rest.n != DROPFILE_RANDOM || !is_hex(rest)) return n;
    if (name.p[0] == 'm') n.kind = NAME_MAIL;
    if (name.p[0] == 't') n.kind = NAME_PARTIAL;
    n.random = rest;
    return n;
}

int64_t name_delay(unsigned attempts) {
    int64_t delay = DELAY_FIRST;
    for (; attempts > 0 && delay < DELAY_MAX; attempts--) delay *= 2;
    return delay < DELAY_MAX ? delay : DELAY_MAX;
}

void name_waiting(struct buf *b, const struct drop_name *n, int64_t now) {
    unsigned attempts = n->attempts < 0xff ? n->attempts + 1 : 0xff;
    buf_addf(b, "w-%012llx-%02x-", (unsigned long long)(now + name_delay(n->attempts)), attempts);
    buf_add(b, n->random);
}

void name_bad(struct buf *b, const struct drop_name *n) {
    buf_adds(b, "bad-");
    buf_add(b, n->random);
}
