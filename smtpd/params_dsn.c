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

/* One character of UTF-8 above U+009F, the shortest form only (RFC 3629); 0: there is none. */
static size_t utf8_char(struct str s, uint32_t *point) {
    static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000};
    unsigned char c = s.n ? (unsigned char)s.p[0] : 0;
    size_t n = c >= 0xf0 && c < 0xf8 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc0 && c < 0xe0 ? 2 : 0;
    if (!n || s.n < n) return 0;
    *point = c & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)s.p[i] & 0xc0) != 0x80) return 0;
        *point = *point << 6 | ((unsigned char)s.p[i] & 0x3f);
    }
    return *point >= least[n] && *point <= 0x10ffff && (*point < 0xd800 || *point > 0xdfff) ? n : 0;
}

/* RFC 6533 3: in its address octets above 0x7e may stand as they are. What is kept is the form that is ASCII. */
static bool add_unitext(struct buf *b, struct str value) {
    uint32_t point;
    while (value.n) {
        size_t n = 1;
        if (!((unsigned char)value.p[0] & 0x80)) buf_addc(b, value.p[0]);
        else if ((n = utf8_char(value, &point))) buf_addf(b, "\\x{%02X}", (unsigned)point);
        else return false;
        value = str_sub(value, n, value.n);
    }
    return !b->failed;
}

bool param_orcpt(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    static const char *const text = "ORCPT is type;xtext of at most 500 characters";
    ptrdiff_t semi = str_chr(value, ';');
    (void)s;
    if (semi < 0 || value.n > ORCPT_MAX || !is_type(str_sub(value, 0, (size_t)semi))) return wrong(st, text);
    char mem[ORCPT_MAX];
    struct buf b = buf_in(tx->arena, ORCPT_MAX), ascii = BUF(mem);
    struct str type = str_sub(value, 0, (size_t)semi), address = str_sub(value, type.n + 1, value.n);
    if ((tx->mail.body & SESSION_SMTPUTF8) && str_eq_nocase(type, STR("utf-8"))) {
        if (!add_unitext(&ascii, address)) return wrong(st, text);
        address = buf_str(&ascii);
    }
    buf_add(&b, type);
    buf_addc(&b, ';');
    if (!address.n || !xtext_decode(&b, address)) return wrong(st, text);
    tx->parsing->orcpt = buf_str(&b);
    return true;
}
