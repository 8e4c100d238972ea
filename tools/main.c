/* postern(8): looks at the suite and tells it what to do.
 *
 * It has the rights of its caller. What it asks of the suite goes over the control sockets in the run
 * directory, where SO_PEERCRED tells queue and dispatch who asks; the rest it reads from files that the
 * caller may read. */
#include "build-config.h"

#include "tools/command.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sysexits.h>
#include <unistd.h>

const struct command commands[] = {
    {"queue", "list|summary|show|cat|hold|release|requeue|expire|flush|remove|redirect|check ...",
     "look at queued mail, change it: by ids, by a selection, or --all; see postern(8)",
     NEEDS_CONFIG | TAKES_JSON | TAKES_SELECTION, 1, WORDS_MAX, run_queue},
    {"hosts", "[NAME]", "what is known of other hosts: the host capability table", NEEDS_CONFIG | TAKES_JSON,
     0, 1, run_hosts},
    {"trace", "ID [--log FILE]", "the journey of one message through the programs, from the log",
     NEEDS_CONFIG | TAKES_LOG, 1, 1, run_trace},
    {"counters", "", "what each program has counted: CPU time, wake-ups, messages to its peers, events",
     NEEDS_CONFIG | TAKES_JSON, 0, 0, run_counters},
    {"status", "", "is the suite running, and which processes are at work", NEEDS_CONFIG, 0, 0, run_status},
    {"check", "[FILE]", "is the configuration right, and the machine ready for it", 0, 0, 1, run_check},
    {"config", "[--changed]", "the settings in force; --changed: those that differ from the defaults",
     NEEDS_CONFIG | TAKES_CHANGED, 0, 0, run_config},
    {"explain", "TOKEN",
     "which line of which file made us say so: TOKEN is the [P...] of a reply or of the log", NEEDS_CONFIG, 1,
     1, run_explain},
    {"aliases", "", "compile alias-file (the same as newaliases)", NEEDS_CONFIG, 0, 0, run_aliases},
    {"routes", "", "compile route-file", NEEDS_CONFIG, 0, 0, run_routes},
    {"passwd", "[-f FILE] [--delete|--verify|--list] [LOGIN]",
     "set the password of a login in auth-file: asks twice, or reads one line", NEEDS_CONFIG | TAKES_TABLE, 0,
     1, run_passwd},
    {"addr", "check ADDRESS|-", "is this a valid address (RFC 5321 4.1.2); - reads one a line", 0, 2, 2,
     run_addr},
};
const size_t command_count = sizeof commands / sizeof commands[0];

int tool_fail(int status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("postern: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return status;
}

int tool_running(const struct config *c) {
    char path[1200], text[16] = "";
    snprintf(path, sizeof path, "%s/posternd.pid", c->run_directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return 0;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0; /* posternd holds it as long as it lives */
    ssize_t n = held ? read(fd, text, sizeof text - 1) : 0;
    uint64_t pid;
    close(fd);
    return n > 0 && str_to_u64(str_trim((struct str){text, (size_t)n}), 1u << 30, &pid) ? (int)pid : 0;
}

static int usage(FILE *to, int status) {
    fputs("usage: postern [-c FILE] COMMAND [ARGUMENTS]\n       postern --help | --version\n\n", to);
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &commands[i];
        fprintf(to, "  %s%s%s%s\n          %s\n", c->name, *c->arguments ? " " : "", c->arguments,
                c->flags & TAKES_JSON ? " [--json]" : "", c->sentence);
    }
    fputs("\nThe configuration is FILE, else $POSTERN_CONFIG, else " POSTERN_CONF ". See postern(8).\n", to);
    return status;
}

static const struct command *find(const char *name) {
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

/* An option with a value: attached to "-c", behind "=", or the next word. NULL: it is another option. */
static const char *value_of(const char *option, char **argv, int argc, int *at) {
    size_t n = strlen(option);
    if (strncmp(argv[*at], option, n) != 0) return NULL;
    const char *rest = argv[*at] + n;
    if (*rest == '=' && n > 2) return rest + 1;
    if (*rest) return n == 2 ? rest : NULL;
    return *at + 1 < argc ? argv[++*at] : NULL;
}

const char *const select_names[SELECT_COUNT] = {
    [SELECT_SENDER] = "--sender", [SELECT_RECIPIENT] = "--recipient", [SELECT_DOMAIN] = "--domain",
    [SELECT_REASON] = "--reason", [SELECT_OLDER] = "--older",         [SELECT_NEWER] = "--newer",
    [SELECT_LARGER] = "--larger", [SELECT_SMALLER] = "--smaller",     [SELECT_STATE] = "--state",
};

static bool take_selection(struct tool *t, int argc, char **argv, int *at) {
    for (int i = 0; i < SELECT_COUNT; i++) {
        const char *value = value_of(select_names[i], argv, argc, at);
        if (!value) continue;
        t->select[i] = value;
        t->selects = true;
        return true;
    }
    return false;
}

static bool take_flag(struct tool *t, const char *word) {
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"--json", &t->json},     {"--changed", &t->changed}, {"--help", &t->help},
                 {"-h", &t->help},         {"--dry-run", &t->dry_run}, {"--all", &t->all},
                 {"--repair", &t->repair}, {"--delete", &t->remove},   {"--verify", &t->verify},
                 {"--list", &t->list}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (strcmp(flags[i].name, word) != 0) continue;
        *flags[i].flag = true;
        return true;
    }
    return false;
}

/* Options may stand anywhere before "--". False: a word that is no option here. */
static bool take_option(struct tool *t, int argc, char **argv, int *at) {
    const char *value;
    if (take_flag(t, argv[*at]) || take_selection(t, argc, argv, at)) return true;
    if ((value = value_of("-c", argv, argc, at))) t->config_file = value;
    else if ((value = value_of("--log", argv, argc, at))) t->log = value;
    else if ((value = value_of("-f", argv, argc, at))) t->table_file = value;
    else return false;
    return true;
}

static bool take_words(struct tool *t, int argc, char **argv) {
    bool options = true;
    for (int i = 1; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            if (take_option(t, argc, argv, &i)) continue;
            tool_fail(0, "%s: unknown option, or its value is missing; see postern --help", argv[i]);
            return false;
        } else if (t->word_count < WORDS_MAX) {
            t->words[t->word_count++] = argv[i];
        } else {
            tool_fail(0, "too many words");
            return false;
        }
    }
    return true;
}

static bool options_fit(const struct tool *t, const struct command *c) {
    bool chooses = t->selects || t->dry_run || t->all;
    const char *odd = t->repair && (c->run != run_queue || strcmp(t->words[0], "check") != 0) ? "--repair"
                      : chooses && !(c->flags & TAKES_SELECTION)                              ? "a selection"
                      : (t->table_file || t->remove || t->verify || t->list) && !(c->flags & TAKES_TABLE)
                          ? "-f, --delete, --verify, --list"
                      : t->json && !(c->flags & TAKES_JSON)       ? "--json"
                      : t->changed && !(c->flags & TAKES_CHANGED) ? "--changed"
                      : t->log && !(c->flags & TAKES_LOG)         ? "--log"
                                                                  : NULL;
    if (odd) tool_fail(0, "%s has no option %s; see postern %s --help", c->name, odd, c->name);
    return !odd;
}

static int run(struct tool *t, const struct command *c) {
    size_t n = --t->word_count; /* without the command itself */
    memmove(t->words, t->words + 1, n * sizeof *t->words);
    if (t->help)
        return printf("usage: postern %s %s%s\n%s\n", c->name, c->arguments,
                      c->flags & TAKES_JSON ? " [--json]" : "", c->sentence) < 0;
    if (n < c->min || n > c->max) return tool_fail(EX_USAGE, "usage: postern %s %s", c->name, c->arguments);
    if (!options_fit(t, c)) return EX_USAGE;
    if (c->flags & NEEDS_CONFIG) {
        settings_load(&t->settings, t->config_file);
        t->config = t->settings.config;
        if (!t->config) return tool_fail(EX_CONFIG, "%s", t->settings.error.text);
    }
    int status = c->run(t);
    if (fflush(stdout) != 0 && status == EX_OK) status = EX_IOERR;
    return status;
}

int main(int argc, char **argv) {
    static struct tool t;
    signal(SIGPIPE, SIG_DFL);
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return puts("postern of Postern " PACKAGE_VERSION) < 0 ? EX_IOERR : EX_OK;
    if (!take_words(&t, argc, argv)) return EX_USAGE;
    if (!t.word_count) return t.help ? usage(stdout, EX_OK) : usage(stderr, EX_USAGE);
    const struct command *c = find(t.words[0]);
    if (!c) return tool_fail(EX_USAGE, "%s: unknown command; see postern --help", t.words[0]);
    int status = run(&t, c);
    config_free(t.settings.config);
    return status;
}
