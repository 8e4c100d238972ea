/* events.c: what the scheduler says has happened, as lines of the log. */
#include "dispatch/shell.h"

struct event_text { /* texts that the log line of an event needs */
    char dsn[24], delays[100], status[1100];
};

static struct str dsn_of(const struct sched_event *e, struct event_text *t) {
    struct buf b = BUF(t->dsn);
    buf_addf(&b, "%u.%u.%u", e->status.detail[0], e->status.detail[1], e->status.detail[2]);
    return buf_str(&b);
}

static struct str status_of(const struct sched_event *e, struct event_text *t) {
    struct buf b = BUF(t->status);
    status_format(&b, &e->status);
    return buf_str(&b);
}

static uint64_t not_negative(int64_t v) {
    return v > 0 ? (uint64_t)v : 0;
}

static void log_routed(const struct sched_event *e, struct event_text *t) {
    (void)t;
    LOG(routed, .id = e->id, .to = e->to, .route = e->route, .nexthop = e->nexthop);
}

static void log_delivered(const struct sched_event *e, struct event_text *t) {
    struct buf delays = BUF(t->delays);
    buf_addf(&delays, "%llu/%llu/%llu/%llu", (unsigned long long)not_negative(e->a),
             (unsigned long long)not_negative(e->b), (unsigned long long)not_negative(e->c),
             (unsigned long long)not_negative(e->d));
    LOG(delivered, .id = e->id, .to = e->to, .relay = e->relay, .delay = not_negative(e->delay),
        .delays = buf_str(&delays), .dsn = dsn_of(e, t), .status = status_of(e, t));
}

static void log_deferred(const struct sched_event *e, struct event_text *t) {
    LOG(deferred, .id = e->id, .to = e->to, .relay = e->relay, .delay = not_negative(e->delay),
        .attempts = e->attempts, .next_s = not_negative(e->next_ms) / 1000, .dsn = dsn_of(e, t),
        .status = status_of(e, t));
}

static void log_reported(const struct sched_event *e, struct event_text *t) {
    static const char *const words[] = {"failed", "delivered", "relayed", "expanded"};
    struct qid_text id = qid_format(e->bounce);
    (void)t;
    LOG(reported, .id = e->id, .to = e->to, .action = str_of(words[e->action]), .bounce = str_of(id.c));
}

static void log_bounced(const struct sched_event *e, struct event_text *t) {
    bool none = qid_eq(e->bounce, QID_NONE);
    struct qid_text id = qid_format(e->bounce);
    LOG(bounced, .id = e->id, .to = e->to, .relay = e->relay, .delay = not_negative(e->delay),
        .dsn = dsn_of(e, t), .status = status_of(e, t), .bounce = none ? STR_NONE : str_of(id.c));
}

static void log_expanded(const struct sched_event *e, struct event_text *t) {
    (void)t;
    LOG(expanded, .id = e->id, .to = e->to, .into = e->into);
}

static void log_host_down(const struct sched_event *e, struct event_text *t) {
    LOG(host_down, .host = e->to, .again_s = not_negative(e->next_ms) / 1000, .status = status_of(e, t));
}

void event_log(const struct sched_event *e) {
    static void (*const writers[])(const struct sched_event *, struct event_text *) = {
        [SCHED_ROUTED] = log_routed,       [SCHED_DELIVERED] = log_delivered, [SCHED_DEFERRED] = log_deferred,
        [SCHED_BOUNCED] = log_bounced,     [SCHED_REPORTED] = log_reported,   [SCHED_EXPANDED] = log_expanded,
        [SCHED_HOST_DOWN] = log_host_down,
    };
    struct event_text t;
    writers[e->what](e, &t);
}
