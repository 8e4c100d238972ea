#include "common/arena.h"
#include "smtpd/state.h"

#include <time.h>

enum { PREFIX_OCTETS_MAX = 4096 };

/* RFC 5322 3.3, in UTC: the cage has no time zone files, and a trace reads better without them. */
static void add_date(struct buf *b, int64_t wall_ms) {
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (!gmtime_r(&t, &tm)) return;
    buf_addf(b, "%s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday % 7], tm.tm_mday, months[tm.tm_mon % 12],
             tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* RFC 5321 4.4: Extended-Domain with the address that the connection came from, which no client can choose. */
static void add_from(struct buf *b, const struct session *s) {
    if (s->client.local) return;
    buf_adds(b, "from ");
    buf_add(b, s->helo);
    buf_adds(b, s->client.ip.family == 6 ? " ([IPv6:" : " ([");
    ip_format(b, &s->client.ip);
    buf_adds(b, "])\r\n\t");
}

static void add_received(struct buf *b, const struct session *s) {
    const struct session_mail *m = &s->tx->mail;
    buf_adds(b, "Received: ");
    add_from(b, s);
    buf_adds(b, "by ");
    buf_add(b, s->host->hostname);
    if (s->client.local) {
        buf_adds(b, " (Postern, from userid ");
        buf_addu(b, s->client.uid);
        buf_addc(b, ')');
    } else {
        buf_adds(b, " (Postern)");
    }
    buf_adds(b, " with ");
    buf_add(b, session_protocol(s));
    buf_adds(b, "\r\n\tid ");
    buf_adds(b, qid_format(m->id).c);
    if (m->rcpt_count == 1) { /* more would tell them of each other (7.2) */
        buf_adds(b, "\r\n\tfor <");
        buf_add(b, m->rcpts->text);
        buf_addc(b, '>');
    }
    buf_adds(b, ";\r\n\t");
    add_date(b, m->arrival_ms);
    buf_adds(b, "\r\n");
}

/* RFC 6409 8.2, 8.3: only for our own users; the mail of others is not ours to mend. */
static void add_missing(struct buf *b, const struct session *s) {
    const struct header_scan *h = &s->tx->data->header;
    if (!s->client.local) return;
    if (!h->date) {
        buf_adds(b, "Date: ");
        add_date(b, s->tx->mail.arrival_ms);
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
    /* Data without a header: an empty line keeps its first line from being read as one of ours. */
    if (s->tx->data->header.headless) buf_adds(&b, "\r\n");
    return b.failed ? STR_NONE : buf_str(&b);
}
