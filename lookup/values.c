#include "lookup/values.h"

enum { VERSION = 1 };

static void put_u16(struct buf *b, uint16_t v) {
    buf_addc(b, (char)(v & 0xff));
    buf_addc(b, (char)(v >> 8));
}

/* Cuts the first octets off *s; false when there are fewer. */
static bool cut(struct str *s, size_t n, struct str *out) {
    if (s->n < n) return false;
    *out = str_sub(*s, 0, n);
    *s = str_sub(*s, n, s->n);
    return true;
}

static bool cut_u8(struct str *s, uint8_t *v) {
    struct str one;
    if (!cut(s, 1, &one)) return false;
    *v = (uint8_t)one.p[0];
    return true;
}

static bool cut_u16(struct str *s, uint16_t *v) {
    uint8_t low, high;
    if (!cut_u8(s, &low) || !cut_u8(s, &high)) return false;
    *v = (uint16_t)(low | high << 8);
    return true;
}

static bool open_value(struct str value, char letter, struct str *rest) {
    uint8_t table, version;
    *rest = value;
    return cut_u8(rest, &table) && cut_u8(rest, &version) && (char)table == letter && version == VERSION;
}

void alias_value_begin(struct buf *b) {
    buf_addc(b, 'A');
    buf_addc(b, VERSION);
}

void alias_value_add(struct buf *b, enum alias_kind kind, struct str text) {
    if (text.n > UINT16_MAX) b->failed = true;
    buf_addc(b, (char)kind);
    put_u16(b, (uint16_t)text.n);
    buf_add(b, text);
}

bool alias_value_open(struct str value, struct str *rest) {
    return open_value(value, 'A', rest) && rest->n > 0;
}

int alias_value_next(struct str *rest, struct alias_target *out) {
    uint8_t kind;
    uint16_t n;
    if (rest->n == 0) return 0;
    if (!cut_u8(rest, &kind) || !cut_u16(rest, &n) || !cut(rest, n, &out->text) || n == 0) return -1;
    if (kind != ALIAS_NAME && kind != ALIAS_FINAL && kind != ALIAS_ADDRESS) return -1;
    out->kind = (enum alias_kind)kind;
    return 1;
}

void route_value_write(struct buf *b, const struct route_value *v) {
    struct str text = v->how == 'E' ? v->status.text : v->nexthop;
    if (text.n > UINT16_MAX) b->failed = true;
    buf_addc(b, 'R');
    buf_addc(b, VERSION);
    buf_addc(b, v->how);
    put_u16(b, v->port);
    put_u16(b, v->status.code);
    for (int i = 0; i < 3; i++) put_u16(b, v->status.detail[i]);
    put_u16(b, (uint16_t)text.n);
    buf_add(b, text);
}

static bool read_status(struct str *rest, struct status *s) {
    if (!cut_u16(rest, &s->code)) return false;
    for (int i = 0; i < 3; i++)
        if (!cut_u16(rest, &s->detail[i]) || s->detail[i] > 999) return false;
    s->kind = s->detail[0] == 4 ? STATUS_LATER : STATUS_NEVER;
    s->remote = false;
    return true;
}

/* Only what a client may be answered: a reply in 4xx or 5xx which agrees with its class (RFC 3463 2). */
static bool error_is_sound(const struct status *s) {
    return (s->detail[0] == 4 || s->detail[0] == 5) && s->code / 100 == s->detail[0] && str_is_print(s->text);
}

bool route_value_read(struct str value, struct route_value *out) {
    struct str rest, text;
    uint8_t how;
    uint16_t n;
    *out = (struct route_value){0};
    if (!open_value(value, 'R', &rest) || !cut_u8(&rest, &how) || !cut_u16(&rest, &out->port)) return false;
    if (!read_status(&rest, &out->status) || !cut_u16(&rest, &n) || !cut(&rest, n, &text) || rest.n)
        return false;
    out->how = (char)how;
    if (how == 'L' || how == 'D') return n == 0;
    if (how == 'E') {
        out->status.text = text;
        return error_is_sound(&out->status);
    }
    out->nexthop = text;
    return (how == 'M' || how == 'H') && n > 0 && n <= 255 && str_is_print(text);
}
