#include "submit/dropfile.h"

#include "common/addr.h"
#include "common/arena.h"

#include <string.h>

static const char magic[] = "postern-drop 01\n";
enum { MAGIC = sizeof magic - 1 };

uint64_t dropfile_sum(uint64_t sum, struct str s) {
    for (size_t i = 0; i < s.n; i++) sum = (sum ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static void put_number(struct buf *b, uint64_t v, size_t octets) {
    for (size_t i = 0; i < octets; i++) buf_addc(b, (char)(v >> (8 * i)));
}

static uint64_t get_number(struct str s, size_t at, size_t octets) {
    uint64_t v = 0;
    for (size_t i = octets; i-- > 0;) v = v << 8 | (unsigned char)s.p[at + i];
    return v;
}

static bool put_field(struct buf *b, char tag, struct str s) {
    buf_addc(b, tag);
    put_number(b, s.n, 2);
    buf_add(b, s);
    return s.n <= DROPFILE_FIELD_MAX;
}

static bool put_fields(struct buf *b, const struct dropfile *d) {
    char uid[16];
    struct buf u = BUF(uid);
    buf_addu(&u, d->uid);
    bool ok = put_field(b, 'S', d->sender) && put_field(b, 'B', d->eight_bit ? STR("8") : STR("7"));
    if (d->notify.n) ok = ok && put_field(b, 'N', d->notify);
    if (d->ret.n) ok = ok && put_field(b, 'T', d->ret);
    if (d->envid.n) ok = ok && put_field(b, 'V', d->envid);
    if (d->has_uid) ok = ok && put_field(b, 'U', buf_str(&u));
    for (size_t i = 0; i < d->rcpt_count; i++) ok = ok && put_field(b, 'R', d->rcpts[i]);
    return ok && !b->failed;
}

bool dropfile_write(struct buf *b, const struct dropfile *d) {
    buf_adds(b, magic);
    size_t head = b->n;
    put_number(b, 0, 4); /* filled in below */
    put_number(b, 0, 8);
    size_t from = b->n;
    if (!put_fields(b, d) || b->n - from > DROPFILE_ENVELOPE_MAX) return false;
    size_t end = b->n;
    uint64_t sum = dropfile_sum(DROPFILE_SUM, str_sub(buf_str(b), from, end));
    b->n = head;
    put_number(b, end - from, 4);
    put_number(b, sum, 8);
    b->n = end;
    put_number(b, d->data_size, 8);
    put_number(b, d->data_sum, 8);
    return !b->failed;
}

size_t dropfile_front(struct str front, uint64_t *sum, const char **why) {
    if (front.n < DROPFILE_FRONT || memcmp(front.p, magic, MAGIC) != 0) {
        *why = "not a drop file, or of another version";
        return 0;
    }
    uint64_t n = get_number(front, MAGIC, 4);
    *sum = get_number(front, MAGIC + 4, 8);
    if (n == 0 || n > DROPFILE_ENVELOPE_MAX) *why = "impossible length of the envelope";
    return n <= DROPFILE_ENVELOPE_MAX ? (size_t)n : 0;
}

static bool take_sender(struct dropfile *d, struct str v, struct arena *a) {
    struct addr addr;
    const char *why;
    if (d->sender.p || !addr_parse(v, ADDR_NULL, a, &addr, &why)) return false;
    d->sender = addr_is_null(&addr) ? STR("") : addr_text(a, &addr);
    return d->sender.p != NULL;
}

static bool take_rcpt(struct dropfile *d, struct str v, struct arena *a) {
    struct addr addr;
    const char *why;
    if (d->rcpt_count == RCPTLIST_MAX || !addr_parse(v, 0, a, &addr, &why)) return false;
    d->rcpts[d->rcpt_count] = addr_text(a, &addr);
    return d->rcpts[d->rcpt_count++].p != NULL;
}

/* What becomes a parameter of an SMTP command: printable, without a space. */
static bool take_word(struct str *out, struct str v) {
    *out = v;
    return v.n <= 100 && str_is_print(v) && str_chr(v, ' ') < 0;
}

static bool take_body(struct dropfile *d, struct str v, struct arena *a) {
    (void)a;
    d->eight_bit = str_eq(v, STR("8"));
    return d->eight_bit || str_eq(v, STR("7"));
}

static bool take_notify(struct dropfile *d, struct str v, struct arena *a) {
    (void)a;
    return take_word(&d->notify, v);
}

static bool take_ret(struct dropfile *d, struct str v, struct arena *a) {
    (void)a;
    return take_word(&d->ret, v) && (str_eq(v, STR("FULL")) || str_eq(v, STR("HDRS")));
}

static bool take_envid(struct dropfile *d, struct str v, struct arena *a) {
    (void)a;
    d->envid = v;
    return v.n <= 100 && str_is_print(v); /* handin writes it as xtext */
}

static bool take_uid(struct dropfile *d, struct str v, struct arena *a) {
    uint64_t uid;
    (void)a;
    if (!str_to_u64(v, UINT32_MAX, &uid)) return false;
    d->uid = (uint32_t)uid;
    return d->has_uid = true;
}

static const struct {
    char tag;
    bool (*take)(struct dropfile *d, struct str value, struct arena *a);
} fields[] = {
    {'S', take_sender}, {'R', take_rcpt},  {'B', take_body}, {'N', take_notify},
    {'T', take_ret},    {'V', take_envid}, {'U', take_uid},
};

static bool take_field(struct dropfile *d, char tag, struct str v, struct arena *a) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].tag == tag) return fields[i].take(d, v, a);
    return false;
}

/* Cuts one field off; false: cut short. */
static bool next_field(struct str *rest, char *tag, struct str *value) {
    if (rest->n < 3) return false;
    size_t n = (size_t)get_number(*rest, 1, 2);
    if (n > DROPFILE_FIELD_MAX || rest->n - 3 < n) return false;
    *tag = rest->p[0];
    *value = str_sub(*rest, 3, 3 + n);
    *rest = str_sub(*rest, 3 + n, rest->n);
    return true;
}

static size_t count_rcpts(struct str rest) {
    size_t n = 0;
    char tag;
    struct str value;
    while (next_field(&rest, &tag, &value)) n += tag == 'R';
    return n;
}

bool dropfile_read(struct dropfile *d, struct str s, uint64_t sum, struct arena *a, const char **why) {
    *d = (struct dropfile){0};
    *why = "damaged envelope";
    if (s.n < DROPFILE_MIDDLE) return false;
    struct str rest = str_sub(s, 0, s.n - DROPFILE_MIDDLE), value;
    if (dropfile_sum(DROPFILE_SUM, rest) != sum) return false;
    size_t rcpts = count_rcpts(rest);
    char tag;
    *why = "malformed envelope";
    if (rcpts == 0 || rcpts > RCPTLIST_MAX || !(d->rcpts = arena_alloc(a, rcpts * sizeof *d->rcpts)))
        return false;
    while (rest.n)
        if (!next_field(&rest, &tag, &value) || !take_field(d, tag, value, a)) return false;
    d->data_size = get_number(s, s.n - DROPFILE_MIDDLE, 8);
    d->data_sum = get_number(s, s.n - 8, 8);
    return d->sender.p != NULL;
}
