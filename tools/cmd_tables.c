/* postern aliases, postern routes: text tables become cdb files, which lookup notices by itself. */
#include "lookup/compile.h"
#include "tools/command.h"

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

int run_aliases(struct tool *t) {
    return compile(aliases_compile, t->config->alias_file);
}

int run_routes(struct tool *t) {
    return compile(routes_compile, t->config->route_file);
}
