/* sendmail -bv: what smtpd would say to these recipients. Nothing is sent. */
#include "common/arena.h"
#include "submit/modes.h"
#include "submit/rcptlist.h"
#include "submit/session.h"

#include <stdio.h>
#include <sysexits.h>

static int print(const struct handin_rcpt *r) {
    char mem[1200], safe[1200];
    struct buf b = BUF(mem), line = BUF(safe);
    status_format(&b, &r->status);
    buf_add_escaped(&line, buf_str(&b));
    bool ok = r->status.kind == STATUS_OK;
    printf("%.*s: %s%s\n", STR_ARGS(r->text), ok ? "deliverable" : buf_cstr(&line), "");
    return ok ? EX_OK : r->status.kind == STATUS_LATER ? EX_TEMPFAIL : EX_NOUSER;
}

static int verify(struct session *s, struct rcptlist *l, struct arena *a) {
    struct handin_mail m = {.sender = STR(""), .verify = true, .rcpt_count = l->n};
    m.rcpts = arena_alloc(a, l->n * sizeof *m.rcpts);
    struct source nothing = {0};
    int status = EX_OK;
    if (!m.rcpts) return EX_UNAVAILABLE;
    for (size_t i = 0; i < l->n; i++) m.rcpts[i].text = l->v[i];
    session_send(s, &m, &nothing);
    for (size_t i = 0; i < m.rcpt_count; i++) {
        int one = print(&m.rcpts[i]);
        if (status == EX_OK) status = one;
    }
    return status;
}

int mode_verify(const struct options *o, const struct config *c) {
    static struct session s;
    struct arena *a = arena_new(16 * 1024 * 1024);
    struct rcptlist l;
    int status = EX_OK;
    rcptlist_init(&l, a, str_of(c->origin));
    for (size_t i = 0; i < o->rcpt_count && status == EX_OK; i++)
        if (!rcptlist_add(&l, str_of(o->rcpts[i]))) status = EX_DATAERR;
    if (status != EX_OK) fprintf(stderr, "sendmail: recipient: %s\n", l.why);
    else if (!l.n) fprintf(stderr, "sendmail: no recipient to verify\n"), status = EX_USAGE;
    if (status == EX_OK) {
        session_init(&s, c, a, o->verbose);
        status = verify(&s, &l, a);
        session_end(&s);
    }
    rcptlist_free(&l);
    arena_free(a);
    return status;
}
