/* command.h: the subcommands of postern(8), a table, one file each. */
#ifndef POSTERN_TOOLS_COMMAND_H
#define POSTERN_TOOLS_COMMAND_H

#include "tools/settings.h"

enum { WORDS_MAX = 1024 };

/* Options that choose queued mail; the table is in main.c. */
enum select_option {
    SELECT_SENDER, SELECT_RECIPIENT, SELECT_DOMAIN, SELECT_REASON, SELECT_OLDER, SELECT_NEWER, SELECT_LARGER, SELECT_SMALLER,
    SELECT_STATE, SELECT_COUNT
};
extern const char *const select_names[SELECT_COUNT];

struct tool {
    struct settings settings;
    const struct config *config;  /* NULL only for commands without NEEDS_CONFIG */
    const char *words[WORDS_MAX]; /* the arguments behind the command */
    size_t word_count;
    bool json, changed, help, dry_run, all, repair;
    const char *select[SELECT_COUNT];
    bool selects; /* one of them was given */
    const char *table_file;         /* -f */
    bool remove, verify, list;      /* --delete, --verify, --list */
    const char *config_file, *log; /* options -c, --log */
};

enum { NEEDS_CONFIG = 1, TAKES_JSON = 2, TAKES_CHANGED = 4, TAKES_LOG = 8, TAKES_SELECTION = 16, TAKES_TABLE = 32 };

struct command {
    const char *name, *arguments, *sentence;
    unsigned flags;
    size_t min, max;            /* how many words */
    int (*run)(struct tool *t); /* gives an exit status of sysexits.h */
};

extern const struct command commands[];
extern const size_t command_count;

int run_queue(struct tool *t);
int run_queue_check(struct tool *t); /* a verb of it */
int run_hosts(struct tool *t);
int run_check(struct tool *t);
int run_config(struct tool *t);
int run_counters(struct tool *t);
int run_explain(struct tool *t);
int run_routes(struct tool *t);
int run_aliases(struct tool *t);
int run_addr(struct tool *t);
int run_trace(struct tool *t);
int run_status(struct tool *t);
int run_passwd(struct tool *t);

/* "postern: " and the text, with a newline, on standard error; gives status. */
int tool_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Is a posternd running with this run-directory? Its process id, or 0. */
int tool_running(const struct config *c);

#endif
