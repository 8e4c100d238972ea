/* sink: an SMTP host that takes everything, quickly, and remembers what came; and one that takes connections and never
 * says a word. One process, one epoll.
 *
 *     bench/sink -p PORT -l LOG [-T TARPIT-PORT]
 *
 * Listens on 127.0.0.1:PORT, and on 127.0.0.2:TARPIT-PORT. LOG gets a line "ns id recipients" (monotonic time, the
 * X-Bench-Id, how many) for each message, in the round of the loop in which it came. Says "listening" when it is. May
 * touch: those sockets, the log. */
#include "bench/traffic.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <strings.h>
#include <sys/resource.h>

enum { ID_MAX = 80, LINE_MAX_ = 2048 };

struct conn {
    int fd;
    bool listener, tarpit;
    unsigned events;
    struct out out;
    char line[LINE_MAX_];
    size_t line_n;
    enum { COMMANDS, DATA, CHUNK } reading;
    bool in_header, open; /* open: the first octets of a message have come, or may */
    size_t chunk;         /* octets of a BDAT that are still to come */
    bool chunk_last;
    int tail; /* how much of CRLF.CRLF was seen */
    unsigned rcpts;
    char id[ID_MAX];
};

static int ep;
static FILE *record;

static void say(struct conn *c, const char *text) {
    out_str(&c->out, text);
}

static void message_end(struct conn *c) {
    fprintf(record, "%lld %s %u\n", (long long)now_ns(), c->id[0] ? c->id : "-", c->rcpts);
    c->reading = COMMANDS;
    c->open = false;
    c->rcpts = 0;
    c->id[0] = '\0';
    say(c, "250 2.0.0 taken\r\n");
}

static void header_line(struct conn *c) {
    static const char name[] = "X-Bench-Id:";
    if (c->line_n == 0) c->in_header = false;
    if (c->line_n <= sizeof name || strncasecmp(c->line, name, sizeof name - 1) != 0) return;
    size_t n = c->line_n - sizeof name;
    if (n >= ID_MAX) n = ID_MAX - 1;
    memcpy(c->id, c->line + sizeof name, n);
    c->id[n] = '\0';
}

static void data_begin(struct conn *c) {
    c->open = c->in_header = true;
    c->tail = 2; /* a dot at once is the end of an empty message */
    c->line_n = 0;
}

static void chunk_end(struct conn *c) {
    c->reading = COMMANDS;
    c->line_n = 0;
    if (c->chunk_last) message_end(c);
    else say(c, "250 2.0.0 more\r\n");
}

static void on_bdat(struct conn *c) {
    char *end;
    c->chunk = strtoul(c->line + 5, &end, 10);
    c->chunk_last = strcasestr(end, "LAST") != NULL;
    if (!c->open) data_begin(c);
    c->reading = CHUNK;
    c->line_n = 0;
    if (!c->chunk) chunk_end(c);
}

static const struct {
    const char *word, *reply;
} answers[] = {
    {"EHLO", "250-sink.bench.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE "
             "104857600\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n"},
    {"HELO", "250 sink.bench.test\r\n"},
    {"MAIL", "250 2.1.0 ok\r\n"},
    {"RSET", "250 2.0.0 ok\r\n"},
    {"NOOP", "250 2.0.0 ok\r\n"},
    {"QUIT", "221 2.0.0 bye\r\n"},
};

static void command(struct conn *c) {
    c->line[c->line_n] = '\0';
    if (strncasecmp(c->line, "RCPT", 4) == 0) {
        c->rcpts++;
        say(c, "250 2.1.5 ok\r\n");
    } else if (strncasecmp(c->line, "DATA", 4) == 0) {
        data_begin(c);
        c->reading = DATA;
        say(c, "354 go on\r\n");
    } else if (strncasecmp(c->line, "BDAT", 4) == 0) {
        on_bdat(c);
        return;
    } else {
        const char *reply = "500 5.5.1 what?\r\n";
        for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
            if (strncasecmp(c->line, answers[i].word, 4) == 0) reply = answers[i].reply;
        say(c, reply);
    }
    c->line_n = 0;
}

/* One octet of a header or a command line; true at the end of a line. */
static bool collect(struct conn *c, char o) {
    if (o == '\n') {
        if (c->line_n && c->line[c->line_n - 1] == '\r') c->line_n--;
        return true;
    }
    if (c->line_n < LINE_MAX_ - 1) c->line[c->line_n++] = o;
    return false;
}

static void data_octet(struct conn *c, char o) {
    static const char end[] = "\r\n.\r\n";
    if (c->in_header && collect(c, o)) {
        header_line(c);
        c->line_n = 0;
    }
    if (o == end[c->tail]) c->tail++;
    else c->tail = o == '\r' ? 1 : 0;
}

/* The data of DATA, as far as it is in p; gives how much was used. Beyond the header only line ends matter. */
static size_t take_data(struct conn *c, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!c->in_header && c->tail == 0) {
            const char *cr = memchr(p + i, '\r', n - i);
            if (!cr) return n;
            i = (size_t)(cr - p);
        }
        data_octet(c, p[i]);
        if (c->tail == 5) {
            c->line_n = 0;
            message_end(c);
            return i + 1;
        }
    }
    return n;
}

static size_t take_chunk(struct conn *c, const char *p, size_t n) {
    if (n > c->chunk) n = c->chunk;
    for (size_t i = 0; i < n && c->in_header; i++) data_octet(c, p[i]);
    c->chunk -= n;
    if (!c->chunk) chunk_end(c);
    return n;
}

static size_t take_line(struct conn *c, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!collect(c, p[i])) continue;
        command(c);
        return i + 1;
    }
    return n;
}

static void take(struct conn *c, const char *p, size_t n) {
    static size_t (*const takers[])(struct conn *, const char *, size_t) = {
        [COMMANDS] = take_line, [DATA] = take_data, [CHUNK] = take_chunk};
    while (n) {
        size_t k = takers[c->reading](c, p, n);
        p += k;
        n -= k;
    }
}

static void drop(struct conn *c) {
    close(c->fd);
    free(c->out.p);
    free(c);
}

static void welcome(struct conn *l) {
    int fd;
    while ((fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = calloc(1, sizeof *c);
        if (!c) err(EX_OSERR, "calloc");
        c->fd = fd;
        c->tarpit = l->tarpit;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        if (!c->tarpit) say(c, "220 sink.bench.test\r\n");
        watch(ep, fd, &c->events, EPOLLIN | EPOLLOUT, c);
    }
}

static void on_event(struct conn *c, unsigned events) {
    static char buffer[262144];
    if (c->listener) {
        welcome(c);
        return;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t k = recv(c->fd, buffer, sizeof buffer, 0);
        if (k == 0 || (k < 0 && errno != EAGAIN)) {
            drop(c);
            return;
        }
        if (k > 0 && !c->tarpit) take(c, buffer, (size_t)k);
    }
    if (c->out.at < c->out.n) {
        ssize_t k = send(c->fd, c->out.p + c->out.at, c->out.n - c->out.at, MSG_NOSIGNAL);
        if (k > 0) c->out.at += (size_t)k;
    }
    watch(ep, c->fd, &c->events, c->out.at < c->out.n ? EPOLLIN | EPOLLOUT : EPOLLIN, c);
}

static void listen_on(uint32_t ip, int port, bool tarpit) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(ip)};
    struct conn *l = calloc(1, sizeof *l);
    if (!l) err(EX_OSERR, "calloc");
    l->listener = true;
    l->tarpit = tarpit;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(l->fd, (struct sockaddr *)&a, sizeof a) || listen(l->fd, 4096)) err(EX_OSERR, "port %d", port);
    watch(ep, l->fd, &l->events, EPOLLIN, l);
}

int main(int argc, char **argv) {
    int o, port = 0, tarpit = 0;
    while ((o = getopt(argc, argv, "p:T:l:")) != -1) {
        if (o == 'p') port = (int)option_number(o, optarg, 1, 65535, true);
        else if (o == 'T') tarpit = (int)option_number(o, optarg, 0, 65535, true);
        else if (o == 'l') record = option_file(o, optarg);
        else errx(EX_USAGE, "see the head of bench/sink.c");
    }
    if (optind != argc) errx(EX_USAGE, "\"%s\": is no option; see the head of bench/sink.c", argv[optind]);
    if (!port || !record) errx(EX_USAGE, "-p PORT and -l LOG are needed; see the head of bench/sink.c");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    ep = epoll_create1(EPOLL_CLOEXEC);
    listen_on(INADDR_LOOPBACK, port, false);
    if (tarpit) listen_on(INADDR_LOOPBACK + 1, tarpit, true);
    puts("listening");
    fflush(stdout);
    struct epoll_event ev[256];
    while (true) {
        int k = epoll_wait(ep, ev, 256, -1);
        for (int i = 0; i < k; i++) on_event(ev[i].data.ptr, ev[i].events);
        fflush(record);
    }
}
