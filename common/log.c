#include "common/log.h"

#include "common/counters.h"
#include "common/warm.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_OCTETS = 4096, PENDING_MAX = 65536 };
enum level { LEVEL_debug, LEVEL_info, LEVEL_warn, LEVEL_error };

static struct {
    int fd;
    bool syslog;
    char program[48], host[80];
    pid_t pid; /* 0: not asked yet in this process */
    size_t n;  /* octets in pending */
    void (*capture)(void *ctx, struct str line);
    void *capture_ctx;
} out = {.fd = 2, .program = "postern", .host = "-"};
static char pending
    [PENDING_MAX]; /* apart: what has an initial value lies in the program file, and in memory all of it */

static void forget_pid(void) {
    out.pid = 0;
}

static pid_t our_pid(void) {
    if (!out.pid) out.pid = getpid();
    return out.pid;
}

void log_open(int fd, const char *program, const char *hostname) {
    static bool watching;
    struct stat st;
    if (!watching) watching = pthread_atfork(NULL, NULL, forget_pid) == 0;
    out.fd = fd >= 0 ? fd : 2;
    out.syslog = fstat(out.fd, &st) == 0 && S_ISSOCK(st.st_mode);
    snprintf(out.program, sizeof out.program, "%s", program);
    snprintf(out.host, sizeof out.host, "%s", hostname);
}

void log_capture(void (*fn)(void *ctx, struct str line), void *ctx) {
    out.capture = fn;
    out.capture_ctx = ctx;
}

WARM void log_flush(void) {
    size_t done = 0;
    while (done < out.n) {
        ssize_t k = write(out.fd, pending + done, out.n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break; /* a log that cannot be written must not stop mail */
        done += (size_t)k;
    }
    out.n = 0;
}

static void add_time(struct buf *b) {
    /* The seconds part changes once a second; keep it formatted. */
    static time_t last;
    static char text[24];
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (ts.tv_sec != last) {
        struct tm tm;
        gmtime_r(&ts.tv_sec, &tm);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
        last = ts.tv_sec;
    }
    buf_adds(b, text);
    char us[8] = {'.'};
    long v = ts.tv_nsec / 1000;
    for (int i = 6; i > 0; i--, v /= 10) us[i] = (char)('0' + v % 10);
    us[7] = 'Z';
    buf_add(b, (struct str){us, 8});
}

static void add_head(struct buf *b, enum level level) {
    static const int priority[] = {7, 6, 4, 3}; /* of syslog(3) */
    if (out.capture) return;
    if (out.syslog) {
        buf_addf(b, "<%d>%s[%d]: ", 2 * 8 + priority[level], out.program, (int)our_pid()); /* facility mail */
        return;
    }
    add_time(b);
    buf_addc(b, ' ');
    buf_adds(b, out.host);
    buf_addc(b, ' ');
    buf_adds(b, out.program);
    buf_addc(b, '[');
    buf_addu(b, (uint64_t)our_pid());
    buf_adds(b, "]: ");
}

static void emit(struct buf *b) {
    if (b->failed) b->failed = false; /* a line too long is cut, never dropped: it says who did it */
    if (out.capture) {
        out.capture(out.capture_ctx, buf_str(b));
        return;
    }
    if (out.syslog) {
        send(out.fd, b->p, b->n, MSG_DONTWAIT | MSG_NOSIGNAL);
        return;
    }
    buf_addc(b, '\n');
    if (b->failed) b->p[b->n - 1] = '\n';
    if (out.n + b->n > PENDING_MAX) log_flush();
    memcpy(pending + out.n, b->p, b->n);
    out.n += b->n;
}

static bool plain(struct str s) {
    if (s.n == 0) return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c <= ' ' || c > '~' || c == '"' || c == '\\' || c == '=') return false;
    }
    return true;
}

static void add_num(struct buf *b, const char *name, uint64_t v) {
    buf_addc(b, ' ');
    buf_adds(b, name);
    buf_addc(b, '=');
    buf_addu(b, v);
}

static void add_text(struct buf *b, const char *name, struct str v) {
    buf_addc(b, ' ');
    buf_adds(b, name);
    buf_addc(b, '=');
    if (plain(v)) {
        buf_add(b, v);
        return;
    }
    buf_addc(b, '"');
    buf_add_escaped(b, v);
    buf_addc(b, '"');
}

/* Ids stand in front of the event's name: written in a first pass, skipped in the second. */
static void add_id(struct buf *b, const char *name, struct qid v) {
    (void)b, (void)name, (void)v;
}
static void lead_id(struct buf *b, struct qid v) {
    if (qid_eq(v, QID_NONE)) return;
    buf_adds(b, qid_format(v).c);
    buf_adds(b, ": ");
}
static void lead_num(struct buf *b, uint64_t v) {
    (void)b, (void)v;
}
static void lead_text(struct buf *b, struct str v) {
    (void)b, (void)v;
}

#define ITEM(type, name) lead_##type(b, e->name);
#define EVENT(name, level, sentence, ...) \
    static void leads_##name(struct buf *b, const struct event_##name *e) { \
        __VA_ARGS__ \
    }
#include "common/events.def"
#undef EVENT
#undef ITEM
#define ITEM(type, name) add_##type(&b, #name, e->name);
#define EVENT(name, level, sentence, ...) \
    void log_event_##name(const struct event_##name *e) { \
        char mem[LINE_MAX_OCTETS]; \
        struct buf b = BUF(mem); \
        counters->events[EVENT_##name]++; \
        add_head(&b, LEVEL_##level); \
        leads_##name(&b, e); \
        buf_adds(&b, #name); \
        __VA_ARGS__ \
        emit(&b); \
    }
#include "common/events.def"
#undef EVENT
#undef ITEM

void log_printf(bool trouble, const char *fmt, ...) {
    char mem[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(mem, sizeof mem, fmt, ap);
    va_end(ap);
    if (trouble) LOG(trouble, .text = str_of(mem));
    else LOG(note, .text = str_of(mem));
}
