#include "common/channel.h"

#include "common/counters.h"
#include "common/arena.h"
#include "common/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CREDIT_WINDOW = 4096,      /* messages we take ahead from each peer */
    CREDIT_STEP = 1024,        /* give credit back in steps, not one by one */
    PACKET_FDS = 60,           /* below SCM_MAX_FD (253) and the receive buffer for descriptors */
    BACKLOG_MAX = 1024 * 1024, /* waiting octets above which the channel counts as full */
    BACKLOG_DEAD = 256 << 20,  /* a peer that still speaks with so much unread wants to fill our memory */
    FD_WEIGHT = 4096,          /* a waiting descriptor counts as so many octets: behind it may be a MiB */
    PACKETS_A_ROUND = 32,      /* then let others have their turn */
};

struct packet {
    struct packet *next;
    size_t n, cap, messages, fd_count;
    int fds[PACKET_FDS];
    char *bytes;
};

struct channel {
    struct loop *loop;
    struct watch *watch;
    int fd;
    enum role self, peer;
    unsigned instance;
    bool greeted, closing, was_full;
    bool one_instance; /* the peer must be `instance` */
    struct ucred cred;
    const struct channel_user *user;
    void *data;
    struct packet *head, *tail; /* unsent, oldest first */
    size_t backlog, waiting;    /* octets and messages in them */
    int64_t credit;             /* messages that we may still send */
    unsigned owed;              /* credit to give back to the peer */
    unsigned held;              /* of that, what the user wants kept back */
    struct deferred flush;
};

static void on_ready(void *ctx, uint32_t ready);
static void on_flush(void *ctx);

static void set_options(struct channel *ch) {
    int flags = fcntl(ch->fd, F_GETFL);
    if (flags >= 0) fcntl(ch->fd, F_SETFL, flags | O_NONBLOCK);
    socklen_t n = sizeof ch->cred;
    if (getsockopt(ch->fd, SOL_SOCKET, SO_PEERCRED, &ch->cred, &n) != 0)
        ch->cred = (struct ucred){0, (uid_t)-1, (gid_t)-1};
}

struct channel *channel_new(struct loop *l, int fd, enum role self, unsigned self_instance, enum role expect,
                            const struct channel_user *user, void *data) {
    struct channel *ch = xmalloc(sizeof *ch);
    *ch = (struct channel){
        .loop = l, .fd = fd, .self = self, .peer = expect, .user = user, .data = data, .credit = 1};
    ch->flush = (struct deferred){.fn = on_flush, .ctx = ch};
    set_options(ch);
    ch->watch = loop_watch(l, fd, EPOLLIN, on_ready, ch);
    assert(ch->watch);
    SEND(ch, hello, .schema = wire_schema(), .role = (uint8_t)self, .instance = (uint16_t)self_instance,
         .pid = (uint32_t)getpid(), .credit = CREDIT_WINDOW);
    return ch;
}

enum role channel_peer(const struct channel *ch) {
    return ch->peer;
}
unsigned channel_instance(const struct channel *ch) {
    return ch->instance;
}
void channel_expect(struct channel *ch, unsigned instance) {
    ch->instance = instance;
    ch->one_instance = true;
}

bool channel_greeted(const struct channel *ch) {
    return ch->greeted;
}
pid_t channel_pid(const struct channel *ch) {
    return ch->cred.pid;
}
uid_t channel_uid(const struct channel *ch) {
    return ch->cred.uid;
}
void *channel_data(const struct channel *ch) {
    return ch->data;
}
void channel_set_data(struct channel *ch, void *data) {
    ch->data = data;
}

static bool is_full(const struct channel *ch) {
    return ch->backlog > BACKLOG_MAX || (ch->greeted && ch->credit <= (int64_t)ch->waiting);
}

bool channel_full(struct channel *ch) {
    bool full = is_full(ch);
    ch->was_full |= full;
    return full;
}

static void packet_free(struct packet *p) {
    for (size_t i = 0; i < p->fd_count; i++) close(p->fds[i]);
    free(p->bytes);
    free(p);
}

static struct packet *packet_room(struct channel *ch, size_t n, bool with_fd) {
    struct packet *p = ch->tail;
    if (!p || p->n + n > WIRE_PACKET_MAX || (with_fd && p->fd_count == PACKET_FDS)) {
        p = xmalloc(sizeof *p);
        if (ch->tail) ch->tail->next = p;
        else ch->head = p;
        ch->tail = p;
    }
    p->bytes = xgrow(p->bytes, &p->cap, p->n + n, 1);
    return p;
}

void channel_send(struct channel *ch, enum wire_type type, const void *m, int fd) {
    static char scratch[WIRE_PACKET_MAX];
    assert((fd >= 0) == (wire_table[type].fds == 1));
    if (ch->closing) {
        if (fd >= 0) close(fd);
        return;
    }
    struct buf b = BUF(scratch);
    bool fits = wire_encode(&b, type, m);
    assert(fits);
    struct packet *p = packet_room(ch, b.n, fd >= 0);
    memcpy(p->bytes + p->n, scratch, b.n);
    p->n += b.n;
    p->messages++;
    if (fd >= 0) p->fds[p->fd_count++] = fd;
    ch->backlog += b.n + (fd >= 0 ? FD_WEIGHT : 0);
    ch->waiting++;
    loop_defer(ch->loop, &ch->flush);
}

static ssize_t send_bytes(int fd, const char *bytes, size_t n, const int *fds, size_t fd_count) {
    union {
        char mem[CMSG_SPACE(PACKET_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {(void *)(uintptr_t)bytes, n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd_count) {
        memset(&control, 0, sizeof control);
        msg.msg_control = control.mem;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

/* Credit travels in a packet of its own, which needs no credit itself: two full sides cannot wait for each other. More
 * than a window may be owed, since the packet that used up the credit was full: the peer takes no more at a time. */
static bool send_credit(struct channel *ch) {
    while (ch->greeted && ch->owed >= ch->held + CREDIT_STEP) {
        char mem[64];
        struct buf b = BUF(mem);
        unsigned more = ch->owed - ch->held;
        if (more > CREDIT_WINDOW) more = CREDIT_WINDOW;
        wire_encode(&b, WIRE_credit, &(struct wire_credit){.more = more});
        if (send_bytes(ch->fd, mem, b.n, NULL, 0) < 0) return false;
        counters->hops[ch->peer].packets_out++;
        ch->owed -= more;
    }
    return true;
}

/* ETOOMANYREFS: too many descriptors of ours in flight; they leave as the peer reads. */
static bool try_later(int error) {
    return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS;
}

static void on_flush(void *ctx) {
    struct channel *ch = ctx;
    if (ch->closing) return;
    bool blocked = !send_credit(ch) && try_later(errno);
    while (!blocked && ch->head && ch->credit > 0) {
        struct packet *p = ch->head;
        if (send_bytes(ch->fd, p->bytes, p->n, p->fds, p->fd_count) < 0) {
            /* Anything but "later" means that the peer is gone; its hang-up is told by the loop. */
            blocked = try_later(errno);
            if (!blocked) break;
            continue;
        }
        counters->hops[ch->peer].packets_out++;
        counters->hops[ch->peer].messages_out += p->messages;
        ch->credit -= (int64_t)p->messages;
        ch->backlog -= p->n + p->fd_count * FD_WEIGHT;
        ch->waiting -= p->messages;
        ch->head = p->next;
        if (!ch->head) ch->tail = NULL;
        packet_free(p);
    }
    watch_set(ch->watch, EPOLLIN | (blocked ? (uint32_t)EPOLLOUT : 0u));
    if (ch->was_full && !is_full(ch)) {
        ch->was_full = false;
        if (ch->user->drained) ch->user->drained(ch->data, ch);
    }
}

static void release(void *ctx) {
    struct channel *ch = ctx;
    while (ch->head) {
        struct packet *p = ch->head;
        ch->head = p->next;
        packet_free(p);
    }
    close(ch->fd);
    free(ch);
}

static void shut(struct channel *ch) {
    ch->closing = true;
    watch_close(ch->watch);
    /* A flush may be queued already: let it be the one that frees. */
    ch->flush.fn = release;
    loop_defer(ch->loop, &ch->flush);
}

void channel_close(struct channel *ch) {
    if (ch->closing) return;
    on_flush(ch);
    if (!ch->closing) shut(ch);
}

void channel_flush(struct channel *ch) {
    on_flush(ch);
}

void channel_drain(struct channel *ch) {
    while (ch->head && !ch->closing) {
        struct pollfd p = {.fd = ch->fd, .events = POLLOUT};
        if (ch->credit <= 0) ch->credit = 1; /* we are leaving: what is said is said */
        struct packet *before = ch->head;
        on_flush(ch);
        if (ch->head == before && poll(&p, 1, 1000) <= 0) return;
        if (p.revents & (POLLERR | POLLHUP)) return;
    }
}

static void gone(struct channel *ch, const char *why) {
    if (ch->closing) return;
    if (why)
        LOG(intrusion, .peer = str_of(role_table[ch->peer].name), .instance = ch->instance,
            .pid = (uint64_t)ch->cred.pid, .why = str_of(why));
    shut(ch);
    if (ch->user->closed) ch->user->closed(ch->data, ch, why);
}

void channel_hold(struct channel *ch, unsigned n) {
    ch->held += n;
}

void channel_release(struct channel *ch, unsigned n) {
    ch->held -= n < ch->held ? n : ch->held;
    if (ch->owed >= ch->held + CREDIT_STEP) loop_defer(ch->loop, &ch->flush);
}

static const char *take_hello(struct channel *ch, struct str payload) {
    struct wire_hello hello;
    if (!wire_read_hello(payload, &hello)) return "malformed hello";
    if (hello.schema != wire_schema()) return "its wire.def differs from ours (another version?)";
    if (hello.role >= ROLE_COUNT || (enum role)hello.role != ch->peer)
        return "it has another role than this channel is for";
    if (ch->one_instance && hello.instance != ch->instance)
        return "it says that it is another process of its role";
    ch->instance = hello.instance;
    ch->credit += (int64_t)hello.credit - 1;
    ch->greeted = true;
    loop_defer(ch->loop, &ch->flush);
    return NULL;
}

static const char *take_credit(struct channel *ch, struct str payload) {
    struct wire_credit credit;
    if (!wire_read_credit(payload, &credit) || credit.more > CREDIT_WINDOW) return "malformed credit";
    ch->credit += credit.more;
    loop_defer(ch->loop, &ch->flush);
    return NULL;
}

/* One message. Gives NULL or why the peer must go. The descriptor is taken over in every case. */
static const char *take(struct channel *ch, enum wire_type type, struct str payload, int fd) {
    const char *why = NULL;
    if (type == WIRE_hello && !ch->greeted) return take_hello(ch, payload);
    if (!ch->greeted) why = "it did not begin with hello";
    else if (type == WIRE_hello) why = "it said hello twice";
    else if (type == WIRE_credit) return take_credit(ch, payload);
    else if (ch->peer == ROLE_tool && is_full(ch))
        why = "it asks and does not read the answers"; /* any user may ask */
    else if (ch->backlog > BACKLOG_DEAD) why = "it speaks, and does not read what it is told";
    else if (!(wire_table[type].from & ROLE_BIT(ch->peer)) || !(wire_table[type].to & ROLE_BIT(ch->self)))
        why = "it sent a message that it may not send us";
    else {
        ch->owed++;
        counters->hops[ch->peer].messages_in++;
        enum wire_verdict v = wire_deliver(type, payload, fd, ch->user->handlers, ch->data, ch);
        if (v == WIRE_OK) return NULL;
        why = v == WIRE_MALFORMED ? "malformed message" : "it sent a message that this program does not take";
    }
    if (fd >= 0) close(fd);
    return why;
}

static const char *take_packet(struct channel *ch, struct str s, const int *fds, size_t fd_count) {
    const char *why = NULL;
    size_t used = 0;
    counters->hops[ch->peer].packets_in++;
    while (s.n && !why && !ch->closing) {
        if (s.n < WIRE_HEADER) {
            why = "short message";
            break;
        }
        const unsigned char *h = (const unsigned char *)s.p;
        unsigned type = h[0] | (unsigned)h[1] << 8;
        size_t n = h[2] | (size_t)h[3] << 8;
        if (type <= WIRE_NONE || type >= WIRE_COUNT || n > s.n - WIRE_HEADER) {
            why = "unknown message or wrong length";
            break;
        }
        int fd = -1;
        if (wire_table[type].fds) {
            if (used == fd_count) {
                why = "a descriptor is missing";
                break;
            }
            fd = fds[used++];
        }
        why = take(ch, (enum wire_type)type, str_sub(s, WIRE_HEADER, WIRE_HEADER + n), fd);
        s = str_sub(s, WIRE_HEADER + n, s.n);
    }
    if (!why && !ch->closing && used < fd_count) why = "a descriptor that nobody asked for";
    for (; used < fd_count; used++) close(fds[used]);
    return why;
}

static size_t take_fds(struct msghdr *msg, int *fds) {
    size_t n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t have = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds + n, CMSG_DATA(c), have * sizeof(int));
        n += have;
    }
    return n;
}

static void on_ready(void *ctx, uint32_t ready) {
    static char bytes[WIRE_PACKET_MAX]; /* decoded messages are views into it while their handler runs */
    static bool busy; /* a handler must not run the loop: it would overwrite what it reads */
    struct channel *ch = ctx;
    assert(!busy);
    busy = true;
    if (ready & EPOLLOUT) loop_defer(ch->loop, &ch->flush);
    for (int round = 0; round < PACKETS_A_ROUND && !ch->closing; round++) {
        union {
            char mem[CMSG_SPACE(PACKET_FDS * sizeof(int))];
            struct cmsghdr align;
        } control;
        int fds[PACKET_FDS];
        struct iovec iov = {bytes, sizeof bytes};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.mem,
                             .msg_controllen = sizeof control.mem};
        ssize_t n = recvmsg(ch->fd, &msg, MSG_CMSG_CLOEXEC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
        /* The peer closed before it had read all of ours: the kernel tells that first, and what the peer had said
         * can still be read. */
        if (n < 0 && errno == ECONNRESET) continue;
        if (n <= 0) {
            gone(ch, NULL);
            break;
        }
        size_t fd_count = take_fds(&msg, fds);
        const char *why = take_packet(ch, (struct str){bytes, (size_t)n}, fds, fd_count);
        if (!why && !ch->closing && (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
            why = "a packet was cut off (too large, or no descriptor left for it)";
        if (why) gone(ch, why);
    }
    busy = false;
    if (!ch->closing && ch->owed >= ch->held + CREDIT_STEP) loop_defer(ch->loop, &ch->flush);
}
