/* data.c: from 354 to the reply after the final dot. The data goes through the one line reader straight
 * into the sink of the shell; the field names are looked at on the way. What is wrong with a message is
 * told only after its real end, so that none of it can be taken for commands. */
#include "common/arena.h"
#include "smtpd/state.h"

static void on_delivered_to(void *ctx, struct str value) {
    struct session *s = ctx;
    struct data_phase *d = s->tx->data;
    struct addr a;
    const char *why;
    /* Ours are on top. A header full of them must not cost a look at all recipients for each. */
    if (d->delivered++ >= s->host->hop_limit) return;
    if (d->loop || value.n > ADDR_TEXT_MAX || !addr_parse(value, ADDR_UTF8, d->arena, &a, &why)) return;
    for (const struct session_rcpt *r = s->tx->mail.rcpts; r && !d->loop; r = r->next)
        d->loop = addr_same(&a, &r->addr);
}

/* RFC 8689 3, 4.1: a wish that TLS policies of recipients be ignored; REQUIRETLS in the envelope is
 * stronger. */
static void on_tls_required(void *ctx, struct str value) {
    struct session_mail *m = &((struct session *)ctx)->tx->mail;
    if (str_eq_nocase(value, STR("No")) && !(m->body & SESSION_REQUIRETLS)) m->body |= SESSION_TLS_OPTIONAL;
}

/* What is left after the fix-up, and is kept. */
static void store(void *ctx, struct str run) {
    struct session *s = ctx;
    struct data_phase *d = s->tx->data;
    s->tx->mail.size += run.n;
    if (d->failed) return;
    if (d->taken > s->host->size_limit || s->tx->mail.size > s->host->size_limit || d->line.stray ||
        !s->host->ops->write(s->ctx, run)) {
        struct status st = status_make(451, "4.3.0", "The message cannot be kept now, try again later");
        data_fail(s, &st);
    }
}

/* RFC 6409 6.1, when submission-check-from says so; the sender of the envelope lookup has checked. */
static void on_from(void *ctx, const struct addr *v, size_t n, bool ok) {
    struct session *s = ctx;
    if (!ok || n != 1 || !addr_same(&v[0], &s->tx->mail.sender)) s->tx->data->foreign_from = true;
}

static bool start_fixup(struct session *s, struct data_phase *d) {
    if (s->client.service != SERVICE_SUBMISSION) return true;
    d->fixup = ARENA_NEW(s->tx->arena, struct fixup);
    if (!d->fixup) return false;
    *d->fixup = (struct fixup){
        .origin = s->host->origin, .sink = store, .from = on_from, .ctx = s, .arena = s->tx->arena};
    return fixup_begin(d->fixup);
}

bool data_start(struct session *s, bool chunked) {
    struct transaction *tx = s->tx;
    struct data_phase *d = ARENA_NEW(tx->arena, struct data_phase);
    tx->mail.arrival_ms = s->now.wall_ms;
    if (!d || !start_fixup(s, d) || !s->host->ops->begin(s->ctx, &tx->mail)) return false;
    d->chunked = chunked;
    d->mender.stuff = !chunked && !s->reader.lf;
    d->header.delivered_to = on_delivered_to;
    d->header.tls_required = on_tls_required;
    d->header.ctx = s;
    policy_look_for(s, &d->header, tx->arena);
    d->arena = tx->arena;
    d->began_ns = s->now.mono_ns;
    tx->data = d;
    return true;
}

void data_begin(struct session *s) {
    if (data_start(s, false))
        session_plain(s, 354, false, STR("End the message with a line that is one dot"));
    else session_wrong(s, "data", 451, "4.3.0", "No mail can be taken now, try again later");
}

void data_fail(struct session *s, const struct status *st) {
    struct data_phase *d = s->tx->data;
    if (d->failed) return;
    d->failed = true;
    d->failure = *st;
    s->host->ops->abort(s->ctx);
}

static void sink(void *ctx, struct str run) {
    struct session *s = ctx;
    struct data_phase *d = s->tx->data;
    d->taken += run.n;
    if (d->header.place != HEADER_DONE) header_take(&d->header, run);
    if (d->fixup && d->fixup->place != FIXUP_OVER) fixup_take(d->fixup, run);
    else store(s, run);
}

/* What speaks against the message, worst first; the order does not depend on how the bytes came. */
static bool objection(const struct session *s, struct status *st) {
    const struct data_phase *d = s->tx->data;
    if (d->line.stray) *st = status_make(554, "5.6.0", "Bare CR, bare LF or NUL in the message");
    else if (d->taken > s->host->size_limit || s->tx->mail.size > s->host->size_limit)
        *st = status_make(552, "5.3.4", "Message too large for this server (message-size-limit)");
    else if (d->header.received > s->host->hop_limit) /* RFC 5321 6.3 */
        *st = status_make(554, "5.4.6", "Too many Received fields: a mail loop (hop-limit)");
    else if (d->loop) *st = status_make(554, "5.4.6", "Delivered to this recipient before: a mail loop");
    else if (d->failed) *st = d->failure;
    else if (d->fixup && s->host->check_from && (d->foreign_from || !d->header.from))
        *st = status_make(550, "5.7.1", "From is not the sender you gave (submission-check-from)");
    else return false;
    return true;
}

static void tell(struct session *s, enum session_event_kind kind, const struct status *st) {
    char mem[512];
    struct buf reply = BUF(mem);
    const struct transaction *tx = s->tx;
    status_format(&reply, st);
    struct session_event e = {
        .kind = kind,
        .stage = STR("end of data"),
        .from = tx->mail.sender_text,
        .helo = s->helo,
        .reply = buf_str(&reply),
        .protocol = session_protocol(s),
        .mail = &tx->mail,
        .data_us = (uint64_t)(tx->data->ended_ns - tx->data->began_ns) / 1000,
        .commit_us = (uint64_t)(s->now.mono_ns - tx->data->ended_ns) / 1000,
    };
    s->host->ops->event(s->ctx, &e);
}

/* One reply; in LMTP, once the message is there, one for each recipient that was accepted (RFC 2033 4.2). */
static void answer(struct session *s, const struct status *st, uint32_t times) {
    for (uint32_t i = 0; i < times && !s->over; i++) session_reply(s, st);
}

static uint32_t answers_due(const struct session *s) {
    return s->client.service == SERVICE_LMTP ? s->tx->taken : 1;
}

static void refuse(struct session *s, const struct status *st, uint32_t times) {
    struct status copy = *st;
    char mem[512];
    struct buf text = BUF(mem);
    buf_add(&text, str_sub(st->text, 0, sizeof mem)); /* it may live in the transaction, which ends here */
    copy.text = buf_str(&text);
    tell(s, SESSION_NOT_RECEIVED, &copy);
    session_forget(s);
    answer(s, &copy, times);
    if (copy.code >= 500) session_error(s);
}

static struct status accepted(const struct session *s, struct buf *text) {
    buf_adds(text, "Accepted as ");
    buf_adds(text, qid_format(s->tx->mail.id).c);
    return status_make(250, "2.0.0", buf_cstr(text));
}

static void finish(struct session *s, enum session_event_kind kind) {
    char mem[96];
    struct buf text = BUF(mem);
    struct status ok = accepted(s, &text);
    s->messages++;
    s->errors = 0; /* a client that sends mail is at work, however long the session */
    tell(s, kind, &ok);
    uint32_t times = answers_due(s);
    session_forget(s);
    answer(s, &ok, times);
}

/* The client hears what it would hear of any other message. */
static void discard(struct session *s) {
    s->tx->data->failed = true;
    s->host->ops->abort(s->ctx);
    finish(s, SESSION_DISCARDED);
}

static void complete(struct session *s) {
    struct transaction *tx = s->tx;
    struct status st;
    tx->data->ended_ns = s->now.mono_ns;
    if (tx->data->fixup) fixup_end(tx->data->fixup);
    if (objection(s, &st)) {
        refuse(s, &st, answers_due(s));
        return;
    }
    if (!session_policy(s, RULE_END, NULL, &st)) {
        refuse(s, &st, answers_due(s));
        return;
    }
    if (tx->effects.discard || !tx->mail.rcpt_count) {
        discard(s);
        return;
    }
    tx->mail.hold = tx->effects.hold;
    tx->mail.redirect = tx->effects.redirect;
    tx->mail.prefix = prefix_build(s, tx->arena);
    if (!tx->mail.prefix.n || !s->host->ops->commit(s->ctx, &tx->mail)) {
        st = status_make(451, "4.3.0", "The message cannot be kept now, try again later");
        refuse(s, &st, answers_due(s));
        return;
    }
    s->committing = true;
}

enum { MEND_AT_ONCE = 1000 };

/* Up to the next line end, since the message may end there. */
static size_t mended_line(struct session *s, struct str in) {
    char mem[MEND_AT_ONCE * MEND_GROWTH + 1];
    struct buf b = BUF(mem);
    size_t used = mend(&s->tx->data->mender, str_sub(in, 0, MEND_AT_ONCE), &b);
    (void)line_data(&s->tx->data->line, buf_str(&b), sink, s);
    return used;
}

void data_take(struct session *s, struct str *in) {
    size_t used = s->client.mended ? mended_line(s, *in) : line_data(&s->tx->data->line, *in, sink, s);
    *in = str_sub(*in, used, in->n);
    s->moved = true;
    if (s->tx->data->line.place == LINE_AT_END) complete(s);
}

static void chunk(struct session *s, struct str octets) {
    if (!octets.n) return;
    line_chunk(&s->tx->data->line, octets);
    sink(s, octets);
}

static void mended_chunk(struct session *s, struct str octets, bool end) {
    char mem[MEND_AT_ONCE * MEND_GROWTH + 1];
    struct mender *m = &s->tx->data->mender;
    do {
        struct buf b = BUF(mem);
        size_t used = mend(m, str_sub(octets, 0, MEND_AT_ONCE), &b);
        octets = str_sub(octets, used, octets.n);
        if (end) mend_end(m, &b);
        chunk(s, buf_str(&b));
    } while (octets.n);
}

void data_chunk(struct session *s, struct str octets) {
    if (s->client.mended) mended_chunk(s, octets, false);
    else chunk(s, octets);
}

void data_chunk_end(struct session *s, bool last) {
    struct data_phase *d = s->tx->data;
    struct status st;
    if (last && s->client.mended) mended_chunk(s, STR_NONE, true);
    /* RFC 3030 asks for no CR LF at the end; mailboxes and DATA do. */
    if (last && !line_chunks_end(&d->line) && !d->line.stray) sink(s, STR("\r\n"));
    if (last) {
        complete(s);
    } else if (objection(s, &st)) {
        d->ended_ns = s->now.mono_ns;
        refuse(s, &st, 1); /* of a chunk that is not the last (RFC 2033 4.3) */
    } else {
        session_say(s, 250, "2.0.0", "Chunk taken");
    }
}

void data_done(struct session *s, const struct status *st) {
    s->committing = false;
    s->tx->data->failed = true; /* it is out of our hands: nothing left to abort */
    if (st->kind == STATUS_OK) finish(s, SESSION_RECEIVED);
    else refuse(s, st, answers_due(s));
}
