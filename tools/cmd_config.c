/* postern config: the settings in force, as one would write them in the file. */
#include "tools/command.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

int run_config(struct tool *t) {
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct setting *s = &config_settings[i];
        const char *text = config_text(t->config, s->name);
        if (t->changed && (!config_line(t->config, s->name) || strcmp(text, s->def) == 0)) continue;
        printf("%s%s =%s%s\n", *text ? "" : "# ", s->name, *text ? " " : "", text);
    }
    return EX_OK;
}
