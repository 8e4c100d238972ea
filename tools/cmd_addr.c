/* postern addr check: is this a Mailbox of RFC 5321 4.1.2. */
#include "common/addr.h"
#include "common/arena.h"
#include "tools/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* Prints what it is; gives EX_OK or EX_DATAERR. */
static int check(struct str text) {
    struct arena *a = arena_new(8192);
    struct addr addr;
    char mem[ADDR_TEXT_MAX + 1], safe[400];
    struct buf out = BUF(mem), shown = BUF(safe);
    const char *why = "";
    bool ok = addr_parse(text, 0, a, &addr, &why);
    buf_add_escaped(&shown, str_sub(text, 0, 90));
    if (ok) addr_format(&out, &addr);
    if (ok) printf("valid    %s\n", buf_cstr(&out));
    else printf("invalid  %s: %s\n", buf_cstr(&shown), why);
    arena_free(a);
    return ok ? EX_OK : EX_DATAERR;
}

int run_addr(struct tool *t) {
    if (strcmp(t->words[0], "check") != 0) return tool_fail(EX_USAGE, "usage: postern addr check ADDRESS|-");
    if (strcmp(t->words[1], "-") != 0) return check(str_of(t->words[1]));
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int status = EX_OK;
    while ((n = getline(&line, &cap, stdin)) >= 0) {
        if (n && line[n - 1] == '\n') n--;
        int one = check((struct str){line, (size_t)n});
        if (status == EX_OK) status = one;
    }
    free(line);
    return status;
}
