#include "common/wire.h"

#include <assert.h>
#include <string.h>

const struct wire_info wire_table[WIRE_COUNT] = {
    [WIRE_NONE] = {"none", "", "", 0, 0, 0},
#define TEXT(...)  TEXT_(__VA_ARGS__)
#define TEXT_(...) #__VA_ARGS__
#define MSG(name, from, to, fds, sentence, ...) \
    [WIRE_##name] = {#name, sentence, TEXT(__VA_ARGS__), from, to, fds},
#include "common/wire.def"
#undef MSG
};

uint64_t wire_schema(void) {
    static uint64_t hash;
    if (hash) return hash;
    uint64_t h = 1;
    for (size_t i = 1; i < WIRE_COUNT; i++) {
        h = str_hash(str_of(wire_table[i].name), h);
        h = str_hash(str_of(wire_table[i].fields), h + (uint64_t)wire_table[i].fds);
    }
    return hash = h;
}

/* One put and one get for each field type. Integers are little endian, bytes have a u16 length in front. */
static void put_int(struct buf *b, uint64_t v, size_t n) {
    char tmp[8];
    for (size_t i = 0; i < n; i++) tmp[i] = (char)(v >> 8 * i);
    buf_add(b, (struct str){tmp, n});
}

static bool get_int(struct str *s, uint64_t *v, size_t n) {
    if (s->n < n) return false;
    *v = 0;
    for (size_t i = 0; i < n; i++) *v |= (uint64_t)(unsigned char)s->p[i] << 8 * i;
    *s = str_sub(*s, n, s->n);
    return true;
}

#define INT_FIELD(type, size) \
    static void put_##type(struct buf *b, wire_type_##type v, size_t max) { \
        (void)max; \
        put_int(b, (uint64_t)v, size); \
    } \
    static bool get_##type(struct str *s, wire_type_##type *v, size_t max) { \
        (void)max; \
        uint64_t u; \
        if (!get_int(s, &u, size)) return false; \
        *v = (wire_type_##type)u; \
        return true; \
    }
INT_FIELD(u8, 1)
INT_FIELD(u16, 2)
INT_FIELD(u32, 4)
INT_FIELD(u64, 8)
INT_FIELD(i64, 8)

static void put_qid(struct buf *b, struct qid v, size_t max) {
    (void)max;
    put_int(b, v.lease, 8);
    put_int(b, v.serial, 4);
}

static bool get_qid(struct str *s, struct qid *v, size_t max) {
    return get_u64(s, &v->lease, max) && get_u32(s, &v->serial, max);
}

static void put_bytes(struct buf *b, struct str v, size_t max) {
    assert(v.n <= max);
    put_int(b, v.n, 2);
    buf_add(b, v);
}

static bool get_bytes(struct str *s, struct str *v, size_t max) {
    uint64_t n;
    if (!get_int(s, &n, 2) || n > max || n > s->n) return false;
    *v = str_sub(*s, 0, n);
    *s = str_sub(*s, n, s->n);
    return true;
}

#define FIELD(type, name, max) put_##type(b, m->name, max);
#define MSG(name, from, to, fds, sentence, ...) \
    static void encode_##name(struct buf *b, const void *msg) { \
        const struct wire_##name *m = msg; \
        __VA_ARGS__ \
    }
#include "common/wire.def"
#undef MSG
#undef FIELD

#define FIELD(type, name, max) &&get_##type(&s, &m->name, max)
#define MSG(name, from, to, fds, sentence, ...) \
    bool wire_read_##name(struct str s, struct wire_##name *m) { \
        return true __VA_ARGS__ && s.n == 0; \
    }
#include "common/wire.def"
#undef MSG
#undef FIELD

bool wire_encode(struct buf *b, enum wire_type type, const void *m) {
    static void (*const encoders[WIRE_COUNT])(struct buf *, const void *) = {
#define MSG(name, from, to, fds, sentence, ...) [WIRE_##name] = encode_##name,
#include "common/wire.def"
#undef MSG
    };
    size_t start = b->n;
    if (b->failed) return false;
    put_int(b, type, 2);
    put_int(b, 0, 2);
    encoders[type](b, m);
    size_t n = b->n - start - WIRE_HEADER;
    if (b->failed || n > UINT16_MAX) {
        b->n = start;
        b->failed = false;
        return false;
    }
    b->p[start + 2] = (char)n;
    b->p[start + 3] = (char)(n >> 8);
    return true;
}

enum wire_verdict wire_deliver(enum wire_type type, struct str payload, int fd, const struct wire_handlers *h,
                               void *ctx, struct channel *ch) {
    switch (type) {
#define MSG(name, from, to, fds, sentence, ...) \
    case WIRE_##name: { \
        struct wire_##name m; \
        if (!wire_read_##name(payload, &m)) return WIRE_MALFORMED; \
        if (!h->name) return WIRE_UNHANDLED; \
        h->name(ctx, ch, &m, fd); \
        return WIRE_OK; \
    }
#include "common/wire.def"
#undef MSG
    case WIRE_NONE:
    case WIRE_COUNT:
        break;
    }
    return WIRE_MALFORMED;
}

#define PRINT_INT(type) \
    static void print_##type(struct buf *b, const char *name, wire_type_##type v) { \
        buf_addf(b, " %s=%lld", name, (long long)v); \
    }
PRINT_INT(u8)
PRINT_INT(u16)
PRINT_INT(u32)
PRINT_INT(u64)
PRINT_INT(i64)

static void print_qid(struct buf *b, const char *name, struct qid v) {
    buf_addf(b, " %s=%s", name, qid_format(v).c);
}

static void print_bytes(struct buf *b, const char *name, struct str v) {
    buf_addf(b, " %s=\"", name);
    buf_add_escaped(b, v);
    buf_addc(b, '"');
}

void wire_print(struct buf *b, enum wire_type type, struct str payload) {
    if (type <= WIRE_NONE || type >= WIRE_COUNT) {
        buf_addf(b, "unknown message %d", type);
        return;
    }
    buf_adds(b, wire_table[type].name);
    switch (type) {
#define FIELD(type, name, max) print_##type(b, #name, m.name);
#define MSG(name, from, to, fds, sentence, ...) \
    case WIRE_##name: { \
        struct wire_##name m; \
        if (!wire_read_##name(payload, &m)) break; \
        __VA_ARGS__ \
        return; \
    }
#include "common/wire.def"
#undef MSG
#undef FIELD
    case WIRE_NONE:
    case WIRE_COUNT:
        break;
    }
    buf_adds(b, " (malformed)");
}

struct status wire_status_of(uint8_t kind, uint16_t code, uint32_t detail, uint8_t remote, struct str text) {
    struct status s = {
        .kind = kind <= STATUS_NEVER ? (enum status_kind)kind : STATUS_LATER,
        .code = code,
        .detail = {(uint16_t)(detail / 1000000 % 10), (uint16_t)(detail / 1000 % 1000),
                   (uint16_t)(detail % 1000)},
        .remote = remote != 0,
        .text = text,
    };
    return s;
}
