/* load: sends mail by SMTP as fast as the other side takes it, and says how long everything took. One process, one epoll.
 *
 *     bench/load -p PORT [-n MESSAGES] [-D SECONDS] [-c CONNECTIONS] [-m PER-CONNECTION] [-s OCTETS] [-r RECIPIENTS]
 *                [-t RECIPIENT-PATTERN] [-x PREFIX] [-q PER-SECOND] [-P] [-T] [-l LOG]
 *     bench/load -p PORT -i SESSIONS [-T] [-H SECONDS] [-c AT-A-TIME]
 *
 * %n in the pattern is the number of the message, %r that of the recipient, %u a number below -u USERS, in turn. -P uses
 * PIPELINING where it is offered; -T STARTTLS. -m 0 greets, says EHLO (with -T twice) and QUIT. Every message carries
 * X-Bench-Id: PREFIX-NUMBER; LOG gets "id begun accepted" (ns, monotonic) of each that was answered with 250. -i opens
 * sessions, says EHLO on each, prints "ready N", and holds them until its standard input ends: at -a SOURCES addresses
 * 127.1.x.y. One JSON object on standard output. May touch: sockets to 127.0.0.1, the log. */
#include "bench/traffic.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/uio.h>

enum step { CLOSED, CONNECT, BANNER, EHLO, STARTTLS, HANDSHAKE, MAIL, RCPT, DATA, BODY, QUIT, HELD };

struct conn {
    int fd;
    enum step step;
    SSL *ssl;
    bool secured, pipelining;
    unsigned events;
    char in[4096];
    size_t in_n;
    struct out out;
    size_t body_left;
    long message;
    unsigned sent, replies, taken; /* messages on this connection; replies to RCPT, and positive ones */
    int refusal;
    int64_t t_connect, t_message, t_dot;
};

struct samples {
    double *v;
    size_t n, cap;
};

static struct {
    int port, conns, idle, sources, users;
    unsigned per_conn, rcpts;
    long messages;
    size_t size;
    double seconds, hold, rate;
    bool pipelining, tls;
    const char *pattern, *prefix;
    FILE *log;
} opt = {.conns = 1,
         .per_conn = 1,
         .rcpts = 1,
         .messages = 100,
         .size = 1024,
         .seconds = 600,
         .hold = 600,
         .users = 1,
         .sources = 1,
         .pattern = "u%r@sink.bench.test",
         .prefix = "m"};

static int ep;
static SSL_CTX *tls;
static char *body;
static size_t body_n;
static long started, accepted, refused, rcpts_taken, handshakes, failed, held, open_now, serial;
static long codes[1000];
static struct samples dot, connecting;
static int64_t t_start, t_stop, t_last;

static void sample(struct samples *s, double v) {
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4096;
        s->v = realloc(s->v, s->cap * sizeof *s->v);
        if (!s->v) err(EX_OSERR, "realloc");
    }
    s->v[s->n++] = v;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(struct samples *s, double q) {
    if (!s->n) return 0;
    qsort(s->v, s->n, sizeof *s->v, by_value);
    size_t at = (size_t)(q * (double)s->n);
    return s->v[at < s->n ? at : s->n - 1];
}

static bool more(void) {
    return started < opt.messages && now_ns() < t_stop;
}

static void drop(struct conn *c, bool broken) {
    if (broken) {
        failed++;
        if (c->message >= 0) refused++, codes[0]++;
    }
    SSL_free(c->ssl);
    close(c->fd);
    *c = (struct conn){.fd = -1, .out = c->out, .message = -1};
    c->out.n = c->out.at = 0;
    open_now--;
}

static bool dial(struct conn *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)}, from = to;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) err(EX_OSERR, "socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (opt.sources > 1) {
        from.sin_port = 0;
        long at = serial++ % opt.sources;
        from.sin_addr.s_addr = htonl(0x7f010001u + (uint32_t)(at / 250 << 8) + (uint32_t)(at % 250));
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
        if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) err(EX_OSERR, "bind");
    }
    c->step = CONNECT;
    c->t_connect = now_ns();
    open_now++;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) {
        drop(c, true);
        return false;
    }
    watch(ep, c->fd, &c->events, EPOLLOUT, c);
    return true;
}

/* What %n, %r and %u stand for. */
static void address(char *to, size_t cap, long message, unsigned rcpt) {
    size_t n = 0;
    for (const char *p = opt.pattern; *p && n + 24 < cap; p++) {
        if (p[0] == '%' && p[1] == 'n') n += (size_t)snprintf(to + n, cap - n, "%ld", message), p++;
        else if (p[0] == '%' && p[1] == 'r') n += (size_t)snprintf(to + n, cap - n, "%u", rcpt), p++;
        else if (p[0] == '%' && p[1] == 'u')
            n += (size_t)snprintf(to + n, cap - n, "%ld", message % opt.users), p++;
        else to[n++] = *p;
    }
    to[n] = '\0';
}

static void say_rcpts(struct conn *c) {
    char name[200], line[256];
    for (unsigned i = 0; i < opt.rcpts; i++) {
        address(name, sizeof name, c->message, i);
        snprintf(line, sizeof line, "RCPT TO:<%s>\r\n", name);
        out_str(&c->out, line);
    }
}

/* The next message, or the end of the session. */
static void next(struct conn *c) {
    c->message = -1;
    if (opt.idle) {
        c->step = HELD;
        held++;
        return;
    }
    if (c->sent >= opt.per_conn || !more()) {
        c->step = QUIT;
        out_str(&c->out, "QUIT\r\n");
        return;
    }
    c->message = started++;
    c->sent++;
    c->replies = c->taken = 0;
    c->refusal = 0;
    c->t_message = now_ns();
    c->step = MAIL;
    out_str(&c->out, "MAIL FROM:<sender@load.bench.test>\r\n");
    if (!c->pipelining) return;
    say_rcpts(c);
    out_str(&c->out, "DATA\r\n");
}

static void say_body(struct conn *c) {
    char head[400];
    int n = snprintf(
        head, sizeof head,
        "From: <sender@load.bench.test>\r\nTo: <u@bench.test>\r\nSubject: bench %ld\r\nX-Bench-Id: %s-%ld\r\n"
        "Date: Wed, 25 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%s.%ld@load.bench.test>\r\n\r\n",
        c->message, opt.prefix, c->message, opt.prefix, c->message);
    out_add(&c->out, head, (size_t)n);
    c->body_left = body_n;
    c->step = BODY;
}

static void refuse(struct conn *c, int code) {
    if (!c->refusal) c->refusal = code;
}

static void message_over(struct conn *c, int code) {
    if (code == 250) {
        t_last = now_ns();
        accepted++;
        rcpts_taken += c->taken;
        sample(&dot, (double)(t_last - c->t_dot) / 1e6);
        if (opt.log)
            fprintf(opt.log, "%s-%ld %lld %lld\n", opt.prefix, c->message, (long long)c->t_message,
                    (long long)t_last);
    } else {
        refused++;
        codes[code]++;
    }
    next(c);
}

static void greeted(struct conn *c, bool offers_tls) {
    if (opt.tls && !c->secured) {
        if (!offers_tls) errx(EX_PROTOCOL, "the server does not offer STARTTLS");
        c->step = STARTTLS;
        out_str(&c->out, "STARTTLS\r\n");
        return;
    }
    sample(&connecting, (double)(now_ns() - c->t_connect) / 1e6);
    if (c->secured) handshakes++;
    next(c);
}

static void begin_tls(struct conn *c) {
    c->ssl = SSL_new(tls);
    if (!c->ssl || !SSL_set_fd(c->ssl, c->fd)) errx(EX_SOFTWARE, "SSL_new");
    SSL_set_connect_state(c->ssl);
    c->step = HANDSHAKE;
}

static void on_rcpt(struct conn *c, int code) {
    if (code == 250) c->taken++;
    else refuse(c, code);
    if (++c->replies < opt.rcpts) return;
    c->step = DATA;
    if (!c->pipelining) out_str(&c->out, "DATA\r\n");
}

static void on_data(struct conn *c, int code) {
    if (code == 354) say_body(c);
    else message_over(c, c->refusal ? c->refusal : code);
}

/* A whole reply. */
static void on_reply(struct conn *c, int code, bool offers_tls) {
    switch (c->step) {
    case BANNER:
        if (code != 220) {
            drop(c, true);
            return;
        }
        c->step = EHLO;
        out_str(&c->out, "EHLO load.bench.test\r\n");
        break;
    case EHLO:
        greeted(c, offers_tls);
        break;
    case STARTTLS:
        if (code != 220) errx(EX_PROTOCOL, "STARTTLS: %d", code);
        begin_tls(c);
        break;
    case MAIL:
        if (code != 250) refuse(c, code);
        c->step = RCPT;
        if (!c->pipelining) say_rcpts(c);
        break;
    case RCPT:
        on_rcpt(c, code);
        break;
    case DATA:
        on_data(c, code);
        break;
    case BODY:
        message_over(c, code);
        break;
    case QUIT:
        drop(c, false);
        break;
    default:
        drop(c, true);
        break;
    }
}

static void take_lines(struct conn *c) {
    static bool
        offers_tls; /* of the EHLO reply that is being read; one connection is read at a time, whole */
    char *line = c->in, *end;
    while (c->fd >= 0 && (end = memchr(line, '\n', c->in_n - (size_t)(line - c->in)))) {
        *end = '\0';
        if (c->step == EHLO && strstr(line, "STARTTLS")) offers_tls = true;
        if (c->step == EHLO && strstr(line, "PIPELINING")) c->pipelining = opt.pipelining;
        bool last = end - line > 3 && line[3] == ' ';
        int code = (int)(strtoul(line, NULL, 10) % 1000);
        line = end + 1;
        if (!last) continue;
        on_reply(c, code < 0 ? 0 : code, offers_tls);
        if (c->step != EHLO) offers_tls = false;
    }
    if (c->fd < 0) return;
    c->in_n -= (size_t)(line - c->in);
    memmove(c->in, line, c->in_n);
}

static ssize_t receive(struct conn *c) {
    size_t room = sizeof c->in - c->in_n;
    if (!c->secured) return recv(c->fd, c->in + c->in_n, room, 0);
    int k = SSL_read(c->ssl, c->in + c->in_n, (int)room);
    if (k > 0) return k;
    errno = SSL_get_error(c->ssl, k) == SSL_ERROR_WANT_READ ? EAGAIN : EIO;
    return -1;
}

static void read_some(struct conn *c) {
    while (c->fd >= 0) {
        ssize_t k = receive(c);
        if (k <= 0) {
            if (k == 0 || errno != EAGAIN) drop(c, c->step != QUIT);
            return;
        }
        c->in_n += (size_t)k;
        bool was = c->secured;
        take_lines(c);
        if (c->fd < 0 || c->step == HANDSHAKE || (!was && c->in_n < sizeof c->in)) return;
    }
}

static ssize_t transmit(struct conn *c) {
    struct iovec v[2] = {{c->out.p + c->out.at, c->out.n - c->out.at},
                         {body + body_n - c->body_left, c->body_left}};
    if (!c->secured) return writev(c->fd, v, 2);
    struct iovec *w = v[0].iov_len ? &v[0] : &v[1];
    int k = SSL_write(c->ssl, w->iov_base, (int)w->iov_len);
    if (k > 0) return k;
    errno = EAGAIN;
    return -1;
}

/* True: all has left. */
static bool write_some(struct conn *c) {
    while (c->out.at < c->out.n || c->body_left) {
        ssize_t k = transmit(c);
        if (k < 0) {
            if (errno != EAGAIN) drop(c, true);
            return false;
        }
        size_t head = c->out.n - c->out.at, n = (size_t)k;
        c->out.at += n < head ? n : head;
        if (n > head) c->body_left -= n - head;
        if (c->step == BODY && !c->body_left) c->t_dot = now_ns();
    }
    return true;
}

static void handshake(struct conn *c) {
    int k = SSL_do_handshake(c->ssl);
    if (k == 1) {
        c->secured = true;
        c->step = EHLO;
        c->in_n = 0;
        out_str(&c->out, "EHLO load.bench.test\r\n");
        return;
    }
    int e = SSL_get_error(c->ssl, k);
    if (e == SSL_ERROR_WANT_READ) watch(ep, c->fd, &c->events, EPOLLIN, c);
    else if (e == SSL_ERROR_WANT_WRITE) watch(ep, c->fd, &c->events, EPOLLOUT, c);
    else drop(c, true);
}

static void on_event(struct conn *c, unsigned events) {
    if (c->step == CONNECT) {
        int e = 0;
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &(socklen_t){sizeof e}) || e) {
            drop(c, true);
            return;
        }
        c->step = BANNER;
    } else if (c->step != HANDSHAKE && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        read_some(c);
    }
    if (c->fd >= 0 && c->step == HANDSHAKE) handshake(c);
    if (c->fd < 0 || c->step == HANDSHAKE) return;
    bool done = write_some(c);
    if (c->fd >= 0) watch(ep, c->fd, &c->events, done ? EPOLLIN : EPOLLIN | EPOLLOUT, c);
}

static void make_body(void) {
    body_n = opt.size < 80 ? 80 : opt.size;
    body = malloc(body_n + 5);
    if (!body) err(EX_OSERR, "malloc");
    for (size_t i = 0; i < body_n; i++)
        body[i] = i % 76 == 74 ? '\r' : i % 76 == 75 ? '\n' : (char)('a' + i % 26);
    if (body[body_n - 1] == '\r') body[body_n - 1] = 'x';
    memcpy(body + body_n, "\r\n.\r\n", 5);
    if (body[body_n - 1] == '\n') memcpy(body + body_n, ".\r\n", 3), body_n += 3;
    else body_n += 5;
}

static bool wants_another(const struct conn *c) {
    if (c->fd >= 0) return false;
    if (opt.idle) return held + open_now < opt.idle + held && held < opt.idle;
    if (opt.per_conn == 0) return now_ns() < t_stop && handshakes + failed < opt.messages;
    return more() && (!opt.rate || (double)started < (double)(now_ns() - t_start) / 1e9 * opt.rate);
}

static void run(struct conn *conns, long n) {
    struct epoll_event ev[256];
    while (true) {
        for (long i = 0, fresh = 0; i < n && fresh < opt.conns; i++) {
            if (opt.idle && open_now - held >= opt.conns) break;
            if (wants_another(&conns[i])) fresh += dial(&conns[i]);
        }
        if (opt.idle && (held >= opt.idle || now_ns() > t_stop)) break;
        if (!opt.idle && !open_now && !(opt.per_conn ? more() : now_ns() < t_stop)) break;
        if (now_ns() > t_stop + (int64_t)30 * 1000000000) break;
        int k = epoll_wait(ep, ev, 256, opt.rate ? 1 : 20);
        for (int i = 0; i < k; i++) on_event(ev[i].data.ptr, ev[i].events);
    }
}

static void hold(void) {
    char c;
    printf("ready %ld\n", held);
    fflush(stdout);
    while (read(0, &c, 1) > 0) continue;
}

static void report(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    double cpu = (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
                 (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
    double took = (double)((t_last ? t_last : now_ns()) - t_start) / 1e9;
    printf(
        "{\"accepted\": %ld, \"refused\": %ld, \"recipients\": %ld, \"handshakes\": %ld, \"failed\": %ld, "
        "\"abandoned\": "
        "%ld, \"seconds\": %.4f, \"cpu\": %.3f, \"dot_p50\": %.3f, \"dot_p99\": %.3f, \"connect_p50\": %.3f, "
        "\"connect_p99\": %.3f, \"codes\": {",
        accepted, refused, rcpts_taken, handshakes, failed, open_now, took, cpu, quantile(&dot, .5),
        quantile(&dot, .99), quantile(&connecting, .5), quantile(&connecting, .99));
    const char *comma = "";
    for (int i = 0; i < 1000; i++) {
        if (!codes[i]) continue;
        printf("%s\"%d\": %ld", comma, i, codes[i]);
        comma = ", ";
    }
    puts("}}");
}

/* The options with a number: where it goes, and its bounds. */
static const struct number {
    char option;
    enum { INT, UNSIGNED, LONG, SIZE, DOUBLE } type;
    void *to;
    double least, most;
} numbers[] = {
    {'p', INT, &opt.port, 1, 65535},        {'n', LONG, &opt.messages, 1, 1e12},
    {'D', DOUBLE, &opt.seconds, 0, 1e6},    {'c', INT, &opt.conns, 1, 1e6},
    {'m', UNSIGNED, &opt.per_conn, 0, 1e9}, {'s', SIZE, &opt.size, 1, 1e9},
    {'r', UNSIGNED, &opt.rcpts, 1, 1e5},    {'q', DOUBLE, &opt.rate, 0, 1e9},
    {'u', INT, &opt.users, 1, 1e9},         {'a', INT, &opt.sources, 1, 65000},
    {'i', INT, &opt.idle, 1, 1e6},          {'H', DOUBLE, &opt.hold, 0, 1e6},
};

static bool numbered(int option, const char *text) {
    const struct number *n = numbers, *end = numbers + sizeof numbers / sizeof numbers[0];
    while (n < end && n->option != option) n++;
    if (n == end) return false;
    double v = option_number(option, text, n->least, n->most, n->type != DOUBLE);
    if (n->type == INT) *(int *)n->to = (int)v;
    else if (n->type == UNSIGNED) *(unsigned *)n->to = (unsigned)v;
    else if (n->type == LONG) *(long *)n->to = (long)v;
    else if (n->type == SIZE) *(size_t *)n->to = (size_t)v;
    else *(double *)n->to = v;
    return true;
}

static void options(int argc, char **argv) {
    int o;
    while ((o = getopt(argc, argv, "p:n:D:c:m:s:r:t:x:q:u:a:PTl:i:H:")) != -1) {
        if (numbered(o, optarg)) continue;
        if (o == 't') opt.pattern = optarg;
        else if (o == 'x') opt.prefix = optarg;
        else if (o == 'P') opt.pipelining = true;
        else if (o == 'T') opt.tls = true;
        else if (o == 'l') opt.log = option_file(o, optarg);
        else errx(EX_USAGE, "see the head of bench/load.c");
    }
    if (optind != argc) errx(EX_USAGE, "\"%s\": is no option; see the head of bench/load.c", argv[optind]);
    if (!opt.port) errx(EX_USAGE, "-p PORT is missing; see the head of bench/load.c");
}

int main(int argc, char **argv) {
    options(argc, argv);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (opt.tls) {
        tls = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    }
    make_body();
    long n = opt.idle ? opt.idle : opt.conns;
    struct conn *conns = calloc((size_t)n, sizeof *conns);
    if (!conns) err(EX_OSERR, "calloc");
    for (long i = 0; i < n; i++) conns[i].fd = -1, conns[i].message = -1;
    t_start = now_ns();
    t_stop = t_start + (int64_t)(opt.seconds * 1e9);
    run(conns, n);
    if (opt.idle) hold();
    else report();
    if (opt.log && fclose(opt.log)) err(EX_IOERR, "log");
    return EX_OK;
}
