/* oracle.c: the judge. It sees what no program sees: what clients were told, what hosts took, and where
 * each delivery stands on its way from the host's 250 to our durable mark. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

struct name { /* a recipient as the programs call it */
    struct qid id;
    uint32_t index, leaf; /* leaf + 1; 0: free */
};

struct oracle {
    struct sub *subs;
    size_t sub_n, sub_cap;
    struct leaf *leaves;
    size_t leaf_n, leaf_cap;
    struct name *names;
    size_t name_n, name_cap;
    uint32_t open; /* list of leaves; index + 1 */
    uint32_t crash_epoch;
    char *text;
    size_t text_cap;
};

void oracle_new(struct world *w) {
    w->oracle = xmalloc(sizeof *w->oracle);
}

void oracle_free(struct world *w) {
    struct oracle *o = w->oracle;
    if (!o) return;
    free(o->subs);
    free(o->leaves);
    free(o->names);
    free(o->text);
    free(o);
}

struct sub *sub_of(struct world *w, uint32_t sub) {
    return &w->oracle->subs[sub];
}

struct leaf *leaf_of(struct world *w, uint32_t leaf) {
    return &w->oracle->leaves[leaf];
}

static uint32_t leaf_new(struct oracle *o, uint32_t sub) {
    o->leaves = xgrow(o->leaves, &o->leaf_cap, o->leaf_n + 1, sizeof *o->leaves);
    o->leaves[o->leaf_n] = (struct leaf){.sub = sub};
    return (uint32_t)o->leaf_n++;
}

/* ---- What a submission is: all of it follows from its number ------------------------------------------- */

static uint64_t nature(uint32_t sub, uint32_t what) {
    return mix(((uint64_t)sub << 8) + what);
}

struct rcpt_plan sub_rcpt(const struct sub *s, uint32_t sub, uint32_t rcpt) {
    struct rcpt_plan p = {0, 0, false};
    (void)s;
    for (uint32_t i = 0; i <= rcpt; i++) {
        uint64_t h = nature(sub, 10 + i);
        p.first += p.count;
        p.alias = h % 20 == 0;
        p.count = p.alias ? 1 + (uint32_t)(h >> 8) % 3 : 1;
    }
    return p;
}

uint32_t oracle_sub(struct world *w, uint32_t number) {
    AS(MEM_WORLD);
    struct oracle *o = w->oracle;
    o->subs = xgrow(o->subs, &o->sub_cap, o->sub_n + 1, sizeof *o->subs);
    uint32_t sub = (uint32_t)o->sub_n++;
    uint64_t h = nature(sub, 1);
    struct sub *s = &o->subs[sub];
    *s = (struct sub){.leaf = (uint32_t)o->leaf_n,
                      .number = number,
                      .rcpts = h % 4 ? 1 : (uint8_t)(1 + (h >> 8) % 4),
                      .syncs_failed = w->syncs_failed};
    struct rcpt_plan last = sub_rcpt(s, sub, s->rcpts - 1u);
    s->leaves = last.first + last.count;
    for (uint32_t i = 0; i < s->leaves; i++) leaf_new(o, sub);
    return sub;
}

uint32_t oracle_bounce(struct world *w, uint32_t sub) {
    AS(MEM_WORLD);
    uint32_t leaf = leaf_new(w->oracle, sub);
    w->oracle->leaves[leaf].is_bounce = true;
    return leaf;
}

void address_of_leaf(struct world *w, struct buf *b, uint32_t sub, uint32_t leaf) {
    unsigned domains = w->profile->local ? LOCALS + 1 : DOMAINS;
    buf_addf(b, "r%u-%u@d%u.example", sub, leaf, (unsigned)(nature(sub, 100 + leaf) % domains));
}

void address_of_rcpt(struct world *w, struct buf *b, uint32_t sub, uint32_t rcpt) {
    struct rcpt_plan p = sub_rcpt(sub_of(w, sub), sub, rcpt);
    if (p.alias) buf_addf(b, "a%u-%u-%u@alias.example", sub, p.first, p.count);
    else address_of_leaf(w, b, sub, p.first);
}

static bool number_before(struct str *rest, char end, uint64_t *n) {
    ptrdiff_t at = str_chr(*rest, end);
    if (at < 0 || !str_to_u64(str_sub(*rest, 0, (size_t)at), UINT32_MAX, n)) return false;
    *rest = str_sub(*rest, (size_t)at + 1, rest->n);
    return true;
}

bool leaf_at_address(struct world *w, struct str address, uint32_t *leaf) {
    struct str rest = str_sub(address, 1, address.n);
    uint64_t sub, at;
    if (!address.n || address.p[0] != 'r' || !number_before(&rest, '-', &sub) ||
        !number_before(&rest, '@', &at))
        return false;
    if (sub >= w->oracle->sub_n || at >= sub_of(w, (uint32_t)sub)->leaves) return false;
    *leaf = sub_of(w, (uint32_t)sub)->leaf + (uint32_t)at;
    return true;
}

bool sender_sub(struct str address, uint32_t *sub) {
    struct str rest = str_sub(address, 1, address.n);
    uint64_t n;
    if (!address.n || address.p[0] != 's' || !number_before(&rest, '@', &n)) return false;
    *sub = (uint32_t)n;
    return true;
}

struct str sub_text(struct world *w, uint32_t sub) {
    AS(MEM_WORLD);
    struct oracle *o = w->oracle;
    uint64_t h = nature(sub, 2);
    unsigned large = w->profile->large ? w->profile->large : 200;
    size_t size = h % large == 0 ? 20000 + h / large % 60000 : 100 + h % 1500;
    if (o->text_cap < size + 400) {
        o->text_cap = size + 400;
        o->text = xrealloc(o->text, o->text_cap);
    }
    struct buf b = {.p = o->text, .max = o->text_cap};
    buf_addf(&b, "X-Sub: %u\r\nFrom: s%u@src.example\r\nSubject: message %u\r\n\r\n", sub, sub, sub);
    static const char lines[4][80] = {
        ".a line that begins with a dot\r\n", "\r\n", "..\r\n",
        "a plain line of text, neither short nor long, to be carried unchanged\r\n"};
    while (b.n < size) {
        h = h * UINT64_C(6364136223846793005) + 1442695040888963407;
        buf_adds(&b, lines[h >> 61 < 3 ? h >> 61 : 3]);
    }
    return buf_str(&b);
}

bool text_is_of(struct world *w, struct str data, uint32_t sub) {
    struct str want = sub_text(w, sub);
    if (data.n < want.n) return false;
    struct str tail = str_sub(data, data.n - want.n, data.n);
    /* In front of it stand header fields of Postern's own, whole lines. */
    size_t front = data.n - want.n;
    return memcmp(tail.p, want.p, want.n) == 0 && (!front || data.p[front - 1] == '\n');
}

bool leaf_in_bounce(struct str text, uint32_t *leaf) {
    static const char mark[] = "X-Leaf: ";
    const char *at = text.n ? memmem(text.p, text.n, mark, sizeof mark - 1) : NULL;
    uint64_t n;
    if (!at || (at > text.p && at[-1] != '\n')) return false;
    struct str rest = str_sub(text, (size_t)(at - text.p) + sizeof mark - 1, text.n);
    ptrdiff_t end = str_chr(rest, '\r');
    if (end < 0 || !str_to_u64(str_sub(rest, 0, (size_t)end), UINT32_MAX, &n)) return false;
    *leaf = (uint32_t)n;
    return true;
}

/* ---- Names --------------------------------------------------------------------------------------------- */

static struct name *name_slot(struct oracle *o, struct qid id, uint32_t index) {
    size_t at = (qid_hash(id) ^ mix(index)) & (o->name_cap - 1);
    while (o->names[at].leaf && (o->names[at].index != index || !qid_eq(o->names[at].id, id)))
        at = (at + 1) & (o->name_cap - 1);
    return &o->names[at];
}

static void names_grow(struct oracle *o) {
    struct name *old = o->names;
    size_t n = o->name_cap;
    o->name_cap = n ? n * 2 : 1024;
    o->names = xmalloc(o->name_cap * sizeof *o->names);
    for (size_t i = 0; i < n; i++)
        if (old[i].leaf) *name_slot(o, old[i].id, old[i].index) = old[i];
    free(old);
}

void oracle_name(struct world *w, struct qid id, uint32_t index, uint32_t leaf) {
    struct oracle *o = w->oracle;
    AS(MEM_WORLD);
    if (2 * (o->name_n + 1) > o->name_cap) names_grow(o);
    struct name *n = name_slot(o, id, index);
    o->name_n += !n->leaf;
    /* A split that was lost with a crash may be made again under another number: the last word counts. */
    *n = (struct name){id, index, leaf + 1};
}

bool oracle_named(struct world *w, struct qid id, uint32_t index, uint32_t *leaf) {
    if (!w->oracle->name_cap) return false;
    const struct name *n = name_slot(w->oracle, id, index);
    *leaf = n->leaf - 1;
    return n->leaf != 0;
}

/* ---- Open leaves: served, and the mark is not durable -------------------------------------------------- */

static void open_add(struct oracle *o, uint32_t leaf) {
    struct leaf *l = &o->leaves[leaf];
    if (l->open) return;
    l->open = true;
    l->prev = 0;
    l->next = o->open;
    if (l->next) o->leaves[l->next - 1].prev = leaf + 1;
    o->open = leaf + 1;
}

static void open_remove(struct oracle *o, struct leaf *l) {
    if (!l->open) return;
    l->open = false;
    if (l->prev) o->leaves[l->prev - 1].next = l->next;
    else o->open = l->next;
    if (l->next) o->leaves[l->next - 1].prev = l->prev;
}

void oracle_stage(struct world *w, uint32_t leaf, enum stage stage) {
    struct leaf *l = leaf_of(w, leaf);
    if (!l->served || (stage < l->stage && stage != ST_HEARD)) return;
    l->stage = (uint8_t)stage;
}

void oracle_excuse(struct world *w, uint32_t leaf, const char *why) {
    struct leaf *l = leaf_of(w, leaf);
    if (!l->served || l->stage >= ST_MARKED || l->excuse) return;
    l->excuse = true;
    w->count.windows++;
    STORY(w, "window: recipient %u of submission %u may be served again: %s", leaf, l->sub, why);
}

void oracle_lost(struct world *w, enum stage from, enum stage to, const char *why) {
    struct oracle *o = w->oracle;
    for (uint32_t i = o->open; i; i = o->leaves[i - 1].next) {
        struct leaf *l = &o->leaves[i - 1];
        if (l->stage < from || l->stage > to) continue;
        l->stage = ST_SERVED; /* it is nobody's knowledge any more */
        oracle_excuse(w, i - 1, why);
    }
}

void oracle_durable(struct world *w) {
    struct oracle *o = w->oracle;
    for (uint32_t i = o->open, next; i; i = next) {
        struct leaf *l = &o->leaves[i - 1];
        next = l->next;
        if (l->stage != ST_MARKED) continue;
        l->stage = ST_DURABLE;
        l->excuse = l->shaken;
        open_remove(o, l);
    }
}

void oracle_queue_crashed(struct world *w) {
    struct oracle *o = w->oracle;
    o->crash_epoch++;
    for (uint32_t i = o->open; i; i = o->leaves[i - 1].next)
        o->leaves[i - 1].old |= o->leaves[i - 1].stage == ST_MARKED;
}

void oracle_written(struct world *w) {
    struct oracle *o = w->oracle;
    for (uint32_t i = o->open; i; i = o->leaves[i - 1].next)
        if (o->leaves[i - 1].stage == ST_TAKEN) o->leaves[i - 1].stage = ST_MARKED;
}

void oracle_unwritten(struct world *w, bool trouble) {
    struct oracle *o = w->oracle;
    const struct process *d = &w->p[P_DISPATCH];
    for (uint32_t i = o->open; i; i = o->leaves[i - 1].next) {
        struct leaf *l = &o->leaves[i - 1];
        if (l->stage != ST_TAKEN && !(trouble && l->stage == ST_MARKED)) continue;
        l->stage = ST_MARKING;
        if (!d->alive || d->life != l->teller) oracle_excuse(w, i - 1, "who told and who took it have died");
    }
}

/* The store writes again what it has marked itself, but not what an earlier life of it had. */
void oracle_sync_failed(struct world *w) {
    struct oracle *o = w->oracle;
    for (uint32_t i = o->open; i; i = o->leaves[i - 1].next) {
        struct leaf *l = &o->leaves[i - 1];
        if (!l->old || l->shaken) continue;
        l->shaken = l->excuse = true;
        w->count.windows++;
        STORY(w,
              "window: recipient %u of submission %u may be served again: queue died, then the disk failed",
              i - 1, l->sub);
    }
}

/* ---- What happens -------------------------------------------------------------------------------------- */

void oracle_answer(struct world *w, uint32_t sub, enum sub_state state) {
    struct sub *s = sub_of(w, sub);
    if (state == SUB_DOT) s->crash_epoch = w->oracle->crash_epoch;
    if (state == SUB_ACKED) w->count.accepted++;
    if (state == SUB_REFUSED) w->count.refused++;
    if (state == SUB_DOUBT) w->count.doubtful++;
    s->state = (uint8_t)state;
    STORY(w, "client: submission %u (message %u) %s", sub, s->number,
          (const char *const[]){"begins", "is complete", "got 250", "was refused", "is in doubt"}[state]);
}

/* As if they were recipients. */
enum { NAME_OF_MESSAGE = UINT32_MAX };

void oracle_committed(struct world *w, struct qid id, uint32_t sub, bool ok) {
    uint32_t other;
    if (sub >= w->oracle->sub_n) return;
    if (ok && oracle_named(w, id, NAME_OF_MESSAGE, &other) && other != sub && !sub_of(w, other)->denied)
        world_fail(w, "the id %s was given to submission %u and to submission %u", qid_format(id).c, other,
                   sub);
    oracle_name(w, id, NAME_OF_MESSAGE, sub);
    /* Heard late, when queue has died since, it says nothing of what that queue has left. */
    sub_of(w, sub)->denied = !ok && sub_of(w, sub)->crash_epoch == w->oracle->crash_epoch;
    sub_of(w, sub)->cuts = w->count.cuts;
    sub_of(w, sub)->stored |= ok;
}

void oracle_stays(struct world *w, struct qid id) {
    uint32_t sub;
    if (oracle_named(w, id, NAME_OF_MESSAGE, &sub)) sub_of(w, sub)->denied = false;
}

/* The client heard no. It may come all the same when queue died without a word; or when queue said no and could not
 * remove it, or had not yet durably when the power failed. (What a journal holds of it goes with the next batch.) */
static bool stays_refused(const struct world *w, const struct sub *s) {
    if (s->crash_epoch == w->oracle->crash_epoch) return true;
    return s->denied && s->cuts == w->count.cuts && !w->o.journal && !w->profile->switches;
}

/* Of the recipient whose leaf this is: the client heard its answer before it sent the text. */
static bool rcpt_refused(const struct sub *s, uint32_t sub, uint32_t leaf) {
    for (uint32_t r = 0; r < s->rcpts; r++) {
        struct rcpt_plan p = sub_rcpt(s, sub, r);
        if (leaf - s->leaf >= p.first && leaf - s->leaf < p.first + p.count) return !(s->accepted & 1u << r);
    }
    return true;
}

/* May a copy of this exist at all? */
static void check_origin(struct world *w, uint32_t leaf) {
    const struct leaf *l = leaf_of(w, leaf);
    const struct sub *s = sub_of(w, l->sub);
    if (s->state == SUB_OPEN)
        world_fail(w, "submission %u was delivered, and its client never finished it", l->sub);
    else if (rcpt_refused(s, l->sub, leaf))
        world_fail(w, "recipient %u of submission %u was delivered, and was refused at RCPT", leaf, l->sub);
    if (s->state == SUB_REFUSED && stays_refused(w, s))
        world_fail(w, "submission %u was delivered, and its client was told no", l->sub);
}

/* A message that was refused, and whose files could not be removed, comes back after a crash; its data need not. */
static bool promised(struct world *w, uint32_t leaf) {
    const struct sub *s = sub_of(w, leaf_of(w, leaf)->sub);
    return s->state == SUB_ACKED || s->crash_epoch == w->oracle->crash_epoch;
}

/* Of what queue never called stored, a failed sync may have taken the data. It reads well in the page cache, so the next
 * queue has it for a message and marks it, and believes its marks when the power has failed and the data are others. */
static bool may_change(struct world *w, uint32_t leaf) {
    const struct sub *s = sub_of(w, leaf_of(w, leaf)->sub);
    return !promised(w, leaf) && !s->stored && s->syncs_failed != w->syncs_failed;
}

static bool text_is_right(struct world *w, uint32_t leaf, struct str data) {
    uint32_t sub = leaf_of(w, leaf)->sub;
    if (text_is_of(w, data, sub)) return true;
    if (!may_change(w, leaf)) return false;
    STORY(w, "the data of submission %u went with a failed sync, and nobody had a promise", sub);
    return true;
}

static void serve_bounce(struct world *w, struct leaf *l, struct str data) {
    const struct str field =
        STR("Final-Recipient: rfc822; "); /* RFC 3464 2.3.2, as dispatch/bounce.c writes it */
    uint32_t failed;
    struct str rest = data;
    ptrdiff_t end;
    (void)l;
    for (; (end = str_chr(rest, '\n')) >= 0; rest = str_sub(rest, (size_t)end + 1, rest.n)) {
        struct str line = str_trim(str_sub(rest, 0, (size_t)end));
        if (!str_starts_nocase(line, field)) continue;
        if (!leaf_at_address(w, str_sub(line, field.n, line.n), &failed))
            world_fail(w, "a bounce for an unknown recipient");
        else if (!leaf_of(w, failed)->never && promised(w, failed))
            world_fail(w, "recipient %u was bounced, and no host had said 5xx", failed);
        else leaf_of(w, failed)->bounced = 1;
    }
    w->count.bounced++;
}

void oracle_served(struct world *w, uint32_t leaf, struct str data, bool alone) {
    struct leaf *l = leaf_of(w, leaf);
    STORY(w, "host: recipient %u of submission %u is served%s", leaf, l->sub,
          l->is_bounce ? " (a bounce)" : "");
    if (l->is_bounce) {
        serve_bounce(w, l, data);
    } else {
        check_origin(w, leaf);
        if (!text_is_right(w, leaf, data)) world_fail(w, "submission %u arrived changed", l->sub);
        w->count.served++;
    }
    if (l->served) w->count.again++;
    if (l->served && alone) return; /* what stands on record of the other delivery still holds */
    if (l->served && !l->excuse)
        world_fail(w, "recipient %u of submission %u was served twice (its first delivery stood at stage %u)",
                   leaf, l->sub, l->stage);
    l->served = 1;
    l->excuse = l->old = l->shaken = false;
    l->stage = ST_SERVED;
    open_add(w->oracle, leaf);
    if (alone) oracle_excuse(w, leaf, "the deliverer was gone when its dot arrived");
}

void oracle_mailed(struct world *w, uint32_t leaf, struct str data, bool seen) {
    struct leaf *l = leaf_of(w, leaf);
    STORY(w, "mailbox: recipient %u of submission %u is %s", leaf, l->sub, seen ? "written anew" : "stored");
    check_origin(w, leaf);
    if (!text_is_right(w, leaf, data)) world_fail(w, "submission %u was stored changed", l->sub);
    if (!seen && l->served)
        world_fail(w, "recipient %u of submission %u is in a mailbox twice", leaf, l->sub);
    if (!seen) w->count.served++;
    else w->count.again++;
    l->served = 1;
    l->stage = ST_SERVED;
}

void oracle_taken_back(struct world *w, uint32_t leaf) {
    struct leaf *l = leaf_of(w, leaf);
    STORY(w, "mailbox: recipient %u of submission %u is gone", leaf, l->sub);
    l->served = 0;
}

unsigned programs(const struct world *w) {
    return w->o.seed % 3 == 1 || w->profile->local ? PROGRAMS : P_LOCAL;
}

bool local_user(const struct world *w, struct str domain, unsigned *user) {
    uint64_t n;
    if (programs(w) <= P_LOCAL) return false;
    if (domain.n < 2 || domain.p[0] != 'd' || !str_ends_nocase(domain, STR(".example"))) return false;
    ptrdiff_t end = str_chr(domain, '.');
    if (!str_to_u64(str_sub(domain, 1, (size_t)end), DOMAINS, &n) || n >= LOCALS) return false;
    *user = (unsigned)n;
    return true;
}

void oracle_never(struct world *w, uint32_t leaf) {
    leaf_of(w, leaf)->never = true;
}

void oracle_heard(struct world *w, uint32_t leaf, bool ok, bool cut) {
    struct leaf *l = leaf_of(w, leaf);
    if (ok && !l->served) world_fail(w, "recipient %u counts as served, and no host has it", leaf);
    if (ok) {
        oracle_stage(w, leaf, ST_HEARD);
    } else if (l->served && l->stage == ST_SERVED && !l->excuse) {
        if (cut) oracle_excuse(w, leaf, "the reply was lost");
        else
            world_fail(w, "a host took recipient %u and said so, and the client session did not believe it",
                       leaf);
    }
}

/* ---- The end ------------------------------------------------------------------------------------------- */

static void judge_rcpt(struct world *w, uint32_t sub, uint32_t rcpt) {
    const struct sub *s = sub_of(w, sub);
    struct rcpt_plan p = sub_rcpt(s, sub, rcpt);
    for (uint32_t i = 0; i < p.count; i++) {
        const struct leaf *l = leaf_of(w, s->leaf + p.first + i);
        if (l->served || l->bounced) continue;
        world_fail(w,
                   "submission %u got 250 and its recipient %u (leaf %u) has neither a copy nor a bounce%s",
                   sub, rcpt, s->leaf + p.first + i, l->never ? " (a host said 5xx)" : "");
    }
}

void oracle_verdict(struct world *w) {
    struct oracle *o = w->oracle;
    for (uint32_t i = 0; i < o->sub_n && !w->failed; i++) {
        if (o->subs[i].state != SUB_ACKED) continue;
        for (uint32_t r = 0; r < o->subs[i].rcpts; r++)
            if (o->subs[i].accepted & 1u << r) judge_rcpt(w, i, r);
    }
}
