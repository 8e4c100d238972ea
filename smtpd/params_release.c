/* params_release.c: HOLDFOR and HOLDUNTIL (RFC 4865): our own users may hand in mail that is to leave
 * later. */
#include "smtpd/date.h"
#include "smtpd/state.h"

bool session_may_release(const struct session *s) {
    return s->client.service == SERVICE_SUBMISSION && s->host->release_ms > 0;
}

/* True: it is for another kind of session; as if the word were not known. */
static bool refused(const struct session *s, const struct transaction *tx, struct status *st) {
    if (!session_may_release(s)) *st = status_make(555, "5.5.4", "Parameter not known");
    else if (tx->mail.after_ms)
        *st = status_make(501, "5.5.4", "HOLDFOR and HOLDUNTIL exclude each other"); /* 4 */
    else return false;
    return true;
}

static bool set(const struct session *s, struct transaction *tx, int64_t after, struct status *st) {
    if (after > s->now.wall_ms + s->host->release_ms) {
        *st = status_make(501, "5.5.4", "That is longer than mail may be held here (future-release)");
        return false;
    }
    tx->mail.after_ms = after > 0 ? after : 1;
    return true;
}

/* 3: %x31-39 *8DIGIT seconds */
bool param_holdfor(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    uint64_t seconds;
    if (refused(s, tx, st)) return false;
    if (!value.n || value.n > 9 || value.p[0] == '0' || !str_to_u64(value, 999999999, &seconds)) {
        *st = status_make(501, "5.5.4", "HOLDFOR needs a number of seconds");
        return false;
    }
    return set(s, tx, s->now.wall_ms + (int64_t)seconds * 1000, st);
}

bool param_holduntil(struct session *s, struct transaction *tx, struct str value, struct status *st) {
    int64_t at;
    if (refused(s, tx, st)) return false;
    if (!date_parse_rfc3339(value, &at)) {
        *st = status_make(501, "5.5.4", "HOLDUNTIL needs a time like 2026-12-24T18:00:00Z");
        return false;
    }
    return set(s, tx, at, st);
}
