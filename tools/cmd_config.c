/* postern config: the settings in force, as one would write them in the file. */
#include "tools/command.h"

#include <stdio.h>
#include <sysexits.h>

struct printing {
    bool changed;
    const char *def;
};

static void print(void *ctx, const char *name, struct str text, unsigned line) {
    const struct printing *p = ctx;
    if (p->changed && (!line || str_eq(text, str_of(p->def)))) return;
    printf("%s%s =%s%.*s\n", text.n ? "" : "# ", name, text.n ? " " : "", STR_ARGS(text));
}

int run_config(struct tool *t) {
    for (size_t i = 0; i < config_setting_count; i++)
        config_each_text(t->config, i, print, &(struct printing){t->changed, config_settings[i].def});
    return EX_OK;
}
