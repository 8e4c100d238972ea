#include "tools/journey.h"

#include <string.h>
#include <time.h>

static bool number(struct str s, size_t from, size_t to, int *out) {
    uint64_t v;
    if (s.n < to || !str_to_u64(str_sub(s, from, to), 9999, &v)) return false;
    *out = (int)v;
    return true;
}

/* "Z", or what a system logger writes: "+01:00", "+0100". In seconds. */
static bool parse_zone(struct str s, int *east) {
    int hours, minutes;
    *east = 0;
    if (str_eq(s, STR("Z"))) return true;
    if (!s.n || (s.p[0] != '+' && s.p[0] != '-') || !number(s, 1, 3, &hours)) return false;
    if (s.n != 5 && (s.n != 6 || s.p[3] != ':')) return false;
    if (!number(s, s.n - 2, s.n, &minutes)) return false;
    *east = (hours * 60 + minutes) * (s.p[0] == '-' ? -60 : 60);
    return true;
}

/* "2026-11-21T09:30:00.123456Z" */
static bool parse_time(struct str s, int64_t *us) {
    struct tm tm = {0};
    uint64_t fraction;
    int east;
    if (s.n < 27 || s.p[10] != 'T' || s.p[19] != '.' || !parse_zone(str_sub(s, 26, s.n), &east)) return false;
    if (!number(s, 0, 4, &tm.tm_year) || !number(s, 5, 7, &tm.tm_mon) || !number(s, 8, 10, &tm.tm_mday) ||
        !number(s, 11, 13, &tm.tm_hour) || !number(s, 14, 16, &tm.tm_min) || !number(s, 17, 19, &tm.tm_sec) ||
        !str_to_u64(str_sub(s, 20, 26), 999999, &fraction))
        return false;
    tm.tm_year -= 1900, tm.tm_mon -= 1;
    *us = ((int64_t)timegm(&tm) - east) * 1000000 + (int64_t)fraction;
    return true;
}

/* "postern/smtpd[123]:" */
static bool parse_program(struct str s, struct log_line *l) {
    ptrdiff_t slash = str_chr(s, '/'), open = str_chr(s, '[');
    if (open < 0 || slash > open || s.n < 3 || s.p[s.n - 1] != ':' || s.p[s.n - 2] != ']') return false;
    l->program = str_sub(s, (size_t)(slash + 1), (size_t)open);
    return str_to_u64(str_sub(s, (size_t)open + 1, s.n - 2), UINT32_MAX, &l->pid);
}

bool log_line_parse(struct str text, struct log_line *l) {
    struct str rest = text, time, host, program, word;
    if (!str_word(&rest, '\0', &time) || !str_word(&rest, '\0', &host) || !str_word(&rest, '\0', &program))
        return false;
    if (!parse_time(time, &l->us) || !parse_program(program, l) || !str_word(&rest, '\0', &word))
        return false;
    l->has_id =
        word.n == QID_LEN + 1 && word.p[QID_LEN] == ':' && qid_parse(str_sub(word, 0, QID_LEN), &l->id);
    if (l->has_id && !str_word(&rest, '\0', &word)) return false;
    l->event = word;
    l->fields = rest;
    return true;
}

/* Cuts the next " name=value" off. A quoted value has no quote inside: events escape them as \x22. */
static bool next_field(struct str *rest, struct str *name, struct str *value) {
    *rest = str_trim(*rest);
    ptrdiff_t eq = str_chr(*rest, '=');
    if (eq <= 0) return false;
    *name = str_sub(*rest, 0, (size_t)eq);
    struct str v = str_sub(*rest, (size_t)eq + 1, rest->n);
    bool quoted = v.n && v.p[0] == '"';
    if (quoted) v = str_sub(v, 1, v.n);
    ptrdiff_t end = str_chr(v, quoted ? '"' : ' ');
    *value = str_sub(v, 0, end < 0 ? v.n : (size_t)end);
    *rest = str_sub(v, value->n + quoted, v.n);
    return true;
}

struct str log_field(const struct log_line *l, const char *wanted) {
    struct str rest = l->fields, name, value;
    while (next_field(&rest, &name, &value))
        if (str_eq(name, str_of(wanted))) return value;
    return STR_NONE;
}

uint64_t log_number(const struct log_line *l, const char *name) {
    uint64_t v;
    return str_to_u64(log_field(l, name), UINT64_MAX, &v) ? v : 0;
}

/* {name} stands for a field. took: fields in microseconds that are added up. */
static const struct telling {
    const char *event, *sentence;
    const char *took[2];
} tellings[] = {
    {"received",
     "took it from {client} ({protocol}), sender <{from}>, {rcpts} recipient(s), {size} octets",
     {"data_us", "commit_us"}},
    {"discarded", "took it from {client} and threw it away, as a rule says, sender <{from}>", {NULL, NULL}},
    {"not_received", "did not take it: {reply}", {NULL, NULL}},
    {"queued", "made it durable, with {batch} message(s) in the commit", {"commit_us", NULL}},
    {"routed", "<{to}> goes by {route} {nexthop}", {NULL, NULL}},
    {"expanded", "<{to}> stands for {into} other(s)", {NULL, NULL}},
    {"sent", "gave it to {host}, {ok} of {rcpts} recipient(s) accepted", {"connect_us", "transmit_us"}},
    {"stored", "put it into {mailbox} of {user}", {"us", NULL}},
    {"delivered", "<{to}> is served: {status}", {NULL, NULL}},
    {"deferred", "<{to}> waits {next_s} s after attempt {attempts}: {status}", {NULL, NULL}},
    {"bounced", "<{to}> failed: {status}; report {bounce}", {NULL, NULL}},
    {"retired", "forgot it: all recipients are done", {NULL, NULL}},
    {"removed", "removed it, asked by UID {uid}", {NULL, NULL}},
};

static void fill_in(struct buf *b, const char *sentence, const struct log_line *l) {
    while (*sentence) {
        const char *end = *sentence == '{' ? strchr(sentence, '}') : NULL;
        if (!end) {
            buf_addc(b, *sentence++);
            continue;
        }
        char name[32];
        size_t n = (size_t)(end - sentence - 1);
        if (n >= sizeof name) n = sizeof name - 1;
        memcpy(name, sentence + 1, n);
        name[n] = '\0';
        struct str value = log_field(l, name);
        if (value.n) buf_add(b, value);
        else buf_adds(b, "-");
        sentence = end + 1;
    }
}

void journey_tell(const struct log_line *l, struct buf *sentence, uint64_t *took_us) {
    *took_us = 0;
    for (size_t i = 0; i < sizeof tellings / sizeof *tellings; i++) {
        const struct telling *t = &tellings[i];
        if (!str_eq(l->event, str_of(t->event))) continue;
        fill_in(sentence, t->sentence, l);
        for (size_t k = 0; k < 2; k++)
            if (t->took[k]) *took_us += log_number(l, t->took[k]);
        return;
    }
    buf_add(sentence, l->event);
    buf_adds(sentence, " ");
    buf_add(sentence, str_trim(l->fields));
}
