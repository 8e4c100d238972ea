#include "common/arena.h"
#include "smtpd/date.h"
#include "smtpd/state.h"

enum { PREFIX_OCTETS_MAX = 8192 /* as in wire.def */ };

/* RFC 5321 4.4: Extended-Domain with the address that the connection came from, which no client can
 * choose. */
static void add_from(struct buf *b, const struct session *s) {
    if (s->client.service == SERVICE_LOCAL || (s->login.n && s->host->hide_client)) return;
    buf_adds(b, "from ");
    buf_add(b, s->helo);
    if (!s->client.local && !s->client.ip.family) { /* XCLIENT says that nobody knows it */
        buf_adds(b, " (unknown)\r\n\t");
        return;
    }
    buf_adds(b, " (");
    if (s->client.local) {
        buf_adds(b, "userid ");
        buf_addu(b, s->client.uid);
        buf_adds(b, ")\r\n\t");
        return;
    }
    if (s->client.name.n) { /* confirmed */
        buf_add(b, s->client.name);
        buf_addc(b, ' ');
    }
    buf_adds(b, s->client.ip.family == 6 ? "[IPv6:" : "[");
    ip_format(b, &s->client.ip);
    buf_adds(b, "])\r\n\t");
}

/* A comment; nothing in it can close it (session.h). */
static void add_tls(struct buf *b, const struct session *s) {
    if (!s->tls.on) return;
    buf_adds(b, "\r\n\t(");
    buf_add(b, s->tls.version);
    buf_addf(b, ", %u bits", s->tls.bits);
    if (s->tls.client.n) {
        buf_adds(b, ", client ");
        buf_add(b, s->tls.client);
    }
    buf_addc(b, ')');
}

static void add_received(struct buf *b, const struct session *s) {
    const struct session_mail *m = &s->tx->mail;
    buf_adds(b, "Received: ");
    add_from(b, s);
    buf_adds(b, "by ");
    buf_add(b, s->host->hostname);
    if (s->client.service == SERVICE_LOCAL) {
        buf_adds(b, " (Postern, from userid ");
        buf_addu(b, s->client.uid);
        buf_addc(b, ')');
    } else {
        buf_adds(b, " (Postern)");
    }
    buf_adds(b, " with ");
    buf_add(b, session_protocol(s));
    add_tls(b, s);
    buf_adds(b, "\r\n\tid ");
    buf_adds(b, qid_format(m->id).c);
    if (m->rcpt_count == 1) { /* more would tell them of each other (7.2) */
        buf_adds(b, "\r\n\tfor <");
        buf_add(b, m->rcpts->text);
        buf_addc(b, '>');
    }
    if (s->tls.on) { /* RFC 8314 4.3 */
        buf_adds(b, "\r\n\ttls ");
        buf_add(b, s->tls.cipher);
    }
    buf_adds(b, ";\r\n\t");
    date_rfc5322(b, m->arrival_ms);
    buf_adds(b, "\r\n");
}

/* RFC 6409 8.2, 8.3: only for our own users; the mail of others is not ours to mend. */
static void add_missing(struct buf *b, const struct session *s) {
    const struct header_scan *h = &s->tx->data->header;
    if (s->client.service != SERVICE_LOCAL && s->client.service != SERVICE_SUBMISSION) return;
    if (!h->date) {
        buf_adds(b, "Date: ");
        date_rfc5322(b, s->tx->mail.arrival_ms);
        buf_adds(b, "\r\n");
    }
    if (!h->message_id) {
        buf_adds(b, "Message-ID: <");
        buf_adds(b, qid_format(s->tx->mail.id).c);
        buf_addc(b, '@');
        buf_add(b, s->host->hostname);
        buf_adds(b, ">\r\n");
    }
}

struct str prefix_build(const struct session *s, struct arena *a) {
    struct buf b = buf_in(a, PREFIX_OCTETS_MAX);
    add_received(&b, s);
    add_missing(&b, s);
    for (size_t i = 0; i < s->tx->effects.field_n; i++) {
        buf_add(&b, s->tx->effects.fields[i]);
        buf_adds(&b, "\r\n");
    }
    /* Data without a header: an empty line keeps its first line from being read as one of ours. */
    if (s->tx->data->header.headless) buf_adds(&b, "\r\n");
    return b.failed ? STR_NONE : buf_str(&b);
}
