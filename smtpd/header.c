#include "smtpd/header.h"

#include <string.h>

static bool is_wsp(char c) {
    return c == ' ' || c == '\t';
}

static bool named(const struct header_scan *h, struct str name) {
    return h->name_n <= sizeof h->name && str_eq_nocase((struct str){h->name, h->name_n}, name);
}

static void want_value(struct header_scan *h, void (*to)(void *ctx, struct str value)) {
    if (!to) return;
    h->place = HEADER_VALUE;
    h->value_n = 0;
    h->value_to = to;
}

/* The colon after a name: from here on it is a field (RFC 5322 2.2). */
static void field_begins(struct header_scan *h) {
    h->started = true;
    h->place = HEADER_SKIP;
    for (size_t i = 0; i < h->wanted_n; i++)
        if (named(h, h->wanted[i])) h->seen |= 1u << i;
    if (named(h, STR("Received"))) h->received++;
    else if (named(h, STR("Date"))) h->date = true;
    else if (named(h, STR("Message-ID"))) h->message_id = true;
    else if (named(h, STR("From"))) h->from = true;
    else if (named(h, STR("Delivered-To"))) want_value(h, h->delivered_to);
    else if (named(h, STR("TLS-Required"))) want_value(h, h->tls_required);
}

static void not_a_header(struct header_scan *h) {
    /* "From " at the very start is the separator of an mbox that somebody piped to us whole: let it pass. */
    if (!h->started && named(h, STR("From")) && h->place == HEADER_NAME_END) {
        h->place = HEADER_SKIP;
        return;
    }
    h->headless = !h->started;
    h->place = HEADER_DONE;
}

static void in_name(struct header_scan *h, char c) {
    if (c == ':' && h->name_n) field_begins(h);
    else if (is_wsp(c) && h->name_n) h->place = HEADER_NAME_END;
    else if (c < 33 || c > 126 || c == ':') not_a_header(h);
    else if (h->name_n < sizeof h->name) h->name[h->name_n++] = c;
    else h->name_n = sizeof h->name + 1;
}

static void at_line(struct header_scan *h, char c) {
    h->name_n = 0;
    if (c == '\r') h->place = HEADER_BLANK;
    else if (is_wsp(c) && h->started) h->place = HEADER_SKIP;
    else {
        h->place = HEADER_NAME;
        in_name(h, c);
    }
}

static void in_value(struct header_scan *h, char c) {
    if (c == '\r') {
        h->place = HEADER_SKIP;
        if (h->value_n < sizeof h->value)
            h->value_to(h->ctx, str_trim((struct str){h->value, h->value_n}));
    } else if (h->value_n < sizeof h->value) {
        h->value[h->value_n++] = c;
    }
}

void header_take(struct header_scan *h, struct str run) {
    for (size_t i = 0; i < run.n && h->place != HEADER_DONE; i++) {
        char c = run.p[i];
        switch (h->place) {
        case HEADER_LINE:
            at_line(h, c);
            break;
        case HEADER_NAME:
            in_name(h, c);
            break;
        case HEADER_NAME_END:
            if (c == ':') field_begins(h);
            else if (!is_wsp(c)) not_a_header(h);
            break;
        case HEADER_VALUE:
            in_value(h, c);
            break;
        case HEADER_BLANK:
            h->place = HEADER_DONE;
            break;
        case HEADER_SKIP: {
            const char *lf = memchr(run.p + i, '\n', run.n - i);
            i = lf ? (size_t)(lf - run.p) : run.n - 1;
            if (lf) h->place = HEADER_LINE;
            break;
        }
        case HEADER_DONE:
            break;
        }
    }
}
