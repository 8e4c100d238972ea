#include "dispatch/bounce.h"

#include <string.h>

enum { WIDTH = 76, RCPT_ROOM = 6000, FIXED_ROOM = 8192 };

size_t bounce_header_length(struct str data, bool *cut) {
    size_t at = 0;
    *cut = false;
    while (at < data.n) {
        const char *end = memchr(data.p + at, '\n', data.n - at);
        if (!end) break;
        size_t next = (size_t)(end - data.p) + 1;
        if (next - at <= 2 && (next - at == 1 || data.p[at] == '\r')) return at;
        at = next;
    }
    *cut = true;
    return at;
}

size_t bounce_room(const struct bounce *b) {
    return FIXED_ROOM + b->prefix.n + b->header.n + 2 * b->sender.n + b->count * RCPT_ROOM;
}

void bounce_date(struct buf *out, int64_t ms) {
    static const char days[] = "ThuFriSatSunMonTueWed", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t s = ms > 0 ? ms / 1000 : 0, day = s / 86400, rest = s % 86400;
    /* Days since 1970 to a date: years that begin in March, in eras of 400 (Howard Hinnant, "chrono-
     * compatible low-level date algorithms"). */
    int64_t z = day + 719468, era = z / 146097, doe = z % 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t d = doy - (153 * mp + 2) / 5 + 1, m = mp < 10 ? mp + 3 : mp - 9, y = yoe + era * 400 + (m <= 2);
    buf_addf(out, "%.3s, %d %.3s %d %02d:%02d:%02d +0000", days + 3 * (day % 7), (int)d, months + 3 * (m - 1),
             (int)y, (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60));
}

/* What others said may hold anything: control characters would end our lines. */
static void add_clean(struct buf *out, struct str s) {
    for (size_t i = 0; i < s.n; i++)
        buf_addc(out, (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f ? '?' : s.p[i]);
}

/* Words, broken before WIDTH where there is a space, and hard at 900 (RFC 5322 2.1.1 has 998 for a line). */
static void add_wrapped(struct buf *out, size_t column, const char *indent, struct str text) {
    struct str word;
    bool first = true;
    while (str_word(&text, ' ', &word)) {
        while (word.n) {
            struct str part = str_sub(word, 0, 900);
            bool fold = !first && column + 1 + part.n > WIDTH;
            if (fold) {
                buf_adds(out, "\r\n");
                buf_adds(out, indent);
                column = strlen(indent);
            } else if (!first) {
                buf_addc(out, ' ');
                column++;
            }
            add_clean(out, part);
            column += part.n;
            word = str_sub(word, part.n, word.n);
            first = false;
        }
    }
    buf_adds(out, "\r\n");
}

static void add_code(struct buf *out, const struct status *st) {
    buf_addf(out, "%u.%u.%u", st->detail[0], st->detail[1], st->detail[2]);
}

/* RFC 3463: class and subject say in a few words what a person can do. Most special first. */
static const struct meaning {
    int subject, detail; /* detail -1: any */
    const char *text;
} meanings[] = {
    {1, 1, "There is no such mailbox. Check the part before the @ for a typing error."},
    {1, 2, "The domain does not exist or takes no mail. Check the part after the @ for a typing error."},
    {1, 3, "The address is not written as an address must be."},
    {1, 10, "The domain says that it takes no mail at all."},
    {1, -1, "Something is wrong with the address."},
    {2, 1, "The mailbox is switched off and takes no mail."},
    {2, 2, "The mailbox is full. Try again later, or reach the recipient in another way."},
    {2, 3, "The message is larger than this mailbox takes. Send it in parts, or smaller."},
    {2, -1, "Something is wrong with the recipient's mailbox."},
    {3, 4, "The message is larger than the recipient's system takes. Send it in parts, or smaller."},
    {3, -1, "Something is wrong with the recipient's mail system."},
    {4, 6,
     "The mail would go round in circles: the systems that are responsible for this address point at each "
     "other. "
     "Their administrators must mend it."},
    {4, 7, "It was tried until the time that mail may wait was over. Send it again if it still matters."},
    {4, 4, "No way leads to the recipient's mail system as the DNS describes it."},
    {4, -1, "The recipient's mail system could not be reached."},
    {5, -1, "The two mail systems did not understand each other."},
    {6, -1, "The recipient's system cannot take this kind of content."},
    {7, 10, "The message asked to travel under TLS only (REQUIRETLS), and no such way leads to the recipient's system."},
    {7, 30, "The message asked to travel under TLS only (REQUIRETLS), which the recipient's system does not promise."},
    {7, -1, "The recipient's system refused the message by its own rules. What it said above tells more."},
    {-1, -1, "The recipient's system refused the message. What it said above tells more."},
};

static const char *meaning_of(const struct status *st) {
    const struct meaning *m = meanings;
    while (m->subject >= 0 && (m->subject != st->detail[1] || (m->detail >= 0 && m->detail != st->detail[2])))
        m++;
    return m->text;
}

/* One row for each sched_action. */
static const struct tale {
    const char *action, *subject, *one, *more;
} tales[] = {
    [SCHED_HAS_FAILED] = {"failed", "Undelivered mail returned to sender",
                          "could not be delivered to the address below. This is final: it\r\n"
                          "will not be tried again. The reason stands beside it.",
                          "could not be delivered to the addresses below. This is final: it\r\n"
                          "will not be tried again. The reason stands beside each."},
    [SCHED_WAS_DELIVERED] = {"delivered", "Mail was delivered",
                             "was put into the mailbox of the recipient below.\r\nYou asked to be told.",
                             "was put into the mailboxes of the recipients below.\r\nYou asked to be told."},
    [SCHED_WAS_RELAYED] =
        {"relayed", "Mail was passed on",
         "was passed on for the recipient below to a mail system that\r\n"
         "sends no reports itself. What became of it there you will hear only if it fails.",
         "was passed on for the recipients below to a mail system that\r\n"
         "sends no reports itself. What became of it there you will hear only if it fails."},
    [SCHED_WAS_EXPANDED] = {"expanded", "Mail was passed on to several addresses",
                            "was passed on to those for whom the address below stands.\r\n"
                            "You will hear more only if something fails.",
                            "was passed on to those for whom the addresses below stand.\r\n"
                            "You will hear more only if something fails."},
};

static const struct tale *tale_of(const struct bounce *b) {
    return &tales[b->failed[0].action];
}

static void add_header(struct buf *out, const struct bounce *b, struct str boundary, bool eight) {
    buf_adds(out, "Date: ");
    bounce_date(out, b->now);
    buf_adds(out, "\r\nFrom: Mail Delivery System <MAILER-DAEMON@");
    buf_add(out, b->hostname);
    buf_adds(out, ">\r\nTo: <");
    add_clean(out, b->sender);
    buf_adds(out, ">\r\nSubject: ");
    buf_adds(out, tale_of(b)->subject);
    buf_adds(out, "\r\nMessage-ID: <");
    buf_adds(out, qid_format(b->id).c);
    buf_addc(out, '@');
    buf_add(out, b->hostname);
    /* RFC 3834 5: so that no other robot answers this one. */
    buf_adds(out, ">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                  "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"");
    buf_add(out, boundary);
    buf_adds(out, "\"\r\n");
    if (eight) buf_adds(out, "Content-Transfer-Encoding: 8bit\r\n");
    buf_adds(out, "\r\nThis is a report in MIME format (RFC 3464).\r\n");
}

static void add_part(struct buf *out, struct str boundary, const char *type, bool eight) {
    buf_adds(out, "\r\n--");
    buf_add(out, boundary);
    buf_adds(out, "\r\nContent-Type: ");
    buf_adds(out, type);
    if (eight) buf_adds(out, "\r\nContent-Transfer-Encoding: 8bit");
    buf_adds(out, "\r\n\r\n");
}

static void add_human_rcpt(struct buf *out, const struct sched_failed *f) {
    buf_adds(out, "<");
    add_clean(out, f->rcpt);
    buf_adds(out, ">\r\n");
    buf_adds(out, f->status.remote ? "    " : "    this system: ");
    if (f->status.remote) {
        add_clean(out, f->host.n ? f->host : STR("another mail system"));
        buf_adds(out, "\r\n    said: ");
    }
    buf_addf(out, "%u ", f->status.code);
    add_code(out, &f->status);
    buf_addc(out, ' ');
    add_wrapped(out, 40, "    ", f->status.text);
    if (f->action == SCHED_HAS_FAILED) {
        buf_adds(out, "    ");
        add_wrapped(out, 4, "    ", str_of(meaning_of(&f->status)));
    }
    buf_adds(out, "\r\n");
}

static void add_human(struct buf *out, const struct bounce *b, struct str boundary, bool eight) {
    add_part(out, boundary, "text/plain; charset=utf-8", eight);
    buf_adds(out, "This is the mail system at ");
    buf_add(out, b->hostname);
    buf_addf(out,
             ".\r\n\r\nYour message %s\r\nOther recipients of the message, if there are any, are not "
             "affected.\r\n\r\n",
             b->count == 1 ? tale_of(b)->one : tale_of(b)->more);
    for (size_t i = 0; i < b->count; i++) add_human_rcpt(out, &b->failed[i]);
    buf_adds(out, "If you need help, send this whole message to the postmaster there or at ");
    buf_add(out, b->hostname);
    buf_adds(out, ".\r\nThe queue id of your message was ");
    buf_adds(out, qid_format(b->about).c);
    buf_adds(out, ".\r\n");
}

/* "name[192.0.2.1]:25" is the host's name for the fields (RFC 3464 2.3.5). */
static struct str host_name(struct str host) {
    ptrdiff_t at = str_chr(host, '[');
    return at > 0 ? str_sub(host, 0, (size_t)at) : host;
}

static bool has_eight(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 0x7e) return true;
    return false;
}

static void add_status_rcpt(struct buf *out, const struct sched_failed *f) {
    if (f->orcpt.n) { /* RFC 3461 4.2: type;address as it was given */
        buf_adds(out, "\r\nOriginal-Recipient: ");
        add_clean(out, f->orcpt);
    }
    buf_adds(out, has_eight(f->rcpt) ? "\r\nFinal-Recipient: utf-8; " : "\r\nFinal-Recipient: rfc822; ");
    add_clean(out, f->rcpt);
    buf_adds(out, "\r\nAction: ");
    buf_adds(out, tales[f->action].action);
    buf_adds(out, "\r\nStatus: ");
    add_code(out, &f->status);
    if (f->status.remote && f->host.n) {
        buf_adds(out, "\r\nRemote-MTA: dns; ");
        add_clean(out, host_name(f->host));
    }
    buf_adds(out, f->status.remote ? "\r\nDiagnostic-Code: smtp; " : "\r\nDiagnostic-Code: x-postern; ");
    buf_addf(out, "%u ", f->status.code);
    add_code(out, &f->status);
    buf_addc(out, ' ');
    add_wrapped(out, 40, "    ", f->status.text);
}

static void add_status(struct buf *out, const struct bounce *b, struct str boundary, bool eight) {
    add_part(out, boundary, b->utf8 ? "message/global-delivery-status" : "message/delivery-status", eight);
    if (b->envid.n) { /* RFC 3464 2.2.1 */
        buf_adds(out, "Original-Envelope-Id: ");
        add_clean(out, b->envid);
        buf_adds(out, "\r\n");
    }
    buf_adds(out, "Reporting-MTA: dns; ");
    buf_add(out, b->hostname);
    buf_adds(out, "\r\nX-Postern-Queue-ID: ");
    buf_adds(out, qid_format(b->about).c);
    buf_adds(out, "\r\nArrival-Date: ");
    bounce_date(out, b->arrival);
    buf_adds(out, "\r\n");
    for (size_t i = 0; i < b->count; i++) add_status_rcpt(out, &b->failed[i]);
}

static void add_original(struct buf *out, const struct bounce *b, struct str boundary, bool eight) {
    /* RFC 6533 6.3, 6.2 with SMTPUTF8 */
    static const char *const types[2][2] = {{"text/rfc822-headers", "message/global-headers"},
                                            {"message/rfc822", "message/global"}};
    add_part(out, boundary, types[b->full][b->utf8], eight);
    buf_add(out, b->prefix);
    buf_add(out, b->header);
    if (b->cut) buf_adds(out, "X-Postern-Note: the rest of the header was left out\r\n");
    buf_adds(out, "\r\n--");
    buf_add(out, boundary);
    buf_adds(out, "--\r\n");
}

static bool has(struct str s, struct str what) {
    return s.n && memmem(s.p, s.n, what.p, what.n);
}

/* A boundary that nobody could write into his message before: its id is ours. Still, it is looked for. */
static void choose_boundary(struct buf *mem, const struct bounce *b) {
    for (unsigned n = 0; n < 1000; n++) {
        mem->n = 0;
        buf_addf(mem, "=_%s.%u/", qid_format(b->id).c, n);
        buf_add(mem, str_sub(b->hostname, 0, 30)); /* RFC 2046 5.1.1: at most 70 */
        bool found = has(b->prefix, buf_str(mem)) || has(b->header, buf_str(mem));
        for (size_t i = 0; i < b->count && !found; i++)
            found = has(b->failed[i].status.text, buf_str(mem)) || has(b->failed[i].rcpt, buf_str(mem));
        if (!found) return;
    }
}

bool bounce_build(struct buf *out, const struct bounce *b, bool *eight) {
    char mem[80];
    struct buf boundary = BUF(mem);
    *eight = has_eight(b->header) || has_eight(b->prefix) || has_eight(b->sender);
    for (size_t i = 0; i < b->count; i++)
        *eight |= has_eight(b->failed[i].rcpt) || has_eight(b->failed[i].status.text);
    choose_boundary(&boundary, b);
    add_header(out, b, buf_str(&boundary), *eight);
    add_human(out, b, buf_str(&boundary), *eight);
    add_status(out, b, buf_str(&boundary), *eight);
    add_original(out, b, buf_str(&boundary), *eight);
    return !out->failed;
}
