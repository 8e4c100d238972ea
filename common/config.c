#include "common/config.h"

#include "common/addr.h"
#include "common/arena.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CONFIG_MEMORY = 16 * 1024 * 1024,
    VALUE_MAX = 32768, /* as in wire.def: conf */
    PATH_MAX_OCTETS = 1000,
    SHOWN_MAX = 60, /* octets of a wrong value that an error repeats */
};

enum {
    SETTING_COUNT = 0
#define GROUP(title)
#define SETTING(...) +1
#include "common/config.def"
#undef SETTING
#undef GROUP
};

/* The public struct first, then what belongs to each setting beside its value. */
struct holder {
    struct config c;
    const char *text[SETTING_COUNT]; /* NULL: never set */
    unsigned line[SETTING_COUNT];    /* 0: not from a file */
};

const struct setting config_settings[] = {
#define GROUP(title)
#define SETTING(field, name, type, def, min, max, roles, when, sentence) \
    {name, #type, def, sentence, min, max, roles, CONFIG_##when},
#include "common/config.def"
#undef SETTING
#undef GROUP
};
const size_t config_setting_count = SETTING_COUNT;

static struct holder *holder_of(const struct config *c) {
    return (struct holder *)(uintptr_t)c; /* c is its first member */
}

static ptrdiff_t find(struct str name) {
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (str_eq(name, str_of(config_settings[i].name))) return (ptrdiff_t)i;
    return -1;
}

/* ---- Numbers with units ---- */

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit size_units[] = {{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"", 1}, {NULL, 0}};
/* The order is that of printing, and "ms" stands before "m" and "s", which it ends or begins with. */
static const struct unit time_units[] = {{"d", 86400000}, {"h", 3600000}, {"ms", 1}, {"m", 60000},
                                         {"s", 1000},     {"", 1000},     {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static bool parse_units(struct str s, const struct unit *u, uint64_t max, uint64_t *out) {
    for (; u->suffix; u++) {
        size_t n = strlen(u->suffix);
        uint64_t v;
        if (n > s.n || !str_eq_nocase(str_sub(s, s.n - n, s.n), str_of(u->suffix))) continue;
        if (!str_to_u64(str_sub(s, 0, s.n - n), max / u->factor, &v)) return false;
        *out = v * u->factor;
        return true;
    }
    return false;
}

static void print_units(struct buf *b, const struct unit *u, uint64_t v) {
    static const struct unit ms = {"ms", 1};
    const struct unit *best = NULL;
    for (const struct unit *k = u; k->suffix; k++)
        if (v % k->factor == 0 && v >= k->factor && (!best || k->factor > best->factor)) best = k;
    if (!best) best = u == time_units && v ? &ms : u == time_units ? &u[4] : &no_units[0];
    buf_addu(b, v / best->factor);
    buf_adds(b, best->suffix);
}

/* ---- One parser for each type: sets *field, or says why not ---- */

struct task {
    struct arena *arena;
    const struct setting *setting;
    struct buf why; /* an error: what would be right */
};

static bool bounded(struct task *t, struct str s, const struct unit *u, const char *what, uint64_t *field) {
    uint64_t v;
    if (parse_units(s, u, t->setting->max, &v) && v >= t->setting->min) {
        *field = v;
        return true;
    }
    buf_addf(&t->why, "must be %s from ", what);
    print_units(&t->why, u, t->setting->min);
    buf_adds(&t->why, " to ");
    print_units(&t->why, u, t->setting->max);
    return false;
}

static bool set_number(struct task *t, struct str s, uint64_t *field) {
    return bounded(t, s, no_units, "a number", field);
}

static bool set_size(struct task *t, struct str s, uint64_t *field) {
    return bounded(t, s, size_units, "a size (octets, or with K, M or G)", field);
}

static bool set_duration(struct task *t, struct str s, uint64_t *field) {
    return bounded(t, s, time_units, "a time (with ms, s, m, h or d)", field);
}

static bool set_flag(struct task *t, struct str s, bool *field) {
    bool yes = str_eq_nocase(s, STR("yes"));
    if (!yes && !str_eq_nocase(s, STR("no"))) {
        buf_adds(&t->why, "must be yes or no");
        return false;
    }
    *field = yes;
    return true;
}

static bool too_large(struct task *t) {
    buf_adds(&t->why, "is too large");
    return false;
}

static bool set_string(struct task *t, struct str s, const char **field) {
    const char *copy = str_cstr(t->arena, s);
    if (!copy) return too_large(t);
    *field = copy;
    return true;
}

static bool clean_path(struct str s) {
    struct str rest = s, part;
    if (!s.n || s.p[0] != '/') return false;
    for (; rest.n; rest = str_sub(rest, part.n + 1, rest.n)) {
        ptrdiff_t slash = str_chr(rest, '/');
        part = str_sub(rest, 0, slash < 0 ? rest.n : (size_t)slash);
        if (str_eq(part, STR("..")) || str_eq(part, STR("."))) return false;
    }
    return true;
}

static bool set_path(struct task *t, struct str s, const char **field) {
    if (s.n && !clean_path(s)) {
        buf_adds(&t->why, "must be an absolute path (it begins with /) without . and .. in it");
        return false;
    }
    if (s.n > PATH_MAX_OCTETS) return too_large(t);
    while (s.n > 1 && s.p[s.n - 1] == '/') s.n--;
    return set_string(t, s, field);
}

static size_t count_words(struct str s) {
    struct str w;
    size_t n = 0;
    while (str_word(&s, 0, &w)) n++;
    return n;
}

static bool set_words(struct task *t, struct str s, struct words *field) {
    struct words list = {0, arena_alloc(t->arena, (count_words(s) + 1) * sizeof *list.v)};
    struct str rest = str_dup(t->arena, s), w;
    if (!list.v || (s.n && !rest.n)) return too_large(t);
    while (str_word(&rest, 0, &w)) list.v[list.n++] = w;
    *field = list;
    return true;
}

static void blame(struct task *t, struct str word, const char *why) {
    buf_addc(&t->why, '"');
    buf_add_escaped(&t->why, str_sub(word, 0, SHOWN_MAX));
    buf_addf(&t->why, "\": %s", why);
}

static bool set_networks(struct task *t, struct str s, struct networks *field) {
    struct networks list = {0, arena_alloc(t->arena, (count_words(s) + 1) * sizeof *list.v)};
    struct str rest = str_eq_nocase(s, STR("none")) ? STR_NONE : s, w;
    if (!list.v) return too_large(t);
    while (str_word(&rest, 0, &w)) {
        const char *why = "must be a network like 192.0.2.0/24 or 2001:db8::/32";
        if (!network_parse(w, &list.v[list.n++], &why)) {
            blame(t, w, why);
            return false;
        }
    }
    *field = list;
    return true;
}

static bool set_endpoints(struct task *t, struct str s, struct endpoints *field) {
    struct endpoints list = {0, arena_alloc(t->arena, (count_words(s) + 1) * sizeof *list.v)};
    struct str rest = str_eq_nocase(s, STR("none")) ? STR_NONE : s, w;
    if (!list.v) return too_large(t);
    while (str_word(&rest, 0, &w)) {
        struct endpoint *e = &list.v[list.n];
        const char *why = "must be ADDRESS:PORT like 127.0.0.1:25 or [::1]:25";
        if (!hostport_parse(w, &e->ip, &e->port, &why)) {
            blame(t, w, why);
            return false;
        }
        for (size_t i = 0; i < list.n; i++)
            if (ip_eq(&list.v[i].ip, &e->ip) && list.v[i].port == e->port) {
                blame(t, w, "is there twice: take one out");
                return false;
            }
        list.n++;
    }
    *field = list;
    return true;
}

/* The one type of which a file may hold several: each is appended. */
static bool set_rules(struct task *t, struct str s, struct rules *field) {
    return !s.n || rules_add(field, s, t->arena, &t->why);
}

static bool is_repeated(size_t i) {
    return strcmp(config_settings[i].type, "rules") == 0;
}

static bool set_pair(struct task *t, struct str s, struct number_pair *field) {
    struct number_pair two = {0};
    struct str rest = s, a = STR_NONE, b = STR_NONE, more;
    if (!str_word(&rest, 0, &a)) a = s;
    bool both = str_word(&rest, 0, &b);
    if (str_word(&rest, 0, &more)) {
        buf_adds(&t->why, "must be one or two numbers");
        return false;
    }
    if (!set_number(t, a, &two.client) || (both && !set_number(t, b, &two.network))) return false;
    *field = two;
    return true;
}

/* COUNT/TIME; 0 alone is no limit. */
static bool parse_rate(const struct setting *setting, struct str s, struct rate *out) {
    ptrdiff_t slash = str_chr(s, '/');
    uint64_t n, ms;
    *out = (struct rate){0};
    if (str_eq(s, STR("0"))) return true;
    if (slash < 0 || !str_to_u64(str_sub(s, 0, (size_t)slash), setting->max, &n) || n < 1 ||
        !parse_units(str_sub(s, (size_t)slash + 1, s.n), time_units, 86400000, &ms) || ms < 1000)
        return false;
    *out = (struct rate){(uint32_t)n, ms};
    return true;
}

static bool set_rates(struct task *t, struct str s, struct rates *field) {
    struct rates two = {{0}, {0}};
    struct str rest = s, w = STR_NONE, more;
    bool ok = str_word(&rest, 0, &w) && parse_rate(t->setting, w, &two.client);
    if (ok && str_word(&rest, 0, &w)) ok = parse_rate(t->setting, w, &two.network);
    if (!ok || str_word(&rest, 0, &more)) {
        buf_addf(&t->why, "must be one or two rates like 100/1m (counts to %llu, times from 1s to 1d), or 0",
                 (unsigned long long)t->setting->max);
        return false;
    }
    *field = two;
    return true;
}

#define GROUP(title)
#define SETTING(field, name, type, def, min, max, roles, when, sentence) \
    static bool set_field_##field(struct task *t, struct config *c, struct str s) { \
        return set_##type(t, s, &c->field); \
    }
#include "common/config.def"
#undef SETTING
#undef GROUP

static bool (*const setters[])(struct task *t, struct config *c, struct str s) = {
#define GROUP(title)
#define SETTING(field, ...) set_field_##field,
#include "common/config.def"
#undef SETTING
#undef GROUP
};

/* ---- Life ---- */

struct config *config_new(void) {
    struct arena *arena = arena_new(CONFIG_MEMORY);
    struct holder *h = xmalloc(sizeof *h);
    h->c.arena = arena;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        char mem[256];
        struct task t = {arena, &config_settings[i], BUF(mem)};
        if (!setters[i](&t, &h->c, str_of(config_settings[i].def))) {
            fprintf(stderr, "postern: config.def: default of %s: %s\n", config_settings[i].name,
                    buf_cstr(&t.why));
            abort(); /* a bug in config.def */
        }
    }
    return &h->c;
}

void config_free(struct config *c) {
    if (!c) return;
    arena_free(c->arena);
    free(holder_of(c));
}

/* ---- Setting one by name ---- */

static const char *nearest(struct str name) {
    const char *words[SETTING_COUNT + 1];
    for (size_t i = 0; i < SETTING_COUNT; i++) words[i] = config_settings[i].name;
    words[SETTING_COUNT] = NULL;
    return str_nearest(name, words);
}

static void explain_unknown(struct str name, struct buf *why) {
    const char *near = nearest(name);
    if (near) buf_addf(why, "no such setting; did you mean \"%s\"?", near);
    else buf_adds(why, "no such setting; postern.conf(5) lists them");
}

static bool has_control(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            if (s.p[i] != '\t') return true;
    return false;
}

static bool set_at(struct holder *h, size_t i, struct str value, struct buf *why) {
    struct task t = {h->c.arena, &config_settings[i], *why};
    bool ok = false;
    const char *copy = NULL;
    if (value.n > VALUE_MAX) buf_adds(&t.why, "is too long");
    else if (has_control(value)) buf_adds(&t.why, "has a control character in it");
    else if (!value.n && is_repeated(i)) buf_adds(&t.why, "is empty: write a rule, or take the line out");
    else if (!value.n && *t.setting->def) buf_addf(&t.why, "needs a value, like %s", t.setting->def);
    else if (!(copy = str_cstr(h->c.arena, value))) too_large(&t);
    else ok = setters[i](&t, &h->c, value);
    if (ok) h->text[i] = copy;
    *why = t.why;
    return ok;
}

bool config_set(struct config *c, struct str name, struct str value, const char **why) {
    char mem[400];
    struct buf b = BUF(mem);
    ptrdiff_t i = find(name);
    if (i < 0) explain_unknown(name, &b);
    else if (set_at(holder_of(c), (size_t)i, value, &b)) return true;
    *why = str_cstr(c->arena, buf_str(&b));
    if (!*why) *why = "the settings are too large";
    return false;
}

const char *config_text(const struct config *c, const char *name) {
    ptrdiff_t i = find(str_of(name));
    if (i < 0) return NULL;
    const char *text = holder_of(c)->text[i];
    return text ? text : config_settings[i].def;
}

unsigned config_line(const struct config *c, const char *name) {
    ptrdiff_t i = find(str_of(name));
    return i < 0 ? 0 : holder_of(c)->line[i];
}

void config_set_line(struct config *c, const char *name, unsigned line) {
    ptrdiff_t i = find(str_of(name));
    if (i < 0) return;
    holder_of(c)->line[i] = line;
    if (is_repeated((size_t)i) && c->rule.n) c->rule.v[c->rule.n - 1]->line = line;
}

/* ---- What needs more than the type of one setting. False: why says what is wrong and what to do. ---- */

static bool is_domain(const struct config *c, struct str s, struct buf *why) {
    struct str out;
    const char *text = "is not a domain";
    if (domain_parse(s, 0, c->arena, &out, &text) && !domain_is_literal(out)) return true;
    if (!s.n || s.p[0] != '[') buf_addf(why, "%s", text);
    else buf_adds(why, "must be a name, not an address");
    return false;
}

static bool check_hostname(const struct config *c, struct buf *why) {
    return !*c->hostname || is_domain(c, str_of(c->hostname), why);
}

static bool check_origin(const struct config *c, struct buf *why) {
    return !*c->origin || is_domain(c, str_of(c->origin), why);
}

/* In lists: local-domains may hold address literals, relay-domains ".example.org" for the subdomains. */
static bool fits_list(const struct config *c, struct str s, bool relay, struct buf *why) {
    struct str out;
    const char *text;
    if (relay && s.n > 1 && s.p[0] == '.') return is_domain(c, str_sub(s, 1, s.n), why);
    if (!relay && domain_is_literal(s) && domain_parse(s, 0, c->arena, &out, &text)) return true;
    return is_domain(c, s, why);
}

static bool check_domains(const struct config *c, const struct words *list, bool relay, struct buf *why) {
    for (size_t i = 0; i < list->n; i++) {
        struct buf at = *why;
        buf_addc(why, '"');
        buf_add_escaped(why, str_sub(list->v[i], 0, SHOWN_MAX));
        buf_adds(why, "\" ");
        if (!fits_list(c, list->v[i], relay, why)) return false;
        *why = at;
    }
    return true;
}

static bool check_local_domains(const struct config *c, struct buf *why) {
    return check_domains(c, &c->local_domains, false, why);
}

static bool check_relay_domains(const struct config *c, struct buf *why) {
    if (!check_domains(c, &c->relay_domains, true, why)) return false;
    for (size_t i = 0; i < c->relay_domains.n; i++)
        for (size_t j = 0; j < c->local_domains.n; j++)
            if (str_eq_nocase(c->relay_domains.v[i], c->local_domains.v[j])) {
                buf_addf(why, "\"%.*s\" is in local-domains too: take it out of one",
                         STR_ARGS(c->relay_domains.v[i]));
                return false;
            }
    return true;
}

static bool check_etrn_domains(const struct config *c, struct buf *why) {
    return check_domains(c, &c->etrn_domains, true, why);
}

static bool needs_path(const char *path, struct buf *why) {
    if (*path) return true;
    buf_adds(why, "needs an absolute path");
    return false;
}

/* Two programs of different rights must not share a directory, nor have one inside the other's. */
static bool apart(const char *a, const char *b, const char *name, struct buf *why) {
    size_t na = strlen(a), nb = strlen(b), n = na < nb ? na : nb;
    if (memcmp(a, b, n) != 0) return true;
    if (na != nb && (na > nb ? a : b)[n] != '/' && n > 1) return true;
    buf_addf(why, "is the same as, inside of, or around %s (%s): each needs a directory of its own", name, b);
    return false;
}

static bool check_spool(const struct config *c, struct buf *why) {
    return needs_path(c->spool_directory, why);
}

static bool check_drop(const struct config *c, struct buf *why) {
    return needs_path(c->drop_directory, why) &&
           apart(c->drop_directory, c->spool_directory, "spool-directory", why);
}

static bool check_state(const struct config *c, struct buf *why) {
    return needs_path(c->state_directory, why) &&
           apart(c->state_directory, c->spool_directory, "spool-directory", why) &&
           apart(c->state_directory, c->drop_directory, "drop-directory", why);
}

static bool check_run(const struct config *c, struct buf *why) {
    enum { SUN_PATH_MAX = 107, LONGEST_NAME = sizeof "/control-dispatch" - 1 };
    if (!needs_path(c->run_directory, why)) return false;
    if (!apart(c->run_directory, c->spool_directory, "spool-directory", why) ||
        !apart(c->run_directory, c->drop_directory, "drop-directory", why) ||
        !apart(c->run_directory, c->state_directory, "state-directory", why))
        return false;
    if (strlen(c->run_directory) + LONGEST_NAME <= SUN_PATH_MAX) return true;
    buf_addf(why, "is too long for the names of sockets: at most %d octets", SUN_PATH_MAX - LONGEST_NAME);
    return false;
}

static bool check_certificates(const struct config *c, struct buf *why) {
    enum { PAIRS_MAX = 256 };
    for (size_t i = 0; i < c->certificates.n; i++) {
        struct str word = c->certificates.v[i];
        ptrdiff_t comma = str_chr(word, ',');
        struct str chain = comma < 0 ? word : str_sub(word, 0, (size_t)comma);
        if (word.n <= PATH_MAX_OCTETS && clean_path(chain) &&
            (comma < 0 || clean_path(str_sub(word, (size_t)comma + 1, word.n))))
            continue;
        buf_add_escaped(why, str_sub(word, 0, SHOWN_MAX));
        buf_adds(why, ": must be absolute paths: /CHAIN or /CHAIN,/KEY");
        return false;
    }
    if (c->certificates.n <= PAIRS_MAX) return true;
    buf_addf(why, "are too many: at most %d", PAIRS_MAX);
    return false;
}

static bool check_key_directory(const struct config *c, struct buf *why) {
    if (!*c->key_directory) return true;
    return apart(c->key_directory, c->spool_directory, "spool-directory", why) &&
           apart(c->key_directory, c->drop_directory, "drop-directory", why) &&
           apart(c->key_directory, c->state_directory, "state-directory", why);
}

static bool is_fingerprint(struct str s) {
    enum { DIGITS = 64 };
    size_t digits = 0;
    for (size_t i = 0; i < s.n; i++) {
        uint64_t value;
        if (s.p[i] == ':' && digits && digits % 2 == 0) continue;
        if (!str_hex_to_u64(str_sub(s, i, i + 1), &value)) return false;
        digits++;
    }
    return digits == DIGITS;
}

static bool check_fingerprints(const struct config *c, struct buf *why) {
    enum { FINGERPRINTS_MAX = 1000 };
    for (size_t i = 0; i < c->client_fingerprints.n; i++) {
        if (is_fingerprint(c->client_fingerprints.v[i])) continue;
        buf_add_escaped(why, str_sub(c->client_fingerprints.v[i], 0, SHOWN_MAX));
        buf_adds(
            why,
            ": is no SHA-256 fingerprint: 64 hex digits (see: openssl x509 -fingerprint -sha256 -noout)");
        return false;
    }
    if (c->client_fingerprints.n <= FINGERPRINTS_MAX) return true;
    buf_addf(why, "are too many: at most %d; use client-authorities", FINGERPRINTS_MAX);
    return false;
}

static bool check_early(const struct config *c, struct buf *why) {
    struct str s = str_of(c->early_commands);
    if (str_eq(s, STR("log")) || str_eq(s, STR("refuse")) || str_eq(s, STR("ignore"))) return true;
    buf_adds(why, "must be log, refuse or ignore");
    return false;
}

static bool check_log(const struct config *c, struct buf *why) {
    struct str s = str_of(c->log);
    if (str_eq(s, STR("syslog")) || str_eq(s, STR("stderr"))) return true;
    if (str_starts_nocase(s, STR("file:")) && clean_path(str_sub(s, 5, s.n))) return true;
    buf_adds(why, "must be syslog, stderr, or file: and an absolute path");
    return false;
}

static bool is_mailbox(const char *text, struct buf *why) {
    struct str s = str_of(text);
    ptrdiff_t colon = str_chr(s, ':');
    struct str kind = str_sub(s, 0, colon < 0 ? 0 : (size_t)colon), path = str_sub(s, kind.n + 1, s.n);
    bool known = str_eq(kind, STR("maildir")) || str_eq(kind, STR("mbox"));
    if (known && (clean_path(path) || str_starts_nocase(path, STR("%h")))) return true;
    buf_adds(why, "must be maildir:PATH or mbox:PATH, where PATH begins with / or %h");
    return false;
}

static bool check_mailbox(const struct config *c, struct buf *why) {
    return is_mailbox(c->mailbox, why);
}

static bool check_system_mailbox(const struct config *c, struct buf *why) {
    return is_mailbox(c->system_mailbox, why);
}

static bool check_delimiter(const struct config *c, struct buf *why) {
    struct str s = str_of(c->user_extension);
    if (str_eq(s, STR("none")) || (s.n == 1 && s.p[0] > ' ' && s.p[0] < 0x7f && s.p[0] != '@')) return true;
    buf_adds(why, "must be one character other than @, or none");
    return false;
}

static bool check_retry(const struct config *c, struct buf *why) {
    if (c->retry_first <= c->retry_max) return true;
    buf_addf(why, "is shorter than retry-first (%s): make it at least as long",
             config_text(c, "retry-first"));
    return false;
}

static bool check_auth_source(const struct config *c, struct buf *why) {
    static const char *const words[] = {"file", "pam", "dovecot", "none"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(c->auth_source, words[i]) == 0) return true;
    buf_adds(why, "must be file, pam, dovecot or none");
    return false;
}

static bool check_spool_mode(const struct config *c, struct buf *why) {
    if (strcmp(c->spool_mode, "journal") == 0 || strcmp(c->spool_mode, "direct") == 0) return true;
    buf_adds(why, "must be journal or direct");
    return false;
}

/* What Dovecot has is for Dovecot to say; a word that nobody has would only be seen when a login fails. */
static bool check_auth_mechanisms(const struct config *c, struct buf *why) {
    static const char *const known[] = {"PLAIN",    "LOGIN",       "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS",
                                        "EXTERNAL", "OAUTHBEARER", "XOAUTH2",       NULL};
    if (strcmp(c->auth_source, "dovecot") == 0) return true;
    for (size_t i = 0; i < c->auth_mechanisms.n; i++) {
        struct str word = c->auth_mechanisms.v[i];
        const char *const *k = known;
        while (*k && !str_eq_nocase(word, str_of(*k))) k++;
        if (*k) continue;
        const char *near = str_nearest(word, known);
        buf_adds(why, "\"");
        buf_add_escaped(why, str_sub(word, 0, SHOWN_MAX));
        if (near) buf_addf(why, "\" is no mechanism; did you mean %s?", near);
        else buf_adds(why, "\" is no mechanism that auth has: see postern-auth(8)");
        return false;
    }
    return true;
}

static bool check_auth_file(const struct config *c, struct buf *why) {
    const char *slash = strrchr(c->auth_file, '/');
    if (!needs_path(c->auth_file, why)) return false;
    if (slash != c->auth_file) return true;
    buf_adds(why, "must lie in a directory of its own, since auth may read all of it");
    return false;
}

static bool check_auth_socket(const struct config *c, struct buf *why) {
    enum { SUN_PATH_MAX = 107 };
    if (strcmp(c->auth_source, "dovecot") != 0) return true;
    if (!needs_path(c->auth_socket, why)) return false;
    if (strlen(c->auth_socket) <= SUN_PATH_MAX) return true;
    buf_addf(why, "is too long for the name of a socket: at most %d octets", SUN_PATH_MAX);
    return false;
}

static const struct check {
    const char *setting;
    bool (*fn)(const struct config *c, struct buf *why);
} checks[] = {
    {"hostname", check_hostname},
    {"origin", check_origin},
    {"local-domains", check_local_domains},
    {"relay-domains", check_relay_domains},
    {"etrn-domains", check_etrn_domains},
    {"spool-directory", check_spool},
    {"drop-directory", check_drop},
    {"state-directory", check_state},
    {"run-directory", check_run},
    {"certificates", check_certificates},
    {"key-directory", check_key_directory},
    {"client-fingerprints", check_fingerprints},
    {"early-commands", check_early},
    {"log", check_log},
    {"mailbox", check_mailbox},
    {"system-mailbox", check_system_mailbox},
    {"recipient-delimiter", check_delimiter},
    {"spool-mode", check_spool_mode},
    {"auth-source", check_auth_source},
    {"auth-mechanisms", check_auth_mechanisms},
    {"auth-file", check_auth_file},
    {"auth-socket", check_auth_socket},
    {"retry-max", check_retry},
};

/* ---- The file ---- */

static void add_value(struct buf *b, struct str value) {
    buf_add_escaped(b, str_sub(value, 0, SHOWN_MAX));
    if (value.n > SHOWN_MAX) buf_adds(b, "...");
}

void config_blame(struct config_error *err, const char *file, unsigned line, struct str name,
                  struct str value, const char *why) {
    struct buf b = BUF(err->text);
    buf_add_escaped(&b, str_sub(str_of(file), 0, 200));
    if (line) buf_addf(&b, ":%u", line);
    buf_adds(&b, ": ");
    if (name.n) {
        add_value(&b, name);
        if (value.n) {
            buf_adds(&b, " = ");
            add_value(&b, value);
        }
        buf_adds(&b, ": ");
    }
    struct str rest = str_of(why); /* buf_adds is all or nothing: a long reason is cut, not dropped */
    buf_add(&b, str_sub(rest, 0, b.max - b.n - 1));
    buf_cstr(&b);
}

/* One setting with the lines that go on with it. */
struct entry {
    unsigned line;
    bool open; /* a continuation may follow */
    struct str name;
    struct buf value;
};

struct parse {
    const char *file;
    struct holder *h;
    struct config_error *err;
    struct entry entry;
};

static bool fail(struct parse *p, unsigned line, struct str name, struct str value, const char *why) {
    config_blame(p->err, p->file, line, name, value, why);
    return false;
}

static bool finish_entry(struct parse *p) {
    struct entry *e = &p->entry;
    char mem[400];
    struct buf why = BUF(mem);
    if (!e->open) return true;
    e->open = false;
    if (e->value.failed) return fail(p, e->line, e->name, STR_NONE, "the value is too long");
    ptrdiff_t i = find(e->name);
    if (i < 0) {
        explain_unknown(e->name, &why);
        return fail(p, e->line, e->name, STR_NONE, buf_cstr(&why));
    }
    if (p->h->line[i] && !is_repeated((size_t)i)) {
        buf_addf(&why, "is set twice (line %u too): take one out", p->h->line[i]);
        return fail(p, e->line, e->name, STR_NONE, buf_cstr(&why));
    }
    if (!set_at(p->h, (size_t)i, buf_str(&e->value), &why))
        return fail(p, e->line, e->name, buf_str(&e->value), buf_cstr(&why));
    config_set_line(&p->h->c, config_settings[i].name, e->line);
    return true;
}

static struct str without_comment(struct str line) {
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] == '#' && (i == 0 || line.p[i - 1] == ' ' || line.p[i - 1] == '\t'))
            return str_sub(line, 0, i);
    return line;
}

static bool is_name(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f) return false;
    return s.n > 0;
}

static bool begin_entry(struct parse *p, unsigned number, struct str line) {
    struct entry *e = &p->entry;
    ptrdiff_t eq = str_chr(line, '=');
    struct str name = str_trim(str_sub(line, 0, eq < 0 ? line.n : (size_t)eq));
    if (eq < 0) return fail(p, number, name, STR_NONE, "has no \"=\": write name = value");
    if (!is_name(name)) return fail(p, number, name, STR_NONE, "is no name of a setting: write name = value");
    e->line = number;
    e->open = true;
    e->name = name;
    e->value.n = 0;
    e->value.failed = false;
    buf_add(&e->value, str_trim(str_sub(line, (size_t)eq + 1, line.n)));
    return true;
}

static bool take_line(struct parse *p, unsigned number, struct str line) {
    bool indented = line.n && (line.p[0] == ' ' || line.p[0] == '\t');
    struct str text = str_trim(without_comment(line));
    if (!text.n) return true;
    if (!indented) return finish_entry(p) && begin_entry(p, number, text);
    if (!p->entry.open)
        return fail(p, number, text, STR_NONE,
                    "begins with white space, but no setting stands before it: move it to the left");
    if (p->entry.value.n) buf_addc(&p->entry.value, ' ');
    buf_add(&p->entry.value, text);
    return true;
}

static bool take_lines(struct parse *p, struct str text) {
    for (unsigned number = 1; text.n; number++) {
        ptrdiff_t end = str_chr(text, '\n');
        size_t n = end < 0 ? text.n : (size_t)end;
        if (!take_line(p, number, str_sub(text, 0, n))) return false;
        text = str_sub(text, n + 1, text.n);
    }
    return finish_entry(p);
}

static bool run_checks(struct parse *p) {
    const struct config *c = &p->h->c;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        char mem[400];
        struct buf why = BUF(mem);
        const char *name = checks[i].setting;
        if (!checks[i].fn(c, &why))
            return fail(p, config_line(c, name), str_of(name), str_of(config_text(c, name)), buf_cstr(&why));
    }
    return true;
}

struct config *config_parse(const char *file, struct str text, struct config_error *err) {
    struct config *c = config_new();
    char *mem = xmalloc(VALUE_MAX);
    struct parse p = {
        .file = file, .h = holder_of(c), .err = err, .entry = {.value = buf_on(mem, VALUE_MAX)}};
    bool ok = take_lines(&p, text) && run_checks(&p);
    free(mem);
    if (ok) return c;
    config_free(c);
    return NULL;
}

/* ---- Defaults that the system knows ---- */

static void complete(struct config *c, const char *name, const char *value) {
    const char *why;
    if (!*config_text(c, name)) config_set(c, str_of(name), str_of(value), &why);
}

static bool usable_domain(struct str s) {
    struct arena *a = arena_new(4096);
    struct str out;
    const char *why;
    bool ok = domain_parse(s, 0, a, &out, &why) && !domain_is_literal(out);
    arena_free(a);
    return ok;
}

/* The first line of /etc/mailname, when it is a domain (Debian Policy 11.6). */
static bool read_mailname(char *out, size_t size) {
    char mem[1024];
    int fd = open("/etc/mailname", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, mem, sizeof mem);
    close(fd);
    if (n <= 0) return false;
    struct str text = {mem, (size_t)n};
    ptrdiff_t end = str_chr(text, '\n');
    struct str line = str_trim(str_sub(text, 0, end < 0 ? text.n : (size_t)end));
    if (!line.n || line.n >= size || !usable_domain(line)) return false;
    memcpy(out, line.p, line.n);
    out[line.n] = '\0';
    return true;
}

/* Not within the state directory: that belongs to dispatch, which could put another key in its place. */
static void complete_key_directory(struct config *c) {
    char path[PATH_MAX_OCTETS + 8];
    size_t n = strlen(c->state_directory);
    while (n > 1 && c->state_directory[n - 1] == '/') n--;
    snprintf(path, sizeof path, "%.*s-keys", (int)n, c->state_directory);
    complete(c, "key-directory", path);
}

void config_complete(struct config *c) {
    char host[256] = "", mailname[256];
    if (gethostname(host, sizeof host - 1) != 0 || !usable_domain(str_of(host)))
        memcpy(host, "localhost", 10);
    complete(c, "hostname", host);
    complete(c, "origin", read_mailname(mailname, sizeof mailname) ? mailname : c->hostname);
    complete(c, "program-directory", POSTERN_PROGRAM_DIR);
    complete_key_directory(c);
}

/* ---- Telling others ---- */

void config_each_text(const struct config *c, size_t setting, config_told *fn, void *ctx) {
    const struct holder *h = holder_of(c);
    const char *name = config_settings[setting].name;
    if (!is_repeated(setting)) {
        const char *text = h->text[setting];
        fn(ctx, name, str_of(text ? text : config_settings[setting].def), h->line[setting]);
        return;
    }
    for (size_t i = 0; i < c->rule.n; i++) fn(ctx, name, c->rule.v[i]->text, c->rule.v[i]->line);
}

void config_each_for(const struct config *c, enum role role, config_told *fn, void *ctx) {
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (config_settings[i].roles & ROLE_BIT(role)) config_each_text(c, i, fn, ctx);
}

static bool same(const struct config *a, const struct config *b, size_t i) {
    const char *name = config_settings[i].name;
    if (is_repeated(i)) return rules_same(&a->rule, &b->rule);
    return strcmp(config_text(a, name), config_text(b, name)) == 0;
}

int config_change(const struct config *a, const struct config *b, enum role role) {
    int change = 0;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *s = &config_settings[i];
        if (!(s->roles & ROLE_BIT(role)) || same(a, b, i)) continue;
        if (s->when == CONFIG_RESTART) return 2;
        change = 1;
    }
    return change;
}
