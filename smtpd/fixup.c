#include "smtpd/fixup.h"

#include "common/addrlist.h"
#include "common/arena.h"

enum { ADDRESSES_MAX = 16, FROMS_MAX = 16 };

bool fixup_begin(struct fixup *f) {
    f->place = FIXUP_LINE;
    f->field = arena_alloc_bytes(f->arena, FIXUP_FIELD_MAX);
    return f->field != NULL;
}

static void pass(struct fixup *f, struct str run) {
    if (run.n) f->sink(f->ctx, run);
}

static bool is_wsp(char c) {
    return c == ' ' || c == '\t';
}

static struct str held(const struct fixup *f) {
    return (struct str){f->field, f->n};
}

/* ---- From ---- */

struct from {
    struct fixup *f;
    struct str value;
    size_t passed; /* of value */
    struct addr v[ADDRESSES_MAX];
    size_t n;
    bool ok;
};

static bool on_address(void *ctx, const struct addrlist_item *item) {
    struct from *m = ctx;
    char mem[ADDRLIST_SPEC_MAX + ADDR_DOMAIN_MAX + 1];
    struct buf spec = BUF(mem);
    const char *why;
    buf_add(&spec, item->spec);
    if (!item->has_domain) {
        buf_addc(&spec, '@');
        buf_add(&spec, m->f->origin);
        pass(m->f, str_sub(m->value, m->passed, item->local_end));
        pass(m->f, STR("@"));
        pass(m->f, m->f->origin);
        m->passed = item->local_end;
    }
    if (m->n == ADDRESSES_MAX || spec.failed ||
        !addr_parse(buf_str(&spec), ADDR_UTF8, m->f->arena, &m->v[m->n], &why))
        m->ok = false;
    else m->n++;
    return true;
}

static bool only_check(void *ctx, const struct addrlist_item *item) {
    (void)ctx, (void)item;
    return true;
}

/* A list that cannot be understood is passed on as it is. */
static void flush_from(struct fixup *f) {
    struct addrlist_error err = {0};
    size_t colon = (size_t)str_chr(held(f), ':') + 1;
    struct from m = {.f = f, .value = str_sub(held(f), colon, f->n), .ok = true};
    pass(f, str_sub(held(f), 0, colon));
    if (f->froms++ >= FROMS_MAX || !addrlist_parse(m.value, only_check, NULL, &err)) m.ok = false;
    else m.ok = addrlist_parse(m.value, on_address, &m, &err) && m.ok;
    pass(f, str_sub(m.value, m.passed, m.value.n));
    f->n = 0;
    f->from(f->ctx, m.v, m.n, m.ok);
}

/* ---- Field by field ---- */

static void flush(struct fixup *f) {
    if (f->field_place == FIXUP_HOLD && f->n) flush_from(f);
    f->field_place = FIXUP_PASS;
}

static void hold(struct fixup *f, char c) {
    if (f->n < FIXUP_FIELD_MAX) {
        f->field[f->n++] = c;
        return;
    }
    f->from(f->ctx, NULL, 0, false);
    pass(f, held(f));
    pass(f, (struct str){&c, 1});
    f->n = 0;
    f->place = f->field_place = FIXUP_PASS;
}

static void field_begins(struct fixup *f) {
    struct str name = str_trim(held(f));
    f->started = true;
    f->place = FIXUP_PASS;
    if (str_eq_nocase(name, STR("Bcc")) || str_eq_nocase(name, STR("Resent-Bcc"))) f->place = FIXUP_DROP;
    else if (str_eq_nocase(name, STR("From"))) f->place = FIXUP_HOLD;
    f->field_place = f->place;
    if (f->place == FIXUP_HOLD) {
        hold(f, ':');
        return;
    }
    if (f->place == FIXUP_PASS) {
        pass(f, held(f));
        pass(f, STR(":"));
    }
    f->n = 0;
}

/* The line is no field: the header is over, or it never was one. "From " of an mbox may stand at the very
 * start. */
static void no_field(struct fixup *f, char c) {
    bool mbox = !f->started && f->place == FIXUP_NAME_END && str_eq(str_trim(held(f)), STR("From"));
    pass(f, held(f));
    pass(f, (struct str){&c, 1});
    f->n = 0;
    f->place = mbox ? FIXUP_PASS : FIXUP_OVER;
}

static void in_name(struct fixup *f, char c) {
    bool blank = is_wsp(c);
    if (c == ':' && f->n) {
        field_begins(f);
        return;
    }
    bool fits = blank ? f->n > 0 : f->place == FIXUP_NAME && c > 32 && c < 127 && c != ':';
    if (!fits || f->n == FIXUP_FIELD_MAX) {
        no_field(f, c);
        return;
    }
    f->field[f->n++] = c;
    if (blank) f->place = FIXUP_NAME_END;
}

static void at_line(struct fixup *f, char c) {
    if (is_wsp(c) && f->started) {
        f->place = f->field_place;
        if (f->place == FIXUP_HOLD) hold(f, c);
        else if (f->place == FIXUP_PASS) pass(f, (struct str){&c, 1});
        return;
    }
    flush(f);
    if (c == '\r') {
        pass(f, (struct str){&c, 1});
        f->place = FIXUP_OVER;
        return;
    }
    f->place = FIXUP_NAME;
    in_name(f, c);
}

/* Up to and with the end of the line. */
static size_t rest_of_line(struct fixup *f, struct str run, size_t i) {
    ptrdiff_t lf = str_chr(str_sub(run, i, run.n), '\n');
    size_t end = lf < 0 ? run.n : i + (size_t)lf + 1;
    if (f->place == FIXUP_PASS) pass(f, str_sub(run, i, end));
    for (size_t k = i; k < end && f->place == FIXUP_HOLD; k++) {
        hold(f, run.p[k]);
        if (f->place == FIXUP_PASS) pass(f, str_sub(run, k + 1, end));
    }
    if (lf >= 0) f->place = FIXUP_LINE;
    return end;
}

void fixup_take(struct fixup *f, struct str run) {
    size_t i = 0;
    while (i < run.n && f->place != FIXUP_OVER) {
        if (f->place == FIXUP_LINE) at_line(f, run.p[i++]);
        else if (f->place == FIXUP_NAME || f->place == FIXUP_NAME_END) in_name(f, run.p[i++]);
        else i = rest_of_line(f, run, i);
    }
    pass(f, str_sub(run, i, run.n));
}

void fixup_end(struct fixup *f) {
    if (f->place == FIXUP_NAME || f->place == FIXUP_NAME_END) {
        pass(f, held(f));
        f->n = 0;
    } else {
        flush(f);
    }
    f->place = FIXUP_OVER;
}
