/* channel.h: one end of a socket pair between two programs, with credits.
 *
 * Messages that are sent in one round of the loop travel together: a packet of the SOCK_SEQPACKET socket holds as
 * many as fit into 64 KiB, and is sent before the loop sleeps. The first message both ways is HELLO; a peer with
 * another schema, another role than expected, a message that wire.def does not allow it, a malformed one, or one that
 * the handlers do not take is an intrusion: it is logged, the channel is closed, and posternd ends the sender.
 *
 * Credits: each side tells in HELLO how many messages it takes before it has given more credit; what is sent beyond
 * that waits here, in order. channel_full says when to stop making more work for the other side. By default a message
 * is credited back when its handler returns; a program that wants to slow its peer takes a grip with channel_hold. */
#ifndef POSTERN_COMMON_CHANNEL_H
#define POSTERN_COMMON_CHANNEL_H

#include "common/loop.h"
#include "common/wire.h"

#include <sys/types.h>

struct channel;

struct channel_user {
    const struct wire_handlers *handlers;
    void *ctx;
    /* The other side has gone, or was cut off as an intruder (why is then not NULL). Called at most once, never from
     * inside channel_new or channel_close; the channel is freed after it returns. */
    void (*closed)(void *ctx, struct channel *ch, const char *why);
    /* Optional: after channel_full was seen true, it is false again. */
    void (*drained)(void *ctx, struct channel *ch);
};

/* Takes the descriptor (non-blocking is set here). expect: the role that the other side must have. data is for the
 * user (channel_data). user must outlive the channel. */
struct channel *channel_new(struct loop *l, int fd, enum role self, unsigned self_instance, enum role expect,
                            const struct channel_user *user, void *data);
void channel_close(struct channel *ch); /* without calling closed; unsent messages are tried once, then dropped */
/* Sends what waits, as far as the kernel takes it, before the round of the loop is over: the peer can begin. */
void channel_flush(struct channel *ch);
/* Sends what waits, blocking if it must (for a program that is about to exit). */
void channel_drain(struct channel *ch);

enum role channel_peer(const struct channel *ch);
unsigned channel_instance(const struct channel *ch); /* of the peer, from its HELLO; 0 before */
/* The peer must be that instance: posternd says which, so none can speak, or be ended, in the name of another. */
void channel_expect(struct channel *ch, unsigned instance);
bool channel_greeted(const struct channel *ch);      /* the peer's HELLO has come */
pid_t channel_pid(const struct channel *ch);         /* of the peer as the kernel says (SO_PEERCRED) */
uid_t channel_uid(const struct channel *ch);         /* likewise: trust it on control sockets */
void *channel_data(const struct channel *ch);
void channel_set_data(struct channel *ch, void *data);
bool channel_full(struct channel *ch); /* out of credit, or more than 1 MiB waits */
/* Holds back n of the credits that handled messages would give; later channel_release gives them. */
void channel_hold(struct channel *ch, unsigned n);
void channel_release(struct channel *ch, unsigned n);

/* The untyped base of the functions below; m is the struct of the type, fd is taken over (-1: none). */
void channel_send(struct channel *ch, enum wire_type type, const void *m, int fd);

#define MSG(name, from, to, fds, sentence, ...)                                                              \
    static inline void channel_send_##name(struct channel *ch, const struct wire_##name *m, int fd) {       \
        channel_send(ch, WIRE_##name, m, fd);                                                                \
    }
#include "common/wire.def"
#undef MSG
/* SEND(ch, stop, .within_ms = 5) and SEND_FD(ch, fd, peer, .role = r): names the fields, so none is mixed up. */
#define SEND(ch, name, ...) channel_send_##name((ch), &(struct wire_##name){__VA_ARGS__}, -1)
#define SEND_FD(ch, fd, name, ...) channel_send_##name((ch), &(struct wire_##name){__VA_ARGS__}, (fd))

#endif
