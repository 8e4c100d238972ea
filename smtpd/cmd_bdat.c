/* BDAT (RFC 3030 2): a chunk of the message, of the size that the command says, without dots and end marks.
 *
 * The octets follow the command whatever we think of it (PIPELINING): so a chunk that is refused is counted
 * off and thrown away, and none of it is ever read as a command. A size that cannot be read ends the session,
 * since nobody knows then where the next command begins.
 *
 * BINARYMIME is not offered: a message must stay lines that end in CR LF, since the next host may have
 * nothing but DATA, and mailboxes hold lines. So the rules for CR, LF and NUL are those of DATA. */
#include "smtpd/state.h"

struct chunk_refusal {
    uint16_t code;
    const char *detail, *text;
};

static const struct chunk_refusal no_helo = {503, "5.5.1", "Say EHLO or HELO first"},
                                  no_mail = {503, "5.5.1", "MAIL comes first"},
                                  no_rcpt = {503, "5.5.1", "RCPT comes first"},
                                  none_accepted = {554, "5.5.1", "No recipient was accepted"},
                                  not_now = {451, "4.3.0", "No mail can be taken now, try again later"},
                                  unwanted = {503, "5.5.1", "No mail is taken from you; say QUIT"},
                                  by_rule = {0, NULL, NULL}; /* what it says is in the session */

static const struct chunk_refusal *refusal(struct session *s) {
    if (s->state == AT_REFUSED) return &unwanted;
    if (s->state == AT_START) return &no_helo;
    if (s->state == AT_READY) return &no_mail;
    if (s->state == AT_MAIL)
        return s->tx->tries && s->client.service != SERVICE_LMTP ? &none_accepted : &no_rcpt;
    if (s->state == AT_CHUNKS) return NULL;
    if (!session_policy(s, RULE_DATA, NULL, &s->chunk_status)) return &by_rule;
    return data_start(s, true) ? NULL : &not_now;
}

/* In LMTP the last chunk has a reply for each recipient that was accepted (RFC 2033 4.2, 4.3). */
static void refuse(struct session *s, const struct chunk_refusal *r) {
    struct status st = r == &by_rule ? s->chunk_status : status_make(r->code, r->detail, r->text);
    uint32_t more =
        s->client.service == SERVICE_LMTP && s->chunk_last && s->tx && s->tx->taken ? s->tx->taken - 1 : 0;
    session_forget(s);
    while (more--) session_reply(s, &st);
    session_refuse(s, "bdat", &st, STR_NONE);
}

static void chunk_end(struct session *s) {
    const struct chunk_refusal *r = s->chunk_refused;
    s->chunking = false;
    s->chunk_refused = NULL;
    if (r) refuse(s, r);
    else data_chunk_end(s, s->chunk_last);
}

void chunk_take(struct session *s, struct str *in) {
    size_t n = in->n < s->chunk_left ? in->n : (size_t)s->chunk_left;
    if (!s->chunk_refused) data_chunk(s, str_sub(*in, 0, n));
    *in = str_sub(*in, n, in->n);
    s->chunk_left -= n;
    /* A chunk that is thrown away earns no time by dripping in: it must come whole within the patience for a command. */
    s->moved = s->moved || !s->chunk_refused || !s->chunk_left;
    if (!s->chunk_left) chunk_end(s);
}

void cmd_bdat(struct session *s, struct str arg) {
    struct str size, end = STR_NONE, more;
    uint64_t n;
    bool fit = str_word(&arg, '\0', &size) && size.n <= 20 && str_to_u64(size, INT64_MAX, &n);
    bool last = str_word(&arg, '\0', &end) && str_eq_nocase(end, STR("LAST"));
    if (!fit || (end.n && !last) || str_word(&arg, '\0', &more)) {
        session_end(s, "4.7.0", "BDAT needs a size; what follows cannot be told from commands", "bad BDAT");
        return;
    }
    s->chunking = true;
    s->chunk_last = last;
    s->chunk_left = n;
    s->chunk_refused = refusal(s);
    if (!s->chunk_refused) s->state = AT_CHUNKS;
    if (!n) chunk_end(s);
}
