#include "dispatch/hosttable.h"

#include "common/arena.h"
#include "common/smtpcaps.h"
#include "dispatch/table.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_OCTETS = 260, TEXT_MAX_OCTETS = 200, KEY_MAX = 64, VERSION = 1 };
enum source { SOURCE_LEARNED, SOURCE_CONFIGURED, SOURCE_POLICY, SOURCE_COUNT };
static const char *const source_names[SOURCE_COUNT] = {"learned", "configured", "policy"};

/* The facts of a row that are numbers: one row here each, so that text, disk and manual agree. Never
 * reorder: the record holds them in this order, and may hold fewer (of an older version). */
#define FACTS(X) \
    X(caps, as_caps, "capabilities") \
    X(size_limit, as_number, "size-limit") \
    X(rtt_us, as_number, "rtt-us") \
    X(last_ok, as_age, "last-ok") \
    X(last_failure, as_age, "last-failure") \
    X(down_since, as_age, "down-since") \
    X(retry_at, as_time_left, "retry-in") \
    X(failures, as_number, "failures-in-a-row") \
    X(deliveries, as_number, "deliveries")

enum fact_name {
#define X(name, as, text) FACT_##name,
    FACTS(X)
#undef X
        FACT_COUNT
};

struct fact {
    uint64_t value;
    int64_t at; /* ms since 1970; 0: not known */
    uint8_t source;
};

struct row {
    struct table_node node;
    struct row *older, *newer; /* by last contact */
    struct row *next_dirty;
    struct ip ip;
    uint16_t port;
    bool dirty;
    int64_t touched;
    struct fact facts[FACT_COUNT];
    uint16_t name_n, status_n, greeting_n;
    char name[NAME_MAX_OCTETS], status[TEXT_MAX_OCTETS], greeting[TEXT_MAX_OCTETS];
};

struct hosttable {
    struct table rows;
    struct row *oldest, *newest;
    struct row *dirty;
    char (*gone)[KEY_MAX]; /* keys of rows that were dropped, for the disk */
    size_t gone_n, gone_cap;
    char key[KEY_MAX];
    char record[HOSTTABLE_RECORD_MAX];
};

struct hosttable *hosttable_new(void) {
    return xmalloc(sizeof(struct hosttable));
}

void hosttable_free(struct hosttable *t) {
    if (!t) return;
    for (struct row *r = t->oldest, *next; r; r = next) {
        next = r->newer;
        free(r);
    }
    table_free(&t->rows);
    free(t->gone);
    free(t);
}

size_t hosttable_count(const struct hosttable *t) {
    return t->rows.n;
}

/* --- rows --- */

static uint64_t row_hash(const struct ip *ip, uint16_t port) {
    return str_hash((struct str){(const char *)ip->b, ip->family == 4 ? 4 : 16}, port);
}

static struct row *row_find(const struct hosttable *t, const struct ip *ip, uint16_t port) {
    for (struct table_node *n = table_first(&t->rows, row_hash(ip, port)); n; n = table_next(n)) {
        struct row *r = (struct row *)n;
        if (r->port == port && ip_eq(&r->ip, ip)) return r;
    }
    return NULL;
}

static void unlink_age(struct hosttable *t, struct row *r) {
    if (r->older) r->older->newer = r->newer;
    else if (t->oldest == r) t->oldest = r->newer;
    if (r->newer) r->newer->older = r->older;
    else if (t->newest == r) t->newest = r->older;
    r->older = r->newer = NULL;
}

static void touch(struct hosttable *t, struct row *r, int64_t now) {
    unlink_age(t, r);
    r->touched = now;
    r->older = t->newest;
    if (t->newest) t->newest->newer = r;
    else t->oldest = r;
    t->newest = r;
}

static void make_dirty(struct hosttable *t, struct row *r) {
    if (r->dirty) return;
    r->dirty = true;
    r->next_dirty = t->dirty;
    t->dirty = r;
}

static void format_key(struct buf *b, const struct row *r) {
    hostport_format(b, &r->ip, r->port);
}

static void drop(struct hosttable *t, struct row *r) {
    for (struct row **at = &t->dirty; *at; at = &(*at)->next_dirty) {
        if (*at != r) continue;
        *at = r->next_dirty;
        break;
    }
    t->gone = xgrow(t->gone, &t->gone_cap, t->gone_n + 1, sizeof *t->gone);
    struct buf b = buf_on(t->gone[t->gone_n++], KEY_MAX);
    format_key(&b, r);
    buf_cstr(&b);
    unlink_age(t, r);
    table_remove(&t->rows, &r->node);
    free(r);
}

static struct row *row_new(struct hosttable *t, const struct ip *ip, uint16_t port, int64_t now) {
    if (t->rows.n >= HOSTTABLE_ROWS_MAX) drop(t, t->oldest);
    struct row *r = xmalloc(sizeof *r);
    r->ip = *ip;
    r->port = port;
    table_add(&t->rows, &r->node, row_hash(ip, port));
    touch(t, r, now);
    return r;
}

static void set(struct row *r, enum fact_name f, uint64_t value, int64_t now) {
    r->facts[f] = (struct fact){value, now, SOURCE_LEARNED};
}

static void forget(struct row *r, enum fact_name f) {
    r->facts[f] = (struct fact){0};
}

static void set_text(char *to, uint16_t *to_n, size_t max, struct str from) {
    size_t n = from.n < max ? from.n : max;
    if (n) memcpy(to, from.p, n);
    *to_n = (uint16_t)n;
}

/* --- what is learned --- */

static void learn_ok(struct row *r, const struct hosttable_news *n, int64_t now) {
    set(r, FACT_caps, n->caps, now);
    if (n->size_limit) set(r, FACT_size_limit, n->size_limit, now);
    else forget(r, FACT_size_limit);
    if (n->rtt_us) set(r, FACT_rtt_us, n->rtt_us, now);
    set(r, FACT_last_ok, (uint64_t)now, now);
    forget(r, FACT_down_since);
    forget(r, FACT_retry_at);
    forget(r, FACT_failures);
    set_text(r->greeting, &r->greeting_n, sizeof r->greeting, n->greeting);
}

static void learn_failure(struct row *r, const struct hosttable_news *n, int64_t now, int64_t first,
                          int64_t max) {
    uint64_t failures = r->facts[FACT_failures].value + 1;
    int64_t wait = first;
    for (uint64_t i = 1; i < failures && wait < max; i++) wait *= 2;
    if (wait > max) wait = max;
    char mem[TEXT_MAX_OCTETS];
    struct buf b = BUF(mem);
    status_format(&b, &n->status);
    set_text(r->status, &r->status_n, sizeof r->status, buf_str(&b));
    set(r, FACT_last_failure, (uint64_t)now, now);
    if (!r->facts[FACT_down_since].at) set(r, FACT_down_since, (uint64_t)now, now);
    set(r, FACT_failures, failures, now);
    set(r, FACT_retry_at, (uint64_t)(now + wait), now);
}

bool hosttable_learn(struct hosttable *t, const struct hosttable_news *n, int64_t now, int64_t retry_first,
                     int64_t retry_max) {
    if (n->ip.family != 4 && n->ip.family != 6) return false;
    struct row *r = row_find(t, &n->ip, n->port);
    bool was_up = !r || !r->facts[FACT_failures].value;
    if (!r) r = row_new(t, &n->ip, n->port, now);
    set_text(r->name, &r->name_n, sizeof r->name, n->name);
    if (n->ok) learn_ok(r, n, now);
    /* Connections that were tried together fail together: that is one failure, not many. */
    else if (was_up || (int64_t)r->facts[FACT_retry_at].value <= now)
        learn_failure(r, n, now, retry_first, retry_max);
    touch(t, r, now);
    make_dirty(t, r);
    return was_up;
}

void hosttable_delivered(struct hosttable *t, const struct ip *ip, uint16_t port, int64_t now) {
    struct row *r = row_find(t, ip, port);
    if (!r) return;
    set(r, FACT_deliveries, r->facts[FACT_deliveries].value + 1, now);
    touch(t, r, now);
    make_dirty(t, r);
}

struct hosttable_facts hosttable_facts(const struct hosttable *t, const struct ip *ip, uint16_t port,
                                       int64_t now) {
    const struct row *r = row_find(t, ip, port);
    if (!r) return (struct hosttable_facts){0};
    int64_t retry = (int64_t)r->facts[FACT_retry_at].value;
    /* A retry time of a clock that was far ahead must not silence a host for long. */
    bool down = r->facts[FACT_failures].value && retry > now && retry - now < (int64_t)7 * 86400 * 1000;
    return (struct hosttable_facts){.known = true,
                                    .caps = (uint32_t)r->facts[FACT_caps].value,
                                    .size_limit = r->facts[FACT_size_limit].value,
                                    .down = down,
                                    .retry_at = retry};
}

/* --- as text --- */

static void add_span(struct buf *b, int64_t ms) {
    if (ms < 0) ms = 0;
    uint64_t s = (uint64_t)ms / 1000;
    if (s < 120) buf_addf(b, "%llus", (unsigned long long)s);
    else if (s < 7200) buf_addf(b, "%llum", (unsigned long long)s / 60);
    else if (s < 172800) buf_addf(b, "%lluh", (unsigned long long)s / 3600);
    else buf_addf(b, "%llud", (unsigned long long)s / 86400);
}

static void as_number(struct buf *b, uint64_t v, int64_t now) {
    (void)now;
    buf_addu(b, v);
}

static void as_age(struct buf *b, uint64_t v, int64_t now) {
    add_span(b, now - (int64_t)v);
    buf_adds(b, "-ago");
}

static void as_time_left(struct buf *b, uint64_t v, int64_t now) {
    add_span(b, (int64_t)v - now);
}

static void as_caps(struct buf *b, uint64_t v, int64_t now) {
    static const struct {
        const char *keyword;
        uint32_t bit;
    } caps[] = {
#define X(name, keyword, bit) {keyword, CAP_##name},
        SMTP_CAPS(X)
#undef X
    };
    const char *comma = "";
    (void)now;
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        if (!(v & caps[i].bit) || !caps[i].keyword[0]) continue;
        buf_adds(b, comma);
        buf_adds(b, caps[i].keyword);
        comma = ",";
    }
    if (!comma[0]) buf_adds(b, v & CAP_EHLO ? "none" : "no-EHLO");
}

static const struct {
    const char *text;
    void (*as)(struct buf *b, uint64_t v, int64_t now);
} fact_rows[FACT_COUNT] = {
#define X(name, as, text) {text, as},
    FACTS(X)
#undef X
};

static void add_text_fact(struct buf *b, const char *name, const char *text, size_t n,
                          const struct fact *like, int64_t now) {
    if (!n || !like->at) return;
    buf_adds(b, name);
    buf_adds(b, "=");
    buf_add_escaped(b, (struct str){text, n});
    buf_adds(b, " age=");
    add_span(b, now - like->at);
    buf_addf(b, " source=%s\n", source_names[like->source]);
}

static void add_facts(struct buf *b, const struct row *r, int64_t now) {
    buf_adds(b, "address=");
    format_key(b, r);
    buf_adds(b, "\n");
    for (int i = 0; i < FACT_COUNT; i++) {
        const struct fact *f = &r->facts[i];
        if (!f->at) continue;
        buf_addf(b, "%s=", fact_rows[i].text);
        fact_rows[i].as(b, f->value, now);
        buf_adds(b, " age=");
        add_span(b, now - f->at);
        buf_addf(b, " source=%s\n", source_names[f->source]);
    }
    add_text_fact(b, "failure", r->status, r->status_n, &r->facts[FACT_last_failure], now);
    add_text_fact(b, "greeting", r->greeting, r->greeting_n, &r->facts[FACT_last_ok], now);
}

static bool matches(const struct row *r, struct str name) {
    struct ip ip;
    if (!name.n || str_eq_nocase((struct str){r->name, r->name_n}, name)) return true;
    return ip_parse(name, &ip) && ip_eq(&ip, &r->ip);
}

size_t hosttable_each(const struct hosttable *t, struct str name, int64_t now,
                      void (*fn)(void *ctx, struct str name, struct str facts), void *ctx) {
    char mem[HOSTTABLE_TEXT_MAX];
    size_t n = 0;
    for (const struct row *r = t->newest; r; r = r->older) {
        struct buf b = BUF(mem);
        if (!matches(r, name)) continue;
        add_facts(&b, r, now);
        fn(ctx, (struct str){r->name, r->name_n}, buf_str(&b));
        n++;
    }
    return n;
}

/* --- on disk: "PH", version, number of facts, facts, texts, checksum; little endian --- */

static void put(struct buf *b, uint64_t v, int octets) {
    for (int i = 0; i < octets; i++, v >>= 8) buf_addc(b, (char)(v & 0xff));
}

struct reader {
    const unsigned char *p;
    size_t n;
    bool failed;
};

static uint64_t get(struct reader *r, int octets) {
    uint64_t v = 0;
    if (r->n < (size_t)octets) r->failed = true;
    if (r->failed) return 0;
    for (int i = octets; i-- > 0;) v = v << 8 | r->p[i];
    r->p += octets;
    r->n -= (size_t)octets;
    return v;
}

static uint32_t crc32_of(struct str s) {
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < s.n; i++) {
        c ^= (unsigned char)s.p[i];
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (0xedb88320u & (0u - (c & 1)));
    }
    return ~c;
}

static void put_text(struct buf *b, const char *text, uint16_t n) {
    put(b, n, 2);
    buf_add(b, (struct str){text, n});
}

static void get_text(struct reader *in, char *text, uint16_t *n, size_t max) {
    uint64_t len = get(in, 2);
    if (in->failed || len > max || len > in->n) {
        in->failed = true;
        return;
    }
    memcpy(text, in->p, len);
    *n = (uint16_t)len;
    in->p += len;
    in->n -= len;
}

static struct str encode(struct hosttable *t, const struct row *r) {
    struct buf b = BUF(t->record);
    buf_adds(&b, "PH");
    put(&b, VERSION, 1);
    put(&b, FACT_COUNT, 1);
    put(&b, (uint64_t)r->touched, 8);
    for (int i = 0; i < FACT_COUNT; i++) {
        put(&b, r->facts[i].value, 8);
        put(&b, (uint64_t)r->facts[i].at, 8);
        put(&b, r->facts[i].source, 1);
    }
    put_text(&b, r->name, r->name_n);
    put_text(&b, r->status, r->status_n);
    put_text(&b, r->greeting, r->greeting_n);
    put(&b, crc32_of(buf_str(&b)), 4);
    return b.failed ? STR_NONE : buf_str(&b);
}

static bool decode(struct str record, struct row *r) {
    if (record.n < 16 || record.p[0] != 'P' || record.p[1] != 'H' || record.p[2] != VERSION) return false;
    struct reader tail = {(const unsigned char *)record.p + record.n - 4, 4, false};
    if (get(&tail, 4) != crc32_of(str_sub(record, 0, record.n - 4))) return false;
    struct reader in = {(const unsigned char *)record.p + 3, record.n - 7, false};
    uint64_t count = get(&in, 1);
    r->touched = (int64_t)get(&in, 8);
    if (count > FACT_COUNT) return false;
    for (uint64_t i = 0; i < count; i++) {
        r->facts[i].value = get(&in, 8);
        r->facts[i].at = (int64_t)get(&in, 8);
        r->facts[i].source = (uint8_t)get(&in, 1);
        if (r->facts[i].source >= SOURCE_COUNT) in.failed = true;
    }
    get_text(&in, r->name, &r->name_n, sizeof r->name);
    get_text(&in, r->status, &r->status_n, sizeof r->status);
    get_text(&in, r->greeting, &r->greeting_n, sizeof r->greeting);
    return !in.failed && in.n == 0;
}

bool hosttable_load(struct hosttable *t, struct str key, struct str record, int64_t now) {
    struct row loaded = {0};
    struct ip ip;
    uint16_t port;
    const char *why;
    if (!hostport_parse(key, &ip, &port, &why) || !decode(record, &loaded)) return false;
    if (now - loaded.touched > (int64_t)HOSTTABLE_KEPT_DAYS * 86400 * 1000) return false;
    if (row_find(t, &ip, port)) return true;
    struct row *r = row_new(t, &ip, port, loaded.touched);
    memcpy(r->facts, loaded.facts, sizeof r->facts);
    set_text(r->name, &r->name_n, sizeof r->name, (struct str){loaded.name, loaded.name_n});
    set_text(r->status, &r->status_n, sizeof r->status, (struct str){loaded.status, loaded.status_n});
    set_text(r->greeting, &r->greeting_n, sizeof r->greeting,
             (struct str){loaded.greeting, loaded.greeting_n});
    return true;
}

bool hosttable_dirty(const struct hosttable *t) {
    return t->dirty || t->gone_n;
}

bool hosttable_take_dirty(struct hosttable *t, struct str *key, struct str *record) {
    struct buf b = BUF(t->key);
    struct row *r = t->dirty;
    if (t->gone_n) {
        buf_adds(&b, t->gone[--t->gone_n]);
        *key = buf_str(&b);
        *record = STR_NONE;
        return true;
    }
    if (!r) return false;
    t->dirty = r->next_dirty;
    r->dirty = false;
    format_key(&b, r);
    *key = buf_str(&b);
    *record = encode(t, r);
    return true;
}
