#include "auth/dovecot.h"

#include "common/arena.h"

#include <stdlib.h>
#include <string.h>

void dovecot_init(struct dovecot *d, const struct dovecot_ops *ops) {
    *d = (struct dovecot){.ops = *ops, .line = xmalloc(DOVECOT_LINE_MAX)};
    d->mechs = BUF(d->mech_mem);
}

void dovecot_free(struct dovecot *d) {
    if (d->line) explicit_bzero(d->line, DOVECOT_LINE_MAX);
    free(d->line);
    d->line = NULL;
}

/* ---- What we say ---- */

static bool is_base64(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool fits = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '+' ||
                    c == '/' || c == '=';
        if (!fits) return false;
    }
    return true;
}

static bool is_mech(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_')) return false;
    }
    return s.n > 0 && s.n <= 20; /* RFC 4422 3.1 */
}

void dovecot_hello(struct buf *out, uint32_t pid) {
    buf_addf(out, "VERSION\t1\t1\nCPID\t%u\n", pid);
}

bool dovecot_auth(struct buf *out, uint32_t id, struct str mech, bool secured, const struct ip *client,
                  bool given, struct str response) {
    if (!is_mech(mech) || !is_base64(response)) return false;
    buf_addf(out, "AUTH\t%u\t", id);
    buf_add(out, mech);
    buf_adds(out, "\tservice=smtp");
    if (secured) buf_adds(out, "\tsecured");
    if (client->family) {
        buf_adds(out, "\trip=");
        ip_format(out, client);
    }
    if (given) {
        buf_adds(out, "\tresp="); /* the last one, always */
        buf_add(out, response);
    }
    buf_addc(out, '\n');
    return !out->failed;
}

bool dovecot_cont(struct buf *out, uint32_t id, struct str response) {
    if (!is_base64(response)) return false;
    buf_addf(out, "CONT\t%u\t", id);
    buf_add(out, response);
    buf_addc(out, '\n');
    return !out->failed;
}

void dovecot_cancel(struct buf *out, uint32_t id) {
    buf_addf(out, "CANCEL\t%u\n", id);
}

/* ---- What it says ---- */

static bool field(struct str *rest, struct str *out) {
    if (!rest->p) return false;
    ptrdiff_t tab = str_chr(*rest, '\t');
    *out = tab < 0 ? *rest : str_sub(*rest, 0, (size_t)tab);
    *rest = tab < 0 ? STR_NONE : str_sub(*rest, (size_t)tab + 1, rest->n);
    return true;
}

static bool id_field(struct str *rest, uint32_t *id) {
    struct str text;
    uint64_t n;
    if (!field(rest, &text) || !str_to_u64(text, UINT32_MAX, &n)) return false;
    *id = (uint32_t)n;
    return true;
}

/* "name=value" among the parameters; for a mere word the value is the word. */
static bool param(struct str rest, struct str name, struct str *value) {
    struct str one;
    while (field(&rest, &one)) {
        if (one.n > name.n && memcmp(one.p, name.p, name.n) == 0 && one.p[name.n] == '=') {
            *value = str_sub(one, name.n + 1, one.n);
            return true;
        }
        if (str_eq(one, name)) {
            *value = one;
            return true;
        }
    }
    return false;
}

static bool on_version(struct dovecot *d, struct str rest, const char **why) {
    struct str major = STR_NONE;
    *why = "it speaks another version of the protocol; 1.x is expected";
    if (!field(&rest, &major) || !str_eq(major, STR("1"))) return false;
    d->version = true;
    return true;
}

static bool on_mech(struct dovecot *d, struct str rest, const char **why) {
    struct str name = STR_NONE;
    (void)why;
    /* Those that give a session key, or an identity without a word, are not for SMTP. */
    static const struct str unfit[] = {STR("ANONYMOUS"), STR("EXTERNAL"), STR("GSSAPI"), STR("GSS-SPNEGO"),
                                       STR("NTLM")};
    if (!field(&rest, &name) || !is_mech(name) || d->ready) return true;
    for (size_t i = 0; i < sizeof unfit / sizeof unfit[0]; i++)
        if (str_eq(name, unfit[i])) return true;
    if (name.n > 5 && str_ends_nocase(name, STR("-PLUS")))
        return true; /* it has no way to be told the binding */
    struct buf before = d->mechs;
    if (d->mechs.n) buf_addc(&d->mechs, ' ');
    buf_add(&d->mechs, name);
    if (d->mechs.failed) d->mechs = before;
    return true;
}

static bool on_done(struct dovecot *d, struct str rest, const char **why) {
    (void)rest;
    *why = "it says DONE before VERSION";
    if (!d->version) return false;
    d->ready = true;
    d->ops.event(d->ops.ctx, DOVECOT_READY, 0, buf_str(&d->mechs), STR_NONE);
    return true;
}

static bool on_cont(struct dovecot *d, struct str rest, const char **why) {
    uint32_t id;
    struct str text = STR_NONE;
    *why = "a CONT line that cannot be understood";
    if (!id_field(&rest, &id)) return false;
    field(&rest, &text);
    if (!is_base64(text)) return false;
    d->ops.event(d->ops.ctx, DOVECOT_CHALLENGE, id, text, STR_NONE);
    return true;
}

static bool on_ok(struct dovecot *d, struct str rest, const char **why) {
    uint32_t id;
    struct str user;
    *why = "an OK line that cannot be understood";
    if (!id_field(&rest, &id)) return false;
    if (param(rest, STR("user"), &user) && login_is_sound(user))
        d->ops.event(d->ops.ctx, DOVECOT_GOOD, id, user, STR_NONE);
    else d->ops.event(d->ops.ctx, DOVECOT_LATER, id, STR_NONE, STR("Dovecot does not say which login it is"));
    return true;
}

static bool on_fail(struct dovecot *d, struct str rest, const char **why) {
    uint32_t id;
    struct str user = STR_NONE, reason = STR_NONE, temp;
    *why = "a FAIL line that cannot be understood";
    if (!id_field(&rest, &id)) return false;
    if (!param(rest, STR("user"), &user) || !login_is_sound(user)) user = STR_NONE;
    param(rest, STR("reason"), &reason);
    enum dovecot_event what = param(rest, STR("temp"), &temp) ? DOVECOT_LATER : DOVECOT_BAD;
    d->ops.event(d->ops.ctx, what, id, user, reason);
    return true;
}

static const struct {
    struct str word;
    bool (*fn)(struct dovecot *d, struct str rest, const char **why);
} lines[] = {
    {STR("VERSION"), on_version}, {STR("MECH"), on_mech}, {STR("DONE"), on_done},
    {STR("CONT"), on_cont},       {STR("OK"), on_ok},     {STR("FAIL"), on_fail},
};

static bool take_line(struct dovecot *d, struct str line, const char **why) {
    struct str word = STR_NONE, rest = line;
    field(&rest, &word);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (str_eq(word, lines[i].word)) return lines[i].fn(d, rest, why);
    return true; /* SPID, CUID, COOKIE and what later versions say */
}

bool dovecot_input(struct dovecot *d, struct str bytes, const char **why) {
    for (size_t i = 0; i < bytes.n; i++) {
        if (bytes.p[i] != '\n') {
            *why = "a line that is too long";
            if (d->line_n == DOVECOT_LINE_MAX) return false;
            d->line[d->line_n++] = bytes.p[i];
            continue;
        }
        bool ok = take_line(d, (struct str){d->line, d->line_n}, why);
        explicit_bzero(d->line, d->line_n);
        d->line_n = 0;
        if (!ok) return false;
    }
    return true;
}
