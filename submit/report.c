#include "submit/report.h"

static void add_boundary(struct buf *b, const struct report *r) {
    buf_addf(b, "=_postern_%016llx", (unsigned long long)r->unique);
}

static bool listed(const struct report *r, const struct handin_rcpt *rcpt) {
    if (!rcpt->decided) return false;
    return rcpt->status.kind == STATUS_NEVER || (r->expired && rcpt->status.kind == STATUS_LATER);
}

static void add_rcpts(const struct report *r, struct buf *b) {
    size_t shown = 0, more = 0;
    for (size_t i = 0; i < r->rcpt_count; i++) {
        if (!listed(r, &r->rcpts[i])) continue;
        if (shown++ >= 100) {
            more++;
            continue;
        }
        buf_adds(b, "<");
        buf_add(b, r->rcpts[i].text);
        buf_adds(b, ">\r\n    ");
        char mem[1200];
        struct buf line = BUF(mem), safe = *b;
        status_format(&line, &r->rcpts[i].status);
        buf_add_escaped(&safe, str_sub(buf_str(&line), 0, 900));
        *b = safe;
        buf_adds(b, "\r\n\r\n");
    }
    if (more) buf_addf(b, "and %zu more.\r\n\r\n", more);
}

void report_build(const struct report *r, struct buf *head, struct buf *tail) {
    buf_adds(head, "From: Mail Delivery System <MAILER-DAEMON@");
    buf_add(head, r->origin);
    buf_adds(head, ">\r\nTo: <");
    buf_add(head, r->to);
    buf_adds(head, ">\r\nSubject: Mail not accepted\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                   "Content-Type: multipart/mixed; boundary=\"");
    add_boundary(head, r);
    buf_adds(head, "\"\r\n\r\n--");
    add_boundary(head, r);
    buf_adds(head, "\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nThis is the mail system at ");
    buf_add(head, r->hostname);
    buf_adds(head, ".\r\n\r\n");
    buf_add(head, r->intro);
    buf_adds(head, "\r\n\r\n");
    add_rcpts(r, head);
    buf_adds(head, "Your message is attached.\r\n\r\n--");
    add_boundary(head, r);
    buf_adds(head, "\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
    buf_adds(tail, "\r\n--");
    add_boundary(tail, r);
    buf_adds(tail, "--\r\n");
}
