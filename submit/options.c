#include "submit/options.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum takes { FLAG, VALUE, ATTACHED /* a value only when it is attached */ };

struct option {
    char letter;
    enum takes takes;
    bool (*set)(struct options *o, const char *value); /* NULL: accepted, means nothing here */
    const char *refused;                               /* why set said no */
};

static bool set_header(struct options *o, const char *v) {
    (void)v;
    return o->from_header = true;
}

static bool set_dots(struct options *o, const char *v) {
    (void)v;
    return o->keep_dots = true;
}

static bool set_verbose(struct options *o, const char *v) {
    (void)v;
    return o->verbose = true;
}

static bool set_sender(struct options *o, const char *v) {
    o->sender = v;
    return true;
}

static bool set_name(struct options *o, const char *v) {
    o->name = v;
    return true;
}

static bool set_config(struct options *o, const char *v) {
    o->config = v;
    return *v != '\0';
}

static bool set_envid(struct options *o, const char *v) {
    o->envid = v;
    return *v != '\0' && strlen(v) <= 100 && str_is_print(str_of(v)); /* RFC 3461 4.4 */
}

static bool set_flush(struct options *o, const char *v) {
    (void)v; /* an interval, or -qI and the like to choose: all is flushed */
    o->mode = MODE_FLUSH;
    return true;
}

static bool set_errors(struct options *o, const char *v) {
    static const char letters[] = "pqmew"; /* in the order of enum errors */
    const char *at = *v ? strchr(letters, *v) : NULL;
    if (!at || v[1]) return false;
    o->errors = (enum errors)(at - letters);
    return true;
}

/* -o takes one old letter and its value. What has no meaning here is ignored, as every sendmail since
 * 1983 does. */
static bool set_old(struct options *o, const char *v) {
    if (strcmp(v, "i") == 0) o->keep_dots = true;
    if (v[0] == 'e') set_errors(o, v + 1);
    if (strcmp(v, "v") == 0) o->verbose = true;
    return true;
}

static bool set_mode(struct options *o, const char *v) {
    static const struct {
        char letter;
        enum mode mode;
    } modes[] = {
        {'m', MODE_SEND}, {'p', MODE_QUEUE}, {'i', MODE_ALIASES}, {'s', MODE_SMTP}, {'v', MODE_VERIFY},
    };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (v[0] == modes[i].letter && !v[1]) {
            o->mode = modes[i].mode;
            return true;
        }
    return false;
}

static bool set_aliases(struct options *o, const char *v) {
    (void)v;
    o->mode = MODE_ALIASES;
    return true;
}

static bool set_body(struct options *o, const char *v) {
    o->body_7bit = strcasecmp(v, "7BIT") == 0;
    return o->body_7bit || strcasecmp(v, "8BITMIME") == 0;
}

static bool set_notify(struct options *o, const char *v) {
    struct str rest = str_of(v), word;
    size_t words = 0;
    bool never = false;
    while (str_word(&rest, ',', &word)) {
        never |= str_eq_nocase(word, STR("never"));
        if (!str_eq_nocase(word, STR("never")) && !str_eq_nocase(word, STR("success")) &&
            !str_eq_nocase(word, STR("failure")) && !str_eq_nocase(word, STR("delay")))
            return false;
        words++;
    }
    o->notify = v;
    return words > 0 && words <= 3 && (!never || words == 1) && !strpbrk(v, " \t");
}

static bool set_ret(struct options *o, const char *v) {
    bool full = strcasecmp(v, "full") == 0;
    o->ret = full ? "FULL" : "HDRS";
    return full || strcasecmp(v, "hdrs") == 0;
}

static const struct option table[] = {
    {'t', FLAG, set_header, NULL},
    {'i', FLAG, set_dots, NULL},
    {'v', FLAG, set_verbose, NULL},
    {'f', VALUE, set_sender, NULL},
    {'r', VALUE, set_sender, NULL},
    {'F', VALUE, set_name, NULL},
    {'C', VALUE, set_config, "a file name is missing"},
    {'o', VALUE, set_old, NULL},
    {'e', VALUE, set_errors, "one of p, q, m, e, w is meant"},
    {'b', VALUE, set_mode, "one of m, p, i, s, v is meant; the suite itself is started by posternd(8)"},
    {'B', VALUE, set_body, "7BIT or 8BITMIME is meant"},
    {'N', VALUE, set_notify, "never, or a list of success,failure,delay is meant"},
    {'R', VALUE, set_ret, "full or hdrs is meant"},
    {'V', VALUE, set_envid, "at most 100 printable characters"},
    {'q', ATTACHED, set_flush, NULL},
    {'I', FLAG, set_aliases, NULL},
    {'h', VALUE, NULL, NULL},    /* hop count: smtpd counts Received fields itself */
    {'L', VALUE, NULL, NULL},    /* tag for the log */
    {'O', VALUE, NULL, NULL},    /* long form of -o */
    {'p', VALUE, NULL, NULL},    /* protocol for Received */
    {'A', VALUE, NULL, NULL},    /* -Ac, -Am: which of two configurations of Sendmail */
    {'d', ATTACHED, NULL, NULL}, /* debugging */
    {'G', FLAG, NULL, NULL},
    {'U', FLAG, NULL, NULL},
    {'n', FLAG, NULL, NULL},
    {'m', FLAG, NULL, NULL},
    {'x', FLAG, NULL, NULL},
};

static const struct option *find(char letter) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].letter == letter) return &table[i];
    return NULL;
}

static bool wrong(struct options *o, char letter, const char *value, const char *why) {
    struct buf b = BUF(o->why);
    buf_addc(&b, '-');
    buf_add_escaped(&b, (struct str){&letter, 1});
    if (value) buf_addc(&b, ' ');
    if (value) buf_add_escaped(&b, str_sub(str_of(value), 0, 40));
    buf_adds(&b, ": ");
    buf_adds(&b, why);
    buf_cstr(&b);
    return false;
}

static bool wrong_word(struct options *o, const char *word) {
    struct buf b = BUF(o->why);
    buf_add_escaped(&b, str_sub(str_of(word), 0, 40));
    buf_adds(&b, ": unknown option");
    buf_cstr(&b);
    return false;
}

/* One word that begins with '-': flags, the last of which may take the rest of the word or the next word. */
static bool word(struct options *o, int argc, char **argv, int *at) {
    for (const char *p = argv[*at] + 1; *p; p++) {
        const struct option *opt = find(*p);
        if (!opt && argv[*at][1] == '-') return wrong_word(o, argv[*at]);
        if (!opt) return wrong(o, *p, NULL, "unknown option");
        const char *value = opt->takes == FLAG ? NULL : p + 1;
        if (opt->takes == VALUE && !*value) {
            if (*at + 1 >= argc) return wrong(o, *p, NULL, "its value is missing");
            value = argv[++*at];
        }
        if (opt->set && !opt->set(o, value)) return wrong(o, opt->letter, value, opt->refused);
        if (opt->takes != FLAG) break;
    }
    return true;
}

static void personality(struct options *o, const char *argv0) {
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
    const char *name = slash ? slash + 1 : argv0 ? argv0 : "";
    if (strcmp(name, "mailq") == 0) o->mode = MODE_QUEUE;
    if (strcmp(name, "newaliases") == 0) o->mode = MODE_ALIASES;
}

/* A recipient that looks like an option is a mistake or an attack on whoever put a user's text on this
 * command line. */
static bool check_recipients(struct options *o) {
    for (size_t i = 1; i < o->rcpt_count; i++)
        if (o->rcpts[i][0] == '-')
            return wrong(o, o->rcpts[i][1], NULL, "options come before the recipients; \"--\" begins them");
    return true;
}

bool options_parse(struct options *o, int argc, char **argv) {
    *o = (struct options){.mode = MODE_SEND};
    personality(o, argc ? argv[0] : NULL);
    int at = 1;
    bool marked = false;
    for (; at < argc && !marked && argv[at][0] == '-' && argv[at][1]; at++) {
        if (strcmp(argv[at], "--") == 0) {
            marked = true;
        } else if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "--version") == 0) {
            o->mode = argv[at][2] == 'h' ? MODE_HELP : MODE_VERSION;
            return true;
        } else if (!word(o, argc, argv, &at)) {
            return false;
        }
    }
    o->rcpts = argv + at;
    o->rcpt_count = at < argc ? (size_t)(argc - at) : 0;
    return marked || check_recipients(o);
}
