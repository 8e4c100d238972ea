/* postern aliases, postern routes: text tables become cdb files, which lookup notices by itself. */
#include "lookup/compile.h"
#include "tools/command.h"
#include "tools/control.h"

#include <errno.h>
#include <stdio.h>
#include <sysexits.h>

static int compile(bool (*fn)(const char *, const char *, struct compile_report *), const char *file) {
    struct compile_report r = {0};
    if (!fn(file, NULL, &r)) {
        int status = r.error == EACCES || r.error == EPERM || r.error == EROFS ? EX_NOPERM
                     : r.error == ENOENT                                       ? EX_NOINPUT
                     : r.error                                                 ? EX_CANTCREAT
                                                                               : EX_DATAERR;
        return tool_fail(status, "%s", r.text);
    }
    if (r.warnings) tool_fail(0, "%s", r.warning);
    puts(r.text);
    return EX_OK;
}

/* A running suite notices by itself when it next asks; told, it asks for what waits as well. */
static void tell(const struct config *config) {
    static const struct wire_handlers handlers = {.ctl_done = control_done};
    struct control c;
    if (!tool_running(config) || !control_open(&c, config, ROLE_dispatch, &handlers, NULL)) return;
    SEND(c.channel, ctl_tables, .now = 1);
    control_wait(&c);
    control_close(&c);
}

static int make(struct tool *t, bool (*fn)(const char *, const char *, struct compile_report *),
                const char *file) {
    int status = compile(fn, file);
    if (status == EX_OK) tell(t->config);
    return status;
}

int run_aliases(struct tool *t) {
    return make(t, aliases_compile, t->config->alias_file);
}

int run_routes(struct tool *t) {
    return make(t, routes_compile, t->config->route_file);
}
