/* postern hosts: the host capability table of dispatch: what each host can, how it behaved, how we know. */
#include "tools/command.h"
#include "tools/control.h"
#include "tools/listing.h"

#include <jansson.h>
#include <stdio.h>
#include <sysexits.h>

struct rows {
    json_t *all; /* NULL: print as text */
    size_t n;
};

/* One "name=value" line, with its remark if there is one. */
static void print_line(struct str line) {
    char mem[4200];
    struct buf b = BUF(mem);
    ptrdiff_t eq = str_chr(line, '=');
    struct str name = eq < 0 ? line : str_sub(line, 0, (size_t)eq);
    if (eq >= 0) buf_add_escaped(&b, str_sub(line, (size_t)eq + 1, line.n));
    printf("    %-16.*s %s\n", STR_ARGS(name), buf_cstr(&b));
}

static void add_line(json_t *o, struct str line) {
    char mem[4200], key[80];
    struct buf b = BUF(mem), k = BUF(key);
    ptrdiff_t eq = str_chr(line, '=');
    if (eq < 0) return;
    buf_add_escaped(&k, str_sub(line, 0, (size_t)eq));
    buf_add_escaped(&b, str_sub(line, (size_t)eq + 1, line.n));
    json_object_set_new(o, buf_cstr(&k), json_string(buf_cstr(&b)));
}

static void on_host(void *ctx, struct channel *ch, const struct wire_ctl_host *m, int fd) {
    struct rows *rows = ((struct control *)ctx)->user;
    char mem[1100];
    struct buf name = BUF(mem);
    json_t *o = rows->all ? json_object() : NULL;
    (void)ch, (void)fd;
    buf_add_escaped(&name, m->name);
    if (o) json_object_set_new(o, "host", json_string(buf_cstr(&name)));
    else printf("%s%s\n", rows->n ? "\n" : "", buf_cstr(&name));
    rows->n++;
    for (struct str rest = m->facts; rest.n;) {
        ptrdiff_t lf = str_chr(rest, '\n');
        size_t n = lf < 0 ? rest.n : (size_t)lf;
        if (o) add_line(o, str_sub(rest, 0, n));
        else if (n) print_line(str_sub(rest, 0, n));
        rest = str_sub(rest, n + 1, rest.n);
    }
    if (o) json_array_append_new(rows->all, o);
}

static const struct wire_handlers handlers = {.ctl_host = on_host, .ctl_done = control_done};

static int finish(struct tool *t, struct control *c, struct rows *rows) {
    if (!control_wait(c)) return tool_fail(EX_UNAVAILABLE, "%s", c->why);
    if (c->status.kind != STATUS_OK) return listing_failed("postern", &c->status);
    if (rows->all) {
        json_dumpf(rows->all, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (!rows->n && !t->word_count) {
        puts("No host is known yet.");
    }
    if (!rows->n && t->word_count) return tool_fail(EX_NOHOST, "%s: this host is not known", t->words[0]);
    return EX_OK;
}

int run_hosts(struct tool *t) {
    struct control c;
    struct rows rows = {.all = t->json ? json_array() : NULL};
    struct str name = str_of(t->word_count ? t->words[0] : NULL);
    if (name.n > 255) return tool_fail(EX_USAGE, "hosts: the name is too long");
    int status;
    if (!control_open(&c, t->config, ROLE_dispatch, &handlers, &rows)) {
        status = tool_fail(EX_UNAVAILABLE, "%s", c.why);
    } else {
        SEND(c.channel, ctl_hosts, .name = name);
        status = finish(t, &c, &rows);
        control_close(&c);
    }
    json_decref(rows.all);
    return status;
}
