#include "queue/control.h"

#include "common/arena.h"
#include "queue/crc32c.h"

#include <string.h>

/* ---- Writing ------------------------------------------------------------------------------------------- */

static uint32_t first_chain(struct qid id) {
    struct qid_text t = qid_format(id);
    return crc32c(0, t.c, QID_LEN);
}

/* Times before 1970 do not occur; whoever sends one gets 1970, and not a record that cannot be read. */
static unsigned long long ms(int64_t t) {
    return t > 0 ? (unsigned long long)t : 0;
}

static void put_text(struct buf *b, const char *key, struct str text) {
    buf_adds(b, key);
    buf_addu(b, text.n);
    buf_addc(b, ':');
    buf_add(b, text);
    buf_addc(b, ',');
}

/* The checksum covers type, length and payload, and goes on from the record before. */
static uint32_t chain_on(uint32_t chain, struct str front, struct str payload) {
    return crc32c(crc32c(chain, front.p, front.n), payload.p, payload.n);
}

static bool put_record(struct buf *b, char type, struct str payload, uint32_t *chain) {
    char mem[32];
    struct buf front = BUF(mem);
    size_t start = b->n;
    buf_addf(&front, "%c %zu ", type, payload.n);
    uint32_t crc = chain_on(*chain, buf_str(&front), payload);
    buf_add(b, buf_str(&front));
    buf_addf(b, "%08x ", crc);
    buf_add(b, payload);
    buf_addc(b, '\n');
    if (b->failed) {
        b->n = start;
        b->failed = false;
        return false;
    }
    *chain = crc;
    return true;
}

static bool put_built(struct buf *b, char type, const struct buf *payload, uint32_t *chain) {
    return !payload->failed && put_record(b, type, buf_str(payload), chain);
}

static bool put_version(struct buf *b, struct qid id, uint32_t *chain) {
    char mem[64];
    struct buf p = BUF(mem);
    buf_addf(&p, "version=%d id=%s", CONTROL_VERSION, qid_format(id).c);
    return put_built(b, 'V', &p, chain);
}

static bool put_envelope(struct buf *b, const struct control *c, uint32_t *chain) {
    char mem[CONTROL_ADDRESS_MAX + CONTROL_ORIGIN_MAX + CONTROL_ENVID_MAX + 256];
    struct buf p = BUF(mem);
    bool about = !qid_eq(c->about, QID_NONE);
    buf_addf(&p, "arrival=%llu body=%u size=%llu crc=%08x rcpts=%u about=%s", ms(c->arrival), c->body,
             (unsigned long long)c->size, c->data_crc, c->rcpt_count, about ? qid_format(c->about).c : "-");
    put_text(&p, " sender=", c->sender);
    put_text(&p, " origin=", c->origin);
    if (c->ret || c->envid.n || c->after) {
        buf_addf(&p, " ret=%u", c->ret);
        put_text(&p, " envid=", c->envid);
        if (c->after) buf_addf(&p, " after=%llu", ms(c->after));
    }
    return put_built(b, 'E', &p, chain);
}

static bool put_rcpt(struct buf *b, char type, const struct control_rcpt *r, uint32_t *chain) {
    char mem[CONTROL_RCPT_MAX];
    struct buf p = BUF(mem);
    buf_adds(&p, "parent=");
    if (r->parent == CONTROL_NO_PARENT) buf_addc(&p, '-');
    else buf_addu(&p, r->parent);
    buf_addf(&p, " notify=%u", r->notify);
    put_text(&p, " rcpt=", r->rcpt);
    put_text(&p, " orcpt=", r->orcpt);
    return put_built(b, type, &p, chain);
}

size_t control_head_bound(const struct control *c) {
    size_t n = 1024 + c->sender.n + c->origin.n + c->prefix.n + c->envid.n;
    for (uint32_t i = 0; i < c->rcpt_count; i++) n += 128 + c->rcpts[i].rcpt.n + c->rcpts[i].orcpt.n;
    return n;
}

bool control_put_head(struct buf *b, const struct control *c, uint32_t *chain) {
    size_t start = b->n;
    *chain = first_chain(c->id);
    bool ok = put_version(b, c->id, chain) && put_envelope(b, c, chain) &&
              c->prefix.n <= CONTROL_PREFIX_MAX && (!c->prefix.n || put_record(b, 'H', c->prefix, chain));
    for (uint32_t i = 0; ok && i < c->rcpt_count; i++) ok = put_rcpt(b, 'R', &c->rcpts[i], chain);
    ok = ok && put_record(b, 'C', STR("complete"), chain);
    ok = ok && (!c->held || control_put_order(b, &(struct control_order){CONTROL_HOLD, c->arrival}, chain));
    if (!ok) b->n = start;
    return ok;
}

bool control_put_mark(struct buf *b, const struct control_mark *m, uint32_t *chain) {
    char mem[CONTROL_MARK_MAX];
    struct buf p = BUF(mem);
    const struct status *s = &m->status;
    buf_addf(&p, "index=%u state=%c attempts=%u next=%llu ", m->index, m->state, m->attempts, ms(m->next));
    buf_addf(&p, "status=%u %u %u.%u.%u %u", s->kind, s->code % 1000u, s->detail[0] % 10u,
             s->detail[1] % 1000u, s->detail[2] % 1000u, s->remote);
    put_text(&p, " text=", str_sub(s->text, 0, CONTROL_TEXT_MAX));
    return put_built(b, 'M', &p, chain);
}

bool control_put_split(struct buf *b, const struct control_rcpt *r, uint32_t *chain) {
    return put_rcpt(b, 'S', r, chain);
}

static const char *const order_names[CONTROL_OPS] = {
    [CONTROL_HOLD] = "hold", [CONTROL_RELEASE] = "release", [CONTROL_REQUEUE] = "requeue", [CONTROL_EXPIRE] = "expire"};

bool control_put_order(struct buf *b, const struct control_order *o, uint32_t *chain) {
    char mem[64];
    struct buf p = BUF(mem);
    buf_addf(&p, "op=%s at=%llu", order_names[o->op], ms(o->at));
    return put_built(b, 'O', &p, chain);
}

/* ---- Reading ------------------------------------------------------------------------------------------- */

static bool want(struct str *s, const char *literal) {
    size_t n = strlen(literal);
    if (s->n < n || memcmp(s->p, literal, n) != 0) return false;
    *s = str_sub(*s, n, s->n);
    return true;
}

static bool number(struct str *s, uint64_t max, uint64_t *out) {
    size_t n = 0;
    while (n < s->n && n < 20 && s->p[n] >= '0' && s->p[n] <= '9') n++;
    if (!n || !str_to_u64(str_sub(*s, 0, n), max, out)) return false;
    *s = str_sub(*s, n, s->n);
    return true;
}

static bool number32(struct str *s, const char *key, uint64_t max, uint32_t *out) {
    uint64_t v;
    if (!want(s, key) || !number(s, max, &v)) return false;
    *out = (uint32_t)v;
    return true;
}

static bool time_of(struct str *s, const char *key, int64_t *out) {
    uint64_t v;
    if (!want(s, key) || !number(s, INT64_MAX, &v)) return false;
    *out = (int64_t)v;
    return true;
}

static bool hex8(struct str *s, uint32_t *out) {
    uint64_t v;
    /* Exactly as it is written: a capital would be one flipped bit. */
    for (size_t i = 0; i < 8 && i < s->n; i++)
        if (s->p[i] >= 'A' && s->p[i] <= 'F') return false;
    if (s->n < 8 || !str_hex_to_u64(str_sub(*s, 0, 8), &v)) return false;
    *out = (uint32_t)v;
    *s = str_sub(*s, 8, s->n);
    return true;
}

static bool text_of(struct str *s, const char *key, size_t max, struct str *out) {
    uint64_t n;
    if (!want(s, key) || !number(s, max, &n) || !want(s, ":") || s->n < n) return false;
    *out = str_sub(*s, 0, n);
    *s = str_sub(*s, n, s->n);
    return want(s, ",");
}

static bool id_of(struct str *s, struct qid *out) {
    if (!qid_parse(str_sub(*s, 0, QID_LEN), out)) return false;
    *s = str_sub(*s, QID_LEN, s->n);
    return true;
}

struct reader {
    struct str rest;
    size_t at; /* where rest begins */
    uint32_t chain;
    char type;
    struct str payload;
};

enum step { STEP_RECORD, STEP_END, STEP_SHORT, STEP_BAD };

/* What lies behind here was cut off by a crash, rather than damaged: nothing at all, or zeros up to the
 * end, which is what blocks read as that were never written. Our files end in LF. */
static bool looks_torn(struct str rest) {
    return !rest.n || rest.p[rest.n - 1] == '\0';
}

/* Length and checksum are compared before anything of the payload is looked at. */
static enum step next_record(struct reader *r) {
    struct str s = r->rest;
    uint64_t n;
    uint32_t crc;
    if (!s.n) return STEP_END;
    enum step bad = looks_torn(s) ? STEP_SHORT : STEP_BAD;
    char type = s.p[0];
    if (type < 'A' || type > 'Z') return bad;
    s = str_sub(s, 1, s.n);
    if (!s.n) return STEP_SHORT;
    if (!want(&s, " ")) return bad;
    size_t digits = s.n;
    if (!number(&s, CONTROL_RECORD_MAX, &n)) return digits ? bad : STEP_SHORT;
    if (!want(&s, " ")) return s.n ? bad : STEP_SHORT;
    struct str front = str_sub(r->rest, 0, r->rest.n - s.n);
    if (s.n < 9) return STEP_SHORT;
    if (!hex8(&s, &crc) || !want(&s, " ")) return bad;
    if (s.n < n + 1) return STEP_SHORT;
    struct str payload = str_sub(s, 0, n);
    if (s.p[n] != '\n' || chain_on(r->chain, front, payload) != crc) return bad;
    size_t used = r->rest.n - s.n + n + 1;
    r->rest = str_sub(r->rest, used, r->rest.n);
    r->at += used;
    r->chain = crc;
    r->type = type;
    r->payload = payload;
    return STEP_RECORD;
}

static bool read_dsn(struct str s, struct control *c) {
    uint32_t ret;
    if (!number32(&s, " ret=", 255, &ret)) return false;
    c->ret = (uint8_t)ret;
    if (!text_of(&s, " envid=", CONTROL_ENVID_MAX, &c->envid)) return false;
    return s.n == 0 || (time_of(&s, " after=", &c->after) && s.n == 0);
}

static bool read_envelope(struct str s, struct control *c) {
    uint64_t size;
    uint32_t body;
    if (!time_of(&s, "arrival=", &c->arrival) || !number32(&s, " body=", 255, &body)) return false;
    if (!want(&s, " size=") || !number(&s, INT64_MAX, &size)) return false;
    if (!want(&s, " crc=") || !hex8(&s, &c->data_crc)) return false;
    if (!number32(&s, " rcpts=", CONTROL_RCPTS_MAX, &c->rcpt_count) || !want(&s, " about=")) return false;
    if (!want(&s, "-") && !id_of(&s, &c->about)) return false;
    c->body = (uint8_t)body;
    c->size = size;
    if (!text_of(&s, " sender=", CONTROL_ADDRESS_MAX, &c->sender) ||
        !text_of(&s, " origin=", CONTROL_ORIGIN_MAX, &c->origin))
        return false;
    return s.n == 0 || read_dsn(s, c);
}

static bool read_rcpt(struct str s, struct control_rcpt *r) {
    uint32_t notify;
    if (!want(&s, "parent=")) return false;
    if (want(&s, "-")) r->parent = CONTROL_NO_PARENT;
    else if (!number32(&s, "", CONTROL_RCPTS_MAX, &r->parent)) return false;
    if (!number32(&s, " notify=", 255, &notify)) return false;
    r->notify = (uint8_t)notify;
    r->state = 'N';
    return text_of(&s, " rcpt=", CONTROL_ADDRESS_MAX, &r->rcpt) &&
           text_of(&s, " orcpt=", CONTROL_ORCPT_MAX, &r->orcpt) && s.n == 0;
}

static bool read_status(struct str *s, struct status *out) {
    uint32_t kind, code, x, y, z, remote;
    if (!number32(s, " status=", STATUS_NEVER, &kind) || !number32(s, " ", 999, &code)) return false;
    if (!number32(s, " ", 9, &x) || !number32(s, ".", 999, &y) || !number32(s, ".", 999, &z)) return false;
    if (!number32(s, " ", 1, &remote)) return false;
    *out = (struct status){.kind = (enum status_kind)kind,
                           .code = (uint16_t)code,
                           .remote = remote != 0,
                           .detail = {(uint16_t)x, (uint16_t)y, (uint16_t)z}};
    return text_of(s, " text=", CONTROL_TEXT_MAX, &out->text);
}

static bool read_mark(struct str s, struct control_mark *m) {
    if (!number32(&s, "index=", CONTROL_RCPTS_MAX, &m->index) || !want(&s, " state=") || !s.n) return false;
    m->state = s.p[0];
    if (m->state == '\0' || !strchr("DLFS", m->state)) return false;
    s = str_sub(s, 1, s.n);
    return number32(&s, " attempts=", UINT32_MAX, &m->attempts) && time_of(&s, " next=", &m->next) &&
           read_status(&s, &m->status) && s.n == 0;
}

static bool read_order(struct str s, struct control_order *o) {
    if (!want(&s, "op=")) return false;
    for (int i = 0; i < CONTROL_OPS; i++) {
        if (!want(&s, order_names[i])) continue;
        o->op = (enum control_op)i;
        return time_of(&s, " at=", &o->at) && s.n == 0;
    }
    return false;
}

static const char *read_version(struct str s, struct qid id) {
    uint32_t version;
    struct qid own;
    if (!number32(&s, "version=", UINT32_MAX, &version)) return "it has no version";
    if (version != CONTROL_VERSION) return "its version is not ours";
    if (!want(&s, " id=") || !id_of(&s, &own) || !qid_eq(own, id)) return "it is of another message";
    return NULL;
}

/* The first pass: is the head whole and in order, and how many recipients are there with the splits. */
struct survey {
    bool complete;
    uint32_t rcpts, splits;
};

static const char *survey_record(const struct reader *r, struct qid id, struct control *c, struct survey *v,
                                 char *last) {
    static const char order[] = "VEHRC"; /* of the head; H may be missing, R may repeat */
    struct control_rcpt rcpt;
    struct control_mark mark;
    struct control_order said;
    char before = *last;
    *last = r->type;
    if (v->complete) {
        if (r->type == 'S') v->splits++;
        if (r->type == 'S' && read_rcpt(r->payload, &rcpt)) return NULL;
        if (r->type == 'M' && read_mark(r->payload, &mark)) return NULL;
        if (r->type == 'O' && read_order(r->payload, &said)) return NULL;
        return "a mark is malformed";
    }
    const char *now = strchr(order, r->type), *was = before ? strchr(order, before) : NULL;
    if (!now || (!was && r->type != 'V') || (was && now <= was && !(*now == 'R' && *was == 'R')) ||
        (*now != 'V' && *now != 'E' && *was == 'V'))
        return "its records are out of order";
    if (r->type == 'V') return read_version(r->payload, id);
    if (r->type == 'E') return read_envelope(r->payload, c) ? NULL : "its envelope is malformed";
    if (r->type == 'H' && r->payload.n > CONTROL_PREFIX_MAX) return "its header fields are too long";
    if (r->type == 'H') c->prefix = r->payload;
    if (r->type == 'R') {
        v->rcpts++;
        return read_rcpt(r->payload, &rcpt) && rcpt.parent == CONTROL_NO_PARENT ? NULL
                                                                                : "a recipient is malformed";
    }
    if (r->type == 'C') {
        if (v->rcpts != c->rcpt_count || !v->rcpts) return "its recipients are not complete";
        v->complete = true;
    }
    return NULL;
}

static enum control_verdict survey(struct str bytes, struct qid id, struct control *c, struct survey *v,
                                   const char **why) {
    struct reader r = {.rest = bytes, .chain = first_chain(id)};
    char last = '\0';
    size_t head = 0;
    enum step step;
    while ((step = next_record(&r)) == STEP_RECORD) {
        *why = survey_record(&r, id, c, v, &last);
        if (*why) return CONTROL_CORRUPT;
        c->end = r.at;
        c->chain = r.chain;
        if (r.type == 'C') head = r.at;
    }
    c->tail = str_sub(bytes, head, c->end);
    c->torn_tail = step != STEP_END;
    if (v->complete) return CONTROL_COMPLETE;
    /* A crash cannot write the end and not the length of what is before it: that is damage, and no reason
     * to forget. */
    if (step != STEP_BAD && !memmem(bytes.p ? bytes.p : "", bytes.n, " complete\n", 10)) return CONTROL_TORN;
    *why = "a record of its head does not check";
    return CONTROL_CORRUPT;
}

static bool apply_mark(struct control *c, uint32_t filled, const struct control_mark *m) {
    if (m->index >= filled) return false;
    struct control_rcpt *r = &c->rcpts[m->index];
    r->state = m->state;
    r->attempts = m->attempts;
    r->next = m->next;
    r->status = m->status;
    return true;
}

/* Requeued recipients keep what was said last: people want to see it until there is something newer. */
static void apply_order(struct control *c, uint32_t filled, struct str payload) {
    struct control_order o;
    if (!read_order(payload, &o)) return;
    c->held = o.op == CONTROL_HOLD || (o.op == CONTROL_REQUEUE && c->held);
    c->expired |= o.op == CONTROL_EXPIRE;
    for (uint32_t i = 0; o.op == CONTROL_REQUEUE && i < filled; i++) {
        if (c->rcpts[i].state == 'N') c->rcpts[i].next = 0;
        if (c->rcpts[i].state != 'L') continue;
        c->rcpts[i].attempts = 0;
        c->rcpts[i].next = o.at;
    }
}

/* The second pass, over what the first found well-formed. */
static const char *fill(struct str bytes, struct qid id, struct control *c) {
    struct reader r = {.rest = str_sub(bytes, 0, c->end), .chain = first_chain(id)};
    struct control_mark mark;
    uint32_t filled = 0;
    while (next_record(&r) == STEP_RECORD) {
        if (r.type == 'R' || r.type == 'S') {
            struct control_rcpt *rcpt = &c->rcpts[filled];
            if (!read_rcpt(r.payload, rcpt)) return "a recipient is malformed";
            if (r.type == 'R') rcpt->next = c->after;
            if (r.type == 'S' && rcpt->parent >= filled) return "a recipient was made from none";
            filled++;
        }
        if (r.type == 'M' && (!read_mark(r.payload, &mark) || !apply_mark(c, filled, &mark)))
            return "a mark is of no recipient";
        if (r.type == 'O') apply_order(c, filled, r.payload);
        if (r.type == 'M' || r.type == 'S') c->marks++;
    }
    return NULL;
}

static void sum_up(struct control *c) {
    c->next = INT64_MAX;
    for (uint32_t i = 0; i < c->rcpt_count; i++) {
        const struct control_rcpt *r = &c->rcpts[i];
        if (r->state != 'N' && r->state != 'L') continue;
        c->pending++;
        int64_t due = c->expired ? 0 : r->next;
        if (due < c->next) c->next = due;
    }
}

enum control_verdict control_read(struct str bytes, struct qid id, struct arena *a, struct control *out,
                                  const char **why) {
    struct survey v = {0};
    *out = (struct control){.id = id};
    enum control_verdict verdict = survey(bytes, id, out, &v, why);
    if (verdict != CONTROL_COMPLETE) return verdict;
    if (v.splits > CONTROL_RCPTS_MAX - v.rcpts) {
        *why = "it has too many recipients";
        return CONTROL_CORRUPT;
    }
    out->rcpt_count = v.rcpts + v.splits;
    out->rcpts = arena_alloc(a, out->rcpt_count * sizeof *out->rcpts);
    if (!out->rcpts) return CONTROL_NO_ROOM;
    *why = fill(bytes, id, out);
    if (*why) return CONTROL_CORRUPT;
    sum_up(out);
    return CONTROL_COMPLETE;
}
