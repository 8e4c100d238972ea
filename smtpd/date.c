#include "smtpd/date.h"

/* Days since 1970 as a date. Years begin in March here, so that the leap day is the last of them. */
static void civil(int64_t days, int *year, int *month, int *day) {
    int64_t z = days + 719468; /* since 0000-03-01 */
    int64_t era = z / 146097, doe = z % 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = (int)(yoe + era * 400 + (*month <= 2));
}

static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    int64_t y = year - (month <= 2), era = y / 400, yoe = y % 400;
    int64_t doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

void date_rfc5322(struct buf *b, int64_t wall_ms) {
    static const char days[7][4] = {"Thu", "Fri", "Sat", "Sun",
                                    "Mon", "Tue", "Wed"}; /* 1970 began on a Thursday */
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t s = wall_ms > 0 ? wall_ms / 1000 : 0;
    int year, month, day, second = (int)(s % 86400);
    civil(s / 86400, &year, &month, &day);
    buf_addf(b, "%s, %d %s %d %02d:%02d:%02d +0000", days[s / 86400 % 7], day, months[month - 1], year,
             second / 3600, second / 60 % 60, second % 60);
}

void date_rfc3339(struct buf *b, int64_t wall_ms) {
    int64_t s = wall_ms > 0 ? wall_ms / 1000 : 0;
    int year, month, day, second = (int)(s % 86400);
    civil(s / 86400, &year, &month, &day);
    buf_addf(b, "%04d-%02d-%02dT%02d:%02d:%02dZ", year, month, day, second / 3600, second / 60 % 60,
             second % 60);
}

/* A number of exactly n digits within bounds, and the character behind it ('\0': none). */
static bool part(struct str *s, size_t n, unsigned min, unsigned max, char behind, unsigned *out) {
    uint64_t v;
    if (s->n < n + (behind != '\0') || !str_to_u64(str_sub(*s, 0, n), max, &v) || v < min) return false;
    if (behind && s->p[n] != behind && !(behind == 'T' && s->p[n] == 't')) return false;
    *out = (unsigned)v;
    *s = str_sub(*s, n + (behind != '\0'), s->n);
    return true;
}

static bool zone(struct str s, int64_t *seconds) {
    unsigned hours, minutes;
    bool east = s.n && s.p[0] == '+';
    *seconds = 0;
    if (str_eq_nocase(s, STR("Z"))) return true;
    if (!s.n || (!east && s.p[0] != '-')) return false;
    s = str_sub(s, 1, s.n);
    if (!part(&s, 2, 0, 23, ':', &hours) || !part(&s, 2, 0, 59, '\0', &minutes) || s.n) return false;
    *seconds = (int64_t)(hours * 3600 + minutes * 60) * (east ? -1 : 1);
    return true;
}

bool date_parse_rfc3339(struct str s, int64_t *wall_ms) {
    unsigned year, month, day, hour, minute, second;
    int y, m, d;
    int64_t offset;
    if (!part(&s, 4, 1970, 9999, '-', &year) || !part(&s, 2, 1, 12, '-', &month) ||
        !part(&s, 2, 1, 31, 'T', &day) || !part(&s, 2, 0, 23, ':', &hour) ||
        !part(&s, 2, 0, 59, ':', &minute) || !part(&s, 2, 0, 60, '\0', &second))
        return false;
    if (s.n && s.p[0] == '.') {
        size_t i = 1;
        while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') i++;
        if (i == 1) return false;
        s = str_sub(s, i, s.n);
    }
    int64_t days = days_of(year, month, day);
    civil(days, &y, &m, &d);
    if (!zone(s, &offset) || y != (int)year || m != (int)month || d != (int)day)
        return false; /* 30 February */
    *wall_ms = (days * 86400 + hour * 3600 + minute * 60 + second + offset) * 1000;
    return true;
}
