#include "smtpd/mend.h"

static void plain(struct mender *m, char c, struct buf *out) {
    if (m->stuff && m->after_lf && !m->within && c == '.') buf_addc(out, '.');
    m->only_dot = !m->within && c == '.' && !m->after_lf;
    m->within = true;
    buf_addc(out, c);
}

static void line_end(struct mender *m, struct buf *out) {
    /* "." between CR LF and a lone LF: no end of a message, so it is stuffed, which makes it content. */
    if (m->stuff && !m->cr && m->only_dot) buf_addc(out, '.');
    buf_adds(out, "\r\n");
    m->after_lf = !m->cr;
    m->cr = m->within = m->only_dot = false;
}

size_t mend(struct mender *m, struct str in, struct buf *out) {
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '\n') {
            line_end(m, out);
            return i + 1;
        }
        if (m->cr) plain(m, ' ', out); /* a CR that no LF followed */
        m->cr = c == '\r';
        if (!m->cr) plain(m, c ? c : ' ', out);
    }
    return in.n;
}

void mend_end(struct mender *m, struct buf *out) {
    if (m->cr) plain(m, ' ', out);
    m->cr = false;
}
