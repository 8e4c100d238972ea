#include "common/status.h"

static enum status_kind kind_of(unsigned cls) {
    return cls == 2 ? STATUS_OK : cls == 4 ? STATUS_LATER : STATUS_NEVER;
}

/* RFC 3463 2: class "." subject "." detail, the last two of one to three digits. Gives the length read, or 0. */
static size_t read_detail(struct str s, uint16_t out[3]) {
    size_t at = 0;
    for (int part = 0; part < 3; part++) {
        size_t from = at;
        while (at < s.n && s.p[at] >= '0' && s.p[at] <= '9' && at - from < 3) at++;
        uint64_t v;
        if (!str_to_u64(str_sub(s, from, at), 999, &v)) return 0;
        out[part] = (uint16_t)v;
        if (part < 2 && (at >= s.n || s.p[at++] != '.')) return 0;
    }
    if (at < s.n && s.p[at] != ' ') return 0;
    return at;
}

struct status status_make(uint16_t code, const char *detail, const char *text) {
    struct status s = {.code = code, .text = str_of(text)};
    read_detail(str_of(detail), s.detail);
    s.kind = kind_of(s.detail[0]);
    return s;
}

struct status status_from_reply(unsigned code, struct str text) {
    struct status s = {.code = (uint16_t)code, .remote = true, .text = text};
    unsigned cls = code / 100;
    if (cls != 2 && cls != 4 && cls != 5) {
        s.kind = STATUS_LATER;
        s.detail[0] = 4, s.detail[1] = 5;
        return s;
    }
    size_t n = read_detail(text, s.detail);
    if (n && s.detail[0] == cls) s.text = str_trim(str_sub(text, n, text.n));
    else s.detail[0] = (uint16_t)cls, s.detail[1] = s.detail[2] = 0;
    s.kind = kind_of(cls);
    return s;
}

void status_format(struct buf *b, const struct status *s) {
    buf_addf(b, "%u %u.%u.%u ", s->code, s->detail[0], s->detail[1], s->detail[2]);
    buf_add(b, s->text);
}
