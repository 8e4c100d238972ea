#include "tools/listing.h"

#include "tools/control.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

struct list {
    enum listing form;
    uint64_t messages, octets;
    size_t written;    /* objects, as JSON */
    struct qid id;     /* the message whose recipients come now */
    json_t *object;    /* the same as JSON, until the next one */
    char reason[1200]; /* last printed, to print each only once in a message */
};

/* What a terminal can be shown: others chose these octets. */
static const char *shown(struct buf *b, struct str s) {
    b->n = 0;
    buf_add_escaped(b, s);
    return buf_cstr(b);
}

enum when { WHEN_MAILQ, WHEN_FULL, WHEN_CLOCK };

static const char *when(char mem[64], int64_t ms, enum when form) {
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    size_t n = 0;
    if (localtime_r(&t, &tm)) {
        if (form == WHEN_MAILQ) n = strftime(mem, 64, "%a %b %e %H:%M:%S", &tm);
        if (form == WHEN_FULL) n = strftime(mem, 64, "%Y-%m-%d %H:%M:%S %z", &tm);
        if (form == WHEN_CLOCK) n = strftime(mem, 64, "%H:%M:%S", &tm);
    }
    return n ? mem : "?";
}

static const char *sender_shown(struct buf *b, struct str sender) {
    return sender.n ? shown(b, sender) : "MAILER-DAEMON";
}

static const char *message_state(uint8_t state) {
    return state == 'h' ? "held" : state == 'd' ? "deferred" : "fresh";
}

static void begin_mailq(struct list *l, const struct wire_ctl_message *m) {
    char time[64], mem[1700];
    struct buf b = BUF(mem);
    if (l->messages == 1)
        puts("-Queue ID-----------  --Size-- ----Arrival Time---- -Sender/Recipient-------");
    else putchar('\n');
    printf("%s%-*s %8llu %-20s %s\n", qid_format(m->id).c, 21 - QID_LEN, m->state == 'h' ? "!" : "", (unsigned long long)m->size,
           when(time, m->arrival, WHEN_MAILQ), sender_shown(&b, m->sender));
}

static void begin_full(struct list *l, const struct wire_ctl_message *m) {
    char time[64], mem[1700];
    struct buf b = BUF(mem);
    if (l->messages > 1) putchar('\n');
    printf("id          %s\n", qid_format(m->id).c);
    printf("state       %s\n", message_state(m->state));
    printf("sender      <%s>\n", m->sender.n ? shown(&b, m->sender) : "");
    printf("arrived     %s\n", when(time, m->arrival, WHEN_FULL));
    printf("size        %llu octets\n", (unsigned long long)m->size);
    printf("from        %s\n", shown(&b, m->origin));
    printf("recipients  %u, %u not done\n", m->rcpts, m->pending);
}

/* One object a line, in an array. */
static void end_json(struct list *l) {
    if (!l->object) return;
    fputs(l->written++ ? ",\n " : "[", stdout);
    json_dumpf(l->object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(l->object);
    l->object = NULL;
}

static json_t *json_text(struct str s) {
    json_t *j = json_stringn(s.n ? s.p : "", s.n);
    if (j) return j; /* not UTF-8 */
    char mem[4096];
    struct buf b = BUF(mem);
    return json_string(shown(&b, s));
}

static void begin_json(struct list *l, const struct wire_ctl_message *m) {
    end_json(l);
    l->object = json_object();
    json_object_set_new(l->object, "id", json_string(qid_format(m->id).c));
    json_object_set_new(l->object, "arrival_ms", json_integer(m->arrival));
    json_object_set_new(l->object, "state", json_string(message_state(m->state)));
    json_object_set_new(l->object, "size", json_integer((json_int_t)m->size));
    json_object_set_new(l->object, "sender", json_text(m->sender));
    json_object_set_new(l->object, "origin", json_text(m->origin));
    json_object_set_new(l->object, "recipient_count", json_integer(m->rcpts));
    json_object_set_new(l->object, "pending_count", json_integer(m->pending));
    json_object_set_new(l->object, "recipients", json_array());
}

static void on_message(void *ctx, struct channel *ch, const struct wire_ctl_message *m, int fd) {
    static void (*const begin[])(struct list *, const struct wire_ctl_message *) = {
        [LISTING_MAILQ] = begin_mailq, [LISTING_JSON] = begin_json, [LISTING_FULL] = begin_full};
    struct list *l = ((struct control *)ctx)->user;
    (void)ch, (void)fd;
    l->messages++;
    l->octets += m->size;
    l->id = m->id;
    l->reason[0] = '\0';
    begin[l->form](l, m);
}

static void rcpt_mailq(struct list *l, const struct wire_ctl_rcpt *m, const char *reason) {
    char mem[1700];
    struct buf b = BUF(mem);
    if (m->state != 'N' && m->state != 'L') return;
    if (m->state == 'L' && *reason && str_eq(str_of(reason), str_of(l->reason)) == false) {
        printf("%54s(%s)\n", "", reason);
        snprintf(l->reason, sizeof l->reason, "%s", reason);
    }
    printf("%53s%s\n", "", shown(&b, m->rcpt));
}

static const char *state_name(uint8_t state) {
    static const struct {
        char letter;
        const char *name;
    } names[] = {{'N', "new"}, {'L', "deferred"}, {'D', "delivered"}, {'F', "failed"}, {'S', "expanded"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (state == names[i].letter) return names[i].name;
    return "unknown";
}

static void rcpt_full(struct list *l, const struct wire_ctl_rcpt *m, const char *reason) {
    char mem[1700], time[64];
    struct buf b = BUF(mem);
    (void)l;
    printf("  %-9s <%s>", state_name(m->state), shown(&b, m->rcpt));
    if (m->attempts) printf(", %u attempt%s", m->attempts, m->attempts == 1 ? "" : "s");
    if (m->state == 'L') printf(", next %s", when(time, m->next, WHEN_CLOCK));
    putchar('\n');
    if (*reason) printf("            %s\n", reason);
}

static void rcpt_json(struct list *l, const struct wire_ctl_rcpt *m, const char *reason) {
    json_t *r = json_object();
    (void)reason;
    json_object_set_new(r, "address", json_text(m->rcpt));
    json_object_set_new(r, "state", json_string(state_name(m->state)));
    json_object_set_new(r, "attempts", json_integer(m->attempts));
    json_object_set_new(r, "next_ms", json_integer(m->next));
    if (m->code) {
        char dsn[32];
        snprintf(dsn, sizeof dsn, "%u.%u.%u", m->detail / 1000000, m->detail / 1000 % 1000, m->detail % 1000);
        json_object_set_new(r, "code", json_integer(m->code));
        json_object_set_new(r, "dsn", json_string(dsn));
        json_object_set_new(r, "reason", json_text(m->text));
    }
    if (l->object) json_array_append_new(json_object_get(l->object, "recipients"), r);
    else json_decref(r);
}

static void on_rcpt(void *ctx, struct channel *ch, const struct wire_ctl_rcpt *m, int fd) {
    static void (*const add[])(struct list *, const struct wire_ctl_rcpt *, const char *) = {
        [LISTING_MAILQ] = rcpt_mailq, [LISTING_JSON] = rcpt_json, [LISTING_FULL] = rcpt_full};
    char mem[1200], safe[1200];
    struct buf b = BUF(mem), s = BUF(safe);
    struct status status = STATUS_OF(m);
    (void)ch, (void)fd;
    if (m->code) status_format(&b, &status);
    add[((struct list *)((struct control *)ctx)->user)->form](((struct control *)ctx)->user, m,
                                                              shown(&s, buf_str(&b)));
}

static const struct wire_handlers handlers = {
    .ctl_message = on_message, .ctl_rcpt = on_rcpt, .ctl_done = control_done, .ctl_progress = control_progress};

int listing_failed(const char *program, const struct status *s) {
    fprintf(stderr, "%s: %.*s\n", program, STR_ARGS(s->text));
    if (s->detail[1] == 7) return EX_NOPERM; /* X.7: security or policy */
    return s->kind == STATUS_LATER ? EX_TEMPFAIL : EX_UNAVAILABLE;
}

static int down(const char *program, const struct control *c) {
    fprintf(stderr, "%s: %s\n", program, c->why);
    return EX_UNAVAILABLE;
}

static void end(struct list *l) {
    if (l->form == LISTING_JSON) {
        end_json(l);
        puts(l->written ? "]" : "[]");
    } else if (!l->messages) puts("Mail queue is empty");
    else if (l->form == LISTING_MAILQ)
        printf("\n-- %llu Kbytes in %llu Request%s.\n", (unsigned long long)((l->octets + 1023) / 1024),
               (unsigned long long)l->messages, l->messages == 1 ? "" : "s");
}

static int outcome(const char *program, struct control *c) {
    if (!control_wait(c)) return down(program, c);
    return c->status.kind == STATUS_OK ? EX_OK : listing_failed(program, &c->status);
}

int listing_print(const char *program, const struct config *config, const struct wire_ctl_queue *request, enum listing form) {
    struct list l = {.form = form};
    struct control c;
    if (!control_open(&c, config, ROLE_queue, &handlers, &l)) return down(program, &c);
    channel_send_ctl_queue(c.channel, request, -1);
    int status = outcome(program, &c);
    if (status == EX_OK) end(&l);
    json_decref(l.object);
    control_close(&c);
    return status;
}

int listing_order(const char *program, const struct config *config, const struct wire_ctl_queue *request, const char *doing,
                  uint32_t *count) {
    static const struct wire_handlers quiet = {.ctl_done = control_done, .ctl_progress = control_progress};
    struct control c;
    *count = 0;
    if (!control_open(&c, config, ROLE_queue, &quiet, NULL)) return down(program, &c);
    c.doing = doing;
    channel_send_ctl_queue(c.channel, request, -1);
    int status = outcome(program, &c);
    *count = c.count;
    control_close(&c);
    return status;
}
