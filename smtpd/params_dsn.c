/* params_dsn.c: what MAIL and RCPT say about reports (RFC 3461). Here xtext ends: inside, values are plain
 * and printable, and whoever sends them on encodes them again. */
#include "common/arena.h"
#include "common/xtext.h"
#include "smtpd/state.h"

enum { ENVID_MAX = 100, ORCPT_MAX = 500 }; /* 5.4 */

static bool wrong(struct status *st, const char *text) {
    *st = status_make(501, "5.5.4", text);
    return false;
}

bool param_ret(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    (void)s;
    if (str_eq_nocase(value, STR("FULL"))) tx->mail.ret = SESSION_RET_FULL;
    else if (str_eq_nocase(value, STR("HDRS"))) tx->mail.ret = SESSION_RET_HDRS;
    else return wrong(st, "RET is FULL or HDRS"); /* 4.3 */
    return true;
}

bool param_envid(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    struct buf b = buf_in(tx->arena, ENVID_MAX);
    (void)s;
    if (!value.n || value.n > ENVID_MAX || !xtext_decode(&b, value)) /* 4.4 */
        return wrong(st, "ENVID is xtext of at most 100 characters");
    tx->mail.envid = buf_str(&b);
    return true;
}

/* 4.1: NEVER alone, or a list of the others. */
bool param_notify(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    static const struct {
        struct str word;
        uint8_t bit;
    } words[] = {{STR("NEVER"), 1}, {STR("SUCCESS"), 2}, {STR("FAILURE"), 4}, {STR("DELAY"), 8}};
    uint8_t bits = 0;
    (void)s;
    for (bool more = true; more;) {
        ptrdiff_t comma = str_chr(value, ',');
        struct str word = comma < 0 ? value : str_sub(value, 0, (size_t)comma);
        size_t i = 0;
        more = comma >= 0;
        if (more) value = str_sub(value, (size_t)comma + 1, value.n);
        while (i < sizeof words / sizeof words[0] && !str_eq_nocase(word, words[i].word)) i++;
        if (i == sizeof words / sizeof words[0])
            return wrong(st, "NOTIFY is NEVER or some of SUCCESS,FAILURE,DELAY");
        if (bits & words[i].bit) return wrong(st, "NOTIFY names a word twice");
        bits |= words[i].bit;
    }
    if ((bits & 1) && bits != 1) return wrong(st, "NOTIFY=NEVER stands alone");
    tx->parsing->notify = bits;
    return true;
}

/* The type before ";" is an RFC 822 atom (4.2), which is kept apart from all that has a meaning in headers. */
static bool is_type(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && c != '-') return false;
    }
    return s.n > 0;
}

bool param_orcpt(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    static const char *const text = "ORCPT is type;xtext of at most 500 characters";
    ptrdiff_t semi = str_chr(value, ';');
    (void)s;
    if (semi < 0 || value.n > ORCPT_MAX || !is_type(str_sub(value, 0, (size_t)semi))) return wrong(st, text);
    struct buf b = buf_in(tx->arena, ORCPT_MAX);
    buf_add(&b, str_sub(value, 0, (size_t)semi + 1));
    size_t type = b.n;
    if (!xtext_decode(&b, str_sub(value, (size_t)semi + 1, value.n)) || b.n == type) return wrong(st, text);
    tx->parsing->orcpt = buf_str(&b);
    return true;
}
