/* gen.c: writes out of the .def files what people read: run while the suite is built, never installed.
 *
 *     gen settings   the settings for postern.conf(5), in mdoc
 *     gen sample     a postern.conf with every setting at its default, commented out
 *     gen sysusers   the accounts, for sysusers.d(5)
 *     gen protocol   the messages between programs, for docs/PROTOCOL.md
 *     gen events     the lines of the log, for docs/EVENTS.md */
#include "common/config.h"
#include "common/wire.h"

#include <stdio.h>
#include <string.h>

/* ---- postern.conf(5) ---- */

/* mdoc(7) wants each sentence on a line of its own. s is not the first character of its text. */
static bool new_sentence(const char *s) {
    return s[0] == ' ' && s[-1] == '.' && s[1] >= 'A' && s[1] <= 'Z';
}

static void mdoc_text(const char *s) {
    bool fresh = true;
    for (const char *begin = s; *s; s++) {
        if (fresh && (*s == '.' || *s == '\'')) fputs("\\&", stdout);
        fresh = *s == '\n';
        if (*s == '\\') fputs("\\e", stdout);
        else if (*s == '"') fputs("\\(dq", stdout);
        else if (*s == '-') fputs("\\-", stdout);
        else if (s > begin && new_sentence(s)) putchar('\n'), fresh = true;
        else putchar(*s);
    }
}

static const char *type_word(const char *type) {
    static const struct {
        const char *type, *word;
    } rows[] = {
        {"flag", "yes | no"},        {"words", "word ..."},
        {"networks", "network ..."}, {"endpoints", "address:port ..."},
        {"string", "text"},          {"rules", "stage [fact=value,...] ... action [argument]"},
        {"string", "text"},          {"pair", "number number"},
        {"rates", "count/time count/time"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].type, type) == 0) return rows[i].word;
    return type;
}

/* A bound as one would write it: in the largest unit that holds it. */
static void bound(const char *type, uint64_t v) {
    static const struct {
        const char *type, *suffix;
        uint64_t factor;
    } units[] = {
        {"duration", "d", 86400000}, {"duration", "h", 3600000}, {"duration", "m", 60000},
        {"duration", "s", 1000},     {"duration", "ms", 1},      {"size", "G", 1 << 30},
        {"size", "M", 1 << 20},      {"size", "K", 1 << 10},
    };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(units[i].type, type) == 0 && v && v % units[i].factor == 0) {
            printf("%llu%s", (unsigned long long)(v / units[i].factor), units[i].suffix);
            return;
        }
    printf("%llu", (unsigned long long)v);
}

static void one_setting(const char *name, const char *type, const char *def, uint64_t min, uint64_t max,
                        const char *when, const char *sentence) {
    fputs(".It Ic ", stdout);
    mdoc_text(name);
    fputs(" = Ar ", stdout);
    mdoc_text(type_word(type));
    putchar('\n');
    mdoc_text(sentence);
    putchar('\n');
    if (*def) {
        fputs("Default:\n.Ql ", stdout);
        mdoc_text(def);
        fputs(" .\n", stdout);
    }
    if (max) {
        fputs("From\n", stdout);
        bound(type, min);
        fputs(" to ", stdout);
        bound(type, max);
        fputs(".\n", stdout);
    }
    if (strcmp(when, "RESTART") == 0) puts("(A change starts programs again.)");
}

static int settings(void) {
    bool open = false;
#define GROUP(title) \
    printf("%s.Ss " title "\n.Bl -tag -width Ds\n", open ? ".El\n" : ""); \
    open = true;
#define SETTING(field, name, type, def, min, max, roles, when, sentence) \
    one_setting(name, #type, def, min, max, #when, sentence);
#include "common/config.def"
#undef SETTING
#undef GROUP
    puts(".El");
    return 0;
}

/* ---- The sample ---- */

static void wrapped(const char *s, const char *lead, size_t width) {
    size_t column = 0;
    while (*s) {
        size_t n = strcspn(s, " ");
        if (column && column + n + 1 > width) putchar('\n'), column = 0;
        if (column) putchar(' '), column++;
        else fputs(lead, stdout), column = strlen(lead);
        printf("%.*s", (int)n, s);
        column += n;
        s += n;
        while (*s == ' ') s++;
    }
    putchar('\n');
}

static int sample(void) {
    puts("# postern.conf: the settings of the Postern mail suite; see postern.conf(5). Each line shows a "
         "default; take away\n"
         "# the # to change it. Say \"posternd --check\" before \"systemctl reload postern\".");
#define GROUP(title) puts("\n# ---- " title " ----");
#define SETTING(field, name, type, def, min, max, roles, when, sentence) \
    putchar('\n'); \
    wrapped(sentence, "# ", 110); \
    puts("#" name " = " def);
#include "common/config.def"
#undef SETTING
#undef GROUP
    return 0;
}

/* ---- Accounts ---- */

static int sysusers(void) {
    puts("# Accounts of the Postern mail suite, one for each program that is not root: made from "
         "common/roles.def.");
    for (int r = 0; r < ROLE_COUNT; r++)
        if (*role_table[r].user)
            printf("u _postern-%s - \"Postern %s\" /nonexistent /usr/sbin/nologin\n", role_table[r].user,
                   role_table[r].program);
    return 0;
}

/* ---- Messages ---- */

static void roles_of(uint32_t mask) {
    uint32_t all = (1u << ROLE_COUNT) - 1;
    if ((mask & all) == all) {
        fputs("any", stdout);
        return;
    }
    const char *gap = "";
    for (int r = 0; r < ROLE_COUNT; r++)
        if (mask & ROLE_BIT(r)) printf("%s%s", gap, role_table[r].name), gap = ", ";
}

#define FIELD(type, name, max) {#name, #type, max},
static void one_message(enum wire_type type, const char *sentence) {
    printf("\n### %s\n\n%s\n\n", wire_table[type].name, sentence);
    fputs("From ", stdout);
    roles_of(wire_table[type].from);
    fputs(" to ", stdout);
    roles_of(wire_table[type].to);
    printf("; type %d%s.\n", (int)type, wire_table[type].fds ? "; with a descriptor" : "");
}

struct field {
    const char *name, *type;
    unsigned max;
};

static void fields_of(const struct field *f, size_t n) {
    if (n) puts("\n| field | type | at most |\n|---|---|---|");
    for (size_t i = 0; i < n; i++) {
        printf("| %s | %s | ", f[i].name, f[i].type);
        if (f[i].max) printf("%u octets ", f[i].max);
        puts("|");
    }
}

static int protocol(void) {
    puts("# The messages between the programs\n\n"
         "Made from common/wire.def. A message is a header (type and length of the payload, two octets each, "
         "least\n"
         "significant first) and its fields one after the other: numbers in their width, least significant "
         "octet first;\n"
         "qid as the queue id's two numbers; bytes as a length of two octets and the octets. A packet of the "
         "SOCK_SEQPACKET\n"
         "socket holds one message or more, at most 64 KiB. Whoever sends what its row does not allow is "
         "ended.");
#define MSG(name, from, to, fds, sentence, ...) \
    { \
        static const struct field f[] = {__VA_ARGS__}; \
        one_message(WIRE_##name, sentence); \
        fields_of(f, sizeof f / sizeof f[0]); \
    }
#include "common/wire.def"
#undef MSG
    return 0;
}
#undef FIELD

/* ---- Events ---- */

static int events(void) {
    puts("# The lines of the log\n\nMade from common/events.def: time, host, program and pid, queue id when "
         "there is one, the event's\n"
         "name, and fields.\n\n| event | level | meaning | fields |\n|---|---|---|---|");
#define ITEM(type, name)                  #name " "
#define EVENT(name, level, sentence, ...) puts("| " #name " | " #level " | " sentence " | " __VA_ARGS__ "|");
#include "common/events.def"
#undef EVENT
#undef ITEM
    return 0;
}

int main(int argc, char **argv) {
    static const struct {
        const char *word;
        int (*fn)(void);
    } rows[] = {
        {"settings", settings}, {"sample", sample}, {"sysusers", sysusers},
        {"protocol", protocol}, {"events", events},
    };
    for (size_t i = 0; argc == 2 && i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(argv[1], rows[i].word) == 0) return rows[i].fn() || fflush(stdout) != 0;
    fputs("usage: gen settings | sample | sysusers | protocol | events\n", stderr);
    return 64;
}
