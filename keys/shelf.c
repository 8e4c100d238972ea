#include "keys/shelf.h"

#include "common/arena.h"
#include "common/log.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static void copy(char *to, size_t size, struct str s) {
    struct buf b = buf_on(to, size - 1);
    buf_add(&b, str_sub(s, 0, size - 1));
    to[b.n] = '\0';
}

static void forget_part(struct part *p) {
    if (p->text) OPENSSL_cleanse(p->text, p->n);
    free(p->text);
    *p = (struct part){.n = 0};
}

static void set_part(struct part *p, struct str name, struct str text, struct str why) {
    forget_part(p);
    copy(p->name, sizeof p->name, name);
    copy(p->why, sizeof p->why, why);
    p->text = xmalloc(text.n + 1);
    if (text.n) memcpy(p->text, text.p, text.n);
    p->n = text.n;
}

void shelf_file(struct shelf *s, uint16_t pair, enum key_part part, struct str name, struct str text,
                struct str why) {
    if (part == KEY_AUTHORITIES) {
        set_part(&s->authorities, name, text, why);
        s->has_authorities = true;
        return;
    }
    if (pair >= SHELF_MAX) return;
    if (!s->slots) s->slots = xmalloc(SHELF_MAX * sizeof *s->slots);
    struct slot *slot = &s->slots[pair];
    set_part(part == KEY_PRIVATE ? &slot->key : &slot->chain, name, text, why);
    if (part == KEY_PRIVATE) slot->has_key = true;
    else slot->has_chain = true;
    if (part == KEY_SPARE) slot->spare = true;
}

static struct pair *take_old(struct shelf *s, const char *name) {
    for (size_t i = 0; i < s->before_n; i++) {
        struct pair *p = s->before[i].pair;
        if (!p || strcmp(s->before[i].name, name) != 0) continue;
        s->before[i].pair = NULL;
        return p;
    }
    return NULL;
}

static void refuse(const struct part *part, const char *why, const char *instead) {
    LOG(certificate_refused, .file = str_of(part->name), .why = str_of(why), .instead = str_of(instead));
}

static struct pair *make_pair(const struct slot *slot, const struct part **at, struct buf *why) {
    const struct part *key = slot->has_key ? &slot->key : &slot->chain;
    *at = *slot->chain.why || !*key->why ? &slot->chain : key;
    if (*(*at)->why) {
        buf_adds(why, (*at)->why);
        return NULL;
    }
    return pair_parse((struct str){slot->chain.text, slot->chain.n}, (struct str){key->text, key->n}, why);
}

static void put(struct shelf *s, const struct slot *slot, struct pair *p) {
    struct shelved *place = &s->now[s->now_n++];
    place->pair = p;
    copy(place->name, sizeof place->name, str_of(slot->chain.name));
}

static void tell(const struct slot *slot, const struct pair *p) {
    LOG(certificate, .file = str_of(slot->chain.name), .type = str_of(p->what), .names = str_of(p->names),
        .until = str_of(p->until));
    if (p->expired)
        LOG_TROUBLE("%s: this certificate has expired (%s): clients that verify will refuse it; renew it",
                    slot->chain.name, p->until);
}

static void change_slot(struct shelf *s, const struct slot *slot) {
    char mem[600];
    struct buf why = BUF(mem);
    const struct part *at;
    struct pair *p = make_pair(slot, &at, &why), *old = take_old(s, slot->chain.name);
    if (p) {
        if (!old || old->id != p->id || !str_eq(old->chain[0], p->chain[0])) tell(slot, p);
        /* The old one stays for handshakes that began with it. */
        if (old && s->before_n < SHELF_MAX) s->before[s->before_n++].pair = old;
        else pair_free(old);
        put(s, slot, p);
        return;
    }
    refuse(at, buf_cstr(&why), old ? "the pair of before stays in use" : "it is not used");
    if (old) put(s, slot, old);
}

static void change_authorities(struct shelf *s) {
    struct str fresh[SHELF_CAS_MAX];
    char mem[600];
    struct buf why = BUF(mem);
    size_t n = 0;
    if (s->has_authorities && *s->authorities.why) buf_adds(&why, s->authorities.why);
    else if (s->has_authorities)
        n = pair_certificates((struct str){s->authorities.text, s->authorities.n}, fresh, SHELF_CAS_MAX,
                              &why);
    if (why.n) {
        refuse(&s->authorities, buf_cstr(&why),
               s->cas_n ? "those of before stay in use" : "no authority is believed");
    } else {
        for (size_t i = 0; i < s->cas_n; i++) free((char *)(uintptr_t)s->cas[i].p);
        memcpy(s->cas, fresh, n * sizeof fresh[0]);
        s->cas_n = n;
    }
    forget_part(&s->authorities);
    s->has_authorities = false;
}

static void forget_before(struct shelf *s) {
    for (size_t i = 0; i < s->before_n; i++) pair_free(s->before[i].pair);
    s->before_n = 0;
}

void shelf_change(struct shelf *s) {
    forget_before(s);
    memcpy(s->before, s->now, s->now_n * sizeof s->now[0]);
    s->before_n = s->now_n;
    s->now_n = 0;
    for (size_t i = 0; s->slots && i < SHELF_MAX; i++) {
        struct slot *slot = &s->slots[i];
        /* The self-signed one only stands in when there is no other. */
        if (slot->has_chain && !(slot->spare && s->now_n)) change_slot(s, slot);
        forget_part(&slot->chain);
        forget_part(&slot->key);
    }
    free(s->slots);
    s->slots = NULL;
    change_authorities(s);
}

static const struct pair *find_in(const struct shelved *v, size_t n, uint64_t id) {
    for (size_t i = 0; i < n; i++)
        if (v[i].pair && v[i].pair->id == id) return v[i].pair;
    return NULL;
}

const struct pair *shelf_find(const struct shelf *s, uint64_t id) {
    const struct pair *p = find_in(s->now, s->now_n, id);
    return p ? p : find_in(s->before, s->before_n, id);
}

void shelf_free(struct shelf *s) {
    forget_before(s);
    for (size_t i = 0; i < s->now_n; i++) pair_free(s->now[i].pair);
    for (size_t i = 0; i < s->cas_n; i++) free((char *)(uintptr_t)s->cas[i].p);
    for (size_t i = 0; s->slots && i < SHELF_MAX; i++)
        forget_part(&s->slots[i].chain), forget_part(&s->slots[i].key);
    free(s->slots);
    forget_part(&s->authorities);
    *s = (struct shelf){.now_n = 0};
}
