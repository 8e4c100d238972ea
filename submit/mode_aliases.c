/* newaliases, sendmail -bi: the alias file becomes a cdb file, which lookup notices by itself. */
#include "lookup/compile.h"
#include "submit/modes.h"

#include <errno.h>
#include <stdio.h>
#include <sysexits.h>

int mode_aliases(const struct options *o, const struct config *c) {
    struct compile_report r = {0};
    (void)o;
    if (!aliases_compile(c->alias_file, NULL, &r)) {
        fprintf(stderr, "newaliases: %s\n", r.text);
        if (r.error == EACCES || r.error == EPERM || r.error == EROFS) return EX_NOPERM;
        return r.error == ENOENT ? EX_NOINPUT : r.error ? EX_CANTCREAT : EX_DATAERR;
    }
    if (r.warnings) fprintf(stderr, "newaliases: %s\n", r.warning);
    puts(r.text);
    return EX_OK;
}
