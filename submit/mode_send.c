/* sendmail: the message on standard input goes to the recipients of the command line or the header. */
#include "common/addr.h"
#include "common/arena.h"
#include "submit/caller.h"
#include "submit/header.h"
#include "submit/modes.h"
#include "submit/report.h"
#include "submit/session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

enum { ARENA_MAX = 64 * 1024 * 1024 };

struct letter {
    const struct options *o;
    const struct config *c;
    struct arena *arena;
    struct caller who;
    struct str own;    /* login@origin */
    struct str sender; /* envelope */
    struct rcptlist rcpts;
    struct intake in;
    struct text head;
    struct str body;
    struct session session;
};

static void complain(const struct letter *l, const char *what, const char *why) {
    if (l->o->errors != ERRORS_QUIET)
        fprintf(stderr, "sendmail: %s%s%s\n", what, *what && *why ? ": " : "", why);
}

static bool by_mail(const struct letter *l) {
    if (!l->sender.n) return false; /* never a report to the null reverse-path */
    if (l->o->errors == ERRORS_WRITE) return !isatty(STDERR_FILENO);
    return l->o->errors == ERRORS_MAIL || l->o->errors == ERRORS_MAIL_OK;
}

/* --- the parts of a letter --- */

/* login@origin; a login that cannot be a local part as it is gets quotes. */
static struct str own_address(struct letter *l) {
    const char *why;
    char mem[2 * sizeof l->who.login + 2];
    struct buf b = BUF(mem);
    struct str own = address_complete(str_of(l->who.login), str_of(l->c->origin), 0, l->arena, &why);
    if (own.n) return own;
    buf_addf(&b, "\"%s\"", l->who.login);
    own = address_complete(buf_str(&b), str_of(l->c->origin), 0, l->arena, &why);
    return own.n ? own : STR("postmaster");
}

static bool find_sender(struct letter *l, int *status) {
    const char *given = l->o->sender;
    struct rcptlist one; /* the same grammar as a recipient: "Name <a@b>" is understood */
    l->sender = l->own = own_address(l);
    if (!given) return true;
    l->sender = STR("");
    if (!*given || strcmp(given, "<>") == 0) return true;
    rcptlist_init(&one, l->arena, str_of(l->c->origin));
    bool ok = rcptlist_add(&one, str_of(given)) && one.n == 1;
    if (ok) l->sender = one.v[0];
    else
        complain(l, "-f",
                 one.n > 1  ? "more than one sender"
                 : one.n    ? one.why
                 : *one.why ? one.why
                            : "no address");
    rcptlist_free(&one);
    *status = EX_USAGE;
    return ok;
}

static bool take_arguments(struct letter *l, int *status) {
    rcptlist_init(&l->rcpts, l->arena, str_of(l->c->origin));
    for (size_t i = 0; i < l->o->rcpt_count; i++) {
        if (rcptlist_add(&l->rcpts, str_of(l->o->rcpts[i]))) continue;
        complain(l, "recipient", l->rcpts.why);
        *status = EX_DATAERR;
        return false;
    }
    if (l->rcpts.n || l->o->from_header) return true;
    complain(l, "no recipient: name one, or take them from the header with -t", "");
    *status = EX_USAGE;
    return false;
}

static bool read_message(struct letter *l, int *status) {
    char mem[65536];
    ssize_t n = 1;
    intake_init(&l->in, !l->o->keep_dots, l->c->message_size_limit);
    while (!l->in.ended && !l->in.text.failed && n != 0) {
        n = read(STDIN_FILENO, mem, sizeof mem);
        if (n > 0) intake_add(&l->in, (struct str){mem, (size_t)n});
        if (n < 0 && errno != EINTR) {
            complain(l, "the message could not be read", strerror(errno));
            *status = EX_IOERR;
            return false;
        }
    }
    intake_end(&l->in);
    if (!l->in.text.failed) return true;
    complain(l, "the message is larger than message-size-limit", "");
    *status = EX_UNAVAILABLE;
    return false;
}

static bool edit_header(struct letter *l, int *status) {
    char mem[1024];
    struct buf from = BUF(mem);
    bool own_name = l->o->name || str_eq(l->sender, l->own);
    header_mailbox(&from,
                   str_of(l->o->name ? l->o->name
                          : own_name ? l->who.name
                                     : ""),
                   l->sender.n ? l->sender : l->own);
    struct header_edit e = {str_of(l->c->origin), buf_str(&from), l->o->from_header ? &l->rcpts : NULL};
    l->head.max = l->c->message_size_limit;
    bool ok = header_edit(text_str(&l->in.text), &e, &l->head, &l->body);
    if (ok && l->rcpts.n && !l->head.failed) return true;
    if (!ok) complain(l, "recipient in the header", l->rcpts.why);
    else
        complain(l, l->head.failed ? "the header is too large" : "no recipient in the header (To, Cc, Bcc)",
                 "");
    *status = EX_DATAERR;
    return false;
}

static bool has_eight_bit(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] & 0x80) return true;
    return false;
}

/* --- what becomes of it --- */

/* sysexits(3) for a refusal: what a script may act upon. */
static int exit_of(const struct status *s) {
    if (s->kind == STATUS_LATER) return EX_TEMPFAIL;
    if (s->detail[1] == 1 && s->detail[2] != 7 && s->detail[2] != 8)
        return EX_NOUSER;                     /* X.1.z: the address; .7, .8 the sender's */
    if (s->detail[1] == 7) return EX_NOPERM;  /* X.7.z: policy */
    if (s->detail[1] == 6) return EX_DATAERR; /* X.6.z: the content */
    return s->code == 550 && !s->detail[1] ? EX_NOUSER : EX_UNAVAILABLE;
}

static int report_by_mail(struct letter *l, const struct handin_rcpt *rcpts, size_t n, struct str intro) {
    enum { HEAD_MAX = 256 * 1024 };
    struct buf head = buf_in(l->arena, HEAD_MAX), tail = buf_in(l->arena, 200);
    struct handin_rcpt to = {.text = l->sender};
    struct handin_mail m = {.sender = STR(""), .eight_bit = true, .rcpts = &to, .rcpt_count = 1};
    struct report r = {str_of(l->c->hostname), str_of(l->c->origin), l->sender, intro, rcpts, n, false, 0};
    if (getrandom(&r.unique, sizeof r.unique, 0) < 0) r.unique = (uint64_t)getpid();
    report_build(&r, &head, &tail);
    struct source data = {.part = {buf_str(&head), text_str(&l->in.text), buf_str(&tail)}};
    session_send(&l->session, &m, &data);
    if (to.status.kind == STATUS_NEVER) return EX_UNAVAILABLE;
    return session_drop(&l->session, &m, &data) ? EX_OK : EX_TEMPFAIL;
}

/* Not accepted, and why was said on standard error: with -oem it is mailed back too. */
static int failed(struct letter *l, int status) {
    if (!by_mail(l) || status == EX_USAGE || status == EX_IOERR) return status;
    struct str intro =
        status == EX_DATAERR
            ? STR("Your message was not sent: an address in it or in the command was not valid.")
            : STR("Your message was not sent: it is too large.");
    int sent = report_by_mail(l, NULL, 0, intro);
    return l->o->errors == ERRORS_MAIL_OK && sent == EX_OK ? EX_OK : status;
}

static int tell_refused(struct letter *l, const struct handin_rcpt *rcpts, size_t n) {
    int status = EX_OK;
    bool mail = by_mail(l);
    for (size_t i = 0; i < n; i++) {
        if (rcpts[i].status.kind != STATUS_NEVER) continue;
        char mem[1200], safe[1200];
        struct buf line = BUF(mem), b = BUF(safe);
        status_format(&line, &rcpts[i].status);
        buf_add_escaped(&b, buf_str(&line));
        char to[ADDR_TEXT_MAX + 1];
        snprintf(to, sizeof to, "%.*s", STR_ARGS(rcpts[i].text));
        if (!mail) complain(l, to, buf_cstr(&b));
        if (status == EX_OK) status = exit_of(&rcpts[i].status);
    }
    if (status == EX_OK || !mail) return status;
    if (report_by_mail(l, rcpts, n, STR("Your message was not accepted for these recipients:")) != EX_OK)
        return status;
    return l->o->errors == ERRORS_MAIL_OK ? EX_OK : status;
}

static int submit(struct letter *l) {
    struct handin_mail m = {
        .sender = l->sender,
        .notify = str_of(l->o->notify),
        .ret = str_of(l->o->ret),
        .envid = str_of(l->o->envid),
        .eight_bit = has_eight_bit(text_str(&l->head)) || has_eight_bit(l->body),
        .rcpt_count = l->rcpts.n,
    };
    m.rcpts = arena_alloc(l->arena, l->rcpts.n * sizeof *m.rcpts);
    if (!m.rcpts) {
        complain(l, "too many recipients", "");
        return EX_UNAVAILABLE;
    }
    for (size_t i = 0; i < l->rcpts.n; i++) m.rcpts[i].text = l->rcpts.v[i];
    struct source data = {.part = {text_str(&l->head), l->body}};
    session_send(&l->session, &m, &data);
    if (!session_drop(&l->session, &m, &data)) {
        complain(l, "the mail system is down, and the mail cannot be left for it", l->session.why);
        return EX_TEMPFAIL;
    }
    return tell_refused(l, m.rcpts, m.rcpt_count);
}

static int compose(struct letter *l) {
    int status = EX_OK;
    if (!find_sender(l, &status)) return status;
    /* The message is read before anything is judged, so that a writer to our pipe never gets SIGPIPE and
     * a wrong recipient can be told by mail with the message. */
    bool arguments = take_arguments(l, &status);
    if (!arguments && status == EX_USAGE) return status;
    int read_status = EX_OK;
    if (!read_message(l, &read_status)) return failed(l, read_status);
    if (!arguments || !edit_header(l, &status)) return failed(l, status);
    return submit(l);
}

int mode_send(const struct options *o, const struct config *c) {
    static struct letter l; /* the session in it is too large for the stack */
    l = (struct letter){.o = o, .c = c, .arena = arena_new(ARENA_MAX)};
    caller_find(&l.who, c);
    session_init(&l.session, c, l.arena, o->verbose);
    int status = compose(&l);
    session_end(&l.session);
    rcptlist_free(&l.rcpts);
    intake_free(&l.in);
    text_free(&l.head);
    arena_free(l.arena);
    return status;
}
